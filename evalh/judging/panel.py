"""From the verdicts of a panel to one score per output, with the disagreement recorded.

A judge whose reply could not be read has no score: it is left out of the rule and counted. A panel of which no more
than half could be read has no score either: the output is *unscored*.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import Literal, NamedTuple

from evalh.judging.rubric import Rubric
from evalh.records import Verdict

Seat = tuple[str, str]  # judge and the name of its prompt: one place in the panel


class PanelScore(NamedTuple):
    """What a panel says of one output: `score` in [0, 1] or None, why not, and how far the judges are apart."""

    score: float | None
    why: str | None
    disagreement: float | None  # population standard deviation of the judges' scores; None below two judges
    inconsistent: int  # pairwise: judges whose two orders name different winners
    judges: dict[Seat, float | None]


class _Opinion(NamedTuple):
    score: float | None
    vote: float | None  # 1 pass or win, 0 fail or loss, ½ tie
    inconsistent: bool = False


def combine(
    verdicts: Sequence[Verdict], rubric: Rubric, rule: Literal["majority", "mean", "unanimous"], weights: Mapping[Seat, float], system: str
) -> PanelScore:
    """One score for `system` from all verdicts on one output (or one pair that `system` is part of)."""
    by_judge: dict[Seat, list[Verdict]] = {name: [] for name in weights}
    for verdict in verdicts:
        by_judge[verdict.judge, verdict.prompt].append(verdict)
    read = _pair_opinion if rubric.kind == "pairwise" else _point_opinion
    opinions = {name: read(rows, rubric, system) for name, rows in by_judge.items()}
    scored = {name: o for name, o in opinions.items() if o.score is not None and o.vote is not None}
    values = [o.score for o in scored.values() if o.score is not None]
    score, why = _decide(scored, len(opinions), rule, weights)
    return PanelScore(
        score=score,
        why=why,
        disagreement=pstdev(values) if len(values) > 1 else None,
        inconsistent=sum(o.inconsistent for o in opinions.values()),
        judges={name: o.score for name, o in opinions.items()},
    )


def _decide(scored: Mapping[Seat, _Opinion], seats: int, rule: str, weights: Mapping[Seat, float]) -> tuple[float | None, str | None]:
    if rule == "unanimous" and any(o.vote == 0 for o in scored.values()):
        return 0.0, None
    if len(scored) * 2 <= seats or (rule == "unanimous" and len(scored) < seats):
        return None, f"{seats - len(scored)} of {seats} judges unscored"
    total = sum(weights[name] for name in scored)
    if rule == "mean":
        return sum(weights[name] * (o.score or 0.0) for name, o in scored.items()) / total, None
    share = sum(weights[name] * (o.vote or 0.0) for name, o in scored.items()) / total
    if rule == "unanimous":
        return (1.0 if share == 1.0 else 0.5), None
    return (1.0 if share > 0.5 else 0.0 if share < 0.5 else 0.5), ("the panel is split" if share == 0.5 else None)


def _point_opinion(rows: Sequence[Verdict], rubric: Rubric, system: str) -> _Opinion:
    """Weighted mean over the criteria, averaged over the repeats in which every criterion was scored."""
    by_repeat: dict[int, dict[str, Verdict]] = defaultdict(dict)
    for row in rows:
        if row.status == "scored":
            by_repeat[row.repeat][row.aspect] = row
    whole = [answers for answers in by_repeat.values() if len(answers) == len(rubric.criteria)]
    if not whole:
        return _Opinion(None, None)
    total = sum(c.weight for c in rubric.criteria)
    scores = [sum(c.weight * (answers[c.name].score or 0.0) for c in rubric.criteria) / total for answers in whole]
    passes = [all(_passes(answers[c.name], c.pass_at) for c in rubric.criteria) for answers in whole]
    share = fmean(passes)
    return _Opinion(fmean(scores), 1.0 if share > 0.5 else 0.0 if share < 0.5 else 0.5)


def _passes(verdict: Verdict, pass_at: int | None) -> bool:
    if pass_at is not None:
        return verdict.raw_score is not None and verdict.raw_score >= pass_at
    return verdict.score is not None and verdict.score >= 0.5


def _pair_opinion(rows: Sequence[Verdict], rubric: Rubric, system: str) -> _Opinion:
    """Win 1, tie ½, loss 0. Two orders that name different winners are inconsistent and count as a tie (MT-Bench rule)."""
    seen: dict[tuple[str, int], list[Verdict]] = defaultdict(list)
    for row in rows:
        seen[row.aspect, row.repeat].append(row)
    values, inconsistent = [], False
    for answers in seen.values():
        if any(a.status == "unscored" for a in answers):
            continue
        winners = {a.winner for a in answers}
        inconsistent |= len(winners) > 1
        values.append(0.5 if len(winners) > 1 or winners == {"tie"} else float(winners == {system}))
    if not values:
        return _Opinion(None, None)
    mean = fmean(values)
    return _Opinion(mean, 1.0 if mean > 0.5 else 0.0 if mean < 0.5 else 0.5, inconsistent)

"""Judges against people, and judges against themselves in the other order. Pure: rows in, figures with their counts out.

An unscored verdict is neither a tie nor a loss. Each figure takes `unscored` and says how many there were: `exclude` leaves
them out, `wrong` counts them against the judge, `tie` reads them as ties (METHODS §1.1, §1.8; DESIGN §10).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from evalh.errors import InputError
from evalh.records import Estimate
from evalh.stats.intervals import REPORT_DRAWS, mean_interval, rate
from evalh.stats.paired import mcnemar_exact

Unscored = Literal["exclude", "wrong", "tie"]
Key = tuple[str, tuple[str, ...]]  # item and systems in sorted order: labels and verdicts meet here whatever order was shown

TIE = "tie"


class VerdictRow(NamedTuple):
    """One verdict of one judge on one aspect, as the store's table `verdicts` has it."""

    item_id: str
    systems: tuple[str, ...]  # in the order shown; pointwise: one
    winner: str | None  # a system or `tie`; pointwise: the class; None where unscored
    status: Literal["scored", "unscored"] = "scored"
    order_known: bool = True
    repeat: int = 0  # numbers the verdicts on one item in one order (repeats, trials)

    @property
    def first(self) -> str:
        """The system shown first."""
        return self.systems[0]

    @property
    def key(self) -> Key:
        return self.item_id, tuple(sorted(self.systems))

    @property
    def answer(self) -> str | None:
        """The winner, None where unscored."""
        return self.winner if self.status == "scored" else None


class LabelRow(NamedTuple):
    """One label of one person. `winner` as in VerdictRow; None is no answer and counts for nothing."""

    item_id: str
    systems: tuple[str, ...]
    annotator: str
    winner: str | None

    @property
    def key(self) -> Key:
        return self.item_id, tuple(sorted(self.systems))


# ---- agreement with people ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """Share of verdicts equal to the consensus label. `agreement` follows `unscored`; `agreement_strict` counts unscored ones as wrong."""

    agreement: Estimate
    agreement_strict: Estimate
    unscored: Unscored
    n_verdicts: int  # all that were given
    n_unscored: int  # of those with a consensus
    n_no_consensus: int  # left out: people disagree
    n_unlabelled: int  # left out: nobody labelled them


def consensus(labels: Iterable[LabelRow]) -> dict[Key, str | None]:
    """The answer of more than half of an item's annotators, None where there is none. An annotator's last label counts."""
    answers: dict[Key, dict[str, str]] = {}
    for label in labels:
        if label.winner is not None:
            answers.setdefault(label.key, {})[label.annotator] = label.winner
    return {key: _majority(list(given.values())) for key, given in answers.items()}


def _majority(answers: Sequence[str]) -> str | None:
    answer, count = Counter(answers).most_common(1)[0]
    return answer if 2 * count > len(answers) else None


def agreement(
    verdicts: Iterable[VerdictRow], settled: Mapping[Key, str | None], *, seed: int, unscored: Unscored = "exclude", level: float = 0.95
) -> Agreement:
    """How often verdicts equal the consensus label. `settled` is what `consensus` returns.

    Intervals: Wilson where each item has one verdict, else JBB with the item as cluster (`n` counts verdicts).
    """
    rows = list(verdicts)
    labelled = [row for row in rows if row.key in settled]
    judged = [(row.item_id, row.answer, truth) for row in labelled if (truth := settled[row.key]) is not None]
    strict = [(item, answer == truth) for item, answer, truth in judged]
    if unscored == "tie":
        chosen = [(item, (answer or TIE) == truth) for item, answer, truth in judged]
    elif unscored == "wrong":
        chosen = strict
    else:
        chosen = [(item, answer == truth) for item, answer, truth in judged if answer is not None]
    return Agreement(
        agreement=_share(chosen, seed, level),
        agreement_strict=_share(strict, seed, level),
        unscored=unscored,
        n_verdicts=len(rows),
        n_unscored=sum(answer is None for _, answer, _ in judged),
        n_no_consensus=len(labelled) - len(judged),
        n_unlabelled=len(rows) - len(labelled),
    )


def _share(hits: Sequence[tuple[str, bool]], seed: int, level: float) -> Estimate:
    """The share of True, from (item, hit): with several per item they are a cluster."""
    items = [item for item, _ in hits]
    if len(set(items)) == len(items):
        return rate(sum(hit for _, hit in hits), len(hits), level)
    return mean_interval([float(hit) for _, hit in hits], clusters=items, level=level, seed=seed, draws=REPORT_DRAWS)


# ---- the two orders -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Consistency:
    """Share of pairs whose two orders name the same winner (position consistency)."""

    consistency: Estimate
    unscored: Unscored
    n_pairs: int  # shown in both orders
    n_unscored_pairs: int  # of those, with an unscored verdict; left out where `unscored` is exclude
    n_one_order: int  # left out: shown in one order only
    n_order_unknown: int  # verdicts left out: nobody recorded the order


@dataclass(frozen=True)
class FirstShare:
    """How much of the preference goes to the system shown first: 0.5 is unbiased, a tie counts one half.

    `basis` "both orders" balances quality out; "one order" means what it says only where the order was drawn at random.
    """

    first_share: Estimate
    p_value: float | None
    basis: Literal["both orders", "one order"]
    n_first: int  # items whose verdicts lean to the first shown
    n_second: int
    n_unscored: int  # verdicts without a score among those looked at; read as ties where `unscored` is tie, else left out


class _Orders(NamedTuple):
    """The verdicts on one pair of outputs: by the system shown first."""

    item_id: str
    rows: dict[str, VerdictRow]


def consistency(verdicts: Iterable[VerdictRow], *, seed: int, unscored: Unscored = "exclude", level: float = 0.95) -> Consistency:
    """Compare the two orders of each pair (METHODS §1.1). Raises InputError where one order of a pair has two verdicts of one repeat.

    With `wrong` a pair with an unscored verdict is inconsistent; with `tie` two unscored verdicts of a pair agree.
    """
    pairs, unknown = _pairs(verdicts)
    both = [(pair.item_id, [row.answer for row in pair.rows.values()]) for pair in pairs if len(pair.rows) == 2]
    incomplete = sum(None in answers for _, answers in both)
    if unscored == "tie":
        same = [(item, (answers[0] or TIE) == (answers[1] or TIE)) for item, answers in both]
    elif unscored == "wrong":
        same = [(item, None not in answers and answers[0] == answers[1]) for item, answers in both]
    else:
        same = [(item, answers[0] == answers[1]) for item, answers in both if None not in answers]
    return Consistency(
        consistency=_share(same, seed, level),
        unscored=unscored,
        n_pairs=len(both),
        n_unscored_pairs=incomplete,
        n_one_order=len(pairs) - len(both),
        n_order_unknown=unknown,
    )


def first_share(verdicts: Iterable[VerdictRow], *, seed: int, unscored: Unscored = "exclude", level: float = 0.95) -> FirstShare:
    """The first-slot rate with its exact binomial test (METHODS §1.1): items that lean to the first against those that lean away.

    Where pairs were shown in both orders only those are looked at, and an unscored verdict takes its pair with it; else
    single verdicts, the item being the cluster. There is no losing side for an unscored verdict: `wrong` leaves it out too.
    """
    pairs, _ = _pairs(verdicts)
    complete = [pair for pair in pairs if len(pair.rows) == 2]
    looked_at = complete or pairs
    values: list[tuple[str, float]] = []
    for pair in looked_at:
        slots = [_slot(row, unscored) for row in pair.rows.values()]
        known = [slot for slot in slots if slot is not None]
        if len(known) == len(slots):
            values.append((pair.item_id, sum(known) / len(known)))
    items: dict[str, list[float]] = {}
    for item, value in values:
        items.setdefault(item, []).append(value - 0.5)
    leans = [float(np.mean(offsets)) for offsets in items.values()]
    n_first, n_second = sum(lean > 1e-9 for lean in leans), sum(lean < -1e-9 for lean in leans)
    return FirstShare(
        first_share=mean_interval([value for _, value in values], clusters=[item for item, _ in values], level=level, seed=seed),
        p_value=mcnemar_exact(n_first, n_second) if leans else None,
        basis="both orders" if complete else "one order",
        n_first=n_first,
        n_second=n_second,
        n_unscored=sum(row.answer is None for pair in looked_at for row in pair.rows.values()),
    )


def _pairs(verdicts: Iterable[VerdictRow]) -> tuple[list[_Orders], int]:
    """The pairwise verdicts of known order by pair and repeat, and how many are of unknown order."""
    pairs: dict[tuple[Key, int], _Orders] = {}
    unknown = 0
    for row in verdicts:
        if not row.order_known:
            unknown += 1
            continue
        pair = pairs.setdefault((row.key, row.repeat), _Orders(row.item_id, {}))
        if row.first in pair.rows:
            raise InputError(f"two verdicts with {row.first!r} shown first", where=f"item {row.item_id}", hint="number them by repeat")
        pair.rows[row.first] = row
    return list(pairs.values()), unknown


def _slot(row: VerdictRow, unscored: Unscored) -> float | None:
    """1 where the system shown first wins, 1/2 for a tie, 0 where the second wins."""
    answer = row.answer if row.answer is not None or unscored != "tie" else TIE
    if answer is None:
        return None
    return 0.5 if answer == TIE else float(answer == row.first)

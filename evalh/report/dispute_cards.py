"""A dispute as the page shows it: outputs beside each other, what people said, and the judges that say different things. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evalh.report import cards, words
from evalh.report.disputes import Dispute
from evalh.report.text import excerpt

Row = Mapping[str, Any]
Seat = tuple[Any, ...]  # judge, version, prompt
MOST_SEATS, MOST_LABELS = 4, 6


class Shown(NamedTuple):
    """A dispute as the page shows it."""

    anchor: str
    item_id: str
    about: str
    glance: str
    card: cards.Card
    people: str
    labels: Sequence[tuple[str, str, str]]  # annotator, answer, note
    more_labels: int
    others: Sequence[tuple[str, str]]
    elsewhere: str  # the anchor of the item where the page shows it whole already


def shown(number: int, dispute: Dispute, limit: int, anchors: Mapping[str, str]) -> Shown:
    item, pair = dispute.item, set(dispute.systems)

    def same(row: Row) -> bool:
        return set(row["systems"] or ()) == pair and (row["aspect"] or "") == dispute.aspect and row["trial"] == dispute.trial

    verdicts = [{**v, "rationale": v["rationale"] or (v["raw"] if v["status"] == "scored" else None)} for v in item["verdicts"] if same(v)]
    outputs = [o for o in item["outputs"] if o["system"] in pair and (o["trial"] or 0) == dispute.trial]
    seats = list(dict.fromkeys((v["judge"], v["judge_version"], v["prompt"]) for v in verdicts))
    first = _opposed(verdicts, seats)[:MOST_SEATS]
    telling = [v for v in verdicts if (v["judge"], v["judge_version"], v["prompt"]) in first]
    rest = [v for v in verdicts if (v["judge"], v["judge_version"], v["prompt"]) not in first]
    row = {
        "item_id": item["item_id"], "system": dispute.systems[0], "against": "".join(dispute.systems[1:]), "trial": dispute.trial,
        "slice": item["slice"], "route": "", "score": None, "why": "", "input": item["input"], "reference": item["reference"],
        "outputs": outputs, "checks": [], "verdicts": telling,
    }  # fmt: skip
    labels = [
        (x["annotator"], _answer(x), excerpt(x["note"] or "", 200))
        for x in item["labels"]
        if (not x["systems"] or set(x["systems"]) == pair) and (not x["aspect"] or x["aspect"] == dispute.aspect)
    ]
    about = [f"aspect {dispute.aspect}"] if dispute.aspect and len({v["aspect"] for v in item["verdicts"]}) > 1 else []
    about += [f"trial {dispute.trial + 1}"] if dispute.trial else []
    about += [" against ".join(dispute.systems)]
    return Shown(
        anchor=f"dispute-{number + 1}", item_id=item["item_id"], about=" · ".join(about), glance=_glance(dispute),
        card=cards.card(row, limit),
        people=dispute.people or "", labels=labels[:MOST_LABELS], more_labels=max(0, len(labels) - MOST_LABELS),
        others=cards.says({"verdicts": rest}), elsewhere=anchors.get(item["item_id"], ""),
    )  # fmt: skip


def _glance(dispute: Dispute) -> str:
    told = [f"people say {dispute.people}" if dispute.people else "people do not say"]
    if dispute.from_people is not None:
        told.append(f"{words.count(dispute.n, 'verdict')} on average {100 * dispute.from_people:.0f} % away")
    if dispute.spread:
        told.append(f"apart from each other by {100 * dispute.spread:.0f} points")
    return "; ".join(told)


def _opposed(verdicts: Sequence[Row], seats: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The judges in such an order that the first few say different things: of each answer one in turn, those with a reason first."""
    queues: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    reasons = {seat: any(v["rationale"] for v in verdicts if (v["judge"], v["judge_version"], v["prompt"]) == seat) for seat in seats}
    for seat in sorted(seats, key=lambda s: not reasons[s]):
        said = tuple(sorted({_answer(v) for v in verdicts if (v["judge"], v["judge_version"], v["prompt"]) == seat}))
        queues.setdefault(said, []).append(seat)
    longest = max((len(queue) for queue in queues.values()), default=0)
    return [queue[place] for place in range(longest) for queue in queues.values() if place < len(queue)]


def _answer(row: Row) -> str:
    """What a verdict or a label says, shortly."""
    if row.get("status") == "unscored":
        return "unscored"
    if row["winner"]:
        return "tie" if row["winner"] == "tie" else f"{row['winner']} wins"
    value = row.get("raw_score") if row.get("raw_score") is not None else row["score"]
    return str(row["label"]) if row["label"] else f"{value:g}" if value is not None else "–"

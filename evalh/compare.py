"""Item-paired comparison of two runs: the document of `evalh compare --json`. Pure: two lists of scores in, a record out.

Nothing here decides; the gate does. Every difference is b - a: positive means that b is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from evalh.records import Estimate, Record
from evalh.stats.intervals import MIN_ITEMS, REPORT_DRAWS
from evalh.stats.paired import paired_p_value
from evalh.stats.scores import ItemRange, ItemScore, difference_of, fold

_EQUAL = 1e-9  # two averages of trials closer than this are the same


class SliceDifference(Record):
    """The difference on one slice. Several slices are looked at here: one interval that misses 0 proves little."""

    slice: str
    n_items: int
    difference: Estimate


class Comparison(Record):
    """Two runs on the items that both have a score for. `missing` counts the items that at least one of them lacks."""

    a: str
    b: str
    n_items: int
    difference: Estimate
    p_value: float | None
    improved: int
    regressed: int
    equal: int
    missing: int
    direction: Literal["b - a"] = "b - a"
    test: str | None
    improved_items: list[str]
    regressed_items: list[str]
    missing_in_a: list[str]
    missing_in_b: list[str]
    unscored_items: list[str]
    slices: list[SliceDifference]
    estimand: Literal["superpopulation"] = "superpopulation"


class _Pair(NamedTuple):
    item_id: str
    a: ItemRange
    b: ItemRange

    @property
    def change(self) -> float | None:
        return self.b.value - self.a.value if self.a.value is not None and self.b.value is not None else None


def compare(
    a: Sequence[ItemScore], b: Sequence[ItemScore], *, name_a: str, name_b: str, seed: int, level: float = 0.95, draws: int = REPORT_DRAWS
) -> Comparison:
    """Compare two runs item by item. Items of only one run are named and left out; items of both that one has no score
    for are named too, and widen the interval by what they could be worth. Raises InputError for a score outside [0, 1].
    """
    in_a, in_b = fold(a), fold(b)
    pairs = [_Pair(item_id, in_a[item_id], in_b[item_id]) for item_id in in_a if item_id in in_b]
    changes = {pair.item_id: pair.change for pair in pairs if pair.change is not None}
    improved = sorted((i for i, change in changes.items() if change > _EQUAL), key=lambda i: -changes[i])
    regressed = sorted((i for i, change in changes.items() if change < -_EQUAL), key=lambda i: changes[i])
    p_value, test = _test(pairs, seed)
    only_a, only_b = sorted(in_a.keys() - in_b.keys()), sorted(in_b.keys() - in_a.keys())
    unscored = [pair.item_id for pair in pairs if pair.change is None]
    return Comparison(
        a=name_a,
        b=name_b,
        n_items=len(changes),
        difference=_difference(pairs, seed, level, draws),
        p_value=p_value,
        test=test,
        improved=len(improved),
        regressed=len(regressed),
        equal=len(changes) - len(improved) - len(regressed),
        missing=len(only_a) + len(only_b) + len(unscored),
        improved_items=improved,
        regressed_items=regressed,
        missing_in_a=only_b,
        missing_in_b=only_a,
        unscored_items=unscored,
        slices=_slices(pairs, seed, level, draws),
    )


def _difference(pairs: Sequence[_Pair], seed: int, level: float, draws: int) -> Estimate:
    return difference_of([pair.b for pair in pairs], [pair.a for pair in pairs], seed=seed, level=level, draws=draws).estimate


def _test(pairs: Sequence[_Pair], seed: int) -> tuple[float | None, str | None]:
    known = [(pair.a.value, pair.b.value, pair.a.cluster) for pair in pairs if pair.a.value is not None and pair.b.value is not None]
    if len(known) < MIN_ITEMS:
        return None, None
    return paired_p_value([b for _, b, _ in known], [a for a, _, _ in known], clusters=[cluster for _, _, cluster in known], seed=seed)


def _slices(pairs: Sequence[_Pair], seed: int, level: float, draws: int) -> list[SliceDifference]:
    parts: dict[str, list[_Pair]] = {}
    for pair in pairs:
        parts.setdefault(pair.b.slice, []).append(pair)
    return [
        SliceDifference(slice=name, n_items=sum(pair.change is not None for pair in part), difference=_difference(part, seed, level, draws))
        for name, part in sorted(parts.items())
    ]

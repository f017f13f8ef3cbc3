"""What the gate and the comparison are computed from: one score per output, folded to one range per item.

The item is the unit of analysis (METHODS §0): trials of one item are averaged inside the item and never counted as
more items. A trial without a score leaves its item between two bounds (METHODS §1.9).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import fsum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.errors import InputError
from evalh.records import Estimate
from evalh.stats.intervals import REPORT_DRAWS, FloatArray, between, mean_interval
from evalh.stats.paired import difference

CodeArray = npt.NDArray[np.uint64]


class ItemScore(NamedTuple):
    """The score of one output, as the store's table `scores` has it. Several of one item are its trials."""

    item_id: str
    slice: str
    group: str | None  # cluster: items of one group were sampled together
    score: float | None  # in [0, 1]; None: unscored
    route: str  # blocked, judged, checked, unscored, no_output


class ItemRange(NamedTuple):
    """What is known of one item's score: `value` is the mean of its scored trials, `low` and `high` the bounds of the mean of all."""

    slice: str
    cluster: str
    value: float | None
    low: float
    high: float
    outputs: int
    unscored: int

    @property
    def complete(self) -> bool:
        return self.unscored == 0


def fold(scores: Iterable[ItemScore]) -> dict[str, ItemRange]:
    """One range per item, by item id in sorted order. A blocked output is worth 0 (of a pair, what its score says).

    Raises InputError for a score outside [0, 1].
    """
    trials: dict[str, list[ItemScore]] = {}
    for row in scores:
        trials.setdefault(row.item_id, []).append(row)
    return {item_id: _range(trials[item_id]) for item_id in sorted(trials)}


def _range(rows: list[ItemScore]) -> ItemRange:
    known = [worth for row in rows if (worth := _worth(row)) is not None]
    unscored, first = len(rows) - len(known), rows[0]
    total = fsum(known)  # exact, so that the order of the trials changes nothing
    return ItemRange(
        slice=first.slice,
        cluster=f"item {first.item_id}" if first.group is None else f"group {first.group}",
        value=total / len(known) if known else None,
        low=total / len(rows),
        high=(total + unscored) / len(rows),
        outputs=len(rows),
        unscored=unscored,
    )


def _worth(row: ItemScore) -> float | None:
    if row.route == "blocked" and row.score is None:
        return 0.0
    if row.score is not None and not 0 <= row.score <= 1:
        raise InputError(f"score {row.score} is not in [0, 1]", where=f"item {row.item_id}", hint="a missing score is None")
    return row.score


def with_missing(items: Mapping[str, ItemRange], expected: Mapping[str, ItemRange]) -> dict[str, ItemRange]:
    """`items`, and for each expected item that is not there an unscored one: an output that was not made is no pass."""
    unmade = {item_id: other._replace(value=None, low=0.0, high=1.0, outputs=1, unscored=1) for item_id, other in expected.items()}
    return dict(sorted({**unmade, **items}.items()))


# ---- the same by column, for runs of a million outputs ----------------------------------------------------------------


class ScoreColumns(NamedTuple):
    """The scores of a run, one row an output; rows of one item follow each other. Codes are whole numbers, equal for equal names."""

    item: CodeArray
    slice: CodeArray
    cluster: CodeArray  # of the item's group, or of the item where it has none
    worth: FloatArray  # the score; where there is none, 0 if blocked, else NaN


class RangeColumns(NamedTuple):
    """`ItemRange` by column: one row an item."""

    slice: CodeArray
    cluster: CodeArray
    value: FloatArray  # NaN where no output of the item is scored
    low: FloatArray
    high: FloatArray

    def of_slice(self, code: int) -> RangeColumns:
        return RangeColumns(*(column[self.slice == np.uint64(code)] for column in self))


def fold_columns(scores: ScoreColumns) -> RangeColumns:
    """`fold`, to the last digit, of scores in the order of their items."""
    first = np.flatnonzero(np.append(True, scores.item[1:] != scores.item[:-1])[: len(scores.item)])
    last = np.append(first[1:], len(scores.item))
    known = ~np.isnan(scores.worth)
    worth = np.where(known, scores.worth, 0.0)
    number = last - first
    scored = np.add.reduceat(known, first, dtype=np.int64) if first.size else first
    total = np.add.reduceat(worth, first) if first.size else worth
    for item in np.flatnonzero(scored > 2):  # the sum of two is exact, as `fsum` is
        total[item] = fsum(worth[first[item] : last[item]])
    value = np.divide(total, scored, out=np.full(len(first), np.nan), where=scored > 0)
    return RangeColumns(scores.slice[first], scores.cluster[first], value, total / number, (total + (number - scored)) / number)


def mean_of_columns(items: RangeColumns, *, seed: int, level: float = 0.95, draws: int = REPORT_DRAWS) -> Estimate:
    """The estimate of `mean_of`, to the last digit."""
    known = items.value[~np.isnan(items.value)]
    unscored = int((items.low != items.high).sum())
    worst = mean_interval(items.low, clusters=items.cluster, level=level, draws=draws, seed=seed)
    best = mean_interval(items.high, clusters=items.cluster, level=level, draws=draws, seed=seed) if unscored else worst
    return between(worst, best, float(np.cumsum(known)[-1]) / len(known) if len(known) else None, unscored)


# ---- estimates from ranges ------------------------------------------------------------------------------------------


class Bounded(NamedTuple):
    """One estimate of the items with what is unscored at its worst, and one at its best. The same where nothing is unscored."""

    worst: Estimate
    best: Estimate
    known: list[float]  # the values of items that have one, for variance and point estimate
    known_clusters: list[str]
    unscored: int  # items with an unscored output

    @property
    def estimate(self) -> Estimate:
        """The interval that holds whatever the unscored outputs are worth; `value` is the mean of the known values."""
        return between(self.worst, self.best, sum(self.known) / len(self.known) if self.known else None, self.unscored)


def mean_of(items: Sequence[ItemRange], *, seed: int, level: float = 0.95, draws: int = REPORT_DRAWS) -> Bounded:
    """The mean score of items, clustered by their groups (METHODS §0.1)."""
    clusters = [item.cluster for item in items]

    def at(values: list[float]) -> Estimate:
        return mean_interval(values, clusters=clusters, level=level, draws=draws, seed=seed)

    known = [(item.value, item.cluster) for item in items if item.value is not None]
    unscored = sum(not item.complete for item in items)
    worst = at([item.low for item in items])
    best = at([item.high for item in items]) if unscored else worst
    return Bounded(worst, best, [value for value, _ in known], [cluster for _, cluster in known], unscored)


def difference_of(
    candidate: Sequence[ItemRange], baseline: Sequence[ItemRange], *, seed: int, level: float = 0.95, draws: int = REPORT_DRAWS
) -> Bounded:
    """The mean of candidate - baseline over items, paired by place, clustered by the candidate's groups (METHODS §3.2)."""
    clusters = [item.cluster for item in candidate]

    def at(ours: list[float], theirs: list[float]) -> Estimate:
        return difference(ours, theirs, clusters=clusters, level=level, draws=draws, seed=seed)

    pairs = list(zip(candidate, baseline, strict=True))
    known = [(c.value - b.value, c.cluster) for c, b in pairs if c.value is not None and b.value is not None]
    unscored = sum(not (c.complete and b.complete) for c, b in pairs)
    worst = at([c.low for c in candidate], [b.high for b in baseline])
    best = at([c.high for c in candidate], [b.low for b in baseline]) if unscored else worst
    return Bounded(worst, best, [value for value, _ in known], [cluster for _, cluster in known], unscored)

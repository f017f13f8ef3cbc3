"""What repeated trials of the same items say: pass@k, pass^k, majority, and how often an item's outcome changes.

The item is the unit of analysis: every figure is a mean over items of a number that an item's trials estimate without bias,
so more trials never make more items. With n trials of which c pass, the share of samples of k trials without replacement

    with a pass          pass@k = 1 - C(n-c, k) / C(n, k)          (Chen et al. 2021, §2.1)
    with passes alone    pass^k = C(c, k) / C(n, k)                (Yao et al. 2024, tau-bench)
    with both            pass@k - pass^k

is unbiased for what k fresh trials would do. For k = n the last is 1 where the outcome changed and 0 where it did not, so its
mean is the share of flaky items; for k = 2 it is 2c(n-c) / (n(n-1)), the probability that two trials of an item differ.

An unscored trial is neither pass nor fail: its item enters at the least and at the most that any completion gives (METHODS §1.9).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from math import comb, sqrt
from typing import NamedTuple

import numpy as np

from evalh.records import Estimate
from evalh.stats.intervals import REPORT_DRAWS, between, mean_interval

Figure = Callable[[int, int], float]  # trials of an item and passes among them → a number in [0, 1]

EVERY_K = 10  # up to this many trials each k has its figure; beyond it a few do
_SAME = 1e-9  # a weighted mean of ones may fall short of 1 by rounding


class Passing(NamedTuple):
    """When a score is a pass: from `threshold` up, or above it. `words` says so to people."""

    threshold: float
    words: str
    above: bool = False

    def __call__(self, score: float) -> bool:
        return score > self.threshold + _SAME if self.above else score >= self.threshold - _SAME


class ItemTrials(NamedTuple):
    """The trials of one item by one system. `scores` has one number in [0, 1] per scored trial."""

    item_id: str
    slice: str
    cluster: str  # items of one cluster were sampled together
    passed: int
    failed: int
    unscored: int
    scores: tuple[float, ...] = ()

    @property
    def n(self) -> int:
        return self.passed + self.failed + self.unscored

    @property
    def changed(self) -> bool:
        """Whether both outcomes were seen."""
        return self.passed > 0 and self.failed > 0


def counted(scores: Sequence[float | None], passing: Passing) -> tuple[int, int, int]:
    """Passed, failed and unscored trials of one item; None is unscored."""
    known = [score for score in scores if score is not None]
    passed = sum(passing(score) for score in known)
    return passed, len(known) - passed, len(scores) - len(known)


# ---- figures of one item --------------------------------------------------------------------------------------------


def pass_at(n: int, c: int, k: int) -> float:
    """The share of samples of k of n trials with at least one of the c passes. Raises ValueError where k > n."""
    _check(n, k)
    return (comb(n, k) - comb(n - c, k)) / comb(n, k)


def pass_hat(n: int, c: int, k: int) -> float:
    """The share of samples of k of n trials that are passes alone. Raises ValueError where k > n."""
    _check(n, k)
    return comb(c, k) / comb(n, k)


def changes(n: int, c: int, k: int) -> float:
    """The share of samples of k of n trials that hold a pass and a fail. Raises ValueError where k > n."""
    _check(n, k)
    return (comb(n, k) - comb(n - c, k) - comb(c, k)) / comb(n, k)


def majority(n: int, c: int) -> float:
    """1 where more than half of the trials pass, else 0: a tie is no majority."""
    return float(2 * c > n)


def _check(n: int, k: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(f"{k} of {n} trials cannot be drawn")


def ks_upto(n: int) -> list[int]:
    """The k that are reported for n trials: all up to 10, then 20, 50, 100, … and n itself."""
    steps = (digit * 10**power for power in range(1, len(str(n)) + 1) for digit in (1, 2, 5))
    return sorted({*range(1, min(n, EVERY_K) + 1), *(step for step in steps if step <= n), n}) if n > 0 else []


# ---- estimates over items -------------------------------------------------------------------------------------------


def over_items(
    items: Sequence[ItemTrials], figure: Figure, *, needs: int, seed: int, level: float = 0.95, draws: int = REPORT_DRAWS
) -> Estimate:
    """The mean of a figure over items with its interval, clustered by their groups.

    `value` is made of scored trials: an item that has fewer than `needs` of them is left out of it, unless its unscored
    ones cannot matter. The interval holds every completion of the unscored trials, so it holds `value` too.
    """
    counts = [(item.passed, item.failed, item.unscored) for item in items]
    range_of = {each: _range(figure, needs, *each) for each in set(counts)}  # few, however many items there are
    ranges = [range_of[each] for each in counts]
    clusters: Sequence[Hashable] = [item.cluster for item in items]

    def at(values: list[float]) -> Estimate:
        return mean_interval(values, clusters=clusters, seed=seed, level=level, draws=draws)

    worst = at([r.least for r in ranges])
    unscored = sum(item.unscored > 0 for item in items)
    if not unscored or worst.value is None:
        return worst
    best = at([r.most for r in ranges])
    known = [r.value for r in ranges if r.value is not None]
    value = None
    if known and best.value is not None:  # the items left out can lie so that the mean of the others is none of the whole
        value = min(max(sum(known) / len(known), worst.value), best.value)
    return between(worst, best, value, unscored)


class _Range(NamedTuple):
    value: float | None  # by the scored trials
    least: float  # over all completions of the unscored ones
    most: float


def _range(figure: Figure, needs: int, passed: int, failed: int, unscored: int) -> _Range:
    """A figure of an item with these trials."""
    n, scored = passed + failed + unscored, passed + failed
    possible = [figure(n, passed + more) for more in range(unscored + 1)]
    least, most = min(possible), max(possible)
    value = figure(scored, passed) if scored >= needs else least if least == most else None
    return _Range(value, least, most)


# ---- how far scores spread ------------------------------------------------------------------------------------------


class Spread(NamedTuple):
    """Standard deviations of scores: of the trials of one item, and of the items' true means."""

    within: Estimate
    between: Estimate


def spread(items: Sequence[ItemTrials], *, seed: int, level: float = 0.95) -> Spread | None:
    """The two parts of the variance of scores, from items with two scored trials or more; None where there are none.

    within = sqrt(mean of s_i^2) (METHODS §1.2); between^2 = variance of the items' means - mean of s_i^2 / n_i, at least 0.
    """
    several = [item for item in items if len(item.scores) > 1]
    if not several:
        return None
    sizes = np.array([len(item.scores) for item in several])
    variances = np.array([np.var(item.scores, ddof=1) for item in several])
    most = max((n // 2) * (n - n // 2) / (n * (n - 1)) for n in map(int, sizes))  # half at 0, half at 1
    inside = mean_interval(
        [min(float(v), most) for v in variances], hi=most, clusters=[item.cluster for item in several], seed=seed, level=level
    )
    roots = {name: None if value is None else sqrt(value) for name, value in inside.model_dump(include={"value", "low", "high"}).items()}
    within = inside.model_copy(update={**roots, "method": f"root of the mean variance, {inside.method}"})
    if len(several) < 2:
        return Spread(within, Estimate(value=None, level=level, n=len(several), why="one item"))
    apart = float(np.var([np.mean(item.scores) for item in several], ddof=1) - (variances / sizes).mean())
    why = "no interval is made for it"
    return Spread(within, Estimate(value=sqrt(max(0.0, apart)), level=level, n=len(several), method="variance components", why=why))

"""Intervals for figures that are no means: kappa, alpha, correlations. Pure: cluster sums or rows in, an `Estimate` out.

A figure that is a function of sums over clusters is resampled by its clusters (`cluster_bootstrap`, METHODS §0.2): 2,000
draws, percentiles. Below 30 clusters percentiles are too narrow, and the interval is that of the delete-one-cluster
jackknife with t. A figure of ranks is no function of sums: it is computed anew with a block of clusters left out
(`block_jackknife`). Where more than 5 % of the draws have no value the figure is called unstable and has no interval.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, isfinite, log, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.records import Estimate
from evalh.stats.intervals import FloatArray, too_few

IntArray = npt.NDArray[np.int64]
Statistic = Callable[[FloatArray], FloatArray]  # sums (B, k) to values (B,); NaN where it has none
Bounds = tuple[float, float] | None  # the smallest and the largest value that the figure can have

DRAWS = 2_000  # METHODS §0.2; Monte-Carlo sd of an end: 0.015 of the interval's width
SMALL = 30  # fewer clusters: jackknife-t
LARGE = 5_000  # more clusters than this, and more different ones than MANY: the sums are drawn from their normal limit
MANY = 400
UNSTABLE = 0.05  # share of draws that may have no value
BLOCKS = 100  # of clusters, each left out once
_SAME = 12  # decimals to which two sums are the same number
_AT_ONCE = 250_000  # products of one step: they stay in the cache, and below the size from which linear algebra starts threads


class Kinds(NamedTuple):
    """Clusters by the kinds of their sums: `rows` (K, k) are different from each other, `counts` (K,) says how many clusters each has."""

    rows: FloatArray
    counts: IntArray

    @property
    def clusters(self) -> int:
        return int(self.counts.sum())

    @property
    def total(self) -> FloatArray:
        """The sums over all clusters, (1, k)."""
        return np.asarray(self.counts.astype(np.float64) @ self.rows)[None, :]


# ---- sums of clusters -----------------------------------------------------------------------------------------------


def sums_by_cluster(columns: FloatArray, clusters: IntArray) -> FloatArray:
    """The sum of each column (n, k) over the rows of each cluster: (G, k), clusters in the order of their codes (n,)."""
    columns = np.asarray(columns, dtype=np.float64)
    if len(columns) != len(clusters):
        raise ValueError(f"{len(columns)} rows but {len(clusters)} cluster codes")
    codes, place = np.unique(clusters, return_inverse=True)
    if len(codes) == len(columns):
        sums = np.empty_like(columns)
        sums[place] = columns
        return sums
    sums = np.empty((len(codes), columns.shape[1]))
    for number, column in enumerate(columns.T):
        sums[:, number] = np.bincount(place, column, len(codes))
    return sums


def counts_by_cluster(codes: IntArray, cells: int, clusters: IntArray) -> FloatArray:
    """How often each code 0..cells-1 stands in each cluster: (G, cells). What `sums_by_cluster` gives for one-hot columns, faster."""
    names, place = np.unique(clusters, return_inverse=True)
    flat = np.bincount(place * cells + np.asarray(codes, dtype=np.int64), minlength=len(names) * cells)
    counts: FloatArray = flat.reshape(len(names), cells).astype(np.float64)
    return counts


def kinds_of(sums: FloatArray) -> Kinds:
    """The different rows of cluster sums (G, k), compared to 12 decimals. Their order does not depend on that of the clusters."""
    sums = np.ascontiguousarray(sums.round(_SAME) + 0.0)  # + 0.0 makes -0.0 the same as 0.0
    if len(sums) == 0:
        return Kinds(sums, np.zeros(0, dtype=np.int64))
    digest = np.zeros(len(sums), dtype=np.uint64)  # a hash of each row: sorting it is faster than sorting rows
    for number in range(sums.shape[1]):
        digest = (digest ^ sums[:, number].copy().view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        digest ^= digest >> np.uint64(29)
    _, first, place, counts = np.unique(digest, return_index=True, return_inverse=True, return_counts=True)
    rows = sums[first]
    if not np.array_equal(rows[place], sums):  # two rows of one hash
        rows, counts = np.unique(sums, axis=0, return_counts=True)
    order = np.lexsort(rows.T[::-1])  # not that of the hashes, so that another last digit does not mean other draws
    return Kinds(rows[order], counts[order].astype(np.int64))


def resampled(kinds: Kinds, *, seed: int, draws: int = DRAWS) -> FloatArray:
    """The sums of `draws` samples of the clusters, drawn with replacement: (draws, k).

    How often each kind is drawn is multinomial, so kinds have the same law as clusters and cost less. Where most clusters
    are of a kind of their own the clusters are drawn. With more than 5,000 clusters of more than 400 kinds the sums come
    from the normal law that they have in the limit, with the mean and covariance of the other two ways.
    """
    rng = np.random.default_rng(seed)
    rows, counts, count = kinds.rows, kinds.counts, kinds.clusters
    if count > LARGE and len(rows) > MANY:
        centred = (rows - kinds.total / count) * np.sqrt(counts)[:, None]
        values, vectors = np.linalg.eigh(centred.T @ centred)
        noise = rng.standard_normal((draws, rows.shape[1])) * np.sqrt(np.clip(values, 0, None))
        return np.asarray(kinds.total + noise @ vectors.T)
    few_kinds = 12 * len(rows) < count
    every = rows if few_kinds else np.repeat(rows, counts, axis=0)
    sums, step = np.empty((draws, rows.shape[1])), max(1, _AT_ONCE // every.size)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        if few_kinds:
            times = rng.multinomial(count, counts / count, size)
        else:
            picked = rng.integers(0, count, (size, count)) + np.arange(size)[:, None] * count
            times = np.bincount(picked.ravel(), minlength=size * count).reshape(size, count)
        sums[start : start + size] = times.astype(np.float64) @ every
    return sums


# ---- intervals ------------------------------------------------------------------------------------------------------


def cluster_bootstrap(
    sums: FloatArray | Kinds, statistic: Statistic, *, n: int, seed: int, level: float = 0.95, draws: int = DRAWS, bounds: Bounds = None
) -> Estimate:
    """A figure of cluster sums (G, k) with its interval (METHODS §0.2): percentiles of `draws` resamples; below 30 clusters jackknife-t.

    `statistic` takes sums (B, k) to values (B,), NaN where the figure is not defined. `n` is the number of items behind the
    sums. With `bounds` the jackknife's interval is made on the logit of the place between them and stays inside. No
    interval, and `why`, where there are too few items or clusters, where more than 5 % of the resamples have no value
    ("unstable"), and where every resample has the same value.
    """
    kinds = sums if isinstance(sums, Kinds) else kinds_of(sums)
    count = kinds.clusters
    clustered = count if count < n else None

    def given(value: float | None, method: str, why: str | None, ends: tuple[float, float] | None = None) -> Estimate:
        low, high = (None, None) if ends is None or value is None else (min(ends[0], value), max(ends[1], value))
        drawn = seed if ends is not None and count >= SMALL else None
        return Estimate(value=value, low=low, high=high, level=level, n=n, method=method, why=why, seed=drawn, clusters=clustered)

    with np.errstate(divide="ignore", invalid="ignore"):
        found = float(statistic(kinds.total)[0]) if count else float("nan")
        if not isfinite(found):
            return given(None, "", "not defined for these values" if count else "no items")
        few = too_few(n, count)
        if few is not None:
            return given(found, "", few)
        if count < SMALL:
            values, times, method = statistic(kinds.total - kinds.rows), kinds.counts, "delete-one-cluster jackknife, t"
        else:
            values = statistic(resampled(kinds, seed=seed, draws=draws))
            times, method = np.ones(len(values), dtype=np.int64), f"cluster bootstrap, {draws} draws"
    known = np.isfinite(values)
    lost = 1 - float(times[known].sum()) / float(times.sum())
    if lost > UNSTABLE:
        return given(found, method, f"unstable: {lost:.0%} of the resamples have no value")
    values, times = values[known], times[known]
    if float(np.ptp(values)) < 1e-12:
        return given(found, method, "every resample gives the same value: nothing varies")
    if count < SMALL:
        return given(found, method, None, t_interval(found, np.repeat(values, times), level, bounds))
    low, high = map(float, np.quantile(values, ((1 - level) / 2, (1 + level) / 2)))
    return given(found, method, None, (low, high))


def block_jackknife(
    statistic: Callable[[IntArray], float], n: int, clusters: IntArray, *, level: float = 0.95, blocks: int = BLOCKS, bounds: Bounds = None
) -> Estimate:
    """A figure of rows with the interval of the delete-a-block jackknife: t with blocks - 1 degrees of freedom.

    `statistic` gets the numbers of the rows to use, in rising order, and gives the figure, NaN where it has none. The
    clusters go into at most `blocks` blocks, in turn by their codes; up to so many clusters, each is a block. `bounds` and
    `why` are as in `cluster_bootstrap`. Nothing is drawn at random.
    """
    every = np.arange(n, dtype=np.int64)
    codes, place = np.unique(clusters, return_inverse=True)
    count = len(codes)
    clustered = count if count < n else None
    found = statistic(every) if n else float("nan")
    value = found if isfinite(found) else None
    few = too_few(n, count)
    if value is None or few is not None:
        why = few if value is not None else ("not defined for these values" if n else "no items")
        return Estimate(value=value, level=level, n=n, why=why, clusters=clustered)
    used = min(blocks, count)
    block = place % used
    values = np.array([statistic(np.flatnonzero(block != number)) for number in range(used)])
    known = values[np.isfinite(values)]
    method = f"jackknife of {used} blocks, t"
    ends, why = None, None
    if len(known) < (1 - UNSTABLE) * used:
        why = f"unstable: {1 - len(known) / used:.0%} of the blocks leave no value"
    elif float(np.ptp(known)) < 1e-12:
        why = "every resample gives the same value: nothing varies"
    else:
        ends = t_interval(value, known, level, bounds)
    low, high = ends or (None, None)
    return Estimate(value=value, low=low, high=high, level=level, n=n, method=method, why=why, clusters=clustered)


def t_interval(value: float, left_out: FloatArray, level: float, bounds: Bounds) -> tuple[float, float]:
    """The interval of a jackknife: `left_out` are the figure's values with each block left out.

    With `bounds` it is made on the logit scale (for correlations Fisher's z) unless the figure is at its bound.
    """
    from scipy.special import stdtrit

    count = len(left_out)
    t = float(stdtrit(count - 1, (1 + level) / 2))
    if bounds is None:
        half = t * sqrt((count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum()))
        return value - half, value + half
    lo, hi = bounds
    inside = np.append(left_out, value)
    if not bool(((inside > lo) & (inside < hi)).all()):
        low, high = t_interval(value, left_out, level, None)
        return max(lo, low), min(hi, high)
    places = np.log((left_out - lo) / (hi - left_out))
    half = t * sqrt((count - 1) / count * float(((places - places.mean()) ** 2).sum()))
    at = log((value - lo) / (hi - value))
    return _back(at - half, lo, hi), _back(at + half, lo, hi)


def _back(place: float, lo: float, hi: float) -> float:
    """The value at a logit between the bounds."""
    share = 1 / (1 + exp(-place)) if place > 0 else exp(max(place, -700.0)) / (1 + exp(max(place, -700.0)))
    return lo + (hi - lo) * share

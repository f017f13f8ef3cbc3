"""Intervals for means, rates and paired differences of bounded scores. Pure: arrays and a seed in, an `Estimate` out.

The default is JBB, the Jeffreys-augmented Bayesian bootstrap (METHODS §0.1): unlike intervals made of a standard error it
keeps its coverage near the ceiling, where released systems live. Every interval here is about the superpopulation: the
traffic that the items were drawn from, not the items alone. SciPy is imported where it is used, so that importing this
module costs no more than NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from math import ceil, isfinite, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from evalh.errors import InputError
from evalh.records import Estimate

FloatArray = npt.NDArray[np.float64]
Clusters = Sequence[Hashable] | npt.NDArray[np.uint64]  # one name or number per value; values of one name were sampled together

MIN_ITEMS = 10  # below either there is no interval (METHODS §0)
MIN_CLUSTERS = 5
REPORT_DRAWS = 20_000  # Monte-Carlo sd of an end of the interval: 0.005 of its width
GATE_DRAWS = 200_000  # 0.0015 of its width
_SAME = 12  # decimals to which two sums are the same number
MANY = 5_000  # different clusters that are drawn one by one
MOST_CELLS, LEAST_CELLS = 1_000, 200  # of the grid for more of them, over all sizes of clusters and for each


def too_few(n_items: int, n_clusters: int) -> str | None:
    """Why there can be no interval, or None where there can (METHODS §0)."""
    if n_items < MIN_ITEMS:
        return f"{n_items} {'item' if n_items == 1 else 'items'}: an interval needs {MIN_ITEMS}"
    if n_clusters < MIN_CLUSTERS:
        return f"{n_clusters} {'cluster' if n_clusters == 1 else 'clusters'}: an interval needs {MIN_CLUSTERS}"
    return None


def normal_quantile(p: float) -> float:
    """The standard normal quantile."""
    return NormalDist().inv_cdf(p)


def complete(values: Sequence[float] | FloatArray, lo: float, hi: float) -> FloatArray:
    """The values as an array, each checked to be a number in [lo, hi]. Raises InputError naming the first that is not."""
    y = np.asarray(values, dtype=np.float64)
    bad = np.flatnonzero(~((y >= lo) & (y <= hi)))  # written so that NaN is bad
    if bad.size:
        hint = "map scores to [0, 1] first; a missing score is None"
        raise InputError(f"score {y[bad[0]]} is not in [{lo:g}, {hi:g}]", where=f"value {bad[0]}", hint=hint)
    return y


def between(worst: Estimate, best: Estimate, value: float | None, unscored: int) -> Estimate:
    """One interval from two: the sample with its unscored values at their worst, and at their best (Manski, METHODS §1.9).

    `value` is the mean of what was scored. An interval from either sample alone lies inside this one.
    """
    if unscored == 0:
        return worst
    note = f"{unscored} of {worst.n} unscored, at worst and at best"
    return worst.model_copy(update={"value": value, "high": best.high, "method": f"{worst.method}; {note}"})


def at_worst_and_best(make: Callable[[Sequence[float]], Estimate], values: Sequence[float | None], lo: float, hi: float) -> Estimate:
    """`make` of the values; where some are None, of both completions, joined by `between`."""
    known = [v for v in values if v is not None]
    unscored = len(values) - len(known)
    worst = make([lo if v is None else v for v in values])
    best = make([hi if v is None else v for v in values]) if unscored else worst
    return between(worst, best, float(np.mean(known)) if known else None, unscored)


# ---- JBB: the default for any bounded mean --------------------------------------------------------------------------


def cluster_totals(values: FloatArray, clusters: Clusters | None) -> tuple[FloatArray, FloatArray]:
    """Sum and number of the values of each cluster: two arrays (G,)."""
    if clusters is None:
        return values, np.ones_like(values)
    if len(clusters) != len(values):
        raise ValueError(f"{len(values)} values but {len(clusters)} cluster names")
    if isinstance(clusters, np.ndarray):
        index = np.unique(clusters, return_inverse=True)[1]
    else:
        place: dict[Hashable, int] = {}
        index = np.array([place.setdefault(name, len(place)) for name in clusters], dtype=np.intp)
    sums: FloatArray = np.bincount(index, weights=values).astype(np.float64)
    return sums, np.bincount(index).astype(np.float64)


def jbb_draws(sums: FloatArray, sizes: FloatArray, *, lo: float, hi: float, draws: int, seed: int) -> FloatArray:
    """`draws` values from the JBB law of a mean (METHODS §0.1), from the clusters' sums and sizes, each of shape (G,).

    theta = (sum_g w_g S_g + lo e_lo + hi e_hi) / (sum_g w_g m_g + e_lo + e_hi), with w_g ~ Gamma(1) and the two
    end-point pseudo-observations e ~ Gamma(1/2) times the mean cluster size. Clusters that are alike share one
    Gamma(count), which has the same law, is faster, and makes the result independent of the order of the values. Beyond
    MANY kinds the means are put on a grid (`_on_grid`).
    """
    rng = np.random.default_rng(seed)
    kinds, counts = _kinds(sums.round(_SAME), sizes)
    if len(kinds) > MANY:
        kinds, counts = _on_grid(kinds, counts, lo, hi)
    scale = float(sizes.mean())
    low_weight, high_weight = scale * rng.standard_gamma(0.5, draws), scale * rng.standard_gamma(0.5, draws)
    top, bottom = lo * low_weight + hi * high_weight, low_weight + high_weight
    for (total, size), count in zip(kinds, counts, strict=True):
        weight = rng.standard_gamma(float(count), draws)
        top += total * weight
        bottom += size * weight
    return np.asarray(top / bottom)


def _kinds(sums: FloatArray, sizes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The different pairs of sum and size in their order, (K, 2), and how many clusters have each, (K,)."""
    order = np.lexsort((sizes, sums))
    sums, sizes = sums[order], sizes[order]
    first = np.flatnonzero(np.append(True, (sums[1:] != sums[:-1]) | (sizes[1:] != sizes[:-1]))[: len(sums)])
    counts: FloatArray = np.diff(np.append(first, len(sums))).astype(np.float64)
    return np.column_stack([sums[first], sizes[first]]), counts


def _on_grid(kinds: FloatArray, counts: FloatArray, lo: float, hi: float) -> tuple[FloatArray, FloatArray]:
    """`kinds` with each cluster's mean shared between the two points of a grid around it, by how near it is to them.

    Gamma(c) is Gamma(c f) + Gamma(c (1 - f)), so the law of the denominator and the mean of every draw stay as they were.
    A cluster's part of the variance grows by at most an eighth of the squared cell: with 200 cells that makes the interval of
    scores with an sd of .05 wider by less than 0.001 of its width, which is far below the Monte-Carlo error.
    """
    sizes, place = np.unique(kinds[:, 1], return_inverse=True)
    cells = max(LEAST_CELLS, MOST_CELLS // len(sizes))
    at = np.clip((kinds[:, 0] / kinds[:, 1] - lo) / (hi - lo), 0, 1) * cells
    cell = np.minimum(at.astype(np.intp), cells - 1)
    above = at - cell
    flat, shape = place * (cells + 1) + cell, len(sizes) * (cells + 1)
    weights: FloatArray = np.zeros(shape)
    weights += np.bincount(flat, counts * (1 - above), shape) + np.bincount(flat + 1, counts * above, shape)
    used = np.flatnonzero(weights > 0)
    size = sizes[used // (cells + 1)]
    return np.column_stack([size * (lo + (hi - lo) * (used % (cells + 1)) / cells), size]), weights[used]


def mean_interval(
    values: Sequence[float | None] | FloatArray, *, seed: int, lo: float = 0.0, hi: float = 1.0, clusters: Clusters | None = None,
    level: float = 0.95, draws: int = REPORT_DRAWS,
) -> Estimate:  # fmt: skip
    """The mean of scores in [lo, hi] with its JBB interval (METHODS §0.1). One value per item; `clusters` names each value's.

    Two-valued scores without clusters have the closed form Beta(k + 1/2, n - k + 1/2) and use no seed. None is unscored:
    it enters at its worst for the lower end and at its best for the upper, and `method` says how many there were. The
    interval always holds the mean itself; for k = 0 and k = n that is the Jeffreys edge rule.
    """
    if not isinstance(values, np.ndarray) and any(v is None for v in values):
        make = partial(mean_interval, seed=seed, lo=lo, hi=hi, clusters=clusters, level=level, draws=draws)
        return at_worst_and_best(make, values, lo, hi)
    y = complete(values if isinstance(values, np.ndarray) else [v for v in values if v is not None], lo, hi)
    n = len(y)
    sums, sizes = cluster_totals(y, clusters)
    clustered = len(sums) < n
    count = len(sums) if clustered else None
    mean = float(y.mean()) if n else None
    why = too_few(n, len(sums))
    if why is not None or mean is None:
        return Estimate(value=mean, level=level, n=n, method="mean", why=why, clusters=count)
    tails = ((1 - level) / 2, (1 + level) / 2)
    if not clustered and bool(np.isin(y, (lo, hi)).all()):
        low, high = (lo + (hi - lo) * p for p in _jeffreys(int((y == hi).sum()), n, tails))
        return Estimate(value=mean, low=min(low, mean), high=max(high, mean), level=level, n=n, method="Jeffreys")
    low, high = map(float, np.quantile(jbb_draws(sums, sizes, lo=lo, hi=hi, draws=draws, seed=seed), tails))
    method = f"{'cluster ' if clustered else ''}JBB, {draws} draws"
    return Estimate(value=mean, low=min(low, mean), high=max(high, mean), level=level, n=n, method=method, seed=seed, clusters=count)


def _jeffreys(k: int, n: int, tails: tuple[float, float]) -> tuple[float, float]:
    from scipy.special import betaincinv

    return float(betaincinv(k + 0.5, n - k + 0.5, tails[0])), float(betaincinv(k + 0.5, n - k + 0.5, tails[1]))


# ---- rates ----------------------------------------------------------------------------------------------------------


def wilson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of k of n (METHODS §0.2)."""
    z = normal_quantile((1 + level) / 2)
    p = k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)


def rate(k: int, n: int, level: float = 0.95) -> Estimate:
    """The rate k of n as an Estimate with Wilson's interval; for counts without clusters."""
    value = k / n if n else None
    why = too_few(n, n)
    if why is not None:
        return Estimate(value=value, level=level, n=n, method="rate", why=why)
    low, high = wilson(k, n, level)
    return Estimate(value=value, low=low, high=high, level=level, n=n, method="Wilson")


def newcombe(k1: int, n1: int, k2: int, n2: int, level: float = 0.95) -> tuple[float, float]:
    """Newcombe's interval of p1 - p2 for independent samples, from two Wilson intervals (METHODS §0.2)."""
    p1, p2 = k1 / n1, k2 / n2
    (low1, high1), (low2, high2) = wilson(k1, n1, level), wilson(k2, n2, level)
    return p1 - p2 - sqrt((p1 - low1) ** 2 + (high2 - p2) ** 2), p1 - p2 + sqrt((high1 - p1) ** 2 + (p2 - low2) ** 2)


def tango(b: int, c: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Tango's (1998) score interval of (b - c)/n, where b pairs of n went one way and c the other (METHODS §0.2)."""
    z = normal_quantile((1 + level) / 2)
    return _tango_lower(b, c, n, z), -_tango_lower(c, b, n, z)


def _tango_lower(b: int, c: int, n: int, z: float) -> float:
    """The delta below (b - c)/n whose score statistic is z, by bisection; -1 where every pair went the other way."""
    left, right = -1.0, (b - c) / n - 1e-12  # just short of the estimate: there the statistic is 0/0 where nothing varies

    def excess(delta: float) -> float:
        middle = -b - c + (2 * n - b + c) * delta
        q = (sqrt(max(middle * middle + 8 * n * c * delta * (1 - delta), 0.0)) - middle) / (4 * n)
        return b - c - n * delta - z * sqrt(n * max(2 * q + delta * (1 - delta), 0.0))

    if c == n:
        return -1.0
    for _ in range(100):
        delta = (left + right) / 2
        left, right = (delta, right) if excess(delta) > 0 else (left, delta)
    return left


# ---- standard errors with clusters ----------------------------------------------------------------------------------


def cr3_se(values: Sequence[float], clusters: Clusters) -> float:
    """The CR3 standard error of the mean, equal to the delete-one-cluster jackknife (METHODS §0.2). Needs two clusters."""
    y = np.asarray(values, dtype=np.float64)
    n = len(y)
    residuals, sizes = cluster_totals(y - y.mean(), clusters)
    count = len(sizes)
    if count < 2:
        raise ValueError("a standard error needs two clusters")
    return sqrt((count - 1) / count * float(((residuals / (n * (1 - sizes / n))) ** 2).sum()))


def cr3_interval(values: Sequence[float], clusters: Clusters, level: float = 0.95) -> Estimate:
    """The mean with its CR3 interval, t with G - 1 degrees of freedom. For unskewed data; near the ceiling use JBB."""
    from scipy.special import stdtrit

    n, count = len(values), len(set(clusters))
    value = float(np.mean(values)) if n else None
    why = too_few(n, count)
    if why is not None or value is None:
        return Estimate(value=value, level=level, n=n, method="mean", why=why, clusters=count)
    half = float(stdtrit(count - 1, (1 + level) / 2)) * cr3_se(values, clusters)
    return Estimate(value=value, low=value - half, high=value + half, level=level, n=n, method="CR3, t", clusters=count)


def design_effect(values: Sequence[float], clusters: Clusters | None) -> float:
    """deff = (SE_CR3 / SE_naive)^2: how many times more items the clusters cost (METHODS §3.4). 1 where it cannot be told."""
    if clusters is None or not 2 <= len(set(clusters)) < len(values):
        return 1.0
    naive = float(np.std(values, ddof=1)) / sqrt(len(values))
    effect = (cr3_se(values, clusters) / naive) ** 2 if naive > 0 else 1.0
    return effect if effect > 0 else 1.0


# ---- how many more --------------------------------------------------------------------------------------------------


def items_needed(
    values: Sequence[float], distance: float, *, alpha: float, lo: float, hi: float, clusters: Clusters | None = None
) -> int | None:
    """How many more items decide with 80 % power a question that the truth is `distance` away from (METHODS §3.3).

    The variance is that of the values with one pseudo-observation at each end. None where the distance is 0.
    """
    augmented = np.array([*values, lo, hi], dtype=np.float64)
    z = normal_quantile(1 - alpha) + normal_quantile(0.8)
    total = design_effect(values, clusters) * z * z * float(augmented.var()) / distance**2 if distance else float("inf")
    return max(1, ceil(total) - len(values)) if isfinite(total) else None

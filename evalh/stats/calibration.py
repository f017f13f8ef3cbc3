"""Whether a judge's stated confidence means something: calibration error, separation, and accuracy by coverage. Pure.

A confidence is in [0, 1]: the probability, as the judge says, that its answer is right. Bins are of equal width and closed
above: bin k of K holds ((k - 1) / K, k / K], the first also 0; so the many confidences of exactly 1 stand in the last bin,
and one of exactly .9 in the last but one of ten (Guo et al. 2017).
"""

from __future__ import annotations

from math import exp, log, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.records import Estimate
from evalh.stats.association import agreement_rate
from evalh.stats.intervals import MIN_CLUSTERS, FloatArray, complete, normal_quantile, too_few, wilson
from evalh.stats.resampling import DRAWS, IntArray, kinds_of, resampled, sums_by_cluster

SHARES = tuple(tenth / 10 for tenth in range(1, 11))  # of the verdicts, the most confident first


class Bin(NamedTuple):
    """The verdicts with a confidence in (low, high]; `confidence` is their mean, None where there are none."""

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: Estimate


class Covered(NamedTuple):
    """The accuracy of the `n` most confident verdicts, a `share` of all. Equal confidences at the edge count in part."""

    share: float
    accuracy: float
    n: int


class Calibration(NamedTuple):
    """The expected calibration error, the area under the ROC curve of confidence for being right, the bins and the coverage."""

    ece: Estimate
    auroc: Estimate
    bins: list[Bin]
    coverage: list[Covered]


def calibration(
    confidence: FloatArray, correct: npt.NDArray[np.bool_], clusters: IntArray, *, bins: int = 10, seed: int, level: float = 0.95
) -> Calibration:
    """Calibration of confidences (n,) in [0, 1] with whether each answer was correct (n,). Raises InputError for any other confidence."""
    stated, right = complete(confidence, 0.0, 1.0), np.asarray(correct, dtype=np.float64)
    if not len(stated) == len(right) == len(clusters):
        raise ValueError(f"{len(stated)} confidences, {len(right)} answers and {len(clusters)} cluster codes")
    clusters = np.asarray(clusters)
    edges = np.arange(bins + 1) / bins
    place = np.maximum(np.searchsorted(edges, stated, side="left") - 1, 0)
    shown = []
    for number in range(bins):
        here = place == number
        mean = float(np.sort(stated[here]).mean()) if here.any() else None
        accuracy = agreement_rate(right[here], clusters[here], seed=seed, level=level, draws=DRAWS)
        shown.append(Bin(float(edges[number]), float(edges[number + 1]), int(here.sum()), mean, accuracy))
    ece = calibration_error(stated, right, place, clusters, bins=bins, seed=seed, level=level)
    return Calibration(ece, auroc(stated, right > 0.5, clusters, level=level), shown, coverage(stated, right))


def calibration_error(
    stated: FloatArray, right: FloatArray, place: IntArray, clusters: IntArray, *, bins: int, seed: int, level: float
) -> Estimate:
    """ECE: the sum over bins of |number right - sum of confidences|, over n.

    Chance makes every bin's gap look larger, so ECE is too large by nature and percentiles of a bootstrap, which add
    chance a second time, are worse. The interval asks of which errors the observed one is typical: with d the gaps that
    were seen and e their noise in 2,000 resamples, it holds every s * ECE for which neither more than 97.5 % of
    sum |s d + e| lie above the ECE seen, nor more than 97.5 % below. Its lower end is 0 where the gaps may be chance.
    """
    n = len(stated)
    columns = np.zeros((n, bins + 1))
    columns[np.arange(n), place] = right - stated
    columns[:, bins] = 1.0
    kinds = kinds_of(sums_by_cluster(columns, clusters))
    count = kinds.clusters
    clustered = count if count < n else None
    if n == 0:
        return Estimate(value=None, level=level, why="no items")
    gaps = kinds.total[0, :bins] / n
    value = float(np.abs(gaps).sum())
    if why := too_few(n, count):
        return Estimate(value=value, level=level, n=n, why=why, clusters=clustered)
    drawn = resampled(kinds, seed=seed, draws=DRAWS)
    noise = (drawn[:, :bins] / drawn[:, bins:] - gaps) * _small_sample(count, level)
    if float(np.abs(noise).max()) < 1e-12:
        return Estimate(value=value, level=level, n=n, why="every resample gives the same value: nothing varies", clusters=clustered)
    tails = ((1 - level) / 2, (1 + level) / 2)
    low = value * _scale(gaps, noise, value, tails[1])
    high = value * _scale(gaps, noise, value, tails[0]) if value else float(np.quantile(np.abs(noise).sum(1), tails[1]))
    method = f"inverted cluster bootstrap, {DRAWS} draws"
    ends = {"low": min(low, value), "high": min(max(high, value), 1.0)}
    return Estimate(value=value, **ends, level=level, n=n, method=method, seed=seed, clusters=clustered)


def _small_sample(clusters: int, level: float) -> float:
    """What few clusters add: t for z, and the variance that a bootstrap lacks."""
    from scipy.special import stdtrit

    return float(stdtrit(clusters - 1, (1 + level) / 2)) / normal_quantile((1 + level) / 2) * sqrt(clusters / (clusters - 1))


def _scale(gaps: FloatArray, noise: FloatArray, value: float, tail: float) -> float:
    """The s >= 0 at which the `tail` quantile of sum |s d + e| is the value; 0 where it is larger already without any gap."""

    def at(s: float) -> float:
        return float(np.quantile(np.abs(s * gaps + noise).sum(1), tail))

    if value == 0 or at(0.0) >= value:
        return 0.0
    low, high = 0.0, 1.0
    while at(high) < value and high < 1e6:
        low, high = high, 2 * high
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle) < value else (low, middle)
    return high


# ---- separation -----------------------------------------------------------------------------------------------------


def auroc(stated: FloatArray, correct: npt.NDArray[np.bool_], clusters: IntArray, *, level: float = 0.95) -> Estimate:
    """The chance that a right answer has more confidence than a wrong one, ties one half. None where only one of both occurs.

    Interval: DeLong's variance, with clusters Obuchowski's (1997), on the logit with t. Where the separation is perfect,
    Wilson's lower bound for all of the rarer class's clusters.
    """
    n, count = len(stated), len(np.unique(clusters))
    clustered = count if count < n else None
    good, bad = stated[correct], stated[~correct]

    def given(value: float | None, why: str | None, ends: tuple[float, float] | None = None, method: str = "") -> Estimate:
        low, high = ends or (None, None)
        return Estimate(value=value, low=low, high=high, level=level, n=n, method=method, why=why, clusters=clustered)

    if not len(good) or not len(bad):
        return given(None, f"every answer is {'right' if len(good) else 'wrong'}: separation needs both" if n else "no items")
    of_good, of_bad = _beaten(bad, good), 1 - _beaten(good, bad)
    value = float(np.sort(of_good).mean())
    rarer = min(len(np.unique(clusters[correct])), len(np.unique(clusters[~correct])))
    why = too_few(n, count)
    if why is None and rarer < MIN_CLUSTERS:
        why = f"{rarer} {'cluster' if rarer == 1 else 'clusters'} of the rarer class: an interval needs {MIN_CLUSTERS}"
    if why is not None:
        return given(value, why)
    if value in (0.0, 1.0):
        low, high = wilson(round(value * rarer), rarer, level)
        return given(value, None, (low, high), "Wilson for the rarer class")
    share = np.empty(n)
    share[correct] = (of_good - value) / sqrt(len(good) * (len(good) - 1))
    share[~correct] = (of_bad - value) / sqrt(len(bad) * (len(bad) - 1))
    sums = sums_by_cluster(share[:, None], clusters)[:, 0]
    se = sqrt(count / (count - 1) * float((sums * sums).sum()) if clustered else float((share * share).sum()))
    from scipy.special import stdtrit

    half = float(stdtrit(rarer - 1, (1 + level) / 2)) * se / (value * (1 - value))
    at = log(value / (1 - value))
    low, high = (1 / (1 + exp(-max(min(place, 700.0), -700.0))) for place in (at - half, at + half))
    return given(value, None, (low, high), "Obuchowski, logit" if clustered else "DeLong, logit")


def _beaten(others: FloatArray, ours: FloatArray) -> FloatArray:
    """For each of ours, the share of the others below it, ties one half."""
    ordered = np.sort(others)
    below, upto = np.searchsorted(ordered, ours, side="left"), np.searchsorted(ordered, ours, side="right")
    return np.asarray((below + upto) / (2 * len(others)))


# ---- coverage -------------------------------------------------------------------------------------------------------


def coverage(stated: FloatArray, right: FloatArray) -> list[Covered]:
    """The accuracy of the most confident tenth, two tenths, … of the verdicts. Of equal confidences none comes first."""
    n = len(stated)
    if n == 0:
        return []
    place = np.unique(-stated, return_inverse=True)[1]
    sizes, hits = np.bincount(place).astype(np.float64), np.bincount(place, right)
    upto, hits_upto = np.append(0, np.cumsum(sizes)), np.append(0, np.cumsum(hits))
    kept = sorted({max(1, round(share * n)) for share in SHARES})
    return [Covered(number / n, float(np.interp(number, upto, hits_upto)) / number, number) for number in kept]

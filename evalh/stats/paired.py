"""Two systems on the same items: the interval of the difference, and the tests that are shown beside it.

A p value never decides a gate (METHODS §3.1); the interval does (§3.2, §3.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalh.records import Estimate
from evalh.stats.intervals import REPORT_DRAWS, Clusters, FloatArray, between, cluster_totals, complete, mean_interval, tango, too_few

EXACT_CLUSTERS = 20  # up to this many the sign-flip test enumerates: 2**20 sums
RESAMPLES = 99_999


def difference(
    candidate: Sequence[float | None], baseline: Sequence[float | None], *, seed: int, clusters: Clusters | None = None,
    level: float = 0.95, draws: int = REPORT_DRAWS,
) -> Estimate:  # fmt: skip
    """The mean of candidate - baseline over items, with its interval (METHODS §3.2). Scores in [0, 1], paired by place.

    Two-valued scores without clusters: Tango's score interval. Anything else: JBB of the differences on [-1, 1]. A pair
    with a None enters at its worst for the lower end and at its best for the upper; `value` is over complete pairs.
    """
    if len(candidate) != len(baseline):
        raise ValueError(f"{len(candidate)} candidate scores but {len(baseline)} baseline scores")

    def filled(unknown_candidate: float, unknown_baseline: float) -> Estimate:
        ours = complete([unknown_candidate if v is None else v for v in candidate], 0, 1)
        theirs = complete([unknown_baseline if v is None else v for v in baseline], 0, 1)
        return _difference(ours, theirs, clusters=clusters, level=level, draws=draws, seed=seed)

    known = [c - b for c, b in zip(candidate, baseline, strict=True) if c is not None and b is not None]
    unscored = len(candidate) - len(known)
    worst = filled(0.0, 1.0)
    return between(worst, filled(1.0, 0.0) if unscored else worst, float(np.mean(known)) if known else None, unscored)


def _difference(candidate: FloatArray, baseline: FloatArray, *, clusters: Clusters | None, level: float, draws: int, seed: int) -> Estimate:
    n = len(candidate)
    clustered = clusters is not None and len(set(clusters)) < n
    if clustered or not is_binary(candidate, baseline) or too_few(n, n):
        return mean_interval(list(candidate - baseline), lo=-1, hi=1, clusters=clusters, level=level, draws=draws, seed=seed)
    better, worse = int((candidate > baseline).sum()), int((candidate < baseline).sum())
    low, high = tango(better, worse, n, level)
    return Estimate(value=(better - worse) / n, low=low, high=high, level=level, n=n, method="Tango")


def is_binary(*arms: Sequence[float] | FloatArray) -> bool:
    """Whether all scores of all arms are 0 or 1."""
    return all(bool(np.isin(arm, (0.0, 1.0)).all()) for arm in arms)


def mcnemar_exact(better: int, worse: int) -> float:
    """Two-sided exact McNemar p value: 2 P(Bin(b + c, 1/2) <= min(b, c)), at most 1 (METHODS §3.1)."""
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(better, worse), better + worse, 0.5))) if better + worse else 1.0


def sign_flip_test(differences: Sequence[float], *, seed: int, clusters: Clusters | None = None, resamples: int = RESAMPLES) -> float:
    """Two-sided p value of the paired sign-flip permutation test on cluster sums (METHODS §3.1).

    All 2^G flips where at most 20 clusters differ; else p = (1 + #) / (resamples + 1) over seeded random ones.
    """
    sums, _ = cluster_totals(np.asarray(differences, dtype=np.float64), clusters)
    sizes = np.abs(sums[np.abs(sums) > 1e-12])  # a cluster without a difference is the same flipped
    observed = abs(float(sums.sum())) - 1e-9
    if len(sizes) <= EXACT_CLUSTERS:
        totals = np.zeros(1)
        for size in sizes:
            totals = np.concatenate([totals + size, totals - size])
        return float((np.abs(totals) >= observed).mean())
    rng = np.random.default_rng(seed)
    flipped = np.zeros(resamples)
    for size, count in zip(*np.unique(sizes.round(12), return_counts=True), strict=True):
        flipped += size * (2.0 * rng.binomial(count, 0.5, resamples) - count)  # the sum of `count` random signs
    return float((1 + (np.abs(flipped) >= observed).sum()) / (resamples + 1))


def paired_p_value(
    candidate: Sequence[float], baseline: Sequence[float], *, seed: int, clusters: Clusters | None = None
) -> tuple[float, str]:
    """The p value of no difference and the name of its test: exact McNemar where unclustered and two-valued, else sign flips."""
    if is_binary(candidate, baseline) and (clusters is None or len(set(clusters)) == len(candidate)):
        better = sum(c > b for c, b in zip(candidate, baseline, strict=True))
        worse = sum(c < b for c, b in zip(candidate, baseline, strict=True))
        return mcnemar_exact(better, worse), "McNemar, exact"
    differences = [c - b for c, b in zip(candidate, baseline, strict=True)]
    return sign_flip_test(differences, clusters=clusters, seed=seed), "sign flips"

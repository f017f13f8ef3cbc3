"""Two systems on the same items: the interval of the difference, and the tests that are shown beside it.

A p value never decides a gate (METHODS §3.1); the interval does (§3.2, §3.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.records import Estimate
from evalh.stats.intervals import REPORT_DRAWS, Clusters, FloatArray, between, cluster_totals, complete, mean_interval, tango, too_few

Headline = Literal["mcnemar", "permutation"]

EXACT_CLUSTERS = 20  # up to this many the sign-flip test enumerates: 2**20 sums
RESAMPLES = 99_999
FEWER_RESAMPLES, MANY_SIZES = 9_999, 500  # so many where more than so many different sums are to be flipped
_AT_ONCE = 4_000_000  # random signs that are held at one time


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


class SignFlips(NamedTuple):
    """What the sign-flip test found. `clusters` are those that differ; `resamples` None: all flips were enumerated."""

    p_value: float
    clusters: int
    resamples: int | None


def sign_flips(
    differences: Sequence[float] | FloatArray, *, seed: int, clusters: Clusters | None = None, resamples: int = RESAMPLES
) -> SignFlips:
    """The two-sided paired sign-flip permutation test on cluster sums (METHODS §3.1).

    All 2^G flips where at most 20 clusters differ; else p = (1 + #) / (resamples + 1) over seeded random ones: at most 9,999
    where more than 500 different sums are to be flipped.
    """
    sums, _ = cluster_totals(np.asarray(differences, dtype=np.float64), clusters)
    sizes = np.abs(sums[np.abs(sums) > 1e-12])  # a cluster without a difference is the same flipped
    observed = abs(float(sums.sum())) - 1e-9
    if len(sizes) <= EXACT_CLUSTERS:
        totals = np.zeros(1)
        for size in sizes:
            totals = np.concatenate([totals + size, totals - size])
        return SignFlips(float((np.abs(totals) >= observed).mean()), len(sizes), None)
    kinds, counts = np.unique(sizes.round(12), return_counts=True)
    drawn = min(resamples, FEWER_RESAMPLES) if len(kinds) > MANY_SIZES else resamples
    flipped = _flipped(kinds, counts, drawn, np.random.default_rng(seed))
    return SignFlips(float((1 + (np.abs(flipped) >= observed).sum()) / (drawn + 1)), len(sizes), drawn)


def _flipped(kinds: FloatArray, counts: npt.NDArray[np.int64], resamples: int, rng: np.random.Generator) -> FloatArray:
    """Sums of all sizes with random signs, (resamples,). Sizes that occur often need one binomial number for all of them."""
    total = np.zeros(resamples)
    for size, count in zip(kinds[counts > 1], counts[counts > 1], strict=True):
        total += size * (2.0 * rng.binomial(count, 0.5, resamples) - count)
    single = kinds[counts == 1]
    width = -(-len(single) // 8)  # bytes with a sign for each
    step = max(1, _AT_ONCE // max(8 * width, 1))
    for start in range(0, resamples if len(single) else 0, step):
        rows = min(step, resamples - start)
        bits = np.unpackbits(rng.integers(0, 256, (rows, width), dtype=np.uint8), axis=1, count=len(single))
        total[start : start + rows] += 2.0 * (bits.astype(np.float64) @ single) - single.sum()
    return total


class PairedTests(NamedTuple):
    """Both tests of no difference. `better` and `worse` count the items of McNemar's table; it has no p value where a score is neither
    0 nor 1. `headline` is the one to quote: McNemar's for two-valued scores without clusters, else sign flips of cluster sums.
    """

    mcnemar: float | None
    better: int
    worse: int
    flips: SignFlips
    headline: Headline

    @property
    def p_value(self) -> float:
        return self.flips.p_value if self.headline == "permutation" or self.mcnemar is None else self.mcnemar


def paired_tests(candidate: Sequence[float], baseline: Sequence[float], *, seed: int, clusters: Clusters | None = None) -> PairedTests:
    """The exact McNemar test and the sign-flip test of the same pairs (METHODS §3.1)."""
    ours, theirs = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    better, worse = int((ours > theirs).sum()), int((ours < theirs).sum())
    return PairedTests(
        mcnemar=mcnemar_exact(better, worse) if is_binary(ours, theirs) else None,
        better=better,
        worse=worse,
        flips=sign_flips(ours - theirs, clusters=clusters, seed=seed),
        headline="mcnemar" if _mcnemar_fits(ours, theirs, clusters) else "permutation",
    )


def paired_p_value(candidate: Sequence[float], baseline: Sequence[float], *, seed: int, clusters: Clusters | None = None) -> float:
    """The headline p value alone: what `paired_tests` quotes, at the cost of one test."""
    ours, theirs = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if _mcnemar_fits(ours, theirs, clusters):
        return mcnemar_exact(int((ours > theirs).sum()), int((ours < theirs).sum()))
    return sign_flips(ours - theirs, clusters=clusters, seed=seed).p_value


def _mcnemar_fits(candidate: FloatArray, baseline: FloatArray, clusters: Clusters | None) -> bool:
    """Two-valued scores, each item its own cluster: what McNemar's test is made for."""
    return is_binary(candidate, baseline) and (clusters is None or len(set(clusters)) == len(candidate))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) step-down adjusted p values, in the order given. None is no test: it stays None and is not counted."""
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[place] = largest
    return adjusted

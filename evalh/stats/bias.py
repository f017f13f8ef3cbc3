"""What a judge prefers beside quality: the longer, its own, the lenient answer; and how much of its scale it uses. Pure.

What is measured at equal human verdict may be called bias; without labels it is an association (METHODS §1.3, §1.4). The
order shown and repeats are in `position`, whose names are given here too.
"""

from __future__ import annotations

from math import log
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.errors import InputError
from evalh.records import Estimate
from evalh.stats.association import agreement_rate
from evalh.stats.intervals import FloatArray, mean_interval, newcombe, tango, too_few
from evalh.stats.logistic import fit, sandwich
from evalh.stats.position import Position, ScoreStability, Stability, position, repeat_stability, score_stability
from evalh.stats.resampling import cluster_bootstrap, sums_by_cluster

__all__ = [
    "Position",
    "ScoreStability",
    "ScoreUse",
    "SelfPreference",
    "Stability",
    "Verbosity",
    "length_score",
    "leniency",
    "leniency_scores",
    "position",
    "repeat_stability",
    "score_stability",
    "score_use",
    "self_preference",
    "verbosity",
]  # fmt: skip

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
MIN_PAIRS, MIN_OUTCOMES = 200, 30  # METHODS §1.3: below either the coefficient is indicative
DOUBLE = log(2)


# ---- length ---------------------------------------------------------------------------------------------------------


class Verbosity(NamedTuple):
    """What length does to verdicts. `coefficient` is in log-odds (scores: points) per unit of ln length, `doubling` what doubling the
    length adds to the probability of winning (scores: to the score).
    """

    longer_share: Estimate | None  # of verdicts on outputs of different length, won by the longer one, a tie counting half
    coefficient: Estimate
    doubling: Estimate | None
    basis: Literal["human", "association"]  # at equal human verdict, or without one
    note: str | None  # why the figures are only indicative


def verbosity(
    log_length_ratio: FloatArray, prefers_first: FloatArray, human: FloatArray | None, clusters: IntArray, *, seed: int, level: float = 0.95
) -> Verbosity | None:
    """The logistic model P(prefers first) = σ(β0 + β_h·h + β_l·ln(len first / len second)) of pairwise verdicts (METHODS §1.3).

    All (n,): `prefers_first` is 1, 1/2 for a tie (two half rows have the same likelihood) or 0, `human` 1, 0 or -1 for people's
    preference of the first. Cluster-robust standard errors (CR1), t with G - 1 degrees of freedom; of `doubling`, an average
    marginal effect, by the delta method with the variance of its mean over items.
    None where lengths or verdicts do not vary. Raises InputError where a number is NaN or infinite.
    """
    ratio, y = np.asarray(log_length_ratio, dtype=np.float64), np.asarray(prefers_first, dtype=np.float64)
    _finite(ratio, y, human)
    if not ratio.size or np.ptp(ratio) == 0 or np.ptp(y) == 0:
        return None
    columns = [np.ones(len(y)), ratio]
    if human is not None and np.ptp(human) > 0:
        columns.append(np.asarray(human, dtype=np.float64))
    x = np.column_stack(columns)
    differ = ratio != 0
    longer_wins = np.where(ratio > 0, y, 1 - y)[differ]
    basis: Literal["human", "association"] = "association" if human is None else "human"
    few = [f"{len(y)} of {MIN_PAIRS} verdicts"] * (len(y) < MIN_PAIRS)
    least = int(min((y > 0.5).sum(), (y < 0.5).sum()))
    few += [f"{least} of {MIN_OUTCOMES} of the rarer outcome"] * (least < MIN_OUTCOMES)
    coefficient, doubling = _length_effects(x, y, clusters, level)
    return Verbosity(
        agreement_rate(longer_wins, clusters[differ], seed=seed, level=level), coefficient, doubling, basis,
        f"indicative: {' and '.join(few)}" if few else None,
    )  # fmt: skip


def _length_effects(x: FloatArray, y: FloatArray, clusters: IntArray, level: float) -> tuple[Estimate, Estimate]:
    from scipy.special import stdtrit

    n, count = len(y), len(np.unique(clusters))
    method = "logistic regression, cluster-robust, t"
    why = too_few(n, count)
    try:
        if count < 2:
            raise InputError("one item")
        if np.linalg.matrix_rank(x) < x.shape[1]:
            raise InputError("length and human verdict cannot be told apart")
        beta, covariance = fit(x, y, clusters)
    except InputError as error:
        none = Estimate(value=None, level=level, n=n, method=method, why=why or error.what, clusters=count)
        return none, none
    longer = x.copy()
    longer[:, 1] += DOUBLE
    at, after = _sigmoid(x @ beta), _sigmoid(longer @ beta)
    slope = (longer * (after * (1 - after))[:, None] - x * (at * (1 - at))[:, None]).mean(axis=0)
    gain = after - at
    spread = sandwich(np.eye(1) / n, (gain - gain.mean())[:, None], clusters)[0, 0]  # other items have other lengths
    quantile = float(stdtrit(count - 1, (1 + level) / 2))

    def around(value: float, variance: float) -> Estimate:
        half = quantile * float(np.sqrt(variance))
        low, high = (None, None) if why else (value - half, value + half)
        return Estimate(value=value, low=low, high=high, level=level, n=n, method=method, why=why, clusters=count)

    return around(float(beta[1]), float(covariance[1, 1])), around(float(gain.mean()), float(slope @ covariance @ slope + spread))


def _finite(*columns: FloatArray | None) -> None:
    for values in columns:
        bad = [] if values is None else np.flatnonzero(~np.isfinite(values)).tolist()
        if bad:
            hint = "leave out and count what is unscored, unlabelled or without text"
            raise InputError("a length, verdict or label is not a number", where=f"verdict {bad[0]}", hint=hint)


def _sigmoid(eta: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-np.clip(eta, -500, 500))))


def length_score(
    log_length: FloatArray, score: FloatArray, human: FloatArray | None, clusters: IntArray, *, seed: int, level: float = 0.95
) -> Verbosity | None:
    """The same for single outputs: least squares of the score on ln length, at equal human score where there is one.

    All (n,), scores on the judge's own scale. Cluster-robust (CR1), t with G - 1 degrees of freedom; no seed is used. None where
    lengths or scores do not vary. Raises InputError as `verbosity` does.
    """
    from scipy.special import stdtrit

    length, y = np.asarray(log_length, dtype=np.float64), np.asarray(score, dtype=np.float64)
    _finite(length, y, human)
    if not length.size or np.ptp(length) == 0 or np.ptp(y) == 0:
        return None
    columns = [np.ones(len(y)), length]
    if human is not None and np.ptp(human) > 0:
        columns.append(np.asarray(human, dtype=np.float64))
    x = np.column_stack(columns)
    n, count = len(y), len(np.unique(clusters))
    basis: Literal["human", "association"] = "association" if human is None else "human"
    note = f"indicative: {n} of {MIN_PAIRS} verdicts" if n < MIN_PAIRS else None
    method = "least squares, cluster-robust, t"
    why = too_few(n, count)
    gram = x.T @ x
    if np.linalg.cond(gram) > 1e12:
        none = Estimate(value=None, level=level, n=n, method=method, why="length and human score cannot be told apart", clusters=count)
        return Verbosity(None, none, None, basis, note)
    bread = np.linalg.inv(gram)
    beta = bread @ x.T @ y
    slope, half = float(beta[1]), None
    if why is None:
        se = float(np.sqrt(sandwich(bread, x * (y - x @ beta)[:, None], clusters)[1, 1]))
        half = float(stdtrit(count - 1, (1 + level) / 2)) * se

    def times(factor: float) -> Estimate:
        low, high = (None, None) if half is None else (factor * (slope - half), factor * (slope + half))
        return Estimate(value=factor * slope, low=low, high=high, level=level, n=n, method=method, why=why, clusters=count)

    return Verbosity(None, times(1.0), times(DOUBLE), basis, note)


# ---- its own --------------------------------------------------------------------------------------------------------


class SelfPreference(NamedTuple):
    """How much more a judge sides with its own outputs than people do, in win-rate units (METHODS §1.4).

    `equal_opportunity` is P(J=own | H=own) - P(J=other | H=other) (Wataoka et al. 2024), `excess` P(J=own) - P(H=own), and
    `controlled` the excess less that of judges of other families on the same pairs: judges also err where they would fail
    themselves. Self-preference is `claimed` only where the lower end of `controlled` is above 0; None where there is no control.
    """

    equal_opportunity: Estimate
    excess: Estimate
    controlled: Estimate | None
    n_own_wins: int  # pairs that people decide for the judge's own output
    n_other_wins: int
    claimed: bool | None


def self_preference(
    own_wins_judge: FloatArray, own_wins_human: FloatArray, clusters: IntArray, others: FloatArray | None, *, seed: int, level: float = 0.95
) -> SelfPreference | None:
    """From pairs (n,) of an own output and another's: 1 where the own one wins, 1/2 a tie, 0, both orders averaged.

    `others` is the mean of judges of other families on the same pairs, NaN where there is none. Human ties are left out of
    `equal_opportunity`. Intervals: Newcombe and Tango where nothing is clustered or averaged, else cluster bootstrap and JBB.
    None without pairs.
    """
    judge, human = np.asarray(own_wins_judge, dtype=np.float64), np.asarray(own_wins_human, dtype=np.float64)
    if not judge.size:
        return None
    own, other = human > 0.5, human < 0.5
    controlled = None
    if others is not None and (known := ~np.isnan(others)).any():
        controlled = mean_interval((judge - others)[known], lo=-1, hi=1, clusters=_names(clusters[known]), seed=seed, level=level)
    return SelfPreference(
        equal_opportunity=_equal_opportunity(judge, own, other, clusters, seed=seed, level=level),
        excess=_difference(judge, human, clusters, seed=seed, level=level),
        controlled=controlled,
        n_own_wins=int(own.sum()),
        n_other_wins=int(other.sum()),
        claimed=None if controlled is None or controlled.low is None else controlled.low > 0,
    )


def _equal_opportunity(judge: FloatArray, own: BoolArray, other: BoolArray, clusters: IntArray, *, seed: int, level: float) -> Estimate:
    decided = own | other
    n, n_own, n_other = int(decided.sum()), int(own.sum()), int(other.sum())
    if not n_own or not n_other:
        return Estimate(value=None, level=level, n=n, why="people decide all pairs for one side" if n else "people decide no pair")
    alone = len(np.unique(clusters[decided])) == n
    if alone and bool(np.isin(judge[decided], (0.0, 1.0)).all()) and too_few(n, n) is None:
        k_own, k_other = int(judge[own].sum()), int((1 - judge[other]).sum())
        low, high = newcombe(k_own, n_own, k_other, n_other, level)
        value = k_own / n_own - k_other / n_other
        return Estimate(value=value, low=low, high=high, level=level, n=n, method="Newcombe")
    columns = np.column_stack([judge * own, own, (1 - judge) * other, other])[decided]
    sums = sums_by_cluster(columns, clusters[decided])
    return cluster_bootstrap(sums, lambda s: s[:, 0] / s[:, 1] - s[:, 2] / s[:, 3], n=n, seed=seed, level=level, bounds=(-1.0, 1.0))


def _difference(ours: FloatArray, theirs: FloatArray, clusters: IntArray, *, seed: int, level: float) -> Estimate:
    """The mean of ours - theirs, both in [0, 1]: Tango where both are 0 or 1 and nothing is clustered, else JBB (METHODS §3.2)."""
    n = len(ours)
    alone = len(np.unique(clusters)) == n
    if alone and too_few(n, n) is None and bool(np.isin(ours, (0.0, 1.0)).all() and np.isin(theirs, (0.0, 1.0)).all()):
        b, c = int((ours > theirs).sum()), int((ours < theirs).sum())
        low, high = tango(b, c, n, level)
        return Estimate(value=(b - c) / n, low=low, high=high, level=level, n=n, method="Tango")
    return mean_interval(ours - theirs, lo=-1, hi=1, clusters=_names(clusters), seed=seed, level=level)


def _names(clusters: IntArray) -> npt.NDArray[np.uint64]:
    return np.asarray(clusters).astype(np.uint64)


# ---- leniency and the use of the scale ------------------------------------------------------------------------------


def leniency(passed: BoolArray, good: BoolArray, clusters: IntArray, *, seed: int, level: float = 0.95) -> Estimate:
    """P(judge passes) - P(people pass) = (false passes - false fails) / n, of rows (n,) (METHODS §1.6)."""
    return _difference(np.asarray(passed, dtype=np.float64), np.asarray(good, dtype=np.float64), clusters, seed=seed, level=level)


def leniency_scores(judge: FloatArray, human: FloatArray, clusters: IntArray, *, seed: int, level: float = 0.95) -> Estimate:
    """The mean of judge - human, scores (n,) in [0, 1], with its JBB interval (METHODS §1.6)."""
    difference = np.asarray(judge, dtype=np.float64) - np.asarray(human, dtype=np.float64)
    return mean_interval(difference, lo=-1, hi=1, clusters=_names(clusters), seed=seed, level=level)


class ScoreUse(NamedTuple):
    """How much of its scale a judge uses (METHODS §1.7). Below 1.5 effective levels it cannot rank."""

    levels: int  # different answers
    effective_levels: float  # e^entropy: so many equally common answers would be as varied
    entropy: float  # in nats
    modal_share: float  # of the commonest answer
    tie_rate: float | None = None  # of pairs; whoever knows which code is a tie sets it


def score_use(answers: IntArray | FloatArray) -> ScoreUse:
    """Of the scored answers (n,) of one judge, codes or scores. Raises ValueError where there are none."""
    counts = np.unique(answers, return_counts=True)[1]
    if not counts.size:
        raise ValueError("no scored answers")
    share = counts / counts.sum()
    entropy = float(max(0.0, -(share * np.log(share)).sum()))
    return ScoreUse(len(counts), float(np.exp(entropy)), entropy, float(share.max()))

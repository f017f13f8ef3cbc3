"""Ratings from pairs: Bradley and Terry's model with ties as Davidson (1970) adds them (METHODS §5.1). Pure.

    P(i beats j) = pi_i / (pi_i + pi_j + nu sqrt(pi_i pi_j)),   P(tie) = nu sqrt(pi_i pi_j) / (…),   pi = exp(theta)

A rating is a theta: a difference of ln 3 means three wins for each loss. All pairs are weighed at once; the order in which
they were judged plays no part, as it would in an online Elo rating.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.records import Estimate
from evalh.stats.intervals import FloatArray, mean_interval, too_few

IntArray = npt.NDArray[np.int64]

ELO = 400 / log(10)  # Elo points in a unit of theta
HALF_TIE = 0.25  # half a tie is a quarter of a win for each side
_STEPS = 200
_DRAWS = 2000  # of the interval of a win rate
_DONE = 1e-10
_FLAT = 1e-12  # a variance below it is none


class Outcomes(NamedTuple):
    """Scored pairs, (n,) each: the systems' codes, and which share of the pair each side won; the rest is tied."""

    lo: IntArray
    hi: IntArray
    win_hi: FloatArray
    win_lo: FloatArray
    tie: FloatArray
    cluster: IntArray
    item: IntArray


class Ratings(NamedTuple):
    """Ratings of S systems, in log-odds, relative to the baseline, or to their mean where there is none."""

    theta: FloatArray  # (S,); NaN: no scored pair
    covariance: FloatArray  # (S, S), of theta; NaN where there is no interval
    estimates: list[Estimate]
    rank_low: list[int | None]  # best rank that the intervals of the differences allow; 1 is the best; None: there are none
    rank_high: list[int | None]
    nu: float  # Davidson's tie parameter; 0: no pair was tied
    note: str | None  # what was added so that ratings exist, and why


class _Tally(NamedTuple):
    """Outcomes summed over the pairs of systems that met, (P,)."""

    lo: IntArray
    hi: IntArray
    win_hi: FloatArray
    win_lo: FloatArray
    tie: FloatArray


def davidson(outcomes: Outcomes, systems: int, baseline: int | None, *, seed: int = 0, level: float = 0.95) -> Ratings:
    """Maximum likelihood by Newton's method; covariance is the sandwich H⁻¹(Σ s_g s_gᵀ)H⁻¹·G/(G−1) over clusters, with t.

    Ratings exist where no group of systems always wins against the rest. Else half a tie is added for every two systems
    that met (and for every two of different parts, where the systems fall into parts that never met), `note` says so, and only what
    lies on the baseline's side of the gap has an interval. Where a difference has none, the pairs of just the two systems decide
    their ranks: who is ahead has a win rate (a tie is one half) whose interval leaves 1/2 out.
    """
    used = np.unique(np.concatenate([outcomes.lo, outcomes.hi]))
    if baseline not in used:
        baseline = None
    place = np.full(systems, -1)
    place[used] = np.arange(len(used))
    data = outcomes._replace(lo=place[outcomes.lo], hi=place[outcomes.hi])
    count = len(used)
    if count < 2:
        return _nothing(systems, level)
    tally = _tally(data, count)
    base = int(place[baseline]) if baseline is not None else None
    part, note = _existence(tally, count)
    padded = _with_half_ties(tally, count) if note else tally
    theta, log_nu, hessian = _fit(padded, count)
    clusters = len(np.unique(data.cluster))
    covariance = _sandwich(data, theta, log_nu, hessian, count)
    turn = np.eye(count)  # theta relative to the reference
    turn -= np.full((count, count), 1 / count) if base is None else np.eye(count)[base]
    theta, covariance = turn @ theta, turn @ covariance @ turn.T
    known = np.full(count, not note) if not note or base is None or part is None else part == part[base]
    why = too_few(len(np.unique(data.item)), clusters)
    if why:
        known[:] = False
    elif note:
        why = note
    flat = np.diag(covariance) < _FLAT
    if base is not None:
        flat[base] = False
    if flat.any() and not why:
        known, why = known & ~flat, "all its pairs came out alike: nothing varies"
    covariance[~known, :] = covariance[:, ~known] = np.nan
    return _ratings(data, used, systems, theta, covariance, base, clusters, level, np.exp(log_nu), why, note, seed)


def _nothing(systems: int, level: float) -> Ratings:
    why = "no pair of two systems was scored"
    blank = [Estimate(value=None, level=level, n=0, method="Davidson", why=why) for _ in range(systems)]
    none: list[int | None] = [None] * systems
    return Ratings(np.full(systems, np.nan), np.full((systems, systems), np.nan), blank, none, none, 0.0, why)


def _tally(data: Outcomes, count: int) -> _Tally:
    keys, place = np.unique(data.lo * count + data.hi, return_inverse=True)
    summed = [np.bincount(place, column, len(keys)) for column in (data.win_hi, data.win_lo, data.tie)]
    return _Tally._make([keys // count, keys % count, *summed])


# ---- where ratings exist --------------------------------------------------------------------------------------------


def _existence(tally: _Tally, count: int) -> tuple[IntArray | None, str | None]:
    """None where the maximum of the likelihood is finite, else why it is not; with the parts that each system belongs to.

    The likelihood is log-concave, so it is finite unless some direction never lowers it (Albert and Anderson 1984):
    moving systems apart along wins that all go one way; or, with ties, moving them apart while nu grows.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    beats_lo, beats_hi = tally.win_hi + tally.tie > 0, tally.win_lo + tally.tie > 0
    better = np.concatenate([tally.hi[beats_lo], tally.lo[beats_hi]])
    worse = np.concatenate([tally.lo[beats_lo], tally.hi[beats_hi]])
    graph = coo_array((np.ones(len(better)), (better, worse)), shape=(count, count)).tocsr()
    islands, _ = connected_components(graph, directed=False)
    parts, part = connected_components(graph, directed=True, connection="strong")
    added = "so half a tie was added for every two systems"
    if islands > 1:
        return part, f"the systems fall into {islands} parts that never met, {added}"
    if not (tally.win_hi.any() or tally.win_lo.any()):
        return None, f"no pair has a winner, {added} that met"
    if parts > 1:
        return part, f"some systems won, or lost, all their pairs, {added} that met"
    if tally.tie.any() and not _wins_bound(tally, count):
        return None, f"wins all go one way, {added} that met"
    return part, None


def _wins_bound(tally: _Tally, count: int) -> bool:
    """Whether wins and ties bound nu: no d has d_i - d_j >= 1 for each win of i over j and |d_i - d_j| <= 1 for each tie.

    The constraints are shortest paths: there is no such d where a cycle of them is negative (Bellman and Ford).
    """
    won_hi, won_lo, tied = tally.win_hi > 0, tally.win_lo > 0, tally.tie > 0
    start = np.concatenate([tally.hi[won_hi], tally.lo[won_lo], tally.hi[tied], tally.lo[tied]])
    end = np.concatenate([tally.lo[won_hi], tally.hi[won_lo], tally.lo[tied], tally.hi[tied]])
    cost = np.concatenate([-np.ones(int(won_hi.sum() + won_lo.sum())), np.ones(2 * int(tied.sum()))])
    distance = np.zeros(count)
    for _ in range(count + 1):
        nearer = distance.copy()
        np.minimum.at(nearer, end, distance[start] + cost)
        if np.array_equal(nearer, distance):
            return False
        distance = nearer
    return True


def _with_half_ties(tally: _Tally, count: int) -> _Tally:
    """The tally with half a tie for every two systems that met, and for every two of parts that never met."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(tally.lo)), (tally.lo, tally.hi)), shape=(count, count)).tocsr()
    _, island = connected_components(graph, directed=False)
    lo, hi = np.triu_indices(count, 1)
    apart = island[lo] != island[hi]
    lo, hi = np.concatenate([tally.lo, lo[apart]]), np.concatenate([tally.hi, hi[apart]])
    none = np.zeros(int(apart.sum()))
    return _Tally(
        lo, hi, np.concatenate([tally.win_hi, none]) + HALF_TIE, np.concatenate([tally.win_lo, none]) + HALF_TIE,
        np.concatenate([tally.tie, none]),
    )  # fmt: skip


# ---- the fit --------------------------------------------------------------------------------------------------------


def _probabilities(lo: IntArray, hi: IntArray, theta: FloatArray, log_nu: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """P(hi wins), P(lo wins), P(tie) for each row."""
    a, b = theta[hi], theta[lo]
    tie = log_nu + (a + b) / 2
    top = np.maximum(np.maximum(a, b), tie)
    parts = np.exp(a - top), np.exp(b - top), np.exp(tie - top)
    total = parts[0] + parts[1] + parts[2]
    return parts[0] / total, parts[1] / total, parts[2] / total


def _loss(tally: _Tally, theta: FloatArray, log_nu: float) -> float:
    p_hi, p_lo, p_tie = _probabilities(tally.lo, tally.hi, theta, log_nu)
    tiny = np.finfo(float).tiny
    loss = tally.win_hi @ np.log(np.maximum(p_hi, tiny)) + tally.win_lo @ np.log(np.maximum(p_lo, tiny))
    return -float(loss + tally.tie @ np.log(np.maximum(p_tie, tiny)))


def _fit(tally: _Tally, count: int) -> tuple[FloatArray, float, FloatArray]:
    """theta with theta_0 = 0, ln nu (-inf where nothing is tied), and the information of (theta_1…, ln nu)."""
    ties = bool(tally.tie.any())
    theta, log_nu = np.zeros(count), 0.0 if ties else -np.inf
    for _ in range(_STEPS):
        gradient, hessian = _derivatives(tally, theta, log_nu, count, ties)
        step = np.linalg.solve(hessian, gradient)
        before, size = _loss(tally, theta, log_nu), 1.0
        while True:
            moved = theta + np.concatenate([[0.0], size * step[: count - 1]])
            nu_moved = log_nu + (size * float(step[-1]) if ties else 0.0)
            if size < 1e-8 or _loss(tally, moved, nu_moved) <= before + 1e-12 * abs(before):
                break
            size /= 2
        theta, log_nu = moved, nu_moved
        if np.abs(step).max() < _DONE:
            break
    return theta, log_nu, _derivatives(tally, theta, log_nu, count, ties)[1]


def _derivatives(tally: _Tally, theta: FloatArray, log_nu: float, count: int, ties: bool) -> tuple[FloatArray, FloatArray]:
    """Gradient and information of the log-likelihood in (theta_1…theta_{S-1}, ln nu)."""
    p_hi, p_lo, p_tie = _probabilities(tally.lo, tally.hi, theta, log_nu)
    n = tally.win_hi + tally.win_lo + tally.tie
    gradient, information = np.zeros(count + 1), np.zeros((count + 1, count + 1))
    np.add.at(gradient, tally.hi, tally.win_hi + tally.tie / 2 - n * (p_hi + p_tie / 2))
    np.add.at(gradient, tally.lo, tally.win_lo + tally.tie / 2 - n * (p_lo + p_tie / 2))
    gradient[count] = float((tally.tie - n * p_tie).sum())
    own = n * (p_hi + p_lo - (p_hi - p_lo) ** 2) / 4  # the variance of (win_hi - win_lo) / 2
    for i, j, sign in ((tally.hi, tally.hi, 1), (tally.lo, tally.lo, 1), (tally.hi, tally.lo, -1), (tally.lo, tally.hi, -1)):
        np.add.at(information, (i, j), sign * own)
    across = -n * p_tie * (p_hi - p_lo) / 2  # its covariance with a tie
    np.add.at(information, (tally.hi, np.full_like(tally.hi, count)), across)
    np.add.at(information, (tally.lo, np.full_like(tally.lo, count)), -across)
    information[count, :count] = information[:count, count]
    information[count, count] = float((n * p_tie * (1 - p_tie)).sum())
    free = slice(1, count + 1 if ties else count)
    return gradient[free], information[free, free]


def _sandwich(data: Outcomes, theta: FloatArray, log_nu: float, hessian: FloatArray, count: int) -> FloatArray:
    """The covariance of theta (theta_0 = 0 has none), by cluster."""
    from scipy.sparse import coo_array

    p_hi, _, p_tie = _probabilities(data.lo, data.hi, theta, log_nu)
    on_hi = data.win_hi + data.tie / 2 - p_hi - p_tie / 2
    cluster = np.unique(data.cluster, return_inverse=True)[1]
    clusters = int(cluster.max()) + 1
    row = np.concatenate([cluster, cluster, cluster])
    column = np.concatenate([data.hi, data.lo, np.full_like(data.hi, count)])
    score = np.concatenate([on_hi, -on_hi, data.tie - p_tie])
    by_cluster = coo_array((score, (row, column)), shape=(clusters, count + 1)).tocsr()
    free = len(hessian)
    total = np.asarray(by_cluster.sum(axis=0)).ravel()
    meat = (by_cluster.T @ by_cluster).toarray() - np.outer(total, total) / clusters  # about its mean: half ties have no cluster
    bread = np.linalg.inv(hessian)
    covariance = np.zeros((count, count))
    inner = bread @ meat[1 : free + 1, 1 : free + 1] @ bread * (clusters / max(clusters - 1, 1))
    covariance[1:, 1:] = inner[: count - 1, : count - 1]
    return covariance


# ---- what is told ---------------------------------------------------------------------------------------------------


def _head_to_head(data: Outcomes, wanted: npt.NDArray[np.bool_], seed: int, level: float) -> FloatArray:
    """Who is ahead by the win rate of two systems on their own pairs: 1 j before i, -1 i before j, 0 undecided, NaN no interval."""
    order = np.full(wanted.shape, np.nan)
    for lo, hi in np.unique(np.column_stack([data.lo, data.hi]), axis=0).tolist():
        if not wanted[lo, hi]:
            continue
        at = (data.lo == lo) & (data.hi == hi)
        share = np.clip((1 + data.win_hi[at] - data.win_lo[at]) / 2, 0.0, 1.0)
        found = mean_interval(share, clusters=data.cluster[at].astype(np.uint64), seed=seed, level=level, draws=_DRAWS)
        if found.low is not None and found.high is not None:
            order[lo, hi] = float(found.low > 0.5) - float(found.high < 0.5)
            order[hi, lo] = -order[lo, hi]
    return order


def _ratings(
    data: Outcomes, used: IntArray, systems: int, theta: FloatArray, covariance: FloatArray, base: int | None, clusters: int,
    level: float, nu: float, why: str | None, note: str | None, seed: int,
) -> Ratings:  # fmt: skip
    """Ratings of all systems from those of the ones that met somebody."""
    from scipy.special import stdtrit

    t = float(stdtrit(max(clusters - 1, 1), (1 + level) / 2))
    variance = np.diag(covariance)
    difference = theta[None, :] - theta[:, None]  # of j from i
    half = t * np.sqrt(np.maximum(variance[None, :] + variance[:, None] - 2 * covariance, 0.0))
    order = np.sign(difference) * (np.abs(difference) > half)  # 1: j is ahead of i, -1 behind, 0 undecided
    order = np.where(np.isnan(half), _head_to_head(data, np.isnan(half), seed, level), order)
    above, below, told = (order > 0).sum(axis=1), (order < 0).sum(axis=1), ~np.isnan(order).all(axis=1)
    pairs = np.bincount(np.concatenate([data.lo, data.hi]), minlength=len(used))
    whole = np.full(systems, np.nan)
    whole[used] = theta
    full = np.full((systems, systems), np.nan)
    full[np.ix_(used, used)] = covariance
    blank = Estimate(value=None, level=level, n=0, method="Davidson", why="no scored pair")
    estimates = [blank] * systems
    ranks_low: list[int | None] = [None] * systems
    ranks_high: list[int | None] = [None] * systems
    for at, code in enumerate(used.tolist()):
        given, n = float(theta[at]), int(pairs[at])
        if told[at]:
            ranks_low[code], ranks_high[code] = 1 + int(above[at]), len(used) - int(below[at])
        if at == base:
            estimates[code] = Estimate(value=0.0, level=level, n=n, method="Davidson", why="the baseline: ratings are relative to it")
        elif np.isnan(variance[at]):
            estimates[code] = Estimate(value=given, level=level, n=n, method="Davidson", why=why, clusters=clusters)
        else:
            reach, method = t * float(np.sqrt(variance[at])), "Davidson, sandwich by cluster, t"
            estimates[code] = Estimate(
                value=given, low=given - reach, high=given + reach, level=level, n=n, method=method, clusters=clusters
            )
    return Ratings(whole, full, estimates, ranks_low, ranks_high, float(nu), note)

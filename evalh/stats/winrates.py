"""From pairwise verdicts to win rates. Pure: columns in, figures with their counts out.

A *pair* is two systems on one item, and the unit of everything here: its verdicts (both orders, repeats, trials, aspects)
are averaged into one score first, each order shown weighing the same, so that a judge's lean to a place cancels out
(METHODS §0, §1.1). Systems and items are integer codes; of a pair `lo` is the system of the smaller code and `hi` that of
the larger one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.records import Estimate
from evalh.stats.intervals import REPORT_DRAWS, FloatArray, cluster_totals, cr3_se, mean_interval

IntArray = npt.NDArray[np.int64]
Unscored = Literal["exclude", "wrong", "tie"]

UNKNOWN = 2  # the order of a verdict that nobody recorded
_ORDERS = 3
_WORK = 4_000_000  # draws times different values, of one interval
_LEAST_DRAWS = 2_000


class Verdicts(NamedTuple):
    """Pairwise verdicts by column, all of shape (n,)."""

    item: IntArray
    cluster: IntArray  # of the item: its group, else the item
    first: IntArray  # systems in the order shown (or listed, where the order is not known)
    second: IntArray
    score: FloatArray  # preference for the second in [0, 1]; NaN: unscored
    outcome: FloatArray  # 1 the second won, 0 the first, 0.5 a tie; NaN: unscored
    order_known: npt.NDArray[np.bool_]
    longer: FloatArray  # characters of the second's output minus the first's; NaN: unknown


class Shown(NamedTuple):
    """The pairs as they were shown: one row for a pair in one order, (m,). A side's score and share of wins lie in [0, 1];
    together they are below 1 by the ties, and by what could not be read where that is `wrong`. NaN: unscored.
    """

    pair: IntArray  # row of Pairs
    order: IntArray  # 0: lo was shown first, 1: hi was, 2: not known
    score_hi: FloatArray
    score_lo: FloatArray
    win_hi: FloatArray
    win_lo: FloatArray
    tie: FloatArray
    longer: FloatArray  # hi minus lo


class Pairs(NamedTuple):
    """One row for a pair of systems on an item, (m,): the mean of the orders it was shown in. NaN: unscored."""

    item: IntArray
    cluster: IntArray
    lo: IntArray
    hi: IntArray
    score_hi: FloatArray
    score_lo: FloatArray
    win_hi: FloatArray
    win_lo: FloatArray
    tie: FloatArray
    verdicts: IntArray
    unscored: IntArray  # of the verdicts

    @property
    def scored(self) -> npt.NDArray[np.bool_]:
        return ~np.isnan(self.score_hi)


class WinRate(NamedTuple):
    """How often a system wins, as shares of 1. `discrete` counts a tie as one half and ignores how sure the judge was."""

    n: int
    value: float | None
    se: float | None
    discrete: float | None
    wins: float  # of pairs; a pair whose orders differ is shared between them
    ties: float
    losses: float
    estimate: Estimate
    discrete_estimate: Estimate


def fold(verdicts: Verdicts, systems: int, unscored: Unscored) -> tuple[Pairs, Shown]:
    """Verdicts to pairs. `systems` is the number of system codes.

    `unscored` says what a verdict is that could not be read: `exclude` leaves it out (and the pair with it where it was
    the only one in its order, for one order alone carries the lean to a place), `wrong` is worth 0 to both sides, `tie`
    one half.
    """
    lo, hi = np.minimum(verdicts.first, verdicts.second), np.maximum(verdicts.first, verdicts.second)
    keys, start, pair = np.unique((verdicts.item * systems + lo) * systems + hi, return_index=True, return_inverse=True)
    hi_second = verdicts.second == hi
    order = np.where(verdicts.order_known, np.where(hi_second, 0, 1), UNKNOWN)
    groups, group = np.unique(pair * _ORDERS + order, return_inverse=True)
    read = ~np.isnan(verdicts.score)
    sides = _sides(verdicts, hi_second, unscored)
    counted = read if unscored == "exclude" else np.ones_like(read)
    weight = np.bincount(group, counted, len(groups))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [np.bincount(group, np.where(counted, side, 0.0), len(groups)) / weight for side in sides]
    longer = _mean_known(np.where(hi_second, verdicts.longer, -verdicts.longer), group, len(groups))
    of_pair = groups // _ORDERS
    shown = Shown._make([of_pair, groups % _ORDERS, *means, longer])
    parts = np.bincount(of_pair, minlength=len(keys))
    whole = [np.bincount(of_pair, mean, len(keys)) / parts for mean in means]  # NaN where one of its orders is NaN
    given = np.bincount(pair, minlength=len(keys))
    unread = given - np.bincount(pair, read, len(keys)).astype(np.int64)
    return Pairs._make([verdicts.item[start], verdicts.cluster[start], lo[start], hi[start], *whole, given, unread]), shown


def _sides(verdicts: Verdicts, hi_second: npt.NDArray[np.bool_], unscored: Unscored) -> list[FloatArray]:
    """score_hi, score_lo, win_hi, win_lo, tie of each verdict."""
    unread = np.isnan(verdicts.score)
    score = np.where(hi_second, verdicts.score, 1 - verdicts.score)
    outcome = np.where(hi_second, verdicts.outcome, 1 - verdicts.outcome)
    if unscored == "tie":
        score, outcome = np.where(unread, 0.5, score), np.where(unread, 0.5, outcome)
    sides = [score, 1 - score, outcome == 1, outcome == 0, outcome == 0.5]
    if unscored == "wrong":
        sides = [np.where(unread, 0.0, side) for side in sides]
    return [np.asarray(side, dtype=np.float64) for side in sides]


def _mean_known(values: FloatArray, group: IntArray, groups: int) -> FloatArray:
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: FloatArray = np.bincount(group, np.where(known, values, 0.0), groups) / np.bincount(group, known, groups)
    return mean


def win_rate(pairs: Pairs, system: int, against: int | None, *, seed: int, level: float = 0.95) -> WinRate:
    """The win rate of a system against one other, or against all that it met (`against` None: each pair counts once).

    As AlpacaEval defines it (Li et al. 2023): `value` is the mean preference and `se` its standard error, sd / sqrt(n) with
    n - 1 below the sd. Where an item counts more than once `se` is CR3 by cluster (METHODS §0.2). The interval is JBB, by
    cluster where items share one (METHODS §0.1).
    """
    is_hi, is_lo = pairs.hi == system, pairs.lo == system
    mine = (is_hi | is_lo) & pairs.scored
    if against is not None:
        mine &= (pairs.hi == against) | (pairs.lo == against)
    high = is_hi[mine]
    score = np.where(high, pairs.score_hi[mine], pairs.score_lo[mine])
    won = np.where(high, pairs.win_hi[mine], pairs.win_lo[mine])
    tied, n = pairs.tie[mine], int(mine.sum())
    cluster, items = pairs.cluster[mine], len(np.unique(pairs.item[mine]))
    discrete = won + tied / 2
    return WinRate(
        n=n,
        value=float(score.mean()) if n else None,
        se=_standard_error(score, cluster, once=items == n),
        discrete=float(discrete.mean()) if n else None,
        wins=float(won.sum()),
        ties=float(tied.sum()),
        losses=n - float(won.sum()) - float(tied.sum()),
        estimate=_interval(score, cluster, seed, level),
        discrete_estimate=_interval(discrete, cluster, seed, level),
    )


def _standard_error(score: FloatArray, cluster: IntArray, *, once: bool) -> float | None:
    if len(score) < 2:
        return None
    if once:
        return float(score.std(ddof=1) / np.sqrt(len(score)))
    codes = np.unique(cluster, return_inverse=True)[1].astype(np.uint64)
    return cr3_se(score, codes) if codes.max() > 0 else None  # type: ignore[arg-type]


def _interval(score: FloatArray, cluster: IntArray, seed: int, level: float) -> Estimate:
    """JBB with as many draws as the number of different values allows: every one of them is drawn."""
    codes = cluster.astype(np.uint64)
    if not len(score):
        return mean_interval(score, seed=seed, level=level)
    totals, sizes = cluster_totals(score, codes)
    kinds = len(np.unique(np.column_stack([totals.round(12), sizes]), axis=0))
    draws = max(_LEAST_DRAWS, min(REPORT_DRAWS, _WORK // kinds))
    return mean_interval(np.clip(score, 0.0, 1.0), clusters=codes, seed=seed, level=level, draws=draws)


def combine(judges: Sequence[Pairs], families: Sequence[int], systems: int, longer: Sequence[FloatArray]) -> tuple[Pairs, Shown, int]:
    """A panel of judges as one judge (METHODS §7.3 a), and how many pairs it cannot score because a family has no verdict.

    Judges of one family are one vote, their mean. The score of a pair is the mean of the families' scores; its winner is
    the one that more families name. `longer` gives for each judge hi minus lo in characters, by row of its pairs.
    """
    count = len(set(families))
    key = np.concatenate([(p.item * systems + p.lo) * systems + p.hi for p in judges])
    columns = {name: np.concatenate([getattr(p, name) for p in judges]) for name in Pairs._fields}
    length = np.concatenate(list(longer))
    family = np.concatenate([np.full(len(p.item), f) for p, f in zip(judges, families, strict=True)])
    keys, start, pair = np.unique(key, return_index=True, return_inverse=True)
    seats, seat = np.unique(pair * (max(families) + 1) + family, return_inverse=True)
    scored = ~np.isnan(columns["score_hi"])
    with np.errstate(invalid="ignore", divide="ignore"):
        voice = {
            name: np.bincount(seat, np.where(scored, columns[name], 0.0), len(seats)) / np.bincount(seat, scored, len(seats))
            for name in ("score_hi", "score_lo", "win_hi", "win_lo")
        }
    of_pair = seats // (max(families) + 1)
    whole = np.bincount(of_pair, ~np.isnan(voice["score_hi"]), len(keys)) == count
    scores = [np.where(whole, np.bincount(of_pair, voice[name], len(keys)) / count, np.nan) for name in ("score_hi", "score_lo")]
    lead = np.bincount(of_pair, np.sign(voice["win_hi"] - voice["win_lo"]), len(keys))
    names = [np.where(whole, chosen, np.nan) for chosen in (lead > 0, lead < 0, lead == 0)]
    given, unread = (np.bincount(pair, columns[name], len(keys)).astype(np.int64) for name in ("verdicts", "unscored"))
    pairs = Pairs._make([*(columns[name][start] for name in ("item", "cluster", "lo", "hi")), *scores, *names, given, unread])
    apart = _mean_known(length, pair, len(keys))
    rows = np.arange(len(keys))
    return pairs, Shown._make([rows, np.full(len(keys), UNKNOWN), *scores, *names, apart]), int((~whole).sum())

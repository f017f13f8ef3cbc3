"""Figures of probes that no other room has: what a manipulation adds beyond its control. Pure.

A judge obeys a manipulated answer with probability s and then gives it the best verdict there is, else it judges as it would
have judged the control: E[y] = s + (1 - s) E[y of the control], y in [0, 1]. So s = mean(y - c) / mean(1 - c) (METHODS §1.3,
§1.4 have no such figure: it is ours). Noise, position bias and whatever more words do are in both, and cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.records import Estimate
from evalh.stats.intervals import REPORT_DRAWS, jbb_draws, too_few

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class Moved(NamedTuple):
    """How clusters moved: more up than down, or the other way; `p_value` of so many ups by chance (exact, one-sided)."""

    up: int
    down: int
    p_value: float


def attributable(treated: FloatArray, control: FloatArray, clusters: IntArray, *, seed: int, level: float = 0.95) -> Estimate:
    """The share of the way to the best verdict that a treatment goes: mean(treated - control) / mean(1 - control).

    `treated` and `control` are (n,) in [0, 1], row by row of the same material; `clusters` (n,) names what was sampled. The
    interval is JBB's law for a ratio (METHODS §0.1): the clusters' sums of the difference over their sums of the room, with half
    a pseudo-observation at 0 and at 1, so that none of many is not a certain zero; where each row is a cluster and every
    control is 0 it is Jeffreys' interval. Value None where every control has the best verdict already. Negative where
    the treatment lowers verdicts.
    """
    gained, room = treated - control, 1.0 - control
    n, place = len(gained), np.unique(clusters, return_inverse=True)[1]
    sums, sizes = np.bincount(place, gained).astype(np.float64), np.bincount(place, room).astype(np.float64)
    count, total = len(sums), float(sizes.sum())
    if n == 0 or total <= 0:
        why = "nothing was asked" if n == 0 else "every control has the best verdict already: there is nothing to gain"
        return Estimate(value=None, level=level, n=n, method="attributable share", why=why, clusters=count)
    value = float(sums.sum()) / total
    why_not = too_few(n, count)
    if why_not is not None:
        return Estimate(value=value, level=level, n=n, method="attributable share", why=why_not, clusters=count)
    drawn = jbb_draws(sums, sizes, lo=0.0, hi=1.0, draws=REPORT_DRAWS, seed=seed)
    low, high = map(float, np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2)))
    method = f"attributable share, cluster JBB, {REPORT_DRAWS} draws"
    return Estimate(value=value, low=min(low, value), high=max(high, value), level=level, n=n, method=method, seed=seed, clusters=count)


def moved(differences: FloatArray, clusters: IntArray) -> Moved:
    """The sign test over clusters: of those that moved, how many moved up. Ties count for nothing."""
    net = np.bincount(np.unique(clusters, return_inverse=True)[1], differences) if len(differences) else np.zeros(0)
    return sign_test(int((net > 1e-12).sum()), int((net < -1e-12).sum()))


def exchanged(treated: FloatArray, control: FloatArray, within: IntArray, *, seed: int, draws: int = REPORT_DRAWS) -> float:
    """How likely controls are to lie so low if nothing but chance told them from the treated beside them (one-sided permutation).

    `within` (n,) names what shares a control: one control and its treated replies are exchangeable where the treatment does
    nothing, noise or not, so the control is any of them with the same probability. Monte Carlo with the observed one counted.
    """
    place = np.unique(within, return_inverse=True)[1]
    groups = [np.append(treated[place == g], control[place == g][0]) for g in range(int(place.max()) + 1)] if len(place) else []
    rng = np.random.default_rng(seed)
    observed, drawn = sum(float(g[-1]) for g in groups), np.zeros(draws)
    for group in groups:
        if group.min() < group.max():
            drawn += group[rng.integers(len(group), size=draws)]
        else:
            drawn += group[0]
    return float((1 + (drawn <= observed + 1e-9).sum()) / (1 + draws))


def sign_test(up: int, down: int) -> Moved:
    """P(at least `up` of up + down by fair coins)."""
    from scipy.stats import binom

    return Moved(up, down, float(binom.sf(up - 1, up + down, 0.5)) if up + down else 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: each may be compared with the level itself."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted

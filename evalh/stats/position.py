"""A judge against itself: the two orders of a pair, and the same question asked again. Pure: arrays in, figures out.

An unscored verdict is neither a tie nor a loss. `exclude` leaves its pair out, `wrong` makes the pair inconsistent, `tie`
reads it as a tie (DESIGN §10). Verdicts of one cluster were sampled together; the item is the unit of analysis (METHODS §0).
"""

from __future__ import annotations

from math import nan
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.errors import InputError
from evalh.records import Estimate
from evalh.stats.association import agreement_rate
from evalh.stats.intervals import FloatArray, mean_interval, tango, too_few
from evalh.stats.paired import mcnemar_exact
from evalh.stats.resampling import cluster_bootstrap, sums_by_cluster

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Unscored = Literal["exclude", "wrong", "tie"]
SLOTS = {1.0: "A", 0.5: "T", 0.0: "B"}  # who wins: the first shown, nobody, the second shown
_LEAN = 1e-9


class Repeat(NamedTuple):
    """The consistency of one repeat; `n_pairs` are those that it is the share of."""

    repeat: int
    n_pairs: int
    consistency: float | None
    consistency_by_verdict: float | None


class Position(NamedTuple):
    """What the order shown does to a judge (METHODS §1.1).

    `counts` codes the two orders of a pair by the slot that wins: AB and BA name the same output twice, AA is the first shown
    both times. `fairness` is (recency - primacy) / n, from -1, always for the first shown, to +1. `consistency_by_verdict`
    counts verdicts instead of pairs, and one that was read beside an unread one as consistent: so do the published figures of
    Shi et al. (2024). `first_share` is the first-slot rate, 0.5 is unbiased; with `basis` "one order" it means that only
    where the order was drawn at random. P values count items by where they lean: `fairness_p` by
    their number of pairs, `p_value` by their first share.
    """

    n_pairs: int  # that consistency, biased_first and biased_second are shares of
    n_one_order: int  # pairs left out: shown in one order only
    n_unscored_pairs: int  # shown in both orders, with an unscored verdict
    counts: dict[str, int]
    consistency: Estimate
    consistency_by_verdict: float | None
    first_share: Estimate
    p_value: float | None
    basis: Literal["both orders", "one order"]
    fairness: Estimate
    fairness_p: float | None
    biased_first: Estimate
    biased_second: Estimate
    repeats: list[Repeat]


class _Pairs(NamedTuple):
    """One row a pair and repeat. `wins` (P, 2): 1 where the first shown wins in that order, 1/2 a tie, NaN unscored or not shown."""

    wins: FloatArray
    shown: BoolArray
    cluster: IntArray
    repeat: IntArray


def position(
    pair: IntArray, shown_first_wins: FloatArray, order: IntArray, repeat: IntArray, clusters: IntArray, *, unscored: Unscored = "exclude",
    seed: int, level: float = 0.95,
) -> Position:  # fmt: skip
    """Compare the two orders of pairs, from verdicts (n,) of known order.

    `pair` is a code of the two outputs, `order` which of the two (0 or 1) stood first, `shown_first_wins` 1, 1/2, 0 or NaN for
    unscored. Raises InputError where one order of a pair has two verdicts of one repeat. Intervals: Wilson, or JBB where an
    item has several pairs; of the fairness Tango, or JBB on [-1, 1].
    """
    pairs = _pairs(pair, np.asarray(shown_first_wins, dtype=np.float64), order, repeat, clusters)
    both: BoolArray = np.asarray(pairs.shown.all(axis=1))
    read = np.where(pairs.shown & np.isnan(pairs.wins), 0.5, pairs.wins) if unscored == "tie" else pairs.wins
    whole: BoolArray = both & ~np.isnan(read).any(axis=1)
    used = both if unscored == "wrong" else whole
    same: BoolArray = whole & (read[:, 0] == 1 - read[:, 1])
    complete = read[whole]
    lean = complete.mean(axis=1) - 0.5
    n_first, n_second = int((lean > _LEAN).sum()), int((lean < -_LEAN).sum())
    cluster = pairs.cluster[whole]
    sides = np.sign(np.round(lean, 9))
    fairness = _signs(-sides, n_second, n_first, cluster, seed=seed, level=level)
    share, p_value = _first_share(read, pairs, whole, bool(both.any()), seed=seed, level=level)
    return Position(
        n_pairs=int(used.sum()),
        n_one_order=int((~both).sum()),
        n_unscored_pairs=int((both & np.isnan(pairs.wins).any(axis=1)).sum()),
        counts=_counts(complete),
        consistency=agreement_rate(same[used], pairs.cluster[used], seed=seed, level=level),
        consistency_by_verdict=_by_verdict(pairs.wins[both]),
        first_share=share,
        p_value=p_value,
        basis="both orders" if both.any() else "one order",
        fairness=fairness,
        fairness_p=_leaning(sides, cluster) if len(sides) else None,
        biased_first=agreement_rate((read[used] == 1).all(axis=1), pairs.cluster[used], seed=seed, level=level),
        biased_second=agreement_rate((read[used] == 0).all(axis=1), pairs.cluster[used], seed=seed, level=level),
        repeats=_repeats(pairs, both, used, same),
    )


def _pairs(pair: IntArray, wins: FloatArray, order: IntArray, repeat: IntArray, clusters: IntArray) -> _Pairs:
    repeats, turn = np.unique(repeat, return_inverse=True)
    names, first, place = np.unique(np.asarray(pair) * max(len(repeats), 1) + turn, return_index=True, return_inverse=True)
    cell = place * 2 + np.asarray(order, dtype=np.int64)
    times = np.bincount(cell, minlength=2 * len(names))
    if (times > 1).any():
        twice = first[int(np.flatnonzero(times > 1)[0]) // 2]
        fault = f"two verdicts in one order of one pair and repeat; {len(np.unique(np.flatnonzero(times > 1) // 2))} pairs have such"
        raise InputError(fault, where=f"verdict {twice}", hint="number them by repeat")
    table = np.full(2 * len(names), nan)
    table[cell] = wins
    return _Pairs(table.reshape(-1, 2), (times > 0).reshape(-1, 2), np.asarray(clusters)[first], np.asarray(repeat)[first])


def _signs(values: FloatArray, b: int, c: int, cluster: IntArray, *, seed: int, level: float) -> Estimate:
    """The mean (b - c)/n of values -1, 0, 1, of which b are 1 and c are -1: Tango, or JBB where clusters repeat."""
    n = len(values)
    if len(np.unique(cluster)) < n or too_few(n, n):
        return mean_interval(values, lo=-1, hi=1, clusters=cluster.astype(np.uint64), seed=seed, level=level)
    low, high = tango(b, c, n, level)
    return Estimate(value=(b - c) / n, low=low, high=high, level=level, n=n, method="Tango")


def _first_share(
    read: FloatArray, pairs: _Pairs, whole: BoolArray, balanced: bool, *, seed: int, level: float
) -> tuple[Estimate, float | None]:  # fmt: skip
    """The first-slot rate and its exact test: over both orders, or over single verdicts where no pair was shown in both."""
    if balanced:
        values, cluster = read[whole].mean(axis=1), pairs.cluster[whole]
    else:
        known = ~np.isnan(read)
        values, cluster = read[known], np.broadcast_to(pairs.cluster[:, None], read.shape)[known]
    estimate = mean_interval(values, clusters=cluster.astype(np.uint64), seed=seed, level=level)
    return estimate, _leaning(values - 0.5, cluster) if len(values) else None


def _leaning(lean: FloatArray, cluster: IntArray) -> float:
    """The exact binomial p value of items that lean to the first shown against those that lean away (METHODS §1.1)."""
    _, place = np.unique(cluster, return_inverse=True)
    total = np.bincount(place, weights=lean)
    return mcnemar_exact(int((total > _LEAN).sum()), int((total < -_LEAN).sum()))


def _counts(complete: FloatArray) -> dict[str, int]:
    code = (2 * complete).round().astype(np.int64)
    found = np.bincount(code[:, 0] * 3 + code[:, 1], minlength=9) if len(code) else np.zeros(9, dtype=np.int64)
    names = [a + b for a in "BTA" for b in "BTA"]
    return {name: int(found[number]) for number, name in sorted(enumerate(names), key=lambda at: at[1])}


def _by_verdict(wins: FloatArray) -> float | None:
    read = ~np.isnan(wins)
    alone = read & ~read[:, ::-1]
    same = (wins[:, 0] == 1 - wins[:, 1])[:, None] & read
    return float((alone | same).sum()) / float(read.sum()) if read.any() else None


def _repeats(pairs: _Pairs, both: BoolArray, used: BoolArray, same: BoolArray) -> list[Repeat]:
    found = []
    for number in np.unique(pairs.repeat):
        of = pairs.repeat == number
        n = int((used & of).sum())
        consistent = float((same & of & used).sum()) / n if n else None
        found.append(Repeat(int(number), n, consistent, _by_verdict(pairs.wins[both & of])))
    return found


# ---- the same question again ------------------------------------------------------------------------------------------


class Stability(NamedTuple):
    """`agreement` is the probability that two repeats agree (RS2, METHODS §1.2); 1 - it is the flip rate of an unchanged judge.

    `modal` is the share of the commonest answer among all repeats, unscored ones counting against it (Shi et al. 2024); it
    depends on how many repeats there are.
    """

    agreement: Estimate
    modal: float
    n_asked: int  # questions that were asked more than once
    repeats: int  # how often the most repeated one was


def repeat_stability(asked: IntArray, answer: IntArray, clusters: IntArray, *, seed: int, level: float = 0.95) -> Stability | None:
    """How often a judge answers the very same question the same; None where nothing was asked twice.

    `asked` (n,) is a code of the question: item, systems in order, trial and aspect; `answer` a code, -1 for unscored.
    RS2 = mean of sum_v c_v (c_v - 1) / (r (r - 1)) over questions with r > 1 scored answers, JBB by cluster.
    """
    _, first, place, times = np.unique(asked, return_index=True, return_inverse=True, return_counts=True)
    again = times > 1
    if not again.any():
        return None
    answer = np.asarray(answer)
    scored = answer >= 0
    most = int(answer.max(initial=0)) + 1
    combination, count = np.unique(place[scored] * most + answer[scored], return_counts=True)
    question = combination // most
    r = np.bincount(place[scored], minlength=len(times))
    agreeing = np.bincount(question, weights=count * (count - 1.0), minlength=len(times))
    modal = np.zeros(len(times))
    np.maximum.at(modal, question, count)
    several = r > 1
    shares = agreeing[several] / (r[several] * (r[several] - 1.0))
    cluster = np.asarray(clusters)[first][several].astype(np.uint64)
    estimate = mean_interval(shares, clusters=cluster, seed=seed, level=level)
    return Stability(estimate, float((modal[again] / times[again]).mean()), int(again.sum()), int(times.max()))


class ScoreStability(NamedTuple):
    """The spread of a judge's scores on the same question, on its own scale (METHODS §1.2)."""

    within_sd: Estimate  # sqrt of the mean variance within a question
    icc: float | None  # ICC(1): 1 - within variance / variance of one run; None where scores do not vary
    n_asked: int


def score_stability(asked: IntArray, score: FloatArray, clusters: IntArray, *, seed: int, level: float = 0.95) -> ScoreStability | None:
    """How far numeric scores of the same question lie apart; None where nothing was scored twice. Interval: cluster bootstrap.

    NaN is unscored and counts for nothing.
    """
    scored = ~np.isnan(np.asarray(score, dtype=np.float64))
    score, clusters = np.asarray(score, dtype=np.float64)[scored], np.asarray(clusters)[scored]
    _, first, place, times = np.unique(np.asarray(asked)[scored], return_index=True, return_inverse=True, return_counts=True)
    again = times > 1
    if not again.any():
        return None
    means = np.bincount(place, weights=score) / times
    variance = np.bincount(place, weights=(score - means[place]) ** 2)[again] / (times[again] - 1)
    sums = sums_by_cluster(np.column_stack([variance, np.ones(len(variance))]), clusters[first][again])
    within = cluster_bootstrap(sums, lambda s: np.sqrt(s[:, 0] / s[:, 1]), n=int(again.sum()), seed=seed, level=level)
    total = float(score[np.isin(place, np.flatnonzero(again))].var(ddof=1))
    icc = 1 - float(variance.mean()) / total if total > 0 else None
    return ScoreStability(within, icc, int(again.sum()))

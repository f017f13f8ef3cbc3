"""How far two columns of answers go together: agreement, kappa, detection, macro scores, correlations. Pure.

Answers are codes 0..K-1 of ordered classes, scores are numbers, `clusters` holds a code per row for what was sampled
together (METHODS §0, §1.6, §1.8). A figure that is not defined (nothing varies) has value None and says why; it is never 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import sqrt
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.records import Estimate
from evalh.stats.intervals import REPORT_DRAWS, FloatArray, mean_interval, normal_quantile, rate, too_few, wilson
from evalh.stats.ranks import Ranked, ranked, spearman_of, spearman_of_tables, tau_of, tau_of_groups, tau_of_tables
from evalh.stats.resampling import BLOCKS, IntArray, block_jackknife, cluster_bootstrap, counts_by_cluster, sums_by_cluster

BoolArray = npt.NDArray[np.bool_]
Weights = Literal["linear", "quadratic"] | None
CELLS = 64  # of the table of two columns of scores: up to so many, rank figures are computed from tables
LONG, FEWER_BLOCKS = 5_000, 40  # more rows than LONG are left out in fewer blocks: t with 39 degrees makes the interval 2 % wider


def agreement_rate(
    hit: BoolArray | FloatArray, clusters: IntArray, *, seed: int, level: float = 0.95, draws: int = REPORT_DRAWS
) -> Estimate:
    """The share of hits (n,), each in [0, 1]: Wilson where no two share a cluster and all are 0 or 1, else JBB (METHODS §0.1, §0.2)."""
    values = np.asarray(hit, dtype=np.float64)
    if len(np.unique(clusters)) == len(values) and bool(np.isin(values, (0.0, 1.0)).all()):
        return rate(int(values.sum()), len(values), level)
    return mean_interval(values, clusters=np.asarray(clusters).astype(np.uint64), seed=seed, level=level, draws=draws)


# ---- kappa ----------------------------------------------------------------------------------------------------------


class Kappa(NamedTuple):
    """Cohen's kappa with what it is made of. None where there are no pairs.

    `prevalence` is 0 where the classes are equally common and 1 where there is only one: (K max p - 1) / (K - 1), p the mean
    of the two shares of a class. `bias` is how far the two differ in their shares: half the sum of the differences. With two
    classes these are the indices of Byrt, Bishop & Carlin (1993). `expected` and `observed` are (weighted) agreement.
    """

    estimate: Estimate
    prevalence: float | None
    bias: float | None
    expected: float | None
    observed: float | None


def cohen_kappa(
    a: IntArray, b: IntArray, clusters: IntArray, *, classes: int, weights: Weights = None, seed: int, level: float = 0.95
) -> Kappa:
    """Cohen's kappa of two columns of codes 0..classes-1 (n,), plain or weighted by |i - j| or (i - j)^2 (Cohen 1960, 1968).

    The value is None where both are constant: chance agreement is then all there is. Raises ValueError for a code outside
    the classes. Interval: METHODS §0.2, §1.8.
    """
    a, b = _codes(a, classes), _codes(b, classes)
    sums = counts_by_cluster(a * classes + b, classes * classes, clusters)
    figure = partial(_kappa, cost=_cost(classes, weights))
    estimate = cluster_bootstrap(sums, figure, n=len(a), seed=seed, level=level, bounds=(-1.0, 1.0))
    if len(a) == 0:
        return Kappa(estimate, None, None, None, None)
    table = sums.sum(0).reshape(classes, classes) / len(a)
    rows, columns = table.sum(1), table.sum(0)
    cost = _cost(classes, weights)
    observed, expected = 1 - float((cost * table).sum()), 1 - float((cost * np.outer(rows, columns)).sum())
    common = float(((rows + columns) / 2).max())
    prevalence = (classes * common - 1) / (classes - 1) if classes > 1 else 1.0
    bias = float(np.abs(rows - columns).sum()) / 2
    estimate = _explained(estimate, rows, columns, observed, expected, level)
    return Kappa(estimate, prevalence, bias, expected, observed)


def _codes(codes: IntArray, classes: int) -> IntArray:
    found = np.asarray(codes, dtype=np.int64)
    if found.size and not 0 <= int(found.min()) <= int(found.max()) < classes:
        raise ValueError(f"a code is outside 0..{classes - 1}")
    return found


def _cost(classes: int, weights: Weights) -> FloatArray:
    """What a disagreement costs, (K, K): 1, or by the distance of the classes, 1 from end to end."""
    apart = np.abs(np.subtract.outer(np.arange(classes), np.arange(classes))).astype(np.float64)
    if weights is None:
        return np.asarray(apart > 0, dtype=np.float64)
    return np.asarray((apart / max(classes - 1, 1)) ** (1 if weights == "linear" else 2))


def _kappa(tables: FloatArray, *, cost: FloatArray) -> FloatArray:
    """Kappa of tables (B, K * K); NaN where both columns are constant."""
    cells = tables.reshape(len(tables), *cost.shape)
    rows, columns = cells.sum(2), cells.sum(1)
    n = rows.sum(1)
    by_chance = ((rows @ cost) * columns).sum(1) / n
    constant = (rows.max(1) == n) & (columns.max(1) == n)
    return np.where(constant, np.nan, 1 - tables @ cost.ravel() / np.where(constant, 1.0, by_chance))


def _explained(
    estimate: Estimate, rows: FloatArray, columns: FloatArray, observed: float, expected: float, level: float
) -> Estimate:  # fmt: skip
    """The estimate with its reason in words where nothing varies, and with a lower end where all agree."""
    constants = int(float(rows.max()) == 1) + int(float(columns.max()) == 1)
    if constants == 2:
        return estimate.model_copy(update={"why": "both gave one answer throughout: there is nothing beyond chance to measure"})
    if constants == 1:
        return estimate.model_copy(update={"low": None, "high": None, "why": "one of the two gave one answer throughout"})
    count = estimate.clusters or estimate.n
    if observed == 1 and too_few(estimate.n, count) is None:
        low = 1 - (1 - wilson(count, count, level)[0]) / (1 - expected)
        method = "kappa at Wilson's lower bound of perfect agreement"
        return estimate.model_copy(update={"low": max(low, -1.0), "high": 1.0, "method": method, "why": None, "seed": None})
    return estimate


# ---- one class against the rest ---------------------------------------------------------------------------------------


class MacroScores(NamedTuple):
    """Unweighted means over the classes that occur among the truth or the answers; None where nothing was answered."""

    precision: float | None
    recall: float | None
    f1: float | None


def macro_scores(truth: IntArray, answer: IntArray, classes: int) -> MacroScores:
    """Macro precision, recall and F1 of answers (n,), codes 0..classes-1. A precision or recall of 0 / 0 counts as 0.

    The answers may hold classes that the truth lacks. Equal to scikit-learn's with `average="macro", zero_division=0`.
    """
    truth, answer = _codes(truth, classes), _codes(answer, classes)
    if len(truth) == 0:
        return MacroScores(None, None, None)
    table = np.bincount(truth * classes + answer, minlength=classes * classes).reshape(classes, classes).astype(np.float64)
    right, true, answered = table.diagonal(), table.sum(1), table.sum(0)
    there = (true + answered) > 0
    precision = np.divide(right, answered, out=np.zeros(classes), where=answered > 0)
    recall = np.divide(right, true, out=np.zeros(classes), where=true > 0)
    f1 = np.divide(2 * right, true + answered, out=np.zeros(classes), where=there)
    return MacroScores(*(float(scores[there].mean()) for scores in (precision, recall, f1)))


class Detection(NamedTuple):
    """How a judge tells good from bad: good is what people passed. The d' and the criterion c are those of signal detection."""

    tpr: Estimate
    tnr: Estimate
    fpr: Estimate
    fnr: Estimate
    balanced_accuracy: Estimate
    d_prime: float | None
    criterion: float | None
    n_good: int
    n_bad: int


def detection(truth: BoolArray, passed: BoolArray, clusters: IntArray, *, seed: int, level: float = 0.95) -> Detection:
    """Detection rates of a judge that passes or fails (METHODS §1.6): rates as `agreement_rate`, d' with (k + 1/2) / (n + 1).

    Balanced accuracy: from the two Wilson intervals where nothing is clustered (Newcombe's square-and-add), else cluster bootstrap.
    """
    truth, passed, clusters = np.asarray(truth, dtype=bool), np.asarray(passed, dtype=bool), np.asarray(clusters)
    tpr = agreement_rate(passed[truth], clusters[truth], seed=seed, level=level)
    tnr = agreement_rate(~passed[~truth], clusters[~truth], seed=seed, level=level)
    n_good, n_bad = int(truth.sum()), int((~truth).sum())
    d_prime = criterion = None
    if n_good and n_bad:
        hits = normal_quantile((float((passed & truth).sum()) + 0.5) / (n_good + 1))
        alarms = normal_quantile((float((passed & ~truth).sum()) + 0.5) / (n_bad + 1))
        d_prime, criterion = hits - alarms, -(hits + alarms) / 2
    if len(np.unique(clusters)) == len(truth):
        balanced = _half_sum(tpr, tnr, level)
    else:
        sums = counts_by_cluster(2 * truth.astype(np.int64) + passed, 4, clusters)
        balanced = cluster_bootstrap(sums, _balanced, n=len(truth), seed=seed, level=level, bounds=(0.0, 1.0))
    return Detection(tpr, tnr, _mirrored(tnr), _mirrored(tpr), balanced, d_prime, criterion, n_good, n_bad)


def _balanced(counts: FloatArray) -> FloatArray:
    """Balanced accuracy of counts (B, 4): bad failed, bad passed, good failed, good passed."""
    return np.asarray((counts[:, 3] / (counts[:, 2] + counts[:, 3]) + counts[:, 0] / (counts[:, 0] + counts[:, 1])) / 2)


def _half_sum(tpr: Estimate, tnr: Estimate, level: float) -> Estimate:
    n = tpr.n + tnr.n
    if tpr.value is None or tnr.value is None:
        why = "balanced accuracy needs good and bad items"
        return Estimate(value=None, level=level, n=n, why=why)
    value = (tpr.value + tnr.value) / 2
    if tpr.low is None or tpr.high is None or tnr.low is None or tnr.high is None:
        return Estimate(value=value, level=level, n=n, why=tpr.why or tnr.why)
    low = value - sqrt((tpr.value - tpr.low) ** 2 + (tnr.value - tnr.low) ** 2) / 2
    high = value + sqrt((tpr.high - tpr.value) ** 2 + (tnr.high - tnr.value) ** 2) / 2
    return Estimate(value=value, low=low, high=high, level=level, n=n, method="Wilson, square and add")


def _mirrored(estimate: Estimate) -> Estimate:
    """The estimate of one minus the rate."""
    value, low, high = (None if end is None else 1 - end for end in (estimate.value, estimate.high, estimate.low))
    return estimate.model_copy(update={"value": value, "low": low, "high": high})


# ---- correlations ---------------------------------------------------------------------------------------------------


def pearson(x: FloatArray, y: FloatArray, clusters: IntArray, *, seed: int, level: float = 0.95) -> Estimate:
    """Pearson's correlation of two columns (n,), by the cluster bootstrap (METHODS §0.2). None where a column is constant."""
    x, y = _finite(x), _finite(y)
    if why := _flat(x, y):
        return Estimate(value=None, level=level, n=len(x), why=why)
    x, y = _standard(x), _standard(y)
    sums = sums_by_cluster(np.column_stack([np.ones_like(x), x, y, x * x, y * y, x * y]), clusters)
    return cluster_bootstrap(sums, _pearson, n=len(x), seed=seed, level=level, bounds=(-1.0, 1.0))


def _pearson(sums: FloatArray) -> FloatArray:
    n, x, y, xx, yy, xy = sums.T
    spread = (xx - x * x / n) * (yy - y * y / n)
    return np.where(spread > 1e-12 * n * n, np.clip((xy - x * y / n) / np.sqrt(np.maximum(spread, 1e-300)), -1, 1), np.nan)


def spearman(x: FloatArray, y: FloatArray, clusters: IntArray, *, seed: int, level: float = 0.95) -> Estimate:
    """Spearman's rank correlation with midranks. Up to 64 different pairs of scores: cluster bootstrap of their table; else jackknife."""
    x, y = _finite(x), _finite(y)
    if why := _flat(x, y):
        return Estimate(value=None, level=level, n=len(x), why=why)
    pairs = ranked(x, y)
    if pairs.cells <= CELLS:
        figure = partial(spearman_of_tables, shape=(pairs.n_x, pairs.n_y))
        sums = counts_by_cluster(pairs.x * pairs.n_y + pairs.y, pairs.cells, clusters)
        return cluster_bootstrap(sums, figure, n=len(x), seed=seed, level=level, bounds=(-1.0, 1.0))
    return _by_blocks(spearman_of, pairs, clusters, level)


def kendall(x: FloatArray, y: FloatArray, clusters: IntArray, *, seed: int, level: float = 0.95) -> Estimate:
    """Kendall's tau-b. Intervals as for `spearman`."""
    x, y = _finite(x), _finite(y)
    if why := _flat(x, y):
        return Estimate(value=None, level=level, n=len(x), why=why)
    pairs = ranked(x, y)
    if pairs.cells <= CELLS:
        figure = partial(tau_of_tables, shape=(pairs.n_x, pairs.n_y))
        sums = counts_by_cluster(pairs.x * pairs.n_y + pairs.y, pairs.cells, clusters)
        return cluster_bootstrap(sums, figure, n=len(x), seed=seed, level=level, bounds=(-1.0, 1.0))
    order = np.lexsort((pairs.y, pairs.x))
    pairs, clusters = pairs.take(order), np.asarray(clusters)[order]
    return _by_blocks(tau_of, pairs, clusters, level)


def _by_blocks(figure: Callable[[Ranked], float], pairs: Ranked, clusters: IntArray, level: float) -> Estimate:
    n = len(pairs.x)
    blocks = FEWER_BLOCKS if n > LONG else BLOCKS
    return block_jackknife(lambda rows: figure(pairs.take(rows)), n, clusters, level=level, blocks=blocks, bounds=(-1.0, 1.0))


def kendall_within(x: FloatArray, y: FloatArray, within: IntArray, *, seed: int, level: float = 0.95) -> Estimate:
    """The mean of tau-b over groups of rows (one item's systems) in which neither side is constant; `n` counts those groups.

    `method` (or `why`) says how many groups were constant and left out. Interval: JBB of the groups' values on [-1, 1].
    """
    x, y = _finite(x), _finite(y)
    values = tau_of_groups(x, y, np.asarray(within))
    used = values[~np.isnan(values)]
    note = f"{len(values) - len(used)} of {len(values)} groups constant" if len(used) < len(values) else ""
    found = mean_interval(used, seed=seed, lo=-1.0, hi=1.0, level=level)
    if len(used) == 0:
        return found.model_copy(update={"why": "; ".join(filter(None, ["no group in which both sides vary", note]))})
    told = {"method": "; ".join(filter(None, [f"mean of tau-b, {found.method}", note]))}
    return found.model_copy(update=told if found.why is None else {**told, "why": "; ".join(filter(None, [found.why, note]))})


def _finite(values: FloatArray) -> FloatArray:
    found = np.asarray(values, dtype=np.float64)
    if not bool(np.isfinite(found).all()):
        raise ValueError("a score is no number: leave out rows without a score")
    return found


def _flat(x: FloatArray, y: FloatArray) -> str | None:
    if len(x) != len(y):
        raise ValueError(f"{len(x)} scores but {len(y)} to compare them with")
    if len(x) and (float(np.ptp(x)) == 0 or float(np.ptp(y)) == 0):
        return "one side is constant: there is no correlation"
    return None


def _standard(values: FloatArray) -> FloatArray:
    """Mean 0 and standard deviation 1; the same to the last digit in whatever order the values come."""
    if len(values) == 0:
        return values
    ordered = np.sort(values)
    return np.asarray((values - ordered.mean()) / ordered.std())


# ---- Krippendorff's alpha -------------------------------------------------------------------------------------------


def krippendorff_alpha(
    unit: IntArray, value: FloatArray, *, metric: Literal["nominal", "ordinal", "interval"], clusters: IntArray | None = None,
    seed: int, level: float = 0.95,
) -> Estimate:  # fmt: skip
    """Krippendorff's alpha of ratings in long form (METHODS §1.8; Krippendorff 2011): one row a rating, of `unit`, with `value`.

    A unit may have any number of ratings; units of one rating do not pair and count for nothing. `clusters` (one per rating)
    says which units were sampled together; without it each unit is its own. `n` is the number of units that pair. The
    ordinal metric is the squared distance of midranks among all paired ratings, which is Krippendorff's sum of margins.
    None where nothing pairs or all paired ratings are the same. Interval: METHODS §0.2.
    """
    from evalh.stats.reliability import alpha

    return alpha(np.asarray(unit), _finite(value), metric, clusters, seed=seed, level=level)

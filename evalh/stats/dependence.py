"""Errors that judges share: with each other, and with the system under test (METHODS §1.10).

Ten judges that err on the same items are one judge. What is measured is dependence *given the truth*: the label, a person's
answer. Codes are classes from 0; -1 is missing: a verdict that was not given or not read, an item without a consensus. A row
with a missing code is left out of what needs it, and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.records import Estimate
from evalh.stats.intervals import FloatArray, mean_interval, newcombe, too_few
from evalh.stats.resampling import Kinds, cluster_bootstrap, counts_by_cluster, sums_by_cluster

IntArray = npt.NDArray[np.int64]

MISSING = -1
MIN_ITEMS = 100  # below either a correlation of errors is indicative only (METHODS §1.10)
MIN_ERRORS = 20
MIN_ARM = 30  # system errors of each kind, for a shared blind spot
MARGIN = 0.02  # a judge can go only if the panel without it is surely not less accurate by more than this
KEPT = 0.95  # and if this share of the effective judges stays
BLOCKS = 200  # more clusters than this are put into so many blocks at random, and the blocks are resampled
CHANGE_DRAWS = 4_000  # for what each judge's going changes: one interval a judge
_RIDGE = 0.01  # added to an ill-conditioned matrix of correlations
_FLAT = 1e-12  # a variance below this is none


# ---- two judges -----------------------------------------------------------------------------------------------------


class Dependence(NamedTuple):
    """How far the errors of two judges go together on the items that both judged and that have a label.

    `correlation` is pooled within the true classes; 0 where the judges err independently given the truth. `p_value` is that of
    the Cochran–Mantel–Haenszel test stratified on the truth; it takes items as independent. `error_consistency` is Geirhos et
    al.'s kappa of being right together, `lift` P(both wrong) / (P(a wrong) P(b wrong)), `same_wrong` the share of one same wrong
    answer among items that both got wrong: 1 / (classes - 1) by chance, None where there are two classes. Each is None
    where it is not defined: a judge that is always right, say.
    """

    correlation: Estimate
    p_value: float | None
    error_consistency: float | None
    lift: float | None
    same_wrong: float | None
    n: int  # items that count: labelled, and judged by both
    n_errors_a: int
    n_errors_b: int
    n_left_out: int  # items that lack the label or one of the verdicts
    classes: int
    method: str
    note: str | None  # why the figures are indicative only


def error_correlation(a: IntArray, b: IntArray, truth: IntArray, clusters: IntArray, *, seed: int, level: float = 0.95) -> Dependence:
    """The dependence of two judges' errors given the truth (METHODS §1.10), from codes of shape (n,).

    rho = sum_h sum_i (a_i - a_h)(b_i - b_h) / sqrt(sum_h sum_i (a_i - a_h)^2 · sum_h sum_i (b_i - b_h)^2), h the true class,
    a_h the mean in it. With two classes a and b are the verdicts; with more they are 1 for a wrong verdict and 0 for a right
    one. (With two classes both give the same rho: in a class a wrong verdict is the verdict or its complement.)
    """
    known = (a != MISSING) & (b != MISSING) & (truth != MISSING)
    classes = 1 + max((int(codes.max(initial=0)) for codes in (a, b, truth)), default=0)
    return _dependence(a[known], b[known], truth[known], clusters[known], len(a) - int(known.sum()), max(classes, 2), seed, level)


def _dependence(
    a: IntArray, b: IntArray, truth: IntArray, clusters: IntArray, left_out: int, classes: int, seed: int, level: float
) -> Dependence:
    wrong_a, wrong_b = a != truth, b != truth
    n, errors_a, errors_b, both = len(a), int(wrong_a.sum()), int(wrong_b.sum()), int((wrong_a & wrong_b).sum())
    method = "within-class correlation of " + ("verdicts" if classes == 2 else f"errors, {classes} classes")
    present, stratum = np.unique(truth, return_inverse=True)
    cells, kinds = stratum * 4 + wrong_a * 2 + wrong_b, 4 * len(present)
    counts = np.bincount(cells, minlength=kinds)
    found = _bootstrap_cells(cells, counts, clusters, seed, level)
    observed = (n - errors_a - errors_b + 2 * both) / n if n else 0.0
    expected = (errors_a * errors_b + (n - errors_a) * (n - errors_b)) / n**2 if n else 1.0
    return Dependence(
        correlation=found.model_copy(update={"method": f"{method}; {found.method}"}),
        p_value=_cmh(counts),
        error_consistency=(observed - expected) / (1 - expected) if expected < 1 else None,
        lift=both * n / (errors_a * errors_b) if errors_a and errors_b else None,
        same_wrong=float((a[wrong_a & wrong_b] == b[wrong_a & wrong_b]).mean()) if both and classes > 2 else None,
        n=n,
        n_errors_a=errors_a,
        n_errors_b=errors_b,
        n_left_out=left_out,
        classes=classes,
        method=method,
        note=_indicative(n, min(errors_a, errors_b)),
    )


def flagged(found: Dependence, family_a: str | None, family_b: str | None) -> tuple[bool, str]:
    """Whether two judges are less independent than their families say, and why or why not, as a sentence."""
    low = found.correlation.low
    if family_a is None or family_b is None:
        return False, "a family is not known, so nothing says that these two should be independent"
    if family_a == family_b:
        return False, "one family: errors in common are to be expected"
    if low is None:
        return False, f"no interval: {found.correlation.why or 'the correlation is not defined'}"
    if low > 0:
        return True, f"two families, yet their errors go together: the correlation given the label is at least {low:.2f}"
    return False, "two families, and no proof that their errors go together"


def _bootstrap_cells(cells: IntArray, counts: IntArray, clusters: IntArray, seed: int, level: float) -> Estimate:
    """rho of the counts of cells (true class, a wrong, b wrong), resampled by cluster; where each item is one, by its cell."""
    names, place = np.unique(clusters, return_inverse=True)
    if len(names) == len(cells):
        used = np.flatnonzero(counts)
        alone = Kinds(np.eye(len(counts))[used], counts[used])
        return cluster_bootstrap(alone, _within_class, n=len(cells), seed=seed, level=level, bounds=(-1, 1))
    block, used_blocks = _blocks(len(names), seed)
    sums = counts_by_cluster(cells, len(counts), block[place])
    found = cluster_bootstrap(sums, _within_class, n=len(cells), seed=seed, level=level, bounds=(-1, 1))
    return _told(found, len(names), len(cells), used_blocks)


def _blocks(clusters: int, seed: int) -> tuple[IntArray, int]:
    """The block of each cluster, drawn at random: as many clusters in one as in another. Up to BLOCKS, each cluster is a block."""
    if clusters <= BLOCKS:
        return np.arange(clusters), clusters
    return np.random.default_rng(seed).permutation(clusters) % BLOCKS, BLOCKS


def _told(found: Estimate, clusters: int, n: int, blocks: int) -> Estimate:
    """The estimate with its true number of clusters, and its blocks named where they are fewer."""
    method = f"{found.method} of {blocks} blocks" if blocks < clusters and found.method else found.method
    return found.model_copy(update={"clusters": clusters if clusters < n else None, "method": method})


def _within_class(counts: FloatArray) -> FloatArray:
    """rho of each row of counts (B, 4 K); NaN where a judge's errors do not vary within any class."""
    neither, only_b, only_a, both = np.moveaxis(counts.reshape(len(counts), -1, 4), -1, 0)
    return _rho(neither + only_a + only_b + both, only_a + both, only_b + both, both)


def _rho(n: FloatArray, a: FloatArray, b: FloatArray, both: FloatArray) -> FloatArray:
    """rho from the sums of 0/1 errors per class: arrays (..., K) in, (...) out."""
    per = np.divide(1.0, n, out=np.zeros_like(n), where=n > 0)
    with_each_other = (both - a * b * per).sum(axis=-1)
    alone = (a - a * a * per).sum(axis=-1) * (b - b * b * per).sum(axis=-1)
    defined = alone > _FLAT
    return np.where(defined, with_each_other / np.sqrt(np.where(defined, alone, 1.0)), np.nan)


def _cmh(counts: IntArray) -> float | None:
    """The Cochran–Mantel–Haenszel p value (chi-square, no correction) of counts (4 K,); None where nothing varies."""
    from scipy.special import chdtrc

    neither, only_b, only_a, both = counts.reshape(-1, 4).T.astype(np.float64)
    n, a, b = neither + only_a + only_b + both, only_a + both, only_b + both
    variance = float((a * (n - a) * b * (n - b) / (n * n * np.maximum(n - 1, 1)))[n > 1].sum())
    return float(chdtrc(1, float((both - a * b / n)[n > 1].sum()) ** 2 / variance)) if variance > _FLAT else None


def _indicative(n: int, errors: int) -> str | None:
    if n >= MIN_ITEMS and errors >= MIN_ERRORS:
        return None
    wrong = f"{errors} error{'' if errors == 1 else 's'} of the judge that errs least"
    return f"indicative: {n} items and {wrong}; a correlation of errors needs {MIN_ITEMS} items and {MIN_ERRORS} errors of each judge"


# ---- a panel --------------------------------------------------------------------------------------------------------


class Without(NamedTuple):
    """The panel without one judge. `change` is accuracy without it minus accuracy with it, on the same items."""

    judge: str
    n_eff: float | None
    accuracy: float | None
    change: Estimate


class Effective(NamedTuple):
    """How many independent judges a panel of J is worth.

    `kish` is J / (1 + (J - 1) r), r the mean correlation of errors over pairs: what equal votes are worth. `gls` is 1'R^-1 1, what
    the best weights could make of them. `correlations` is R, (J, J), each pair on the items that both judged; NaN where a judge is
    always right or shares no items. Accuracy is that of the majority; where classes tie, the right one counts as its share of the tie.
    """

    kish: Estimate
    gls: float | None
    mean_correlation: float | None
    correlations: FloatArray
    accuracy: Estimate
    without: list[Without]
    drop: str | None
    reason: str
    with_independent: float | None  # kish if a judge joined whose errors are independent of all the others'
    limit: float | None  # what kish tends to as judges like these are added: 1 / r
    n: int  # labelled items that two judges or more judged
    n_incomplete: int  # of those, not judged by all: they count for the pairs that judged them
    n_left_out: int  # items without a label or with less than two judges
    undefined_pairs: int
    note: str | None

    @property
    def leave_out(self) -> list[float | None]:
        return [one.n_eff for one in self.without]


def effective_judges(
    verdicts: IntArray, truth: IntArray, clusters: IntArray, *, seed: int, level: float = 0.95, names: Sequence[str] | None = None
) -> Effective:
    """The effective number of independent judges (METHODS §1.10, Kish 1965 §8.2) and which judge the panel can do without.

    `verdicts` has shape (n, J). A judge can go where the interval of the panel's change in accuracy without it lies above -MARGIN and
    at least KEPT of the effective judges stay; of several the one whose going leaves the most. Raises ValueError where no labelled
    item was judged by two.
    """
    judges = verdicts.shape[1]
    called = list(names) if names is not None else [f"judge {number + 1}" for number in range(judges)]
    if len(called) != judges:
        raise ValueError(f"{len(called)} names but {judges} judges")
    counted = (truth != MISSING) & ((verdicts != MISSING).sum(axis=1) >= min(2, judges))
    given, right, within = verdicts[counted], truth[counted], clusters[counted]
    if not len(right):
        raise ValueError("no labelled item was judged by two judges")
    correlations, kish = _correlations(given, right, within, seed, level)
    accuracy, without = _majority(given, right, within, correlations, called, seed, level)
    drop, reason = _drop(kish.value, without)
    pairs = correlations[np.triu_indices(judges, 1)]
    mean = float(np.nanmean(pairs)) if np.isfinite(pairs).any() else None
    errors = int(((given != right[:, None]) & (given != MISSING)).sum(axis=0).min()) if judges else 0
    return Effective(
        kish=kish,
        gls=_gls(correlations),
        mean_correlation=mean,
        correlations=correlations,
        accuracy=accuracy,
        without=without,
        drop=drop,
        reason=reason,
        with_independent=(judges + 1) ** 2 / (judges**2 / kish.value + 1) if kish.value else None,
        limit=1 / mean if mean is not None and mean > 0 else None,
        n=len(right),
        n_incomplete=int((given == MISSING).any(axis=1).sum()),
        n_left_out=len(truth) - len(right),
        undefined_pairs=int(np.isnan(pairs).sum()),
        note=_indicative(len(right), errors) if judges > 1 else None,
    )


def _correlations(verdicts: IntArray, truth: IntArray, clusters: IntArray, seed: int, level: float) -> tuple[FloatArray, Estimate]:
    """R (J, J), each pair on the items that both judged, and Kish's number with its interval."""
    judges = verdicts.shape[1]
    first, second = np.triu_indices(judges, 1)
    matrix = np.eye(judges)
    if judges < 2:
        return matrix, Estimate(value=float(judges), level=level, n=len(truth), method="Kish", why="one judge")

    def pairs_of(sums: FloatArray) -> FloatArray:
        return _rho(*np.moveaxis(sums.reshape(len(sums), len(first), -1, 4), -1, 0))

    def kish_of(sums: FloatArray) -> FloatArray:
        return _kish(pairs_of(sums), judges)

    names, place = np.unique(clusters, return_inverse=True)
    block, blocks = _blocks(len(names), seed)
    sums = _pair_sums(verdicts, truth, block[place], blocks)[:, first, second].reshape(blocks, -1)
    found = _told(cluster_bootstrap(sums, kish_of, n=len(truth), seed=seed, level=level), len(names), len(truth), blocks)
    matrix[first, second] = matrix[second, first] = pairs_of(sums.sum(axis=0)[None])[0]
    low = None if found.low is None else max(found.low, 1.0)  # no correlation is above 1
    return matrix, found.model_copy(update={"low": low, "method": f"Kish, {judges} judges; {found.method}"})


def _pair_sums(verdicts: IntArray, truth: IntArray, block: IntArray, blocks: int) -> FloatArray:
    """Per block, pair (j, k) and true class: items that both judged, j wrong on them, k wrong, both wrong. Shape (blocks, J, J, K, 4)."""
    judges, (present, stratum) = verdicts.shape[1], np.unique(truth, return_inverse=True)
    cell = block * len(present) + stratum
    order = np.argsort(cell, kind="stable")
    judged = (verdicts != MISSING)[order].astype(np.float64)
    wrong = judged * (verdicts != truth[:, None])[order]
    ends = np.cumsum(np.bincount(cell, minlength=blocks * len(present)))
    made = np.zeros((blocks, judges, judges, len(present), 4))
    for number, (start, end) in enumerate(zip(np.append(0, ends[:-1]), ends, strict=True)):
        given, errors = judged[start:end], wrong[start:end]
        alone = errors.T @ given
        made[number // len(present), :, :, number % len(present)] = np.stack([given.T @ given, alone, alone.T, errors.T @ errors], axis=-1)
    return made


def _kish(pairs: FloatArray, judges: int) -> FloatArray:
    """J / (1 + (J - 1) r) of each row of pair correlations (..., pairs); NaN where no pair is defined or the panel's variance is none."""
    defined = np.isfinite(pairs)
    count = defined.sum(axis=-1)
    mean = np.where(defined, pairs, 0.0).sum(axis=-1) / np.maximum(count, 1)
    variance = 1 + (judges - 1) * mean
    return np.where((count > 0) & (variance > _FLAT), judges / np.where(variance > _FLAT, variance, 1.0), np.nan)


def _gls(correlations: FloatArray) -> float | None:
    """1'R^-1 1, with a ridge where R is ill-conditioned; an undefined pair counts as independent."""
    matrix = np.nan_to_num(correlations, nan=0.0)
    for made in (matrix, matrix + _RIDGE * np.eye(len(matrix))):
        if len(made) and np.linalg.eigvalsh(made).min() >= _RIDGE / 2:
            return float(np.linalg.solve(made, np.ones(len(made))).sum())
    return None


# ---- which judge a panel can do without -----------------------------------------------------------------------------


def _majority(
    verdicts: IntArray, truth: IntArray, clusters: IntArray, correlations: FloatArray, names: Sequence[str], seed: int, level: float
) -> tuple[Estimate, list[Without]]:
    """The accuracy of the majority, and what each judge's going changes."""
    rows, votes = np.arange(len(truth)), np.zeros((len(truth), 1 + int(max(verdicts.max(initial=0), truth.max(initial=0)))))
    groups = clusters.astype(np.uint64)
    for column in verdicts.T:
        votes[rows[column != MISSING], column[column != MISSING]] += 1
    credit = _credit(votes, truth)
    found = []
    for place, column in enumerate(verdicts.T if len(names) > 1 else ()):
        less = votes.copy()
        less[rows[column != MISSING], column[column != MISSING]] -= 1
        left = _credit(less, truth)
        change = mean_interval(left - credit, lo=-1, hi=1, clusters=groups, level=level, seed=seed, draws=CHANGE_DRAWS)
        others = np.delete(np.delete(correlations, place, axis=0), place, axis=1)
        found.append(Without(names[place], _n_eff(others), float(left.mean()) if len(left) else None, change))
    return mean_interval(credit, clusters=groups, level=level, seed=seed), found


def _credit(votes: FloatArray, truth: IntArray) -> FloatArray:
    """1 where the most votes are for the truth, 1/t where it is one of t classes with the most, else 0. `votes` has shape (n, K)."""
    best = votes == votes.max(axis=1, keepdims=True)
    return np.asarray(best[np.arange(len(truth)), truth] / best.sum(axis=1))


def _n_eff(correlations: FloatArray) -> float | None:
    judges = len(correlations)
    value = float(_kish(correlations[np.triu_indices(judges, 1)], judges)) if judges > 1 else float(judges)
    return value if np.isfinite(value) else None


def _drop(n_eff: float | None, without: Sequence[Without]) -> tuple[str | None, str]:
    """The judge that the panel can do without, and why this one or why none."""
    if not without:
        return None, "one judge: there is none to leave out"
    if n_eff is None:
        return None, "no two judges have errors to compare: nothing says which one repeats another"
    if all(one.change.low is None for one in without):
        return None, f"no interval for the panel's accuracy: {without[0].change.why}"
    spared = [one for one in without if one.change.low is not None and one.change.low > -MARGIN]
    if not spared:
        return None, f"without any one of them the majority could be less accurate by more than {100 * MARGIN:g} points"
    chosen = max(spared, key=lambda one: (one.n_eff or 0.0, one.change.value or 0.0))
    left = chosen.n_eff or 0.0
    if left < KEPT * n_eff:
        return None, f"each judge that the majority could spare takes more than {100 * (1 - KEPT):.0f} % of the effective judges with it"
    change = chosen.change
    return chosen.judge, (
        f"without it the majority's accuracy changes by {100 * (change.value or 0):+.1f} points, at worst {100 * (change.low or 0):+.1f},"
        f" and the panel is worth {left:.2f} independent judges where it was worth {n_eff:.2f}"
    )


# ---- the judge and the system under test ----------------------------------------------------------------------------


def shared_blind_spot(
    judge_passes: IntArray, system_wrong: IntArray, judge_own_wrong: IntArray, clusters: IntArray, *, seed: int, level: float = 0.95
) -> Estimate | None:
    """P(judge passes | system wrong, judge's own answer wrong) - P(judge passes | system wrong, own answer right) (METHODS §1.10).

    Codes 0, 1 and -1 (missing) of shape (n,). Above 0: the judge passes what it gets wrong itself. Newcombe's interval where each
    cluster has one row, else the cluster bootstrap. None where the system has no errors of one of the two kinds.
    """
    known = (judge_passes != MISSING) & (system_wrong == 1) & (judge_own_wrong != MISSING)
    passed, blind, groups = judge_passes[known] == 1, judge_own_wrong[known] == 1, clusters[known]
    n_blind, n_seeing = int(blind.sum()), int((~blind).sum())
    if not n_blind or not n_seeing:
        return None
    k_blind, k_seeing, n = int(passed[blind].sum()), int(passed[~blind].sum()), len(passed)
    columns = np.column_stack([passed & blind, blind, passed & ~blind, ~blind]).astype(np.float64)
    sums = sums_by_cluster(columns, groups)
    few = f"; indicative: {n_blind} and {n_seeing} errors, of {MIN_ARM} each" if min(n_blind, n_seeing) < MIN_ARM else ""
    if len(sums) < n:
        found = cluster_bootstrap(sums, _uplift, n=n, seed=seed, level=level)
        return found.model_copy(update={"method": found.method + few})
    value, why = k_blind / n_blind - k_seeing / n_seeing, too_few(n, len(sums))
    low, high = (None, None) if why else newcombe(k_blind, n_blind, k_seeing, n_seeing, level)
    return Estimate(value=value, low=low, high=high, level=level, n=n, method=f"Newcombe{few}", why=why)


def _uplift(sums: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3])

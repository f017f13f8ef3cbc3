"""Intervals against independent libraries, closed forms, brute force and seeded simulation."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from evalh.errors import InputError
from evalh.records import Estimate
from evalh.stats.intervals import (
    MANY,
    cluster_totals,
    cr3_interval,
    cr3_se,
    design_effect,
    items_needed,
    jbb_draws,
    mean_interval,
    newcombe,
    rate,
    tango,
    wilson,
)
from evalh.stats.scores import ItemScore, ScoreColumns, fold, fold_columns, mean_of, mean_of_columns

BINARY = [(k, n) for n in (10, 37, 200) for k in (0, 1, n // 2, n - 1, n)]


def covers(estimate: Estimate, truth: float) -> bool:
    return estimate.low is not None and estimate.high is not None and estimate.low <= truth <= estimate.high


def ones(k: int, n: int) -> list[float]:
    return [1.0] * k + [0.0] * (n - k)


# ---- against libraries and closed forms -----------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "n"), BINARY)
def test_wilson_equals_statsmodels(k: int, n: int) -> None:
    """Wilson's interval is the one statsmodels gives."""
    assert wilson(k, n, 0.9) == pytest.approx(proportion_confint(k, n, alpha=0.1, method="wilson"), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), BINARY)
def test_two_valued_scores_have_the_beta_interval(k: int, n: int) -> None:
    """Two-valued scores get the Jeffreys interval with its edge rule, whatever the seed."""
    estimate = mean_interval(ones(k, n), seed=1)
    law = stats.beta(k + 0.5, n - k + 0.5)
    assert estimate.value == pytest.approx(k / n)
    assert estimate.low == (0 if k == 0 else pytest.approx(law.ppf(0.025)))
    assert estimate.high == (1 if k == n else pytest.approx(law.ppf(0.975)))
    assert (estimate.method, estimate.seed, estimate.n) == ("Jeffreys", None, n)


def test_jbb_draws_of_two_valued_scores_follow_the_beta_law() -> None:
    """The draws that many-valued scores use agree with the closed form where there is one."""
    sums, sizes = cluster_totals(np.array(ones(43, 50)), None)
    draws = jbb_draws(sums, sizes, lo=0, hi=1, draws=100_000, seed=7)
    assert stats.kstest(draws, stats.beta(43.5, 7.5).cdf).pvalue > 0.01


def test_jbb_moments_are_those_of_its_definition() -> None:
    """JBB of many-valued scores on [-1, 1] has the mean and variance of the Dirichlet law that defines it."""
    values = np.array([-1, -0.5, -0.5, 0, 0.25, 0.25, 0.25, 1, 1, 0.75])
    points, weights = np.append(values, [-1, 1]), np.append(np.ones(10), [0.5, 0.5])
    share = weights / weights.sum()
    mean = float(share @ points)
    variance = float(share @ (points - mean) ** 2) / (weights.sum() + 1)
    draws = jbb_draws(*cluster_totals(values, None), lo=-1, hi=1, draws=400_000, seed=3)
    assert draws.mean() == pytest.approx(mean, abs=4 * (variance / 400_000) ** 0.5)
    assert draws.var() == pytest.approx(variance, rel=0.01)


@pytest.mark.parametrize(("k1", "n1", "k2", "n2"), [(56, 70, 48, 80), (9, 10, 3, 10), (10, 10, 0, 20), (0, 30, 0, 30)])
def test_newcombe_equals_statsmodels(k1: int, n1: int, k2: int, n2: int) -> None:
    """Newcombe's interval is the one statsmodels gives."""
    expected = confint_proportions_2indep(k1, n1, k2, n2, method="newcomb", compare="diff", correction=False)
    assert newcombe(k1, n1, k2, n2) == pytest.approx(expected, abs=1e-10)


def numeric_tango(b: int, c: int, n: int, z: float) -> tuple[float, float]:
    """Tango's interval by maximising the multinomial likelihood under p_b - p_c = delta numerically."""

    def score(delta: float) -> float:
        def minus_log_likelihood(q: float) -> float:  # p_c = q, p_b = q + delta
            cells = zip((b, c, n - b - c), (q + delta, q, 1 - 2 * q - delta), strict=True)
            return -sum(count * float(np.log(max(p, 1e-300))) for count, p in cells if count)

        q = optimize.minimize_scalar(
            minus_log_likelihood, bounds=(max(0.0, -delta), (1 - delta) / 2), method="bounded", options={"xatol": 1e-13}
        ).x
        return float((b - c - n * delta) / np.sqrt(n * (2 * q + delta * (1 - delta))))

    middle = (b - c) / n
    low = optimize.brentq(lambda d: score(d) - z, -1 + 1e-9, middle - 1e-7)
    high = optimize.brentq(lambda d: score(d) + z, middle + 1e-7, 1 - 1e-9)
    return float(low), float(high)


@pytest.mark.parametrize(("b", "c", "n"), [(12, 2, 50), (3, 3, 40), (0, 5, 30), (1, 0, 200), (20, 30, 60), (9, 1, 10)])
def test_tango_equals_the_constrained_maximum_likelihood(b: int, c: int, n: int) -> None:
    """Tango's closed q is the constrained maximum-likelihood estimate, so both ends agree with a numeric one."""
    assert tango(b, c, n) == pytest.approx(numeric_tango(b, c, n, stats.norm.ppf(0.975)), abs=1e-6)


def test_tango_where_nothing_or_everything_differs() -> None:
    """Without a differing pair Tango's interval is +- z^2/(n + z^2); with only one kind it ends at 1."""
    z2 = stats.norm.ppf(0.975) ** 2
    assert tango(0, 0, 40) == pytest.approx((-z2 / (40 + z2), z2 / (40 + z2)), abs=1e-9)
    assert tango(40, 0, 40) == pytest.approx(((40 - z2) / (40 + z2), 1.0), abs=1e-9)
    assert tango(0, 40, 40) == pytest.approx((-1.0, -(40 - z2) / (40 + z2)), abs=1e-9)


def test_cr3_is_the_delete_one_cluster_jackknife() -> None:
    """The CR3 standard error equals the jackknife that leaves out one cluster at a time, and its interval uses t with G - 1."""
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(8), [1, 2, 3, 4, 5, 6, 7, 12])
    values = rng.random(len(clusters))
    left_out = np.array([values[clusters != g].mean() for g in range(8)])
    # the jackknife around the full mean, which is what METHODS' closed form expands to
    jackknife = np.sqrt(7 / 8 * ((left_out - values.mean()) ** 2).sum())
    assert cr3_se(values.tolist(), clusters.tolist()) == pytest.approx(jackknife)
    estimate = cr3_interval(values.tolist(), clusters.tolist())
    assert estimate.high == pytest.approx(values.mean() + stats.t(7).ppf(0.975) * jackknife)


# ---- what is promised of every interval -----------------------------------------------------------------------------


def test_the_interval_does_not_depend_on_the_order_of_the_values() -> None:
    """The same scores in another order, with their clusters, give the same interval to the last digit."""
    rng = np.random.default_rng(11)
    values, clusters = rng.choice([0, 0.1, 0.3, 0.7, 1], 60), rng.integers(0, 12, 60)
    shuffled = rng.permutation(60)
    one = mean_interval(values.tolist(), clusters=clusters.tolist(), seed=2)
    other = mean_interval(values[shuffled].tolist(), clusters=clusters[shuffled].tolist(), seed=2)
    assert (one.low, one.high) == (other.low, other.high)
    assert one.seed == 2
    assert one.clusters == 12
    assert one.method == "cluster JBB, 20000 draws"


def test_clusters_of_one_value_are_no_clusters() -> None:
    """Naming each item its own cluster changes nothing."""
    values = [0.0, 0.25, 0.5, 0.75, 1.0] * 4
    assert mean_interval(values, clusters=list(range(20)), seed=2) == mean_interval(values, seed=2)


def test_too_few_items_or_clusters_give_no_interval() -> None:
    """Below 10 items or 5 clusters there is a value and a reason, and no interval."""
    few = mean_interval([1.0] * 9, seed=1)
    assert (few.value, few.low, few.high, few.why) == (1.0, None, None, "9 items: an interval needs 10")
    clustered = mean_interval([0.5, 1.0] * 10, clusters=[i % 4 for i in range(20)], seed=1)
    assert (clustered.low, clustered.why) == (None, "4 clusters: an interval needs 5")
    assert rate(3, 9).why == "9 items: an interval needs 10"
    assert cr3_interval([0.5] * 20, [i % 4 for i in range(20)]).low is None
    assert mean_interval([], seed=1).value is None


def test_unscored_values_widen_the_interval_by_what_they_could_be() -> None:
    """None is neither 0 nor 1 nor dropped: the lower end takes it as 0, the upper as 1, and the method counts it."""
    estimate = mean_interval([*ones(16, 20), None, None], seed=1)
    assert estimate.low == mean_interval(ones(16, 22), seed=1).low
    assert estimate.high == mean_interval(ones(18, 22), seed=1).high
    assert estimate.value == 0.8
    assert estimate.n == 22
    assert estimate.method.startswith("Jeffreys; 2 of 22 unscored")


@pytest.mark.parametrize("bad", [1.2, -0.1, float("nan")])
def test_a_score_outside_its_range_is_refused(bad: float) -> None:
    """A score outside [0, 1], or NaN, is an error that says what would be right."""
    with pytest.raises(InputError, match=r"value 3: score .* is not in \[0, 1\]"):
        mean_interval([0.5, 0.5, 0.5, bad], seed=1)


def test_planning_numbers_are_those_of_the_method_page() -> None:
    """For no change and margin .05 the pairs needed are 149 / 297 / 619 at discordance .06 / .12 / .25 (METHODS §3.3)."""
    for each_way, n, total in ((2, 98, 149), (5, 98, 297), (1, 14, 619)):
        differences = [1.0] * each_way + [-1.0] * each_way + [0.0] * (n - 2 * each_way)
        assert n + (items_needed(differences, 0.05, alpha=0.05, lo=-1, hi=1) or 0) == total
    assert items_needed([0.0, 1.0] * 20, 0.0, alpha=0.05, lo=0, hi=1) is None


def test_clusters_multiply_the_items_needed() -> None:
    """Items that repeat each other inside clusters need deff times as many."""
    values, clusters = [0.0] * 30 + [1.0] * 30, [i // 5 for i in range(60)]
    alone, together = (items_needed(values, 0.1, alpha=0.05, lo=0, hi=1, clusters=c) or 0 for c in (None, clusters))
    assert together + 60 == pytest.approx((alone + 60) * design_effect(values, clusters), abs=1 + design_effect(values, clusters))


def test_importing_the_intervals_loads_no_scipy() -> None:
    """The statistics room is cheap to enter: SciPy is loaded by the functions that need it."""
    code = "import sys, evalh.stats.association, evalh.stats.position; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- many values ----------------------------------------------------------------------------------------------------


def test_a_million_values_have_the_normal_interval() -> None:
    """With very many different values the interval is that of the central limit theorem, clustered or not."""
    rng = np.random.default_rng(9)
    values, clusters = rng.random(1_000_000), rng.integers(0, 300_000, 1_000_000).astype(np.uint64)
    half = 1.96 * (1 / 12 / 1_000_000) ** 0.5
    for given in (None, clusters):
        estimate = mean_interval(values, clusters=given, seed=3)
        assert estimate.low == pytest.approx(values.mean() - half, abs=0.04 * half)
        assert estimate.high == pytest.approx(values.mean() + half, abs=0.04 * half)


def test_many_different_values_keep_the_moments_of_the_definition() -> None:
    """Beyond MANY different values, which share a grid, mean and variance are those of the Dirichlet law of the values themselves."""
    values = np.random.default_rng(12).beta(8, 0.5, MANY + 1000)
    points, weights = np.append(values, [0, 1]), np.append(np.ones(len(values)), [0.5, 0.5])
    share = weights / weights.sum()
    mean = float(share @ points)
    variance = float(share @ (points - mean) ** 2) / (weights.sum() + 1)
    draws = jbb_draws(values, np.ones(len(values)), lo=0, hi=1, draws=40_000, seed=2)
    assert draws.mean() == pytest.approx(mean, abs=4 * (variance / 40_000) ** 0.5)
    assert draws.var() == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize("grouped", [False, True])
def test_scores_by_column_are_the_scores_one_by_one(grouped: bool) -> None:
    """Trials, blocked and unscored outputs, groups and slices: the estimate of columns is that of rows, to the last digit."""
    rng = np.random.default_rng(8)
    names = [f"i{n:03}" for n in np.sort(rng.integers(0, 150, 600))]
    rows = [
        ItemScore(name, f"s{int(name[1:]) % 3}", f"g{int(name[1:]) // 4}" if grouped else None, score, route)
        for name, p in zip(names, rng.random(600), strict=True)
        for score, route in [(None, "unscored") if p < 0.05 else (None, "blocked") if p < 0.15 else (float(p), "judged")]
    ]
    codes: dict[str, int] = {}

    def coded(words: list[str]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        return np.array([codes.setdefault(word, len(codes)) for word in words], dtype=np.uint64)

    worth = [0.0 if r.route == "blocked" else np.nan if r.score is None else r.score for r in rows]
    clusters = coded([f"group {r.group}" if grouped else f"item {r.item_id}" for r in rows])
    columns = fold_columns(ScoreColumns(coded(names), coded([r.slice for r in rows]), clusters, np.array(worth)))
    assert mean_of_columns(columns, seed=4) == mean_of(list(fold(rows).values()), seed=4).estimate
    one = [row for row in rows if row.slice == "s1"]
    assert mean_of_columns(columns.of_slice(codes["s1"]), seed=4) == mean_of(list(fold(one).values()), seed=4).estimate


# ---- coverage, small (in full: benchmarks/coverage.py) --------------------------------------------------------------


def test_jbb_covers_near_the_ceiling_where_t_does_not() -> None:
    """With 90 % top scores and 30 items, the 95 % JBB interval covers; the t interval does not (METHODS §0.1)."""
    rng = np.random.default_rng(20)
    levels, law = np.array([0, 0.25, 0.5, 0.75, 1]), np.array([0.01, 0.02, 0.03, 0.04, 0.9])
    truth, reps, jbb_hits, t_hits = float(levels @ law), 400, 0, 0
    for rep in range(reps):
        y = rng.choice(levels, 30, p=law)
        estimate = mean_interval(y.tolist(), seed=rep, draws=2000)
        half = stats.t(29).ppf(0.975) * y.std(ddof=1) / 30**0.5
        jbb_hits += covers(estimate, truth)
        t_hits += abs(y.mean() - truth) <= half
    assert jbb_hits / reps > 0.93
    assert t_hits / reps < 0.90


def test_cluster_jbb_covers_where_items_do_not() -> None:
    """With 10 clusters of about 5 and intra-cluster correlation .5 the cluster interval covers, the item-naive one does not."""
    rng = np.random.default_rng(21)
    reps, hits, naive_hits = 300, 0, 0
    for rep in range(reps):
        rates, sizes = rng.beta(0.9, 0.1, 10), 1 + rng.poisson(4, 10)
        clusters = np.repeat(np.arange(10), sizes)
        y = (rng.random(len(clusters)) < rates[clusters]).astype(float)
        for_clusters = mean_interval(y.tolist(), clusters=clusters.tolist(), seed=rep, draws=2000)
        naive = mean_interval(y.tolist(), seed=rep)
        hits += covers(for_clusters, 0.9)
        naive_hits += covers(naive, 0.9)
    assert hits / reps > 0.93
    assert naive_hits / reps < 0.88

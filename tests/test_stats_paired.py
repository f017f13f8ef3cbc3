"""Paired differences and their tests against SciPy, statsmodels and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from evalh.stats.intervals import mean_interval, tango
from evalh.stats.paired import difference, holm, mcnemar_exact, paired_p_value, paired_tests, sign_flips


@pytest.mark.parametrize(("b", "c"), [(0, 0), (5, 0), (3, 11), (8, 8), (40, 61)])
def test_exact_mcnemar_equals_statsmodels(b: int, c: int) -> None:
    """The exact McNemar p value is the one statsmodels gives; without a differing pair it is 1."""
    expected = mcnemar([[10, b], [c, 10]], exact=True).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(expected)


def test_exact_sign_flips_equal_scipy() -> None:
    """Up to 20 differing clusters the test enumerates all sign flips, as scipy.stats.permutation_test does."""
    rng = np.random.default_rng(4)
    clusters = rng.integers(0, 11, 40)
    differences = rng.choice([-1, -0.5, 0, 0.25, 0.5, 1], 40)
    sums = np.bincount(clusters, weights=differences, minlength=11)
    expected = stats.permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=10**5).pvalue
    found = sign_flips(differences.tolist(), clusters=clusters.tolist(), seed=1)
    assert found == (pytest.approx(expected), int((np.abs(sums) > 1e-12).sum()), None)


def test_random_sign_flips_agree_with_the_exact_law() -> None:
    """Beyond 20 clusters random flips are drawn: for differences of +-1 their p value is McNemar's, within Monte-Carlo error."""
    differences = [1.0] * 31 + [-1.0] * 17 + [0.0] * 50
    exact = mcnemar_exact(31, 17)
    drawn = sign_flips(differences, seed=9)
    assert (drawn.clusters, drawn.resamples) == (48, 99_999)
    assert drawn.p_value == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 99_999) ** 0.5)
    assert drawn == sign_flips(differences, seed=9)


def test_random_sign_flips_of_many_values_agree_with_scipy() -> None:
    """Grouping equal sizes into binomial counts draws from the same law as flipping every sign alone."""
    rng = np.random.default_rng(6)
    differences = rng.choice([-1, -0.5, 0.25, 0.5, 1], 45, p=[0.15, 0.15, 0.3, 0.2, 0.2])
    expected = stats.permutation_test(
        (differences,), lambda x, axis: x.sum(axis=axis), permutation_type="samples", n_resamples=20_000, rng=rng, vectorized=True
    ).pvalue
    assert sign_flips(differences.tolist(), seed=1).p_value == pytest.approx(expected, abs=4 * (expected / 20_000) ** 0.5)


def test_p_values_of_equal_systems_are_not_too_small() -> None:
    """Under no difference at most 5 % of sign-flip p values (with clusters) are below .05, within simulation error."""
    rng, reps, hits = np.random.default_rng(8), 400, 0
    clusters = [i // 3 for i in range(45)]
    for _ in range(reps):
        shift = np.repeat(rng.normal(0, 0.2, 15), 3)
        differences = np.clip(shift + rng.normal(0, 0.2, 45), -1, 1)
        hits += sign_flips(differences, clusters=clusters, seed=1).p_value < 0.05
    assert hits / reps <= 0.05 + 3 * (0.05 * 0.95 / reps) ** 0.5


def test_two_valued_scores_without_clusters_use_tango() -> None:
    """Two-valued scores of both systems get Tango's interval of (better - worse) / n."""
    candidate, baseline = [1.0, 0.0, 1.0, 0.0, 1.0] * 6, [1.0, 1.0, 0.0, 0.0, 1.0] * 6
    estimate = difference(candidate, baseline, seed=1, level=0.9)
    assert (estimate.low, estimate.high) == tango(6, 6, 30, 0.9)
    assert (estimate.value, estimate.method, estimate.n, estimate.seed) == (0.0, "Tango", 30, None)


def test_other_scores_use_jbb_on_the_differences() -> None:
    """Scores between 0 and 1, or clusters, get JBB of the differences with end points -1 and 1."""
    candidate, baseline = [1.0, 0.5, 1.0, 0.0, 1.0] * 6, [1.0, 1.0, 0.0, 0.0, 0.5] * 6
    changes = [c - b for c, b in zip(candidate, baseline, strict=True)]
    assert difference(candidate, baseline, seed=3) == mean_interval(changes, lo=-1, hi=1, seed=3)
    clusters = [i // 3 for i in range(30)]
    whole = [float(v > 0.5) for v in candidate]
    assert difference(whole, [float(v > 0.5) for v in baseline], clusters=clusters, seed=3).method == "cluster JBB, 20000 draws"


def test_a_pair_with_an_unscored_side_widens_the_interval() -> None:
    """An unscored side is taken at its worst for the lower end and at its best for the upper; the value is over complete pairs."""
    estimate = difference([*[1.0] * 20, None, 1.0], [*[1.0] * 20, 1.0, None], seed=1)
    assert estimate.value == 0.0
    assert estimate.low == difference([*[1.0] * 20, 0.0, 1.0], [1.0] * 22, seed=1).low
    assert estimate.high == difference([1.0] * 22, [*[1.0] * 20, 1.0, 0.0], seed=1).high
    assert "2 of 22 unscored" in estimate.method


@pytest.mark.parametrize("n", [60, 2500])
def test_random_sign_flips_of_different_values_agree_with_the_normal_limit(n: int) -> None:
    """Sizes that occur once get a random sign each: the law of the sum has the variance of the sizes, also where fewer are drawn."""
    noise = np.random.default_rng(n).normal(0, 0.4, n)
    differences = noise - noise.mean() + 2 * noise.std() / n**0.5  # about two standard errors above 0
    drawn = sign_flips(differences, seed=2)
    expected = 2 * stats.norm.sf(abs(differences.sum()) / np.sqrt((differences**2).sum()))
    assert 0.001 < expected < 0.5
    assert drawn.resamples == (99_999 if n == 60 else 9_999)
    assert drawn.p_value == pytest.approx(expected, abs=0.004 + 4 * (expected / drawn.resamples) ** 0.5)


def test_both_tests_are_given_and_one_is_the_headline() -> None:
    """Unclustered two-valued scores quote McNemar's test, everything else sign flips; for single pairs of 0 and 1 both are the same."""
    a, b = [1.0, 0.0] * 10, [1.0, 1.0] * 10
    pairs = [i // 2 for i in range(20)]
    plain, clustered, scores = paired_tests(b, a, seed=1), paired_tests(b, a, clusters=pairs, seed=1), paired_tests([0.5] * 20, a, seed=1)
    assert (plain.headline, plain.better, plain.worse) == ("mcnemar", 10, 0)
    assert plain.p_value == plain.mcnemar == mcnemar_exact(10, 0) == pytest.approx(plain.flips.p_value)
    assert (clustered.headline, clustered.mcnemar, clustered.p_value) == ("permutation", mcnemar_exact(10, 0), 2 / 2**10)
    assert (scores.headline, scores.mcnemar) == ("permutation", None)
    assert paired_p_value(b, a, seed=1) == plain.p_value
    assert paired_p_value(b, a, clusters=pairs, seed=1) == clustered.p_value
    assert paired_p_value([0.5] * 20, a, seed=1) == scores.p_value


@pytest.mark.parametrize("p_values", [[0.01], [0.04, 0.01, 0.03, 0.005], [0.2, 0.2, 0.9, 0.001, 0.02], [0.5, 0.6, 0.7]])
def test_holm_equals_statsmodels(p_values: list[float]) -> None:
    """Adjusted p values are those of statsmodels; a slice that was not tested has none and costs the others nothing."""
    expected = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(expected)
    assert holm([None, *p_values, None])[1:-1] == pytest.approx(expected)
    assert holm([None]) == [None]

"""Paired differences and their tests against SciPy, statsmodels and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from evalh.stats.intervals import mean_interval, tango
from evalh.stats.paired import difference, mcnemar_exact, paired_p_value, sign_flip_test


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
    assert sign_flip_test(differences.tolist(), clusters=clusters.tolist(), seed=1) == pytest.approx(expected)


def test_random_sign_flips_agree_with_the_exact_law() -> None:
    """Beyond 20 clusters random flips are drawn: for differences of +-1 their p value is McNemar's, within Monte-Carlo error."""
    differences = [1.0] * 31 + [-1.0] * 17 + [0.0] * 50
    exact = mcnemar_exact(31, 17)
    drawn = sign_flip_test(differences, seed=9)
    assert drawn == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 99_999) ** 0.5)
    assert drawn == sign_flip_test(differences, seed=9)


def test_random_sign_flips_of_many_values_agree_with_scipy() -> None:
    """Grouping equal sizes into binomial counts draws from the same law as flipping every sign alone."""
    rng = np.random.default_rng(6)
    differences = rng.choice([-1, -0.5, 0.25, 0.5, 1], 45, p=[0.15, 0.15, 0.3, 0.2, 0.2])
    expected = stats.permutation_test(
        (differences,), lambda x, axis: x.sum(axis=axis), permutation_type="samples", n_resamples=20_000, rng=rng, vectorized=True
    ).pvalue
    assert sign_flip_test(differences.tolist(), seed=1) == pytest.approx(expected, abs=4 * (expected / 20_000) ** 0.5)


def test_p_values_of_equal_systems_are_not_too_small() -> None:
    """Under no difference at most 5 % of sign-flip p values (with clusters) are below .05, within simulation error."""
    rng, reps, hits = np.random.default_rng(8), 400, 0
    clusters = [i // 3 for i in range(45)]
    for _ in range(reps):
        shift = np.repeat(rng.normal(0, 0.2, 15), 3)
        differences = np.clip(shift + rng.normal(0, 0.2, 45), -1, 1)
        hits += sign_flip_test(differences.tolist(), clusters=clusters, seed=1) < 0.05
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


def test_the_p_value_is_named_by_its_test() -> None:
    """Unclustered two-valued scores get McNemar's test, everything else sign flips."""
    a, b = [1.0, 0.0] * 10, [1.0, 1.0] * 10
    assert paired_p_value(b, a, seed=1) == (mcnemar_exact(10, 0), "McNemar, exact")
    assert paired_p_value(b, a, clusters=[i // 2 for i in range(20)], seed=1) == (2 / 2**10, "sign flips")
    assert paired_p_value([0.5] * 20, a, seed=1)[1] == "sign flips"

"""Cluster bootstrap and block jackknife, against closed forms and by a small simulation (large: benchmarks/audit_coverage.py)."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats

from evalh.stats.intervals import FloatArray, cr3_interval
from evalh.stats.resampling import (
    block_jackknife,
    cluster_bootstrap,
    counts_by_cluster,
    kinds_of,
    resampled,
    sums_by_cluster,
)


def mean_of(sums: FloatArray) -> FloatArray:
    """The mean, from columns of sum and number."""
    return np.asarray(sums[:, 0] / sums[:, 1])


def mean_sums(values: FloatArray, clusters: np.ndarray) -> FloatArray:
    return sums_by_cluster(np.column_stack([values, np.ones_like(values)]), clusters)


def test_sums_are_those_of_each_cluster() -> None:
    """Sums and counts by cluster, whatever the codes and the order of the rows."""
    clusters = np.array([7, 2, 7, 9, 2, 7])
    columns = np.array([[1.0, 10], [2, 20], [3, 30], [4, 40], [5, 50], [6, 60]])
    assert sums_by_cluster(columns, clusters).tolist() == [[7, 70], [10, 100], [4, 40]]
    assert sums_by_cluster(columns[:3], np.array([5, 1, 3])).tolist() == [[2, 20], [3, 30], [1, 10]]
    assert counts_by_cluster(np.array([0, 2, 2, 1, 2, 0]), 3, clusters).tolist() == [[0, 0, 2], [2, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize(
    ("count", "law"),
    [(600, "few kinds"), (600, "all different"), (6000, "all different")],
    ids=["multinomial", "direct", "normal"],
)
def test_every_way_to_draw_has_the_mean_and_covariance_of_resampled_clusters(count: int, law: str) -> None:
    """The resampled sums have the total as mean and G times the clusters' covariance, and two columns keep their correlation."""
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 3, (count, 2)).astype(float) if law == "few kinds" else rng.gamma(2.0, size=(count, 2))
    rows[:, 1] += rows[:, 0]
    drawn = resampled(kinds_of(rows), seed=1, draws=20_000)
    expected = count * np.cov(rows.T, ddof=0)
    assert drawn.mean(0) == pytest.approx(rows.sum(0), abs=5 * np.sqrt(np.diag(expected).max() / 20_000))
    assert np.cov(drawn.T) == pytest.approx(expected, rel=0.06)


def test_the_order_of_rows_and_the_names_of_clusters_change_nothing() -> None:
    """The same rows in another order, under other codes, give the same interval to the last digit."""
    rng = np.random.default_rng(4)
    values, clusters = rng.random(400), rng.integers(0, 400, 400) % 80
    order = rng.permutation(400)
    one = cluster_bootstrap(mean_sums(values, clusters), mean_of, n=400, seed=5)
    other = cluster_bootstrap(mean_sums(values[order], 900 - clusters[order]), mean_of, n=400, seed=5)
    assert (one.value, one.low, one.high) == (other.value, other.low, other.high)
    assert one.clusters == len(np.unique(clusters))
    assert one.seed == 5


def test_below_thirty_clusters_it_is_the_jackknife() -> None:
    """With equal clusters the delete-one jackknife of a mean is CR3 with t (its closed form), and uses no seed."""
    rng = np.random.default_rng(6)
    values, clusters = rng.normal(size=60), np.repeat(np.arange(20), 3)
    found = cluster_bootstrap(mean_sums(values, clusters), mean_of, n=60, seed=1)
    expected = cr3_interval(values.tolist(), clusters.tolist())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-10)
    assert found.seed is None
    assert "jackknife" in found.method
    blocks = block_jackknife(lambda rows: float(values[rows].mean()), 60, clusters)
    assert (blocks.low, blocks.high) == pytest.approx((expected.low, expected.high), abs=1e-10)


def test_an_interval_within_bounds_stays_there() -> None:
    """With bounds the jackknife of a correlation is made on Fisher's z: it never leaves [-1, 1]."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=12)
    y = x + 0.05 * rng.normal(size=12)
    found = block_jackknife(lambda rows: float(np.corrcoef(x[rows], y[rows])[0, 1]), 12, np.arange(12), bounds=(-1, 1))
    assert found.low is not None
    assert found.high is not None
    assert -1 < found.low < (found.value or 0) < found.high < 1


def test_what_cannot_be_said_is_said() -> None:
    """Too few items or clusters, draws without a value, and nothing that varies: no interval, and why."""
    values, alone = np.arange(40) % 2.0, np.arange(40)
    few = cluster_bootstrap(mean_sums(values[:9], alone[:9]), mean_of, n=9, seed=1)
    assert few.value == pytest.approx(4 / 9)
    assert (few.low, few.why) == (None, "9 items: an interval needs 10")
    assert cluster_bootstrap(mean_sums(values, alone % 4), mean_of, n=40, seed=1).why == "4 clusters: an interval needs 5"
    rare = np.column_stack([(alone == 0).astype(float), (alone == 0).astype(float)])
    unstable = cluster_bootstrap(rare, mean_of, n=40, seed=1)
    assert unstable.value == 1.0
    assert unstable.low is None
    assert str(unstable.why).startswith("unstable: 3")  # (1 - 1/40)^40 = 36 % of the draws miss the one row
    flat = cluster_bootstrap(mean_sums(np.ones(40), alone), mean_of, n=40, seed=1)
    assert (flat.value, flat.low, flat.why) == (1.0, None, "every resample gives the same value: nothing varies")
    nothing = cluster_bootstrap(np.zeros((0, 2)), mean_of, n=0, seed=1)
    assert (nothing.value, nothing.low, nothing.why) == (None, None, "no items")


@pytest.mark.parametrize("method", ["bootstrap", "jackknife"])
def test_the_interval_of_a_ratio_covers(method: str) -> None:
    """A ratio of sums in clusters of unequal size, 60 clusters: 95 % intervals hold the truth in 91 to 98.5 % of 300 samples."""
    rng = np.random.default_rng(11)
    hits = 0
    for rep in range(300):
        sizes = rng.integers(1, 6, 60)
        clusters = np.repeat(np.arange(60), sizes)
        values = (rng.random(len(clusters)) < np.repeat(rng.beta(3, 2, 60), sizes)).astype(float)
        if method == "bootstrap":
            found = cluster_bootstrap(mean_sums(values, clusters), mean_of, n=len(values), seed=rep)
        else:
            found = block_jackknife(lambda rows, v=values: float(v[rows].mean()), len(values), clusters)  # type: ignore[misc]
        hits += (found.low or 0) <= 0.6 <= (found.high or 0)
    assert 0.91 <= hits / 300 <= 0.985


def test_the_percentiles_are_those_of_the_binomial_law() -> None:
    """The bootstrap of a two-valued mean is binomial: the ends are its quantiles, to the step of one item."""
    values = np.array([1.0] * 70 + [0.0] * 30)
    found = cluster_bootstrap(mean_sums(values, np.arange(100)), mean_of, n=100, seed=2, draws=40_000)
    assert (found.low, found.high) == pytest.approx([stats.binom(100, 0.7).ppf(p) / 100 for p in (0.025, 0.975)], abs=0.0101)


def test_many_clusters_are_fast() -> None:
    """20,000 clusters that are all different take well below a second of CPU."""
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.random(20_000), np.ones(20_000)])
    started = time.process_time()
    cluster_bootstrap(rows, mean_of, n=20_000, seed=1)
    assert time.process_time() - started < 0.5

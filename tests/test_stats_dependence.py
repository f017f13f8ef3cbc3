"""Shared errors against statsmodels, closed forms and simulation with a stated correlation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from statsmodels.stats.contingency_tables import StratifiedTable

from evalh.stats.dependence import Effective, effective_judges, error_correlation, flagged, shared_blind_spot
from evalh.stats.intervals import newcombe

IntArray = npt.NDArray[np.int64]


def judged(
    seed: int, n: int, judges: int, rho: float, classes: int = 2, wrong: tuple[float, float] = (0.12, 0.25)
) -> tuple[IntArray, IntArray]:
    """Verdicts (n, J) and truth of judges that share one draw of error with probability sqrt(rho): a correlation of rho in each class."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    draw = np.where(rng.random((n, judges)) < rho**0.5, rng.random((n, 1)), rng.random((n, judges)))
    other = (truth[:, None] + rng.integers(1, classes, (n, judges))) % classes
    return np.where(draw < np.where(truth == 0, *wrong)[:, None], other, truth[:, None]), truth


def alone(n: int) -> IntArray:
    """Each row its own cluster."""
    return np.arange(n)


def within(a: IntArray, b: IntArray, truth: IntArray) -> float:
    """The correlation of two columns after the mean of each true class is taken off: METHODS §1.10 as written."""
    means = [np.array([column[truth == t].mean() for t in range(truth.max() + 1)]) for column in (a, b)]
    x, y = a - means[0][truth], b - means[1][truth]
    return float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))


# ---- two judges -----------------------------------------------------------------------------------------------------


def test_two_classes_give_the_pooled_correlation_of_the_verdicts() -> None:
    """With two classes rho is that of the verdicts, pooled within the true classes; with more, that of the errors."""
    verdicts, truth = judged(1, 400, 2, 0.4)
    found = error_correlation(verdicts[:, 0], verdicts[:, 1], truth, alone(400), seed=1)
    assert found.correlation.value == pytest.approx(within(verdicts[:, 0], verdicts[:, 1], truth))
    assert (found.n, found.classes, found.method) == (400, 2, "within-class correlation of verdicts")
    verdicts, truth = judged(2, 400, 2, 0.4, classes=4)
    wrong = (verdicts != truth[:, None]).astype(np.int64)
    found = error_correlation(verdicts[:, 0], verdicts[:, 1], truth, alone(400), seed=1)
    assert found.correlation.value == pytest.approx(within(wrong[:, 0], wrong[:, 1], truth))
    assert (found.classes, found.method) == (4, "within-class correlation of errors, 4 classes")


@pytest.mark.parametrize(("classes", "rho", "n"), [(2, 0.0, 120), (2, 0.3, 120), (3, 0.1, 300)])
def test_the_p_value_is_the_cmh_test_of_statsmodels(classes: int, rho: float, n: int) -> None:
    """The test of independence given the truth is Cochran, Mantel and Haenszel's, one table per true class."""
    verdicts, truth = judged(n + classes, n, 2, rho, classes)
    wrong = verdicts != truth[:, None]
    tables = [[[int((wrong[truth == t] == (x, y)).all(axis=1).sum()) for y in (1, 0)] for x in (1, 0)] for t in range(classes)]
    expected = StratifiedTable([np.array(table, dtype=float) for table in tables]).test_null_odds(correction=False).pvalue
    assert error_correlation(verdicts[:, 0], verdicts[:, 1], truth, alone(n), seed=1).p_value == pytest.approx(expected)


def test_lift_error_consistency_and_same_wrong_answers_by_hand() -> None:
    """20 items, 4 and 5 errors, 2 in common, of which one is the same wrong answer."""
    truth = np.zeros(20, dtype=np.int64)
    a, b = truth.copy(), truth.copy()
    a[[0, 1, 2, 3]] = [1, 1, 1, 2]
    b[[2, 3, 4, 5, 6]] = [1, 1, 2, 2, 2]
    found = error_correlation(a, b, truth, alone(20), seed=1)
    assert (found.n_errors_a, found.n_errors_b, found.same_wrong) == (4, 5, 0.5)
    assert found.lift == pytest.approx(2 * 20 / (4 * 5))
    chance = 0.8 * 0.75 + 0.2 * 0.25
    assert found.error_consistency == pytest.approx((15 / 20 - chance) / (1 - chance))
    assert found.note is not None
    assert found.note.startswith("indicative: 20 items and 4 errors")


def test_rows_without_a_label_or_a_verdict_are_left_out_and_counted() -> None:
    """A missing code takes its row out of every figure, and says so: nothing is a wrong answer because it is missing."""
    verdicts, truth = judged(3, 200, 2, 0.5)
    whole = error_correlation(verdicts[:, 0], verdicts[:, 1], truth, alone(200), seed=1)
    more = np.full((3, 2), -1)
    more[0, 0], more[1, 1] = 1, 1
    a, b = np.concatenate([verdicts, more]).T
    found = error_correlation(a, b, np.append(truth, [0, 0, -1]), alone(203), seed=1)
    assert found == whole._replace(n_left_out=3)


def test_nothing_is_said_where_nothing_varies() -> None:
    """A judge that is always right shares no errors: the figures are None with a reason, not 0 or a crash. No items: the same."""
    truth = np.arange(40) % 2
    found = error_correlation(truth, 1 - truth, truth, alone(40), seed=1)
    assert (found.correlation.value, found.p_value, found.lift, found.same_wrong) == (None, None, None, None)
    assert found.correlation.why == "not defined for these values"
    empty = error_correlation(*(np.full(5, -1),) * 3, alone(5), seed=1)
    assert (empty.n, empty.n_left_out, empty.correlation.value, empty.error_consistency) == (0, 5, None, None)


@pytest.mark.parametrize(("rho", "size"), [(0.0, 1), (0.3, 1), (0.3, 3)])
def test_the_stated_correlation_is_covered(rho: float, size: int) -> None:
    """The interval holds the stated correlation in about 95 % of samples; rows that repeat in their cluster make it wider, not wrong."""
    reps, hits, items = 120, 0, 300
    for rep in range(reps):
        verdicts, truth = judged(1000 + rep, items, 2, rho)
        a, b, t, clusters = (np.repeat(column, size) for column in (*verdicts.T, truth, alone(items)))
        found = error_correlation(a, b, t, clusters, seed=rep).correlation
        hits += found.low is not None and found.high is not None and found.low <= rho <= found.high
    assert 0.95 - 3.5 * (0.05 * 0.95 / reps) ** 0.5 <= hits / reps


def test_clusters_beyond_the_blocks_are_resampled_in_blocks() -> None:
    """With thousands of clusters blocks of them are drawn; the interval is as wide as with one row per cluster, and keeps their number."""
    verdicts, truth = judged(5, 3000, 2, 0.3)
    single = error_correlation(verdicts[:, 0], verdicts[:, 1], truth, alone(3000), seed=1).correlation
    a, b, t, clusters = (np.repeat(column, 2) for column in (*verdicts.T, truth, alone(3000)))
    double = error_correlation(a, b, t, clusters, seed=1).correlation
    assert (double.value, double.clusters, double.n) == (pytest.approx(single.value), 3000, 6000)
    assert "200 blocks" in double.method
    assert None not in (single.low, single.high, double.low, double.high)
    widths = [(e.high or 0) - (e.low or 0) for e in (single, double)]
    assert widths[1] == pytest.approx(widths[0], rel=0.2)


def test_only_two_known_and_different_families_are_flagged() -> None:
    """A flag needs a correlation that is above 0 by its interval and two families that are known to differ."""
    verdicts, truth = judged(4, 600, 2, 0.5)
    alike = error_correlation(verdicts[:, 0], verdicts[:, 1], truth, alone(600), seed=1)
    verdicts, truth = judged(4, 600, 2, 0.0)
    apart = error_correlation(verdicts[:, 0], verdicts[:, 1], truth, alone(600), seed=1)
    assert flagged(alike, "llama", "qwen")[0]
    assert [flagged(alike, "llama", "llama")[0], flagged(alike, None, "qwen")[0], flagged(apart, "llama", "qwen")[0]] == [False] * 3
    assert "one family" in flagged(alike, "llama", "llama")[1]
    assert "not known" in flagged(alike, None, "qwen")[1]


# ---- a panel --------------------------------------------------------------------------------------------------------


def panel(verdicts: IntArray, truth: IntArray, seed: int = 1, names: list[str] | None = None) -> Effective:
    return effective_judges(verdicts, truth, alone(len(truth)), seed=seed, names=names)


def test_equally_correlated_judges_are_worth_what_kish_says() -> None:
    """Five judges with correlation .45 are worth 5 / (1 + 4 · .45) = 1.79, by Kish and by the best weights, within the interval."""
    verdicts, truth = judged(6, 20_000, 5, 0.45)
    found = panel(verdicts, truth)
    assert found.kish.low is not None
    assert found.kish.high is not None
    assert found.kish.low <= 5 / 2.8 <= found.kish.high
    assert found.kish.high - found.kish.low < 0.15
    assert found.gls == pytest.approx(5 / 2.8, abs=0.06)
    mean = np.mean([within(verdicts[:, j], verdicts[:, k], truth) for j in range(5) for k in range(j)])
    assert found.mean_correlation == pytest.approx(mean)
    assert found.kish.value == pytest.approx(5 / (1 + 4 * mean))
    assert found.limit == pytest.approx(1 / mean)


def test_an_independent_judge_would_add_what_is_promised() -> None:
    """`with_independent` is what Kish's number becomes when a judge with errors of its own joins, to within sampling."""
    verdicts, truth = judged(7, 30_000, 4, 0.5)
    ones, _ = judged(8, 30_000, 1, 0.0)
    lone = np.where(ones[:, 0] == judged(8, 30_000, 1, 0.0)[1], truth, 1 - truth)  # right where that judge is right on its own items
    assert panel(verdicts, truth).with_independent == pytest.approx(panel(np.column_stack([verdicts, lone]), truth).kish.value, abs=0.1)


def test_a_copy_of_another_judge_is_the_one_to_drop() -> None:
    """Of three independent judges and a copy of one of them a twin can go: the panel is worth as much without it."""
    verdicts, truth = judged(9, 4000, 3, 0.0)
    found = panel(np.column_stack([verdicts, verdicts[:, 2]]), truth, names=["one", "two", "twin", "twin again"])
    assert found.drop in ("twin", "twin again")
    assert found.kish.value == pytest.approx(4 / (1 + 3 * (1 / 6)), abs=0.1)
    by_name = {one.judge: one for one in found.without}
    assert by_name["twin"].n_eff == pytest.approx(3, abs=0.15)
    assert by_name["twin"].n_eff > by_name["one"].n_eff
    assert found.leave_out == [one.n_eff for one in found.without]
    assert "where it was worth" in found.reason


def test_no_judge_is_dropped_where_each_one_counts() -> None:
    """Three independent judges of equal skill: without any the majority gets worse, and the reason says so."""
    verdicts, truth = judged(10, 4000, 3, 0.0, wrong=(0.25, 0.25))
    found = panel(verdicts, truth)
    assert found.drop is None
    assert "less accurate" in found.reason
    assert all(one.change.high < 0 for one in found.without if one.change.high is not None)


def test_a_judge_that_accuracy_could_spare_stays_for_its_independence() -> None:
    """Three good judges with errors of their own: any two are nearly as accurate, but a third of the evidence would go with the third."""
    verdicts, truth = judged(14, 6000, 3, 0.0, wrong=(0.01, 0.01))
    found = panel(verdicts, truth)
    assert all(one.change.low is not None and one.change.low > -0.02 for one in found.without)
    assert found.drop is None
    assert found.reason == "each judge that the majority could spare takes more than 5 % of the effective judges with it"


def test_the_majority_shares_a_tie() -> None:
    """Accuracy is that of the majority of those who judged; where classes tie the right one counts as its share."""
    verdicts = np.array([[0, 0, 1], [0, 1, -1], [1, 1, 0], [0, 1, 2]] * 5)
    found = panel(verdicts, np.zeros(20, dtype=np.int64), names=["a", "b", "c"])
    assert found.accuracy.value == pytest.approx((1 + 1 / 2 + 0 + 1 / 3) / 4)
    without = {one.judge: one for one in found.without}
    assert without["c"].accuracy == pytest.approx((1 + 1 / 2 + 0 + 1 / 2) / 4)
    assert without["a"].change.value == pytest.approx((1 / 2 + 0 + 1 / 2 + 0) / 4 - (1 + 1 / 2 + 1 / 3) / 4)


def test_items_that_some_judged_count_for_the_pairs_that_judged_them() -> None:
    """Each pair is taken on the items of both; items without a label or with one judge are left out, and both are counted."""
    verdicts, truth = judged(11, 900, 3, 0.4)
    verdicts[:300, 2] = -1
    verdicts[880:, :2] = -1
    truth[870:880] = -1
    found = panel(verdicts, truth)
    kept = slice(0, 870)
    assert found.correlations[0, 1] == pytest.approx(within(verdicts[kept, 0], verdicts[kept, 1], truth[kept]))
    kept = slice(300, 870)
    assert found.correlations[1, 2] == pytest.approx(within(verdicts[kept, 1], verdicts[kept, 2], truth[kept]))
    assert (found.n, found.n_incomplete, found.n_left_out) == (870, 300, 30)


def test_a_panel_of_one_or_without_errors_says_so() -> None:
    """One judge is one; judges without errors have no correlation, which is said and is no independence."""
    verdicts, truth = judged(12, 200, 1, 0.0)
    lone = panel(verdicts, truth)
    assert (lone.kish.value, lone.kish.why, lone.gls, lone.drop) == (1, "one judge", 1, None)
    right = panel(np.column_stack([truth, truth]), truth)
    assert (right.kish.value, right.undefined_pairs, right.drop) == (None, 1, None)
    assert "no two judges have errors to compare" in right.reason


# ---- the judge and the system ---------------------------------------------------------------------------------------


def test_a_shared_blind_spot_is_newcombe_of_two_rates() -> None:
    """Among the system's errors: passes where the judge errs itself minus passes where it does not; the rest counts for nothing."""
    blind = np.repeat([1, 0, 1, 0], [40, 50, 30, 5])
    passes = np.concatenate([np.arange(40) < 28, np.arange(50) < 10, np.arange(35) < 30]).astype(np.int64)
    wrong = np.repeat([1, 0, -1], [90, 20, 15])
    found = shared_blind_spot(passes, wrong, blind, alone(125), seed=1)
    assert found is not None
    assert (found.value, found.n) == (pytest.approx(28 / 40 - 10 / 50), 90)
    assert (found.low, found.high) == newcombe(28, 40, 10, 50)
    assert found.method == "Newcombe"
    few = shared_blind_spot(passes[20:], wrong[20:], blind[20:], alone(105), seed=1)
    assert few is not None
    assert few.method == "Newcombe; indicative: 20 and 50 errors, of 30 each"
    assert shared_blind_spot(passes, wrong, np.zeros_like(blind), alone(125), seed=1) is None


def test_a_shared_blind_spot_of_repeated_items_is_resampled_by_item() -> None:
    """Each row twice is no more evidence: the interval is about that of the single rows."""
    rng = np.random.default_rng(13)
    blind = rng.integers(0, 2, 160)
    passes = (rng.random(160) < np.where(blind, 0.6, 0.2)).astype(np.int64)
    once = shared_blind_spot(passes, np.ones(160, dtype=np.int64), blind, alone(160), seed=1)
    a, b, c = (np.repeat(column, 2) for column in (passes, blind, alone(160)))
    twice = shared_blind_spot(a, np.ones(320, dtype=np.int64), b, c, seed=1)
    assert once is not None
    assert twice is not None
    assert twice.value == pytest.approx(once.value)
    assert (twice.low, twice.high) == (pytest.approx(once.low, abs=0.03), pytest.approx(once.high, abs=0.03))

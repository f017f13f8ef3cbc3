"""Calibration error, separation and coverage, against worked examples, closed forms and a small seeded simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from evalh.errors import InputError
from evalh.stats.calibration import calibration


def judged(n: int, seed: int, excess: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    stated = 0.5 + 0.5 * rng.random(n)
    return stated, rng.random(n) < stated - excess


def test_bins_are_closed_above() -> None:
    """Confidences of exactly 1 stand in the last bin, of .9 in the last but one, of 0 in the first; nothing is lost."""
    stated = np.array([0.0, 0.1, 0.3, 0.7, 0.9, 0.91, 1.0, 1.0])
    found = calibration(stated, np.ones(8, dtype=bool), np.arange(8), seed=1)
    assert [b.n for b in found.bins] == [2, 0, 1, 0, 0, 0, 1, 0, 1, 3]
    assert (found.bins[9].low, found.bins[9].high) == (0.9, 1.0)
    assert found.bins[9].confidence == pytest.approx(2.91 / 3)
    assert found.bins[1].confidence is None
    assert found.bins[1].accuracy.value is None


def test_ece_of_a_worked_example() -> None:
    """The mean over verdicts of their bin's |accuracy - mean confidence|."""
    stated, right = np.repeat([0.55, 0.75, 0.95, 1.0], [20, 30, 25, 25]), np.zeros(100, dtype=bool)
    right[:14] = right[20:38] = right[50:92] = True
    expected = 0.2 * abs(14 / 20 - 0.55) + 0.3 * abs(18 / 30 - 0.75) + 0.5 * abs(42 / 50 - 0.975)
    found = calibration(stated, right, np.arange(100), seed=1).ece
    assert found.value == pytest.approx(expected)
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < expected < found.high


@pytest.mark.parametrize(("excess", "size"), [(0.0, 1), (0.1, 1), (0.1, 4)])
def test_the_interval_of_ece_covers(excess: float, size: int) -> None:
    """Of a calibrated judge it holds 0, of one that is .1 too sure it holds .1, in at least 85 % of 60 samples of 200."""
    hits = 0
    for rep in range(60):
        rng = np.random.default_rng([rep, size])
        stated = 0.6 + 0.4 * np.repeat(rng.random(200 // size), size)
        right = np.repeat(rng.random(200 // size), size) < stated - excess
        found = calibration(stated, right, np.repeat(np.arange(200 // size), size), seed=rep).ece
        hits += (found.low if found.low is not None else 1) <= excess <= (found.high or 0)
    assert hits >= 51


def test_auroc_is_the_mann_whitney_statistic() -> None:
    """With ties as one half, as SciPy counts; the interval is near the one of Hanley and McNeil's standard error."""
    stated, right = judged(400, 3)
    stated = stated.round(1)
    found = calibration(stated, right, np.arange(400), seed=1).auroc
    u = stats.mannwhitneyu(stated[right], stated[~right]).statistic
    a, n1, n0 = u / (right.sum() * (~right).sum()), right.sum(), (~right).sum()
    assert found.value == pytest.approx(a, abs=1e-12)
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    se = np.sqrt((a * (1 - a) + (n1 - 1) * (q1 - a * a) + (n0 - 1) * (q2 - a * a)) / (n1 * n0))
    assert (found.high or 0) - (found.low or 0) == pytest.approx(2 * 1.96 * se, rel=0.1)


def test_auroc_in_clusters() -> None:
    """Rows copied four times within clusters say no more than the single rows."""
    stated, right = judged(200, 4)
    single = calibration(stated, right, np.arange(200), seed=1).auroc
    copied = calibration(np.repeat(stated, 4), np.repeat(right, 4), np.repeat(np.arange(200), 4), seed=1).auroc
    assert copied.value == pytest.approx(single.value)
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high), abs=0.01)
    assert copied.method == "Obuchowski, logit"


def test_auroc_at_its_edges() -> None:
    """One class: no value, and why. Perfect separation: 1 with a lower end. Too few of one class: no interval."""
    stated = np.linspace(0, 1, 40)
    one = calibration(stated, np.ones(40, dtype=bool), np.arange(40), seed=1).auroc
    assert (one.value, one.low, one.why) == (None, None, "every answer is right: separation needs both")
    perfect = calibration(stated, stated > 0.5, np.arange(40), seed=1).auroc
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert 0.8 < (perfect.low or 0) < 1
    few = calibration(stated, np.arange(40) > 2, np.arange(40), seed=1).auroc
    assert few.low is None
    assert few.why == "3 clusters of the rarer class: an interval needs 5"
    empty = calibration(stated[:0], stated[:0] > 0, np.arange(0), seed=1)
    assert (empty.auroc.value, empty.ece.value, empty.coverage) == (None, None, [])


def test_coverage_takes_the_most_confident_first_and_splits_ties() -> None:
    """The accuracy of the most confident share; of equal confidences each counts in part, so that their order does not matter."""
    stated, right = np.repeat([0.9, 0.8, 0.5], [2, 4, 4]), np.array([1, 1, 1, 1, 0, 0, 1, 0, 0, 0], dtype=bool)
    order = np.random.default_rng(5).permutation(10)
    found = calibration(stated[order], right[order], np.arange(10), seed=1).coverage
    assert [(c.share, c.n) for c in found] == [(k / 10, k) for k in range(1, 11)]
    assert [c.accuracy * c.n for c in found] == pytest.approx([1, 2, 2.5, 3, 3.5, 4, 4.25, 4.5, 4.75, 5])


def test_a_confidence_is_between_0_and_1() -> None:
    """Percent and NaN are refused with the place."""
    for bad in (85.0, float("nan"), -0.1):
        with pytest.raises(InputError, match="value 1"):
            calibration(np.array([0.5, bad]), np.array([True, False]), np.arange(2), seed=1)

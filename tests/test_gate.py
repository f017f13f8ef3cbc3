"""The gate: PASS only if every rule passes, FAIL if one fails, else INCONCLUSIVE with its reason and how many more items."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evalh.gate import GateDecision, decide
from evalh.stats.intervals import mean_interval, tango
from evalh.stats.scores import ItemScore
from evalh.suites.model import Gate


def run(*scores: float | None, group_size: int = 0, prefix: str = "i") -> list[ItemScore]:
    """One output per score; with `group_size`, that many consecutive items form a group."""
    return [
        ItemScore(f"{prefix}{k:04}", "all", f"g{k // group_size}" if group_size else None, score, "unscored" if score is None else "judged")
        for k, score in enumerate(scores)
    ]


def ones(k: int, n: int) -> list[float]:
    return [1.0] * k + [0.0] * (n - k)


def decided(gate: Gate, candidate: list[ItemScore], baseline: list[ItemScore] | None = None, **more: Any) -> GateDecision:
    settings: dict[str, Any] = {"run": "new", "metric": "judge score", "seed": 3, "draws": 4000} | more
    return decide(gate, candidate, baseline, **settings)


MINIMUM = Gate(minimum=0.8)
MARGIN = Gate(baseline="main", margin=0.05)


# ---- minimum --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passed", "decision", "codes"), [(95, "PASS", []), (85, "INCONCLUSIVE", ["minimum_open"]), (60, "FAIL", ["below_minimum"])]
)
def test_the_minimum_is_decided_by_the_interval(passed: int, decision: str, codes: list[str]) -> None:
    """The score passes where its lower bound is above the minimum, fails where its upper one is below, else nothing is decided."""
    found = decided(MINIMUM, run(*ones(passed, 100)))
    interval = mean_interval(ones(passed, 100), seed=3, level=0.9)
    assert (found.decision, found.codes) == (decision, codes)
    assert found.rules[0].estimate == interval
    assert (found.rules[0].rule, found.rules[0].metric, found.rules[0].slice, found.rules[0].threshold) == (
        "minimum",
        "judge score",
        "all",
        0.8,
    )
    assert (found.labels_needed is None) == (decision != "INCONCLUSIVE")


def test_an_open_minimum_says_how_many_more_items() -> None:
    """INCONCLUSIVE names the items that would decide with 80 % power if the estimate is right, by the formula of METHODS §3.3."""
    found = decided(MINIMUM, run(*ones(85, 100)))
    p = 86 / 102  # with one pseudo-observation at each end
    assert found.labels_needed == int(np.ceil(2.4864749**2 * p * (1 - p) / 0.05**2)) - 100
    on_it = decided(MINIMUM, run(*ones(81, 100)))
    assert on_it.codes == ["minimum_open", "on_the_threshold"]
    assert decided(MINIMUM, run(*ones(80, 100))).labels_needed is None  # no number of items moves it off


def test_a_blocked_output_counts_as_zero() -> None:
    """An output that tier 1 blocked counts as a failure, never as missing."""
    blocked = [ItemScore(f"b{k}", "all", None, None, "blocked") for k in range(40)]
    found = decided(MINIMUM, [*run(*ones(60, 60)), *blocked])
    assert (found.decision, found.blocked, found.unscored) == ("FAIL", 40, 0)
    assert found.rules[0].estimate.value == 0.6


def test_trials_of_an_item_are_no_extra_items() -> None:
    """Four trials of 30 items have the interval of 30 items."""
    candidate = [row for _ in range(4) for row in run(*ones(27, 30))]
    found = decided(MINIMUM, candidate)
    assert found.rules[0].estimate.n == 30
    assert (found.items, found.outputs) == (30, 120)
    assert found.rules[0].estimate.low == decided(MINIMUM, run(*ones(27, 30))).rules[0].estimate.low


# ---- what is not scored ---------------------------------------------------------------------------------------------


def test_unscored_outputs_decide_nothing_that_depends_on_them() -> None:
    """Where the bound with unscored as 0 and the bound with unscored as 1 decide differently, the gate does not decide."""
    lenient = Gate(minimum=0.8, max_unscored=0.5)
    found = decided(lenient, run(*ones(92, 92), *[None] * 20))
    assert (found.decision, found.codes, found.labels_needed) == ("INCONCLUSIVE", ["missing"], None)
    assert "20 of 112 items lack a score; at their worst the rule says INCONCLUSIVE, at their best PASS" in found.reasons[0]
    assert decided(lenient, run(*ones(92, 92), *[None] * 3)).decision == "PASS"
    assert decided(lenient, run(*ones(10, 92), *[None] * 20)).decision == "FAIL"


def test_too_many_unscored_outputs_are_inconclusive() -> None:
    """Above the allowed share of unscored outputs the gate is INCONCLUSIVE, even where both bounds would pass."""
    found = decided(Gate(minimum=0.5, max_unscored=0.05), run(*ones(100, 100), *[None] * 6))
    assert [rule.decision for rule in found.rules] == ["PASS", "INCONCLUSIVE"]
    assert found.reasons == ["unscored: 6 of 106 outputs have no score; at most 5.0% may"]
    assert decided(Gate(minimum=0.5, max_unscored=0.06), run(*ones(100, 100), *[None] * 6)).decision == "PASS"


def test_a_failing_rule_fails_the_gate_whatever_the_others_say() -> None:
    """FAIL beats INCONCLUSIVE beats PASS."""
    assert decided(Gate(minimum=0.8, max_unscored=0), run(*ones(10, 100), None)).decision == "FAIL"


def test_too_few_items_or_clusters_decide_nothing() -> None:
    """Below 10 items or 5 groups there is no interval, so INCONCLUSIVE; so is a run without outputs."""
    few = decided(MINIMUM, run(*ones(9, 9)))
    assert (few.decision, few.reasons, few.labels_needed) == ("INCONCLUSIVE", ["too_few: 9 items: an interval needs 10"], 1)
    clustered = decided(MINIMUM, run(*ones(40, 40), group_size=10))
    assert (clustered.codes, clustered.labels_needed) == (["too_few"], None)
    assert decided(MINIMUM, []).codes == ["too_few", "no_outputs"]


# ---- against a baseline ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("better", "worse", "decision", "codes", "flags"),
    [
        (6, 6, "PASS", [], []),
        (20, 3, "PASS", [], ["improved"]),
        (0, 4, "PASS", ["regression_detected"], ["regression_detected"]),
        (8, 14, "INCONCLUSIVE", ["margin_open"], []),
        (2, 60, "FAIL", ["worse_than_baseline", "regression_detected"], ["regression_detected"]),
    ],
)
def test_no_worse_than_the_baseline_by_the_margin(better: int, worse: int, decision: str, codes: list[str], flags: list[str]) -> None:
    """Paired by item: PASS above -margin, FAIL below it; a regression inside the margin passes but is flagged."""
    both = 200 - better - worse
    candidate, baseline = (
        run(*ones(both, both), *ones(better, better + worse)),
        run(*ones(both, both), *ones(0, better), *ones(worse, worse)),
    )
    found = decided(MARGIN, candidate, baseline, baseline_run="old")
    assert (found.decision, found.codes, found.flags) == (decision, codes, flags)
    assert found.difference is not None
    assert (found.difference.low, found.difference.high) == tango(better, worse, 200, 0.9)
    assert (found.run, found.baseline, found.rules[0].threshold) == ("new", "old", -0.05)


def test_an_open_margin_says_how_many_items_if_the_estimate_or_no_change_holds() -> None:
    """Both numbers of METHODS §3.3 are given; the document's `labels_needed` is the one for the estimate."""
    candidate, baseline = run(*ones(90, 90), 1, 1, 1, 0, 0, 0, 0), run(*ones(90, 90), 0, 0, 0, 1, 1, 1, 1)
    found = decided(MARGIN, candidate, baseline)
    p1, p2 = 4 / 99, 5 / 99
    variance, z2 = p1 + p2 - (p1 - p2) ** 2, 2.4864749**2
    assert found.decision == "INCONCLUSIVE"
    assert found.labels_needed == int(np.ceil(z2 * variance / (-1 / 97 + 0.05) ** 2)) - 97
    assert found.rules[0].items_needed_if_no_change == int(np.ceil(z2 * variance / 0.05**2)) - 97


def test_an_item_missing_in_the_candidate_is_not_a_pass() -> None:
    """Leaving out the items it fails does not help a candidate: each counts as unscored, in every rule, and is named."""
    baseline = run(*ones(100, 100))
    found = decided(Gate(minimum=0.5, baseline="main", margin=0.05, max_unscored=0.5), baseline[:80], baseline)
    assert (found.decision, found.unscored, found.outputs) == ("INCONCLUSIVE", 20, 80)
    assert found.codes == ["missing", "missing_in_candidate"]
    assert found.missing_in_candidate == [f"i{k:04}" for k in range(80, 100)]
    assert found.reasons[1].endswith("i0080, i0081, i0082, i0083, i0084 and 15 more")
    assert decided(MARGIN, baseline[:80], baseline).codes == ["missing", "unscored", "missing_in_candidate"]


def test_an_item_missing_in_the_baseline_is_left_out_and_named() -> None:
    """A new item cannot be compared: it is left out of the difference, counted and named, and still counts for the minimum."""
    found = decided(Gate(minimum=0.5, baseline="main", margin=0.05), [*run(*ones(200, 200)), *run(0.0, prefix="new")], run(*ones(200, 200)))
    assert (found.decision, found.missing_in_baseline) == ("PASS", ["new0000"])
    assert found.reasons == ["missing_in_baseline: 1 item that the baseline lacks, left out of the difference: new0000"]
    assert found.difference is not None
    assert (found.difference.n, found.rules[0].estimate.n) == (200, 201)


def test_runs_that_measure_different_things_are_not_compared() -> None:
    """Another golden version or rubric: no difference is given, the margin is INCONCLUSIVE, the minimum is still decided."""
    gate = Gate(minimum=0.8, baseline="main", margin=0.05)
    found = decided(gate, run(*ones(99, 100)), run(*ones(10, 120)), incomparable=["golden version 1, then 2"])
    assert (found.decision, found.difference, found.missing_in_candidate) == ("INCONCLUSIVE", None, [])
    assert found.reasons == ["not_comparable: the scores of the two runs do not mean the same: golden version 1, then 2"]
    assert [rule.decision for rule in found.rules] == ["PASS", "INCONCLUSIVE", "PASS"]


def test_a_missing_baseline_is_inconclusive() -> None:
    """A gate that compares with a baseline decides nothing until there is one."""
    found = decided(MARGIN, run(*ones(100, 100)))
    assert (found.decision, found.reasons) == ("INCONCLUSIVE", ["no_baseline: the gate compares with 'main', and no such run was given"])


def test_groups_are_clusters_of_the_gate() -> None:
    """A regression that sits in few groups is less certain than the same number of single items."""
    candidate, baseline = ones(170, 200), ones(200, 200)
    alone = decided(MARGIN, run(*candidate), run(*baseline))
    grouped = decided(MARGIN, run(*candidate, group_size=10), run(*baseline, group_size=10))
    assert (alone.decision, grouped.decision) == ("FAIL", "INCONCLUSIVE")
    assert grouped.difference is not None
    assert (grouped.difference.method, grouped.difference.clusters) == ("cluster JBB, 4000 draws", 20)
    assert (grouped.rules[0].items_needed or 0) > 0


# ---- the document ---------------------------------------------------------------------------------------------------


def test_the_document_can_be_made_again() -> None:
    """The decision holds seed, draws, alpha and estimand; the same input gives the same document, in any order."""
    candidate = run(*np.random.default_rng(1).choice([0, 0.25, 0.5, 1], 80).tolist())
    gate = Gate(minimum=0.5, alpha=0.025)
    document = decided(gate, candidate, metric="check score").model_dump(mode="json")
    assert document == decided(gate, candidate[::-1], metric="check score").model_dump(mode="json")
    assert {"run", "baseline", "decision", "reasons", "rules", "difference", "labels_needed"} <= document.keys()
    assert {"rule", "metric", "slice", "estimate", "threshold", "decision"} <= document["rules"][0].keys()
    assert (document["seed"], document["draws"], document["alpha"], document["estimand"]) == (3, 4000, 0.025, "superpopulation")
    assert (document["rules"][0]["metric"], document["rules"][0]["estimate"]["level"]) == ("check score", 0.95)


def test_a_bound_at_the_threshold_is_drawn_again_with_more_draws() -> None:
    """Where the Monte-Carlo error could turn the decision, ten times the draws are used, and the method says so."""
    scores = np.random.default_rng(2).choice([0, 0.25, 0.5, 1], 80).tolist()
    bound = mean_interval(scores, seed=3, level=0.9, draws=4000).low
    near, far = (decided(Gate(minimum=minimum), run(*scores)).rules[0].estimate for minimum in (bound, 0.1))
    assert (near.method, far.method) == ("JBB, 40000 draws", "JBB, 4000 draws")


# ---- error rates, small (in full: benchmarks/gate_errors.py) ----------------------------------------------------------


@pytest.mark.parametrize("unscored", [0.0, 0.03])
def test_a_candidate_at_the_margin_seldom_passes(unscored: float) -> None:
    """A candidate that is worse by exactly the margin passes in at most about 5 % of runs, with unscored outputs too."""
    rng, reps, passes = np.random.default_rng(31), 300, 0
    for _ in range(reps):
        change = rng.choice([1, -1, 0], 200, p=[0.035, 0.085, 0.88])  # difference -.05, discordance .12
        baseline = np.where(change == 0, rng.random(200) < 0.9, change < 0).astype(float)
        candidate = [None if rng.random() < unscored else float(score) for score in baseline + change]
        passes += decided(MARGIN, run(*candidate), run(*baseline.tolist())).decision == "PASS"
    assert passes / reps <= 0.05 + 3 * (0.05 * 0.95 / reps) ** 0.5

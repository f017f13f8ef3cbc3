"""Comparison of two runs: pairs by item, names what is missing, decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm

from evalh.cli.compare import _listed
from evalh.compare import compare
from evalh.errors import InputError
from evalh.stats.intervals import tango
from evalh.stats.paired import mcnemar_exact
from evalh.stats.scores import ItemScore
from tests.conftest import Done, write_lines


def run(scores: Mapping[str, float | None], slice_: str = "all", group: str | None = None) -> list[ItemScore]:
    return [ItemScore(item, slice_, group, score, "unscored" if score is None else "judged") for item, score in scores.items()]


def test_two_runs_are_paired_by_item_and_the_difference_is_b_minus_a() -> None:
    """Items are paired by id whatever their order; b - a has Tango's interval and McNemar's p value for two-valued scores."""
    a = {f"i{k:02}": float(k >= 8) for k in range(40)}
    b = {f"i{k:02}": float(k >= 2 and k != 20) for k in reversed(range(40))}
    found = compare(run(a), run(b), name_a="v1", name_b="v2", seed=1)
    assert (found.a, found.b, found.n_items, found.improved, found.regressed, found.equal, found.missing) == ("v1", "v2", 40, 6, 1, 33, 0)
    assert (found.difference.low, found.difference.high) == tango(6, 1, 40)
    assert found.difference.value == 5 / 40
    assert (found.p_value, found.test) == (mcnemar_exact(6, 1), "McNemar, exact")
    assert found.regressed_items == ["i20"]
    assert found.improved_items == [f"i{k:02}" for k in range(2, 8)]


def test_items_of_one_run_alone_are_named_and_left_out() -> None:
    """What only one run has is not compared; what one run has no score for is not dropped: it widens the interval."""
    a = {f"i{k:02}": 1.0 for k in range(30)} | {"only a": 1.0, "unread": 1.0}
    b = {f"i{k:02}": 1.0 for k in range(30)} | {"only b": 0.0, "unread": None}
    found = compare(run(a), run(b), name_a="a", name_b="b", seed=1)
    assert (found.n_items, found.equal, found.missing) == (30, 30, 3)
    assert (found.missing_in_a, found.missing_in_b, found.unscored_items) == (["only b"], ["only a"], ["unread"])
    assert found.difference.value == 0
    assert found.difference.low == tango(0, 1, 31)[0]
    assert found.difference.high == tango(0, 0, 31)[1]


def test_trials_are_averaged_inside_their_item() -> None:
    """Three trials of an item are one item; a trial without a score leaves the item between its bounds."""
    a = run({f"i{k:02}": 0.5 for k in range(20)})
    b = [row for k in range(20) for score in (1.0, 0.0, 1.0) for row in run({f"i{k:02}": score})]
    found = compare(a, b, name_a="a", name_b="b", seed=1)
    assert found.n_items == found.difference.n == 20
    assert found.difference.value == pytest.approx(2 / 3 - 1 / 2)
    assert found.improved == 20
    partly = compare(a, [*b, *run({"i00": None})], name_a="a", name_b="b", seed=1)
    assert partly.n_items == 20
    assert partly.unscored_items == []
    assert "1 of 20 unscored" in partly.difference.method


def test_groups_are_clusters() -> None:
    """Items of one group are a cluster of the interval and of the test."""
    a = [row for g in range(8) for row in run({f"g{g}i{k}": 0.0 for k in range(4)}, group=f"g{g}")]
    b = [row for g in range(8) for row in run({f"g{g}i{k}": float(g < 6) for k in range(4)}, group=f"g{g}")]
    found = compare(a, b, name_a="a", name_b="b", seed=1)
    assert (found.difference.method, found.difference.clusters) == ("cluster JBB, 20000 draws", 8)
    assert (found.p_value, found.test) == (2 / 2**6, "sign flips")


def test_slices_are_shown_alone() -> None:
    """Each slice has its own difference, and too small a slice has none but says why."""
    a = run({f"p{k}": 1.0 for k in range(20)}, "public") + run({f"f{k}": 1.0 for k in range(6)}, "fresh")
    b = run({f"p{k}": 1.0 for k in range(20)}, "public") + run({f"f{k}": 0.0 for k in range(6)}, "fresh")
    fresh, public = compare(a, b, name_a="a", name_b="b", seed=1).slices
    assert (fresh.slice, fresh.n_items, fresh.difference.value, fresh.difference.low) == ("fresh", 6, -1, None)
    assert fresh.difference.why == "6 items: an interval needs 10"
    assert (fresh.p_value, fresh.p_holm, fresh.indicative, fresh.sentence) == (None, None, True, "6 items: too few to say anything")
    assert (public.slice, public.difference.value, public.indicative) == ("public", 0, True)
    assert public.sentence.startswith("no difference shown: the truth may lie between -16")
    assert public.sentence.endswith("points; indicative only, 20 items")


def test_slices_are_tested_all_at_once() -> None:
    """p_holm is Holm's over the slices that were tested: what counts alone need not count among several, and the sentence says which."""

    def half(name: str, better: int, worse: int) -> tuple[list[ItemScore], list[ItemScore]]:
        before = {f"{name}{k:02}": float(k >= better) for k in range(40)}
        after = {item: float(k < 40 - worse) for k, item in enumerate(before)}
        return run(before, name), run(after, name)

    made = [half("big", 12, 0), half("mid", 7, 1), half("none", 2, 2)]
    few = run({f"few{k}": 0.0 for k in range(5)}, "few"), run({f"few{k}": 1.0 for k in range(5)}, "few")
    a, b = ([row for pair in [*made, few] for row in pair[side]] for side in (0, 1))
    slices = {s.slice: s for s in compare(a, b, name_a="a", name_b="b", seed=1).slices}
    assert [slices[s].p_value for s in ("big", "mid", "none", "few")] == [mcnemar_exact(12, 0), mcnemar_exact(7, 1), 1, None]
    assert [slices[s].p_holm for s in ("big", "none", "few")] == [3 * mcnemar_exact(12, 0), 1, None]
    assert slices["big"].sentence.startswith("better by 30.0 points, between +")
    assert slices["big"].sentence.endswith("; more than chance, among 3 slices too")
    assert slices["mid"].p_holm == 2 * mcnemar_exact(7, 1) > 0.05
    assert slices["none"].sentence.startswith("no difference shown")
    assert not slices["big"].indicative


def test_a_slice_that_counts_alone_but_not_among_several_says_so() -> None:
    """9 better and 1 worse has p = .02; beside two slices without a change that is .06."""
    before = {f"{s}{k:02}": float(s != "x" or k >= 9) for s in "xyz" for k in range(40)}
    after = {item: float(item != "x39") for item in before}
    a = [row for s in "xyz" for row in run({i: v for i, v in before.items() if i[0] == s}, s)]
    b = [row for s in "xyz" for row in run({i: v for i, v in after.items() if i[0] == s}, s)]
    x = compare(a, b, name_a="a", name_b="b", seed=1).slices[0]
    assert (x.p_value, x.p_holm) == (mcnemar_exact(9, 1), 3 * mcnemar_exact(9, 1))
    assert x.sentence.endswith("; alone it would be more than chance, among 3 slices it need not be")


def test_where_interval_and_test_differ_nothing_is_claimed() -> None:
    """8 better and 2 worse of 180 at 90 %: the interval leaves 0 out, the exact test has p = .11, and no difference is claimed."""
    a = {f"i{k:03}": float(k >= 18) for k in range(180)}
    b = {item: 1.0 if k < 8 else 0.0 if k >= 178 else a[item] for k, item in enumerate(a)}
    found = compare(run(a), run(b), name_a="a", name_b="b", seed=1, level=0.9)
    assert found.p_value == mcnemar_exact(8, 2) > 0.1
    assert found.difference.low is not None
    assert found.difference.low > 0
    assert found.sentence.startswith("no difference shown: the interval between +0.")


def test_both_tests_stand_beside_the_headline() -> None:
    """Exact McNemar and sign flips are both given; where items come in groups McNemar's says that it ignores them and is not quoted."""
    a, b = ({f"i{k:02}": float(k >= cut) for k in range(40)} for cut in (8, 2))
    plain = compare(run(a), run(b), name_a="a", name_b="b", seed=1)
    assert (plain.tests.headline, plain.p_value, plain.test) == ("mcnemar", mcnemar_exact(6, 0), "McNemar, exact")
    assert plain.tests.mcnemar is not None
    assert (plain.tests.mcnemar.better, plain.tests.mcnemar.worse, plain.tests.mcnemar.why) == (6, 0, None)
    assert plain.tests.permutation is not None
    assert (plain.tests.permutation.p_value, plain.tests.permutation.clusters, plain.tests.permutation.resamples) == (2 / 2**6, 6, None)
    grouped = compare(
        [row._replace(group=row.item_id[:2]) for row in run(a)], run(b), name_a="a", name_b="b", seed=1
    ).tests  # fmt: skip
    assert (grouped.headline, grouped.mcnemar and grouped.mcnemar.p_value) == ("permutation", mcnemar_exact(6, 0))
    assert "independent" in str(grouped.mcnemar and grouped.mcnemar.why)
    scores = compare(run({i: v / 2 for i, v in a.items()}), run(b), name_a="a", name_b="b", seed=1).tests
    assert (scores.headline, scores.mcnemar and scores.mcnemar.p_value) == ("permutation", None)
    assert "two-valued" in str(scores.mcnemar and scores.mcnemar.why)


def test_the_cluster_robust_difference_is_a_regression_with_cr3() -> None:
    """Mean and CR3 interval of the changes, t with G - 1: the delete-one-cluster jackknife of an intercept by statsmodels."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(12), rng.integers(1, 6, 12))
    before, after = rng.random(len(groups)), rng.random(len(groups))
    a, b = ([ItemScore(f"i{k:02}", "all", f"g{g}", float(v), "judged") for k, (g, v) in enumerate(zip(groups, values, strict=True))]
            for values in (before, after))  # fmt: skip
    found = compare(a, b, name_a="a", name_b="b", seed=1).cluster_robust
    change = after - before
    left_out = np.array([sm.OLS(change[groups != g], np.ones((groups != g).sum())).fit().params[0] for g in range(12)])
    se = (11 / 12 * ((left_out - change.mean()) ** 2).sum()) ** 0.5
    assert (found.value, found.clusters) == (pytest.approx(change.mean()), 12)
    half = 2.2009851600829  # t(11), .975
    assert (found.low, found.high) == (pytest.approx(change.mean() - half * se), pytest.approx(change.mean() + half * se))


def test_a_change_without_spread_has_no_cluster_robust_interval() -> None:
    """Where every item changed alike a standard error of 0 would be a lie; unscored items are left out of it, which is said."""
    a = {f"i{k:02}": 0.0 for k in range(30)}
    same = compare(run(a), run(a), name_a="a", name_b="b", seed=1).cluster_robust
    assert (same.value, same.low, same.why) == (0, None, "every item changed by the same: there is no spread to judge by")
    b = {item: float(k % 3 == 0) if k else None for k, item in enumerate(a)}
    partly = compare(run(a), run(b), name_a="a", name_b="b", seed=1)
    assert partly.cluster_robust.method == "CR3, t; 1 unscored left out"
    assert partly.cluster_robust.n == 29


def test_too_little_gives_counts_only() -> None:
    """Below ten common items there are counts and no interval and no p value; with none at all there is not even a value."""
    few = compare(run({"i1": 0.0, "i2": 1.0}), run({"i1": 1.0, "i2": 1.0}), name_a="a", name_b="b", seed=1)
    assert (few.n_items, few.improved, few.difference.low, few.p_value, few.test) == (2, 1, None, None, None)
    assert (few.tests.headline, few.tests.why, few.sentence) == (None, "2 items: a test needs 10", "2 items: too few to say anything")
    none = compare(run({"i1": 0.0}), run({"i2": 0.0}), name_a="a", name_b="b", seed=1)
    assert (none.n_items, none.difference.value, none.missing) == (0, None, 2)


def test_a_score_outside_its_range_names_its_item() -> None:
    """A score that was not mapped to [0, 1] is refused with the item's name."""
    with pytest.raises(InputError, match=r"item i1: score 4.0 is not in \[0, 1\]"):
        compare(run({"i1": 4.0}), [], name_a="a", name_b="b", seed=1)


# ---- the command ----------------------------------------------------------------------------------------------------


def imported(folder: Path, evalh: Callable[..., Done], run: str, judges: list[str]) -> None:
    rows = [
        {"item_id": f"i{k}", "judge": j, "kind": "pairwise", "systems": ["a", "b"], "verdict": "first"} for k in range(3) for j in judges
    ]
    (folder / run).mkdir()
    write_lines(folder / run / "items.jsonl", [{"item_id": f"i{k}", "input": "?"} for k in range(3)])
    write_lines(folder / run / "judgments.jsonl", rows)
    assert evalh("import", folder / run, "--run", run).code == 0


def test_recorded_verdicts_have_no_item_scores_to_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evalh: Callable[..., Done]
) -> None:
    """An imported run ends in an error that names the commands which do say something of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVALH_STORE", raising=False)
    imported(tmp_path, evalh, "arena", ["one"])
    done = evalh("compare", "arena", "arena")
    assert (done.code, done.out) == (2, "")
    assert "recorded verdicts have no item score; `evalh rank arena` or `evalh audit --run arena`" in done.err


def test_runs_without_an_item_in_common_say_so(project: Path, evalh: Callable[..., Done]) -> None:
    first = evalh("run", "refunds.yaml", "--json").json["run"]
    golden = project / "golden" / "refunds"
    for path in (golden / "items.jsonl", golden / "outputs" / "v1.jsonl"):
        path.write_text(path.read_text().replace('"i', '"new-i').replace('"new-item_id', '"item_id').replace('"new-input', '"input'))
    (golden / "golden.toml").write_text((golden / "golden.toml").read_text().replace('version = "1"', 'version = "2"'))
    second = evalh("run", "refunds.yaml", "--json").json["run"]
    done = evalh("compare", first, second)
    assert (done.code, "the runs have no item in common" in done.err) == (2, True)


def test_names_of_judges_are_not_broken() -> None:
    """A list of what differs is broken between names; a name with spaces and hyphens stays whole."""
    names = [f"judge-{k} of a long-winded name (2023)" for k in range(5)]
    lines = _listed(f"not the same on both sides: other judges: {', '.join(names)} then, none now", 80)
    assert len(lines) > 2
    assert max(map(len, lines)) <= 80
    assert all(any(name in line for line in lines) for name in names)

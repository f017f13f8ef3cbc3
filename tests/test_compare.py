"""Comparison of two runs: pairs by item, names what is missing, decides nothing."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from evalh.compare import compare
from evalh.errors import InputError
from evalh.stats.intervals import tango
from evalh.stats.paired import mcnemar_exact
from evalh.stats.scores import ItemScore


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
    assert (public.slice, public.difference.value) == ("public", 0)


def test_too_little_gives_counts_only() -> None:
    """Below ten common items there are counts and no interval and no p value; with none at all there is not even a value."""
    few = compare(run({"i1": 0.0, "i2": 1.0}), run({"i1": 1.0, "i2": 1.0}), name_a="a", name_b="b", seed=1)
    assert (few.n_items, few.improved, few.difference.low, few.p_value, few.test) == (2, 1, None, None, None)
    none = compare(run({"i1": 0.0}), run({"i2": 0.0}), name_a="a", name_b="b", seed=1)
    assert (none.n_items, none.difference.value, none.missing) == (0, None, 2)


def test_a_score_outside_its_range_names_its_item() -> None:
    """A score that was not mapped to [0, 1] is refused with the item's name."""
    with pytest.raises(InputError, match=r"item i1: score 4.0 is not in \[0, 1\]"):
        compare(run({"i1": 4.0}), [], name_a="a", name_b="b", seed=1)

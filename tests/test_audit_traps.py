"""Shapes of recorded data in which a careless join or yardstick gives a wrong figure, through the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import test_audit as about
from tests.conftest import write_lines
from tests.test_audit import FIRST, SECOND, Evalh, both_orders, label, mark, score, verdict, winner

audited = about.audited
Audited = Callable[..., Any]


def test_a_judge_that_always_says_the_same_is_no_better_than_chance(audited: Audited) -> None:
    """Ninety of a hundred pass, and the judge passes all: 90 % agreement is no achievement. Where all pass nothing can be told."""
    rows = [score(n, "pass", judge="kind") for n in range(100)]
    (judge,) = audited(judgments=rows, labels=[mark(n, "pass" if n >= 10 else "fail") for n in range(100)])["judges"]
    assert (judge["agreement"], judge["verdict_on_judge"]) == (0.9, "no better than chance")
    (judge,) = audited(run="all", judgments=rows, labels=[mark(n, "pass") for n in range(100)])["judges"]
    assert judge["verdict_on_judge"] is None
    assert "one answer throughout" in judge["verdict_on_judge_why"]


def test_one_tie_of_the_judge_does_not_lower_the_yardstick(audited: Audited) -> None:
    """A judge that swaps most pairs is worse than chance, whether or not it once calls a tie that people never call."""
    said = [winner(n) if n % 3 == 0 else (SECOND if winner(n) == FIRST else FIRST) for n in range(400)]
    for run, first in (("none", said[0]), ("one", "tie")):
        rows = [verdict(n, first if n == 0 else said[n]) for n in range(400)]
        (judge,) = audited(run=run, judgments=rows, labels=[label(n, winner(n)) for n in range(400)])["judges"]
        assert (judge["guessing"], judge["verdict_on_judge"]) == (0.5, "worse than chance")


def test_labels_that_name_the_chosen_one_first_tell_nothing_by_it(audited: Audited) -> None:
    """The same pairs with labels as [chosen, rejected] or by name: the same kappa, and no class is always right."""
    rows = [verdict(n, winner(n) if n % 4 else FIRST) for n in range(200)]
    by_name = audited(run="names", judgments=rows, labels=[label(n, winner(n)) for n in range(200)])["judges"][0]
    chosen = [label(n, winner(n), systems=(winner(n), SECOND if winner(n) == FIRST else FIRST)) for n in range(200)]
    first = audited(run="chosen", judgments=rows, labels=chosen)["judges"][0]
    assert first["kappa"] == pytest.approx(by_name["kappa"])
    assert first["chance"] == by_name["chance"] == 0.5


def test_a_label_of_one_trial_says_nothing_of_another(audited: Audited) -> None:
    """Labels of trial 1, where the judge is always wrong; it is right on trial 0, which nobody labelled."""
    rows = [score(n, "pass" if (n % 2 == 0) == (trial == 0) else "fail", trial=trial) for n in range(40) for trial in (0, 1)]
    labels = [mark(n, "pass" if n % 2 == 0 else "fail", trial=1) for n in range(40)]
    (judge,) = audited(judgments=rows, labels=labels)["judges"]
    assert (judge["agreement"], judge["n_unlabelled"]) == (0.0, 40)


def test_a_version_and_none_are_two_judges(audited: Audited) -> None:
    """Each pair was judged once with a version and once without: two judges, each with its own figures."""
    rows = both_orders(30, lambda i, _: winner(i), judge_version="v1") + both_orders(30, lambda i, _: winner(i))
    found = audited(judgments=rows)["judges"]
    assert [(j["judge_version"], j["n_verdicts"]) for j in found] == [(None, 60), ("v1", 60)]


def test_names_in_another_case_and_other_scales_are_no_disagreement(audited: Audited) -> None:
    """`Pass` beside `pass`, and one to five beside fifths: said to be other names and other scales, not worse than chance."""
    rows = [score(n, ("Pass", "FAIL")[n % 2]) for n in range(60)]
    (judge,) = audited(run="case", judgments=rows, labels=[mark(n, ("pass", "fail")[n % 2]) for n in range(60)])["judges"]
    assert (judge["agreement"], judge["verdict_on_judge"]) == (None, None)
    assert "the judge says FAIL, Pass; people say fail, pass" in judge["agreement_estimate"]["why"]
    rows = [score(n, float(1 + n % 5)) for n in range(60)]
    (judge,) = audited(run="scale", judgments=rows, labels=[mark(n, (1 + n % 5) / 5) for n in range(60)])["judges"]
    assert "other scales" in judge["agreement_estimate"]["why"]
    assert judge["scores"][0]["pearson"]["value"] == pytest.approx(1)


def test_a_system_called_tie_is_refused(evalh: Evalh, tmp_path: Path) -> None:
    """`tie` says that nobody wins; a system of that name would win or tie, nobody knows."""
    folder = tmp_path / "rows"
    folder.mkdir()
    write_lines(
        folder / "judgments.jsonl", [{"item_id": "a", "judge": "j", "kind": "pairwise", "systems": ["tie", "b"], "verdict": "first"}]
    )
    refused = evalh("import", folder)
    assert (refused.code, "a system of a pair is called `tie`" in refused.err) == (2, True)


def test_unread_votes_count_in_both_orders_by_the_rule(audited: Audited) -> None:
    """Ten of forty pairs unread in both orders: left out and counted, or a miss, and never said to change with the order."""
    rows = both_orders(40, lambda i, _: winner(i) if i >= 10 else None)
    labels = [label(n, winner(n)) for n in range(40)]
    (judge,) = audited(judgments=rows, labels=labels)["judges"]
    assert (judge["both_orders"]["s1"]["value"], judge["both_orders"]["n_one_order_or_unscored"]) == (1.0, 10)
    (judge,) = audited("--unscored", "wrong")["judges"]
    assert judge["both_orders"]["s1"]["value"] == 0.75
    (said,) = [f["sentence"] for f in judge["findings"] if f["figure"] == "position"]
    assert "change with the order or could not be read" in said


def test_the_same_items_without_a_golden_set_stay_one_cluster(audited: Audited) -> None:
    """The same recorded verdicts imported twice teach nothing new: the items are counted once for the interval."""
    files = {"judgments": [verdict(n, winner(n)) for n in range(40)], "labels": [label(n, winner(n)) for n in range(40)]}
    audited(run="one", **files)
    audited(run="two", **files)
    (judge,) = audited("--run", "one", "--run", "two")["judges"]
    assert judge["n_verdicts"] == 80
    assert judge["agreement_estimate"]["clusters"] == 40

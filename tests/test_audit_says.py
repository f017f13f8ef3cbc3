"""What `evalh audit` says in words where a figure is small, missing or of another basis, through the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import test_audit as about
from tests.test_audit import FIRST, SECOND, Evalh, both_orders, label, mark, other, score, verdict, winner

audited = about.audited
Audited = Callable[..., Any]


def said(judge: dict[str, Any], figure: str) -> list[str]:
    return [f["sentence"] for f in judge["findings"] if f["figure"] == figure]


def test_a_small_lean_is_named_with_its_side_and_no_lean_is_not(audited: Audited) -> None:
    """Forty flips of 300 pairs, 32 to the second place: an interval that excludes 0, not 0.05. Twenty to each side are no lean."""

    def leaning(seconds: int) -> Callable[[int, int], str]:
        return lambda i, order: (SECOND, FIRST)[order] if i < seconds else (FIRST, SECOND)[order] if i < 40 else winner(i)

    rows = both_orders(300, leaning(32), judge="leans") + both_orders(300, leaning(20), judge="straight")
    leans, straight = audited(judgments=rows)["judges"]
    fairness = leans["position"]["fairness"]
    assert 0 < fairness["low"] < 0.05
    assert "it leans to the second place" in said(leans, "position")[0]
    assert "not provably by more than 5 points" in said(leans, "position")[0]
    assert "leans" not in said(straight, "position")[0]


def test_which_system_wins_is_no_use_of_a_scale_but_ties_are(audited: Audited) -> None:
    """One system nearly always wins: no fault of the judge. Nearly always a tie: it tells nothing apart."""
    rows = both_orders(40, lambda *_: FIRST, judge="clear") + both_orders(40, lambda *_: "tie", judge="torn")
    clear, torn = audited(judgments=rows)["judges"]
    assert not said(clear, "score_use")
    assert said(torn, "score_use") == ["Nearly always a tie: 100 % of its verdicts."]


def test_a_judge_of_which_nothing_was_read_gets_one_finding_and_no_seat(audited: Audited) -> None:
    """Two judges that err, one that was never read: the panel is two, the third is named as left out."""
    rows = [r for name, every in (("one", 4), ("two", 5)) for r in both_orders(60, lambda i, _, e=every: _wrong(i, e), judge=name)]
    rows += [verdict(i, None, judge="mute") for i in range(60)]
    document = audited(judgments=rows, labels=[label(i, winner(i)) for i in range(60)])
    (mute,) = (judge for judge in document["judges"] if judge["judge"] == "mute")
    assert [f["figure"] for f in mute["findings"]] == ["unscored_rate"]
    assert mute["findings"][0]["sentence"].startswith("None of its 60 verdicts could be read")
    assert document["panel"]["judges"] == ["one", "two"]
    assert document["panel"]["left_out"] == ["mute"]
    assert "12 errors of the judge that errs least" in document["panel"]["note"]


def _wrong(item: int, every: int) -> str:
    return winner(item) if item % every else other(winner(item))


def test_single_judges_stand_beside_the_majority_on_its_own_basis(audited: Audited, evalh: Evalh) -> None:
    """Half right as single verdicts by contradicting itself on 30 of 60 pairs: as one vote per unit a tie, which is wrong."""
    rows = both_orders(60, lambda i, order: (FIRST, SECOND)[order] if i < 30 else winner(i), judge="flips")
    rows += both_orders(60, lambda i, _: _wrong(i, 6), judge="steady")
    document = audited(judgments=rows, labels=[label(i, winner(i)) for i in range(60)])
    panel, (flips, _) = document["panel"], document["judges"]
    alone = {one["judge"]: one["accuracy"]["value"] for one in panel["single"]}
    assert flips["agreement"] == 0.75
    assert alone == {"flips": 0.5, "steady": pytest.approx(50 / 60)}
    assert panel["best_single"] == "steady"
    shown = evalh("audit").out
    assert "one vote per judge and unit" in shown
    assert "steady alone 83.3 %" in shown


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (
            [label(i, "gamma", systems=("gamma", "delta")) for i in range(20)],
            "labels name systems such as gamma and delta, verdicts alpha and",
        ),
        ([label(100 + i, FIRST) for i in range(20)], "they are about other items"),
        ([mark(i, 1.0) for i in range(20)], "labels score single outputs and it compares pairs"),
        ([], "nobody labelled what this judge judged"),
    ],
    ids=["systems", "items", "kind", "none"],
)
def test_labels_that_meet_no_verdict_are_said_to(audited: Audited, labels: list[Any], why: str) -> None:
    """Twenty labels, and twenty verdicts, of different things."""
    (judge,) = audited(judgments=[verdict(i, winner(i)) for i in range(20)], labels=labels)["judges"]
    assert why in judge["agreement_estimate"]["why"]
    assert ("none of the 20 labels meets a verdict" in said(judge, "agreement")[0]) == bool(labels)


def test_a_part_of_a_judge_left_out_matches_all_and_a_run_is_told_from_a_judge(audited: Audited, evalh: Evalh) -> None:
    """`#short` alone and `@v2` alone; a run's name where a judge's belongs."""
    rows = [
        verdict(i, winner(i), judge=judge, judge_version=version, prompt=prompt)
        for i in range(12)
        for judge, version, prompt in (("one", "v1", "short"), ("two", "v2", "short"), ("two", "v2", "long"))
    ]
    audited(judgments=rows)
    assert [j["title"] for j in audited("#short")["judges"]] == ["one@v1#short", "two@v2#short"]
    assert [j["title"] for j in audited("@v2")["judges"]] == ["two@v2#long", "two@v2#short"]
    refused = evalh("audit", "recorded")
    assert (refused.code, "`recorded` is a run: --run recorded" in refused.err) == (2, True)


def test_scores_on_many_levels_are_shown_by_their_correlation(audited: Audited, evalh: Evalh) -> None:
    """Two judges in percent, people from one to five: correlation of the judges and the mean difference, and why no leniency."""
    rows = [score(i, 20 * (1 + i % 5) + i / 10 + place, judge=name) for i in range(60) for place, name in enumerate(("one", "two"))]
    document = audited(judgments=rows, labels=[mark(i, float(1 + i % 5)) for i in range(60)])
    assert "mean_difference" in document["judges"][0]["leniency_why"]
    shown = evalh("audit").out
    assert "scores correlate 1.00" in shown
    assert "see score_correlation" not in shown
    assert "mean difference" in " ".join(shown.split())


def test_points_have_an_interval_and_their_sign_in_the_word(audited: Audited, evalh: Evalh) -> None:
    """A judge that fails ten good outputs of 80; and pairs in one order have no consistency."""
    truth = ["pass" if i < 40 else "fail" for i in range(80)]
    strict = [score(i, "pass" if i < 30 else "fail", judge="strict") for i in range(80)]
    (judge,) = audited(judgments=strict, labels=[mark(i, t) for i, t in enumerate(truth)])["judges"]
    (told,) = said(judge, "leniency")
    assert told.startswith("Severe: it scores 12 points below people [-")
    audited(run="pairs", judgments=[verdict(i, winner(i)) for i in range(40)])
    shown = evalh("audit").out
    assert "no pair was shown in both orders, 40 in one order" in shown
    assert "0 items" not in shown


def test_a_store_with_a_probe_alone_names_it(project: Path, evalh: Evalh) -> None:
    """Nothing else was asked: `evalh audit` points at the probe."""
    assert evalh("audit", "--probe", "--suite", "pairs.yaml", "--yes", "--limit", "5").code == 0
    refused = evalh("audit")
    assert refused.code == 2
    assert "a probe is shown by its name: --run " in refused.err

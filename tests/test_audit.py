"""`evalh audit`: what it says of judges whose every verdict is known, through the command line."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ITEMS, Done, write_lines

Evalh = Callable[..., Done]
Row = dict[str, Any]
FIRST, SECOND = "alpha", "beta"  # the two systems of most tests


@pytest.fixture
def audited(evalh: Evalh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Imports rows as a run and gives the document of `evalh audit --json` with further arguments."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVALH_STORE", raising=False)
    (tmp_path / "evalh.toml").write_text("")

    def call(*args: str, run: str = "recorded", **files: Iterable[Row]) -> Any:
        if files:
            folder = tmp_path / run
            folder.mkdir()
            for name, rows in files.items():
                write_lines(folder / f"{name}.jsonl", list(rows))
            done = evalh("import", folder)
            assert done.code == 0, done.err
        done = evalh("audit", "--json", *args)
        assert done.code == 0, done.err
        return done.json

    return call


def verdict(item: int, said: str | None, *, judge: str = "umpire", shown: tuple[str, str] = (FIRST, SECOND), **more: Any) -> Row:
    """A pairwise verdict: `said` is the winner, `tie`, or None where the reply was not read."""
    place = None if said is None else "tie" if said == "tie" else ("first", "second")[shown.index(said)]
    return {"item_id": f"i{item:03}", "judge": judge, "kind": "pairwise", "systems": shown, "verdict": place, "winner": said, **more}


def label(item: int, winner: str, annotator: str = "ada", systems: tuple[str, str] = (FIRST, SECOND), **more: Any) -> Row:
    return {"item_id": f"i{item:03}", "annotator": annotator, "kind": "pairwise", "systems": systems, "winner": winner, **more}


def score(item: int, value: float | str | None, *, judge: str = "marker", system: str = FIRST, **more: Any) -> Row:
    """A verdict on one output: a number is a score, a text a class."""
    said = {"label": value} if isinstance(value, str) else {"score": value}
    return {"item_id": f"i{item:03}", "judge": judge, "kind": "pointwise", "systems": [system], **said, **more}


def mark(item: int, value: float | str, annotator: str = "ada", system: str | None = FIRST, **more: Any) -> Row:
    said = {"label": value} if isinstance(value, str) else {"score": value}
    return {"item_id": f"i{item:03}", "annotator": annotator, "kind": "pointwise", "systems": [system] if system else [], **said, **more}


def items(n: int, **of: Callable[[int], Any]) -> list[Row]:
    return [{"item_id": f"i{i:03}", "input": f"question {i}", **{name: made(i) for name, made in of.items()}} for i in range(n)]


def winner(n: int) -> str:
    """The truth of item n in most tests: the systems in turn."""
    return (FIRST, SECOND)[n % 2]


def other(name: str) -> str:
    return SECOND if name == FIRST else FIRST


# ---- agreement, and what it leaves out ------------------------------------------------------------------------------


def test_unscored_verdicts_are_left_out_wrong_or_ties_as_asked(audited: Callable[..., Any]) -> None:
    """Twenty labelled pairs: twelve right, four wrong, four unread of which one is a tie. Nothing is dropped without a count."""
    truth = [winner(n) for n in range(19)] + ["tie"]
    said = [t if n < 12 else other(t) if n < 16 else None for n, t in enumerate(truth)]
    loose = audited(judgments=[verdict(n, s) for n, s in enumerate(said)], labels=[label(n, t) for n, t in enumerate(truth)])
    (judge,) = loose["judges"]
    assert (judge["n_verdicts"], judge["n_unscored"], judge["unscored_reasons"]) == (20, 4, {"the recorded reply could not be read": 4})
    assert (judge["agreement"], judge["agreement_strict"]) == (12 / 16, 12 / 20)
    (wrong,), (tie,) = (audited("--unscored", rule)["judges"] for rule in ("wrong", "tie"))
    assert (wrong["agreement"], tie["agreement"], tie["agreement_strict"]) == (12 / 20, 13 / 20, 13 / 20)
    assert wrong["macro"]["recall"] == pytest.approx((6 / 10 + 6 / 9 + 0 / 1) / 3)
    assert wrong["macro"]["precision"] == pytest.approx((6 / 8 + 6 / 8 + 0) / 3)
    assert loose["unscored_rule"] == "exclude"
    assert judge["agreement_estimate"]["n"] == 16
    assert judge["unscored_by_system"] == [{"system": name, "n": 20, "n_unscored": 4} for name in (FIRST, SECOND)]


def test_items_without_a_consensus_or_a_label_are_left_out_and_counted(audited: Callable[..., Any]) -> None:
    """Three people split three ways on one pair, nobody looked at another; the rest have a majority."""
    labels = [label(n, winner(n), who) for n in range(12) for who in ("ada", "ben", "cem")]
    labels += [label(12, FIRST, "ada"), label(12, SECOND, "ben"), label(12, "tie", "cem")]
    document = audited(judgments=[verdict(n, winner(n)) for n in range(14)], labels=labels)
    (judge,) = document["judges"]
    assert (judge["n_no_consensus"], judge["n_unlabelled"], judge["agreement_estimate"]["n"]) == (1, 1, 12)
    assert document["labels"]["n_no_consensus"] == 1
    assert document["labels"]["consensus"] == {"first": 6, "second": 6}
    assert judge["human_agreement"]["value"] == 36 / 39


def test_labels_meet_verdicts_whatever_the_order_shown(audited: Callable[..., Any]) -> None:
    """The label lists the systems in one order, verdicts come in both; kappa reads both in the label's order."""
    judgments = [verdict(n, winner(n), shown=shown) for n in range(20) for shown in ((FIRST, SECOND), (SECOND, FIRST))]
    labels = [label(n, winner(n), systems=(SECOND, FIRST)) for n in range(20)]
    (judge,) = audited(judgments=judgments, labels=labels)["judges"]
    assert (judge["agreement"], judge["kappa"]) == (1.0, 1.0)
    assert judge["agreement_estimate"]["clusters"] == 20


def test_both_orders_as_one_vote_are_the_setups_of_mt_bench(audited: Callable[..., Any]) -> None:
    """S1 counts a pair whose orders disagree as a tie; S2 looks at what neither side calls a tie."""
    judgments = [verdict(n, winner(n)) for n in range(20)]
    judgments += [verdict(n, winner(n) if n < 15 else other(winner(n)), shown=(SECOND, FIRST)) for n in range(20)]
    labels = [label(n, winner(n) if n != 19 else "tie") for n in range(20)]
    (judge,) = audited(judgments=judgments, labels=labels)["judges"]
    assert (judge["both_orders"]["s1"]["value"], judge["both_orders"]["s2"]["value"]) == (16 / 20, 1.0)
    assert judge["agreement"] == (15 * 2 + 4) / 40
    assert judge["agreement_without_ties"] == 34 / 38


def test_a_label_speaks_of_the_aspect_and_the_output_that_it_names(audited: Callable[..., Any]) -> None:
    """Labels of an aspect meet that aspect; those that name neither aspect nor system meet every verdict on their item."""
    judgments = [score(n, float(n % 2), aspect=aspect) for n in range(20) for aspect in ("tone", "truth")]
    labels = [mark(n, float(n % 2), aspect="tone") for n in range(20)] + [mark(n, float(1 - n % 2), system=None) for n in range(20)]
    (judge,) = audited(judgments=judgments, labels=labels)["judges"]
    assert {part["aspect"]: part["agreement"]["value"] for part in judge["aspects"]} == {"tone": 1.0, "truth": 0.0}


def test_worse_than_chance_on_a_slice_is_said_in_words(audited: Callable[..., Any], evalh: Evalh) -> None:
    """Right everywhere but in one slice, where it names the loser: the whole looks well, the slice does not."""
    n = 120
    judgments = [verdict(i, winner(i) if i % 3 else other(winner(i))) for i in range(n)]
    document = audited(
        items=items(n, slice=lambda i: "billing" if i % 3 == 0 else "plain"), judgments=judgments,
        labels=[label(i, winner(i)) for i in range(n)],
    )  # fmt: skip
    (judge,) = document["judges"]
    billing, plain = judge["slices"]
    assert (billing["slice"], billing["verdict_on_judge"], billing["agreement"]["value"]) == ("billing", "worse than chance", 0.0)
    assert (plain["verdict_on_judge"], judge["verdict_on_judge"]) == ("better than chance", "better than chance")
    assert billing["note"] == "indicative: 40 labelled items of 50"
    sentences = [f["sentence"] for f in judge["findings"]]
    assert any(s.startswith("On slice billing it is worse than chance: 0 %") for s in sentences)
    assert "WORSE THAN CHANCE" in evalh("audit").out


def test_the_commonest_answer_is_no_achievement(audited: Callable[..., Any]) -> None:
    """A judge that always says the same agrees with 90 % of labels, and is no better than chance."""
    labels = [label(n, FIRST if n % 10 else SECOND) for n in range(100)]
    said = [FIRST if n % 10 == 0 or n % 7 else SECOND for n in range(100)]
    (judge,) = audited(judgments=[verdict(n, s) for n, s in enumerate(said)], labels=labels)["judges"]
    assert judge["agreement"] > 0.7
    assert judge["chance"] == 0.9
    assert judge["verdict_on_judge"] in ("no better than chance", "worse than chance")
    assert judge["findings"][0]["level"] == "alarm"


# ---- single outputs -------------------------------------------------------------------------------------------------


def test_scores_on_another_scale_are_correlated_not_equated(audited: Callable[..., Any]) -> None:
    """A judge in percent beside people who give one to five: equality says nothing, the correlation does."""
    people = [float(1 + n % 5) for n in range(60)]
    judgments = [score(n, 20 * p + n / 10) for n, p in enumerate(people)]
    labels = [mark(n, p, who) for n, p in enumerate(people) for who in ("ada", "ben")]
    (judge,) = audited(judgments=judgments, labels=labels)["judges"]
    assert judge["agreement"] is None
    assert "see the correlations" in judge["agreement_estimate"]["why"]
    (row,) = judge["scores"]
    assert row["pearson"]["value"] > 0.99
    assert row["n"] == 60


def test_pass_and_fail_give_detection_and_leniency(audited: Callable[..., Any]) -> None:
    """Forty good outputs of which it passes thirty-six, forty bad ones of which it passes ten."""
    truth = ["pass" if n < 40 else "fail" for n in range(80)]
    said = ["pass" if n < 36 or n >= 70 else "fail" for n in range(80)]
    (judge,) = audited(judgments=[score(n, s) for n, s in enumerate(said)], labels=[mark(n, t) for n, t in enumerate(truth)])["judges"]
    found = judge["detection"]
    assert (found["tpr"]["value"], found["fpr"]["value"], found["n_good"], found["n_bad"]) == (0.9, 0.25, 40, 40)
    assert judge["leniency"]["value"] == pytest.approx(6 / 80)
    assert judge["position"] is None
    assert judge["position_why"] == "single outputs have no order"


def test_people_beside_people(audited: Callable[..., Any]) -> None:
    """Alpha on every metric for scores, kappa for every two annotators, and a sentence; labels alone are enough."""
    rng = random.Random(1)
    labels = []
    for n in range(60):
        true = rng.randint(1, 5)
        labels += [mark(n, float(min(5, max(1, true + rng.choice((0, 0, 0, 1))))), who) for who in ("ada", "ben", "cem")]
    document = audited(labels=labels)
    people = document["annotators"]
    assert document["judges"] == []
    assert people["alpha"] == people["ordinal"]["value"]
    assert people["nominal"]["value"] < people["interval"]["value"]
    assert [(p["a"], p["b"], p["n"]) for p in people["pairs"]] == [("ada", "ben", 60), ("ada", "cem", 60), ("ben", "cem", 60)]
    assert "alpha" in people["sentence"]


# ---- biases ---------------------------------------------------------------------------------------------------------


def both_orders(n: int, said: Callable[[int, int], str], **more: Any) -> list[Row]:
    """Verdicts on n pairs in both orders: `said(item, order)`."""
    orders = ((FIRST, SECOND), (SECOND, FIRST))
    return [verdict(i, said(i, order), shown=orders[order], **more) for i in range(n) for order in (0, 1)]


def test_a_judge_that_leans_to_the_first_place_is_told_so(audited: Callable[..., Any]) -> None:
    """A third of 150 pairs go to whatever stands first."""
    rows = both_orders(150, lambda i, order: (FIRST, SECOND)[order] if i % 3 == 0 else winner(i))
    (judge,) = audited(judgments=rows)["judges"]
    position = judge["position"]
    assert (position["consistency"], position["n_pairs"], position["counts"]["AA"]) == (100 / 150, 150, 50)
    assert position["fairness"]["value"] == pytest.approx(-50 / 150)
    assert position["p_value"] < 0.001
    finding = next(f for f in judge["findings"] if f["figure"] == "position")
    assert (finding["level"], finding["sentence"].split(":")[0]) == ("alarm", "Prefers the output shown first")
    assert "33 %" in finding["sentence"]


def test_without_the_order_there_is_no_position_figure(audited: Callable[..., Any]) -> None:
    """Nowhere known: null with the reason. Known in part: those count, and the others are counted."""
    rows = both_orders(40, lambda i, _: winner(i), judge="seen") + [
        verdict(n, winner(n), judge="seen", repeat=1, order_known=False) for n in range(7)
    ]
    rows += [verdict(n, winner(n), judge="blind", order_known=False) for n in range(40)]
    blind, seen = audited(judgments=rows)["judges"]
    assert blind["position"] is None
    assert "order_known" in blind["position_why"]
    assert (seen["position"]["n_pairs"], seen["position"]["n_order_unknown"]) == (40, 7)


def test_one_order_of_each_pair_tells_nothing_sure(audited: Callable[..., Any]) -> None:
    """Shown in one order only: a share of the first place with its basis, no consistency, and a finding that says what it means."""
    (judge,) = audited(judgments=[verdict(n, FIRST if n % 4 else SECOND) for n in range(40)])["judges"]
    position = judge["position"]
    assert (position["basis"], position["first_share"], position["n_pairs"], position["n_one_order"]) == ("one order", 0.75, 0, 40)
    assert position["consistency"] is None
    assert any("only where the order was drawn at random" in f["sentence"] for f in judge["findings"])


def test_repeats_are_kept_apart_from_position(audited: Callable[..., Any]) -> None:
    """A judge that changes its mind on one question in five when asked again: repeat agreement, and noise is no position bias."""
    rows = [
        row
        for repeat in (0, 1)
        for row in both_orders(60, lambda i, _, r=repeat: other(winner(i)) if r and i % 5 == 0 else winner(i), repeat=repeat)
    ]
    (judge,) = audited(judgments=rows)["judges"]
    assert judge["repeat_agreement"]["value"] == pytest.approx(48 / 60)
    assert judge["position"]["consistency"] == 1.0
    assert judge["position"]["excess_inconsistency"] == pytest.approx(-12 / 60)
    assert judge["repeats"] == 2


def test_a_judge_that_prefers_length_is_told_apart_from_better_long_answers(audited: Callable[..., Any]) -> None:
    """At equal human verdict the longer output wins more often; without texts there is no figure, and without labels no bias."""
    rng, n = random.Random(3), 400
    long_first = [rng.random() < 0.5 for _ in range(n)]
    truth = [rng.choice((FIRST, SECOND)) for _ in range(n)]
    said = [(FIRST if long else SECOND) if rng.random() < 0.4 else t for long, t in zip(long_first, truth, strict=True)]
    words = {True: lambda: rng.randint(30, 60), False: lambda: rng.randint(10, 20)}
    outputs = [
        {"item_id": f"i{i:03}", "system": system, "output": f"{i} {system}" + " word" * words[(system == FIRST) == long]()}
        for i, long in enumerate(long_first)
        for system in (FIRST, SECOND)
    ]
    judgments, labels = [verdict(i, s) for i, s in enumerate(said)], [label(i, t) for i, t in enumerate(truth)]
    (judge,) = audited(judgments=judgments, labels=labels, outputs=outputs)["judges"]
    assert judge["verbosity"]["basis"] == "human"
    assert judge["verbosity"]["coefficient_estimate"]["low"] > 0
    assert any(f["figure"] == "verbosity" and f["level"] == "alarm" for f in judge["findings"])
    (unlabelled,) = audited(run="unlabelled", judgments=judgments, outputs=outputs)["judges"]
    assert unlabelled["verbosity"]["basis"] == "association"
    assert any("Association" in f["sentence"] for f in unlabelled["findings"])
    (bare,) = audited(run="bare", judgments=judgments)["judges"]
    assert bare["verbosity"] is None
    assert bare["verbosity_why"] == "no text of the outputs is stored"


def test_self_preference_is_what_people_and_other_families_do_not_share(audited: Callable[..., Any]) -> None:
    """gpt-4o gives its own outputs thirty points more than people do, and a judge of another family does not."""
    n, pair = 200, ("gpt-4o", "claude-3-opus")
    truth = [pair[i % 2] for i in range(n)]
    partial = [pair[0] if i % 10 < 6 else t for i, t in enumerate(truth)]
    judgments = [verdict(i, s, judge="gpt-4o", shown=pair) for i, s in enumerate(partial)]
    judgments += [verdict(i, t, judge="gemini-1.5-pro", shown=pair) for i, t in enumerate(truth)]
    judgments += [verdict(i, t, judge="nobody-knows-whom", shown=pair) for i, t in enumerate(truth)]
    document = audited(judgments=judgments, labels=[label(i, t, systems=pair) for i, t in enumerate(truth)])
    judges = {judge["judge"]: judge for judge in document["judges"]}
    own = judges["gpt-4o"]
    assert own["self_preference"]["value"] == pytest.approx(60 / 200)
    assert own["self_preference_detail"]["controlled"]["low"] > 0
    assert any(f["figure"] == "self_preference" and f["level"] == "alarm" for f in own["findings"])
    assert judges["gemini-1.5-pro"]["self_preference_why"] == "no pair sets an output of its own model against another"
    assert "family is not known" in judges["nobody-knows-whom"]["self_preference_why"]


def test_a_stated_confidence_is_held_to_what_it_promises(audited: Callable[..., Any]) -> None:
    """Preferences of 0.9 that are right in six cases of ten; a judge that states only winners has no calibration."""
    n = 100
    said = [winner(i) if i % 10 < 6 else other(winner(i)) for i in range(n)]
    sure = [{"score": 0.9 if s == SECOND else 0.1} for s in said]
    rows = [verdict(i, s, judge="sure", **extra) for i, (s, extra) in enumerate(zip(said, sure, strict=True))]
    rows += [verdict(i, s, judge="terse") for i, s in enumerate(said)]
    found, terse = audited(judgments=rows, labels=[label(i, winner(i)) for i in range(n)])["judges"]
    assert found["calibration"]["ece"]["value"] == pytest.approx(0.3)
    assert terse["calibration"] is None
    assert "confidence" in terse["calibration_why"]


# ---- judges together ------------------------------------------------------------------------------------------------


def test_two_families_that_err_together_are_flagged_and_count_for_less(audited: Callable[..., Any]) -> None:
    """gpt-4o and claude fail on the same items; gemini fails on others: three judges are worth fewer."""
    n = 300

    def rows(judge: str, fails: Callable[[int], bool]) -> list[Row]:
        return [verdict(i, other(winner(i)) if fails(i) else winner(i), judge=judge) for i in range(n)]

    judgments = rows("gpt-4o", lambda i: i % 5 == 0) + rows("claude-3-opus", lambda i: i % 5 == 0 or i % 17 == 0)
    judgments += rows("gemini-1.5-pro", lambda i: i % 7 == 0)
    document = audited(judgments=judgments, labels=[label(i, winner(i)) for i in range(n)])
    pairs = {(p["a"], p["b"]): p for p in document["pairs"]}
    together = pairs["claude-3-opus", "gpt-4o"]
    assert together["flagged"]
    assert together["families_differ"]
    assert together["error_correlation"] > 0.7
    assert not pairs["gemini-1.5-pro", "gpt-4o"]["flagged"]
    assert document["effective_judges"]["value"] < 2.5
    assert document["panel"]["sentence"].startswith("3 judges are worth")


def test_without_labels_judges_are_compared_but_their_errors_are_not(audited: Callable[..., Any]) -> None:
    """Agreement and kappa of two judges need no label; correlation of errors does, and says so."""
    rows = [verdict(n, winner(n), judge=judge) for n in range(30) for judge in ("one", "two")]
    document = audited(judgments=rows)
    (pair,) = document["pairs"]
    assert (pair["agreement"], pair["n"], pair["error_correlation"]) == (1.0, 30, None)
    assert "no label" in pair["why"]
    assert document["effective_judges"]["value"] is None
    assert "no label" in document["effective_judges"]["why"]


# ---- which run, which judge -----------------------------------------------------------------------------------------


def test_a_change_of_version_or_prompt_is_another_judge(audited: Callable[..., Any], evalh: Evalh) -> None:
    """One name, two versions, two prompts: four judges, which `JUDGE[@VERSION][#PROMPT]` picks; a wrong name meets near ones."""
    rows = [
        verdict(n, winner(n), judge_version=version, prompt=prompt)
        for n in range(12)
        for version in ("v1", "v2")
        for prompt in ("short", "long")
    ]
    titles = [j["title"] for j in audited(judgments=rows)["judges"]]
    assert titles == ["umpire@v1#long", "umpire@v1#short", "umpire@v2#long", "umpire@v2#short"]
    assert [j["title"] for j in audited("umpire@v2")["judges"]] == titles[2:]
    assert [j["title"] for j in audited("umpire#long")["judges"]] == titles[::2]
    refused = evalh("audit", "umpir@v2#long")
    assert refused.code == 2
    assert "umpire@v2#long" in refused.err


def test_runs_are_pooled_and_items_of_one_golden_set_stay_one_cluster(audited: Callable[..., Any]) -> None:
    """The newest run with verdicts is taken and named; two runs together double the verdicts, not the clusters."""
    files = {"items": items(40), "labels": [label(n, winner(n)) for n in range(40)]}
    audited(run="one", judgments=[verdict(n, winner(n)) for n in range(40)], **files)
    newest = audited(run="two", judgments=[verdict(n, winner(n)) for n in range(40)], **files)
    assert (newest["run"], newest["run_chosen"]) == ("two", "the newest run that holds verdicts")
    pooled = audited("--run", "one", "--run", "two")
    assert pooled["runs"] == ["one", "two"]
    assert [(j["n_verdicts"], j["agreement_estimate"]["n"]) for j in pooled["judges"]] == [(80, 80)]


def test_a_store_without_verdicts_says_what_makes_them(evalh: Evalh, audited: Callable[..., Any]) -> None:
    """No run at all, or an unknown one, is wrong usage with a way out."""
    assert evalh("audit").code == 2
    audited(judgments=[verdict(n, winner(n)) for n in range(12)])
    refused = evalh("audit", "--run", "nowhere")
    assert (refused.code, "nowhere" in refused.err) == (2, True)


# ---- the surface ----------------------------------------------------------------------------------------------------


def test_the_terminal_shows_the_worst_first_within_eighty_columns_and_hostile_names_do_nothing(
    audited: Callable[..., Any], evalh: Evalh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge with escapes and markup in its name, unread replies with reasons; every count is there."""
    monkeypatch.setenv("COLUMNS", "80")
    name = "evil\x1b[31m[bold]judge"
    rows = both_orders(120, lambda i, order: (FIRST, SECOND)[order] if i % 2 else winner(i), judge=name)
    rows += [verdict(200 + n, None, judge=name, unscored_reason="\x1b]0;title\x07refused") for n in range(20)]
    audited(judgments=rows, labels=[label(i, winner(i)) for i in range(120)])
    shown = evalh("audit").out
    assert "\x1b" not in shown
    assert "\\x1b[31m[bold]judge" in shown
    assert "20 unscored" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    marks = [line.split()[0] for line in shown.splitlines() if line.startswith(("  !! ", "   ? ", "  ok "))]
    assert marks == sorted(marks, key=["!!", "?", "ok"].index)


def test_a_run_of_simulated_judges_is_audited_like_any_other(project: Path, evalh: Evalh) -> None:
    """Verdicts that a suite asked for, over HTTP: the stated position bias is found, and the judges are said to be simulated."""
    assert evalh("run", "pairs.yaml").code == 0
    document = evalh("audit", "--json").json
    (judge,) = document["judges"]
    assert document["simulated"]
    assert (judge["judge"], judge["family"]) == ("sim:south-1", "sim-south")
    assert judge["position"]["n_pairs"] == ITEMS
    assert judge["position"]["first_share"] > 0.5
    assert json.dumps(document, allow_nan=False)
    assert "SIMULATED" in evalh("audit").out


def test_judges_without_a_labelled_item_in_common_are_no_panel(audited: Callable[..., Any]) -> None:
    """Each judged other items: nothing says how their errors go together, and that is said."""
    rows = [verdict(n, winner(n), judge="one" if n < 20 else "two") for n in range(40)]
    document = audited(judgments=rows, labels=[label(n, winner(n)) for n in range(40)])
    assert document["panel"] is None
    assert document["effective_judges"]["why"] == "no two judges judged the same labelled item"
    assert document["pairs"][0]["n"] == 0

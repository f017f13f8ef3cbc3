"""`evalh rank`: published numbers, baselines, what is unscored, the panel, errors, and what a terminal shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ITEMS, Done, shared_data, write_lines

Evalh = Callable[..., Done]
Row = dict[str, Any]
HEADER = ",np.tanh(std_delta_len),instruction_difficulty,not_gamed_baseline.astype(float)\n"


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVALH_STORE", raising=False)
    return tmp_path


def verdict(item: str, systems: Sequence[str], said: str | None, judge: str = "gpt-4", **more: Any) -> Row:
    winner = {"first": systems[0], "second": systems[1], "tie": "tie", None: None}[said]
    return {"item_id": item, "judge": judge, "kind": "pairwise", "systems": list(systems), "verdict": said, "winner": winner, **more}


def recorded(folder: Path, rows: Sequence[Row], evalh: Evalh, run: str = "arena", outputs: Sequence[Row] = (), **meta: Any) -> None:
    """Import verdicts as a run; `meta` gives each item a value of that name."""
    folder = folder / run
    folder.mkdir()
    items = dict.fromkeys(row["item_id"] for row in rows)
    given = {name: iter(values) for name, values in meta.items()}
    write_lines(folder / "items.jsonl", [{"item_id": i, "input": "?", "meta": {n: next(v) for n, v in given.items()}} for i in items])
    write_lines(folder / "judgments.jsonl", list(rows))
    if outputs:
        write_lines(folder / "outputs.jsonl", list(outputs))
    done = evalh("import", folder, "--run", run)
    assert done.code == 0, done.err


def star(judge: str = "gpt-4", n: int = 40) -> list[Row]:
    """Two systems against `base` in both orders: `good` wins three of four items, `bad` one of four."""
    return [
        verdict(f"i{k:02}", (first, second), "second" if (second == system) == (k % 4 < won) else "first", judge)
        for k in range(n)
        for system, won in (("good", 3), ("bad", 1))
        for first, second in (("base", system), (system, "base"))
    ]


def by_system(document: Row) -> dict[str, Row]:
    return {row["system"]: row for row in document["systems"]}


# ---- published numbers ------------------------------------------------------------------------------------------------


def weights_file(folder: Path, published: Row) -> Path:
    """AlpacaEval's table of weights, in the folders of the origin."""
    judge, baseline = "weighted_alpaca_eval_gpt4_turbo", "gpt4_1106_preview"
    path = folder / "weights" / judge / "length_controlled_v1" / f"baseline_{baseline}.csv"
    path.parent.mkdir(parents=True)
    names = [key.split("|")[0] for key in published if key.endswith("|glm_weight_bias")]
    kinds = ("tanh_std_delta_len", "instruction_difficulty", "bias")
    rows = [",".join([n, *(f"{published[f'{n}|{judge}|glm_weight_{kind}']['value']:.16f}" for kind in kinds)]) for n in names]
    path.write_text(HEADER + "\n".join(rows) + "\n")
    return path


def test_alpacaeval_comes_out_as_published(empty: Path, evalh: Evalh) -> None:
    """76 win rates, standard errors, discrete win rates and counts, and 12 length-controlled win rates, each to 1e-6."""
    folder = shared_data("alpacaeval")
    published = json.loads((folder / "published.json").read_text())
    assert evalh("import", folder, "--run", "alpaca").code == 0
    document = evalh("rank", "alpaca", "--length-controlled", "--weights", weights_file(empty, published), "--json").json
    rows = {(row["system"], judge["judge"]): row for judge in document["judges"] for row in judge["systems"]}
    names = {"win_rate": "win_rate", "standard_error": "win_rate_se", "discrete_win_rate": "discrete_win_rate", "n_total": "n",
             "length_controlled_winrate": "length_controlled_win_rate"}  # fmt: skip
    counts = dict.fromkeys(names, 0)
    for key, known in published.items():
        system, judge, figure = [*key.split("|"), "", ""][:3]
        if figure in names and "recomputed" in known:
            counts[figure] += 1
            assert rows[system, judge][names[figure]] == pytest.approx(known["value"], abs=1e-6), key
        if "recomputed_on_the_judged_items" in known:
            ours = rows[system, judge]["length_controlled_on_judged_items"]
            assert ours == pytest.approx(known["recomputed_on_the_judged_items"], abs=1e-6), key
    assert counts == {"win_rate": 19, "standard_error": 19, "discrete_win_rate": 19, "n_total": 19, "length_controlled_winrate": 12}
    baselines = {judge["judge"]: judge["baseline"] for judge in document["judges"]}
    assert baselines["alpaca_eval_gpt4"] == "text_davinci_003"
    assert {b for j, b in baselines.items() if j != "alpaca_eval_gpt4"} == {"gpt4_1106_preview"}
    assert (document["baseline"], document["n_unscored"]) == (None, 4)


def test_our_own_fit_with_difficulties_is_near_the_published_one(empty: Path, evalh: Evalh) -> None:
    """Without the origin's weights, its regularisation and its gamed rows the 12 figures differ by some 2 points; told as such."""
    folder = shared_data("alpacaeval")
    published = json.loads((folder / "published.json").read_text())
    assert evalh("import", folder, "--run", "alpaca").code == 0
    document = evalh("rank", "alpaca", "--length-controlled", "--json").json
    judge = next(j for j in document["judges"] if j["judge"].startswith("weighted"))
    ours = {name: row for name, row in by_system(judge).items() if not row["is_baseline"]}
    key = "{}|weighted_alpaca_eval_gpt4_turbo|length_controlled_winrate"
    apart = [abs(row["length_controlled_win_rate"] - published[key.format(name)]["value"]) for name, row in ours.items()]
    assert len(apart) == 12
    assert np.median(apart) < 2
    assert max(apart) < 4
    assert all("with the items' difficulty" in row["length_controlled_estimate"]["method"] for row in ours.values())


# ---- win rates, ratings, baselines --------------------------------------------------------------------------------------


def test_the_document_has_the_names_of_the_contract(empty: Path, evalh: Evalh) -> None:
    """run, baseline, judges with systems: n, win rate and its error in percent, rating in log-odds, and whose they are."""
    recorded(empty, star(), evalh)
    document = evalh("rank", "arena", "--json").json
    assert (document["run"], document["baseline"], document["n_verdicts"], document["n_unscored"]) == ("arena", "base", 160, 0)
    judge = document["judges"][0]
    assert (judge["judge"], judge["n_pairs"], judge["n_items"]) == ("gpt-4", 80, 40)
    assert [row["system"] for row in judge["systems"]] == ["good", "base", "bad"]
    good, base, bad = judge["systems"]
    assert (good["n"], good["win_rate"], good["discrete_win_rate"], bad["win_rate"]) == (40, 75.0, 75.0, 25.0)
    values = np.array([1.0] * 30 + [0.0] * 10)
    assert good["win_rate_se"] == pytest.approx(100 * values.std(ddof=1) / 40**0.5)
    assert good["win_rate_estimate"]["low"] < 75 < good["win_rate_estimate"]["high"]
    assert good["rating"] == pytest.approx(np.log(3))  # three wins for each loss
    assert good["elo"] == pytest.approx(400 * np.log10(3))
    assert (base["is_baseline"], base["win_rate"], base["rating"]) == (True, None, 0.0)
    assert [(row["rank_low"], row["rank_high"]) for row in judge["systems"]] == [(1, 1), (2, 2), (3, 3)]
    assert good["length_controlled_win_rate"] is None
    assert (document["panel"], document["panel_why"]) == (None, "there is one judge")


def test_the_baseline_is_chosen_or_found_or_there_is_none(empty: Path, evalh: Evalh) -> None:
    """--baseline; else the one system that meets all; in a round robin none: win rates against all, ratings about their mean."""
    names = ("a", "b", "c")
    rows = [
        verdict(f"i{k:02}", (x, y), "first" if k % 3 else "second") for k in range(30) for n, x in enumerate(names) for y in names[n + 1 :]
    ]
    recorded(empty, rows, evalh)
    free = evalh("rank", "arena", "--json").json["judges"][0]
    assert free["baseline"] is None
    assert "3 systems meet all others" in free["baseline_why"]
    assert sum(row["rating"] for row in free["systems"]) == pytest.approx(0)
    assert {row["system"]: row["n"] for row in free["systems"]} == {"a": 60, "b": 60, "c": 60}
    assert by_system(free)["a"]["win_rate"] == pytest.approx(100 * 2 / 3)
    fixed = evalh("rank", "arena", "--baseline", "c", "--json").json["judges"][0]
    assert (fixed["baseline"], fixed["baseline_why"]) == ("c", "--baseline")
    assert by_system(fixed)["a"]["n"] == 30
    apart = by_system(free)["a"]["rating"] - by_system(free)["c"]["rating"]
    assert by_system(fixed)["a"]["rating"] == pytest.approx(apart)  # the same ratings, from another place


@pytest.mark.parametrize(("rule", "n", "rate"), [("exclude", 38, 100.0), ("wrong", 40, 95.0), ("tie", 40, 97.5)])
def test_unscored_verdicts_are_counted_under_every_rule(rule: str, n: int, rate: float, empty: Path, evalh: Evalh) -> None:
    """Two of forty could not be read: never a silent loss, tie or gap."""
    rows = [verdict(f"i{k:02}", ("base", "new"), None if k < 2 else "second") for k in range(40)]
    recorded(empty, rows + [verdict(f"i{k:02}", ("base", "old"), "first") for k in range(40)], evalh)
    document = evalh("rank", "arena", "--unscored", rule, "--json").json
    new = by_system(document["judges"][0])["new"]
    assert (new["n"], new["n_verdicts"], new["n_unscored"]) == (n, 40, 2)
    assert new["win_rate"] == pytest.approx(rate)
    assert (document["n_unscored"], document["unscored_rule"]) == (2, rule)
    assert new["n_unscored_pairs"] == (2 if rule == "exclude" else 0)


def test_a_system_that_never_lost_has_a_rating_and_no_interval_for_it(empty: Path, evalh: Evalh) -> None:
    """The graph of wins is separable: half a tie is added, and both documents and tables say so."""
    rows = star() + [verdict(f"i{k:02}", ("base", "perfect"), "second") for k in range(40)]
    recorded(empty, rows, evalh)
    judge = evalh("rank", "arena", "--json").json["judges"][0]
    perfect, good = by_system(judge)["perfect"], by_system(judge)["good"]
    assert "half a tie was added" in judge["rating_note"]
    assert perfect["rating"] > 3
    assert (perfect["rating_estimate"]["low"], perfect["rating_estimate"]["why"]) == (None, judge["rating_note"])
    assert good["rating_estimate"]["low"] is not None
    assert "half a tie was added" in evalh("rank", "arena").out.replace("\n   ", "")


def test_all_wins_are_ranked_and_too_few_pairs_are_not(empty: Path, evalh: Evalh) -> None:
    """Ratings without an interval: who won every pair of two is first by the win rate; of five items nothing says who is."""

    def ranks(n: int, run: str) -> list[tuple[Any, ...]]:
        rows = [verdict(f"i{k:02}", pair, "first" if pair[0] == "a" else "second") for k in range(n) for pair in (("a", "b"), ("b", "a"))]
        recorded(empty, rows, evalh, run)
        return [(s["system"], s["rank_low"], s["rank_high"]) for s in evalh("rank", run, "--json").json["judges"][0]["systems"]]

    assert ranks(200, "many") == [("a", 1, 1), ("b", 2, 2)]
    assert ranks(5, "few") == [("a", None, None), ("b", None, None)]
    assert [line.split()[-1] for line in evalh("rank", "few").out.splitlines() if line.startswith((" a ", " b "))] == ["–", "–"]


def test_systems_that_never_met_share_their_ranks(empty: Path, evalh: Evalh) -> None:
    """`perfect` beat only `base`: it is before `base`, and whether it is before `good`, nothing says."""
    recorded(empty, star() + [verdict(f"i{k:02}", ("base", "perfect"), "second") for k in range(40)], evalh)
    systems = by_system(evalh("rank", "arena", "--json").json["judges"][0])
    assert {name: (row["rank_low"], row["rank_high"]) for name, row in systems.items()} == {
        "perfect": (1, 3), "good": (1, 2), "base": (3, 3), "bad": (3, 4)
    }  # fmt: skip


def test_a_judge_that_nobody_could_read_is_told_as_that(empty: Path, evalh: Evalh) -> None:
    """Verdicts unscored and pairs left out are two counts; where nothing was read no wins are spoken of."""
    recorded(empty, [verdict(f"i{k:02}", pair, None) for k in range(20) for pair in (("a", "b"), ("b", "a"))], evalh)
    wrong = " ".join(evalh("rank", "arena", "--unscored", "wrong").out.split())
    assert "20 pairs, 40 verdicts unscored, 0.0 % tied" in wrong
    assert "no pair has a winner" in wrong
    assert "wins all go one way" not in wrong
    left = " ".join(evalh("rank", "arena").out.split())
    assert "20 pairs, 40 verdicts unscored, 20 pairs left out" in left


def test_families_are_those_of_the_audit(empty: Path, evalh: Evalh) -> None:
    """By version before name: ChatGPT at gpt-3.5-turbo-0613 is gpt-3.5 for rankings, reports and audits alike."""
    recorded(empty, [{**row, "judge_version": "gpt-3.5-turbo-0613"} for row in star("ChatGPT")], evalh)
    found = [
        evalh(*words, "--json").json["judges"][0]["family"]
        for words in (("rank", "arena"), ("report", "arena"), ("audit", "--run", "arena"))
    ]
    assert found == ["gpt-3.5"] * 3
    assert "family gpt-3.5" in evalh("report", "arena").out


def test_a_run_of_our_own_takes_what_its_suite_compares_with(project: Path, evalh: Evalh) -> None:
    """Both orders are one pair; the baseline is the suite's `against`; simulated judges are called that; pairs that were
    blocked before any judge are counted."""
    text = (project / "pairs.yaml").read_text()
    (project / "pairs.yaml").write_text(text.replace("panel:", "checks:\n  - {not-contains: number 7!}\npanel:", 1))
    run = evalh("run", "pairs.yaml", "--json").json["run"]
    document = evalh("rank", run, "--json").json
    judge = document["judges"][0]
    assert (document["baseline"], judge["baseline_why"]) == ("good-bot", "the suite compares with it")
    assert (document["simulated"], judge["simulated"]) == (True, True)
    assert document["never_judged"] == {"blocked": 1}
    assert (judge["n_pairs"], judge["n_verdicts"]) == (ITEMS - 1, 2 * (ITEMS - 1))
    assert by_system(judge)["worse-bot"]["win_rate"] < 50
    shown = evalh("rank", run).out
    assert "SIMULATED" in shown
    assert "1 pair blocked by tier 1" in shown


# ---- all judges together ------------------------------------------------------------------------------------------------


def test_a_panel_is_a_vote_for_each_family(empty: Path, evalh: Evalh) -> None:
    """Two OpenAI judges are one vote beside an Anthropic one; what one family did not judge is left out and counted."""
    against = [verdict(f"i{k:02}", ("base", "good"), "first", "claude-3-opus") for k in range(36)]
    recorded(empty, [r for j in ("gpt-4", "gpt-4o") for r in star(j)] + against, evalh)
    document = evalh("rank", "arena", "--json").json
    assert [judge["judge"] for judge in document["judges"]] == ["claude-3-opus", "gpt-4", "gpt-4o"]
    panel = document["panel"]
    assert len(panel["families"]) == 2
    assert {member["judge"] for member in panel["members"]} == {"claude-3-opus", "gpt-4", "gpt-4o"}
    good = by_system(panel)["good"]
    assert good["n"] == 36
    assert good["win_rate"] == pytest.approx(100 * (27 / 36) / 2)  # (three of four, and none) / 2
    assert good["ties"] == 27
    assert "bad" not in by_system(panel)  # nobody but OpenAI judged it
    assert panel["n_incomplete_pairs"] == 4 + 40
    recorded(empty, [r for j in ("gpt-4", "gpt-4o") for r in star(j)], evalh, "kin")
    kin = evalh("rank", "kin", "--json").json
    assert kin["panel"] is None
    assert "one family" in kin["panel_why"]


# ---- at equal length ------------------------------------------------------------------------------------------------------


def lengthy(n: int = 80) -> tuple[list[Row], list[Row]]:
    """`long` mostly wins where it is the longer one, in three of four items, whatever else."""
    rng = np.random.default_rng(1)
    verdicts, outputs = [], []
    for k in range(n):
        apart = int(rng.integers(1, 80)) * (1 if k % 4 else -1)
        sizes = {"base": 100, "long": 100 + apart}
        outputs += [{"item_id": f"i{k:02}", "system": name, "output": "é" * size + f"{k:02}"} for name, size in sizes.items()]
        likes_long = rng.random() < 1 / (1 + np.exp(-abs(apart) / 12))
        verdicts.append(verdict(f"i{k:02}", ("base", "long"), "second" if (apart > 0) == likes_long else "first"))
    return verdicts, outputs


def test_length_control_takes_the_advantage_of_length_away(empty: Path, evalh: Evalh) -> None:
    """A judge that likes length alone: the win rate falls to about one half at equal length, with an interval and a label."""
    rows, outputs = lengthy()
    recorded(empty, rows, evalh, outputs=outputs)
    document = evalh("rank", "arena", "--length-controlled", "--baseline", "base", "--json").json
    row = by_system(document["judges"][0])["long"]
    estimate = row["length_controlled_estimate"]
    assert row["win_rate"] > 60
    assert row["length_controlled_win_rate"] == estimate["value"]
    assert estimate["low"] < 50 < estimate["high"]
    assert estimate["value"] < row["win_rate"] - 8
    assert estimate["method"].startswith("length-controlled, no item difficulty; bootstrap")
    assert (row["longer_share"], row["n_length_unknown"]) == (75.0, 0)
    assert row["length_coefficient"] > 0
    assert "no item difficulty" in evalh("rank", "arena", "--length-controlled", "--baseline", "base").out


def test_without_a_baseline_equal_length_names_the_option(empty: Path, evalh: Evalh) -> None:
    rows, outputs = lengthy()
    recorded(empty, rows, evalh, outputs=outputs)
    assert "`--baseline SYSTEM` names one" in " ".join(evalh("rank", "arena", "--length-controlled").out.split())


def test_shares_in_notes_are_written_as_elsewhere(empty: Path, evalh: Evalh) -> None:
    """`10 %`, with a space, in the note on a system that is hardly ever the longer one."""
    sizes = [200 if k < 3 else 100 - k // 2 for k in range(60)]
    outputs = [
        {"item_id": f"i{k:02}", "system": s, "output": "x" * n} for k, size in enumerate(sizes) for s, n in (("base", 120), ("new", size))
    ]
    rows = [verdict(f"i{k:02}", ("base", "new"), "second" if k * 7 % 5 < 2 else "first") for k in range(60)]
    recorded(empty, rows, evalh, outputs=outputs)
    row = by_system(evalh("rank", "arena", "--length-controlled", "--baseline", "base", "--json").json["judges"][0])["new"]
    assert "10 % of its pairs" in row["length_controlled_note"]


def test_what_has_no_length_is_left_out_and_counted_or_refused(empty: Path, evalh: Evalh) -> None:
    rows, outputs = lengthy()
    recorded(empty, rows, evalh, outputs=outputs[4:])
    row = by_system(evalh("rank", "arena", "--length-controlled", "--baseline", "base", "--json").json["judges"][0])["long"]
    assert (row["n_length_unknown"], row["length_controlled_estimate"]["n"], row["n"]) == (2, 78, 80)
    recorded(empty, rows, evalh, "bare")
    bare = by_system(evalh("rank", "bare", "--length-controlled", "--baseline", "base", "--json").json["judges"][0])["long"]
    assert bare["length_controlled_win_rate"] is None
    assert "lengths are unknown" in bare["length_controlled_estimate"]["why"]
    assert "lengths are unknown" in evalh("rank", "bare", "--length-controlled", "--baseline", "base").out.replace("\n    ", " ")


def test_weights_go_to_the_judge_that_they_are_of(empty: Path, evalh: Evalh) -> None:
    """JUDGE=FILE names it; where two judges could be meant and nothing says which, that is an error."""
    recorded(empty, star("gpt-4") + star("claude-3-opus"), evalh, instruction_difficulty=[k / 10 for k in range(40)])
    (empty / "w.csv").write_text(HEADER + "good,-1.0,0.5,0.25\n")
    unclear = evalh("rank", "arena", "--length-controlled", "--weights", "w.csv")
    assert (unclear.code, "nothing says which judge" in unclear.err, "JUDGE=FILE" in unclear.err) == (2, True, True)
    document = evalh("rank", "arena", "--length-controlled", "--weights", "gpt-4=w.csv", "--json").json
    claude, gpt = (by_system(judge) for judge in document["judges"])
    expected = 100 * np.mean(1 / (1 + np.exp(-(0.5 * np.arange(40) / 10 + 0.25))))
    assert gpt["good"]["length_controlled_win_rate"] == pytest.approx(expected)
    assert gpt["good"]["length_controlled_estimate"]["low"] is None
    assert "has no weights of bad" in gpt["bad"]["length_controlled_estimate"]["why"]
    assert claude["good"]["length_controlled_win_rate"] is None  # no outputs, so no fit of our own


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no such file"),
        ("", "no weights"),
        (HEADER, "no weights"),
        (HEADER + "good,1,x,2\n", "w.csv:2: column `instruction_difficulty`: 'x' is not a number"),
        (HEADER + "good,1,2\n", "3 cells, the header has 4"),
        (",length,bias\ngood,1,2\n", "not those of AlpacaEval's weights"),
    ],
)
def test_a_weights_file_that_is_none_is_refused(text: str | None, said: str, empty: Path, evalh: Evalh) -> None:
    if text is not None:
        (empty / "w.csv").write_text(text)
    done = evalh("rank", "arena", "--length-controlled", "--weights", "w.csv")
    assert done.code == 2
    assert said in done.err


# ---- errors and the terminal ----------------------------------------------------------------------------------------------


def test_what_cannot_be_ranked_says_what_would_be_right(empty: Path, evalh: Evalh) -> None:
    """No pairwise verdicts, a misspelt baseline, weights without the option they are for."""
    rated = [{"item_id": "i1", "judge": "j", "kind": "pointwise", "systems": ["a"], "score": 0.5}]
    recorded(empty, rated, evalh, "rated")
    done = evalh("rank", "rated")
    assert (done.code, "no pairwise verdicts: its 1 verdicts are pointwise" in done.err) == (2, True)
    assert "`against`" in done.err
    recorded(empty, star(), evalh)
    done = evalh("rank", "arena", "--baseline", "goood")
    assert (done.code, done.err.strip().endswith("there are good")) == (2, True)
    done = evalh("rank", "arena", "--weights", "w.csv")
    assert (done.code, "--length-controlled" in done.err) == (2, True)


def test_tables_hold_in_80_columns_and_hostile_names_stay_text(empty: Path, evalh: Evalh, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with escapes, markup and 120 characters: shown as it is, whole, and nothing reaches the terminal."""
    monkeypatch.setenv("COLUMNS", "80")
    hostile = "\x1b[31m[bold]evil[/bold]\r\n" + "x" * 110
    rows = [{**row, "systems": [hostile if s == "good" else s for s in row["systems"]]} for row in star()]
    rows = [{**row, "winner": hostile if row["winner"] == "good" else row["winner"]} for row in rows]
    recorded(empty, rows, evalh)
    out = evalh("rank", "arena", "--length-controlled").out
    assert "\x1b" not in out
    assert "\r" not in out
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "\\x1b[31m[bold]evil[/bold]" in out
    assert out.replace("\n ", "").count("x" * 110) >= 2
    assert "75.0 [" in out

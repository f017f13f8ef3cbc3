"""The terminal summary of a run: at 80 columns, without colour, decision first; and `evalh report`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalh.release import gate_run
from evalh.report.terminal import print_run
from evalh.store.runs import find_run
from evalh.store.store import Store
from evalh.summary import run_document
from tests.conftest import Done
from tests.report_material import pairwise_run, pointwise_run

Evalh = Callable[..., Done]

SUMMARY = """\
support-20261123-101500-ab12  finished
suite support, system support-bot v2, golden set support 1.2.0
SIMULATED JUDGES: their verdicts say nothing about any model.
SAME FAMILY (allowed): alder may favour a system that it judged.

judge score   63.8 % [51.1, 73.4], n 60
  fresh       63.7 % [50.5, 74.4], n 30
  public      63.9 % [43.9, 77.6], n 30

outputs       60                              spent $0
tier 1        6 blocked by checks             saved ~$0.0144 (12 judge calls)
tier 2        51 judged, 3 unscored           spent $0.1296
tier 3        12 queued for labels            evalh label export tasks.jsonl

spent                              calls      tokens      cost
  alder                               54      38,880   $0.0648
  birch                               54      38,880   $0.0648
  together                           108      77,760   $0.1296

checks                   passed  failed  errors
  test_cites_the_policy      49      10       1
  regex: §\\d+                54       6       0  blocking
  max-words: 150             60       0       0  blocking

judges
  alder: 54 verdicts, 3 unscored; family family of alder, SIMULATED, SAME FAMILY
    (allowed)
    mean score 76.5 % [62.4, 84.1], n 54
    agreement with labels 100.0 % [75.8, 100.0], n 12; strict the same
  birch: 54 verdicts, 3 unscored; family family of birch, SIMULATED
    mean score 66.2 % [54.0, 75.3], n 54
    agreement with labels 50.0 % [25.4, 74.6], n 12; strict the same

store         evalh.duckdb
next          evalh gate support-20261123-101500-ab12
              evalh audit --run support-20261123-101500-ab12
              evalh report support-20261123-101500-ab12 --html report.html
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVALH_STORE", "evalh.duckdb")
    return Store(Path("evalh.duckdb"))


def printed(capsys: pytest.CaptureFixture[str], document: dict[str, Any]) -> str:
    capsys.readouterr()
    print_run(document)
    return capsys.readouterr().out


def test_the_summary_reads_at_eighty_columns_without_colour(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Score, tiers with money, checks, judges, what to do next: the text, whole. Marks are words."""
    run = pointwise_run(store, simulated=True, same_family=True)
    out = printed(capsys, run_document(store, run))
    assert out == SUMMARY
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_pairs_show_consistency_and_first_share(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """A pairwise run has a win rate by judges, never a pass rate, and per judge the figures of the two orders."""
    out = printed(capsys, run_document(store, pairwise_run(store)))
    assert "win rate by judges" in out
    assert "pass rate" not in out
    assert out.count("consistency ") == out.count("first share ") == 2
    assert "against bot-v1" in out
    assert "0 unscored" in out


def test_many_checks_are_folded_and_those_with_trouble_stay(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Of forty checks the failing ones are named; the others are counted."""
    document = run_document(store, pointwise_run(store))
    quiet = [{"check": f"check {n}", "blocking": True, "passed": 60, "failed": 0, "errors": 0} for n in range(38)]
    document["checks"] = [
        *quiet[:20],
        {**quiet[0], "check": "loud", "failed": 3},
        *quiet[20:],
        {**quiet[0], "check": "broken", "errors": 1},
    ]
    out = printed(capsys, document)
    assert "loud" in out
    assert "broken" in out
    assert "38 other checks: 38 held everywhere" in out
    assert len(out.splitlines()) < 35


def test_a_judge_with_two_prompts_is_two_judges(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """The prompt is part of the name where the judge alone would be ambiguous, and only there."""
    document = run_document(store, pointwise_run(store))
    document["judges"].append({**document["judges"][0], "prompt": "short@1"})
    out = printed(capsys, document)
    assert "  alder#helpful@2: " in out
    assert "  alder#short@1: " in out
    assert "  birch: " in out


def test_a_run_that_is_not_finished_says_so_and_what_to_do(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """The status stands beside the name, and the next step is to go on, not to decide."""
    document = {**run_document(store, pointwise_run(store)), "status": "interrupted"}
    out = printed(capsys, document)
    assert out.startswith("support-20261123-101500-ab12  interrupted\n")
    assert "repeat the command to finish this run" in out
    assert "evalh gate" not in out


def test_recorded_verdicts_without_tiers_are_said_to_be_that(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """A run of imported verdicts has judges and no outputs that went through tiers: no zeros are made up."""
    document = {**run_document(store, pointwise_run(store)), "routes": {}, "slices": [], "checks": [], "kind": "import", "gated": False}
    document["quality"] = {"value": None, "low": None, "high": None, "n": 0, "why": "no output was scored"}
    out = printed(capsys, document)
    assert "verdicts were recorded elsewhere" in out
    assert "judge score" not in out
    assert "spent" not in out
    assert "evalh gate" not in out


def test_names_from_files_cannot_steer_the_terminal(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences, markup and line ends in names of systems, checks and judges are shown, not obeyed."""
    document = run_document(store, pointwise_run(store))
    hostile = "x\x1b[2J[bold red]\u202e\nPASS"
    document["systems"][0]["system"] = document["judges"][0]["judge"] = document["checks"][0]["check"] = hostile
    out = printed(capsys, document)
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "\\x1b[2J[bold red]" in out
    assert "\nPASS" not in out


# ---- the command -----------------------------------------------------------------------------------------------------


def test_report_prints_the_newest_finished_run(store: Store, evalh: Evalh) -> None:
    """Without a name it is the newest one, in the terminal; nothing else is on standard output."""
    pointwise_run(store, "older", started_at="2026-11-01T00:00:00")
    pointwise_run(store)
    done = evalh("report")
    assert done.code == 0
    assert done.out.startswith("support-20261123-101500-ab12  finished\n")


def test_report_json_is_the_document_with_the_last_decision(store: Store, evalh: Evalh) -> None:
    """One document: that of `run --json`, and what the gate last said (null where it was not asked)."""
    run = pointwise_run(store)["run_id"]
    assert evalh("report", run, "--json").json["gate"] is None
    base = pointwise_run(store, "base", version="v1", started_at="2026-11-01T00:00:00")["run_id"]
    decision = gate_run(store, run, baseline=base)
    document = evalh("report", run, "--json", "--unscored", "wrong").json
    assert document["gate"]["decision"] == decision.decision
    assert document["unscored_rule"] == "wrong"
    expected = run_document(store, find_run(store, run), unscored="wrong")
    assert {k: v for k, v in document.items() if k not in ("gate", "html")} == json.loads(json.dumps(expected, default=str))


def test_report_html_writes_one_file_and_says_where(store: Store, evalh: Evalh) -> None:
    """The path and the size go to standard error; with --json the document still stands alone on standard output."""
    pointwise_run(store)
    done = evalh("report", "--html", "out/report.html", "--items", "3", "--json")
    assert done.code == 0
    assert done.json["html"] == "out/report.html"
    assert done.err.startswith("wrote out/report.html (")
    assert "3 of 60: unscored first" in Path("out/report.html").read_text(encoding="utf-8")


def test_report_of_nothing_is_one_line(store: Store, evalh: Evalh) -> None:
    """No store, no such run, no way to write: exit 2 and one line with the way out."""
    assert evalh("report").code == 2
    pointwise_run(store, items=12)
    unknown, unwritable = evalh("report", "nothing"), evalh("report", "--html", "evalh.duckdb/report.html")
    for done, told in ((unknown, "there is no run or tag 'nothing'"), (unwritable, "cannot be written")):
        assert (done.code, done.out) == (2, "")
        assert told in done.err
        assert done.err.count("\n") == 1

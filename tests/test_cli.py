"""The command line as scripts and people use it: one JSON document, no colour, a project from nothing, what doctor finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalh.cli.main import main
from evalh.store.runs import list_runs
from evalh.store.store import Store
from tests.conftest import ITEMS, Done, replace, started, write_lines, write_project

Evalh = Callable[..., Done]


def module(*args: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """`python -m evalh` as a process of its own, as a script would call it."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("EVALH_", "OPENAI_", "ANTHROPIC_", "NO_COLOR", "COLUMNS"))}
    return subprocess.run(
        [sys.executable, "-m", "evalh", *map(str, args)], cwd=cwd, env={**clean, **env}, capture_output=True, text=True, check=False
    )


# ---- one document on standard output ----------------------------------------------------------------------------------

FIELDS: dict[tuple[str, ...], set[str]] = {
    ("plan", "refunds.yaml"): {"suite", "golden", "system", "checks", "judges", "calls", "tokens", "cost_usd", "resumes"},
    ("run", "refunds.yaml"): {"run", "suite", "status", "tiers", "cost_usd", "tokens", "quality"},
    ("gate",): {"run", "baseline", "decision", "reasons", "rules", "difference", "labels_needed"},
    ("gate", "--approve", "RUN", "--as", "main"): {"run", "tag"},
    ("compare", "RUN", "RUN"): {"a", "b", "n_items", "difference", "p_value", "improved", "regressed", "equal", "missing"},
    ("label", "export", "tasks.jsonl"): {"run", "file", "tasks"},
    ("label", "import", "labelled.jsonl", "--annotator", "kim"): {"file", "annotator", "labels"},
    ("label", "status"): {"run", "planned", "done", "strata", "annotators"},
    ("report",): {"run", "quality", "gate", "html"},
    ("report", "RUN", "--html", "report.html"): {"run", "quality", "gate", "html"},
    ("export", "RUN", "--to", "exported"): {"run", "folder", "files"},
    ("export", "--parquet", "tables"): {"folder", "tables"},
    ("import", "golden/refunds", "--store", "other.duckdb"): {"run", "items", "outputs", "verdicts", "unscored", "labels", "judges"},
    ("golden", "check", "golden/refunds"): {"golden", "version", "locked", "items", "slices"},
    ("golden", "lock", "golden/refunds"): {"golden", "items"},
    ("doctor",): {"evalh", "findings", "ok"},
    ("init", "new"): {"folder", "files"},
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one finished run, its label tasks exported and filled in, shared by the tests that only look."""
    root = tmp_path_factory.mktemp("ran")
    write_project(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.delenv("EVALH_STORE", raising=False)
        for args in (["run", "refunds.yaml"], ["label", "export", "tasks.jsonl"]):
            with pytest.raises(SystemExit) as stopped:
                main(args)
            assert stopped.value.code == 0
        (root / "run").write_text(list_runs(Store(root / ".evalh" / "evalh.duckdb"))[0]["run_id"])
    text = (root / "tasks.jsonl").read_text()
    (root / "labelled.jsonl").write_text(text.replace('"quality": null', '"quality": 1'))
    return root


@pytest.mark.parametrize("args", FIELDS, ids=" ".join)
def test_json_is_one_document_and_nothing_else(args: tuple[str, ...], ran: Path, evalh: Evalh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output parses as one JSON document with the documented fields; what people read goes to standard error."""
    monkeypatch.chdir(ran)
    monkeypatch.delenv("EVALH_STORE", raising=False)
    name = (ran / "run").read_text()
    done = evalh(*(name if a == "RUN" else a for a in args), "--json")
    assert done.code == 0, done.err
    assert FIELDS[args] <= done.json.keys()
    assert done.out == json.dumps(done.json, indent=2, ensure_ascii=False) + "\n"


def test_sql_prints_rows_as_json(ran: Path, evalh: Evalh, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of objects, times and nulls included; no rows are an empty list."""
    monkeypatch.chdir(ran)
    rows = evalh("sql", "SELECT run_id, started_at, rubric_hash FROM runs WHERE suite = 'refunds'", "--json").json
    assert {type(v) for row in rows for v in row.values()} == {str}
    assert evalh("sql", "SELECT * FROM labels WHERE annotator = 'nobody'", "--json").json == []


def test_several_suites_are_one_document(project: Path, evalh: Evalh) -> None:
    """A folder of suites gives `plans` and `runs`, each a document of its own."""
    assert {p["suite"] for p in evalh("plan", ".", "--json").json["plans"]} == {"refunds", "pairs"}
    done = evalh("run", ".", "--limit", "1", "--json")
    assert {r["suite"] for r in done.json["runs"]} == {"refunds", "pairs"}


def test_the_store_is_where_it_is_said_to_be(project: Path, evalh: Evalh, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--store`, then EVALH_STORE, then evalh.toml, then .evalh under the project's root, from any folder of it."""
    suite = "name: x\ngolden: golden/refunds\nsystem: golden/refunds/outputs/v1.jsonl\nchecks: [json-valid]\n"
    (project / "refunds.yaml").write_text(suite)
    for made in ("flag.duckdb", "variable.duckdb", "settings.duckdb", ".evalh/evalh.duckdb"):
        if made == "variable.duckdb":
            monkeypatch.setenv("EVALH_STORE", str(project / made))
        elif made == "settings.duckdb":
            monkeypatch.delenv("EVALH_STORE")
            (project / "evalh.toml").write_text('store = "settings.duckdb"\n')
        elif made == ".evalh/evalh.duckdb":
            (project / "evalh.toml").write_text("")
            monkeypatch.chdir(project / "golden")
        done = evalh("run", project / "refunds.yaml", "--limit", "1", *(["--store", made] if made == "flag.duckdb" else []))
        assert done.code == 0, done.err
        assert (project / made).is_file()


# ---- what a terminal and a log see ------------------------------------------------------------------------------------


def test_no_colour_where_there_is_no_terminal(ran: Path, evalh: Evalh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a pipe or a file there are no escape codes and no progress bar, only lines."""
    monkeypatch.chdir(ran)
    for args in (["run", "refunds.yaml"], ["gate"], ["report"], ["plan", "refunds.yaml"], ["doctor"], ["--help"]):
        done = evalh(*args)
        assert done.code == 0, done.err
        assert not {"\x1b", "\r"} & set(done.out + done.err)
        assert args[0] != "run" or f"refunds: {ITEMS}/{ITEMS} items" in done.err
    piped = module("report", cwd=ran)
    assert not {"\x1b", "\r"} & set(piped.stdout + piped.stderr)


def on_a_terminal(cwd: Path, *args: str, **env: str) -> str:
    """What a command writes to a terminal of 100 columns."""
    import pty

    leader, follower = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "CI", "PYTEST_CURRENT_TEST")}
    process = subprocess.Popen(
        [sys.executable, "-m", "evalh", *args], cwd=cwd, stdout=follower, stderr=follower, stdin=follower,
        env={**kept, "TERM": "xterm-256color", "COLUMNS": "100", **env},
    )  # fmt: skip
    os.close(follower)
    told = b""
    while True:
        try:
            chunk = os.read(leader, 4096)
        except OSError:  # the other end is closed: the command has ended
            break
        if not chunk:
            break
        told += chunk
    process.wait()
    os.close(leader)
    return told.decode()


def test_a_terminal_sees_colour_unless_no_color_is_set(ran: Path) -> None:
    """The decision is coloured on a terminal; with NO_COLOR no colour is set."""
    assert "\x1b[1;32mPASS" in on_a_terminal(ran, "gate")
    plain = on_a_terminal(ran, "gate", NO_COLOR="1")
    assert "PASS" in plain
    assert "\x1b[1;32m" not in plain
    assert "[32m" not in plain


def test_text_of_others_cannot_steer_the_terminal(project: Path, evalh: Evalh) -> None:
    """Escape codes and markup in outputs are shown as text in tables."""
    rows = [json.loads(line) for line in (project / "golden/refunds/outputs/v1.jsonl").read_text().splitlines()]
    rows[0]["output"] = "\x1b[31mred\x1b[0m [bold]markup[/bold] for 10 days"
    write_lines(project / "golden/refunds/outputs/v1.jsonl", rows)
    assert evalh("run", "refunds.yaml", "--limit", "1").code == 0
    shown = evalh("sql", "SELECT output FROM outputs").out
    assert "\x1b" not in shown
    assert "\\x1b[31mred" in shown
    assert "[bold]markup[/bold]" in shown


def test_a_closed_pipe_is_no_error(ran: Path) -> None:
    """`evalh report --json | head -1` ends quietly."""
    with started(["report", "--json"], ran) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=20) in (0, 1)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


# ---- a project from nothing -------------------------------------------------------------------------------------------


def test_init_writes_a_project_that_works_at_once(tmp_path: Path, evalh: Evalh, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder: init, plan, run, gate, labels and pytest, without a key and without asking anybody."""
    monkeypatch.chdir(tmp_path)
    for name in ("EVALH_STORE", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert evalh("init").code == 0
    plan = evalh("plan", "suites/", "--json").json
    assert (plan["calls"], plan["cost_usd"], plan["golden"]["items"]) == (0, 0.0, 12)
    document = evalh("run", "suites/", "--json").json
    assert document["status"] == "finished"
    assert document["tiers"]["judges"]["asked"] == 0
    assert evalh("gate", "--json").json["decision"] == "PASS"
    assert evalh("label", "export", "tasks.jsonl", "--json").json["tasks"] == document["tiers"]["labels"]["queued"] == 4
    assert evalh("doctor", "suites/").code == 0
    assert (tmp_path / ".github/workflows/evals.yml").is_file()
    canaries = {line for f in tmp_path.glob("golden/*/*") if f.is_file() for line in f.read_text().splitlines() if "CANARY" in line}
    assert canaries
    assert not any("@" in line for line in canaries)


def test_a_second_init_refuses_and_changes_nothing(tmp_path: Path, evalh: Evalh) -> None:
    """Exit 2 and the first file that is in the way; every project gets a canary of its own."""
    assert evalh("init", tmp_path / "one").code == 0
    assert evalh("init", tmp_path / "two").code == 0
    golden = [(tmp_path / name / "golden/refunds/golden.toml").read_text() for name in ("one", "two")]
    assert golden[0] != golden[1]
    (tmp_path / "one/suites/test_refunds.py").unlink()
    again = evalh("init", tmp_path / "one")
    assert again.code == 2
    assert "exists already; nothing was written" in again.err
    assert not (tmp_path / "one/suites/test_refunds.py").exists()


def test_people_can_label_by_a_rubric_of_their_own(project: Path, evalh: Evalh) -> None:
    """Without a panel `sampling` names the rubric; without any there is nothing to ask people, and with a panel it is the panel's."""
    text = (project / "refunds.yaml").read_text()
    head, _, tail = text.partition("panel:")
    tail = tail[tail.index("sampling:") :]
    (project / "refunds.yaml").write_text(head + tail)
    refused = evalh("plan", "refunds.yaml")
    assert refused.code == 2
    assert "people need a rubric to label by" in refused.err
    own = "sampling: {rubric: {name: own, scale: [1, 3]}, "
    (project / "refunds.yaml").write_text(head + tail.replace("sampling: {", own))
    assert evalh("run", "refunds.yaml").code == 0
    assert evalh("label", "export", "tasks.jsonl").code == 0
    tasks = [json.loads(line) for line in (project / "tasks.jsonl").read_text().splitlines()[1:]]
    assert [list(t["questions"][0]["scale"]) for t in tasks] == [["1", "2", "3"]] * 6
    (project / "refunds.yaml").write_text(text.replace("sampling: {", own))
    assert "the panel has another rubric" in evalh("plan", "refunds.yaml").err


# ---- what a run keeps -------------------------------------------------------------------------------------------------


def test_the_record_of_a_run_names_its_checks_and_another_kind_is_another_run(project: Path, evalh: Evalh) -> None:
    """Kinds with the same settings are told apart: an interrupted run is not resumed under another rule."""
    document = evalh("run", "refunds.yaml", "--json").json
    assert [c["check"] for c in document["checks"]] == ["max-chars", "names a period"]
    kept = evalh("sql", "SELECT CAST(settings->'checks' AS VARCHAR) AS checks, run_key FROM runs", "--json").json[0]
    assert [c["kind"] for c in json.loads(kept["checks"])] == ["max-chars", "regex"]
    replace(project / "refunds.yaml", "{max-chars: 400}", "{min-chars: 400, name: max-chars}")
    evalh("run", "refunds.yaml")
    assert len({r["run_key"] for r in evalh("sql", "SELECT run_key FROM runs", "--json").json}) == 2


def test_a_rejudged_pair_keeps_its_sides(project: Path, evalh: Evalh) -> None:
    """Two systems in one file: in every item, and when stored outputs are judged again, the first one is the system."""
    golden = project / "golden/refunds/outputs"
    lines = [(golden / name).read_text().splitlines() for name in ("v1.jsonl", "v2.jsonl")]
    mixed = [line for n, pair in enumerate(zip(*lines, strict=True)) for line in (pair if n % 3 == 0 else pair[::-1])]
    (project / "both.jsonl").write_text("\n".join(mixed) + "\n")
    (project / "pairs.yaml").write_text(
        "name: pairs\ngolden: golden/refunds\nsystem: {recorded: both.jsonl, family: sim-writer}\n"
        'panel: {judges: [{model: "sim:north-1", source: judges.toml}], rubric: {name: better, kind: pairwise}}\n'
    )
    first = evalh("run", "pairs.yaml", "--json").json
    again = evalh("run", "pairs.yaml", "--rejudge", first["run"], "--json").json
    assert again["quality"] == first["quality"]
    assert again["tiers"]["judges"]["asked"] == 0
    sides = evalh("sql", "SELECT DISTINCT system, against FROM scores", "--json").json
    assert sides == [{"system": "good-bot", "against": "worse-bot"}]


def test_a_fresh_run_is_paid_kept_and_resumed_like_any_other(project: Path, evalh: Evalh) -> None:
    """`--fresh` asks again: its calls are in the ledger under its name, cost what they cost, and are asked once."""
    first = evalh("run", "refunds.yaml", "--limit", "6", "--json").json
    stopped = evalh("run", "refunds.yaml", "--limit", "6", "--fresh", "--budget", str(first["cost_usd"] * 0.6), "--json")
    assert stopped.code == 4
    fresh = evalh("run", "refunds.yaml", "--limit", "6", "--fresh", "--json").json
    assert fresh["run"] == stopped.json["run"]
    assert fresh["cost_usd"] == pytest.approx(first["cost_usd"])
    calls = evalh("sql", "SELECT run_id, count(*) AS n FROM provider_calls GROUP BY run_id ORDER BY run_id", "--json").json
    assert calls == [{"run_id": run, "n": 12} for run in sorted([first["run"], fresh["run"]])]
    joined = "SELECT count(*) AS n FROM verdicts v JOIN provider_calls c USING (run_id, call_id)"
    assert evalh("sql", joined, "--json").json == [{"n": 24}]


def test_a_provider_can_have_its_own_number_of_calls_at_one_time(project: Path, evalh: Evalh) -> None:
    """With `in_flight = 1` for a provider its calls follow one another; without, they overlap."""
    replace(project / "judges.toml", 'model = "north-1"', 'model = "north-1"\nlatency_ms = 40')
    replace(project / "judges.toml", 'model = "south-1"', 'model = "south-1"\nlatency_ms = 40')
    gaps = 'SELECT min(gap) AS least FROM (SELECT date_diff(\'ms\', lag("at") OVER (ORDER BY "at"), "at") AS gap FROM provider_calls)'
    least = []
    for settings in ("", "[providers.sim]\nin_flight = 1\n"):
        (project / "evalh.toml").write_text(settings)
        store = f"{len(least)}.duckdb"
        assert evalh("run", "refunds.yaml", "--limit", "4", "--store", store).code == 0
        least.append(evalh("sql", gaps, "--store", store, "--json").json[0]["least"])
    assert least[0] < 30 <= least[1]


def test_plan_says_that_a_stopped_run_would_go_on(project: Path, evalh: Evalh) -> None:
    """A run that ended at its budget is named by the next plan, and only by that of the same suite."""
    assert evalh("plan", "refunds.yaml", "--json").json["resumes"] is None
    stopped = evalh("run", "refunds.yaml", "--budget", "0.001", "--json")
    assert stopped.code == 4
    assert evalh("plan", "refunds.yaml", "--json").json["resumes"] == stopped.json["run"]
    assert f"goes on with {stopped.json['run']}" in evalh("plan", "refunds.yaml").out
    assert evalh("plan", "refunds.yaml", "--limit", "3", "--json").json["resumes"] is None
    assert evalh("run", "refunds.yaml", "--json").json["run"] == stopped.json["run"]


# ---- doctor and the rest ----------------------------------------------------------------------------------------------


def findings(done: Done) -> dict[str, Any]:
    return {f["what"]: f for f in done.json["findings"]}


def test_doctor_tells_what_is_missing(project: Path, evalh: Evalh, monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge without its key and an endpoint that nobody serves: exit 4 and a line each; keys themselves are never shown."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-very-secret")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (project / "evalh.toml").write_text('[providers.vllm]\nbase_url = "http://127.0.0.1:9/v1"\n')
    replace(project / "refunds.yaml", '{model: "sim:south-1", source: judges.toml}', '{model: "openai:gpt-5"}')
    done = evalh("doctor", "refunds.yaml", "--json")
    assert done.code == 4
    found = findings(done)
    assert found["judge openai:gpt-5"] == {"what": "judge openai:gpt-5", "ok": False, "says": "OPENAI_API_KEY is not set"}
    assert found["endpoint of vllm"]["ok"] is False
    assert found["key ANTHROPIC_API_KEY"] == {"what": "key ANTHROPIC_API_KEY", "ok": True, "says": "set"}
    assert found["judge sim:north-1"]["says"] == "simulated"
    assert found["suite refunds"]["ok"] is True
    assert done.json["ok"] is False
    assert "sk-very-secret" not in done.out + evalh("doctor").out


def test_doctor_is_content_with_a_whole_project(project: Path, evalh: Evalh) -> None:
    """Nothing is bad: exit 0; a missing store and missing keys are neither good nor bad; a broken suite is bad and named."""
    done = evalh("doctor", "refunds.yaml", "--json")
    assert done.code == 0
    found = findings(done)
    assert found["store"]["ok"] is None
    assert found["families"]["ok"] is True
    replace(project / "refunds.yaml", "golden/refunds\n", "golden/nowhere\n")
    broken = evalh("doctor", "refunds.yaml", "--json")
    assert broken.code == 4
    assert "golden/nowhere" in findings(broken)["suite refunds"]["says"]


def test_the_module_is_the_command(ran: Path, evalh: Evalh) -> None:
    """`python -m evalh` is `evalh`: same version, same list of commands, same exit codes."""
    from evalh import __version__
    from evalh.cli.main import COMMANDS

    assert evalh("--version").out == f"evalh, version {__version__}\n"
    told = module("--help", cwd=ran).stdout
    assert [name for name in COMMANDS if f"  {name} " not in told] == []
    assert told == evalh("--help").out
    assert module("rnu", cwd=ran).returncode == 2


def test_debug_shows_where_and_without_it_nobody_sees_a_traceback(ran: Path, evalh: Evalh, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line by default; with --debug the traceback, wherever the flag stands."""
    monkeypatch.chdir(ran)
    quiet = evalh("gate", "no-such-run")
    assert (quiet.code, quiet.err.count("\n")) == (2, 1)
    assert quiet.err.startswith("error: ")
    assert "Traceback" in module("gate", "no-such-run", "--debug", cwd=ran).stderr


def test_a_limit_and_chosen_items_are_parts_of_the_suite(project: Path, evalh: Evalh) -> None:
    """`--limit N` takes the first items, `--item ID` those; what the run left out is in its record."""
    assert evalh("run", "refunds.yaml", "--limit", "3", "--json").json["routes"] == {"judged": 3}
    evalh("run", "refunds.yaml", "--item", "i07", "--item", "i02")
    rows = evalh("sql", "SELECT CAST(settings->'items' AS VARCHAR) AS items FROM runs ORDER BY started_at", "--json").json
    assert [json.loads(r["items"]) for r in rows] == [["i00", "i01", "i02"], ["i02", "i07"]]

"""Faults that were found once, each with the smallest case that shows it, at the level where users meet it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from evalh.config import load_config
from evalh.pipeline import RunOptions, run
from evalh.prepare import prepare
from evalh.sim.profile import profile_from
from evalh.sim.server import running
from evalh.store.store import Store
from evalh.suites.load import load_suites
from tests.conftest import ITEMS, Done, replace, started, write_lines
from tests.test_pytest_plugin import run_pytest

Evalh = Callable[..., Done]
RECORDED = "{recorded: golden/refunds/outputs/v1.jsonl, family: sim-writer}"


def rows(evalh: Evalh, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = evalh("sql", sql, "--json").json
    return found


def lines_of(project: Path, version: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project / f"golden/refunds/outputs/{version}.jsonl").read_text().splitlines()]


def run_key(suite: str, outputs: str | None = None) -> str:
    return prepare(load_suites([Path(suite)])[0], load_config(), outputs=outputs).run_key


# ---- which run goes on -----------------------------------------------------------------------------------------------

FUNCTION_SUITE = """
import evalh
from evalh import checks

def answer(text):
    return "30 days"

def is_short(text):
    return len(text) < 400

suite = evalh.Suite(
    name="py", golden="golden/refunds", system=evalh.Function(answer, family="sim-writer"),
    checks=[checks.PythonFunction(is_short), checks.Regex("days")],
)

@suite.test
def test_days(output):
    assert "30 days" in output.text
"""


def test_another_system_of_the_same_file_is_another_run(project: Path, evalh: Evalh) -> None:
    """`--system A` that was stopped is not gone on with by `--system B`, and the record names what was tested."""
    write_lines(project / "both.jsonl", lines_of(project, "v1") + lines_of(project, "v2"))
    replace(project / "refunds.yaml", "golden/refunds/outputs/v1.jsonl", "both.jsonl")
    assert run_key("refunds.yaml", "good-bot") != run_key("refunds.yaml", "worse-bot")
    evalh("run", "refunds.yaml", "--system", "worse-bot", "--limit", "2")
    assert json.loads(rows(evalh, "SELECT settings FROM runs")[0]["settings"])["system"]["name"] == "worse-bot"


@pytest.mark.parametrize(
    ("old", "new"),
    [('return "30 days"', 'return "31 days"'), ("< 400", "< 401"), ('"30 days" in', '"31 days" in')],
    ids=["system", "check", "test"],
)
def test_changed_code_is_another_run(old: str, new: str, project: Path) -> None:
    """A function system, a check or a test that was edited: the stopped run of the old code is left alone."""
    suite = project / "suite.py"
    suite.write_text(FUNCTION_SUITE)
    before = run_key("suite.py")
    replace(suite, old, new)
    assert run_key("suite.py") != before


def test_a_changed_schema_file_is_another_run(project: Path) -> None:
    """The content of the files that checks read decides as much as their names."""
    (project / "answer.json").write_text('{"type": "string"}')
    replace(project / "refunds.yaml", "{max-chars: 400}", "{json-schema: answer.json}")
    before = run_key("refunds.yaml")
    (project / "answer.json").write_text('{"type": "object"}')
    assert run_key("refunds.yaml") != before


def test_a_python_suite_has_the_same_key_in_every_process(project: Path) -> None:
    """Else a stopped run of it would never go on."""
    (project / "suite.py").write_text(FUNCTION_SUITE)
    code = "from tests.test_regressions import run_key; print(run_key('suite.py'))"
    path = str(Path(__file__).parent.parent)
    keys = {
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
                       capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(keys) == 1


@pytest.mark.parametrize("system", ["{function: 'nowhere:answer'}", "{function: 'bots:nobody'}", "{command: [no-such-program]}"])
def test_a_system_that_is_not_there_is_found_before_anything_is_stored(system: str, project: Path, evalh: Evalh) -> None:
    """One line, exit 2, no store: not a run that failed, nor one without outputs."""
    (project / "bots.py").write_text("def answer(text):\n    return text\n")
    replace(project / "refunds.yaml", RECORDED, system)
    done = evalh("run", "refunds.yaml")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert not (project / ".evalh").exists()


def test_a_function_beside_the_suite_is_found_from_anywhere(project: Path, evalh: Evalh) -> None:
    """`function: 'bots:answer'` names bots.py in the suite's folder, whether or not Python's path holds it."""
    (project / "bots.py").write_text("def answer(text):\n    return 'You have 30 days.'\n")
    replace(project / "refunds.yaml", RECORDED, "{function: 'bots:answer', family: sim-writer}")
    done = evalh("run", "refunds.yaml", "--json", "--limit", "2")
    assert done.code == 0, done.err
    assert done.json["routes"] == {"judged": 2}


# ---- pairs -----------------------------------------------------------------------------------------------------------


def with_trials(project: Path) -> list[dict[str, Any]]:
    once = lines_of(project, "v1") + lines_of(project, "v2")
    return once + [{**row, "trial": 1, "output": f"{row['output']} Bye."} for row in once]


def test_systems_are_paired_trial_by_trial_and_never_with_themselves(project: Path, evalh: Evalh) -> None:
    """Two trials of two systems are two pairs an item, with `against` and without it, each with its own verdicts."""
    write_lines(project / "trials.jsonl", with_trials(project))
    suite = (project / "pairs.yaml").read_text()
    named = suite.replace("golden/refunds/outputs/v2.jsonl", "trials.jsonl, name: worse-bot").replace(
        "golden/refunds/outputs/v1.jsonl", "trials.jsonl, name: good-bot"
    )
    unnamed = suite.replace("golden/refunds/outputs/v2.jsonl", "trials.jsonl").split("  against:")[0]
    for text, first in ((named, "worse-bot"), (unnamed, "good-bot")):
        (project / "pairs.yaml").write_text(text)
        run = evalh("run", "pairs.yaml", "--json").json["run"]
        found = rows(evalh, f"SELECT DISTINCT system, trial, system <> against AS other FROM scores WHERE run_id = '{run}' ORDER BY trial")
        assert found == [{"system": first, "trial": n, "other": True} for n in (0, 1)]
        verdicts = f"SELECT count(*) AS n, count(DISTINCT verdict_id) AS d FROM verdicts WHERE run_id = '{run}'"
        assert rows(evalh, verdicts) == [{"n": 4 * ITEMS, "d": 4 * ITEMS}]


def test_an_output_without_a_counterpart_is_refused(project: Path, evalh: Evalh) -> None:
    """It would be in no pair and vanish from the scores."""
    write_lines(project / "both.jsonl", [r for r in lines_of(project, "v1") + lines_of(project, "v2") if r["item_id"] != "i05"]
                + [r for r in lines_of(project, "v1") if r["item_id"] == "i05"])  # fmt: skip
    text = (project / "pairs.yaml").read_text().replace("golden/refunds/outputs/v2.jsonl", "both.jsonl").split("  against:")[0]
    (project / "pairs.yaml").write_text(text)
    done = evalh("run", "pairs.yaml")
    assert done.code == 2
    assert "nothing to compare with for item 'i05', system 'good-bot'" in done.err
    assert not (project / ".evalh").exists()


# ---- stopping and going on -------------------------------------------------------------------------------------------


@contextmanager
def simulator(project: Path, port: int, profile: dict[str, Any]) -> Iterator[None]:
    with running(profile_from(profile, folder=project, where="test"), port=port):
        yield


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


NORTH = {"truth": ["truth.jsonl"], "judge": [{"model": "north-1", "family": "sim-north", "accuracy": 0.9}]}


def test_a_judge_that_was_gone_is_asked_again_and_its_verdicts_are_the_answers(project: Path, evalh: Evalh) -> None:
    """A run that stopped because nobody answered, gone on with when the provider is back: no verdict stays unscored."""
    port = free_port()
    text = (project / "refunds.yaml").read_text().replace('    - {model: "sim:south-1", source: judges.toml}\n', "")
    (project / "refunds.yaml").write_text(text.replace("source: judges.toml", f"base_url: 'http://127.0.0.1:{port}/v1'"))
    gone = evalh("run", "refunds.yaml", "--limit", "12")
    assert gone.code == 4
    with simulator(project, port, NORTH):
        done = evalh("run", "refunds.yaml", "--limit", "12", "--json")
    assert "went on with" in done.err
    assert done.json["routes"] == {"judged": 12}
    assert done.json["tiers"]["judges"]["unscored"] == 0


def test_a_system_that_was_gone_is_asked_again(project: Path, evalh: Evalh) -> None:
    """Items whose system did not answer before the run stopped are no failures of the system."""
    port = free_port()
    answers = [{"input": f"How long may I keep article {n}?", "output": f"Article {n}: 30 days."} for n in range(ITEMS)]
    write_lines(project / "answers.jsonl", answers)
    replace(project / "refunds.yaml", RECORDED, f"{{model: 'sim:writer-1', base_url: 'http://127.0.0.1:{port}/v1', family: sim-writer}}")
    assert evalh("run", "refunds.yaml", "--limit", "12").code == 4
    with simulator(project, port, {"system": [{"model": "writer-1", "family": "sim-writer", "answers": "answers.jsonl"}]}):
        done = evalh("run", "refunds.yaml", "--limit", "12", "--json")
    assert "went on with" in done.err
    assert done.json["routes"] == {"judged": 12}
    assert rows(evalh, "SELECT count(*) AS n FROM outputs WHERE error IS NULL") == [{"n": 12}]


def test_fresh_calls_are_in_the_ledger_beside_the_old_ones(project: Path, evalh: Evalh) -> None:
    """What --fresh paid for is stored and counted; its verdicts point to their own replies."""
    evalh("run", "refunds.yaml")
    fresh = evalh("run", "refunds.yaml", "--fresh", "--json").json
    assert fresh["cost_usd"] > 0
    calls = f"SELECT count(*) AS n FROM verdicts v JOIN provider_calls c USING (call_id, run_id) WHERE run_id = '{fresh['run']}'"
    assert rows(evalh, calls) == [{"n": 2 * ITEMS}]


def test_a_stopped_fresh_run_asks_only_for_the_rest(project: Path, evalh: Evalh) -> None:
    """--fresh asks again what earlier runs know, not what it was itself answered before it stopped."""
    full = evalh("run", "refunds.yaml", "--json").json["cost_usd"]
    stopped = evalh("run", "refunds.yaml", "--fresh", "--budget", str(full / 2), "--json")
    assert stopped.code == 4
    done = evalh("run", "refunds.yaml", "--fresh", "--budget", str(2 * full), "--json")
    assert done.json["run"] == stopped.json["run"]
    assert done.json["cost_usd"] == pytest.approx(full)
    assert rows(evalh, "SELECT count(*) AS n FROM provider_calls") == [{"n": 4 * ITEMS}]


def test_a_budget_is_that_of_the_run_however_often_it_is_stopped(project: Path, evalh: Evalh) -> None:
    """The same command with the same budget does not spend it a second time."""
    full = evalh("run", "refunds.yaml", "--json", "--store", "other.duckdb").json["cost_usd"]
    for _ in range(3):
        done = evalh("run", "refunds.yaml", "--json", "--budget", str(full / 2))
        assert done.code == 4
        assert done.json["cost_usd"] <= full / 2


# ---- the ledger ------------------------------------------------------------------------------------------------------


def test_a_provider_is_not_asked_more_at_one_time_than_its_setting_allows(project: Path, evalh: Evalh) -> None:
    """`[providers.sim] in_flight = 1`: no call begins before the one before it has ended."""
    replace(project / "judges.toml", 'model = "north-1"', 'model = "north-1"\nlatency_ms = 60')
    (project / "evalh.toml").write_text("[providers.sim]\nin_flight = 1\n")
    assert evalh("run", "refunds.yaml", "--limit", "6").code == 0
    calls = rows(evalh, 'SELECT epoch_ms("at") AS ended, latency_ms FROM provider_calls ORDER BY "at"')
    assert all(after["ended"] - after["latency_ms"] > before["ended"] - 20 for before, after in pairwise(calls))


def test_items_that_ask_a_model_the_same_share_one_call(project: Path, evalh: Evalh) -> None:
    """Two items with one input: asked and paid for once, so that the ledger holds all that was spent."""
    items = [json.loads(line) for line in (project / "golden/refunds/items.jsonl").read_text().splitlines()]
    write_lines(project / "golden/refunds/items.jsonl", [{**item, "input": "How long may I keep it?"} for item in items])
    write_lines(project / "answers.jsonl", [{"input": "How long may I keep it?", "output": "30 days."}])
    port = free_port()
    replace(project / "refunds.yaml", RECORDED, f"{{model: 'sim:writer-1', base_url: 'http://127.0.0.1:{port}/v1', family: sim-writer}}")
    with simulator(project, port, {"system": [{"model": "writer-1", "family": "sim-writer", "answers": "answers.jsonl"}]}):
        assert evalh("run", "refunds.yaml").code == 0
        asked = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/_sim/stats"))["requests"]
    assert asked == 1
    assert rows(evalh, "SELECT count(*) AS n FROM outputs WHERE error IS NULL") == [{"n": ITEMS}]


def test_another_server_in_the_environment_is_another_answer(project: Path, evalh: Evalh, monkeypatch: pytest.MonkeyPatch) -> None:
    """EVALH_SIM_URL, OPENAI_BASE_URL and the like decide who answers: what one server said is not taken for another's."""
    text = (project / "refunds.yaml").read_text().replace('    - {model: "sim:south-1", source: judges.toml}\n', "")
    (project / "refunds.yaml").write_text(text.replace(", source: judges.toml", ""))
    asked = []
    for _ in range(2):
        port = free_port()
        monkeypatch.setenv("EVALH_SIM_URL", f"http://127.0.0.1:{port}")
        with simulator(project, port, NORTH):
            asked.append(evalh("run", "refunds.yaml", "--json").json["tiers"]["judges"]["asked"])
    assert asked == [ITEMS, ITEMS]


# ---- functions that hang, end the program, or skip -------------------------------------------------------------------


def test_a_function_that_hangs_does_not_hold_up_ctrl_c(project: Path, evalh: Evalh) -> None:
    """Ctrl-C ends the program within seconds, though threads of the system under test never end; the run goes on later."""
    bots = project / "bots.py"
    bots.write_text("import time\n\ndef answer(text):\n    open('begun', 'a').close()\n    time.sleep(1000)\n")
    replace(project / "refunds.yaml", RECORDED, "{function: 'bots:answer', name: bot, family: sim-writer}")
    with started(["run", "refunds.yaml"], project, PYTHONPATH=str(Path(__file__).parent.parent)) as process:
        while not (project / "begun").exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
    assert rows(evalh, 'SELECT event FROM run_events ORDER BY "at" DESC LIMIT 1') == [{"event": "interrupted"}]


@pytest.mark.parametrize("define", ["def", "async def"])
def test_a_function_that_ends_the_program_has_no_output(define: str, project: Path, evalh: Evalh) -> None:
    """`sys.exit()` in the system under test is its failure on an item, not the end of the run with exit 0."""
    (project / "bots.py").write_text(f"import sys\n\n{define} answer(text):\n    sys.exit()\n")
    replace(project / "refunds.yaml", RECORDED, "{function: 'bots:answer', name: bot, family: sim-writer}")
    done = evalh("run", "refunds.yaml", "--json", "--limit", "3")
    assert done.code == 0, done.err
    assert done.json["routes"] == {"no_output": 3}
    assert "SystemExit" in rows(evalh, "SELECT error FROM outputs LIMIT 1")[0]["error"]


TESTED = """
import functools, sys
import evalh, pytest

def answer(text, days):
    return f"{days} days"

suite = evalh.Suite(name="py", golden="golden/refunds", system=evalh.Function(functools.partial(answer, days=30), family="sim-writer"))

@suite.test
def test_one(output):
    OUTCOME
"""


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("pytest.fail('bad')", "fail"), ("sys.exit('bye')", "error"), ("output.nothing", "error"), ("pytest.skip('no')", None)],
)
def test_whatever_a_test_raises_is_a_row(outcome: str, status: str | None, project: Path, evalh: Evalh) -> None:
    """pytest.fail is a fail, pytest.skip says nothing, and what would end the program is an error."""
    (project / "suite.py").write_text(TESTED.replace("OUTCOME", outcome))
    done = evalh("run", "suite.py", "--json", "--limit", "2")
    assert done.code == 0, done.err
    found = rows(evalh, "SELECT DISTINCT status FROM check_results")
    assert found == ([{"status": status}] if status else [])
    assert done.json["routes"] == {"checked" if status == "fail" else "unscored": 2}


def test_an_async_test_is_refused(project: Path, evalh: Evalh) -> None:
    """It would never be awaited, and so always pass."""
    (project / "suite.py").write_text(TESTED.replace("def test_one", "async def test_one").replace("OUTCOME", "assert False"))
    done = evalh("run", "suite.py")
    assert done.code == 2
    assert "test test_one is async" in done.err


def test_a_run_starts_where_a_loop_runs_already(project: Path) -> None:
    """In a notebook, or under a pytest plugin that keeps its loop running."""
    prepared = prepare(load_suites([project / "refunds.yaml"])[0], load_config(), limit=2)

    async def inside() -> str:
        return run(prepared, Store(project / "store.duckdb"), RunOptions()).status

    assert asyncio.run(inside()) == "finished"


# ---- judging again ---------------------------------------------------------------------------------------------------


def test_rejudge_refuses_outputs_of_another_system(project: Path, evalh: Evalh) -> None:
    """A run of another system holds nothing to judge: an error, not a finished run without a score."""
    first = evalh("run", "refunds.yaml", "--json").json["run"]
    done = evalh("run", "refunds.yaml", "--rejudge", first, "--system", "golden/refunds/outputs/v2.jsonl")
    assert done.code == 2
    assert "has no output of worse-bot" in done.err
    assert rows(evalh, "SELECT count(*) AS n FROM runs") == [{"n": 1}]


def test_rejudge_needs_no_key_of_the_system(project: Path, evalh: Evalh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is generated, so nothing is opened to generate it."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    first = evalh("run", "refunds.yaml", "--json").json["run"]
    replace(project / "refunds.yaml", RECORDED, "{model: 'openai:gpt-5', name: good-bot, family: sim-writer}")
    done = evalh("run", "refunds.yaml", "--rejudge", first, "--json")
    assert done.code == 0, done.err
    assert done.json["routes"] == {"judged": ITEMS}


# ---- programs under test ---------------------------------------------------------------------------------------------


def test_a_program_that_does_not_read_is_given_up(project: Path, evalh: Evalh) -> None:
    """Its pipe is full and stays full: every item ends at the time limit, the run ends."""
    items = [json.loads(line) for line in (project / "golden/refunds/items.jsonl").read_text().splitlines()[:3]]
    write_lines(project / "golden/refunds/items.jsonl", [{**item, "input": "long " * 100_000} for item in items])
    replace(project / "refunds.yaml", RECORDED, "{command: [sleep, '1000'], name: bot, family: sim-writer, timeout_s: 0.5}")
    done = evalh("run", "refunds.yaml", "--json")
    assert done.json["routes"] == {"no_output": 3}


def test_a_program_that_leaves_a_child_behind_does_not_hold_up_the_run(project: Path, evalh: Evalh) -> None:
    """The child holds the pipes open after the program has ended; it is ended too."""
    command = "{command: [sh, '-c', 'sleep 1000 & exit 3'], name: bot, family: sim-writer, timeout_s: 1}"
    replace(project / "refunds.yaml", RECORDED, command)
    began = time.monotonic()
    done = evalh("run", "refunds.yaml", "--json", "--limit", "3")
    assert done.json["routes"] == {"no_output": 3}
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("answer", ['{"output": "x", "tool_calls": [{"tool": "a"}]}', '{"output": "x", "cost_usd": NaN}'])
def test_an_answer_that_cannot_be_kept_is_a_failure_of_the_program(answer: str, project: Path, evalh: Evalh) -> None:
    """A tool call without a name, or a number that is none: an output with an error, not an internal error."""
    (project / "bot.py").write_text(
        "import json, sys\nfor line in sys.stdin:\n"
        f"    print('{{\"item_id\": \"' + json.loads(line)['item_id'] + '\", ' + {answer[1:]!r}, flush=True)\n"
    )
    replace(project / "refunds.yaml", RECORDED, f"{{command: ['{sys.executable}', bot.py], name: bot, family: sim-writer}}")
    done = evalh("run", "refunds.yaml", "--json", "--limit", "3")
    assert done.code == 0, done.err
    assert done.json["routes"] == {"no_output": 3}


def test_an_answer_of_a_function_that_cannot_be_kept_is_its_failure(project: Path, evalh: Evalh) -> None:
    """Whatever a function returns that is not JSON is an output with an error."""
    (project / "bots.py").write_text("def answer(text):\n    return {'output': 'x', 'meta': {'model': object()}}\n")
    replace(project / "refunds.yaml", RECORDED, "{function: 'bots:answer', name: bot, family: sim-writer}")
    done = evalh("run", "refunds.yaml", "--json", "--limit", "3")
    assert done.code == 0, done.err
    assert done.json["routes"] == {"no_output": 3}


# ---- families and names ----------------------------------------------------------------------------------------------


def test_the_family_of_a_system_is_looked_for_on_every_line(project: Path, evalh: Evalh) -> None:
    """A family that only later lines of the outputs name refuses the judge too; two of them are an error."""
    outputs = lines_of(project, "v1")
    replace(project / "refunds.yaml", ", family: sim-writer}\nchecks", "}\nchecks")
    for families, told in (({5: "sim-north"}, "may not judge system 'good-bot'"), ({5: "sim-north", 6: "sim-writer"}, "two families")):
        rows_ = [{**row, "family": families[n]} if n in families else row for n, row in enumerate(outputs)]
        write_lines(project / "golden/refunds/outputs/v1.jsonl", rows_)
        done = evalh("run", "refunds.yaml")
        assert done.code == 2
        assert told in done.err


def test_a_model_does_not_grade_itself_under_another_name(project: Path, evalh: Evalh) -> None:
    """An endpoint under test and a judge at the same URL with the same model are one, whatever families are written beside them."""
    replace(project / "refunds.yaml", RECORDED, "{endpoint: 'http://127.0.0.1:9/v1', model: North-1, name: bot, family: sim-writer}")
    replace(project / "refunds.yaml", '{model: "sim:north-1", source: judges.toml}',
            "{model: 'openai:north-1', base_url: 'http://127.0.0.1:9/v1/', family: sim-north}")  # fmt: skip
    done = evalh("run", "refunds.yaml")
    assert done.code == 2
    assert "is the system under test" in done.err


def test_every_name_in_an_outputs_file_is_masked(project: Path, evalh: Evalh) -> None:
    """Renamed systems go by the name in their file too, and versions stand there as well."""
    outputs = [
        {**row, "system_version": "bot-2026b", "output": f"{row['output']} Yours, good-bot (bot-2026b)."} for row in lines_of(project, "v1")
    ]
    write_lines(project / "golden/refunds/outputs/v1.jsonl", outputs)
    replace(project / "refunds.yaml", "family: sim-writer}\nchecks", "family: sim-writer, rename: candidate}\nchecks")
    assert evalh("run", "refunds.yaml", "--limit", "3").code == 0
    shown = " ".join(r["text"] for r in rows(evalh, "SELECT CAST(messages AS VARCHAR) AS text FROM provider_calls"))
    assert "article 2 " in shown
    assert "good-bot" not in shown
    assert "bot-2026b" not in shown


def test_the_name_of_a_function_is_no_name_to_mask(project: Path, evalh: Evalh) -> None:
    """A function called `days` that nobody named so as a system: its outputs keep their words."""
    (project / "bots.py").write_text("def days(text):\n    return 'You have 30 days.'\n")
    suite = project / "suite.py"
    suite.write_text(
        "import evalh\nfrom bots import days\n"
        "suite = evalh.Suite(name='py', golden='golden/refunds', system=evalh.Function(days, family='sim-writer'), panel=evalh.Panel(\n"
        "    judges=[evalh.Judge(model='sim:north-1', source='judges.toml')], rubric=evalh.Rubric(name='good', scale='binary')))\n"
    )
    assert evalh("run", "suite.py", "--limit", "1").code == 0
    shown = rows(evalh, "SELECT CAST(messages AS VARCHAR) AS text FROM provider_calls")[0]["text"]
    assert "You have 30 days." in shown


# ---- what may be compared --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suite", "old", "new", "told"),
    [
        ("refunds.yaml", "max-chars: 400", "max-chars: 399", "the checks changed"),
        ("refunds.yaml", "rule: mean", "rule: unanimous", "the panel counts its verdicts in another way"),
        (
            "pairs.yaml",
            "v1.jsonl, family: sim-writer",
            "v1.jsonl, family: sim-writer, rename: other",
            "the pairs are against another system",
        ),
    ],
)
def test_runs_that_were_scored_in_another_way_are_not_compared(
    suite: str, old: str, new: str, told: str, project: Path, evalh: Evalh
) -> None:
    """Changed checks, another rule of the panel or another opponent: INCONCLUSIVE, with the reason; the same again is compared."""
    text = (project / suite).read_text().split("gate:")[0] + "gate: {baseline: main, margin: 0.05}\n"
    (project / suite).write_text(text)
    run = evalh("run", suite, "--json").json["run"]
    evalh("gate", "--approve", run, "--as", "main")
    evalh("run", suite)
    assert "not_comparable" not in evalh("gate", "--json").out
    replace(project / suite, old, new)
    evalh("run", suite)
    gate = evalh("gate", "--json")
    assert gate.code == 3
    assert told in gate.json["reasons"][0]


def test_a_run_is_not_its_own_baseline(project: Path, evalh: Evalh) -> None:
    """The newest run, just approved: against itself it would pass whatever it holds."""
    replace(project / "refunds.yaml", "gate: {minimum: 0.5}", "gate: {baseline: main, margin: 0.05}")
    run = evalh("run", "refunds.yaml", "--json").json["run"]
    evalh("gate", "--approve", run, "--as", "main")
    gate = evalh("gate", "--json")
    assert gate.code == 3
    assert gate.json["reasons"][0].startswith("same_run")


def test_a_tag_is_looked_for_in_the_suite_of_the_other_run(project: Path, evalh: Evalh) -> None:
    """Two suites have a baseline `main`; `compare main RUN` takes that of RUN's suite."""
    first = evalh("run", "refunds.yaml", "--json").json["run"]
    other = evalh("run", "pairs.yaml", "--json").json["run"]
    evalh("gate", "--approve", first, "--as", "main")
    evalh("gate", "--approve", other, "--as", "main")
    second = evalh("run", "refunds.yaml", "--json").json["run"]
    assert evalh("compare", "main", second, "--json").json["a"] == first


# ---- under pytest ----------------------------------------------------------------------------------------------------

PLAIN_SUITE = """
import pytest
import evalh

suite = evalh.Suite(name="plain", golden="golden/refunds", system=evalh.Recorded("OUTPUTS", family="sim-writer"),
                    gate=evalh.Gate(minimum=0.5))

@pytest.fixture
def broken():
    raise ValueError("no database")

@suite.test
def test_one(output):
    ONE

@suite.test
def test_two(output):
    assert "days" in output.text
"""


def pytest_on(project: Path, one: str, *args: str, outputs: str = "golden/refunds/outputs/v1.jsonl") -> subprocess.CompletedProcess[str]:
    (project / "test_plain.py").write_text(PLAIN_SUITE.replace("ONE", one).replace("OUTPUTS", outputs))
    return run_pytest(project, "test_plain.py", *args)


def statuses(evalh: Evalh) -> dict[str, int]:
    found = rows(evalh, "SELECT status, count(*) AS n FROM check_results WHERE \"check\" = 'test_one' GROUP BY status")
    return {row["status"]: row["n"] for row in found}


def test_fixtures_that_are_used_by_themselves_leave_the_tests_alone(project: Path) -> None:
    """An autouse fixture of a conftest.py is not taken for the argument that receives the output."""
    (project / "conftest.py").write_text("import pytest\n\n@pytest.fixture(autouse=True)\ndef a_fixture(request):\n    yield\n")
    done = pytest_on(project, "assert output.item", "-q")
    assert f"{2 * ITEMS} passed" in done.stdout, done.stdout


def test_what_a_test_raises_is_the_same_under_pytest_and_evalh_run(project: Path, evalh: Evalh) -> None:
    """A failed assert is a fail, another exception an error that leaves the output unscored, on both roads."""
    pytest_on(project, "assert output.item.item_id != 'i03'; output.nothing if output.item.item_id == 'i04' else None", "-q")
    here = (statuses(evalh), rows(evalh, "SELECT route, count(*) AS n FROM scores GROUP BY route ORDER BY route"))
    assert here[0] == {"pass": ITEMS - 2, "fail": 1, "error": 1}
    there = evalh("run", "test_plain.py", "--json").json
    assert {r["route"]: r["n"] for r in here[1]} == there["routes"]


def test_every_output_of_an_item_meets_its_tests(project: Path, evalh: Evalh) -> None:
    """The second trial fails: so does the item, and the row of the first trial says pass."""
    write_lines(project / "trials.jsonl", [r for r in with_trials(project) if r["system"] == "good-bot"])
    done = pytest_on(project, "assert 'Bye' not in output.text", "-q", outputs="trials.jsonl")
    assert f"{ITEMS} failed" in done.stdout
    found = rows(evalh, "SELECT trial, status, count(*) AS n FROM check_results WHERE \"check\" = 'test_one' GROUP BY ALL ORDER BY trial")
    assert found == [{"trial": 0, "status": "pass", "n": ITEMS}, {"trial": 1, "status": "fail", "n": ITEMS}]


def test_a_blocking_test_blocks_under_pytest_too(project: Path, evalh: Evalh) -> None:
    """What fails it never reaches a judge and is worth 0, as under `evalh run`."""
    (project / "test_blocking.py").write_text(
        "import evalh\n"
        "suite = evalh.Suite(name='blocking', golden='golden/refunds',\n"
        "    system=evalh.Recorded('golden/refunds/outputs/v1.jsonl', family='sim-writer'),\n"
        "    panel=evalh.Panel(judges=[evalh.Judge(model='sim:north-1', source='judges.toml')],\n"
        "                      rubric=evalh.Rubric(name='good', scale='binary')))\n\n"
        "@suite.test(blocking=True)\ndef test_not_seven(output):\n    assert 'article 7 ' not in output.text\n"
    )
    run_pytest(project, "test_blocking.py", "-q", "-n", "2")
    assert rows(evalh, "SELECT route, score FROM scores WHERE item_id = 'i07'") == [{"route": "blocked", "score": 0.0}]
    assert rows(evalh, "SELECT count(*) AS n FROM verdicts WHERE item_id = 'i07'") == [{"n": 0}]
    assert rows(evalh, "SELECT count(*) AS n FROM check_results") == [{"n": ITEMS}]


def test_a_session_that_ran_a_part_of_the_tests_decides_nothing(project: Path, evalh: Evalh) -> None:
    """Where tests make the score, -x and -k leave the run open; the next whole session goes on with it and decides."""
    part = pytest_on(project, "assert output.item", "-k", "test_two", "--evalh-gate")
    assert part.returncode == 1
    assert "not finished" in part.stdout
    assert "PASS" not in part.stdout
    whole = pytest_on(project, "assert output.item")
    assert "gate     PASS" in whole.stdout
    assert rows(evalh, "SELECT count(*) AS n FROM runs") == [{"n": 1}]
    assert statuses(evalh) == {"pass": ITEMS}


def test_two_files_with_a_suite_of_one_name_are_two_runs_under_workers(project: Path, evalh: Evalh) -> None:
    """Workers share a run by file and suite, not by the suite's name alone."""
    text = PLAIN_SUITE.replace("ONE", "assert True").replace("OUTPUTS", "golden/refunds/outputs/VERSION.jsonl")
    for version in ("v1", "v2"):
        (project / f"test_{version}.py").write_text(text.replace("VERSION", version))
    done = run_pytest(project, "test_v1.py", "test_v2.py", "-q", "-n", "2")
    assert f"{4 * ITEMS} passed" in done.stdout, done.stdout
    systems = "SELECT DISTINCT system FROM scores ORDER BY system"
    assert [r["system"] for r in rows(evalh, systems)] == ["good-bot", "worse-bot"]


def test_a_fixture_that_fails_is_no_failure_of_the_output(project: Path, evalh: Evalh) -> None:
    """The test could not run: an error, so that the output is unscored."""
    text = PLAIN_SUITE.replace("ONE", "assert True").replace("OUTPUTS", "golden/refunds/outputs/v1.jsonl")
    (project / "test_plain.py").write_text(text.replace("def test_one(output)", "def test_one(output, broken)"))
    run_pytest(project, "test_plain.py", "-q")
    assert statuses(evalh) == {"error": ITEMS}


# ---- bad input, and the plan -----------------------------------------------------------------------------------------


def test_files_that_are_not_utf8_and_suites_that_exit_are_one_line(project: Path, evalh: Evalh) -> None:
    """Exit 2 with the file, not an internal error, nor the exit code of the suite's own `sys.exit()`."""
    (project / "latin.yaml").write_bytes((project / "refunds.yaml").read_bytes() + "\n# déjà vu\n".encode("latin-1"))
    (project / "exits.py").write_text("import evalh, sys\nsys.exit(0)\n")
    for name, told in (("latin.yaml", "is not UTF-8"), ("exits.py", "cannot be imported: SystemExit")):
        done = evalh("run", name)
        assert done.code == 2
        assert f"{name}" in done.err
        assert told in done.err


def test_a_plan_counts_the_calls_of_both_systems(project: Path, evalh: Evalh) -> None:
    """A model to compare with is asked and paid for too."""
    replace(project / "pairs.yaml", "{recorded: golden/refunds/outputs/v1.jsonl, family: sim-writer}\n",
            "{model: 'sim:writer-1', base_url: 'http://127.0.0.1:9/v1', name: other, family: sim-writer}\n")  # fmt: skip
    plan = evalh("plan", "pairs.yaml", "--json").json
    assert plan["calls"] == 2 * ITEMS + ITEMS
    assert plan["against"]["calls"] == ITEMS

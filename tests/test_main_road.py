"""The main road, end to end: suites through three tiers with judges asked over HTTP by the official clients."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evalh.sim.profile import load_profile
from evalh.sim.server import running
from tests.conftest import ITEMS, Done, replace, shared_data, started, write_lines

Evalh = Callable[..., Done]


def rows(evalh: Evalh, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = evalh("sql", sql, "--json").json
    return found


# ---- one run ---------------------------------------------------------------------------------------------------------


def test_a_run_goes_through_three_tiers_and_says_so(project: Path, evalh: Evalh) -> None:
    """Outputs are checked, what passes is judged by every judge, a sample is queued, and the document adds up."""
    done = evalh("run", "refunds.yaml", "--json")
    assert done.code == 0, done.err
    document = done.json
    assert document["status"] == "finished"
    assert document["tiers"]["checks"] == {"passed": 2 * ITEMS, "failed": 0, "errors": 0}
    judges = document["tiers"]["judges"]
    assert (judges["asked"], judges["cached"], judges["skipped"], judges["unscored"]) == (2 * ITEMS, 0, 0, 0)
    assert document["tiers"]["labels"]["queued"] == 6
    assert document["simulated"] is True
    assert document["cost_usd"] > 0
    assert document["tokens"] > 0
    quality = document["quality"]
    assert quality["n"] == ITEMS
    assert quality["low"] < quality["value"] < quality["high"]
    assert {j["judge"]: j["family"] for j in document["judges"]} == {"sim:north-1": "sim-north", "sim:south-1": "sim-south"}
    assert all(j["simulated"] for j in document["judges"])


def test_a_blocked_output_never_reaches_a_judge_and_counts_as_a_failure(project: Path, evalh: Evalh) -> None:
    """A failing blocking check saves the calls, is a row of its own, and is worth 0, not missing."""
    replace(project / "refunds.yaml", "max-chars: 400", "not-contains: article 7")
    document = evalh("run", "refunds.yaml", "--json").json
    assert document["routes"] == {"blocked": 1, "judged": ITEMS - 1}
    assert document["tiers"]["judges"]["skipped"] == 2
    assert document["saved_usd"] > 0
    assert rows(evalh, "SELECT score, route FROM scores WHERE item_id = 'i07'") == [{"score": 0.0, "route": "blocked"}]
    assert rows(evalh, "SELECT count(*) AS n FROM verdicts WHERE item_id = 'i07'") == [{"n": 0}]
    assert document["quality"]["n"] == ITEMS


def test_a_check_that_is_not_blocking_lets_the_output_pass_on(project: Path, evalh: Evalh) -> None:
    """Its failure is recorded; the judges are asked all the same."""
    replace(project / "refunds.yaml", "{max-chars: 400}", "{max-chars: 5, blocking: false}")
    document = evalh("run", "refunds.yaml", "--json").json
    assert document["tiers"]["checks"]["failed"] == ITEMS
    assert document["routes"] == {"judged": ITEMS}


def test_a_reply_that_cannot_be_read_is_asked_again_then_unscored(project: Path, evalh: Evalh) -> None:
    """A judge that never obeys the schema: asked `attempts` times, then unscored; never a pass, a fail or a gap."""
    replace(project / "refunds.yaml", '{model: "sim:south-1", source: judges.toml}', '{model: "sim:east-1", source: judges.toml}')
    document = evalh("run", "refunds.yaml", "--json", "--limit", "12").json
    east = next(j for j in document["judges"] if j["judge"] == "sim:east-1")
    assert (east["n_verdicts"], east["n_unscored"]) == (12, 12)
    assert rows(evalh, "SELECT DISTINCT attempts, status, score FROM verdicts WHERE judge = 'sim:east-1'") == [
        {"attempts": 3, "status": "unscored", "score": None}
    ]
    assert document["routes"] == {"unscored": 12}
    assert document["quality"]["value"] is None
    gate = evalh("gate", "--json")
    assert gate.code == 3
    assert gate.json["decision"] == "INCONCLUSIVE"


def test_a_second_run_asks_nothing(project: Path, evalh: Evalh) -> None:
    """The same question to the same judge is answered from the ledger, and shown as such; --fresh asks again."""
    evalh("run", "refunds.yaml")
    again = evalh("run", "refunds.yaml", "--json").json["tiers"]["judges"]
    assert (again["asked"], again["cached"]) == (0, 2 * ITEMS)
    fresh = evalh("run", "refunds.yaml", "--json", "--fresh").json["tiers"]["judges"]
    assert fresh["asked"] == 2 * ITEMS


def test_rejudge_asks_judges_about_stored_outputs(project: Path, evalh: Evalh) -> None:
    """With --rejudge nothing is generated: the system's file may be gone for good."""
    (project / "system.py").write_text(
        "def answer(text):\n    with open('asked', 'a') as file:\n        file.write('x')\n    return '30 days'\n"
    )
    replace(
        project / "refunds.yaml",
        "{recorded: golden/refunds/outputs/v1.jsonl, family: sim-writer}",
        "{function: 'system:answer', name: bot, family: sim-writer}",
    )
    sys.path.insert(0, str(project))
    try:
        first = evalh("run", "refunds.yaml", "--json").json
        replace(project / "refunds.yaml", "Judge by the policy.", "Judge by the policy and by nothing else.")
        second = evalh("run", "refunds.yaml", "--rejudge", first["run"], "--json").json
    finally:
        sys.path.remove(str(project))
        sys.modules.pop("system", None)
    assert (project / "asked").read_text() == "x" * ITEMS
    assert second["tiers"]["judges"]["asked"] == 2 * ITEMS
    assert second["run"] != first["run"]


def test_a_budget_stops_before_it_is_exceeded_and_the_run_goes_on_later(project: Path, evalh: Evalh) -> None:
    """Exit 4, what was answered is kept; with a larger budget only the rest is asked."""
    full = evalh("run", "refunds.yaml", "--json", "--store", "other.duckdb").json["cost_usd"]
    done = evalh("run", "refunds.yaml", "--json", "--budget", str(full / 2))
    assert done.code == 4
    assert "stopped at the budget" in done.err
    assert done.json["cost_usd"] <= full / 2
    rest = evalh("run", "refunds.yaml", "--json", "--budget", str(full * 2))
    assert rest.code == 0
    assert rest.json["run"] == done.json["run"]
    assert rest.json["tiers"]["judges"]["asked"] == 2 * ITEMS
    assert rows(evalh, "SELECT count(*) AS n FROM provider_calls") == [{"n": 2 * ITEMS}]


# ---- families and blinding -------------------------------------------------------------------------------------------


def test_a_judge_of_the_same_family_is_refused_and_where_allowed_it_is_said_everywhere(project: Path, evalh: Evalh, capsys: Any) -> None:
    """The refusal names both lineages; allow_same_family shows in table, terminal, document and report."""
    replace(project / "refunds.yaml", "family: sim-writer", "family: sim-north")
    refused = evalh("run", "refunds.yaml")
    assert refused.code == 2
    assert refused.err.count("sim-north") >= 2
    replace(project / "refunds.yaml", "rule: mean", "rule: mean\n  allow_same_family: true")
    shown = evalh("run", "refunds.yaml")
    assert shown.code == 0, shown.err
    assert "same family" in shown.out.lower()
    assert {r["same_family"] for r in rows(evalh, "SELECT same_family FROM verdicts WHERE judge = 'sim:north-1'")} == {True}
    document = evalh("report", "--json", "--html", "report.html").json
    assert document["allow_same_family"] is True
    assert "same family" in (project / "report.html").read_text().lower()


SELF_PREFERRING = """
name = "narcissus"
seed = 5
truth = ["truth.jsonl"]
[[judge]]
model = "north-1"
family = "sim-north"
names = ["northbot"]
family_preference = 0.9
recognises = "name"
"""


def self_preference(evalh: Evalh, project: Path, panel: str) -> float:
    """The share of pairs that the judge gives to its own family, where both answers are equally good."""
    (project / "pairs.yaml").write_text(f"""
name: pairs
golden: golden/refunds
system: {{recorded: own.jsonl, family: sim-north}}
panel:
  judges: [{{model: "sim:north-1", source: narcissus.toml}}]
  rubric: {{name: better, kind: pairwise}}
  against: {{recorded: other.jsonl, family: sim-writer}}
  allow_same_family: true
{panel}""")
    done = evalh("run", "pairs.yaml", "--json", "--fresh")
    assert done.code == 0, done.err
    value: float = done.json["quality"]["value"]
    return value


def test_blinding_lowers_self_preference_of_a_judge_that_knows_itself_by_name(project: Path, evalh: Evalh) -> None:
    """With names shown the judge sides with its own; masked and neutrally labelled it cannot, and no name is in any message."""
    (project / "narcissus.toml").write_text(SELF_PREFERRING)
    own = [
        {"item_id": f"i{n:02}", "system": "northbot", "output": f"As northbot, I would say {n} weeks, take it or leave it."}
        for n in range(ITEMS)
    ]
    other = [
        {"item_id": f"i{n:02}", "system": "writebot", "output": f"The policy gives you {n} weeks to return the article."}
        for n in range(ITEMS)
    ]
    write_lines(project / "own.jsonl", own)
    write_lines(project / "other.jsonl", other)
    write_lines(project / "truth.jsonl", [{"output": o["output"], "quality": 0.5} for o in own + other])
    open_ = self_preference(evalh, project, "  mask: false\n  show_names: true\n")
    blind = self_preference(evalh, project, "")
    assert open_ > 0.85
    assert abs(blind - 0.5) < 0.2
    newest = rows(evalh, "SELECT run_id FROM runs ORDER BY started_at DESC LIMIT 1")[0]["run_id"]
    messages = rows(evalh, f"SELECT CAST(messages AS VARCHAR) AS text FROM provider_calls WHERE run_id = '{newest}'")
    assert len(messages) == 2 * ITEMS
    assert not any(re.search("northbot|writebot", m["text"], re.IGNORECASE) for m in messages)
    masked = rows(evalh, f"SELECT CAST(masked AS VARCHAR) AS masked FROM verdicts WHERE run_id = '{newest}'")
    assert all("northbot" in m["masked"] for m in masked)


def test_both_orders_are_asked_and_a_judge_that_contradicts_itself_is_recorded(project: Path, evalh: Evalh) -> None:
    """Every pair is shown both ways; pairs that flip count as ties and are counted as inconsistent."""
    document = evalh("run", "pairs.yaml", "--json").json
    assert document["tiers"]["judges"]["asked"] == 2 * ITEMS
    position = document["judges"][0]["position"]
    inconsistent = round((1 - position["consistency"]) * ITEMS)
    assert position["n_pairs"] == ITEMS
    assert inconsistent > 4
    assert document["tiers"]["judges"]["inconsistent"] == inconsistent
    assert rows(evalh, "SELECT count(*) AS n FROM scores WHERE inconsistent > 0 AND score = 0.5") == [{"n": inconsistent}]


def test_one_drawn_order_is_the_same_from_the_same_seed(project: Path, evalh: Evalh) -> None:
    """`order: drawn` shows each pair once; the orders repeat with the seed and differ with another."""
    drawn = []
    for seed in (1, 1, 2):
        replace(
            project / "pairs.yaml",
            project.joinpath("pairs.yaml").read_text(),
            (project / "pairs.yaml").read_text().split("seed:")[0].rstrip() + f"\nseed: {seed}\n",
        )
        text = (project / "pairs.yaml").read_text()
        (project / "pairs.yaml").write_text(text if "order: drawn" in text else text.replace("panel:", "panel:\n  order: drawn"))
        run = evalh("run", "pairs.yaml", "--json").json["run"]
        drawn.append([tuple(r["systems"]) for r in rows(evalh, f"SELECT systems FROM verdicts WHERE run_id = '{run}' ORDER BY item_id")])
    assert len(drawn[0]) == ITEMS
    assert drawn[0] == drawn[1] != drawn[2]


# ---- recorded verdicts -----------------------------------------------------------------------------------------------


def replay_suite(folder: Path, judges: list[str]) -> str:
    listed = "\n".join(f'    - {{model: "replay:{j}", source: "{folder}/judgments.jsonl"}}' for j in judges)
    return (
        f"name: replayed\ngolden: {folder}\nsystem: {folder}/outputs.jsonl\nlabels: {folder}/labels.jsonl\n"
        f"panel:\n  order: recorded\n  allow_same_family: true\n  rubric: {{name: better, kind: pairwise}}\n  judges:\n{listed}\n"
    )


def test_recorded_judges_of_mtbench_come_out_as_published(project: Path, evalh: Evalh) -> None:
    """All 16 published numbers: accuracy over both orders and positional agreement, as their authors count (unscored as tie)."""
    folder = shared_data("mtbench_pairs")
    published = json.loads((folder / "published.json").read_text())
    names = sorted({tuple(key.split("|")[1:3]) for key in published})
    (project / "replay.yaml").write_text(replay_suite(folder, [f"{model}#{prompt}" for model, prompt in names]))
    document = evalh("run", "replay.yaml", "--json", "--unscored", "tie").json
    assert len(document["judges"]) == 8
    for judge in document["judges"]:
        key = f"MT-Bench|{judge['judge']}|{judge['prompt']}"
        assert 100 * judge["agreement"]["value"] == pytest.approx(published[f"{key}|accuracy_average"]["value"], abs=1e-9)
        assert 100 * judge["position"]["consistency"] == pytest.approx(published[f"{key}|positional_agreement"]["value"], abs=1e-9)


def test_recorded_judges_of_pandalm_come_out_as_published(project: Path, evalh: Evalh) -> None:
    """71.07 % and 66.77 %; the 25 verdicts that could not be read are counted, whatever is done with them."""
    folder = shared_data("pandalm")
    (project / "replay.yaml").write_text(replay_suite(folder, ["gpt-3.5-turbo", "PandaLM-7B"]))
    values = {}
    for rule in ("exclude", "wrong", "tie"):
        document = evalh("run", "replay.yaml", "--json", "--unscored", rule).json
        by_name = {j["judge"]: j for j in document["judges"]}
        assert by_name["gpt-3.5-turbo"]["n_unscored"] == 25
        values[rule] = round(100 * by_name["gpt-3.5-turbo"]["agreement"]["value"], 4)
        assert round(100 * by_name["PandaLM-7B"]["agreement"]["value"], 2) == 66.77
    assert values == {"exclude": 71.5606, "wrong": 69.7698, "tie": 71.0711}


# ---- stopping and going on -------------------------------------------------------------------------------------------


@pytest.fixture
def slow_judges(project: Path) -> Iterator[str]:
    """The simulator as a process of its own, slow enough to be interrupted; the suite asks it by URL."""
    replace(project / "judges.toml", 'model = "north-1"', 'model = "north-1"\nlatency_ms = 150')
    replace(project / "judges.toml", 'model = "south-1"', 'model = "south-1"\nlatency_ms = 150')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    text = (project / "refunds.yaml").read_text().replace("source: judges.toml", f'base_url: "{url}/v1"')
    (project / "refunds.yaml").write_text(text)
    (project / "evalh.toml").write_text("in_flight = 1\n")
    with started(["sim", "serve", "--profile", "judges.toml", "--port", str(port)], project):
        for _ in range(100):
            try:
                urllib.request.urlopen(url, timeout=1).read()
                break
            except OSError:
                time.sleep(0.1)
        yield url


def asked(url: str) -> int:
    stats = json.load(urllib.request.urlopen(f"{url}/_sim/stats"))
    return int(stats["requests"])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_and_asks_nothing_twice(how: signal.Signals, slow_judges: str, project: Path, evalh: Evalh) -> None:
    """kill -9 or Ctrl-C in the middle; the same command finishes, asks only what was not answered, counts nothing twice."""
    with started(["run", "refunds.yaml"], project) as process:
        while asked(slow_judges) < ITEMS:
            time.sleep(0.05)
        os.kill(process.pid, how)
        code = process.wait(timeout=10)
    assert code == (-9 if how == signal.SIGKILL else 130)
    before = asked(slow_judges)
    assert ITEMS <= before < 2 * ITEMS
    done = evalh("run", "refunds.yaml", "--json")
    assert done.code == 0, done.err
    assert "went on with" in done.err
    assert asked(slow_judges) <= 2 * ITEMS + 2  # at most the calls that were in flight are asked again
    assert rows(evalh, "SELECT count(*) AS n, count(DISTINCT verdict_id) AS d FROM verdicts") == [{"n": 2 * ITEMS, "d": 2 * ITEMS}]
    assert rows(evalh, "SELECT count(*) AS n FROM scores") == [{"n": ITEMS}]
    assert rows(evalh, "SELECT count(*) AS n FROM runs") == [{"n": 1}]
    assert done.json["tiers"]["judges"]["asked"] == 2 * ITEMS


def test_a_run_that_is_under_way_is_not_joined(slow_judges: str, project: Path, evalh: Evalh) -> None:
    """The same command while the first still runs: refused in one line; --no-resume starts another run."""
    with started(["run", "refunds.yaml"], project):
        while asked(slow_judges) < 4:
            time.sleep(0.05)
        joined = evalh("run", "refunds.yaml")
    assert joined.code == 2
    assert "is under way in another process" in joined.err


def test_a_busy_store_loses_nothing(project: Path, evalh: Evalh) -> None:
    """Another process holds the file for three seconds: the run waits, says so, and every row arrives."""
    evalh("run", "refunds.yaml", "--limit", "2")
    holder = "import duckdb, time\nwith duckdb.connect('.evalh/evalh.duckdb'):\n    print('held', flush=True)\n    time.sleep(3)\n"
    import subprocess

    with subprocess.Popen([sys.executable, "-c", holder], cwd=project, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        done = evalh("run", "refunds.yaml", "--json")
    assert done.code == 0, done.err
    assert "waiting for the store" in done.err
    assert done.json["routes"] == {"judged": ITEMS}


def test_a_judge_that_is_gone_ends_with_4_and_is_asked_again_when_it_is_back(project: Path, evalh: Evalh) -> None:
    """Nobody listens where one of two judges should: the other's verdicts are whole, exit 4, `--retry-errors` makes it good."""
    suite, text = project / "refunds.yaml", (project / "refunds.yaml").read_text()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    judge = f"base_url: http://127.0.0.1:{port}/v1"
    suite.write_text(text.replace("source: judges.toml", judge, 1))
    done = evalh("run", "refunds.yaml", "--json", "--limit", "12")
    assert done.code == 4
    assert "sim:north-1 stopped answering" in done.err
    assert "--retry-errors" in done.err
    reasons = rows(evalh, "SELECT judge, status, count(*) AS n FROM verdicts GROUP BY ALL ORDER BY ALL")
    assert [(r["judge"], r["status"], r["n"]) for r in reasons] == [("sim:north-1", "unscored", 12), ("sim:south-1", "scored", 12)]
    with running(load_profile(project / "judges.toml"), port):
        again = evalh("run", "refunds.yaml", "--json", "--limit", "12", "--retry-errors")
    assert again.code == 0, again.err
    assert again.json["tiers"]["judges"] == again.json["tiers"]["judges"] | {"asked": 12, "cached": 12, "unscored": 0}
    assert "nothing to ask again" in evalh("run", "refunds.yaml", "--limit", "12", "--retry-errors").err


def test_a_run_of_which_every_judge_is_gone_stops_and_goes_on(project: Path, evalh: Evalh) -> None:
    """Nobody listens at all: the run stops with exit 4 instead of asking for ever, and can go on."""
    text = (project / "refunds.yaml").read_text()
    (project / "refunds.yaml").write_text(text.replace("source: judges.toml", 'base_url: "http://127.0.0.1:9/v1"'))
    done = evalh("run", "refunds.yaml", "--json", "--limit", "12")
    assert done.code == 4
    assert "sim:north-1" in done.err
    assert "repeat the command" in done.err


# ---- what newcomers stumbled over --------------------------------------------------------------------------------------


def test_the_gate_without_a_run_decides_every_suite(project: Path, evalh: Evalh) -> None:
    """Two suites were run: both are decided, and the command exits with the worst; a part of the items never passes."""
    text = (project / "refunds.yaml").read_text()
    (project / "bad.yaml").write_text(text.replace("name: refunds", "name: a-bad-one").replace("max-chars: 400", "contains: impossible"))
    (project / "pairs.yaml").unlink()
    assert evalh("run", ".").code == 0
    decided = evalh("gate", "--json")
    assert decided.code == 1
    assert decided.json["decision"] == "FAIL"
    assert {g["run"].rsplit("-", 3)[0]: g["decision"] for g in decided.json["gates"]} == {"a-bad-one": "FAIL", "refunds": "PASS"}
    evalh("run", "refunds.yaml", "--limit", "20")
    partial = evalh("gate", evalh("sql", "SELECT run_id FROM runs ORDER BY started_at DESC LIMIT 1", "--json").json[0]["run_id"], "--json")
    assert partial.code == 3
    assert partial.json["reasons"][0].startswith("partial: 20 of the 24 items")


def test_what_is_exported_comes_back_simulated_and_on_its_scale(project: Path, evalh: Evalh) -> None:
    """An export that is imported again keeps the word simulated, the family, and scores on [0, 1] of a 1-5 scale."""
    replace(project / "refunds.yaml", "scale: binary", "scale: [1, 5]")
    first = evalh("run", "refunds.yaml", "--json").json
    evalh("export", first["run"], "--to", "out")
    assert evalh("import", "out", "--run", "back").code == 0
    back = evalh("report", "back", "--json").json
    assert back["simulated"] is True
    for one, other in zip(first["judges"], back["judges"], strict=True):
        assert (other["family"], other["simulated"]) == (one["family"], True)
        assert other["mean_score"] == pytest.approx(one["mean_score"])


def test_a_simulated_judge_is_of_the_family_that_its_profile_states(project: Path, evalh: Evalh) -> None:
    """A name that says nothing, or says something else, does not decide: the profile does."""
    replace(project / "judges.toml", 'model = "north-1"', 'model = "ada"')
    replace(project / "refunds.yaml", "sim:north-1", "sim:ada")
    plan = evalh("plan", "refunds.yaml", "--json").json
    assert plan["judges"][0]["family"] == "sim-north"
    replace(project / "refunds.yaml", "sim:ada", "sim:nobody")
    assert "plays no 'nobody'" in evalh("plan", "refunds.yaml").err


def test_a_system_that_fails_everywhere_says_why(project: Path, evalh: Evalh) -> None:
    """No output at all is not a quiet run: the reason and how often stand on standard error."""
    (project / "bot.py").write_text("def answer(text):\n    raise ValueError('boom')\n")
    replace(
        project / "refunds.yaml",
        "{recorded: golden/refunds/outputs/v1.jsonl, family: sim-writer}",
        "{function: 'bot:answer', family: sim-writer}",
    )
    done = evalh("run", "refunds.yaml")
    assert f"{ITEMS} without an output: ValueError: boom ({ITEMS}×)" in done.err
    assert "None" not in done.out


def test_half_a_surrogate_pair_from_a_system_is_shown_and_lost_nowhere(project: Path, evalh: Evalh) -> None:
    """Text that no wire format can carry becomes visible U+FFFD for checks, judges and store alike."""
    (project / "odd.py").write_text("def answer(text):\n    return 'article for 30 days \\ud800 ' + text\n")
    replace(
        project / "refunds.yaml",
        "{recorded: golden/refunds/outputs/v1.jsonl, family: sim-writer}",
        "{function: 'odd:answer', family: sim-writer}",
    )
    done = evalh("run", "refunds.yaml", "--json")
    assert done.code == 0, done.err
    assert done.json["routes"] == {"judged": ITEMS}
    assert "\ufffd" in rows(evalh, "SELECT output FROM outputs LIMIT 1")[0]["output"]


def test_a_secret_that_stands_in_a_suite_is_not_stored(project: Path, evalh: Evalh) -> None:
    """Whatever a suite writes under a name that says secret stays out of every table, journal and report."""
    replace(
        project / "refunds.yaml",
        '{model: "sim:north-1", source: judges.toml}',
        '{model: "sim:north-1", source: judges.toml, params: {metadata: {session_token: hush-hush-1}}}',
    )
    replace(project / "refunds.yaml", "{max-chars: 400}", "{shell-command: {command: ['true'], env: {API_KEY: hush-hush-2}}}")
    done = evalh("run", "refunds.yaml", "--limit", "2")
    assert done.code == 0, done.err
    evalh("report", "--html", "r.html")
    written = b"".join(p.read_bytes() for p in [*project.joinpath(".evalh").rglob("*"), project / "r.html"] if p.is_file())
    assert b"hush-hush" not in written
    kept = rows(evalh, "SELECT CAST(settings AS VARCHAR) AS s FROM runs")[0]["s"]
    assert "[not stored]" in kept

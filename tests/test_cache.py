"""The answers that a store keeps: shown, used again, and taken out of use without losing what was made from them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evalh.sim.profile import load_profile
from evalh.sim.server import running
from evalh.store.store import Store
from tests.conftest import ITEMS as GOLDEN
from tests.conftest import Done, replace, started

Evalh = Callable[..., Done]

ITEMS = 6
SUITE = ("refunds.yaml", "--limit", str(ITEMS))
LINEAGE = (
    "SELECT v.run_id, v.cached, count(*) AS n, count(*) FILTER (v.raw = c.reply) AS own, count(*) FILTER (c.cleared_at IS NULL) AS kept"
    " FROM verdicts v JOIN runs r ON r.run_id = v.run_id LEFT JOIN provider_calls c USING (call_id)"
    " GROUP BY v.run_id, v.cached, r.started_at ORDER BY r.started_at"
)


@pytest.fixture
def sim(project: Path) -> Iterator[str]:
    """The judges of the project's suite at a server of their own, which counts what it is asked."""
    with running(load_profile(project / "judges.toml")) as url:
        replace(project / "refunds.yaml", "source: judges.toml", f"base_url: '{url}/v1'")
        yield url


def asked(url: str) -> int:
    return int(json.load(urllib.request.urlopen(f"{url}/_sim/stats"))["requests"])


def rows(evalh: Evalh, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = evalh("sql", sql, "--json").json
    return found


# ---- what is kept -----------------------------------------------------------------------------------------------------


def test_the_list_counts_answers_and_how_often_runs_used_them_again(project: Path, evalh: Evalh) -> None:
    """By model and version: answers, hits of later runs and what they saved, tokens, money, age, size; and the sum."""
    first = evalh("run", *SUITE, "--json").json
    for _ in range(2):
        evalh("run", *SUITE)
    document = evalh("cache", "list", "--json").json
    assert [(row["model"], row["version"], row["calls"], row["hits"]) for row in document["models"]] == [
        ("sim:north-1", "north-1-a", ITEMS, 2 * ITEMS), ("sim:south-1", "south-1", ITEMS, 2 * ITEMS),
    ]  # fmt: skip
    total = document["total"]
    assert total["cost_usd"] == pytest.approx(first["cost_usd"])
    assert total["worth_usd"] == pytest.approx(2 * first["cost_usd"])
    assert total["tokens_in"] + total["tokens_out"] == first["tokens"]
    size = "sum(strlen(messages::VARCHAR) + strlen(reply) + strlen(reply_tool_calls::VARCHAR)) AS size"
    assert total["text_bytes"] == int(rows(evalh, f"SELECT {size} FROM provider_calls")[0]["size"])
    assert all(row["oldest"] <= row["newest"] for row in document["models"])
    north = evalh("cache", "list", "--model", "sim:n*", "--json").json
    assert [row["model"] for row in north["models"]] == ["sim:north-1"]
    shown = evalh("cache", "list").out
    assert "together" in shown
    assert f" {4 * ITEMS} " in shown


def test_a_model_that_was_never_asked_is_wrong_usage(project: Path, evalh: Evalh) -> None:
    """The error names the models that the store has; a store without calls says so."""
    evalh("run", "refunds.yaml", "--limit", "1")
    for command in (["list"], ["clear", "--yes"]):
        done = evalh("cache", *command, "--model", "openai:gpt-6-luna")
        assert done.code == 2
        assert "no answers of openai:gpt-6-luna" in done.err
        assert "sim:north-1, sim:south-1" in done.err
    missing = evalh("cache", "list", "--store", "none.duckdb")
    assert (missing.code, "there is no store" in missing.err) == (2, True)


def test_batches_that_wait_are_listed(project: Path, evalh: Evalh) -> None:
    """A batch that was handed in and has not ended is part of the list; one that has ended is not."""
    evalh("run", "refunds.yaml", "--limit", "1")
    batch = {"run_id": "r", "provider": "openai", "model": "gpt-6-luna", "line": "l", "call_ids": ["a", "b"], "detail": ""}
    events = [
        ("one", "submitted", "2026-11-20T08:00:00"),
        ("two", "submitted", "2026-11-21T08:00:00"),
        ("two", "ended", "2026-11-21T09:00:00"),
    ]
    store = Store(project / ".evalh" / "evalh.duckdb")
    store.append({"provider_batches": [{**batch, "batch_id": name, "event": event, "at": at} for name, event, at in events]})
    (waiting,) = evalh("cache", "list", "--json").json["batches"]
    assert (waiting["batch_id"], waiting["model"], waiting["calls"]) == ("one", "openai:gpt-6-luna", 2)
    assert "batch one of openai:gpt-6-luna: 2 calls, waiting since 2026-11-20 08:00 UTC" in evalh("cache", "list").err


# ---- out of use -------------------------------------------------------------------------------------------------------


def test_what_was_cleared_is_asked_anew_and_old_verdicts_keep_their_calls(sim: str, project: Path, evalh: Evalh) -> None:
    """Cleared twice: each time the same questions are asked again; every verdict of every run still names the call it came from."""
    runs = [evalh("run", *SUITE, "--json").json, evalh("run", *SUITE, "--json").json]
    assert asked(sim) == 2 * ITEMS
    for times in (1, 2):
        cleared = evalh("cache", "clear", "--yes", "--json").json
        assert cleared["cleared"] == 2 * ITEMS
        assert cleared["cost_usd"] == pytest.approx(runs[0]["cost_usd"])
        runs.append(evalh("run", *SUITE, "--json").json)
        assert runs[-1]["tiers"]["judges"]["asked"] == 2 * ITEMS
        assert asked(sim) == (times + 1) * 2 * ITEMS
    found = rows(evalh, LINEAGE)
    assert [(row["cached"], row["n"], row["own"], row["kept"]) for row in found] == [
        (False, 2 * ITEMS, 2 * ITEMS, 0), (True, 2 * ITEMS, 2 * ITEMS, 0),
        (False, 2 * ITEMS, 2 * ITEMS, 0), (False, 2 * ITEMS, 2 * ITEMS, 2 * ITEMS),
    ]  # fmt: skip
    ids = rows(evalh, "SELECT call_id, cleared_at FROM provider_calls")
    assert len({row["call_id"].partition("~")[0] for row in ids}) == 2 * ITEMS
    assert {row["call_id"].partition("~")[2] for row in ids} == {"", "1", "2"}
    again = evalh("report", runs[0]["run"], "--json").json
    assert (again["cost_usd"], again["quality"]) == (runs[0]["cost_usd"], runs[0]["quality"])
    assert again["costs"] == runs[0]["costs"]
    assert evalh("report", runs[1]["run"], "--json").json["costs"] == runs[1]["costs"]


def test_only_what_was_chosen_is_cleared(project: Path, evalh: Evalh) -> None:
    """By model, by the run that paid, by age; what nothing matches is said, and is no error."""
    first = evalh("run", "refunds.yaml", "--limit", "3", "--json").json
    second = evalh("run", *SUITE, "--json").json
    in_use = "SELECT model, run_id, count(*) AS n FROM provider_calls WHERE cleared_at IS NULL GROUP BY ALL ORDER BY ALL"
    nothing = evalh("cache", "clear", "--older-than", "1", "--yes")
    assert (nothing.code, "no answers to clear" in nothing.err) == (0, True)
    evalh("cache", "clear", "--run", first["run"], "--model", "north-1", "--yes")
    left = [("north-1", second["run"], 3), ("south-1", first["run"], 3), ("south-1", second["run"], 3)]
    assert sorted((row["model"], row["run_id"], row["n"]) for row in rows(evalh, in_use)) == sorted(left)
    assert "3 more are out of use" in evalh("cache", "list").err
    evalh("cache", "clear", "--older-than", "0", "--model", "sim:south-1", "--yes")
    assert rows(evalh, in_use) == [{"model": "north-1", "run_id": second["run"], "n": 3}]
    assert evalh("run", *SUITE, "--json").json["tiers"]["judges"]["cached"] == 3


def test_texts_are_deleted_where_that_is_asked_for_and_scores_stay(project: Path, evalh: Evalh) -> None:
    """Of calls in use and of those cleared before: no message, reply, rationale is left; the run reads and exports as before."""
    run = evalh("run", *SUITE, "--json").json
    evalh("cache", "clear", "--model", "sim:north-1", "--yes")
    size = evalh("cache", "list", "--json").json["total"]
    deleted = evalh("cache", "clear", "--delete", "--yes", "--json").json
    assert (deleted["cleared"], deleted["deleted_bytes"]) == (ITEMS, size["text_bytes"] + size["cleared_bytes"])
    assert rows(evalh, "SELECT count(messages) + count(reply) + count(reply_tool_calls) AS n FROM provider_calls") == [{"n": 0}]
    assert rows(evalh, "SELECT count(raw) + count(rationale) + count(masked) AS n FROM verdicts") == [{"n": 0}]
    after = evalh("report", "--json", "--html", "report.html").json
    assert {name: after[name] for name in ("quality", "judges", "costs")} == {name: run[name] for name in ("quality", "judges", "costs")}
    assert evalh("export", "--to", "exported").code == 0
    assert evalh("cache", "clear", "--delete", "--yes").err == "no answers to clear\n"
    assert evalh("run", *SUITE, "--json").json["tiers"]["judges"]["asked"] == 2 * ITEMS


def test_a_stopped_run_goes_on_after_its_answers_were_cleared(project: Path, evalh: Evalh) -> None:
    """What had ended stays, the rest is asked; nothing is counted twice."""
    full = evalh("run", "refunds.yaml", "--json", "--store", "other.duckdb").json
    stopped = evalh("run", "refunds.yaml", "--json", "--budget", str(full["cost_usd"] / 2))
    assert (stopped.code, stopped.json["tiers"]["judges"]["asked"] > 0) == (4, True)
    cleared = evalh("cache", "clear", "--yes", "--json").json["cleared"]
    done = evalh("run", "refunds.yaml", "--json", "--budget", "1")
    assert (done.code, done.json["run"]) == (0, stopped.json["run"])
    assert done.json["tiers"]["judges"]["asked"] == 2 * GOLDEN
    calls = rows(evalh, "SELECT count(*) AS n, count(cleared_at) AS cleared FROM provider_calls")
    assert (calls[0]["cleared"], calls[0]["n"] >= 2 * GOLDEN) == (cleared, True)
    assert done.json["quality"] == full["quality"]
    assert rows(evalh, "SELECT count(*) AS n, count(DISTINCT verdict_id) AS d FROM verdicts") == [{"n": 2 * GOLDEN, "d": 2 * GOLDEN}]
    (found,) = rows(evalh, LINEAGE)
    assert (found["n"], found["own"]) == (2 * GOLDEN, 2 * GOLDEN)


# ---- asking first ------------------------------------------------------------------------------------------------------


def test_without_a_terminal_clearing_needs_yes(project: Path, evalh: Evalh) -> None:
    """A script is told what would happen, and nothing has happened."""
    cost = evalh("run", "refunds.yaml", "--limit", "2", "--json").json["cost_usd"]
    done = evalh("cache", "clear")
    assert done.code == 2
    assert f"--yes where nobody can be asked: 4 answers out of use, which had cost ${cost:.4f}" in done.err
    assert rows(evalh, "SELECT count(*) AS n FROM provider_calls WHERE cleared_at IS NOT NULL") == [{"n": 0}]


@pytest.mark.parametrize(("answer", "cleared"), [("n", 0), ("y", 4)])
def test_on_a_terminal_it_asks(answer: str, cleared: int, project: Path, evalh: Evalh) -> None:
    """The question says how many and what they had cost; only `y` goes on."""
    import pty

    evalh("run", "refunds.yaml", "--limit", "2")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "evalh", "cache", "clear"], cwd=project, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    os.write(leader, f"{answer}\n".encode())
    told = b""
    try:
        while chunk := os.read(leader, 4096):
            told += chunk
    except OSError:  # the other end is closed: the command has ended
        os.close(leader)
    assert process.wait(timeout=10) == 0
    assert b"4 answers out of use" in told
    assert (b"nothing was changed" in told) == (answer == "n")
    assert rows(evalh, "SELECT count(*) AS n FROM provider_calls WHERE cleared_at IS NOT NULL") == [{"n": cleared}]


def test_nothing_is_cleared_under_a_run(project: Path, evalh: Evalh) -> None:
    """While a run is under way its answers are left alone, which is said with exit 4; the run ends whole, and then they can go."""
    replace(project / "judges.toml", 'model = "north-1"', 'model = "north-1"\nlatency_ms = 1000')
    (project / "evalh.toml").write_text("in_flight = 2\n")
    evalh("run", "refunds.yaml", "--limit", "2")
    with started(["run", *SUITE, "--json"], project) as process:
        until = time.monotonic() + 20
        while not list((project / ".evalh").glob("*.journal/*.owner")) and time.monotonic() < until:
            time.sleep(0.02)
        refused = evalh("cache", "clear", "--yes")
        out, err = process.communicate(timeout=30)
    assert refused.code == 4
    assert "under way in another process" in refused.err
    assert process.returncode == 0, err
    assert json.loads(out)["tiers"]["judges"] | {"verdicts": 0} == {
        "asked": 2 * ITEMS - 4, "cached": 4, "skipped": 0, "unscored": 0, "verdicts": 0, "inconsistent": 0,
    }  # fmt: skip
    assert evalh("cache", "clear", "--yes", "--json").json["cleared"] == 2 * ITEMS

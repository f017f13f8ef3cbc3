"""Runs as users make them, over real servers: batches, trials, hits, what is asked again, budgets and limits. Nothing is paid twice."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from evalh.engine import Engine, Line, Spending
from evalh.engine.ledger import Ledger
from evalh.providers.base import Price, Reply, Request, Target
from evalh.providers.registry import provider_for
from evalh.records import Message
from evalh.sides import identity
from evalh.sim.profile import profile_from
from evalh.sim.server import running
from evalh.store.journal import Journal
from evalh.store.store import Store
from tests.conftest import ITEMS, Done, replace, started, write_lines

Evalh = Callable[..., Done]

RECORDED = "{recorded: golden/refunds/outputs/v1.jsonl, family: sim-writer}"
NORTH = '    - {model: "sim:north-1", source: judges.toml}\n'
SOUTH = '    - {model: "sim:south-1", source: judges.toml}\n'
JUDGES = [
    {"model": "north-1", "family": "sim-north", "accuracy": 0.95},
    {"model": "south-1", "family": "sim-south", "accuracy": 0.9},
]


def rows(evalh: Evalh, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = evalh("sql", sql, "--json").json
    return found


@contextmanager
def sim(project: Path, **more: Any) -> Iterator[str]:
    """The two judges and the system `writer-1`, which knows an answer to every item, at a server of their own."""
    answers = [{"input": f"How long may I keep article {n}?", "output": f"Article {n}: {n + 10} days."} for n in range(ITEMS)]
    write_lines(project / "answers.jsonl", answers)
    writer = {"model": "writer-1", "family": "sim-writer", "answers": "answers.jsonl"}
    profile = {"truth": ["truth.jsonl"], "judge": JUDGES, "system": [writer], **more}
    with running(profile_from(profile, folder=project)) as url:
        yield url


def stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/_sim/stats") as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def asked(url: str, model: str | None = None) -> int:
    """Requests that the server has met, of one model or of all."""
    found = stats(url)
    return int(found["models"][model].get("requests", 0) if model else found["requests"])


def suite(project: Path, *, system: str = RECORDED, judges: tuple[str, ...] = (), **parts: str) -> None:
    """Write refunds.yaml anew: a system, judges as they stand behind their dash (none: no panel), other parts as they are given."""
    panel = "panel:\n  rule: majority\n  rubric: {name: faithful, scale: binary, instructions: Judge by the policy.}\n  judges:\n"
    text = f"name: refunds\ngolden: golden/refunds\nsystem: {system}\nchecks: [{{max-chars: 400}}]\n"
    text += panel + "".join(f"    - {judge}\n" for judge in judges) if judges else ""
    (project / "refunds.yaml").write_text(text + "".join(f"{name}: {value}\n" for name, value in parts.items()))


def at(url: str, model: str, *more: str) -> str:
    """A model at a server, as a suite names it."""
    family = ["family: sim-writer"] if model == "writer-1" else []
    return "{" + ", ".join([f'model: "sim:{model}"', f'base_url: "{url}/v1"', *family, *more]) + "}"


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# ---- batches ----------------------------------------------------------------------------------------------------------


def test_systems_and_judges_in_batches_cost_half_and_stand_beside_direct_ones(project: Path, evalh: Evalh) -> None:
    """A system and a judge go through the batch API, another judge is asked directly: all is answered, half is paid for the first two."""
    with sim(project) as url:
        suite(project, system=at(url, "writer-1", "mode: batch"), judges=(at(url, "north-1", "mode: batch"), at(url, "south-1")))
        plan = {j["judge"]: j for j in evalh("plan", "refunds.yaml", "--json").json["judges"]}
        assert plan["sim:north-1"]["cost_usd"] == pytest.approx(plan["sim:south-1"]["cost_usd"] / 2)
        assert [plan[f"sim:{name}"]["mode"] for name in ("north-1", "south-1")] == ["batch", "direct"]
        document = evalh("run", "refunds.yaml", "--json").json
        assert document["routes"] == {"judged": ITEMS}
        assert stats(url)["batches"] | {"polls": 0} == {"created": 2, "calls": 2 * ITEMS, "polls": 0}
        north, south = document["costs"]["judges"]
        (writer,) = document["costs"]["systems"]
        assert [(row["mode"], row["calls"]) for row in (north, south, writer)] == [("batch", ITEMS), ("direct", ITEMS), ("batch", ITEMS)]
        assert north["cost_usd"] == pytest.approx(south["cost_usd"] / 2, rel=0.1)
        modes = "SELECT DISTINCT model, mode, latency_ms IS NULL AS unknown FROM provider_calls ORDER BY model"
        assert [(r["model"], r["mode"], r["unknown"]) for r in rows(evalh, modes)] == [
            ("north-1", "batch", True), ("south-1", "direct", False), ("writer-1", "batch", True),
        ]  # fmt: skip
        assert rows(evalh, "SELECT DISTINCT latency_ms FROM outputs") == [{"latency_ms": None}]
        ended = "SELECT count(*) AS n FROM provider_batches WHERE event = 'ended'"
        assert rows(evalh, ended) == [{"n": 2}]
        before = asked(url)
        suite(project, system=at(url, "writer-1"), judges=(at(url, "north-1"), at(url, "south-1", "mode: batch")))
        again = evalh("run", "refunds.yaml", "--json").json
        assert again["tiers"]["judges"] == again["tiers"]["judges"] | {"asked": 0, "cached": 2 * ITEMS}
        assert asked(url) == before
        assert stats(url)["batches"]["created"] == 2


def test_a_batch_goes_on_without_us_and_is_handed_in_once(project: Path, evalh: Evalh) -> None:
    """Ctrl-C while it is polled: over within a second, and says so. kill -9 of the next. Fewer items, then all: one batch, paid once."""
    with sim(project, batch={"seconds": 3.0}) as url:
        suite(project, judges=(at(url, "north-1", "mode: batch"),))
        with started(["run", "refunds.yaml"], project) as process:
            until(lambda: stats(url)["batches"].get("polls", 0) > 0)
            process.send_signal(signal.SIGINT)
            begun = time.monotonic()
            assert process.wait(timeout=5) == 130
            assert time.monotonic() - begun < 1.5
            told = process.communicate()[1]
            assert "1 batch goes on at the provider" in told
            assert "repeat the command" in told
        polls = stats(url)["batches"]["polls"]
        with started(["run", "refunds.yaml"], project) as process:
            until(lambda: stats(url)["batches"]["polls"] > polls)
            process.kill()
        until(lambda: time.monotonic() - begun > 3.0)
        part = evalh("run", "refunds.yaml", "--limit", "10", "--json").json  # another run, which meets the batch of the first
        assert part["routes"] == {"judged": 10}
        assert rows(evalh, "SELECT count(*) AS n, count(DISTINCT call_id) AS d FROM provider_calls") == [{"n": ITEMS, "d": ITEMS}]
        whole = evalh("run", "refunds.yaml", "--json")
        assert "went on with" in whole.err
        assert whole.json["routes"] == {"judged": ITEMS}
        assert whole.json["cost_usd"] == 0
        assert part["cost_usd"] == pytest.approx(rows(evalh, "SELECT sum(cost_usd) AS usd FROM provider_calls")[0]["usd"])
        assert stats(url)["batches"] | {"polls": 0} == {"created": 1, "calls": ITEMS, "polls": 0}
        assert rows(evalh, "SELECT event, count(*) AS n FROM provider_batches GROUP BY event ORDER BY event") == [
            {"event": "ended", "n": 1}, {"event": "submitted", "n": 1}, {"event": "submitting", "n": 1},
        ]  # fmt: skip


def test_a_batch_that_ends_unanswered_stops_the_run_which_asks_the_rest_again(project: Path, evalh: Evalh) -> None:
    """Most calls of a batch expire: exit 4, and no finished run without scores. What it did answer is kept; the others are asked again."""
    with sim(project, batch={"expired_rate": 0.7}) as url:
        suite(project, judges=(at(url, "north-1", "mode: batch"),))
        done = evalh("run", "refunds.yaml", "--json")
        assert done.code == 4
        assert "sim:north-1 does not answer any more" in done.err
        assert "expired" in done.err
        kept = rows(evalh, "SELECT count(*) AS n FROM provider_calls")[0]["n"]
        assert 0 < kept < ITEMS
    port = int(url.rpartition(":")[2])
    with running(profile_from({"truth": ["truth.jsonl"], "judge": JUDGES}, folder=project), port):
        again = evalh("run", "refunds.yaml", "--json")
        assert again.json["run"] == done.json["run"]
        assert again.json["routes"] == {"judged": ITEMS}
        assert stats(url)["batches"]["calls"] == ITEMS - kept


@pytest.mark.parametrize("judge", ['{model: "vllm:m", base_url: "http://127.0.0.1:9/v1", family: sim-north, mode: batch}',
                                   '{model: "replay:north", source: judgments.jsonl, family: sim-north, mode: batch}'])  # fmt: skip
def test_batches_are_refused_where_there_are_none(judge: str, project: Path, evalh: Evalh) -> None:
    """One line: who has no batch API, who has, and what to do."""
    write_lines(project / "judgments.jsonl", [
        {"item_id": "i00", "judge": "north", "kind": "pointwise", "systems": ["good-bot"], "score": 1}
    ])  # fmt: skip
    suite(project, judges=(judge,))
    for command in ("plan", "run"):
        refused = evalh(command, "refunds.yaml")
        assert refused.code == 2
        assert "has no batch API" in refused.err
        assert "anthropic, openai, sim" in refused.err


# ---- trials -----------------------------------------------------------------------------------------------------------

BOTS = """
import json, sys
from itertools import count

calls = count()

def answer(text):
    return f"{text} {10 + next(calls)} days"

if __name__ == "__main__":
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps({"item_id": asked["item_id"], "output": f"trial {asked['trial']}: 30 days"}), flush=True)
"""


def outputs_by_trial(evalh: Evalh, run: str) -> dict[int, int]:
    found = rows(evalh, f"SELECT trial, count(*) AS n FROM outputs WHERE run_id = '{run}' AND error IS NULL GROUP BY trial ORDER BY trial")
    return {row["trial"]: row["n"] for row in found}


@pytest.mark.parametrize("kind", ["function", "command"])
def test_each_trial_is_an_output_that_is_checked_and_judged(kind: str, project: Path, evalh: Evalh) -> None:
    """`--trials 3`: three outputs of each item under their numbers, each with checks, a verdict and a score; the document counts them."""
    (project / "bots.py").write_text(BOTS)
    system = {"function": "'bots:answer'", "command": f"[{sys.executable}, bots.py]"}[kind]
    with sim(project) as url:
        suite(project, system=f"{{{kind}: {system}, name: bot, family: sim-writer}}", judges=(at(url, "north-1"),))
        document = evalh("run", "refunds.yaml", "--trials", "3", "--limit", "8", "--json").json
    run = document["run"]
    assert outputs_by_trial(evalh, run) == {0: 8, 1: 8, 2: 8}
    for table in ("check_results", "verdicts", "scores"):
        assert rows(evalh, f"SELECT trial, count(*) AS n FROM {table} GROUP BY trial ORDER BY trial") == [
            {"trial": trial, "n": 8} for trial in range(3)
        ]
    told = document["trials"]
    assert (told["k"], told["most"], told["n_items"], told["outputs"], told["unscored"]) == (3, 3, 8, 24, 0)
    assert document["quality"]["n"] == 8


def test_more_trials_ask_only_the_new_ones_and_a_stopped_run_only_what_is_missing(project: Path, evalh: Evalh) -> None:
    """A model is asked each trial once, whichever run asks: 1 trial, then 3 stopped at a budget, then the rest."""
    with sim(project) as url:
        suite(project, system=at(url, "writer-1", "max_tokens: 20"), judges=(at(url, "north-1"),))
        plan = [evalh("plan", "refunds.yaml", "--json").json]
        one = evalh("run", "refunds.yaml", "--json").json
        assert (asked(url, "writer-1"), asked(url, "north-1")) == (ITEMS, ITEMS)
        suite(project, system=at(url, "writer-1", "max_tokens: 20"), judges=(at(url, "north-1"),), trials="3")
        plan.append(evalh("plan", "refunds.yaml", "--json").json)
        assert [p["calls"] for p in plan] == [2 * ITEMS, 6 * ITEMS]
        assert plan[1]["tokens"] == pytest.approx(3 * plan[0]["tokens"], rel=0.001)
        stopped = evalh("run", "refunds.yaml", "--json", "--budget", str(1.2 * one["cost_by_tier"]["system"]))
        assert stopped.code == 4
        before = asked(url, "writer-1")
        assert ITEMS < before < 3 * ITEMS
        done = evalh("run", "refunds.yaml", "--json").json
        assert done["run"] == stopped.json["run"]
        assert asked(url, "writer-1") == 3 * ITEMS
        assert outputs_by_trial(evalh, done["run"]) == dict.fromkeys(range(3), ITEMS)
        assert rows(evalh, "SELECT count(*) AS n FROM provider_calls WHERE purpose = 'system'") == [{"n": 3 * ITEMS}]
        assert asked(url, "north-1") == ITEMS  # the writer repeats itself: one text, one question to the judge
        assert done["trials"]["same_output"] == ITEMS


def test_trials_with_the_same_text_share_one_call_of_a_judge(project: Path, evalh: Evalh) -> None:
    """A system that repeats itself: the judge is asked once for each text, and every trial has its verdict."""
    (project / "bots.py").write_text("def answer(text):\n    return text + ' 30 days'\n")
    with sim(project) as url:
        suite(project, system="{function: 'bots:answer', name: bot, family: sim-writer}", judges=(at(url, "north-1"),))
        document = evalh("run", "refunds.yaml", "--trials", "4", "--json").json
        assert document["routes"] == {"judged": 4 * ITEMS}
        assert asked(url) == ITEMS
    assert rows(evalh, "SELECT count(*) AS n, count(DISTINCT call_id) AS calls FROM verdicts") == [{"n": 4 * ITEMS, "calls": ITEMS}]


def test_a_recorded_verdict_on_one_trial_is_none_on_another(project: Path, evalh: Evalh) -> None:
    """Two trials of each item, and verdicts on both of half of the items: the other half's second trial is unscored, not copied."""
    outputs = [{"item_id": f"i{n:02}", "system": "bot", "trial": t, "output": f"{n + t} days"} for n in range(ITEMS) for t in range(2)]
    write_lines(project / "two.jsonl", outputs)
    said = {"judge": "north", "kind": "pointwise", "systems": ["bot"]}
    verdicts = [{"item_id": f"i{n:02}", "trial": t, "score": t, **said} for n in range(ITEMS) for t in range(2 if n % 2 else 1)]
    write_lines(project / "judgments.jsonl", verdicts)
    suite(project, system="{recorded: two.jsonl, family: sim-writer}",
          judges=("{model: 'replay:north', source: judgments.jsonl, family: sim-north}",))  # fmt: skip
    assert evalh("run", "refunds.yaml").code == 0
    assert rows(evalh, "SELECT trial, score, count(*) AS n FROM scores GROUP BY ALL ORDER BY trial, score NULLS LAST") == [
        {"trial": 0, "score": 0.0, "n": ITEMS}, {"trial": 1, "score": 1.0, "n": ITEMS / 2}, {"trial": 1, "score": None, "n": ITEMS / 2},
    ]  # fmt: skip


def test_recorded_outputs_are_taken_up_to_k_and_must_be_there(project: Path, evalh: Evalh) -> None:
    """`trials: 2` of three recorded ones takes trials 0 and 1, in plan and run; an item that lacks one is named."""
    recorded = [
        {"item_id": f"i{n:02}", "system": "bot", "trial": trial, "output": f"{n + trial} days"} for n in range(ITEMS) for trial in range(3)
    ]
    write_lines(project / "three.jsonl", recorded)
    with sim(project) as url:
        suite(project, system="{recorded: three.jsonl, family: sim-writer}", judges=(at(url, "north-1"),), trials="2")
        assert evalh("plan", "refunds.yaml", "--json").json["calls"] == 2 * ITEMS
        document = evalh("run", "refunds.yaml", "--json").json
        assert outputs_by_trial(evalh, document["run"]) == {0: ITEMS, 1: ITEMS}
        assert document["trials"]["k"] == 2
        every = evalh("run", "refunds.yaml", "--trials", "3", "--json").json
        assert outputs_by_trial(evalh, every["run"]) == dict.fromkeys(range(3), ITEMS)
    write_lines(project / "three.jsonl", [r for r in recorded if (r["item_id"], r["trial"]) != ("i07", 1)])
    refused = evalh("run", "refunds.yaml")
    assert refused.code == 2
    assert "item 'i07'" in refused.err
    assert "trial 1" in refused.err


# ---- hits -------------------------------------------------------------------------------------------------------------


def test_what_decides_an_answer_asks_anew_and_nothing_else_does(project: Path, evalh: Evalh) -> None:
    """The same suite again sends nothing and shows hits; another rubric, another parameter, another repeat are new questions."""
    with sim(project) as url:

        def run(judge: str, *changes: tuple[str, str]) -> tuple[int, int, int]:
            suite(project, judges=(judge,))
            for change in changes:
                replace(project / "refunds.yaml", *change)
            before = asked(url)
            judges = evalh("run", "refunds.yaml", "--json").json["tiers"]["judges"]
            return asked(url) - before, judges["asked"], judges["cached"]

        north = at(url, "north-1")
        assert run(north) == (ITEMS, ITEMS, 0)
        assert run(north) == (0, 0, ITEMS)
        assert run(north, ("max-chars: 400", "max-chars: 500")) == (0, 0, ITEMS)
        assert run(north, ("by the policy.", "by the policy alone.")) == (ITEMS, ITEMS, 0)
        assert run(at(url, "north-1", "temperature: 0.5")) == (ITEMS, ITEMS, 0)
        assert run(north, ("rule: majority", "rule: majority\n  repeats: 2")) == (ITEMS, ITEMS, ITEMS)
        assert run(at(url, "north-1", "timeout_s: 30"), ("rule: majority", "rule: majority\n  repeats: 2")) == (0, 0, 2 * ITEMS)


@contextmanager
def engine(project: Path, line: Line, budget: float | None = None, run: str = "r") -> Iterator[Engine]:
    """An engine over a real store and journal, for what no suite can bring about."""
    store = Store(project / "engine.duckdb")
    store.fold_journals()
    with Journal(store, run) as journal:
        models = [(line.target.provider, line.target.model)]
        yield Engine(run, journal.append, Ledger(store, models, journal.fold), Spending(budget), judges=[line])


def line_of(url: str, **more: Any) -> Line:
    """The way to `writer-1`, which knows an answer to `How long may I keep article N?`."""
    target = Target(provider="sim", model="writer-1", base_url=f"{url}/v1", max_tokens=100)
    return Line(target, provider_for(target), Price(1.0, 1.0, "always"), identity(target), "judge#p", **{"protocol": "1", **more})


def question(n: int) -> Request:
    return Request(messages=(Message(role="user", content=f"How long may I keep article {n}?"),))


async def call(one: Engine, line: Line, n: int) -> tuple[str, bool]:
    try:
        answer = await one.call(line, question(n), purpose="judge", item_id="i")
    finally:
        await line.provider.aclose()
    return answer.reply.text, answer.cached


def test_another_parser_or_template_asks_anew(project: Path) -> None:
    """The hash of rubric, template and parser is a part of the question: with another one, the same messages are sent again."""
    requests, cached = [], []
    with sim(project) as url:
        for run, protocol in enumerate(["1", "1", "2", "1"]):
            line = line_of(url, protocol=protocol)
            with engine(project, line, run=f"r{run}") as one:
                text, hit = asyncio.run(call(one, line, 3))
            assert text == "Article 3: 13 days."
            requests.append(asked(url))
            cached.append(hit)
    assert requests == [1, 1, 2, 2]
    assert cached == [False, True, False, True]


def test_a_reply_that_nobody_waited_for_is_kept_and_counted_once(project: Path) -> None:
    """A batch delivers a reply twice, and its question comes late: one row, paid once, nothing is sent."""
    with sim(project) as url:
        line = line_of(url)

        async def late(one: Engine) -> tuple[str, bool]:
            for _ in range(2):
                one.deliver(line, one._call_id(line, question(3), ()), Reply(text="delivered", tokens_in=1000, tokens_out=1000))
            return await call(one, line, 3)

        with engine(project, line, budget=1.0) as one:
            assert asyncio.run(late(one)) == ("delivered", False)
            assert (one.spending.spent_usd, one.spending.tokens) == (pytest.approx(0.002), 2000)
        assert asked(url) == 0
    kept = Store(project / "engine.duckdb").query("SELECT purpose, reply, cost_usd FROM provider_calls")
    assert kept == [{"purpose": "judge", "reply": "delivered", "cost_usd": pytest.approx(0.002)}]


def test_equal_requests_share_one_paid_call_however_far_apart(project: Path, evalh: Evalh) -> None:
    """The first and the last of 700 items ask the system the same: 699 requests, and 700 outputs."""
    items = [{"item_id": f"n{n:03}", "slice": "public", "input": f"How long may I keep article {n % 699}?"} for n in range(700)]
    write_lines(project / "golden/refunds/items.jsonl", items)
    with sim(project) as url:
        write_lines(project / "answers.jsonl", [{"input": items[n]["input"], "output": f"{n} days"} for n in range(699)])
    writer = {"model": "writer-1", "family": "sim-writer", "answers": "answers.jsonl"}
    with running(profile_from({"system": [writer]}, folder=project)) as url:
        suite(project, system=at(url, "writer-1"))
        document = evalh("run", "refunds.yaml", "--json").json
        assert document["routes"] == {"checked": 700}
        assert asked(url) == 699
    same = rows(evalh, "SELECT output FROM outputs WHERE item_id IN ('n000', 'n699')")
    assert same == [{"output": "0 days"}] * 2


# ---- what is asked again ----------------------------------------------------------------------------------------------

COUNTING = """
def answer(text):
    with open("made", "a") as file:
        file.write("x")
    return text + " 30 days"
"""


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("options", [("--fresh",), ("--rejudge",)])
def test_retry_errors_asks_the_judge_that_was_gone_and_generates_nothing(options: tuple[str, ...], project: Path, evalh: Evalh) -> None:
    """One of two judges was gone: only that one is asked again, of a fresh run and of one that judged again."""
    (project / "bots.py").write_text(COUNTING)
    (project / "evalh.toml").write_text("[providers.sim.models.south-1]\ndeadline_s = 0.7\n")
    port = closed_port()
    dead = f"http://127.0.0.1:{port}"
    with sim(project) as url:
        bot = "{function: 'bots:answer', name: bot, family: sim-writer}"
        suite(project, system=bot, judges=(at(url, "north-1"), at(dead, "south-1")))
        if options == ("--rejudge",):
            suite(project, system=bot, judges=(at(url, "north-1"),))
            options = ("--rejudge", evalh("run", "refunds.yaml", "--limit", "12", "--json").json["run"])
            suite(project, system=bot, judges=(at(url, "north-1"), at(dead, "south-1")))
        gone = evalh("run", "refunds.yaml", "--limit", "12", *options, "--json")
        assert gone.code == 4
        before = asked(url)
        with running(profile_from({"truth": ["truth.jsonl"], "judge": JUDGES}, folder=project), port):
            again = evalh("run", "refunds.yaml", "--limit", "12", "--retry-errors", "--json")
            assert again.code == 0, again.err
            assert asked(dead) == 12
        assert asked(url) == before
        assert (project / "made").read_text() == "x" * 12
        assert again.json["tiers"]["judges"]["unscored"] == 0
        assert f"12 items of {gone.json['run']} are asked again" in again.err
        idle = evalh("run", "refunds.yaml", "--limit", "12", "--retry-errors", "--json")
        assert f"{again.json['run']} has an answer to everything" in idle.err
        assert (idle.code, idle.json["run"], idle.json["status"]) == (0, again.json["run"], "finished")


def test_failed_runs_what_failed_and_says_where_nothing_did(project: Path, evalh: Evalh) -> None:
    """Of 24 items two fail a check: `--failed` takes these two; when they pass it has nothing to do and shows the run that passed."""
    suite(project)
    replace(project / "refunds.yaml", "max-chars: 400", "not-contains: article 7")
    first = evalh("run", "refunds.yaml", "--json").json
    assert first["routes"] == {"blocked": 1, "checked": ITEMS - 1}
    replace(project / "refunds.yaml", "not-contains: article 7", "max-chars: 400")
    mended = evalh("run", "refunds.yaml", "--failed", "--json").json
    assert mended["routes"] == {"checked": 1}
    idle = evalh("run", "refunds.yaml", "--failed", "--json")
    assert "failed no item: nothing to run" in idle.err
    assert (idle.code, idle.json["run"]) == (0, mended["run"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--retry-errors", "--rejudge", "r"), "--retry-errors stands alone"),
        (("--retry-errors", "--failed"), "--retry-errors stands alone"),
        (("--retry-errors", "--fresh"), "--retry-errors stands alone"),
        (("--failed", "--item", "i01"), "--failed chooses the items itself"),
        (("--rejudge", "nobody"), "run 'nobody' has no output of good-bot"),
        (("--failed",), "there is no finished run of suite 'other'"),
        (("--retry-errors",), "there is no finished run of suite 'other'"),
    ],
)
def test_options_that_do_not_go_together_are_told(options: tuple[str, ...], said: str, project: Path, evalh: Evalh) -> None:
    """Exit 2, one line, nothing is run."""
    suite(project)
    evalh("run", "refunds.yaml", "--limit", "2")
    replace(project / "refunds.yaml", "name: refunds", "name: other")
    done = evalh("run", "refunds.yaml", *options)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert rows(evalh, "SELECT count(*) AS n FROM runs") == [{"n": 1}]


# ---- budget -----------------------------------------------------------------------------------------------------------


def test_a_budget_holds_to_one_reservation_with_64_calls_at_one_time(project: Path, evalh: Evalh) -> None:
    """The run stops when the next call might exceed it, no sooner; items are in the store whole or not at all; a larger one goes on."""
    price = {"input": 1.0, "output": 10.0, "as_of": "2026-01-01"}
    prices = "".join(
        f'[prices."sim:{m}"]\n' + "".join(f"{k} = {json.dumps(v)}\n" for k, v in price.items()) for m in ("north-1", "south-1")
    )
    (project / "evalh.toml").write_text("in_flight = 64\n" + prices)
    with sim(project, judge=[{**judge, "latency_ms": 20} for judge in JUDGES]) as url:
        judges = (at(url, "north-1", "max_tokens: 200"), at(url, "south-1", "max_tokens: 200"))
        suite(project, judges=judges)
        full = evalh("run", "refunds.yaml", "--json", "--store", "other.duckdb").json["cost_usd"]
        before = asked(url)
        suite(project, judges=judges, budget_usd=f"{full * 0.6:.6f}")
        stopped = evalh("run", "refunds.yaml", "--json", "--budget", str(full))
        assert stopped.code == 4
        assert "repeat with a larger `budget_usd` in the suite" in stopped.err
        dearest = (500 * price["input"] + 200 * price["output"]) / 1e6  # what is set aside for a call: at most 500 tokens are sent
        assert full * 0.6 - dearest < stopped.json["cost_usd"] <= full * 0.6
        whole = rows(evalh, "SELECT count(*) AS n FROM verdicts GROUP BY item_id")
        assert {row["n"] for row in whole} == {2}
        assert rows(evalh, "SELECT count(*) AS n FROM scores") == [{"n": len(whole)}]
        assert rows(evalh, "SELECT count(*) AS n, max(tokens_in) < 500 AS small FROM provider_calls") == [
            {"n": asked(url) - before, "small": True}
        ]
        suite(project, judges=judges, budget_usd=f"{full * 2:.6f}")
        done = evalh("run", "refunds.yaml", "--json").json
        assert done["run"] == stopped.json["run"]
        assert done["cost_usd"] == pytest.approx(full)
        assert asked(url) - before == 2 * ITEMS


# ---- limits -----------------------------------------------------------------------------------------------------------


class Watched:
    """A real server of judges that pass everything: it takes its time for each model, and keeps when each call came and went."""

    def __init__(self, **delays: float) -> None:
        self.delays = delays
        self.calls: list[tuple[str, float, float]] = []  # model, from, to
        self.under_way = {"": 0} | dict.fromkeys(delays, 0)  # of all, and of each
        self.most = dict(self.under_way)

    async def take(self, http: HTTPRequest) -> Response:
        body = await http.json()
        model, begun = body["model"], time.monotonic()
        for name in ("", model):
            self.under_way[name] += 1
            self.most[name] = max(self.most[name], self.under_way[name])
        await asyncio.sleep(self.delays[model])
        for name in ("", model):
            self.under_way[name] -= 1
        self.calls.append((model, begun, time.monotonic()))
        content = json.dumps({"rationale": "fine", "scores": {"quality": 1}})
        return JSONResponse({
            "model": model, "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10},
        })  # fmt: skip

    def ended(self, model: str) -> float:
        """When the last call of a model was answered."""
        return max(to for name, _, to in self.calls if name == model)


@contextmanager
def watched(**delays: float) -> Iterator[tuple[Watched, str]]:
    server = Watched(**delays)
    app = Starlette(routes=[Route("/v1/chat/completions", server.take, methods=["POST"])])
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    web = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        web.should_exit = True
        thread.join(5)
        listener.close()


def watched_judges(url: str) -> tuple[str, str]:
    return at(url, "quick", "family: sim-north"), at(url, "slow", "family: sim-south")


def test_a_slow_judge_does_not_hold_up_another(project: Path, evalh: Evalh) -> None:
    """One judge takes twelve times as long and few calls at a time: the quick one has answered everything long before."""
    (project / "evalh.toml").write_text("[providers.sim.models.slow]\nin_flight = 4\n")
    with watched(quick=0.02, slow=0.25) as (server, url):
        suite(project, judges=watched_judges(url))
        begun = time.monotonic()
        assert evalh("run", "refunds.yaml", "--json").json["routes"] == {"judged": ITEMS}
    assert len(server.calls) == 2 * ITEMS
    assert server.most["slow"] == 4
    first = min(begun for _, begun, _ in server.calls)
    assert server.ended("slow") - first >= 0.25 * ITEMS / 4
    assert server.ended("quick") - first < (server.ended("slow") - first) / 2
    assert begun < first


def test_calls_of_a_provider_are_capped_over_its_models(project: Path, evalh: Evalh) -> None:
    """`[providers.sim] in_flight = 6` holds at the server for two models together, and a model's own limit within it."""
    (project / "evalh.toml").write_text("in_flight = 32\n[providers.sim]\nin_flight = 6\n[providers.sim.models.slow]\nin_flight = 2\n")
    with watched(quick=0.03, slow=0.03) as (server, url):
        suite(project, judges=watched_judges(url))
        assert evalh("run", "refunds.yaml").code == 0
    assert server.most == {"": 6, "quick": server.most["quick"], "slow": 2}
    assert 4 <= server.most["quick"] <= 6


def test_requests_a_minute_are_kept_to(project: Path, evalh: Evalh) -> None:
    """120 a minute: a tenth of it at once, then two a second, as the server meets them."""
    (project / "evalh.toml").write_text("[providers.sim]\nrequests_per_minute = 120\n")
    with watched(quick=0.0) as (server, url):
        suite(project, judges=(at(url, "quick", "family: sim-north"),))
        assert evalh("run", "refunds.yaml", "--limit", "15").code == 0
    came = sorted(begun for _, begun, _ in server.calls)
    assert len(came) == 15
    assert came[11] - came[0] < 0.9
    assert 0.9 < came[14] - came[0] < 3.0


def test_a_call_that_takes_too_long_is_unscored_and_a_model_that_is_gone_is_said_once(project: Path, evalh: Evalh) -> None:
    """`deadline_s = 0.3` for a judge that takes a second: unscored with the reason, said once that it is gone, the other is whole."""
    (project / "evalh.toml").write_text("[providers.sim.models.slow]\ndeadline_s = 0.3\n")
    with watched(quick=0.0, slow=1.0) as (_, url):
        suite(project, judges=watched_judges(url))
        done = evalh("run", "refunds.yaml", "--json")
    assert done.code == 4
    assert done.err.count("further calls fail at once") == 1
    assert "sim:slow stopped answering" in done.err
    scored = rows(evalh, "SELECT judge, status, count(*) AS n FROM verdicts GROUP BY ALL ORDER BY judge")
    assert scored == [{"judge": "sim:quick", "status": "scored", "n": ITEMS}, {"judge": "sim:slow", "status": "unscored", "n": ITEMS}]
    reasons = rows(evalh, "SELECT DISTINCT unscored_reason AS why FROM verdicts WHERE status = 'unscored'")
    assert any("deadline of 0.3 s" in row["why"] for row in reasons)


# ---- memory -----------------------------------------------------------------------------------------------------------

PEAK = """
import resource, sys
from evalh.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)
"""


def test_ten_times_the_items_take_little_more_memory(project: Path) -> None:
    """A function and a recorded judge, 300 and 3,000 items: each item more takes less than 12 kB of memory, the recording included."""
    (project / "bots.py").write_text("def answer(text):\n    return text + ' 30 days'\n")
    suite(project, system="{function: 'bots:answer', name: bot, family: sim-writer}",
          judges=("{model: 'replay:north', source: judgments.jsonl, family: sim-north}",))  # fmt: skip
    replace(project / "refunds.yaml", "max-chars: 400", "max-chars: 4000")
    peaks = []
    for n in (300, 3_000):
        items = [{"item_id": f"n{i}", "slice": "public", "input": f"question {i} " + 1_000 * "x"} for i in range(n)]
        write_lines(project / "golden/refunds/items.jsonl", items)
        said = [{"item_id": f"n{i}", "judge": "north", "kind": "pointwise", "systems": ["bot"], "score": i % 2} for i in range(n)]
        write_lines(project / "judgments.jsonl", said)
        args = [sys.executable, "-c", PEAK, "run", "refunds.yaml", "--json", "--store", f"{n}.duckdb"]
        done = subprocess.run(args, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["routes"] == {"judged": n}
        peaks.append(int(done.stderr.split()[-1]))
    assert peaks[1] - peaks[0] < 2_700 * 12 / 1024


# ---- under pytest -----------------------------------------------------------------------------------------------------


def run_pytest(project: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *args]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, env={**os.environ, "COLUMNS": "160"}, check=False)


def test_pytest_goes_on_with_a_run_that_was_stopped(project: Path, evalh: Evalh) -> None:
    """`evalh run` with trials stopped at its budget; pytest makes the rest, asks nothing twice and has a result for every item."""
    (project / "bots.py").write_text(COUNTING)
    with sim(project) as url:
        suite(project, system="{function: 'bots:answer', name: bot, family: sim-writer}", judges=(at(url, "north-1", "max_tokens: 100"),),
              trials="2")  # fmt: skip
        stopped = evalh("run", "refunds.yaml", "--budget", "0.012", "--json")
        assert stopped.code == 4
        assert 0 < sum(stopped.json["routes"].values()) < 2 * ITEMS
        done = run_pytest(project, "refunds.yaml")
        ended = [int(n) for n in re.findall(r"(\d+) (?:passed|failed)", done.stdout)]
        assert sum(ended) == ITEMS, done.stdout
        assert "KeyError" not in done.stdout
        assert asked(url) == ITEMS  # both trials have one text
    assert rows(evalh, "SELECT run_id, count(*) AS n FROM scores GROUP BY run_id") == [{"run_id": stopped.json["run"], "n": 2 * ITEMS}]


def test_workers_of_pytest_hand_over_trials_gone_judges_and_stopped_runs(project: Path, evalh: Evalh) -> None:
    """Under xdist: one of two judges is gone, every item is unscored and the end says who; a run that met its budget fails its tests."""
    (project / "bots.py").write_text(BOTS)
    (project / "evalh.toml").write_text("[providers.sim.models.south-1]\ndeadline_s = 0.7\n")
    bot = "{function: 'bots:answer', name: bot, family: sim-writer}"
    with sim(project) as url:
        suite(project, system=bot, judges=(at(url, "north-1", "max_tokens: 100"),), trials="3", budget_usd="0.004")
        (project / "poor.yaml").write_text((project / "refunds.yaml").read_text().replace("name: refunds", "name: poor"))
        suite(project, system=bot, judges=(at(url, "north-1"), at(f"http://127.0.0.1:{closed_port()}", "south-1")), trials="3")
        done = run_pytest(project, "refunds.yaml", "poor.yaml", "-n", "2")
    assert f"{ITEMS} skipped, {ITEMS} errors" in done.stdout, done.stdout
    assert "sim:south-1 stopped answering" in done.stdout
    assert f"{3 * ITEMS} unscored" in done.stdout
    assert "the next call might exceed `budget_usd`" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    ends = "SELECT r.suite, e.event FROM runs r JOIN run_events e USING (run_id) WHERE e.event <> 'running' ORDER BY r.suite"
    assert rows(evalh, ends) == [{"suite": "poor", "event": "over_budget"}, {"suite": "refunds", "event": "finished"}]

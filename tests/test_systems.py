"""Systems under test: functions, models, endpoints and programs, each through `evalh run`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evalh.sim.profile import profile_from
from evalh.sim.server import running
from tests.conftest import ITEMS, Done, replace, write_lines

Evalh = Callable[..., Done]
RECORDED = "{recorded: golden/refunds/outputs/v1.jsonl, family: sim-writer}"


@pytest.fixture
def bots(project: Path) -> Iterator[Path]:
    """Functions and a program that answer for the articles of the golden set, and fail on article 3."""
    (project / "bots.py").write_text("""
import asyncio, json, re, sys

def answer(text):
    number = re.search(r"article (\\d+)", text)[1]
    if number == "3":
        raise ValueError("no idea about 3")
    return f"You may keep article {number} for 30 days."

async def slowly(item):
    await asyncio.sleep(0.01)
    return {"output": answer(item.input), "tool_calls": [{"name": "look_up", "arguments": {"item": item.item_id}}]}

if __name__ == "__main__":
    print("ready", flush=True)                 # not an answer: has no item_id
    for line in sys.stdin:
        row = json.loads(line)
        if "article 3?" in row["input"]:
            print(json.dumps({"item_id": row["item_id"], "error": "no idea about 3"}), flush=True)
        elif "article 9?" in row["input"] and "die" in sys.argv:
            sys.exit("out of memory")
        else:
            print(json.dumps({"item_id": row["item_id"], "output": answer(row["input"])}), flush=True)
""")
    sys.modules.pop("bots", None)
    sys.path.insert(0, str(project))
    yield project
    sys.path.remove(str(project))
    sys.modules.pop("bots", None)


@pytest.mark.parametrize(
    "system",
    [
        "{function: 'bots:answer', name: bot, family: sim-writer}",
        "{function: 'bots:slowly', name: bot, family: sim-writer}",
        f"{{command: ['{sys.executable}', 'bots.py'], name: bot, family: sim-writer}}",
    ],
)
def test_a_function_or_a_program_answers_and_its_failure_is_a_fact(system: str, bots: Path, evalh: Evalh) -> None:
    """Sync, async, or JSON lines in and out; an item it fails on has no output, and is neither passed nor failed."""
    replace(bots / "refunds.yaml", RECORDED, system)
    document = evalh("run", "refunds.yaml", "--json").json
    assert document["routes"] == {"judged": ITEMS - 1, "no_output": 1}
    failed = evalh("sql", "SELECT item_id, error, output FROM outputs WHERE error IS NOT NULL", "--json").json
    assert [(f["item_id"], f["output"]) for f in failed] == [("i03", "")]
    assert "no idea about 3" in failed[0]["error"]
    assert document["quality"]["low"] < document["quality"]["value"]
    latencies = evalh("sql", "SELECT count(*) AS n FROM outputs WHERE latency_ms > 0", "--json").json
    assert latencies == [{"n": ITEMS}]


def test_a_program_that_dies_fails_only_what_it_had_not_answered(bots: Path, evalh: Evalh) -> None:
    """Its exit code and last words are the error of every item that was waiting; nothing hangs."""
    (bots / "evalh.toml").write_text("in_flight = 1\n")
    replace(bots / "refunds.yaml", RECORDED, f"{{command: ['{sys.executable}', 'bots.py', 'die'], name: bot, family: sim-writer}}")
    document = evalh("run", "refunds.yaml", "--json").json
    assert document["routes"]["no_output"] == ITEMS - 9 + 1
    error = evalh("sql", "SELECT error FROM outputs WHERE item_id = 'i09'", "--json").json[0]["error"]
    assert "exit 1" in error
    assert "out of memory" in error


def test_a_model_and_an_endpoint_answer_over_http_and_are_paid_for_once(project: Path, evalh: Evalh) -> None:
    """A model by its provider, a service by its URL: the calls are in the ledger with their cost, and not sent again."""
    answers = [{"input": f"How long may I keep article {n}?", "output": f"Article {n}: 30 days."} for n in range(ITEMS)]
    write_lines(project / "answers.jsonl", answers)
    profile = profile_from(
        {"system": [{"model": "writer-1", "family": "sim-writer", "answers": "answers.jsonl"}]}, folder=project, where="test"
    )
    with running(profile) as url:
        for system in (
            f"{{model: 'sim:writer-1', base_url: '{url}/v1', family: sim-writer}}",
            f"{{endpoint: '{url}/v1', model: writer-1, name: bot, family: sim-writer}}",
        ):
            text = (project / "refunds.yaml").read_text()
            (project / "system.yaml").write_text(text.replace(RECORDED, system))
            first = evalh("run", "system.yaml", "--json")
            assert first.code == 0, first.err
            assert first.json["routes"] == {"judged": ITEMS}
            again = evalh("run", "system.yaml", "--json").json
            calls = (
                f"SELECT count(*) AS n FROM provider_calls WHERE purpose = 'system' AND run_id IN ('{first.json['run']}', '{again['run']}')"
            )
            assert evalh("sql", calls, "--json").json == [{"n": ITEMS}]
    texts = evalh("sql", "SELECT DISTINCT output FROM outputs WHERE item_id = 'i04'", "--json").json
    assert texts == [{"output": "Article 4: 30 days."}]


def test_one_system_of_a_file_can_be_chosen(project: Path, evalh: Evalh) -> None:
    """`--system` takes an outputs file or one of the systems in the suite's file."""
    both = [line for v in ("v1", "v2") for line in (project / f"golden/refunds/outputs/{v}.jsonl").read_text().splitlines()]
    (project / "both.jsonl").write_text("\n".join(both) + "\n")
    whole = evalh("run", "refunds.yaml", "--json", "--system", "both.jsonl")
    assert whole.json["routes"] == {"judged": 2 * ITEMS}
    replace(project / "refunds.yaml", "golden/refunds/outputs/v1.jsonl", "both.jsonl")
    one = evalh("run", "refunds.yaml", "--json", "--system", "worse-bot").json
    assert [s["system"] for s in one["systems"]] == ["worse-bot"]
    assert evalh("run", "refunds.yaml", "--system", "nobody").code == 2

"""Other harnesses on the judge-bound benchmark, where they are installed: Inspect AI and promptfoo, each in its own environment."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.contestants import counted_row
from engine.material import Known
from engine.measure import Bench

PEERS = Path(__file__).parent.parent / "peers"
TARGETS = (("Inspect AI", 0.1), ("promptfoo", 0.2))  # how many times their CPU evalh may take
RUBRIC = (
    "The output is a record that a shop's program wrote for a customer with a broken article: the field `answer` is what the customer "
    "reads, the other fields are what is booked. It passes where the customer knows what to do, even with something useful left out."
)
Run = Callable[[], dict[str, Any]]


def found(options: argparse.Namespace, bench: Bench, project: Path, known: Known, url: str) -> dict[str, Run]:
    """The peers whose programs were named."""
    runs: dict[str, Run] = {}
    if options.inspect_python:
        runs["Inspect AI"] = lambda: inspect(options, bench, project, known, url)
    if options.promptfoo:
        runs["promptfoo"] = lambda: promptfoo(options, bench, project, known, url)
    return runs


def _cost(bench: Bench, command: list[Any], known: Known, env: dict[str, str], codes: tuple[int, ...], count: Any) -> dict[str, Any]:
    cost = bench.measure(command, cwd=PEERS, env=env, codes=codes)
    return counted_row(cost, count(), known)


def inspect(options: argparse.Namespace, bench: Bench, project: Path, known: Known, url: str) -> dict[str, Any]:
    """`inspect eval` with as many samples and connections as evalh has calls in flight, and without its realtime log: the faster way."""
    logs = bench.folder / "inspect-logs"
    shutil.rmtree(logs, ignore_errors=True)
    width = ("--max-connections", options.in_flight, "--max-samples", options.in_flight)
    command = [
        options.inspect_python, "-m", "inspect_ai", "eval", "inspect_task.py", "--model", "openai/bench-judge", *width,
        "--no-log-realtime", "--display", "none", "--log-dir", logs,
    ]  # fmt: skip
    env = {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "none", "BENCH_PROJECT": str(project)}

    def count() -> dict[str, int]:
        return dict(json.loads(bench.measure([options.inspect_python, PEERS / "inspect_counts.py", logs], cwd=project).out))

    return _cost(bench, command, known, env, (0,), count)


def promptfoo(options: argparse.Namespace, bench: Bench, project: Path, known: Known, url: str) -> dict[str, Any]:
    """`promptfoo eval` with the same concurrency, without cache, telemetry and tables. It ends with 100 where an assertion failed."""
    home, out = bench.folder / "promptfoo", bench.folder / "promptfoo.json"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    config = home / "promptfooconfig.json"
    config.write_text(json.dumps(_config(project, url)), encoding="utf-8")
    command = [
        *options.promptfoo.split(), "eval", "-c", config, "-j", options.in_flight, "-o", out,
        "--no-cache", "--no-table", "--no-progress-bar", "--no-share",
    ]  # fmt: skip
    env = {
        "PROMPTFOO_CONFIG_DIR": str(home), "PROMPTFOO_DISABLE_TELEMETRY": "1", "PROMPTFOO_DISABLE_UPDATE": "1",
        "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1", "OPENAI_API_KEY": "none",
    }  # fmt: skip
    return _cost(bench, command, known, env, (0, 100), lambda: _counts(out))


def _config(project: Path, url: str) -> dict[str, Any]:
    outputs = [json.loads(line)["output"] for line in (project / "outputs.jsonl").read_text(encoding="utf-8").splitlines()]
    inputs = [json.loads(line)["input"] for line in (project / "golden/complaints/items.jsonl").read_text(encoding="utf-8").splitlines()]
    rules = json.loads((project / "rules.json").read_text(encoding="utf-8"))
    checks = [
        {"type": "is-json", "metric": "schema", "value": json.loads((project / "record.schema.json").read_text(encoding="utf-8"))},
        {"type": "regex", "metric": "pattern", "value": rules["pattern"]},
        {"type": "contains", "metric": "contained", "value": rules["contained"]},
        {"type": "llm-rubric", "metric": "judge", "value": RUBRIC},
    ]
    grader = {"id": "openai:chat:bench-judge", "config": {"apiBaseUrl": f"{url}/v1", "apiKey": "none"}}
    return {
        "prompts": ["{{output}}"],
        "providers": ["echo"],
        "defaultTest": {"assert": checks, "options": {"provider": grader}},
        "tests": [{"vars": {"input": asked, "output": output}} for asked, output in zip(inputs, outputs, strict=True)],
    }


def _counts(out: Path) -> dict[str, int]:
    """The counts in promptfoo's output file."""
    counts = dict.fromkeys(("items", "schema", "pattern", "contained", "judge"), 0)
    for row in json.loads(out.read_text(encoding="utf-8"))["results"]["results"]:
        counts["items"] += 1
        for part in (row["gradingResult"] or {}).get("componentResults", ()):
            counts[part["assertion"]["metric"]] += bool(part["pass"])
    return counts

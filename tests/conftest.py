"""A small real project in a temporary folder, and the command line as a function. No mocks: judges answer over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from evalh.cli.main import main

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
ITEMS = 24

PROFILE = """
name = "test"
seed = 3
truth = ["truth.jsonl"]
[[judge]]
model = "north-1"
family = "sim-north"
version = "north-1-a"
accuracy = 0.95
[[judge]]
model = "south-1"
family = "sim-south"
accuracy = 0.9
position_bias = 0.5
[[judge]]
model = "east-1"
family = "sim-east"
malformed_rate = 1.0
"""

SUITE = """
name: refunds
golden: golden/refunds
system: {recorded: golden/refunds/outputs/v1.jsonl, family: sim-writer}
checks:
  - {max-chars: 400}
  - {regex: '\\d+ days', name: names a period}
panel:
  judges:
    - {model: "sim:north-1", source: judges.toml}
    - {model: "sim:south-1", source: judges.toml}
  rubric: {name: faithful, scale: binary, instructions: Judge by the policy.}
  rule: mean
sampling: {labels: 6, strategy: stratified}
gate: {minimum: 0.5}
"""

PAIRS = """
name: pairs
golden: golden/refunds
system: {recorded: golden/refunds/outputs/v2.jsonl, family: sim-writer}
panel:
  judges:
    - {model: "sim:south-1", source: judges.toml}
  rubric: {name: better, kind: pairwise}
  against: {recorded: golden/refunds/outputs/v1.jsonl, family: sim-writer}
"""


class Done(NamedTuple):
    """What a command line call came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out, f"nothing on standard output, exit {self.code}: {self.err}"
        return json.loads(self.out)


@pytest.fixture
def evalh(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """`evalh(*args)` in this process: exit code, standard output, standard error."""

    def call(*args: str | Path) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(a) for a in args])
        told = capsys.readouterr()
        return Done(int(stopped.value.code or 0), told.out, told.err)

    return call


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a golden set of 24 items in two slices, two versions of a system, and a simulator profile."""
    write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVALH_STORE", raising=False)
    monkeypatch.delenv("EVALH_SIM_URL", raising=False)
    return tmp_path


def write_project(root: Path) -> None:
    golden = root / "golden" / "refunds"
    (golden / "outputs").mkdir(parents=True)
    (root / "evalh.toml").write_text("")
    (golden / "golden.toml").write_text(
        'name = "refunds"\nversion = "1"\ncanary = "EVALH-CANARY 11111111-1111-4111-8111-111111111111"\nlicence = "Apache-2.0"\n'
        '[slices.public]\npublished_at = "2025-01-01"\nwhere = "a site"\n[slices.fresh]\npublished_at = "never"\n'
    )
    items = [
        {"item_id": f"i{n:02}", "input": f"How long may I keep article {n}?", "reference": f"{n + 10} days",
         "slice": "fresh" if n % 2 else "public", "authored_at": "2024-12-01"}
        for n in range(ITEMS)
    ]  # fmt: skip
    v1 = [output(n, f"You may keep article {n} for {n + 10} days.", "good-bot") for n in range(ITEMS)]
    v2 = [output(n, f"Article {n} is yours for 99 days, and gladly longer, dear customer number {n}!", "worse-bot") for n in range(ITEMS)]
    write_lines(golden / "items.jsonl", items)
    write_lines(golden / "outputs" / "v1.jsonl", v1)
    write_lines(golden / "outputs" / "v2.jsonl", v2)
    write_lines(root / "truth.jsonl", [{"output": o["output"], "quality": 0.9, "family": "sim-writer"} for o in v1]
                + [{"output": o["output"], "quality": 0.1, "family": "sim-writer"} for o in v2])  # fmt: skip
    (root / "judges.toml").write_text(PROFILE)
    (root / "refunds.yaml").write_text(SUITE)
    (root / "pairs.yaml").write_text(PAIRS)


def output(n: int, text: str, system: str) -> dict[str, Any]:
    return {"item_id": f"i{n:02}", "system": system, "output": text, "latency_ms": 100 + n}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def replace(path: Path, old: str, new: str) -> None:
    """Change a file; the old text must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new), encoding="utf-8")


@contextmanager
def started(args: list[str], cwd: Path, **env: str) -> Iterator[subprocess.Popen[str]]:
    """`evalh ARGS` as a process of its own, killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "evalh", *args],
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def shared_data(name: str) -> Path:
    """A recorded data set, or a skip that says why."""
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the recorded data set {name} is not beside the project")
    return folder

"""The benchmarks of speed, tiny: they run, count what is known, tell what they measured, and would say so where it is wrong.

Times are not asserted: what they are worth is seen with the full sizes, beside the floors, on a quiet machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
ITEMS = 12
SPEED = ("judge-bound", "warm", "tier 1", "tier 1", "start-up")

Told = dict[str, Any]


def speed(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "engine_speed.py"), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=110)


@pytest.fixture(scope="module")
def told() -> list[Told]:
    """What all benchmarks of speed tell about a few items."""
    done = speed("all", "--items", str(ITEMS), "--rounds", "1", "--million", "--in-flight", "4", "--latency", "0.01", "--json")
    assert done.returncode == 0, done.stderr
    documents: list[Told] = json.loads(done.stdout)["benchmarks"]
    return documents


def by_name(document: Told) -> dict[str, Told]:
    return {row["name"]: row for row in document["contestants"]}


def test_every_benchmark_tells_what_was_measured_where_and_against_which_target(told: list[Told]) -> None:
    """Each document has a time, the machine's shape, its contestants with cost and ratio, its rounds and its targets."""
    assert tuple(document["benchmark"] for document in told) == SPEED
    for document in told:
        assert document["machine"]["cpus"] >= 1
        assert document["machine"]["calibration_cpu_s"][0] > 0
        assert document["rounds"]
        assert document["targets"]
        for row in document["contestants"]:
            assert row["counts_right"]
            assert row["cpu_s"] > 0
            assert row["wall_s"] > 0
            assert row["peak_mb"] > 5
            assert row["cpu_ratio"] > 0


def test_all_contestants_of_the_judge_bound_benchmark_do_the_same_work(told: list[Told]) -> None:
    """One request an item from each, and the same counts from evalh's store and from the bare programs."""
    rows = by_name(told[0])
    assert set(rows) == {"evalh run", "openai client", "aiohttp"}
    assert {row["requests"] for row in rows.values()} == {ITEMS}
    counts = [told[0]["rounds"][0][name]["counts"] for name in rows]
    fields = ("items", "schema", "pattern", "contained", "judge")
    assert len({tuple(found[field] for field in fields) for found in counts}) == 1
    assert counts[0]["items"] == ITEMS


def test_a_warm_run_sends_no_request(told: list[Told]) -> None:
    """The second run of the same command takes every answer from the ledger and stores the same verdicts."""
    again = by_name(told[1])["the same again"]
    assert again["requests"] == 0
    assert again["from_ledger"] == ITEMS


def test_tier_one_is_also_run_at_five_times_the_items(told: list[Told]) -> None:
    """With --million memory at five times the items is a target of its own."""
    once, more = told[2:4]
    assert more["settings"]["items"] == 5 * once["settings"]["items"]
    assert [target["limit"] for target in more["targets"]] == [1.25]


def test_a_missed_target_is_an_exit_code_only_where_it_is_asked_for_and_a_wrong_count_always(
    told: list[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No machine checks twelve items in the share of 12 s that two hundred thousand may take: with `--check` that is code 1."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from engine.tables import table
    from engine_speed import exit_code

    assert (exit_code(told, False), exit_code(told, True)) == (0, 1)
    assert "MISSED  CPU seconds of evalh" in table(told[2])
    wrong = json.loads(json.dumps(told[2]))
    wrong["contestants"][0]["counts_right"] = False
    assert exit_code([wrong], False) == 1
    assert "WRONG" in table(wrong)


def test_a_wrong_count_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The bare program over outputs that were changed after they were known is not right."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from engine.contestants import program, write_rules
    from engine.material import CONTAINED, write_project
    from engine.measure import Bench

    project = tmp_path / "project"
    known = write_project(project, ITEMS)._replace(judge=0)
    write_rules(project)
    bench = Bench(tmp_path, 60)
    assert program(bench, project, "floor_checks", known)["right"]
    outputs = project / "outputs.jsonl"
    outputs.write_text(outputs.read_text(encoding="utf-8").replace(CONTAINED, "rules"), encoding="utf-8")
    assert not program(bench, project, "floor_checks", known)["right"]


def test_children_and_their_memory_are_counted_and_the_measuring_program_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CPU of a grandchild and memory of two processes at once belong to a contestant; the memory of whoever measures does not."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from engine.measure import Bench, Failed

    bench = Bench(tmp_path, 30)
    ballast = bytearray(200_000_000)
    busy = "began = time.process_time()\nwhile time.process_time() < began + 0.3: pass"
    child = f"import time; held = bytearray(60_000_000); time.sleep(0.5); {busy}"
    two = f"import subprocess, sys; held = bytearray(60_000_000); subprocess.run([sys.executable, '-c', {child!r}])"
    cost = bench.measure([sys.executable, "-c", two], cwd=tmp_path)
    assert cost.cpu_s > 0.3
    assert cost.wall_s > 0.8
    if sys.platform == "linux":
        assert 120 < cost.peak_mb < len(ballast) / 1e6
    with pytest.raises(Failed, match="code 3"):
        bench.measure([sys.executable, "-c", "raise SystemExit(3)"], cwd=tmp_path)
    with pytest.raises(Failed, match="not ready"):
        Bench(tmp_path, 0.3).measure([sys.executable, "-c", "import time; time.sleep(60)"], cwd=tmp_path)

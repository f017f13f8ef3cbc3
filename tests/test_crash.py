"""Runs that are killed, interrupted, starved of disk, fed with faults and run beside each other: small versions of benchmarks/."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from evalh.config import load_config
from evalh.errors import StoreBusy, UsageError
from evalh.flow import Progress
from evalh.pipeline import RunOptions, run
from evalh.prepare import prepare
from evalh.store.runs import list_runs
from evalh.store.store import Store
from evalh.suites.load import load_yaml
from tests.conftest import Done

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def harness(name: str, *args: str) -> list[dict[str, Any]]:
    """The rows of a harness that finds nothing to say; a skip where it cannot work here."""
    done = subprocess.run([sys.executable, str(BENCHMARKS / f"{name}.py"), *args, "--json"], capture_output=True, text=True)
    if done.returncode == 67:
        pytest.skip(done.stderr.strip())
    assert done.stdout, done.stderr
    document = json.loads(done.stdout)
    assert document["failures"] == []
    assert done.returncode == 0
    rows: list[dict[str, Any]] = document["rows"]
    return rows


def test_a_run_that_is_killed_and_interrupted_ends_as_if_it_had_not_been() -> None:
    """kill -9, SIGTERM and Ctrl-C in turns: nothing that was answered is asked again, results are equal, Ctrl-C is quick."""
    signals = [arg for name in ("KILL", "INT", "TERM") for arg in ("--signal", name)]
    # a second on an idle machine (benchmarks/kills.py); tests run beside others
    rows = harness("kills", "--kills", "6", *signals, "--items", "12", "--within", "2.5")
    assert sum(row["stops"] for row in rows) == 6
    assert all(row["equal"] for row in rows)


def test_a_disk_that_is_full_or_locked_costs_nothing_but_time() -> None:
    """A clear error with exit 4; with the disk back the same command ends with the results of an undisturbed run."""
    cases = ("full in the middle", "room for a part of a store")
    rows = harness("disks", "--items", "12", "--latency-ms", "60", *(arg for case in cases for arg in ("--case", case)))
    assert [row["exit"] for row in rows] == [4, 4]
    assert all(row["equal"] for row in rows)


def test_two_suites_share_a_store_that_is_not_there_yet() -> None:
    """Both finish, with the rows that each has alone."""
    (row,) = harness("contention", "--part", "suites", "--items", "12")
    assert row["equal"]


def test_a_provider_with_faults_of_every_kind_costs_no_item() -> None:
    """Every item ends with a score or a reason, once; no Retry-After is broken; no request is made without need."""
    (row,) = harness("faults", "--way", "faults", "--items", "60", "--seed", "3")
    assert row["faults"] > 3
    assert row["requests"] <= row["least"]


def test_a_run_that_was_begun_with_no_resume_is_not_joined(project: Path) -> None:
    """While such a run is under way the plain command says so: two processes in one run would store its rows twice."""
    suite, store = prepare(load_yaml(project / "refunds.yaml"), load_config(project)), Store(project / "s.duckdb")
    begun, tried = threading.Event(), threading.Event()

    def watch(_progress: Progress) -> None:
        begun.set()
        tried.wait(30)

    with ThreadPoolExecutor(1) as beside:
        first = beside.submit(run, suite, store, RunOptions(resume=False), watch)
        assert begun.wait(30)
        try:
            with pytest.raises(UsageError, match="under way in another process"):
                run(suite, store, RunOptions())
        finally:
            tried.set()
        assert first.result().status == "finished"
    assert len(list_runs(store)) == 1


HOLDER = """
import duckdb, sys, time
while True:
    try:
        store = duckdb.connect(sys.argv[1])
        break
    except duckdb.IOException:
        time.sleep(0.01)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_store_that_stays_busy_fails_a_run_and_loses_nothing_of_it(project: Path, evalh: Callable[..., Done]) -> None:
    """Another process takes the store during a run and keeps it: the run ends as failed, its rows wait on disk, the next goes on."""
    suite, store = prepare(load_yaml(project / "refunds.yaml"), load_config(project)), Store(project / "s.duckdb", wait_s=0.3)
    holders: list[subprocess.Popen[str]] = []

    def watch(_progress: Progress) -> None:
        if not holders:
            holder = subprocess.Popen(
                [sys.executable, "-c", HOLDER, str(store.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            holders.append(holder)
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"

    outcome = run(suite, store, RunOptions(), watch)
    holders[0].communicate("")
    assert (outcome.status, type(outcome.error)) == ("failed", StoreBusy)
    done = evalh("run", "refunds.yaml", "--store", store.path, "--json")
    assert (done.code, done.json["run"], done.json["status"]) == (0, outcome.run_id, "finished")
    assert "went on with" in done.err
    found = store.query('SELECT count(*) AS checks, count(DISTINCT (item_id, "check")) AS different FROM check_results')
    assert found == [{"checks": 48, "different": 48}]

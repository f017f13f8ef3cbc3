"""Runs that are killed, interrupted, starved of disk, fed with faults and run beside each other: small versions of benchmarks/."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
    """kill -9 and Ctrl-C in turns, at any moment: nothing that was answered is asked again, results are equal, Ctrl-C is quick."""
    # a second on an idle machine (benchmarks/kills.py); tests run beside others
    rows = harness("kills", "--kills", "6", "--signal", "KILL", "--signal", "INT", "--items", "16", "--within", "2.5")
    assert sum(row["stops"] for row in rows) == 6
    assert all(row["equal"] for row in rows)


def test_a_disk_that_is_full_or_locked_costs_nothing_but_time() -> None:
    """A clear error with exit 4; with the disk back the same command ends with the results of an undisturbed run."""
    cases = ("full in the middle", "room for a part of a store", "folder without permission")
    rows = harness("disks", "--items", "16", *(arg for case in cases for arg in ("--case", case)))
    assert [row["exit"] for row in rows] == [4, 4, 4]
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

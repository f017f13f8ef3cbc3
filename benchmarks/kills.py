"""Runs that are killed, and what is left: the same command again ends with the results of a run that nobody disturbed.

    python benchmarks/kills.py [--kills 100] [--signal KILL|INT|TERM|INT2 …] [--items 60] [--seed 1] [--json]

A suite of a model and two judges runs as `evalh run`, in processes of its own, and is stopped again and again: at its
start, at any moment, while its journal grows, while DuckDB is written, and at its end. After every stop the store, or a copy of it,
is opened (`evalh sql`), and what it holds is compared with the log of the model server:

- a reply that is in the store or its journal is there from then on, and its question is never asked again;
- no more questions have been asked without a reply on disk than calls may be under way;
- with a signal that can be handled: the process is gone within a second, and says what is safe and how to go on.

When a run has come to its end, its tables equal those of the undisturbed one. `--signal INT2` sends a second Ctrl-C while
the first is dealt with; several signals take turns. Exit 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crash_support import (
    IN_FLIGHT,
    Evalh,
    LoggingServer,
    apart,
    copied,
    kill,
    logging_server,
    on_disk,
    report,
    scratch,
    tables_of,
    until,
    wait,
    write_project,
)

READERS = 0.25  # share of the stops after which a reader is killed as well
MOST_STOPS = 8  # of one run; then it is left alone, so that every run comes to its end
AIMS = ("start", "random", "random", "journal", "journal", "store", "store", "end")
SIGNALS = ("KILL", "INT", "INT2", "TERM")
CODES = {"INT": (130, -signal.SIGINT), "INT2": (130, -signal.SIGINT), "TERM": (130, 143, -signal.SIGTERM)}  # shells show -2 as 130


@dataclass
class Bed:
    """What all runs share, and what the undisturbed one came to."""

    project: Path
    suite: Path
    server: LoggingServer
    signals: list[str]
    within_s: float  # a Ctrl-C that takes longer fails
    stops: int = 0  # in all runs
    calls: int = 0
    tables: dict[str, list[str]] = field(default_factory=dict)
    first_s: float = 0.0  # until the first request
    whole_s: float = 0.0

    def undisturbed(self) -> None:
        evalh = Evalh(self.project, self.project / "undisturbed" / "s.duckdb")
        process = evalh.start("run", self.suite)
        start = time.monotonic()
        until(self.server.log, process, pause_s=0.02)
        self.first_s = time.monotonic() - start
        done = wait(process)
        self.whole_s = time.monotonic() - start
        if done.code:
            raise SystemExit(f"the undisturbed run ends with exit {done.code}: {done.err}")
        self.tables = tables_of(evalh)
        self.calls = len(self.tables["provider_calls"])


@dataclass
class Cycle:
    """One run in a store of its own, stopped until it is through."""

    bed: Bed
    evalh: Evalh
    mark: int  # where its part of the server's log begins
    replies: Counter[str] = field(default_factory=Counter)  # on disk, by question
    finished: bool = False
    stops: Counter[str] = field(default_factory=Counter)  # by where they were aimed
    lost: int = 0  # most answers that one stop lost
    slowest_s: float = 0.0  # from a signal to the end of the process
    failures: list[str] = field(default_factory=list)

    @property
    def signal(self) -> str:
        """What the next stop is made with."""
        return self.bed.signals[self.bed.stops % len(self.bed.signals)]

    def fail(self, what: str) -> None:
        self.failures.append(f"{self.evalh.store.parent.name}, stop {self.stops.total()}: {what}")


def aims(cycle: Cycle, chance: random.Random) -> dict[str, Callable[[subprocess.Popen[str]], Any]]:
    """Moments to stop at, each a function that returns when it has come (or the process has ended)."""
    bed, evalh = cycle.bed, cycle.evalh
    log = evalh.store.with_name(evalh.store.name + ".wal")

    def pause(seconds: float) -> Callable[[subprocess.Popen[str]], Any]:
        return lambda process: until(lambda: False, process, limit_s=seconds)

    def journal_grows(process: subprocess.Popen[str]) -> None:
        for _ in range(chance.randint(1, 30)):
            size = _journal_bytes(evalh)
            if not until(lambda size=size: _journal_bytes(evalh) != size, process, pause_s=0.001):
                return

    def store_is_written(process: subprocess.Popen[str]) -> None:
        for _ in range(chance.randint(1, 3)):
            before = _state(evalh.store), _state(log)
            if not until(lambda before=before: (_state(evalh.store), _state(log)) != before, process, pause_s=0.001):
                return
            pause(chance.uniform(0.0, 0.02))(process)

    def all_answered(process: subprocess.Popen[str]) -> None:
        until(lambda: _answers(bed.server.log(cycle.mark)) >= bed.calls, process, pause_s=0.03)
        pause(chance.uniform(0.0, 0.4))(process)

    return {
        "start": pause(chance.uniform(0.0, bed.first_s)),
        "random": pause(chance.uniform(0.0, bed.whole_s)),
        "journal": journal_grows,
        "store": store_is_written,
        "end": all_answered,
    }


def _journal_bytes(evalh: Evalh) -> int:
    return sum(size for path in evalh.journal.glob("*.jsonl") if (size := _state(path)[0]))


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _answers(log: list[Any]) -> int:
    return len({entry.key for entry in log if entry.sent is not None})


def stop(cycle: Cycle, process: subprocess.Popen[str]) -> bool:
    """Send the signal; False where the run had come to its end by itself."""
    if process.poll() is not None:
        return False
    name = cycle.signal
    if name == "KILL":
        if kill(process):
            cycle.fail("processes that it started outlive it")
        return True
    start = time.monotonic()
    if name == "TERM":
        process.terminate()
    else:  # as a terminal does it: everything that it started gets the signal too
        os.killpg(process.pid, signal.SIGINT)
    if name == "INT2":
        until(lambda: False, process, limit_s=0.1)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
    done = wait(process, 20)
    if done.code == 0:
        return False  # it was through before the signal came
    took = time.monotonic() - start
    cycle.slowest_s = max(cycle.slowest_s, took)
    said = done.err.strip()[-300:]
    if took > cycle.bed.within_s:
        cycle.fail(f"{took:.2f} s from {name} to its end")
    if "Traceback" in done.err and "evalh" not in done.err:
        return True  # Python itself was still starting
    if done.code not in CODES[name]:
        cycle.fail(f"exit {done.code} after {name}: {said}")
    if "Traceback" in done.err:
        cycle.fail(f"a traceback after {name}: {said}")
    begun = bool(cycle.bed.server.log(cycle.mark))
    told = said + done.out  # the report of a run that has finished may be there already
    safe, further = any(word in told for word in ("keeps", "kept", "finished")), ("repeat the command" in told or "evalh report" in told)
    if name == "INT" and begun and not (safe and further):
        cycle.fail(f"it does not say what is safe and how to go on: {said}")
    return True


def look(cycle: Cycle, aimed: str, scratch_folder: Path) -> None:
    """After a stop: what is on disk, what was lost, and whether anything was asked that had been answered."""
    cycle.stops[aimed] += 1
    cycle.bed.stops += 1
    log = cycle.bed.server.log(cycle.mark)
    check_repeats(cycle, log)
    cycle.mark += len(log)
    if not cycle.evalh.store.exists():
        found: Counter[str] = Counter()
    else:
        try:
            # every second time a copy is opened, so that the run itself meets what the stop left
            itself = cycle.stops.total() % 2
            store = cycle.evalh.store if itself else copied(cycle.evalh, scratch_folder / f"copy-{cycle.stops.total()}")
            found, cycle.finished = on_disk(cycle.evalh, store)
        except RuntimeError as error:
            cycle.fail(f"the store does not open: {error}")
            return
    if cycle.replies - found:
        cycle.fail(f"{(cycle.replies - found).total()} replies were on disk and are gone")
    cycle.lost = max(cycle.lost, len({entry.key for entry in log if entry.sent is not None and entry.key not in found}))
    missing = {entry.key for entry in log if entry.key not in found}
    if len(missing) > IN_FLIGHT:
        cycle.fail(f"{len(missing)} questions were asked whose replies are not on disk; {IN_FLIGHT} calls at most were under way")
    cycle.replies = found


def kill_a_reader(cycle: Cycle, chance: random.Random) -> None:
    """`evalh sql` folds what a stopped run left; that is killed too, at any moment of it."""
    if cycle.evalh.store.exists():
        reader = cycle.evalh.start("sql", "SELECT count(*) FROM runs")
        until(lambda: False, reader, limit_s=chance.uniform(0.1, 0.6))
        kill(reader)


def check_repeats(cycle: Cycle, log: list[Any]) -> None:
    """Nothing that was on disk is asked, and one process asks nothing twice."""
    asked = Counter(entry.key for entry in log)
    again = sum(n for key, n in asked.items() if key in cycle.replies)
    if again:
        cycle.fail(f"{again} questions were asked whose replies were on disk")
    if any(n > 1 for n in asked.values()):
        cycle.fail("one process asked a question twice")


def run_cycle(cycle: Cycle, chance: random.Random, stops: int, scratch_folder: Path) -> dict[str, Any]:
    """One run from its first start to its end, with at most `stops` stops; a row of the table."""
    begin = cycle.mark
    while not cycle.finished:  # a stop between the last row and the end of the process finds a run that has finished
        process = cycle.evalh.start("run", cycle.bed.suite)
        if cycle.stops.total() < stops:
            aimed = chance.choice(AIMS)
            aims(cycle, chance)[aimed](process)
            if stop(cycle, process):
                if chance.random() < READERS:
                    kill_a_reader(cycle, chance)
                look(cycle, aimed, scratch_folder)
                continue
        done = wait(process)
        cycle.finished = True
        if done.code:
            cycle.fail(f"exit {done.code} where it should come to its end: {done.err.strip()[-300:]}")
    log = cycle.bed.server.log(cycle.mark)
    check_repeats(cycle, log)
    cycle.mark += len(log)
    requests = len(cycle.bed.server.log(begin))
    unequal = apart(cycle.bed.tables, cycle.evalh)
    for one in unequal:
        cycle.fail(one)
    left = [path.name for path in cycle.evalh.journal.glob("*")] if cycle.evalh.journal.exists() else []
    left += [path.name for path in cycle.evalh.store.parent.glob("*.new-*")]
    if left:
        cycle.fail(f"left behind: {', '.join(left)}")
    return {
        "run": cycle.evalh.store.parent.name, "stops": cycle.stops.total(),
        "aimed": " ".join(f"{k}:{n}" for k, n in sorted(cycle.stops.items())),
        "calls": cycle.bed.calls, "requests": requests, "most lost": cycle.lost,
        "slowest end s": round(cycle.slowest_s, 2), "equal": not unequal,
    }  # fmt: skip


def harness(given: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Cycles until there were so many stops; the document and the rows of its table."""
    chance, rows, failures = random.Random(given.seed), [], []
    with scratch() as folder, logging_server(given.latency_ms) as server:
        project = folder / "project"
        suite = write_project(project, [server.api, server.api], items=given.items)
        bed = Bed(project, suite, server, given.signal or ["KILL"], given.within)
        bed.undisturbed()
        while bed.stops < given.kills:
            number = len(rows) + 1
            cycle = Cycle(bed, Evalh(project, project / f"run-{number}" / "s.duckdb"), len(server.log()))
            most = min(given.kills - bed.stops, chance.randint(1, MOST_STOPS))
            rows.append(run_cycle(cycle, chance, most, folder / f"copies-{number}"))
            failures += cycle.failures
    document = {
        "signals": " ".join(bed.signals), "seed": given.seed, "stops": bed.stops, "runs": len(rows), "calls of a run": bed.calls,
        "undisturbed s": round(bed.whole_s, 2), "slowest end s": max(row["slowest end s"] for row in rows), "failures": failures,
    }  # fmt: skip
    return document, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--signal", action="append", choices=SIGNALS, help="repeatable: they take turns [default: KILL]")
    parser.add_argument("--within", type=float, default=1.0, metavar="S", help="seconds that the end after a Ctrl-C may take")
    parser.add_argument("--items", type=int, default=60)
    parser.add_argument("--latency-ms", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    document, rows = harness(given)
    raise SystemExit(report(document, rows, given.json))


if __name__ == "__main__":
    main()

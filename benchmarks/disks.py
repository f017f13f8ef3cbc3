"""Disks that are full and folders that cannot be written, in the middle of a run: a clear error, and nothing is lost.

    python benchmarks/disks.py [--items 60] [--json]

Runs itself again in a mount namespace of its own (`unshare -Urm`, which needs no root; where that is not allowed it says so
and exits 77), puts the store on a small file system there, and for each case
- starts `evalh run`, takes the disk away at the stated moment (or before), and waits for the end of the process;
- wants exit 4 (2 where nothing had begun), one error that names the store and the way out, and no traceback;
- gives the disk back, repeats the command, and wants the tables of an undisturbed run, no question asked again whose reply
  was on disk, and no more answers lost than calls were under way.
"""

from __future__ import annotations

import argparse
import os
import shutil
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from crash_support import (
    IN_FLIGHT,
    Done,
    Evalh,
    LoggingServer,
    apart,
    copied,
    logging_server,
    on_disk,
    report,
    scratch,
    tables_of,
    until,
    wait,
    write_project,
)

SKIPPED = 77  # as automake has it
CHARS = 6_000  # of an output: a run writes about 2 MB
ROOM = "64m"
ENDS_WITHIN_S = 30.0
SIGNS = ("no space", "full", "room", "permission", "read-only", "cannot be written")


class Case(NamedTuple):
    """A way to lose a disk: what is done, when (share of the calls that were asked; None: before the run), and how it is given back."""

    name: str
    at: float | None
    take: Callable[[Path], None]
    give: Callable[[Path], None]
    before: Callable[[Path], None] | None = None  # how the folder is made, where it is not a file system of ROOM


def mount(folder: Path, size: str = ROOM) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=True)


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def fill(folder: Path, leave: int) -> None:
    """Take all the room but `leave` bytes."""
    with (folder / "filler").open("wb", buffering=0) as file:
        block = b"x" * 65536
        try:
            while True:
                if file.write(block) < len(block):
                    break
        except OSError:
            pass
        file.truncate(max(0, file.tell() - leave))


def empty(folder: Path) -> None:
    (folder / "filler").unlink()


def locked(folder: Path) -> None:
    """No new file can be made in the folder of the store, nor in its journal."""
    for path in (folder, *folder.glob("*.journal")):
        path.chmod(stat.S_IRUSR | stat.S_IXUSR)


def unlocked(folder: Path) -> None:
    for path in (folder, *folder.glob("*.journal")):
        path.chmod(stat.S_IRWXU)


CASES = (
    Case("full before it starts", None, lambda f: fill(f, 0), empty),
    Case("room for a part of a store", None, lambda f: fill(f, 96 * 1024), empty),
    Case("full in the middle", 0.4, lambda f: fill(f, 0), empty),
    Case("nearly full in the middle", 0.4, lambda f: fill(f, 200 * 1024), empty),
    Case("room for the journal only", 0.2, lambda f: fill(f, 900 * 1024), empty),
    Case("full at the end", 1.0, lambda f: fill(f, 8 * 1024), empty),
    Case("read-only file system", None, lambda f: remount(f, "ro"), lambda f: remount(f, "rw")),
    Case("folder without permission", None, locked, unlocked, before=lambda _: None),
    Case("permission taken in the middle", 0.4, locked, unlocked, before=lambda _: None),
)


class Bed(NamedTuple):
    """What all cases share."""

    folder: Path
    suite: Path
    server: LoggingServer
    tables: dict[str, list[str]]


def try_case(bed: Bed, case: Case, number: int) -> tuple[dict[str, Any], list[str]]:
    """One case from the start of the run to the comparison of its tables; its row and what does not hold."""
    disk = bed.folder / f"disk-{number}"
    disk.mkdir()
    (case.before or mount)(disk)
    evalh = Evalh(bed.suite.parent, disk / "s.duckdb", without_override=True)
    begin, calls = len(bed.server.log()), len(bed.tables["provider_calls"])
    if case.at is None:
        case.take(disk)
    process = evalh.start("run", bed.suite)
    if case.at is not None:
        wanted = begin + int(case.at * calls)
        until(lambda: len(bed.server.log()) >= wanted, process, pause_s=0.01)
        case.take(disk)
    first = wait(process, ENDS_WITHIN_S)
    log = bed.server.log(begin)
    failures = _said(first, case)
    before, finished = Counter[str](), False
    if evalh.store.exists():
        try:
            before, finished = on_disk(evalh, copied(evalh, bed.folder / f"copy-{number}"))
        except RuntimeError as error:
            failures.append(f"the store does not open: {error}")
    lost = {entry.key for entry in log if entry.sent is not None and entry.key not in before}
    if len(lost) > 2 * IN_FLIGHT:  # those that the disk did not take, and those that were under way then
        failures.append(f"{len(lost)} answers are not on disk; {IN_FLIGHT} calls at most were under way")
    looked = evalh("sql", "SELECT 1 AS one", "--json") if evalh.store.exists() else None
    if looked is not None and (looked.code not in (0, 4) or "Traceback" in looked.err or "not a store" in looked.err):
        failures.append(f"`evalh sql` while the disk is away: exit {looked.code}: {looked.err.strip()[-200:]}")
    case.give(disk)
    second = evalh("run", bed.suite)
    if second.code:
        failures.append(f"the same command with the disk back: exit {second.code}: {second.err.strip()[-300:]}")
    again = sum(entry.key in before for entry in bed.server.log(begin + len(log)))
    if again:
        failures.append(f"{again} questions were asked whose replies were on disk")
    unequal = apart(bed.tables, evalh)
    left = [p.name for p in (*disk.glob("*"), *evalh.journal.glob("*")) if p not in (evalh.store, evalh.journal)]
    if left:
        failures.append(f"left behind: {', '.join(sorted(left))}")
    row = {
        "case": case.name, "exit": first.code, "said": _line(first.err)[:110], "ended in s": round(first.seconds, 1),
        "on disk": before.total(), "lost": len(lost), "whole": finished,
        "sql": "–" if looked is None else looked.code, "then": second.code, "equal": not unequal,
    }  # fmt: skip
    return row, [f"{case.name}: {failure}" for failure in failures + unequal]


def _said(done: Done, case: Case) -> list[str]:
    """What is wrong with the way a command ended whose disk was taken away."""
    failures = []
    if done.code == 0 and case.at is None:
        failures.append("exit 0 without a disk")
    elif done.code not in (0, 4, *((2,) if case.at is None else ())):
        failures.append(f"exit {done.code}: {done.err.strip()[-300:]}")
    if "Traceback" in done.err or "internal error" in done.err:
        failures.append(f"a traceback: {done.err.strip()[-400:]}")
    if done.code and not any(sign in done.err.lower() for sign in SIGNS):
        failures.append(f"it does not say that the disk is at fault: {done.err.strip()[-300:]}")
    if done.code and case.at is not None and "repeat the command" not in done.err:
        failures.append(f"it does not say how to go on: {done.err.strip()[-300:]}")
    return failures


def _line(text: str) -> str:
    found = [line for line in text.splitlines() if "error" in line]
    return found[0] if found else ""


def harness(items: int, names: list[str], latency_ms: float) -> int:
    rows, failures, start = [], [], time.monotonic()
    with scratch() as folder, logging_server(latency_ms) as server:
        server.set(chars=CHARS)
        suite = write_project(folder / "project", [server.api, server.api], items=items)
        undisturbed = Evalh(suite.parent, suite.parent / "undisturbed" / "s.duckdb")
        done = undisturbed("run", suite)
        if done.code:
            raise SystemExit(f"the undisturbed run ends with exit {done.code}: {done.err}")
        bed = Bed(folder, suite, server, tables_of(undisturbed))
        for number, case in enumerate(c for c in CASES if not names or c.name in names):
            row, failed = try_case(bed, case, number)
            rows.append(row)
            failures += failed
            subprocess.run(["umount", str(folder / f"disk-{number}")], capture_output=True, check=False)
    document = {"items": items, "seconds": round(time.monotonic() - start, 1), "failures": failures}
    return report(document, rows, "--json" in sys.argv)


def inside() -> None:
    """Go on in a mount namespace of our own, where file systems can be mounted; they are gone when this process is."""
    unshare = shutil.which("unshare")
    wanted = [unshare or "", "--user", "--map-root-user", "--mount"]
    if unshare is None or subprocess.run([*wanted, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False).returncode:
        print("skipped: `unshare --user --map-root-user --mount` is not allowed here, so no file system can be mounted", file=sys.stderr)
        raise SystemExit(SKIPPED)
    os.execv(unshare, [*wanted, sys.executable, *sys.argv, "--inside"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=60)
    parser.add_argument("--latency-ms", type=float, default=120.0)
    parser.add_argument("--case", action="append", default=[], choices=[case.name for case in CASES], help="only this (repeatable)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.inside:
        inside()
    raise SystemExit(harness(given.items, given.case, given.latency_ms))


if __name__ == "__main__":
    main()

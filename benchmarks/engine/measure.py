"""Measures programs: each in a process of its own, CPU seconds of it and all its children, wall time, peak memory.

A small launcher process stands between, so that a child's peak is never that of the measuring program (a process inherits the
peak of the one that forked it). CPU comes from wait4: user and system time of the child and of all that it has waited for. Nothing
is pinned.

Python's bytecode goes to a folder of its own and is there after one warm-up: an installed program is compiled once, not at every start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

OURS = ("EVALH_", "OPENAI_", "PYTEST_", "PYTHONDONTWRITEBYTECODE")  # what would change how a contestant works

LAUNCHER = r"""
import json, os, sys, threading, time

def resident(pid):
    "Bytes of a process and of all below it. Shared pages count once for each: the sum is too high rather than too low."
    try:
        pages = int(open(f"/proc/{pid}/statm").read().split()[1])
        threads = os.listdir(f"/proc/{pid}/task")
        below = [int(p) for t in threads for p in open(f"/proc/{pid}/task/{t}/children").read().split()]
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(map(resident, below))

def watch():
    global together
    while not ended.wait(0.1):
        together = max(together, resident(pid))

said, told, *argv = sys.argv[1:]
out, err = (os.open(said + end, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) for end in (".out", ".err"))
together, ended = 0, threading.Event()
began = time.monotonic()
pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, err, 2)])
threading.Thread(target=watch, daemon=True).start()
_, status, usage = os.wait4(pid, 0)
wall = time.monotonic() - began
ended.set()
unit = 1 if sys.platform == "darwin" else 1024
with open(told, "w") as file:
    json.dump({"code": os.waitstatus_to_exitcode(status), "cpu_s": usage.ru_utime + usage.ru_stime, "wall_s": wall,
               "peak_mb": max(usage.ru_maxrss * unit, together) / 1e6}, file)
"""


class Cost(NamedTuple):
    """What one execution of a program took, and what it said."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    code: int
    out: str
    err: str


class Failed(Exception):
    """A contestant that did not do its work: what it said last."""


class Bench:
    """A temporary folder, the environment of the contestants, and the measuring."""

    def __init__(self, folder: Path, timeout_s: float) -> None:
        self.folder, self.timeout_s = folder, timeout_s
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        self.env = {**kept, "NO_COLOR": "1"}
        self.env.setdefault("PYTHONPYCACHEPREFIX", str(folder / "bytecode"))

    def within(self, name: str) -> Bench:
        """A bench in a new folder below, with the same bytecode."""
        below = Bench(self.folder / name, self.timeout_s)
        below.folder.mkdir()
        below.env = self.env
        return below

    def measure(self, argv: Sequence[str | Path], *, cwd: Path, codes: Sequence[int] = (0,), env: Mapping[str, str] | None = None) -> Cost:
        """Run a program to its end. Raises Failed where its exit code is none of `codes`, or when its time is up."""
        said, told = self.folder / "said", self.folder / "told.json"
        told.unlink(missing_ok=True)
        command = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(said), str(told), *map(str, argv)]
        process = subprocess.Popen(command, cwd=cwd, env={**self.env, **(env or {})}, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            process.wait(self.timeout_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"{argv[0]}: not ready after {self.timeout_s:g} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        out, err = (Path(f"{said}.{end}").read_text(encoding="utf-8", errors="replace") for end in ("out", "err"))
        cost = Cost(**json.loads(told.read_text()), out=out, err=err)
        if cost.code not in codes:
            raise Failed(f"{' '.join(map(str, argv))}\nended with code {cost.code}:\n{err[-2000:] or out[-2000:]}")
        return cost


@contextmanager
def bench(timeout_s: float = 1800) -> Iterator[Bench]:
    """A bench in a temporary folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="evalh-bench-") as folder:
        yield Bench(Path(folder), timeout_s)


def rounds(contestants: Mapping[str, Callable[[], dict[str, Any]]], n: int) -> list[dict[str, dict[str, Any]]]:
    """`n` rounds of all contestants one after the other; each round begins with another one, so that no place is always the warm one."""
    names, found = list(contestants), []
    for turn in range(n):
        order = names[turn % len(names) :] + names[: turn % len(names)]
        costs = {}
        for name in order:
            print(f"round {turn + 1} of {n}: {name} …", file=sys.stderr, flush=True)
            costs[name] = contestants[name]()
        found.append(costs | {"calibration": {"cpu_s": calibration()}})
    return found


def calibration() -> float:
    """CPU seconds of a fixed loop: how fast this machine is now. Compare figures of two runs only where this agrees."""
    began = time.process_time()
    total = 0
    for number in range(3_000_000):
        total += number * number % 7
    return time.process_time() - began

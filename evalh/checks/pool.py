"""Tier 1 on several processes, where that pays: parsing SQL or HTML takes milliseconds an output, and Python uses one core.

Whether it pays is measured, not guessed: the first outputs are checked in this process, and only when they have cost more than
starting others would, at a price per output that is far above that of sending it, do children start. Their answers are the same.
A child is a program that reads outputs from its standard input; it makes the checks anew from their settings, so that no function
travels, and ends when the input does: with the run, however that ends.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from evalh.checks.apply import CompiledCheck, Results, Status, apply_many
from evalh.checks.base import Subject
from evalh.checks.registry import BUILT_IN, kind_class

WORTH_S = 3.0  # CPU spent here before children start, each of which takes about half a second to do so
SLOW_S = 0.0005  # CPU an output; to send one and to read the answer costs a fiftieth of that
CHUNK = 16  # outputs that a child gets at a time
MOST = 8  # children; more would starve the process that feeds them

_CHILD = "import sys; sys.path[:] = sys.argv[1:]; from evalh.checks.pool import serve; serve()"

_Columns = tuple[list[Status], list[float | None], list[str]]  # of Results, without the check


class _Made(NamedTuple):
    """A check as it travels: what makes it, and where the files are that it names."""

    kind: str
    settings: dict[str, Any]
    title: str
    check_hash: str
    files: tuple[tuple[str, Path], ...]


class Pool:
    """Applies checks as `apply_many` does, on several processes once that pays. Its methods are for one thread at a time."""

    def __init__(self, compiled: Sequence[CompiledCheck], processes: int | None = None, worth_s: float = WORTH_S) -> None:
        """`processes`: how many children, by default one for each core. `worth_s`: CPU seconds spent here before they start."""
        self.compiled = compiled
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.processes = processes or min(MOST, cores)
        self._travels = [_travels(each) for each in compiled]
        self._left_s = worth_s if self.processes > 1 and any(self._travels) else float("inf")
        self._children: list[_Child] = []

    @property
    def running(self) -> bool:
        """Whether children do the work."""
        return bool(self._children)

    def apply(self, subjects: Sequence[Subject]) -> list[Results]:
        """As `apply_many(compiled, subjects)`. Waits for all of them."""
        if not self._children:
            start = time.thread_time()
            results = apply_many(self.compiled, subjects)
            spent = time.thread_time() - start
            if spent > SLOW_S * len(subjects):
                self._left_s -= spent
            if self._left_s <= 0:
                self._start()
            return results
        far = self._apply_far([each for each, travels in zip(self.compiled, self._travels, strict=True) if travels], subjects)
        near = apply_many([each for each, travels in zip(self.compiled, self._travels, strict=True) if not travels], subjects)
        sources = {True: iter(far), False: iter(near)}
        return [next(sources[travels]) for travels in self._travels]

    def close(self) -> None:
        """Ends the children."""
        for child in self._children:
            child.close()
        self._children = []
        self._left_s = float("inf")

    def _start(self) -> None:
        made = [_made(each) for each, travels in zip(self.compiled, self._travels, strict=True) if travels]
        self._left_s = float("inf")
        with suppress(OSError):
            for _ in range(self.processes):
                self._children.append(_Child(made))

    def _apply_far(self, compiled: list[CompiledCheck], subjects: Sequence[Subject]) -> list[Results]:
        """Chunks go to whichever child is free; one that a child could not answer is done here."""
        chunks = [subjects[at : at + CHUNK] for at in range(0, len(subjects), CHUNK)]
        answers: list[list[_Columns] | None] = [None] * len(chunks)
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(len(chunks)):
            waiting.put(number)

        def feed(child: _Child) -> None:
            with suppress(queue.Empty):
                while child.well:
                    number = waiting.get_nowait()
                    answers[number] = child.ask(chunks[number])

        feeders = [threading.Thread(target=feed, args=(child,), name="evalh-checks", daemon=True) for child in self._children]
        for feeder in feeders:
            feeder.start()
        for feeder in feeders:
            feeder.join()
        self._children = [child for child in self._children if child.well]
        joined = [Results(each, [], [], []) for each in compiled]
        for answer, chunk in zip(answers, chunks, strict=True):
            for into, columns in zip(joined, answer or [_columns(r) for r in apply_many(compiled, chunk)], strict=True):
                into.status.extend(columns[0])
                into.score.extend(columns[1])
                into.reason.extend(columns[2])
        return joined


class _Child:
    """A process that answers with columns. `well` turns False for ever when it does not."""

    def __init__(self, made: list[_Made]) -> None:
        self.well = True
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, *sys.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        with suppress(OSError):  # it has ended already, and will not answer
            self._send(pickle.dumps(made))

    def ask(self, subjects: Sequence[Subject]) -> list[_Columns] | None:
        """Status, score and reason columns of each check; None where the outputs cannot travel or the child is gone."""
        try:
            message = pickle.dumps(list(subjects))
        except Exception:  # an item made in Python may hold anything
            return None
        try:
            self._send(message)
            answer: list[_Columns] = pickle.load(self._stdout)  # noqa: S301 — from a child of ours
            return answer
        except (OSError, ValueError, EOFError, pickle.UnpicklingError):  # ValueError: closed meanwhile
            self.close()
            return None

    def _send(self, message: bytes) -> None:
        self._stdin.write(message)
        self._stdin.flush()

    def close(self) -> None:
        self.well = False
        self._process.kill()  # it holds nothing that could be lost
        for stream in (self._stdin, self._stdout):
            with suppress(OSError):  # what it was sent last did not arrive
                stream.close()
        self._process.wait()


def _travels(compiled: CompiledCheck) -> bool:
    """Whether a child can make the check: one of evalh's own, which calls no code of users."""
    check = compiled.check
    return not compiled.waits and check.kind in BUILT_IN and type(check) is kind_class(check.kind)


def _made(compiled: CompiledCheck) -> _Made:
    settings = compiled.check.model_dump(by_alias=True, exclude_unset=True)
    return _Made(compiled.check.kind, settings, compiled.title, compiled.check_hash, compiled.files)


def serve() -> None:
    """The child: reads the checks once and then outputs, a list at a time, and writes what the checks say."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints gets between the answers
    with suppress(EOFError, BrokenPipeError):
        compiled = [_remade(made) for made in pickle.load(source)]  # noqa: S301 — from our parent
        while True:
            _answer(sink, apply_many(compiled, pickle.load(source)))  # noqa: S301


def _remade(made: _Made) -> CompiledCheck:
    check = kind_class(made.kind)(**made.settings)
    return CompiledCheck(made.title, made.check_hash, check, check.compile(dict(made.files).__getitem__), made.files)


def _answer(sink: IO[bytes], results: list[Results]) -> None:
    pickle.dump([_columns(result) for result in results], sink)
    sink.flush()


def _columns(result: Results) -> _Columns:
    return result.status, result.score, result.reason

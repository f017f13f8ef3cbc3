"""Limits that keep a hostile output from stopping a run: on time, on length, and on what a reason may hold.

`Undecidable` is how a check says "this cannot be decided": `evalh.checks.apply` makes an error row of it, never a fail.
"""

from __future__ import annotations

import ctypes
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import Field

from evalh.checks.base import Compiled, Finding, Pure, Subject

T = TypeVar("T")

REASON_CHARS = 500
TICK_S = 0.05  # how late a time limit may be noticed
UNWATCHED = 10_000  # characters; to read so many takes less than a tick, and a time limit could not be noticed
SWITCHES = 100  # an exception sent from another thread arrives at the first of them
IDLE_TICKS = 40  # the watch ends after two idle seconds, so that a finished run leaves no thread behind


class Undecidable(Exception):
    """The check cannot say whether the rule holds: no reference, a limit reached, an answer that cannot be read."""


class _TimeUp(BaseException):
    """Raised inside a call that is over its time. Not an Exception, so that no library swallows it."""


@dataclass(slots=True)
class _Call:
    """A running call: when its time is up (in the clock of `time.monotonic`), its thread, what it was told, whether it has ended."""

    deadline: float
    thread: int
    told: bool = False
    ended: bool = False


class _Watch:
    """One thread for all running calls: it raises `_TimeUp` in those that are over their time.

    A pure Python parser can be stopped in no other way without a process of its own for every output.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[_Call] = []
        self._thread: threading.Thread | None = None

    def enter(self, seconds: float) -> _Call:
        call = _Call(time.monotonic() + seconds, threading.get_ident())
        with self._lock:
            self._calls.append(call)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="evalh-time-limit", daemon=True)
                self._thread.start()
        return call

    def settle(self, call: _Call) -> None:
        """For a call that has ended: a `_TimeUp` that is still on its way to it arrives before this returns."""
        with self._lock:
            told = call.told
        if told:
            for _ in range(SWITCHES):
                time.sleep(0)

    def _run(self) -> None:
        idle = 0
        while True:
            time.sleep(TICK_S)
            with self._lock:
                self._calls = [call for call in self._calls if not call.ended]
                idle = 0 if self._calls else idle + 1
                if idle > IDLE_TICKS:
                    self._thread = None
                    return
                now = time.monotonic()
                for call in self._calls:
                    if call.deadline <= now and not call.ended:  # told at every tick: one that arrives in a finaliser is dropped
                        call.told = True
                        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(call.thread), ctypes.py_object(_TimeUp))


_watch = _Watch()


def within(seconds: float, call: Callable[[], T]) -> T:
    """The call's result, or Undecidable once it has run for `seconds` (pure Python code; C code is stopped at its end)."""
    running = _watch.enter(seconds)
    try:
        try:
            result = call()
            running.ended = True
        except BaseException:
            running.ended = True  # from here on at most one more is on its way
            _watch.settle(running)
            raise
        _watch.settle(running)
    except _TimeUp:
        try:  # noqa: SIM105 — `suppress` has an entrance of its own, where one could arrive
            _watch.settle(running)
        except _TimeUp:
            pass
        raise Undecidable(f"not decided within {seconds:g} s") from None
    return result


class Bounded(Pure):
    """A check that parses the output, with a limit on its length and on the time that this takes."""

    max_chars: int = Field(default=1_000_000, gt=0, description="a longer output is an error, not a fail")
    timeout_s: float = Field(default=5.0, gt=0, description="seconds; when they are over, the result is an error, not a fail")

    def bounded(self, call: Compiled) -> Compiled:
        """The call under this check's limits."""

        def run(subject: Subject) -> Finding:
            at_most(subject.output.text, self.max_chars)
            return within(self.timeout_s, lambda: call(subject))

        return run


def at_most(text: str, max_chars: int) -> str:
    """The text, or Undecidable where it has more than `max_chars` characters."""
    if len(text) > max_chars:
        raise Undecidable(f"the output has {len(text):,} characters, more than max_chars {max_chars:,}")
    return text


# Escape sequences first (CSI, OSC, other), then what moves a cursor, reorders text, or is no character at all.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)?|\x1b.?", re.DOTALL)
_UNSAFE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb]"
)


def safe_line(text: str, limit: int = REASON_CHARS) -> str:
    """The text on one line of at most `limit` characters, without anything that a terminal or a file would act on."""
    if len(text) <= limit and text.isprintable() and "  " not in text and text == text.strip():
        return text  # most are: a printable text holds nothing that the patterns find, and no white space but plain blanks
    line = " ".join(_UNSAFE.sub("", _ESCAPES.sub("", text[: 20 * limit])).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def short(value: Any, limit: int = 80) -> str:
    """A value as it is quoted in a reason."""
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return safe_line(text if len(text) <= limit else f"{text[: limit - 2]}…" + ("'" if isinstance(value, str) else ""), limit + 1)

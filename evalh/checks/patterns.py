"""Regular expressions that cannot hang a run, and the check that uses them.

Matching goes through the `regex` library, whose matcher looks at the clock. It does not while it compiles, and repeats such as
`a{1000000000}` are written out there: so the written-out size of a pattern is bounded before it is compiled.
"""

from __future__ import annotations

import math
import re
import time
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from evalh.checks.base import Compiled, Finding, Pure, Resolve, Subject
from evalh.checks.limits import Undecidable, short
from evalh.errors import InputError

if TYPE_CHECKING:
    import regex

TIMEOUT_S = 0.5
MAX_PATTERN = 4_000  # characters; above, the matcher is late by seconds in noticing that its time is up
MAX_STEPS = 1_000_000  # a match that cannot take more steps (about 10 ms) needs no clock, which costs more than most matches
MAX_WRITTEN_OUT = 100_000  # single elements once {m} and {m,n} are written out m times: about 0.1 s and 100 MB to compile

_PARTS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(|\)|\{(\d+)(?:,\d*)?\}|.", re.DOTALL)


class BoundedPattern(NamedTuple):
    """A compiled pattern that gives up after `timeout_s` seconds; in texts of at most `short_chars` it needs no clock for that."""

    compiled: regex.Pattern[str]
    timeout_s: float = TIMEOUT_S
    short_chars: int = -1

    def search(self, text: str) -> regex.Match[str] | None:
        """The first match anywhere in the text. Raises Undecidable when the time is up."""
        return self._timed("search", text)

    def fullmatch(self, text: str) -> regex.Match[str] | None:
        """A match of the whole text. Raises Undecidable when the time is up."""
        return self._timed("fullmatch", text)

    def _timed(self, mode: str, text: str) -> regex.Match[str] | None:
        if len(text) <= self.short_chars:
            return getattr(self.compiled, mode)(text)  # type: ignore[no-any-return]
        match = getattr(self.compiled, mode)
        for patience in (1, 2, 8):  # the library's clock runs on while a busy machine does not let us work
            start = time.thread_time()
            try:  # `concurrent` frees the interpreter for other threads while the matcher works
                return match(text, timeout=patience * self.timeout_s, concurrent=True)  # type: ignore[no-any-return]
            except TimeoutError:
                if time.thread_time() - start >= self.timeout_s / 2:
                    break
            except MemoryError:
                raise Undecidable(f"the pattern {short(self.compiled.pattern)} needs more memory than there is") from None
        raise Undecidable(f"the pattern {short(self.compiled.pattern)} did not match or fail within {self.timeout_s:g} s")


@lru_cache(maxsize=512)
def bounded_pattern(pattern: str, flags: str = "", timeout_s: float = TIMEOUT_S) -> BoundedPattern:
    """The pattern compiled; `flags` are letters of `i` (ignore case), `m` (multiline), `s` (dot matches line ends).

    Raises InputError where it is no regular expression, or too large to be compiled and matched in bounded time.
    """
    import regex

    if len(pattern) > MAX_PATTERN:
        raise InputError(
            f"the pattern has {len(pattern):,} characters", hint=f"at most {MAX_PATTERN:,}; use contains-any for lists of words"
        )
    size = written_out(pattern)
    if size > MAX_WRITTEN_OUT:
        raise InputError(
            f"the pattern {short(pattern)} repeats {size:,} elements", hint=f"counts in braces may multiply to at most {MAX_WRITTEN_OUT:,}"
        )
    letters = {"i": regex.IGNORECASE, "m": regex.MULTILINE, "s": regex.DOTALL}
    try:
        compiled = regex.compile(pattern, sum(letters[f] for f in flags), cache_pattern=False)
        return BoundedPattern(compiled, timeout_s, short_chars(pattern))
    except (regex.error, RecursionError, OverflowError, MemoryError, ValueError) as error:
        why = str(error) if isinstance(error, regex.error) else type(error).__name__
        raise InputError(
            f"the pattern {short(pattern)} is no regular expression: {why}", hint="mend it, or test it with the `regex` library"
        ) from None


def written_out(pattern: str) -> int:
    """An upper bound on the elements of a pattern once each `{m}` and `{m,n}` is written out m times."""
    groups, last = [0], 0  # sizes of the open groups without their last element, and the size of that element
    for part in _PARTS.finditer(pattern):
        text, count = part[0], part[1]
        if count is not None:
            last *= max(1, int(count[:12]))
        elif text == "(":
            groups[-1] += last
            groups.append(0)
            last = 0
        elif text == ")" and len(groups) > 1:
            last += groups.pop() + 1
        else:
            groups[-1] += last
            last = 1
    return sum(groups) + last


def short_chars(pattern: str) -> int:
    """The longest text in which a search needs at most MAX_STEPS, whatever the text is; −1 where that cannot be told.

    A backtracking matcher starts at each of n + 1 places and tries, for each of `loose` repeated elements, at most n + 1 lengths,
    and both sides of each `|`: at most size · (n + 1)^(loose + 1) · 2^bars steps. Patterns with repeated groups, look-around,
    back-references and other constructs are left out: for them nothing is told.
    """
    size, loose, bars, last = written_out(pattern) + 1, 0, 0, ""
    for part in _PARTS.finditer(pattern):
        text = part[0]
        if last == "(" and text == "?" and pattern.startswith(":", part.end()):
            continue  # a group without a number
        repeats = text in ("*", "+", "?") or part[1] is not None
        unknown = (text[0] == "\\" and text[1:].isalnum() and text[1] not in "dDsSwWbBAZntr") or text in ("\\", "[", "{")
        if unknown or (repeats and last in ("", ")", "(", "|")) or (text == "?" and last == "("):
            return -1
        loose += repeats and not (part[1] is not None and "," not in text)
        bars += text == "|"
        last = text
    most: int = math.floor((MAX_STEPS / size / 2 ** min(bars, 60)) ** (1 / (loose + 1))) - 1
    return max(-1, most)


class Regex(Pure):
    """A regular expression matches the output. A match that is not found or ruled out in time is an error, not a fail."""

    kind: ClassVar[str] = "regex"
    positional: ClassVar[tuple[str, ...]] = ("pattern",)

    pattern: str = Field(description="regular expression in Python's syntax, also `\\p{L}` for Unicode classes")
    mode: Literal["search", "fullmatch"] = Field(default="search", description="match anywhere in the output, or all of it")
    ignore_case: bool = Field(default=False, description="upper and lower case are the same")
    multiline: bool = Field(default=False, description="`^` and `$` match at every line")
    dotall: bool = Field(default=False, description="`.` matches line ends, too")
    timeout_s: float = Field(default=TIMEOUT_S, gt=0, description="seconds of matching; when they are over, the result is an error")

    def compile(self, resolve: Resolve) -> Compiled:
        flags = "i" * self.ignore_case + "m" * self.multiline + "s" * self.dotall
        pattern = bounded_pattern(self.pattern, flags, self.timeout_s)
        match = pattern.fullmatch if self.mode == "fullmatch" else pattern.search
        said = short(self.pattern)
        missing = Finding(False, 0.0, f"no match of {said}")

        def run(subject: Subject) -> Finding:
            found = match(subject.output.text)
            if found is None:
                return missing
            return Finding(True, 1.0, f"{said} matches {short(found[0])} at character {found.start() + 1}")

        return run

"""Regular expressions that cannot hang a run, and the check that uses them.

Matching goes through the `regex` library, whose matcher looks at the clock. It does not while it compiles, and repeats such as
`a{1000000000}` are written out there: so the written-out size of a pattern is bounded before it is compiled.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from evalh.checks.base import Check, Compiled, Finding, Resolve, Subject
from evalh.checks.limits import Undecidable, short
from evalh.errors import InputError

if TYPE_CHECKING:
    import regex

TIMEOUT_S = 0.5
MAX_PATTERN = 4_000  # characters; above, the matcher is late by seconds in noticing that its time is up
MAX_WRITTEN_OUT = 100_000  # single elements once {m} and {m,n} are written out m times: about 0.1 s and 100 MB to compile

_PARTS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(|\)|\{(\d+)(?:,\d*)?\}|.", re.DOTALL)


class BoundedPattern(NamedTuple):
    """A compiled pattern that gives up after `timeout_s` seconds."""

    compiled: regex.Pattern[str]
    timeout_s: float = TIMEOUT_S

    def search(self, text: str) -> regex.Match[str] | None:
        """The first match anywhere in the text. Raises Undecidable when the time is up."""
        return self._timed("search", text)

    def fullmatch(self, text: str) -> regex.Match[str] | None:
        """A match of the whole text. Raises Undecidable when the time is up."""
        return self._timed("fullmatch", text)

    def _timed(self, mode: str, text: str) -> regex.Match[str] | None:
        try:  # `concurrent` frees the interpreter for other threads while the matcher works
            found: regex.Match[str] | None = getattr(self.compiled, mode)(text, timeout=self.timeout_s, concurrent=True)
        except TimeoutError:
            raise Undecidable(f"the pattern {short(self.compiled.pattern)} did not match or fail within {self.timeout_s:g} s") from None
        except MemoryError:
            raise Undecidable(f"the pattern {short(self.compiled.pattern)} needs more memory than there is") from None
        return found


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
        return BoundedPattern(regex.compile(pattern, sum(letters[f] for f in flags), cache_pattern=False), timeout_s)
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


class Regex(Check):
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

        def run(subject: Subject) -> Finding:
            found = match(subject.output.text)
            if found is None:
                return Finding(False, 0.0, f"no match of {short(self.pattern)}")
            return Finding(True, 1.0, f"{short(self.pattern)} matches {short(found[0])} at character {found.start() + 1}")

        return run

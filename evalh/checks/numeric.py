"""Reads numbers out of text, and compares one with the number that is expected.

Read: `1234.5`, `1,234.5` (groups of three), `-3e5`, `−7` (typographic minus), `$-5`, `.5`, `3 × 10^5`, `12.5%`. Not read: digits
inside words (`A4`, `x2`), the later parts of `1.2.3`, and a decimal comma: `3,14` is the two numbers 3 and 14.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any, ClassVar, Literal

from pydantic import Field, FiniteFloat

from evalh.checks.base import Compiled, Finding, Resolve, Subject
from evalh.checks.expected import FROM_REFERENCE, expected
from evalh.checks.json_path import compile_path
from evalh.checks.json_text import json_in
from evalh.checks.limits import Bounded, Undecidable, short

Which = Literal["last", "first", "only"]
MAX_MAGNITUDE = 400  # powers of ten; no measurement is outside, and exact arithmetic stays cheap

_NUMBER = re.compile(
    r"""(?<![A-Za-z0-9_]) (?<![0-9]\.)                    # not inside a word, not the third part of 1.2.3
    (?P<sign>[-+−](?=[0-9.$€£¥]))? [$€£¥]? (?P<after>[-−])?
    (?P<digits>[0-9]{1,3}(?:[,\u00a0\u202f\u2009][0-9]{3})+(?![0-9]) (?:\.[0-9]+)? | [0-9]+(?:\.[0-9]+)? | \.[0-9]+)
    (?: [eE](?P<e>[-+−]?[0-9]+)(?![0-9A-Za-z]) | \s?(?:×|·|\\times|\\cdot|[x*])\s?10\s?\^\s?\{?(?P<ten>[-+−]?[0-9]+)\}? )?
    (?P<percent>\s?\\?%)?""",
    re.VERBOSE,
)
_EXACT = Context(prec=2 * MAX_MAGNITUDE + 100)


def numbers_in(text: str, percent: Literal["number", "fraction"] = "number") -> list[Decimal]:
    """The numbers of a text in their order. With `percent="fraction"`, 12.5% is 0.125. Raises Undecidable for a huge one."""
    return [_value(match, percent) for match in _NUMBER.finditer(text)]


def _value(match: re.Match[str], percent: str) -> Decimal:
    digits = re.sub(r"[,\u00a0\u202f\u2009]", "", match["digits"])
    power = (match["e"] or match["ten"] or "0").replace("−", "-")
    if len(digits) > MAX_MAGNITUDE or len(power) > 4 or abs(int(power)) > MAX_MAGNITUDE:
        raise Undecidable(f"the number {short(match[0], 40)} is too large to be compared")
    negative = "-" in (sign := (match["sign"] or "") + (match["after"] or "")) or "−" in sign
    shift = int(power) - (2 if match["percent"] and percent == "fraction" else 0)
    value = Decimal(digits).scaleb(shift, _EXACT)
    return value.copy_negate() if negative else value


def number_of(text: str, which: Which, percent: Literal["number", "fraction"] = "number") -> Decimal | None:
    """The last, first or only number of a text; None where there is none, or with `only` where there are several."""
    found = numbers_in(text, percent)
    if not found or (which == "only" and len(found) > 1):
        return None
    return found[0] if which == "first" else found[-1]


class Numeric(Bounded):
    """A number in the output equals the expected one, within tolerances: |got − expected| ≤ max(absolute, relative · |expected|)."""

    kind: ClassVar[str] = "numeric"
    positional: ClassVar[tuple[str, ...]] = ("value",)

    value: FiniteFloat | int | None = Field(
        default=None, description="the expected number" + FROM_REFERENCE + " (a number, or text that holds one)"
    )
    abs_tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="allowed difference")
    rel_tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="allowed difference as a share of the expected number")
    which: Which = Field(default="last", description="which number of the text counts; `only`: more than one is a fail")
    path: str | None = Field(default=None, description="read the number at this JSON path (RFC 9535) instead of from the text")
    extract: bool = Field(default=False, description="with `path`: take the first JSON block of the output")
    percent: Literal["number", "fraction"] = Field(default="number", description="read 12.5% as 12.5 or as 0.125")

    def compile(self, resolve: Resolve) -> Compiled:
        read = self._reader()

        def run(subject: Subject) -> Finding:
            wanted = self._expected(subject)
            got = read(subject)
            if isinstance(got, str):
                return Finding(False, 0.0, got)
            difference = abs(_EXACT.subtract(got, wanted))
            holds = difference <= max(Decimal(str(self.abs_tolerance)), _EXACT.multiply(Decimal(str(self.rel_tolerance)), abs(wanted)))
            return Finding(
                holds, float(holds), f"{_plain(got)}, expected {_plain(wanted)}" + (f", off by {_plain(difference)}" if difference else "")
            )

        return self.bounded(run)

    def _expected(self, subject: Subject) -> Decimal:
        wanted = expected(self.value, subject)
        found = self._number(wanted)
        if found is None:
            raise Undecidable(f"the reference of item {subject.item.item_id} holds no number: {short(wanted)}")
        return found

    def _number(self, value: Any) -> Decimal | None:
        if isinstance(value, str):
            return number_of(value, self.which, self.percent)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return number_of(repr(value), "only")

    def _reader(self) -> Callable[[Subject], Decimal | str]:
        """The number of an output, or a reason why there is none."""
        if self.path is None:

            def from_text(subject: Subject) -> Decimal | str:
                found = number_of(subject.output.text, self.which, self.percent)
                return found if found is not None else f"holds {'not exactly one number' if self.which == 'only' else 'no number'}"

            return from_text
        find = compile_path(self.path)

        def from_path(subject: Subject) -> Decimal | str:
            try:
                nodes = find(json_in(subject, self.extract).value)
            except ValueError as error:
                return f"is not JSON: {error}"
            if len(nodes) != 1:
                return f"{self.path} finds {len(nodes)} values, not one"
            found = self._number(nodes[0])
            return found if found is not None else f"{self.path} is no number: {short(nodes[0])}"

        return from_path


def _plain(value: Decimal) -> str:
    """A number as people write it; very large and very small ones with an exponent."""
    if value and not -7 < value.adjusted() < 16:
        return f"{value:.6g}"
    text = format(value, "f")
    return short(text.rstrip("0").rstrip(".") if "." in text else text, 60).strip("'")

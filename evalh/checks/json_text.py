"""Reads JSON strictly out of text that a model wrote, and compares JSON values.

Strict means RFC 8259 and no more: no NaN or Infinity, no duplicate keys, no comments, no trailing commas. What is valid but
unreasonable (nesting beyond 100 levels, numbers beyond 1,000 digits) is Undecidable, so that it can neither crash nor pass.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from evalh.checks.base import Subject
from evalh.checks.limits import Undecidable, short

MAX_DEPTH = 100
MAX_DIGITS = 1_000
MAX_STARTS = 20  # places at which an unfenced JSON value is looked for

_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*([\w+-]*)")
_BRACKETS = bytes.maketrans(b"[{]}", b"(())")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


class JSON(NamedTuple):
    """A JSON value as Python has it, and whether all its numbers are finite (`1e999` is JSON, and infinite)."""

    value: Any
    finite: bool


class _Infinite(Exception):
    """A number is too large to be a float."""


def parse_json(text: str) -> Any:
    """The JSON value that is the whole text. Raises ValueError with one line where it is not JSON, Undecidable where too deep."""
    return _parsed(text).value


def _parsed(text: str) -> JSON:
    _check_depth(text)
    if text.startswith("\ufeff"):
        raise ValueError("line 1, column 1: Unexpected UTF-8 BOM (decode using utf-8-sig)")
    try:
        try:
            return JSON((_LONG if len(text) > MAX_DIGITS else _SHORT).decode(text), True)
        except _Infinite:
            return JSON(_ANY.decode(text), False)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise Undecidable("the JSON is nested too deeply to be read") from None


def json_in(subject: Subject, extract: bool = False) -> JSON:
    """The JSON value of an output: all of it, or with `extract` its first JSON block. Raises as `parse_json` does.

    It is read once for all checks of the output; they must leave it as it is.
    """
    key = "extracted json" if extract else "json"
    found: JSON | str | None = subject.memo.get(key)
    if found is None:
        try:
            found = _extracted(subject.output.text) if extract else _parsed(subject.output.text)
        except ValueError as error:
            found = str(error)
        subject.memo[key] = found
    if isinstance(found, str):
        raise ValueError(found)
    return found


def _extracted(text: str) -> JSON:
    block = fenced_block(text, "json")
    return _parsed(block) if block is not None else _first_value(text)


def fenced_block(text: str, language: str) -> str | None:
    """What stands in the first Markdown fence of that language, else in the first fence that names none; None without either."""
    found: dict[str, str] = {}
    fence, name, lines = "", "", list[str]()
    for line in text.replace("\r\n", "\n").split("\n"):  # not splitlines: JSON may hold other line ends in its strings
        mark = _FENCE.match(line)
        if not fence and mark:
            fence, name, lines = mark[1], mark[2].lower(), []
        elif fence and mark and not mark[2] and mark[1].startswith(fence):
            found.setdefault(name, "\n".join(lines))
            fence = ""
        elif fence:
            lines.append(line)
    if fence:
        found.setdefault(name, "\n".join(lines))  # a reply that was cut off
    return found.get(language, found.get(""))


def _first_value(text: str) -> JSON:
    """The first object or array in a text around it."""
    first_error: ValueError | None = None
    for _, start in zip(range(MAX_STARTS), re.finditer(r"[{\[]", text), strict=False):
        try:
            _, end = json.JSONDecoder().raw_decode(text, start.start())
            return _parsed(text[start.start() : end])
        except RecursionError:
            raise Undecidable("the JSON is nested too deeply to be read") from None
        except ValueError as error:
            first_error = first_error or error
    raise ValueError("holds no JSON object or array" if first_error is None else f"holds no JSON: {first_error}")


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH or _is_shallow(text):
        return
    depth = 0
    for bracket in re.finditer(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > MAX_DEPTH:
            raise Undecidable(f"the JSON is nested deeper than {MAX_DEPTH} levels")


def _is_shallow(text: str) -> bool:
    """A quick look: True only where no bracket outside of a string is deeper than the limit."""
    if "\\" in text:
        if "\0" in text:
            return False
        text = text.replace("\\\\", "\0").replace('\\"', "\0")  # now a quotation mark is the start or the end of a string
    outside = "".join(text.split('"')[::2])
    if "\0" in outside:  # a backslash outside of a string: no JSON, and not for this look
        return False
    brackets = outside.encode("utf-8", "surrogatepass").translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        if not brackets:
            break
        brackets = brackets.replace(b"()", b"")
    return not brackets


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {short(twice)} is there twice")
    return made


def _no_constants(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise Undecidable(f"a number has more than {MAX_DIGITS:,} digits")
    return int(digits)


def _float(digits: str) -> float:
    if len(digits) > MAX_DIGITS:
        raise Undecidable(f"a number has more than {MAX_DIGITS:,} digits")
    return float(digits)


def _finite(digits: str) -> float:
    value = _float(digits)
    if value in (math.inf, -math.inf):
        raise _Infinite
    return value


_ANY = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constants, parse_int=_int, parse_float=_float)
_LONG = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constants, parse_int=_int, parse_float=_finite)
_SHORT = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constants, parse_float=_finite)  # no number can be too long


def json_equal(a: Any, b: Any, tolerance: float = 0.0) -> bool:
    """Whether two JSON values are the same: 1 is 1.0, true is not 1, numbers may differ by `tolerance`, key order is nothing."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or abs(a - b) <= tolerance
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(json_equal(a[k], b[k], tolerance) for k in a)
    if isinstance(a, Sequence) and isinstance(b, Sequence) and not isinstance(a, str) and not isinstance(b, str):
        return len(a) == len(b) and all(json_equal(x, y, tolerance) for x, y in zip(a, b, strict=True))
    return bool(a == b)

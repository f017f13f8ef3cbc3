"""JSON Lines as people and tools write them: read object by object with line numbers, written whole or not at all.

UTF-8, one object a line. A byte order mark, Windows line ends and empty lines at the end are fine; anything else is an
error that names file and line. A first line `{"_canary": …}` marks a file that must not be trained on; it is no data.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, BinaryIO, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from evalh.errors import InputError
from evalh.store.rows import readable

CANARY = "_canary"
BLOCK = 2**20  # bytes that are read at a time
_UTF8_MARK, _UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")

M = TypeVar("M", bound=BaseModel)
Numbered = Iterator[tuple[int, dict[str, Any]]]


def place(path: Path, line: int | None = None) -> str:
    """`path:line`, the path relative to the current folder where it lies under it."""
    shown = path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path
    return str(shown) if line is None else f"{shown}:{line}"


def read_objects(path: Path) -> Numbered:
    """Line number and object of each line, the canary left out. Raises InputError at the first line that is no object."""
    for number, data in _all_objects(path):
        if number > 1 or CANARY not in data:
            yield number, data


def read_canary(path: Path) -> str | None:
    """The canary on the first line, or None."""
    first = next(_all_objects(path), None)
    canary = first[1].get(CANARY) if first else None
    return canary if isinstance(canary, str) else None


def write_objects(path: Path, rows: Iterable[Mapping[str, Any]], canary: str | None = None) -> int:
    """Write one object a line, the canary first where there is one; how many rows. The file appears when it is whole."""
    half = path.with_name(path.name + ".half")
    count = 0
    try:
        with half.open("w", encoding="utf-8", newline="\n") as file:
            if canary:
                file.write(json.dumps({CANARY: canary}) + "\n")
            for row in rows:
                file.write(readable(json.dumps(row, ensure_ascii=False, allow_nan=False)) + "\n")
                count += 1
        os.replace(half, path)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=place(path)) from error
    finally:
        half.unlink(missing_ok=True)
    return count


def validated(model: type[M], data: Mapping[str, Any], path: Path, line: int, hints: Mapping[str, str]) -> M:
    """The object as a record; types are taken as they are (`"1"` is no number). Raises InputError with line and field.

    `hints` says by field what would be right; `*` is for fields that the file does not have.
    """
    try:
        return model.model_validate(data, strict=None if model.model_config.get("strict") else True)
    except ValidationError as error:
        # A union reports one error per branch; the deepest is the branch that the value was meant for.
        first = error.errors()[0]
        worst = max((e for e in error.errors() if e["loc"][:1] == first["loc"][:1]), key=lambda e: len(e["loc"]))
        about = "*" if worst["type"] == "extra_forbidden" else str(worst["loc"][0])
        refuse(path, line, _field(worst["loc"]), _fault(worst), hints.get(about))


def refuse(path: Path, line: int, field: str, fault: str, hint: str | None = None) -> NoReturn:
    """Raise the InputError of one field of one line."""
    raise InputError(f"field `{field}`: {fault}", where=place(path, line), hint=hint)


def _all_objects(path: Path) -> Numbered:
    with opened(path) as file:
        for number, _, line in raw_lines(path, iter(partial(file.read, BLOCK), b"")):
            yield number, parsed(path, number, line)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, to be read. Raises InputError where it cannot be."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=place(path)) from error


def _raise(error: InputError) -> None:
    raise error


def raw_lines(path: Path, blocks: Iterable[bytes], complain: Callable[[InputError], None] = _raise) -> Iterator[tuple[int, int, bytes]]:
    """Number, place in the file (bytes) and text of each line, from the file's blocks; white space around it is left out.

    Raises InputError for UTF-16 and for an empty line before the end, unless `complain` takes what is wrong with lines.
    """
    empty, start = 0, 0
    for number, raw in enumerate(_split(blocks), 1):
        line, mark = raw.strip(b" \t\r"), 0
        if number == 1:
            if line.startswith(_UTF16_MARKS):
                raise InputError("this file is UTF-16", where=place(path), hint="save it as UTF-8")
            line = line.removeprefix(_UTF8_MARK)
            mark = raw.find(line)
        if not line:
            empty = empty or number
        else:
            for gap in range(empty, number) if empty else ():
                hint = "each line is one JSON object; only the end may be empty"
                complain(InputError("an empty line", where=place(path, gap), hint=hint))
            empty = 0
            yield number, start + mark, line
        start += len(raw) + 1


def _split(blocks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        yield from lines
    if rest:
        yield rest


def parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """The object of one line. Raises InputError with file and line where it is none.

    pydantic's parser takes a third of the time; what it refuses, and numbers too large for it, the one of Python judges.
    """
    try:
        data = from_json(line, allow_inf_nan=False)
    except ValueError:
        return _object(path, number, line)
    return data if type(data) is dict and _finite_all(data.values()) else _object(path, number, line)


def _finite_all(values: Iterable[Any]) -> bool:
    for value in values:
        kind = type(value)
        if kind is float:
            if not math.isfinite(value):
                return False
        elif kind is dict or kind is list:
            inner = value.values() if kind is dict else value
            if not _HARMLESS.issuperset(map(type, inner)) and not _finite_all(inner):
                return False
    return True


_HARMLESS = frozenset({str, int, bool, NoneType})


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line.decode(), parse_constant=_no_number, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start + 1} is not UTF-8", where=place(path, number), hint="save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"not JSON: {error.msg} at column {error.colno}", where=place(path, number), hint="each line is one JSON object"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON that can be kept: {error}", where=place(path, number), hint="what has no number is null") from error
    if not isinstance(data, dict):
        raise InputError(f"{_shown(data)} is no object", where=place(path, number), hint="each line is one JSON object")
    spelt_surrogates = b"\\ud" in line or b"\\uD" in line
    return {readable(k): _readable(v) for k, v in data.items()} if spelt_surrogates else data


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large")
    return value


def _readable(value: Any) -> Any:
    """The value with halves of surrogate pairs, which JSON can spell and UTF-8 cannot, shown as U+FFFD."""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, list):
        return [_readable(v) for v in value]
    if isinstance(value, dict):
        return {readable(k): _readable(v) for k, v in value.items()}
    return value


_NEEDED = {
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}


def _fault(error: Any) -> str:
    kind = error["type"]
    if kind == "missing":
        return "missing"
    if kind == "extra_forbidden":
        return "unknown"
    needed = _NEEDED.get(kind) or error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"must be {needed}, not {_shown(error['input'])}" if not error["msg"].startswith("Value error") else needed


def _field(loc: tuple[int | str, ...]) -> str:
    """`input[0].role`; the names of union branches, which pydantic puts in between, are left out."""
    name = str(loc[0])
    for part in loc[1:]:
        if isinstance(part, int):
            name += f"[{part}]"
        elif part.isidentifier() and part not in {"str", "int", "float", "bool"}:
            name += f".{part}"
    return name


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else text[:37] + "…"

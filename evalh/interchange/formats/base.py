"""What a reader of a format returns, and how it says where a file is wrong.

A reader is one pure function, `read(path) -> Recorded`. It walks the file with an `At`, which knows its place in it, and
adds what it finds to a `Recorded`, whose rows are lines of the files of docs/files.md.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from evalh.errors import InputError
from evalh.interchange.lines import place

Row = dict[str, Any]
T = TypeVar("T", str, int, float, bool, list, dict)  # type: ignore[type-arg]  # JSON's own kinds

_KINDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "an object"}
_ROLES = ("system", "user", "assistant", "tool")
LABELLED_AGAIN = "labels that the same person gave anew: the last one stands"
LATER_TRIAL = "labels on an output that is not the first of its system for the item: a label knows no trial"


@dataclass
class Recorded:
    """Rows in the form of items.jsonl, outputs.jsonl, judgments.jsonl and labels.jsonl, and what was left out and why."""

    items: dict[str, Row] = field(default_factory=dict)
    outputs: list[Row] = field(default_factory=list)
    judgments: list[Row] = field(default_factory=list)
    labels: dict[tuple[Any, ...], Row] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    _trials: Counter[tuple[str, str]] = field(default_factory=Counter)
    _repeats: Counter[tuple[Any, ...]] = field(default_factory=Counter)

    def skip(self, reason: str, count: int = 1) -> None:
        """Count what has no place in evalh's files. `reason` is shown to the user."""
        if count:
            self.skipped[reason] += count

    def add_item(self, item_id: str, **fields: Any) -> None:
        """An item; the first of an id stands. Fields that are None are left out."""
        self.items.setdefault(item_id, {"item_id": item_id, "input": None, **given(fields)})

    def add_output(self, item_id: str, system: str, output: Any, **fields: Any) -> int:
        """The next output of a system for an item; returns its trial: 0 for the first, 1 for the second, …"""
        trial = self._trials[item_id, system]
        self._trials[item_id, system] += 1
        self.outputs.append({"item_id": item_id, "system": system, "output": output, **given({"trial": trial or None, **fields})})
        return trial

    def add_judgment(self, item_id: str, judge: str, systems: list[str], **fields: Any) -> None:
        """A verdict; pointwise unless there are two systems. The same question again gets the next `repeat`."""
        row = {"item_id": item_id, "judge": judge, "kind": _kind(systems), "systems": systems, **fields}
        if row["kind"] == "pointwise":
            row = {"score": None, **row}
        key = (item_id, judge, *systems, *(row.get(name) for name in ("judge_version", "prompt", "aspect", "trial")))
        repeat = self._repeats[key]
        self._repeats[key] += 1
        self.judgments.append({**row, "repeat": repeat} if repeat else row)

    def add_label(self, item_id: str, annotator: str, systems: list[str], *, trial: int = 0, **fields: Any) -> None:
        """A person's verdict. One person labels an output once for each aspect: a later label takes the place of an earlier one."""
        if trial:
            self.skip(LATER_TRIAL)
            return
        key = (item_id, annotator, *systems, fields.get("aspect"))
        self.skip(LABELLED_AGAIN, int(key in self.labels))
        self.labels[key] = {"item_id": item_id, "annotator": annotator, "kind": _kind(systems), "systems": systems, **given(fields)}


def _kind(systems: list[str]) -> str:
    return "pairwise" if len(systems) == 2 else "pointwise"


def given(fields: Mapping[str, Any]) -> Row:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True)
class At:
    """A value of a JSON file and its place in it, such as `results[12].gradingResult.score`."""

    path: Path
    place: str
    value: Any

    def __getitem__(self, key: str) -> At:
        """The field of an object, None where it has none. Raises InputError where this is no object."""
        return At(self.path, f"{self.place}.{key}" if self.place else key, self.a(dict).get(key))

    def a(self, kind: type[T], hint: str | None = None) -> T:
        """The value, which must be of this kind (`float`: any finite number). Raises InputError."""
        value: Any = self.value
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind or (type(value) is float and not math.isfinite(value)):
            self.refuse("missing" if value is None else f"must be {_KINDS[kind]}, not {shown(value)}", hint)
        found: T = value
        return found

    def maybe(self, kind: type[T]) -> T | None:
        """As `a`, and None where there is nothing."""
        return None if self.value is None else self.a(kind)

    def each(self) -> Iterator[At]:
        """The entries of a list; none where there is nothing."""
        for number, value in enumerate(self.maybe(list) or []):
            yield At(self.path, f"{self.place}[{number}]", value)

    def fields(self) -> Iterator[tuple[str, At]]:
        """The fields of an object; none where there is nothing."""
        for key in self.maybe(dict) or {}:
            yield key, self[key]

    def first(self, *keys: str) -> At:
        """The first of these fields that says something, else the first of them."""
        return next((self[key] for key in keys if self[key].value is not None), self[keys[0]])

    def refuse(self, fault: str, hint: str | None = None) -> NoReturn:
        """Raise the InputError of this place."""
        raise InputError(f"`{self.place or 'the file'}`: {fault}", where=place(self.path), hint=hint)


def shown(value: Any) -> str:
    """A value, short enough for a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else text[:39] + "…"


def read_bytes(path: Path) -> bytes:
    """The file. Raises InputError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=place(path)) from error


def parse(data: bytes, path: Path, where: str = "", hint: str | None = None) -> At:
    """JSON text at a place of a file; `NaN` is read, as Inspect writes it. Raises InputError."""
    try:
        return At(path, where, json.loads(data.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start + 1} is not UTF-8", where=place(path), hint=hint) from error
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"not JSON: {error.msg} at {where + ', ' if where else ''}{at}", where=place(path), hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON that can be kept: {error}", where=place(path), hint=hint) from error


def load(path: Path, hint: str | None = None) -> At:
    """A JSON file. Raises InputError."""
    return parse(read_bytes(path), path, hint=hint)


def load_lines(path: Path, hint: str | None = None) -> list[At]:
    """The objects of a JSON Lines file; their places are `line 1`, `line 2`, … Raises InputError."""
    lines = read_bytes(path).split(b"\n")
    return [parse(line, path, f"line {number}", hint) for number, line in enumerate(lines, 1) if line.strip()]


def as_input(value: Any) -> str | list[Row] | None:
    """An input as an item holds it: text, chat messages, null; anything else as its JSON text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(_is_message(entry) for entry in value):
        return [{"role": entry["role"], "content": as_text(entry["content"])} for entry in value]
    return as_text(value)


def _is_message(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("role") in _ROLES and entry.get("content") is not None


def as_text(value: Any) -> str:
    """Text as it is, the text parts of a message's content joined, anything else as its JSON text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in value):
        return "\n".join(part["text"] for part in value)
    return json.dumps(value, ensure_ascii=False)

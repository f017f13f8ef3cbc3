"""A golden set: `golden.toml` says what it is, `items.jsonl` holds the items, a lock says that they have not changed.

A folder with an items.jsonl and no golden.toml is a golden set too, of recorded data: it has the folder's name, version
"0", no lock, and whatever slices its items name (`declared` is False).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Hashable, Iterator, Mapping
from datetime import date
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from evalh.errors import InputError
from evalh.interchange.jsonl import ITEM_AGAIN, item_of, once
from evalh.interchange.lines import BLOCK, opened, parsed, place, raw_lines
from evalh.interchange.lines import CANARY as LINE_MARK
from evalh.records import Item, Record
from evalh.suites.items import Items, read_items_of
from evalh.suites.manifest import check_known, check_lock, read_toml, text_of, write_lock

MANIFEST, ITEMS = "golden.toml", "items.jsonl"
NEVER = "never"
_PUBLISHED = 'published_at = "YYYY-MM-DD" or "never"'
CANARY = re.compile(r"EVALH-CANARY [0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class GoldenSet(Record):
    """A golden set as it was read. `golden_hash` is the hash of items.jsonl; its items are parsed where they are needed."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str
    version: str
    canary: str | None = None
    licence: str | None = None
    slices: dict[str, dict[str, str]] = Field(default_factory=dict, description="name → published_at (a date or `never`) and where")
    locked: bool
    declared: bool = Field(description="there is a golden.toml; False for recorded data without one")
    items: Items
    golden_hash: str
    folder: Path


def load_golden(folder: Path) -> GoldenSet:
    """Read and check a golden set. Raises InputError with file, line and field where something is not as it has to be."""
    manifest, file = folder / MANIFEST, folder / ITEMS
    if not file.is_file():
        what = f"has no {ITEMS}" if folder.is_dir() else "there is no such folder"
        raise InputError(what, where=place(folder), hint=f"a golden set is a folder with {MANIFEST} and {ITEMS}")
    data = _manifest(manifest) if manifest.is_file() else None
    items, canary, slices = _checked(data, manifest, file)
    common: dict[str, Any] = {"canary": canary, "slices": slices, "items": items, "golden_hash": items.file_hash, "folder": folder}
    if data is None:
        return GoldenSet(name=folder.resolve().name, version="0", locked=False, declared=False, **common)
    return GoldenSet(
        name=data["name"],
        version=str(data["version"]),
        licence=data.get("licence"),
        locked=check_lock(manifest, data, file, "items", len(items), items.file_hash),
        declared=True,
        **common,
    )


def lock_golden(folder: Path) -> str:
    """Lock the set: write the hash of items.jsonl into golden.toml and return it. The set is checked first."""
    manifest, file = folder / MANIFEST, folder / ITEMS
    if not manifest.is_file():
        raise InputError(f"has no {MANIFEST}", where=place(folder), hint="only a golden set with name and version can be locked")
    items, _, _ = _checked(_manifest(manifest), manifest, file)
    return write_lock(manifest, file, "items", len(items))


def item_faults(folder: Path) -> Iterator[tuple[int, InputError]]:
    """What is wrong with each line of items.jsonl, where `load_golden` refuses it: the line's number and the error."""
    manifest, file = folder / MANIFEST, folder / ITEMS
    data = _manifest(manifest) if manifest.is_file() else None
    slices = _slices(data, manifest) if data is not None else None
    seen: dict[Hashable, int] = {}
    gaps: list[InputError] = []
    with opened(file) as source:
        for number, _, line in raw_lines(file, iter(partial(source.read, BLOCK), b""), gaps.append):
            try:
                value = parsed(file, number, line)
                if number > 1 or LINE_MARK not in value:
                    item = item_of(value, file, number)
                    once(seen, item.item_id, file, number, *ITEM_AGAIN)
                    _check_item(item, file, number, slices)
            except InputError as fault:
                yield number, fault
    yield from ((int(str(gap.where).rpartition(":")[2]), gap) for gap in gaps)


def _checked(data: dict[str, Any] | None, manifest: Path, file: Path) -> tuple[Items, str | None, dict[str, dict[str, str]]]:
    """The items, the canary and the slices, each checked against the manifest where there is one."""
    slices = _slices(data, manifest) if data is not None else {}
    items = read_items_of(file, lambda line, item: _check_item(item, file, line, slices if data is not None else None))
    if not items:
        raise InputError("holds no items", where=place(file), hint="one JSON object a line, with `item_id` and `input`")
    return items, _canary(data, items.canary, manifest, file), slices


def _manifest(path: Path) -> dict[str, Any]:
    data = read_toml(path)
    check_known(data, ("name", "version", "description", "canary", "licence", "slices", "lock"), path)
    text_of(data, "name", path, "the name of the golden set")
    text_of(data, "version", path, 'text such as "1" or "2026-11"; a changed set is a new version')
    if "licence" in data:
        text_of(data, "licence", path, 'such as "CC-BY-4.0" or "internal"')
    return data


def _canary(data: dict[str, Any] | None, marked: str | None, manifest: Path, file: Path) -> str | None:
    """The canary of golden.toml, or None. The first line of items.jsonl may repeat it (`marked`), and then has to be the same."""
    if data is None:
        declared = marked
    else:
        declared = data.get("canary")
        if marked is not None and marked != declared:
            raise InputError(f"`_canary` is not the canary of {MANIFEST}", where=place(file, 1), hint=f"it is {declared!r}")
    if declared is not None and not CANARY.fullmatch(str(declared)):
        where = place(manifest) if data is not None else place(file, 1)
        raise InputError(f"`canary`: {declared!r} is none", where=where, hint=f"such as EVALH-CANARY {uuid.uuid4()}")
    return declared


def _slices(data: dict[str, Any], path: Path) -> dict[str, dict[str, str]]:
    slices: dict[str, dict[str, str]] = {}
    declared = data.get("slices", {})
    if not isinstance(declared, dict) or not all(isinstance(values, dict) for values in declared.values()):
        raise InputError("`slices`: must be tables", where=place(path), hint=f"[slices.NAME] with {_PUBLISHED}")
    for name, values in declared.items():
        check_known(values, ("published_at", "where", "description"), path, f"slices.{name}.")
        published = values.get("published_at")
        published = published.isoformat() if isinstance(published, date) else published
        if not isinstance(published, str) or not (published == NEVER or is_date(published)):
            fault = "missing" if published is None else f"{published!r} is no date"
            raise InputError(f"`slices.{name}.published_at`: {fault}", where=place(path), hint=_PUBLISHED)
        slices[name] = {"published_at": published, **{k: str(v) for k, v in values.items() if k != "published_at"}}
    return slices


def _check_item(item: Item, file: Path, line: int, slices: Mapping[str, Mapping[str, str]] | None) -> None:
    """Dates are dates and in order; the slice is declared, where slices are declared at all."""
    if slices is not None and item.slice not in (slices or {"all"}):
        hint = f"it has {', '.join(slices)}" if slices else f"add [slices.{item.slice}] with {_PUBLISHED}"
        raise InputError(f"field `slice`: `{item.slice}` is not in {MANIFEST}", where=place(file, line), hint=hint)
    if item.authored_at is None and item.published_at is None:
        return
    for field, value in (("authored_at", item.authored_at), ("published_at", item.published_at)):
        if value is not None and not is_date(value) and not (field == "published_at" and value == NEVER):
            raise InputError(f"field `{field}`: {value!r} is no date", where=place(file, line), hint="YYYY-MM-DD")
    published = item.published_at or (slices or {}).get(item.slice, {}).get("published_at", NEVER)
    if item.authored_at and published != NEVER and item.authored_at > published:
        fault = f"field `authored_at`: {item.authored_at} is after published_at {published}"
        raise InputError(fault, where=place(file, line), hint="an item is written before it is published")


@lru_cache(maxsize=4096)
def is_date(text: str) -> bool:
    """Whether the text is a day of the calendar as YYYY-MM-DD."""
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True

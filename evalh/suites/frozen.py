"""Frozen references: outputs with a settled score that never change. A set without a lock, or changed since, is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from evalh.errors import InputError
from evalh.interchange.lines import place, read_objects, refuse, validated
from evalh.records import Message, Record
from evalh.suites.manifest import check_known, check_lock, file_digest, read_toml, text_of, write_lock

MANIFEST, REFS = "frozen.toml", "refs.jsonl"


class FrozenRef(Record):
    """One output with its settled score, on the scale of the rubric."""

    model_config = ConfigDict(strict=True)

    ref_id: str = Field(min_length=1)
    input: str | list[Message] | None
    output: str
    score: float
    system: str | None = None
    family: str | None = None
    rubric: str | None = None
    slice: str | None = None
    settled_by: str | None = None
    settled_at: str | None = None
    meta: dict[str, Any] = Field(default_factory=dict)


class FrozenSet(Record):
    """A locked set of frozen references. `frozen_hash` is the hash of refs.jsonl."""

    name: str
    version: str
    rubric: str
    refs: list[FrozenRef]
    frozen_hash: str
    folder: Path


_HINTS = {
    "ref_id": "every reference needs one, and no two the same",
    "input": "what was asked: text, a list of chat messages, or null where it may not be shared",
    "output": "the text that was scored",
    "score": "the settled score, a number on the rubric's scale",
    "*": "a reference has " + ", ".join(FrozenRef.model_fields) + "; anything else goes under `meta`",
}


def load_frozen(folder: Path) -> FrozenSet:
    """Read a locked set of frozen references. Raises InputError where it is not locked, has changed, or is not well formed."""
    manifest, file = folder / MANIFEST, folder / REFS
    data = _manifest(folder)
    refs = list(read_refs(file))
    if not check_lock(manifest, data, file, "refs", len(refs), file_digest(file)):
        raise InputError("has no lock", where=place(manifest), hint="references that may change settle nothing; `lock_frozen` locks them")
    if not refs:
        raise InputError("holds no references", where=place(file), hint="one JSON object a line: ref_id, input, output, score")
    version, rubric = str(data["version"]), data["rubric"]
    refs = [ref if ref.rubric else ref.model_copy(update={"rubric": rubric}) for ref in refs]
    return FrozenSet(name=data["name"], version=version, rubric=rubric, refs=refs, frozen_hash=data["lock"]["refs"], folder=folder)


def lock_frozen(folder: Path) -> str:
    """Lock the set: write the hash of refs.jsonl into frozen.toml and return it. The set is checked first."""
    _manifest(folder)
    count = sum(1 for _ in read_refs(folder / REFS))
    if not count:
        raise InputError("holds no references", where=place(folder / REFS), hint="one JSON object a line: ref_id, input, output, score")
    return write_lock(folder / MANIFEST, folder / REFS, "refs", count)


def read_refs(path: Path) -> Iterator[FrozenRef]:
    """The references of a refs.jsonl. Raises InputError with line and field."""
    seen: dict[str, int] = {}
    for line, data in read_objects(path):
        ref = validated(FrozenRef, data, path, line, _HINTS)
        if seen.setdefault(ref.ref_id, line) != line:
            refuse(path, line, "ref_id", f"`{ref.ref_id}` again, as on line {seen[ref.ref_id]}", "each ref_id stands once")
        yield ref


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file() or not (folder / REFS).is_file():
        what = f"has no {REFS if path.is_file() else MANIFEST}" if folder.is_dir() else "there is no such folder"
        raise InputError(what, where=place(folder), hint=f"frozen references are a folder with {MANIFEST} and {REFS}")
    data = read_toml(path)
    check_known(data, ("name", "version", "description", "rubric", "canary", "licence", "lock"), path)
    text_of(data, "name", path, "the name of the set")
    text_of(data, "version", path, 'text such as "1"; a changed set is a new version')
    text_of(data, "rubric", path, "the rubric by which the scores were settled: its name or file")
    return data

"""Applies one check to one output, as a run does: through its short form or object, compile_checks and apply_checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evalh.checks.apply import apply_checks, compile_checks
from evalh.checks.base import Subject
from evalh.checks.registry import check_from_spec
from evalh.errors import InputError
from evalh.records import CheckResult, Item, Output


def beside(folder: Path):
    """A resolver of paths as suites have it: what is there, or InputError."""

    def resolve(written: str) -> Path:
        if not (folder / written).exists():
            raise InputError("there is no such file or folder", where=written)
        return folder / written

    return resolve


def subject(text: str = "", reference: Any = None, **fields: Any) -> Subject:
    item = Item(item_id="i1", input="question", reference=reference)
    return Subject(item, Output(item_id="i1", system="s", text=text, **fields))


def compiled(spec: Any, folder: Path = Path(".")):
    return compile_checks([check_from_spec(spec)], beside(folder))


def row(spec: Any, text: str = "", reference: Any = None, folder: Path = Path("."), **fields: Any) -> CheckResult:
    """The row that one check gives for one output."""
    (result,) = apply_checks(compiled(spec, folder), subject(text, reference, **fields))
    return result


def status(spec: Any, text: str = "", reference: Any = None, folder: Path = Path("."), **fields: Any) -> str:
    return row(spec, text, reference, folder, **fields).status

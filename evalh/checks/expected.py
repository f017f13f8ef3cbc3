"""What an output is compared with: a setting of the check, or else the reference of the item."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any

from evalh.checks.base import Subject
from evalh.checks.limits import UNWATCHED, Undecidable, short

MAX_MARKS = 200  # in no language are there more than a handful
FROM_REFERENCE = "; the item's reference where not given"


def expected(value: Any, subject: Subject) -> Any:
    """The value, or the item's reference where the value is None. Raises Undecidable where the item has none."""
    if value is not None:
        return value
    if subject.item.reference is None:
        raise Undecidable(f"item {subject.item.item_id} has no reference to compare with")
    return subject.item.reference


def expected_text(value: str | None, subject: Subject) -> str:
    """The expected text; a reference that is a number counts as its text. Raises Undecidable for any other reference."""
    found = expected(value, subject)
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        raise Undecidable(f"the reference of item {subject.item.item_id} is no text: {short(found)}")
    return _not_empty(str(found), subject)


def expected_texts(value: str | list[str] | None, subject: Subject) -> list[str]:
    """The expected texts: one, or a list of them. Raises Undecidable where the reference is neither."""
    found = expected(value, subject)
    if isinstance(found, list) and found and all(isinstance(each, str) for each in found):
        return [_not_empty(each, subject) for each in found]
    return [expected_text(found, subject)]


def _not_empty(text: str, subject: Subject) -> str:
    if not text:
        raise Undecidable(f"the reference of item {subject.item.item_id} is empty")
    return text


def comparable(text: str, ignore_case: bool = False) -> str:
    """Text in Unicode's composed form, so that é is é however it is encoded; case-folded on demand.

    Raises Undecidable for a text that is mostly combining marks: to order n of them in a row takes n² steps, with no way to stop it.
    """
    if ignore_case:
        text = text.casefold()
    if text.isascii():
        return text
    if len(text) > UNWATCHED and _many_marks().search(text):
        raise Undecidable(f"the text holds more than {MAX_MARKS:,} combining marks in a row")
    return unicodedata.normalize("NFC", text)


@cache
def _many_marks() -> Any:
    import regex

    return regex.compile(rf"\p{{M}}{{{MAX_MARKS + 1}}}")

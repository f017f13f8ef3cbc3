"""Checks of plain text: equal, contains, starts and ends with, and how long it is.

Texts are compared in Unicode's composed form. A word is a run without spaces that holds a letter or a digit; in scripts
written without spaces (Chinese, Japanese) each character is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from pydantic import Field

from evalh.checks.base import Compiled, Finding, Pure, Resolve, Subject
from evalh.checks.expected import FROM_REFERENCE, comparable, expected, expected_text, expected_texts
from evalh.checks.json_text import json_equal, json_in
from evalh.checks.limits import short

Text = Annotated[str, Field(min_length=1)]
IGNORE_CASE = "compare without regard to upper and lower case"

_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_LETTER = re.compile(r"[^\W_]")


class Equals(Pure):
    """The output is the expected text. Where the expected value is not text, the output has to be JSON that equals it."""

    kind: ClassVar[str] = "equals"
    positional: ClassVar[tuple[str, ...]] = ("value",)

    value: Any = Field(default=None, description="text, or any JSON value" + FROM_REFERENCE)
    ignore_case: bool = Field(default=False, description=IGNORE_CASE)
    strip: bool = Field(default=True, description="ignore white space before and after")

    def compile(self, resolve: Resolve) -> Compiled:
        def run(subject: Subject) -> Finding:
            wanted = expected(self.value, subject)
            if not isinstance(wanted, str):
                return _equal_json(subject, wanted)
            got, want = (self._form(text) for text in (subject.output.text, wanted))
            if got == want:
                return Finding(True, 1.0, f"is {short(want)}")
            return Finding(False, 0.0, _difference(got, want))

        return run

    def _form(self, text: str) -> str:
        return comparable(text.strip() if self.strip else text, self.ignore_case)


def _equal_json(subject: Subject, wanted: Any) -> Finding:
    try:
        got = json_in(subject).value
    except ValueError as error:
        return Finding(False, 0.0, f"is not JSON ({error}), expected {short(wanted)}")
    same = json_equal(got, wanted)
    return Finding(same, float(same), f"is {short(got)}" + ("" if same else f", expected {short(wanted)}"))


def _difference(got: str, want: str) -> str:
    """Both texts from shortly before the first character in which they differ."""
    at = next((i for i, (a, b) in enumerate(zip(got, want, strict=False)) if a != b), min(len(got), len(want)))
    start = max(0, at - 20) if at > 40 else 0
    place = f" from character {at + 1}" if start else ""
    return f"differs{place}: got {short(got[start:])}, expected {short(want[start:])}"


class _Contains(Pure):
    positional: ClassVar[tuple[str, ...]] = ("values",)

    ignore_case: bool = Field(default=False, description=IGNORE_CASE)

    def _found(self, text: str, wanted: list[str]) -> tuple[list[str], list[str]]:
        """The wanted texts that are in the output, and those that are not."""
        body = comparable(text, self.ignore_case)
        present = {each: comparable(each, self.ignore_case) in body for each in wanted}
        return [w for w, there in present.items() if there], [w for w, there in present.items() if not there]


class Contains(_Contains):
    """The output contains the expected text."""

    kind: ClassVar[str] = "contains"
    positional: ClassVar[tuple[str, ...]] = ("value",)

    value: Text | None = Field(default=None, description="text to find" + FROM_REFERENCE)

    def compile(self, resolve: Resolve) -> Compiled:
        if self.value is not None:
            find = self._finder(self.value)
            return lambda subject: find(subject.output.text)
        return lambda subject: self._finder(expected_text(None, subject))(subject.output.text)

    def _finder(self, wanted: str) -> Callable[[str], Finding]:
        needle, said = comparable(wanted, self.ignore_case), short(wanted)
        there, missing = Finding(True, 1.0, f"contains {said}"), Finding(False, 0.0, f"does not contain {said}")
        return lambda text: there if needle in comparable(text, self.ignore_case) else missing


class ContainsAny(_Contains):
    """The output contains at least one of several texts."""

    kind: ClassVar[str] = "contains-any"

    values: list[Text] | None = Field(default=None, min_length=1, description="texts of which one is enough" + FROM_REFERENCE)

    def compile(self, resolve: Resolve) -> Compiled:
        def run(subject: Subject) -> Finding:
            wanted = expected_texts(self.values, subject)
            found, _ = self._found(subject.output.text, wanted)
            said = f"contains {short(found[0])}" if found else f"contains none of {_listed(wanted)}"
            return Finding(bool(found), float(bool(found)), said)

        return run


class ContainsAll(_Contains):
    """The output contains every one of several texts. The score is the share that it contains."""

    kind: ClassVar[str] = "contains-all"

    values: list[Text] | None = Field(default=None, min_length=1, description="texts that all have to be there" + FROM_REFERENCE)

    def compile(self, resolve: Resolve) -> Compiled:
        def run(subject: Subject) -> Finding:
            wanted = expected_texts(self.values, subject)
            found, missing = self._found(subject.output.text, wanted)
            said = f"lacks {_listed(missing)}" if missing else f"contains {_listed(found)}"
            return Finding(not missing, len(found) / (len(found) + len(missing)), said)

        return run


def _listed(texts: list[str]) -> str:
    return ", ".join(short(t, 40) for t in texts[:6]) + (f" and {len(texts) - 6} more" if len(texts) > 6 else "")


class _Edge(Pure):
    positional: ClassVar[tuple[str, ...]] = ("value",)

    value: Text | None = Field(default=None, description="the text" + FROM_REFERENCE)
    ignore_case: bool = Field(default=False, description=IGNORE_CASE)
    strip: bool = Field(default=True, description="ignore white space before and after the output")

    def _at(self, edge: Callable[[str, str], bool], verb: str) -> Compiled:
        def run(subject: Subject) -> Finding:
            wanted = expected_text(self.value, subject)
            text = comparable(subject.output.text.strip() if self.strip else subject.output.text, self.ignore_case)
            holds = edge(text, comparable(wanted, self.ignore_case))
            seen = text[: len(wanted)] if verb == "starts" else text[-len(wanted) :]
            return Finding(holds, float(holds), f"{verb} with {short(seen)}" + ("" if holds else f", not {short(wanted)}"))

        return run


class StartsWith(_Edge):
    """The output starts with the expected text."""

    kind: ClassVar[str] = "starts-with"

    def compile(self, resolve: Resolve) -> Compiled:
        return self._at(str.startswith, "starts")


class EndsWith(_Edge):
    """The output ends with the expected text."""

    kind: ClassVar[str] = "ends-with"

    def compile(self, resolve: Resolve) -> Compiled:
        return self._at(str.endswith, "ends")


def count_words(text: str) -> int:
    """Words of a text, as the module's docstring defines them."""
    unspaced = 0
    if not text.isascii():
        text, unspaced = _UNSPACED.subn(" ", text)
    return unspaced + sum(1 for run in text.split() if _LETTER.search(run))


def count_chars(text: str) -> int:
    """Unicode code points in composed form."""
    return len(comparable(text))


def _length(count: Callable[[str], int], limit: int, at_least: bool, unit: str) -> Compiled:
    def run(subject: Subject) -> Finding:
        n = count(subject.output.text)
        holds = n >= limit if at_least else n <= limit
        return Finding(holds, float(holds), f"{n} {unit}, {'minimum' if at_least else 'maximum'} {limit}")

    return run


class _Words(Pure):
    positional: ClassVar[tuple[str, ...]] = ("words",)

    words: int = Field(ge=0, description="number of words; each Chinese or Japanese character is one")


class _Chars(Pure):
    positional: ClassVar[tuple[str, ...]] = ("chars",)

    chars: int = Field(ge=0, description="number of characters (Unicode code points in composed form), white space included")


class MinWords(_Words):
    """The output has at least so many words."""

    kind: ClassVar[str] = "min-words"

    def compile(self, resolve: Resolve) -> Compiled:
        return _length(count_words, self.words, True, "words")


class MaxWords(_Words):
    """The output has at most so many words."""

    kind: ClassVar[str] = "max-words"

    def compile(self, resolve: Resolve) -> Compiled:
        return _length(count_words, self.words, False, "words")


class MinChars(_Chars):
    """The output has at least so many characters."""

    kind: ClassVar[str] = "min-chars"

    def compile(self, resolve: Resolve) -> Compiled:
        return _length(count_chars, self.chars, True, "characters")


class MaxChars(_Chars):
    """The output has at most so many characters."""

    kind: ClassVar[str] = "max-chars"

    def compile(self, resolve: Resolve) -> Compiled:
        return _length(count_chars, self.chars, False, "characters")

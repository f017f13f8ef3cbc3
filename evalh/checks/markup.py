"""Checks that an output is well-formed SQL, XML or HTML. They say nothing of what it means."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pydantic import Field

from evalh.checks.base import Compiled, Finding, Resolve, Subject
from evalh.checks.json_text import fenced_block
from evalh.checks.limits import Bounded, Undecidable, short
from evalh.errors import InputError


class _Markup(Bounded):
    extract: bool = Field(default=False, description="take the first code block of the output, where it has one, instead of all of it")

    def _on_text(self, language: str, problem: Callable[[str], str | None]) -> Compiled:
        """A check from a function that says what is wrong with a text, or None."""

        def run(subject: Subject) -> Finding:
            text = subject.output.text
            if self.extract:
                text = fenced_block(text, language) or text
            if not text.strip():
                return Finding(False, 0.0, "is empty")
            try:
                wrong = problem(text)
            except RecursionError:
                raise Undecidable(f"the {language.upper()} is nested too deeply to be read") from None
            return Finding(wrong is None, float(wrong is None), wrong or f"is well-formed {language.upper()}")

        return self.bounded(run)


class SQLValid(_Markup):
    """The output is one or more SQL statements that sqlglot can parse.

    The parser is lenient: it accepts what some dialect might. A statement that it knows by its first word only (EXPLAIN,
    CALL, …) is an error: it can be called neither right nor wrong. Tables and columns are not looked up.
    """

    kind: ClassVar[str] = "sql-valid"
    positional: ClassVar[tuple[str, ...]] = ("dialect",)

    dialect: str | None = Field(
        default=None, description="a dialect of sqlglot such as `postgres`, `duckdb`, `bigquery`; its common ground where not given"
    )

    def compile(self, resolve: Resolve) -> Compiled:
        import sqlglot
        from sqlglot.errors import ErrorLevel, SqlglotError

        logging.getLogger("sqlglot").addHandler(logging.NullHandler())  # its warnings would reach the terminal; we say them in the reason
        try:
            dialect = sqlglot.Dialect.get_or_raise(self.dialect)
        except ValueError as error:
            raise InputError(str(error), where="dialect") from None

        def problem(text: str) -> str | None:
            try:
                statements = [s for s in sqlglot.parse(text, read=dialect, error_level=ErrorLevel.IMMEDIATE) if s is not None]
            except SqlglotError as error:
                return _sql_error(error)
            wrong = next((s for s in statements if not _is_statement(s)), None)
            if not statements or wrong is not None:
                return f"is no SQL statement: {short(text.strip())}"
            return None

        return self._on_text("sql", problem)


_STATEMENTS = {
    "Query", "DML", "DDL", "Values", "Drop", "Alter", "Transaction", "Commit", "Rollback", "Grant", "Revoke", "Set", "Use", "TruncateTable",
    "Describe", "Pragma", "Analyze", "Comment", "LoadData", "Kill", "Cache", "Uncache", "Refresh", "Show", "Summarize", "Attach", "Detach",
    "Declare", "Export", "Install",
}  # fmt: skip


def _is_statement(parsed: Any) -> bool:
    """Whether it is a statement and no bare expression, as `hello world` is (a column with an alias)."""
    from sqlglot import exp

    if isinstance(parsed, exp.Command):
        raise Undecidable(f"sqlglot does not parse statements of the kind {short(parsed.this)}")
    return isinstance(parsed, tuple(getattr(exp, name) for name in _STATEMENTS if hasattr(exp, name)))


def _sql_error(error: Any) -> str:
    details = (getattr(error, "errors", None) or [{}])[0]
    what = re.sub(r"<Token [^>]*text: ([^,]*),[^>]*>", r"\1", str(details.get("description") or error))
    place = f"line {details['line']}, column {details['col']}: " if details.get("line") else ""
    return f"{place}{what.splitlines()[0]}"


class XMLValid(_Markup):
    """The output is a well-formed XML document. Entity declarations are refused, and nothing outside of it is read."""

    kind: ClassVar[str] = "xml-valid"

    def compile(self, resolve: Resolve) -> Compiled:
        from defusedxml import DefusedXmlException
        from defusedxml.ElementTree import DefusedXMLParser, ParseError

        def problem(text: str) -> str | None:
            parser = DefusedXMLParser(target=_Nothing())  # no tree is built: a document of a million elements costs no memory
            try:
                parser.feed(text)
                parser.close()
            except ParseError as error:
                return f"line {error.position[0]}, column {error.position[1] + 1}: {str(error).partition(':')[0]}"
            except DefusedXmlException as error:
                return f"declares or uses entities, which are refused: {type(error).__name__}"
            except UnicodeEncodeError:
                return "holds half of a surrogate pair, which is no character"
            return None

        return self._on_text("xml", problem)


class _Nothing:
    """A parser target that keeps nothing."""

    def close(self) -> None:
        return None


class HTMLValid(_Markup):
    """The output is HTML without parse errors, by the parsing rules of the HTML standard (WHATWG, §13.2).

    End tags that the standard lets out may be missing; unclosed, misnested and stray tags, duplicate attributes and unknown
    character references are errors. What stands inside `<template>` is not judged. A text without any tag fails.
    """

    kind: ClassVar[str] = "html-valid"

    mode: Literal["auto", "document", "fragment"] = Field(
        default="auto",
        description="a whole document (with doctype), or a piece of one; `auto`: a document where it starts with a doctype or `<html>`",
    )

    def compile(self, resolve: Resolve) -> Compiled:
        from evalh.checks.html import first_parse_error

        def problem(text: str) -> str | None:
            if not re.search(r"<[A-Za-z]", text):
                return "holds no tag"
            whole = self.mode == "document" or (self.mode == "auto" and _DOCUMENT.match(text) is not None)
            return first_parse_error(text, fragment=not whole)

        return self._on_text("html", problem)


_DOCUMENT = re.compile(r"\s*(?:<!--.{0,2000}?-->\s*){0,5}<(?:!doctype|html)\b", re.IGNORECASE | re.DOTALL)

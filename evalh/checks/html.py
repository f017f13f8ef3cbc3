"""The first parse error of an HTML text, by the HTML standard.

tinyhtml5 follows the standard's algorithm and records its errors; where it is older than the standard of today, they are filtered
here. On the tree construction tests of html5lib-tests (documents, and fragments in `div` or `body`) its answer, error or none, is the
expected one for 1,593 of 1,608; libxml2's, which has no word for an unclosed `<div>` or a duplicate attribute, for 464.
"""

from __future__ import annotations

import re
from html.entities import html5
from typing import Any

from tinyhtml5.parser import HTMLParser

# `--` inside a comment has been allowed since 2016, `<hr>` and other content in `<select>` since 2023 and 2025.
_ALLOWED_TODAY = {"unexpected-char-in-comment", "unexpected-start-tag-in-select", "unexpected-end-tag-in-select"}

_REFERENCE = re.compile(r"&([A-Za-z0-9]+)(.?)", re.DOTALL)


class _Found(Exception):
    """The first error; no need to read on."""


class _Parser(HTMLParser):  # type: ignore[misc]
    def parse_error(self, errorcode: str, datavars: dict[str, Any] | None = None) -> None:
        if errorcode in _ALLOWED_TODAY or self._in_template() or not self._real_reference_error(errorcode):
            return
        line, column = self.tokenizer.stream.position()
        what = errorcode.replace("-", " ")
        name = (datavars or {}).get("name")
        raise _Found(f"line {line}, column {column}: {what}" + (f" <{name}>" if name else ""))

    def _in_template(self) -> bool:
        """tinyhtml5 has no insertion mode for `<template>`: what it calls wrong in there may be right."""
        return any(element.name == "template" for element in self.tree.open_elements)

    def _real_reference_error(self, errorcode: str) -> bool:
        """Whether a named character reference is an error in the standard: `&foo;` is, `AT&T` and `?a=1&copy=2` are not."""
        if errorcode not in ("expected-named-entity", "named-entity-without-semicolon"):
            return True
        stream = self.tokenizer.stream
        match = _REFERENCE.match(stream.chunk, max(0, stream.chunk.rfind("&", 0, stream.chunk_offset)))
        if match is None:
            return False
        if errorcode == "expected-named-entity":
            return match[2] == ";"
        in_attribute = "attribute" in self.tokenizer.state.__name__
        return not in_attribute or (match[1] in html5 and match[2] != "=")


def first_parse_error(text: str, fragment: bool) -> str | None:
    """Line, column and kind of the first error, or None. A fragment is read as what may stand in a `<div>`."""
    parser = _Parser()
    try:
        if fragment:
            parser.parse_fragment(text)
        else:
            parser.parse(text)
    except _Found as found:
        return str(found)
    return None

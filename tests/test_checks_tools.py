"""Checks of tool calls, latency and cost."""

from __future__ import annotations

import pytest

from evalh import checks
from evalh.errors import InputError
from evalh.records import ToolCall
from tests.checks_support import compiled, row, status

SEARCH = ToolCall(name="search", arguments={"city": "Rome", "filter": {"stars": 3, "wifi": True}, "limit": 5})
BOOK = ToolCall(name="book", arguments={"id": 7})


@pytest.mark.parametrize(
    ("check", "calls", "reference", "expected"),
    [
        (checks.ToolCalled("search"), [BOOK, SEARCH], None, "pass"),
        (checks.ToolCalled("search"), [], None, "fail"),
        (checks.ToolCalled(), [SEARCH], "search", "pass"),
        (checks.ToolCalled(), [SEARCH], None, "error"),
        (checks.ToolArguments("book", {"id": 7.0}), [SEARCH, BOOK], None, "pass"),
        (checks.ToolArguments("book", {"id": "7"}), [BOOK], None, "fail"),
        (checks.ToolArguments("book", {"id": True}), [ToolCall(name="book", arguments={"id": 1})], None, "fail"),
        (checks.ToolArguments("search", {"city": "Rome"}), [SEARCH], None, "fail"),
        (checks.ToolArguments("search", {"city": "Rome"}, mode="subset"), [SEARCH], None, "pass"),
        (checks.ToolArguments("search", {"filter": {"stars": 3}}, mode="subset"), [SEARCH], None, "pass"),
        (checks.ToolArguments("search", {"filter": {"stars": 4}}, mode="subset"), [SEARCH], None, "fail"),
        (checks.ToolArguments("search", {"pool": True}, mode="subset"), [SEARCH], None, "fail"),
        (checks.ToolArguments("book", {"id": 7}), [ToolCall(name="book", arguments={"id": 1}), BOOK], None, "pass"),
        (checks.ToolArguments("book"), [BOOK], {"id": 7}, "pass"),
        (checks.ToolArguments("book"), [BOOK], "id", "error"),
        (checks.ToolArguments("book"), [BOOK], None, "error"),
        (checks.ToolArguments("book", {"id": 7}), [SEARCH], None, "fail"),
        (checks.ToolArguments("book", schema={"properties": {"id": {"type": "integer"}}}), [BOOK], None, "pass"),
        (checks.ToolArguments("book", schema={"properties": {"id": {"type": "string"}}}), [BOOK], None, "fail"),
        (checks.ToolSequence(["search", "book"]), [SEARCH, BOOK], None, "pass"),
        (checks.ToolSequence(["search", "book"]), [BOOK, SEARCH], None, "fail"),
        (checks.ToolSequence(["search", "book"]), [SEARCH, SEARCH, BOOK], None, "fail"),
        (checks.ToolSequence(["search", "book"], "subsequence"), [SEARCH, SEARCH, BOOK], None, "pass"),
        (checks.ToolSequence(["search", "book"], "subsequence"), [BOOK, SEARCH], None, "fail"),
        (checks.ToolSequence(["book", "search"], "set"), [SEARCH, SEARCH, BOOK], None, "pass"),
        (checks.ToolSequence(["book"], "set"), [SEARCH, BOOK], None, "fail"),
        (checks.ToolSequence([]), [], None, "pass"),
        (checks.ToolSequence([]), [BOOK], None, "fail"),
        (checks.ToolSequence(), [SEARCH, BOOK], ["search", "book"], "pass"),
        (checks.ToolSequence(), [], [], "pass"),
        (checks.ToolSequence(), [BOOK], None, "error"),
    ],
)
def test_tool_calls(check, calls, reference, expected) -> None:
    """Names, arguments and order of the recorded calls, against settings or the item's reference."""
    assert status(check, "", reference, tool_calls=calls) == expected


def test_reasons_and_scores_of_tool_checks() -> None:
    """What was called is said, and how much of the expected sequence is there."""
    result = row(checks.ToolSequence(["search", "compare", "book"]), "", tool_calls=[SEARCH, BOOK])
    assert result.score == pytest.approx(2 / 3)
    assert result.reason == "called search, book, expected search, compare, book (exact)"
    assert row(checks.ToolCalled("search"), "").reason == "called no tool, expected 'search'"
    assert "book: called with {'id': 7}, expected {'id': 8}" in row(checks.ToolArguments("book", {"id": 8}), "", tool_calls=[BOOK]).reason
    wrong = row(checks.ToolArguments("book", schema={"required": ["when"]}), "", tool_calls=[BOOK])
    assert wrong.reason == "book: $: 'when' is a required property"


def test_a_schema_of_arguments_is_checked_before_the_run(tmp_path) -> None:
    """As any schema: from a file, and refused where it is none; not together with arguments."""
    (tmp_path / "book.json").write_text('{"type": "objekt"}')
    with pytest.raises(InputError, match=r"check `tool-arguments`, .*book\.json: \$\.type"):
        compiled({"tool-arguments": {"tool": "book", "schema": "book.json"}}, tmp_path)
    with pytest.raises(InputError, match="`arguments` and `schema` exclude each other"):
        compiled({"tool-arguments": {"tool": "book", "schema": True, "arguments": {}}})


@pytest.mark.parametrize(
    ("check", "fields", "expected", "reason"),
    [
        (checks.MaxLatency(2000), {"latency_ms": 2000.0}, "pass", "2000 ms, maximum 2000"),
        (checks.MaxLatency(2000), {"latency_ms": 2000.1}, "fail", "2000.1 ms, maximum 2000"),
        (checks.MaxCost(0.01), {"cost_usd": 0.0}, "pass", "0 USD, maximum 0.01"),
        (checks.MaxCost(0.01), {"cost_usd": 0.02}, "fail", "0.02 USD, maximum 0.01"),
    ],
)
def test_time_and_money_have_a_maximum(check, fields, expected, reason) -> None:
    """The limit itself is still allowed."""
    result = row(check, "", **fields)
    assert (result.status, result.reason) == (expected, reason)

"""What becomes of a check's answer: rows, negation, errors, titles, hashes, and reasons that are safe to print."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalh import checks
from evalh.checks.apply import apply_checks, compile_checks, unique_titles
from evalh.checks.base import Check, Finding
from evalh.checks.limits import Undecidable, safe_line, within
from evalh.errors import InputError
from tests.checks_support import beside, compiled, row, subject


class Says(Check):
    """A check that answers what it is told to."""

    kind = "says"
    answer: Any = None
    raises: bool = False

    def compile(self, resolve):
        def run(subject):
            if self.raises:
                raise KeyError("inside")
            return self.answer

        return run


@given(st.booleans(), st.floats(0, 1), st.booleans(), st.floats(0.1, 10))
def test_a_negated_check_is_the_mirror_of_the_plain_one(passed, score, blocking, weight) -> None:
    """Negation turns pass and fail around and the score to 1 − score; blocking and weight stay."""
    plain = row(Says(answer=Finding(passed, score, "so"), blocking=blocking, weight=weight))
    mirror = row(Says(answer=Finding(passed, score, "so"), blocking=blocking, weight=weight, negate=True))
    assert {plain.status, mirror.status} == {"pass", "fail"}
    assert plain.score == score
    assert mirror.score == 1 - score
    assert (mirror.negated, mirror.blocking, mirror.weight) == (True, blocking, weight)
    assert mirror.check == "not-says"


@pytest.mark.parametrize("negate", [False, True])
@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (Says(raises=True), "KeyError: 'inside'"),
        (Says(answer=True), "gave bool, not a Finding"),
        (Says(answer=Finding(True, float("nan"))), "the score nan, which is not in [0, 1]"),
        (Says(answer=Finding(True, 1.5)), "the score 1.5"),
        (checks.Equals(), "item i1 has no reference"),
        (checks.MaxLatency(5), "the output has no latency_ms"),
        (checks.MaxCost(5), "the output has no cost_usd"),
    ],
)
def test_what_cannot_be_decided_is_an_error_negated_or_not(check, reason, negate) -> None:
    """An exception, a broken answer or a missing figure is an error row: never a pass, never a fail, without a score."""
    result = row(check.model_copy(update={"negate": negate}), "text")
    assert (result.status, result.score) == ("error", None)
    assert reason in result.reason


def test_an_output_that_the_system_failed_to_give_passes_nothing() -> None:
    """Checks of a missing output are errors, also those that an empty text would pass."""
    result = row(checks.Contains("sorry", negate=True), "", error="connection dropped")
    assert result.status == "error"
    assert result.reason == "there is no output: connection dropped"


def test_all_checks_run_and_every_failure_is_shown() -> None:
    """A failed blocking check does not hide what the checks after it say; rows keep the order of the suite."""
    ready = compile_checks([checks.MaxWords(1), Says(raises=True), checks.Contains("x"), checks.JSONValid()], beside("."))
    assert [r.status for r in apply_checks(ready, subject("no json here"))] == ["fail", "error", "fail", "fail"]


def test_titles_are_unique_in_a_suite() -> None:
    """Checks of one name get numbers in their order, and never a name that another check was given."""
    given = [checks.Regex("a"), checks.Regex("b"), checks.Regex("c", name="regex-2"), checks.Regex("d"), checks.Regex("e", name="mine")]
    assert unique_titles(given) == ["regex", "regex-3", "regex-2", "regex-4", "mine"]
    ready = compile_checks(given, beside("."))
    assert [c.title for c in ready] == unique_titles(given)
    assert [c.blocking for c in ready] == [True] * 5


def test_a_changed_file_is_another_check(tmp_path) -> None:
    """The hash of a check covers its settings and the files they name, but not its name."""
    (tmp_path / "s.json").write_text('{"type": "object"}')
    before = compiled(checks.JSONSchema("s.json"), tmp_path)[0].check_hash
    assert compiled(checks.JSONSchema("s.json", name="other"), tmp_path)[0].check_hash == before
    (tmp_path / "s.json").write_text('{"type": "array"}')
    assert compiled(checks.JSONSchema("s.json"), tmp_path)[0].check_hash != before
    assert checks.MaxWords(3).check_hash != checks.MaxWords(4).check_hash


def test_settings_that_cannot_work_name_the_check() -> None:
    """compile_checks says which check of the suite is wrong, before anything runs."""
    with pytest.raises(InputError, match=r"^check `mine`, path: '\$\[' is no JSON path"):
        compile_checks([checks.JSONPath("$[", exists=True, name="mine")], beside("."))

    class Broken(Check):
        kind = "broken"

        def compile(self, resolve):
            raise RuntimeError("no way")

    with pytest.raises(InputError, match="check `broken`: cannot be set up: RuntimeError: no way"):
        compile_checks([Broken()], beside("."))


def test_reasons_are_one_short_line_without_control_characters() -> None:
    """An output cannot move a terminal's cursor, reorder text, or break a file through a reason."""
    hostile = "a\x1b[2J\x1b]0;title\x07b\r\n\x00c\u202ed\ud800e\x9bf" + "x" * 10_000
    result = row(Says(answer=Finding(False, 0.0, hostile)))
    assert result.reason.startswith("ab cdef")
    assert len(result.reason) == 500
    result.reason.encode("utf-8")
    assert safe_line("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\") == "link"
    assert json.loads(row(checks.Equals("x"), "\x1b[31mred\x1b[0m").model_dump_json())["reason"] == "differs: got 'red', expected 'x'"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a limit that arrives in a finaliser
def test_a_call_that_never_ends_is_stopped() -> None:
    """The time limit ends pure Python code in any thread, and leaves the caller as it was."""

    def endless() -> None:
        while True:
            pass

    for _ in range(3):
        with pytest.raises(Undecidable, match=r"not decided within 0\.05 s"):
            within(0.05, endless)
    assert within(1.0, lambda: "done") == "done"
    with pytest.raises(KeyError):
        within(1.0, lambda: {}["x"])

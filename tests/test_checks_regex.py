"""Regular expressions: what they match, and that no pattern and no output can hang a run."""

from __future__ import annotations

import threading
import time

import pytest

from evalh import checks
from evalh.checks.patterns import MAX_STEPS, bounded_pattern, short_chars, written_out
from evalh.errors import InputError
from tests.checks_support import compiled, row, status


@pytest.mark.parametrize(
    ("check", "text", "expected"),
    [
        (checks.Regex(r"\b30 days\b"), "within 30 days.", "pass"),
        (checks.Regex(r"\b30 days\b"), "within 130 days.", "fail"),
        (checks.Regex("yes", ignore_case=True), "YES", "pass"),
        (checks.Regex("yes", mode="fullmatch"), "yes.", "fail"),
        (checks.Regex("^b$"), "a\nb", "fail"),
        (checks.Regex("^b$", multiline=True), "a\nb", "pass"),
        (checks.Regex("a.b"), "a\nb", "fail"),
        (checks.Regex("a.b", dotall=True), "a\nb", "pass"),
        (checks.Regex(r"^\p{Han}+$"), "我们", "pass"),
        (checks.Regex("(?<=€ )[0-9]+"), "€ 30", "pass"),
    ],
)
def test_patterns_match_as_in_python(check, text, expected) -> None:
    """Search or full match, with the usual flags, look-around and Unicode classes."""
    assert status(check, text) == expected


def test_the_reason_shows_the_match() -> None:
    """What matched and where is in the reason, which a negated check needs."""
    assert row(checks.Regex("s[a-z]+", negate=True), "so sorry").reason == "holds, and must not: 's[a-z]+' matches 'so' at character 1"


CATASTROPHIC = [
    (r"(x+x+)+y", "x" * 100_000),
    (r"(a|aa)+$", "a" * 60 + "!"),
    (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 100_000),
    (r"(?=(a+)+b)", "a" * 100_000),
    (r"(\((?:[^()]|(?1))*\))", "(" * 100_000),
    (r"^(.*?,){50}P", "P" + "1,"[::-1] * 200_000 + "1," * 200_000),
    (r"\s+$", "\t" * 1_000_000 + "x"),
    ("a?" * 600 + "a" * 600, "a" * 600),
]


@pytest.mark.parametrize(("pattern", "text"), CATASTROPHIC)
def test_a_hostile_pattern_or_output_is_an_error_within_its_time(pattern, text) -> None:
    """Patterns that backtrack for ever end as an error row soon after the time limit, and never as a fail."""
    start = time.monotonic()
    result = row(checks.Regex(pattern, timeout_s=0.1), text)
    assert time.monotonic() - start < 2
    assert result.status == "error"
    assert "within 0.1 s" in result.reason


def test_a_huge_output_is_matched_in_time() -> None:
    """Ten million characters are no trouble for a plain pattern."""
    assert status(checks.Regex(r"needle\d"), "hay " * 2_500_000 + "needle7") == "pass"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a(", "is no regular expression: missing )"),
        ("[a-", "is no regular expression"),
        ("(" * 3000, "is no regular expression"),
        ("(?:" * 900 + "a" + ")" * 900, "is no regular expression: RecursionError"),
        ("a{1000000000}", "repeats 1,000,000,000 elements"),
        ("((a{1000}){1000}){1000}", "elements; counts in braces may multiply to at most 100,000"),
        ("(?:ab?){9999999,}c", "elements"),
        ("x" * 4001, "has 4,001 characters; at most 4,000"),
    ],
)
def test_a_pattern_that_cannot_be_compiled_in_bounded_time_is_refused(pattern, message) -> None:
    """A pattern that is wrong, or would take seconds or gigabytes to compile, is bad input, said at once."""
    start = time.monotonic()
    with pytest.raises(InputError) as error:
        compiled(checks.Regex(pattern))
    assert message in str(error.value)
    assert str(error.value).startswith("check `regex`: the pattern ")
    assert len(str(error.value)) < 300
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("pattern", "size"),
    [("abc", 3), (r"\d{4}-\d{2}-\d{2}", 10), ("(ab){3}c", 10), ("((a{10}){10}){10}", 1110), (r"[^]{9}]{5}", 5), ("^.{1,5000}$", 3)],
)
def test_the_written_out_size_of_a_pattern_follows_its_counts(pattern, size) -> None:
    """Counts multiply through groups; what stands in a class or after a backslash is one element."""
    assert written_out(pattern) == size


UNKNOWN = ["(a|b)*", "(?:ab){2}", r"(a)\1", "(?=a)b", "(?i:a)", r"\p{L}", r"\X", "(?:foo){e<=1}", "a{e<=1}", "[a-", r"\N{BULLET}", "(?R)?"]
UNKNOWN += [pattern for pattern, _ in CATASTROPHIC if pattern != r"\s+$"]


@pytest.mark.parametrize("pattern", UNKNOWN)
def test_a_pattern_whose_work_is_not_known_always_has_a_clock(pattern) -> None:
    """Repeated groups, look-around, back-references, fuzzy matches: no text with a letter is matched without a time limit."""
    assert short_chars(pattern) <= 0


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"\s+$", "\t"),
        (r"\s+x", "\t"),
        ("a*a*b", "a"),
        ("a?" * 4 + "a" * 4 + "b", "a"),
        ("a{1,9}a{1,9}b", "a"),
        ("(?:a|a)(?:a|a)(?:a|a)(?:a|a)b", "a"),
        (".*.*x", "a"),
        ("a" * 50 + "b", "a"),
        (r"[ab]+\w*?[^c]++x", "a"),
        (r"\b30 days\b", "30 day"),
    ],
)
def test_without_a_clock_the_work_is_small(pattern, text) -> None:
    """The longest text that is matched without a time limit takes no longer than a tick of it, at its worst."""
    pattern = bounded_pattern(pattern)
    assert 1 <= pattern.short_chars < MAX_STEPS
    worst = (text * pattern.short_chars)[: pattern.short_chars]
    for match in (pattern.search, pattern.fullmatch):
        start = time.process_time()
        match(worst)
        assert time.process_time() - start < 0.1


def test_a_slow_match_does_not_stop_other_threads() -> None:
    """The matcher lets go of the interpreter: checks of other outputs go on while one runs into its limit."""
    counted = 0
    done = threading.Event()

    def count() -> None:
        nonlocal counted
        while not done.is_set():
            counted += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    row(checks.Regex(r"(x+x+)+y", timeout_s=0.5), "x" * 5000)
    done.set()
    thread.join()
    assert counted > 50

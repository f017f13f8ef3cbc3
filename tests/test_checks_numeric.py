"""Numbers in text: how they are read, and how they are compared."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalh import checks
from evalh.checks.numeric import numbers_in
from tests.checks_support import row, status


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", []),
        ("no number, A4, x2, covid-19, user_1", [19]),
        ("It is 42.", [42]),
        ("1,234.5 and 1,234,567", ["1234.5", 1234567]),
        ("1, 2, 3", [1, 2, 3]),
        ("(1,2)", [1, 2]),
        ("3,14", [3, 14]),
        ("-3e5 or +2E-3", [-300000, "0.002"]),
        ("3 × 10^5, 3x10^-2, 3 \\times 10^{4}, 2 * 10^3", [300000, "0.03", 30000, 2000]),
        ("−7 °C", [-7]),
        ("10-5", [10, 5]),
        ("2024-05-01", [2024, 5, 1]),
        ("$1,200.50 -$5 $-6 €7", ["1200.5", -5, -6, 7]),
        (".5 and 0.5", ["0.5", "0.5"]),
        ("12.5% of 40 %", ["12.5", 40]),
        ("v1.2.3", []),
        ("1.2.3", ["1.2"]),
        ("5kg in 3D", [5, 3]),
        ("共42个", [42]),
        ("1\u202f234\u202f567,5", [1234567, 5]),
        ("1,2345", [1, 2345]),
        ("\\boxed{42}", [42]),
        ("2e", [2]),
    ],
)
def test_numbers_are_read_as_people_write_them(text, numbers) -> None:
    """Groups, signs, exponents, currencies and percents; digits in words are no numbers."""
    assert numbers_in(text) == [Decimal(n) for n in numbers]


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=4))
def test_every_way_to_write_a_number_reads_back_as_it(number: Decimal) -> None:
    """Plain, grouped, with an exponent, amid words: what is written is what is read."""
    for written in (f"{number:f}", f"{number:,f}", f"{number:.30e}", f"{number:f}".replace("-", "−"), f"{number:f}%"):
        assert numbers_in(f"the answer is {written}, I think.") == [number]
    assert numbers_in(f"{number:f}%", "fraction") == [number / 100]


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Any text gives a list of numbers."""
    assert all(n.is_finite() for n in numbers_in(text))


@pytest.mark.parametrize(
    ("check", "text", "reference", "expected"),
    [
        (checks.Numeric(42), "First 7, then 42.", None, "pass"),
        (checks.Numeric(7), "First 7, then 42.", None, "fail"),
        (checks.Numeric(7, which="first"), "First 7, then 42.", None, "pass"),
        (checks.Numeric(7, which="only"), "First 7, then 42.", None, "fail"),
        (checks.Numeric(7, which="only"), "It is 7.", None, "pass"),
        (checks.Numeric(), "= 42", "so we get #### 42", "pass"),
        (checks.Numeric(), "= 42", 42.0, "pass"),
        (checks.Numeric(), "= 42", "none", "error"),
        (checks.Numeric(), "= 42", [42], "error"),
        (checks.Numeric(), "= 42", None, "error"),
        (checks.Numeric(0.3), "0.30", None, "pass"),
        (checks.Numeric(0.3), "0.1 + 0.2 = 0.30000000000000004", None, "fail"),
        (checks.Numeric(9.8, abs_tolerance=0.02), "9.82", None, "pass"),
        (checks.Numeric(9.8, abs_tolerance=0.02), "9.821", None, "fail"),
        (checks.Numeric(-200, rel_tolerance=0.01), "-202", None, "pass"),
        (checks.Numeric(-200, rel_tolerance=0.01), "-203", None, "fail"),
        (checks.Numeric(0.125, percent="fraction"), "12.5%", None, "pass"),
        (checks.Numeric(12.5), "12.5%", None, "pass"),
        (checks.Numeric(12345678901234567), "12345678901234568", None, "fail"),
        (checks.Numeric(1), "", None, "fail"),
        (checks.Numeric(1), "9" * 5000, None, "error"),
        (checks.Numeric(1), "1e999999999", None, "error"),
        (checks.Numeric(1), "x" * 1_000_001, None, "error"),
        (checks.Numeric(12.5, path="$.total"), '{"total": 12.50}', None, "pass"),
        (checks.Numeric(1200, path="$.total"), '{"total": "1,200"}', None, "pass"),
        (checks.Numeric(12.5, path="$.total"), '{"total": null}', None, "fail"),
        (checks.Numeric(12.5, path="$.total"), '{"sum": 1}', None, "fail"),
        (checks.Numeric(12.5, path="$.total"), "12.5", None, "fail"),
        (checks.Numeric(12.5, path="$.total", extract=True), 'Here:\n```json\n{"total": 12.5}\n```', None, "pass"),
        (checks.Numeric(1e-7, path="$.x"), '{"x": 1e-07}', None, "pass"),
    ],
)
def test_numbers_are_compared_exactly_within_their_tolerances(check, text, reference, expected) -> None:
    """The chosen number of the text or the JSON is compared with the value or the reference, without rounding."""
    assert status(check, text, reference) == expected


def test_the_reason_says_how_far_off() -> None:
    """Got, expected and the difference, as people write numbers."""
    assert row(checks.Numeric(9.8), "9.81 m/s").reason == "9.81, expected 9.8, off by 0.01"
    assert row(checks.Numeric(1, which="only"), "1 2").reason == "holds not exactly one number"

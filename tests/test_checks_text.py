"""Checks of plain text: equality, containment, edges, lengths, refusals."""

from __future__ import annotations

import pytest

from evalh import checks
from evalh.checks.text import count_words
from tests.checks_support import row, status


@pytest.mark.parametrize(
    ("check", "text", "reference", "expected"),
    [
        (checks.Equals("Paris"), " Paris\n", None, "pass"),
        (checks.Equals("Paris", strip=False), "Paris\n", None, "fail"),
        (checks.Equals("paris"), "Paris", None, "fail"),
        (checks.Equals("STRASSE", ignore_case=True), "straße", None, "pass"),
        (checks.Equals("é"), "e\u0301", None, "pass"),
        (checks.Equals(), "Paris", "Paris", "pass"),
        (checks.Equals(), '{"b": [1, 2.0], "a": true}', {"a": True, "b": [1.0, 2]}, "pass"),
        (checks.Equals(), '{"a": 1}', {"a": True}, "fail"),
        (checks.Equals(42), "42.0", None, "pass"),
        (checks.Equals({"a": 1}), "not json", None, "fail"),
        (checks.Contains("30 days"), "within 30 days.", None, "pass"),
        (checks.Contains("Days", ignore_case=True), "within 30 dAYS.", None, "pass"),
        (checks.Contains(), "It is 42.", 42, "pass"),
        (checks.Contains(), "It is 42.", {"a": 1}, "error"),
        (checks.Contains(), "It is 42.", "", "error"),
        (checks.ContainsAny(["a week", "a month"]), "in a month", None, "pass"),
        (checks.ContainsAny(["a week", "a month"]), "in a year", None, "fail"),
        (checks.ContainsAny(), "in a month", ["a week", "a month"], "pass"),
        (checks.ContainsAll(), "in a month", ["a week", "a month"], "fail"),
        (checks.ContainsAll(["in", "a"]), "in a month", None, "pass"),
        (checks.StartsWith("Dear"), "\n Dear customer", None, "pass"),
        (checks.StartsWith("Dear", strip=False), " Dear customer", None, "fail"),
        (checks.StartsWith("dear", ignore_case=True), "DEAR", None, "pass"),
        (checks.EndsWith("regards"), "Kind regards\n", None, "pass"),
        (checks.EndsWith("regards"), "regards, Bo", None, "fail"),
        (checks.MinWords(3), "one two", None, "fail"),
        (checks.MaxWords(0), "", None, "pass"),
        (checks.MinChars(2), "é", None, "fail"),
        (checks.MaxChars(1), "e\u0301", None, "pass"),
        (checks.MaxChars(3), "four", None, "fail"),
    ],
)
def test_text_checks(check, text, reference, expected) -> None:
    """Each check of text says what its words say, in any script, and compares with the item's reference where given no value."""
    assert status(check, text, reference) == expected


@pytest.mark.parametrize(
    "check", [checks.Equals, checks.Contains, checks.ContainsAny, checks.ContainsAll, checks.StartsWith, checks.EndsWith]
)
def test_a_check_without_value_and_reference_is_an_error(check) -> None:
    """Nothing to compare with is neither a pass nor a fail."""
    assert row(check(), "text").reason == "item i1 has no reference to compare with"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("one, two — three!", 3),
        ("don't over-think it", 3),
        ("- bullet * point #", 2),
        ("3.14 is pi", 3),
        ("Можно вернуть товар", 3),
        ("我们今天去公园。", 7),
        ("iPhone 手机很好", 5),
        ("これはペンです", 7),
        ("한국어 단어", 2),
    ],
)
def test_words_are_counted_in_any_script(text: str, words: int) -> None:
    """A word is a run without spaces that holds a letter or digit; each Chinese or Japanese character is one."""
    assert count_words(text) == words


def test_reasons_say_what_was_found() -> None:
    """A reader of the report sees what was there and what was expected, and the score of a partial hit."""
    assert row(checks.MaxWords(2), "one two three").reason == "3 words, maximum 2"
    partial = row(checks.ContainsAll(["refund", "receipt", "30 days"]), "a refund needs a receipt")
    assert (partial.score, partial.reason) == (pytest.approx(2 / 3), "lacks '30 days'")
    long = "The same beginning of a rather long sentence, and then it is "
    differs = row(checks.Equals(long + "this"), long + "that").reason
    assert differs == "differs from character 64: got 'e, and then it is that', expected 'e, and then it is this'"
    assert row(checks.Contains("b", negate=True), "abc").reason == "holds, and must not: contains 'b'"


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I can’t assist with that request.",
        "I cannot provide instructions for making weapons.",
        "Sorry, I can't do that.",
        "Unfortunately, I am unable to comply with this request.",
        "As an AI language model, I don't have personal opinions and I cannot give advice here.",
        "I won't be able to help you with this.",
        "I must respectfully decline to answer.",
        "That goes against my guidelines.",
        "I'm not comfortable discussing this topic; I'm not going to write it.",
        "I'm afraid that isn't something I can help with.",
        "Lo siento, pero no puedo ayudar con eso.",
        "Désolé, je ne peux pas vous aider avec cela.",
        "Es tut mir leid, aber ich kann dabei nicht helfen.",
        "Извините, но я не могу помочь с этим.",
        "抱歉，我无法提供这方面的帮助。",
        "申し訳ありませんが、その質問にはお答えできません。",
    ],
)
def test_common_refusals_are_recognised(text: str) -> None:
    """Openings by which models refuse, with straight and curly apostrophes, and in a few other languages."""
    assert status(checks.Refusal(), text) == "pass"
    assert status(checks.Refusal(negate=True), text) == "fail"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "You can return it within 30 days.",
        "I'm sorry to hear that your parcel is late. Here is what to do.",
        "I can't wait to show you the new features!",
        "You can't help but smile, and I can't help but agree.",
        "I cannot recommend this enough.",
        "I'm unable to find order 7 at first sight, so please send its number.",
        "Don't give up: I won't give up either.",
        "Sorry for the delay! Your refund was sent today.",
        "x " * 400 + "I'm sorry, but I can't help with that.",
    ],
)
def test_helpful_answers_are_not_taken_for_refusals(text: str) -> None:
    """Apologies, idioms and whatever comes late in the output are no refusals."""
    assert status(checks.Refusal(), text) == "fail"


def test_a_suite_can_add_its_own_refusals() -> None:
    """Phrases of a suite count, whatever their case and apostrophes."""
    assert status(checks.Refusal(phrases=["that’s outside my remit"]), "That's outside my remit, I fear.") == "pass"

"""The parts of reports: scales and charts, word differences, text that hides nothing."""

from __future__ import annotations

from datetime import datetime
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from evalh.report.diff import word_diff
from evalh.report.svg import Part, Scale, axis, bar, interval, scale_for
from evalh.report.text import comment, cut, excerpt, shown, visible
from evalh.report.words import consistency_means, day, first_share_means, money, points, whole

SHARE = st.floats(0, 1)


# ---- charts ----------------------------------------------------------------------------------------------------------


@given(st.lists(SHARE, min_size=1, max_size=6), st.sampled_from([0.05, 0.1, 0.2]))
@settings(deadline=None, max_examples=200)
def test_a_scale_holds_every_value_between_round_ends(values: list[float], least: float) -> None:
    """No value stands outside, the ticks go from end to end in equal steps, and there are few of them."""
    scale = scale_for(values, least=least)
    assert 0 <= scale.low <= min(values) + 1e-9
    assert max(values) - 1e-9 <= scale.high <= 1 + 1e-9
    assert scale.high - scale.low >= least - 1e-9
    assert 2 <= len(scale.ticks) <= 8
    assert scale.ticks[-1] == pytest.approx(scale.high)


def test_an_interval_is_drawn_where_its_numbers_are() -> None:
    """Ends, value and threshold stand at their places in percent of the width, and the passing side is tinted."""
    made = interval({"value": 0.5, "low": 0.25, "high": 0.75}, Scale(0.0, 1.0, 0.25), label="score", threshold=0.4, passes="above")
    svg = ElementTree.fromstring(made)
    whisker = svg.find("line[@class='whisker']")
    assert whisker is not None
    assert (whisker.get("x1"), whisker.get("x2")) == ("25%", "75%")
    assert [c.get("cx") for c in svg.iter("circle")] == ["50%"]
    assert [line.get("x1") for line in svg.iter("line") if line.get("class") == "threshold"] == ["40%"]
    assert [(r.get("x"), r.get("width")) for r in svg.iter("rect")] == [("40%", "60%")]


def test_an_estimate_without_interval_is_an_open_dot_and_without_value_is_no_dot() -> None:
    """Nothing is drawn that is not known."""
    scale = Scale(0.0, 1.0, 0.25)
    assert 'class="dot open"' in interval({"value": 0.5, "low": None, "high": None}, scale, label="few")
    empty = interval({"value": None, "low": None, "high": None}, scale, label="none")
    assert "circle" not in empty
    assert "whisker" not in empty


def test_a_stacked_bar_fills_its_width_in_proportion() -> None:
    """Parts stand beside each other in order; empty ones are left out; nothing to show is an empty bar."""
    svg = ElementTree.fromstring(bar([Part("passed", 3, "good"), Part("failed", 0, "bad"), Part("errors", 1, "warn")], 4, label="check"))
    parts = [r for r in svg.iter("rect") if "part" in (r.get("class") or "")]
    assert [(r.get("x"), r.get("width")) for r in parts] == [("0%", "75%"), ("75%", "25%")]
    assert [r.findtext("title") for r in parts] == ["passed: 3 of 4", "errors: 1 of 4"]
    assert "part" not in bar([Part("passed", 0, "good")], 0, label="nothing")


def test_names_in_charts_are_escaped() -> None:
    """A check or a slice may be named like markup; the chart stays well-formed."""
    hostile = '"><script>\u202e&\x00'
    for made in (
        interval({"value": 0.5}, Scale(0.0, 1.0, 0.25), label=hostile),
        bar([Part(hostile, 1, "good")], 1, label=hostile),
        axis(Scale(0.0, 1.0, 0.5), lambda _: hostile),
    ):
        assert isinstance(made, Markup)
        assert "<script>" not in made
        ElementTree.fromstring(made.replace("\x00", ""))


# ---- words that differ -----------------------------------------------------------------------------------------------


@given(st.text(max_size=80), st.text(max_size=80))
@settings(deadline=None, max_examples=300)
def test_a_difference_loses_no_character(before: str, after: str) -> None:
    """The pieces of each side, joined, are that side."""
    left, right = word_diff(before, after)
    assert "".join(piece.text for piece in left) == before
    assert "".join(piece.text for piece in right) == after


def test_what_differs_is_marked_and_what_is_common_is_not() -> None:
    """One changed number is one mark on each side; two texts with little in common carry no marks at all."""
    left, right = word_diff("Send it back within 30 days, unused.", "Send it back within 60 days, unused.")
    assert [p.text for p in left if p.changed] == ["30"]
    assert [p.text for p in right if p.changed] == ["60"]
    assert not any(p.changed for side in word_diff("Yes, it can.", "Never ask me that again, dear customer.") for p in side)


# ---- text ------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_seen_is_named() -> None:
    """Direction marks, controls, zero-width and tag characters become their code points; repeats are counted."""
    assert visible("a\u202eb") == "a⟨U+202E⟩b"
    assert visible("\x00\x00\x1b\u200b\ufeff") == "⟨U+0000 ×2 U+001B U+200B and 1 more⟩"
    assert visible("hi\U000e0041\U000e0042") == "hi⟨U+E0041 U+E0042⟩"
    assert visible("lone \ud800") == "lone ⟨U+D800⟩"
    assert shown("<b>\u202e") == '&lt;b&gt;<i class="cp" title="right-to-left override">U+202E</i>'


@pytest.mark.parametrize("text", ["tab\tand\nline", "👩‍👩‍👧 family", "می‌خواهم", "क्‍ष", "naïve café 你好 مرحبا", "❤️"])
def test_honest_text_is_left_as_it_is(text: str) -> None:
    """Tabs, line ends, emoji, Persian and Hindi joiners are writing, not hiding."""
    assert visible(text) == text
    assert shown(text) == text


def test_windows_line_ends_are_line_ends() -> None:
    """A carriage return alone is shown; before a line end it is part of it."""
    assert visible("a\r\nb\rc") == "a\nb⟨U+000D⟩c"


def test_a_cut_says_how_much_it_left_out_and_spares_a_few_characters() -> None:
    """A text a little over the limit stays whole."""
    assert cut("x" * 105, 100) == ("x" * 105, 0)
    assert cut("x" * 200, 100) == ("x" * 100, 100)
    assert excerpt("one\n two   three", 100) == "one two three"
    assert excerpt("word " * 100, 20) == "word word word word…"


@given(st.text(alphabet="->< !a", max_size=30))
def test_nothing_ends_a_comment(text: str) -> None:
    """Whatever a canary holds, the comment around it ends where we end it."""
    made = comment(text)
    assert "--" not in made
    assert ">" not in made


# ---- numbers in words ------------------------------------------------------------------------------------------------


def test_figures_read_as_people_read_them() -> None:
    """Shares with interval and n, differences in signed points, money, times; a missing number says why."""
    assert whole({"value": 0.821, "low": 0.71, "high": 0.903, "n": 60}) == "82.1\u00a0% [71.0, 90.3], n 60"
    assert (
        whole({"value": 0.5, "low": None, "high": None, "n": 4, "why": "4 items: an interval needs 10"})
        == "50.0\u00a0%, n 4 (4 items: an interval needs 10)"
    )
    assert whole({"value": None, "why": "no labels in this run"}) == "– (no labels in this run)"
    assert [points(v) for v in (-0.031, 0.0004, 0.05)] == ["−3.1\u00a0points", "0.0\u00a0points", "+5.0\u00a0points"]
    assert [money(v) for v in (0, 0.0123, 12.5)] == ["$0", "$0.0123", "$12.50"]
    assert day(datetime(2026, 11, 23, 10, 15)) == day("2026-11-23T10:15:30.5") == "2026-11-23 10:15 UTC"


def test_a_lean_is_named_only_where_the_interval_shows_one() -> None:
    """The sentence about position follows the interval, not the value."""
    assert "shown first" in first_share_means({"value": 0.6, "low": 0.52, "high": 0.68})
    assert "shown second" in first_share_means({"value": 0.4, "low": 0.32, "high": 0.48})
    assert "No lean" in first_share_means({"value": 0.6, "low": 0.48, "high": 0.7})
    assert "Too little" in first_share_means({"value": 0.9, "low": None, "high": None})
    assert consistency_means({"value": 0.75, "n": 40}).startswith("Asked in both orders, it named the same winner for 30 of 40 pairs")

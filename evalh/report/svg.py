"""Small static charts as SVG: intervals on a scale, stacked bars, an axis. No script, no file, no measure of the screen.

A chart is one row of a table whose other cells hold its numbers, so every chart has its data beside it. Places along a
scale are percentages of the width: a chart fills its cell on a phone as on a desk, and its strokes and letters keep
their size. Colours are classes (`evalh/report/templates/style.css.j2`), so light, dark and print are one file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from math import ceil, floor
from typing import Any, Literal, NamedTuple

from markupsafe import Markup, escape

from evalh.report.text import visible

HEIGHT = 22  # of one row, in CSS pixels
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
_MOST_TICKS = 5


class Scale(NamedTuple):
    """A stretch of numbers and the ticks on it, `step` apart."""

    low: float
    high: float
    step: float

    def at(self, value: float) -> float:
        """Where a value stands, in percent of the width; a value outside stands at the end."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 2)

    @property
    def ticks(self) -> list[float]:
        return [round(self.low + n * self.step, 10) for n in range(round((self.high - self.low) / self.step) + 1)]


class Part(NamedTuple):
    """One part of a stacked bar: what it is, how many, and the class of its colour (`good`, `bad`, `warn`, `kept`, `gone`)."""

    name: str
    n: int
    tone: str


def scale_for(values: Iterable[float | None], *, lowest: float = 0.0, highest: float = 1.0, least: float = 0.2) -> Scale:
    """A scale that holds all values, at least `least` wide, with round ends inside [lowest, highest]."""
    known = [v for v in values if v is not None] or [lowest, highest]
    middle, span = (min(known) + max(known)) / 2, max(max(known) - min(known), least)
    low, high = max(lowest, min(middle - span / 2, highest - span)), min(highest, max(middle + span / 2, lowest + span))
    step = next((s for s in _STEPS if (high - low) / s <= _MOST_TICKS), _STEPS[-1])
    return Scale(max(lowest, floor(round(low / step, 6)) * step), min(highest, ceil(round(high / step, 6)) * step), step)


Side = Literal["above", "below"]  # of a threshold


def interval(
    estimate: Mapping[str, Any], scale: Scale, *, label: str, threshold: float | None = None, passes: Side | None = None
) -> Markup:
    """An estimate as a dot with its interval, over the scale's ticks; a dashed line at the threshold, the passing side tinted."""
    marks = []
    if threshold is not None and passes is not None:
        start, end = (scale.at(threshold), 100.0) if passes == "above" else (0.0, scale.at(threshold))
        marks.append(_tag("rect", "passes", x=_pc(start), y=0, width=_pc(end - start), height=HEIGHT))
    marks += [_line("tick", scale.at(tick), scale.at(tick), 0, HEIGHT) for tick in scale.ticks]
    if threshold is not None:
        marks.append(_line("threshold", scale.at(threshold), scale.at(threshold), 0, HEIGHT))
    middle, value, low, high = HEIGHT / 2, estimate.get("value"), estimate.get("low"), estimate.get("high")
    if low is not None and high is not None:
        marks.append(_line("whisker", scale.at(low), scale.at(high), middle, middle))
        marks += [_line("whisker", scale.at(end), scale.at(end), middle - 4, middle + 4) for end in (low, high)]
    if value is not None:
        marks.append(_tag("circle", "dot" if low is not None else "dot open", cx=_pc(scale.at(value)), cy=middle, r=4))
    return _chart(marks, label)


def axis(scale: Scale, name: Callable[[float], str]) -> Markup:
    """The names of a scale's ticks, to stand under its rows; the first and the last stay inside."""
    ticks, marks = scale.ticks, []
    for place, tick in enumerate(ticks):
        anchor = "start" if place == 0 else "end" if place == len(ticks) - 1 else "middle"
        marks.append(_tag("text", f"name {anchor}", escape(name(tick)), x=_pc(scale.at(tick)), y=12))
    return Markup('<svg class="chart axis" width="100%" height="16" aria-hidden="true">{}</svg>').format(Markup("").join(marks))


def bar(parts: Sequence[Part], whole: int, *, label: str, height: int = 14) -> Markup:
    """Counts beside each other, `whole` being the full width."""
    marks, at = [_tag("rect", "empty", x=0, y=0, width="100%", height=height)], 0
    for part in (p for p in parts if p.n > 0 and whole > 0):
        start, end = 100 * at / whole, 100 * (at + part.n) / whole
        tip = Markup("<title>{}: {} of {}</title>").format(visible(part.name), part.n, whole)
        marks.append(_tag("rect", f"part {part.tone}", tip, x=_pc(start), y=0, width=_pc(end - start), height=height))
        at += part.n
    return _chart(marks, label, height)


class Curve(NamedTuple):
    """Estimates by a name, to be joined by a line; `css` is `first` or `second`."""

    css: str
    estimates: Mapping[str, Mapping[str, Any]]


def curves(lines: Sequence[Curve], scale: Scale, *, label: str, name: Callable[[float], str], height: int = 150) -> Markup:
    """Curves over the same names, at even steps, each estimate a dot with its interval; the scale stands upright, named on the left."""
    left, foot, marks = 6.0, 20, list[Markup]()
    names = list(lines[0].estimates)

    def x(place: int, shift: float = 0.0) -> float:
        return left + (100 - left) * (place + 0.5) / len(names) + shift

    def y(value: float) -> float:
        return round(6 + (height - foot - 6) * (1 - scale.at(value) / 100), 2)

    for tick in scale.ticks:
        marks.append(_line("tick", left, 100, y(tick), y(tick)))
        marks.append(_tag("text", "name start", escape(name(tick)), x=0, y=y(tick) + 4))
    marks += [_tag("text", "name", escape(each), x=_pc(x(n)), y=height - 3) for n, each in enumerate(names)]
    for number, curve in enumerate(lines):
        shift = 0.35 * (2 * number - len(lines) + 1)  # so that intervals at one place do not hide each other
        known = [(x(n, shift), e) for n, e in enumerate(curve.estimates.values()) if e.get("value") is not None]
        marks += [_line(f"curve {curve.css}", a, b, y(e["value"]), y(f["value"])) for (a, e), (b, f) in pairwise(known)]
        for at, e in known:
            if e.get("low") is not None and e.get("high") is not None:
                marks.append(_line(f"whisker {curve.css}", at, at, y(e["low"]), y(e["high"])))
            marks.append(_tag("circle", f"dot {curve.css}", cx=_pc(at), cy=y(e["value"]), r=3.5))
    return _chart(marks, label, height)


class Point(NamedTuple):
    """What was stated, how much of it came true (an estimate), and in how many cases."""

    stated: float
    found: Mapping[str, Any]
    n: int


def reliability(points: Sequence[Point], *, label: str, height: int = 220) -> Markup:
    """What was stated along, what was found upwards, both from 0 to 1; on the dashed diagonal the two are equal. Dots grow with n."""
    left, foot, top, marks = 7.0, 22, 8, list[Markup]()
    most = max((point.n for point in points), default=1)

    def x(value: float) -> float:
        return left + (96 - left) * value

    def y(value: float) -> float:
        return round(top + (height - foot - top) * (1 - value), 2)

    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        marks += [_line("tick", x(0), x(1), y(tick), y(tick)), _line("tick", x(tick), x(tick), y(0), y(1))]
        marks.append(_tag("text", "name start", escape(f"{100 * tick:.0f}"), x=0, y=y(tick) + 4))
        marks.append(_tag("text", "name", escape(f"{100 * tick:.0f}"), x=_pc(x(tick)), y=height - 6))
    marks.append(_line("threshold", x(0), x(1), y(0), y(1)))
    for point in points:
        low, high, value = point.found.get("low"), point.found.get("high"), point.found.get("value")
        if low is not None and high is not None:
            marks.append(_line("whisker", x(point.stated), x(point.stated), y(low), y(high)))
        if value is not None:
            size, css = round(2.5 + 4 * (point.n / most) ** 0.5, 1), "dot" if low is not None else "dot open"
            marks.append(_tag("circle", css, cx=_pc(x(point.stated)), cy=y(value), r=size))
    return _chart(marks, label, height)


def _chart(marks: Sequence[Markup], label: str, height: int = HEIGHT) -> Markup:
    return Markup('<svg class="chart" width="100%" height="{}" role="img" aria-label="{}"><title>{}</title>{}</svg>').format(
        height, visible(label), visible(label), Markup("").join(marks)
    )


def _line(css: str, x1: float, x2: float, y1: float, y2: float) -> Markup:
    return _tag("line", css, x1=_pc(x1), x2=_pc(x2), y1=y1, y2=y2)


def _tag(name: str, css: str, inner: Markup = Markup(""), **attributes: Any) -> Markup:  # noqa: B008 — Markup is immutable
    given = Markup(" ").join(Markup('{}="{}"').format(Markup(key), value) for key, value in attributes.items())  # noqa: S704 — our own names
    if not inner:
        return Markup('<{} class="{}" {}/>').format(Markup(name), css, given)  # noqa: S704
    return Markup('<{} class="{}" {}>{}</{}>').format(Markup(name), css, given, inner, Markup(name))  # noqa: S704


def _pc(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") + "%"

"""Numbers as people read them: shares, intervals, differences in points, money; and what the figures of a judge mean in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from evalh.cli.common import dollars, percent

Figure = Mapping[str, Any]  # an Estimate as a dict


def share(value: float | None, digits: int = 1) -> str:
    """A share in percent, in one piece: `82.1 %` with a space that does not break."""
    return percent(value, digits).replace(" ", "\u00a0")


def points(value: float | None) -> str:
    """A difference of two shares: `−3.1 points`."""
    return "–" if value is None else f"{_signed(value)}\u00a0points"


def spread(estimate: Figure, *, signed: bool = False) -> str:
    """The interval alone: `[81.2, 92.1]`, or nothing where there is none."""
    low, high = estimate.get("low"), estimate.get("high")
    if low is None or high is None:
        return ""
    return f"[{_signed(low)}, {_signed(high)}]" if signed else f"[{100 * low:.1f}, {100 * high:.1f}]"


def whole(estimate: Figure) -> str:
    """`82.1 % [71.0, 90.3], n 60`, or why it is less than that."""
    if estimate.get("value") is None:
        return f"– ({estimate.get('why') or 'no value'})"
    given = f"{share(estimate['value'])} {spread(estimate)}".rstrip()
    told = f"{given}, n {estimate.get('n', 0)}"
    return told if estimate.get("low") is not None else f"{told} ({estimate.get('why') or 'no interval'})"


def money(value: float | None) -> str:
    return "$0" if value == 0 else str(dollars(value))


def count(number: int, noun: str, many: str | None = None) -> str:
    """`1 item`, `12 items`."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def day(value: datetime | str | None) -> str:
    """A time of the store (UTC) as `2026-11-23 10:15 UTC`."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.strftime("%Y-%m-%d %H:%M UTC") if value is not None else "–"


def judge_name(judge: str, prompt: str | None, all_judges: Iterable[str]) -> str:
    """A judge's name; with its prompt where the same judge sits there under several. `all_judges` has one name per seat."""
    several = sum(other == judge for other in all_judges) > 1
    return f"{judge}#{prompt}" if several and prompt else judge


def unit(kind: str) -> str:
    """What a run counts."""
    return "pair" if kind == "pairwise" else "output"


def trials_each(trials: Mapping[str, Any]) -> str:
    """How many trials items have: `5`, or `3 to 5`."""
    return f"{trials['k']}" if trials["k"] == trials["most"] else f"{trials['k']} to {trials['most']}"


def passes_when(trials: Mapping[str, Any]) -> str:
    """When a trial passes, or what to do where nothing says so."""
    return f"passes {trials['passes']}" if trials["passes"] else str(trials["majority"]["why"])


# ---- what the figures of a judge mean -------------------------------------------------------------------------------


def first_share_means(estimate: Figure) -> str:
    value, low, high = estimate.get("value"), estimate.get("low"), estimate.get("high")
    if value is None or low is None or high is None:
        return "Too little to say whether it leans to the answer shown first."
    if low > 0.5:
        return "It leans to the answer shown first: the whole interval lies above 50 %."
    if high < 0.5:
        return "It leans to the answer shown second: the whole interval lies below 50 %."
    return "No lean to either place is shown: the interval holds 50 %."


def consistency_means(estimate: Figure) -> str:
    value, n = estimate.get("value"), estimate.get("n", 0)
    if value is None or not n:
        return "No pair was shown in both orders and read in both."
    same = round(value * n)
    if same == n:
        return f"Asked in both orders, it named the same winner for each of {count(n, 'pair')}."
    return f"Asked in both orders, it named the same winner for {same} of {count(n, 'pair')} and different ones for {n - same}."


def _signed(value: float) -> str:
    shown = f"{100 * abs(value):.1f}"
    return shown if shown == "0.0" else f"{'−' if value < 0 else '+'}{shown}"

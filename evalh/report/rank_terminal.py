"""What `evalh rank` prints for people: a table for each judge and for the panel, at 80 columns, then what to know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from evalh.cli.common import console, printable
from evalh.report.words import count

WIDTH = 80
NAME = 26  # a longer name has a line of its own
ROUTES = {"blocked": "blocked by tier 1", "no_output": "without an output"}


def print_ranking(document: Mapping[str, Any]) -> None:
    """Print the document of `evalh rank --json`."""
    out = console()
    lines = [*_head(document)]
    for judge in document["judges"]:
        lines += ["", *_judge(judge, judge["title"], document)]
    if document["panel"]:
        members = ", ".join(f"{m['judge']} ({m['family']})" for m in document["panel"]["members"])
        lines += ["", *_judge(document["panel"], "panel", document), *_wrapped(f"members: {members}")]
        lines += _wrapped(f"rule: {document['panel']['rule']}")
        missing = document["panel"]["n_incomplete_pairs"]
        lines += _wrapped(f"{count(missing, 'pair')} left out: not every family has a verdict on it") if missing else []
    elif len(document["judges"]) > 1:
        lines += ["", *_wrapped(f"no panel: {document['panel_why']}")]
    for line in lines:
        out.print(_line(line), soft_wrap=True, markup=False)


def _line(text: str) -> str:
    return printable(text).replace("\n", "\\n")


def _wrapped(text: str, indent: int = 2) -> list[str]:
    """A sentence in lines of at most 80 columns, following ones further in."""
    text = _line(text).replace(" %", "\0%")  # before it is measured: what cannot be printed takes more room as text
    parts = wrap(text, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2), break_on_hyphens=False)
    return [part.replace("\0", " ") for part in parts] or [""]


def _head(document: Mapping[str, Any]) -> list[str]:
    counted = f"{document['n_verdicts']:,} pairwise verdicts, {document['n_unscored']:,} unscored ({document['unscored_rule']})"
    lines = _wrapped(f"{document['run']}: {counted}", indent=0)
    if document["simulated"]:
        lines += _wrapped("SIMULATED JUDGES: their verdicts say nothing about any model.", indent=0)
    for route, n in document["never_judged"].items():
        lines += _wrapped(f"{count(n, 'pair')} {ROUTES[route]}: no judge was asked, and no figure here knows of them", indent=0)
    if len(document["aspects"]) > 1:
        lines += _wrapped(f"averaged over {len(document['aspects'])} aspects: {', '.join(document['aspects'])}", indent=0)
    return lines


def _judge(judge: Mapping[str, Any], title: str, document: Mapping[str, Any]) -> list[str]:
    marks = ["SIMULATED"] * bool(judge.get("simulated")) + ["SAME FAMILY (allowed)"] * bool(judge.get("same_family"))
    told = [*marks, count(judge["n_pairs"], "pair"), f"{count(judge['n_unscored'], 'verdict')} unscored"]
    told += [f"{count(judge['n_unscored_pairs'], 'pair')} left out"] if judge["n_unscored_pairs"] else []
    told += [f"{judge['tie_rate']:.1f} % tied"] if judge["tie_rate"] is not None else []
    against = f"baseline {judge['baseline']}" if judge["baseline"] else "no baseline"
    lines = _wrapped(f"{title}: {', '.join(told)}", indent=0) + _wrapped(f"{against} ({judge['baseline_why']})")
    columns = [("n", 6), ("win rate, %", 20), ("Elo", 21), ("rank", 6)]
    lines.append(f" {'':<{NAME}}" + "".join(f"{name:>{width}}" for name, width in columns))
    for row in judge["systems"]:
        lines += _row(row, [f"{row['n']:,}", _rate(row), _elo(row), _rank(row)], [width for _, width in columns])
    if document["length_controlled"] and judge["baseline"]:
        lines += _lengths(judge)
    if judge["rating_note"]:
        lines += _wrapped(f"ratings: {judge['rating_note']}")
    return lines + _reasons(judge)


def _row(row: Mapping[str, Any], cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    name = _line(row["system"])
    figures = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    if len(name) <= NAME:
        return [f" {name:<{NAME}}{figures}"]
    return [*wrap(name, WIDTH - 1, initial_indent=" ", subsequent_indent=" "), f" {'':<{NAME}}{figures}"]


def _rate(row: Mapping[str, Any]) -> str:
    if row["is_baseline"]:
        return "baseline"
    return _spread(row["win_rate_estimate"], ".1f")


def _elo(row: Mapping[str, Any]) -> str:
    return "0" if row["is_baseline"] and row["elo"] == 0 else _spread(row["elo_estimate"], "+.0f")


def _spread(estimate: Mapping[str, Any], form: str) -> str:
    """A number with its interval, alone where there is none."""
    if estimate["value"] is None:
        return "–"
    value, low, high = (None if (v := estimate[end]) is None else _number(v, form) for end in ("value", "low", "high"))
    return str(value) if low is None else f"{value} [{low}, {high}]"


def _number(value: float, form: str) -> str:
    """A number without the sign of a zero."""
    text = f"{value:{form}}"
    return text if text.strip("+-0.") else text.lstrip("+-")


def _rank(row: Mapping[str, Any]) -> str:
    low, high = row["rank_low"], row["rank_high"]
    return "–" if low is None else f"{low}" if low == high else f"{low}–{high}"


def _lengths(judge: Mapping[str, Any]) -> list[str]:
    """The length-controlled table: what equal length would do, beside how often the system is the longer one."""
    rows = [row for row in judge["systems"] if not row["is_baseline"]]
    methods = sorted({row["length_controlled_estimate"]["method"].split(";")[0] for row in rows} - {""})
    columns = [("equal length, %", 20), ("win rate, %", 14), ("longer, %", 12)]
    lines = _wrapped(f"at equal length: {' / '.join(methods) or 'not computed'}")
    lines.append(f" {'':<{NAME}}" + "".join(f"{name:>{width}}" for name, width in columns))
    for row in rows:
        raw, longer = (row.get(name) for name in ("win_rate", "longer_share"))
        cells = [_spread(row["length_controlled_estimate"], ".1f"), *("–" if v is None else f"{v:.1f}" for v in (raw, longer))]
        lines += _row(row, cells, [width for _, width in columns])
        joined = row.get("length_controlled_on_judged_items")
        if row.get("n_length_unknown"):
            lines += _wrapped(f"{row['system']}: {count(row['n_length_unknown'], 'comparison')} left out, an output is not there", indent=4)
        if joined is not None and abs(joined - row["length_controlled_win_rate"]) > 1e-9:
            told = f"{row['system']}: {joined:.2f} with the difficulty of the items it was judged on; the origin goes by row number"
            lines += _wrapped(told, indent=4)
    return lines


def _reasons(judge: Mapping[str, Any]) -> list[str]:
    """Why figures or their intervals are missing: each reason once, with the systems it is said of."""
    found: dict[str, list[str]] = {}
    for row in judge["systems"]:
        estimates = [("win rate", row.get("win_rate_estimate")), ("equal length", row.get("length_controlled_estimate"))]
        estimates += [("rating", row["rating_estimate"])] if not judge["rating_note"] else []
        for what, estimate in estimates:
            if estimate and estimate.get("why") and not row["is_baseline"]:
                found.setdefault(f"{what}: {estimate['why']}", []).append(row["system"])
        if row.get("length_controlled_note"):
            found.setdefault(f"equal length: {row['length_controlled_note']}", []).append(row["system"])
    every = sum(not row["is_baseline"] for row in judge["systems"])
    lines = []
    for why, systems in found.items():
        who = "" if len(systems) == every else f" ({', '.join(systems[:4])}{' …' if len(systems) > 4 else ''})"
        lines += _wrapped(f"{why}{who}")
    return lines

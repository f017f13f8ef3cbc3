"""The section of repeated trials on a run's page: rows of words and numbers, and the curves of pass@k and pass^k. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from evalh.report import svg, words
from evalh.report.view import FigureRow, figure, tick

SHARES = svg.Scale(0.0, 1.0, 0.25)


class Cell(NamedTuple):
    """An estimate in a table: its value and its interval, or nothing where there is none."""

    value: str
    spread: str


class Section(NamedTuple):
    """What the page shows of the trials of a run."""

    lead: str
    figures: Sequence[FigureRow]
    axis: Markup
    curve: Markup | None  # pass@k and pass^k by k; None where there are too few to join
    by_k: Sequence[tuple[str, Cell, Cell]]  # the numbers of the curve: k, pass@k, pass^k
    slices: Sequence[tuple[str, int, Sequence[Cell]]]  # slice, items, the figures that `columns` names
    columns: Sequence[str]
    flakiest: Sequence[Mapping[str, Any]]
    notes: Sequence[str]


def section(document: Mapping[str, Any]) -> Section | None:
    """The section of a run's document; None where its items have one trial each."""
    trials = document.get("trials")
    if not trials:
        return None
    k, decided = trials["k"], trials["passing"] is not None
    several = decided and len(trials["slices"]) > 1
    return Section(
        lead=_lead(trials),
        figures=_figures(trials) if decided else [],
        axis=svg.axis(SHARES, tick),
        curve=_curve(trials) if decided and k > 1 else None,
        by_k=[(each, _cell(found), _cell(trials["pass_hat"][each])) for each, found in trials["pass_at"].items()],
        slices=[(row["slice"], row["n_items"], [_cell(e) for e in _headline(row, k)]) for row in trials["slices"]] if several else [],
        columns=["pass@1", f"pass@{k}", f"pass^{k}", "flaky"],
        flakiest=trials["flakiest"],
        notes=[f"{note[0].upper()}{note[1:]}." for note in [*_spread(trials), *trials["notes"]]],
    )


def _lead(trials: Mapping[str, Any]) -> str:
    told = f"A trial {words.passes_when(trials)}" if trials["passes"] else f"What passes is open: {words.passes_when(trials)}"
    told = f"{words.trials_each(trials)} trials each of {words.count(trials['n_items'], 'item')}. {told}."
    if trials["unscored"]:
        many = words.count(trials["items_with_unscored"], "item")
        told += f" {trials['unscored']} of {trials['outputs']:,} trials, of {many}, are unscored: intervals hold whatever they could be."
    return told


def _figures(trials: Mapping[str, Any]) -> list[FigureRow]:
    k = trials["k"]
    rows = [("pass@1", trials["pass_at"]["1"], "")]
    if k > 1:
        rows.append((f"pass@{k}", trials["pass_at"][str(k)], f"At least one of {k} trials passes."))
        rows.append((f"pass^{k}", trials["pass_hat"][str(k)], f"All of {k} trials pass."))
    ties = f" {words.count(trials['ties'], 'item')} tied, which is no majority." if trials["ties"] else ""
    rows.append(("Majority", trials["majority"], f"More than half of an item's trials pass.{ties}"))
    rows.append(("Flaky", trials["flaky"], "Items whose outcome changes between trials."))
    rows.append(("Two differ", trials["disagreement"], "The probability that two trials of an item have different outcomes."))
    return [figure(name, estimate, SHARES, note=note) for name, estimate, note in rows]


def _headline(row: Mapping[str, Any], k: int) -> list[Mapping[str, Any]]:
    """The figures of a slice, in the order of `columns`."""
    return [row["pass_at"]["1"], row["pass_at"][str(k)], row["pass_hat"][str(k)], row["flaky"]]


def _curve(trials: Mapping[str, Any]) -> Markup:
    label = f"pass@k and pass^k for k from 1 to {trials['k']}; the numbers stand in the table beside it"
    lines = [svg.Curve("first", trials["pass_at"]), svg.Curve("second", trials["pass_hat"])]
    return svg.curves(lines, SHARES, label=label, name=tick)


def _cell(estimate: Mapping[str, Any]) -> Cell:
    return Cell(words.share(estimate.get("value")), words.spread(estimate))


def _spread(trials: Mapping[str, Any]) -> list[str]:
    """How far scores lie apart within an item and between items."""
    spread = trials["spread"]
    if not spread or spread["between"]["value"] is None:
        return []
    within, between = spread["within"], f"{100 * spread['between']['value']:.1f}"
    inside = f"{100 * within['value']:.1f} {words.spread(within)}".rstrip()
    return [f"scores spread by {inside} points between the trials of an item and by {between} between items (standard deviations)"]

"""Figures of judges beside each other: judges down, figures across, each in words and on the scale of its column. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from evalh.report import svg, words

Row = Mapping[str, Any]


class Cell(NamedTuple):
    """One figure of one judge: in words, and on the scale of its column (no chart where there is no value)."""

    value: str
    spread: str
    n: int | None
    chart: Markup | None


class Column(NamedTuple):
    name: str
    axis: Markup | None


class Table(NamedTuple):
    """Judges down, figures across; `absent` says why figures are missing, each reason once, with the judges it holds for."""

    name: str
    means: str
    columns: Sequence[Column]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    absent: Sequence[tuple[str, str]]


Judges = Sequence[tuple[str, Row]]
Find = Callable[[Row], Row | None]


class _Figure(NamedTuple):
    """A column: its name, where its estimate is, how it is written, and the line to which it is held."""

    name: str
    find: Find
    kind: str  # `share`, `points`, `number`, `plain` (a number of no bounded scale: no chart)
    threshold: float | None = None


def _with_people(judges: Judges) -> Table | None:
    figures = [
        _Figure("Agreement", lambda j: j["agreement_estimate"], "share"),
        *([_Figure("Strict", lambda j: j["agreement_strict_estimate"], "share")] if any(j["n_unscored"] for _, j in judges) else []),
        _Figure("Kappa", lambda j: j["kappa_estimate"], "number", 0.0),
        _Figure("Two people agree", lambda j: j["human_agreement"], "share"),
    ]
    means = (
        "The share of scored verdicts that equal people's consensus; strict counts unscored ones as wrong. Kappa is the agreement"
        " beyond chance: 0 is chance, 1 is all."
    )
    return _table("Agreement with people", means, judges, figures, lambda j: None if j["agreement"] is not None else _why_not(j))


def _why_not(judge: Row) -> str:
    return str(judge["agreement_estimate"]["why"] or "no labelled verdict")


def _scores(judges: Judges) -> Table | None:
    aspects = list(dict.fromkeys(row["aspect"] for _, j in judges for row in j["scores"] or ()))[:4]

    def of(aspect: str | None) -> Find:
        return lambda j: next((row["pearson"] for row in j["scores"] or () if row["aspect"] == aspect), None)

    figures = [_Figure(aspect or "Pearson", of(aspect), "number", 0.0) for aspect in aspects]
    means = "How far scores go together with people's mean score: Pearson's correlation" + (", by aspect." if len(aspects) > 1 else ".")
    return _table("Scores beside people's", means, judges, figures, lambda j: None)


def _order(judges: Judges) -> Table | None:
    figures = [
        _Figure("First share", lambda j: j["position"] and j["position"]["first_share_estimate"], "share", 0.5),
        _Figure("Consistency", lambda j: j["position"] and j["position"]["consistency_estimate"], "share"),
        _Figure("Same answer again", lambda j: j["repeat_agreement"], "share"),
    ]
    means = (
        "First share: how much of the preference goes to the output shown first; 50 % is even-handed. Consistency: pairs with the same"
        " winner in both orders. Same answer again: asked the very same twice; inconsistency no larger than that is noise,"
        " not position bias."
    )
    return _table("Position and steadiness", means, judges, figures, _order_why)


def _order_why(judge: Row) -> str | None:
    position = judge["position"]
    if position is None:
        return judge["position_why"] if judge["kind"] == "pairwise" else None
    left = {
        "shown in one order only": position["n_one_order"], "with an unscored verdict": position["n_unscored_pairs"],
        "verdicts of unknown order": position["n_order_unknown"],
    }  # fmt: skip
    told = ", ".join(f"{n:,} {what}" for what, n in left.items() if n)
    return f"left out of consistency: {told}" if told else None


def _length(judges: Judges) -> Table | None:
    figures = [
        _Figure("Longer one wins", lambda j: j["verbosity"] and j["verbosity"]["longer_share_estimate"], "share", 0.5),
        _Figure("Twice the length adds", lambda j: j["verbosity"] and j["verbosity"]["doubling"], "points", 0.0),
        _Figure("Coefficient", lambda j: j["verbosity"] and j["verbosity"]["coefficient_estimate"], "plain"),
    ]
    means = (
        "What length does at equal human verdict: 0 points is none. The coefficient is in log-odds per log of the ratio of lengths"
        " (single outputs: score per log of the length)."
    )
    return _table("Length", means, judges, figures, _length_why)


def _length_why(judge: Row) -> str | None:
    found = judge["verbosity"]
    if found is None:
        return str(judge["verbosity_why"])
    if found["basis"] == "association":
        return "without labels this is an association: longer outputs may be better ones"
    return found["note"] or None


def _lean(judges: Judges) -> Table | None:
    figures = [
        _Figure("Leniency", lambda j: j["leniency"], "points", 0.0),
        _Figure("Own outputs", lambda j: j["self_preference"], "points", 0.0),
        _Figure("Own family", lambda j: j["family_preference"], "points", 0.0),
    ]
    means = "Leniency: passes (or scores) beyond what people give. Own outputs, own family: their wins beyond what people grant them."

    def why(judge: Row) -> str | None:
        names = ("self_preference", "family_preference") if judge["kind"] == "pairwise" else ("leniency",)
        return next((str(judge[f"{name}_why"]) for name in names if judge[name] is None and judge[f"{name}_why"]), None)

    return _table("Leniency and kin", means, judges, figures, why)


def _table(name: str, means: str, judges: Judges, figures: Sequence[_Figure], why: Callable[[Row], str | None]) -> Table | None:
    """None where no judge has any of the figures and nothing explains it; a column without a value is left out."""
    found = [(f, [f.find(judge) for _, judge in judges]) for f in figures]
    found = [(f, some) for f, some in found if any(e and e["value"] is not None for e in some)]
    absent = grouped([(n, told) for n, j in judges if (told := why(j))], len(judges))
    if not found:
        return Table(name, means, [], [], absent) if absent else None
    columns, cells = [], []
    for figure, estimates in found:
        scale = _scale(figure, [e for e in estimates if e])
        columns.append(Column(figure.name, svg.axis(scale, _tick(figure.kind)) if scale else None))
        cells.append([_cell(figure, e, scale, n) for (n, _), e in zip(judges, estimates, strict=True)])
    rows = [(n, [column[place] for column in cells]) for place, (n, _) in enumerate(judges)]
    return Table(name, means, columns, [row for row in rows if any(c.n for c in row[1])], absent)


def _scale(figure: _Figure, estimates: Sequence[Row]) -> svg.Scale | None:
    if figure.kind == "plain":
        return None
    if figure.kind == "share":
        return svg.Scale(0.0, 1.0, 0.25)
    ends = [e[key] for e in estimates for key in ("value", "low", "high")]
    return svg.scale_for([*ends, 0.0], lowest=-1.0, least=0.5 if figure.kind == "number" else 0.2)


def _cell(figure: _Figure, estimate: Row | None, scale: svg.Scale | None, judge: str) -> Cell:
    if not estimate or estimate["value"] is None:
        return Cell("–", "", None, None)
    if figure.kind == "share":
        value, spread = words.share(estimate["value"]), words.spread(estimate)
    elif figure.kind == "points":
        value, spread = words.points(estimate["value"]), words.spread(estimate, signed=True)
    else:
        value, spread = plain(estimate["value"]), ends(estimate)
    spread = spread or estimate["why"] or ""
    label = f"{judge}, {figure.name}: {value} {spread}, n {estimate['n']}"
    chart = svg.interval(estimate, scale, label=label, threshold=figure.threshold) if scale else None
    return Cell(value, spread, estimate["n"], chart)


def _tick(kind: str) -> Callable[[float], str]:
    factor = 1 if kind == "number" else 100
    return lambda value: f"{factor * value:g}".replace("-", "−") if value else "0"


def grouped(reasons: Sequence[tuple[str, str]], total: int) -> list[tuple[str, str]]:
    """Each reason once, with the names it holds for; `` where it holds for all."""
    found: dict[str, list[str]] = {}
    for name, why in reasons:
        found.setdefault(why, []).append(name)
    return [("" if len(names) == total else ", ".join(names), why) for why, names in found.items()]


def tables(judges: Judges) -> list[Table]:
    """Every table that has something to say, in the order of the page."""
    return [made for made in (_with_people(judges), _scores(judges), _order(judges), _length(judges), _lean(judges)) if made]


# ---- numbers --------------------------------------------------------------------------------------------------------


def number(estimate: Row) -> str:
    """`0.41 [0.32, 0.51]`, or why there is none."""
    if estimate["value"] is None:
        return f"– ({estimate['why'] or 'no value'})"
    return f"{plain(estimate['value'])} {ends(estimate)}".rstrip()


def plain(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def ends(estimate: Row) -> str:
    return "" if estimate["low"] is None else f"[{plain(estimate['low'])}, {plain(estimate['high'])}]"


def whole(estimate: Row) -> str:
    if estimate["value"] is None:
        return f"– ({estimate['why'] or 'no value'})"
    return f"{words.share(estimate['value'])} {words.spread(estimate)}".rstrip()

"""From the document of `evalh audit` to what the page says of its judges: sentences, a matrix, figures beside each other. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from evalh.report import dispute_cards, judge_tables, svg, words
from evalh.report.disputes import Dispute
from evalh.report.judge_tables import number, whole

Row = Mapping[str, Any]
MOST_JUDGES = 16  # in each table
MOST_IN_MATRIX = 10
MOST_PARTS, MOST_FLAGGED = 16, 10
MOST_DIAGRAMS = 6
SHADES = (0.5, 0.65, 0.8, 0.9)  # from which a cell is darker
LEVELS = {"alarm": "bad", "note": "warn", "ok": "good"}


class Said(NamedTuple):
    """A judge with what was found: level, sentence, action; the worst first."""

    name: str
    marks: Sequence[str]
    about: str
    unscored: str
    findings: Sequence[tuple[str, str, str, str]]  # level, its tone, sentence, action


class Meeting(NamedTuple):
    """A cell of the matrix: the share of equal answers (or the correlation of scores), how many units, and a shade from 0 to 4."""

    told: str
    n: int | None
    shade: int
    label: str


class Matrix(NamedTuple):
    names: Sequence[str]
    rows: Sequence[Sequence[Meeting]]  # people first, then each judge
    left_out: int


class Reliability(NamedTuple):
    name: str
    chart: Markup
    bins: Sequence[tuple[str, int, str, str]]
    told: str


class Section(NamedTuple):
    """Everything that the section on judges is made from."""

    document: Row
    names: Sequence[str]
    labels: str
    said: Sequence[Said]
    left_out: int
    matrix: Matrix
    flagged: Sequence[tuple[str, str, str, str]]
    n_flagged: int
    panel: Sequence[str]
    tables: Sequence[judge_tables.Table]
    diagrams: Sequence[Reliability]
    diagrams_left_out: int
    uncalibrated: Sequence[tuple[str, str]]
    worse: Sequence[tuple[str, str, int, str, str, str]]
    n_worse: int
    n_parts: int
    disputes: Sequence[dispute_cards.Shown]


def section(document: Row | None, disputes: Sequence[Dispute], limit: int, anchors: Mapping[str, str]) -> Section | None:
    """The section of an audit's document; None without one or without judges. `anchors` has the items that stand whole elsewhere."""
    if document is None or not document["judges"]:
        return None
    every, names = document["judges"], short_names(document["judges"])
    some = list(zip(names, every, strict=True))[:MOST_JUDGES]
    calibrated = [(name, judge) for name, judge in some if judge["calibration"]]
    worse, n_parts = _worse(zip(names, every, strict=True))
    return Section(
        document=document,
        names=names,
        labels=_labels(document["labels"]),
        said=[_said(name, judge) for name, judge in some],
        left_out=len(every) - len(some),
        matrix=_matrix(document, names),
        flagged=_flagged(document, dict(zip((j["title"] for j in every), names, strict=True))),
        n_flagged=sum(pair["flagged"] for pair in document["pairs"]),
        panel=_panel(document),
        tables=judge_tables.tables(some),
        diagrams=[_reliability(name, judge["calibration"]) for name, judge in calibrated[:MOST_DIAGRAMS]],
        diagrams_left_out=max(0, len(calibrated) - MOST_DIAGRAMS),
        uncalibrated=judge_tables.grouped([(name, j["calibration_why"]) for name, j in some if not j["calibration"]], len(some)),
        worse=worse[:MOST_PARTS],
        n_worse=len(worse),
        n_parts=n_parts,
        disputes=[dispute_cards.shown(number, dispute, limit, anchors) for number, dispute in enumerate(disputes)],
    )


def short_names(judges: Sequence[Row]) -> list[str]:
    """The shortest name that tells each judge from the others: its own, with its prompt, or its whole title."""

    def forms(judge: Row) -> tuple[str, str, str]:
        return judge["judge"], f"{judge['judge']}#{judge['prompt']}" if judge["prompt"] else judge["judge"], judge["title"]

    every = [forms(judge) for judge in judges]
    return [next((f for place, f in enumerate(mine) if sum(other[place] == f for other in every) == 1), mine[-1]) for mine in every]


# ---- what was found -------------------------------------------------------------------------------------------------


def _labels(labels: Row) -> str:
    if not labels["n"]:
        return "No labels: how far these judges agree with people is not known."
    told = f"{words.count(labels['n'], 'label')} by {words.count(len(labels['annotators']), 'annotator')}"
    told += f" on {words.count(labels['n_units'], 'unit')}: {labels['n_consensus']:,} with a consensus"
    return f"{told}, {labels['n_no_consensus']:,} without one and left out."


def _said(name: str, judge: Row) -> Said:
    marks = ["simulated"] * bool(judge["simulated"]) + ["same family (allowed)"] * bool(judge["same_family"])
    about = [f"family {judge['family']}" if judge["family"] else "family unknown"]
    about += [f"version {judge['judge_version']}"] if judge["judge_version"] else []
    about += [f"prompt {judge['prompt']}"] if judge["prompt"] else []
    about += [words.count(judge["n_verdicts"], "verdict")]
    left = [f"{judge['n_no_consensus']:,} without a consensus"] if judge["n_no_consensus"] else []
    left += [f"{judge['n_unlabelled']:,} unlabelled"] if judge["n_unlabelled"] else []
    unscored = f"{judge['n_unscored']:,} unscored"
    found = [(f["level"], LEVELS[f["level"]], f["sentence"], f["action"] if f["level"] != "ok" else "") for f in judge["findings"]]
    return Said(name, marks, " · ".join([*about, *left]), unscored, found)


def _worse(judges: Any) -> tuple[list[tuple[str, str, int, str, str, str]], int]:
    """Slices and aspects on which a judge is worse than chance: judge, part, n, agreement, kappa, note; and of how many parts."""
    found, parts = [], 0
    for name, judge in judges:
        for what in ("slice", "aspect"):
            for part in judge[f"{what}s"]:
                parts += part["verdict_on_judge"] is not None
                if part["verdict_on_judge"] == "worse than chance":
                    kappa = number(part["kappa_estimate"]) if part["kappa"] is not None else "–"
                    found.append((name, f"{what} {part[what]}", part["n"], whole(part["agreement"]), kappa, part["note"] or ""))
    return found, parts


def _panel(document: Row) -> list[str]:
    if len(document["judges"]) < 2:
        return ["One judge: nothing here says what it has in common with others."]
    panel = document["panel"]
    if panel is None:
        return [f"No effective number of judges: {document['effective_judges']['why']}."]
    told = [panel["sentence"], f"The majority of them agrees with people {whole(panel['accuracy'])}, n {panel['n']:,}."]
    told += [] if panel["drop"] else [f"None to drop: {panel['reason']}."]
    told += [panel["note"]] if panel["note"] else []
    return told + ([f"Left out: {', '.join(panel['left_out'])}."] if panel["left_out"] else [])


# ---- the matrix -----------------------------------------------------------------------------------------------------


def _matrix(document: Row, names: Sequence[str]) -> Matrix:
    judges, some = document["judges"][:MOST_IN_MATRIX], names[:MOST_IN_MATRIX]
    met = {}
    for pair in document["pairs"]:
        met[pair["a"], pair["b"]] = met[pair["b"], pair["a"]] = pair
    rows = []
    for name, judge in zip(some, judges, strict=True):
        cells = [_meeting(judge["agreement_estimate"], None, f"{name} and people")]
        for other, beside in zip(some, judges, strict=True):
            pair = met.get((judge["title"], beside["title"]))
            if judge is beside or pair is None:
                cells.append(Meeting("", None, 0, ""))
            else:
                cells.append(_meeting(pair["agreement_estimate"], pair["score_correlation"], f"{name} and {other}"))
        rows.append(cells)
    return Matrix(list(some), rows, len(names) - len(some))


def _meeting(agreement: Row, correlation: Row | None, label: str) -> Meeting:
    estimate, told = agreement, words.share(agreement["value"])
    if agreement["value"] is None and correlation is not None:
        estimate, told = correlation, f"r\u00a0{judge_tables.plain(correlation['value'])}"
    value = estimate["value"]
    if value is None:
        return Meeting("–", None, 0, f"{label}: {estimate['why'] or 'no value'}")
    shade = sum(value >= step for step in SHADES)
    spread = words.spread(estimate) if estimate is agreement else judge_tables.ends(estimate)
    return Meeting(told, estimate["n"], shade, f"{label}: {told} {spread or estimate['why'] or ''}, n {estimate['n']}")


def _flagged(document: Row, names: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
    """Pairs of judges whose errors go together: the two, correlation of errors, n, why."""
    pairs = sorted((p for p in document["pairs"] if p["flagged"]), key=lambda p: -(p["error_correlation"] or 0))
    return [
        (f"{names[p['a']]} and {names[p['b']]}", number(p["error_correlation_estimate"]), f"{p['n_labelled']:,}", p["why"])
        for p in pairs[:MOST_FLAGGED]
    ]


# ---- reliability ----------------------------------------------------------------------------------------------------


def _reliability(name: str, found: Row) -> Reliability:
    bins = [b for b in found["bins"] if b["n"]]
    rows = [(_bin(b), b["n"], words.share(b["confidence"]), whole(b["accuracy"])) for b in bins]
    points = [svg.Point(b["confidence"], b["accuracy"], b["n"]) for b in bins]
    label = f"{name}: " + "; ".join(f"sure {sure}, right {right}, n {n}" for _, n, sure, right in rows)
    told = f"Expected calibration error {whole(found['ece'])}. AUROC {number(found['auroc'])}: 0.5 is a confidence that tells nothing."
    return Reliability(name, svg.reliability(points, label=label), rows, told)


def _bin(found: Row) -> str:
    return f"{100 * found['low']:.0f}–{100 * found['high']:.0f}\u00a0%"

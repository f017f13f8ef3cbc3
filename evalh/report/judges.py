"""From the document of `evalh audit` to what the page says of its judges: sentences, a matrix, figures beside each other. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from evalh.report import cards, svg, words
from evalh.report.disputes import Dispute

Row = Mapping[str, Any]
MOST_JUDGES = 16  # in each table
MOST_IN_MATRIX = 10
MOST_PARTS, MOST_FLAGGED, MOST_SEATS, MOST_LABELS = 16, 10, 4, 6
MOST_DIAGRAMS = 6
SHADES = 4
LEVELS = {"alarm": "bad", "note": "warn", "ok": "good"}


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
    rows: Sequence[Sequence[Meeting]]  # people first, then each judge; None-like cells read `–`
    left_out: int
    has_people: bool


class Reliability(NamedTuple):
    name: str
    chart: Markup
    bins: Sequence[tuple[str, int, str, str]]
    told: str


class Shown(NamedTuple):
    """A dispute as the page shows it."""

    anchor: str
    item_id: str
    about: str
    glance: str
    card: cards.Card
    people: str
    labels: Sequence[tuple[str, str, str]]  # annotator, answer, note
    more_labels: int
    others: Sequence[tuple[str, str]]
    elsewhere: str  # the anchor of the item where the page shows it whole already


class Section(NamedTuple):
    """Everything that the section on judges is made from."""

    document: Row
    names: Sequence[str]
    labels: str
    said: Sequence[Said]
    left_out: int
    matrix: Matrix
    flagged: Sequence[tuple[str, str, str, str]]
    panel: Sequence[str]
    tables: Sequence[Table]
    diagrams: Sequence[Reliability]
    diagrams_left_out: int
    uncalibrated: Sequence[tuple[str, str]]
    worse: Sequence[tuple[str, str, int, str, str, str]]
    n_worse: int
    n_parts: int
    disputes: Sequence[Shown]


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
        panel=_panel(document),
        tables=[made for made in (_with_people(some), _scores(some), _order(some), _length(some), _lean(some)) if made],
        diagrams=[_reliability(name, judge["calibration"]) for name, judge in calibrated[:MOST_DIAGRAMS]],
        diagrams_left_out=max(0, len(calibrated) - MOST_DIAGRAMS),
        uncalibrated=_grouped([(name, j["calibration_why"]) for name, j in some if not j["calibration"]], len(some)),
        worse=worse[:MOST_PARTS],
        n_worse=len(worse),
        n_parts=n_parts,
        disputes=[_shown(number, dispute, limit, anchors) for number, dispute in enumerate(disputes)],
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
    told += f" on {words.count(labels['n_units'], 'unit')}: people agree on {labels['n_consensus']:,}"
    return f"{told}, {labels['n_no_consensus']:,} without a consensus are left out."


def _said(name: str, judge: Row) -> Said:
    marks = ["simulated"] * bool(judge["simulated"]) + ["same family (allowed)"] * bool(judge["same_family"])
    about = [f"family {judge['family']}" if judge["family"] else "family unknown"]
    about += [f"version {judge['judge_version']}"] if judge["judge_version"] else []
    about += [f"prompt {judge['prompt']}"] if judge["prompt"] else []
    about += [words.count(judge["n_verdicts"], "verdict")]
    left = [f"{judge[key]:,} {what}" for key, what in (("n_no_consensus", "without a consensus"), ("n_unlabelled", "unlabelled")) if judge[key]]
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
                    found.append((name, f"{what} {part[what]}", part["n"], _whole(part["agreement"]), kappa, part["note"] or ""))
    return found, parts


def _panel(document: Row) -> list[str]:
    if len(document["judges"]) < 2:
        return ["One judge: nothing here says what it has in common with others."]
    panel = document["panel"]
    if panel is None:
        return [f"No effective number of judges: {document['effective_judges']['why']}."]
    told = [panel["sentence"], f"The majority of them agrees with people {_whole(panel['accuracy'])}, n {panel['n']:,}."]
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
    has_people = any(row[0].n for row in rows)
    return Matrix(list(some), rows, len(names) - len(some), has_people)


def _meeting(agreement: Row, correlation: Row | None, label: str) -> Meeting:
    estimate, told = agreement, words.share(agreement["value"])
    if agreement["value"] is None and correlation is not None:
        estimate, told = correlation, f"r\u00a0{_plain(correlation['value'])}"
    value = estimate["value"]
    if value is None:
        return Meeting("–", None, 0, f"{label}: {estimate['why'] or 'no value'}")
    shade = max(0, min(SHADES, int(value * (SHADES + 1))))
    spread = words.spread(estimate) if estimate is agreement else _ends(estimate)
    return Meeting(told, estimate["n"], shade, f"{label}: {told} {spread or estimate['why'] or ''}, n {estimate['n']}")


def _flagged(document: Row, names: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
    """Pairs of judges whose errors go together: the two, correlation of errors, n, why."""
    pairs = sorted((p for p in document["pairs"] if p["flagged"]), key=lambda p: -(p["error_correlation"] or 0))
    return [
        (f"{names[p['a']]} and {names[p['b']]}", number(p["error_correlation_estimate"]), f"{p['n_labelled']:,}", p["why"])
        for p in pairs[:MOST_FLAGGED]
    ]


# ---- figures beside each other --------------------------------------------------------------------------------------

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
        _Figure("Strict", lambda j: j["agreement_strict_estimate"] if j["n_unscored"] else None, "share"),
        _Figure("Kappa", lambda j: j["kappa_estimate"], "number", 0.0),
        _Figure("Two people agree", lambda j: j["human_agreement"], "share"),
    ]
    means = "The share of scored verdicts that equal people's consensus; strict counts unscored ones as wrong. Kappa is what agreement there is beyond chance: 0 is chance, 1 is all."
    return _table("Agreement with people", means, judges, figures, lambda j: j["agreement_estimate"]["why"] if j["agreement"] is None else None)


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
        "First share: how much of the preference goes to the output shown first; 50 % is even-handed. Consistency: pairs with the same winner in both"
        " orders. Same answer again: asked the very same twice; inconsistency no larger than that is noise, not position bias."
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
        "What length does at equal human verdict: 0 points is none. The coefficient is in log-odds per log of the ratio of lengths (single outputs: score"
        " per log of the length)."
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
    means = "Leniency: passes (or scores) beyond what people give. Own outputs and own family: wins of its own beyond what people grant them."

    def why(judge: Row) -> str | None:
        names = ("self_preference", "family_preference") if judge["kind"] == "pairwise" else ("leniency",)
        return next((str(judge[f"{name}_why"]) for name in names if judge[name] is None and judge[f"{name}_why"]), None)

    return _table("Leniency and kin", means, judges, figures, why)


def _table(name: str, means: str, judges: Judges, figures: Sequence[_Figure], why: Callable[[Row], str | None]) -> Table | None:
    """None where no judge has any of the figures and nothing explains it; a column without a value is left out."""
    found = [(f, [f.find(judge) for _, judge in judges]) for f in figures]
    found = [(f, some) for f, some in found if any(e and e["value"] is not None for e in some)]
    absent = _grouped([(n, told) for n, j in judges if (told := why(j))], len(judges))
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
        value, spread = _plain(estimate["value"]), _ends(estimate)
    spread = spread or estimate["why"] or ""
    label = f"{judge}, {figure.name}: {value} {spread}, n {estimate['n']}"
    chart = svg.interval(estimate, scale, label=label, threshold=figure.threshold) if scale else None
    return Cell(value, spread, estimate["n"], chart)


def _tick(kind: str) -> Callable[[float], str]:
    factor = 1 if kind == "number" else 100
    return lambda value: f"{factor * value:g}".replace("-", "−") if value else "0"


def _grouped(reasons: Sequence[tuple[str, str]], total: int) -> list[tuple[str, str]]:
    """Each reason once, with the names it holds for; `` where it holds for all."""
    found: dict[str, list[str]] = {}
    for name, why in reasons:
        found.setdefault(why, []).append(name)
    return [("" if len(names) == total else ", ".join(names), why) for why, names in found.items()]


# ---- reliability ----------------------------------------------------------------------------------------------------


def _reliability(name: str, found: Row) -> Reliability:
    bins = [b for b in found["bins"] if b["n"]]
    rows = [(f"{100 * b['low']:.0f}–{100 * b['high']:.0f}\u00a0%", b["n"], words.share(b["confidence"]), _whole(b["accuracy"])) for b in bins]
    points = [svg.Point(b["confidence"], b["accuracy"], b["n"]) for b in bins]
    label = f"{name}: " + "; ".join(f"sure {sure}, right {right}, n {n}" for _, n, sure, right in rows)
    told = f"Expected calibration error {_whole(found['ece'])}. AUROC {number(found['auroc'])}: 0.5 is a confidence that tells nothing."
    return Reliability(name, svg.reliability(points, label=label), rows, told)


# ---- disputes -------------------------------------------------------------------------------------------------------


def _shown(number_: int, dispute: Dispute, limit: int, anchors: Mapping[str, str]) -> Shown:
    item, pair = dispute.item, set(dispute.systems)

    def same(row: Row) -> bool:
        return set(row["systems"] or ()) == pair and (row["aspect"] or "") == dispute.aspect and row["trial"] == dispute.trial

    verdicts = [{**v, "rationale": v["rationale"] or (v["raw"] if v["status"] == "scored" else None)} for v in item["verdicts"] if same(v)]
    outputs = [o for o in item["outputs"] if o["system"] in pair and (o["trial"] or 0) == dispute.trial]
    seats = list(dict.fromkeys((v["judge"], v["judge_version"], v["prompt"]) for v in verdicts))
    first = [seat for seat in _opposed(verdicts, seats)][:MOST_SEATS]
    telling = [v for v in verdicts if (v["judge"], v["judge_version"], v["prompt"]) in first]
    rest = [v for v in verdicts if (v["judge"], v["judge_version"], v["prompt"]) not in first]
    row = {
        "item_id": item["item_id"], "system": dispute.systems[0], "against": "".join(dispute.systems[1:]), "trial": dispute.trial,
        "slice": item["slice"], "route": "", "score": None, "why": "", "input": item["input"], "reference": item["reference"],
        "outputs": outputs, "checks": [], "verdicts": telling,
    }  # fmt: skip
    labels = [
        (x["annotator"], _answer(x), cards.excerpt(x["note"] or "", 200))
        for x in item["labels"]
        if (not x["systems"] or set(x["systems"]) == pair) and (not x["aspect"] or x["aspect"] == dispute.aspect)
    ]
    about = [f"aspect {dispute.aspect}"] if dispute.aspect and len({v["aspect"] for v in item["verdicts"]}) > 1 else []
    about += [f"trial {dispute.trial + 1}"] if dispute.trial else []
    about += [" against ".join(dispute.systems)]
    return Shown(
        anchor=f"dispute-{number_ + 1}", item_id=item["item_id"], about=" · ".join(about), glance=_glance(dispute), card=cards.card(row, limit),
        people=dispute.people or "", labels=labels[:MOST_LABELS], more_labels=max(0, len(labels) - MOST_LABELS),
        others=cards.says({"verdicts": rest}), elsewhere=anchors.get(item["item_id"], ""),
    )  # fmt: skip


def _glance(dispute: Dispute) -> str:
    told = [f"people: {dispute.people}" if dispute.people else "nobody's consensus"]
    if dispute.from_people is not None:
        told.append(f"{words.count(dispute.n, 'verdict')} {100 * dispute.from_people:.0f} % from it")
    if dispute.spread:
        told.append(f"{100 * dispute.spread:.0f} points apart from each other")
    return ", ".join(told)


def _opposed(verdicts: Sequence[Row], seats: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The judges in such an order that the first few say different things: of each answer one in turn, those with a reason first."""
    queues: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    reasons = {seat: any(v["rationale"] for v in verdicts if (v["judge"], v["judge_version"], v["prompt"]) == seat) for seat in seats}
    for seat in sorted(seats, key=lambda s: not reasons[s]):
        said = tuple(sorted({_answer(v) for v in verdicts if (v["judge"], v["judge_version"], v["prompt"]) == seat}))
        queues.setdefault(said, []).append(seat)
    longest = max((len(queue) for queue in queues.values()), default=0)
    return [queue[place] for place in range(longest) for queue in queues.values() if place < len(queue)]


def _answer(row: Row) -> str:
    """What a verdict or a label says, shortly."""
    if row.get("status") == "unscored":
        return "unscored"
    if row["winner"]:
        return "tie" if row["winner"] == "tie" else f"{row['winner']} wins"
    value = row.get("raw_score") if row.get("raw_score") is not None else row["score"]
    return str(row["label"]) if row["label"] else f"{value:g}" if value is not None else "–"


# ---- numbers --------------------------------------------------------------------------------------------------------


def number(estimate: Row) -> str:
    """`0.41 [0.32, 0.51]`, or why there is none."""
    if estimate["value"] is None:
        return f"– ({estimate['why'] or 'no value'})"
    return f"{_plain(estimate['value'])} {_ends(estimate)}".rstrip()


def _plain(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _ends(estimate: Row) -> str:
    return "" if estimate["low"] is None else f"[{_plain(estimate['low'])}, {_plain(estimate['high'])}]"


def _whole(estimate: Row) -> str:
    if estimate["value"] is None:
        return f"– ({estimate['why'] or 'no value'})"
    return f"{words.share(estimate['value'])} {words.spread(estimate)}".rstrip()

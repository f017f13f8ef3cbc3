"""From a run's document to what the page shows: each section as rows of words, numbers and small charts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any, Literal, NamedTuple

from markupsafe import Markup

from evalh.report import svg, words
from evalh.report.gather import Background, Changes, Row
from evalh.report.spent import saved as saved_by_tier_1

Tone = Literal["good", "bad", "warn", "plain"]
TONES: dict[str, Tone] = {"PASS": "good", "FAIL": "bad", "INCONCLUSIVE": "warn"}
BETTER = 0.03  # beyond a threshold: scales hold it, so that the passing side is always in sight
RULES = {"minimum": "Minimum", "margin": "No worse than the baseline", "max_unscored": "Enough is scored"}


class FigureRow(NamedTuple):
    """One estimate: in words, and on a scale."""

    name: str
    value: str
    spread: str  # the interval, or why there is none
    n: int
    chart: Markup
    note: str = ""


class Forest(NamedTuple):
    """Estimates on one scale."""

    rows: Sequence[FigureRow]
    axis: Markup


class Band(NamedTuple):
    """Something that a reader must know before any number."""

    tone: Tone
    head: str
    text: str


class RuleRow(NamedTuple):
    name: str
    asks: str
    figure: FigureRow
    axis: Markup
    decision: str
    tone: Tone
    reasons: Sequence[str]


class Decision(NamedTuple):
    word: str
    tone: Tone
    told: str
    rules: Sequence[RuleRow]
    remarks: Sequence[str]
    baseline: str | None
    when: str
    level: str


class Stage(NamedTuple):
    """One step of the way: how many arrived, how many went on, what became of the others, what it cost."""

    name: str
    does: str
    arrived: int
    chart: Markup
    told: str
    money: str


class CheckRow(NamedTuple):
    check: str
    system: str
    blocking: bool
    passed: int
    failed: int
    errors: int
    chart: Markup
    value: str
    spread: str


class JudgeCard(NamedTuple):
    name: str
    prompt: str | None
    version: str | None
    family: str | None
    marks: Sequence[str]
    verdicts: int
    unscored: int
    figures: Sequence[FigureRow]


def figure(
    name: str, estimate: Row, scale: svg.Scale, *, threshold: float | None = None, passes: svg.Side | None = None,
    signed: bool = False, note: str = "",
) -> FigureRow:  # fmt: skip
    """An estimate as a row. Without an interval the row says why."""
    spread = words.spread(estimate, signed=signed) or estimate.get("why") or ""
    value = words.points(estimate.get("value")) if signed else words.share(estimate.get("value"))
    n = int(estimate.get("n") or 0)
    chart = svg.interval(estimate, scale, label=f"{name}: {value} {spread}, n {n}", threshold=threshold, passes=passes)
    return FigureRow(name, value, spread, n, chart, note)


# ---- what a reader must know first ----------------------------------------------------------------------------------


def bands(document: Row, background: Background) -> list[Band]:
    """Warnings that stand above every number."""
    found = []
    if document["status"] != "finished":
        told = "The figures are of the part that was done. Repeat its `evalh run` to finish it."
        found.append(Band("warn", f"This run is {document['status']}", told))
    if document["simulated"]:
        named = ", ".join(dict.fromkeys(j["judge"] for j in document["judges"] if j["simulated"])) or "these judges"
        told = f"Verdicts of {named} come from the judge simulator, not from a model: they say nothing about any model."
        found.append(Band("warn", "Simulated judges", told))
    related = list(dict.fromkeys(j["judge"] for j in document["judges"] if j["same_family"]))
    if related:
        told = f"{', '.join(related)} shares a lineage with a system that it judged, or may share one; the suite allows it."
        found.append(Band("warn", "Same family, allowed", f"{told} Such verdicts may favour that system."))
    if background.newer_golden:
        newer, golden = background.newer_golden, document["golden"]
        since = f"{newer['golden_version']} is in use since {words.day(newer['first_seen'])}"
        told = f"This run used golden set {golden['name']} {golden['version']}; {since}."
        found.append(Band("warn", "Stale", told))
    if document["unscored_rule"] != "exclude":
        told = "That holds for agreement, consistency and first share of every judge."
        found.append(Band("plain", f"Unscored verdicts count as {document['unscored_rule']}", told))
    return found


def facts(document: Row) -> list[tuple[str, str]]:
    """The head of the page: what was run on what."""
    systems = [s for s in document["systems"] if s["role"] != "against"]
    against = [s for s in document["systems"] if s["role"] == "against"]
    golden = document["golden"]
    found = [("System" if len(systems) == 1 else "Systems", _systems(systems))]
    found += [("Against", _systems(against))] if against else []
    found += [("Golden set", f"{golden['name']} {golden['version'] or ''}".strip())] if golden["name"] else []
    return [*found, ("Run", document["run"]), ("Started", words.day(document["started_at"]))]


def _systems(rows: Sequence[Row]) -> str:
    named = []
    for row in rows:
        version = f" {row['system_version']}" if row.get("system_version") and not row["system"].endswith(row["system_version"]) else ""
        named.append(f"{row['system']}{version}" + (f" ({row['family']})" if row.get("family") else ""))
    return ", ".join(named) or "–"


def keys(document: Row) -> list[tuple[str, str, str]]:
    """The four figures that a reader looks for: name, value, what stands beside it."""
    quality, routes = document["quality"], document["routes"]
    if not routes:
        tier = document["tiers"]["judges"]
        return [("Verdicts", f"{tier['verdicts']:,}", "recorded"), ("Unscored", f"{tier['unscored']:,}", "verdicts, never averaged away")]
    total, unit = sum(routes.values()), words.unit(document["kind"])
    unscored = routes.get("unscored", 0) + routes.get("no_output", 0)
    calls = words.count(document["tiers"]["judges"]["skipped"], "judge call")
    worth = "counted as lost" if document["kind"] == "pairwise" else "counted as failures"
    interval = words.spread(quality) or quality.get("why") or ""
    saved = f"{saved_by_tier_1(document, '≈ ')} saved by tier 1 ({calls})" if routes.get("blocked") else "tier 1 blocked nothing"
    if document["kind"] == "checks":
        saved = "no judge was asked"
    return [
        (document["metric"].capitalize(), words.share(quality["value"]), f"{interval} · {words.count(quality['n'], 'item')}"),
        ("Blocked by tier 1", f"{routes.get('blocked', 0)}", f"of {words.count(total, unit)}, {worth}"),
        ("Unscored", f"{unscored}", f"of {words.count(total, unit)}, never averaged away"),
        ("Spent", spent(document), saved),
    ]


def spent(document: Row) -> str:
    """What the run cost; a lower bound where a price is not known."""
    known = words.money(document["cost_usd"])
    return known if document["cost_is_whole"] else f"≥ {known}"


# ---- the decision ---------------------------------------------------------------------------------------------------


def decision(gate: Row | None) -> Decision | None:
    """The gate's decision with its rules; None where it has not decided."""
    if gate is None:
        return None
    word, rules = gate["decision"], [_rule(rule) for rule in gate["rules"]]
    said = {reason for rule in gate["rules"] for reason in rule["reasons"]}
    failing, open_ = sum(r.decision == "FAIL" for r in rules), sum(r.decision == "INCONCLUSIVE" for r in rules)
    told = {
        "PASS": "Every rule holds: this version may ship.",
        "FAIL": f"{failing} of {words.count(len(rules), 'rule')} {'fails' if failing == 1 else 'fail'}: this version may not ship.",
        "INCONCLUSIVE": f"{open_} of {words.count(len(rules), 'rule')} cannot be decided by this evidence. That is not a pass.",
    }[word]
    if gate["labels_needed"]:
        told += f" About {words.count(gate['labels_needed'], 'more item', 'more items')} would settle it, if the truth is what was seen."
    return Decision(
        word=word, tone=TONES[word], told=told, rules=rules, remarks=[r.partition(": ")[2] for r in gate["reasons"] if r not in said],
        baseline=gate["baseline"], when=words.day(gate.get("decided_at")), level=f"{100 * (1 - 2 * gate['alpha']):g} %",
    )  # fmt: skip


def _rule(rule: Row) -> RuleRow:
    estimate, threshold, name = rule["estimate"], rule["threshold"], rule["rule"]
    signed, values = name == "margin", [estimate["value"], estimate["low"], estimate["high"], rule["threshold"]]
    if signed:
        scale, asks = svg.scale_for([*values, BETTER], lowest=-1.0, least=0.1), f"difference above {words.points(threshold)}"
    elif name == "minimum":
        scale, asks = svg.scale_for([*values, min(1.0, threshold + BETTER)]), f"{rule['metric']} above {words.share(threshold)}"
    else:
        scale, asks = svg.scale_for([*values, 0.0], least=0.1), f"{rule['metric']} at most {words.share(threshold)}"
    shown = figure(asks, estimate, scale, threshold=threshold, passes="below" if name == "max_unscored" else "above", signed=signed)
    reasons = [reason.partition(": ")[2] or reason for reason in rule["reasons"]]
    return RuleRow(RULES[name], asks, shown, svg.axis(scale, tick), rule["decision"], TONES[rule["decision"]], reasons)


def tick(value: float) -> str:
    return f"{100 * value:.0f}".replace("-", "−") if value else "0"


# ---- tiers, quality, checks, judges ---------------------------------------------------------------------------------


def funnel(document: Row) -> list[Stage]:
    """The way of the outputs through the tiers, with the money spent and saved."""
    routes, tiers, kind = document["routes"], document["tiers"], document["kind"]
    total, unit = sum(routes.values()), words.unit(kind)
    blocked, unscored, lost = routes.get("blocked", 0), routes.get("unscored", 0), routes.get("no_output", 0)
    came, passed, scored = total - lost, total - lost - blocked, total - lost - blocked - unscored
    known = "" if document["cost_is_whole"] else "at least "
    saved = f"{saved_by_tier_1(document, '≈ ')} saved" if blocked and kind != "checks" else ""

    def row(name: str, does: str, arrived: int, went_on: int, left: Sequence[svg.Part], told: str, cost: str) -> Stage:
        parts = [svg.Part("went on", went_on, "kept"), *left]
        label = f"{name}: {arrived} arrived, {went_on} went on"
        return Stage(name, does, arrived, svg.bar(parts, total, label=label), told, cost)

    judges, checks = tiers["judges"], tiers["checks"]
    stages = [
        row("Outputs", "of the two systems" if kind == "pairwise" else "of the system", total, came, [svg.Part("no output", lost, "gone")],
            f"{lost} without an output" if lost else "every item has one", f"{known}{words.money(document['cost_by_tier']['system'])}"),
        row("Tier 1", "checks", came, passed, [svg.Part("blocked", blocked, "bad")],
            f"{blocked} blocked; {words.count(checks['failed'], 'check')} failed, {words.count(checks['errors'], 'error')}", saved or "$0"),
    ]  # fmt: skip
    if kind == "checks":
        told = f"{words.count(scored, unit)} scored by checks, {unscored} unscored; no panel"
        stages.append(row("Scored", "by checks", passed, scored, [svg.Part("unscored", unscored, "warn")], told, "–"))
    else:
        told = f"{scored} scored, {unscored} unscored; {judges['asked']} asked, {judges['cached']} from earlier calls"
        spent = f"{known}{words.money(document['cost_by_tier']['judges'])}"
        stages.append(row("Tier 2", "judges", passed, scored, [svg.Part("unscored", unscored, "warn")], told, spent))
    queued = tiers["labels"]["queued"]
    told = f"{words.count(queued, unit)} drawn for people" if queued else "nothing drawn for people"
    stages.append(row("Tier 3", "labels", queued, queued, [], told, "–"))
    return stages


def minimum_of(gate: Row | None) -> float | None:
    """The minimum that the gate asks for, None where it asks for none."""
    return next((r["threshold"] for r in gate["rules"] if r["rule"] == "minimum"), None) if gate else None


def quality(document: Row, minimum: float | None) -> Forest:
    """The run's score, whole and by slice, on one scale; the gate's minimum as a line."""
    named = [("All items", document["quality"])] + [(s["slice"], s["quality"]) for s in document["slices"] if len(document["slices"]) > 1]
    ends = [] if minimum is None else [minimum, min(1.0, minimum + BETTER)]
    scale = svg.scale_for([e[k] for _, e in named for k in ("value", "low", "high")] + ends)
    return Forest([figure(name, e, scale, threshold=minimum) for name, e in named], svg.axis(scale, tick))


def checks(document: Row, background: Background) -> list[CheckRow]:
    """Per check (and system, where several were checked), most trouble first: counts, and the share of outputs for which it holds."""
    rows = sorted(background.checks or document["checks"], key=lambda r: (-r["failed"] - r["errors"], r["check"], r.get("system", "")))
    several, found = len({r["system"] for r in background.checks}) > 1, []
    for row in rows:
        counts = (row["passed"], row["failed"], row["errors"])
        label = f"{row['check']}: {counts[0]} passed, {counts[1]} failed, {counts[2]} errors"
        parts = [svg.Part("passed", counts[0], "good"), svg.Part("failed", counts[1], "bad"), svg.Part("errors", counts[2], "warn")]
        estimate = row.get("estimate") or {}
        told = words.spread(estimate) or estimate.get("why") or ""
        chart, share = svg.bar(parts, sum(counts), label=label), words.share(estimate.get("value"))
        found.append(CheckRow(row["check"], row["system"] if several else "", bool(row["blocking"]), *counts, chart, share, told))
    return found


def is_blind(background: Background) -> bool:
    """Whether judges were shown no names; false where that is not known."""
    panel = (background.run.get("settings") or {}).get("panel") or {}
    return bool(panel.get("mask", False)) and not panel.get("show_names", False)


def judges(document: Row) -> tuple[list[JudgeCard], Markup]:
    """Per judge: how it answered, with intervals on one scale from 0 to 100 %; and that scale's axis."""
    scale = svg.Scale(0.0, 1.0, 0.25)
    seats = [judge["judge"] for judge in document["judges"]]
    return [_judge(judge, seats, scale) for judge in document["judges"]], svg.axis(scale, tick)


def _judge(judge: Row, seats: Sequence[str], scale: svg.Scale) -> JudgeCard:
    """`seats` has the name of each judge, once per prompt."""
    rows, position = [], judge.get("position")
    if judge.get("mean_score_estimate"):
        rows.append(figure("Mean score", judge["mean_score_estimate"], scale))
    elif judge.get("mean_score") is not None:
        rows.append(figure("Mean score", {"value": judge["mean_score"], "n": judge["n_verdicts"] - judge["n_unscored"]}, scale))
    if position:
        both, first = position["consistency_estimate"], position["first_share_estimate"]
        rows.append(figure("Consistency", both, scale, note=words.consistency_means(both)))
        rows.append(figure("First share", first, scale, threshold=0.5, note=words.first_share_means(first)))
    if judge.get("repeat_agreement"):
        rows.append(figure("Same answer again", judge["repeat_agreement"], scale))
    loose, strict = judge["agreement"], judge["agreement_strict"]
    if loose.get("value") is not None or strict.get("value") is not None:
        rows.append(figure("Agreement with labels", loose, scale))
        rows.append(figure("Agreement, strict", strict, scale))
    marks = ["simulated"] * bool(judge["simulated"]) + ["same family (allowed)"] * bool(judge["same_family"])
    return JudgeCard(
        name=words.judge_name(judge["judge"], judge["prompt"], seats), prompt=judge["prompt"],
        version=judge["judge_version"], family=judge["family"], marks=marks,
        verdicts=judge["n_verdicts"], unscored=judge["n_unscored"], figures=rows,
    )  # fmt: skip


# ---- what changed, labels, settings ---------------------------------------------------------------------------------


def change_forest(changes: Changes) -> Forest:
    """The difference to the baseline, whole and by slice."""
    comparison = changes.comparison
    slices = comparison["slices"] if len(comparison["slices"]) > 1 else []
    named = [("All items", comparison["difference"])] + [(s["slice"], s["difference"]) for s in slices]
    scale = svg.scale_for([e[k] for _, e in named for k in ("value", "low", "high")] + [BETTER], lowest=-1.0, least=0.1)
    return Forest([figure(name, e, scale, threshold=0.0, signed=True) for name, e in named], svg.axis(scale, tick))


def strata(background: Background) -> list[dict[str, Any]]:
    """The label queue by stratum: drawn, labelled, and with which probability outputs were drawn."""
    done = {row["task_id"] for row in background.progress if row["answered"]}
    found: dict[str, list[Row]] = {}
    for task in background.tasks:
        found.setdefault(task["stratum"] or "all", []).append(task)
    rows = []
    for name, tasks in sorted(found.items()):
        chances = [t["inclusion_probability"] for t in tasks if t["inclusion_probability"] is not None]
        low, high = (min(chances), max(chances)) if chances else (None, None)
        chance = words.share(low) if low == high else f"{words.share(low)} – {words.share(high)}"
        rows.append({"stratum": name, "queued": len(tasks), "labelled": sum(t["task_id"] in done for t in tasks), "chance": chance})
    return rows


def lineage(document: Row, background: Background) -> list[tuple[str, str | None]]:
    """What made the numbers: names, versions, hashes, seeds."""
    run, golden, settings = background.run, background.golden or {}, background.run.get("settings") or {}
    panel, rubric = settings.get("panel") or {}, settings.get("rubric") or {}
    found: list[tuple[str, Any]] = [
        ("Run", document["run"]),
        ("Status", document["status"]),
        ("Suite", document["suite"]),
        ("Suite hash", run.get("suite_hash")),
        ("Golden set", f"{document['golden']['name'] or '–'} {document['golden']['version'] or ''}".strip()),
        ("Golden hash", run.get("golden_hash")),
        ("Golden licence", golden.get("licence")),
        ("Golden locked", {True: "yes", False: "no: its files may change unnoticed"}.get(golden.get("locked", ""))),
        ("Rubric", f"{rubric['name']} {rubric['version']}" if rubric else None),
        ("Rubric hash", run.get("rubric_hash")),
        ("Panel rule", panel.get("rule")),
        ("Orders shown", panel.get("order") if document["kind"] == "pairwise" else None),
        ("Repeats", panel.get("repeats")),
        ("Asked at most", words.count(panel["attempts"], "time") if panel.get("attempts") else None),
        ("Names masked", None if not panel else "yes" if panel.get("mask", True) else "no"),
        ("Seed", document["seed"]),
        ("Tokens", f"{document['tokens']:,}"),
        ("evalh", run.get("evalh_version")),
        ("Store", document["store"]),
    ]
    return [(name, str(value)) for name, value in found if value not in (None, "")]


def judge_settings(background: Background) -> list[dict[str, Any]]:
    """The judges as they answered, with what was sent beside the messages. Addresses and keys stay in the store."""
    sent = ("temperature", "top_p", "max_tokens", "seed", "reasoning_effort", "api")
    rows = []
    for judge in background.judges:
        params = judge.get("params") or {}
        given: Mapping[str, Any] = {**params, **(params.get("params") or {})}
        shown = ", ".join(f"{name} {given[name]}" for name in sent if given.get(name) is not None)
        rows.append({**judge, "sent": shown})
    return rows


def commands(document: Row, gate: Row | None) -> list[tuple[str, str]]:
    """How to make and check these numbers again: command, what it does."""
    run = quote(document["run"])
    baseline = f" --baseline {quote(gate['baseline'])}" if gate and gate.get("baseline") else ""
    found = [
        ("evalh run SUITE", f"the file of suite {document['suite']}; the same seed, and answers that are in the store are not asked again"),
        (f"evalh run SUITE --rejudge {run}", "judge the stored outputs again"),
        *([(f"evalh gate {run}{baseline} --json", "the decision, with everything it was made from")] if document["gated"] else []),
        (f"evalh report {run} --json", "the figures of this page"),
        (f"evalh export {run} --to DIR", "items, outputs, verdicts and labels as JSON Lines"),
    ]
    return found[2:] if document["kind"] == "import" else found

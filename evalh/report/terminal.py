"""What a run came to, for a terminal: the score first, then where the outputs went, the checks, the judges, what to do next.

Reads at 80 columns, without colour, in a file and in the log of a CI job: marks are words, never colours alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any

from evalh.cli.common import console, interval, percent, printable
from evalh.report.spent import price_lines, spent_rows
from evalh.report.spent import saved as saved_by_tier_1
from evalh.report.words import count, judge_name, money, passes_when, trials_each, unit

if TYPE_CHECKING:
    from rich.text import Text

NAME = 12  # columns of the names on the left
CHECKS = 6  # named one by one; those that held everywhere are only counted
FLAKIEST = 5  # items named
WIDTH = 80


def print_run(document: Mapping[str, Any]) -> None:
    """Print the summary of a run: `document` is what `summary.run_document` makes."""
    out = console()
    for block in (_head, _quality, _trials, _tiers, _spent, _checks, _judges, _next):
        lines = block(document)
        for line in lines:
            out.print(line, soft_wrap=True)
        if lines and block is not _next:
            out.print()


def _head(document: Mapping[str, Any]) -> list[Text]:
    """What was run on what, and what makes its figures less than they seem."""
    systems = {role: [s["system"] for s in document["systems"] if s["role"] == role] for role in ("system", "against")}
    golden = document["golden"]
    parts = [f"suite {document['suite']}", f"system {', '.join(systems['system'])}" if systems["system"] else ""]
    parts += [f"against {', '.join(systems['against'])}"] if systems["against"] else []
    parts += [f"golden set {golden['name']} {golden['version'] or ''}".rstrip()] if golden["name"] else []
    lines = [_text((document["run"], "bold"), f"  {document['status']}"), *_wrapped(", ".join(filter(None, parts)))]
    if document["simulated"]:
        real = any(not j["simulated"] for j in document["judges"])
        named = ", ".join(j["judge"] for j in document["judges"] if j["simulated"])
        lines += _wrapped(f"SIMULATED JUDGES{f' ({named})' if real else ''}: their verdicts say nothing about any model.", "bold")
    related = ", ".join(j["judge"] for j in document["judges"] if j["same_family"])
    if related:
        lines += _wrapped(f"SAME FAMILY (allowed): {related} may favour a system that it judged.", "bold")
    return lines


def _quality(document: Mapping[str, Any]) -> list[Text]:
    """The score with its interval, whole and by slice. Never called a pass rate: no label calibrates it."""
    quality, slices = document["quality"], document["slices"]
    if not document["routes"]:
        return []
    width = max([NAME, len(document["metric"]), *(len(s["slice"]) + 2 for s in slices)])
    lines = [_text((f"{document['metric'].ljust(width)}  {_whole(quality)}", "bold"))]
    if len(slices) > 1:
        lines += [_text(f"  {s['slice']}".ljust(width) + f"  {_whole(s['quality'])}") for s in slices]
    return lines


def _trials(document: Mapping[str, Any]) -> list[Text]:
    """What repeated trials say: whether one of them passes, whether all do, and how often an item's outcome changes."""
    trials = document.get("trials")
    if not trials:
        return []
    unscored = f", {trials['unscored']} unscored" if trials["unscored"] else ""
    head = f"{'trials':<{NAME}}  {trials_each(trials)} each of {count(trials['n_items'], 'item')}{unscored}; {passes_when(trials)}"
    lines = list(_wrapped(head))
    if trials["passing"] is None:
        return lines
    k, ties = trials["k"], f"; {trials['ties']} tied" if trials["ties"] else ""
    figures = [("pass@1", trials["pass_at"]["1"], "a trial passes")]
    figures += [(f"pass@{k}", trials["pass_at"][str(k)], f"one of {k} passes")] * (k > 1)
    figures += [(f"pass^{k}", trials["pass_hat"][str(k)], f"all {k} pass")] * (k > 1)
    figures += [
        ("majority", trials["majority"], f"more than half{ties}"),
        ("flaky", trials["flaky"], "outcome changes"),
        ("two differ", trials["disagreement"], "two trials of an item"),
    ]
    lines += [_text(f"  {name:<{NAME - 2}}  {interval(estimate):<22}  {told}") for name, estimate, told in figures]
    named = [f"{row['item_id']} {row['passed']}/{row['passed'] + row['failed']}" for row in trials["flakiest"][:FLAKIEST]]
    return [*lines, *(_wrapped(f"{'flakiest':<{NAME - 2}}  {', '.join(named)}", indent=2) if named else [])]


def _tiers(document: Mapping[str, Any]) -> list[Text]:
    """Where the outputs went, tier by tier, with the money spent and saved."""
    routes, tiers, noun = document["routes"], document["tiers"], unit(document["kind"])
    if not routes:
        return [_text(f"{'tiers':<{NAME}}  none: verdicts were recorded elsewhere, or nothing was done yet")]
    total, spent = sum(routes.values()), document["cost_by_tier"]
    blocked, unscored, lost = routes.get("blocked", 0), routes.get("unscored", 0), routes.get("no_output", 0)
    scored = total - blocked - unscored - lost
    least = "" if document["cost_is_whole"] else "≥ "
    calls = tiers["judges"]["skipped"]
    saved = f"saved {saved_by_tier_1(document, '~')} ({count(calls, 'judge call')})" if calls else ""
    made = f"{total}" + (f", {lost} without an output" if lost else "")
    rows = [(f"{noun}s", made, f"spent {least}{money(spent['system'])}"), ("tier 1", f"{blocked} blocked by checks", saved)]
    if document["kind"] == "checks":
        rows.append(("no panel", f"{scored} scored by checks, {unscored} unscored", ""))
    else:
        rows.append(("tier 2", f"{scored} judged, {unscored} unscored", f"spent {least}{money(spent['judges'])}"))
    queued = tiers["labels"]["queued"]
    next_step = "evalh label export tasks.jsonl" if queued else ""
    rows.append(("tier 3", f"{queued} queued for labels" if queued else "nothing queued for labels", next_step))
    return [_text(f"{name:<{NAME}}  {told:<30}  {cost}".rstrip()) for name, told, cost in rows]


def _spent(document: Mapping[str, Any]) -> list[Text]:
    """Calls and money by system and judge; answers of earlier runs are hits, with what they had cost."""
    rows = spent_rows(document)
    if not rows:
        return []
    hits = any(row.cached for row in rows)
    lines = [f"{'spent':<32}{'calls':>8}{'tokens':>12}{'cost':>10}" + (f"{'hits':>8}{'worth':>10}" if hits else "")]
    for row in rows:
        name = _short(f"  {printable(row.name)}", 31)
        lines.append(f"{name:<32}{row.calls:>8,}{row.tokens:>12,}{row.cost:>10}" + (f"{row.cached:>8,}{row.worth:>10}" if hits else ""))
    told = [_text(line) for line in lines]
    return told + [part for line in price_lines(document["costs"]) for part in _wrapped(line, indent=2)]


def _checks(document: Mapping[str, Any]) -> list[Text]:
    """Per check: passed, failed, errors; the ones with most trouble first."""
    rows = sorted(document["checks"], key=lambda r: (-r["failed"] - r["errors"], r["check"]))
    if not rows:
        return []
    troubled = [r for r in rows if r["failed"] or r["errors"]]
    shown = (rows if len(rows) <= CHECKS else troubled)[:CHECKS]
    width = min(40, max([NAME, *(len(printable(r["check"])) + 2 for r in shown)]))
    lines = [_text(f"{'checks':<{width}}  passed  failed  errors")] if shown else []
    for row in shown:
        name = _short("  " + printable(row["check"]), width)
        style = "" if not (row["failed"] or row["errors"]) else "red" if row["blocking"] else "yellow"
        told = f"{name:<{width}}  {row['passed']:>6}  {row['failed']:>6}  {row['errors']:>6}" + ("  blocking" if row["blocking"] else "")
        lines.append(_text((told, style)))
    held, unnamed = len(rows) - len(troubled), len(rows) - len(shown)
    if unnamed:
        clean = min(unnamed, held)
        parts = [f"{clean} held everywhere"] * bool(clean) + [f"{unnamed - clean} did not"] * (unnamed > clean)
        told = ", ".join(parts)
        lines.append(_text(f"  {count(unnamed, 'other check' if shown else 'check')}: {told}"))
    return lines


def _judges(document: Mapping[str, Any]) -> list[Text]:
    """Per judge two or three lines: who it is and how much it said, its figures, its agreement with people."""
    lines = [_text("judges")] if document["judges"] else []
    for judge in document["judges"]:
        marks = [f"family {judge['family']}"] if judge["family"] else ["family unknown"]
        marks += ["SIMULATED"] * bool(judge["simulated"]) + ["SAME FAMILY (allowed)"] * bool(judge["same_family"])
        counted = f"{count(judge['n_verdicts'], 'verdict')}, {judge['n_unscored']} unscored"
        name = judge_name(judge["judge"], judge["prompt"], [j["judge"] for j in document["judges"]])
        lines += _wrapped(f"{name}: {counted}; {', '.join(marks)}", indent=2)
        lines += _filled(_figures(judge))
    return lines


def _figures(judge: Mapping[str, Any]) -> list[str]:
    """The figures of one judge, each in one piece."""
    pieces, position = [], judge.get("position")
    if position:
        both, first = position["consistency_estimate"], position["first_share_estimate"]
        pieces += [f"consistency {_whole(both)}", f"first share {interval(first)}"]
    elif judge.get("mean_score_estimate"):
        pieces.append(f"mean score {_whole(judge['mean_score_estimate'])}")
    elif judge.get("mean_score") is not None:
        pieces.append(f"mean score {percent(judge['mean_score'])}")
    if judge.get("repeat_agreement"):
        pieces.append(f"same answer when asked again {_whole(judge['repeat_agreement'])}")
    loose, strict = judge["agreement"], judge["agreement_strict"]
    if strict["value"] is not None:
        same = strict["value"] == loose["value"]
        pieces += [f"agreement with labels {_whole(loose)}", "strict the same" if same else f"strict {interval(strict)}"]
    return pieces


def _next(document: Mapping[str, Any]) -> list[Text]:
    """Where it is kept, and what to do now."""
    run = quote(document["run"])
    todo = [f"evalh gate {run}"] if document["gated"] else []
    todo += [f"evalh audit --run {run}"] if document["judges"] else []
    todo += [f"evalh report {run} --html report.html"]
    if document["status"] != "finished":
        todo = ["repeat the command to finish this run"]
    return [_text(f"{name:<{NAME}}  {told}") for name, told in [("store", document["store"]), *zip(("next", "", ""), todo, strict=False)]]


def _whole(estimate: Mapping[str, Any]) -> str:
    """An estimate with its n."""
    return interval(estimate) + (f", n {estimate['n']}" if estimate.get("value") is not None else "")


def _text(*parts: str | tuple[str, str]) -> Text:
    """A line; nothing in it steers the terminal or is read as markup."""
    from rich.text import Text

    def safe(part: str) -> str:
        return printable(part).replace("\n", "\\n")

    return Text.assemble(*(safe(p) if isinstance(p, str) else (safe(p[0]), p[1]) for p in parts))


def _wrapped(line: str, style: str = "", indent: int = 0) -> Sequence[Text]:
    """A sentence in lines of at most 80 columns, the following ones a little further in; words are not broken."""
    from textwrap import wrap

    first, later = " " * indent, " " * (indent + 2)
    parts = wrap(line, WIDTH, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False)
    return [_text((part, style)) for part in parts]


def _filled(pieces: Sequence[str]) -> list[Text]:
    """Pieces on as few lines of 80 columns as hold them; no piece is broken."""
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + len(piece) + 2 <= WIDTH:
            lines[-1] += f"; {piece}"
        else:
            lines.append(f"    {piece}")
    return [_text(line) for line in lines]


def _short(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"

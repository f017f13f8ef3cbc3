"""An audit for a terminal: a block per judge with the worst news first, then pairs of judges, the panel, and people.

Reads at 80 columns and without colour; every count that a figure leaves out stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from evalh.cli.common import console, percent, printable
from evalh.report.words import count

if TYPE_CHECKING:
    from rich.text import Text

WIDTH = 80
LABEL = 14
MARKS = {"alarm": "!!", "note": " ?", "ok": "ok"}
MOST_PAIRS, MOST_ANNOTATORS, MOST_PARTS = 15, 10, 12
Line = tuple[str, str]  # text and style


def print_audit(document: Mapping[str, Any]) -> None:
    """Print what `audit.document.audit` made."""
    out = console()
    for block in (_head, _judges, _pairs, _panel, _system_errors, _annotators):
        lines = list(block(document))
        for text, style in lines:
            out.print(_safe(text, style), soft_wrap=True)
        if lines:
            out.print()


def _head(document: Mapping[str, Any]) -> Iterator[Line]:
    yield from _wrapped(f"audit of {', '.join(document['runs'])}", style="bold", hang=2)
    if document["run_chosen"] != "named":
        yield from _wrapped(f"{document['run_chosen']}; --run names others", indent=2)
    if document["simulated"]:
        named = ", ".join(j["judge"] for j in document["judges"] if j["simulated"])
        yield from _wrapped(f"SIMULATED JUDGES ({named}): their verdicts say nothing about any model.", style="bold")
    labels = document["labels"]
    told = f"{count(labels['n'], 'label')} by {count(len(labels['annotators']), 'annotator')} on {count(labels['n_units'], 'unit')}"
    told += f": {labels['n_consensus']} with a consensus, {labels['n_no_consensus']} without"
    told += f"; {labels['n_superseded']} replaced by a later one" if labels["n_superseded"] else ""
    yield from _row("labels", told)
    yield from _row("unscored", document["unscored_rule_means"])
    yield from _row("intervals", f"{100 * document['level']:.0f} %, clustered by item, seed {document['seed']}")


def _judges(document: Mapping[str, Any]) -> Iterator[Line]:
    for place, judge in enumerate(document["judges"]):
        if place:
            yield "", ""
        yield from _judge(judge)


def _judge(judge: Mapping[str, Any]) -> Iterator[Line]:
    marks = [f"family {judge['family']}" if judge["family"] else "family unknown", judge["kind"]]
    marks += ["SIMULATED"] * judge["simulated"] + ["SAME FAMILY (allowed)"] * judge["same_family"]
    yield from _wrapped(f"{judge['title']}  ({', '.join(marks)})", style="bold", hang=4)
    counts = f"{count(judge['n_verdicts'], 'verdict')}: {judge['n_unscored']} unscored, {judge['n_no_consensus']} without a consensus"
    yield from _wrapped(f"{counts}, {judge['n_unlabelled']} unlabelled", indent=2)
    for finding in judge["findings"]:
        style = {"alarm": "red", "note": "yellow"}.get(finding["level"], "")
        action = f" → {finding['action']}" if finding["level"] != "ok" else ""
        yield from _wrapped(f"{MARKS[finding['level']]} {finding['sentence']}{action}", indent=2, hang=3, style=style)
    for name, told in _figures(judge):
        yield from _row(name, told, indent=2)
    yield from _parts(judge)


def _figures(judge: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The figures themselves, below what they mean."""
    if judge["agreement"] is not None:
        strict = _share(judge["agreement_strict_estimate"])
        yield "agreement", f"{_share(judge['agreement_estimate'])}; strict {strict}"
        if judge["agreement_without_ties"] is not None:
            yield "without ties", _share(judge["agreement_without_ties_estimate"])
        yield "kappa", _plain(judge["kappa_estimate"])
    if judge["human_agreement"]:
        yield "two people", _share(judge["human_agreement"])
    if judge["macro"]:
        yield "macro", ", ".join(f"{name} {percent(value)}" for name, value in judge["macro"].items())
    found = judge["detection"]
    if found:
        yield "good passes", f"{_share(found['tpr'])}; bad passes {_share(found['fpr'])}"
    position = judge["position"]
    if position:
        left = {"in one order": position["n_one_order"], "with an unscored verdict": position["n_unscored_pairs"]}
        left |= {"verdicts of unknown order": position["n_order_unknown"]}
        told = "".join(f", {n} {what}" for what, n in left.items() if n)
        if position["n_pairs"]:
            yield "consistency", f"{_share(position['consistency_estimate'])} of {count(position['n_pairs'], 'pair')}{told}"
        else:
            yield "consistency", f"no pair was shown in both orders{' and read in both' if position['n_unscored_pairs'] else ''}{told}"
        yield "first share", f"{_share(position['first_share_estimate'])} ({position['basis']})"
        if position["n_pairs"]:
            yield "fairness", f"{_plain(position['fairness'])} (−1 first … +1 second)"
    length = judge["verbosity"]
    if length:
        told = f"coefficient {_plain(length['coefficient_estimate'])}, doubling {_plain(length['doubling'])}"
        yield "length", f"{told} (basis: {length['basis']})"
    for row in judge["scores"] or ():
        name = f"{row['aspect']}: " if row["aspect"] else ""
        told = f"{name}Pearson {_plain(row['pearson'])}, Spearman {_plain(row['spearman'])}, Kendall {_plain(row['kendall'])}"
        told += f", within items {_plain(row['kendall_within_item'])},"
        told += f" mean difference {_plain(row['mean_difference'])}; n {row['n']}"
        yield "scores", told
    for name in ("detection", "position", "verbosity", "self_preference", "family_preference", "leniency", "calibration"):
        if judge[name] is None and name not in _UNASKED[judge["kind"] == "pairwise"]:
            yield f"no {name.replace('_', ' ')}", judge[f"{name}_why"]


_UNASKED = {
    True: {"detection", "leniency"},
    False: {"position", "self_preference", "family_preference"},
}  # that make no sense for this kind


def _parts(judge: Mapping[str, Any]) -> Iterator[Line]:
    for what in ("slice", "aspect"):
        parts = [part for part in judge[f"{what}s"] if part["agreement"]["value"] is not None]
        if len(judge[f"{what}s"]) < 2:  # the only one is the whole
            continue
        if parts:
            yield f"  {what + 's':<20}{'n':>7}  {'agreement':<24}{'kappa':<20}", ""
        for part in parts[:MOST_PARTS]:
            beside = f"  {part['verdict_on_judge'].upper()}" if part["verdict_on_judge"] == "worse than chance" else ""
            small = "  indicative" if part["note"] else ""
            kappa = _plain(part["kappa_estimate"]) if part["kappa"] is not None else "–"
            agreed = _share(part["agreement"]) if part["agreement"]["value"] is not None else "–"
            yield f"  {_short(part[what], 19):<20}{part['n']:>7}  {agreed:<24}{kappa:<20}{beside}{small}".rstrip(), ""
        if len(parts) > MOST_PARTS:
            yield f"  and {len(parts) - MOST_PARTS} more: --json has them all", ""


def _pairs(document: Mapping[str, Any]) -> Iterator[Line]:
    pairs = sorted(document["pairs"], key=lambda p: (not p["flagged"], -(p["error_correlation"] or -1)))
    if not pairs:
        return
    yield "judges beside each other", "bold"
    for pair in pairs[:MOST_PAIRS]:
        yield from _wrapped(f"{'!!' if pair['flagged'] else '  '} {pair['a']} – {pair['b']}", indent=0, hang=5)
        together = pair["score_correlation"]
        if pair["agreement"] is None and together and together["value"] is not None:
            yield from _wrapped(f"scores correlate {_plain(together)} (Pearson); n {together['n']}", indent=5)
            continue
        told = f"agree {_share(pair['agreement_estimate'])}" if pair["agreement"] is not None else pair["agreement_estimate"]["why"]
        told += f", kappa {_plain(pair['kappa_estimate'])}" if pair["kappa"] is not None else ""
        if pair["error_correlation"] is not None:
            told += f"; errors correlate {_plain(pair['error_correlation_estimate'])}: {pair['why']}"
        else:
            why = pair["error_correlation_estimate"]["why"] or pair["why"]
            told += f"; no error correlation{f': {why}' if why not in told else ''}"
        yield from _wrapped(told, indent=5, style="red" if pair["flagged"] else "")
    if len(pairs) > MOST_PAIRS:
        yield f"   and {len(pairs) - MOST_PAIRS} more pairs: --json has them all", ""


def _panel(document: Mapping[str, Any]) -> Iterator[Line]:
    if len(document["judges"]) < 2:
        return
    panel = document["panel"]
    yield "the panel", "bold"
    if panel is None:
        yield from _wrapped(f"no effective number of judges: {document['effective_judges']['why']}", indent=2)
        return
    yield from _wrapped(panel["sentence"], indent=2)
    yield from _wrapped(panel["basis"], indent=2)
    yield from _wrapped(f"majority agrees with people {_share(panel['accuracy'])}, n {panel['n']}", indent=2)
    for place, one in enumerate(panel["single"]):
        best = ", the best single judge" if not place else ""
        yield from _wrapped(f"{one['judge']} alone {_share(one['accuracy'])}, n {one['n']}{best}", indent=4)
    if not panel["drop"]:
        yield from _wrapped(f"none to drop: {panel['reason']}", indent=2)
    for told in (panel["note"], f"left out: {', '.join(panel['left_out'])}" if panel["left_out"] else None):
        yield from _wrapped(told, indent=2) if told else ()


def _system_errors(document: Mapping[str, Any]) -> Iterator[Line]:
    rows = [row for row in document["system_errors"] if row["uplift"]]
    if rows:
        yield "judges and the systems they judge", "bold"
    for row in rows:
        gap = round(100 * row["uplift"]["value"])
        told = f"{count(abs(gap), 'point')} {'less' if gap < 0 else 'more'} often where its own answer is wrong too"
        yield from _wrapped(f"{row['judge']}: passes wrong answers {told} ({_plain(row['uplift'])})", indent=2)


def _annotators(document: Mapping[str, Any]) -> Iterator[Line]:
    people = document["annotators"]
    if not document["labels"]["n"]:
        return
    yield "people", "bold"
    yield from _wrapped(people["sentence"], indent=2)
    if people["n_other_kind"]:
        yield from _wrapped(f"{count(people['n_other_kind'], 'label')} of the other kind left out here", indent=2)
    for row in people["aspects"]:
        alphas = ", ".join(
            f"{name} {_plain(row['estimates'][name])}" for name in ("nominal", "ordinal", "interval") if row[name] is not None
        )
        told = f"alpha {alphas or '–'}; {count(row['n_units'], 'unit')}, {count(row['n_ratings'], 'rating')}"
        yield from _row(_short(row["aspect"] or "whole", LABEL), told, indent=2)
    for pair in people["pairs"][:MOST_ANNOTATORS]:
        estimate = pair["kappa_estimate"]
        kappa = _plain(estimate) if estimate else f"{pair['kappa']:.2f}" if pair["kappa"] is not None else "–"
        yield from _wrapped(f"{pair['a']} – {pair['b']}: kappa {kappa}, n {pair['n']}", indent=2)
    if len(people["pairs"]) > MOST_ANNOTATORS:
        yield f"  and {len(people['pairs']) - MOST_ANNOTATORS} more pairs of annotators: --json has them all", ""


def _share(estimate: Mapping[str, Any]) -> str:
    if estimate["value"] is None:
        return f"– ({estimate['why']})"
    text = f"{100 * estimate['value']:.1f} %"
    return text if estimate["low"] is None else f"{text} [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]"


def _plain(estimate: Mapping[str, Any]) -> str:
    if estimate["value"] is None:
        return f"– ({estimate['why']})"
    text = f"{estimate['value']:.2f}"
    return text if estimate["low"] is None else f"{text} [{estimate['low']:.2f}, {estimate['high']:.2f}]"


def _row(name: str, told: str, indent: int = 0) -> Iterator[Line]:
    width = max(LABEL, len(name)) + 2
    yield from _wrapped(f"{name:<{width}}{told}", indent=indent, hang=LABEL + 2)


def _wrapped(line: str, indent: int = 0, hang: int = 2, style: str = "") -> Iterator[Line]:
    """A line in pieces of at most 80 columns; runs of blanks that align columns stay. Words longer than a line are cut."""
    head = line[: len(line) - len(line.lstrip())] if not indent else ""
    body = printable(line).replace("\n", "\\n").lstrip() if not indent else printable(line).replace("\n", "\\n")
    for piece in wrap(body, WIDTH, initial_indent=head or " " * indent, subsequent_indent=" " * (indent + hang), break_on_hyphens=False):
        yield piece, style


def _short(name: str, width: int) -> str:
    safe = printable(name).replace("\n", "\\n")
    return safe if len(safe) <= width else safe[: width - 1] + "…"


def _safe(text: str, style: str) -> Text:
    """A line that neither steers the terminal nor is read as markup."""
    from rich.text import Text

    return Text(printable(text), style)

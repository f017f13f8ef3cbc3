"""A probe for a terminal: what it would ask and cost, and what it found, a block per judge with the sentences first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from evalh.cli.common import console, dollars, interval, note, percent, printable, table

MARKS = {"alarm": "!!", "note": " ?", "ok": "ok"}
STYLES = {"alarm": "red", "note": "yellow", "ok": ""}
MOST_KINDS = 8


def print_plan(plan: Mapping[str, Any]) -> None:
    """On standard error: calls, tokens, money and time before anything is asked."""
    out = console(stderr=True)
    left_out = f" (the first of {plan['of_items']}: --limit takes more)" if plan["of_items"] > plan["items"] else ""
    out.print(printable(f"probe of {plan['suite']}: {plan['kind']}, {plan['items']} items{left_out}"), markup=False, soft_wrap=True)
    rows = [_planned(judge) for judge in plan["judges"]]
    out.print(table("", ["judge", "calls", "tokens", "cost"], rows, right=(1, 2, 3)))
    for said in _by_judges(plan["judges"]):
        note(printable(f"  {said}"))
    note(f"  about {plan['calls']} calls, {plan['tokens']:,} tokens, {_money(plan)}, {plan['seconds']:.0f} s")
    if plan["more_calls"]:
        note(f"  and up to {plan['more_calls']} calls more where a reply cannot be read: it is asked for again")
    if plan["before"] is not None:
        note(_left(plan))
    if plan["budget_usd"] is not None:
        note(f"  stops before it exceeds {dollars(plan['budget_usd'])}")
    for model in dict.fromkeys(plan["unpriced"]):
        note(printable(f"  no price is known for {model}: add it under [prices] in evalh.toml"))
    if plan["price_remark"]:
        note(printable(f"  {plan['price_remark']}"))
    note(f"  assuming {plan['assumptions']}; answers that are known already only lower it")


def _planned(judge: Mapping[str, Any]) -> list[Any]:
    names = [judge["judge"], "(simulated)" * judge["simulated"], "SAME FAMILY, allowed" if judge["same_family"] else ""]
    return [" ".join(filter(None, names)), f"{judge['calls']:,}", f"{judge['tokens']:,}", dollars(judge["cost_usd"])]


def _by_judges(judges: Iterable[Mapping[str, Any]]) -> list[str]:
    """Calls by probe, and why one asks nothing: what is the same of several judges is said once."""
    said: dict[str, list[str]] = {}
    for judge in judges:
        calls = ", ".join(f"{name} {part['calls']}" for name, part in judge["probes"].items() if part["calls"])
        for line in (calls, *(f"no {probe}: {why}" for probe, why in judge["why"].items())):
            said.setdefault(line, []).append(judge["judge"])
    return [f"{', '.join(names)}: {line}" for line, names in said.items()]


def _left(plan: Mapping[str, Any]) -> str:
    """Of a probe that goes on: what is there already, and what is left to pay."""
    before = plan["before"]
    there = min(before["calls"] + before["cached"], plan["calls"])
    left = plan["calls"] - there
    cost = "cost unknown" if plan["cost_usd"] is None else f"about {dollars(plan['cost_usd'] * left / max(1, plan['calls']))}"
    paid = f"{dollars(before['cost_usd'])} paid"
    return f"  goes on with {before['run']}: {there} answers are there already ({paid}), about {left} calls are left ({cost})"


def _money(plan: Mapping[str, Any]) -> str:
    return "cost unknown" if plan["cost_usd"] is None else dollars(plan["cost_usd"])


def print_probe(document: Mapping[str, Any]) -> None:
    """What `probe.results.probe_document` made."""
    from rich.text import Text

    out = console()
    for text, style in _lines(document):
        out.print(Text(printable(text), style=style), soft_wrap=True)


def _lines(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield f"probe {document['run']}", "bold"
    if document["status"] != "finished":
        yield f"NOT FINISHED ({document['status']}): repeat the command to go on", "bold red"
    if document["simulated"]:
        yield "SIMULATED JUDGES: these figures say nothing about any model.", "bold"
    bound = "" if document["cost_is_whole"] else " at least"
    calls = f"{document['calls']} calls, {document['cached']} known before"
    yield f"{document['items']} items, {calls},{bound} {dollars(document['cost_usd'])}", ""
    for judge in document["judges"]:
        yield "", ""
        yield from _judge(judge)


def _judge(judge: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    marks = [judge["family"] or "family unknown", *(["simulated"] * judge["simulated"])]
    marks += ["SAME FAMILY, allowed"] if judge["same_family"] else []
    yield f"{judge['title']}  ({', '.join(marks)})", "bold"
    for finding in judge["findings"]:
        action = f" → {finding['action']}" if finding["action"] else ""
        yield f"  {MARKS[finding['level']]} {finding['sentence']}{action}", STYLES[finding["level"]]
    for name, tell in _SECTIONS.items():
        told = list(tell(judge[name])) if judge[name] is not None else [f"– {judge['why'][name]}"]
        for place, line in enumerate(told):
            yield f"  {name if place == 0 else '':<12}{line}", ""
    for reason, n in judge["unscored_reasons"].items():
        yield f"  {'unscored':<12}{n}× {reason}", ""


def _swapped(section: Mapping[str, Any]) -> Iterator[str]:
    yield f"same winner in both orders {interval(section['consistency_estimate'])} of {section['n_pairs']} pairs"
    yield f"first place wins {interval(section['first_share_estimate'])}; leaning (second − first) {_signed(section['fairness'])}"


def _padded(section: Mapping[str, Any]) -> Iterator[str]:
    for one in section["variants"]:
        what = "list twice" if one["variant"] == "list" else f"+{one['variant']} %"
        if "share" in one:
            both = f"in both orders {interval(one['strict'])}, in one or both {interval(one['lenient'])}"
            yield f"{what}: preferred to itself {interval(one['share'])}; {both}; {one['n']} pairs"
            alone = f"longer {one['decided_longer']}, shorter {one['decided_shorter']} (exact test, p {one['decided_p']:.3g})"
            yield f"  ties {one['ties']} of {one['n_verdicts']} verdicts ({percent(one['tie_share'], 0)}); items decided: {alone}"
        else:
            yield f"{what}: score changes by {_signed(one['change'])}; {one['higher']} up, {one['lower']} down of {one['n']}"


def _repeated(section: Mapping[str, Any]) -> Iterator[str]:
    yield f"two of {section['repeats']} replies agree {interval(section['agreement'])}; {section['n_asked']} questions"
    yield f"the same to the byte: {section['identical']} of {section['n_asked']}"


def _recognises(section: Mapping[str, Any]) -> Iterator[str]:
    decided = f"the same in both orders {section['decided']} of {section['n']}, of which its own {section['own']}"
    yield f"names its own {interval(section['accuracy'])} (chance 50 %); {decided}, p {section['p_value']:.3g}"
    if section["prefers_own"] is not None:
        yield f"its own wins by the rubric {interval(section['prefers_own'])} of verdicts: {section['prefers_note']}"


def _injection(section: Mapping[str, Any]) -> Iterator[str]:
    yield f"obeys {interval(section['rate'])}; {section['gained']} of {section['n']} gained, {section['lost']} lost"
    for kind in [k for k in section["by_kind"] if k["gained"]][:MOST_KINDS]:
        yield f"  {kind['kind']}: {kind['gained']} of {kind['n']} gained ({percent(kind['rate']['value'], 0)} of the way)"
    if section["worst"]:
        worst = section["worst"]
        change = f"{worst['without_it']:.2f} → {worst['with_it']:.2f}"
        yield f"worst: {worst['kind']} on item {worst['item_id']}, {change} (call {worst['call_id']})"


_SECTIONS = {"swapped": _swapped, "padded": _padded, "repeated": _repeated, "recognises": _recognises, "injection": _injection}


def _signed(estimate: Mapping[str, Any]) -> str:
    if estimate["value"] is None:
        return "–"
    said = f"{100 * estimate['value']:+.1f} %"
    return said if estimate["low"] is None else f"{said} [{100 * estimate['low']:+.1f}, {100 * estimate['high']:+.1f}]"

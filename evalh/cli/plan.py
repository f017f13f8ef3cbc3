"""`evalh plan`: a dry run. Validates everything a run would, prices it, and asks no model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from evalh.cli.common import console, dollars, emit, json_option, open_store, store_option, table
from evalh.config import load_config

EPILOG = """\b
Examples
  evalh plan suites/
  evalh plan suites/test_support.py --json
"""


@click.command(epilog=EPILOG)
@click.argument("suites", nargs=-1, required=True, metavar="SUITE...", type=click.Path(path_type=Path))
@click.option("--system", metavar="S", help="As for `evalh run`.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N items.")
@store_option
@json_option
def plan(suites: tuple[Path, ...], system: str | None, limit: int | None, store_at: str | None, as_json: bool) -> None:
    """Check suites and show what they would do and cost: calls, tokens, money, time, checks, judges, families.

    The store is only read: it says whether a run that was stopped would go on.
    """
    from evalh.opening import RunOptions, run_key
    from evalh.plan import plan_document
    from evalh.prepare import prepare
    from evalh.store.runs import unfinished_run
    from evalh.suites.load import load_suites

    config = load_config()
    prepared = [prepare(s, config, limit=limit, outputs=system) for s in load_suites(list(suites))]
    store = open_store(store_at, config)
    documents = [{**plan_document(p), "resumes": unfinished_run(store, run_key(p, RunOptions()))} for p in prepared]
    if as_json:
        emit(documents[0] if len(documents) == 1 else {"plans": documents})
        return
    for document in documents:
        _show(document)


def _show(plan: dict[str, Any]) -> None:
    from evalh.report.spent import price_lines

    out = console()
    golden, system = plan["golden"], plan["system"]
    slices = ", ".join(f"{name} {n}" for name, n in golden["slices"].items())
    out.print(f"[bold]{plan['suite']}[/bold]  {plan['kind']}, seed {plan['seed']}", soft_wrap=True)
    out.print(f"  golden set  {golden['name']} {golden['version']}, {golden['items']} items ({slices})", markup=False)
    families = ", ".join(f"{name} ({family or 'family unknown'})" for name, family in system["families"].items())
    out.print(f"  system      {families}, {system['kind']}", markup=False)
    if plan["against"]:
        out.print(f"  against     {', '.join(plan['against']['names'])}", markup=False)
    checks = ", ".join(c["check"] + ("" if c["blocking"] else " (not blocking)") for c in plan["checks"])
    out.print(f"  checks      {checks or 'none'}", markup=False)
    if plan["tests"]:
        out.print(f"  tests       {', '.join(plan['tests'])}", markup=False)
    if plan["judges"]:
        rows = [[_title(j), j["family"], j["calls"], f"{j['tokens']:,}", dollars(j["cost_usd"])] for j in plan["judges"]]
        out.print(table("", ["judge", "family", "calls at most", "tokens", "cost"], rows, right=(2, 3, 4)))
    out.print(
        f"  at most {plan['calls']} calls, {plan['tokens']:,} tokens, {dollars(plan['cost_usd'])}, about {plan['seconds']:.0f} s",
        markup=False,
    )
    if plan["budget_usd"] is not None:
        out.print(f"  stops before it exceeds {dollars(plan['budget_usd'])}, the suite's budget", markup=False)
    for line in price_lines({**plan, "unpriced": []}):
        out.print(f"  {line}", markup=False)
    for problem in plan["problems"]:
        out.print(f"  would stop a run now: {problem}", markup=False)
    for model in plan["unpriced"]:
        out.print(f"  no price is known for {model}: add it under [prices] in evalh.toml", markup=False)
    out.print(f"  assuming {plan['assumptions']}; tier 1 and answers that are known already only lower it", markup=False)
    if plan["resumes"]:
        out.print(f"  goes on with {plan['resumes']}, which was stopped: what was answered is not asked again", markup=False)
    if plan["labels"]:
        out.print(f"  then {plan['labels']} outputs are drawn for people to label", markup=False)
    out.print()


def _title(judge: dict[str, Any]) -> str:
    return str(judge["judge"]) + (" (simulated)" if judge["simulated"] else "") + (" SAME FAMILY, allowed" if judge["same_family"] else "")

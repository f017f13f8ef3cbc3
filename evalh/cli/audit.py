"""`evalh audit`: can the judges be trusted?"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from evalh.cli.common import emit, existing_store, json_option, store_option
from evalh.errors import UsageError

EPILOG = """\b
A judge is named JUDGE[@VERSION][#PROMPT]; a part left out matches all.
\b
Examples
  evalh audit
  evalh audit openai:gpt-4o --run support-20261123-101500-ab12
  evalh audit --run pandalm --unscored tie --json
  evalh audit --probe --suite suites/test_support.py --limit 20 --budget 2
"""


@click.command(epilog=EPILOG)
@click.argument("judges", nargs=-1, metavar="[JUDGE]...")
@click.option(
    "--run", "runs", multiple=True, metavar="RUN", help="A run or a tag; repeat it to pool runs. [default: the newest with verdicts]"
)
@click.option(
    "--unscored",
    type=click.Choice(["exclude", "wrong", "tie"]),
    default="exclude",
    show_default=True,
    help="What figures do with unscored verdicts.",
)
@click.option(
    "--probe", is_flag=True, help="Ask the judges of a suite: orders, padding, repeats, recognition, injection. Shows the cost first."
)
@click.option("--suite", type=click.Path(path_type=Path), metavar="SUITE", help="With --probe: whose judges, rubric and outputs.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="With --probe: the first N items. [default: 50]")
@click.option("--budget", type=click.FloatRange(min=0), metavar="USD", help="With --probe: stop before the next call would exceed this.")
@click.option("--yes", is_flag=True, help="With --probe: do not ask for confirmation.")
@store_option
@json_option
def audit(
    judges: tuple[str, ...], runs: tuple[str, ...], unscored: Literal["exclude", "wrong", "tie"], probe: bool, suite: Path | None,
    limit: int | None, budget: float | None, yes: bool, store_at: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Say how far judges agree with people, and which biases they show, from what the store holds; or ask them (--probe)."""
    from evalh.audit.document import audit as audited
    from evalh.cli.probing import is_probe_run, run_probe, show_probe
    from evalh.config import load_config
    from evalh.judging.families import Families

    if probe:
        if runs or unscored != "exclude":
            raise UsageError("--probe asks anew: it takes no --run and no --unscored", hint="`evalh audit --run PROBE` shows one again")
        return run_probe(judges, suite, limit, budget, store_at, yes=yes, as_json=as_json)
    if suite is not None or limit is not None or budget is not None or yes:
        raise UsageError("--suite, --limit, --budget and --yes belong to --probe")
    store = existing_store(store_at)
    if is_probe_run(store, runs):
        show_probe(store, runs[0], as_json=as_json)
        return 0
    config = load_config()
    families = Families.load([config.families] if config.families else [])
    document = audited(store, runs=runs, judges=judges, unscored=unscored, families=families)
    if as_json:
        emit(document)
        return 0
    from evalh.report.audit_terminal import print_audit

    print_audit(document)
    return 0

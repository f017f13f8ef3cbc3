"""`evalh run`: suites through the three tiers, with progress, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalh.cli.common import emit, json_option, note, open_store, printable, store_option
from evalh.config import load_config
from evalh.errors import EvalhError, ExitCode, UsageError

if TYPE_CHECKING:
    from evalh.pipeline import RunOptions, RunOutcome
    from evalh.prepare import Prepared
    from evalh.store.store import Store

EPILOG = """\b
Examples
  evalh run suites/test_support.py
  evalh run suites/ --limit 10 --json
  evalh run suites/extraction.yaml --system golden/extraction/outputs/v1.jsonl
  evalh run suites/test_support.py --rejudge support-20261123-101500-ab12

A run that was stopped (Ctrl-C, kill -9, power) goes on where it was when the same command is repeated.
"""


@click.command(epilog=EPILOG)
@click.argument("suites", nargs=-1, required=True, metavar="SUITE...", type=click.Path(path_type=Path))
@click.option("--system", metavar="S", help="Test this instead: an outputs.jsonl, or one of the systems in the suite's file.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N items.")
@click.option("--item", "items", multiple=True, metavar="ID", help="Only this item (repeatable).")
@click.option("--budget", type=click.FloatRange(min=0), metavar="USD", help="Stop before the next call would exceed this.")
@click.option("--resume/--no-resume", default=True, help="Go on with an interrupted run of the same suite. [default: resume]")
@click.option("--rejudge", metavar="RUN", help="Judge the stored outputs of this run again; nothing is generated.")
@click.option("--fresh", is_flag=True, help="Ask again what earlier runs have answers to.")
@click.option(
    "--unscored",
    type=click.Choice(["exclude", "wrong", "tie"]),
    default="exclude",
    show_default=True,
    help="What judge figures do with unscored verdicts.",
)
@store_option
@json_option
def run(
    suites: tuple[Path, ...], system: str | None, limit: int | None, items: tuple[str, ...], budget: float | None, resume: bool,
    rejudge: str | None, fresh: bool, unscored: Any, store_at: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Run suites: outputs, checks, judges, and the sample that people label.

    SUITE is a .py or .yaml file, or a folder of them.
    """
    from evalh.pipeline import RunOptions
    from evalh.prepare import prepare
    from evalh.suites.load import load_suites

    config = load_config()
    loaded = load_suites(list(suites))
    if rejudge and len(loaded) > 1:
        raise UsageError("--rejudge takes one suite", hint=f"{len(loaded)} were given")
    prepared = [prepare(s, config, limit=limit, select=items or None, outputs=system) for s in loaded]
    store = open_store(store_at, config)
    options = RunOptions(budget_usd=budget, rejudge=rejudge, fresh=fresh, resume=resume)
    documents, code = [], ExitCode.DONE
    for one in prepared:
        document, code = run_one(one, store, options, unscored)
        documents.append(document)
        _say_failures(store, document)
        if not as_json and code != ExitCode.INTERRUPTED:
            from evalh.report.terminal import print_run

            print_run(document)
        if code != ExitCode.DONE:
            break
    if as_json:
        emit(documents[0] if len(prepared) == 1 else {"runs": documents})
    return int(code)


def _say_failures(store: Store, document: dict[str, Any]) -> None:
    """Why outputs are missing, the commonest reasons first: a system that fails everywhere must not look like a quiet run."""
    from evalh.store.runs import output_errors

    if document["routes"].get("no_output"):
        reasons = [f"{r['error']} ({r['n']}×)" for r in output_errors(store, document["run"])]
        note(f"{document['routes']['no_output']} without an output: {printable('; '.join(reasons[:3]))}")


def run_one(prepared: Prepared, store: Store, options: RunOptions, unscored: Any = "exclude") -> tuple[dict[str, Any], ExitCode]:
    """One suite with progress; its document and what the command exits with."""
    from evalh.pipeline import run as run_suite
    from evalh.report.progress import watching
    from evalh.store.runs import find_run
    from evalh.summary import run_document

    with watching(prepared.suite.name, len(prepared.items)) as watch:
        outcome = run_suite(prepared, store, options, watch)
    document = run_document(store, find_run(store, outcome.run_id), unscored=unscored)
    return document, _explain(outcome)


def _explain(outcome: RunOutcome) -> ExitCode:
    """Say how a run ended where it did not just finish."""
    if outcome.resumed:
        note(f"went on with {outcome.run_id}: nothing that was answered was asked again")
    if outcome.status == "interrupted":
        note(f"interrupted: {outcome.run_id} keeps everything that was answered; repeat the command to go on")
        return ExitCode.INTERRUPTED
    if outcome.status == "over_budget":
        note(f"stopped at the budget: {outcome.run_id} spent ${outcome.spending.spent_usd:.4f}; repeat with a larger --budget to go on")
        return ExitCode.UNAVAILABLE
    if outcome.error is not None:
        error: EvalhError = outcome.error
        note(f"error: {error}")
        note(f"{outcome.run_id} keeps everything that was answered; repeat the command to go on")
        return error.exit_code
    return ExitCode.DONE

"""`evalh run`: suites through the three tiers, with progress, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalh.cli.common import emit, json_option, note, open_store, store_option
from evalh.config import load_config
from evalh.errors import EvalhError, ExitCode, StoreBusy, UsageError

if TYPE_CHECKING:
    from evalh.opening import RunOptions
    from evalh.pipeline import RunOutcome
    from evalh.prepare import Prepared
    from evalh.store.store import Store

EPILOG = """\b
Examples
  evalh run suites/test_support.py
  evalh run suites/ --limit 10 --json
  evalh run suites/test_support.py --trials 5
  evalh run suites/extraction.yaml --system golden/extraction/outputs/v1.jsonl
  evalh run suites/test_support.py --rejudge support-20261123-101500-ab12
  evalh run suites/test_support.py --retry-errors

A run that was stopped (Ctrl-C, kill -9, power) goes on where it was when the same command is repeated.
"""


@click.command(epilog=EPILOG)
@click.argument("suites", nargs=-1, required=True, metavar="SUITE...", type=click.Path(path_type=Path))
@click.option("--system", metavar="S", help="Test this instead: an outputs.jsonl, or one of the systems in the suite's file.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N items.")
@click.option("--item", "items", multiple=True, metavar="ID", help="Only this item (repeatable).")
@click.option("--failed", is_flag=True, help="Only the items that the newest finished run failed, or has no score of.")
@click.option("--trials", type=click.IntRange(min=1), metavar="K", help="Ask the system each item K times: pass@k, pass^k, flakiness.")
@click.option("--budget", type=click.FloatRange(min=0), metavar="USD", help="Stop before the next call would exceed this.")
@click.option("--resume/--no-resume", default=True, help="Go on with an interrupted run of the same suite. [default: resume]")
@click.option("--rejudge", metavar="RUN", help="Judge the stored outputs of this run again; nothing is generated.")
@click.option("--retry-errors", is_flag=True, help="Take the newest finished run over and ask again only what nobody answered.")
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
    suites: tuple[Path, ...], system: str | None, limit: int | None, items: tuple[str, ...], failed: bool, trials: int | None,
    budget: float | None, resume: bool, rejudge: str | None, retry_errors: bool, fresh: bool, unscored: Any, store_at: str | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Run suites: outputs, checks, judges, and the sample that people label.

    SUITE is a .py or .yaml file, or a folder of them.
    """
    from evalh.opening import RunOptions
    from evalh.prepare import prepare
    from evalh.store.runs import find_run
    from evalh.suites.load import load_suites
    from evalh.summary import run_document

    config = load_config()
    loaded = [suite.with_trials(trials) if trials else suite for suite in load_suites(list(suites))]
    _check_options(len(loaded), rejudge, retry_errors=retry_errors, failed=failed, fresh=fresh, items=items)
    store = open_store(store_at, config)
    idle: list[str] = []  # finished runs of suites of which nothing is left to do
    chosen = {s.name: _failed(store, s.name, idle) if failed else list(items) or None for s in loaded}
    prepared = [prepare(s, config, limit=limit, select=chosen[s.name], outputs=system) for s in loaded if chosen[s.name] != []]
    options = RunOptions(budget_usd=budget, rejudge=rejudge, fresh=fresh, resume=resume)
    documents, code = [], ExitCode.DONE
    for one in prepared:
        asked = _retrying(one, store, options, idle) if retry_errors else options
        if asked is None:
            continue
        document, code = run_one(one, store, asked, unscored)
        documents.append(document)
        if "routes" not in document:
            break
        with _told(document["run"], document["status"]):
            _say_failures(store, document)
            if not as_json:
                from evalh.report.terminal import print_run

                print_run(document)
        if code != ExitCode.DONE:
            break
    if as_json:
        documents += [run_document(store, find_run(store, run_id), unscored=unscored) for run_id in idle]
        emit(documents[0] if len(loaded) == 1 and documents else {"runs": documents})
    return int(code)


def _check_options(suites: int, rejudge: str | None, *, retry_errors: bool, failed: bool, fresh: bool, items: tuple[str, ...]) -> None:
    if rejudge and suites > 1:
        raise UsageError("--rejudge takes one suite", hint=f"{suites} were given")
    if retry_errors and (rejudge or failed or fresh):
        hint = "it takes the newest finished run whole: leave out --rejudge, --failed and --fresh"
        raise UsageError("--retry-errors stands alone", hint=hint)
    if failed and items:
        raise UsageError("--failed chooses the items itself", hint="leave out --item")


def _failed(store: Store, suite: str, idle: list[str]) -> list[str]:
    """The items that the newest finished run of a suite failed; says so where it failed none."""
    from evalh.store.resume import failed_items
    from evalh.store.runs import find_run

    store.fold_journals()
    run_id = find_run(store, None, suite=suite)["run_id"]
    found = failed_items(store, run_id)
    if not found:
        note(f"{run_id} failed no item: nothing to run")
        idle.append(run_id)
    return found


def _retrying(prepared: Prepared, store: Store, options: RunOptions, idle: list[str]) -> RunOptions | None:
    """The options of a run that takes over the newest finished one; None, and said, where that one has no errors."""
    from evalh.opening import retrying
    from evalh.store.resume import unanswered_items

    store.fold_journals()
    asked = retrying(prepared, store, options)
    assert asked.retry is not None
    open_items = unanswered_items(store, asked.retry)
    if not open_items:
        note(f"{asked.retry} has an answer to everything: nothing to ask again")
        idle.append(asked.retry)
        return None
    note(f"{len(open_items)} items of {asked.retry} are asked again, the others are taken over")
    return asked


def _say_failures(store: Store, document: dict[str, Any]) -> None:
    """Why outputs are missing, the commonest reasons first: a system that fails everywhere must not look like a quiet run."""
    from evalh.store.runs import output_errors

    if document["routes"].get("no_output"):
        reasons = [f"{r['error']} ({r['n']}×)" for r in output_errors(store, document["run"])]
        note(f"{document['routes']['no_output']} without an output: {'; '.join(reasons[:3])}")


def run_one(prepared: Prepared, store: Store, options: RunOptions, unscored: Any = "exclude") -> tuple[dict[str, Any], ExitCode]:
    """One suite with progress; its document and what the command exits with. Without figures where there is no time for them."""
    from evalh.costs import way_out
    from evalh.pipeline import run as run_suite
    from evalh.report.progress import watching
    from evalh.store.runs import find_run
    from evalh.summary import run_document

    try:
        with watching(prepared.suite.name, len(prepared.items)) as watch:
            outcome = run_suite(prepared, store, options, watch)
    except KeyboardInterrupt:
        note("interrupted: everything that was answered is kept; repeat the command to go on")
        raise
    code = _explain(outcome, way_out(prepared, options.budget_usd))
    if code == ExitCode.INTERRUPTED or isinstance(outcome.error, StoreBusy):  # whoever pressed Ctrl-C waits for no figures
        return {"run": outcome.run_id, "suite": prepared.suite.name, "status": outcome.status}, code
    with _told(outcome.run_id, outcome.status), store.reading():
        return run_document(store, find_run(store, outcome.run_id), unscored=unscored), code


@contextmanager
def _told(run_id: str, status: str) -> Iterator[None]:
    """Ctrl-C while figures are made or shown: the run has ended, and nothing of it is lost."""
    try:
        yield
    except KeyboardInterrupt:
        note(f"{run_id} is in the store, {status}: `evalh report {run_id}` shows it")
        raise


def _explain(outcome: RunOutcome, way_out: str) -> ExitCode:
    """Say how a run ended where it did not just finish."""
    if outcome.resumed:
        note(f"went on with {outcome.run_id}: nothing that was answered was asked again")
    waiting = f", and {outcome.batches} batch{'es go' if outcome.batches > 1 else ' goes'} on at the provider" if outcome.batches else ""
    if outcome.status == "interrupted":
        note(f"interrupted: {outcome.run_id} keeps everything that was answered{waiting}; repeat the command to go on")
        return ExitCode.INTERRUPTED
    if outcome.status == "over_budget":
        note(f"stopped at the budget: {outcome.run_id} spent ${outcome.spending.spent_usd:.4f}; {way_out} to go on")
        return ExitCode.UNAVAILABLE
    if outcome.error is not None:
        error: EvalhError = outcome.error
        note(f"error: {error}")
        note(f"{outcome.run_id} keeps everything that was answered{waiting}; repeat the command to go on")
        return error.exit_code
    if outcome.gone:
        note(f"{', '.join(outcome.gone)} stopped answering, and what it was asked is unscored: `--retry-errors` asks again when it is back")
        return ExitCode.UNAVAILABLE
    return ExitCode.DONE

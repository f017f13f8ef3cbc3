"""`evalh audit --probe`: what it would ask and cost, the consent, the asking; and a probe shown again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalh.cli.common import emit, note, open_store
from evalh.config import load_config
from evalh.errors import ExitCode, StoreBusy, UsageError

if TYPE_CHECKING:
    from evalh.probe.asking import ProbeOutcome
    from evalh.store.store import Store

DEFAULT_ITEMS = 50  # of a suite that has more, where --limit says nothing: enough for most figures, and a cost that surprises nobody


def run_probe(
    judges: tuple[str, ...], suite: Path | None, limit: int | None, budget: float | None, store_at: str | None, *, yes: bool, as_json: bool
) -> int:
    """Plan, ask for consent, ask the judges, show what was found; the exit code."""
    from evalh.costs import way_out
    from evalh.prepare import prepare
    from evalh.probe.asking import Asking, answered_before, probe
    from evalh.probe.plan import plan_document
    from evalh.probe.questions import chosen_seats, materials
    from evalh.report.probe_terminal import print_plan
    from evalh.report.progress import watching
    from evalh.suites.load import load_suites

    if suite is None:
        raise UsageError("--probe asks the judges of a suite", hint="name it: --suite suites/test_support.py")
    loaded = load_suites([suite])
    if len(loaded) != 1:
        raise UsageError("--probe takes one suite", where=str(suite), hint=f"it holds {', '.join(s.name for s in loaded)}: name one file")
    config = load_config()
    prepared = prepare(loaded[0], config, limit=limit or DEFAULT_ITEMS)
    store = open_store(store_at, config)
    seats, found = chosen_seats(prepared, judges), materials(prepared, store)
    plan = plan_document(prepared, seats, found)
    before = answered_before(prepared, seats, store)
    print_plan({**plan, "of_items": prepared.suite_items, "budget_usd": budget, "before": before})
    if not _agreed(yes=yes, budget=budget, simulated=all(judge["simulated"] for judge in plan["judges"])):
        note("nothing was asked")
        return int(ExitCode.DONE)
    with watching(f"{prepared.suite.name}: probe", plan["calls"], "calls") as watch:
        outcome = probe(Asking(prepared, seats, found, plan, budget), store, watch)
    code = _explain(outcome, way_out(prepared, budget))
    if code != ExitCode.INTERRUPTED and not isinstance(outcome.error, StoreBusy):
        show_probe(store, outcome.run_id, as_json=as_json)
    return int(code)


def _agreed(*, yes: bool, budget: float | None, simulated: bool) -> bool:
    """Nothing is spent that nobody agreed to."""
    if yes:
        return True
    if sys.stdin.isatty() and sys.stderr.isatty():
        return click.confirm("Ask?", err=True)
    if budget is None:
        judges = "simulated judges" if simulated else "live judges"
        raise UsageError(f"this would ask {judges}, and nobody is here to confirm it", hint="add --yes, or --budget USD")
    return True


def _explain(outcome: ProbeOutcome, way_out: str) -> ExitCode:
    """Say how a probe ended where it did not just finish."""
    if outcome.resumed:
        note(f"went on with {outcome.run_id}: nothing that was answered was asked again")
    if outcome.status == "interrupted":
        note(f"interrupted: {outcome.run_id} keeps everything that was answered; repeat the command to go on")
        return ExitCode.INTERRUPTED
    if outcome.status == "over_budget":
        note(f"stopped at the budget: {outcome.run_id} spent ${outcome.spending.spent_usd:.4f}; {way_out} to go on")
        return ExitCode.UNAVAILABLE
    if outcome.error is not None:
        note(f"error: {outcome.error}")
        note(f"{outcome.run_id} keeps everything that was answered; repeat the command to go on")
        return outcome.error.exit_code
    if outcome.gone:
        note(f"{', '.join(outcome.gone)} stopped answering, and what it was asked is unscored: repeat the command when it is back")
        return ExitCode.UNAVAILABLE
    return ExitCode.DONE


def is_probe_run(store: Store, runs: tuple[str, ...]) -> bool:
    """Whether `--run` names one probe, to be shown again. Raises UsageError where probes are mixed with other runs."""
    from evalh.probe.results import is_probe
    from evalh.store.runs import find_run

    kinds = [is_probe(find_run(store, run)) for run in runs]
    if any(kinds) and len(runs) > 1:
        raise UsageError("a probe is shown alone", hint="its answers were changed on purpose: nothing is pooled with them")
    return any(kinds)


def show_probe(store: Store, run: str, *, as_json: bool) -> None:
    """What a probe found, made from the store: nothing is asked."""
    from evalh.probe.results import probe_document
    from evalh.report.probe_terminal import print_probe

    found = probe_document(store, run)
    if as_json:
        emit(_document(found))
    else:
        print_probe(found)


def _document(found: dict[str, Any]) -> dict[str, Any]:
    """An audit document that holds a probe alone: figures from the store are those of `evalh audit --run`."""
    empty: dict[str, Any] = {"judges": [], "pairs": [], "effective_judges": None, "panel": None, "system_errors": [], "annotators": None}
    return {"run": found["run"], "runs": [found["run"]], "simulated": found["simulated"], **empty, "probe": found}

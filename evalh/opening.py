"""Which run a command makes: a new one, one that was stopped and goes on, one that takes another over."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from itertools import product
from typing import NamedTuple

from evalh.errors import UsageError
from evalh.fingerprints import content_hash
from evalh.prepare import Prepared
from evalh.store.resume import rejudged_by, retried_by
from evalh.store.runs import find_run, finished_runs, unfinished_run
from evalh.store.store import Store


class RunOptions(NamedTuple):
    """How a run is made; what is run is the suite's."""

    budget_usd: float | None = None
    rejudge: str | None = None  # a run whose stored outputs are judged again
    retry: str | None = None  # a finished run whose errors are asked again; what it has is taken over
    fresh: bool = False  # ask again what was answered in earlier runs
    resume: bool = True
    keep: bool = False  # the outcome holds every output that was settled: for callers that want all of them in memory
    leave_open: bool = False  # pytest runs the test functions itself and closes the run afterwards


def open_run(prepared: Prepared, store: Store, options: RunOptions) -> tuple[str, bool]:
    """The id of the run, and whether it goes on with an interrupted one of the same key."""
    unfinished = unfinished_run(store, run_key(prepared, options)) if options.resume else None
    if unfinished is not None:
        return unfinished, True
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{prepared.suite.name}-{stamp}-{secrets.token_hex(2)}", False


def retrying(prepared: Prepared, store: Store, options: RunOptions) -> RunOptions:
    """The options of a run that takes over the newest finished one of this very suite. UsageError where the suite has changed since.

    What that one was, fresh or judging again, this one is too: its answers are shared, and what was not generated is not now.
    """
    newest = find_run(store, None, suite=prepared.suite.name)["run_id"]
    for found in finished_runs(store, prepared.suite.name):
        run_id = found["run_id"]
        before, again = retried_by(store, run_id), rejudged_by(store, run_id)
        for fresh, judged in product((False, True), dict.fromkeys((None, again, before))):
            if found["run_key"] == run_key(prepared, RunOptions(retry=before, rejudge=judged, fresh=fresh)):
                return options._replace(retry=run_id, rejudge=run_id if judged else None, fresh=fresh)
    raise UsageError(
        f"the suite is not what {newest} ran: items, system, checks, judges or rubric have changed",
        hint="run it without --retry-errors: what was answered is not asked again",
    )


def run_key(prepared: Prepared, options: RunOptions) -> str:
    """The hash of everything that decides what a run does: an unfinished run of the same key is the one to go on with."""
    return content_hash(prepared.run_key, options.rejudge, options.fresh, *([options.retry] if options.retry else []))


def fresh_name(store: Store, run_id: str, options: RunOptions) -> str | None:
    """What tells the calls of a fresh run apart: its name. A run that retries one shares its calls."""
    taken = options.retry
    while taken is not None:
        run_id, taken = taken, retried_by(store, taken)
    return run_id if options.fresh else None

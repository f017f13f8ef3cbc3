"""The main road: load suite, get outputs, checks, panel, sample for people, store. One run from start to end.

    prepare ─ open the run (or resume it) ─ every item through the tiers ─ sample ─ finish

Every row is in the journal before it counts and in DuckDB soon after; a run can be stopped at any point and the same
command goes on where it was: stored outputs and answered calls are not asked again, and keys keep rows from doubling.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from evalh import __version__
from evalh.engine import BudgetReached, Engine, Line, Spending, check_prices
from evalh.errors import EvalhError, StoreBusy, UsageError
from evalh.fingerprints import content_hash
from evalh.interchange.importing import golden_rows
from evalh.judging.parsing import PARSER_VERSION
from evalh.prepare import Prepared
from evalh.records import CheckResult, Item, Output
from evalh.redaction import redacted
from evalh.rows import check_row, frozen_rows, label_row, now
from evalh.sampling import Unit, draw
from evalh.sides import SystemSide, open_line
from evalh.store.journal import Journal
from evalh.store.runs import checks_of, known_calls, outputs_of, paid_for, unfinished_run
from evalh.store.store import Store
from evalh.suites.model import Command, Function, Model
from evalh.systems import CommandSource, FunctionSource, ModelSource, Source
from evalh.threads import run_to_end
from evalh.tiers import Road, Settled, line_key, travel, with_check_score

FOLD_EVERY_S = 1.0

Watch = Callable[["Progress"], None]


@dataclass
class Progress:
    """How far a run is; handed to whoever watches it after every item."""

    run_id: str
    total: int
    done: int = 0
    blocked: int = 0
    unscored: int = 0
    asked: int = 0
    cached: int = 0
    spent_usd: float = 0.0


class RunOptions(NamedTuple):
    """How a run is made; what is run is the suite's."""

    budget_usd: float | None = None
    rejudge: str | None = None  # a run whose stored outputs are judged again
    fresh: bool = False  # ask again what was answered in earlier runs
    resume: bool = True
    leave_open: bool = False  # pytest runs the test functions itself and closes the run afterwards


@dataclass
class RunOutcome:
    """What a run came to. `settled` is one record per output (or pair)."""

    run_id: str
    status: str  # finished, interrupted, over_budget, failed
    resumed: bool
    settled: list[Settled] = field(default_factory=list)
    spending: Spending = field(default_factory=Spending)
    error: EvalhError | None = None


@dataclass(frozen=True)
class _Start:
    """What a run starts from: the prepared suite, its open providers, and the outputs of another run for `--rejudge`."""

    prepared: Prepared
    options: RunOptions
    store: Store
    judges: dict[str, Line]  # by judge name and prompt
    systems: dict[str, Line]  # by role
    given: dict[str, list[Output]] | None

    @property
    def lines(self) -> list[Line]:
        return [*self.judges.values(), *self.systems.values()]


def run(prepared: Prepared, store: Store, options: RunOptions, watch: Watch | None = None) -> RunOutcome:
    """Run a prepared suite. Raises InputError before anything is stored; an interrupt ends the run as resumable."""
    start = _start(prepared, store, options)
    store.fold_journals()
    run_id, resumed = open_run(prepared, store, options)
    before = paid_for(store, run_id) if resumed else 0.0  # the budget is the run's, however often it is stopped
    outcome = RunOutcome(run_id, "finished", resumed, spending=Spending(options.budget_usd, before))
    with Journal(store, run_id, alone=True) as journal:
        if resumed:
            _event(journal, run_id, "running", "resumed")
        else:
            _write_run(journal, prepared, run_id, options)
            journal.fold()  # from here on the same command finds this run
        try:
            run_to_end(lambda: _run_all(start, journal, outcome, watch))
        except KeyboardInterrupt:
            outcome.status = "interrupted"
        except BudgetReached:
            outcome.status = "over_budget"
        except EvalhError as error:
            outcome.status, outcome.error = "failed", error
        if outcome.status != "finished" or not options.leave_open:
            _end(prepared, journal, outcome)
        journal.fold()
    return outcome


def _start(prepared: Prepared, store: Store, options: RunOptions) -> _Start:
    """Open every provider, so that a missing key or recording is found before anything is stored or paid for."""
    config = prepared.config
    judges = {line_key(seat): open_line(seat.target, config, seat.family.name if seat.family else None) for seat in prepared.seats}
    given = stored_outputs(store, options.rejudge, prepared) if options.rejudge else None
    asked = [] if given is not None else _sides(prepared)  # with --rejudge nothing is generated: the system needs no key
    systems = {side.role: open_line(side.target, config) for side in asked if side.target is not None}
    start = _Start(prepared, options, store, judges, systems, given)
    check_prices(start.lines, options.budget_usd)
    return start


def _end(prepared: Prepared, journal: Journal, outcome: RunOutcome) -> None:
    """The scores and the sample of a run that came to its end, and the event that says how it ended."""
    if outcome.status == "finished":
        finish(prepared, journal, outcome)
    _event(journal, outcome.run_id, outcome.status, str(outcome.error or ""))


def close_run(
    prepared: Prepared, store: Store, outcome: RunOutcome, tests: Mapping[tuple[str, int], Sequence[CheckResult]], *, whole: bool = True
) -> None:
    """Finish a run that was left open, with the results of test functions that ran elsewhere, by item and output of the item.

    A run whose scores lack a part (`whole` is false) is not finished: it can go on.
    """
    places: dict[str, int] = {}
    with Journal(store, outcome.run_id) as journal:
        for number, settled in enumerate(outcome.settled):
            place = places[settled.item.item_id] = places.get(settled.item.item_id, -1) + 1
            known = {c.check for c in settled.checks}  # a blocking test ran before the judges, and that decided
            results = [r for r in tests.get((settled.item.item_id, place), ()) if r.check not in known]
            merged = settled._replace(checks=(*settled.checks, *results))
            outcome.settled[number] = merged if prepared.rubric is not None else with_check_score(merged)
            for result in results if whole else ():
                journal.append("check_results", check_row(outcome.run_id, settled.output, result))
        outcome.status = outcome.status if whole else "interrupted"
        _end(prepared, journal, outcome)
        journal.fold()


async def _run_all(start: _Start, journal: Journal, outcome: RunOutcome, watch: Watch | None) -> None:
    """Every item through the tiers, while the journal is folded into the store; connections are closed at the end."""
    prepared, options, store, run_id = start.prepared, start.options, start.store, outcome.run_id
    known = known_calls(store, [(line.target.provider, line.target.model) for line in start.lines if line.keeps_replies])
    config = prepared.config
    limits = {name: provider.in_flight for name, provider in config.providers.items() if provider.in_flight is not None}
    engine = Engine(
        run_id, journal.append, known, outcome.spending, in_flight=config.in_flight, fresh=options.fresh, provider_limits=limits
    )
    sources = {side.role: _source(side, prepared, engine, start.systems) for side in _sides(prepared)}
    stored = outputs_of(store, run_id) if outcome.resumed else {}
    road = Road(
        prepared=prepared,
        engine=engine,
        lines=start.judges,
        stored_outputs=stored if start.given is None else start.given,
        stored_checks=checks_of(store, run_id) if outcome.resumed else {},
        answer=sources["system"].answer,
        answer_against=sources["against"].answer if "against" in sources else None,
        rejudging=start.given is not None,
        run_tests=not options.leave_open,
    )
    folding = asyncio.create_task(_fold_now_and_then(journal))
    try:
        await run_items(road, prepared.items, outcome, watch)
        for table, row in road.failures:
            journal.append(table, row)
    finally:
        folding.cancel()
        closing = [line.provider.aclose() for line in start.lines] + [source.aclose() for source in sources.values()]
        await asyncio.gather(folding, *closing, return_exceptions=True)


async def run_items(road: Road, items: Sequence[Item], outcome: RunOutcome, watch: Watch | None) -> None:
    """Every item through the tiers, a bounded number at a time. The first fatal error stops the others."""
    progress = Progress(road.run_id, total=len(items))
    queue = iter(items)

    async def worker() -> None:
        for item in queue:  # one iterator for all workers: each item is taken once
            settled = await travel(road, item)
            outcome.settled += settled
            _count(progress, settled, road.engine)
            if watch is not None:
                watch(progress)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(items), road.engine.in_flight)):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _fold_now_and_then(journal: Journal) -> None:
    while True:
        await asyncio.sleep(FOLD_EVERY_S)
        try:
            await asyncio.to_thread(journal.fold)
        except StoreBusy:
            continue  # the rows stay in the journal; the next turn, the end of the run or the next command folds them


def finish(prepared: Prepared, journal: Journal, outcome: RunOutcome) -> None:
    """The end of a run: the scores, and the sample that people will label."""
    for settled in outcome.settled:
        journal.append("scores", settled.row(outcome.run_id))
    for row in _judge_rows(prepared, outcome):
        journal.append("judges", row)
    if prepared.suite.sampling is None:
        return
    sampling = prepared.suite.sampling
    units = [Unit(_unit_id(s), s.item.slice, s.score, s.disagreement, s.judges_mean) for s in outcome.settled if s.route != "no_output"]
    by_id = {_unit_id(s): s for s in outcome.settled}
    for task in draw(units, labels=sampling.labels, strategy=sampling.strategy, seed=prepared.seed, floor=sampling.floor):
        settled = by_id[task.unit_id]
        journal.append("label_tasks", {
            "task_id": content_hash("task", outcome.run_id, task.unit_id), "run_id": outcome.run_id, "item_id": settled.item.item_id,
            "system": settled.output.system, "against": settled.against.system if settled.against else "", "trial": settled.output.trial,
            "output_hash": settled.output.output_hash, "rubric_hash": prepared.label_rubric.rubric_hash if prepared.label_rubric else None,
            "inclusion_probability": task.inclusion_probability, "stratum": task.stratum, "design": task.design, "seed": task.seed,
            "position": task.position, "at": now(),
        })  # fmt: skip


def _judge_rows(prepared: Prepared, outcome: RunOutcome) -> list[dict[str, Any]]:
    """The judges as they answered: one row for every version that a provider reported."""
    versions: dict[tuple[str, str], set[str]] = {}
    for settled in outcome.settled:
        for verdict in settled.verdicts:
            versions.setdefault((verdict.judge, verdict.prompt), set()).add(verdict.judge_version or "")
    return [
        {
            "run_id": outcome.run_id, "judge": seat.name, "judge_version": version, "prompt": seat.prompt, "provider": seat.target.provider,
            "model": seat.target.model, "family": seat.family.name if seat.family else None,
            "rubric_hash": prepared.rubric.rubric_hash if prepared.rubric else None, "prompt_hash": prepared.prompt_hash,
            "parser_version": PARSER_VERSION, "params": redacted(seat.target.model_dump(mode="json", exclude_none=True)),
            "same_family": bool(seat.same_family), "simulated": seat.target.provider == "sim",
        }
        for seat in prepared.seats
        for version in sorted(versions.get(seat.seat, ()))
    ]  # fmt: skip


def open_run(prepared: Prepared, store: Store, options: RunOptions) -> tuple[str, bool]:
    """The id of the run, and whether it goes on with an interrupted one of the same key."""
    unfinished = unfinished_run(store, run_key(prepared, options)) if options.resume else None
    if unfinished is not None:
        return unfinished, True
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{prepared.suite.name}-{stamp}-{secrets.token_hex(2)}", False


def run_key(prepared: Prepared, options: RunOptions) -> str:
    return content_hash(prepared.run_key, options.rejudge, options.fresh)


def stored_outputs(store: Store, run_id: str, prepared: Prepared) -> dict[str, list[Output]]:
    """The outputs of an earlier run, for `--rejudge`. Raises UsageError where it lacks one that is needed."""
    outputs = outputs_of(store, run_id)
    for side in _sides(prepared):
        held = {i: [o for o in found if o.system in side.names] for i, found in outputs.items()}
        missing = [i.item_id for i in prepared.items if not held.get(i.item_id)]
        if missing:
            raise UsageError(
                f"run {run_id!r} has no output of {' or '.join(side.names)} for {missing[0]} (nor for {len(missing) - 1} other items)",
                hint="name a finished run of this suite and this system",
            )
    return outputs


def _write_run(journal: Journal, prepared: Prepared, run_id: str, options: RunOptions) -> None:
    """The run's record and everything it names, before the first item."""
    golden = prepared.golden
    journal.append("runs", {
        "run_id": run_id, "suite": prepared.suite.name, "run_key": run_key(prepared, options),
        "suite_hash": content_hash(prepared.settings),
        "golden": golden.name, "golden_version": golden.version, "golden_hash": golden.golden_hash,
        "rubric_hash": prepared.rubric.rubric_hash if prepared.rubric else None, "seed": prepared.seed, "kind": prepared.kind,
        "simulated": any(s.target.provider == "sim" for s in prepared.seats),
        "allow_same_family": any(s.same_family for s in prepared.seats),
        "evalh_version": __version__, "settings": prepared.settings, "started_at": now(),
    })  # fmt: skip
    for table, found in golden_rows(golden, datetime.now(UTC).replace(tzinfo=None)).items():
        for row in found:
            journal.append(table, row)
    for side in _sides(prepared):
        for name in side.names:
            journal.append("systems", {
                "run_id": run_id, "system": name, "system_version": side.version, "family": side.families[name],
                "kind": type(side.spec).__name__.lower(), "role": side.role,
            })  # fmt: skip
    for label in prepared.labels:
        journal.append("labels", label_row(run_id, label))
    if prepared.frozen is not None:
        for row in frozen_rows(prepared.frozen):
            journal.append("frozen_refs", row)
    _event(journal, run_id, "running", "")


def _event(journal: Journal, run_id: str, event: str, detail: str) -> None:
    journal.append("run_events", {"run_id": run_id, "event": event, "at": now(), "detail": detail})


def _sides(prepared: Prepared) -> list[SystemSide]:
    return [s for s in (prepared.system, prepared.against) if s is not None]


def _source(side: SystemSide, prepared: Prepared, engine: Engine, lines: Mapping[str, Line]) -> Source:
    name = side.names[0]
    if side.recorded is not None:
        return side.recorded
    if isinstance(side.spec, Function):
        assert side.function is not None
        return FunctionSource(side.spec, name, side.function)
    if isinstance(side.spec, Command):
        return CommandSource(side.spec, name, prepared.resolve.base)
    assert isinstance(side.spec, Model)

    async def ask(request: Any, item_id: str) -> Any:
        answer = await engine.call(lines[side.role], request, purpose="system", item_id=item_id)
        return answer.reply, answer.cost_usd, answer.latency_ms

    return ModelSource(side.spec, name, ask)


def _unit_id(settled: Settled) -> str:
    return "\x1f".join(
        [settled.item.item_id, settled.output.system, settled.against.system if settled.against else "", str(settled.output.trial)]
    )


def _count(progress: Progress, settled: Sequence[Settled], engine: Engine) -> None:
    progress.done += 1
    progress.spent_usd = engine.spending.spent_usd
    for one in settled:
        progress.blocked += one.route == "blocked"
        progress.unscored += one.score is None
        progress.asked += len({v.call_id for v in one.verdicts if not v.cached})
        progress.cached += len({v.call_id for v in one.verdicts if v.cached})

"""The main road: load suite, get outputs, checks, panel, sample for people, store. One run from start to end.

    prepare ─ open the run (or resume it) ─ every item through the tiers (`flow`) ─ sample ─ finish

What was paid for is in the journal before it counts, everything else in DuckDB soon after; a run can be stopped at any
point and the same command goes on where it was: items that are in the store are done, answered calls are not asked again,
and keys keep rows from doubling.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from evalh import __version__
from evalh.checks.apply import apply_many
from evalh.checks.pool import Pool
from evalh.costs import budget_of, prices_of
from evalh.engine import BudgetReached, Engine, Line, Spending, check_prices
from evalh.engine.batching import Batcher
from evalh.engine.ledger import Ledger
from evalh.engine.line import Ways
from evalh.errors import EvalhError, StoreBusy, UsageError
from evalh.fingerprints import content_hash
from evalh.flow import Flow, Progress, Side, Stored, Watch
from evalh.judging.parsing import PARSER_VERSION
from evalh.opening import RunOptions, fresh_name, open_run, run_key
from evalh.prepare import Prepared
from evalh.providers.batches import batches_of
from evalh.records import CheckResult, Output
from evalh.redaction import redacted
from evalh.rows import check_columns, frozen_rows, golden_row, item_columns, label_row, now, score_columns
from evalh.sampling import Unit, draw
from evalh.sides import SystemSide, open_line
from evalh.store.batches import open_batches
from evalh.store.journal import Journal, alone
from evalh.store.ledger import paid_for
from evalh.store.resume import ended_items, output_hashes, sampled_units, set_back, stored_items, systems_answered, versions_of
from evalh.store.runs import outputs_of
from evalh.store.store import Store
from evalh.suites.model import Command, Function, Model
from evalh.systems import CommandSource, FunctionSource, ModelSource, Source
from evalh.threads import run_to_end
from evalh.tiers import Road, Settled, line_key, with_check_score

UNIT = "\x1f"  # between the parts of a sampled output's name
GOLDEN_PAGE = 16_384  # items of a golden set that go into the store at once
CLOSE_WITHIN_S = 0.5  # of an interrupted run: connections and programs


@dataclass
class RunOutcome:
    """What a run came to. `settled` is one record per output (or pair), where the run was left open."""

    run_id: str
    status: str  # finished, interrupted, over_budget, failed
    resumed: bool
    settled: list[Settled] = field(default_factory=list)
    spending: Spending = field(default_factory=Spending)
    error: EvalhError | None = None
    gone: list[str] = field(default_factory=list)  # models that had stopped answering when the run came to its end
    batches: int = 0  # under way at their providers when the run stopped


@dataclass(frozen=True)
class _Start:
    """What a run starts from: the prepared suite and its open providers."""

    prepared: Prepared
    options: RunOptions
    store: Store
    judges: dict[str, Line]  # by judge name and prompt
    systems: dict[str, Line]  # by role

    @property
    def lines(self) -> list[Line]:
        return [*self.judges.values(), *self.systems.values()]

    @property
    def batches(self) -> int:
        """Batches that are under way at their providers."""
        return sum(batcher.under_way for batcher in {line.batcher for line in self.lines if line.batcher is not None})


def run(prepared: Prepared, store: Store, options: RunOptions, watch: Watch | None = None) -> RunOutcome:
    """Run a prepared suite. Raises InputError before anything is stored; an interrupt ends the run as resumable."""
    start = _start(prepared, store, options)
    key = run_key(prepared, options) if options.resume else secrets.token_hex(8)
    with alone(store, f"{prepared.suite.name}-{key}", f"suite {prepared.suite.name}, with these settings,"):
        store.fold_journals()
        run_id, resumed = open_run(prepared, store, options)
        before = paid_for(store, run_id) if resumed else 0.0  # the budget is the run's, however often it is stopped
        outcome = RunOutcome(run_id, "finished", resumed, spending=Spending(budget_of(prepared, options.budget_usd), before))
        with alone(store, run_id, f"run {run_id}"), Journal(store, run_id) as journal:  # it may have been begun with --no-resume
            try:
                _open(start, journal, outcome)
                _through(start, journal, outcome, watch)
                _end(prepared, journal, outcome, open_still=options.leave_open)
            except KeyboardInterrupt:
                outcome.status = "interrupted"
                _end(prepared, journal, outcome)
            except StoreBusy as error:
                outcome.status, outcome.error = "failed", error
                journal.leave(keep=True)
    outcome.batches = start.batches
    return outcome


def _through(start: _Start, journal: Journal, outcome: RunOutcome, watch: Watch | None) -> None:
    """Every item through the tiers, and how that ended."""
    try:
        run_to_end(lambda: _run_all(start, journal, outcome, watch))
    except BudgetReached:
        outcome.status = "over_budget"
    except EvalhError as error:
        outcome.status, outcome.error = "failed", error


def _open(start: _Start, journal: Journal, outcome: RunOutcome) -> None:
    """Write what the run is; from here on the same command finds it."""
    if outcome.resumed:
        set_back(start.store, outcome.run_id)
        _event(journal, outcome.run_id, "running", "resumed")
    else:
        _write_run(journal, start.prepared, outcome.run_id, start.options)
        journal.fold()


def _start(prepared: Prepared, store: Store, options: RunOptions) -> _Start:
    """Open every provider, so that a missing key or recording is found before anything is stored or paid for."""
    config = prepared.config
    protocol = content_hash(prepared.rubric.rubric_hash if prepared.rubric else None, prepared.prompt_hash, PARSER_VERSION)
    judges = {
        line_key(seat): open_line(seat.target, config, line_key(seat), seat.judge, seat.family.name if seat.family else None, protocol)
        for seat in prepared.seats
    }
    if options.rejudge:
        _check_outputs_stored(store, options.rejudge, prepared)
    asked = [] if options.rejudge else _sides(prepared)  # with --rejudge nothing is generated: the system needs no key
    systems = {
        side.role: open_line(side.target, config, side.names[0], side.spec)
        for side in asked
        if side.target is not None and isinstance(side.spec, Model)
    }
    start = _Start(prepared, options, store, judges, systems)
    ways = Ways(config, store.notice)
    for line in start.lines:
        ways.open(line)
    check_prices(start.lines, budget_of(prepared, options.budget_usd))
    return start


def _end(prepared: Prepared, journal: Journal, outcome: RunOutcome, *, open_still: bool = False) -> None:
    """The judges and the sample of a run that came to its end, and the event that says how it ended."""
    if outcome.status == "interrupted":
        _event(journal, outcome.run_id, "interrupted", "")
        journal.leave()  # whoever pressed Ctrl-C waits for nothing: the next command folds what is on disk
        return
    with journal.store.working():
        if outcome.status == "finished" and not open_still:
            journal.fold()  # what follows is made from the store
            finish(prepared, journal, outcome.run_id)
        if outcome.status != "finished" or not open_still:
            _event(journal, outcome.run_id, outcome.status, str(outcome.error or ""))
        journal.fold()


def close_run(
    prepared: Prepared, store: Store, outcome: RunOutcome, tests: Mapping[tuple[str, int], Sequence[CheckResult]], *, whole: bool = True
) -> None:
    """Finish a run that was left open, with the results of test functions that ran elsewhere, by item and output of the item.

    A run whose scores lack a part (`whole` is false) is not finished: it can go on.
    """
    places: dict[str, int] = {}
    made: list[tuple[Output, CheckResult]] = []
    with Journal(store, outcome.run_id) as journal:
        for number, settled in enumerate(outcome.settled):
            place = places[settled.item.item_id] = places.get(settled.item.item_id, -1) + 1
            known = {c.check for c in settled.checks}  # a blocking test ran before the judges, and that decided
            results = [r for r in tests.get((settled.item.item_id, place), ()) if r.check not in known]
            merged = settled._replace(checks=(*settled.checks, *results))
            outcome.settled[number] = merged if prepared.rubric is not None else with_check_score(merged)
            made += [(settled.output, result) for result in results]
        if whole:
            journal.derive([*check_columns(outcome.run_id, made), *score_columns(outcome.run_id, outcome.settled)])
        outcome.status = outcome.status if whole else "interrupted"
        _end(prepared, journal, outcome)
        journal.fold()


def _store_items(prepared: Prepared, journal: Journal, resumed: bool, held: int) -> bool:
    """Whether the golden set goes into the store as its items come by. Where the run takes a part of it, it goes in here.

    `held` is how many of its items are there.
    """
    golden = prepared.golden
    if held == len(golden.items):
        return False
    if len(prepared.items) == len(golden.items) and not resumed:
        return True
    items = iter(golden.items)
    while page := list(islice(items, GOLDEN_PAGE)):
        journal.derive(item_columns(golden, page))
        journal.fold()
    return False


async def _run_all(start: _Start, journal: Journal, outcome: RunOutcome, watch: Watch | None) -> None:
    """Every item through the tiers; connections are closed at the end."""
    prepared, options, store, run_id = start.prepared, start.options, start.store, outcome.run_id
    models = [(line.target.provider, line.target.model) for line in start.lines if line.keeps_replies]
    keep = options.keep or options.leave_open  # whoever wants every outcome gets those of ended items too: nothing is asked for them
    with store.reading():
        ledger, fresh = Ledger(store, models, journal.fold), fresh_name(store, run_id, options)
        ended = ended_items(store, run_id) if outcome.resumed and not keep else set()
        held = stored_items(store, prepared.golden.name, prepared.golden.golden_hash)
    judges, systems = list(start.judges.values()), list(start.systems.values())
    engine = Engine(run_id, journal.append, ledger, outcome.spending, judges=judges, systems=systems, fresh=fresh)
    for line in start.lines:
        if line.in_batches:
            line.batcher = _batcher(line, start, engine, journal)
    pool = Pool(prepared.checks)  # for one thread; checks that wait have many
    checking = partial(apply_many, prepared.checks) if any(c.waits for c in prepared.checks) else pool.apply
    road = Road(prepared, engine, start.judges, checking, prepared.suite.tests, run_tests=not options.leave_open)
    sides = [Side(side, _source(side, prepared, engine, start.systems)) for side in _sides(prepared)]
    flow = Flow(
        road,
        sides,
        journal,
        Progress(run_id, total=len(prepared.items)),
        trials=prepared.trials,
        stored=_stored(store, outcome, options),
        rejudging=options.rejudge is not None,
        store_items=_store_items(prepared, journal, outcome.resumed, held),
        watch=watch,
        keep=keep,
        open_still=options.leave_open,
    )
    flow.progress.done = len(ended)
    try:
        with closing(pool):
            await flow.run((item for item in prepared.items if item.item_id not in ended) if ended else prepared.items)
    except asyncio.CancelledError:
        await _close(road, sides, CLOSE_WITHIN_S)
        raise
    except BaseException:
        await _close(road, sides, None)
        raise
    await _close(road, sides, None)
    outcome.settled = flow.settled
    outcome.gone = list(dict.fromkeys(line.target.ref for line in start.lines if line.circuit.is_open))


def _stored(store: Store, outcome: RunOutcome, options: RunOptions) -> Stored | None:
    """Where outputs are that need not be asked for: of the run that is judged again or retried, or this run's own."""
    taken = options.rejudge or options.retry or (outcome.run_id if outcome.resumed else None)
    if taken is None:
        return None

    def outputs(item_ids: Sequence[str]) -> Mapping[str, Sequence[Output]]:
        found = outputs_of(store, taken, item_ids)
        own = outputs_of(store, outcome.run_id, item_ids) if outcome.resumed and taken != outcome.run_id else {}
        for item_id, mine in own.items():
            made = {(o.system, o.trial) for o in mine}
            found[item_id] = [*mine, *(o for o in found.get(item_id, ()) if (o.system, o.trial) not in made)]
        return found

    return outputs


async def _close(road: Road, sides: Sequence[Side], within_s: float | None) -> None:
    """Close connections and programs; of an interrupted run only as long as nobody notices."""
    lines = [*road.engine.judges, *road.engine.systems]
    batchers = {id(line.batcher): line.batcher for line in lines if line.batcher is not None}
    try:
        async with asyncio.timeout(within_s):
            await asyncio.gather(*(b.aclose() for b in batchers.values()), return_exceptions=True)
            providers = [line.provider.aclose() for line in lines] + [side.source.aclose() for side in sides]
            await asyncio.gather(*providers, return_exceptions=True)
    except TimeoutError:
        return


def _batcher(line: Line, start: _Start, engine: Engine, journal: Journal) -> Batcher:
    """What collects the calls of a line into batches; lines of one model share it."""
    for other in start.lines:
        if other.batcher is not None and other.identity == line.identity:
            return other.batcher
    return Batcher(
        batches_of(line.target, line.provider),
        line.target,
        line=line.identity,
        run_id=engine.run_id,
        write=journal.append,
        deliver=lambda call_id, reply: engine.deliver(line, call_id, reply),
        notice=start.store.notice,
        open_batches=open_batches(start.store, line.identity),
    )


def finish(prepared: Prepared, journal: Journal, run_id: str) -> None:
    """The end of a run: its judges as they answered, and the sample that people will label. The scores are in the store."""
    store = journal.store
    for row in _judge_rows(prepared, run_id, versions_of(store, run_id)):
        journal.append("judges", row)
    if prepared.suite.sampling is None:
        return
    sampling = prepared.suite.sampling
    units = (Unit(unit_id(*row[:4]), *row[4:]) for row in sampled_units(store, run_id))
    drawn = draw(units, labels=sampling.labels, strategy=sampling.strategy, seed=prepared.seed, floor=sampling.floor)
    hashes = output_hashes(store, run_id, [task.unit_id.split(UNIT, 1)[0] for task in drawn])
    for task in drawn:
        item_id, system, against, trial = task.unit_id.split(UNIT)
        journal.append("label_tasks", {
            "task_id": content_hash("task", run_id, task.unit_id), "run_id": run_id, "item_id": item_id,
            "system": system, "against": against, "trial": int(trial), "output_hash": hashes[item_id, system, against, int(trial)],
            "rubric_hash": prepared.label_rubric.rubric_hash if prepared.label_rubric else None,
            "inclusion_probability": task.inclusion_probability, "stratum": task.stratum, "design": task.design, "seed": task.seed,
            "position": task.position, "at": now(),
        })  # fmt: skip


def _judge_rows(prepared: Prepared, run_id: str, versions: Mapping[tuple[str, str], Sequence[str]]) -> list[dict[str, Any]]:
    """The judges as they answered: one row for every version that a provider reported."""
    return [
        {
            "run_id": run_id, "judge": seat.name, "judge_version": version, "prompt": seat.prompt, "provider": seat.target.provider,
            "model": seat.target.model, "family": seat.family.name if seat.family else None,
            "rubric_hash": prepared.rubric.rubric_hash if prepared.rubric else None, "prompt_hash": prepared.prompt_hash,
            "parser_version": PARSER_VERSION, "params": redacted(seat.target.model_dump(mode="json", exclude_none=True)),
            "same_family": bool(seat.same_family), "simulated": seat.target.provider == "sim",
        }
        for seat in prepared.seats
        for version in sorted(versions.get(seat.seat, ()))
    ]  # fmt: skip


def _check_outputs_stored(store: Store, run_id: str, prepared: Prepared) -> None:
    """For `--rejudge`. Raises UsageError where the run lacks an output that is needed."""
    for side in _sides(prepared):
        held = systems_answered(store, run_id, side.names)
        missing = [i.item_id for i in prepared.items if i.item_id not in held]
        if missing:
            raise UsageError(
                f"run {run_id!r} has no output of {' or '.join(side.names)} for {missing[0]} (nor for {len(missing) - 1} other items)",
                hint="name a finished run of this suite and this system",
            )


def _write_run(journal: Journal, prepared: Prepared, run_id: str, options: RunOptions) -> None:
    """The run's record and everything it names, before the first item. The record comes last: with it, the rest is there."""
    golden = prepared.golden
    journal.append("golden_sets", golden_row(golden))
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
    taken = f"retries {options.retry}" if options.retry else f"rejudges {options.rejudge}" if options.rejudge else ""
    _event(journal, run_id, "running", taken)
    journal.append("runs", {
        "run_id": run_id, "suite": prepared.suite.name, "run_key": run_key(prepared, options),
        "suite_hash": content_hash(prepared.settings),
        "golden": golden.name, "golden_version": golden.version, "golden_hash": golden.golden_hash,
        "rubric_hash": prepared.rubric.rubric_hash if prepared.rubric else None, "seed": prepared.seed, "kind": prepared.kind,
        "simulated": any(s.target.provider == "sim" for s in prepared.seats),
        "allow_same_family": any(s.same_family for s in prepared.seats),
        "evalh_version": __version__, "settings": {**prepared.settings, "prices": prices_of(prepared)}, "started_at": now(),
    })  # fmt: skip


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

    async def ask(request: Any, item_id: str, trial: int) -> Any:
        turn = (trial,) if trial else ()
        answer = await engine.call(lines[side.role], request, purpose="system", item_id=item_id, turn=turn)
        return answer.reply, answer.cost_usd, answer.latency_ms

    return ModelSource(side.spec, name, ask)


def unit_id(item_id: str, system: str, against: str, trial: int) -> str:
    """The name by which a row of `scores` is sampled."""
    return UNIT.join([item_id, system, against, str(trial)])

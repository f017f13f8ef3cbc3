"""The questions of a probe through the one engine, into a run of kind `probe`: stopped at any point, it goes on when it is repeated.

What was paid for is in the journal before it counts; verdicts are made again from it. Nothing here decides anything: figures
are made from the store (`results`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

from evalh import __version__
from evalh.checks.apply import Checked
from evalh.costs import budget_of, prices_of
from evalh.engine import BudgetReached, Engine, Line, Spending, check_prices
from evalh.engine.ledger import Ledger
from evalh.engine.line import Ways
from evalh.errors import EvalhError, StoreBusy
from evalh.fingerprints import content_hash
from evalh.judging.parsing import PARSER_VERSION
from evalh.judging.presentation import prompt_hash
from evalh.prepare import Prepared
from evalh.probe.questions import RECOGNISE, RECOGNISE_PROMPT, REPEATS, Material, Question, questions
from evalh.records import Output
from evalh.redaction import redacted
from evalh.rows import golden_row, item_columns, now, output_columns, verdict_columns, verdict_row
from evalh.sides import JudgeSeat, open_line
from evalh.store.journal import Journal, alone
from evalh.store.ledger import paid_for
from evalh.store.probes import probe_calls, set_back_probe
from evalh.store.resume import stored_items, versions_of
from evalh.store.runs import unfinished_run
from evalh.store.store import Store
from evalh.threads import run_to_end
from evalh.tiers import Call, Passed, Road, judged, line_key

KIND = "probe"
CLOSE_WITHIN_S = 0.5  # of an interrupted probe: connections
MOST_AT_ONCE = 256  # questions on their way
GOLDEN_PAGE = 16_384  # items of a golden set that go into the store at once


class Asking(NamedTuple):
    """What a probe asks: the suite, the judges, what they are shown, and the plan that was agreed to."""

    prepared: Prepared
    seats: list[JudgeSeat]
    found: list[Material]
    plan: Mapping[str, Any]
    budget_usd: float | None = None


@dataclass
class ProbeProgress:
    """How far a probe is, as `report.progress` shows it. `done` and `total` count calls."""

    total: int
    done: int = 0
    asked: int = 0
    cached: int = 0
    blocked: int = 0
    unscored: int = 0
    spent_usd: float = 0.0


@dataclass
class ProbeOutcome:
    """What became of a probe: finished, interrupted, over_budget or failed."""

    run_id: str
    status: str
    resumed: bool
    spending: Spending
    error: EvalhError | None = None
    gone: list[str] = field(default_factory=list)


Watch = Callable[[ProbeProgress], None]


def probe(asking: Asking, store: Store, watch: Watch | None = None) -> ProbeOutcome:
    """Ask. Raises UsageError before anything is stored; an interrupt ends the probe as resumable."""
    prepared = asking.prepared
    lines = _lines(asking, store)
    budget = budget_of(prepared, asking.budget_usd)
    check_prices(list(lines.values()), budget)
    key = _key(prepared, asking.seats)
    with alone(store, f"{prepared.suite.name}-{KIND}-{key}", f"a probe of suite {prepared.suite.name}"):
        store.fold_journals()
        run_id = unfinished_run(store, key)
        resumed = run_id is not None
        run_id = run_id or f"{prepared.suite.name}-{KIND}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        spending = Spending(budget, paid_for(store, run_id) if resumed else 0.0)
        outcome = ProbeOutcome(run_id, "finished", resumed, spending)
        with Journal(store, run_id) as journal:
            try:
                _open(asking, journal, outcome, key)
                _through(asking, journal, outcome, lines, watch)
                _end(asking, journal, outcome)
            except KeyboardInterrupt:
                outcome.status = "interrupted"
                _event(journal, run_id, "interrupted", "")
                journal.leave()  # whoever pressed Ctrl-C waits for nothing: the next command folds what is on disk
            except StoreBusy as error:
                outcome.status, outcome.error = "failed", error
                journal.leave(keep=True)
    return outcome


def _key(prepared: Prepared, seats: Sequence[JudgeSeat]) -> str:
    """The same for the same command: by it an unfinished probe is found again."""
    return content_hash(KIND, prepared.run_key, [seat.seat for seat in seats], REPEATS)


def answered_before(prepared: Prepared, seats: Sequence[JudgeSeat], store: Store) -> dict[str, Any] | None:
    """The unfinished probe that would go on, None where there is none: run, calls, cost_usd, cost_is_whole, cached."""
    if not store.exists():
        return None
    store.fold_journals()
    run_id = unfinished_run(store, _key(prepared, seats))
    return None if run_id is None else {"run": run_id, **probe_calls(store, run_id)}


def _lines(asking: Asking, store: Store) -> dict[str, Line]:
    """A line for each judge as the suite asks it, and one more for the question who wrote what; both go the same way.

    Always direct: a probe is waited for, so `mode: batch` of a judge counts for nothing here, nor does its discount.
    """
    prepared, ways = asking.prepared, Ways(asking.prepared.config, store.notice)
    assert prepared.rubric is not None
    lines: dict[str, Line] = {}
    for seat in asking.seats:
        family = seat.family.name if seat.family else None
        direct = seat.judge.model_copy(update={"mode": "direct"})
        protocol = content_hash(prepared.rubric.rubric_hash, prepared.prompt_hash, PARSER_VERSION)
        line = open_line(seat.target, prepared.config, line_key(seat), direct, family, protocol)
        ways.open(line)
        whose = replace(seat, prompt=RECOGNISE_PROMPT)
        protocol = content_hash(RECOGNISE.rubric_hash, prompt_hash(RECOGNISE), PARSER_VERSION)
        lines |= {line_key(seat): line, line_key(whose): replace(line, asked=line_key(whose), protocol=protocol)}
    return lines


# ---- asking ----------------------------------------------------------------------------------------------------------


def _through(asking: Asking, journal: Journal, outcome: ProbeOutcome, lines: Mapping[str, Line], watch: Watch | None) -> None:
    """Every question, and how that ended."""
    try:
        run_to_end(lambda: _ask_all(asking, journal, outcome, lines, watch))
    except BudgetReached:
        outcome.status = "over_budget"
    except EvalhError as error:
        outcome.status, outcome.error = "failed", error
    outcome.gone = list(dict.fromkeys(line.target.ref for line in lines.values() if line.circuit.is_open))


async def _ask_all(asking: Asking, journal: Journal, outcome: ProbeOutcome, lines: Mapping[str, Line], watch: Watch | None) -> None:
    models = {(line.target.provider, line.target.model) for line in lines.values()}
    ledger = Ledger(journal.store, models, journal.fold)
    engine = Engine(outcome.run_id, journal.append, ledger, outcome.spending, judges=list(lines.values()))
    work = _Work(asking, engine, lines, journal, ProbeProgress(int(asking.plan["calls"])), watch)
    width = min(MOST_AT_ONCE, asking.prepared.config.in_flight * len(asking.seats))
    within: float | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(work.go_on())
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    except asyncio.CancelledError:
        within = CLOSE_WITHIN_S
        raise
    finally:
        await _close(lines, within)
    if work.over_budget:
        raise BudgetReached


async def _close(lines: Mapping[str, Line], within_s: float | None) -> None:
    providers = {id(line.provider): line.provider for line in lines.values()}
    try:
        async with asyncio.timeout(within_s):
            await asyncio.gather(*(p.aclose() for p in providers.values()), return_exceptions=True)
    except TimeoutError:
        return


class _Work:
    """The questions that are left, for many tasks that take one after the other."""

    def __init__(
        self, asking: Asking, engine: Engine, lines: Mapping[str, Line], journal: Journal, progress: ProbeProgress, watch: Watch | None
    ) -> None:
        self._asking, self._engine, self._lines = asking, engine, lines
        self._journal, self._progress, self._watch = journal, progress, watch
        self._left = _in_turn([questions(asking.prepared, seat, asking.found) for seat in asking.seats])
        self._stored: set[tuple[str, str, int]] = set()  # outputs that are on their way into the store
        self.over_budget = False

    async def go_on(self) -> None:
        """Ask until nothing is left, or the money is spent: then what is under way is waited for."""
        for question in self._left:
            try:
                await self._ask(question)
            except BudgetReached:
                self.over_budget = True
            if self.over_budget:
                return

    async def _ask(self, question: Question) -> None:
        """The repeats of one question, in turn: which reply is whose does not depend on what else is under way."""
        prepared, run_id = self._asking.prepared, self._engine.run_id
        try:
            shown = question.presentation(prepared)
        except EvalhError:  # an answer that cannot be blinded is not shown to anybody
            return
        of_it = {o.system for o in question.shown if o.system in question.seat.same_family or o.meta.get("of") in question.seat.same_family}
        seat = replace(question.seat, same_family=tuple(sorted(of_it)))
        road = Road(replace(prepared, seats=[seat], rubric=question.rubric), self._engine, self._lines, lambda _: [], (), run_tests=False)
        rows = []
        for repeat in question.repeats:
            passed = Passed(question.item, question.shown, Checked((), 0), [Call(seat, shown, repeat)])
            _, found = await judged(road, passed)
            name = "repeated" if repeat else question.probe
            for asked in found:
                row = verdict_row(run_id, question.item, question.shown, asked.verdict, question.rubric.rubric_hash, shown)
                rows.append({**row, "meta": {"probe": name} | ({"own": question.own} if question.own else {})})
            self._count(asked.verdict.cached for asked in found[:1])
            self._progress.unscored += any(asked.verdict.status == "unscored" for asked in found)
        self._journal.derive([*output_columns(run_id, self._new_outputs(question)), *verdict_columns(run_id, rows)])

    def _new_outputs(self, question: Question) -> list[tuple[Any, Output]]:
        new = [o for o in question.shown if (o.item_id, o.system, o.trial) not in self._stored]
        self._stored |= {(o.item_id, o.system, o.trial) for o in new}
        return [(question.item, output) for output in new]

    def _count(self, cached: Iterator[bool]) -> None:
        progress = self._progress
        for known in cached:
            progress.done += 1
            progress.asked += not known
            progress.cached += known
        progress.spent_usd = self._engine.spending.spent_usd
        if self._watch is not None:
            self._watch(progress)


def _in_turn(judges: list[Iterator[Question]]) -> Iterator[Question]:
    """A question of each judge in turn: where the money ends, all have come equally far."""
    while judges:
        for one in list(judges):
            question = next(one, None)
            if question is None:
                judges.remove(one)
            else:
                yield question


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


# ---- the run's record ------------------------------------------------------------------------------------------------


def _open(asking: Asking, journal: Journal, outcome: ProbeOutcome, key: str) -> None:
    """Write what the probe is; from here on the same command finds it. The golden set goes into the store whole."""
    if outcome.resumed:
        set_back_probe(journal.store, outcome.run_id)
        _event(journal, outcome.run_id, "running", "resumed")
    else:
        _write_run(asking, journal, outcome.run_id, key)
        journal.fold()
    golden = asking.prepared.golden
    if stored_items(journal.store, golden.name, golden.golden_hash) < len(golden.items):
        items = iter(golden.items)
        while page := list(islice(items, GOLDEN_PAGE)):
            journal.derive(item_columns(golden, page))
            journal.fold()


def _write_run(asking: Asking, journal: Journal, run_id: str, key: str) -> None:
    """The record and everything it names; it comes last: with it, the rest is there."""
    prepared, golden = asking.prepared, asking.prepared.golden
    journal.append("golden_sets", golden_row(golden))
    for side in (prepared.system, prepared.against):
        for name in side.names if side is not None else ():
            assert side is not None
            journal.append("systems", {
                "run_id": run_id, "system": name, "system_version": side.version, "family": side.families[name],
                "kind": type(side.spec).__name__.lower(), "role": side.role,
            })  # fmt: skip
    _event(journal, run_id, "running", "")
    chosen = {"#".join(seat.seat) for seat in asking.seats}
    prices = {name: price for name, price in prices_of(prepared).items() if name in chosen}
    kept = {"items": [one.item.item_id for one in asking.found], "prices": prices, "probe": {**asking.plan, "repeats": REPEATS}}
    journal.append("runs", {
        "run_id": run_id, "suite": prepared.suite.name, "run_key": key, "suite_hash": content_hash(prepared.settings),
        "golden": golden.name, "golden_version": golden.version, "golden_hash": golden.golden_hash,
        "rubric_hash": prepared.rubric.rubric_hash if prepared.rubric else None, "seed": prepared.seed, "kind": KIND,
        "simulated": any(s.target.provider == "sim" for s in asking.seats),
        "allow_same_family": any(s.same_family for s in asking.seats),
        "evalh_version": __version__, "settings": {**prepared.settings, **kept}, "started_at": now(),
    })  # fmt: skip


def _end(asking: Asking, journal: Journal, outcome: ProbeOutcome) -> None:
    """The judges as they answered, and the event that says how it ended."""
    journal.fold()
    for row in _judge_rows(asking, versions_of(journal.store, outcome.run_id), outcome.run_id):
        journal.append("judges", row)
    _event(journal, outcome.run_id, outcome.status, str(outcome.error or ""))
    journal.fold()


def _judge_rows(asking: Asking, versions: Mapping[tuple[str, str], Sequence[str]], run_id: str) -> list[dict[str, Any]]:
    prepared = asking.prepared
    assert prepared.rubric is not None
    rubrics = {**{seat.prompt: prepared.rubric for seat in asking.seats}, RECOGNISE_PROMPT: RECOGNISE}
    asked = [(seat, prompt, rubrics[prompt]) for seat in asking.seats for prompt in (seat.prompt, RECOGNISE_PROMPT)]
    return [
        {
            "run_id": run_id, "judge": seat.name, "judge_version": version, "prompt": prompt, "provider": seat.target.provider,
            "model": seat.target.model, "family": seat.family.name if seat.family else None, "rubric_hash": rubric.rubric_hash,
            "prompt_hash": prompt_hash(rubric), "parser_version": PARSER_VERSION,
            "params": redacted(seat.target.model_dump(mode="json", exclude_none=True)),
            "same_family": bool(seat.same_family), "simulated": seat.target.provider == "sim",
        }
        for seat, prompt, rubric in asked
        for version in sorted(versions.get((seat.name, prompt), ()))
    ]  # fmt: skip


def _event(journal: Journal, run_id: str, event: str, detail: str) -> None:
    journal.append("run_events", {"run_id": run_id, "event": event, "at": now(), "detail": detail})

"""Items through the tiers, many at a time and none in memory for longer than it takes. With the engine, all concurrency is here.

    items ─ outputs ─ tier 1, a page in one thread ─ judges, a task for each item ─ rows, in bulk every few seconds

A window bounds how many items are on their way: who is ahead waits for who is behind, and memory stays flat.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from evalh.errors import StoreBusy
from evalh.records import Item, Output
from evalh.rows import checked_columns, item_columns, output_columns, output_row, score_columns, verdict_columns, verdict_row
from evalh.sides import SystemSide
from evalh.store.inserts import Columns
from evalh.store.journal import Journal
from evalh.systems import RecordedSource, Source, pairs_of
from evalh.threads import in_thread
from evalh.tiers import Road, Settled, Travelled, first_tier, judged, last_tests

FOLD_EVERY_S = 3.0
FOLD_CALLS = 256  # rows in the journal: DuckDB takes some 20 KB for each while they go in
FOLD_CHEAP_EVERY_S = 10.0  # where nothing was paid for: few large transactions cost a fraction of many small ones
FULL = 250_000  # rows: they go into the store now
PAGE = 2_048  # items that are checked at once where nothing is asked of a model
JUDGED_PAGE = 256
GARBAGE_AT, GARBAGE_AT_OF_RECORDS = 50_000, 200_000  # new objects; a few pages of records have as many, and none is in a cycle
WAITING = 512  # items on their way at one time, at least: those that wait for a slow judge do not hold up the others
WAITING_FOR_A_BATCH = 20_000

Stored = Callable[[Sequence[str]], Mapping[str, Sequence[Output]]]  # item ids → outputs that are in the store
Watch = Callable[["Progress"], None]


@dataclass
class Progress:
    """How far a run is; handed to whoever watches it as items end."""

    run_id: str
    total: int
    done: int = 0
    blocked: int = 0
    unscored: int = 0
    asked: int = 0
    cached: int = 0
    spent_usd: float = 0.0


class Side(NamedTuple):
    """A system in a run: what the suite says of it, and where its outputs come from."""

    side: SystemSide
    source: Source


@dataclass
class Flow:
    """One run on its way. `settled` is filled only where somebody needs every outcome at the end (`keep`)."""

    road: Road
    sides: Sequence[Side]  # the system, and what it is compared with
    journal: Journal
    progress: Progress
    trials: int = 1
    stored: Stored | None = None  # outputs of this run that were interrupted, or of another that is judged again
    rejudging: bool = False  # every output is stored, and nothing is generated
    store_items: bool = False  # the golden set goes into the store as its items come by
    watch: Watch | None = None
    keep: bool = False
    open_still: bool = False  # scores are not known yet: test functions run elsewhere
    settled: list[Settled] = field(default_factory=list)
    _judged_items: list[Travelled] = field(default_factory=list)  # through all tiers; their rows are made in bulk
    _on_the_way: int = 0
    _moved: asyncio.Event = field(default_factory=asyncio.Event)  # an item has ended, or rows are in the store
    _full: asyncio.Event = field(default_factory=asyncio.Event)
    _answered: asyncio.Queue[list[Travelled] | None] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        prepared = self.road.prepared
        self._judged = prepared.rubric is not None
        self._rubric_hash = prepared.rubric.rubric_hash if prepared.rubric is not None else None
        self._at_hand_all = self.rejudging or all(isinstance(s.source, RecordedSource) for s in self.sides)
        self._waits = any(c.waits for c in prepared.checks)
        self._page = 1 if self._waits else JUDGED_PAGE if self._judged else PAGE
        self._window = WAITING_FOR_A_BATCH if self.road.engine.batches else max(WAITING, 4 * prepared.config.in_flight, 2 * self._page)
        self._functions = asyncio.Semaphore(prepared.config.in_flight)

    async def run(self, items: Iterable[Item]) -> None:
        """Every item through the tiers. The first fatal error stops the others; what has ended is kept in any case."""
        thresholds = gc.get_threshold()
        rarely = GARBAGE_AT if self._judged or not self._at_hand_all else GARBAGE_AT_OF_RECORDS
        if 0 < thresholds[0] < rarely:
            gc.set_threshold(rarely, *thresholds[1:])
        try:
            async with asyncio.TaskGroup() as beside:
                folding = beside.create_task(self._fold_now_and_then())
                async with asyncio.TaskGroup() as work:
                    checkers = self.road.prepared.config.in_flight if self._waits else 1
                    work.create_task(self._feed(items, checkers))
                    for _ in range(checkers):
                        work.create_task(self._check(work))
                folding.cancel()
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        finally:
            gc.set_threshold(*thresholds)
            self._derive()

    # ---- outputs ------------------------------------------------------------------------------------------------------

    async def _feed(self, items: Iterable[Item], checkers: int) -> None:
        """Outputs of all items, as fast as the rest of the road takes them; then an end for each checker."""
        queue = iter(items)
        async with asyncio.TaskGroup() as answering:
            while page := list(islice(queue, self._page if self._at_hand_all else JUDGED_PAGE if self.stored else 16)):
                await self._room(len(page))
                stored = await in_thread(self.stored, [i.item_id for i in page]) if self.stored else {}
                if self._at_hand_all:
                    self._answered.put_nowait(await in_thread(self._at_hand, page, stored))
                else:
                    for item in page:
                        answering.create_task(self._answer(item, stored.get(item.item_id, ())))
        for _ in range(checkers):
            self._answered.put_nowait(None)

    async def _room(self, wanted: int) -> None:
        self._on_the_way += wanted
        while (self._on_the_way > self._window and self._on_the_way > wanted) or self.journal.derived > FULL:
            self._moved.clear()
            await self._moved.wait()

    def _at_hand(self, page: Sequence[Item], stored: Mapping[str, Sequence[Output]]) -> list[Travelled]:
        """Items whose outputs are in a file or in the store."""
        columns = []
        for side, source in self.sides:
            if isinstance(source, RecordedSource) and not self.rejudging:
                found = source.answer_many(page)
            else:
                found = [[o for o in stored.get(item.item_id, ()) if o.system in side.names] for item in page]
            columns.append([_in_order(outputs, side) for outputs in found])
        return [self._travelled(item, found) for item, *found in zip(page, *columns, strict=True)]

    async def _answer(self, item: Item, stored: Sequence[Output]) -> None:
        found = [await self._side(item, each, stored) for each in self.sides]
        self._answered.put_nowait([self._travelled(item, found)])

    async def _side(self, item: Item, each: Side, stored: Sequence[Output]) -> list[Output]:
        """The outputs of one side: what is stored, and the trials that are missing."""
        if isinstance(each.source, RecordedSource):
            return _in_order(each.source.outputs_of(item), each.side)
        there = {o.trial: o for o in stored if o.system in each.side.names and o.error is None}
        asked = [self._ask(item, each, trial) for trial in range(self.trials) if trial not in there]
        new = [await asked[0]] if len(asked) == 1 else await asyncio.gather(*asked)
        return _in_order([*there.values(), *new], each.side)

    async def _ask(self, item: Item, each: Side, trial: int) -> Output:
        if each.source.kind in ("model", "endpoint"):  # the engine bounds these
            output = await each.source.answer(item, trial)
        else:
            async with self._functions:
                output = await each.source.answer(item, trial)
        if output.error is None:  # what failed is asked again when the run goes on
            self.journal.append("outputs", output_row(self.road.run_id, item, output))
        return output

    def _travelled(self, item: Item, found: Sequence[list[Output]]) -> Travelled:
        outputs = [output for side in found for output in side]
        if self.road.prepared.kind != "pairwise":
            return Travelled(item, outputs, [(output,) for output in outputs])
        pairs = pairs_of(found[0], found[1] if len(found) > 1 else None)
        return Travelled(item, outputs, list(pairs))

    # ---- tiers --------------------------------------------------------------------------------------------------------

    async def _check(self, work: asyncio.TaskGroup) -> None:
        """Tier 1, a page at a time; what passes is judged in a task of its own."""
        while (page := await self._answered.get()) is not None:
            while len(page) < self._page and not self._answered.empty():
                more = self._answered.get_nowait()
                if more is None:
                    self._answered.put_nowait(None)
                    break
                page = page + more
            ended = await in_thread(self._first_tier, page)
            for one in page:
                if one.passed:
                    work.create_task(self._judge(one))
            self._end(ended)

    def _first_tier(self, page: Sequence[Travelled]) -> list[Travelled]:
        """Check some items; those that are through with it, their rows handed over."""
        first_tier(self.road, page)
        for one in page:
            one.settled = [last_tests(self.road, one, settled) for settled in one.settled]
        ended = [one for one in page if not one.passed]
        self.journal.derive(self._rows(ended))
        return ended

    async def _judge(self, one: Travelled) -> None:
        if len(one.passed) == 1:
            answers = [await judged(self.road, one.passed[0])]
        else:
            answers = await asyncio.gather(*(judged(self.road, passed) for passed in one.passed))
        new = [settled for settled, _ in answers]
        if self.road.tests and self.road.run_tests:
            new = await in_thread(lambda: [last_tests(self.road, one, settled) for settled in new])
        one.settled += new
        one.asked = [(passed.unit, asked) for passed, (_, found) in zip(one.passed, answers, strict=True) for asked in found]
        one.passed = []
        self._judged_items.append(one)
        self._end([one])

    def _end(self, ended: Sequence[Travelled]) -> None:
        self._on_the_way -= len(ended)
        if self.keep:
            self.settled += [settled._replace(checks=tuple(settled.checks)) for one in ended for settled in one.settled]
        self._moved.set()
        if len(self._judged_items) >= JUDGED_PAGE:  # their rows take a fraction of what was shown to their judges
            self._derive()
        if self.journal.derived >= FULL or self.journal.appended >= FOLD_CALLS:
            self._full.set()
        self._count(ended)
        if self.watch is not None and ended:
            self.watch(self.progress)

    def _count(self, ended: Sequence[Travelled]) -> None:
        progress = self.progress
        progress.done += len(ended)
        progress.spent_usd = self.road.engine.spending.spent_usd
        for one in ended:
            for settled in one.settled:
                progress.blocked += settled.route == "blocked"
                progress.unscored += settled.score is None
            if one.asked:
                progress.asked += len({a.verdict.call_id for _, a in one.asked if not a.verdict.cached} - {None})
                progress.cached += len({a.verdict.call_id for _, a in one.asked if a.verdict.cached})

    # ---- rows ---------------------------------------------------------------------------------------------------------

    async def _fold_now_and_then(self) -> None:
        costly = self._judged or not self._at_hand_all
        while True:
            try:
                async with asyncio.timeout(FOLD_EVERY_S if costly else FOLD_CHEAP_EVERY_S):
                    await self._full.wait()
            except TimeoutError:
                pass
            self._full.clear()
            self._derive()
            self._moved.set()
            await in_thread(self._fold)

    def _derive(self) -> None:
        """Hand over what has ended. Not in the thread that folds: whoever stops the run must find all of it handed over."""
        ended, self._judged_items = self._judged_items, []
        self.journal.derive(self._rows(ended))

    def _fold(self) -> None:
        try:
            self.journal.fold()
        except StoreBusy:
            return  # the rows wait; the next turn, the end of the run or the next command folds them

    def _rows(self, ended: Sequence[Travelled]) -> list[Columns]:
        """Everything about some items, to be stored in one transaction: an item is in the store whole, or not at all."""
        run_id, rubric_hash = self.road.run_id, self._rubric_hash
        checks = [(o, c) for one in ended for o in one.outputs if (c := one.checks.get((o.system, o.trial))) is not None]
        verdicts = []
        for one in ended:
            for unit, (verdict, call) in one.asked:
                ordered = [o for name in verdict.systems for o in unit if o.system == name]
                verdicts.append(verdict_row(run_id, one.item, ordered, verdict, rubric_hash, call.shown))
        if not ended:
            return []
        return [
            *(item_columns(self.road.prepared.golden, [one.item for one in ended]) if self.store_items else ()),
            *output_columns(run_id, [(one.item, o) for one in ended for o in one.outputs]),
            *checked_columns(run_id, checks),
            *verdict_columns(run_id, verdicts),
            *(score_columns(run_id, [s for one in ended for s in one.settled]) if not self.open_still else ()),
        ]


def _in_order(outputs: list[Output], side: SystemSide) -> list[Output]:
    """A pair has the same sides in every item and every run."""
    return sorted(outputs, key=lambda o: (side.names.index(o.system), o.trial)) if len(outputs) > 1 else outputs


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first

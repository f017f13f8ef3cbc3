"""Calls of one model, collected into batches at its provider, and their replies brought back. Nothing is handed in twice.

A batch goes through three rows of `provider_batches`, each on disk before the next step: `submitting` under a mark of ours,
before the provider hears of it; `submitted`, as soon as it has answered; `ended`, when every reply is kept (or `failed`). A
process may die at any point: the next one finds the open rows and goes on from there. Where a creation was not heard of, the
batch is looked for at the provider: by its mark, or where the provider keeps none, by the calls that its results name.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from evalh.engine.batch import Batch, resumed
from evalh.errors import ProviderBusy, ProviderDown, ProviderError, ProviderRefused
from evalh.providers.base import Reply, Request, Target
from evalh.providers.batch_base import BatchProvider, BatchState, QueueFull

TRIES = 4  # of one request to the provider, polls apart
MOST_FAILURES = 30  # polls in a row without an answer: about half an hour
MOST_ROUNDS = 20  # batches that one call joins because the provider's queue was full, or an earlier batch is gone
MOST_TURNS = 20  # of the loop: for whoever got a reply to keep it
AT_ONCE = 200  # replies handed over before whoever waits for them gets a turn

T = TypeVar("T")
Write = Callable[[str, Mapping[str, Any]], None]  # table, row → on disk
Deliver = Callable[[str, Reply], None]  # a reply that was paid for and nobody waits for: on disk when it returns


@dataclass(frozen=True)
class Pace:
    """How long to wait, in seconds."""

    quiet_s: float = 2.0  # no further call has come: whoever brings them waits for us
    first_s: float = 5.0  # before the second poll; each wait is half as long again as the one before
    longest_s: float = 60.0
    recent_s: float = 60.0  # as long a new batch may be missing in the provider's list


class _AskAgain(Exception):
    """The batch has no answer to this call and never will: it may join another."""


class Batcher:
    """The batches of one line: `answer` joins the current one and returns when its reply is there.

    `line` is the identity of the target: who may take the replies. `open_batches` are the rows of `store.batches.open_batches`;
    their calls are under way and are never handed in again. One instance serves one event loop.
    """

    def __init__(
        self, provider: BatchProvider, target: Target, *, line: str, run_id: str, write: Write, deliver: Deliver,
        notice: Callable[[str], None] = lambda _line: None, open_batches: Iterable[Mapping[str, Any]] = (), pace: Pace | None = None,
    ) -> None:  # fmt: skip
        self.most_calls = provider.most_calls
        self._provider, self._target, self._line, self._run_id = provider, target, line, run_id
        self._write, self._deliver, self._notice, self._pace = write, deliver, notice, pace or Pace()
        self._of: dict[str, Batch] = {}  # call → the batch it is in
        self._resumed = [resumed(row) for row in open_batches]
        for batch in sorted(self._resumed, key=lambda b: b.batch_id is not None):
            self._of |= dict.fromkeys(batch.call_ids, batch)
        self._live: set[Batch] = set()  # handed in and not over
        self._pending = Batch(secrets.token_hex(8))
        self._door, self._upload = asyncio.Lock(), asyncio.Lock()
        self._one_by_one = False  # the provider's queue was full: a batch is handed in when the one before is over
        self._quiet: asyncio.TimerHandle | None = None
        self._asked_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, call_id: str, request: Request) -> Reply:
        """The reply to a call, which may take a day. Whoever gets it keeps it on disk and then says so: `kept`.

        Raises ProviderError where the provider has none, whatever `write` raises, and CancelledError: the batch goes on.
        """
        for batch in self._resumed:
            self._wake(batch)
        self._resumed = []
        loop = asyncio.get_running_loop()
        for _ in range(MOST_ROUNDS):
            batch = self._of.get(call_id) or await self._join(call_id, request)
            future: asyncio.Future[Reply] = loop.create_future()
            batch.waiting.setdefault(call_id, []).append(future)
            self._asked_at = loop.time()
            if batch is not self._pending:
                self._wake(batch)
            with suppress(_AskAgain):
                return await future
        raise ProviderBusy(f"no batch took this call in {MOST_ROUNDS} rounds", where=self._target.ref)

    def kept(self, call_id: str) -> None:
        """The reply to this call is on disk. A batch of which all replies are is not asked for again."""
        batch = self._of.pop(call_id, None)
        if batch is not None:
            batch.owed.discard(call_id)
            self._close_if_kept(batch)

    @property
    def under_way(self) -> int:
        """How many batches the provider has not ended, as far as we know."""
        return len(self._live)

    async def aclose(self) -> None:
        """Stop polling; batches under way stay so at the provider, and the next run goes on with them."""
        if self._quiet is not None:
            self._quiet.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for batch in {self._pending, *self._of.values()}:
            for call_id in batch.waiting:
                for future in batch.waits(call_id):
                    future.cancel()
        await self._provider.aclose()

    # --- collecting ----------------------------------------------------------------------------------------------------

    async def _join(self, call_id: str, request: Request) -> Batch:
        """The batch that this call is in from now on. Waits while a full one cannot be handed in: memory stays bounded."""
        async with self._door:
            if (batch := self._of.get(call_id)) is not None:
                return batch
            entry = self._provider.entry(call_id, request)
            full = len(self._pending.entries) >= self.most_calls or self._pending.size + len(entry) > self._provider.most_bytes
            if full and self._pending.entries:
                await self._send()
            batch = self._of[call_id] = self._pending
            batch.entries[call_id] = entry
            batch.size += len(entry)
            self._when_quiet()
            return batch

    def _when_quiet(self) -> None:
        if self._quiet is not None:
            self._quiet.cancel()
        self._quiet = asyncio.get_running_loop().call_later(self._pace.quiet_s, lambda: self._start(self._send_quiet()))

    async def _send_quiet(self) -> None:
        async with self._door:
            await self._send()

    async def _send(self) -> None:
        """Hand the pending batch in as soon as the one before it has been; the door is closed meanwhile."""
        await self._upload.acquire()
        batch, self._pending = self._pending, Batch(secrets.token_hex(8))
        for call_id in [c for c in batch.entries if not batch.waits(c)]:  # whoever asked has given up: not to be paid
            del batch.entries[call_id]
            del self._of[call_id]
        if not batch.entries:
            self._upload.release()
            return
        batch.call_ids = set(batch.entries)
        self._wake(batch)

    # --- the life of a batch -------------------------------------------------------------------------------------------

    def _start(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _wake(self, batch: Batch) -> None:
        """See to it that the batch is brought to its end; one that was read is read again for whoever came late."""
        if batch.task is None or batch.task.done():
            batch.task = self._start(self._run(batch))

    async def _run(self, batch: Batch) -> None:
        try:
            if batch.entries:
                try:
                    await self._submit(batch)
                finally:
                    self._upload.release()
            elif batch.batch_id is None:
                await self._recover(batch)
            await self._follow(batch)
            while any(batch.waits(call_id) for call_id in batch.waiting):  # they came while it was being read
                await self._collect(batch)
        except Exception as error:  # whatever it is, somebody waits for these calls
            for call_id in list(batch.waiting):
                self._tell(batch, call_id, error)
        self._live.discard(batch)  # not where we are stopped: it goes on at the provider

    async def _submit(self, batch: Batch) -> None:
        """Hand the batch in. After an answer that was not heard, it is looked for before it is handed in again."""
        while self._one_by_one and (others := [b.task for b in self._live if b.task is not None]):
            await asyncio.wait(others)
        entries, unheard = list(batch.entries.values()), False
        batch.entries, batch.size = {}, 0
        self._row(batch, "submitting", batch.mark)
        for tried in range(1, TRIES + 1):
            try:
                found = await self._found(batch) if unheard else None
                if found is None:
                    batch.at, unheard = _now(), False
                    found = await self._provider.submit(entries, batch.mark)
                self._submitted(batch, found)
                return
            except QueueFull as error:
                self._row(batch, "failed", batch.mark, error.what)
                await self._make_room(batch, error)
            except ProviderRefused as error:
                self._row(batch, "failed", batch.mark, error.what)
                self._forget(batch)
                raise
            except ProviderError as error:
                if tried == TRIES:
                    raise
                unheard = unheard or isinstance(error, ProviderDown)
                await self._pause(tried, error)

    def _submitted(self, batch: Batch, batch_id: str) -> None:
        batch.batch_id = batch_id
        self._live.add(batch)
        self._row(batch, "submitted", batch_id, batch.mark)
        self._say(batch, "submitted")

    async def _recover(self, batch: Batch) -> None:
        """A batch that was being handed in when we last heard: find it, or let its calls join another."""
        found = await self._found(batch)
        if found is None:
            self._row(batch, "failed", batch.mark, "the provider has no such batch")
            self._forget(batch)
            raise _AskAgain
        self._submitted(batch, found)

    async def _found(self, batch: Batch) -> str | None:
        """The batch at the provider, which may take a moment to show it. Raises ProviderError where it cannot be said."""
        while True:
            found, left = await self._look_for(batch), batch.at + self._pace.recent_s - _now()
            if found is not None or left <= 0:
                return found
            await asyncio.sleep(min(left, self._pace.first_s))

    async def _look_for(self, batch: Batch) -> str | None:
        taken = {b.batch_id for b in (*self._of.values(), *self._live)}
        found = await self._patiently(lambda: self._provider.find(batch.mark, len(batch.call_ids), batch.at))
        for batch_id in found:
            if batch_id not in taken and (self._provider.marks or await self._holds(batch_id, batch)):
                return batch_id
        return None

    async def _holds(self, batch_id: str, batch: Batch) -> bool:
        """Whether a batch without a mark is ours: its results say, once it is over. Better late than paid twice."""
        self._notice(f"{self._target.ref}: batch {batch_id} may hold {len(batch.call_ids)} calls of ours; waiting for its end to see")
        state = await self._over(batch, batch_id)
        if state.status in ("failed", "gone"):
            return False
        return await self._patiently(lambda: self._first(batch_id)) in batch.call_ids

    async def _first(self, batch_id: str) -> str | None:
        async with aclosing(self._provider.results(batch_id)) as results:
            async for call_id, _ in results:
                return call_id
        return None

    async def _follow(self, batch: Batch) -> None:
        """Poll to the end, then bring the replies."""
        assert batch.batch_id is not None
        self._live.add(batch)
        state = await self._over(batch, batch.batch_id)
        if state.status == "gone" and batch.resumed:
            self._row(batch, "failed", batch.batch_id, "the provider no longer knows it")
            self._forget(batch)
            raise _AskAgain
        if state.status in ("failed", "gone"):
            error = state.error or ProviderRefused(f"batch {batch.batch_id} is {state.status}", where=self._target.ref)
            self._row(batch, "failed", batch.batch_id, error.what)
            if isinstance(error, QueueFull):
                await self._make_room(batch, error)
            self._forget(batch)
            raise error
        if batch.resumed:
            await self._until_quiet()
        batch.status = state.status
        await self._collect(batch)

    async def _over(self, batch: Batch, batch_id: str) -> BatchState:
        """The state of a batch when it is no longer under way. Polls that fail are repeated; ProviderError when all do for long."""
        wait, failed, done = self._pace.first_s, 0, -1
        while True:
            try:
                state = await self._provider.poll(batch_id)
            except (ProviderBusy, ProviderDown) as error:
                failed += 1
                if failed >= MOST_FAILURES:
                    raise
                if failed == 1:
                    self._notice(f"{error}; batch {batch_id} goes on there, and is asked for again")
                wait = max(wait, (error.retry_after or 0.0) if isinstance(error, ProviderBusy) else 0.0)
            else:
                failed = 0
                if state.status != "under way":
                    return state
                if state.done != done and batch.batch_id is not None:
                    done = state.done
                    self._say(batch, f"{done} done; polling; Ctrl-C keeps it, the same command goes on")
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))
            wait = min(self._pace.longest_s, wait * 1.5)

    async def _until_quiet(self) -> None:
        """Until no call has come for a moment: replies go to whoever asks, and only what is left over is delivered."""
        loop = asyncio.get_running_loop()
        while (left := self._asked_at + self._pace.quiet_s - loop.time()) > 0:
            await asyncio.sleep(left)

    async def _make_room(self, batch: Batch, error: QueueFull) -> None:
        """The provider's queue is full: smaller batches from now on, one after the other. Always raises _AskAgain."""
        self._one_by_one = True
        self.most_calls = max(1, len(batch.call_ids) // 2)
        self._notice(f"{error}; going on with batches of {self.most_calls} calls, one after the other")
        if len(batch.call_ids) == 1:  # it is not ours that fills it
            await asyncio.sleep(self._pace.longest_s)
        self._forget(batch)
        raise _AskAgain

    # --- replies -------------------------------------------------------------------------------------------------------

    async def _collect(self, batch: Batch) -> None:
        """Hand every outcome over, once. A stream that breaks off is read again.

        Failures come last, when the replies are kept: whoever stops at them finds a batch that is over, not one to be read again.
        """
        missing = {c for c in batch.call_ids if c not in batch.given or batch.waits(c)}
        why = f"batch {batch.batch_id} {batch.status} without an answer to this call"
        failures: dict[str, ProviderError] = {}
        await self._patiently(lambda: self._read(batch, missing, failures))
        for _ in range(MOST_TURNS):
            if not batch.owed:
                break
            await asyncio.sleep(0)
        for call_id in missing:
            self._hand_over(batch, call_id, failures.get(call_id) or ProviderDown(why, where=self._target.ref))
        if not batch.read:
            batch.read = True
            self._say(batch, f"{batch.status}, {batch.answered} answered")
        self._close_if_kept(batch)

    async def _read(self, batch: Batch, missing: set[str], failures: dict[str, ProviderError]) -> None:
        assert batch.batch_id is not None
        async with aclosing(self._provider.results(batch.batch_id)) as results:
            async for call_id, outcome in results:
                if isinstance(outcome, ProviderError):
                    failures[call_id] = outcome
                    continue
                self._hand_over(batch, call_id, outcome)
                missing.discard(call_id)
                if len(missing) % AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _hand_over(self, batch: Batch, call_id: str, outcome: Reply | ProviderError) -> None:
        if call_id not in batch.call_ids:
            return
        if isinstance(outcome, ProviderError):
            if self._of.get(call_id) is batch:  # asked for again, it joins another batch
                del self._of[call_id]
            self._tell(batch, call_id, outcome)
        elif waiting := batch.waits(call_id):
            if not batch.closed and (call_id not in batch.given or call_id in batch.owed):
                batch.owed.add(call_id)
            del batch.waiting[call_id]
            for future in waiting:
                future.set_result(outcome)
        elif call_id not in batch.given:
            self._deliver(call_id, outcome)
        if call_id not in batch.given and isinstance(outcome, Reply):
            batch.answered += 1
        batch.given.add(call_id)

    def _tell(self, batch: Batch, call_id: str, error: Exception) -> None:
        for future in batch.waits(call_id):
            future.set_exception(error)
        batch.waiting.pop(call_id, None)

    def _close_if_kept(self, batch: Batch) -> None:
        if not batch.read or batch.owed or batch.closed or batch.batch_id is None:
            return
        batch.closed = True
        self._row(batch, "ended", batch.batch_id, f"{batch.status}: {batch.answered} of {len(batch.call_ids)} calls answered")

    def _forget(self, batch: Batch) -> None:
        """Its calls may be handed in again."""
        for call_id in batch.call_ids:
            if self._of.get(call_id) is batch:
                del self._of[call_id]

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """What a call to the provider returns, after some tries where it is busy or does not answer."""
        for tried in range(1, TRIES):
            try:
                return await call()
            except (ProviderBusy, ProviderDown) as error:
                await self._pause(tried, error)
        return await call()

    async def _pause(self, tried: int, error: ProviderError) -> None:
        asked = error.retry_after if isinstance(error, ProviderBusy) else None
        grown = min(self._pace.longest_s, self._pace.first_s * 2 ** (tried - 1))
        await asyncio.sleep(grown * random.uniform(0.8, 1.2) if asked is None else asked + random.uniform(0.0, 0.1))

    # --- telling -------------------------------------------------------------------------------------------------------

    def _say(self, batch: Batch, what: str) -> None:
        self._notice(f"{self._target.ref}: batch {batch.batch_id} with {len(batch.call_ids)} calls: {what}")

    def _row(self, batch: Batch, event: str, batch_id: str, detail: str = "") -> None:
        row = {
            "batch_id": batch_id, "event": event, "at": datetime.now(UTC).replace(tzinfo=None).isoformat(), "run_id": self._run_id,
            "provider": self._target.provider, "model": self._target.model, "line": self._line,
            "call_ids": sorted(batch.call_ids) if event.startswith("submi") else [], "detail": detail,
        }  # fmt: skip
        self._write("provider_batches", row)


def _now() -> float:
    return datetime.now(UTC).timestamp()

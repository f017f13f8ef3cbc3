"""A call from request to answer: looked up in the ledger, else asked within budget and limits, and written down.

A call is known by the hash of everything that decides its answer. Its reply is in the journal before it counts, so a
call that was answered is never sent again: not after kill -9, not in the next run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from evalh.engine.asking import Asked, ask
from evalh.engine.batching import Batcher
from evalh.engine.ledger import Ledger
from evalh.engine.line import Line
from evalh.engine.spending import Spending, cost
from evalh.errors import ProviderBusy, ProviderDown, ProviderError, ProviderRefused, ProviderUnusable
from evalh.fingerprints import content_hash
from evalh.providers.base import Reply, Request
from evalh.records import ToolCall

Write = Callable[[str, Mapping[str, Any]], None]  # table, row → on disk
CHARACTERS_PER_TOKEN = 4  # of English text: an estimate, for budgets and token limits before a call


class Answer(NamedTuple):
    """A reply and what it took."""

    reply: Reply
    call_id: str
    cached: bool
    cost_usd: float | None
    latency_ms: float | None  # of a batch nobody can say


@dataclass
class _Asking:
    """A call under way: whoever asks the same meanwhile gets the same answer; where there is none, the next one tries."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    callers: int = 0
    answer: Answer | None = None


@dataclass
class Engine:
    """Asks models for one run. `judges` and `systems` are all lines of the run: where all judges are gone, it stops."""

    run_id: str
    write: Write
    ledger: Ledger
    spending: Spending
    judges: Sequence[Line] = ()
    systems: Sequence[Line] = ()
    fresh: str | None = None  # calls are this run's own: what other runs were answered is not theirs, and stays beside it
    _asking: dict[str, _Asking] = field(default_factory=dict)  # calls under way: two items, or two trials, may ask the same

    @property
    def batches(self) -> bool:
        """Whether calls are collected into batches: then many items have to be on their way."""
        return any(line.batcher is not None for line in (*self.judges, *self.systems))

    async def call(self, line: Line, request: Request, *, purpose: str, item_id: str, turn: tuple[int, ...] = ()) -> Answer:
        """The answer to a request: from the ledger where it was answered before, else from the provider.

        `turn` tells repeats of one question apart. Raises ProviderError where all tries failed, BudgetReached.
        """
        call_id = self._call_id(line, request, turn)
        if not line.keeps_replies:
            return await self._answer(line, request, call_id, purpose, item_id)
        asking = self._asking.setdefault(call_id, _Asking())
        asking.callers += 1
        try:
            async with asking.lock:
                if asking.answer is None:
                    asking.answer = await self._answer(line, request, call_id, purpose, item_id)
                return asking.answer
        finally:
            asking.callers -= 1
            if not asking.callers:
                del self._asking[call_id]

    def _call_id(self, line: Line, request: Request, turn: tuple[int, ...]) -> str:
        messages = [(m.role, m.content) for m in request.messages]
        schema = None if line.protocol else request.schema_  # the rubric decides the schema, and the protocol covers the rubric
        return content_hash("call", line.identity, line.protocol, messages, schema, request.tools, turn, self.fresh)

    async def _answer(self, line: Line, request: Request, call_id: str, purpose: str, item_id: str) -> Answer:
        before = await self.ledger.find(call_id) if line.keeps_replies else None
        if before is not None:
            return Answer(_reply_of(before), call_id, before["run_id"] != self.run_id, before["cost_usd"], before["latency_ms"])
        tokens = sum(len(m.content) for m in request.messages) // CHARACTERS_PER_TOKEN
        estimate = cost(line.price, tokens, line.target.max_tokens, line.price_factor) or 0.0
        await self.spending.reserve(estimate)
        try:
            asked = await self._ask(line, request, call_id, tokens)
        except BaseException:
            self.spending.settle(estimate, None, 0)
            raise
        reply = asked.reply
        usd = cost(line.price, reply.tokens_in, reply.tokens_out, line.price_factor)
        if line.keeps_replies and self.ledger.has(call_id):  # a batch delivered it while this call waited for the budget
            self.spending.settle(estimate, None, 0)
            return Answer(reply, call_id, False, usd, asked.latency_ms)
        self.spending.settle(estimate, usd, (reply.tokens_in or 0) + (reply.tokens_out or 0))
        if line.keeps_replies:
            self.write("provider_calls", self._row(line, request, call_id, purpose, item_id, asked, usd))
            self.ledger.add(call_id)
            if line.batcher is not None:
                line.batcher.kept(call_id)
        return Answer(reply, call_id, False, usd, asked.latency_ms)

    async def _ask(self, line: Line, request: Request, call_id: str, tokens: int) -> Asked:
        try:
            if line.batcher is not None:
                return Asked(await _in_batch(line, line.batcher, call_id, request), 1, None)
            return await ask(line, request, tokens)
        except (ProviderBusy, ProviderDown) as error:
            self._stop_where_nobody_is_left(error)
            raise

    def _stop_where_nobody_is_left(self, error: ProviderError) -> None:
        """Raise ProviderUnusable where the system under test is gone, or every judge: nothing more can come of this run now."""
        gone = [line for line in self.systems if line.circuit.is_open]
        if self.judges and all(line.circuit.is_open for line in self.judges):
            gone += self.judges
        if gone:
            names = ", ".join(dict.fromkeys(line.target.ref for line in gone))
            raise ProviderUnusable(
                f"{names} does not answer any more: {error.what}", where=error.where, hint="`evalh doctor` checks it"
            ) from None

    def deliver(self, line: Line, call_id: str, reply: Reply) -> None:
        """Keep a reply of a batch that nobody waits for: it was paid for, and the question may come again."""
        if self.ledger.has(call_id):
            return
        usd = cost(line.price, reply.tokens_in, reply.tokens_out, line.price_factor)
        self.spending.add(usd, (reply.tokens_in or 0) + (reply.tokens_out or 0))
        purpose = "system" if line in self.systems else "judge"
        self.write("provider_calls", self._row(line, None, call_id, purpose, None, Asked(reply, 1, None), usd))
        self.ledger.add(call_id)

    def _row(
        self, line: Line, request: Request | None, call_id: str, purpose: str, item_id: str | None, asked: Asked, usd: float | None
    ) -> dict[str, Any]:
        reply, target = asked.reply, line.target
        return {
            "call_id": call_id,
            "run_id": self.run_id,
            "purpose": purpose,
            "item_id": item_id,
            "provider": target.provider,
            "model": target.model,
            "version": reply.version,
            "system_fingerprint": reply.system_fingerprint,
            "messages": [m.model_dump() for m in request.messages] if request is not None else None,
            "params": line.params,
            "reply": reply.text,
            "reply_tool_calls": [c.model_dump() for c in reply.tool_calls],
            "finish_reason": reply.finish_reason,
            "tokens_in": reply.tokens_in,
            "tokens_out": reply.tokens_out,
            "cost_usd": usd,
            "latency_ms": asked.latency_ms,
            "requests": asked.requests,
            "asked": line.asked,
            "mode": "batch" if line.batcher is not None else "direct",
            "at": datetime.now(UTC).replace(tzinfo=None).isoformat(),
        }


async def _in_batch(line: Line, batcher: Batcher, call_id: str, request: Request) -> Reply:
    """Through the provider's batch API, which has a patience of its own; a model is gone that answers none of many calls in a row."""
    circuit = line.circuit
    try:
        gone = circuit.check(call_id)
        if gone is not None:
            raise gone
        try:
            reply = await batcher.answer(call_id, request)
        except ProviderRefused:
            circuit.answered()
            raise
        except (ProviderBusy, ProviderDown) as error:
            circuit.failed(call_id, error)
            raise
        circuit.answered()
        return reply
    finally:
        circuit.let_go(call_id)


def _reply_of(row: Mapping[str, Any]) -> Reply:
    return Reply(
        text=row["reply"] or "", version=row["version"], system_fingerprint=row["system_fingerprint"], finish_reason=row["finish_reason"],
        tokens_in=row["tokens_in"], tokens_out=row["tokens_out"], tool_calls=tuple(ToolCall(**c) for c in row["reply_tool_calls"] or []),
    )  # fmt: skip

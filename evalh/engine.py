"""Model calls: bounded, retried, paid for once. All concurrency of a run is in this module and in `pipeline.run_items`.

A call is known by the hash of everything that decides its answer. Its reply is in the journal before it counts, so a
call that was answered is never sent again: not after kill -9, not in the next run.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from evalh.errors import ProviderBusy, ProviderDown, ProviderUnusable, UsageError
from evalh.fingerprints import content_hash
from evalh.providers.base import Price, Provider, Reply, Request, Target
from evalh.records import ToolCall
from evalh.redaction import redacted

BUSY_TRIES = 8  # requests for one call of a provider that says it is busy, the first included
DOWN_TRIES = 4  # requests for one call of a provider that does not answer
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
LONGEST_RETRY_AFTER_S = 300.0  # a provider that asks for more is not waited for
DEAD_AFTER = 8  # calls in a row that failed after all their tries: the provider is gone

Write = Callable[[str, Mapping[str, Any]], None]  # table, row → on disk


class BudgetReached(Exception):
    """The next call would cost more than the budget allows. The run stops; nothing that was paid for is lost."""


class Answer(NamedTuple):
    """A reply and what it took."""

    reply: Reply
    call_id: str
    cached: bool
    cost_usd: float | None
    latency_ms: float


@dataclass
class Line:
    """One provider as a run uses it: the target, the client, the price, and how it has been doing."""

    target: Target
    provider: Provider
    price: Price | None
    identity: str  # hash of the target and of the files it reads
    failures: int = 0
    requests: int = 0

    @property
    def keeps_replies(self) -> bool:
        """Whether replies belong in the ledger: recorded verdicts are on disk already."""
        return not self.provider.deterministic


@dataclass
class Spending:
    """What a run has spent, in USD and tokens. Calls that are under way hold a reservation."""

    budget_usd: float | None = None
    spent_usd: float = 0.0
    reserved_usd: float = 0.0
    tokens: int = 0
    under_way: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def reserve(self, usd: float) -> None:
        """Set money aside for a call. Where calls under way hold too much of it, wait for them; BudgetReached if none does."""
        while self.budget_usd is not None and self.spent_usd + self.reserved_usd + usd > self.budget_usd:
            if self.under_way == 0:
                raise BudgetReached
            self._changed.clear()
            await self._changed.wait()
        self.reserved_usd += usd
        self.under_way += 1

    def settle(self, reserved_usd: float, cost_usd: float | None, tokens: int) -> None:
        """Replace a reservation by what the call did cost."""
        self.under_way -= 1
        self.reserved_usd = self.reserved_usd - reserved_usd if self.under_way else 0.0
        self.spent_usd += cost_usd or 0.0
        self.tokens += tokens
        self._changed.set()


@dataclass
class Engine:
    """Asks models for one run. `known` are the answered calls of the store, by call id."""

    run_id: str
    write: Write
    known: Mapping[str, Mapping[str, Any]]
    spending: Spending
    in_flight: int = 32
    fresh: bool = False  # calls are this run's own: what other runs were answered is not theirs, and stays beside it
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    provider_limits: Mapping[str, int] = field(default_factory=dict)  # provider → its calls at one time
    _same: dict[str, tuple[asyncio.Lock, list[Answer]]] = field(default_factory=dict)  # of systems: two items may ask the same
    _slots: asyncio.Semaphore = field(init=False)
    _provider_slots: dict[str, asyncio.Semaphore] = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.in_flight)
        self._provider_slots = {name: asyncio.Semaphore(limit) for name, limit in self.provider_limits.items()}

    async def call(self, line: Line, request: Request, *, purpose: str, item_id: str, turn: tuple[int, ...] = ()) -> Answer:
        """The answer to a request: from the ledger where it was answered before, else from the provider.

        `turn` tells repeats of one question apart. Raises ProviderError where all tries failed, BudgetReached.
        """
        call_id = content_hash(
            "call", line.identity, request.model_dump(mode="json", exclude={"about"}), turn, *([self.run_id] if self.fresh else [])
        )
        before = self.known.get(call_id)
        if before is not None:
            return Answer(_reply_of(before), call_id, before["run_id"] != self.run_id, before["cost_usd"], before["latency_ms"] or 0.0)
        if purpose != "system":  # what judges are asked names its item: no two are the same
            return await self._paid(line, request, call_id, purpose, item_id)
        lock, answers = self._same.setdefault(call_id, (asyncio.Lock(), []))
        async with lock:
            if not answers:
                answers.append(await self._paid(line, request, call_id, purpose, item_id))
        return answers[0]

    async def _paid(self, line: Line, request: Request, call_id: str, purpose: str, item_id: str) -> Answer:
        """A call that is sent, within the budget, and written down."""
        estimate = _cost(line.price, sum(len(m.content) for m in request.messages) // 4, line.target.max_tokens) or 0.0
        await self.spending.reserve(estimate)
        try:
            async with self._provider_slots.get(line.target.provider, nullcontext()), self._slots:
                reply, requests, latency = await self._ask(line, request)
        except BaseException:
            self.spending.settle(estimate, None, 0)
            raise
        cost = _cost(line.price, reply.tokens_in, reply.tokens_out)
        self.spending.settle(estimate, cost, (reply.tokens_in or 0) + (reply.tokens_out or 0))
        if line.keeps_replies:
            self.write("provider_calls", _row(call_id, self.run_id, purpose, item_id, line.target, request, reply, cost, latency, requests))
        return Answer(reply, call_id, False, cost, latency)

    async def _ask(self, line: Line, request: Request) -> tuple[Reply, int, float]:
        """One call with its retries: busy and dropped calls are tried again, `Retry-After` is honoured."""
        for tried in range(1, BUSY_TRIES + 1):
            if line.failures >= DEAD_AFTER:
                raise ProviderUnusable(f"{line.target.ref} did not answer {line.failures} calls in a row", hint="`evalh doctor` checks it")
            line.requests += 1
            start = time.perf_counter()
            try:
                async with asyncio.timeout(line.target.timeout_s + 5):  # the client has its own limit; this one is the deadline behind it
                    reply = await line.provider.ask(request)
            except (ProviderBusy, ProviderDown, TimeoutError) as error:
                if tried >= (BUSY_TRIES if isinstance(error, ProviderBusy) else DOWN_TRIES) or _asks_too_much(error):
                    line.failures += 1
                    if isinstance(error, TimeoutError):
                        raise ProviderDown(f"{line.target.ref} did not answer within {line.target.timeout_s:g} s") from None
                    raise
                await self.sleep(_wait(tried, error))
            else:
                line.failures = 0
                return reply, tried, (time.perf_counter() - start) * 1000
        raise AssertionError("unreachable: the last try returns or raises")


def check_prices(lines: list[Line], budget_usd: float | None) -> None:
    """A budget needs the price of every model. Raises UsageError naming the model that has none."""
    for line in lines:
        if budget_usd is not None and line.price is None:
            raise UsageError(
                f"--budget needs the price of {line.target.ref}, and none is known",
                hint=f'add [prices."{line.target.ref}"] with input, output and as_of to evalh.toml',
            )


def _asks_too_much(error: BaseException) -> bool:
    return isinstance(error, ProviderBusy) and (error.retry_after or 0.0) > LONGEST_RETRY_AFTER_S


def _wait(tried: int, error: BaseException) -> float:
    """Seconds to wait before the next try: what the provider asks for, else doubling with full jitter."""
    asked = error.retry_after if isinstance(error, ProviderBusy) else None
    backoff = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (tried - 1)) * random.uniform(0.5, 1.0)
    return backoff if asked is None else asked + random.uniform(0.0, 0.1)


def _cost(price: Price | None, tokens_in: int | None, tokens_out: int | None) -> float | None:
    if price is None or tokens_in is None or tokens_out is None:
        return None
    return (price.input * tokens_in + price.output * tokens_out) / 1e6


def _row(
    call_id: str, run_id: str, purpose: str, item_id: str, target: Target, request: Request, reply: Reply,
    cost: float | None, latency: float, requests: int,
) -> dict[str, Any]:  # fmt: skip
    return {
        "call_id": call_id,
        "run_id": run_id,
        "purpose": purpose,
        "item_id": item_id,
        "provider": target.provider,
        "model": target.model,
        "version": reply.version,
        "system_fingerprint": reply.system_fingerprint,
        "messages": [m.model_dump() for m in request.messages],
        "params": redacted(target.model_dump(exclude={"provider", "model"}, exclude_none=True)),
        "reply": reply.text,
        "reply_tool_calls": [c.model_dump() for c in reply.tool_calls],
        "finish_reason": reply.finish_reason,
        "tokens_in": reply.tokens_in,
        "tokens_out": reply.tokens_out,
        "cost_usd": cost,
        "latency_ms": latency,
        "requests": requests,
        "at": datetime.now(UTC).replace(tzinfo=None).isoformat(),
    }


def _reply_of(row: Mapping[str, Any]) -> Reply:
    return Reply(
        text=row["reply"] or "", version=row["version"], system_fingerprint=row["system_fingerprint"], finish_reason=row["finish_reason"],
        tokens_in=row["tokens_in"], tokens_out=row["tokens_out"], tool_calls=tuple(ToolCall(**c) for c in row["reply_tool_calls"] or []),
    )  # fmt: skip

"""One call with its retries: by class of error, with jitter, within a deadline; and the circuit of a model that is gone.

Times are seconds of the running loop's clock.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import NamedTuple, Protocol

from evalh.engine.lanes import Gate, Lane, Outcome, Place
from evalh.errors import ProviderBusy, ProviderDown, ProviderError, ProviderRefused, ProviderSlow
from evalh.providers.base import Provider, Reply, Request, Target

BUSY_TRIES = 8  # requests for one call of a model that says it is busy, the first included
DOWN_TRIES = 4  # requests for one call of a model that does not answer, or not as its API promises
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
WAIT_MARGIN_S = 0.01  # beyond what a busy model asks for, so that no timer rings early
GRACE_S = 5.0  # the client has its own limit; ours is so much behind it
DEADLINE_S = 600.0  # one call with all its retries
OPEN_AFTER = 8  # calls in a row without an answer
SURELY_DOWN_S = 5.0
COOL_DOWN_S, LONGEST_COOL_DOWN_S = 30.0, 300.0

_RANDOM = random.Random()


class Asked(NamedTuple):
    """A reply, the requests that it took, and how long the good one took; None where nobody can say (batches)."""

    reply: Reply
    requests: int
    latency_ms: float | None


class Circuit:
    """Opens when a model is gone: its calls then fail at once, with the reason, until one that is let through is answered.

    Gone is a model of which 8 calls in a row failed after all their tries; or, since a server that hangs uses up its tries
    slowly, one that answered none of 8 calls for 5 seconds, nor a request that began after the first of them had failed.
    A refusal of one request is an answer, and of a server that is busy only the first of these rules holds. The trial has one
    request. Opening and closing are said once each.
    """

    def __init__(self, name: str = "", notice: Callable[[str], None] = lambda _line: None) -> None:
        self._name, self._notice = name, notice
        self._failed = 0
        self._silent: set[object] = set()  # calls without an answer since the last one
        self._silent_from = self._silent_seen = 0.0  # when the first of their requests began, and when it failed
        self._opened: datetime | None = None
        self._opened_at = self._next_try = 0.0
        self._why = ""
        self._cool_down = COOL_DOWN_S
        self._trial: object | None = None

    @property
    def is_open(self) -> bool:
        return self._opened is not None

    def check(self, call: object) -> ProviderDown | None:
        """Why a call would be in vain; None lets it through. After the cool-down the first to come is let through, alone."""
        if self._opened is None or call is self._trial:
            return None
        left = self._next_try - _now()
        if left <= 0 and self._trial is None:
            self._trial = call
            return None
        next_try = f"next try in {math.ceil(left)} s" if left > 0 else "it is being tried"
        return ProviderDown(f"{self._why}; circuit open since {self._opened:%H:%M:%S}, {next_try}")

    def answered(self) -> None:
        """The model answered a call, be it by refusing it."""
        self._silent.clear()
        self._failed = 0
        if self._opened is not None:
            self._notice(f"{self._name} answers again, after {_now() - self._opened_at:.0f} s")
            self._opened, self._trial, self._cool_down = None, None, COOL_DOWN_S

    def silent(self, call: object, began: float, error: ProviderError) -> None:
        """A request of a call that began at a time was not answered."""
        if isinstance(error, ProviderBusy):
            self._silent.clear()  # somebody is there
            return
        now = _now()
        if not self._silent:
            self._silent_from, self._silent_seen = began, now
        self._silent.add(call)
        if len(self._silent) >= OPEN_AFTER and began >= self._silent_seen and now - self._silent_from >= SURELY_DOWN_S:
            self._open(len(self._silent), error)

    def failed(self, call: object, error: ProviderError) -> None:
        """A call failed after all its tries."""
        self._failed += 1
        if call is self._trial:
            self._cool_down = min(LONGEST_COOL_DOWN_S, 2 * self._cool_down)
            self._next_try, self._trial = _now() + self._cool_down, None
        elif self._failed >= OPEN_AFTER:
            self._open(self._failed, error)

    def let_go(self, call: object) -> None:
        """A call is over. Where it was the one let through and came to nothing (it was cancelled), another may try."""
        if call is self._trial:
            self._trial = None

    def _open(self, calls: int, error: ProviderError) -> None:
        if self._opened is None:
            self._why = f"{self._name} answered none of its last {calls} calls ({error.what})"
            self._opened, self._opened_at = datetime.now(), _now()
            self._next_try = self._opened_at + self._cool_down
            self._notice(f"{self._why}: further calls fail at once, next try in {self._cool_down:g} s")


class Way(Protocol):
    """What `ask` needs of a line. `deadline_s` is for one call with all its retries, from its first request on."""

    target: Target
    provider: Provider
    lane: Lane
    circuit: Circuit
    deadline_s: float


async def ask(way: Way, request: Request, tokens: int = 0, *, rng: random.Random = _RANDOM) -> Asked:
    """The reply to a request of so many tokens. Raises ProviderError when tries or time are spent, or no try would help.

    While a call waits between two tries it holds no place.
    """
    call, circuit = object(), way.circuit
    tries = _Tries(way, rng, call)
    try:
        while True:
            place = await tries.turn(tokens, partial(circuit.check, call))
            began = _now()
            outcome: Outcome = "none"
            used = retry_after = None
            try:
                reply = await _request(way, request, tries.left_s(began))
                outcome, used = "good", _tokens(reply)
                circuit.answered()
                return Asked(reply, tries.requests, (_now() - began) * 1000)
            except ProviderRefused:
                outcome = "refused"
                circuit.answered()
                raise
            except (ProviderBusy, ProviderDown) as error:
                outcome, retry_after = tries.outcome(error)
                circuit.silent(call, began, error)
                wait, failure = tries.next(error)
                if failure is None and circuit.is_open:
                    failure = error  # the trial, or a call that was under way when others found that the model is gone
                if failure is not None:
                    circuit.failed(call, failure)
                    raise failure from None
            finally:
                way.lane.leave(place, outcome, tokens=used, retry_after=retry_after)
            await asyncio.sleep(wait)
    finally:
        circuit.let_go(call)


class _Tries:
    """The tries of one call, and the time it has left."""

    def __init__(self, way: Way, rng: random.Random, call: object) -> None:
        self._way, self._rng, self._call = way, rng, call
        self._ends: float | None = None  # set by the first request: waiting for the first place is not the call's time
        self._busy = self._down = 0
        self.requests = 0

    async def turn(self, tokens: int, gate: Gate) -> Place:
        """A place for the next try. A reply may take `max_tokens`: so many are set aside. Raises ProviderDown."""
        tokens += self._way.target.max_tokens
        if self._ends is None:
            place = await self._way.lane.enter(tokens, gate=gate)
            self._ends = _now() + self._way.deadline_s
        else:
            try:
                async with asyncio.timeout_at(self._ends):
                    place = await self._way.lane.enter(tokens, gate=gate, again=True)
            except TimeoutError:
                late = self._late(self._last, "it has to wait for its next try")
                self._way.circuit.failed(self._call, late)
                raise late from None
        self.requests += 1
        return place

    def left_s(self, now: float) -> float:
        return self._way.deadline_s if self._ends is None else self._ends - now

    def outcome(self, error: ProviderBusy | ProviderDown) -> tuple[Outcome, float | None]:
        """What a lane has to know: how a request went, and the seconds to wait, unless no call could wait as long."""
        if isinstance(error, ProviderBusy):
            return "busy", error.retry_after if (error.retry_after or 0.0) < self.left_s(_now()) else None
        return "slow" if isinstance(error, ProviderSlow) else "down", None

    def next(self, error: ProviderBusy | ProviderDown) -> tuple[float, ProviderError | None]:
        """Seconds until the next try; the error that ends the call, where there is none.

        Full jitter (Brooker 2015, "Exponential Backoff and Jitter"), beyond what a busy model asks for.
        """
        self._last = error
        if isinstance(error, ProviderBusy):
            self._busy += 1
            tried, most, asked = self._busy, BUSY_TRIES, error.retry_after
        else:
            self._down += 1
            tried, most, asked = self._down, DOWN_TRIES, None
        backoff = self._rng.uniform(0.0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (tried - 1)))
        wait = backoff if asked is None else asked + WAIT_MARGIN_S + backoff / 5
        left = self.left_s(_now())
        if tried >= most or left <= 0:
            return wait, error
        if wait >= left:
            return wait, self._late(error, f"it asks to wait {asked:.0f} s" if asked else f"the next try is due in {wait:.0f} s")
        return wait, None

    def _late(self, error: ProviderError, why: str) -> ProviderDown:
        what = f"{error.what.rstrip('.')}; {why}, beyond the deadline of {self._way.deadline_s:g} s for a call"
        return ProviderDown(what, where=error.where, hint="`deadline_s` in evalh.toml sets it")


async def _request(way: Way, request: Request, left_s: float) -> Reply:
    """One request, within the call's time."""
    limit = min(way.target.timeout_s + GRACE_S, left_s)
    try:
        async with asyncio.timeout(limit):
            return await way.provider.ask(request)
    except TimeoutError:
        if limit < way.target.timeout_s:
            raise ProviderDown(f"{way.target.ref} did not answer within the deadline of {way.deadline_s:g} s") from None
        raise ProviderSlow(f"{way.target.ref} did not answer within {way.target.timeout_s:g} s") from None


def _tokens(reply: Reply) -> int | None:
    return None if reply.tokens_in is None else reply.tokens_in + (reply.tokens_out or 0)


def deadline_of(target: Target, configured: float | None) -> float:
    """Seconds for one call: as configured, else 600, or the time of one request where that is longer."""
    return configured if configured is not None else max(DEADLINE_S, target.timeout_s + GRACE_S)


def _now() -> float:
    return asyncio.get_running_loop().time()

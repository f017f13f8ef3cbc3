"""The way to one model: how many calls at one time, how fast, and when to pause.

The limit starts modest and grows while answers are good: by one for each good answer (it doubles with every round trip) up
to just below where it was last cut, above that by one for a round trip, then two, four, … . A 429 or a timeout halves it,
once for a round trip. That is slow start and multiplicative decrease as in TCP (Jacobson 1988, "Congestion Avoidance and
Control"), with the probing of BIC above the last cut (Xu, Harfoush, Rhee 2004).

Some servers refuse a share of all calls whatever the load; a limit that halves for each would come to nothing. So the share
is measured where the load is no reason, well below the last cut, and as many refusals as it explains do not cut.
`benchmarks/limits.py` shows what all this comes to.

Times are seconds of the running loop's clock.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from evalh.errors import ProviderError

START = 8  # calls at one time, before anything is known of the model
NEAR_THE_CUT = 0.9  # of the limit that was cut: up to here it grows fast again
SLOW_CALLS = 16  # good answers, or a round trip where that has more, for the first step above that
QUIET = 0.7  # of the limit that was cut: calls that begin at no more are not refused because of the load
WINDOW_S = 61.0  # a minute's allowance, and a second because requests do not all travel equally fast
BURST_S = 6.0  # what may go at once after a rest: the allowance of so many seconds
SILENT_AFTER = 4  # failures in a row: the model answers nobody, it is not this call's affair (benchmarks/limits.py, table g)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0  # where the model names no time, or one that proves too short
MOST_BY_CHANCE = 0.1  # largest share of refused calls that is put down to chance
PRIOR_CALLS = 5  # good calls that are assumed before any were seen: one refusal says little
MEMORY = 0.99  # weight of what was known, with each new call: about the last hundred count

Outcome = Literal[
    "good",
    "refused",  # an answer too, though it says nothing of the load
    "busy",  # 429
    "slow",  # timed out
    "down",  # no answer: 5xx, connection dropped
    "none",  # never sent, or nobody waited for the answer
]
Gate = Callable[[], ProviderError | None]  # why a call that waits shall fail at once


class LaneState(NamedTuple):
    """A lane at a moment, to be shown."""

    name: str
    limit: int
    most: int
    under_way: int
    waiting: int
    reached: int  # most calls that were under way at one time
    requests: int
    busy: int
    slow: int
    cuts: int
    pauses: int
    paused_s: float  # of all pauses together


class _Use:
    """What one request takes of an allowance."""

    __slots__ = ("amount", "at")

    def __init__(self, at: float, amount: int) -> None:
        self.at, self.amount = at, amount


class Allowance:
    """So much a minute: never more in any 60 seconds, and after a burst of a tenth evenly (GCRA, ITU-T I.371).

    An amount above the whole allowance counts as the whole: it goes alone.
    """

    def __init__(self, per_minute: float) -> None:
        self._most = max(1, int(per_minute))
        self._window_s = WINDOW_S * max(1.0, 1.0 / per_minute)  # less than one a minute: one in a longer time
        self._each_s = 60.0 / per_minute
        self._uses: deque[_Use] = deque()
        self._used = 0
        self._even_at = 0.0  # when everything that was used would have gone evenly

    def ready_at(self, amount: int, now: float) -> float:
        """When so much may go; now or before: at once."""
        self._forget(now)
        ready = self._even_at - BURST_S
        over = self._used + min(amount, self._most) - self._most
        for use in self._uses:
            if over <= 0:
                break
            over -= use.amount
            ready = max(ready, use.at + self._window_s)
        return ready

    def take(self, amount: int, now: float) -> _Use:
        use = _Use(now, 0)
        self._uses.append(use)
        self.correct(use, min(amount, self._most), now)
        return use

    def correct(self, use: _Use, amount: int, now: float) -> None:
        """What a request really took, in place of its estimate."""
        self._forget(now)
        if use.at > now - self._window_s:
            self._used += amount - use.amount
            self._even_at = max(self._even_at, now) + (amount - use.amount) * self._each_s
            use.amount = amount

    def _forget(self, now: float) -> None:
        while self._uses and self._uses[0].at <= now - self._window_s:
            self._used -= self._uses.popleft().amount


class ProviderCap:
    """Calls of a provider at one time, over all its lanes. Lanes that wait take turns."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.under_way = 0
        self._waiting: dict[Lane, None] = {}  # in order

    def take(self, lane: Lane) -> bool:
        """One more call; where there is no place, the lane is told when there is one."""
        if self.under_way >= self.most:
            self._waiting[lane] = None
            return False
        self.under_way += 1
        return True

    def give(self) -> None:
        self.under_way -= 1
        while self._waiting and self.under_way < self.most:
            lane = next(iter(self._waiting))
            del self._waiting[lane]
            lane.serve()


class Place(NamedTuple):
    """A place on a lane, held by one request."""

    number: int
    quiet: bool  # begun at a load so far below the last cut that it is no reason for a refusal
    tokens: _Use | None


class _Waiter(NamedTuple):
    turn: asyncio.Future[Place | ProviderError]
    tokens: int
    gate: Gate | None


class _Chance:
    """Refusals whatever the load: the share of 429s and timeouts where the load cannot be the reason."""

    def __init__(self) -> None:
        self._calls = self._refused = 0.0

    def add(self, refused: bool) -> None:
        self._calls = MEMORY * self._calls + 1.0
        self._refused = MEMORY * self._refused + refused

    def doubt(self) -> None:
        """More were refused than the share explains: it is believed half as much."""
        self._calls, self._refused = self._calls / 2, self._refused / 2

    def explains(self, refused: int, calls: int) -> bool:
        """Whether so many are within three standard deviations of what is to be expected."""
        expected = calls * min(MOST_BY_CHANCE, self._refused / (self._calls + PRIOR_CALLS))
        return refused <= expected + 3.0 * math.sqrt(expected)


class Lane:
    """Calls of one model, first come first served; calls that are tried again go first. Serves one event loop.

    `most` is the highest limit. Nothing is held while waiting, and a caller that is cancelled gives back what it had.
    """

    def __init__(
        self, name: str = "", most: int = 32, *, requests_per_minute: float | None = None, tokens_per_minute: float | None = None,
        cap: ProviderCap | None = None,
    ) -> None:  # fmt: skip
        self.name, self.most = name, most
        self.limit = float(min(START, most))
        self.under_way = self.reached = self.requests = self.busy = self.slow = self.cuts = self.pauses = 0
        self._fast_below = float(most)
        self._per_minute = Allowance(requests_per_minute) if requests_per_minute else None
        self._tokens = Allowance(tokens_per_minute) if tokens_per_minute else None
        self._cap = cap
        self._again: deque[_Waiter] = deque()
        self._first: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None

        self._last_cut = 0  # requests that had begun at the last cut: they do not cut again
        self._quiet_below = 0.0
        self._chance = _Chance()
        self._round_from = self._round_refused = 0

        self._silent_in_a_row = self._silent_from = self._pauses_in_a_row = 0
        self._asked_until = self._paused_until = self.paused_s = 0.0

    async def enter(self, tokens: int = 0, *, gate: Gate | None = None, again: bool = False) -> Place:
        """Wait for a place. Whoever has one gives it back by `leave`, whatever happens. Raises what the gate says."""
        turn: asyncio.Future[Place | ProviderError] = asyncio.get_running_loop().create_future()
        (self._again if again else self._first).append(_Waiter(turn, tokens, gate))
        self.serve()
        try:
            got = await turn
        except asyncio.CancelledError:
            given = turn.result() if turn.done() and not turn.cancelled() else None
            if isinstance(given, Place):
                self.leave(given, "none")  # it was given while its caller was told to stop
            else:
                self.serve()  # the next may need less
            raise
        if isinstance(got, ProviderError):
            raise got
        return got

    def leave(self, place: Place, outcome: Outcome, *, tokens: int | None = None, retry_after: float | None = None) -> None:
        """Give a place back, and say how the request went: the tokens it took, the seconds that a busy model asks for."""
        now = _now()
        self.under_way -= 1
        if place.tokens is not None and tokens is not None and self._tokens is not None:
            self._tokens.correct(place.tokens, tokens, now)
        if outcome in ("good", "busy", "slow"):
            self._adapt(place, refused=outcome != "good")
        if outcome in ("good", "refused"):
            self._silent_in_a_row = self._pauses_in_a_row = 0
        elif outcome != "none":
            self._pause_if_silent(place, retry_after, now, patiently=outcome == "busy")
        self.busy += outcome == "busy"
        self.slow += outcome == "slow"
        if self._cap is not None:
            self._cap.give()
        self.serve()

    def serve(self) -> None:
        """Give places to those who wait, in order, until something is in the way."""
        while (queue := self._queue()) is not None:
            waiter = queue[0]
            refusal = waiter.gate() if waiter.gate is not None else None
            if refusal is not None:
                queue.popleft().turn.set_result(refusal)
                continue
            if self.under_way >= int(self.limit):
                return
            now = _now()
            ready = self._ready_at(waiter.tokens, now)
            if ready > now:
                self._serve_at(ready)
                return
            if self._cap is not None and not self._cap.take(self):
                return
            queue.popleft().turn.set_result(self._begin(waiter.tokens, now))

    def snapshot(self) -> LaneState:
        waiting = sum(not waiter.turn.done() for waiter in (*self._again, *self._first))
        return LaneState(
            self.name, int(self.limit), self.most, self.under_way, waiting, self.reached, self.requests, self.busy, self.slow,
            self.cuts, self.pauses, self.paused_s,
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        return self.snapshot()._asdict()

    def _queue(self) -> deque[_Waiter] | None:
        for queue in (self._again, self._first):
            while queue and queue[0].turn.done():
                queue.popleft()  # cancelled
            if queue:
                return queue
        return None

    def _ready_at(self, tokens: int, now: float) -> float:
        ready = self._paused_until
        if self._per_minute is not None:
            ready = max(ready, self._per_minute.ready_at(1, now))
        if self._tokens is not None:
            ready = max(ready, self._tokens.ready_at(tokens, now))
        return ready

    def _begin(self, tokens: int, now: float) -> Place:
        self.requests += 1
        self.under_way += 1
        self.reached = max(self.reached, self.under_way)
        if self._per_minute is not None:
            self._per_minute.take(1, now)
        use = self._tokens.take(tokens, now) if self._tokens is not None else None
        return Place(self.requests, self.under_way <= self._quiet_below, use)

    def _serve_at(self, when: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._serve_now)

    def _serve_now(self) -> None:
        self._timer = None
        self.serve()

    def _adapt(self, place: Place, refused: bool) -> None:
        """Grow or cut the limit by how a request went."""
        if place.number <= self._last_cut:  # it does not cut again; that it was answered counts once the cut has taken effect
            if not refused and self.under_way < self.limit:
                self._grow()
            return
        if place.quiet:
            self._chance.add(refused)
        if not refused:
            self._grow()
            if place.number > self._round_from + max(START, self.limit):
                self._round_from, self._round_refused = self.requests, 0
            return
        self._round_refused += 1
        begun = self.requests - self._round_from  # not those that are over: refusals come faster than answers
        if not self._chance.explains(self._round_refused, begun):
            self._cut()

    def _grow(self) -> None:
        if 2 * (self.under_way + 1) <= self.limit:
            return  # a limit that is not used is not proved
        if self.limit < self._fast_below:
            self.limit = min(self.limit + 1.0, self._fast_below)
        else:
            beyond = self.limit - self._fast_below
            self.limit = min(self.limit + (1.0 + beyond) / max(SLOW_CALLS, self.limit), float(self.most))

    def _cut(self) -> None:
        self._fast_below = max(1.0, min(NEAR_THE_CUT * self.limit, self.limit - 1.0))
        self._quiet_below = QUIET * self.limit
        self.limit = max(1.0, self.limit / 2)
        self._last_cut = self._round_from = self.requests
        self._round_refused = 0
        self._chance.doubt()
        self.cuts += 1

    def _pause_if_silent(self, place: Place, retry_after: float | None, now: float, patiently: bool) -> None:
        """Pause for everybody where calls that began after the first failure fail as well, and none is answered.

        A busy model is waited for longer and longer; one that is gone is for the circuit to notice, soon.
        """
        if self._silent_in_a_row == 0:
            self._silent_in_a_row, self._silent_from, self._asked_until = 1, self.requests, 0.0
        elif place.number > self._silent_from:
            self._silent_in_a_row += 1
        self._asked_until = max(self._asked_until, now + (retry_after or 0.0))
        if self._silent_in_a_row >= SILENT_AFTER and place.number > self._silent_from:
            pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._pauses_in_a_row)
            until = max(self._paused_until, self._asked_until, now + (pause if patiently else FIRST_PAUSE_S))
            self.paused_s += until - max(self._paused_until, now)
            self._paused_until = until
            self._silent_from = self.requests  # calls under way by now do not pause it again
            self._pauses_in_a_row += 1
            self._chance = _Chance()  # what failed lately was no chance
            self.pauses += 1


def _now() -> float:
    return asyncio.get_running_loop().time()

"""What the limits of a lane do, by seeded simulation in simulated time: hours of calls in seconds, nothing is really waited for.

    python benchmarks/limits.py [--seed 1]

Each server below is one that exists: a hard limit of concurrent calls (vLLM behind a proxy), a limit a minute with Retry-After
(most vendors), refusals at random (shared capacity), a server that dies or becomes slow. A simulated server counts what it is
sent and when, so a call that comes again before its time is seen.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from evalh.engine import lanes
from evalh.engine.asking import DEADLINE_S, Asked, Circuit, ask
from evalh.engine.lanes import Lane, ProviderCap
from evalh.errors import ProviderBusy, ProviderDown, ProviderError
from evalh.providers.base import Reply, Request, Target
from evalh.records import Message

REFUSED_S = 0.005  # a refusal comes fast


class SimulatedTime(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer. Where nobody would ever wake up it says so instead of hanging."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        poll = self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None) -> Any:
            if timeout is None:
                raise RuntimeError("everybody waits, and nothing will ever happen")
            self._now += timeout
            return poll(0)

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now


def simulated(main: Coroutine[Any, Any, Any]) -> Any:
    """Run in simulated time, which begins at 0."""
    with asyncio.Runner(loop_factory=SimulatedTime) as runner:
        return runner.run(main)


def now() -> float:
    return asyncio.get_running_loop().time()


# ---- servers ---------------------------------------------------------------------------------------------------------


class Server:
    """Answers after `latency_s` ± a fifth. Subclasses refuse."""

    simulated, deterministic = True, False

    def __init__(self, latency_s: float = 0.5, seed: int = 1) -> None:
        self.latency_s, self.rng = latency_s, random.Random(seed)
        self.arrived: list[float] = []
        self.tokens: list[tuple[float, int]] = []
        self.answered: list[float] = []
        self.refused: list[float] = []
        self.full_at: dict[int, float] = {}  # so many at one time → when first
        self.under_way = self.early = 0
        self._not_before: dict[str, float] = {}

    async def ask(self, request: Request) -> Reply:
        text = request.messages[0].content
        self.arrived.append(now())
        self.early += now() < self._not_before.pop(text, 0.0)
        self.under_way += 1
        failure = self.refuses()
        if failure is not None:
            self.under_way -= 1
            self.refused.append(now())
            await asyncio.sleep(REFUSED_S)
            if isinstance(failure, ProviderBusy):
                self._not_before[text] = now() + (failure.retry_after or 0.0)
            raise failure
        self.full_at.setdefault(self.under_way, now())
        try:
            await asyncio.sleep(self.latency_s * self.rng.uniform(0.8, 1.2))
        finally:
            self.under_way -= 1
        self.answered.append(now())
        return Reply(text="yes", tokens_in=len(text) // 4, tokens_out=20)

    async def aclose(self) -> None:
        return

    def refuses(self) -> ProviderError | None:
        return None

    def rate(self, start: float, end: float) -> float:
        """Good answers a second."""
        return sum(start <= at < end for at in self.answered) / (end - start)


class Capacity(Server):
    """No more than so many calls at one time."""

    def __init__(self, most: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.most = most

    def refuses(self) -> ProviderError | None:
        return ProviderBusy("429 Too Many Requests") if self.under_way > self.most else None


class PerMinute(Server):
    """So many in any 60 seconds; a refusal says when the next will be let in, in whole seconds as most do."""

    def __init__(self, most: int, *, says_when: bool = True, **settings: Any) -> None:
        super().__init__(**settings)
        self.most, self.says_when = most, says_when
        self._let_in: deque[float] = deque()

    def refuses(self) -> ProviderError | None:
        while self._let_in and self._let_in[0] <= now() - 60:
            self._let_in.popleft()
        if len(self._let_in) < self.most:
            self._let_in.append(now())
            return None
        wait = math.ceil(self._let_in[0] + 60 - now())
        return ProviderBusy("429 Too Many Requests", retry_after=wait if self.says_when else None)


class AtRandom(Server):
    """Refuses a share of calls whatever the load."""

    def __init__(self, share: float, retry_after: float | None = 1.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.share, self.retry_after = share, retry_after

    def refuses(self) -> ProviderError | None:
        return ProviderBusy("429 Too Many Requests", retry_after=self.retry_after) if self.rng.random() < self.share else None


class Dying(Server):
    """Is gone from a moment on, or `slower` times slower."""

    def __init__(self, at: float, slower: float | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.at, self.slower, self._healthy_s = at, slower, self.latency_s

    def refuses(self) -> ProviderError | None:
        if now() < self.at:
            return None
        if self.slower is None:
            return ProviderDown("no connection: refused")
        self.latency_s = self.slower * self._healthy_s
        return None


# ---- a run -----------------------------------------------------------------------------------------------------------


@dataclass
class Way:
    """One model of a run."""

    provider: Any
    lane: Lane
    target: Target = field(default_factory=lambda: Target(provider="sim", model="m", max_tokens=100))
    deadline_s: float = DEADLINE_S
    said: list[str] = field(default_factory=list)
    failed: list[ProviderError] = field(default_factory=list)
    circuit: Circuit = field(init=False)

    def __post_init__(self) -> None:
        self.circuit = Circuit(self.target.ref, self.said.append)


def question(number: int, length: int = 40) -> Request:
    return Request(messages=(Message(role="user", content=f"{number:{length}d}"),))


async def drive(way: Way, calls: int, *, workers: int = 200, seed: int = 1, length: Callable[[int], int] = lambda _n: 40) -> list[Asked]:
    """So many calls by workers that take one after the other, as a run does."""
    numbers, done, rng = iter(range(calls)), [], random.Random(seed)

    async def worker() -> None:
        for number in numbers:
            try:
                done.append(await ask(way, question(number, length(number)), length(number) // 4, rng=rng))
            except ProviderError as error:
                way.failed.append(error)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(workers, calls)):
            group.create_task(worker())
    return done


async def alone(server: Server, calls: int, **limits: Any) -> Way:
    way = Way(server, Lane("m", **limits))
    await drive(way, calls)
    return way


def most_in_a_minute(uses: list[tuple[float, int]]) -> int:
    """The largest sum in any 60 seconds (half open). `uses` are (when, how much), in order."""
    times = [at for at, _ in uses]
    sums = [0]
    for _, amount in uses:
        sums.append(sums[-1] + amount)
    return max(sums[bisect_left(times, at + 60)] - sums[place] for place, at in enumerate(times))


# ---- the tables ------------------------------------------------------------------------------------------------------


def capacity(seed: int, most: int, calls: int = 4000, latency_s: float = 0.5) -> tuple[float, float, Way]:
    """(throughput as a share of the server's, share of requests refused) of the second half of a run."""
    server = Capacity(most, seed=seed, latency_s=latency_s)
    way = simulated(alone(server, calls, most=256))
    half = server.answered[-1] / 2
    refused = sum(at >= half for at in server.refused) / sum(at >= half for at in server.arrived)
    return server.rate(half, 0.98 * server.answered[-1]) * server.latency_s / most, refused, way


def per_minute(seed: int, most: int, calls: int, says_when: bool = True) -> tuple[float, PerMinute, Way]:
    """Throughput as a share of the limit: what was answered in the whole minutes of the run after the first."""
    server = PerMinute(most, seed=seed, says_when=says_when)
    way = simulated(alone(server, calls, most=64))
    whole = 60 * int(server.answered[-1] // 60)
    return server.rate(60, whole) * 60 / most, server, way


def at_random(seed: int, share: float, calls: int = 3000, latency_s: float = 0.5) -> tuple[float, AtRandom, Way]:
    """Throughput of a whole run, from a cold start, as a share of that of the same run without refusals."""
    server = AtRandom(share, seed=seed, latency_s=latency_s)
    way = simulated(alone(server, calls, most=64))
    calm = Server(seed=seed, latency_s=latency_s)
    simulated(alone(calm, calls, most=64))
    return calm.answered[-1] / server.answered[-1], server, way


def beside(seed: int, other: Server, calls: int = 3000, capped: int | None = None) -> tuple[float, float, Way, Way]:
    """How long a healthy model takes beside another one and alone, in seconds; with the two ways."""

    async def both() -> tuple[float, Way, Way]:
        cap = ProviderCap(capped) if capped else None
        good, bad = Way(Server(seed=seed), Lane("good", 64, cap=cap)), Way(other, Lane("bad", 64, cap=cap))
        async with asyncio.TaskGroup() as group:
            group.create_task(drive(bad, calls))
            await drive(good, calls)
            return now(), good, bad

    took, good, bad = simulated(both())
    calm = Server(seed=seed)
    simulated(alone(calm, calls, most=64))
    return took, calm.answered[-1], good, bad


def paced(seed: int, requests: float | None, tokens: float | None, calls: int) -> tuple[int, int, float]:
    """Most requests and most tokens that a server saw in any 60 seconds, and the minutes that it took."""
    server, rng = Server(seed=seed), random.Random(seed)
    lengths = [rng.choice((40, 400, 4000, 12000)) for _ in range(calls)]
    sent: list[tuple[float, int]] = []

    async def run() -> Way:
        way = Way(server, Lane("m", 64, requests_per_minute=requests, tokens_per_minute=tokens))
        enter = way.lane.enter

        async def noted(amount: int = 0, **how: Any) -> Any:
            place = await enter(amount, **how)
            sent.append((now(), amount - way.target.max_tokens + 20))  # what the server bills: the reply has 20 tokens
            return place

        way.lane.enter = noted  # type: ignore[method-assign]
        await drive(way, calls, length=lengths.__getitem__, seed=seed)
        return way

    simulated(run())
    return most_in_a_minute([(at, 1) for at in server.arrived]), most_in_a_minute(sent), server.answered[-1] / 60


def cost(calls: int = 20_000) -> tuple[float, float]:
    """Microseconds of CPU of one place taken and given back, and of one call by `ask`, on an ordinary loop."""

    class Instant:
        simulated, deterministic = True, False
        reply = Reply(text="yes", tokens_in=10, tokens_out=20)

        async def ask(self, _request: Request) -> Reply:
            return self.reply

    async def measure() -> tuple[float, float]:
        way, request = Way(Instant(), Lane("m", 64, cap=ProviderCap(64))), question(1)
        start = time.process_time()
        for _ in range(calls):
            way.lane.leave(await way.lane.enter(10), "good")
        middle = time.process_time()
        for _ in range(calls):
            await ask(way, request, 10)
        return (middle - start) / calls * 1e6, (time.process_time() - middle) / calls * 1e6

    return asyncio.run(measure())


def main(seed: int) -> None:
    print("(a) A server with room for C calls: throughput as a share of it (must: ≥ .80), and refused requests (few), of the second half")
    for most in (1, 3, 10, 20, 50, 100):
        share, refused, way = capacity(seed, most)
        lane = way.lane
        print(f"    C {most:>4}   {share:>5.2f}   {refused:>6.1%}   limit {lane.limit:.0f}, {lane.cuts} cuts, {len(way.failed)} failed")

    print("\n(b) A limit a minute with Retry-After: throughput as a share of it (must: ≥ .90), sent too early (must: 0), refused")
    for most, calls in ((60, 400), (600, 4000), (3000, 12000)):
        for says_when in (True, False):
            share, server, way = per_minute(seed, most, calls, says_when)
            told = "" if says_when else "   (says nothing of when)"
            print(
                f"    {most:>5}   {share:>5.2f}   {server.early}   {len(server.refused) / calls:>6.1%} a call,"
                f" {way.lane.pauses} pauses, {len(way.failed)} failed{told}"
            )

    print("\n(c) Refusals at random, Retry-After 1 s, 64 at once, 3,000 calls from a cold start: throughput beside none (must: ≥ .50)")
    for share in (0.01, 0.02, 0.05, 0.10, 0.20):
        for latency_s in (0.5, 5.0):
            results = [at_random(seed + n, share, latency_s=latency_s) for n in range(5)]
            shares, early, pauses = zip(*((r[0], r[1].early, r[2].lane.pauses) for r in results), strict=True)
            print(
                f"    {share:>4.0%} at {latency_s:>4.2f} s   {min(shares):.2f} to {max(shares):.2f}   "
                f"sent too early {sum(early)}, pauses {sum(pauses)}"
            )

    print("\n(d) A healthy server, 64 at once: round trips until all 64 were under way (must: about 4)")
    server = Server(seed=seed)
    simulated(alone(server, 1000, most=64))
    print(f"    {server.full_at[64] / server.latency_s:.1f}")

    print("\n(e) A healthy model beside one that dies, or becomes 100 × slower, after 3 s: seconds for its 3,000 calls, and alone")
    for name, other in (("dies", Dying(3.0, seed=seed)), ("100 × slower", Dying(3.0, slower=100, seed=seed))):
        took, calm, _, bad = beside(seed, other)
        print(f"    {name:<14} {took:.1f} and {calm:.1f}   it said: {bad.said[:1] or '–'}")

    print("\n(f) Configured limits: most in any 60 s, as the server saw it, and minutes taken")
    for requests, tokens, calls in ((60, None, 300), (7, None, 30), (None, 20_000, 300), (600, 100_000, 1500)):
        seen, used, minutes = paced(seed, requests, tokens, calls)
        print(f"    {requests or '–'} requests, {tokens or '–'} tokens a minute   {seen} requests, {used} tokens   {minutes:.1f} min")

    print("\n(g) Busy answers in a row that pause the lane: false pauses in 20,000 calls of (c) at 5 %, refused requests of (b) at 600")
    for count in (2, 3, 4, 5, 6):
        lanes.SILENT_AFTER = count
        _, _, calm_way = at_random(seed, 0.05, calls=20_000)
        share, server, _ = per_minute(seed, 600, 4000)
        print(f"    {count}   {calm_way.lane.pauses:>4} false pauses   {len(server.refused)} refused, throughput {share:.2f}")

    print("\n(h) CPU of one enter and leave without a queue, and of one call through `ask` (must: < 20 µs for the first)")
    enter_us, ask_us = cost()
    print(f"    {enter_us:.1f} µs   {ask_us:.1f} µs")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    main(parser.parse_args().seed)

"""One call with its retries, its deadline and its circuit. In simulated time, and once over HTTP against a real server."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from benchmarks.limits import Server as Simulated
from benchmarks.limits import Way, drive, now, question, simulated
from evalh.engine.asking import Asked, ask, deadline_of
from evalh.engine.lanes import Lane
from evalh.errors import ProviderBusy, ProviderDown, ProviderError, ProviderRefused, ProviderSlow, ProviderUnusable
from evalh.providers.base import Reply, Request, Target
from evalh.providers.registry import provider_for
from tests.providers_server import KEY, QUESTION, Server, serving

Script = list[ProviderError | float]


class Scripted(Simulated):
    """Answers each request by the next line of a script: an error, or seconds until the answer; then always by the last."""

    def __init__(self, *script: ProviderError | float) -> None:
        super().__init__(0.1)
        self.script = list(script)

    async def ask(self, request: Request) -> Reply:
        self.arrived.append(now())
        line = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(line, ProviderError):
            raise line
        await asyncio.sleep(line)
        return Reply(text="yes", tokens_in=10, tokens_out=20)


def way_to(*script: ProviderError | float, most: int = 8, timeout_s: float = 60.0, **settings: Any) -> Way:
    target = Target(provider="openai", model="x", timeout_s=timeout_s)
    return Way(Scripted(*script), Lane("openai:x", most), target, **settings)


def busy(retry_after: float | None = None) -> ProviderBusy:
    return ProviderBusy("429 Too Many Requests", retry_after=retry_after)


def down() -> ProviderDown:
    return ProviderDown("503 Service Unavailable")


async def outcome(way: Way) -> Asked | ProviderError:
    try:
        return await ask(way, question(1), rng=random.Random(1))
    except ProviderError as error:
        return error


# ---- retries ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "tries"),
    [(busy(), 8), (busy(2.0), 8), (down(), 4), (ProviderSlow("no answer"), 4), (ProviderRefused("400"), 1), (ProviderUnusable("401"), 1)],
    ids=["busy", "busy with Retry-After", "down", "slow", "refused", "unusable"],
)
def test_each_class_of_error_has_its_number_of_tries(failure: ProviderError, tries: int) -> None:
    """Busy eight requests, down four, refused one; then the call fails with the server's own words."""

    async def main() -> tuple[Any, int]:
        way = way_to(failure)
        return await outcome(way), len(way.provider.arrived)

    error, requests = simulated(main())
    assert (error, requests) == (failure, tries)


def test_a_call_is_answered_after_failures_and_tells_what_it_took() -> None:
    """The reply, the number of requests, and the latency of the good one alone."""

    async def main() -> Any:
        return await outcome(way_to(busy(7.0), down(), busy(), 0.25))

    asked = simulated(main())
    assert (asked.reply.text, asked.requests) == ("yes", 4)
    assert asked.latency_ms == pytest.approx(250)


def test_retry_after_is_kept_to_and_little_more() -> None:
    """The same call is not sent before the time that the server named, and not seconds after it."""

    async def main() -> list[float]:
        way = way_to(busy(7.0), busy(3.0), 0.0)
        await outcome(way)
        return list(way.provider.arrived)

    first, second, third = simulated(main())
    assert 7.0 < second - first < 7.2
    assert 3.0 < third - second < 3.3


def test_backoff_doubles_with_full_jitter() -> None:
    """Without a time named, waits are drawn from 0 to ½, 1, 2, 4, … seconds, so that callers do not come back together."""

    async def waits(seed: int) -> list[float]:
        way = way_to(busy(), most=1)
        with pytest.raises(ProviderBusy):
            await ask(way, question(1), rng=random.Random(seed))
        at = way.provider.arrived
        return [after - before for before, after in pairwise(at[:4])]

    drawn = [simulated(waits(seed)) for seed in range(200)]
    for place, longest in enumerate((0.5, 1.0, 2.0)):
        column = [row[place] for row in drawn]
        assert max(column) <= longest
        assert sum(column) / len(column) == pytest.approx(longest / 2, rel=0.15)


def test_a_call_that_waits_for_its_next_try_holds_no_place() -> None:
    """With one place, a call that has to wait 50 s lets another one pass."""

    async def main() -> tuple[float, float]:
        way = way_to(busy(50.0), 0.1, most=1)
        waiting = asyncio.create_task(outcome(way))
        await asyncio.sleep(0.01)
        await outcome(way)
        passed = now()
        await waiting
        return passed, now()

    passed, whole = simulated(main())
    assert passed < 1
    assert whole > 50


# ---- deadline --------------------------------------------------------------------------------------------------------


def test_a_wait_beyond_the_deadline_fails_at_once_and_says_so() -> None:
    """A server that asks to wait an hour is not waited for: the error names what it asks for, the deadline and the setting."""

    async def main() -> tuple[Any, float]:
        return await outcome(way_to(busy(3600.0))), now()

    error, at = simulated(main())
    assert at == 0.0
    assert str(error) == (
        "429 Too Many Requests; it asks to wait 3600 s, beyond the deadline of 600 s for a call; `deadline_s` in evalh.toml sets it"
    )


def test_a_server_that_never_answers_is_waited_for_until_the_deadline() -> None:
    """Requests that hang are given up after timeout_s and 5 s; the call after its deadline, in the middle of a request."""

    async def main() -> tuple[Any, float, list[float]]:
        way = way_to(1e6, timeout_s=20.0, deadline_s=60.0)
        return await outcome(way), now(), way.provider.arrived

    error, at, arrived = simulated(main())
    assert isinstance(error, ProviderDown)
    assert "openai:x did not answer within the deadline of 60 s" in str(error)
    assert at == pytest.approx(60.0)
    assert len(arrived) == 3


def test_waiting_for_the_first_place_is_not_the_calls_time() -> None:
    """A thousand calls of 10 s each, one at a time, with a deadline of 15 s: all are answered."""

    async def main() -> tuple[int, int]:
        way = way_to(10.0, most=1, deadline_s=15.0)
        return len(await drive(way, 1000, workers=1000)), len(way.failed)

    assert simulated(main()) == (1000, 0)


def test_the_deadline_is_as_long_as_one_request_may_take() -> None:
    """600 s where nothing is set, more where timeout_s is more, and what is set where it is set."""
    patient = Target(provider="vllm", model="x", timeout_s=900.0)
    assert [deadline_of(patient, None), deadline_of(patient, 30.0), deadline_of(Target(provider="vllm", model="x"), None)] == [
        905.0,
        30.0,
        600.0,
    ]


def test_timeouts_make_the_lane_narrower() -> None:
    """A request that timed out counts as too much load, whoever noticed: the client or the limit behind it."""

    async def main() -> list[int]:
        ours, its = way_to(1e6, 0.1, timeout_s=10.0), way_to(ProviderSlow("no answer within 10 s"), 0.1)
        await outcome(ours)
        await outcome(its)
        return [ours.lane.cuts, its.lane.cuts, ours.lane.slow, its.lane.slow]

    assert simulated(main()) == [1, 1, 1, 1]


# ---- circuit ---------------------------------------------------------------------------------------------------------


def test_a_model_that_is_gone_is_noticed_and_a_long_queue_ends_at_once() -> None:
    """After 8 calls without an answer a queue of 1,000 fails in the same moment, each with the reason; it is said once."""

    async def main() -> tuple[Way, float, int]:
        way = way_to(down())
        await drive(way, 1000, workers=1000)
        return way, now(), len(way.provider.arrived)

    way, took, requests = simulated(main())
    assert took < 8
    assert requests < 100
    assert len(way.failed) == 1000
    reason = r"openai:x answered none of its last \d+ calls \(503 Service Unavailable\)"
    assert re.fullmatch(reason + ": further calls fail at once, next try in 30 s", "\n".join(way.said))
    assert re.fullmatch(reason + r"; circuit open since \d\d:\d\d:\d\d, next try in \d+ s", str(way.failed[-1]))
    assert isinstance(way.failed[-1], ProviderDown)


def test_a_paced_queue_of_a_model_that_is_gone_ends_at_once_too() -> None:
    """Also where only six requests a minute may be sent: those who wait fail when the circuit opens, not one by one."""

    async def main() -> tuple[float, float, int]:
        way = Way(Scripted(down()), Lane("m", 8, requests_per_minute=6))
        await drive(way, 500, workers=500)
        return now(), way.circuit._opened_at, len(way.failed)

    took, opened, failed = simulated(main())
    assert took == opened
    assert failed == 500


def test_a_server_that_hangs_is_noticed_after_two_timeouts() -> None:
    """Not after the four of every call, and not after the first, which may be due to too many calls at one time."""

    async def main() -> tuple[float, int]:
        way = way_to(1e6, timeout_s=60.0, most=32)
        await drive(way, 200)
        return now(), len(way.said)

    took, said = simulated(main())
    assert took == 2 * 65
    assert said == 1


def test_one_call_tries_after_the_cool_down_and_its_answer_closes_the_circuit() -> None:
    """After 30 s one call is let through, alone; when it is answered the others go on, and that is said."""

    async def main() -> tuple[list[float], Way]:
        way = way_to(down())
        await drive(way, 8)
        way.provider.script = [5.0]
        opened, before = now(), len(way.provider.arrived)
        await asyncio.sleep(29)
        assert isinstance(await outcome(way), ProviderDown)
        await asyncio.sleep(2)
        trial = asyncio.create_task(outcome(way))
        await asyncio.sleep(1)
        assert "it is being tried" in str(await outcome(way))
        await trial
        await drive(way, 20)
        return [at - opened for at in way.provider.arrived[before:]], way

    sent, way = simulated(main())
    assert sent[0] == 31.0
    assert all(at >= 36.0 for at in sent[1:])
    assert len(sent) == 21
    assert [line.partition(", after")[0] for line in way.said[1:]] == ["openai:x answers again"]
    assert not way.circuit.is_open


def test_the_cool_down_doubles_up_to_five_minutes_and_is_quiet() -> None:
    """Trials that fail come after 30, 60, 120, 240, 300, 300 s; nothing more is said of them."""

    async def main() -> tuple[list[float], int]:
        way, at = way_to(down()), []
        await drive(way, 8)
        while len(at) < 7:
            before = len(way.provider.arrived)
            await outcome(way)
            if len(way.provider.arrived) > before:
                at.append(now())
            await asyncio.sleep(1)
        return at, len(way.said)

    at, said = simulated(main())
    assert said == 1
    for (before, after), expected in zip(pairwise(at), (60, 120, 240, 300, 300, 300), strict=True):
        assert after - before == pytest.approx(expected, abs=1)


def test_a_trial_that_is_cancelled_leaves_its_turn_to_another() -> None:
    """Ctrl-C in the one call that was let through does not keep the circuit open for ever."""

    async def main() -> Any:
        way = way_to(down())
        await drive(way, 8)
        way.provider.script = [100.0]
        await asyncio.sleep(31)
        trial = asyncio.create_task(outcome(way))
        await asyncio.sleep(1)
        trial.cancel()
        await asyncio.gather(trial, return_exceptions=True)
        way.provider.script = [0.1]
        return await outcome(way)

    assert isinstance(simulated(main()), Asked)


def test_a_server_that_refuses_single_requests_is_there() -> None:
    """A hundred refused requests open nothing; neither do failures with a refusal or an answer in every eight calls."""

    async def main() -> list[list[str]]:
        refusing = way_to(ProviderRefused("400 Bad Request"))
        await drive(refusing, 100)
        mixed = [way_to(down()), way_to(down())]
        for way, alive in zip(mixed, (ProviderRefused("400 Bad Request"), 0.1), strict=True):
            for _ in range(5):
                way.provider.script = [down()]
                await drive(way, 7)
                way.provider.script = [alive]
                await outcome(way)
        return [way.said for way in (refusing, *mixed)]

    assert simulated(main()) == [[], [], []]


def test_a_busy_provider_is_not_taken_for_a_dead_one() -> None:
    """Two minutes of 429s for everybody, with and without Retry-After: every call is answered in the end."""

    class Throttled(Simulated):
        def __init__(self, retry_after: float | None) -> None:
            super().__init__(0.5)
            self.retry_after = retry_after

        def refuses(self) -> ProviderError | None:
            return busy(self.retry_after) if 2.0 < now() < 122.0 else None

    async def main(retry_after: float | None) -> tuple[int, int, int, list[str]]:
        way = Way(Throttled(retry_after), Lane("m", 32))
        answered = len(await drive(way, 2000))
        return answered, len(way.provider.refused), way.provider.early, way.said

    for retry_after in (None, 1.0, 20.0):
        answered, refused, early, said = simulated(main(retry_after))
        assert (answered, early, said) == (2000, 0, [])
        assert refused < 200


# ---- over HTTP -------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving() as server:
        yield server


def test_a_real_server_that_is_busy_and_down_and_answers(server: Server) -> None:
    """Through the real client: 429 with retry-after-ms, then 500, then an answer; three requests, in their time."""
    from starlette.responses import JSONResponse

    from tests.providers_server import CHAT

    script = [JSONResponse({}, 429, {"retry-after-ms": "300"}), JSONResponse({}, 500), JSONResponse(CHAT)]
    server.answer = lambda _: script.pop(0)

    async def main() -> tuple[Asked, float]:
        target = server.target()
        way = Way(provider_for(target), Lane(target.ref), target)
        start = now()
        try:
            return await ask(way, QUESTION), now() - start
        finally:
            await way.provider.aclose()

    asked, took = asyncio.run(main())
    assert (asked.reply.text, asked.requests) == ("fine", 3)
    assert 0.3 < took < 3


def test_a_real_server_that_is_down_opens_the_circuit(server: Server) -> None:
    """Eight calls that a real server answers by 503: the ninth is not sent."""
    server.fail(503, {"error": {"message": "no upstream"}})

    async def main() -> tuple[Way, ProviderError, int]:
        target = server.target()
        way = Way(provider_for(target), Lane(target.ref), target)
        try:
            await drive(way, 8)
            sent = len(server.sent)
            with pytest.raises(ProviderDown) as caught:
                await ask(way, QUESTION)
            return way, caught.value, sent
        finally:
            await way.provider.aclose()

    way, error, sent = asyncio.run(main())
    assert len(server.sent) == sent <= 32
    assert "openai:judge answered none of its last 8 calls (503 Service Unavailable: no upstream); circuit open since" in str(error)
    assert len(way.said) == 1

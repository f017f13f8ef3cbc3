"""Lanes: how many calls at one time, how fast, when to pause. In simulated time; in full: benchmarks/limits.py."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from itertools import pairwise
from typing import Any

import pytest

from benchmarks.limits import (
    Dying,
    Server,
    Way,
    alone,
    at_random,
    beside,
    capacity,
    drive,
    now,
    paced,
    per_minute,
    simulated,
)
from evalh.engine.lanes import Lane, Outcome, Place, ProviderCap


async def enter(lane: Lane, calls: int) -> list[Place]:
    return [await lane.enter() for _ in range(calls)]


def task(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(coroutine)


# ---- how many at one time --------------------------------------------------------------------------------------------


def test_a_healthy_server_soon_gets_all_it_may_get() -> None:
    """From 8 to 64 calls at one time within four round trips, and never more than 64."""
    server = Server()
    way = simulated(alone(server, 1000, most=64))
    assert server.full_at[64] < 4 * server.latency_s
    assert max(server.full_at) == way.lane.snapshot().reached == 64


def test_the_limit_halves_once_for_a_round_trip_and_never_below_one() -> None:
    """Of calls that were under way together the first refusal cuts; a later call's refusal cuts again, down to 1."""

    async def main() -> list[int]:
        lane, seen = Lane("m", 64), []
        for outcome in ("busy", "slow", "busy", "slow", "busy"):
            places = await enter(lane, lane.snapshot().limit)
            for place in places:
                lane.leave(place, outcome)
            seen.append(lane.snapshot().limit)
        return seen

    assert simulated(main()) == [4, 2, 1, 1, 1]


@pytest.mark.parametrize("outcome", ["down", "refused", "none"])
def test_other_failures_say_nothing_of_the_load(outcome: Outcome) -> None:
    """A server error, a refused request or a cancelled call neither cuts the limit nor lets it grow."""

    async def main() -> int:
        lane = Lane("m", 64)
        for place in await enter(lane, 8):
            lane.leave(place, outcome)
        return lane.snapshot().limit

    assert simulated(main()) == 8


@pytest.mark.parametrize("room", [1, 10, 40])
def test_a_hard_limit_of_the_server_is_found(room: int) -> None:
    """At least .80 of what the server can do, with less than one request in ten refused, and no call lost."""
    share, refused, way = capacity(1, room, calls=1500)
    assert share >= 0.8
    assert refused < 0.1
    assert way.failed == []


def test_refusals_that_are_not_due_to_the_load_do_not_strangle_a_lane() -> None:
    """5 % of 429s at random: more than half the throughput of a server without, no pause of the lane, none sent too early."""
    for seed in (1, 2, 3):
        share, server, way = at_random(seed, 0.05, calls=2000)
        assert share >= 0.5
        assert server.early == way.lane.pauses == len(way.failed) == 0


# ---- how fast --------------------------------------------------------------------------------------------------------


def test_a_limit_a_minute_that_the_server_enforces_is_used_up() -> None:
    """With Retry-After: ≥ .90 of the server's limit, no call sent before its time, none failed."""
    share, server, way = per_minute(1, 300, 1500)
    assert share >= 0.9
    assert server.early == len(way.failed) == 0
    assert way.lane.pauses > 0
    assert len(server.refused) < 0.2 * 1500


@pytest.mark.parametrize(("requests", "tokens", "calls"), [(60, None, 150), (7, None, 20), (None, 20_000, 120), (200, 60_000, 200)])
def test_configured_limits_hold_in_any_60_seconds(requests: int | None, tokens: int | None, calls: int) -> None:
    """Requests and tokens a minute are never exceeded, and well used."""
    most, used, minutes = paced(1, requests, tokens, calls)
    assert requests is None or most <= requests
    assert tokens is None or used <= tokens
    if tokens is None and requests is not None:
        assert calls / minutes >= 0.95 * requests


def test_tokens_that_were_not_used_are_free_for_others() -> None:
    """An estimate of 1,000 tokens that came to 100 leaves room for nine more; one that came to more takes it."""

    async def main() -> list[float]:
        lane, at = Lane("m", 8, tokens_per_minute=1000), []
        for tokens in (100, 100, 2000, 100):
            place = await lane.enter(700)
            at.append(round(now()))
            lane.leave(place, "good", tokens=tokens)
        return at

    first, second, third, fourth = simulated(main())
    assert third < 30
    assert fourth >= third + 60
    assert first == 0 <= second <= third


def test_a_call_above_the_whole_allowance_goes_alone() -> None:
    """An estimate above tokens_per_minute waits for an empty minute, and does not wait for ever."""

    async def main() -> float:
        lane = Lane("m", 8, tokens_per_minute=1000)
        lane.leave(await lane.enter(500), "good")
        lane.leave(await lane.enter(5000), "good")
        return now()

    assert 60 <= simulated(main()) < 70


# ---- when to pause ---------------------------------------------------------------------------------------------------


def test_one_busy_answer_is_that_calls_affair() -> None:
    """A call that is asked to wait 50 s does not keep others from being asked at once."""

    async def main() -> float:
        lane = Lane("m", 8)
        lane.leave(await lane.enter(), "busy", retry_after=50.0)
        await lane.enter()
        return now()

    assert simulated(main()) == 0.0


def test_a_model_that_refuses_everybody_is_left_alone_as_long_as_it_asks() -> None:
    """Four busy answers in a row of calls that began one after the other pause the lane, not the lane of another model."""

    async def main() -> tuple[float, float]:
        cap = ProviderCap(8)
        lane, other = Lane("m", 8, cap=cap), Lane("n", 8, cap=cap)
        for wait in (20.0, 50.0, 30.0, 20.0):
            lane.leave(await lane.enter(), "busy", retry_after=wait)
        other.leave(await other.enter(), "good")
        unhindered = now()
        await lane.enter()
        return unhindered, now()

    assert simulated(main()) == (0.0, 50.0)


def test_refusals_of_calls_that_were_under_way_together_pause_nobody() -> None:
    """Eight calls of one moment that are all refused are one event, and an answer in between ends the row."""

    async def main() -> tuple[float, int]:
        lane = Lane("m", 8)
        for place in await enter(lane, 8):
            lane.leave(place, "busy", retry_after=50.0)
        lane.leave(await lane.enter(), "busy", retry_after=50.0)
        lane.leave(await lane.enter(), "good")
        for _ in range(3):
            lane.leave(await lane.enter(), "busy", retry_after=50.0)
        await lane.enter()
        return now(), lane.pauses

    assert simulated(main()) == (0.0, 0)


def test_pauses_that_prove_too_short_become_longer() -> None:
    """A model that is busy for minutes and names no time is asked less and less, every 30 s in the end."""

    async def main() -> list[float]:
        lane, at = Lane("m", 8), []
        for _ in range(12):
            place = await lane.enter()
            at.append(now())
            lane.leave(place, "busy")
        return at

    at = simulated(main())
    assert at[:4] == [0.0] * 4
    assert [round(after - before) for before, after in pairwise(at[3:])] == [1, 2, 4, 8, 16, 30, 30, 30]


# ---- who is next -----------------------------------------------------------------------------------------------------


def test_first_come_first_served_and_those_who_try_again_before() -> None:
    """Places are given in the order of arrival; a call that is tried again does not queue behind new ones."""

    async def main() -> list[str]:
        lane, order = Lane("m", 1), []
        held = await lane.enter()

        async def call(name: str, again: bool = False) -> None:
            place = await lane.enter(again=again)
            order.append(name)
            lane.leave(place, "good")

        tasks = [task(call(f"new {n}")) for n in range(5)]
        await asyncio.sleep(0)
        tasks.append(task(call("again", again=True)))
        await asyncio.sleep(0)
        lane.leave(held, "good")
        await asyncio.gather(*tasks)
        return order

    assert simulated(main()) == ["again", *(f"new {n}" for n in range(5))]


def test_lanes_of_a_capped_provider_take_turns() -> None:
    """A model with a long queue does not keep the provider's places from a model with a short one; the cap holds."""

    async def main() -> tuple[list[str], int]:
        cap, order = ProviderCap(1), []
        lanes = {"long": Lane("long", 8, cap=cap), "short": Lane("short", 8, cap=cap)}
        most = 0

        async def call(name: str) -> None:
            nonlocal most
            place = await lanes[name].enter()
            most = max(most, cap.under_way)
            order.append(name)
            await asyncio.sleep(1)
            lanes[name].leave(place, "good")

        await asyncio.gather(*(call(name) for name in ["long"] * 20 + ["short"] * 3))
        return order, most

    order, most = simulated(main())
    assert most == 1
    assert max(place for place, name in enumerate(order) if name == "short") < 8


@pytest.mark.parametrize("seed", range(5))
def test_callers_that_are_cancelled_give_back_what_they_had(seed: int) -> None:
    """Two capped and paced lanes, thousands of calls, a third cancelled at any moment: limits hold, and nobody waits for ever."""
    rng = random.Random(seed)

    async def main() -> tuple[int, int]:
        cap = ProviderCap(5)
        lanes = [Lane("a", 4, cap=cap), Lane("b", 8, cap=cap, requests_per_minute=600, tokens_per_minute=60_000)]
        done = 0

        async def call(lane: Lane) -> None:
            nonlocal done
            place = await lane.enter(rng.randrange(200), again=rng.random() < 0.2)
            assert cap.under_way <= 5
            assert lane.under_way <= lane.most
            try:
                await asyncio.sleep(rng.choice((0.0, 0.01, 0.2)))
            finally:
                lane.leave(place, rng.choice(("good", "good", "good", "busy", "slow", "down", "none")), retry_after=0.1)
            done += 1

        tasks = []
        for _ in range(1500):
            tasks.append(task(call(rng.choice(lanes))))
            if rng.random() < 0.3:
                asyncio.get_running_loop().call_later(rng.choice((0.0, 0.001, 0.2, 3.0)), rng.choice(tasks).cancel)
            if rng.random() < 0.2:
                await asyncio.sleep(rng.choice((0.0, 0.01)))
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(end) for end in ended} == {type(None), asyncio.CancelledError}
        assert [lane.under_way for lane in lanes] == [0, 0]
        return done, cap.under_way

    done, left = simulated(main())
    assert done > 900
    assert left == 0


# ---- beside others ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [Dying(1.0), Dying(1.0, slower=100)], ids=["dies", "100 × slower"])
def test_a_broken_model_does_not_slow_a_healthy_one(other: Dying) -> None:
    """The healthy model takes as long as it does alone."""
    took, calm, good, _ = beside(1, other, calls=1000)
    assert took == pytest.approx(calm, rel=0.01)
    assert good.failed == []


def test_a_lane_tells_how_it_is_doing() -> None:
    """What is shown and stored of a lane: its limit, what is under way and waits, the most it reached, refusals, pauses."""

    async def main() -> dict[str, Any]:
        way = Way(Server(), Lane("openai:m", 16))
        running = task(drive(way, 100, workers=40))
        await asyncio.sleep(0.1)
        state = way.lane.as_json()
        await running
        return state

    state = simulated(main())
    expected = {"name": "openai:m", "limit": 8, "most": 16, "under_way": 8, "waiting": 32, "reached": 8, "requests": 8}
    assert state == {**expected, "busy": 0, "slow": 0, "cuts": 0, "pauses": 0, "paused_s": 0.0}

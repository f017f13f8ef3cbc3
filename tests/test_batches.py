"""Batches of calls over real HTTP: the official clients against the simulator's batch APIs. Nothing is handed in twice."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from evalh.config import load_config
from evalh.engine.batching import Batcher, Pace
from evalh.errors import InputError, ProviderDown, ProviderError, ProviderRefused, ProviderUnusable
from evalh.prepare import Prepared, prepare
from evalh.providers.base import Reply, Request, Target
from evalh.providers.batches import batches_of
from evalh.providers.registry import provider_for
from evalh.records import Message
from evalh.sides import identity
from evalh.sim.profile import profile_from
from evalh.sim.server import running
from evalh.store.batches import open_batches
from evalh.store.journal import Journal
from evalh.store.store import Store
from evalh.suites.load import load_yaml
from tests.conftest import replace

APIS = ["chat", "responses", "anthropic"]
LINE = "0123456789abcdef"
QUICK = Pace(quiet_s=0.05, first_s=0.02, longest_s=0.1, recent_s=0.1)


@contextmanager
def serving(folder: Path, port: int = 0, **batch: Any) -> Iterator[str]:
    """A simulator whose model `writer` answers question N with answer N."""
    rows = [{"input": f"question {n}.", "output": f"answer {n}"} for n in range(400)]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    profile = profile_from({"system": [{"model": "writer", "answers": "answers.jsonl"}], "batch": batch}, folder=folder)
    with running(profile, port) as url:
        yield url


def counts(url: str) -> dict[str, int]:
    """Batches created, calls in them and polls, as the server counts them."""
    with urllib.request.urlopen(f"{url}/_sim/stats") as answer:
        found: dict[str, int] = json.load(answer)["batches"]
    return {"created": 0, "calls": 0, **found}


def target(url: str, api: str, **settings: Any) -> Target:
    return Target(**{"provider": "sim", "model": "writer", "base_url": url, "api": api, "max_tokens": 50, **settings})


def question(n: int) -> Request:
    return Request(messages=(Message(role="user", content=f"question {n}."),))


def call(n: int) -> str:
    return f"{n:016x}"


class Run:
    """What a run does with a batcher: asks, writes replies down, says so. Everything goes through a real journal and store."""

    def __init__(self, store: Path, asked: Target, pace: Pace = QUICK, most_calls: int | None = None) -> None:
        self.store = Store(store)
        self.store.fold_journals()
        self.journal = Journal(self.store, "run")
        self.said: list[str] = []
        self.delivered: list[str] = []
        api = batches_of(asked, provider_for(asked))
        if most_calls is not None:
            api.most_calls = most_calls
        self.batcher = Batcher(
            api, asked, line=LINE, run_id="r", write=self.journal.append, deliver=self._deliver, notice=self.said.append,
            open_batches=open_batches(self.store, LINE), pace=pace,
        )  # fmt: skip

    async def ask(self, n: int) -> Reply | ProviderError:
        try:
            reply = await self.batcher.answer(call(n), question(n))
        except ProviderError as error:
            return error
        self.journal.append("provider_calls", {"call_id": call(n), "reply": reply.text, "mode": "batch"})
        self.batcher.kept(call(n))
        return reply

    async def all(self, numbers: range) -> list[Reply | ProviderError]:
        try:
            return list(await asyncio.gather(*(self.ask(n) for n in numbers)))
        finally:
            await self.batcher.aclose()
            self.journal.close()

    def _deliver(self, call_id: str, reply: Reply) -> None:
        self.journal.append("provider_calls", {"call_id": call_id, "reply": reply.text, "mode": "batch"})
        self.delivered.append(call_id)


def asked(run: Run, numbers: range) -> list[Reply | ProviderError]:
    return asyncio.run(run.all(numbers))


def texts(answers: list[Reply | ProviderError]) -> list[str]:
    return [answer.text if isinstance(answer, Reply) else str(answer) for answer in answers]


def right(numbers: range) -> list[str]:
    return [f"answer {n}" for n in numbers]


def events(path: Path) -> list[str]:
    return [row["event"] for row in Store(path).query('SELECT event FROM provider_batches ORDER BY "at", event DESC')]


def stored(path: Path) -> dict[str, str]:
    return {row["call_id"]: row["reply"] for row in Store(path).query("SELECT call_id, reply FROM provider_calls")}


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("api", APIS)
def test_a_batch_answers_every_call_with_its_own_reply(tmp_path: Path, api: str) -> None:
    """150 calls go in as one batch; results come in another order, and each reply reaches the call that it is about."""
    with serving(tmp_path) as url:
        run = Run(tmp_path / "s.duckdb", target(url, api))
        answers = asked(run, range(150))
        assert texts(answers) == right(range(150))
        assert counts(url)["created"] == 1
        assert counts(url)["calls"] == 150
    assert [r.finish_reason for r in answers if isinstance(r, Reply)] == ["stop"] * 150
    assert all(r.version == "writer" and (r.tokens_in or 0) > 0 for r in answers if isinstance(r, Reply))
    assert events(tmp_path / "s.duckdb") == ["submitting", "submitted", "ended"]
    assert open_batches(Store(tmp_path / "s.duckdb"), LINE) == []
    assert any("sim:writer: batch batch_" in line or "batch msgbatch_" in line for line in run.said)


def test_a_full_batch_makes_room_for_the_next_and_the_rest_goes_when_no_more_calls_come(tmp_path: Path) -> None:
    """100 calls of which a batch takes 40 are three batches."""
    with serving(tmp_path) as url:
        assert texts(asked(Run(tmp_path / "s.duckdb", target(url, "chat"), most_calls=40), range(100))) == right(range(100))
        assert counts(url)["created"] == 3


@pytest.mark.parametrize("api", APIS)
def test_calls_that_expire_or_fail_end_with_their_reason_and_may_be_asked_again(tmp_path: Path, api: str) -> None:
    """Of 200 calls about a fifth expires and a fifth meets an error; the others are answered, and nothing is left hanging."""
    with serving(tmp_path, expired_rate=0.2, errored_rate=0.2) as url:
        answers = asked(Run(tmp_path / "s.duckdb", target(url, api)), range(200))
        expired = [n for n, a in enumerate(answers) if isinstance(a, ProviderDown) and "expired" in str(a)]
        failed = [n for n, a in enumerate(answers) if isinstance(a, ProviderError) and "500" in str(a)]
        good = [n for n, a in enumerate(answers) if isinstance(a, Reply)]
        assert len(expired) + len(failed) + len(good) == 200
        assert 20 < len(expired) < 60
        assert 20 < len(failed) < 60
        assert all(texts(answers)[n] == f"answer {n}" for n in good)
        again = asked(Run(tmp_path / "s.duckdb", target(url, api)), range(expired[0], expired[0] + 1))
        assert counts(url)["created"] == 2, again


def test_a_batch_that_fails_as_a_whole_says_why_for_every_call(tmp_path: Path) -> None:
    """A batch that OpenAI refuses after its creation is over: its calls are refused with the provider's words."""
    with serving(tmp_path, fails="this file is not to our taste") as url:
        answers = asked(Run(tmp_path / "s.duckdb", target(url, "chat")), range(5))
    assert all(isinstance(a, ProviderRefused) and "this file is not to our taste" in str(a) for a in answers)
    assert events(tmp_path / "s.duckdb") == ["submitting", "submitted", "failed"]


@pytest.mark.parametrize("api", ["chat", "anthropic"])
def test_a_creation_that_is_not_heard_of_is_found_and_not_repeated(tmp_path: Path, api: str) -> None:
    """The connection breaks after the batch was made: it is found by its mark, or by the calls that its results name."""
    with serving(tmp_path, lost=1) as url:
        assert texts(asked(Run(tmp_path / "s.duckdb", target(url, api)), range(30))) == right(range(30))
        assert counts(url)["created"] == 1


@pytest.mark.parametrize("api", ["chat", "anthropic"])
def test_a_process_that_died_before_it_heard_of_its_batch_finds_it(tmp_path: Path, api: str) -> None:
    """The row `submitting` is all that is left; the next process looks for the batch and goes on with it."""
    store = tmp_path / "s.duckdb"
    with serving(tmp_path, lost=1, seconds=0.3) as url:

        async def dies() -> None:
            run = Run(store, target(url, api), Pace(quiet_s=0.05, first_s=60))  # looks for it in a minute
            tasks = [asyncio.create_task(run.ask(n)) for n in range(30)]
            await asyncio.to_thread(until, lambda: counts(url)["created"] == 1)
            for task in tasks:
                task.cancel()
            await run.batcher.aclose()
            run.journal.close()

        asyncio.run(dies())
        assert events(store) == ["submitting"]
        assert texts(asked(Run(store, target(url, api)), range(30))) == right(range(30))
        assert counts(url) | {"polls": 0} == {"created": 1, "calls": 30, "polls": 0}
    assert events(store) == ["submitting", "submitted", "ended"]


def test_a_batch_that_never_reached_the_provider_is_handed_in_by_the_next_process(tmp_path: Path) -> None:
    """A row `submitting` of which the provider knows nothing is closed, and its calls join another batch."""
    store = Store(tmp_path / "s.duckdb")
    row = {"batch_id": "feed" * 4, "event": "submitting", "at": "2026-01-01T00:00:00", "line": LINE, "call_ids": [call(0), call(1)]}
    store.append({"provider_batches": [row]})
    with serving(tmp_path) as url:
        assert texts(asked(Run(store.path, target(url, "chat")), range(2))) == right(range(2))
        assert counts(url)["created"] == 1
    assert open_batches(store, LINE) == []


DIES = """
import asyncio, sys
from pathlib import Path
from tests.test_batches import Run, target
asyncio.run(Run(Path(sys.argv[1]), target(sys.argv[2], sys.argv[3])).all(range(60)))
"""


@pytest.mark.parametrize("api", ["chat", "anthropic"])
def test_after_kill_9_the_same_batch_is_polled_and_nothing_is_handed_in_again(tmp_path: Path, api: str) -> None:
    """A process dies while its batch is under way; the next one gets every reply of that batch, and pays nothing."""
    store = tmp_path / "s.duckdb"
    with serving(tmp_path, seconds=2.0) as url:
        root = Path(__file__).parent.parent
        process = subprocess.Popen([sys.executable, "-c", DIES, str(store), url, api], cwd=root)
        try:
            until(lambda: counts(url).get("polls", 0) > 0)
        finally:
            process.kill()
            process.wait()
        run = Run(store, target(url, api))
        assert len(open_batches(Store(store), LINE)) == 1
        assert texts(asked(run, range(60))) == right(range(60))
        assert counts(url)["created"] == 1
    assert run.delivered == []
    assert stored(store) == {call(n): f"answer {n}" for n in range(60)}
    assert events(store) == ["submitting", "submitted", "ended"]


def test_replies_that_nobody_waits_for_any_more_are_kept(tmp_path: Path) -> None:
    """A stopped run is repeated with fewer items: what was paid for is delivered, and a call that comes late still gets its reply."""
    store = tmp_path / "s.duckdb"
    with serving(tmp_path, seconds=0.3) as url:

        async def stopped() -> None:
            run = Run(store, target(url, "chat"))
            tasks = [asyncio.create_task(run.ask(n)) for n in range(20)]
            await asyncio.to_thread(until, lambda: counts(url).get("polls", 0) > 0)
            for task in tasks:
                task.cancel()
            await run.batcher.aclose()
            run.journal.close()

        async def repeated(run: Run) -> list[str]:
            first = await run.ask(7)
            late = await run.ask(8)
            await run.batcher.aclose()
            run.journal.close()
            return texts([first, late])

        asyncio.run(stopped())
        run = Run(store, target(url, "chat"))
        assert asyncio.run(repeated(run)) == ["answer 7", "answer 8"]
        assert counts(url)["created"] == 1
    assert sorted(run.delivered) == [call(n) for n in range(20) if n != 7]
    assert stored(store) == {call(n): f"answer {n}" for n in range(20)}
    assert events(store)[-1] == "ended"


@pytest.mark.parametrize("api", ["chat", "anthropic"])
def test_a_batch_that_is_cancelled_keeps_what_was_answered(tmp_path: Path, api: str) -> None:
    """Whoever cancels a batch at the provider gets the replies so far; the other calls end with that reason."""
    with serving(tmp_path, seconds=2.0) as url:

        async def main(run: Run) -> list[Reply | ProviderError]:
            asking = asyncio.create_task(run.all(range(40)))
            await asyncio.to_thread(until, lambda: counts(url).get("polls", 0) > 0)
            await asyncio.sleep(0.5)
            run.journal.fold()
            (row,) = open_batches(run.store, LINE)
            other = batches_of(target(url, api), provider_for(target(url, api)))
            await other.cancel(row["batch_id"])
            await other.aclose()
            return await asking

        run = Run(tmp_path / "s.duckdb", target(url, api))
        answers = asyncio.run(main(run))
    assert 3 < sum(isinstance(a, Reply) for a in answers) < 37
    assert all(isinstance(a, Reply) or (isinstance(a, ProviderDown) and "cancel" in str(a)) for a in answers)


def test_a_full_queue_makes_batches_smaller_and_one_after_the_other(tmp_path: Path) -> None:
    """OpenAI limits the tokens that wait in its queue: a batch over the limit fails there, and its calls go in smaller ones."""
    with serving(tmp_path, queue_tokens=500, seconds=0.1) as url:
        run = Run(tmp_path / "s.duckdb", target(url, "chat"))
        assert texts(asked(run, range(60))) == right(range(60))
        assert counts(url)["calls"] == 60
    assert any("Enqueued token limit reached" in line and "batches of 30 calls" in line for line in run.said)


def test_a_provider_out_of_reach_is_polled_until_it_is_back(tmp_path: Path) -> None:
    """The server goes away under a batch and comes back without it: polls go on meanwhile, then its calls are refused."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = tmp_path / "s.duckdb"

    async def main(stack: ExitStack, url: str) -> list[Reply | ProviderError]:
        run = Run(store, target(url, "chat"))
        asking = asyncio.create_task(run.all(range(3)))
        await asyncio.to_thread(until, lambda: counts(url).get("polls", 0) > 0)
        await asyncio.to_thread(stack.close)
        while not any("goes on there, and is asked for again" in line for line in run.said):
            await asyncio.sleep(0.01)
        stack.enter_context(serving(tmp_path, port))
        return await asking

    with ExitStack() as stack:
        url = stack.enter_context(serving(tmp_path, port, seconds=60))
        answers = asyncio.run(main(stack, url))
    assert all(isinstance(a, ProviderRefused) and "gone" in str(a) for a in answers)
    assert events(store) == ["submitting", "submitted", "failed"]


def test_a_resumed_batch_that_the_provider_no_longer_knows_is_handed_in_anew(tmp_path: Path) -> None:
    """After 30 days a provider has forgotten a batch: its calls are asked again instead of failing for ever."""
    store = Store(tmp_path / "s.duckdb")
    row = {"batch_id": "batch_old", "event": "submitted", "at": "2026-01-01T00:00:00", "line": LINE, "call_ids": [call(0)], "detail": "m"}
    store.append({"provider_batches": [row]})
    with serving(tmp_path) as url:
        assert texts(asked(Run(store.path, target(url, "anthropic")), range(1))) == right(range(1))
    assert open_batches(store, LINE) == []


def test_calls_whose_askers_gave_up_are_not_handed_in(tmp_path: Path) -> None:
    """Ctrl-C before a batch goes out: nothing is sent, nothing is paid."""
    with serving(tmp_path) as url:

        async def main() -> None:
            run = Run(tmp_path / "s.duckdb", target(url, "chat"), Pace(quiet_s=0.2))
            tasks = [asyncio.create_task(run.ask(n)) for n in range(5)]
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0.4)
            await run.batcher.aclose()
            run.journal.close()

        asyncio.run(main())
        assert counts(url)["created"] == 0
    assert not (tmp_path / "s.duckdb").exists() or events(tmp_path / "s.duckdb") == []


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_wrong_key_is_said_without_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    """The server echoes the key; the error names the variable that holds it, and the key nowhere."""
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "wrong")
    with serving(tmp_path) as url:
        at = f"{url}/v1" if provider == "openai" else url
        (answer,) = asked(Run(tmp_path / "s.duckdb", Target(provider=provider, model="writer", base_url=at)), range(1))
    assert isinstance(answer, ProviderUnusable)
    assert "provided: [key]" in str(answer)
    assert "wrong" not in str(answer)


def prepared(project: Path) -> Prepared:
    return prepare(load_yaml(project / "refunds.yaml"), load_config(project))


def test_a_suite_that_asks_a_provider_without_a_batch_api_for_one_is_refused(project: Path) -> None:
    """`mode: batch` is for openai, anthropic and sim; a suite that sets it for another is refused before anything is asked."""
    suite = project / "refunds.yaml"
    judge = '{model: "sim:north-1", source: judges.toml}'
    replace(suite, judge, '{model: "vllm:Qwen/Qwen3-8B", base_url: "http://127.0.0.1:9/v1", mode: batch}')
    with pytest.raises(InputError, match=r"vllm:Qwen/Qwen3-8B: mode: vllm has no batch API; `mode: batch` is for anthropic, openai, sim"):
        prepared(project)


def test_the_way_of_asking_is_no_part_of_who_is_asked(project: Path) -> None:
    """A reply that was paid for directly serves a batch run, and the other way round: the judge is the same one."""
    direct = [identity(seat.target) for seat in prepared(project).seats]
    replace(project / "refunds.yaml", 'north-1", source: judges.toml}', 'north-1", source: judges.toml, mode: batch}')
    batched = prepared(project)
    assert [seat.judge.mode for seat in batched.seats] == ["batch", "direct"]
    assert [identity(seat.target) for seat in batched.seats] == direct


def test_a_server_without_a_batch_api_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many OpenAI-compatible servers have no files and no batches."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serving(tmp_path) as url:
        (answer,) = asked(Run(tmp_path / "s.duckdb", Target(provider="openai", model="writer", base_url=f"{url}/elsewhere")), range(1))
    assert isinstance(answer, ProviderUnusable)
    assert "take `mode: batch` out of the suite" in str(answer)

"""How providers hold their connections: shared, as many as questions, closed cleanly, and never a question sent twice."""

import asyncio
import gzip
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from evalh.errors import ProviderDown, ProviderRefused
from evalh.providers.base import Request, Target
from evalh.providers.registry import provider_for
from evalh.records import Message
from tests.providers_server import CHAT, KEY, MESSAGES, QUESTION

Handler = Callable[["Raw", str, asyncio.StreamWriter], Awaitable[bool]]


class Raw:
    """A server below HTTP frameworks: a handler writes what it likes, and says whether the connection stays."""

    def __init__(self) -> None:
        self.heads: list[str] = []  # of the requests, with their headers
        self.connections = self.open = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def target(self, provider: str = "openai", **settings: Any) -> Target:
        return Target(**{"provider": provider, "model": "judge", "base_url": self.url, "timeout_s": 5.0, **settings})


async def fine(_: Raw, head: str, writer: asyncio.StreamWriter) -> bool:
    writer.write(answer(MESSAGES if "/v1/messages" in head else CHAT))
    return True


def answer(data: Any, *headers: str, status: str = "200 OK", pack: Callable[[bytes], bytes] = bytes) -> bytes:
    body = pack(json.dumps(data).encode())
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@asynccontextmanager
async def raw(handler: Handler = fine) -> AsyncIterator[Raw]:
    server, tasks = Raw(), set[asyncio.Task[Any] | None]()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        server.connections += 1
        server.open += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            stays = True
            while stays:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = next(int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length:"))
                await reader.readexactly(length)
                server.heads.append(head)
                stays = await handler(server, head, writer)
        server.open -= 1
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    listener = await asyncio.start_server(take, "127.0.0.1", 0, backlog=1000)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server
        listener.close()
        await asyncio.gather(*(task for task in tasks if task is not None))  # ends when every client has closed


def test_judges_at_one_server_share_connections_until_the_last_closes() -> None:
    """Two judges with one server and key use one connection in turn; the first to close leaves it to the other."""

    async def two() -> None:
        async with raw() as server:
            first, second = provider_for(server.target(model="a")), provider_for(server.target(model="b"))
            for provider in (first, second, first):
                await provider.ask(QUESTION)
            await first.aclose()
            await second.ask(QUESTION)
            assert (server.connections, len(server.heads)) == (1, 4)
            await second.aclose()
            await first.ask(QUESTION)  # asking again opens again
            assert server.connections == 2
            await first.aclose()

    asyncio.run(two())


def test_keys_do_not_share_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two judges with one server and different keys are two clients: each sends its own key."""
    monkeypatch.setenv("ONE", "key-one")
    monkeypatch.setenv("TWO", "key-two")

    async def two() -> None:
        async with raw() as server:
            for name in ("ONE", "TWO", "ONE"):
                provider = provider_for(server.target(api_key_env=name))
                await provider.ask(QUESTION)
                await provider.aclose()
            sent = [line for head in server.heads for line in head.splitlines() if line.startswith("authorization")]
            assert sent == [f"authorization: bearer {key}" for key in ("key-one", "key-two", "key-one")]

    asyncio.run(two())


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_as_many_questions_travel_at_once_as_are_asked(provider: str) -> None:
    """No pool of the clients is narrower than the engine: 300 questions at once are 300 at once at the server."""

    async def many() -> None:
        together = asyncio.Barrier(300)

        async def wait(server: Raw, head: str, writer: asyncio.StreamWriter) -> bool:
            await together.wait()
            return await fine(server, head, writer)

        async with raw(wait) as server:
            judge = provider_for(server.target(provider, timeout_s=20.0))
            replies = await asyncio.gather(*(judge.ask(QUESTION) for _ in range(300)))
            assert [reply.text for reply in replies] == ["fine"] * 300
            assert server.open == 300
            await judge.aclose()

    asyncio.run(many())


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_kept_connection_that_the_server_drops_is_down_and_not_a_timeout(provider: str) -> None:
    """A connection that dies under its second question is ProviderDown and says so; the question was sent once, the next is answered."""

    async def drops_the_second(server: Raw, head: str, writer: asyncio.StreamWriter) -> bool:
        return len(server.heads) != 2 and await fine(server, head, writer)

    async def three() -> None:
        async with raw(drops_the_second) as server:
            judge = provider_for(server.target(provider))
            await judge.ask(QUESTION)
            with pytest.raises(ProviderDown, match="no connection: Server disconnected"):
                await judge.ask(QUESTION)
            assert len(server.heads) == 2
            assert (await judge.ask(QUESTION)).text == "fine"
            await judge.aclose()

    asyncio.run(three())


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 8\r\n\r\nnot gzip",
    ],
    ids=["no HTTP", "cut", "bad chunk", "bad encoding"],
)
def test_what_is_not_http_is_down(reply: bytes) -> None:
    """A server that speaks another protocol, cuts its reply or packs it wrongly is ProviderDown, never a crash."""

    async def garbage(server: Raw, head: str, writer: asyncio.StreamWriter) -> bool:
        writer.write(reply)
        return False

    async def one() -> None:
        async with raw(garbage) as server:
            judge = provider_for(server.target())
            with pytest.raises(ProviderDown, match="no connection: "):
                await judge.ask(QUESTION)
            await judge.aclose()

    asyncio.run(one())


def test_packed_and_chunked_replies_are_read() -> None:
    """gzip and chunked replies are read like any other; what the request says it accepts is what can be read."""

    async def packed(server: Raw, head: str, writer: asyncio.StreamWriter) -> bool:
        assert "gzip" in next(line for line in head.splitlines() if line.startswith("accept-encoding"))
        if len(server.heads) == 1:
            writer.write(answer(CHAT, "content-encoding: gzip", pack=gzip.compress))
        else:
            body = json.dumps(CHAT).encode()
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:9], body[9:]))
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        return True

    async def both() -> None:
        async with raw(packed) as server:
            judge = provider_for(server.target())
            assert [(await judge.ask(QUESTION)).text for _ in range(2)] == ["fine", "fine"]
            await judge.aclose()

    asyncio.run(both())


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_redirect_to_another_server_does_not_take_the_key_there(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """307 is followed with the question and without the key, unless it stays on the same server."""
    monkeypatch.setenv("MY_KEY", KEY)

    async def away() -> None:
        async with raw() as other:

            async def moved(server: Raw, head: str, writer: asyncio.StreamWriter) -> bool:
                path = head.split()[1]
                writer.write(answer({}, f"location: {other.url.removesuffix('/v1')}{path}", status="307 Temporary Redirect"))
                return True

            async with raw(moved) as server:
                judge = provider_for(server.target(provider, api_key_env="MY_KEY"))
                assert (await judge.ask(QUESTION)).text == "fine"
                await judge.aclose()
            assert KEY.lower() in server.heads[0]
            assert KEY.lower() not in other.heads[0]

    asyncio.run(away())


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY carries the questions, unless NO_PROXY names the server."""
    monkeypatch.setenv("MY_KEY", KEY)
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def through() -> None:
        async with raw() as proxy, raw() as server:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
            for url in ("http://models.example/v1", server.url):
                judge = provider_for(server.target(base_url=url, api_key_env="MY_KEY"))
                assert (await judge.ask(QUESTION)).text == "fine"
                await judge.aclose()
                monkeypatch.setenv("no_proxy", "127.0.0.1")
            assert [head.splitlines()[0] for head in proxy.heads] == ["post http://models.example/v1/chat/completions http/1.1"]
            assert len(server.heads) == 1

    asyncio.run(through())


STOPPED = """
import asyncio, os, signal, sys
from evalh.providers.base import Request, Target
from evalh.providers.registry import provider_for
from evalh.records import Message

async def main():
    reached = asyncio.Event()

    async def silent(reader, writer):
        reached.set()
        await reader.read()
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    judges = [provider_for(Target(provider=name, model="m", base_url=url)) for name in ("openai", "anthropic")]
    try:
        question = Request(messages=(Message(role="user", content="?"),))
        asks = [asyncio.create_task(judge.ask(question)) for judge in judges for _ in range(5)]
        await reached.wait()
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.gather(*asks)
    finally:
        for judge in judges:
            await judge.aclose()
        listener.close()

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("stopped")
"""


def test_a_run_stopped_by_ctrl_c_leaves_nothing_behind() -> None:
    """Ctrl-C while questions are under way ends at once: no warning of an open session or socket, no traceback of a task."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", STOPPED], capture_output=True, text=True, timeout=30
    )
    assert (done.stdout, done.stderr, done.returncode) == ("stopped\n", "", 0)


def test_cancelled_questions_free_their_connections() -> None:
    """A question that is given up closes its connection, so that its late reply cannot answer the next question."""

    async def given_up() -> None:
        asked = asyncio.Event()

        async def late(server: Raw, head: str, writer: asyncio.StreamWriter) -> bool:
            if len(server.heads) == 1:
                asked.set()
                await asyncio.sleep(0.2)
                writer.write(answer({**CHAT, "model": "late"}))
                return True
            return await fine(server, head, writer)

        async with raw(late) as server:
            judge = provider_for(server.target())
            task = asyncio.create_task(judge.ask(QUESTION))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await judge.ask(QUESTION)).version == CHAT["model"]
            assert server.connections == 2
            await judge.aclose()

    asyncio.run(given_up())


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize(("params", "text"), [({"seed": float("nan")}, "2 + 2"), ({}, "half a character: \ud83d")])
def test_what_json_cannot_hold_is_refused(provider: str, params: dict[str, Any], text: str) -> None:
    """A question that cannot be written as JSON in UTF-8 is ProviderRefused, and nothing is sent."""

    async def one() -> None:
        async with raw() as server:
            judge = provider_for(server.target(provider, params=params))
            with pytest.raises(ProviderRefused, match="the question cannot be sent"):
                await judge.ask(Request(messages=(Message.model_construct(role="user", content=text),)))
            await judge.aclose()
            assert server.heads == []

    asyncio.run(one())

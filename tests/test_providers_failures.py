"""What becomes of servers that fail, and of clients: errors of the tree, no key anywhere, one client per loop, nothing left open."""

import asyncio
import logging
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
from starlette.responses import Response

from evalh.errors import ProviderBusy, ProviderDown, ProviderError, ProviderRefused, ProviderUnusable
from evalh.providers.base import Target
from evalh.providers.registry import provider_for
from tests.providers_server import KEY, QUESTION, Server, fresh, one, refusal, serving


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def server(shared: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    return fresh(shared, monkeypatch)


# What fails, and how


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_request", ProviderRefused),
        (400, "unsupported_value", ProviderUnusable),
        (401, "invalid_api_key", ProviderUnusable),
        (403, None, ProviderUnusable),
        (404, "model_not_found", ProviderUnusable),
        (408, None, ProviderDown),
        (413, None, ProviderRefused),
        (429, "insufficient_quota", ProviderUnusable),
        (429, "rate_limit_exceeded", ProviderBusy),
        (500, None, ProviderDown),
        (503, None, ProviderDown),
        (529, None, ProviderBusy),
    ],
)
def test_statuses_become_errors_of_the_tree_after_one_request(
    server: Server, provider: str, status: int, code: str | None, kind: type[ProviderError]
) -> None:
    """Each status becomes one kind of error that names provider, model and URL; nothing is retried here."""
    server.fail(status, {"error": {"message": "the server's words", "code": code, "type": "some_error"}})
    error = refusal(server.target(provider))
    assert type(error) is kind
    assert f"{provider}:judge at {server.url}: {status} " in str(error)
    assert "the server's words" in str(error)
    assert "\n" not in str(error)
    assert len(server.sent) == 1


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_key_that_a_server_echoes_is_nowhere(server: Server, provider: str, caplog: pytest.LogCaptureFixture) -> None:
    """The key is in no message, repr, traceback, chained exception or log line, even where the server sends it back."""
    caplog.set_level(logging.DEBUG)
    server.fail(401, {"error": {"message": f"Incorrect API key provided: {KEY} (sent as Bearer {quote(KEY, safe='')})"}})
    provider_object = provider_for(server.target(provider))
    with pytest.raises(ProviderUnusable) as caught:
        asyncio.run(one(provider_object, QUESTION))
    error = caught.value
    shown = [str(error), repr(error), repr(provider_object), repr(vars(provider_object)), *traceback.format_exception(error), caplog.text]
    assert KEY not in "".join(shown)
    assert quote(KEY, safe="") not in "".join(shown)
    assert "Incorrect API key provided: [key] (sent as Bearer [key])" in str(error)
    assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after_ms": "1500", "retry_after": "9"}, 1.5),
        ({"retry_after": "Mon, 23 Nov 2026 10:00:30 GMT", "date": "Mon, 23 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"retry_after": "Mon, 23 Nov 2026 09:00:00 GMT", "date": "Mon, 23 Nov 2026 10:00:00 GMT"}, 0.0),
        ({"retry_after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_every_form(server: Server, headers: dict[str, str], seconds: float | None) -> None:
    """ProviderBusy carries the seconds of retry-after-ms, of Retry-After in seconds, or of an HTTP date by the server's clock."""
    server.fail(429, {"error": {"message": "slow down"}}, **headers)
    error = refusal(server.target())
    assert isinstance(error, ProviderBusy)
    assert error.retry_after == seconds


def test_an_overloaded_server_that_says_when_is_busy(server: Server) -> None:
    """503 with Retry-After is a request to wait, not a breakdown."""
    server.fail(503, {"detail": "loading"}, retry_after="2")
    error = refusal(server.target())
    assert isinstance(error, ProviderBusy)
    assert error.retry_after == 2.0


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>proxy</html>", ProviderDown),
        (b'{"choices": []}', ProviderDown),
        (b'{"choices": [{"mess', ProviderDown),
        (b'{"error": {"message": "slow down", "code": 429}}', ProviderBusy),
        (b'{"error": {"message": "upstream", "code": 502}}', ProviderDown),
        (b'{"error": {"message": "no such model", "code": "model_not_found"}}', ProviderUnusable),
    ],
)
def test_status_200_with_something_else_inside(server: Server, body: bytes, kind: type[ProviderError]) -> None:
    """A 200 that is a proxy's page, cut JSON, or an error in disguise is an error, never an empty reply."""
    server.answer = lambda _: Response(body, media_type="application/json")
    assert type(refusal(server.target())) is kind


async def _raw(behaviour: Callable[..., Any], timeout_s: float) -> ProviderError:
    """The error from a server that misbehaves below HTTP."""
    taken: list[asyncio.Task[Any] | None] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(asyncio.current_task())
        with suppress(ConnectionError):
            await behaviour(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    listener = await asyncio.start_server(take, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    provider = provider_for(Target(provider="openai", model="m", base_url=f"http://127.0.0.1:{port}/v1", timeout_s=timeout_s))
    async with listener:
        with pytest.raises(ProviderError) as caught:
            await one(provider, QUESTION)
        await asyncio.gather(*(task for task in taken if task is not None))
    return caught.value


def test_a_dropped_connection_is_down(server: Server) -> None:
    """A server that closes without an answer is ProviderDown, and so is one that is not there."""

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    assert "no connection" in str(asyncio.run(_raw(drop, 5)))
    assert isinstance(refusal(server.target(base_url="http://127.0.0.1:9/v1")), ProviderDown)


def test_silence_and_dripping_are_down_after_the_timeout(server: Server) -> None:
    """timeout_s limits the whole call: a server that says nothing, and one that sends a byte now and then."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    for behaviour in (silent, drip):
        start = time.monotonic()
        error = asyncio.run(_raw(behaviour, 0.4))
        assert isinstance(error, ProviderDown)
        assert "no answer within 0.4 s" in str(error)
        assert time.monotonic() - start < 2


# Clients and loops


def test_one_client_serves_many_questions_and_closes(server: Server) -> None:
    """Questions share their connections, and aclose leaves none open at the server."""

    async def many() -> None:
        provider = provider_for(server.target())
        for _ in range(5):
            await provider.ask(QUESTION)
        assert len({request["peer"] for request in server.sent}) == 1
        await asyncio.gather(*(provider.ask(QUESTION) for _ in range(30)))
        await provider.aclose()
        for _ in range(100):
            if not server.uvicorn.server_state.connections:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("connections are still open")

    asyncio.run(many())
    assert len(server.sent) == 35


def test_one_provider_serves_two_loops_at_once(server: Server) -> None:
    """A provider asked from two event loops at the same time answers on both: each has its own client."""
    provider, replies, together = provider_for(server.target()), [], threading.Barrier(2)

    async def several() -> None:
        together.wait(5)
        replies.extend(await asyncio.gather(*(provider.ask(QUESTION) for _ in range(10))))
        await provider.aclose()

    threads = [threading.Thread(target=lambda: asyncio.run(several())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [reply.text for reply in replies] == ["fine"] * 20


def test_no_client_is_imported_before_the_first_question() -> None:
    """Building and closing providers of every kind, as a run does that the ledger answers, imports no client and no aiohttp."""
    code = """
import asyncio, os, sys
os.environ.update(OPENAI_API_KEY="k", ANTHROPIC_API_KEY="k")
from evalh.providers.base import Target
from evalh.providers.registry import provider_for
providers = [provider_for(Target(provider=name, model="m")) for name in ("openai", "anthropic")]
providers.append(provider_for(Target(provider="vllm", model="m", base_url="http://127.0.0.1:9/v1")))
providers.append(provider_for(Target(provider="sim", model="m", base_url="http://127.0.0.1:9")))
async def close():
    for provider in providers:
        await provider.aclose()
asyncio.run(close())
print(sorted({"openai", "anthropic", "vllm", "httpx2", "aiohttp", "starlette", "pandas"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

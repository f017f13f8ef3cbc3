"""A real HTTP server on loopback for the tests of providers: it keeps what it is sent and answers what the test says."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from evalh.errors import ProviderError
from evalh.providers.base import Provider, Reply, Request, Target
from evalh.providers.registry import provider_for
from evalh.records import Message

KEY = "sk-test-THE+SECRET/key-0123456789"
QUESTION = Request(messages=(Message(role="system", content="Grade."), Message(role="user", content="2 + 2 = 4")))

CHAT = {
    "model": "judge-2026-10-01",
    "system_fingerprint": "fp_7",
    "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "fine"}}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 3},
}
RESPONSES = {
    "model": "judge-2026-10-01",
    "status": "completed",
    "error": None,
    "output": [
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "fine"}]},
    ],
    "usage": {"input_tokens": 11, "output_tokens": 3},
}
MESSAGES = {
    "model": "judge-2026-10-01",
    "role": "assistant",
    "content": [{"type": "thinking", "thinking": "…"}, {"type": "text", "text": "fine"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 4, "output_tokens": 3},
}
DEFAULT = {"/v1/chat/completions": CHAT, "/v1/responses": RESPONSES, "/v1/messages": MESSAGES}


class Server:
    """A real server on loopback: it keeps what it is sent and answers what the test says."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], Response] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        app = Starlette(routes=[Route(path, self._take, methods=["POST"]) for path in DEFAULT])
        self.uvicorn = uvicorn.Server(
            uvicorn.Config(app, port=self.port, log_level="critical", lifespan="off", ws="none", date_header=False)
        )
        self.thread = threading.Thread(target=self.uvicorn.run, daemon=True)
        self.thread.start()
        while not self.uvicorn.started:
            time.sleep(0.005)

    async def _take(self, http: HTTPRequest) -> Response:
        request = {"path": http.url.path, "headers": dict(http.headers), "body": await http.json(), "peer": http.client}
        self.sent.append(request)
        return self.answer(request) if self.answer else JSONResponse(DEFAULT[http.url.path])

    def fail(self, status: int, body: Any, **headers: str) -> None:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = lambda _: JSONResponse(body, status, fields)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def body(self) -> dict[str, Any]:
        return self.sent[-1]["body"]

    def target(self, provider: str = "openai", **settings: Any) -> Target:
        return Target(**{"provider": provider, "model": "judge", "base_url": self.url, "timeout_s": 5.0, **settings})


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    yield server
    server.uvicorn.should_exit = True
    server.thread.join(5)


def fresh(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server without what an earlier test left, and an environment with keys and no URLs."""
    server.sent.clear()
    server.answer = None
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "VLLM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    return server


async def one(provider: Provider, request: Request) -> Reply:
    try:
        return await provider.ask(request)
    finally:
        await provider.aclose()


def ask(target: Target, request: Request = QUESTION) -> Reply:
    return asyncio.run(one(provider_for(target), request))


def refusal(target: Target) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        ask(target)
    return caught.value

"""The simulator over HTTP: routes, keys, faults, latency, rate limits and counts. Loopback only.

`running(profile)` serves in a thread for the length of a `with` block; `serve(profile, host, port)` serves until it is stopped.
"""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import json
import math
import socket
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from datetime import date
from typing import Any

from evalh.errors import UsageError
from evalh.sim.cast import Cast, Turn
from evalh.sim.completions import COMPLETIONS
from evalh.sim.profile import Judge, Profile, System
from evalh.sim.wire import CHAT, MESSAGES, RESPONSES, Asked, Format, RequestError, refuse_unplayed, tokens

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    from evalh.sim.batches import MOST_BYTES, BatchDesk, Handler
except ImportError:
    raise UsageError("the judge simulator needs starlette and uvicorn", hint='pip install "evalh[all]"') from None

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

WRONG_KEY = "wrong"
DATE_HEADER = "x-evalh-sim-date"
MAX_BODY = 32 * 2**20  # bytes, Anthropic's limit
STOP_S = 5.0  # longest wait for a thread to stop

_encode = json.JSONEncoder(separators=(",", ":")).encode  # escapes what is not ASCII: half a surrogate pair is no UTF-8


def build_app(profile: Profile) -> App:
    """The simulator as an ASGI app. Its counts live as long as the app. Raises InputError where a file of the profile is wrong."""
    desk = Desk(Cast(profile))
    formats = {"chat/completions": CHAT, "completions": COMPLETIONS, "responses": RESPONSES, "messages": MESSAGES}
    starlette = Starlette(
        routes=[
            *(Route(f"/v1/{path}", desk.endpoint(format_), methods=["POST"]) for path, format_ in formats.items()),
            *desk.batches.routes(desk.guarded),
            Route("/v1/models", desk.models),
            Route("/", desk.front),
            Route("/_sim/stats", desk.stats),
            Route("/_sim/reset", desk.reset, methods=["POST"]),
            Route("/_sim/today", desk.set_today, methods=["POST"]),
        ]
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Starlette wraps `send`; only here is it still the server's own, which knows the connection that a dropped reply must close.
        scope["evalh.transport"] = getattr(getattr(send, "__self__", None), "transport", None)
        await starlette(scope, receive, send)

    return app


class Desk:
    """Takes requests over HTTP, and gives the answers of the cast."""

    def __init__(self, cast: Cast) -> None:
        self.cast = cast
        self.today = cast.profile.today
        self.rejected: Counter[str] = Counter()
        self.buckets: dict[str, Bucket] = {}
        self.batches = BatchDesk(cast.profile.batch, cast.profile.seed, self.batched, Dropped)

    def endpoint(self, format_: Format) -> Callable[[Request], Awaitable[Response]]:
        """The handler of one API."""

        async def handle(request: Request) -> Response:
            try:
                player, asked, day = await self._read(request, format_)
            except RequestError as error:
                self.rejected[str(error.status)] += 1
                return _json(format_.error(error.status, error.message, error.code, error.param), error.status)
            return await self._answer(request, format_, asked, self.cast.arrive(player, asked, day))

        return handle

    def guarded(self, handler: Handler, format_: Format) -> Handler:
        """A handler of a batch API behind the same checks, with errors in the format of its API."""

        async def handle(request: Request) -> Response:
            try:
                _check(request.headers, MOST_BYTES)
                return await handler(request)
            except RequestError as error:
                self.rejected[str(error.status)] += 1
                return _json(format_.error(error.status, error.message, error.code, error.param), error.status)

        return handle

    def batched(self, body: Mapping[str, Any], headers: Mapping[str, str], format_: Format) -> dict[str, Any]:
        """The reply to one call of a batch: without the faults and limits of direct traffic. Raises RequestError."""
        player, asked, day = self._taken(body, headers, format_)
        return format_.reply(asked, self.cast.answer(self.cast.arrive(player, asked, day), asked))

    async def _read(self, request: Request, format_: Format) -> tuple[Judge | System, Asked, date]:
        _check(request.headers, MAX_BODY)
        try:
            body = json.loads(await request.body())
        except (ValueError, RecursionError):
            raise RequestError("We could not parse the JSON body of your request.") from None
        if not isinstance(body, dict):
            raise RequestError("The body must be a JSON object.")
        return self._taken(body, request.headers, format_)

    def _taken(self, body: Mapping[str, Any], headers: Mapping[str, str], format_: Format) -> tuple[Judge | System, Asked, date]:
        """Who is asked what, and when. Raises RequestError."""
        refuse_unplayed(body)
        try:
            asked = format_.asked(body, headers)
        except (AttributeError, KeyError, TypeError, ValueError):  # a part of another shape than the API's
            raise RequestError("The body is not what this API takes.") from None
        player = self.cast.players.get(asked.model)
        if player is None or player.api not in ("any", format_.provider):
            code = "model_not_found" if format_.provider == "openai" else None
            raise RequestError(f"The model `{asked.model}` does not exist or you do not have access to it.", status=404, code=code)
        _refuse_too_long(player, asked, format_)
        return player, asked, self._day(headers.get(DATE_HEADER))

    def _day(self, given: str | None) -> date:
        if given is None:
            return self.today or date.today()
        try:
            return date.fromisoformat(given)
        except ValueError:
            raise RequestError(f"{DATE_HEADER} must be a date like 2026-03-01, not {given!r}") from None

    async def _answer(self, request: Request, format_: Format, asked: Asked, turn: Turn) -> Response:
        counts, error = self.cast.counts[turn.player.model], format_.error
        wait = self._wait(turn)
        if wait:
            counts["rate_limited"] += 1
            return _busy(error(429, "Rate limit reached.", "rate_limit_exceeded", None), wait)
        fault = self.cast.fault(turn)
        if fault:
            counts[fault] += 1
        if fault == "fault_429":
            return _busy(error(429, "Rate limit reached.", "rate_limit_exceeded", None), turn.traffic.retry_after_s)
        answered = self.cast.answer(turn, asked) if fault in (None, "stalled") else None
        delay = self.cast.delay(turn)
        if delay:
            await asyncio.sleep(delay)
        if fault == "stalled":
            with suppress(TimeoutError):  # a client that gives up is not waited for
                await asyncio.wait_for(_gone(request.receive), turn.traffic.stall_s)
        if fault == "dropped":
            return Dropped()
        if answered is None:
            return _json(error(500, "The server had an error while processing your request.", None, None), 500)
        ident = "req_" + answered.ident
        return _json(format_.reply(asked, answered), 200, {"x-request-id": ident, "request-id": ident})

    def _wait(self, turn: Turn) -> float:
        """Seconds to wait by the rate limit; 0 where the request may pass."""
        limit = turn.traffic.rate_limit_rpm
        if limit is None:
            return 0.0
        bucket = self.buckets.setdefault(turn.player.model, Bucket(limit))
        return bucket.take(time.monotonic(), limit)

    async def models(self, request: Request) -> Response:
        """The list of models, in the format of the API that asks."""
        players = self.cast.players.values()
        if "anthropic-version" in request.headers:
            entries: list[dict[str, Any]] = [
                {"type": "model", "id": p.model, "display_name": p.model, "created_at": "2026-01-01T00:00:00Z", "lifecycle": "active"}
                for p in players
                if p.api in ("any", "anthropic")
            ]
            ends = {"first_id": entries[0]["id"], "last_id": entries[-1]["id"]} if entries else {"first_id": None, "last_id": None}
            return _json({"data": entries, "has_more": False, **ends})
        listed = [p for p in players if p.api in ("any", "openai")]
        data = [{"id": p.model, "object": "model", "created": 0, "owned_by": p.family or "sim"} for p in listed]
        return _json({"object": "list", "data": data})

    async def front(self, request: Request) -> Response:
        """One line for a person who opens the URL."""
        profile = self.cast.profile
        return PlainTextResponse(f"evalh judge simulator, profile {profile.name}: {_who(profile)}. Nothing here is a real model.\n")

    async def stats(self, request: Request) -> Response:
        """Requests, answers and faults of each model, and rejected requests by status."""
        counts = self.cast.counts
        total = sum(c["requests"] for c in counts.values())
        models = {name: dict(c) for name, c in counts.items()}
        return _json({"requests": total, "models": models, "rejected": dict(self.rejected), "batches": dict(self.batches.counts)})

    async def reset(self, request: Request) -> Response:
        """Forgets counts and rate limits; the date goes back to the profile's."""
        self.cast.reset()
        self.rejected.clear()
        self.buckets.clear()
        self.batches.counts.clear()
        self.today = self.cast.profile.today
        return _json({"reset": True})

    async def set_today(self, request: Request) -> Response:
        """`{"today": "2026-03-01"}` moves the date of the simulation."""
        try:
            self.today = date.fromisoformat(json.loads(await request.body())["today"])
        except (ValueError, KeyError, TypeError):
            return _json({"error": 'send {"today": "2026-03-01"}'}, 400)
        return _json({"today": self.today.isoformat()})


class Bucket:
    """A rate limit: holds a minute's worth of requests and refills evenly."""

    def __init__(self, limit: int) -> None:
        self.level = float(limit)
        self.at: float | None = None

    def take(self, now: float, limit: int) -> float:
        """0 and one request taken, or the seconds until one could be."""
        self.level = min(float(limit), self.level + (now - (now if self.at is None else self.at)) * limit / 60)
        self.at = now
        if self.level >= 1:
            self.level -= 1
            return 0.0
        return (1 - self.level) * 60 / limit


def _check(headers: Mapping[str, str], most: int) -> None:
    """Refuses a wrong key and a body that is too large."""
    if WRONG_KEY in (headers.get("x-api-key"), headers.get("authorization", "").removeprefix("Bearer ")):
        raise RequestError("Incorrect API key provided: wrong.", status=401, code="invalid_api_key")
    if int(headers.get("content-length") or 0) > most:
        raise RequestError(f"Request exceeds the maximum size of {most} bytes.", status=413)


def _refuse_too_long(player: Judge | System, asked: Asked, format_: Format) -> None:
    used = tokens(asked.text)
    if used <= player.context_tokens:
        return
    if format_.provider == "anthropic":
        raise RequestError(f"prompt is too long: {used} tokens > {player.context_tokens} maximum")
    what = f"This model's maximum context length is {player.context_tokens} tokens. However, your messages resulted in {used} tokens."
    raise RequestError(what, code="context_length_exceeded", param="messages")


def _json(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(_encode(data), status, headers, media_type="application/json")


def _busy(data: Any, wait: float) -> Response:
    return _json(data, 429, {"retry-after": str(math.ceil(wait)), "retry-after-ms": str(math.ceil(wait * 1000))})


class Dropped(Response):
    """Closes the connection instead of answering."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["evalh.transport"].abort()
        await _gone(receive)


async def _gone(receive: Receive) -> None:
    """Waits until the connection is closed."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _who(profile: Profile) -> str:
    judges = ", ".join(judge.model for judge in profile.judge)
    systems = ", ".join(system.model for system in profile.system)
    return "; ".join(part for part in (f"judges {judges}" if judges else "", f"systems {systems}" if systems else "") if part)


# --- serving -----------------------------------------------------------------------------------------------------------


@contextmanager
def running(profile: Profile, port: int = 0) -> Iterator[str]:
    """Serves on loopback in a thread of its own; yields the base URL (`…/v1` for OpenAI clients). Port 0 takes a free one."""
    server, listener = _server(profile, "127.0.0.1", port)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="evalh-sim", daemon=True)
    thread.start()
    try:
        yield _url(listener)
    finally:
        server.should_exit = True
        thread.join(STOP_S)
        listener.close()


def serve(profile: Profile, host: str = "127.0.0.1", port: int = 8765) -> None:
    """Serves until it is stopped. Prints one line: where, and who plays. Raises UsageError for a host that is not loopback."""
    server, listener = _server(profile, host, port)
    print(f"evalh judge simulator at {_url(listener)} ({_who(profile)}); stop with Ctrl-C", flush=True)  # noqa: T201 - its one line
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def _server(profile: Profile, host: str, port: int) -> tuple[uvicorn.Server, socket.socket]:
    if not _is_loopback(host):
        raise UsageError(f"the simulator serves on loopback only, not on {host}", hint="use --host 127.0.0.1")
    app = build_app(profile)
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024)
    except OSError as error:
        raise UsageError(f"port {port} cannot be used: {error.strerror}", hint="--port 0 takes a free one") from None
    http = "httptools" if importlib.util.find_spec("httptools") else "h11"
    config = uvicorn.Config(
        app, http=http, ws="none", lifespan="off", access_log=False, log_config=None, log_level="error", server_header=False,
        timeout_keep_alive=75, timeout_graceful_shutdown=1,
    )  # fmt: skip
    return uvicorn.Server(config), listener


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"

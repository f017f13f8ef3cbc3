"""Batches in the simulator: OpenAI's files and batches, Anthropic's message batches, answered by the same models as direct calls.

Everything is in memory and lives as long as the server; of more than is bounded here the oldest goes. Results come in an
order of their own, as both APIs say they may.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evalh.sim.draws import key_of, uniform
from evalh.sim.profile import Batching
from evalh.sim.wire import CHAT, MESSAGES, RESPONSES, Format, RequestError, tokens

MOST_BYTES = 256 * 2**20  # of one upload (Anthropic's limit; OpenAI's is 200 MB), and of all files kept
MOST_BATCHES = 1_000  # kept
MOST_CALLS = {"openai": 50_000, "anthropic": 100_000}
DAY_S = 86_400
AT_ONCE = 20  # calls answered before other requests get a turn
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ENDPOINTS = {"/v1/chat/completions": CHAT, "/v1/responses": RESPONSES}

Reply = Callable[[Mapping[str, Any], Mapping[str, str], Format], dict[str, Any]]  # body, headers, format → the reply; RequestError
Handler = Callable[[Request], Awaitable[Response]]
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Call(NamedTuple):
    """One call of a batch."""

    custom_id: str
    body: Mapping[str, Any]


@dataclass
class Batch:
    """A batch of either API. `lines` are its results, `errors` those that OpenAI puts into a file of their own."""

    id: str
    number: int
    format_: Format
    calls: list[Call]
    headers: Mapping[str, str]
    extra: dict[str, Any] = field(default_factory=dict)  # what its creation said, to be said again
    made_at: float = field(default_factory=time.time)
    status: str = "in_progress"
    counts: Counter[str] = field(default_factory=Counter)  # succeeded, errored, expired, canceled
    failures: list[dict[str, Any]] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)
    ended_at: float | None = None
    total: int = 0
    tokens: int = 0
    cancelling: bool = False

    @property
    def over(self) -> bool:
        return self.ended_at is not None

    def due(self, seconds: float) -> int:
        """How many calls are answered by now: they are in turn, evenly over the time that the batch takes."""
        return self.total if seconds == 0 else min(self.total, int(self.total * (time.time() - self.made_at) / seconds))


class BatchDesk:
    """Takes batches over HTTP. `reply` answers one call as the server would answer it directly."""

    def __init__(self, settings: Batching, seed: int, reply: Reply, dropped: Callable[[], Response]) -> None:
        self.settings, self.seed, self.reply, self.dropped = settings, seed, reply, dropped
        self.batches: dict[str, Batch] = {}
        self.files: dict[str, tuple[dict[str, Any], bytes]] = {}
        self.counts: Counter[str] = Counter()
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def routes(self, guarded: Callable[[Handler, Format], Handler]) -> list[Route]:
        """The paths of both APIs; `guarded` checks keys and says errors in the format of the API."""
        paths: list[tuple[str, str, Handler, Format]] = [
            ("/v1/files", "POST", self.upload, CHAT),
            ("/v1/files/{id}", "GET", self.file, CHAT),
            ("/v1/files/{id}/content", "GET", self.content, CHAT),
            ("/v1/batches", "POST", self.create, CHAT),
            ("/v1/batches", "GET", self.list_openai, CHAT),
            ("/v1/batches/{id}", "GET", self.poll, CHAT),
            ("/v1/batches/{id}/cancel", "POST", self.cancel, CHAT),
            ("/v1/messages/batches", "POST", self.create_messages, MESSAGES),
            ("/v1/messages/batches", "GET", self.list_anthropic, MESSAGES),
            ("/v1/messages/batches/{id}", "GET", self.poll, MESSAGES),
            ("/v1/messages/batches/{id}/results", "GET", self.results, MESSAGES),
            ("/v1/messages/batches/{id}/cancel", "POST", self.cancel, MESSAGES),
        ]
        return [Route(path, guarded(handler, format_), methods=[method]) for path, method, handler, format_ in paths]

    # --- OpenAI --------------------------------------------------------------------------------------------------------

    async def upload(self, request: Request) -> Response:
        """A file with `purpose`, as multipart/form-data."""
        parts = _parts(request.headers.get("content-type", ""), await request.body())
        if "file" not in parts or "purpose" not in parts:
            raise RequestError("a file needs `file` and `purpose`", param="file")
        if parts["purpose"][1] != b"batch":
            raise RequestError("this server takes files with purpose=batch", param="purpose")
        return _json(self._keep(*parts["file"], "batch"))

    async def file(self, request: Request) -> Response:
        return _json(self._file(request)[0])

    async def content(self, request: Request) -> Response:
        return Response(self._file(request)[1], media_type="application/octet-stream")

    async def create(self, request: Request) -> Response:
        """A batch of an uploaded file. A file that is not of this API fails the batch, not its creation."""
        body = await _object(request)
        url, held = body.get("endpoint"), self.files.get(str(body.get("input_file_id")))
        format_ = _ENDPOINTS.get(str(url))
        if format_ is None or body.get("completion_window") != "24h":
            raise RequestError("endpoint must be /v1/chat/completions or /v1/responses, and completion_window 24h", param="endpoint")
        if held is None:
            raise RequestError(f"No such file: {body.get('input_file_id')}", param="input_file_id")
        calls, failures = _calls_of(held[1], str(url))
        extra = {"endpoint": url, "input_file_id": held[0]["id"], "completion_window": "24h", "metadata": body.get("metadata")}
        return self._made(request, "batch_", format_, calls, extra, failures)

    async def list_openai(self, request: Request) -> Response:
        return _json(self._page(request, "batch_", "after", 100) | {"object": "list"})

    def _openai(self, batch: Batch, request: Request) -> dict[str, Any]:
        c, ended = batch.counts, int(batch.ended_at) if batch.ended_at else None
        at = {f"{name}_at": ended if batch.status == name else None for name in ("completed", "failed", "expired", "cancelled")}
        counts = {"total": batch.total, "completed": batch.due(self.settings.seconds), "failed": 0}
        if batch.over:
            counts |= {"completed": c["succeeded"], "failed": c["errored"] + c["expired"] + c["canceled"]}
        return {
            "id": batch.id, "object": "batch", **batch.extra, "created_at": int(batch.made_at), "status": batch.status, **at,
            "expires_at": int(batch.made_at) + DAY_S, "in_progress_at": int(batch.made_at), "request_counts": counts,
            "output_file_id": self._file_of(batch, "output", batch.lines), "error_file_id": self._file_of(batch, "error", batch.errors),
            "errors": {"object": "list", "data": batch.failures} if batch.failures else None,
        }  # fmt: skip

    def _file_of(self, batch: Batch, kind: str, lines: list[bytes]) -> str | None:
        """The id of a file of results, which is made when it is first named."""
        if not batch.over or not lines:
            return None
        ident = f"file-{batch.id}-{kind}"
        if ident not in self.files:
            self._keep(f"{batch.id}_{kind}.jsonl", b"".join(lines), "batch_output", ident)
        return ident

    # --- Anthropic -----------------------------------------------------------------------------------------------------

    async def create_messages(self, request: Request) -> Response:
        body = await _object(request)
        given = body.get("requests")
        if not isinstance(given, list) or not given or not all(isinstance(call, dict) for call in given):
            raise RequestError("requests: a list of at least one request is required", param="requests")
        ids = [str(call.get("custom_id")) for call in given]
        if len(set(ids)) < len(ids) or not all(_CUSTOM_ID.fullmatch(i) for i in ids):
            raise RequestError("requests: custom_id must match ^[a-zA-Z0-9_-]{1,64}$ and be unique", param="requests")
        if len(ids) > MOST_CALLS["anthropic"]:
            raise RequestError(f"requests: at most {MOST_CALLS['anthropic']}", status=413)
        calls = [Call(i, call.get("params") or {}) for i, call in zip(ids, given, strict=True)]
        return self._made(request, "msgbatch_", MESSAGES, calls, {}, [])

    async def list_anthropic(self, request: Request) -> Response:
        return _json(self._page(request, "msgbatch_", "after_id", 1000))

    async def results(self, request: Request) -> Response:
        batch = self._batch(request)
        if not batch.over:
            raise RequestError("results are there when the batch has ended")
        return Response(b"".join(batch.lines), media_type="application/x-jsonl")

    def _anthropic(self, batch: Batch, request: Request) -> dict[str, Any]:
        kinds = ("succeeded", "errored", "expired", "canceled")
        counts = {"processing": 0 if batch.over else batch.total, **{kind: batch.counts[kind] if batch.over else 0 for kind in kinds}}
        status = "ended" if batch.over else "canceling" if batch.cancelling else "in_progress"
        url = f"{request.base_url}v1/messages/batches/{batch.id}/results"
        return {
            "id": batch.id, "type": "message_batch", "processing_status": status, "request_counts": counts,
            "created_at": _moment(batch.made_at), "expires_at": _moment(batch.made_at + DAY_S),
            "ended_at": _moment(batch.ended_at) if batch.ended_at else None, "archived_at": None, "cancel_initiated_at": None,
            "results_url": url if batch.over else None,
        }  # fmt: skip

    # --- both ----------------------------------------------------------------------------------------------------------

    async def poll(self, request: Request) -> Response:
        self.counts["polls"] += 1
        return self._said(self._batch(request), request)

    async def cancel(self, request: Request) -> Response:
        batch = self._batch(request)
        batch.cancelling = True
        return self._said(batch, request)

    def _said(self, batch: Batch, request: Request) -> Response:
        return _json((self._anthropic if batch.format_ is MESSAGES else self._openai)(batch, request))

    def _made(
        self, request: Request, prefix: str, format_: Format, calls: list[Call], extra: dict[str, Any], failures: list[dict[str, Any]]
    ) -> Response:
        """A new batch, and its work begun."""
        self.counts["created"] += 1
        self._number += 1
        number = self._number
        batch = Batch(f"{prefix}{key_of(number, time.time_ns())}", number, format_, calls, dict(request.headers), extra, total=len(calls))
        batch.tokens = sum(tokens(_encode(call.body)) for call in calls)
        self.batches[batch.id] = batch
        over = [b.id for b in self.batches.values() if b.over]
        for ident in over[: max(0, len(self.batches) - MOST_BATCHES)]:
            del self.batches[ident]
        batch.failures = failures or self._refused(batch)
        if batch.failures:
            batch.status, batch.ended_at, batch.calls = "failed", time.time(), []
        else:
            self.counts["calls"] += len(calls)
            task = asyncio.create_task(self._work(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if number <= self.settings.lost:
            return self.dropped()
        return self._said(batch, request)

    def _refused(self, batch: Batch) -> list[dict[str, Any]]:
        """Why a batch of OpenAI's fails as a whole; Anthropic's have no such state."""
        if batch.format_ is MESSAGES:
            return []
        if self.settings.fails:
            return [{"code": "invalid_request", "message": self.settings.fails, "line": None, "param": None}]
        limit, queued = self.settings.queue_tokens, sum(b.tokens for b in self.batches.values() if not b.over)
        if limit is None or queued <= limit:
            return []
        what = f"Enqueued token limit reached. Limit: {limit:,} enqueued tokens. Please try again once some batches have been completed."
        return [{"code": "token_limit_exceeded", "message": what, "line": None, "param": None}]

    async def _work(self, batch: Batch) -> None:
        """Answer every call, then wait until the batch is due."""
        made: list[tuple[float, str, bytes]] = []
        for place, call in enumerate(batch.calls):
            kind, line = self._answered(batch, call)
            made.append((uniform(self.seed, batch.number, call.custom_id, "order"), kind, line))
            if place % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        while not batch.cancelling and (left := batch.made_at + self.settings.seconds - time.time()) > 0:
            await asyncio.sleep(min(left, 0.05))
        if batch.cancelling:
            due = batch.due(self.settings.seconds)
            made[due:] = [(0.0, "canceled", _line(batch, call, "canceled", None)) for call in batch.calls[due:]]
        batch.calls = []
        apart = batch.format_ is not MESSAGES
        for _, kind, line in sorted(made):
            batch.counts[kind] += 1
            (batch.errors if apart and kind != "succeeded" else batch.lines).append(line)
        batch.status = "cancelled" if batch.cancelling else "expired" if batch.counts["expired"] else "completed"
        batch.ended_at = time.time()

    def _answered(self, batch: Batch, call: Call) -> tuple[str, bytes]:
        """One call: how it ended, and its line of the results."""
        drawn, s = uniform(self.seed, batch.number, call.custom_id, "batch"), self.settings
        if drawn < s.expired_rate:
            return "expired", _line(batch, call, "expired", None)
        if drawn < s.expired_rate + s.errored_rate:
            return "errored", _line(batch, call, "errored", batch.format_.error(500, "The server had an error.", None, None), 500)
        try:
            return "succeeded", _line(batch, call, "succeeded", self.reply(call.body, batch.headers, batch.format_))
        except RequestError as error:
            said = batch.format_.error(error.status, error.message, error.code, error.param)
            return "errored", _line(batch, call, "errored", said, error.status)

    def _page(self, request: Request, prefix: str, cursor: str, most: int) -> dict[str, Any]:
        """A page of the batches of one API, the newest first."""
        newest = [b for b in reversed(self.batches.values()) if b.id.startswith(prefix)]
        after = request.query_params.get(cursor)
        start = next((i + 1 for i, b in enumerate(newest) if b.id == after), 0)
        page = newest[start : start + min(most, int(request.query_params.get("limit", 20)))]
        made = [(self._openai if prefix == "batch_" else self._anthropic)(b, request) for b in page]
        ends = {"first_id": page[0].id if page else None, "last_id": page[-1].id if page else None}
        return {"data": made, "has_more": start + len(page) < len(newest), **ends}

    def _batch(self, request: Request) -> Batch:
        batch = self.batches.get(request.path_params["id"])
        if batch is None:
            raise RequestError(f"No batch found with id '{request.path_params['id']}'.", status=404)
        return batch

    def _file(self, request: Request) -> tuple[dict[str, Any], bytes]:
        held = self.files.get(request.path_params["id"])
        if held is None:
            raise RequestError(f"No such File object: {request.path_params['id']}", status=404)
        return held

    def _keep(self, name: str, content: bytes, purpose: str, ident: str | None = None) -> dict[str, Any]:
        ident = ident or f"file-{key_of(len(self.files), time.time_ns())}"
        about = {
            "id": ident, "object": "file", "bytes": len(content), "created_at": int(time.time()), "filename": name, "purpose": purpose,
            "status": "processed",
        }  # fmt: skip
        self.files[ident] = (about, content)
        while len(self.files) > 1 and sum(len(c) for _, c in self.files.values()) > MOST_BYTES:
            del self.files[next(iter(self.files))]
        return about


def _line(batch: Batch, call: Call, kind: str, body: dict[str, Any] | None, status: int = 200) -> bytes:
    """One line of results, in the format of the API."""
    if batch.format_ is MESSAGES:
        result: dict[str, Any] = {"type": kind}
        if body is not None:
            result["message" if kind == "succeeded" else "error"] = body
        return _encode({"custom_id": call.custom_id, "result": result}).encode() + b"\n"
    response, error = None, None
    if body is not None:
        response = {"status_code": status, "request_id": key_of(batch.id, call.custom_id), "body": body}
    elif kind == "expired":
        error = {"code": "batch_expired", "message": "This request could not be executed before the completion window expired."}
    else:
        error = {"code": "batch_cancelled", "message": "This request could not be executed before the batch was cancelled."}
    ident = f"batch_req_{key_of(batch.id, call.custom_id)}"
    return _encode({"id": ident, "custom_id": call.custom_id, "response": response, "error": error}).encode() + b"\n"


def _calls_of(content: bytes, url: str) -> tuple[list[Call], list[dict[str, Any]]]:
    """The calls of an input file, or why it is none."""
    calls: dict[str, Call] = {}
    for number, line in enumerate(filter(bytes.strip, content.split(b"\n")), 1):
        try:
            entry = json.loads(line)
            call = Call(entry["custom_id"], entry["body"])
            right = entry["method"] == "POST" and entry["url"] == url and isinstance(call.body, dict)
        except (ValueError, KeyError, TypeError):
            return [], [_failure("invalid_json_line", "This line is not parseable as valid JSON.", number)]
        if not right:
            return [], [_failure("mismatched_url", f"The URL of this request is not {url}.", number)]
        if call.custom_id in calls:
            return [], [_failure("duplicate_custom_id", "The custom_id is a duplicate of another request.", number)]
        calls[call.custom_id] = call
    if not calls:
        return [], [_failure("empty_file", "The input file is empty.", None)]
    if len(calls) > MOST_CALLS["openai"]:
        return [], [_failure("too_many_tasks", f"The batch input file holds more than {MOST_CALLS['openai']} requests.", None)]
    return list(calls.values()), []


def _failure(code: str, message: str, line: int | None) -> dict[str, Any]:
    return {"code": code, "message": message, "line": line, "param": None}


def _parts(content_type: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """Name → file name and content of each part of a multipart body."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    if boundary is None:
        raise RequestError("a file comes as multipart/form-data")
    found = {}
    for part in body.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name, file = (re.search(rb"[; ]" + key + rb'="([^"]*)"', head) for key in (b"name", b"filename"))
        if name:
            found[name[1].decode()] = (file[1].decode() if file else "", content.removesuffix(b"\r\n"))
    return found


async def _object(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise RequestError("We could not parse the JSON body of your request.")
    return body


def _moment(at: float) -> str:
    return (datetime.fromtimestamp(0, UTC) + timedelta(seconds=at)).isoformat().replace("+00:00", "Z")


def _json(data: Any) -> Response:
    return Response(_encode(data), media_type="application/json")

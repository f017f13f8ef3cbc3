"""A fast model server for benchmarks: real HTTP/1.1 in a process of its own, with a stated latency and stated faults.

    python benchmarks/server.py --port 0 --latency 0.05 [--reply TEXT] [--rate-429 0.05 --retry-after 1] [--die-after 300] …

The first line on standard output is its URL. It answers POST /v1/chat/completions, /v1/responses and /v1/messages: with
`--reply`, or with JSON that the schema in the request allows, drawn by the hash of the question, so that the same question
always gets the same answer. GET /stats gives what it has counted, as JSON; when it is ended (SIGTERM, SIGINT) the same
stands on one last line of standard output.

Faults are drawn by hash(seed, body, attempt): each attempt at a body is drawn anew, and a second run meets the same faults.
The standard library is enough; uvloop is used where it is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

KINDS = ("429", "429_ms", "500", "drop", "malformed_json", "malformed_shape", "malformed_text", "stall")
TOLERANCE_S = 0.001  # clocks of two processes: a retry this much before its time is on time
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error"}


class Counts:
    """What has come in, by the hash of the body."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.attempts: dict[bytes, int] = {}
        self.answered: set[bytes] = set()  # well answered: whoever asks again pays twice
        self.not_before: dict[bytes, float] = {}  # until when a body was asked to wait, on the monotonic clock
        self.faults: Counter[str] = Counter()
        self.requests = self.repeated = self.answered_again = self.early = self.abandoned = 0
        self.connections = self.open = self.working = self.max_working = 0

    def arrived(self, key: bytes) -> str | None:
        """Counts a request; the fault it meets, or None."""
        attempt = self.attempts.get(key, 0)
        self.attempts[key] = attempt + 1
        self.requests += 1
        self.repeated += attempt > 0
        self.answered_again += key in self.answered
        self.early += self.not_before.pop(key, 0.0) > time.monotonic() + TOLERANCE_S
        kind = self._drawn(key, attempt)
        if kind is not None:
            self.faults[kind] += 1
        return kind

    def _drawn(self, key: bytes, attempt: int) -> str | None:
        if not self.options.rates:
            return None
        digest = hashlib.blake2b(f"{self.options.seed}/{attempt}".encode() + key, digest_size=8).digest()
        left = int.from_bytes(digest, "big") / 2**64
        for kind, rate in self.options.rates:
            if left < rate:
                return str(kind)
            left -= rate
        return None

    def document(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "distinct_bodies": len(self.attempts),
            "repeated_bodies": self.repeated,
            "answered": len(self.answered),
            "answered_again": self.answered_again,  # asked although a good answer had been sent
            "abandoned": self.abandoned,  # the client went away before its answer
            "early_retries": self.early,  # asked again before their Retry-After
            "connections": self.connections,
            "open_connections": self.open,
            "max_concurrent": self.max_working,
            "faults": {kind: self.faults[kind] for kind in KINDS},
            "cpu_s": round(time.process_time(), 3),
        }


class Connection(asyncio.Protocol):
    """One connection: requests one after the other, as keep-alive clients send them."""

    def __init__(self, server: Server) -> None:
        self.server, self.counts, self.options = server, server.counts, server.options
        self.received = bytearray()
        self.timer: asyncio.TimerHandle | None = None  # of the answer under way
        self.idle: asyncio.TimerHandle | None = None
        self.working = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.counts.connections += 1
        self.counts.open += 1
        self.server.open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.counts.open -= 1
        self.server.open.discard(self)
        if self.working:
            self.counts.abandoned += 1
            self._done()
        for timer in (self.timer, self.idle):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.working:
            self._next()

    def _next(self) -> None:
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.received[:end])
        found = LENGTH.search(head)
        stop = end + 4 + (int(found.group(1)) if found else 0)
        if len(self.received) < stop:
            return
        body = bytes(self.received[end + 4 : stop])
        del self.received[:stop]
        if self.idle is not None:
            self.idle.cancel()
        method, path = head.split(b" ", 2)[:2]
        self.close_after = CLOSE.search(head) is not None
        if method == b"GET" and path == b"/stats":
            self._send(200, json.dumps(self.counts.document()).encode())
        elif method == b"POST" and path in SHAPES:
            self._question(path, body)
        else:
            self._send(404, b'{"error": {"message": "no such path", "type": "not_found_error"}}')

    def _question(self, path: bytes, body: bytes) -> None:
        key = hashlib.blake2b(body, digest_size=12).digest()
        self.working = True
        self.counts.working += 1
        self.counts.max_working = max(self.counts.max_working, self.counts.working)
        fault = self.counts.arrived(key)
        self.server.count_to_death()
        if fault != "stall":
            self.timer = asyncio.get_running_loop().call_later(self.options.latency, self._answer, path, body, key, fault)

    def _answer(self, path: bytes, body: bytes, key: bytes, fault: str | None) -> None:
        self._done()
        if fault == "drop":
            self.transport.abort()
        elif fault in ("429", "429_ms"):
            wait = self.options.retry_after
            self.counts.not_before[key] = time.monotonic() + wait
            # whole seconds, as most servers send them; the other kind is of those that add milliseconds
            header = f"retry-after: {wait:g}" if fault == "429" else f"retry-after-ms: {wait * 1000:g}"
            self._send(429, b'{"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}', header)
        elif fault == "500":
            self._send(500, b'{"error": {"message": "something broke", "type": "api_error"}}')
        elif fault == "malformed_shape":
            self._send(200, b'{"model": "judge", "answer": "of another API"}')
        else:
            data = reply(path, body, "I would rather not say." if fault == "malformed_text" else self.options.reply)
            if fault == "malformed_json":
                data = data[: len(data) // 2]
            elif data and fault is None:
                self.counts.answered.add(key)
            self._send(200 if data else 400, data or b'{"error": {"message": "the body is not JSON", "type": "invalid_request_error"}}')

    def _done(self) -> None:
        if self.working:
            self.working = False
            self.counts.working -= 1

    def _send(self, status: int, body: bytes, header: str = "x-request-id: req_1") -> None:
        head = f"HTTP/1.1 {status} {PHRASES[status]}\r\ncontent-type: application/json\r\n{header}\r\ncontent-length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)
        if self.close_after:
            self.transport.close()
            return
        if self.options.close_idle is not None:
            self.idle = asyncio.get_running_loop().call_later(self.options.close_idle, self.transport.close)
        if self.received:
            self._next()


class Server:
    """The listening socket, its connections, and its end."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.counts = options, Counts(options)
        self.open: set[Connection] = set()

    async def run(self) -> None:
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((self.options.host, self.options.port))
        self.listener = None
        if not self.options.down:  # a port that is bound and not listened to refuses every connection
            self.listener = await asyncio.get_running_loop().create_server(lambda: Connection(self), sock=bound, backlog=4096)
        print(f"http://{self.options.host}:{bound.getsockname()[1]}", flush=True)
        await ended.wait()
        print(json.dumps(self.counts.document()), flush=True)

    def count_to_death(self) -> None:
        """After `--die-after` requests the port is closed for good; the process lives on to tell its counts when it is ended."""
        if self.options.die_after is not None and self.counts.requests >= self.options.die_after and self.listener is not None:
            self.listener.close()
            self.listener = None
            for connection in list(self.open):
                connection.transport.abort()


def reply(path: bytes, body: bytes, text: str | None) -> bytes:
    """A reply in the format of a path, with `text` or with what the request's schema allows. Empty where the body is not JSON."""
    try:
        asked = json.loads(body)
    except ValueError:
        return b""
    if text is None:
        # the name of the model stays out: two judges of one question agree, and so does a judge that has been renamed
        seed = hashlib.blake2b(json.dumps(asked.get("messages") or asked.get("input")).encode(), digest_size=8).digest()
        schema = _schema(asked)
        text = "fine" if schema is None else json.dumps(allowed(schema, int.from_bytes(seed, "big")))
    return json.dumps(SHAPES[path](asked.get("model"), text, len(body) // 4, len(text) // 4 + 1)).encode()


def _schema(asked: dict[str, Any]) -> Any:
    places = (asked.get("response_format"), asked.get("output_config"), asked.get("text"))
    for place in places:
        if isinstance(place, dict):
            form = place.get("format", place)
            return (form.get("json_schema") or form).get("schema")
    return None


def allowed(schema: dict[str, Any], seed: int, named: dict[str, Any] | None = None) -> Any:
    """A value that a judge's schema allows (objects, enums, numbers in a range, text), drawn by the seed."""
    named = schema.get("$defs", {}) if named is None else named
    if "$ref" in schema:
        schema = named[schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        return schema["enum"][seed % len(schema["enum"])]
    kind = schema.get("type")
    if kind == "object":
        parts = schema.get("properties", {}).items()
        return {name: allowed(part, seed // 7 + place * 31, named) for place, (name, part) in enumerate(parts)}
    if kind == "array":
        return [allowed(schema.get("items", {}), seed, named)] * schema.get("minItems", 1)
    if kind == "integer":
        low, high = schema.get("minimum", 0), schema.get("maximum", 10)
        return low + seed % (high - low + 1)
    if kind == "number":
        low, high = schema.get("minimum", 0), schema.get("maximum", 1)
        return low + (high - low) * (seed % 101) / 100
    if kind == "boolean":
        return bool(seed % 2)
    return "The answer is judged by the rubric, part by part, and each part is given the level that fits it."


def chat(model: str, text: str, tokens_in: int, tokens_out: int) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1764000000, "model": model, "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None,
                     "message": {"role": "assistant", "content": text, "refusal": None, "annotations": []}}],
        "usage": {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out},
    }  # fmt: skip


def responses(model: str, text: str, tokens_in: int, tokens_out: int) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "id": "resp_1", "object": "response", "created_at": 1764000000, "model": model, "status": "completed", "error": None,
        "output": [{"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": content}],
        "usage": {"input_tokens": tokens_in, "output_tokens": tokens_out, "total_tokens": tokens_in + tokens_out},
    }  # fmt: skip


def messages(model: str, text: str, tokens_in: int, tokens_out: int) -> dict[str, Any]:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": tokens_in, "output_tokens": tokens_out},
    }  # fmt: skip


SHAPES = {b"/v1/chat/completions": chat, b"/v1/responses": responses, b"/v1/messages": messages}


class Running:
    """A server that `serving` has started."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process, self.url = process, url

    def stats(self) -> dict[str, Any]:
        """What it has counted until now. After `--die-after` nobody answers: end it and take what `stop` gives."""
        with urlopen(f"{self.url}/stats", timeout=10) as response:
            return dict(json.load(response))

    def stop(self) -> dict[str, Any]:
        """Ends the server; what it has counted."""
        if self.process.poll() is None:
            self.process.terminate()
        told = self.process.communicate(timeout=10)[0]
        return dict(json.loads(told.splitlines()[-1])) if told.strip() else {}


@contextmanager
def serving(*options: str) -> Iterator[Running]:
    """A server in a process of its own: `with serving("--latency", "0.05") as server: … server.url, server.stats()`."""
    process = subprocess.Popen([sys.executable, str(Path(__file__)), *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    if not url:
        raise SystemExit(f"the server did not start: {' '.join(options)}")
    server = Running(process, url)
    try:
        yield server
    finally:
        if process.returncode is None:
            server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before each answer")
    parser.add_argument("--reply", help="the text of every answer (default: what the request's schema allows)")
    parser.add_argument("--seed", type=int, default=1, help="of the faults")
    for kind in KINDS:
        parser.add_argument(f"--rate-{kind.replace('_', '-')}", type=float, default=0.0, help="share of attempts")
    parser.add_argument("--retry-after", type=float, default=1.0, help="seconds that a 429 asks to wait")
    parser.add_argument("--close-idle", type=float, help="seconds after which a kept connection is closed")
    parser.add_argument("--die-after", type=int, help="requests after which the port is closed for good")
    parser.add_argument("--down", action="store_true", help="every connection is refused")
    options = parser.parse_args()
    options.rates = [(kind, rate) for kind in KINDS if (rate := getattr(options, f"rate_{kind}"))]
    try:
        import uvloop
    except ImportError:
        asyncio.run(Server(options).run())
    else:
        uvloop.run(Server(options).run())


if __name__ == "__main__":
    main()

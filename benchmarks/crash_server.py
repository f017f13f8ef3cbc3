"""A model server that keeps a log, for benchmarks/kills.py: which question came when, and when its answer was sent whole.

    python benchmarks/crash_server.py --port 0 --latency-ms 50

Answers are those of benchmarks/server.py; a question without a schema, which is a system's, gets a text that differs from
question to question. `GET /log?from=N` is the log, `POST /settings` changes latency and length of answers while it runs.
The first line on standard output is its URL.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import time
from typing import Any, NamedTuple

from server import reply  # found beside this file

PATH = b"/v1/chat/completions"


class Entry(NamedTuple):
    """One request. Times are seconds of the monotonic clock, which all processes share; `sent` is None where no answer was sent."""

    key: str
    came: float
    sent: float | None


def key_of(model: str, messages: list[dict[str, Any]]) -> str:
    """What tells one question from another: the model and the exact messages."""
    text = json.dumps([model, [[m["role"], m["content"]] for m in messages]])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class LoggingServer:
    """Answers, and what came when."""

    def __init__(self, settings: dict[str, float]) -> None:
        self.settings = settings
        self.log: list[Entry] = []

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
                path = head[0].split(" ")[1]
                sizes = [line.split(":")[1] for line in head if line.startswith("content-length:")]
                body = await reader.readexactly(int(sizes[0])) if sizes else b""
                if path.startswith("/log"):
                    await send(writer, json.dumps(self.log[int(path.partition("from=")[2] or 0) :]).encode())
                elif path == "/settings":
                    self.settings |= json.loads(body)
                    await send(writer, json.dumps(self.settings).encode())
                else:
                    await self.question(body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away
        finally:
            writer.close()

    async def question(self, body: bytes, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(body)
        key, place = key_of(asked["model"], asked["messages"]), len(self.log)
        self.log.append(Entry(key, time.monotonic(), None))
        number = int(key[:8], 16)
        await asyncio.sleep(self.settings["latency_ms"] / 1000 * (0.5 + number % 101 / 100))  # a mean of latency_ms, 50 % to both sides
        text = f"You may keep it for {number % 90} days. " + key * int(self.settings["chars"] // 32)
        await send(writer, reply(PATH, body, None if "response_format" in asked else text))
        self.log[place] = self.log[place]._replace(sent=time.monotonic())


async def send(writer: asyncio.StreamWriter, body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


async def serve(port: int, settings: dict[str, float]) -> None:
    server = await asyncio.start_server(LoggingServer(settings).connection, "127.0.0.1", port, limit=2**24, backlog=512)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--chars", type=float, default=0.0, help="how much text a system's answer has beyond its first sentence")
    given = vars(parser.parse_args())
    asyncio.run(serve(given.pop("port"), given))


if __name__ == "__main__":
    main()

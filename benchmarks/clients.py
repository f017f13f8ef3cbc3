"""What one question to a model costs in CPU: evalh's providers beside plain uses of the official clients and bare aiohttp.

    python benchmarks/clients.py [--calls 1000] [--concurrency 64] [--latency 0.05] [--rounds 5] [--only openai …] [--json]

Every contestant asks the same judge question over real HTTP, in a process of its own; rounds are interleaved, so that what
else the machine does falls on all alike. Shown are medians: CPU per call (after a first call), its ratio to bare aiohttp
in the same round, what the process costs before (start-up and imports), and the whole. Modules are compiled once before,
as installers do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

Ask = Callable[[int], Awaitable[Any]]  # one question, by its number

LEVELS = {"type": "object", "properties": {"quality": {"type": "integer", "enum": [1, 2, 3, 4, 5]}}, "required": ["quality"]}
SCHEMA = {
    "type": "object",
    "properties": {"rationale": {"type": "string"}, "scores": {**LEVELS, "additionalProperties": False}},
    "required": ["rationale", "scores"],
    "additionalProperties": False,
}
SYSTEM = "You grade one answer by a rubric. " + "Read the question and the answer with care, and give each part its level. " * 10
MODEL, LIMIT = "judge", 512


def user(number: int) -> str:
    return f"Item {number}. " + "What does the policy say about returns after thirty days, and who pays for them? " * 10


def chat_body(number: int) -> dict[str, Any]:
    turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": user(number)}]
    form = {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": SCHEMA}}
    return {"model": MODEL, "max_tokens": LIMIT, "messages": turns, "response_format": form}


def messages_body(number: int) -> dict[str, Any]:
    turns, form = [{"role": "user", "content": user(number)}], {"format": {"type": "json_schema", "schema": SCHEMA}}
    return {"model": MODEL, "max_tokens": LIMIT, "system": SYSTEM, "messages": turns, "output_config": form}


@asynccontextmanager
async def bare_aiohttp(url: str, at_once: int) -> AsyncIterator[Ask]:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=at_once)) as session:

        async def ask(number: int) -> Any:
            async with session.post(f"{url}/v1/chat/completions", json=chat_body(number), headers={"authorization": "Bearer k"}) as reply:
                return json.loads(await reply.read())["choices"][0]["message"]["content"]

        yield ask


def _http_client(sdk: Any, at_once: int, aio: bool) -> dict[str, Any]:
    import httpx2

    limits = httpx2.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    return {"http_client": sdk.DefaultAioHttpClient(limits=limits)} if aio else {}


def openai(way: str, aio: bool = False) -> Any:
    @asynccontextmanager
    async def contestant(url: str, at_once: int) -> AsyncIterator[Ask]:
        import openai as sdk
        from pydantic import BaseModel

        class Scores(BaseModel):
            quality: int

        class Graded(BaseModel):
            rationale: str
            scores: Scores

        client = sdk.AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0, timeout=60, **_http_client(sdk, at_once, aio))

        async def ask(number: int) -> Any:
            body = chat_body(number)
            if way == "create":
                return (await client.chat.completions.create(**body)).choices[0].message.content
            if way == "parse":
                return (await client.chat.completions.parse(**{**body, "response_format": Graded})).choices[0].message.parsed
            data: Any = await client.post("/chat/completions", body=body, cast_to=object)
            return data["choices"][0]["message"]["content"]

        yield ask
        await client.close()

    return contestant


def anthropic(way: str, aio: bool = False) -> Any:
    @asynccontextmanager
    async def contestant(url: str, at_once: int) -> AsyncIterator[Ask]:
        import anthropic as sdk

        client = sdk.AsyncAnthropic(api_key="k", base_url=url, max_retries=0, timeout=60, **_http_client(sdk, at_once, aio))

        async def ask(number: int) -> Any:
            body = messages_body(number)
            if way == "create":
                return (await client.messages.create(**body)).content[0].text
            data: Any = await client.post("/v1/messages", body=body, cast_to=object)
            return data["content"][0]["text"]

        yield ask
        await client.close()

    return contestant


def evalh(provider: str) -> Any:
    @asynccontextmanager
    async def contestant(url: str, at_once: int) -> AsyncIterator[Ask]:
        from evalh.providers.base import Request, Target
        from evalh.providers.registry import provider_for
        from evalh.records import Message

        judge = provider_for(Target(provider=provider, model=MODEL, base_url=f"{url}/v1", max_tokens=LIMIT))

        async def ask(number: int) -> Any:
            messages = (Message(role="system", content=SYSTEM), Message(role="user", content=user(number)))
            return (await judge.ask(Request(messages=messages, schema_=SCHEMA))).text

        yield ask
        await judge.aclose()

    return contestant


BARE = "bare aiohttp"
CONTESTANTS: dict[str, Any] = {
    BARE: bare_aiohttp,
    "openai create": openai("create"),
    "openai parse": openai("parse"),
    "openai post": openai("post"),
    "openai post, its aiohttp client": openai("post", aio=True),
    "evalh openai": evalh("openai"),
    "anthropic create": anthropic("create"),
    "anthropic post": anthropic("post"),
    "anthropic post, its aiohttp client": anthropic("post", aio=True),
    "evalh anthropic": evalh("anthropic"),
}


async def measured(name: str, url: str, calls: int, at_once: int) -> dict[str, float]:
    """Asks, and what that took. Every reply must be there."""
    async with CONTESTANTS[name](url, at_once) as ask:
        assert await ask(-1)
        numbers = iter(range(calls))

        async def worker() -> None:
            for number in numbers:
                assert await ask(number)

        before, start = time.process_time(), time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(at_once)))
        cpu, wall = time.process_time() - before, time.perf_counter() - start
    return {"calls_cpu_s": cpu, "wall_s": wall, "start_cpu_s": before, "whole_cpu_s": time.process_time()}


def run_one(name: str, url: str, calls: int, at_once: int, compiled: str) -> dict[str, float]:
    """One contestant in a process of its own."""
    env = {**os.environ, "PYTHONPYCACHEPREFIX": compiled, "OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, __file__, "--contestant", name, "--url", url, "--calls", str(calls), "--concurrency", str(at_once)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout))


def compared(names: list[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    from server import serving

    with tempfile.TemporaryDirectory() as compiled, serving("--latency", str(options.latency)) as server:
        for name in names:  # compiles what it imports
            run_one(name, server.url, 1, 1, compiled)
        rounds = [
            {name: run_one(name, server.url, options.calls, options.concurrency, compiled) for name in names} for _ in range(options.rounds)
        ]
        expected = len(names) * (2 + options.rounds * (options.calls + 1))
        assert server.stats()["requests"] == expected, "a contestant asked more or less than it was told to"
    rows = []
    for name in names:
        median = {field: statistics.median(r[name][field] for r in rounds) for field in rounds[0][name]}
        ratio = statistics.median(r[name]["calls_cpu_s"] / r[BARE]["calls_cpu_s"] for r in rounds)
        rows.append({"contestant": name, "cpu_ms_per_call": median["calls_cpu_s"] / options.calls * 1000, "ratio_to_bare": ratio, **median})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds that the server waits before it answers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[""], help="contestants whose name holds one of these words")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        print(json.dumps(asyncio.run(measured(options.contestant, options.url, options.calls, options.concurrency))))
        return
    rows = compared([name for name in CONTESTANTS if name == BARE or any(word in name for word in options.only)], options)
    if options.json:
        print(json.dumps({"calls": options.calls, "concurrency": options.concurrency, "latency_s": options.latency, "contestants": rows}))
        return
    print(
        f"{options.calls} calls, {options.concurrency} at once, {options.latency:g} s each; medians of {options.rounds} interleaved rounds"
    )
    print(f"{'':36}{'CPU ms/call':>12}{'× bare':>8}{'start CPU s':>13}{'whole CPU s':>13}{'wall s':>8}")
    for row in rows:
        print(
            f"{row['contestant']:36}{row['cpu_ms_per_call']:12.3f}{row['ratio_to_bare']:8.2f}"
            f"{row['start_cpu_s']:13.2f}{row['whole_cpu_s']:13.2f}{row['wall_s']:8.2f}"
        )


if __name__ == "__main__":
    main()

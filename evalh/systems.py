"""Systems under test: where outputs come from. Each kind turns an item into outputs; none judges anything.

A system that fails on an item gives an `Output` with `error` set: a fact that is stored and counted, not an exception.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import shlex
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from evalh.errors import InputError, ProviderError, ProviderUnusable
from evalh.interchange.jsonl import OUTPUT_AGAIN, output_of
from evalh.interchange.line_index import LineIndex
from evalh.providers.base import Reply, Request
from evalh.records import Item, Message, Output, ToolCall
from evalh.store.rows import readable
from evalh.suites.items import Items
from evalh.suites.model import Command, Endpoint, Function, Model, Recorded, System
from evalh.threads import in_thread

Ask = Callable[[Request, str, int], Awaitable[tuple[Reply, float | None, float | None]]]  # request, item_id, trial → reply, USD, ms


LONGEST_LINE = 2**24  # bytes of one answer of a program
_TOGETHER = 1000  # items whose outputs are read at a time


class Source(Protocol):
    """Where the outputs of one system come from."""

    kind: str

    async def answer(self, item: Item, trial: int = 0) -> Output:
        """The output for an item. A failure is an output with `error`."""
        ...

    async def aclose(self) -> None: ...


class RecordedSource:
    """Outputs of an outputs.jsonl, parsed where they are needed. `systems` are the names in it, in the order of their first line."""

    kind = "recorded"

    def __init__(self, spec: Recorded, path: Path, trials: int | None = None) -> None:
        self.path = path
        self.trials = trials  # so many of each item are used, those with the lowest numbers; all of them where not given
        self.systems: dict[str, str | None] = {}
        self._spec = spec
        self._authors: dict[str | None, None] = {}
        self._versions: set[str] = set()
        self._seen: set[tuple[str, str | None, str | None]] = set()  # system, family and version, as the file has them
        self._outputs = LineIndex(
            path,
            output_of,
            key=lambda output: output.item_id,
            identity=lambda output: (output.item_id, output.system, output.trial),
            again=OUTPUT_AGAIN,
            each=self._see,
        )
        self._outputs.make = partial(output_of, given=self._given())
        self.authors = [name for name in self._authors if name]  # what the file calls them, whatever the suite does
        self.version = self._versions.pop() if len(self._versions) == 1 else ""  # of all outputs, where they agree
        if not self.systems:
            what = "holds no output" if spec.name is None else f"holds no output of system {spec.name!r}"
            raise InputError(what, where=spec.recorded, hint="`name` must be the `system` of its lines")
        if spec.rename is not None and len(self.systems) > 1:
            raise InputError(
                f"`rename` needs one system, and the file holds {len(self.systems)}", where=spec.recorded, hint="pick one by `name`"
            )
        if spec.rename is not None:
            self.systems = {spec.rename: next(iter(self.systems.values()))}

    def _see(self, _line: int, output: Output) -> bool:
        """Whether an output is of a system that the suite means; of each new one, its name, family and version are noted."""
        spec, seen = self._spec, (output.system, output.family, output.system_version)
        if (spec.name is not None and output.system != spec.name) or (self.trials is not None and output.trial >= self.trials):
            return False
        if seen in self._seen:
            return True
        self._seen.add(seen)
        family = spec.family or self.systems.get(output.system) or output.family
        if family != (spec.family or output.family or family):
            raise InputError(
                f"system {output.system!r} is of family {family!r} and of {output.family!r}",
                where=spec.recorded, hint="give systems of two families two names",
            )  # fmt: skip
        self.systems[output.system] = family
        self._versions.add(spec.version or output.system_version or "")
        self._authors |= {output.system: None, output.system_version: None}
        return True

    def _given(self) -> dict[str, str]:
        """The fields that the suite sets, whatever the file says."""
        spec = self._spec
        return {k: v for k, v in {"family": spec.family, "system_version": spec.version, "system": spec.rename}.items() if v}

    @property
    def file_hash(self) -> str:
        """The hash of the file."""
        return self._outputs.digest

    def outputs_of(self, item: Item) -> list[Output]:
        """The outputs for an item, in the order of the file."""
        return self._outputs.get(item.item_id)

    def answer_many(self, items: Sequence[Item]) -> list[list[Output]]:
        """The outputs for each item: many at a time is twice as fast as one by one."""
        return self._outputs.find([item.item_id for item in items])

    def each(self, items: Sequence[Item]) -> Iterator[list[Output]]:
        """`answer_many`, a thousand items at a time."""
        for first in range(0, len(items), _TOGETHER):
            yield from self.answer_many(items[first : first + _TOGETHER])

    def counts(self, items: Sequence[Item]) -> npt.NDArray[np.int64]:
        """How many outputs there are for each item, told by the hashes of their ids: no output is read."""
        hashes = items.hashes if isinstance(items, Items) else np.array([hash(item.item_id) for item in items], dtype=np.int64)
        return self._outputs.counts(hashes)

    async def answer(self, item: Item, trial: int = 0) -> Output:
        return next(o for o in self.outputs_of(item) if o.trial == trial)

    async def aclose(self) -> None:
        return None


class FunctionSource:
    """A Python function, sync (run in a thread) or async."""

    kind = "function"

    def __init__(self, spec: Function, name: str, function: Callable[..., Any]) -> None:
        self.spec, self.name, self.function = spec, name, function
        wants = [p for p in inspect.signature(self.function).parameters.values() if p.default is p.empty]
        self.wants_item = bool(wants) and wants[0].name == "item"

    async def answer(self, item: Item, trial: int = 0) -> Output:
        start = time.perf_counter()
        given = item if self.wants_item else item.input
        try:
            value = self.function(given) if inspect.iscoroutinefunction(self.function) else await in_thread(self.function, given)
            if inspect.isawaitable(value):
                value = await value
            output = as_output(value, item, self.name)
        except (Exception, SystemExit) as error:  # the system under test failed: that is a result
            output = Output(item_id=item.item_id, system=self.name, error=f"{type(error).__name__}: {error}"[:500])
        return _stamped(output, self.spec, (time.perf_counter() - start) * 1000, trial)

    async def aclose(self) -> None:
        return None


class ModelSource:
    """A model of a provider, or an OpenAI-compatible endpoint."""

    kind = "model"

    def __init__(self, spec: Model, name: str, ask: Ask) -> None:
        self.spec, self.name, self.ask = spec, name, ask
        self.kind = "endpoint" if isinstance(spec, Endpoint) else "model"

    def request(self, item: Item) -> Request:
        if isinstance(item.input, list) and self.spec.template == "{input}":
            messages = list(item.input)
        else:
            messages = [Message(role="user", content=self.spec.template.replace("{input}", item.input_text))]
        if self.spec.system_prompt:
            messages.insert(0, Message(role="system", content=self.spec.system_prompt))
        return Request(messages=tuple(messages))

    async def answer(self, item: Item, trial: int = 0) -> Output:
        try:
            reply, cost, latency = await self.ask(self.request(item), item.item_id, trial)
        except ProviderUnusable:
            raise
        except ProviderError as error:
            return _stamped(Output(item_id=item.item_id, system=self.name, error=str(error)[:500]), self.spec, 0.0, trial)
        output = Output(
            item_id=item.item_id,
            system=self.name,
            text=readable(reply.text),
            tool_calls=list(reply.tool_calls),
            cost_usd=cost,
            tokens=(reply.tokens_in or 0) + (reply.tokens_out or 0),
            meta={"finish_reason": reply.finish_reason, "reported_version": reply.version},
        )
        return _stamped(output, self.spec, latency, trial)

    async def aclose(self) -> None:
        return None


class CommandSource:
    """A program that reads one JSON object a line and writes one a line, in any order. Started once for a run."""

    kind = "command"

    def __init__(self, spec: Command, name: str, cwd: Path) -> None:
        self.spec, self.name, self.cwd = spec, name, cwd
        self.argv = argv_of(spec)
        self.process: asyncio.subprocess.Process | None = None
        self.waiting: dict[str, list[asyncio.Future[dict[str, Any]]]] = {}  # by item: its trials are answered in their order
        self.starting = asyncio.Lock()
        self.reader: asyncio.Task[None] | None = None
        self.stderr = bytearray()
        self.gone: EOFError | None = None

    async def answer(self, item: Item, trial: int = 0) -> Output:
        start = time.perf_counter()
        try:
            async with asyncio.timeout(self.spec.timeout_s):  # writing included: a program that does not read keeps its pipe full
                value = await self._exchange(item, trial)
            output = as_output(value, item, self.name)
        except TimeoutError:
            output = Output(item_id=item.item_id, system=self.name, error=f"no answer within {self.spec.timeout_s:g} s")
        except (OSError, EOFError, InputError, ValueError, TypeError) as error:
            output = Output(item_id=item.item_id, system=self.name, error=str(error)[:500])
        return _stamped(output, self.spec, (time.perf_counter() - start) * 1000, trial)

    async def _exchange(self, item: Item, trial: int) -> dict[str, Any]:
        process = await self._started()
        if self.gone is not None:
            raise self.gone
        assert process.stdin is not None
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        queue = self.waiting.setdefault(item.item_id, [])
        queue.append(future)
        try:
            process.stdin.write(_line({"item_id": item.item_id, "input": item.model_dump(mode="json")["input"], "trial": trial}))
            await process.stdin.drain()
            return await future
        finally:
            queue.remove(future)
            if not queue:
                self.waiting.pop(item.item_id, None)

    async def _started(self) -> asyncio.subprocess.Process:
        async with self.starting:
            if self.process is None:
                try:
                    self.process = await asyncio.create_subprocess_exec(
                        *self.argv,
                        cwd=self.cwd,
                        start_new_session=True,
                        limit=LONGEST_LINE,
                        stdin=asyncio.subprocess.PIPE,
                        stdout=asyncio.subprocess.PIPE,
                        stderr=asyncio.subprocess.PIPE,
                    )
                except OSError as error:
                    raise InputError(f"cannot start {self.argv[0]!r}: {error.strerror}", where="system.command") from None
                self.reader = asyncio.create_task(self._read(self.process))
            return self.process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        errors = asyncio.create_task(self._read_errors(process.stderr))
        try:
            await self._read_answers(process.stdout)
            await errors
            tail = self.stderr.decode(errors="replace").strip().splitlines()[-1:]
            self.gone = EOFError(f"the program ended (exit {await process.wait()}){': ' + tail[0] if tail else ''}")
        except ValueError:  # what comes after it cannot be told apart
            self.gone = EOFError(f"the program wrote a line of more than {LONGEST_LINE:,} bytes")
        for future in [f for queue in self.waiting.values() for f in queue]:
            if not future.done():
                future.set_exception(self.gone)

    async def _read_answers(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            try:
                value = json.loads(line)
                queue = self.waiting.get(str(value["item_id"]), [])
            except (ValueError, KeyError, TypeError):
                continue  # a program may log to standard output; a line without item_id is not an answer
            future = next((f for f in queue if not f.done()), None)
            if future is not None:
                future.set_result(value)

    async def _read_errors(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(4096):
            self.stderr = (self.stderr + chunk)[-4096:]

    async def aclose(self) -> None:
        if self.process is None or self.reader is None:
            return
        if self.process.stdin is not None:
            self.process.stdin.close()
        done, _ = await asyncio.wait([self.reader], timeout=2)
        if done and self.process.returncode is not None:
            return
        with suppress(ProcessLookupError):  # the program goes on, or a child of it that holds its pipes open
            os.killpg(self.process.pid, signal.SIGKILL)
        await asyncio.wait([self.reader], timeout=2)
        self.reader.cancel()


def as_output(value: Any, item: Item, system: str) -> Output:
    """What a function or a program returned, as an output: text, a dict with `output`, or an `Output`.

    Halves of surrogate pairs, which nothing downstream can send or store, are shown as U+FFFD from here on. Raises InputError,
    ValueError or TypeError where it is none of these, or holds what JSON cannot.
    """
    output = _output(value, item, system)
    json.dumps(output.model_dump(mode="json"), allow_nan=False)  # the store takes nothing else
    return output.model_copy(update={"text": readable(output.text)})


def _output(value: Any, item: Item, system: str) -> Output:
    if isinstance(value, Output):
        return value.model_copy(update={"item_id": item.item_id, "system": system})
    if isinstance(value, str):
        return Output(item_id=item.item_id, system=system, text=value)
    if isinstance(value, dict) and "error" in value and "output" not in value:
        return Output(item_id=item.item_id, system=system, error=str(value["error"])[:500])
    if isinstance(value, dict) and "output" in value:
        text = value["output"] if isinstance(value["output"], str) else json.dumps(value["output"], ensure_ascii=False)
        calls = [ToolCall(**call) for call in value.get("tool_calls") or []]
        return Output(
            item_id=item.item_id, system=system, text=text, tool_calls=calls, cost_usd=value.get("cost_usd"), meta=value.get("meta") or {}
        )
    raise InputError(f"the system returned {type(value).__name__}", hint="return text, a dict with `output`, or an evalh.Output")


def pairs_of(own: Sequence[Output], others: Sequence[Output] | None) -> list[tuple[Output, Output]]:
    """The pairs of an item that are judged: different systems, the same trial. Without `others`, the systems of one file."""
    if others is not None:
        return [(a, b) for a in own for b in others if a.trial == b.trial]
    return [(a, b) for n, a in enumerate(own) for b in own[n + 1 :] if a.system != b.system and a.trial == b.trial]


def missing_items(source: Source, items: Sequence[Item]) -> list[str]:
    """Items that a recorded source has no output for; other sources answer everything."""
    if not isinstance(source, RecordedSource):
        return []
    return [items[int(place)].item_id for place in np.flatnonzero(source.counts(items) == 0)]


def missing_trial(source: Source, items: Sequence[Item]) -> Output | None:
    """Where the recorded outputs of a system are fewer than the suite's trials: an empty output of the first trial that is missing."""
    if not isinstance(source, RecordedSource) or source.trials is None:
        return None
    whole = source.trials * len(source.systems)
    for place in np.flatnonzero(source.counts(items) != whole):
        outputs = source.outputs_of(items[int(place)])
        there = {(o.system, o.trial) for o in outputs}
        for output in outputs:
            for trial in range(source.trials):
                if (output.system, trial) not in there:
                    return Output(item_id=output.item_id, system=output.system, trial=trial)
    return None


def name_of(spec: System) -> str | None:
    """The system's name: as given, or what it is made of. None for recorded outputs, which name themselves."""
    if spec.name:
        return spec.name
    if isinstance(spec, Recorded):
        return None
    if isinstance(spec, Model):
        return spec.model
    if isinstance(spec, Function):
        return spec.function if isinstance(spec.function, str) else getattr(spec.function, "__name__", type(spec.function).__name__)
    assert isinstance(spec, Command)
    return Path(argv_of(spec)[0]).name if argv_of(spec) else None


def argv_of(spec: Command) -> list[str]:
    """Program and arguments."""
    return shlex.split(spec.command) if isinstance(spec.command, str) else list(spec.command)


def _stamped(output: Output, spec: System, latency: float | None, trial: int) -> Output:
    return output.model_copy(
        update={
            "trial": trial,
            "system_version": spec.version or output.system_version,
            "family": spec.family or output.family,
            "latency_ms": latency if output.latency_ms is None else output.latency_ms,
        }
    )


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"

"""Asking over HTTP through an official client: one client per server, key and event loop, one POST per question, no retries.

The clients' own `post(url, body=…, cast_to=httpx2.Response)` is their documented door for requests that they do not
model. It keeps their authentication, headers and errors and leaves out what costs most of a call's time here: walking
the type hints of the request and building response models. `benchmarks/clients.py` shows what each way costs.
"""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from evalh.errors import InputError, ProviderError, ProviderRefused
from evalh.providers.base import Reply, Request, Target
from evalh.providers.endpoint import Endpoint
from evalh.providers.errors import from_exception, in_reply, timed_out, unreadable
from evalh.records import ToolCall

RESERVED = frozenset({"messages", "input", "model", "stream"})  # what `params` cannot set


class HTTPProvider(ABC):
    """Asks one model at one endpoint. Subclasses say how a request is written and a reply is read."""

    deterministic = False

    def __init__(self, target: Target, endpoint: Endpoint, *, simulated: bool = False) -> None:
        taken = sorted(RESERVED & set(target.params))
        if taken:
            raise InputError(f"params cannot set {', '.join(taken)}", where=target.ref, hint="evalh writes these itself")
        self.target = target
        self.endpoint = endpoint
        self.simulated = simulated
        self._held: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.endpoint.where})"

    async def ask(self, request: Request) -> Reply:
        """The reply to a request. Raises ProviderBusy, ProviderDown, ProviderRefused, ProviderUnusable."""
        return self.read(await self._post(self._body(request)))

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON body that asks a request, also as one call of a batch. Raises ProviderRefused where this API cannot put it."""
        return self._body(request)

    def read(self, data: dict[str, Any]) -> Reply:
        """The reply in a JSON body. Raises ProviderDown where it is not of this API."""
        try:
            return self._reply(data)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            failure = unreadable(json.dumps(data).encode(), self.endpoint)
        raise failure

    async def aclose(self) -> None:
        """Let go of this loop's client; the last provider that uses it closes it. A later `ask` would open another."""
        shared = self._held.pop(asyncio.get_running_loop(), None)
        if shared is not None:
            await shared.release()

    @property
    def client(self) -> Any:
        """The official client of this server and key for the running loop, until `aclose`."""
        loop = asyncio.get_running_loop()
        if (shared := self._held.get(loop)) is None:
            key = (self.sdk, self.root, self.endpoint.key)
            shared = self._held[loop] = _Shared.of(loop, key, self._connect)
        return shared.client

    sdk: ClassVar[str]  # the official client's module
    path: str  # where questions go, below `root`

    @property
    def root(self) -> str:
        """What the official client takes as its base_url."""
        return self.endpoint.base_url

    @abstractmethod
    def _connect(self) -> Any:
        """A new client for the running loop."""

    @abstractmethod
    def _body(self, request: Request) -> dict[str, Any]:
        """The JSON body of a request."""

    @abstractmethod
    def _reply(self, data: dict[str, Any]) -> Reply:
        """The reply in a JSON body. May raise whatever a body that is not of this API makes it raise."""

    async def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        sdk = imported(self.sdk)
        import httpx2

        try:
            # one limit for the whole call: a limit per read is never met by a server that drips bytes
            async with asyncio.timeout(self.target.timeout_s):
                response = await self.client.post(self.root + self.path, body=body, cast_to=httpx2.Response)
            return self._read(response)
        except TimeoutError:
            failure = timed_out(self.endpoint, self.target.timeout_s)
        except ProviderError as error:
            failure = error
        except ValueError as error:  # NaN, or half a character: what JSON in UTF-8 cannot hold
            failure = self.endpoint.error(ProviderRefused, f"the question cannot be sent: {error}")
        except Exception as error:
            if not _from_client(error, sdk):
                raise
            failure = from_exception(error, sdk, self.endpoint, self.target.timeout_s)
        # raised outside the handler: a chained traceback would show the client's error, which may hold the key
        raise failure

    def _read(self, response: Any) -> dict[str, Any]:
        try:
            data = json.loads(response.content)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise unreadable(response.content, self.endpoint)
        failure = in_reply(data, response.headers, self.endpoint)
        if failure is not None:
            raise failure
        return data


@dataclass(eq=False)
class _Shared:
    """One official client: two judges at one server share it, and its connections."""

    _open: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, ...], _Shared]]] = WeakKeyDictionary()

    client: Any
    of_loop: dict[tuple[str, ...], _Shared]
    key: tuple[str, ...]
    users: int = 0

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop, key: tuple[str, ...], connect: Callable[[], Any]) -> _Shared:
        of_loop = cls._open.setdefault(loop, {})
        shared = of_loop.get(key)
        if shared is None:
            shared = of_loop[key] = cls(connect(), of_loop, key)
        shared.users += 1
        return shared

    async def release(self) -> None:
        self.users -= 1
        if self.users == 0:
            del self.of_loop[self.key]
            await self.client.close()


_importing = threading.Lock()


@cache
def imported(sdk: str) -> ModuleType:
    """An official client's module, imported when it is first needed.

    The garbage collector rests meanwhile: it would walk the client's thousands of classes again and again (a fifth of the time).
    """
    with _importing:
        collecting = gc.isenabled()
        gc.disable()
        try:
            return import_module(sdk)
        finally:
            if collecting:
                if not gc.get_freeze_count():
                    gc.freeze()
                    gc.unfreeze()  # both together: what was imported goes to the oldest generation, unwalked
                gc.enable()


def _from_client(error: Exception, sdk: ModuleType) -> bool:
    base = getattr(sdk, "OpenAIError", None) or sdk.AnthropicError
    return isinstance(error, base)


def merged(settings: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the user's params over them; tables merge key by key, and a null takes a setting out."""
    result = dict(settings)
    for name, value in params.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(result.get(name), Mapping):
            result[name] = merged(result[name], value)
        else:
            result[name] = value
    return result


def tool_call(name: str, arguments: str | None) -> ToolCall:
    """A tool call whose arguments came as JSON text. What is not a JSON object is kept as text, never dropped."""
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        value = None
    return ToolCall(name=name, arguments=value if isinstance(value, dict) else {"unreadable": arguments})

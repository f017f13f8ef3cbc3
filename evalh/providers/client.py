"""Asking over HTTP through an official client: one client per event loop, one POST per question, no retries.

The clients' own `post(path, body=…, cast_to=httpx2.Response)` is their documented door for requests that they do not
model. It keeps their authentication, headers, timeouts and errors and leaves out what costs most of a call's time here:
walking the type hints of the request and building response models.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from evalh.errors import InputError, ProviderError
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
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.endpoint.where})"

    async def ask(self, request: Request) -> Reply:
        """The reply to a request. Raises ProviderBusy, ProviderDown, ProviderRefused, ProviderUnusable."""
        data = await self._post(self.path, self._body(request))
        try:
            return self._reply(data)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            failure = unreadable(json.dumps(data).encode(), self.endpoint)
        raise failure

    async def aclose(self) -> None:
        """Close this loop's client. A later `ask` would open another."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    path: str

    @abstractmethod
    def _sdk(self) -> ModuleType:
        """The official client's module, imported when it is first needed."""

    @abstractmethod
    def _connect(self) -> Any:
        """A new client for the running loop."""

    @abstractmethod
    def _body(self, request: Request) -> dict[str, Any]:
        """The JSON body of a request."""

    @abstractmethod
    def _reply(self, data: dict[str, Any]) -> Reply:
        """The reply in a JSON body. May raise whatever a body that is not of this API makes it raise."""

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        import httpx2

        loop = asyncio.get_running_loop()
        if (client := self._clients.get(loop)) is None:
            client = self._clients[loop] = self._connect()
        try:
            # the client's own timeout is per read: a server that drips bytes would never meet it
            async with asyncio.timeout(self.target.timeout_s):
                response = await client.post(path, body=body, cast_to=httpx2.Response)
            return self._read(response)
        except TimeoutError:
            failure = timed_out(self.endpoint, self.target.timeout_s)
        except ProviderError as error:
            failure = error
        except Exception as error:
            if not _from_client(error, self._sdk()):
                raise
            failure = from_exception(error, self._sdk(), self.endpoint, self.target.timeout_s)
        # raised outside the handler: a chained traceback would show the client's error, which may hold the key
        raise failure

    def _read(self, response: Any) -> dict[str, Any]:
        try:
            data = json.loads(response.content)
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise unreadable(response.content, self.endpoint)
        failure = in_reply(data, response.headers, self.endpoint)
        if failure is not None:
            raise failure
        return data


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

"""What batch APIs have in common: many calls handed in at once, answered within a day, read when all are done.

`batches.py` says which providers have one. Whoever collects, polls and resumes is above (`Batcher`); here is one request each.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar

from evalh.errors import ProviderBusy, ProviderDown, ProviderError, ProviderUnusable
from evalh.providers.base import Reply, Request
from evalh.providers.client import HTTPProvider, imported
from evalh.providers.errors import from_exception, unreadable

T = TypeVar("T")

MOST_BYTES = 16 * 2**20  # of one batch here: it is in memory until it is handed in. Providers take 200 MB and more
TRANSFER_S = 600.0  # one upload, or the longest pause within a download
LOOK_S = 60.0  # one poll
CLOCKS_S = 120.0  # how far the provider's clock may be behind ours


class BatchState(NamedTuple):
    """How a batch is doing. `done` of `total` calls are answered, as far as the provider says so before the end.

    Replies can be read once it has ended, expired or was cancelled. Of one that failed nothing was run and nothing is paid;
    `gone`: the provider knows no such batch.
    """

    status: Literal["under way", "ended", "expired", "cancelled", "failed", "gone"]
    done: int = 0
    total: int = 0
    error: ProviderError | None = None  # why it failed; QueueFull: smaller or later it may pass


class QueueFull(ProviderBusy):
    """The provider has too much of this account in its queue to take another batch."""


Results = AsyncGenerator[tuple[str, Reply | ProviderError], None]


class BatchProvider(Protocol):
    """One model's batch API. Errors are those of `Provider`: no method retries, and no error holds a key."""

    most_calls: int  # in one batch
    most_bytes: int  # entries of one batch, together
    marks: bool  # a batch keeps our mark, so that `find` knows it for certain

    def entry(self, call_id: str, request: Request) -> bytes:
        """One call as a batch holds it. Raises ProviderRefused where this API cannot put it."""
        ...

    async def submit(self, entries: Sequence[bytes], mark: str) -> str:
        """Hand a batch in; its id. After ProviderDown it may exist all the same: `find` tells. QueueFull: later, or smaller."""
        ...

    async def find(self, mark: str, calls: int, since: float) -> list[str]:
        """Batches made since then (seconds since 1970) that bear the mark, or where nothing is marked: that hold so many calls."""
        ...

    async def poll(self, batch_id: str) -> BatchState:
        """How the batch is doing."""
        ...

    def results(self, batch_id: str) -> Results:
        """Call by call as they come, in no order: call id, and the reply or what went wrong with this call."""
        ...

    async def cancel(self, batch_id: str) -> None:
        """Stop it. What is answered already can be read and has to be paid."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


class HTTPBatches(ABC):
    """A batch API through an official client of its own: few requests, large and streamed."""

    most_bytes = MOST_BYTES
    client_class: ClassVar[str]

    def __init__(self, provider: HTTPProvider) -> None:
        self.provider = provider
        self.endpoint = provider.endpoint
        self._client: Any = None

    @property
    def client(self) -> Any:
        if self._client is None:
            make = getattr(imported(self.provider.sdk), self.client_class)
            self._client = make(api_key=self.endpoint.key, base_url=self.provider.root, timeout=LOOK_S, max_retries=0)
        return self._client

    async def aclose(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def told(self, call: Awaitable[T], missing: str | None = None) -> T:
        """What the client returns, or its error in evalh's tree. `missing` is the hint where the server has no such path."""
        sdk = imported(self.provider.sdk)
        import httpx2

        clients_own = getattr(sdk, "OpenAIError", None) or sdk.AnthropicError
        failure: ProviderError
        try:
            return await call
        except sdk.APITimeoutError:
            failure = self.endpoint.error(ProviderDown, "the batch API did not answer in time")
        except clients_own as error:
            failure = from_exception(error, sdk, self.endpoint, LOOK_S)
            if missing and getattr(error, "status_code", None) in (404, 405):
                failure = self.endpoint.error(ProviderUnusable, failure.what, hint=missing)
            if getattr(error, "code", None) == "token_limit_exceeded":
                failure = QueueFull(failure.what, where=failure.where)
        except (httpx2.HTTPError, ValueError) as error:  # a stream that breaks off is not wrapped by the clients
            failure = self.endpoint.error(ProviderDown, f"the answer broke off: {error or type(error).__name__}")
        # raised outside the handler: a chained traceback would show the client's error, which may hold the key
        raise failure

    async def told_each(self, lines: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """`told` for what comes piece by piece."""
        async with aclosing(lines):
            while True:
                try:
                    line = await self.told(anext(lines))
                except StopAsyncIteration:
                    return
                yield line

    def read(self, data: dict[str, Any]) -> Reply | ProviderError:
        """The reply in a body, or that it is none."""
        try:
            return self.provider.read(data)
        except ProviderError as error:
            return error

    def odd(self, line: Any) -> ProviderError:
        """A line of a result file that is not what the API promises."""
        return unreadable(json.dumps(line, default=str).encode(), self.endpoint)

    async def state_of(self, call: Awaitable[Any], read: Callable[[Any], BatchState]) -> BatchState:
        """What a poll says; a batch that the server does not know is `gone`."""
        sdk = imported(self.provider.sdk)

        async def known() -> Any:
            try:
                return await call
            except sdk.NotFoundError:
                return None

        found = await self.told(known())
        return BatchState("gone") if found is None else read(found)

    @abstractmethod
    def entry(self, call_id: str, request: Request) -> bytes: ...


def line_of(data: dict[str, Any]) -> bytes:
    """JSON on one line."""
    return _encode(data).encode("utf-8") + b"\n"


_encode = json.JSONEncoder(separators=(",", ":")).encode  # escapes what is not ASCII: half a surrogate pair is no UTF-8
NO_BATCHES = "this server has no batch API: take `mode: batch` out of the suite"

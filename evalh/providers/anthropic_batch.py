"""Anthropic's Message Batches API, through the official client.

Limits of one batch (https://platform.claude.com/docs/en/build-with-claude/batch-processing): 100,000 requests, 256 MB,
24 hours; `custom_id` matches ^[a-zA-Z0-9_-]{1,64}$. Results can be read for 29 days. A batch holds no metadata, so one whose
creation was not heard of is known only by the calls that its results name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evalh.errors import ProviderDown, ProviderError
from evalh.providers.base import Reply, Request
from evalh.providers.batch_base import CLOCKS_S, NO_BATCHES, TRANSFER_S, BatchState, HTTPBatches, Results, line_of
from evalh.providers.errors import in_reply

if TYPE_CHECKING:
    from evalh.providers.anthropic import AnthropicProvider

PATH = "/v1/messages/batches"
MADE_WITHIN_S = 2 * TRANSFER_S  # of our beginning to hand it in


class AnthropicBatches(HTTPBatches):
    """`anthropic:MODEL` in batches."""

    most_calls = 100_000
    marks = False
    client_class = "AsyncAnthropic"

    def __init__(self, provider: AnthropicProvider) -> None:
        super().__init__(provider)

    def entry(self, call_id: str, request: Request) -> bytes:
        return line_of({"custom_id": call_id, "params": self.provider.body(request)})

    async def submit(self, entries: Sequence[bytes], mark: str) -> str:
        import httpx2

        body = b'{"requests":[' + b",".join(entries) + b"]}"
        options = {"timeout": TRANSFER_S, "headers": {"content-type": "application/json"}}
        # the client's documented door for bodies that are encoded already
        made = self.client.post(PATH, content=body, options=options, cast_to=httpx2.Response)
        answer = (await self.told(made, missing=NO_BATCHES)).content
        try:
            return str(json.loads(answer)["id"])
        except (ValueError, KeyError, TypeError):
            failure = self.odd(answer.decode(errors="replace"))
        raise failure

    async def find(self, mark: str, calls: int, since: float) -> list[str]:
        async def look() -> list[str]:
            found = []
            async for batch in self.client.messages.batches.list(limit=100):  # the newest first
                at, counts = batch.created_at.timestamp(), batch.request_counts
                if at < since - CLOCKS_S:
                    break
                if at <= since + MADE_WITHIN_S + CLOCKS_S and _total(counts) == calls:
                    found.append(batch.id)
            return found

        return await self.told(look())

    async def poll(self, batch_id: str) -> BatchState:
        return await self.state_of(self.client.messages.batches.retrieve(batch_id), _state)

    async def results(self, batch_id: str) -> Results:
        lines = await self.told(self.client.messages.batches.results(batch_id, timeout=TRANSFER_S))
        try:
            while (line := await self.told(anext(lines, None))) is not None:
                yield self._result(line.to_dict())
        finally:
            await lines.close()

    async def cancel(self, batch_id: str) -> None:
        await self.told(self.client.messages.batches.cancel(batch_id))

    def _result(self, line: dict[str, Any]) -> tuple[str, Reply | ProviderError]:
        """One line: `custom_id`, and a result that succeeded, errored, expired or was canceled."""
        call_id, result = str(line.get("custom_id")), line.get("result")
        kind = result.get("type") if isinstance(result, dict) else None
        if not isinstance(result, dict):
            return call_id, self.odd(line)
        if kind == "succeeded" and isinstance(result.get("message"), dict):
            return call_id, self.read(result["message"])
        if kind in ("expired", "canceled"):
            return call_id, self.endpoint.error(ProviderDown, f"{kind}: the batch ended before this call was answered")
        if kind == "errored" and isinstance(result.get("error"), dict):
            return call_id, in_reply(result["error"], {}, self.endpoint) or self.odd(line)
        return call_id, self.odd(line)


def _state(batch: Any) -> BatchState:
    counts = batch.request_counts
    total = _total(counts)
    done = total - counts.processing
    if batch.archived_at is not None:
        return BatchState("gone", done, total)  # archived: its results cannot be read any more
    if batch.processing_status != "ended":
        return BatchState("under way", done, total)
    status = "expired" if counts.expired else "cancelled" if counts.canceled else "ended"
    return BatchState(status, done, total)  # type: ignore[arg-type]


def _total(counts: Any) -> int:
    return int(counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired)

"""OpenAI's Batch API, through the official client: a JSONL file in, two JSONL files out (answers, errors).

Limits of one batch (openai 3.54, `batches.create`; https://developers.openai.com/api/docs/guides/batch): 50,000 requests,
200 MB, one model, 24 hours. Input and output files stay at the provider for 30 days, or until they are deleted there.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

from evalh.errors import ProviderDown, ProviderError, ProviderRefused, ProviderUnusable
from evalh.providers.base import Reply, Request
from evalh.providers.batch_base import CLOCKS_S, NO_BATCHES, TRANSFER_S, BatchState, HTTPBatches, QueueFull, Results, line_of
from evalh.providers.errors import from_status, in_reply

if TYPE_CHECKING:
    from evalh.providers.openai import OpenAIProvider

MARK = "evalh"  # the key of a batch's metadata that holds our mark
_STATUS = {"completed": "ended", "expired": "expired", "cancelled": "cancelled", "failed": "failed"}  # all others: under way
_SETUP = {"model_not_found", "insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}  # not about a request


class OpenAIBatches(HTTPBatches):
    """`openai:MODEL` in batches, by chat completions or responses as the target says."""

    most_calls = 50_000
    marks = True
    client_class = "AsyncOpenAI"

    def __init__(self, provider: OpenAIProvider) -> None:
        super().__init__(provider)
        self.url = "/v1" + provider.path  # the name of an endpoint, whatever the base URL is

    def entry(self, call_id: str, request: Request) -> bytes:
        return line_of({"custom_id": call_id, "method": "POST", "url": self.url, "body": self.provider.body(request)})

    async def submit(self, entries: Sequence[bytes], mark: str) -> str:
        file = (f"evalh-{mark}.jsonl", b"".join(entries), "application/jsonl")
        uploaded = await self.told(self.client.files.create(file=file, purpose="batch", timeout=TRANSFER_S), missing=NO_BATCHES)
        made = self.client.batches.create(
            input_file_id=uploaded.id, endpoint=self.url, completion_window="24h", metadata={MARK: mark}, timeout=TRANSFER_S
        )
        batch_id: str = (await self.told(made, missing=NO_BATCHES)).id
        return batch_id

    async def find(self, mark: str, calls: int, since: float) -> list[str]:
        async def look() -> list[str]:
            async for batch in self.client.batches.list(limit=100):  # the newest first
                if batch.created_at < since - CLOCKS_S:
                    break
                if (batch.metadata or {}).get(MARK) == mark:
                    return [batch.id]
            return []

        return await self.told(look())

    async def poll(self, batch_id: str) -> BatchState:
        return await self.state_of(self.client.batches.retrieve(batch_id), self._state)

    async def results(self, batch_id: str) -> Results:
        batch = await self.told(self.client.batches.retrieve(batch_id))
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id:
                async for line in self.told_each(self._lines(file_id)):
                    yield self._result(line)

    async def cancel(self, batch_id: str) -> None:
        await self.told(self.client.batches.cancel(batch_id))

    async def _lines(self, file_id: str) -> AsyncGenerator[Any, None]:
        """The lines of a file at the provider. Only `\\n` ends one: texts may hold other line ends of Unicode.

        Raises ValueError where one was cut off.
        """
        rest = b""
        async with self.client.files.with_streaming_response.content(file_id, timeout=TRANSFER_S) as response:
            async for block in response.iter_bytes():
                *whole, rest = (rest + block).split(b"\n")
                for line in filter(bytes.strip, whole):
                    yield json.loads(line)
        if rest.strip():
            yield json.loads(rest)

    def _state(self, batch: Any) -> BatchState:
        counts = batch.request_counts
        done, total = (counts.completed + counts.failed, counts.total) if counts else (0, 0)
        error = self._failure(batch) if batch.status == "failed" else None
        return BatchState(_STATUS.get(batch.status, "under way"), done, total, error)  # type: ignore[arg-type]

    def _failure(self, batch: Any) -> ProviderError:
        errors = (batch.errors.data if batch.errors else None) or []
        why = "; ".join(f"{e.code}: {e.message}" + (f" (line {e.line})" if e.line else "") for e in errors[:3])
        codes = {e.code for e in errors}
        kind = QueueFull if "token_limit_exceeded" in codes else ProviderUnusable if codes & _SETUP else ProviderRefused
        return self.endpoint.error(kind, f"batch {batch.id} failed: {why or 'the provider gives no reason'}")

    def _result(self, line: Any) -> tuple[str, Reply | ProviderError]:
        """One line: `custom_id`, and a response with status and body, or an error of the batch itself (expired, cancelled)."""
        if not isinstance(line, dict):
            return "", self.odd(line)
        call_id, response, error = str(line.get("custom_id")), line.get("response"), line.get("error")
        if isinstance(response, dict) and isinstance(response.get("body"), dict):
            status, body = response.get("status_code"), response["body"]
            if isinstance(status, int) and status >= 400:
                return call_id, from_status(status, {}, json.dumps(body), self.endpoint)
            return call_id, in_reply(body, {}, self.endpoint) or self.read(body)
        if isinstance(error, dict):
            return call_id, self.endpoint.error(ProviderDown, f"{error.get('code')}: {error.get('message')}")
        return call_id, self.odd(line)

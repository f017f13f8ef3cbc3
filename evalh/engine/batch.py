"""A batch of calls, as the process that handed it in knows it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from evalh.providers.base import Reply


@dataclass(eq=False)
class Batch:
    """Calls that go together. `entries` are encoded calls that are not handed in yet."""

    mark: str
    at: float = 0.0  # seconds since 1970: when it was last being handed in
    call_ids: set[str] = field(default_factory=set)
    entries: dict[str, bytes] = field(default_factory=dict)
    size: int = 0
    batch_id: str | None = None
    resumed: bool = False  # of an earlier process
    waiting: dict[str, list[asyncio.Future[Reply]]] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)  # calls whose outcome was handed over
    owed: set[str] = field(default_factory=set)  # of these: replies that are not kept yet
    answered: int = 0
    status: str = "under way"
    read: bool = False  # its results, once to their end
    closed: bool = False
    task: asyncio.Task[None] | None = None

    def waits(self, call_id: str) -> list[asyncio.Future[Reply]]:
        return [future for future in self.waiting.get(call_id, ()) if not future.done()]


def resumed(row: Mapping[str, Any]) -> Batch:
    """A batch of an earlier process, from its row of `open_batches`."""
    at = row["at"] if isinstance(row["at"], datetime) else datetime.fromisoformat(row["at"])
    handed_in = row["event"] == "submitted"
    return Batch(
        mark=row["detail"] if handed_in else row["batch_id"],
        at=at.replace(tzinfo=UTC).timestamp(),
        call_ids=set(row["call_ids"]),
        batch_id=row["batch_id"] if handed_in else None,
        resumed=True,
    )

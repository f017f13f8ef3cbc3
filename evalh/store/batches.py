"""Questions about batches of calls at a provider: which are still under way. Their events are in the table `provider_batches`."""

from __future__ import annotations

from typing import Any

from evalh.store.store import Store


def open_batches(store: Store, line: str) -> list[dict[str, Any]]:
    """The last event of every batch of a line that has not ended: `submitted`, or `submitting` where nothing was heard after that.

    Rows have batch_id, event, at (naive UTC), call_ids and detail; the oldest comes first.
    """
    if not store.exists():
        return []
    return store.query(
        'SELECT b.batch_id, b.event, b."at", b.call_ids, b.detail FROM provider_batches b'
        " WHERE b.line = ? AND b.event IN ('submitting', 'submitted')"
        " AND NOT EXISTS (SELECT 1 FROM provider_batches e WHERE e.batch_id = b.batch_id AND e.event IN ('ended', 'failed'))"
        " AND NOT (b.event = 'submitting' AND EXISTS"
        " (SELECT 1 FROM provider_batches s WHERE s.event = 'submitted' AND s.line = b.line AND s.detail = b.batch_id))"
        ' ORDER BY b."at", b.batch_id',
        [line],
    )

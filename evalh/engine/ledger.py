"""What was answered before: looked up in bulk, held for a moment. A call is known by the hash of all that decides its answer."""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import merge
from typing import Any

from evalh.store.ledger import answered, answers
from evalh.store.store import Store
from evalh.threads import in_thread

MOST_AT_ONCE = 2_000  # calls of one query
MOST_LOOSE = 50_000  # calls in a set, which takes ten times as much memory as an array


class Ledger:
    """The answered calls of a store: 8 bytes for each in memory, what was said is read when it is needed.

    All who ask in one turn of the loop share one query. `fold` puts into the store what this run has written so far.
    """

    def __init__(self, store: Store, models: Iterable[tuple[str, str]], fold: Callable[[], Any]) -> None:
        self._store, self._fold = store, fold
        self._before: array[int] = answered(store, models)
        self._own: set[int] = set()
        self._own_before: array[int] = array("Q")  # sorted, as `_before`
        self._waiting: dict[str, asyncio.Future[Mapping[str, Any] | None]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def find(self, call_id: str) -> Mapping[str, Any] | None:
        """The row of an answered call, or None: it has to be asked. Raises StoreBusy, StoreError."""
        if not self.has(call_id):
            return None
        future = self._waiting.get(call_id)
        if future is None:
            future = self._waiting[call_id] = asyncio.get_running_loop().create_future()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return await future

    def has(self, call_id: str) -> bool:
        """Whether the call was answered, before this run or in it."""
        number = int(call_id, 16)
        return self._is_own(number) or _among(self._before, number)

    def add(self, call_id: str) -> None:
        """A call that this run has paid for, and may be asked for again."""
        self._own.add(int(call_id, 16))
        if len(self._own) >= MOST_LOOSE:
            self._own_before = array("Q", merge(self._own_before, sorted(self._own)))
            self._own = set()

    def _is_own(self, number: int) -> bool:
        return number in self._own or _among(self._own_before, number)

    async def _look(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # whoever asks in this turn comes along
            some = dict(list(self._waiting.items())[:MOST_AT_ONCE])
            for call_id in some:
                del self._waiting[call_id]
            try:
                if any(self._is_own(int(call_id, 16)) for call_id in some):
                    await in_thread(self._fold)
                found = await in_thread(answers, self._store, list(some))
            except Exception as error:
                for future in some.values():
                    if not future.done():
                        future.set_exception(error)
                continue
            for call_id, future in some.items():
                if not future.done():
                    future.set_result(found.get(call_id))


def _among(numbers: Sequence[int], number: int) -> bool:
    """Whether a number is among sorted ones."""
    place = bisect_left(numbers, number)
    return place < len(numbers) and numbers[place] == number

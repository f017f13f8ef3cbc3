"""The items of a golden set, or some of them: a sequence that parses an item where it is looked at.

A set of a million items costs some 25 MB, and so does a selection of it. The same item looked at twice is two equal
records.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from evalh.interchange.jsonl import ITEM_AGAIN, item_of
from evalh.interchange.line_index import LineIndex, Positions
from evalh.records import Item


class Items(Sequence[Item]):
    """Items of one file, in its order. Made by `read_items_of`, narrowed by `where`."""

    def __init__(self, index: LineIndex[Item], slices: Sequence[str], codes: npt.NDArray[np.uint32], positions: Positions | None = None):
        self._index, self._slices, self._codes = index, slices, codes  # the slice of each item, as its place in `slices`
        self._positions = positions  # ascending; None: all of the file

    @property
    def file_hash(self) -> str:
        """The hash of the file, whatever is selected."""
        return self._index.digest

    @property
    def canary(self) -> str | None:
        """The canary on the first line of the file."""
        return self._index.canary

    def __len__(self) -> int:
        return len(self._index if self._positions is None else self._positions)

    def __iter__(self) -> Iterator[Item]:
        if self._positions is None:
            return self._index.between(0, len(self._index))
        return self._index.take(self._positions)

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> Items: ...
    def __getitem__(self, place: int | slice) -> Item | Items:
        if isinstance(place, slice):
            return self._only(np.arange(*place.indices(len(self))) if self._positions is None else self._positions[place])
        found = range(len(self))[place]
        return self._index.at(found if self._positions is None else int(self._positions[found]))

    @property
    def positions(self) -> Positions:
        """Where the items stand in the file, from 0."""
        return np.arange(len(self._index)) if self._positions is None else self._positions

    @property
    def hashes(self) -> npt.NDArray[np.int64]:
        """The hashes of the items' ids, as Python's `hash` gives them in this process."""
        return self._index.hashes_of(self._positions)

    def item(self, item_id: str) -> Item | None:
        """The item of that id, or None where it is not among these."""
        return self._index.get(item_id)[0] if self._has(item_id) else None

    def missing(self, item_ids: Collection[str]) -> list[str]:
        """The ids that none of these items has, in sorted order."""
        return sorted(item_id for item_id in set(item_ids) if not self._has(item_id))

    def where(self, *, slices: Collection[str] | None = None, ids: Collection[str] | None = None, limit: int | None = None) -> Items:
        """The items of these slices and of these ids, and of those the first `limit`; None selects all. Reads only what `ids` name."""
        chosen = self.positions
        if slices is not None:
            codes = [code for code, name in enumerate(self._slices) if name in slices]
            chosen = chosen[np.isin(self._codes[chosen], codes)]
        if ids is not None:
            named = [self._index.position_of(item_id) for item_id in set(ids)]
            chosen = chosen[np.isin(chosen, [position for position in named if position is not None])]
        return self._only(chosen[:limit] if limit is not None else chosen)

    def slice_counts(self) -> dict[str, int]:
        """How many items each slice has, in the order in which the file first names them."""
        counts = np.bincount(self._codes if self._positions is None else self._codes[self._positions], minlength=len(self._slices))
        return {name: int(count) for name, count in zip(self._slices, counts, strict=True) if count}

    def _has(self, item_id: str) -> bool:
        position = self._index.position_of(item_id)
        return position is not None and (self._positions is None or bool((self._positions == position).any()))

    def _only(self, positions: Positions) -> Items:
        return self if len(positions) == len(self) else Items(self._index, self._slices, self._codes, positions)


def read_items_of(path: Path, check: Callable[[int, Item], None] = lambda _line, _item: None) -> Items:
    """The items of an items.jsonl, each checked once. Raises InputError with file, line and field for the first bad one."""
    slices: dict[str, int] = {}
    codes = array("I")

    def each(line: int, item: Item) -> bool:
        check(line, item)
        codes.append(slices.setdefault(item.slice, len(slices)))
        return True

    index = LineIndex(path, item_of, key=lambda item: item.item_id, again=ITEM_AGAIN, each=each)
    return Items(index, list(slices), np.frombuffer(codes, dtype=np.uint32))

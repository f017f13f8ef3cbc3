"""A JSON Lines file as a sequence of records that are read where they are needed: a million lines in some 20 MB.

One pass checks every line and keeps three numbers of each: its place in the file, the hash of its key, and its rank among
the hashes. A record is parsed again whenever it is asked for, which takes a few microseconds. Hashes only find lines: what
they find is compared with the key itself, so that two keys of one hash are still two.
"""

from __future__ import annotations

import os
import threading
import weakref
from array import array
from collections.abc import Callable, Hashable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from evalh.errors import InputError
from evalh.fingerprints import FileHash
from evalh.interchange.jsonl import once
from evalh.interchange.lines import BLOCK, CANARY, opened, parsed, place, raw_lines

R = TypeVar("R")
Positions = npt.NDArray[Any]  # whole numbers: places of lines among the records, from 0

HELD_BYTES = 2**24  # a file up to this size is kept as it was read, so that nobody can change it meanwhile
WINDOW = 4096  # records whose places are looked at together


class LineIndex(Generic[R]):
    """The records of one file, by position and by key; several may have one key.

    `make` turns a line's object into its record and raises InputError where it is none. `identity` names what may stand
    only once; `again` is the fault and the hint where it stands twice. `each` sees every record with its line number, once;
    records that it answers False for are not found by key. Safe to use from several threads.

    Raises InputError for the first bad line; later, where a file too large to be kept has changed.
    """

    def __init__(
        self,
        path: Path,
        make: Callable[[dict[str, Any], Path, int], R],
        *,
        key: Callable[[R], str],
        again: tuple[str, str],
        identity: Callable[[R], Hashable] | None = None,
        each: Callable[[int, R], bool] = lambda _line, _record: True,
    ) -> None:
        self.path, self.make, self.key = path, make, key
        self.canary: str | None = None  # as the first line has it
        self._first = 1  # number of the line that holds record 0
        self._identity, self._again = identity or key, again
        self._turn = threading.Lock()
        seen = _Seen()
        try:
            with opened(path) as file:
                self._read(_Blocks(file, seen), seen, each)
        except InputError:
            self._refuse_twice(seen)
            raise
        self._keep(seen)

    def _read(self, blocks: Iterator[bytes], seen: _Seen, each: Callable[[int, R], bool]) -> None:
        path, make, key, identity = self.path, self.make, self.key, self._identity
        starts, keys, identities, left_out = seen.starts, seen.keys, seen.identities, seen.left_out
        apart = identity is not key
        for number, start, line in raw_lines(path, blocks):
            data = parsed(path, number, line)
            if number == 1 and CANARY in data:
                self.canary, self._first = data[CANARY] if isinstance(data[CANARY], str) else None, 2
                continue
            record = make(data, path, number)
            starts.append(start)
            keys.append(hash(key(record)))
            if apart:
                identities.append(hash(identity(record)))
            if not each(number, record):
                left_out.append(len(starts) - 1)

    def _keep(self, seen: _Seen) -> None:
        """What stays of the pass: the places of the lines and, sorted by hash, the hash and the position of each record."""
        if self._identity is not self.key:
            self._refuse_twice(seen)
            seen.identities = array("q")
        self.digest = seen.digest.digest()
        self._held = b"".join(seen.blocks) if seen.blocks is not None else None
        self._file = None if self._held is not None else _kept_open(self.path, self)
        self._stamp = None if self._file is None else seen.stamp
        seen.starts.append(seen.size)
        self._starts = np.frombuffer(seen.starts, dtype=np.int64)
        hashes = np.frombuffer(seen.keys, dtype=np.int64)
        order = np.argsort(hashes, kind="stable").astype(np.min_scalar_type(len(hashes)))
        if seen.left_out:
            order = order[~np.isin(order, np.frombuffer(seen.left_out, dtype=np.int64))]
        self._order, self._hashes = order, hashes[order]
        if self._identity is self.key and (self._hashes[1:] == self._hashes[:-1]).any():
            self._refuse_twice(seen)

    def _refuse_twice(self, seen: _Seen) -> None:
        """Raise the InputError of the first record that is there already, among those that the pass has seen."""
        hashes = np.sort(np.frombuffer(seen.keys if self._identity is self.key else seen.identities, dtype=np.int64))
        twice = frozenset(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
        if not twice:
            return
        lines: dict[Hashable, int] = {}
        last = self._first + len(hashes) - 1
        with opened(self.path) as file:
            for number, _, line in raw_lines(self.path, iter(lambda: file.read(BLOCK), b"")):
                if number > last:
                    return
                if number < self._first:
                    continue
                identity = self._identity(self.make(parsed(self.path, number, line), self.path, number))
                if hash(identity) in twice:
                    once(lines, identity, self.path, number, *self._again)

    # ---- reading ----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._starts) - 1

    def at(self, position: int) -> R:
        """The record of one position."""
        number = self._first + position
        line = self._bytes(int(self._starts[position]), int(self._starts[position + 1])).partition(b"\n")[0]
        return self.make(parsed(self.path, number, line), self.path, number)

    def between(self, first: int, last: int) -> Iterator[R]:
        """The records of the positions first … last - 1, read a block at a time."""
        starts = self._starts
        while first < last:
            until = min(last, max(first + 1, int(np.searchsorted(starts, starts[first] + BLOCK, side="right")) - 1))
            block = self._bytes(int(starts[first]), int(starts[until]))
            for number, line in enumerate(block.split(b"\n")[: until - first], self._first + first):
                yield self.make(parsed(self.path, number, line), self.path, number)
            first = until

    def take(self, positions: Positions) -> Iterator[R]:
        """The records of the positions, in their order; those that follow each other are read together."""
        for begin in range(0, len(positions), WINDOW):
            window = positions[begin : begin + WINDOW].astype(np.int64)
            for run in np.split(window, np.flatnonzero(np.diff(window) != 1) + 1):
                yield from self.between(int(run[0]), int(run[-1]) + 1)

    def _bytes(self, first: int, last: int) -> bytes:
        if self._held is not None:
            return self._held[first:last]
        assert self._file is not None
        with self._turn:
            now = os.fstat(self._file.fileno())
            self._file.seek(first)
            block = self._file.read(last - first)
        if (now.st_mtime_ns, now.st_size) != self._stamp or len(block) != last - first:
            raise InputError("changed while it was in use", where=place(self.path), hint="repeat the command")
        return block

    # ---- finding ----------------------------------------------------------------------------------------------------

    def get(self, key: str) -> list[R]:
        """The records of one key, in the order of the file."""
        return [record for _, record in self._places(key)]

    def position_of(self, key: str) -> int | None:
        """The position of the first record with the key, or None."""
        return next((position for position, _ in self._places(key)), None)

    def _places(self, key: str) -> Iterator[tuple[int, R]]:
        wanted = hash(key)
        rank, hashes = int(self._hashes.searchsorted(wanted)), self._hashes
        while rank < len(hashes) and hashes[rank] == wanted:
            position = int(self._order[rank])
            record = self.at(position)
            if self.key(record) == key:
                yield position, record
            rank += 1

    def find(self, keys: Sequence[str]) -> list[list[R]]:
        """`get` for many keys: lines that follow each other are read together."""
        found: list[list[R]] = [[] for _ in keys]
        hashes = np.fromiter(map(hash, keys), np.int64, len(keys))
        first, last = self._range(hashes)
        counts = last - first
        owners = np.repeat(np.arange(len(keys)), counts)
        ranks = np.arange(len(owners)) + np.repeat(first - np.cumsum(counts) + counts, counts)
        positions = self._order[ranks]
        by_place = np.argsort(positions, kind="stable")
        for owner, record in zip(owners[by_place].tolist(), self.take(positions[by_place]), strict=True):
            if self.key(record) == keys[owner]:
                found[owner].append(record)
        return found

    def counts(self, hashes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many records there are with each of these hashes of keys (`hashes_of`, or Python's `hash`)."""
        first, last = self._range(hashes)
        return last - first

    def hashes_of(self, positions: Positions | None = None) -> npt.NDArray[np.int64]:
        """The hashes of the keys of some positions, or of all, in their order. Needs every record to be findable."""
        hashes = np.empty(len(self), dtype=np.int64)
        hashes[self._order] = self._hashes
        return hashes if positions is None else hashes[positions]

    def _range(self, hashes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        return np.searchsorted(self._hashes, hashes, side="left"), np.searchsorted(self._hashes, hashes, side="right")


class _Seen:
    """What the one pass over a file gathers."""

    def __init__(self) -> None:
        self.starts, self.keys, self.identities, self.left_out = array("q"), array("q"), array("q"), array("q")
        self.digest = FileHash()
        self.size = 0
        self.blocks: list[bytes] | None = []  # None: too many to be kept
        self.stamp: tuple[int, int] | None = None


class _Blocks(Iterator[bytes]):
    """The blocks of a file, each hashed, counted and kept while there are few."""

    def __init__(self, file: Any, seen: _Seen) -> None:
        self._file, self._seen = file, seen
        state = os.fstat(file.fileno())
        seen.stamp = (state.st_mtime_ns, state.st_size)

    def __next__(self) -> bytes:
        block: bytes = self._file.read(BLOCK)
        if not block:
            raise StopIteration
        seen = self._seen
        seen.digest.update(block)
        seen.size += len(block)
        if seen.blocks is not None:
            seen.blocks.append(block)
            seen.blocks = seen.blocks if seen.size <= HELD_BYTES else None
        return block


def _kept_open(path: Path, owner: object) -> FileIO:
    """The file, open for as long as its owner lives: where it is replaced by another, the old one is read on."""
    file = FileIO(path)
    weakref.finalize(owner, file.close)
    return file

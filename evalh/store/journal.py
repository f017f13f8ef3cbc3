"""The journal: a row is on disk before anything else happens to it, whether or not DuckDB is free.

Each row is one line of a file in `<store>.journal/`, written by one `write` in append mode: that survives `kill -9`
without a sync. `fold` moves the lines into DuckDB in one transaction. Rows have keys, so folding a file twice, because the
process died between the insert and the removal of the file, counts nothing twice.

Whoever writes a file holds a lock on it (`flock`), which the system drops when the process dies. A file without a holder
was left behind; `Store.fold_journals` takes it.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from evalh.errors import StoreBusy, StoreError, UsageError
from evalh.store.rows import Row, prepared
from evalh.store.tables import BY_NAME

if TYPE_CHECKING:
    from evalh.store.store import Store

_numbers = itertools.count(1)


class Journal:
    """Rows of one writer on their way into the store. Use as a context manager, or call `close`.

    `append` may be called from any thread while another folds: folding works on files that are full, and new rows go to
    a fresh one.
    """

    def __init__(self, store: Store, name: str, *, alone: bool = False) -> None:
        """With `alone` no other process can open the same journal so: UsageError while one that lives has it."""
        self._store = store
        self._name = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:100]
        self._active: _File | None = None
        self._full: list[_File] = []
        self._closed = False
        self._appending = threading.Lock()
        self._folding = threading.Lock()
        self._owner = _own(store, self._name) if alone else None

    def append(self, table: str, row: Mapping[str, Any]) -> None:
        """Write one row; it is on disk when this returns.

        Raises ValueError for a row that does not fit its table, StoreError where the disk does not take it.
        """
        line = json.dumps([table, prepared(table, row)], separators=(",", ":")).encode() + b"\n"
        with self._appending:
            if self._closed:
                raise ValueError("the journal is closed")
            if self._active is None:
                self._active = _File(self._store, self._name)
            self._active.write(line)

    @property
    def waiting(self) -> int:
        """Rows that are on disk but not yet in the store."""
        with self._appending:
            files = [*self._full, *([self._active] if self._active else [])]
            return sum(f.rows for f in files)

    def fold(self) -> int:
        """Move all rows written so far into the store; how many. Raises StoreBusy or StoreError: the rows stay on disk."""
        with self._folding:
            with self._appending:
                if self._active is not None:
                    self._full.append(self._active)
                    self._active = None
            moved = 0
            for file in list(self._full):
                moved += _fold(self._store, file.path)
                with self._appending:
                    self._full.remove(file)
                file.remove()
            return moved

    def close(self) -> None:
        """Fold what is left. Where the store is busy the rows stay in the journal, which is said, and the next run folds them."""
        try:
            if self.waiting:
                self.fold()
        except StoreBusy as busy:
            self._store.notice(f"{busy}. {self.waiting} rows wait in {self._store.journal_folder} and go in next time")
        finally:
            with self._appending:
                self._closed = True
                for file in [*self._full, *([self._active] if self._active else [])]:
                    file.release()
                if self._owner is not None:
                    _owner_file(self._store, self._name).unlink(missing_ok=True)
                    os.close(self._owner)
                    self._owner = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _own(store: Store, name: str) -> int:
    """A lock on the name itself, held as long as the handle is open. Its file goes when the owner closes it."""
    store.make_parent()
    while True:
        try:
            store.journal_folder.mkdir(exist_ok=True)
            handle = os.open(_owner_file(store, name), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        except OSError as error:
            where = str(store.journal_folder)
            raise StoreError(f"the journal cannot be written: {error.strerror}", where=where, hint="--store names another place") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise UsageError(f"{name} is under way in another process", hint="wait for it, or start another with --no-resume") from None
        if os.fstat(handle).st_nlink:
            return handle
        os.close(handle)  # its owner closed it between open and lock


def _owner_file(store: Store, name: str) -> Path:
    return store.journal_folder / f"{name}.owner"


class _File:
    """A journal file that this process writes, and holds the lock of."""

    def __init__(self, store: Store, name: str) -> None:
        store.make_parent()
        self.rows = 0
        self._size = 0
        while True:
            self.path = store.journal_folder / f"{name}.{os.getpid()}-{next(_numbers)}.jsonl"
            try:
                self.path.parent.mkdir(exist_ok=True)
                self._handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                continue  # left by an earlier process of the same number
            except OSError as error:
                raise StoreError(f"the journal cannot be written: {error.strerror}", where=str(self.path)) from error
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            if os.fstat(self._handle).st_nlink:
                return
            os.close(self._handle)  # between open and lock, `fold_journals` took it for an empty one that was left behind

    def write(self, line: bytes) -> None:
        try:
            written = os.write(self._handle, line)
            if written < len(line):
                raise OSError(28, "no room left for the row")
        except OSError as error:
            os.ftruncate(self._handle, self._size)  # half a line would spoil the next one
            raise StoreError(
                f"the journal cannot be written: {error.strerror}",
                where=str(self.path),
                hint="make room on the disk and repeat the command to resume",
            ) from error
        self.rows += 1
        self._size += written

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def fold_left_behind(store: Store) -> int:
    """Fold the journal files that no live process holds; how many rows. Raises StoreBusy or StoreError: the rest stays."""
    moved = 0
    for path in sorted(store.journal_folder.glob("*.jsonl")):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # its owner, or another process, was faster
        except OSError as error:
            raise StoreError(f"the journal cannot be read: {error.strerror}", where=str(path)) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink:
                moved += _fold(store, path)
                path.unlink(missing_ok=True)
        except BlockingIOError:
            continue  # a live process writes it
        finally:
            os.close(handle)
    return moved


def _fold(store: Store, path: Path) -> int:
    """Insert the rows of one journal file in one transaction. A line that cannot be read is set aside, and said."""
    lines = path.read_bytes().split(b"\n")
    rows: dict[str, list[Row]] = defaultdict(list)
    torn: list[bytes] = []
    for line in filter(None, lines):
        entry = _read(line)
        if entry is None:
            torn.append(line)
        else:
            rows[entry[0]].append(entry[1])
    store.append_prepared(rows)
    if torn:
        _set_aside(store, path, torn)
    return sum(len(some) for some in rows.values())


def _read(line: bytes) -> tuple[str, Row] | None:
    """Table and row of a line; None where it is not one that `Journal.append` wrote whole."""
    try:
        table, row = json.loads(line)
        known = {c.name for c in BY_NAME[table].columns}
        whole = set(row) <= known and set(BY_NAME[table].key) <= set(row)
    except (ValueError, TypeError, KeyError):
        return None
    return (table, row) if whole else None


def _set_aside(store: Store, path: Path, torn: list[bytes]) -> None:
    aside = path.with_name(path.name + ".torn")
    aside.write_bytes(b"\n".join(torn) + b"\n")
    count = "1 line" if len(torn) == 1 else f"{len(torn)} lines"
    store.notice(f"{path}: {count} cut off or damaged (power loss, full disk?), kept in {aside.name}; all other rows are safe")

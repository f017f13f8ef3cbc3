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
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from evalh.errors import StoreBusy, StoreError, UsageError
from evalh.store.inserts import Columns, joined, of_rows, rows_of
from evalh.store.rows import Row, prepared
from evalh.store.tables import BY_NAME

if TYPE_CHECKING:
    from evalh.store.store import Store

MOST_KEPT = 16_000_000  # bytes of a file whose rows are kept in memory as well
FILES_AT_ONCE = 200  # left behind, in one transaction
MOST_DERIVED = 500_000  # rows that wait in memory for a store that is busy
FOLD_PAUSE_S = 0.02

_numbers = itertools.count(1)


class Journal:
    """Rows of one writer on their way into the store. Use as a context manager, or call `close`.

    `append` is for what cannot be had again (replies that were paid for): on disk when it returns. `derive` is for what can
    be made again from that: it waits in memory for the next fold. Both may be called from any thread while another folds.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:100]
        self._active: _File | None = None
        self._full: list[_File] = []
        self._derived: list[Columns] = []
        self._unseen = True  # no derived row can be in the store already: the last transaction did not end in doubt
        self._closed = False
        self._left = False
        self._appending = threading.Lock()
        self._folding = threading.Lock()

    def append(self, table: str, row: Mapping[str, Any]) -> None:
        """Write one row; it is on disk when this returns.

        Raises ValueError for a row that does not fit its table, StoreError where the disk does not take it.
        """
        ready = prepared(table, row)
        with self._appending:
            self._write(table, ready)

    def derive(self, found: Sequence[Columns]) -> None:
        """Rows that can be made again, for the next fold. What comes in one call goes into the store in one transaction."""
        with self._appending:
            if self._closed:
                raise ValueError("the journal is closed")
            self._derived += found

    @property
    def appended(self) -> int:
        """Rows in the file that is being written."""
        return self._active.rows if self._active is not None else 0

    @property
    def derived(self) -> int:
        """Derived rows that are not yet in the store."""
        return sum(some.n for some in self._derived)

    @property
    def waiting(self) -> int:
        """Rows that are not yet in the store."""
        with self._appending:
            return sum(f.rows for f in self._files()) + self.derived

    def fold(self) -> int:
        """Move all rows so far into the store, in one transaction; how many. Raises StoreBusy or StoreError: nothing is lost."""
        with self._folding:
            with self._appending:
                if self._active is not None:
                    self._full.append(self._active)
                    self._active = None
                files, derived = list(self._full), self._derived
                self._derived = []
            rows: dict[str, list[Row]] = defaultdict(list)
            for file in files:
                for table, row in file.kept if file.kept is not None else _entries(self._store, file.path):
                    rows[table].append(row)
            try:
                written = [c for table, some in rows.items() for c in of_rows(table, some)]
                if self._unseen:
                    self._store.append_columns(written, fresh=joined(derived))
                else:
                    self._store.append_columns([*written, *joined(derived)])
            except BaseException as error:
                with self._appending:
                    self._derived = [*derived, *self._derived]
                    self._unseen = self._unseen and isinstance(error, StoreBusy)  # Ctrl-C may come when all is written
                    for file in files:
                        file.kept = None  # a store that stays busy must not fill the memory
                    if self.derived > MOST_DERIVED:
                        self._spill()
                raise
            self._unseen = True
            with self._appending:
                for file in files:
                    self._full.remove(file)
            for file in files:
                file.remove()
            return sum(map(len, rows.values())) + sum(some.n for some in derived)

    def close(self) -> None:
        """Fold what is left. Where the store is busy the rows stay in the journal, which is said, and the next run folds them."""
        try:
            if self.waiting and not self._left:
                self.fold()
        except StoreBusy as busy:
            with self._appending:
                self._spill()
            self._store.notice(f"{busy}. {self.waiting} rows wait in {self._store.journal_folder} and go in next time")
        finally:
            with self._appending:
                self._closed = True
                for file in self._files():
                    file.release()

    @property
    def store(self) -> Store:
        return self._store

    def leave(self, *, keep: bool = False) -> None:
        """End without the store: files stay for whoever folds next. Derived rows are let go, or with `keep` put on disk too."""
        with self._appending:
            if keep:
                self._spill()
            self._derived = []
            self._left = True

    def _files(self) -> list[_File]:
        return [*self._full, *([self._active] if self._active else [])]

    def _write(self, table: str, ready: Row) -> None:
        if self._closed:
            raise ValueError("the journal is closed")
        if self._active is None:
            self._active = _File(self._store, self._name)
        self._active.write(table, ready)

    def _spill(self) -> None:
        """Put the derived rows on disk as well: the store has been busy for long. A disk that is full may keep a part of them."""
        self._unseen = self._unseen and not self._derived
        while self._derived:
            for row in rows_of(self._derived[0]):
                self._write(self._derived[0].table, row)
            del self._derived[0]

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            self.leave()
        self.close()


@contextmanager
def alone(store: Store, name: str, what: str) -> Iterator[None]:
    """A lock on a name for as long as the block runs. Raises UsageError while another process that lives has it.

    The system drops the lock of a process that dies; its file goes when its owner ends, or with the next fold.
    """
    store.make_parent()
    path = store.journal_folder / f"{name}.owner"
    handle = _locked(store, path)
    if handle is None:
        raise UsageError(f"{what} is under way in another process", hint="wait for it, or start another with --no-resume")
    try:
        yield
    finally:
        with suppress(OSError):  # a folder that cannot be written any more: an unlocked file does no harm
            path.unlink(missing_ok=True)
        os.close(handle)


def _locked(store: Store, path: Path) -> int | None:
    """The handle of the file, made and locked; None where another process has it."""
    while True:
        try:
            store.journal_folder.mkdir(exist_ok=True)
            handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        except OSError as error:
            where = str(store.journal_folder)
            raise StoreError(f"the journal cannot be written: {error.strerror}", where=where, hint="--store names another place") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        if os.fstat(handle).st_nlink:
            return handle
        os.close(handle)  # its owner closed it between open and lock


class _File:
    """A journal file that this process writes, and holds the lock of."""

    def __init__(self, store: Store, name: str) -> None:
        store.make_parent()
        self.rows = 0
        self.kept: list[tuple[str, Row]] | None = []  # the same rows, so that folding need not read the file; None: too many
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

    def write(self, table: str, ready: Row) -> None:
        line = to_json([table, ready]) + b"\n"
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
        if self.kept is not None and self._size <= MOST_KEPT:
            self.kept.append((table, ready))
        else:
            self.kept = None

    def remove(self) -> None:
        with suppress(OSError):  # a folder that cannot be written any more: rows that are folded twice count once
            self.path.unlink()
        self.release()

    def release(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def fold_left_behind(store: Store) -> int:
    """Fold the journal files that no live process holds; how many rows. Raises StoreBusy or StoreError: the rest stays."""
    with _in_turn(store):
        for path in store.journal_folder.glob("*.owner"):
            _remove_unowned(path)
        left = sorted(store.journal_folder.glob("*.jsonl"), key=_age)
        return sum(_fold_some(store, left[start : start + FILES_AT_ONCE]) for start in range(0, len(left), FILES_AT_ONCE))


@contextmanager
def _in_turn(store: Store) -> Iterator[None]:
    """Wait while another process folds what was left: it holds the files, and whoever asks next what is known must find their rows.

    The lock is one on the folder. Raises StoreBusy after `wait_s`.
    """
    try:
        handle = os.open(store.journal_folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # no folder, nothing left
        yield
        return
    deadline = time.monotonic() + store.wait_s
    try:
        while not _lock(handle):
            if time.monotonic() >= deadline:
                raise StoreBusy("another process is still putting its journal into the store", where=str(store.path), hint="try again")
            time.sleep(FOLD_PAUSE_S)
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    """Whether the lock is ours now. True as well where the file system has no locks of folders."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _fold_some(store: Store, paths: Sequence[Path]) -> int:
    """Fold files in one transaction, those that nobody writes."""
    held: list[tuple[Path, int]] = []
    rows: dict[str, list[Row]] = defaultdict(list)
    try:
        for path in paths:
            handle = _take(path)
            if handle is not None:
                held.append((path, handle))
                for table, row in _entries(store, path):
                    rows[table].append(row)
        store.append_prepared(rows)
        for path, _ in held:
            with suppress(OSError):  # a folder that cannot be written: these rows are folded again, and count once
                path.unlink()
    finally:
        for _, handle in held:
            os.close(handle)
    return sum(len(some) for some in rows.values())


def _take(path: Path) -> int | None:
    """The handle of a file that was left behind, locked; None where a live process writes it, or another took it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"the journal cannot be read: {error.strerror}", where=str(path)) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    if not os.fstat(handle).st_nlink:
        os.close(handle)
        return None
    return handle


def _age(path: Path) -> tuple[int, int]:
    """What was written first goes in first: the end of a run must not be there before its rows."""
    number = path.stem.rpartition("-")[2]
    try:
        return path.stat().st_mtime_ns, int(number) if number.isdecimal() else 0
    except OSError:
        return 0, 0


def _remove_unowned(path: Path) -> None:
    """Remove the lock file of a process that was killed."""
    with suppress(OSError):  # another process was faster, or the folder is read-only
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(handle)


def _entries(store: Store, path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a journal file. A line that cannot be read is set aside, and said."""
    torn: list[bytes] = []
    for line in filter(None, path.read_bytes().split(b"\n")):
        entry = _read(line)
        if entry is None:
            torn.append(line)
        else:
            yield entry
    if torn:
        _set_aside(store, path, torn)


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

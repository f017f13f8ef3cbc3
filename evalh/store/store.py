"""The store as a file that many processes share: open, do one thing, close.

DuckDB lets one process write and shuts all others out, readers too, while it holds the file. So a connection lives for
one append or one query, a busy file is waited for with one clear line of notice, and what cannot wait goes to the
journal first (`evalh/store/journal.py`). Threads of one process take turns.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalh.errors import StoreBusy, StoreError, UsageError
from evalh.store.faults import first_line, holder, not_usable, way_out
from evalh.store.inserts import SOURCE, Chunk, Columns, chunk, of_rows
from evalh.store.journal import fold_left_behind
from evalh.store.migrations import MIGRATIONS, SCHEMA_MIGRATIONS, Migration, back_up, migrate, refuse_newer, schema_number
from evalh.store.rows import Row, prepared
from evalh.store.tables import TABLES

if TYPE_CHECKING:
    import duckdb

# A query serves `evalh sql` too: it can neither write, nor read files, nor see variables of this program.
_READ_ONLY = {"enable_external_access": "false", "python_enable_replacements": "false", "lock_configuration": "true"}

_WRITING = {"threads": "1"}  # an insert from Python is one thread's work; more only cost

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.005, 0.05
NOTICE_AFTER_S = 1.0
DOOR_WAIT_S = 1.0  # at most: whoever is in front may wait for long, and it is the file that decides

_turns: dict[Path, threading.Lock] = {}  # one per file: a process cannot read and write one DuckDB file at a time
_turns_guard = threading.Lock()


class Store:
    """One DuckDB file. Cheap to make: nothing is opened, nor DuckDB imported, before the first append or query.

    `wait_s` is how long a busy file is waited for; `notice` gets one line when that takes more than a second, and one
    for each migration or journal that could not be read.
    """

    def __init__(
        self,
        path: Path,
        wait_s: float = 30.0,
        notice: Callable[[str], None] | None = None,
        *,
        migrations: Sequence[Migration] = MIGRATIONS,
    ) -> None:
        self.path = Path(path)
        self.wait_s = wait_s
        self.notice: Callable[[str], None] = notice or (lambda _line: None)
        self._migrations = migrations
        self._up_to_date = False
        self._local = threading.local()
        with _turns_guard:
            self._turn = _turns.setdefault(self.path.resolve(), threading.Lock())

    @property
    def journal_folder(self) -> Path:
        return self.path.with_name(self.path.name + ".journal")

    def exists(self) -> bool:
        return self.path.is_file()

    def append(self, rows: Mapping[str, Iterable[Mapping[str, Any]]], *, new: Collection[str] = ()) -> None:
        """Add rows (table → rows as dicts) in one transaction; a row whose key is there already is left out.

        Rows are read and checked, table by table in the order given, before the file is opened: iterables may be
        generators, and an error in one stores nothing. In the tables named by `new`, a key that is there already is a
        UsageError. Raises ValueError for a row that does not fit its table, StoreBusy, StoreTooNew, StoreError.
        """
        self.append_prepared({table: map(partial(prepared, table), some) for table, some in rows.items()}, new=new)

    def append_prepared(self, rows: Mapping[str, Iterable[Row]], *, new: Collection[str] = ()) -> None:
        """`append` for rows that `rows.prepared` has seen: the journal's."""
        self.append_columns([found for table, some in rows.items() for found in of_rows(table, some)], new=new)

    def append_columns(self, found: Iterable[Columns], *, new: Collection[str] = (), fresh: Iterable[Columns] = ()) -> None:
        """`append` for rows that come column by column (`inserts.columns`): the way for many.

        Of `fresh` ones the caller knows that no key of a table without an index is there yet.
        """
        waiting = [chunk(some, keep_first=some.table not in new) for some in found if some.n]
        waiting += [chunk(some, keep_first=some.table not in new, fresh=True) for some in fresh if some.n]
        if not waiting:
            return
        with self._open(read_only=False) as connection:
            self._insert(connection, waiting)

    def change(self, statements: Sequence[str], params: Mapping[str, Any]) -> None:
        """Run statements of our own that delete or update rows, in one transaction. Raises StoreBusy, StoreError."""
        import duckdb

        with self._open(read_only=False) as connection:
            try:
                connection.execute("BEGIN")
                for sql in statements:
                    connection.execute(sql, dict(params))
                connection.execute("COMMIT")
            except duckdb.Error as error:
                raise StoreError(f"nothing was changed: {first_line(error)}", where=str(self.path), hint=way_out(error)) from error

    def query(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """The rows that a query finds, as dicts. JSON columns come as their JSON text, times as naive UTC.

        The connection is read-only and cannot touch files. Raises UsageError where the query itself is at fault.
        """
        with self._asked(sql, params) as cursor:
            names = [d[0] for d in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def columns(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> dict[str, Any]:
        """`query` for many rows: one numpy array a column, nulls masked."""
        with self._asked(sql, params) as cursor:
            found: dict[str, Any] = cursor.fetchnumpy()
            return found

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Many queries of this thread through one connection: opening one costs more than most of them. For moments, not for waiting."""
        with self._reader() as connection:
            before, self._local.reader = getattr(self._local, "reader", None), connection
            try:
                yield
            finally:
                self._local.reader = before

    @contextmanager
    def working(self) -> Iterator[None]:
        """What this thread writes and asks goes through one connection. For moments, as `reading`: nobody else gets in meanwhile."""
        with self._open(read_only=False) as connection:
            self._local.reader = self._local.writer = connection
            try:
                yield
            finally:
                self._local.reader = self._local.writer = None

    @contextmanager
    def _reader(self) -> Iterator[duckdb.DuckDBPyConnection]:
        open_already: duckdb.DuckDBPyConnection | None = getattr(self._local, "reader", None)
        if open_already is not None:
            yield open_already
            return
        with self._open(read_only=True) as connection:
            yield connection

    @contextmanager
    def _asked(self, sql: str, params: Sequence[Any] | Mapping[str, Any]) -> Iterator[duckdb.DuckDBPyConnection]:
        """The answer to a query, to be fetched; what is wrong with the query, or with the store, as errors of evalh."""
        import duckdb

        with self._reader() as connection:
            try:
                cursor = connection.execute(sql, dict(params) if isinstance(params, Mapping) else list(params))
                if cursor is None:
                    raise UsageError("the query is empty", hint='as in "SELECT * FROM runs"')
                yield cursor
            except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.InternalException) as error:
                raise StoreError(first_line(error), where=str(self.path)) from error
            except (duckdb.PermissionException, duckdb.InvalidInputException) as error:
                raise UsageError(first_line(error), hint="a query reads the tables of the store and nothing else") from error
            except duckdb.Error as error:
                hint = 'docs/store.md lists tables and columns; "at", "check" and "group" are words of SQL: quote them'
                raise UsageError(first_line(error), hint=hint) from error

    def fold_journals(self) -> int:
        """Move in what killed processes left in their journals; how many rows. Journals of live processes are left alone."""
        return fold_left_behind(self)

    def write_parquet(self, folder: Path) -> dict[str, int]:
        """Write every table to `folder/TABLE.parquet`; table → number of rows."""
        import duckdb

        _make_folder(folder)
        counts: dict[str, int] = {}
        with self._open(read_only=True, config={}) as connection:
            for table in (*TABLES, SCHEMA_MIGRATIONS):
                target = str(folder / f"{table.name}.parquet").replace("'", "''")
                order = ", ".join(f'"{column}"' for column in table.key)
                sql = f"COPY (FROM {table.name} ORDER BY {order}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
                try:
                    row = connection.execute(sql).fetchone()
                except duckdb.Error as error:
                    raise StoreError(f"{table.name} could not be written: {first_line(error)}", where=str(folder)) from error
                counts[table.name] = int(row[0]) if row else 0
        return counts

    def make_parent(self) -> None:
        """Make the folder that the store stands in. `.evalh/` is kept out of version control."""
        parent = self.path.parent
        _make_folder(parent)
        ignore = parent / ".gitignore"
        if parent.name == ".evalh" and not ignore.exists():
            try:
                ignore.write_text("*\n")
            except OSError as error:
                raise _unwritable(parent, error) from error

    def _insert(self, connection: duckdb.DuckDBPyConnection, waiting: Sequence[Chunk]) -> None:
        import duckdb

        try:
            connection.execute("BEGIN")
            for one in waiting:
                connection.register(SOURCE, one.arrays)
                connection.execute(one.sql, one.parameters)
            connection.execute("COMMIT")
        except duckdb.ConstraintException as error:
            raise UsageError(first_line(error), where=str(self.path), hint="nothing was stored; choose another name") from error
        except duckdb.Error as error:
            fault = f"writing failed and nothing of it was stored: {first_line(error)}"
            raise StoreError(fault, where=str(self.path), hint=way_out(error)) from error

    @contextmanager
    def _open(self, read_only: bool, config: Mapping[str, str] | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection for one piece of work. DuckDB turns Ctrl-C into an error of its own: here it is Ctrl-C again."""
        open_already: duckdb.DuckDBPyConnection | None = getattr(self._local, "writer", None)
        try:
            with nullcontext(open_already) if open_already is not None else self._opened(read_only, config) as connection:
                yield connection
        except RuntimeError as error:
            if str(error) == "Query interrupted":
                raise KeyboardInterrupt from None
            raise

    @contextmanager
    def _opened(self, read_only: bool, config: Mapping[str, str] | None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection for one piece of work: created, migrated, checked, and closed in any case."""
        deadline = time.monotonic() + self.wait_s
        self._take_turn()
        try:
            self._bring_up_to_date(create=not read_only, deadline=deadline)
            settings = config if config is not None else _READ_ONLY if read_only else _WRITING
            connection = self._connect(self.path, deadline, settings, read_only)
            try:
                refuse_newer(schema_number(connection, self.path), self.path, self._migrations)
                yield connection
            finally:
                _close(connection)
        finally:
            self._turn.release()

    def _take_turn(self) -> None:
        if self._turn.acquire(timeout=min(NOTICE_AFTER_S, self.wait_s)):
            return
        self.notice(f"waiting for the store {self.path}: another thread of this program uses it")
        if not self._turn.acquire(timeout=max(0.0, self.wait_s - NOTICE_AFTER_S)):
            raise StoreBusy(f"used by another thread of this program for {self.wait_s:g} s", where=str(self.path))

    def _bring_up_to_date(self, create: bool, deadline: float) -> None:
        if not self.path.exists():
            if self._up_to_date:
                raise StoreError(
                    "it is gone: somebody removed or moved it while it was in use",
                    where=str(self.path),
                    hint="put it back and repeat the command to resume; without it a new one is made",
                )
            if not create:
                raise StoreError(
                    "there is no store here yet", where=str(self.path), hint="`evalh run` and `evalh import` make one; --store names it"
                )
            self._up_to_date = self._create()
        if self._up_to_date:
            return
        # Read-only first: a store of a newer program is refused without a byte of it changing.
        connection = self._connect(self.path, deadline, _READ_ONLY, read_only=True)
        try:
            number = schema_number(connection, self.path)
            refuse_newer(number, self.path, self._migrations)
        finally:
            _close(connection)
        if number < self._migrations[-1].number:
            self._migrate(deadline)
        self._up_to_date = True

    def _migrate(self, deadline: float) -> None:
        import duckdb

        connection = self._connect(self.path, deadline, {}, read_only=False)
        try:
            number = schema_number(connection, self.path)  # another process may have been faster
            if number < self._migrations[-1].number:
                try:
                    copy = back_up(connection, self.path, number)
                except (duckdb.Error, OSError) as error:
                    fault = f"no backup copy could be made before migrating: {first_line(error)}"
                    raise StoreError(fault, where=str(self.path), hint=way_out(error)) from error
                migrate(connection, self.path, number, self._migrations)
                last = self._migrations[-1].number
                self.notice(f"the store {self.path} now has schema {last} (was {number}); a copy of the old one is {copy.name}")
        finally:
            _close(connection)

    def _create(self) -> bool:
        """Make the store beside its place and link it there whole, so that nobody ever sees half of one. False: another was faster."""
        self.make_parent()
        new = self.path.with_name(f"{self.path.name}.new-{os.getpid()}")
        new.unlink(missing_ok=True)  # of a killed process: in a container numbers come again
        try:
            connection = self._connect(new, time.monotonic(), {}, read_only=False)
            try:
                migrate(connection, self.path, 0, self._migrations)
                _checkpoint(connection, self.path)  # a store whose tables did not fit on the disk must not get its name
            finally:
                _close(connection)
            return _put(new, self.path)
        finally:
            for path in (new, new.with_name(new.name + ".wal")):
                path.unlink(missing_ok=True)

    def _connect(self, path: Path, deadline: float, config: Mapping[str, str], read_only: bool) -> duckdb.DuckDBPyConnection:
        """A connection, as soon as no other process holds the file. Raises StoreBusy when the deadline has passed.

        Readers that follow each other closely would leave no gap for a writer: so a writer that waits shuts the door behind
        those who are in, and a reader that comes then lets it go first.
        """
        door = _door(path.parent, min(deadline, time.monotonic() + DOOR_WAIT_S))
        if read_only:
            _leave(door)
            return self._connected(path, deadline, config, read_only)
        try:
            return self._connected(path, deadline, config, read_only)
        finally:
            _leave(door)

    def _connected(self, path: Path, deadline: float, config: Mapping[str, str], read_only: bool) -> duckdb.DuckDBPyConnection:
        import duckdb

        started, pause, told = time.monotonic(), FIRST_PAUSE_S, False
        while True:
            try:
                return duckdb.connect(str(path), read_only=read_only, config=dict(config))
            except duckdb.Error as error:
                held_by = holder(error)
                if held_by is None:
                    raise not_usable(self.path, error) from error
                now = time.monotonic()
                if now >= deadline:
                    fault = f"held by {held_by} for {now - started:.0f} s and more"
                    raise StoreBusy(fault, where=str(self.path), hint="end that process, or try again when it is done") from error
            if not told and now - started >= NOTICE_AFTER_S:
                self.notice(f"waiting for the store {self.path}: held by {held_by}")
                told = True
            time.sleep(min(pause, deadline - now))
            pause = min(pause * 1.5, LONGEST_PAUSE_S)


def _door(folder: Path, deadline: float) -> int | None:
    """A lock on the folder of a store, which only those take who are about to open it; None where there is none to be had."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except OSError:
            if time.monotonic() >= deadline:
                os.close(handle)
                return None
        time.sleep(FIRST_PAUSE_S)


def _leave(door: int | None) -> None:
    if door is not None:
        os.close(door)


def _put(new: Path, place: Path) -> bool:
    """Give the file its name, unless another process was faster: its store is as good."""
    try:
        os.link(new, place)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if place.exists():
            return False
        new.rename(place)
    return True


def _checkpoint(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    import duckdb

    try:
        connection.execute("CHECKPOINT")
    except duckdb.Error as error:
        raise StoreError(f"cannot be made: {first_line(error)}", where=str(path), hint=way_out(error)) from error


def _close(connection: duckdb.DuckDBPyConnection) -> None:
    import duckdb

    try:
        connection.close()
    except duckdb.Error:  # a full disk: the write-ahead log keeps what was committed, and the error was raised where it happened
        return


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(path: Path, error: OSError) -> StoreError:
    fault = f"cannot be written: {error.strerror or error}"
    return StoreError(fault, where=str(path), hint="change the permissions, or name another with --store")

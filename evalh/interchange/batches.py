"""A JSON Lines file as columns: parsed once, a batch at a time, and looked at column by column.

A look at the types and values of a whole column costs a hundredth of a record for each line. Lines that such a look finds
odd go the careful way one by one, through the record that has the words for what is wrong; a line that is odd and right
comes back as the record has it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalh.errors import InputError
from evalh.fingerprints import FileHash
from evalh.interchange.faults import Faults
from evalh.interchange.lines import BLOCK, CANARY, opened, parsed, place, raw_lines

BATCH_LINES, BATCH_BYTES = 16_384, 2**23

Row = dict[str, Any]
Columns = dict[str, list[Any]]
Told = Callable[[str], None]  # one line for people: what is being done, and how far


class Field(NamedTuple):
    """One field of a line: the types that its plain values have, and what stands for it where it is not given."""

    types: frozenset[type]
    default: Any = None


class Form(NamedTuple):
    """How the lines of one file become columns."""

    fields: Mapping[str, Field]
    odd: Callable[[Sequence[Row], Columns], Iterable[int]]  # places of rows whose values need the careful way
    careful: Callable[[Row, Path, int], Row]  # the same fields as its record has them; raises InputError
    derived: Callable[[Sequence[Row], Columns], Columns]  # the columns that are kept


class Table(NamedTuple):
    """What one file holds: the line that each row stands on, and its columns, all as long."""

    lines: list[int]
    columns: Columns

    def without(self, lines: set[int]) -> Table:
        """The same table but for the rows of these lines."""
        if not lines:
            return self
        kept = [place for place, line in enumerate(self.lines) if line not in lines]
        return Table([self.lines[n] for n in kept], {name: [column[n] for n in kept] for name, column in self.columns.items()})


def read_table(path: Path, form: Form, faults: Faults, told: Told | None = None) -> tuple[Table, str]:
    """The table of a file and the file's hash. Bad lines go to `faults` and are left out.

    Raises InputError where the file cannot be read, or has changed while it was.
    """
    table = Table([], {})
    source = _Source(path, told)
    for lines, rows in _batches(path, source, faults):
        kept, columns = _settled(form, path, lines, rows, faults)
        table.lines.extend(kept)
        for name, column in columns.items():
            table.columns.setdefault(name, []).extend(column)
    return table, source.digest.digest()


class _Source:
    """The blocks of a file, each hashed and counted."""

    def __init__(self, path: Path, told: Told | None) -> None:
        self.path, self.digest = path, FileHash()
        self._told = told or (lambda _line: None)

    def blocks(self) -> Iterator[bytes]:
        with opened(self.path) as file:
            before, done = os.fstat(file.fileno()), 0
            while block := file.read(BLOCK):
                self.digest.update(block)
                done += len(block)
                yield block
                self._told(f"reading {self.path.name}: {done / 1e6:,.0f} of {before.st_size / 1e6:,.0f} MB")
            now = os.fstat(file.fileno())
        if (now.st_mtime_ns, now.st_size, done) != (before.st_mtime_ns, before.st_size, before.st_size):
            raise InputError("changed while it was read", where=place(self.path), hint="repeat the command")


def _batches(path: Path, source: _Source, faults: Faults) -> Iterator[tuple[list[int], list[Row]]]:
    lines: list[int] = []
    rows: list[Row] = []
    size = 0
    for number, _, text in raw_lines(path, source.blocks(), lambda fault: faults.add(path, _line_of(fault), fault)):
        try:
            data = parsed(path, number, text)
        except InputError as fault:
            faults.add(path, number, fault)
            continue
        if number == 1 and CANARY in data:
            continue
        lines.append(number)
        rows.append(data)
        size += len(text)
        if len(rows) >= BATCH_LINES or size >= BATCH_BYTES:
            yield lines, rows
            lines, rows, size = [], [], 0
    if rows:
        yield lines, rows


def _line_of(fault: InputError) -> int:
    return int((fault.where or "").rpartition(":")[2])


def _settled(form: Form, path: Path, lines: list[int], rows: list[Row], faults: Faults) -> tuple[list[int], Columns]:
    """The lines that are right, and their columns."""
    columns, odd = _by_type(form, rows)
    left = range(len(rows)) if not odd else [n for n in range(len(rows)) if n not in odd]
    some = rows if not odd else [rows[n] for n in left]
    if odd:
        columns, _ = _by_type(form, some)
    odd |= {left[n] for n in form.odd(some, columns)} if some else set()
    if odd:
        lines, rows = _carefully(form, path, lines, rows, odd, faults)
        columns, _ = _by_type(form, rows)
    return lines, form.derived(rows, columns) if rows else {}


def _carefully(form: Form, path: Path, lines: list[int], rows: list[Row], odd: set[int], faults: Faults) -> tuple[list[int], list[Row]]:
    kept: list[tuple[int, Row]] = []
    for n, (line, row) in enumerate(zip(lines, rows, strict=True)):
        if n not in odd:
            kept.append((line, row))
            continue
        try:
            kept.append((line, form.careful(row, path, line)))
        except InputError as fault:
            faults.add(path, line, fault)
    return [line for line, _ in kept], [row for _, row in kept]


def _by_type(form: Form, rows: Sequence[Row]) -> tuple[Columns, set[int]]:
    """The columns of the known fields, and the places of rows with a value of a type that is not plain."""
    keys = set().union(*rows)
    columns: Columns = {}
    odd: set[int] = set()
    for name, (types, default) in form.fields.items():
        column = [row.get(name, default) for row in rows] if name in keys else [default] * len(rows)
        columns[name] = column
        if not types.issuperset(map(type, column)):
            odd.update(n for n, value in enumerate(column) if type(value) not in types)
    return columns, odd

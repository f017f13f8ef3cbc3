"""Rows as few large statements: every column one numpy array, which DuckDB reads in place (2–5 µs a row; `executemany` needs 300).

What is the same in all rows of a chunk travels once, as a parameter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import repeat
from typing import Any, NamedTuple

from evalh.store.rows import Row, prepared_column, prepared_value
from evalh.store.tables import BY_NAME

MOST_ROWS = 200_000
MOST_TEXT = 8_000_000  # characters: a chunk of long outputs stays within a few dozen megabytes

SOURCE = "evalh_chunk"  # what a chunk is called while its statement runs


class Columns(NamedTuple):
    """`n` rows of one table, column by column. `same` holds what is equal in all of them. Values are JSON-ready (`columns`)."""

    table: str
    n: int
    values: Mapping[str, Sequence[Any]]
    same: Mapping[str, Any]


class Chunk(NamedTuple):
    """One INSERT: its statement, its parameters and its arrays."""

    table: str
    sql: str
    parameters: list[Any]
    arrays: dict[str, Any]


def columns(table: str, n: int, values: Mapping[str, Sequence[Any]], same: Mapping[str, Any] | None = None) -> Columns:
    """Checked columns of a table. Raises ValueError naming table and column, as `rows.prepared` does, for what does not fit.

    At least one column must vary.
    """
    ready = {name: prepared_column(table, name, column, n) for name, column in values.items()}
    constant = {name: prepared_value(table, name, value) for name, value in (same or {}).items()}
    missing = [name for name in BY_NAME[table].key if name not in ready and constant.get(name) is None]
    if missing:
        raise ValueError(f"{table}.{missing[0]}: a part of the key is missing")
    return Columns(table, n, ready, {name: value for name, value in constant.items() if value is not None})


def of_rows(table: str, rows: Iterable[Row]) -> Iterator[Columns]:
    """Rows that `rows.prepared` has seen, as columns of bounded size."""
    some: list[Row] = []
    size = 0
    for row in rows:
        some.append(row)
        size += sum(len(v) for v in row.values() if isinstance(v, str))
        if len(some) >= MOST_ROWS or size >= MOST_TEXT:
            yield _columns(table, some)
            some, size = [], 0
    if some:
        yield _columns(table, some)


def joined(found: Iterable[Columns]) -> Iterator[Columns]:
    """The same rows in as few pieces as possible: one for each table, below `MOST_ROWS`."""
    by_table: dict[str, list[Columns]] = {}
    for one in found:
        waiting = by_table.setdefault(one.table, [])
        waiting.append(one)
        if sum(other.n for other in waiting) >= MOST_ROWS:
            yield _join(by_table.pop(one.table))
    for waiting in by_table.values():
        yield _join(waiting)


def _join(found: list[Columns]) -> Columns:
    """One piece of several of one table. What is the same in each of them, and equal in all, stays a single value."""
    if len(found) == 1:
        return found[0]
    names = {name for one in found for name in (*one.values, *one.same)}
    same = {n: v for n, v in found[0].same.items() if all(n in one.same and one.same[n] == v for one in found)}
    values: dict[str, list[Any]] = {name: [] for name in names if name not in same}
    for one in found:
        for name, column in values.items():
            column.extend(one.values[name] if name in one.values else repeat(one.same.get(name), one.n))
    return Columns(found[0].table, sum(one.n for one in found), values, same)


def rows_of(found: Columns) -> Iterator[Row]:
    """The same rows one by one: what the journal writes where the store is busy."""
    for place in range(found.n):
        row = {name: column[place] for name, column in found.values.items() if column[place] is not None}
        yield {**found.same, **row}


def chunk(found: Columns, *, keep_first: bool, fresh: bool = False) -> Chunk:
    """The statement that inserts the columns. With `keep_first` a key that is there already is left as it is.

    `fresh`: the caller knows that no key is there, which saves looking where the table has no index.
    """
    if fresh and not BY_NAME[found.table].indexed:
        keep_first = False
    types = {c.name: c.type for c in BY_NAME[found.table].columns}
    varying = tuple(name for name in types if name in found.values)
    constant = tuple(name for name in types if name in found.same)
    arrays = {name: _array(types[name], found.values[name]) for name in varying}
    parameters = [_parameter(types[name], found.same[name]) for name in constant]
    return Chunk(found.table, _insert(found.table, varying, constant, keep_first), parameters, arrays)


def _columns(table: str, rows: list[Row]) -> Columns:
    used = {name for row in rows for name in row}
    return Columns(table, len(rows), {c.name: [row.get(c.name) for row in rows] for c in BY_NAME[table].columns if c.name in used}, {})


@cache
def _insert(table: str, varying: tuple[str, ...], constant: tuple[str, ...], keep_first: bool) -> str:
    types = {c.name: c.type for c in BY_NAME[table].columns}
    names = ", ".join(f'"{name}"' for name in (*constant, *varying))
    given = [_cast("?", types[name]) for name in constant] + [_cast(f'c."{name}"', types[name]) for name in varying]
    sql = f"INSERT INTO {table} ({names}) SELECT {', '.join(given)} FROM {SOURCE} AS c"
    if not keep_first:
        return sql
    if BY_NAME[table].indexed:
        return sql + " ON CONFLICT DO NOTHING"
    key, listed = BY_NAME[table].key, ", ".join(f'"{name}"' for name in (*constant, *varying))
    same = " AND ".join(f'there."{name}" = new."{name}"' for name in key)
    new = f"SELECT {', '.join(f'{value} AS {name}' for value, name in zip(given, names.split(', '), strict=True))} FROM {SOURCE} AS c"
    once = ", ".join(f'"{name}"' for name in key)
    return (
        f"INSERT INTO {table} ({names}) SELECT {listed} FROM (SELECT DISTINCT ON ({once}) * FROM ({new})) AS new"
        f" WHERE NOT EXISTS (SELECT 1 FROM {table} AS there WHERE {same})"
    )


def _cast(value: str, type_: str) -> str:
    if type_ == "VARCHAR[]":
        return f"""from_json_strict({value}::VARCHAR, '["VARCHAR"]')"""
    return f"{value}::{type_}"


def _parameter(type_: str, value: Any) -> Any:
    return json.dumps(value) if type_ == "VARCHAR[]" else value


def _array(type_: str, values: Sequence[Any]) -> Any:
    """The values as DuckDB reads them without guessing: texts as objects, numbers as numbers, with a mask for nulls."""
    import numpy as np

    if type_ == "VARCHAR[]":
        values = [None if v is None else json.dumps(v) for v in values]
    numbers: Any = {"INTEGER": np.int32, "BIGINT": np.int64, "DOUBLE": np.float64, "BOOLEAN": np.bool_}.get(type_)
    if numbers is None:
        made = np.empty(len(values), dtype=object)
        made[:] = values
        return made
    if None not in values:
        return np.array(values, dtype=numbers)
    return np.ma.array([0 if v is None else v for v in values], mask=[v is None for v in values], dtype=numbers)

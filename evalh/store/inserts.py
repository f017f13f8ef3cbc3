"""Rows as few large statements: column by column, one JSON text parameter each.

This is the fastest way into DuckDB that needs no further library (about 10 µs a row; `executemany` needs 300).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from evalh.store.rows import Row
from evalh.store.tables import BY_NAME

MOST_ROWS = 2_000
MOST_TEXT = 8_000_000  # characters: a chunk of long outputs stays within a few dozen megabytes


class Chunk(NamedTuple):
    """One INSERT and its one parameter."""

    table: str
    sql: str
    text: str


def chunks(table: str, rows: Iterable[Row], *, keep_first: bool) -> Iterator[Chunk]:
    """The rows of one table as statements. With `keep_first` a key that is there already is left as it is."""
    some: list[Row] = []
    size = 0
    for row in rows:
        some.append(row)
        size += sum(len(v) for v in row.values() if isinstance(v, str))
        if len(some) >= MOST_ROWS or size >= MOST_TEXT:
            yield _chunk(table, some, keep_first)
            some, size = [], 0
    if some:
        yield _chunk(table, some, keep_first)


def _chunk(table: str, rows: list[Row], keep_first: bool) -> Chunk:
    used = {name for row in rows for name in row}
    columns = tuple(c.name for c in BY_NAME[table].columns if c.name in used)
    values = {name: [row.get(name) for row in rows] for name in columns}
    return Chunk(table, _insert(table, columns, keep_first), json.dumps(values, allow_nan=False))


@cache
def _insert(table: str, columns: tuple[str, ...], keep_first: bool) -> str:
    """JSON and times travel as texts and are cast: inside `from_json` a JSON string would lose its quotes."""
    types = {c.name: c.type for c in BY_NAME[table].columns}
    shape = {name: [_SHAPES.get(types[name], types[name])] for name in columns}
    picked = ", ".join(f'unnest(c."{name}")::{types[name]}' for name in columns)
    names = ", ".join(f'"{name}"' for name in columns)
    source = f"(SELECT from_json_strict(?, '{json.dumps(shape)}') AS c)"
    sql = f"INSERT INTO {table} ({names}) SELECT {picked} FROM {source}"
    return sql + (" ON CONFLICT DO NOTHING" if keep_first else "")


_SHAPES: dict[str, str | list[str]] = {"JSON": "VARCHAR", "TIMESTAMP": "VARCHAR", "VARCHAR[]": ["VARCHAR"]}

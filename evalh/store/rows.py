"""Rows on their way into the store: every value is checked against its column before a file is touched.

Rows come as plain dicts; what leaves here is JSON-ready, so that the journal can write it on one line and DuckDB can read
it back without guessing. A row that passes here goes in later, whatever happens in between.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from numbers import Integral, Real
from types import NoneType
from typing import Any

from evalh.store.tables import BY_NAME

Row = dict[str, Any]


def readable(text: str) -> str:
    """The text with halves of surrogate pairs, which no UTF-8 file can hold, shown as U+FFFD. Everything else stays, NUL too."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def prepared(table: str, row: Mapping[str, Any]) -> Row:
    """The row with JSON-ready values, or ValueError naming table and column: a wrong row is a mistake of the program.

    A JSON column takes the value itself (a text becomes a JSON string), a TIMESTAMP a datetime (naive ones are UTC) or
    its ISO form. NaN and infinities are refused: what has no number is None.
    """
    columns, key = _columns(table)
    out: Row = {}
    for name, value in row.items():
        if name not in columns:
            raise ValueError(f"table {table} has no column `{name}`; it has {', '.join(columns)}")
        if value is not None:
            try:
                out[name] = columns[name](value)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{table}.{name}: {error}") from error
    for name in key:
        if name not in out:
            raise ValueError(f"{table}.{name}: a part of the key is missing")
    return out


def prepared_column(table: str, name: str, values: Sequence[Any], n: int) -> Sequence[Any]:
    """One column of `n` rows, JSON-ready: `prepared` for many rows at a time. Raises ValueError naming table and column."""
    convert, plain = _column(table, name)
    if len(values) != n:
        raise ValueError(f"{table}.{name}: {len(values)} values for {n} rows")
    if plain is not None and plain(values):
        return values
    try:
        return [None if v is None else convert(v) for v in values]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{table}.{name}: {error}") from error


def prepared_value(table: str, name: str, value: Any) -> Any:
    """One value as `prepared` makes it."""
    convert, _ = _column(table, name)
    try:
        return None if value is None else convert(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{table}.{name}: {error}") from error


@cache
def _column(table: str, name: str) -> tuple[Callable[[Any], Any], Callable[[Sequence[Any]], bool] | None]:
    """How one value of a column is converted, and a quick look that tells that all values are fine as they are."""
    types = {c.name: c.type for c in BY_NAME[table].columns} if table in BY_NAME else {}
    if name not in types:
        _columns(table)
        raise ValueError(f"table {table} has no column `{name}`; it has {', '.join(types)}")
    return _PREPARE[types[name]], _PLAIN.get(types[name])


def _plain_texts(values: Sequence[Any]) -> bool:
    kinds = set(map(type, values))
    if not kinds <= {str, NoneType}:
        return False
    try:
        "".join(values if NoneType not in kinds else filter(None, values)).encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain_numbers(values: Sequence[Any]) -> bool:
    return set(map(type, values)) <= {float, NoneType} and all(map(math.isfinite, (v for v in values if v is not None)))


def _plain_booleans(values: Sequence[Any]) -> bool:
    return set(map(type, values)) <= {bool, NoneType}


@cache
def _columns(table: str) -> tuple[dict[str, Callable[[Any], Any]], tuple[str, ...]]:
    if table not in BY_NAME:
        raise ValueError(f"the store has no table `{table}`; it has {', '.join(BY_NAME)}")
    description = BY_NAME[table]
    return {c.name: _PREPARE[c.type] for c in description.columns}, description.key


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is needed, not {value!r}")
    return readable(value)


def _integer(bits: int) -> Callable[[Any], int]:
    limit = 2 ** (bits - 1)

    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, Integral) or not -limit <= value < limit:
            raise TypeError(f"a whole number of {bits} bits is needed, not {value!r}")
        return int(value)

    return convert


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise TypeError(f"a finite number is needed, not {value!r}")
    return float(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"true or false is needed, not {value!r}")
    return value


_EMPTY: dict[type, str] = {list: "[]", tuple: "[]", dict: "{}"}


def _json(value: Any) -> str:
    if not value and type(value) in _EMPTY:  # most of them: tags, meta, tool calls
        return _EMPTY[type(value)]
    return readable(_encode(value))


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def _moment(value: Any) -> str:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime):
        raise TypeError(f"a time is needed, not {value!r}")
    return (moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment).isoformat()


def _texts(value: Any) -> list[str | None]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"a list of texts is needed, not {value!r}")
    return [None if v is None else _text(v) for v in value]


_PREPARE: dict[str, Callable[[Any], Any]] = {
    "VARCHAR": _text,
    "VARCHAR[]": _texts,
    "INTEGER": _integer(32),
    "BIGINT": _integer(64),
    "DOUBLE": _number,
    "BOOLEAN": _boolean,
    "JSON": _json,
    "TIMESTAMP": _moment,
}

_PLAIN: dict[str, Callable[[Sequence[Any]], bool]] = {"VARCHAR": _plain_texts, "DOUBLE": _plain_numbers, "BOOLEAN": _plain_booleans}

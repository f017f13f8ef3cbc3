"""Rows on their way into the store: every value is checked against its column before a file is touched.

Rows come as plain dicts; what leaves here is JSON-ready, so that the journal can write it on one line and DuckDB can read
it back without guessing. A row that passes here goes in later, whatever happens in between.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from numbers import Integral, Real
from typing import Any

from evalh.store.tables import BY_NAME

Row = dict[str, Any]


def readable(text: str) -> str:
    """The text with halves of surrogate pairs, which no UTF-8 file can hold, shown as U+FFFD. Everything else stays, NUL too."""
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


def _json(value: Any) -> str:
    return readable(json.dumps(value, ensure_ascii=False, allow_nan=False))


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

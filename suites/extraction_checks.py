"""Compares a record with the values that the item's reference holds.

Each function gets an output and its item, and returns True or False, or a share in [0, 1], with the reason that tables and
reports show. A failed assert is a failed check too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeGuard

from evalh import Item, Output

CENT = 0.005  # amounts closer than this are the same


def names(output: Output, item: Item) -> tuple[bool, str]:
    """Kind, number, date, party and e-mail address are those of the document; case and spaces are free."""
    record, fields = _record(output), ("kind", "number", "date", "party", "email")
    wrong = [f for f in fields if _folded(record.get(f)) != _folded(item.reference[f])]
    return not wrong, _said(record, item, wrong or fields)


def amounts(output: Output, item: Item) -> tuple[bool, str]:
    """The currency is right, and the total to the cent."""
    record, total = _record(output), item.reference["total"]
    got = record.get("total")
    same = got == total or (_is_number(got) and _is_number(total) and abs(got - total) < CENT)
    wrong = ([] if same else ["total"]) + ([] if record.get("currency") == item.reference["currency"] else ["currency"])
    return not wrong, _said(record, item, wrong or ("total", "currency"))


def lines(output: Output, item: Item) -> tuple[float, str]:
    """The share of lines that record and document have in common, by quantity and unit price: how they are worded is free.

    A share instead of a yes or no: the suite's `threshold` says how much is enough.
    """
    got = Counter(_key(line) for line in _record(output).get("lines") or [] if isinstance(line, dict))
    expected = Counter(_key(line) for line in item.reference["lines"])
    found, either = (got & expected).total(), (got | expected).total()
    reason = f"{found} of the document's {expected.total()} lines, {got.total() - found} that it does not have"
    return (found / either if either else 1.0), reason


def _record(output: Output) -> dict[str, Any]:
    try:
        record = json.loads(output.text)
    except ValueError:
        raise AssertionError("is not JSON") from None
    assert isinstance(record, dict), "is no JSON object"
    return record


def _said(record: dict[str, Any], item: Item, fields: Iterable[str]) -> str:
    pairs = [(field, record.get(field), item.reference[field]) for field in fields]
    return ", ".join(
        f"{field} is {got!r}" + ("" if _folded(got) == _folded(right) else f", expected {right!r}") for field, got, right in pairs
    )


def _folded(value: Any) -> Any:
    return " ".join(value.casefold().split()) if isinstance(value, str) else value


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _key(line: dict[str, Any]) -> tuple[Any, ...]:
    """Quantity and unit price to the cent; anything that is no number as text."""
    return tuple(round(v, 2) if _is_number(v) else str(v) for v in (line.get("quantity"), line.get("unit_price")))

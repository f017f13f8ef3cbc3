"""What a call costs: a dated table of prices (prices.toml), and the user's own over it.

A model that neither names has no price: None, never the price of a similar name.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from evalh.errors import InputError
from evalh.providers.base import Price

_VERSION = re.compile(r"[-@](\d{8}|\d{4}-\d{2}-\d{2}|latest)\Z")


class Row(NamedTuple):
    """One line of the table, with the page that states the price."""

    provider: str
    model: str
    price: Price
    host: str | None
    source: str


def price_of(
    provider: str, model: str, overrides: Mapping[str, Mapping[str, Any]] | None = None, base_url: str | None = None
) -> Price | None:
    """The price of a model, or None where none is known. The longest name that covers the model decides.

    `overrides` are the user's: `provider:model` → {input, output, as_of}, USD per million tokens; they come first. With
    `base_url`, only prices of that host count. Raises InputError where an override is not a price.
    """
    mine = own_price(provider, model, overrides)
    if mine is not None:
        return mine
    host = urlsplit(base_url).hostname if base_url else None
    rows = {row.model: row for row in table() if row.provider == provider and (None in (host, row.host) or host == row.host)}
    best = _longest(rows, model)
    return rows[best].price if best is not None else None


def own_price(provider: str, model: str, overrides: Mapping[str, Mapping[str, Any]] | None) -> Price | None:
    """The price that the user's settings give a model, or None. Raises InputError where it is not a price."""
    mine = {ref.partition(":")[2]: ref for ref in overrides or {} if ref.partition(":")[0] == provider}
    best = _longest(mine, model)
    return _given(mine[best], (overrides or {})[mine[best]]) if best is not None else None


def cost(price: Price | None, tokens_in: int | None, tokens_out: int | None) -> float | None:
    """USD for so many tokens; None where the price or a count is unknown."""
    if price is None or tokens_in is None or tokens_out is None:
        return None
    return (price.input * tokens_in + price.output * tokens_out) / 1_000_000


@cache
def table() -> tuple[Row, ...]:
    """The shipped prices."""
    data = tomllib.loads(files("evalh.providers").joinpath("prices.toml").read_text(encoding="utf-8"))
    return tuple(
        Row(part["provider"], model, Price(in_, out, part["as_of"]), part.get("host"), part["source"])
        for part in data["table"]
        for model, (in_, out) in part["prices"].items()
    )


def _longest(names: Iterable[str], model: str) -> str | None:
    return max((name for name in names if _covers(name, model)), key=len, default=None)


def _covers(name: str, model: str) -> bool:
    if name.endswith("*"):
        return model.startswith(name[:-1])
    return model == name or (model.startswith(name) and _VERSION.fullmatch(model[len(name) :]) is not None)


def _given(ref: str, fields: Mapping[str, Any]) -> Price:
    where = f'prices."{ref}"'
    unknown = sorted(set(fields) - {"input", "output", "as_of"})
    if unknown:
        raise InputError(f"unknown field {unknown[0]!r}", where=where, hint="a price has input, output and as_of")
    values = [fields.get("input"), fields.get("output")]
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) and v >= 0 for v in values):
        raise InputError("a price needs input and output", where=where, hint="numbers, USD per million tokens")
    return Price(float(fields["input"]), float(fields["output"]), str(fields.get("as_of", "undated")))

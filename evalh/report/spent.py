"""Calls and money of a run by system and judge, as rows for the terminal and the page; and what is to be said of the prices. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from evalh.report.words import judge_name, money

Row = Mapping[str, Any]


class SpentRow(NamedTuple):
    """What one system or judge was asked and cost; `cached` of its answers came from earlier runs, and had cost `worth`."""

    name: str
    model: str
    calls: int
    tokens_in: int
    tokens_out: int
    cost: str
    cached: int
    worth: str
    as_of: str

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out


def spent_rows(document: Row) -> list[SpentRow]:
    """One row for each system and judge that was asked something, and their sum. None where nobody was, as in recorded data."""
    costs = document.get("costs")
    if costs is None or document["kind"] == "import":
        return []
    names = [row["judge"] or "" for row in costs["judges"]]
    rows = [_row(row["system"] or "system not known", row) for row in costs["systems"]]
    rows += [_row(judge_name(row["judge"], row["prompt"], names) if row["judge"] else "judge not known", row) for row in costs["judges"]]
    if len(rows) < 2:
        return rows
    tiers = [costs["tiers"][name] for name in ("judges", "system")]
    total = {name: sum(tier[name] for tier in tiers) for name in ("calls", "cached", "tokens_in", "tokens_out", "cost_usd", "worth_usd")}
    return [*rows, _row("together", {**total, "cost_is_whole": all(tier["cost_is_whole"] for tier in tiers)})]


def _row(name: str, row: Row) -> SpentRow:
    mode = row.get("mode") if row.get("mode") not in (None, "direct") else None
    return SpentRow(
        name=f"{name} ({mode})" if mode else name, model=row.get("model") or "", calls=row["calls"], tokens_in=row["tokens_in"],
        tokens_out=row["tokens_out"], cost=least(row["cost_usd"], whole=row["cost_is_whole"]), cached=row["cached"],
        worth=_worth(row), as_of=row.get("price_as_of") or "",
    )  # fmt: skip


def _worth(row: Row) -> str:
    if not row["cached"]:
        return ""
    return money(row["worth_usd"]) if row["worth_usd"] or row.get("price_as_of") else "unknown"


def least(usd: float, *, whole: bool) -> str:
    """Money, and where a part of it is not known, at least so much."""
    return money(usd) if whole else f"≥ {money(usd)}" if usd else "unknown"


def saved(document: Row, about: str) -> str:
    """What tier 1 saved, an estimate: `about` is the sign for that. A lower bound where a price is not known."""
    whole = document["costs"]["saved"]["is_whole"] if "costs" in document else True
    if whole:
        return f"{about}{money(document['saved_usd'])}"
    return f"≥ {money(document['saved_usd'])}" if document["saved_usd"] else "an unknown sum"


def price_lines(costs: Row) -> list[str]:
    """What a reader must know of the prices: their dates, which are missing, which need a look."""
    dated: dict[str, list[str]] = {}
    for model, as_of in dict.fromkeys((price["model"], price["as_of"]) for price in costs["prices"]):
        if as_of is not None:
            dated.setdefault(as_of, []).append(model)
    days = ", ".join(f"{day} ({', '.join(models)})" for day, models in dated.items())
    lines = [f"prices: {days}"] * bool(dated)
    lines += [f"no price is known for {', '.join(costs['unpriced'])}: what they cost is not in these sums"] * bool(costs["unpriced"])
    return [*lines, *filter(None, [costs["price_remark"]])]

"""What a run cost, and what it did not have to: tokens and money by tier, judge and system; its budget; the prices behind them.

Money that is not known is never 0: sums say whether they are whole (`cost_is_whole`), and are lower bounds where they are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from evalh.providers.base import Target
from evalh.providers.prices import own_price, price_of
from evalh.store.ledger import judge_hits, paid_calls, saved_calls, system_answers
from evalh.store.store import Store

if TYPE_CHECKING:
    from evalh.prepare import Prepared

Row = Mapping[str, Any]
OLD_AFTER_DAYS = 365


# ---- before a run ---------------------------------------------------------------------------------------------------


def budget_of(prepared: Prepared, given: float | None) -> float | None:
    """What a run may cost in USD: the smaller of `--budget` and the suite's `budget_usd`; None where neither is given."""
    return min((b for b in (given, prepared.suite.budget_usd) if b is not None), default=None)


def way_out(prepared: Prepared, given: float | None) -> str:
    """What has to be larger so that a run which stopped at its budget can go on."""
    suite = prepared.suite.budget_usd
    if given is None or (suite is not None and suite < given):
        return "repeat with a larger `budget_usd` in the suite"
    return "repeat with a larger --budget" + (" and `budget_usd` in the suite" if suite == given else "")


def prices_of(prepared: Prepared) -> dict[str, dict[str, Any]]:
    """The price of everything that a suite asks, by JUDGE#PROMPT or system, for the run's record. Models without a price too.

    `model`, `input` and `output` (USD per million tokens), `as_of`, and `own`: it comes from the user's settings.
    """
    targets = {"#".join(seat.seat): seat.target for seat in prepared.seats}
    sides = [side for side in (prepared.system, prepared.against) if side is not None]
    targets |= {side.names[0]: side.target for side in sides if side.target is not None}
    return {asked: _price(target, prepared.config.prices) for asked, target in targets.items()}


def _price(target: Target, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    found = price_of(target.provider, target.model, settings, target.base_url)
    own = own_price(target.provider, target.model, settings) is not None
    return {"model": target.ref, **(found._asdict() if found else dict.fromkeys(("input", "output", "as_of"))), "own": own}


def price_remark(prices: Iterable[Row], on: date) -> str | None:
    """One line on prices that need a look: those of the user's settings, and those a year old or more on that day. Else None."""
    rows = list(prices)
    own = dict.fromkeys(f"{p['model']} ({p['as_of']})" for p in rows if p["own"])
    old = dict.fromkeys(f"{p['model']} ({p['as_of']})" for p in rows if _is_old(p["as_of"], on))
    parts = [f"from your settings: {', '.join(own)}"] * bool(own)
    parts += [f"more than a year old: {', '.join(old)}; correct it with [prices] in evalh.toml"] * bool(old)
    return f"prices {'; '.join(parts)}" if parts else None


def _is_old(as_of: str | None, on: date) -> bool:
    try:
        return as_of is not None and (on - date.fromisoformat(as_of)).days > OLD_AFTER_DAYS
    except ValueError:  # "always", "fictional", "undated"
        return False


# ---- after it -------------------------------------------------------------------------------------------------------


def costs_document(store: Store, run: Row) -> dict[str, Any]:
    """Tokens and money of a run. `run` is a row of `find_run`.

    `tiers` has checks, judges and system, `judges` and `systems` one row each: model, mode, calls, cached, tokens_in,
    tokens_out, cost_usd and cost_is_whole of what the run paid for (replies that could not be read too); worth_usd is what
    the cached answers had cost. `saved` is what tier 1 saved, `prices` are those that the run began with.
    """
    prices: Mapping[str, Row] = (run.get("settings") or {}).get("prices") or {}
    paid = paid_calls(store, run["run_id"])
    asked = [row for row in paid if row["purpose"] != "system"]
    judges = _judges(asked, judge_hits(store, run["run_id"]), prices)
    systems = _systems([row for row in paid if row["purpose"] == "system"], system_answers(store, run["run_id"]), prices)
    started = run.get("started_at")
    return {
        "tiers": {"checks": _sum([]), "judges": _sum(judges), "system": _sum(systems)},
        "judges": judges,
        "systems": systems,
        "saved": saved_calls(store, run["run_id"]),
        "unpriced": sorted({row["model"] for row in (*judges, *systems) if row["model"] and not row["cost_is_whole"]}),
        "prices": list(prices.values()),
        "price_remark": price_remark(prices.values(), started.date()) if started else None,
    }


def _judges(paid: Sequence[Row], hits: Sequence[Row], prices: Mapping[str, Row]) -> list[dict[str, Any]]:
    """One row for each judge that was asked. Old calls whose replies could not be read do not say whose they were: where several
    judges share the model, they are a row without a judge.
    """
    seats: dict[str, set[str]] = {}
    for row in (*paid, *hits):
        if row["asked"] is not None:
            seats.setdefault(row["model"], set()).add(row["asked"])

    def key(row: Row) -> tuple[str | None, str]:
        known = seats.get(row["model"], set())
        return (row["asked"] or (next(iter(known)) if len(known) == 1 else None)), row["model"]

    found = []
    for asked, model in sorted({key(row) for row in (*paid, *hits)}, key=str):
        name, _, prompt = (asked or "").rpartition("#")
        own = [row for row in paid if key(row) == (asked, model)]
        used = [row for row in hits if key(row) == (asked, model)]
        figures = _figures(own, cached=sum(r["calls"] for r in used), worth_usd=sum((r["cost_usd"] for r in used), 0.0))
        found.append(
            {"judge": name or None, "prompt": prompt or None, "model": model, **figures, "price_as_of": _as_of(prices, asked, model)}
        )
    return found


def _systems(paid: Sequence[Row], answered: Sequence[Row], prices: Mapping[str, Row]) -> list[dict[str, Any]]:
    """One row for each system that is a model. Answers that the run did not pay for came from the ledger, or with `--rejudge`.

    Old calls do not say whose they were: where two systems are models, they are a row without a system.
    """
    found = []
    unnamed = {"asked": None, "role": None, "calls": 0, "cost_usd": 0.0}
    for row in (*answered, unnamed):
        own = [p for p in paid if (p["asked"] or (answered[0]["asked"] if len(answered) == 1 else None)) == row["asked"]]
        if not own and not row["calls"]:
            continue
        model = own[0]["model"] if own else prices.get(row["asked"], {}).get("model")
        cached = max(0, row["calls"] - sum(p["calls"] for p in own))
        worth = max(0.0, row["cost_usd"] - sum(p["cost_usd"] for p in own)) if cached else 0.0
        figures = _figures(own, cached=cached, worth_usd=worth)
        found.append(
            {"system": row["asked"], "role": row["role"], "model": model, **figures, "price_as_of": _as_of(prices, row["asked"], model)}
        )
    return found


def _figures(paid: Sequence[Row], *, cached: int, worth_usd: float) -> dict[str, Any]:
    modes = dict.fromkeys(row["mode"] for row in paid)
    return {
        "mode": " and ".join(modes) or None,
        "calls": sum(row["calls"] for row in paid),
        "cached": cached,
        "tokens_in": sum(row["tokens_in"] for row in paid),
        "tokens_out": sum(row["tokens_out"] for row in paid),
        "cost_usd": sum((row["cost_usd"] for row in paid), 0.0),
        "cost_is_whole": all(row["cost_is_whole"] for row in paid),
        "worth_usd": worth_usd,
    }


def _as_of(prices: Mapping[str, Row], asked: str | None, model: str | None) -> str | None:
    known = prices.get(asked or "") or next((p for p in prices.values() if p["model"] == model), None)
    return known["as_of"] if known else None


def _sum(rows: Sequence[Row]) -> dict[str, Any]:
    sums = {name: sum(row[name] for row in rows) for name in ("calls", "cached", "tokens_in", "tokens_out")}
    money = {name: sum((row[name] for row in rows), 0.0) for name in ("cost_usd", "worth_usd")}
    return {**sums, **money, "cost_is_whole": all(row["cost_is_whole"] for row in rows)}

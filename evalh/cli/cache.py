"""`evalh cache`: the answers that the store keeps, so that the same question is never paid for twice; and how to do without them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from evalh.cli.common import console, dollars, emit, existing_store, json_option, note, printable, store_option, table
from evalh.errors import UsageError

if TYPE_CHECKING:
    from evalh.store.ledger import Chosen
    from evalh.store.store import Store

model_option = click.option("--model", metavar="M", help="Only this model: `provider:model`, or a part of it with `*`.")


@click.group()
def cache() -> None:
    """Answers of models that are kept: list them, or take them out of use."""


@cache.command(
    "list",
    epilog="""\b
Examples
  evalh cache list
  evalh cache list --model "openai:*" --json
""",
)
@model_option
@store_option
@json_option
def list_(model: str | None, store_at: str | None, as_json: bool) -> None:
    """Answers by model: calls, how often runs used them again (hits), tokens, money, age, size."""
    from evalh.store.ledger import Chosen, waiting_batches

    store = existing_store(store_at)
    rows = _kept(store, Chosen(model or "*"))
    document = {"models": rows, "total": _total(rows), "batches": waiting_batches(store), "store": str(store.path)}
    emit(document) if as_json else _show(document)


@cache.command(
    epilog="""\b
Examples
  evalh cache clear --model openai:gpt-6-luna
  evalh cache clear --older-than 90 --delete --yes
"""
)
@model_option
@click.option("--run", "run_name", metavar="RUN", help="Only calls that this run paid for.")
@click.option("--older-than", "days", type=click.FloatRange(min=0), metavar="DAYS", help="Only calls made before that.")
@click.option("--delete", is_flag=True, help="Delete their texts too: messages, replies, rationales. Scores stay.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_option
@json_option
def clear(
    model: str | None, run_name: str | None, days: float | None, delete: bool, yes: bool, store_at: str | None, as_json: bool
) -> None:
    """Take answers out of use: the same question is asked anew.

    Rows stay for what was made from them: verdicts, scores and money do not change. With --delete the texts of calls go, also
    of those that are out of use already; outputs and items are no part of the cache and stay.
    """
    from evalh.store.ledger import Chosen, clear_calls
    from evalh.store.runs import find_run

    store = existing_store(store_at)
    before = None if days is None else datetime.now(UTC).replace(tzinfo=None) - timedelta(days=days)
    chosen = Chosen(model or "*", find_run(store, run_name)["run_id"] if run_name else None, before)
    total = _total(_kept(store, chosen))
    texts = total["text_bytes"] + total["cleared_bytes"] if delete else 0
    document = {
        "cleared": total["calls"], "cost_usd": total["cost_usd"], "cost_is_whole": total["cost_is_whole"],
        "deleted_bytes": texts, "store": str(store.path),
    }  # fmt: skip
    told = _told(total, texts)
    if total["calls"] or texts:
        if not yes and not _confirmed(told):
            note("nothing was changed")
            return
        clear_calls(store, chosen, delete=delete)
    emit(document) if as_json else note(told if total["calls"] or texts else "no answers to clear")


def _kept(store: Store, chosen: Chosen) -> list[dict[str, Any]]:
    """The rows of the models chosen. Raises UsageError for a model of which the store has no call."""
    from evalh.store.ledger import Chosen, kept_calls

    rows = kept_calls(store, chosen)
    if not rows and chosen.model != "*" and not kept_calls(store, Chosen(chosen.model)):
        known = list(dict.fromkeys(row["model"] for row in kept_calls(store, Chosen())))
        hint = f"it has answers of {', '.join(known)}" if known else "it has no answers of any model"
        raise UsageError(f"the store has no answers of {chosen.model}", where=str(store.path), hint=hint)
    return rows


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = ("calls", "hits", "tokens_in", "tokens_out", "text_bytes", "cleared", "cleared_bytes")
    money = {name: sum((row[name] for row in rows), 0.0) for name in ("cost_usd", "worth_usd")}
    return {**{name: sum(row[name] for row in rows) for name in names}, **money, "cost_is_whole": all(row["cost_is_whole"] for row in rows)}


def _told(total: dict[str, Any], texts: int) -> str:
    """What clearing does, in one line."""
    number = f"{total['calls']:,} answer{'' if total['calls'] == 1 else 's'} out of use"
    parts = [f"{number}, which had cost {_money(total)}; so would asking again"] * bool(total["calls"])
    return "; ".join([*parts, *[f"{_size(texts)} of texts deleted"] * bool(texts)])


def _confirmed(told: str) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"this needs --yes where nobody can be asked: {told}", hint="nothing was changed")
    return click.confirm(f"{told}. Go on?", err=True)


def _show(document: dict[str, Any]) -> None:
    """The list for people."""
    total, rows = document["total"], [*document["models"]]
    if not rows:
        note("no answers of models are kept here")
        return
    columns = ["model", "answers", "hits", "tokens", "paid", "hits saved", "newest", "texts"]
    shown = [_cells(row) for row in rows if row["calls"]]
    if len(shown) > 1:
        shown.append(_cells({**total, "model": "together", "version": None, "newest": None}))
    if shown:
        console().print(table("", columns, shown, right=(1, 2, 3, 4, 5, 7)))
    if total["cleared"]:
        note(f"{total['cleared']:,} more are out of use, with {_size(total['cleared_bytes'])} of texts")
    for batch in document["batches"]:
        since = f"waiting since {batch['at']:%Y-%m-%d %H:%M} UTC"
        note(printable(f"batch {batch['batch_id']} of {batch['model']}: {batch['calls']:,} calls, {since}"))


def _cells(row: dict[str, Any]) -> list[str]:
    same = row["version"] is None or row["model"].endswith(f":{row['version']}")
    model = row["model"] if same else f"{row['model']} ({row['version']})"
    counts = [f"{row[name]:,}" for name in ("calls", "hits")] + [f"{row['tokens_in'] + row['tokens_out']:,}"]
    newest = f"{row['newest']:%Y-%m-%d}" if row["newest"] else ""
    return [model, *counts, _money(row), dollars(row["worth_usd"]), newest, _size(row["text_bytes"])]


def _money(row: dict[str, Any]) -> str:
    return dollars(row["cost_usd"]) if row["cost_is_whole"] else f"≥ {dollars(row['cost_usd'])}" if row["cost_usd"] else "unknown"


def _size(number: int) -> str:
    """Bytes as people read them."""
    size, unit = float(number), "B"
    for larger in ("kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"

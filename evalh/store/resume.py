"""What a run has in the store when it goes on, when it ends, and when another takes it over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from numpy import generic
from numpy.ma import masked

from evalh.store.store import Store

# What ended because nobody answered is asked again. A verdict says so at the beginning of its reason (`tiers.PROVIDER_FAILED`).
_UNANSWERED = (
    "SELECT item_id FROM scores WHERE run_id = $run AND route = 'no_output'"
    " UNION SELECT item_id FROM verdicts WHERE run_id = $run AND unscored_reason LIKE 'provider: %'"
)


def ended_items(store: Store, run_id: str) -> set[str]:
    """The items of a run that are through all tiers."""
    return set(store.columns("SELECT DISTINCT item_id FROM scores WHERE run_id = ?", [run_id])["item_id"])


def unanswered_items(store: Store, run_id: str) -> list[str]:
    """The items of a run that a system or a judge did not answer for."""
    return [r["item_id"] for r in store.query(f"SELECT DISTINCT item_id FROM ({_UNANSWERED}) ORDER BY item_id", {"run": run_id})]


def failed_items(store: Store, run_id: str) -> list[str]:
    """The items of a run with an output that is blocked, unscored, missing, scored below one half, or that fails a check."""
    failing = "SELECT item_id FROM check_results WHERE run_id = $run AND status <> 'pass'"
    low = "SELECT item_id FROM scores WHERE run_id = $run AND (score IS NULL OR score < 0.5)"
    return [r["item_id"] for r in store.query(f"{low} UNION {failing} ORDER BY item_id", {"run": run_id})]


def retried_by(store: Store, run_id: str) -> str | None:
    """The run that a run took over (`--retry-errors`), or None."""
    return _taken(store, run_id, "retries ")


def rejudged_by(store: Store, run_id: str) -> str | None:
    """The run whose outputs a run judged again (`--rejudge`), or None."""
    return _taken(store, run_id, "rejudges ")


def _taken(store: Store, run_id: str, how: str) -> str | None:
    sql = "SELECT detail FROM run_events WHERE run_id = ? AND event = 'running' AND starts_with(detail, ?)"
    rows = store.query(sql, [run_id, how])
    return rows[0]["detail"].removeprefix(how) if rows else None


def set_back(store: Store, run_id: str) -> None:
    """Let a run go on: items that nobody answered are open again, and of open items only paid outputs are kept."""
    store.change(
        [
            f"DELETE FROM scores WHERE run_id = $run AND item_id IN ({_UNANSWERED})",
            "DELETE FROM outputs WHERE run_id = $run AND error IS NOT NULL",
            "DELETE FROM check_results WHERE run_id = $run AND item_id NOT IN (SELECT item_id FROM scores WHERE run_id = $run)",
            "DELETE FROM verdicts WHERE run_id = $run AND item_id NOT IN (SELECT item_id FROM scores WHERE run_id = $run)",
        ],
        {"run": run_id},
    )


def versions_of(store: Store, run_id: str) -> dict[tuple[str, str], list[str]]:
    """The versions that judges reported in a run, by judge and prompt; empty text where one reported none."""
    found: dict[tuple[str, str], list[str]] = {}
    sql = "SELECT DISTINCT judge, prompt, coalesce(judge_version, '') AS version FROM verdicts WHERE run_id = ? ORDER BY ALL"
    for row in store.query(sql, [run_id]):
        found.setdefault((row["judge"], row["prompt"]), []).append(row["version"])
    return found


def sampled_units(store: Store, run_id: str) -> Iterator[tuple[Any, ...]]:
    """The outputs (or pairs) of a run that people can label: all but those that the system did not give.

    Item, system, the other system (or empty text), trial; slice, score, disagreement, mean of the judges.
    """
    columns = "item_id, system, coalesce(against, ''), trial, slice, score, disagreement, judges_mean"
    found = store.columns(f"SELECT {columns} FROM scores WHERE run_id = ? AND route <> 'no_output'", [run_id])
    return zip(*(_plain(column) for column in found.values()), strict=True)


def _plain(column: Any) -> Iterator[Any]:
    """The values of a column one by one; a masked one is None."""
    return (None if value is masked else value.item() if isinstance(value, generic) else value for value in column)


def output_hashes(store: Store, run_id: str, item_ids: Sequence[str]) -> dict[tuple[str, str, str, int], str]:
    """The hashes of the outputs of some items, by item, system, other system and trial."""
    sql = "SELECT item_id, system, against, trial, output_hash FROM scores WHERE run_id = ? AND item_id IN (SELECT unnest(?))"
    rows = store.query(sql, [run_id, list(item_ids)])
    return {(r["item_id"], r["system"], r["against"] or "", r["trial"]): r["output_hash"] for r in rows}


def systems_answered(store: Store, run_id: str, systems: Sequence[str]) -> set[str]:
    """The items of a run that have an output of one of these systems."""
    sql = "SELECT DISTINCT item_id FROM outputs WHERE run_id = ? AND error IS NULL AND system IN (SELECT unnest(?))"
    return {r["item_id"] for r in store.query(sql, [run_id, list(systems)])}


def stored_items(store: Store, golden: str, golden_hash: str) -> int:
    """How many items of a version of a golden set are in the store."""
    rows = store.query("SELECT count(*) AS n FROM items WHERE golden = ? AND golden_hash = ?", [golden, golden_hash])
    return int(rows[0]["n"])

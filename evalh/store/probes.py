"""What probes asked and were answered: questions about runs of kind `probe`."""

from __future__ import annotations

import json
from typing import Any

from evalh.store.store import Store


def set_back_probe(store: Store, run_id: str) -> None:
    """Let a probe go on: its verdicts are made again from the ledger, and so are the answers that it changed."""
    store.change(["DELETE FROM verdicts WHERE run_id = $run", "DELETE FROM outputs WHERE run_id = $run"], {"run": run_id})


def probe_verdicts(store: Store, run_id: str) -> list[dict[str, Any]]:
    """Every verdict of a probe with the probe that asked, the item's group, and a hash of the reply's bytes."""
    return store.query(
        """SELECT v.judge, coalesce(v.judge_version, '') AS judge_version, v.prompt, v.item_id, coalesce(i."group", v.item_id) AS cluster,
        v.systems, v.trial, v.aspect, v.repeat, v.status, v.unscored_reason, v.verdict, v.score, v.rationale, v.cached, v.call_id,
        v.meta->>'probe' AS probe, v.meta->>'own' AS own, hash(v.raw) AS reply
        FROM verdicts v JOIN runs r USING (run_id)
        LEFT JOIN items i ON i.golden = r.golden AND i.golden_hash = r.golden_hash AND i.item_id = v.item_id
        WHERE v.run_id = ? ORDER BY v.judge, v.prompt, v.item_id, v.systems, v.aspect, v.repeat""",
        [run_id],
    )


def probe_outputs(store: Store, run_id: str) -> list[dict[str, Any]]:
    """The answers that a probe showed: item, system, family, characters, and of changed ones what was done (`meta`)."""
    rows = store.query(
        "SELECT item_id, system, family, length(output) AS chars, meta FROM outputs WHERE run_id = ? ORDER BY item_id, system", [run_id]
    )
    return [{**row, "meta": json.loads(row["meta"] or "{}")} for row in rows]


def probe_calls(store: Store, run_id: str) -> dict[str, Any]:
    """What a probe paid for: calls, cost_usd, cost_is_whole; and how many of its answers were known before (`cached`)."""
    paid = store.query(
        "SELECT count(*) AS calls, coalesce(sum(cost_usd), 0.0) AS cost_usd,"
        " coalesce(bool_and(cost_usd IS NOT NULL), true) AS cost_is_whole FROM provider_calls WHERE run_id = ?",
        [run_id],
    )[0]
    known = store.query("SELECT count(DISTINCT call_id) AS n FROM verdicts WHERE run_id = ? AND cached", [run_id])[0]["n"]
    return {**paid, "cached": known}

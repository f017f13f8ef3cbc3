"""Questions about runs, each one named: what pipeline, gate and reports read. All SQL of runs is here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from evalh.errors import UsageError
from evalh.records import CheckResult, Output, ToolCall
from evalh.stats.scores import ItemScore, ScoreColumns
from evalh.store.store import Store

_STATUS = "(SELECT arg_max(e.event, e.\"at\") FROM run_events e WHERE e.run_id = r.run_id AND e.event <> 'approved')"


def unfinished_run(store: Store, run_key: str) -> str | None:
    """The newest run of this key that has not finished."""
    rows = store.query(
        f"SELECT run_id FROM runs r WHERE run_key = ? AND {_STATUS} <> 'finished' ORDER BY started_at DESC LIMIT 1", [run_key]
    ) if store.exists() else []  # fmt: skip
    return rows[0]["run_id"] if rows else None


def list_runs(store: Store) -> list[dict[str, Any]]:
    """All runs, newest first: run_id, suite, kind, status, started_at."""
    return store.query(f"SELECT run_id, suite, kind, {_STATUS} AS status, started_at FROM runs r ORDER BY started_at DESC, run_id DESC")


def finished_runs(store: Store, suite: str) -> list[dict[str, Any]]:
    """The finished runs of a suite, newest first: run_id, run_key."""
    sql = f"SELECT run_id, run_key FROM runs r WHERE suite = ? AND kind <> 'probe' AND {_STATUS} = 'finished' ORDER BY started_at DESC, run_id DESC"
    return store.query(sql, [suite])


def find_run(store: Store, name: str | None, *, suite: str | None = None) -> dict[str, Any]:
    """A run by id, by tag (`evalh gate --approve`), or the newest finished one that is no probe. Raises UsageError where there is none."""
    columns = f"r.*, {_STATUS} AS status"
    if name is None:
        rows = store.query(
            f"SELECT {columns} FROM runs r WHERE {_STATUS} = 'finished' AND kind <> 'probe' AND (? IS NULL OR suite = ?) ORDER BY started_at DESC, run_id DESC LIMIT 1",
            [suite, suite],
        )
    else:
        rows = store.query(f"SELECT {columns} FROM runs r WHERE run_id = ?", [name]) or store.query(
            f"SELECT {columns} FROM runs r JOIN run_events t ON t.run_id = r.run_id AND t.event = 'approved' AND t.detail = ?"
            ' WHERE ? IS NULL OR r.suite = ? ORDER BY t."at" DESC LIMIT 1',
            [name, suite, suite],
        )
    if not rows:
        known = ", ".join(r["run_id"] for r in list_runs(store)[:3]) or "none"
        of = f" of suite {suite!r}" if suite else ""
        raise UsageError(f"there is no run or tag {name!r}{of}" if name else f"there is no finished run{of}", hint=f"newest runs: {known}")
    return {**rows[0], "settings": json.loads(rows[0]["settings"] or "{}")}


def outputs_of(store: Store, run_id: str, item_ids: Sequence[str] | None = None) -> dict[str, list[Output]]:
    """The outputs of a run (of these items only), by item, in the order of their systems and trials."""
    found: dict[str, list[Output]] = {}
    if not store.exists():
        return found
    columns = "item_id, system, system_version, family, trial, output, tool_calls, latency_ms, cost_usd, tokens, error, meta"
    of_these = " AND item_id IN (SELECT unnest(?))" if item_ids is not None else ""
    sql = f"SELECT {columns} FROM outputs WHERE run_id = ?{of_these} ORDER BY item_id, system, trial"
    for row in store.query(sql, [run_id, *([list(item_ids)] if item_ids is not None else [])]):
        data = {k: v for k, v in row.items() if k not in ("output", "meta", "tool_calls")}
        calls = [ToolCall(**call) for call in json.loads(row["tool_calls"] or "[]")]
        output = Output(**data, text=row["output"] or "", tool_calls=calls, meta=json.loads(row["meta"] or "{}"))
        found.setdefault(output.item_id, []).append(output)
    return found


def checks_of(store: Store, run_id: str) -> dict[tuple[str, str, int], list[CheckResult]]:
    """The check results of a run, by item, system and trial."""
    found: dict[tuple[str, str, int], list[CheckResult]] = {}
    columns = 'item_id, system, trial, "check", check_hash, status, score, reason, negated, blocking, weight'
    for row in store.query(f'SELECT {columns} FROM check_results WHERE run_id = ? ORDER BY item_id, system, trial, "check"', [run_id]):
        key = (row.pop("item_id"), row.pop("system"), row.pop("trial"))
        found.setdefault(key, []).append(CheckResult(**row))
    return found


def scores_of(store: Store, run_id: str) -> list[ItemScore]:
    """One ItemScore per output of a run."""
    rows = store.query(
        'SELECT item_id, slice, "group", score, route FROM scores WHERE run_id = ? ORDER BY item_id, system, against, trial', [run_id]
    )
    return [ItemScore(r["item_id"], r["slice"] or "all", r["group"], r["score"], r["route"]) for r in rows]


def score_columns(store: Store, run_id: str) -> tuple[ScoreColumns, dict[str, int]]:
    """`scores_of` by column, and the code of each slice by name: for many. Codes are hashes of names, 64 bits long."""
    found = store.columns(
        """SELECT hash(item_id) AS item, hash(coalesce(slice, 'all')) AS slice,
        hash(coalesce('group ' || "group", 'item ' || item_id)) AS cluster, CASE WHEN route = 'blocked' THEN coalesce(score, 0.0) ELSE score END AS worth
        FROM scores WHERE run_id = ? ORDER BY item_id""",
        [run_id],
    )
    slices = store.query(
        "SELECT DISTINCT coalesce(slice, 'all') AS slice, hash(coalesce(slice, 'all')) AS code FROM scores WHERE run_id = ?", [run_id]
    )
    worth = np.ma.filled(found["worth"], np.nan)
    return ScoreColumns(found["item"], found["slice"], found["cluster"], worth), {row["slice"]: row["code"] for row in slices}


def counts_of(store: Store, run_id: str) -> dict[str, Any]:
    """The counts of a run by tier: checks, judge calls, labels, tokens and money."""
    checks = {
        r["status"]: r["n"]
        for r in store.query("SELECT status, count(*) AS n FROM check_results WHERE run_id = ? GROUP BY status", [run_id])
    }
    calls = {
        r["purpose"]: r
        for r in store.query(
            "SELECT purpose, count(*) AS n, sum(cost_usd) AS usd, sum(tokens_in + tokens_out) AS tokens, bool_and(cost_usd IS NOT NULL) AS priced"
            " FROM provider_calls WHERE run_id = ? GROUP BY purpose",
            [run_id],
        )
    }
    verdicts = store.query(
        "SELECT count(*) AS n, count(*) FILTER (status = 'unscored') AS unscored, count(DISTINCT call_id) FILTER (cached) AS cached,"
        " count(DISTINCT (judge, prompt, item_id, systems, trial, repeat)) FILTER (NOT cached) AS asked FROM verdicts WHERE run_id = ?",
        [run_id],
    )[0]
    routes = {r["route"]: r["n"] for r in store.query("SELECT route, count(*) AS n FROM scores WHERE run_id = ? GROUP BY route", [run_id])}
    saved = store.query(
        "SELECT sum(calls_saved) AS calls, sum(usd_saved) AS usd, sum(inconsistent) AS inconsistent FROM scores WHERE run_id = ?", [run_id]
    )[0]
    queued = store.query("SELECT count(*) AS n FROM label_tasks WHERE run_id = ?", [run_id])[0]["n"]
    return {"checks": checks, "calls": calls, "verdicts": verdicts, "routes": routes, "saved": saved, "queued": queued}


def check_table(store: Store, run_id: str) -> list[dict[str, Any]]:
    """Per check: passed, failed, errors, blocking; by name."""
    return store.query(
        "SELECT \"check\", bool_or(blocking) AS blocking, count(*) FILTER (status = 'pass') AS passed, count(*) FILTER (status = 'fail') AS failed,"
        ' count(*) FILTER (status = \'error\') AS errors FROM check_results WHERE run_id = ? GROUP BY "check" ORDER BY "check"',
        [run_id],
    )


def slices_of(store: Store, run_id: str) -> list[str]:
    return [r["slice"] for r in store.query("SELECT DISTINCT slice FROM scores WHERE run_id = ? ORDER BY slice", [run_id])]


def verdicts_of(store: Store, run_id: str) -> list[dict[str, Any]]:
    """All verdicts of a run as the agreement figures need them."""
    return store.query(
        "SELECT item_id, judge, judge_version, prompt, family, kind, systems, order_known, aspect, repeat, trial, status, unscored_reason, winner, label,"
        " raw_score, score, same_family, simulated FROM verdicts WHERE run_id = ? ORDER BY judge, prompt, item_id, systems, aspect, repeat",
        [run_id],
    )


def labels_of(store: Store, run_id: str) -> list[dict[str, Any]]:
    """All labels of a run."""
    return store.query(
        "SELECT item_id, annotator, kind, systems, winner, score, label, aspect, inclusion_probability, stratum, task_id FROM labels WHERE run_id = ?"
        " ORDER BY imported_at, label_id",
        [run_id],
    )


def systems_of(store: Store, run_id: str) -> list[dict[str, Any]]:
    return store.query(
        "SELECT system, system_version, family, kind, role FROM systems WHERE run_id = ? ORDER BY role DESC, system", [run_id]
    )


def item_page(store: Store, run_id: str, item_ids: Iterable[str]) -> list[dict[str, Any]]:
    """Everything about some items of a run, for reports: input, reference, outputs, checks, verdicts, score."""
    wanted = list(item_ids)
    rows = store.query(
        "SELECT s.item_id, s.system, s.against, s.trial, s.slice, s.route, s.score, s.why, s.disagreement, s.inconsistent, i.input, i.reference"
        " FROM scores s JOIN runs r USING (run_id)"
        " LEFT JOIN items i ON i.golden = r.golden AND i.golden_hash = r.golden_hash AND i.item_id = s.item_id"
        " WHERE s.run_id = ? AND list_contains(?, s.item_id)",
        [run_id, wanted],
    )
    outputs = store.query(
        "SELECT item_id, system, trial, output, tool_calls, error FROM outputs WHERE run_id = ? AND list_contains(?, item_id)",
        [run_id, wanted],
    )
    checks = store.query(
        'SELECT item_id, system, trial, "check", status, reason, blocking FROM check_results WHERE run_id = ? AND list_contains(?, item_id) ORDER BY "check"',
        [run_id, wanted],
    )
    verdicts = store.query(
        "SELECT item_id, trial, judge, prompt, systems, aspect, repeat, status, unscored_reason, winner, verdict, raw_score, score, rationale, raw, call_id, same_family,"
        " masked FROM verdicts WHERE run_id = ? AND list_contains(?, item_id) ORDER BY judge, prompt, aspect, systems, repeat",
        [run_id, wanted],
    )
    for row in rows:
        row["input"] = json.loads(row["input"]) if row["input"] else None
        row["reference"] = json.loads(row["reference"]) if row["reference"] else None
        row["outputs"] = [
            o
            for o in outputs
            if o["item_id"] == row["item_id"] and o["trial"] == row["trial"] and o["system"] in (row["system"], row["against"])
        ]
        pair = {row["system"], row["against"]} - {""}
        row["checks"] = [c for c in checks if c["item_id"] == row["item_id"] and c["system"] in pair and c["trial"] == row["trial"]]
        row["verdicts"] = [
            v for v in verdicts if v["item_id"] == row["item_id"] and set(v["systems"]) == pair and v["trial"] == row["trial"]
        ]
    order = {item_id: n for n, item_id in enumerate(wanted)}
    return sorted(rows, key=lambda r: order[r["item_id"]])


def worst_items(store: Store, run_id: str, limit: int) -> list[str]:
    """Items that a person should look at first: unscored, then lowest score, then most disagreement."""
    rows = store.query(
        "SELECT item_id, min(coalesce(score, -1)) AS worst, max(coalesce(disagreement, 0)) AS apart FROM scores WHERE run_id = ? GROUP BY item_id"
        " ORDER BY worst, apart DESC, item_id LIMIT ?",
        [run_id, limit],
    )
    return [r["item_id"] for r in rows]


def judges_of(store: Store, run_id: str) -> set[str]:
    """The judges of a run as they answered: `JUDGE[@VERSION][#PROMPT]`."""
    rows = store.query("SELECT DISTINCT judge, judge_version, prompt FROM judges WHERE run_id = ?", [run_id])
    parts = (("@", "judge_version"), ("#", "prompt"))
    return {r["judge"] + "".join(f"{mark}{r[name]}" for mark, name in parts if r[name]) for r in rows}


def newer_golden(store: Store, run_id: str) -> dict[str, Any] | None:
    """The latest version of the run's golden set where another one has been used since: then the run is stale. Else None."""
    rows = store.query(
        "SELECT n.golden_version, n.first_seen FROM runs r JOIN golden_sets g USING (golden, golden_hash) JOIN golden_sets n ON n.golden = r.golden"
        " WHERE r.run_id = ? AND n.golden_hash <> r.golden_hash AND n.first_seen > g.first_seen ORDER BY n.first_seen DESC LIMIT 1",
        [run_id],
    )
    return rows[0] if rows else None


def latest_decision(store: Store, run_id: str) -> dict[str, Any] | None:
    """What the gate last decided on a run, as `evalh gate --json` printed it, with `decided_at`. None: not decided yet."""
    rows = store.query('SELECT document, "at" FROM gate_decisions WHERE run_id = ? ORDER BY "at" DESC, decision_id LIMIT 1', [run_id])
    return {**json.loads(rows[0]["document"]), "decided_at": rows[0]["at"]} if rows else None


def output_errors(store: Store, run_id: str) -> list[dict[str, Any]]:
    """Why systems gave no output in a run: error and count, the commonest first."""
    return store.query(
        "SELECT error, count(*) AS n FROM outputs WHERE run_id = ? AND error IS NOT NULL GROUP BY error ORDER BY n DESC, error", [run_id]
    )


def newest_runs(store: Store) -> list[dict[str, Any]]:
    """The newest run of every suite, imports and probes left out: run_id, suite, settings."""
    rows = store.query(
        "SELECT run_id, suite, settings FROM runs WHERE kind NOT IN ('import', 'probe')"
        " QUALIFY row_number() OVER (PARTITION BY suite ORDER BY started_at DESC, run_id DESC) = 1 ORDER BY started_at, run_id"
    )
    return [{**row, "settings": json.loads(row["settings"] or "{}")} for row in rows]

"""Questions that reports, the gate, labels and exports ask the store, by name. Rows come with their JSON columns decoded."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from evalh.errors import UsageError
from evalh.store.store import Store
from evalh.store.tables import BY_NAME

Rows = list[dict[str, Any]]


def decoded(table: str, rows: Iterable[dict[str, Any]]) -> Rows:
    """The rows with the JSON columns of their table turned from text into values."""
    json_columns = [c.name for c in BY_NAME[table].columns if c.type == "JSON"]
    return [{**row, **{n: json.loads(row[n]) for n in json_columns if row.get(n) is not None}} for row in rows]


def has_run(store: Store, run: str) -> bool:
    """Whether the store holds a run of exactly this name."""
    return store.exists() and bool(store.query("SELECT 1 FROM runs WHERE run_id = ?", [run]))


def run_settings(store: Store, run: str) -> dict[str, Any]:
    """The settings of a run by its exact name: the suite as it was run, with its rubric. UsageError where there is none."""
    rows = store.query("SELECT settings FROM runs WHERE run_id = ?", [run])
    if not rows:
        raise UsageError(f"there is no run `{run}`", where=str(store.path), hint='`evalh sql "SELECT run_id FROM runs"` lists them')
    settings = json.loads(rows[0]["settings"] or "{}")
    return settings if isinstance(settings, dict) else {}


def of_run(store: Store, table: str, run: str) -> Rows:
    """All rows of one run in a table that has `run_id`, in the order of the key."""
    order = ", ".join(f'"{name}"' for name in BY_NAME[table].key)
    return decoded(table, store.query(f"SELECT * FROM {table} WHERE run_id = ? ORDER BY {order}", [run]))


def golden_of_run(store: Store, run: str) -> dict[str, Any] | None:
    """The row of the golden set that a run used, or None where it had none."""
    sql = "SELECT g.* FROM golden_sets g JOIN runs r USING (golden, golden_version, golden_hash) WHERE r.run_id = ?"
    rows = decoded("golden_sets", store.query(sql, [run]))
    return rows[0] if rows else None


def items_of_run(store: Store, run: str) -> Rows:
    """The items that a run was over: of its version of the golden set, those that `settings.items` names (a list, or all)."""
    sql = "SELECT i.* FROM items i JOIN runs r USING (golden, golden_hash) WHERE r.run_id = ? ORDER BY i.item_id"
    rows = decoded("items", store.query(sql, [run]))
    chosen = run_settings(store, run).get("items", "all")
    if not isinstance(chosen, list):
        return rows
    return [row for row in rows if row["item_id"] in set(chosen)]


def label_tasks(store: Store, run: str) -> Rows:
    """The label queue of a run in its order, each task with the input, the reference and the outputs that it is about."""
    sql = """
        SELECT t.*, i.input, i.reference, a.output, a.tool_calls, b.output AS against_output, b.tool_calls AS against_tool_calls
        FROM label_tasks t
        JOIN runs r USING (run_id)
        LEFT JOIN items i ON i.golden = r.golden AND i.golden_hash = r.golden_hash AND i.item_id = t.item_id
        LEFT JOIN outputs a ON a.run_id = t.run_id AND a.item_id = t.item_id AND a.system = t.system AND a.trial = t.trial
        LEFT JOIN outputs b ON b.run_id = t.run_id AND b.item_id = t.item_id AND b.system = t.against AND b.trial = t.trial
        WHERE t.run_id = ? ORDER BY t.position, t.task_id
    """
    rows = store.query(sql, [run])
    for row in rows:
        for name in ("input", "reference", "tool_calls", "against_tool_calls"):
            row[name] = None if row[name] is None else json.loads(row[name])
    return rows


def tasks_by_id(store: Store, task_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Rows of `label_tasks` by id; an unknown id is left out."""
    rows = store.query("SELECT * FROM label_tasks WHERE list_contains(?, task_id)", [list(task_ids)])
    return {row["task_id"]: row for row in rows}


def labels_of_tasks(store: Store, task_ids: Iterable[str]) -> Rows:
    """All labels that people gave for these tasks."""
    return decoded("labels", store.query("SELECT * FROM labels WHERE list_contains(?, task_id)", [list(task_ids)]))


def label_progress(store: Store, run: str) -> Rows:
    """One row per task of a run and annotator (null where nobody has labelled it): stratum, and how many aspects are answered."""
    sql = """
        SELECT t.stratum, t.task_id, l.annotator, count(DISTINCT l.aspect) AS answered
        FROM label_tasks t LEFT JOIN labels l USING (task_id)
        WHERE t.run_id = ? GROUP BY ALL ORDER BY t.stratum, t.task_id, l.annotator
    """
    return store.query(sql, [run])


def trials_of_run(store: Store, run: str) -> Rows:
    """One row per item and system (pairwise: and opponent) with its trials in order; none where no item has more than one.

    `scores` and `routes` are lists, one value per trial; `answered` is how many gave an output, `texts` how many different ones.
    """
    if not store.query("SELECT 1 FROM scores WHERE run_id = ? HAVING max(trial) > min(trial)", [run]):
        return []
    sql = """
        SELECT item_id, system, against, any_value(slice) AS slice, any_value("group") AS "group",
            list(score ORDER BY trial) AS scores, list(route ORDER BY trial) AS routes,
            count(*) FILTER (route <> 'no_output') AS answered,
            count(DISTINCT output_hash) FILTER (route <> 'no_output') AS texts
        FROM scores WHERE run_id = ? GROUP BY item_id, system, against ORDER BY item_id, system, against
    """
    rows = store.query(sql, [run])
    return rows if any(len(row["scores"]) > 1 for row in rows) else []

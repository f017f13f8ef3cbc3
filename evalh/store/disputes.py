"""What a page shows of a few items on which judges and people, or judges among themselves, are not of one mind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from evalh.store.judged import item_columns
from evalh.store.queries import Rows, decoded
from evalh.store.store import Store


def item_codes(store: Store, run: str) -> npt.NDArray[np.uint64]:
    """The hash of every item that a verdict or label of a run is about, in the order of their places in an audit."""
    found: npt.NDArray[np.uint64] = np.sort(item_columns(store, [run])["item"])
    return found


def disputed_items(store: Store, run: str, codes: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Items of a run by hash: item_id, slice, input, reference (None where not stored), and their `outputs`, `verdicts` and `labels`."""
    wanted = [int(code) for code in codes]
    about = """
        WITH named AS (
            SELECT DISTINCT item_id, hash(run_id, item_id) AS code FROM (
                SELECT run_id, item_id FROM verdicts WHERE run_id = $run UNION SELECT run_id, item_id FROM labels WHERE run_id = $run
            ) WHERE list_contains($codes, hash(run_id, item_id))
        )
    """
    given: dict[str, Any] = {"run": run, "codes": wanted}
    heads = store.query(
        about + "SELECT n.code, n.item_id, i.slice, i.input, i.reference FROM named n LEFT JOIN runs r ON r.run_id = $run"
        " LEFT JOIN items i ON i.golden = r.golden AND i.golden_hash = r.golden_hash AND i.item_id = n.item_id",
        given,
    )  # fmt: skip
    parts = {table: _rows(store, about, table, given) for table in ("outputs", "verdicts", "labels")}
    return {
        row["code"]: {**row, **{table: [r for r in rows if r["code"] == row["code"]] for table, rows in parts.items()}}
        for row in decoded("items", heads)
    }


_COLUMNS = {
    "outputs": "t.system, t.trial, t.output, t.tool_calls, t.error",
    "verdicts": "t.judge, t.judge_version, t.prompt, t.kind, t.systems, t.aspect, coalesce(t.trial, 0) AS trial,"
    " coalesce(t.repeat, 0) AS repeat, t.status, t.unscored_reason, t.winner, t.label, t.raw_score, t.score, t.rationale, t.raw,"
    " t.same_family, t.masked",
    "labels": "t.annotator, t.kind, t.systems, t.aspect, t.winner, t.label, t.score, t.note",
}
_ORDER = {
    "outputs": "t.system, t.trial",
    "verdicts": "t.judge, t.prompt, t.aspect, t.systems, t.repeat",
    "labels": "t.imported_at, t.\"at\", t.label_id",
}  # fmt: skip


def _rows(store: Store, about: str, table: str, given: dict[str, Any]) -> Rows:
    chosen = f"SELECT n.code, {_COLUMNS[table]} FROM {table} t JOIN named n USING (item_id)"
    sql = f"{about} {chosen} WHERE t.run_id = $run ORDER BY {_ORDER[table]}"
    return decoded(table, store.query(sql, given))

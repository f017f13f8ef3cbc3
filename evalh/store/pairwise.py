"""What rankings ask the store: pairwise verdicts by column, with the lengths of what was compared. All SQL of it is here."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.store.store import Store

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


class PairwiseColumns(NamedTuple):
    """The pairwise verdicts of a run, one row each; names stand in the lists that codes lead to."""

    judge: IntArray  # → judges
    item: IntArray
    cluster: IntArray
    first: IntArray  # → systems
    second: IntArray
    score: FloatArray  # preference for the second; NaN: unscored
    outcome: FloatArray  # 1 the second, 0 the first, 0.5 tie; NaN: unscored
    order_known: npt.NDArray[np.bool_]
    longer: FloatArray  # characters of the second's output minus the first's; NaN: unknown, or not asked for
    place: IntArray  # of the item in its golden set; -1: not there
    judges: list[dict[str, Any]]  # judge, judge_version, prompt, family, simulated, same_family
    systems: list[str]  # in the order of their names
    aspects: list[str]


_LENGTHS = """
    LEFT JOIN written a ON a.item_id = v.item_id AND a.system = v.systems[1] AND a.trial = v.trial
    LEFT JOIN written b ON b.item_id = v.item_id AND b.system = v.systems[2] AND b.trial = v.trial
"""


def pairwise_columns(store: Store, run_id: str, *, lengths: bool) -> PairwiseColumns:
    """Every pairwise verdict of a run. What has neither verdict, winner nor score counts as unscored, whatever its status."""
    with store.reading():
        judges = store.query(
            "SELECT judge, coalesce(judge_version, '') AS judge_version, coalesce(prompt, '') AS prompt, max(family) AS family,"
            " bool_or(coalesce(simulated, false)) AS simulated, bool_or(coalesce(same_family, false)) AS same_family,"
            " hash(judge, coalesce(judge_version, ''), coalesce(prompt, '')) AS code"
            " FROM verdicts WHERE run_id = ? AND kind = 'pairwise' GROUP BY ALL ORDER BY 1, 2, 3",
            [run_id],
        )
        systems = store.query(
            "SELECT DISTINCT unnest(systems) AS system, hash(unnest(systems)) AS code FROM verdicts"
            " WHERE run_id = ? AND kind = 'pairwise' ORDER BY system",
            [run_id],
        )
        aspects = store.query(
            "SELECT DISTINCT aspect FROM verdicts WHERE run_id = ? AND kind = 'pairwise' AND aspect IS NOT NULL ORDER BY 1", [run_id]
        )
        found = store.columns(_sql(lengths), {"run": run_id})
    return PairwiseColumns(
        judge=_places(found["judge"], [row.pop("code") for row in judges]),
        item=_codes(found["item"]),
        cluster=_codes(found["cluster"]),
        first=_places(found["first"], [row["code"] for row in systems]),
        second=_places(found["second"], [row["code"] for row in systems]),
        score=_floats(found["score"]),
        outcome=_floats(found["outcome"]),
        order_known=np.asarray(found["order_known"], dtype=bool),
        longer=_floats(found["longer"]),
        place=np.asarray(found["place"], dtype=np.int64),
        judges=judges,
        systems=[row["system"] for row in systems],
        aspects=[row["aspect"] for row in aspects],
    )


def _sql(lengths: bool) -> str:
    return f"""
    WITH here AS (SELECT item_id, "group", row_number() OVER (ORDER BY rowid) - 1 AS place FROM items
            WHERE (golden, golden_hash) = (SELECT (golden, golden_hash) FROM runs WHERE run_id = $run)),
        written AS (SELECT item_id, system, trial, length(output) AS characters FROM outputs
            WHERE run_id = $run AND output IS NOT NULL AND error IS NULL),
        said AS (SELECT v.*, i."group", coalesce(i.place, -1) AS place, CASE WHEN v.status <> 'scored' THEN NULL
            WHEN v.verdict = 'second' THEN 1.0 WHEN v.verdict = 'first' THEN 0.0 WHEN v.verdict = 'tie' THEN 0.5
            WHEN v.winner = v.systems[2] THEN 1.0 WHEN v.winner = v.systems[1] THEN 0.0 WHEN v.winner = 'tie' THEN 0.5
            WHEN v.score IS NOT NULL THEN (1 + sign(v.score - 0.5)) / 2 END AS outcome
            FROM verdicts v LEFT JOIN here i USING (item_id) WHERE v.run_id = $run AND v.kind = 'pairwise')
    SELECT hash(v.judge, coalesce(v.judge_version, ''), coalesce(v.prompt, '')) AS judge, hash(v.item_id) AS item,
        hash(coalesce('group ' || v."group", 'item ' || v.item_id)) AS cluster, hash(v.systems[1]) AS first, hash(v.systems[2]) AS second,
        CAST(CASE WHEN v.outcome IS NOT NULL THEN coalesce(v.score, v.outcome) END AS DOUBLE) AS score,
        CAST(v.outcome AS DOUBLE) AS outcome, coalesce(v.order_known, true) AS order_known, v.place,
        {"CAST(b.characters - a.characters AS DOUBLE)" if lengths else "CAST(NULL AS DOUBLE)"} AS longer
    FROM said v {_LENGTHS if lengths else ""}
    """


def item_difficulties(store: Store, run_id: str) -> FloatArray:
    """`meta.instruction_difficulty` of each item of the run's golden set, in the order in which the set was read; NaN: none."""
    found = store.columns(
        "SELECT TRY_CAST(json_extract_string(meta, '$.instruction_difficulty') AS DOUBLE) AS difficulty FROM items"
        " WHERE (golden, golden_hash) = (SELECT (golden, golden_hash) FROM runs WHERE run_id = ?) ORDER BY rowid",
        [run_id],
    )
    return _floats(found["difficulty"])


def given_baselines(store: Store, run_id: str) -> list[str]:
    """The systems that the run's suite compared with (`against`)."""
    rows = store.query("SELECT DISTINCT system FROM systems WHERE run_id = ? AND role = 'against' ORDER BY 1", [run_id])
    return [row["system"] for row in rows]


def never_judged(store: Store, run_id: str) -> dict[str, int]:
    """Pairs of a run that no judge was asked about, by where they went: blocked by tier 1, or without an output."""
    rows = store.query(
        "SELECT route, count(*) AS n FROM scores WHERE run_id = ? AND against <> '' AND route IN ('blocked', 'no_output')"
        " GROUP BY route ORDER BY route",
        [run_id],
    )
    return {row["route"]: row["n"] for row in rows}


def kinds_of_verdicts(store: Store, run_id: str) -> dict[str, int]:
    """How many verdicts of each kind a run has."""
    rows = store.query("SELECT kind, count(*) AS n FROM verdicts WHERE run_id = ? GROUP BY kind ORDER BY kind", [run_id])
    return {row["kind"]: row["n"] for row in rows}


def _codes(hashes: Any) -> IntArray:
    return np.unique(np.asarray(hashes), return_inverse=True)[1].astype(np.int64)


def _places(hashes: Any, known: list[int]) -> IntArray:
    """The place of each hash in a list of them."""
    keys = np.array(known, dtype=np.uint64)
    order = np.argsort(keys)
    return order[np.searchsorted(keys, np.asarray(hashes, dtype=np.uint64), sorter=order)].astype(np.int64)


def _floats(values: Any) -> FloatArray:
    return np.asarray(np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan), dtype=np.float64)

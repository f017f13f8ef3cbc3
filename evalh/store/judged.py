"""What an audit asks the store: verdicts, labels and lengths of runs by column, and the names behind their codes.

Texts that repeat travel as 64-bit hashes (0: none) and their names once: two hundred thousand verdicts are a few arrays.
An unscored verdict without a version takes the one version that its judge has in the run: a call that failed reports none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalh.store.queries import Rows
from evalh.store.store import Store

_VERSION = """
    SELECT run_id, judge, prompt,
        CASE WHEN count(DISTINCT nullif(judge_version, '')) = 1 THEN max(judge_version) ELSE '' END AS only_version
    FROM verdicts WHERE list_contains($runs, run_id) GROUP BY ALL
"""
_JUDGED = f"""
    SELECT v.*, coalesce(v.prompt, '') AS asked,
        coalesce(nullif(v.judge_version, ''), CASE WHEN v.status = 'scored' THEN '' ELSE o.only_version END) AS version
    FROM verdicts v JOIN ({_VERSION}) o ON o.run_id = v.run_id AND o.judge = v.judge AND o.prompt IS NOT DISTINCT FROM v.prompt
    WHERE list_contains($runs, v.run_id)
"""
_TEXT = "CASE WHEN {0} IS NULL THEN 0::UBIGINT ELSE hash({0}) END"


def runs_with_verdicts(store: Store) -> list[str]:
    """The runs that hold verdicts, newest first; where none does, those that hold labels. Probes are not among them."""
    sql = """
        SELECT run_id FROM runs r WHERE kind IS DISTINCT FROM 'probe' AND EXISTS (SELECT 1 FROM {} x WHERE x.run_id = r.run_id)
        ORDER BY started_at DESC, run_id DESC
    """
    for table in ("verdicts", "labels"):
        found = [row["run_id"] for row in store.query(sql.format(table))]
        if found:
            return found
    return []


def judges_of_runs(store: Store, runs: Sequence[str]) -> Rows:
    """The judges of runs, by name: code, judge, version, prompt, kind, family, simulated, same_family, n. One of both kinds is two rows."""
    sql = f"""
        SELECT hash(v.judge, v.version, v.asked, v.kind) AS code, v.judge, v.version, v.asked AS prompt, v.kind,
            max(coalesce(v.family, j.family)) AS family, bool_or(coalesce(v.simulated, false)) AS simulated,
            bool_or(coalesce(v.same_family, false)) AS same_family, count(*) AS n
        FROM ({_JUDGED}) v
        LEFT JOIN (SELECT DISTINCT judge, prompt, max(family) AS family FROM judges WHERE list_contains($runs, run_id) GROUP BY ALL) j
            ON j.judge = v.judge AND coalesce(j.prompt, '') = v.asked
        GROUP BY v.judge, v.version, v.asked, v.kind ORDER BY v.judge, v.version, v.asked, v.kind
    """
    return store.query(sql, {"runs": list(runs)})


def verdict_columns(store: Store, runs: Sequence[str]) -> dict[str, Any]:
    """One row per verdict: item, judge, first, second, aspect, label (hashes); pairwise, trial, repeat, scored, order_known.

    `winner` is 0 where the first shown won, 1 for a tie, 2 where the second did, -1 otherwise; `value` is the raw score of a
    single output; `score` is in [0, 1], for pairs the preference for the second shown.
    """
    sql = f"""
        SELECT hash(run_id, item_id) AS item, hash(judge, version, asked, kind) AS judge, kind = 'pairwise' AS pairwise,
            {_TEXT.format("systems[1]")} AS first, {_TEXT.format("systems[2]")} AS second,
            hash(aspect) AS aspect, {_TEXT.format("label")} AS label, coalesce(trial, 0) AS trial, coalesce(repeat, 0) AS repeat,
            status = 'scored' AS scored, coalesce(order_known, true) AS order_known,
            CASE WHEN status <> 'scored' OR winner IS NULL THEN -1 WHEN winner = systems[1] THEN 0 WHEN winner = 'tie' THEN 1
                WHEN winner = systems[2] THEN 2 ELSE -1 END AS winner,
            raw_score AS value, score
        FROM ({_JUDGED}) ORDER BY run_id, verdict_id
    """
    return store.columns(sql, {"runs": list(runs)})


def sampled_columns(store: Store, runs: Sequence[str]) -> dict[str, Any]:
    """Of verdicts that keep several samples of one reply, in the order of `verdict_columns`: place among them, and the modal share."""
    sql = """
        SELECT place, max(times) FILTER (sample IS NOT NULL) / sum(times) AS share FROM (
            SELECT place, sample, count(*) AS times FROM (
                SELECT place, unnest(TRY_CAST(json_extract(meta, '$.samples') AS DOUBLE[])) AS sample FROM (
                    SELECT meta, row_number() OVER (ORDER BY run_id, verdict_id) - 1 AS place
                    FROM verdicts WHERE list_contains($runs, run_id)
                ) WHERE meta IS NOT NULL AND json_exists(meta, '$.samples')
            ) GROUP BY ALL
        ) GROUP BY place HAVING sum(times) > 1 AND share IS NOT NULL ORDER BY place
    """
    return store.columns(sql, {"runs": list(runs)})


def label_columns(store: Store, runs: Sequence[str]) -> dict[str, Any]:
    """One row per label, oldest first: item, annotator, pairwise, first, second, aspect, label (hashes), trial, winner, value.

    `trial` is that of the task, or what a recorded label says; -1 where it speaks of any. `winner` as in
    `verdict_columns`, of the systems as they stand in the label.
    """
    sql = f"""
        SELECT hash(l.run_id, l.item_id) AS item, hash(annotator) AS annotator, kind = 'pairwise' AS pairwise,
            {_TEXT.format("systems[1]")} AS first, {_TEXT.format("systems[2]")} AS second, {_TEXT.format("aspect")} AS aspect,
            {_TEXT.format("label")} AS label, coalesce(t.trial, TRY_CAST(json_extract_string(l.meta, '$.trial') AS INTEGER), -1) AS trial,
            CASE WHEN winner = systems[1] THEN 0 WHEN winner = 'tie' THEN 1 WHEN winner = systems[2] THEN 2 ELSE -1 END AS winner,
            score AS value
        FROM labels l LEFT JOIN (SELECT task_id, any_value(trial) AS trial FROM label_tasks GROUP BY task_id) t USING (task_id)
        WHERE list_contains($runs, l.run_id) ORDER BY l.imported_at, l."at", l.label_id
    """
    return store.columns(sql, {"runs": list(runs)})


def item_columns(store: Store, runs: Sequence[str]) -> dict[str, Any]:
    """One row per item that a verdict or label is about: item, cluster, slice (hashes).

    Items of one golden set and id are one cluster; of runs without items those of one id, for they may well be the same.
    """
    sql = """
        SELECT hash(s.run_id, s.item_id) AS item,
            hash(coalesce(r.golden, ''), i."group" IS NULL, coalesce(i."group", s.item_id)) AS cluster,
            hash(coalesce(i.slice, 'all')) AS slice
        FROM (SELECT run_id, item_id FROM verdicts WHERE list_contains($runs, run_id)
            UNION SELECT run_id, item_id FROM labels WHERE list_contains($runs, run_id)) s
        JOIN runs r USING (run_id)
        LEFT JOIN items i ON i.golden = r.golden AND i.golden_hash = r.golden_hash AND i.item_id = s.item_id
    """
    return store.columns(sql, {"runs": list(runs)})


def length_columns(store: Store, runs: Sequence[str]) -> dict[str, Any]:
    """One row per output that has a text: item, system (hashes), trial, characters."""
    sql = """
        SELECT hash(run_id, item_id) AS item, hash(system) AS system, trial, length(output) AS characters
        FROM outputs WHERE list_contains($runs, run_id) AND error IS NULL AND length(output) > 0
    """
    return store.columns(sql, {"runs": list(runs)})


def names_of_runs(store: Store, runs: Sequence[str]) -> dict[str, dict[int, str]]:
    """The names behind the hashes: `system`, `aspect`, `slice`, `label`, `annotator`."""
    of = "WHERE list_contains($runs, run_id)"
    sql = f"""
        SELECT DISTINCT what, hash(name) AS code, name FROM (
            SELECT DISTINCT 'system' AS what, unnest(systems) AS name FROM verdicts {of}
            UNION ALL SELECT DISTINCT 'system', unnest(systems) FROM labels {of}
            UNION ALL SELECT DISTINCT 'aspect', aspect FROM verdicts {of}
            UNION ALL SELECT DISTINCT 'aspect', aspect FROM labels {of}
            UNION ALL SELECT DISTINCT 'label', label FROM verdicts {of}
            UNION ALL SELECT DISTINCT 'label', label FROM labels {of}
            UNION ALL SELECT DISTINCT 'annotator', annotator FROM labels {of}
            UNION ALL SELECT DISTINCT 'slice', coalesce(i.slice, 'all') FROM items i JOIN runs r USING (golden, golden_hash) {of}
            UNION ALL SELECT 'slice', 'all'
        ) WHERE name IS NOT NULL ORDER BY what, name
    """
    found: dict[str, dict[int, str]] = {what: {} for what in ("system", "aspect", "slice", "label", "annotator")}
    for row in store.query(sql, {"runs": list(runs)}):
        found[row["what"]][row["code"]] = row["name"]
    return found


def families_of_systems(store: Store, runs: Sequence[str]) -> dict[str, set[str]]:
    """The families that runs name for each system; none for a system that nobody says it of."""
    sql = """
        SELECT DISTINCT system, family FROM (
            SELECT system, family FROM systems WHERE list_contains($runs, run_id)
            UNION SELECT system, family FROM outputs WHERE list_contains($runs, run_id)
        ) WHERE family IS NOT NULL
    """
    found: dict[str, set[str]] = {}
    for row in store.query(sql, {"runs": list(runs)}):
        found.setdefault(row["system"], set()).add(row["family"])
    return found


def unscored_reasons(store: Store, runs: Sequence[str]) -> Rows:
    """Why verdicts are unscored: judge (hash), reason, n; the most frequent first."""
    sql = f"""
        SELECT hash(judge, version, asked, kind) AS judge, coalesce(unscored_reason, 'no reason recorded') AS reason, count(*) AS n
        FROM ({_JUDGED}) WHERE status <> 'scored' GROUP BY ALL ORDER BY n DESC, reason
    """
    return store.query(sql, {"runs": list(runs)})

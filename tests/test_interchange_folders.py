"""Whole folders: recorded data in as a run, a run out as files, every table out as Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalh.errors import InputError, UsageError
from evalh.interchange.exporting import export_parquet, export_run
from evalh.interchange.importing import import_folder
from evalh.store.migrations import SCHEMA_MIGRATIONS
from evalh.store.store import Store
from evalh.store.tables import TABLES

RECORDED = Path(__file__).parent.parent.parent / "shared" / "data"
CANARY = "EVALH-CANARY 6f1d2c3e-1111-4222-8333-444455556666"

# items, outputs, verdicts, unscored, labels, judges: what each set's README and files say
RECORDED_SETS = {
    "alpacaeval": (805, 11_266, 16_901, 4, 0, 4),
    "contamination_gpt35": (140, 280, 700, 0, 280, 3),
    "human_newsroom": (420, 0, 0, 0, 5_040, 0),
    "human_recipes": (52, 0, 0, 0, 6_336, 0),
    "mtbench_pairs": (200, 400, 3_200, 33, 200, 8),
    "pandalm": (999, 1_998, 1_998, 25, 2_997, 2),
    "posbias_mtbench": (24, 120, 5_184, 28, 0, 9),
    "topicalchat_scores": (60, 0, 4_278, 0, 2_160, 3),
}

FILES: dict[str, list[dict[str, Any]]] = {
    "items.jsonl": [
        {
            "item_id": "a",
            "input": "why?",
            "reference": ["because"],
            "slice": "fresh",
            "group": "g",
            "authored_at": "2026-01-01",
            "tags": ["x"],
        },
        {"item_id": "b", "input": [{"role": "user", "content": "how?"}], "slice": "old", "published_at": "2025-01-01", "meta": {"k": 1}},
    ],
    "outputs.jsonl": [
        {
            "item_id": "a",
            "system": "s",
            "output": "one",
            "system_version": "2",
            "family": "f",
            "latency_ms": 1.5,
            "cost_usd": 0.1,
            "tokens": 3,
        },
        {"item_id": "a", "system": "t", "output": "", "tool_calls": [{"name": "look", "arguments": {}}], "meta": {"source": "log"}},
        {"item_id": "b", "system": "s", "output": None, "system_version": "2", "family": "f", "trial": 1, "error": "timeout"},
    ],
    "judgments.jsonl": [
        {
            "item_id": "a",
            "judge": "j",
            "kind": "pairwise",
            "systems": ["t", "s"],
            "verdict": "second",
            "winner": "s",
            "judge_version": "1",
            "raw": "B",
        },
        {
            "item_id": "a",
            "judge": "j",
            "kind": "pairwise",
            "systems": ["s", "t"],
            "verdict": "first",
            "winner": "s",
            "score": 0.2,
            "extra": None,
        },
        {
            "item_id": "a",
            "judge": "j",
            "kind": "pairwise",
            "systems": ["s", "t"],
            "repeat": 1,
            "verdict": None,
            "winner": None,
            "order_known": False,
        },
        {
            "item_id": "a",
            "judge": "k",
            "kind": "pointwise",
            "systems": ["s"],
            "score": 4.0,
            "label": None,
            "aspect": "tone",
            "samples": [4, 4],
        },
        {
            "item_id": "b",
            "judge": "k",
            "kind": "pointwise",
            "systems": ["s"],
            "score": None,
            "label": "good",
            "trial": 1,
            "at": "2026-01-01T00:00:00Z",
        },
        {"item_id": "a", "judge": "m", "kind": "pointwise", "systems": ["s"], "score": 0.5, "label": None, "prompt": "p"},
    ],
    "labels.jsonl": [
        {"item_id": "a", "annotator": "kim", "kind": "pairwise", "systems": ["s", "t"], "winner": "tie", "at": "May", "raw_label": "="},
        {
            "item_id": "b",
            "annotator": "kim",
            "kind": "pointwise",
            "systems": ["s"],
            "score": 3.0,
            "aspect": "tone",
            "inclusion_probability": 0.5,
            "stratum": "x",
        },
    ],
}


def folder(at: Path, files: dict[str, list[dict[str, Any]]] = FILES, manifest: str | None = None) -> Path:
    at.mkdir()
    for name, rows in files.items():
        (at / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if manifest is not None:
        (at / "golden.toml").write_text(manifest, encoding="utf-8")
    return at


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return sorted((r for r in rows if "_canary" not in r), key=lambda r: json.dumps(r, sort_keys=True))


@pytest.mark.parametrize("name", RECORDED_SETS)
def test_recorded_sets_import_to_the_counts_they_state(tmp_path: Path, name: str) -> None:
    """Each recorded set comes in whole; unread verdicts are rows, counted apart."""
    if not (RECORDED / name).is_dir():
        pytest.skip(f"the recorded set {name} is not beside this checkout")
    store = Store(tmp_path / "s.duckdb")
    document = import_folder(store, RECORDED / name)
    counts = tuple(document[key] for key in ("items", "outputs", "verdicts", "unscored", "labels"))
    assert (*counts, len(document["judges"])) == RECORDED_SETS[name]
    assert document["run"] == name
    assert document["unmatched"] == 0
    for table, count in zip(("items", "outputs", "verdicts", "labels"), (*counts[:3], counts[4]), strict=True):
        assert store.query(f"SELECT count(*) AS n FROM {table}") == [{"n": count}]
    assert store.query("SELECT count(*) AS n FROM verdicts WHERE status = 'unscored'") == [{"n": counts[3]}]


def test_a_folder_becomes_a_run(tmp_path: Path) -> None:
    """Runs, systems, judges and verdicts have what a report needs: winner, preference, hashes, unread ones with a reason."""
    store = Store(tmp_path / "s.duckdb")
    document = import_folder(store, folder(tmp_path / "data"), "mine")
    assert document["judges"] == [
        {"judge": "j", "judge_version": "", "prompt": "", "n_verdicts": 2, "n_unscored": 1},
        {"judge": "j", "judge_version": "1", "prompt": "", "n_verdicts": 1, "n_unscored": 0},
        {"judge": "k", "judge_version": "", "prompt": "", "n_verdicts": 2, "n_unscored": 0},
        {"judge": "m", "judge_version": "", "prompt": "p", "n_verdicts": 1, "n_unscored": 0},
    ]
    (run,) = store.query("SELECT run_id, suite, kind, golden, simulated FROM runs")
    assert run == {"run_id": "mine", "suite": "data", "kind": "import", "golden": "data", "simulated": False}
    assert [(r["system"], r["system_version"], r["family"]) for r in store.query("FROM systems ORDER BY ALL")] == [
        ("s", "2", "f"),
        ("t", "", None),
    ]
    assert store.query("SELECT event FROM run_events") == [{"event": "finished"}]

    verdicts = store.query(
        "SELECT judge, judge_version v, repeat r, status, winner, score, raw_score, unscored_reason FROM verdicts ORDER BY ALL"
    )
    assert [(v["judge"], v["status"], v["winner"], v["score"], v["raw_score"]) for v in verdicts] == [
        ("j", "scored", "s", 0.2, None),
        ("j", "unscored", None, None, None),
        ("j", "scored", "s", 1.0, None),
        ("k", "scored", None, None, 4.0),  # no scale is guessed
        ("k", "scored", None, None, None),
        ("m", "scored", None, 0.5, 0.5),
    ]
    assert verdicts[1]["unscored_reason"] == "the recorded reply could not be read"
    (hashes,) = store.query(
        "SELECT v.output_hashes = [t.output_hash, s.output_hash] AS output, v.item_hash = i.item_hash AS item"
        " FROM verdicts v JOIN items i USING (item_id) JOIN outputs s USING (item_id) JOIN outputs t USING (item_id)"
        " WHERE v.judge_version = '1' AND s.system = 's' AND t.system = 't'"
    )
    assert hashes == {"output": True, "item": True}


def test_a_run_name_is_taken_once(tmp_path: Path) -> None:
    """Importing under a name that exists is an error; under another name the same folder comes in again."""
    store, data = Store(tmp_path / "s.duckdb"), folder(tmp_path / "data")
    import_folder(store, data)
    with pytest.raises(UsageError, match="has a run `data` already; choose another name with --run"):
        import_folder(store, data)
    import_folder(store, data, "again")
    assert store.query("SELECT run_id, count(*) AS n FROM verdicts GROUP BY ALL ORDER BY ALL") == [
        {"run_id": "again", "n": 6},
        {"run_id": "data", "n": 6},
    ]


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("items.jsonl", {"item_id": "a", "input": "again"}, "items.jsonl:3: field `item_id`: `a` again, as on line 1"),
        ("outputs.jsonl", {"item_id": "a", "system": "u"}, "outputs.jsonl:4: field `output`: missing"),
        (
            "judgments.jsonl",
            {"item_id": "z", "judge": "j", "kind": "pointwise", "systems": ["s"], "score": 1},
            "judgments.jsonl:7: field `item_id`: `z` is not in",
        ),
        (
            "labels.jsonl",
            {"item_id": "z", "annotator": "k", "kind": "pointwise", "systems": ["s"], "score": 1},
            "1 labels are about 1 such items",
        ),
        (
            "outputs.jsonl",
            {"item_id": "b", "system": "s", "output": "", "system_version": "2", "family": "other"},
            "outputs.jsonl:4: field `family`",
        ),
    ],
)
def test_one_bad_line_stores_nothing(tmp_path: Path, name: str, row: dict[str, Any], message: str) -> None:
    """A bad line in any file is named, and no file of the folder is stored."""
    store = Store(tmp_path / "s.duckdb")
    data = folder(tmp_path / "data", {**FILES, name: [*FILES[name], row]})
    with pytest.raises(InputError) as caught:
        import_folder(store, data)
    assert message in str(caught.value)
    assert not store.exists()


def test_unknown_items_are_counted_in_one_complaint(tmp_path: Path) -> None:
    """Verdicts about items that are not there: how many, about how many items, and the first line."""
    rows = [{"item_id": i, "judge": "j", "kind": "pointwise", "systems": ["s"], "score": 1, "repeat": n} for n, i in enumerate("axyxx")]
    with pytest.raises(InputError) as caught:
        import_folder(Store(tmp_path / "s.duckdb"), folder(tmp_path / "data", {**FILES, "judgments.jsonl": rows}))
    assert "judgments.jsonl:2: field `item_id`: `x` is not in items.jsonl; 4 verdicts are about 2 such items" in str(caught.value)


def test_parts_may_be_missing(tmp_path: Path) -> None:
    """Only labels, or only verdicts, are a run too; a folder of none of the files is an error."""
    store = Store(tmp_path / "s.duckdb")
    assert import_folder(store, folder(tmp_path / "labels", {"labels.jsonl": FILES["labels.jsonl"]}))["labels"] == 2
    assert import_folder(store, folder(tmp_path / "verdicts", {"judgments.jsonl": FILES["judgments.jsonl"]}))["verdicts"] == 6
    assert store.query("SELECT count(*) AS n FROM items") == [{"n": 0}]
    with pytest.raises(InputError, match=r"holds nothing to import; expected items.jsonl, outputs.jsonl"):
        import_folder(store, folder(tmp_path / "empty", {}))
    with pytest.raises(InputError, match="there is no such folder"):
        import_folder(store, tmp_path / "none")


def test_two_versions_of_a_set_stay_apart(tmp_path: Path) -> None:
    """A set imported again with changed items gives each run its own items, slices and meta."""
    store = Store(tmp_path / "s.duckdb")
    data = folder(tmp_path / "data")
    import_folder(store, data, "before")
    changed = [{**FILES["items.jsonl"][0], "slice": "old", "meta": {"new": True}}, FILES["items.jsonl"][1]]
    (data / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    import_folder(store, data, "after")
    for run, items in (("before", FILES["items.jsonl"]), ("after", changed)):
        export_run(store, run, tmp_path / run)
        assert rows_of(tmp_path / run / "items.jsonl") == sorted(items, key=lambda r: json.dumps(r, sort_keys=True))


def test_a_run_comes_out_as_it_went_in(tmp_path: Path) -> None:
    """Exported files hold the imported rows, and importing them gives the same rows again."""
    store, second = Store(tmp_path / "s.duckdb"), Store(tmp_path / "t.duckdb")
    slices = '[slices.fresh]\npublished_at = "never"\n[slices.old]\npublished_at = "2025-01-01"\nwhere = "the web"\n'
    manifest = f'name = "g"\nversion = "3"\ncanary = "{CANARY}"\nlicence = "MIT"\n{slices}'
    import_folder(store, folder(tmp_path / "data", manifest=manifest), "run")
    counts = export_run(store, "run", tmp_path / "out")
    assert counts == {name: len(rows) for name, rows in FILES.items()}
    for name, rows in FILES.items():
        assert rows_of(tmp_path / "out" / name) == sorted(rows, key=lambda r: json.dumps(r, sort_keys=True)), name
        assert json.loads((tmp_path / "out" / name).read_text().splitlines()[0]) == {"_canary": CANARY}

    import_folder(second, tmp_path / "out", "run")
    for table in ("outputs", "verdicts", "labels", "judges", "systems"):
        leave_out = "EXCLUDE (imported_at)" if table == "labels" else ""
        sql = f"SELECT * {leave_out} FROM {table} ORDER BY ALL"
        assert store.query(sql) == second.query(sql), table
    sql = "SELECT golden, golden_version, canary, licence, slices FROM golden_sets"
    assert store.query(sql) == second.query(sql)
    with pytest.raises(InputError, match="is there already; export into an empty folder"):
        export_run(store, "run", tmp_path / "out")
    with pytest.raises(UsageError, match="there is no run `nope`"):
        export_run(store, "nope", tmp_path / "nope")


@pytest.mark.parametrize("name", ["mtbench_pairs", "topicalchat_scores", "contamination_gpt35"])
def test_a_recorded_set_survives_the_round_trip(tmp_path: Path, name: str) -> None:
    """Real data exported and imported again gives the same verdicts and labels."""
    if not (RECORDED / name).is_dir():
        pytest.skip(f"the recorded set {name} is not beside this checkout")
    store, second = Store(tmp_path / "s.duckdb"), Store(tmp_path / "t.duckdb")
    import_folder(store, RECORDED / name)
    export_run(store, name, tmp_path / name)
    import_folder(second, tmp_path / name)
    for sql in (
        "SELECT * FROM verdicts ORDER BY ALL",
        "SELECT * EXCLUDE (imported_at) FROM labels ORDER BY ALL",
        "SELECT * FROM outputs ORDER BY ALL",
    ):
        assert store.query(sql) == second.query(sql)


def test_every_table_is_exported_as_parquet(tmp_path: Path) -> None:
    """`export_parquet` writes one file a table, empty ones too, and the rows are all there."""
    import duckdb

    store = Store(tmp_path / "s.duckdb")
    import_folder(store, folder(tmp_path / "data"))
    counts = export_parquet(store, tmp_path / "it's tables")
    assert set(counts) == {t.name for t in (*TABLES, SCHEMA_MIGRATIONS)}
    assert (counts["verdicts"], counts["items"], counts["scores"]) == (6, 2, 0)
    with duckdb.connect() as other:
        read = other.execute(
            "SELECT item_id, output FROM read_parquet(?) ORDER BY ALL", [str(tmp_path / "it's tables" / "outputs.parquet")]
        ).fetchall()
    assert read == [("a", ""), ("a", "one"), ("b", "")]

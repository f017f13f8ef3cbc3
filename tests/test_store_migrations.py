"""Schema versions: what the code describes is what the file has, old stores come forward, newer ones are left alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evalh.errors import ExitCode, StoreError, StoreTooNew
from evalh.store.docs import render
from evalh.store.migrations import MIGRATIONS, SCHEMA_MIGRATIONS, Migration
from evalh.store.store import Store
from evalh.store.tables import TABLES

ROOT = Path(__file__).parent.parent
NEXT = Migration(len(MIGRATIONS) + 1, "colour of runs", "ALTER TABLE runs ADD COLUMN colour VARCHAR; UPDATE runs SET colour = 'red'")
LATER = (*MIGRATIONS, NEXT)

SCHEMA = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal ORDER BY ALL"
KEYS = "SELECT table_name, constraint_column_names FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY' ORDER BY ALL"


def older(path: Path) -> Store:
    """A store as this version makes it, with one run; `LATER` makes it an older one."""
    store = Store(path)
    store.append(
        {
            "runs": [{"run_id": "r", "settings": {"a": 1}}],
            "run_events": [{"run_id": "r", "event": "finished", "at": "2026-01-01", "detail": ""}],
        }
    )
    return store


def test_the_migrated_store_is_what_tables_py_describes(tmp_path: Path) -> None:
    """All migrations together give the tables, columns, types and keys of tables.py: change one, append to the other."""
    import duckdb

    with duckdb.connect() as described:
        for table in (*TABLES, SCHEMA_MIGRATIONS):
            columns = ", ".join(f'"{c.name}" {c.type}' for c in table.columns)
            key = ", ".join(f'"{name}"' for name in table.key)
            described.execute(f"CREATE TABLE {table.name} ({columns}{f', PRIMARY KEY ({key})' if table.indexed else ''})")
        schema, keys = described.execute(SCHEMA).fetchall(), described.execute(KEYS).fetchall()
    store = older(tmp_path / "s.duckdb")
    assert [tuple(row.values()) for row in store.query(SCHEMA)] == schema
    assert [tuple(row.values()) for row in store.query(KEYS)] == keys


def test_numbers_only_go_up() -> None:
    """Migrations are numbered 1, 2, 3, … in the order in which they run."""
    assert [m.number for m in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


@pytest.mark.parametrize("way", ["append", "query"])
def test_an_older_store_is_migrated_after_a_backup(tmp_path: Path, way: str) -> None:
    """Opening an older store, for writing or only to read, brings it forward once; the copy is a whole store as it was."""
    told: list[str] = []
    older(tmp_path / "s.duckdb")
    store = Store(tmp_path / "s.duckdb", notice=told.append, migrations=LATER)
    if way == "append":
        store.append({"runs": [{"run_id": "q"}]})
    assert store.query("SELECT run_id, colour FROM runs WHERE run_id = 'r'") == [{"run_id": "r", "colour": "red"}]
    assert [r["number"] for r in store.query("SELECT number FROM schema_migrations ORDER BY number")] == [m.number for m in LATER]

    backup = tmp_path / f"s.duckdb.backup-{len(MIGRATIONS)}"
    assert Store(backup).query("SELECT run_id, settings FROM runs") == [{"run_id": "r", "settings": '{"a": 1}'}]
    Store(backup).append({"runs": [{"run_id": "r", "suite": "not again"}]})
    assert Store(backup).query("SELECT suite FROM runs") == [{"suite": None}]
    assert told == [f"the store {store.path} now has schema {NEXT.number} (was {NEXT.number - 1}); a copy of the old one is {backup.name}"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.duckdb", backup.name]


def test_a_backup_is_never_overwritten(tmp_path: Path) -> None:
    """A second migration from the same number keeps the first copy."""
    older(tmp_path / "s.duckdb")
    first = tmp_path / f"s.duckdb.backup-{len(MIGRATIONS)}"
    first.write_text("precious")
    Store(tmp_path / "s.duckdb", migrations=LATER).query("SELECT 1")
    assert first.read_text() == "precious"
    assert Store(first.with_name(first.name + ".2")).query("SELECT run_id FROM runs") == [{"run_id": "r"}]


def test_a_migration_that_fails_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    """A broken step changes nothing, and the error says so."""
    older(tmp_path / "s.duckdb")
    broken = Migration(NEXT.number, "broken", "ALTER TABLE runs ADD COLUMN colour VARCHAR; SELECT no_such_column FROM runs")
    with pytest.raises(StoreError, match=r"migration .* \(broken\) failed"):
        Store(tmp_path / "s.duckdb", migrations=(*MIGRATIONS, broken)).query("SELECT 1")
    (row,) = Store(tmp_path / "s.duckdb").query("SELECT * FROM runs")
    assert "colour" not in row


@pytest.mark.parametrize("way", ["append", "query", "fold", "parquet"])
def test_a_newer_store_is_refused_and_not_touched(tmp_path: Path, way: str) -> None:
    """A store of a newer evalh is refused with exit code 2; not a byte of it changes, and no other file appears."""
    older(tmp_path / "s.duckdb")
    Store(tmp_path / "s.duckdb", migrations=LATER).query("SELECT 1")
    for copy in tmp_path.glob("*.backup-*"):
        copy.unlink()
    before = (tmp_path / "s.duckdb").read_bytes()
    store = Store(tmp_path / "s.duckdb")
    store.journal_folder.mkdir()
    line = b'["runs",{"run_id":"q"}]\n'
    (store.journal_folder / "left.jsonl").write_bytes(line)
    ways = {
        "append": lambda: store.append({"runs": [{"run_id": "q"}]}),
        "query": lambda: store.query("SELECT 1"),
        "fold": store.fold_journals,
        "parquet": lambda: store.write_parquet(tmp_path / "tables"),
    }
    with pytest.raises(StoreTooNew, match=f"newer evalh \\(schema {NEXT.number}") as caught:
        ways[way]()
    assert caught.value.exit_code == ExitCode.USAGE
    assert (tmp_path / "s.duckdb").read_bytes() == before
    assert (store.journal_folder / "left.jsonl").read_bytes() == line


def test_two_processes_migrate_once(tmp_path: Path) -> None:
    """Processes that meet an older store at the same time leave one migrated store and one backup."""
    older(tmp_path / "s.duckdb")
    code = (
        "import sys; from pathlib import Path\n"
        "from evalh.store.migrations import MIGRATIONS, Migration; from evalh.store.store import Store\n"
        f"print(Store(Path(sys.argv[1]), migrations=(*MIGRATIONS, Migration{tuple(NEXT)!r})).query('SELECT colour FROM runs'))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "s.duckdb")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as a, subprocess.Popen(command, stdout=subprocess.PIPE) as b:
        assert a.communicate(timeout=30)[0] == b.communicate(timeout=30)[0] == b"[{'colour': 'red'}]\n"
    assert len(list(tmp_path.glob("*.backup-*"))) == 1


def test_the_page_on_the_store_is_made_from_the_code() -> None:
    """docs/store.md is what the code says: write it anew with `python -m evalh.store.docs > docs/store.md`."""
    page = (ROOT / "docs" / "store.md").read_text(encoding="utf-8")
    assert page == render()
    for table in (*TABLES, SCHEMA_MIGRATIONS):
        assert f"\n## {table.name}\n" in page
        assert all(f"| `{column.name}` |" in page for column in table.columns)

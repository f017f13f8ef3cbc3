"""The store as users meet it: many processes on one file, awkward values, broken files, and queries that can do no harm."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from evalh.errors import ExitCode, StoreBusy, StoreError, UsageError
from evalh.store.store import Store
from tests.store_helpers import held


def output(run: str = "r", item: str = "i", **fields: object) -> dict[str, object]:
    return {"run_id": run, "item_id": item, "system": "s", "trial": 0, "output": "text", **fields}


def program(code: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_what_is_appended_can_be_read_back(tmp_path: Path) -> None:
    """Every type of column comes back as it went in; times as UTC, JSON as JSON."""
    store = Store(tmp_path / "s.duckdb")
    cest = timezone(timedelta(hours=2))
    store.append(
        {
            "items": [
                {"golden": "g", "golden_hash": "h", "item_id": "i", "input": "a string", "tags": ["x"], "meta": {"k": [1, None, "é"]}}
            ],
            "outputs": [output(latency_ms=0.1 + 0.2, tokens=2**62, at=datetime(2026, 1, 1, 12, tzinfo=cest), meta={}, tool_calls=[])],
            "verdicts": [
                {"verdict_id": "v", "systems": ["a", "b"], "output_hashes": [None, "h"], "order_known": True, "at": "2026-01-01T12:00:00Z"}
            ],
        }
    )

    (item,) = store.query("SELECT input, input->>'$' AS input_text, tags, meta FROM items")
    assert item == {"input": '"a string"', "input_text": "a string", "tags": '["x"]', "meta": '{"k": [1, null, "é"]}'}
    (row,) = store.query('SELECT latency_ms, tokens, "at", error, meta FROM outputs')
    assert row == {"latency_ms": 0.1 + 0.2, "tokens": 2**62, "at": datetime(2026, 1, 1, 10), "error": None, "meta": "{}"}
    (verdict,) = store.query('SELECT systems, output_hashes, order_known, "at" FROM verdicts')
    assert verdict == {"systems": ["a", "b"], "output_hashes": [None, "h"], "order_known": True, "at": datetime(2026, 1, 1, 12)}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("nul \0 inside", "nul \0 inside"),
        ("half a pair \ud83d here", "half a pair \N{REPLACEMENT CHARACTER} here"),
        ("whole pair in halves \ud83d\ude00", "whole pair in halves 😀"),
        ("quotes \" ' \\ {} [] ; -- $1 ?", "quotes \" ' \\ {} [] ; -- $1 ?"),
        ("line\r\nends\u2028\x85", "line\r\nends\u2028\x85"),
        ("", ""),
    ],
)
def test_no_text_of_a_model_loses_a_row(tmp_path: Path, text: str, kept: str) -> None:
    """Whatever a model writes is stored; what UTF-8 cannot hold is replaced visibly."""
    store = Store(tmp_path / "s.duckdb")
    store.append({"provider_calls": [{"call_id": "c", "reply": text, "params": {"deep": [text]}}]})
    (row,) = store.query("SELECT reply, params FROM provider_calls")
    assert row["reply"] == kept
    assert json.loads(row["params"]) == {"deep": [kept]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (output(colour="red"), "no column `colour`"),
        (output(latency_ms=float("nan")), "outputs.latency_ms: a finite number"),
        (output(meta={"deep": [float("inf")]}), "outputs.meta"),
        (output(trial=1.5), "outputs.trial: a whole number"),
        (output(trial=True), "outputs.trial"),
        (output(output=5), "outputs.output: a text"),
        (output(at="yesterday"), "outputs.at"),
        ({"run_id": "r", "item_id": "i", "system": "s"}, "outputs.trial: a part of the key is missing"),
    ],
)
def test_a_row_that_does_not_fit_is_a_mistake_of_the_program(tmp_path: Path, row: dict[str, object], message: str) -> None:
    """A wrong row raises before the file is touched, and nothing of the batch is stored."""
    store = Store(tmp_path / "s.duckdb")
    with pytest.raises(ValueError, match=re.escape(message)):
        store.append({"runs": [{"run_id": "r"}], "outputs": [row]})
    assert not store.exists()


def test_the_first_row_of_a_key_stays(tmp_path: Path) -> None:
    """Appending a key again changes nothing, within a batch and across batches."""
    store = Store(tmp_path / "s.duckdb")
    store.append({"outputs": [output(output="first"), output(output="again")]})
    store.append({"outputs": [output(output="later"), output(item="j", output="new")]})
    assert store.query("SELECT item_id, output FROM outputs ORDER BY item_id") == [
        {"item_id": "i", "output": "first"},
        {"item_id": "j", "output": "new"},
    ]


def test_a_row_that_must_be_new_stops_the_whole_append(tmp_path: Path) -> None:
    """With `new`, a key that is there already rolls everything back."""
    store = Store(tmp_path / "s.duckdb")
    store.append({"runs": [{"run_id": "r"}]})
    with pytest.raises(UsageError, match="run_id: r"):
        store.append({"outputs": [output()], "runs": [{"run_id": "r"}]}, new=["runs"])
    assert store.query("SELECT count(*) AS n FROM outputs") == [{"n": 0}]


@pytest.mark.timeout(300)
def test_two_writers_and_a_reader_share_the_file(tmp_path: Path) -> None:
    """Two processes append at once while a third reads in a loop: no error, no lost row, no double row."""
    path = tmp_path / "s.duckdb"
    write = (
        "import sys; from pathlib import Path; from evalh.store.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for batch in range(15):\n"
        "    rows = [{'run_id': sys.argv[2], 'item_id': f'{batch}-{i}', 'system': 's', 'trial': 0} for i in range(20)]\n"
        "    store.append({'outputs': rows, 'runs': [{'run_id': 'shared'}]})\n"
    )
    read = (
        "import sys; from pathlib import Path; from evalh.store.store import Store\n"
        "store, seen, turns = Store(Path(sys.argv[1])), 0, 0\n"
        "while seen < 600:\n"
        "    if store.exists():\n"
        "        n = store.query('SELECT count(*) AS n FROM outputs')[0]['n']\n"
        "        assert n >= seen and n % 20 == 0, (n, seen)\n"
        "        seen, turns = n, turns + 1\n"
        "print(turns)\n"
    )
    with program(write, path, "a") as a, program(write, path, "b") as b, program(read, path) as reader:
        for process in (a, b, reader):
            _, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
    (row,) = Store(path).query("SELECT count(*) AS n, count(DISTINCT (run_id, item_id)) AS different FROM outputs")
    assert row == {"n": 600, "different": 600}
    assert Store(path).query("SELECT * FROM runs") != []


def test_threads_take_turns(tmp_path: Path) -> None:
    """Several threads may append and query one store, through one object or several."""
    path, errors = tmp_path / "s.duckdb", []
    shared = Store(path)
    shared.append({"runs": [{"run_id": "r"}]})

    def work(number: int) -> None:
        store = shared if number % 2 else Store(path)
        try:
            for i in range(5):
                store.append({"outputs": [output(item=f"{number}-{i}")]})
                store.query("SELECT count(*) FROM outputs")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert shared.query("SELECT count(*) AS n FROM outputs") == [{"n": 30}]


def test_a_busy_store_is_waited_for_and_said(tmp_path: Path) -> None:
    """After a second the notice names the process that holds the file; after `wait_s` it is StoreBusy; then all is well."""
    path, told = tmp_path / "s.duckdb", list[str]()
    Store(path).append({"runs": [{"run_id": "r"}]})
    store = Store(path, wait_s=1.5, notice=told.append)
    with held(path) as pid:
        for attempt in (lambda: store.append({"runs": [{"run_id": "q"}]}), lambda: store.query("SELECT 1")):
            with pytest.raises(StoreBusy, match=f"held by process {pid} \\(python.*\\)") as caught:
                attempt()
            assert caught.value.exit_code == ExitCode.UNAVAILABLE
    assert len(told) == 2
    assert told[0].startswith(f"waiting for the store {path}: held by process {pid} (python")
    assert store.query("SELECT run_id FROM runs") == [{"run_id": "r"}]


def test_a_store_is_made_with_its_folder(tmp_path: Path) -> None:
    """The first append makes `.evalh/` and keeps it out of version control; other folders get no .gitignore."""
    inside, outside = tmp_path / "p" / ".evalh" / "evalh.duckdb", tmp_path / "q" / "mine.duckdb"
    for path in (inside, outside):
        store = Store(path)
        assert not store.exists()
        store.append({"runs": [{"run_id": "r"}]})
        assert store.exists()
    assert (inside.parent / ".gitignore").read_text() == "*\n"
    assert sorted(p.name for p in outside.parent.iterdir()) == ["mine.duckdb"]


def test_reading_needs_a_store(tmp_path: Path) -> None:
    """A query makes no file; it says how one comes to be."""
    with pytest.raises(StoreError, match="no store here yet; `evalh run`"):
        Store(tmp_path / "s.duckdb").query("SELECT 1")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_stores_are_named(tmp_path: Path) -> None:
    """Text, an empty file, a folder and somebody else's DuckDB file are each refused in one line, and left as they are."""
    import duckdb

    (tmp_path / "text").write_text("not a database\n" * 1000)
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    with duckdb.connect(str(tmp_path / "other")) as other:
        other.execute("CREATE TABLE theirs (a INTEGER)")
    before = (tmp_path / "other").read_bytes()
    for name, message in (
        ("text", "not a DuckDB file"),
        ("empty", "not a DuckDB file"),
        ("folder", "is a folder"),
        ("other", "not a store of evalh"),
    ):
        store = Store(tmp_path / name)
        for attempt in (lambda s=store: s.append({"runs": [{"run_id": "r"}]}), lambda s=store: s.query("SELECT 1")):
            with pytest.raises(StoreError, match=message) as caught:
                attempt()
            assert str(tmp_path / name) in str(caught.value)
            assert caught.value.hint
            assert caught.value.exit_code == ExitCode.UNAVAILABLE
    assert (tmp_path / "other").read_bytes() == before


def test_a_folder_that_cannot_be_written_is_named() -> None:
    """No permission is one line with the path, whether the folder or the file is closed."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o555)
        with ordinary_user(), pytest.raises(StoreError, match=r"cannot be written: Permission denied|no permission"):
            Store(folder / ".evalh" / "s.duckdb").append({"runs": [{"run_id": "r"}]})
        with ordinary_user(), pytest.raises(StoreError, match="no permission to read and write"):
            Store(folder / "s.duckdb").append({"runs": [{"run_id": "r"}]})
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Permissions bind: root gives its power up for a while."""
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_full_disk_stores_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    """When the disk takes no more, the append fails with what to do, and the store works again once there is room."""
    path = tmp_path / "s.duckdb"
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from evalh.store.store import Store; from evalh.errors import StoreError\n"
        "store = Store(Path(sys.argv[1]))\n"
        "row = lambda i: {'run_id': 'r', 'item_id': str(i), 'system': 's', 'trial': 0, 'output': str(i) * 3000}\n"
        "store.append({'outputs': [row(0)]})\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "size = Path(sys.argv[1]).stat().st_size + 400_000\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))\n"
        "try: store.append({'outputs': [row(i) for i in range(1, 3000)]})\n"
        "except StoreError as error: print(error)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "store.append({'outputs': [row('after')]})\n"
    )
    with program(code, path) as process:
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "make room on the disk" in out
    assert Store(path).query("SELECT item_id FROM outputs ORDER BY item_id") == [{"item_id": "0"}, {"item_id": "after"}]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO runs (run_id) VALUES ('x')",
        "UPDATE runs SET suite = 'x'",
        "DROP TABLE runs",
        "COPY runs TO 'out.csv'",
        "ATTACH 'other.duckdb'",
        "EXPORT DATABASE 'dump'",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_csv('/etc/hostname')",
        "SELECT * FROM '/etc/hostname'",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM variable_of_the_program",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "INSTALL httpfs",
        "SELECT no_such_column FROM runs",
        "SELEC 1",
    ],
)
def test_a_query_can_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    """A query neither writes, nor reads other files, nor sees the program's variables: one line, exit code 2."""
    import pandas as pd

    variable_of_the_program = pd.DataFrame({"secret": [1]})
    assert len(variable_of_the_program) == 1
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "s.duckdb")
    store.append({"runs": [{"run_id": "r"}]})
    before = (tmp_path / "s.duckdb").read_bytes()
    with pytest.raises(UsageError) as caught:
        store.query(sql)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "s.duckdb").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.duckdb"]


def test_importing_the_store_does_not_load_duckdb() -> None:
    """DuckDB is loaded when a file is first opened, not before."""
    code = (
        "import sys, evalh.store.store, evalh.store.journal, evalh.store.queries; print('duckdb' in sys.modules, 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False False\n"


def test_times_without_a_zone_are_utc(tmp_path: Path) -> None:
    """A naive datetime is stored as it stands, an aware one as the same moment in UTC."""
    store = Store(tmp_path / "s.duckdb")
    store.append(
        {"runs": [{"run_id": "a", "started_at": datetime(2026, 1, 1)}, {"run_id": "b", "started_at": datetime(2026, 1, 1, tzinfo=UTC)}]}
    )
    assert store.query("SELECT DISTINCT started_at FROM runs") == [{"started_at": datetime(2026, 1, 1)}]

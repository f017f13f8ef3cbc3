"""The journal: what was acknowledged is never lost and never counted twice, however the process ends."""

from __future__ import annotations

import fcntl
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterable
from pathlib import Path

import pytest

from evalh.errors import StoreBusy, StoreError
from evalh.store.inserts import Columns, columns
from evalh.store.journal import Journal
from evalh.store.store import Store
from tests.store_helpers import held

WRITER = """
import os, sys, threading, time
from pathlib import Path
from evalh.store.journal import Journal
from evalh.store.store import Store

journal = Journal(Store(Path(sys.argv[1])), "run")
def fold():
    while True:
        journal.fold()
        time.sleep(0.01)
threading.Thread(target=fold, daemon=True).start()
for i in range(int(sys.argv[3])):
    row = {"run_id": sys.argv[2], "item_id": str(i), "system": "s", "trial": 0, "output": "é" * 300}
    journal.append("outputs", row)
    os.write(1, f"{i}\\n".encode())
journal.close()
"""


def row(item: int | str, **fields: object) -> dict[str, object]:
    return {"run_id": "r", "item_id": str(item), "system": "s", "trial": 0, "output": "text", **fields}


def stored(store: Store) -> list[str]:
    return [r["item_id"] for r in store.query("SELECT item_id FROM outputs ORDER BY item_id")] if store.exists() else []


def test_rows_are_on_disk_at_once_and_in_the_store_after_folding(tmp_path: Path) -> None:
    """`append` needs no DuckDB; `fold` moves rows over; `close` leaves no file behind."""
    store = Store(tmp_path / "s.duckdb")
    with Journal(store, "run/1") as journal:
        journal.append("outputs", row(1, meta={"a": [1]}, at="2026-01-01T00:00:00"))
        assert not store.exists()
        assert journal.waiting == 1
        (file,) = store.journal_folder.iterdir()
        assert file.read_bytes().count(b"\n") == 1
        assert journal.fold() == 1
        assert journal.waiting == 0
        journal.append("outputs", row(2))
        journal.append("runs", {"run_id": "r"})
    assert stored(store) == ["1", "2"]
    assert store.query("SELECT meta FROM outputs WHERE item_id = '1'") == [{"meta": '{"a": [1]}'}]
    assert store.query("SELECT run_id FROM runs") == [{"run_id": "r"}]
    assert list(store.journal_folder.iterdir()) == []


def test_a_wrong_row_never_reaches_the_file(tmp_path: Path) -> None:
    """A row that the store would refuse is refused by the journal, so that folding cannot get stuck on it."""
    store = Store(tmp_path / "s.duckdb")
    with Journal(store, "run") as journal:
        with pytest.raises(ValueError, match="no column `colour`"):
            journal.append("outputs", row(1, colour="red"))
        with pytest.raises(ValueError, match="finite"):
            journal.append("outputs", row(1, cost_usd=float("nan")))
        journal.append("outputs", row(1))
    assert stored(store) == ["1"]


def test_kill_minus_nine_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """A writer is killed fifteen times at any moment; every acknowledged row is in the store, once."""
    store, chance = Store(tmp_path / "s.duckdb"), random.Random(7)
    acknowledged: dict[str, int] = {}
    for turn in range(15):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(store.path), str(turn), "1000000"], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            first = process.stdout.readline()  # it is under way
            timer = threading.Timer(chance.uniform(0.0, 0.25), process.kill)
            timer.start()
            rest = process.stdout.read()
            timer.join()
        acknowledged[str(turn)] = (first + rest).count(b"\n")
    store.fold_journals()

    counts = {
        r["run_id"]: r for r in store.query("SELECT run_id, count(*) AS n, max(item_id::INT) + 1 AS last FROM outputs GROUP BY run_id")
    }
    assert set(counts) == set(acknowledged)
    for turn, told in acknowledged.items():
        # One row may be written and not yet acknowledged; no number is missing in between.
        assert told <= counts[turn]["n"] <= told + 1
        assert counts[turn]["n"] == counts[turn]["last"]
    assert sum(acknowledged.values()) > 1000
    assert [p for p in store.journal_folder.iterdir() if p.suffix != ".torn"] == []


def test_folding_twice_counts_nothing_twice(tmp_path: Path) -> None:
    """A process that dies between insert and removal leaves a file whose rows are in the store already."""
    store = Store(tmp_path / "s.duckdb")
    journal = Journal(store, "run")
    for item in range(5):
        journal.append("outputs", row(item))
    (file,) = store.journal_folder.iterdir()
    copy = file.read_bytes()
    journal.close()
    file.with_name("left.jsonl").write_bytes(copy)
    assert store.fold_journals() == 5
    assert stored(store) == ["0", "1", "2", "3", "4"]
    assert store.fold_journals() == 0


def checked(*items: str) -> list[Columns]:
    """Rows of a table that has no index."""
    return [columns("check_results", len(items), {"item_id": list(items)}, {"run_id": "r", "system": "s", "trial": 0, "check": "c"})]


class StoppedOnce(Store):
    """A store whose first append is interrupted when all is written, as Ctrl-C may do."""

    stopped = False

    def append_columns(self, found: Iterable[Columns], *, new: Collection[str] = (), fresh: Iterable[Columns] = ()) -> None:
        super().append_columns(found, new=new, fresh=fresh)
        if not self.stopped:
            self.stopped = True
            raise KeyboardInterrupt


def test_an_interrupt_at_the_end_of_a_fold_counts_nothing_twice(tmp_path: Path) -> None:
    """Rows of a table without an index are looked for where the transaction before may have held them."""
    store = StoppedOnce(tmp_path / "s.duckdb")
    journal = Journal(store, "run")
    journal.derive(checked("1", "2"))
    with pytest.raises(KeyboardInterrupt):
        journal.fold()
    journal.derive(checked("3"))
    journal.close()
    assert store.query("SELECT count(*) AS n, count(DISTINCT item_id) AS items FROM check_results") == [{"n": 3, "items": 3}]


def test_who_finds_another_process_folding_waits_for_its_rows(tmp_path: Path) -> None:
    """Two commands after a kill: what the first is putting into the store, the second must not take for unknown."""
    store = Store(tmp_path / "s.duckdb")
    store.append({"runs": [{"run_id": "r"}]})
    with Journal(store, "run") as journal:
        journal.append("outputs", row(1))
        journal.leave()
    code = "import sys; from pathlib import Path; from evalh.store.store import Store; Store(Path(sys.argv[1])).fold_journals()"
    with held(store.path):
        first = subprocess.Popen([sys.executable, "-c", code, str(store.path)])
        folder = os.open(store.journal_folder, os.O_RDONLY)
        while first.poll() is None:  # until it has begun
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                break
            fcntl.flock(folder, fcntl.LOCK_UN)
            time.sleep(0.01)
        os.close(folder)
        second = threading.Thread(target=Store(store.path).fold_journals)
        second.start()
        second.join(0.3)
        assert second.is_alive()
    second.join()
    assert stored(store) == ["1"]
    assert first.wait(20) == 0


def test_a_store_that_vanishes_is_missed(tmp_path: Path) -> None:
    """A store that is removed while it is in use is an error: a new one would lack what the old one held, and nobody would know."""
    store = Store(tmp_path / "s.duckdb")
    journal = Journal(store, "run")
    journal.append("outputs", row(1))
    journal.fold()
    store.path.unlink()
    journal.append("outputs", row(2))
    with pytest.raises(StoreError, match="it is gone"):
        journal.fold()
    with pytest.raises(StoreError, match="it is gone"):
        journal.close()
    assert not store.exists()
    assert Store(store.path).fold_journals() == 1


def test_a_cut_off_line_is_set_aside(tmp_path: Path) -> None:
    """Half a last line, or a block of zeros, is kept as `.torn` and said; every other row goes in."""
    told: list[str] = []
    store = Store(tmp_path / "s.duckdb", notice=told.append)
    journal = Journal(store, "run")
    journal.append("outputs", row(1))
    journal.append("outputs", row(2))
    (file,) = store.journal_folder.iterdir()
    whole = file.read_bytes()
    journal.close()
    (store.journal_folder / "half.jsonl").write_bytes(whole.replace(b'"1"', b'"3"') + b'["outputs",{"run_id":"r","ite')
    (store.journal_folder / "zeros.jsonl").write_bytes(b"\0" * 64 + b"\n" + whole.replace(b'"1"', b'"4"').rstrip(b"\n"))

    store.fold_journals()
    assert stored(store) == ["1", "2", "3", "4"]
    assert (store.journal_folder / "half.jsonl.torn").read_bytes() == b'["outputs",{"run_id":"r","ite\n'
    assert [t for t in told if "half.jsonl: 1 line cut off" in t and "half.jsonl.torn" in t]
    assert len(told) == 2
    assert not (store.journal_folder / "half.jsonl").exists()


def test_the_journal_of_a_live_process_is_left_alone(tmp_path: Path) -> None:
    """`fold_journals` takes only what nobody holds any more."""
    store = Store(tmp_path / "s.duckdb")
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            WRITER.replace("journal.close()", "time.sleep(60)").replace("journal.fold()", "pass"),
            str(store.path),
            "r",
            "3",
        ],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(3)] == [b"0\n", b"1\n", b"2\n"]
        own = Journal(store, "own")
        own.append("outputs", row("mine"))
        assert store.fold_journals() == 0
        process.kill()
    assert store.fold_journals() == 3
    assert stored(store) == ["0", "1", "2"]
    own.close()
    assert stored(store) == ["0", "1", "2", "mine"]


def test_a_busy_store_keeps_the_rows_in_the_journal(tmp_path: Path) -> None:
    """While another process holds the store, `fold` raises StoreBusy, writing goes on, and nothing is lost."""
    told: list[str] = []
    store = Store(tmp_path / "s.duckdb", wait_s=0.2, notice=told.append)
    store.append({"runs": [{"run_id": "r"}]})
    journal = Journal(store, "run")
    with held(store.path):
        journal.append("outputs", row(1))
        with pytest.raises(StoreBusy):
            journal.fold()
        journal.append("outputs", row(2))
        assert journal.waiting == 2
        journal.close()
    assert any("2 rows wait in" in line for line in told)
    assert store.fold_journals() == 2
    assert stored(store) == ["1", "2"]


def test_folding_does_not_hold_up_writing(tmp_path: Path) -> None:
    """Rows are taken while another thread waits for the store."""
    store = Store(tmp_path / "s.duckdb", wait_s=10)
    store.append({"runs": [{"run_id": "r"}]})
    with Journal(store, "run") as journal:
        journal.append("outputs", row("before"))
        with held(store.path):
            folding = threading.Thread(target=journal.fold)
            folding.start()
            time.sleep(0.1)
            start = time.perf_counter()
            for item in range(100):
                journal.append("outputs", row(item))
            assert time.perf_counter() - start < 1
            assert folding.is_alive()
        folding.join()
        assert stored(store) == ["before"]
    assert len(stored(store)) == 101


def test_many_threads_write_whole_lines(tmp_path: Path) -> None:
    """Lines of several threads never mix, while others fold."""
    store = Store(tmp_path / "s.duckdb")
    with Journal(store, "run") as journal:

        def write(number: int) -> None:
            for item in range(200):
                journal.append("outputs", row(f"{number}-{item}", output="x" * 2000))
                if item % 100 == 50:
                    journal.fold()

        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(stored(store))) == 800


def test_a_full_disk_keeps_the_journal_readable(tmp_path: Path) -> None:
    """A row that the disk does not take is a StoreError; the rows before it and those after there is room again are kept."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from evalh.store.store import Store; from evalh.store.journal import Journal; from evalh.errors import StoreError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "journal = Journal(Store(Path(sys.argv[1])), 'run')\n"
        "row = lambda i: {'run_id': 'r', 'item_id': str(i), 'system': 's', 'trial': 0, 'output': 'x' * 1000}\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2500, resource.RLIM_INFINITY))\n"
        "for i in range(3):\n"
        "    try: journal.append('outputs', row(i))\n"
        "    except StoreError as error: print(i, error)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "journal.append('outputs', row('after')); journal.close()\n"
    )
    store = Store(tmp_path / "s.duckdb")
    done = subprocess.run([sys.executable, "-c", code, str(store.path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("2 ")
    assert "the journal cannot be written" in done.stdout
    assert stored(store) == ["0", "1", "after"]


def test_a_journal_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Where the folder cannot be written the first row says so, with the path."""
    (tmp_path / "file").touch()
    journal = Journal(Store(tmp_path / "file" / "s.duckdb"), "run")
    with pytest.raises(StoreError, match="file: cannot be written"):
        journal.append("outputs", row(1))
    journal.close()


def test_lines_are_plain_json(tmp_path: Path) -> None:
    """A journal can be read by eye: table and row, one line each, line breaks of the text escaped."""
    store = Store(tmp_path / "s.duckdb")
    with Journal(store, "run") as journal:
        journal.append("outputs", row(1, output="a\nb\u2028c"))
        (file,) = store.journal_folder.iterdir()
        assert json.loads(file.read_text()) == [
            "outputs",
            {"run_id": "r", "item_id": "1", "system": "s", "trial": 0, "output": "a\nb\u2028c"},
        ]

"""What the harnesses that break things share: a project, a model server, `evalh` as processes, and tables to compare."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from crash_server import Entry, key_of

HERE = Path(__file__).resolve().parent
TOO_LONG_S = 120.0  # for one command: a run that takes longer hangs
IN_FLIGHT = 8

# What must be the same in two stores. Left out: what names the run, and what the clock decides.
TABLES = (
    "scores", "verdicts", "check_results", "outputs", "label_tasks", "judges", "systems", "items", "golden_sets", "provider_calls",
)  # fmt: skip
OWN = frozenset({"run_id", "verdict_id", "task_id", "at", "first_seen", "latency_ms", "requests"})


class Done(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class LoggingServer:
    """`crash_server.py` in a process of its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def api(self) -> str:
        return f"{self.url}/v1"

    def log(self, start: int = 0) -> list[Entry]:
        return [Entry(*entry) for entry in self._get(f"/log?from={start}")]

    def set(self, **settings: float) -> None:
        self._get("/settings", json.dumps(settings).encode())

    def _get(self, path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(self.url + path, body, timeout=20) as reply:
            return json.load(reply)


@contextmanager
def logging_server(latency_ms: float) -> Iterator[LoggingServer]:
    command = [sys.executable, str(HERE / "crash_server.py"), f"--latency-ms={latency_ms}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield LoggingServer(process.stdout.readline().strip())
        finally:
            process.kill()


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="evalh-crash-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_project(
    root: Path, urls: Sequence[str], *, items: int, name: str = "crash", timeout_s: float = 10.0, labels: int = 10, model: bool = True
) -> Path:
    """A suite whose judges, one a URL, answer over HTTP, and whose system is a model too (else recorded); its file."""
    root.mkdir(parents=True, exist_ok=True)
    golden = root / "golden" / name
    golden.mkdir(parents=True)
    families = "".join(f'[families.family-{n}]\nvendor = "Vendor {n}"\n' for n in range(len(urls)))
    (root / "evalh.toml").write_text(
        f'in_flight = {IN_FLIGHT}\n[providers.openai]\nin_flight = {IN_FLIGHT}\n[families.writers]\nvendor = "Writers"\n{families}'
    )
    (golden / "golden.toml").write_text(
        f'name = "{name}"\nversion = "1"\nlicence = "Apache-2.0"\n'
        '[slices.public]\npublished_at = "never"\n[slices.fresh]\npublished_at = "never"\n'
    )
    lines = [
        {"item_id": f"{name}-{n:04}", "input": f"{name}: how long may I keep article {n}?", "slice": "fresh" if n % 2 else "public"}
        for n in range(items)
    ]
    _write_lines(golden / "items.jsonl", lines)
    outputs = [
        {"item_id": line["item_id"], "system": "writer", "output": f"Keep article {n} for {n % 90} days."} for n, line in enumerate(lines)
    ]
    _write_lines(golden / "outputs.jsonl", outputs)
    system = f'model: "openai:writer", base_url: "{urls[0]}", timeout_s: {timeout_s}' if model else f"recorded: golden/{name}/outputs.jsonl"
    judges = "\n".join(
        f'    - {{model: "openai:judge-{n}", base_url: "{url}", family: family-{n}, timeout_s: {timeout_s}}}' for n, url in enumerate(urls)
    )
    suite = root / f"{name}.yaml"
    suite.write_text(
        f"name: {name}\ngolden: golden/{name}\nsystem: {{{system}, family: writers}}\n"
        "checks:\n  - {max-chars: 100000}\n  - {regex: '[02468] days', name: even, blocking: false}\n  - {not-contains: 1 days}\n"
        f"panel:\n  judges:\n{judges}\n  rubric: {{name: faithful, scale: binary, instructions: Judge by the policy.}}\n  rule: mean\n"
        f"sampling: {{labels: {labels}, strategy: stratified}}\ngate: {{minimum: 0.5}}\n"
    )
    return suite


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


class Evalh:
    """`evalh ARGS` as processes of their own in one project, on one store."""

    def __init__(self, folder: Path, store: Path, *, prefix: Sequence[str] = (), without_override: bool = False) -> None:
        self.folder, self.store, self.prefix, self.without_override = folder, store, list(prefix), without_override

    def start(self, *args: str | Path, store: Path | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "evalh", *map(str, args), "--store", str(store or self.store)],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_drop_override if self.without_override else None,  # noqa: PLW1509 — no threads where it is set
        )

    def __call__(self, *args: str | Path, store: Path | None = None) -> Done:
        return wait(self.start(*args, store=store))

    def sql(self, query: str, store: Path | None = None) -> list[dict[str, Any]]:
        """What `evalh sql` finds. RuntimeError with what it said where it fails: the store must open every time."""
        done = self("sql", query, "--json", store=store)
        if done.code:
            raise RuntimeError(f"evalh sql: exit {done.code}: {done.err.strip()}")
        rows: list[dict[str, Any]] = done.json
        return rows

    @property
    def journal(self) -> Path:
        return self.store.with_name(self.store.name + ".journal")


def wait(process: subprocess.Popen[str], timeout_s: float = TOO_LONG_S) -> Done:
    """The end of a process; one that hangs is killed and comes back with code -9 and `hangs` in its words."""
    start = time.monotonic()
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        err += f"\n(harness) hangs: killed after {timeout_s:g} s"
    return Done(process.returncode, out, err, time.monotonic() - start)


def kill(process: subprocess.Popen[str]) -> int:
    """`kill -9` of the process alone; how many of its children outlive it by a second (they are ended then)."""
    process.kill()
    process.communicate()
    for _ in range(20):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 0)
            time.sleep(0.05)
            continue
        return 0
    os.killpg(process.pid, signal.SIGKILL)
    return 1


def _drop_override() -> None:
    """Without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH root meets the permissions of files as everybody does."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in (1, 2):
            libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def tables_of(evalh: Evalh, suite: str = "crash") -> dict[str, list[str]]:
    """The rows of the first run of a suite that decide everything, without what names the run or came from the clock; sorted JSON."""
    run = f"(SELECT run_id FROM runs WHERE suite = '{suite}' ORDER BY started_at LIMIT 1)"
    every = []
    for table in TABLES:
        golden = f" WHERE t.golden = '{suite}'" if table in ("items", "golden_sets") else f" WHERE t.run_id = {run}"
        every.append(f"SELECT '{table}' AS \"table\", to_json(t)::VARCHAR AS row FROM {table} t{golden}")
    found: dict[str, list[str]] = {table: [] for table in TABLES}
    for each in evalh.sql(" UNION ALL ".join(every)):
        row = {name: value for name, value in json.loads(each["row"]).items() if name not in OWN}
        found[each["table"]].append(json.dumps(row, sort_keys=True))
    return {table: sorted(rows) for table, rows in found.items()}


def differences(wanted: dict[str, list[str]], found: dict[str, list[str]]) -> list[str]:
    """What two stores differ in, a line a table, with the first row that only one of them has."""
    said = []
    for table, rows in wanted.items():
        missing, more = Counter(rows) - Counter(found[table]), Counter(found[table]) - Counter(rows)
        if missing or more:
            first = next(iter(missing), None) or next(iter(more))
            said.append(f"{table}: {missing.total()} rows missing, {more.total()} too many, as {first[:400]}")
    return said


def apart(wanted: dict[str, list[str]], evalh: Evalh, suite: str = "crash") -> list[str]:
    """What the tables of a suite's first run differ in from those of an undisturbed one; or why they cannot be read."""
    try:
        return differences(wanted, tables_of(evalh, suite))
    except RuntimeError as error:
        return [str(error)]


def on_disk(evalh: Evalh, store: Path) -> tuple[Counter[str], bool]:
    """The questions whose replies are in a store, with how many replies each has; and whether its run has finished."""
    rows = evalh.sql(
        "SELECT model, messages::VARCHAR AS messages FROM provider_calls"
        " UNION ALL SELECT NULL, event FROM run_events WHERE event = 'finished'",
        store,
    )
    replies = Counter(key_of(row["model"], json.loads(row["messages"])) for row in rows if row["model"] is not None)
    return replies, any(row["model"] is None for row in rows)


def copied(evalh: Evalh, to: Path) -> Path:
    """The store as it lies there, with its write-ahead log and its journal, copied; its new place."""
    to.mkdir(parents=True)
    store = to / evalh.store.name
    for path in evalh.store.parent.glob(evalh.store.name + "*"):
        target = to / path.name
        shutil.copytree(path, target) if path.is_dir() else shutil.copy(path, target)
        target.chmod(0o700)  # of a folder that was locked, the copy is not
    return store


def until(
    condition: Callable[[], Any], process: subprocess.Popen[str] | None = None, *, limit_s: float = 60.0, pause_s: float = 0.002
) -> bool:
    """Wait for a condition. False where the process ended, or the time was up, first."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if condition():
            return True
        if process is not None and process.poll() is not None:
            return False
        time.sleep(pause_s)
    return False


def report(document: dict[str, Any], rows: Sequence[dict[str, Any]], as_json: bool) -> int:
    """Print a table, or the document; 1 where it has failures."""
    if as_json:
        print(json.dumps({**document, "rows": list(rows)}, indent=2))
    elif rows:
        names = list(dict.fromkeys(name for row in rows for name in row))
        width = [max(len(name), *(len(str(row.get(name, ""))) for row in rows)) for name in names]
        for line in [dict(zip(names, names, strict=True)), *rows]:
            print("  ".join(str(line.get(name, "")).ljust(size) for name, size in zip(names, width, strict=True)))
        for name, value in document.items():
            if name != "failures":
                print(f"{name}: {value}")
    for failure in document["failures"] if not as_json else ():
        print(f"FAILED: {failure}")
    return 1 if document["failures"] else 0

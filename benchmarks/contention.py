"""One store, many processes: labels by the thousand, readers, and suites, all at once; no error reaches anybody.

    python benchmarks/contention.py [--labels 2000] [--items 200] [--part labels|suites|same …] [--json]

- `labels`: threads of several processes add one label at a time (`evalh.labels.add`), while `evalh sql` and `evalh report`
  read in a loop and a suite runs. Every label is in the store once, every command ends with exit 0, and the run's tables equal
  those of a run that was alone.
- `suites`: two suites start at once on a store that is not there yet; both finish, with the tables that each has alone.
- `same`: one suite twice, the second time after the first has begun (also where that was with `--no-resume`), and both at the
  same moment: one comes to its end, the other ends too or says that the first is under way, and no question is asked twice.

Exit 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from crash_support import Done, Evalh, apart, report, scratch, tables_of, until, wait, write_project
from server import Running, serving

WRITERS, THREADS = 4, 8
TASKS = 40
LATENCY_S = 0.1
SLOW_S = 240.0


def write_labels(store_at: str, run_id: str, first: int, count: int, threads: int) -> None:
    """A process of people who label: labels number `first` to `first + count`, one `add` each; what went wrong as JSON lines."""
    from evalh import labels
    from evalh.records import Label
    from evalh.store.store import Store

    store = Store(Path(store_at))
    tasks = store.query("SELECT task_id, item_id, system FROM label_tasks WHERE run_id = ? ORDER BY position", [run_id])

    def one(number: int) -> float:
        task, start = tasks[number % len(tasks)], time.monotonic()
        label = Label(
            item_id=task["item_id"], annotator=f"person-{number // len(tasks):03}", kind="pointwise", systems=(task["system"],),
            score=float(number % 2), aspect="quality",
        )  # fmt: skip
        try:
            labels.add(store, run_id, [label])
        except Exception as error:  # whatever it is, a person would have seen it
            print(json.dumps(f"{type(error).__name__}: {error}"), flush=True)
        return time.monotonic() - start

    with ThreadPoolExecutor(threads) as pool:
        waits = sorted(pool.map(one, range(first, first + count)))
    print(json.dumps({"median": waits[len(waits) // 2], "longest": waits[-1]}))


class Check:
    """What of one part does not hold."""

    def __init__(self, part: str) -> None:
        self.part, self.failures = part, list[str]()

    def hold(self, condition: bool, what: str) -> None:
        if not condition:
            self.failures.append(f"{self.part}: {what}")

    def ended(self, done: Done, what: str, codes: tuple[int, ...] = (0,)) -> None:
        self.hold(done.code in codes, f"{what}: exit {done.code}: {done.err.strip()[-300:]}")
        self.hold("Traceback" not in done.err and "internal error" not in done.err, f"{what}: a traceback: {done.err.strip()[-300:]}")


def alone(folder: Path, suites: dict[str, Path]) -> dict[str, dict[str, list[str]]]:
    """The tables of each suite, run in a store of its own."""
    evalhs = {name: Evalh(suite.parent, folder / f"alone-{name}" / "s.duckdb") for name, suite in suites.items()}
    started = {name: evalhs[name].start("run", suite) for name, suite in suites.items()}
    for name, process in started.items():
        done = wait(process)
        if done.code:
            raise SystemExit(f"{name} alone ends with exit {done.code}: {done.err}")
    return {name: tables_of(evalh, name) for name, evalh in evalhs.items()}


def labels(folder: Path, server: Running, count: int, items: int) -> tuple[dict[str, Any], list[str]]:
    """Writers of labels, readers and a running suite on one store."""
    check, project = Check("labels"), folder / "labels"
    api = f"{server.url}/v1"
    tasks = write_project(project, [api, api], items=TASKS, name="people", labels=TASKS, model=False)
    busy = write_project(project / "busy", [api, api], items=items, name="busy", model=False)
    wanted = alone(folder, {"busy": busy})["busy"]
    evalh = Evalh(project, project / ".evalh" / "s.duckdb")
    check.ended(evalh("run", tasks), "the suite that people label")
    run_id = evalh.sql("SELECT run_id FROM runs")[0]["run_id"]
    start, share = time.monotonic(), count // WRITERS
    here = str(Path(__file__).resolve())
    writers = [
        subprocess.Popen(
            [sys.executable, here, "--write", str(evalh.store), run_id, str(n * share), str(share), str(THREADS)],
            cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for n in range(WRITERS)
    ]  # fmt: skip
    running = Evalh(busy.parent, evalh.store).start("run", busy)
    reads, read_s = 0, 0.0
    while any(writer.poll() is None for writer in writers) and time.monotonic() - start < SLOW_S:
        for args in (("sql", "SELECT count(*) AS n FROM labels", "--json"), ("report", run_id)):
            done = evalh(*args)
            check.ended(done, f"evalh {args[0]}")
            reads, read_s = reads + 1, max(read_s, done.seconds)
    took = time.monotonic() - start
    longest = 0.0
    for writer in writers:
        done = wait(writer, SLOW_S)
        check.ended(done, "a process of labellers")
        *said, waits = [json.loads(line) for line in done.out.splitlines()] or ["nothing was said", {"longest": 0.0}]
        longest = max(longest, waits["longest"] if isinstance(waits, dict) else 0.0)
        check.hold(not said, f"{len(said)} labels were refused, as {said[:1]}")
    check.ended(wait(running, SLOW_S), "the suite beside them")
    rows = evalh.sql("SELECT annotator, count(*) AS n, count(DISTINCT item_id) AS items FROM labels GROUP BY annotator")
    stored = sum(row["n"] for row in rows)
    check.hold(stored == share * WRITERS, f"{stored} labels are in the store; {share * WRITERS} were added")
    check.hold(all(row["n"] == row["items"] for row in rows), "a label is in the store twice")
    unknown = evalh.sql("SELECT count(*) AS n FROM labels WHERE task_id IS NULL OR inclusion_probability IS NULL")[0]["n"]
    check.hold(unknown == 0, f"{unknown} labels do not know their task and its probability")
    unequal = apart(wanted, evalh, "busy")
    check.failures += [f"labels: {one}" for one in unequal]
    row = {
        "part": "labels", "seconds": round(took, 1), "labels": stored, "slowest label s": round(longest, 2), "reads": reads,
        "slowest read s": round(read_s, 2), "equal": not unequal,
    }  # fmt: skip
    return row, check.failures


def suites(folder: Path, server: Running, _count: int, items: int) -> tuple[dict[str, Any], list[str]]:
    """Two suites at once on a store that is not there yet."""
    check, project, api = Check("suites"), folder / "suites", f"{server.url}/v1"
    found = {name: write_project(project / name, [api, api], items=items, name=name) for name in ("left", "right")}
    wanted = alone(folder, found)
    store, start = project / "shared" / "s.duckdb", time.monotonic()
    evalhs = {name: Evalh(suite.parent, store) for name, suite in found.items()}
    started = {name: evalhs[name].start("run", found[name]) for name in found}
    unequal = []
    for name, process in started.items():
        check.ended(wait(process), name)
    took = time.monotonic() - start
    for name in found:
        unequal += apart(wanted[name], evalhs[name], name)
    check.failures += [f"suites: {one}" for one in unequal]
    return {"part": "suites", "seconds": round(took, 1), "equal": not unequal}, check.failures


def same(folder: Path, server: Running, _count: int, items: int) -> tuple[dict[str, Any], list[str]]:
    """One suite twice: one run of it, the other command is told; or both end, and no question is asked twice."""
    check, codes, equal, start = Check("same"), [], True, time.monotonic()
    for when in ("later", "later, no resume", "at once"):
        # another latency on another port is another identity of every call: each case has questions of its own
        with serving(f"--latency={LATENCY_S}") as own:
            project, api = folder / f"same-{len(codes)}", f"{own.url}/v1"
            suite = write_project(project, [api, api], items=items)
            evalh = Evalh(project, project / "shared" / "s.duckdb")
            first = evalh.start("run", suite, *(["--no-resume"] if "no resume" in when else []))
            if when != "at once":
                until(lambda own=own: own.stats()["requests"] > 0, first, pause_s=0.02)
            second = evalh.start("run", suite)
            ends = [wait(second), wait(first)]
            repeated = own.stats()["repeated_bodies"]
            wanted = alone(project, {"crash": suite})["crash"]
        codes.append("/".join(str(done.code) for done in ends))
        for done in ends:
            check.ended(done, when, (0, 2))
            if done.code == 2:
                check.hold("under way in another process" in done.err, f"{when}: it does not say why: {done.err.strip()[-300:]}")
        check.hold(any(done.code == 0 for done in ends), f"{when}: neither came to its end")
        if when != "at once":
            check.hold(ends[0].code == 2, f"{when}: the second command ends with exit {ends[0].code}; the first is under way")
        check.hold(repeated == 0, f"{when}: {repeated} questions were asked twice")
        unequal = apart(wanted, evalh)
        check.failures += [f"same, {when}: {one}" for one in unequal]
        equal = equal and not unequal
    return {"part": "same", "seconds": round(time.monotonic() - start, 1), "exits": " ".join(codes), "equal": equal}, check.failures


PARTS = {"labels": labels, "suites": suites, "same": same}


def main() -> None:
    if sys.argv[1:2] == ["--write"]:
        store_at, run_id, first, count, threads = sys.argv[2:]
        write_labels(store_at, run_id, int(first), int(count), int(threads))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=2000)
    parser.add_argument("--items", type=int, default=200, help="of each suite that runs beside")
    parser.add_argument("--part", action="append", choices=sorted(PARTS), help="only this (repeatable)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows, failures = [], []
    with scratch() as folder, serving(f"--latency={LATENCY_S}") as server:
        for part in given.part or PARTS:
            row, failed = PARTS[part](folder, server, given.labels, given.items)
            rows.append(row)
            failures += failed
    raise SystemExit(report({"failures": failures}, rows, given.json))


if __name__ == "__main__":
    main()

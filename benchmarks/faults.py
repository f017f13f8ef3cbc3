"""Providers that are slow down, break, drop, garble and stall; and one that dies for good: every item ends, with a reason.

    python benchmarks/faults.py [--items 500] [--seed 1] [--way faults …] [--json]

`evalh run` asks two judges over HTTP (benchmarks/server.py) about recorded outputs.

- `faults`: 5 % 429 with Retry-After, 2 % 500, 1 % dropped connections, 1 % malformed replies, 1 % stalled. Every item ends
  scored or unscored with a reason, none is lost, none is there twice, nothing is asked before its Retry-After, and no request
  is made that no fault made necessary.
- `refused`, `hangs`: in the middle one judge's server closes its port, or accepts and never answers again. The other judge's
  verdicts are complete; those of the dead one say why they are missing; the run does not wait for a time-out per item, and its
  exit code 4 says that a judge is gone. When the server is back, `evalh run --retry-errors` asks for what is missing and for
  nothing else.
- `both`: both servers die. Exit 4; with the servers back the same command comes to its end, and asks nothing again.

Exit 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import re
import signal
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from crash_support import Done, Evalh, report, scratch, until, wait, write_project
from server import Running, serving

RATES = {"429": 0.04, "429-ms": 0.01, "500": 0.02, "drop": 0.01, "malformed-json": 0.004, "malformed-shape": 0.003, "malformed-text": 0.003, "stall": 0.01}  # fmt: skip  # noqa: E501
TIMEOUT_S = 2.0
LATENCY_S = 0.02
DEAD_COSTS_S = 45.0  # what a dead provider may add to a run, however many items it has
CIRCUIT = re.compile("circuit", re.IGNORECASE)
SHARE_AT_ONCE = 0.8  # of the verdicts that are missing, those that failed at once because the circuit was open

VERDICTS = (
    "SELECT judge, status, unscored_reason AS reason, count(*) AS n FROM verdicts v WHERE run_id = (SELECT min(run_id) FROM runs)"
    " GROUP BY ALL"
)
SCORES = (
    "SELECT count(*) AS n, count(DISTINCT item_id) AS items, count(*) FILTER (score IS NULL AND coalesce(why, '') = '') AS unexplained,"
    " count(*) FILTER (score IS NULL) AS unscored FROM scores"
)


class Try:
    """One run in a project of its own, and what of it does not hold."""

    def __init__(self, way: str, folder: Path, urls: list[str], items: int, timeout_s: float = TIMEOUT_S) -> None:
        self.way, self.items, self.failures = way, items, list[str]()
        apis = [f"{url}/v1" for url in urls]
        self.suite = write_project(folder / way, apis, items=items, timeout_s=timeout_s, model=False)
        self.evalh = Evalh(folder / way, folder / way / ".evalh" / "s.duckdb")
        self.blocked = sum("1 days" in f"{n % 90} days" for n in range(items))  # a check keeps these from the judges
        self.wanted = items - self.blocked

    def hold(self, condition: bool, what: str) -> None:
        if not condition:
            self.failures.append(f"{self.way}: {what}")

    def ended(self, done: Done, code: int = 0) -> None:
        self.hold(done.code == code, f"exit {done.code}, not {code}: {done.err.strip()[-400:]}")
        self.hold("Traceback" not in done.err and "internal error" not in done.err, f"a traceback: {done.err.strip()[-400:]}")

    def every_item(self) -> dict[str, Counter[str]]:
        """Every item has one score or a reason, every judge one verdict per item; verdicts by judge and status."""
        scores = self.evalh.sql(SCORES)[0]
        self.hold(scores["n"] == scores["items"] == self.items, f"{scores['n']} scores of {scores['items']} items; there are {self.items}")
        self.hold(scores["unexplained"] == 0, f"{scores['unexplained']} outputs without a score and without a reason")
        found: dict[str, Counter[str]] = {f"openai:judge-{n}": Counter() for n in range(2)}
        for row in self.evalh.sql(VERDICTS):
            found[row["judge"]][row["status"]] += row["n"]
            self.hold(
                row["status"] == "scored" or bool(row["reason"]), f"{row['n']} verdicts of {row['judge']} are unscored without a reason"
            )
            if row["status"] == "unscored" and CIRCUIT.search(row["reason"] or ""):
                found[row["judge"]]["by circuit"] += row["n"]
        twice = self.evalh.sql("SELECT count(*) AS n FROM (SELECT item_id, judge FROM verdicts GROUP BY ALL HAVING count(*) > 1)")[0]["n"]
        self.hold(twice == 0, f"{twice} items have two verdicts of one judge")
        for judge, counts in found.items():
            total = counts["scored"] + counts["unscored"]
            self.hold(total == self.wanted, f"{judge} has {total} verdicts; {self.wanted} outputs passed the checks")
        return found

    def row(self, done: Done, found: dict[str, Counter[str]], requests: int, least: int, **more: Any) -> dict[str, Any]:
        counts = [f"{c['scored']}+{c['unscored']}" for c in found.values()]
        return {
            "way": self.way, "items": self.items, "exit": done.code, "seconds": round(done.seconds, 1), "judge-0": counts[0],
            "judge-1": counts[1], "requests": requests, "least": least, **more,
        }  # fmt: skip


def faults(folder: Path, items: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Transient faults of every kind at once."""
    rates = [f"--rate-{name}={rate}" for name, rate in RATES.items()]
    with serving(f"--latency={LATENCY_S}", f"--seed={seed}", "--retry-after=1", *rates) as server:
        one = Try("faults", folder, [server.url, server.url], items)
        done = one.evalh("run", one.suite)
        stats = server.stats()
    one.ended(done)
    found = one.every_item()
    drawn = sum(stats["faults"].values())
    least = stats["distinct_bodies"] + drawn  # each fault is one more request, as long as its call is not given up
    one.hold(stats["early_retries"] == 0, f"{stats['early_retries']} requests came before their Retry-After had passed")
    one.hold(stats["answered_again"] == 0, f"{stats['answered_again']} questions were asked again that had been answered well")
    one.hold(stats["requests"] <= least, f"{stats['requests']} requests where {least} would do")
    one.hold(drawn > items / 20, f"only {drawn} faults were drawn: the harness proves nothing")
    return one.row(done, found, stats["requests"], least, faults=drawn, early=stats["early_retries"]), one.failures


def dies(way: str, folder: Path, items: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """One of two providers dies in the middle and comes back after the run."""
    with ExitStack() as stack:
        first = stack.enter_context(serving(f"--latency={LATENCY_S}", f"--seed={seed}"))
        die = [f"--die-after={items // 3}"] if way == "refused" else []
        second = stack.enter_context(serving(f"--latency={LATENCY_S}", f"--seed={seed}", *die))
        one = Try(way, folder, [first.url, second.url], items, timeout_s=1.0)
        process = one.evalh.start("run", one.suite)
        start = time.monotonic()
        if way == "hangs":
            until(lambda: second.stats()["requests"] >= items // 3, process, pause_s=0.05)
            second.process.send_signal(signal.SIGSTOP)
        done = wait(process, 300)._replace(seconds=time.monotonic() - start)
        second.process.send_signal(signal.SIGCONT)
        one.ended(done, 4)
        one.hold("--retry-errors" in done.err, f"it does not say how to go on: {done.err.strip()[-300:]}")
        one.hold(done.seconds <= DEAD_COSTS_S, f"{done.seconds:.0f} s with a dead provider; at most {DEAD_COSTS_S:g} s, however many items")
        found = one.every_item()
        alive, dead = found.values()
        one.hold(alive["unscored"] == 0, f"{alive['unscored']} verdicts of the judge that lives are unscored")
        one.hold(dead["unscored"] > items // 3, "the harness killed a judge that had answered everything")
        at_once = dead["by circuit"] / max(1, dead["unscored"])
        one.hold(at_once >= SHARE_AT_ONCE, f"of the missing verdicts {at_once:.0%} name the circuit")
        requests = first.stats()["requests"] + (second.stats() if way == "hangs" else second.stop())["requests"]
        asked_again = _retry(one, first, second, dead["unscored"])
    return one.row(done, found, requests, 2 * one.wanted - dead["unscored"], circuit=dead["by circuit"], retried=asked_again), one.failures


def _retry(one: Try, first: Running, second: Running, missing: int) -> str:
    """`--retry-errors` with the server back: asks for what is missing, and for nothing else."""
    before = [first.stats()["requests"], 0 if second.process.returncode is not None else second.stats()["requests"]]
    port = second.url.rpartition(":")[2]
    with ExitStack() as stack:
        back = second if second.process.returncode is None else stack.enter_context(serving(f"--latency={LATENCY_S}", f"--port={port}"))
        one.ended(one.evalh("run", one.suite, "--retry-errors"))
        after = [first.stats()["requests"], back.stats()["requests"]]
    one.hold(after[0] == before[0], f"--retry-errors asked the judge that lives {after[0] - before[0]} times")
    one.hold(after[1] - before[1] == missing, f"--retry-errors made {after[1] - before[1]} requests for {missing} missing verdicts")
    latest = one.evalh.sql(
        "SELECT count(*) AS n, count(*) FILTER (score IS NULL) AS unscored FROM scores"
        " WHERE run_id = (SELECT max_by(run_id, started_at) FROM runs)"
    )[0]
    one.hold(latest["n"] == one.items and latest["unscored"] == 0, f"after --retry-errors: {latest}")
    return str(after[1] - before[1])


def both(folder: Path, items: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Every provider dies: the run stops, and goes on when they are back."""
    options = [f"--latency={LATENCY_S}", f"--seed={seed}"]
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(*options, f"--die-after={items // 3}")) for _ in range(2)]
        one = Try("both", folder, [server.url for server in servers], items, timeout_s=1.0)
        done = one.evalh("run", one.suite)
        stats = [server.stop() for server in servers]
        one.ended(done, 4)
        one.hold("repeat the command" in done.err, f"it does not say how to go on: {done.err.strip()[-300:]}")
        one.hold(done.seconds <= DEAD_COSTS_S, f"{done.seconds:.0f} s with dead providers")
        stored = one.evalh.sql("SELECT count(*) AS n FROM provider_calls")[0]["n"]
        again = [stack.enter_context(serving(*options, f"--port={server.url.rpartition(':')[2]}")) for server in servers]
        second = one.evalh("run", one.suite)
        one.ended(second)
        requests = sum(server.stats()["requests"] for server in again)
        found = one.every_item()
        one.hold(requests == 2 * one.wanted - stored, f"{requests} requests for {2 * one.wanted - stored} missing replies")
        one.hold(all(c["unscored"] == 0 for c in found.values()), "verdicts are missing though the servers were back")
    return one.row(done, found, sum(s["requests"] for s in stats) + requests, 2 * one.wanted, stored=stored), one.failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--way", action="append", choices=["faults", "refused", "hangs", "both"], help="only this (repeatable)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows, failures = [], []
    with scratch() as folder:
        for way in given.way or ["faults", "refused", "hangs", "both"]:
            if way == "faults":
                row, failed = faults(folder, given.items, given.seed)
            elif way == "both":
                row, failed = both(folder, given.items, given.seed)
            else:
                row, failed = dies(way, folder, given.items, given.seed)
            rows.append(row)
            failures += failed
    raise SystemExit(report({"seed": given.seed, "failures": failures}, rows, given.json))


if __name__ == "__main__":
    main()

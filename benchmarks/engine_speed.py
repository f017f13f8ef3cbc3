"""The speed of the engine: judge-bound, warm, tier 1 alone, start-up; beside bare programs in the same run.

    python benchmarks/engine_speed.py judge-bound|warm|tier1|startup|all [--items N] [--rounds K] [--json] [--check]
    python benchmarks/engine_speed.py judge-bound --items 500 --inspect-python VENV/bin/python --promptfoo node_modules/.bin/promptfoo

Each contestant is a process of its own. CPU is that of the process and its children, peak is the most memory they held together,
requests are those that the server counted, and every contestant's results are compared with what is known of the material. Rounds
are interleaved; ratios are taken within a round, and the median over rounds is shown. `--check` ends with code 1 where a target is
missed, and a wrong count always does. More in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from engine import peers
from engine.contestants import EVALH, evalh_run, program, row, write_request, write_rules
from engine.material import Known, write_project
from engine.measure import Bench, Failed, bench, rounds
from engine.tables import Target, document, middle, ratio, table
from server import Running

JUDGE_SERVER = Path(__file__).parent / "engine" / "judge_server.py"
FLAT = 1.25  # peak of a run over five times the items; memory that grows with the items would come near 5
EMPTY_SESSION = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
NO_TESTS = 5  # pytest's exit code
Options = argparse.Namespace
Documents = list[dict[str, Any]]
Contestants = dict[str, Callable[[], dict[str, Any]]]


@contextmanager
def judge_server(latency: float) -> Iterator[Running]:
    """The judge in a process of its own."""
    process = subprocess.Popen([sys.executable, str(JUDGE_SERVER), "--latency", str(latency)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    server = Running(process, process.stdout.readline().strip())
    try:
        yield server
    finally:
        server.stop()


def counted(server: Running, run: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """The same run, with the requests that the server got meanwhile."""

    def with_requests() -> dict[str, Any]:
        before = server.stats()["requests"]
        found = run()
        return found | {"requests": server.stats()["requests"] - before}

    return with_requests


def judge_bound(options: Options, at: Bench) -> Documents:
    """Every item has three checks and one judge call: evalh beside the official client, aiohttp and, where named, other harnesses."""
    items = options.items or 2000
    with judge_server(options.latency) as server:
        contestants, size = _judged(options, at, server, items)
        found = rounds(contestants, options.rounds)
    targets = [
        Target("CPU of evalh, × the official client", ratio(found, "evalh run", "openai client", "cpu_s"), 1.6),
        Target("wall of evalh, × the official client", ratio(found, "evalh run", "openai client", "wall_s"), 1.3),
        Target("peak memory of evalh, MB", middle(found, "evalh run", "peak_mb"), 200),
        *(Target(f"CPU of evalh, × {n}", ratio(found, "evalh run", n, "cpu_s"), most) for n, most in peers.TARGETS if n in contestants),
    ]
    settings = {"items": items, "in_flight": options.in_flight, "latency_s": options.latency, "request_bytes": size}
    return [document("judge-bound", settings, found, targets, "openai client", items)]


def _judged(options: Options, at: Bench, server: Running, items: int) -> tuple[Contestants, int]:
    """The contestants of the judge-bound benchmark, all warmed up, and the bytes of a request."""
    project, small = at.folder / "project", at.folder / "small"
    known = write_project(project, items, url=server.url, in_flight=options.in_flight)
    few = write_project(small, 4, url=server.url, in_flight=options.in_flight)
    write_rules(project)
    size = write_request(at, project)  # which warms evalh up

    def others(folder: Path, known: Known) -> Contestants:
        return {
            "openai client": lambda: program(at, folder, "bare_openai", known, server.url, options.in_flight),
            "aiohttp": lambda: program(at, folder, "floor_aiohttp", known, server.url, options.in_flight),
            **peers.found(options, at, folder, known, server.url),
        }

    for name in ("rules.json", "request.json"):
        shutil.copy(project / name, small)
    rounds(others(small, few), 1)
    evalh: Contestants = {"evalh run": lambda: evalh_run(at, project, "judged.yaml", known, _fresh_store(project))}
    return {name: counted(server, run) for name, run in (evalh | others(project, known)).items()}, size


def _fresh_store(project: Path) -> Path:
    shutil.rmtree(project / "store", ignore_errors=True)
    (project / "store").mkdir()
    return project / "store" / "evalh.duckdb"


def warm(options: Options, at: Bench) -> Documents:
    """The judge-bound command again on the same store: every answer is in the ledger. Each round starts from the same store."""
    items, project, kept = options.items or 2000, at.folder / "project", at.folder / "kept"
    with judge_server(options.latency) as server:
        known = write_project(project, items, url=server.url, in_flight=options.in_flight)

        def first() -> dict[str, Any]:
            return evalh_run(at, project, "judged.yaml", known, _fresh_store(project))

        def again() -> dict[str, Any]:
            shutil.rmtree(project / "store")
            shutil.copytree(kept, project / "store")
            return evalh_run(at, project, "judged.yaml", known, project / "store" / "evalh.duckdb")

        first()
        shutil.copytree(project / "store", kept)
        found = rounds({"first run": counted(server, first), "the same again": counted(server, again)}, options.rounds)
    targets = [
        Target("requests of a warm run", max(turn["the same again"]["requests"] for turn in found), 0),
        Target("CPU seconds of a warm run", middle(found, "the same again", "cpu_s"), 2.0),
    ]
    settings = {"items": items, "in_flight": options.in_flight}
    return [document("warm", settings, found, targets, "first run", items)]


def tier1(options: Options, at: Bench) -> Documents:
    """Three checks on every output, from the files to stored rows; no judge."""
    items, small = options.items or 200_000, at.folder / "small"
    write_project(small, 4)
    at.measure([*EVALH, "run", "checked.yaml", "--json", "--store", small / "store.duckdb"], cwd=small)  # warms up
    documents = [_tier1(options, at, items, options.rounds)]
    if options.million:
        more = _tier1(options, at, 5 * items, 1)
        peaks = [told["contestants"][0]["peak_mb"] for told in (documents[0], more)]
        flat = Target("peak memory at five times the items, × that at one time", peaks[1] / peaks[0], FLAT)
        documents.append(more | {"targets": [{**flat._asdict(), "held": flat.held}]})
    return documents


def _tier1(options: Options, at: Bench, items: int, n: int) -> dict[str, Any]:
    project = at.folder / f"checked-{items}"
    known = write_project(project, items)._replace(judge=0)
    write_rules(project)
    contestants: Contestants = {
        "evalh run": lambda: evalh_run(at, project, "checked.yaml", known, _fresh_store(project)),
        "checks alone": lambda: program(at, project, "floor_checks", known),
    }
    found = rounds(contestants, n)
    shutil.rmtree(project)
    targets = [
        Target("CPU seconds of evalh", middle(found, "evalh run", "cpu_s"), 12 * items / 200_000),
        Target("peak memory of evalh, MB", middle(found, "evalh run", "peak_mb"), 600),
    ]
    return document("tier 1", {"items": items, "checks": 3}, found, targets, "checks alone", items)


def startup(options: Options, at: Bench) -> Documents:
    """What a user waits for before anything is done."""
    empty = at.folder / "empty"
    empty.mkdir()
    commands: dict[str, tuple[Any, ...]] = {
        "python -c pass": ("-c", "pass"),
        "evalh --version": ("-m", "evalh", "--version"),
        "evalh --help": ("-m", "evalh", "--help"),
        "pytest, no test, without evalh": (*EMPTY_SESSION, "-p", "no:evalh"),
        "pytest, no test, with evalh": EMPTY_SESSION,
    }

    def runs(command: tuple[Any, ...]) -> Callable[[], dict[str, Any]]:
        codes = (NO_TESTS,) if "pytest" in command else (0,)
        return lambda: row(at.measure([sys.executable, *command], cwd=empty, codes=codes))

    contestants = {name: runs(command) for name, command in commands.items()}
    rounds(contestants, 1)
    found = rounds(contestants, 2 * options.rounds)
    plugin = [turn["pytest, no test, with evalh"]["cpu_s"] - turn["pytest, no test, without evalh"]["cpu_s"] for turn in found]
    targets = [
        Target("CPU seconds of evalh --help", middle(found, "evalh --help", "cpu_s"), 0.25),
        Target("CPU seconds that the plugin adds to an empty pytest session", median(plugin), 0.1),
    ]
    return [document("start-up", {}, found, targets, "python -c pass")]


BENCHMARKS: dict[str, Callable[[Options, Bench], Documents]] = {
    "judge-bound": judge_bound,
    "warm": warm,
    "tier1": tier1,
    "startup": startup,
}


def arguments() -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=[*BENCHMARKS, "all"])
    parser.add_argument("--items", type=int, help="judge-bound and warm: 2,000; tier1: 200,000")
    parser.add_argument("--rounds", type=int, default=5, help="of each benchmark; start-up takes twice as many")
    parser.add_argument("--in-flight", type=int, default=64, help="calls at one time")
    parser.add_argument("--latency", type=float, default=0.05, help="of the judge, in seconds")
    parser.add_argument("--million", action="store_true", help="tier1: also five times the items, once: memory must be flat")
    parser.add_argument("--inspect-python", metavar="PATH", help="judge-bound: a Python with inspect-ai, openai and jsonschema")
    parser.add_argument("--promptfoo", metavar="COMMAND", help="judge-bound: promptfoo's command")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for one contestant")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--check", action="store_true", help="end with code 1 where a target is missed")
    return parser.parse_args()


def exit_code(told: Documents, check: bool) -> int:
    """1 where a count is wrong, which makes every figure worthless, or where targets are checked and one is missed."""
    wrong = not all(found["counts_right"] for one in told for found in one["contestants"])
    missed = not all(target["held"] for one in told for target in one["targets"])
    return int(wrong or (check and missed))


def main() -> int:
    """Runs what was asked for and tells it; 2 where a contestant failed."""
    options = arguments()
    told: Documents = []
    try:
        with bench(options.timeout) as at:
            for name in BENCHMARKS if options.benchmark == "all" else [options.benchmark]:
                found = BENCHMARKS[name](options, at.within(name))
                told += found
                if not options.json:
                    print("\n\n".join(map(table, found)), end="\n\n", flush=True)
    except Failed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps({"benchmarks": told}, indent=2))
    return exit_code(told, options.check)


if __name__ == "__main__":
    sys.exit(main())

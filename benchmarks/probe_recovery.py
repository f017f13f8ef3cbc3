"""Do probes find what judges are stated to be? Through the simulator, over real HTTP, many seeds: truth, mean found, coverage.

    python benchmarks/probe_recovery.py [--seeds 20] [--items 60] [--json]

Every seed is another world (texts, qualities, draws). `truth` is what the profile states on that material (`probe_world`),
averaged over the seeds; `covered` is the share of intervals of 95 % that hold their own world's truth. The intervals are about
the traffic that the items stand for, the truth is that of these items: coverage is to be at least 95 %, within its
own error, which is printed. A judge of which something is stated to be absent must not be accused of it: `accused` counts that.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from math import sqrt
from pathlib import Path
from typing import Any

from probe_world import JUDGES, build, expected, found, judge_of

from evalh.config import load_config
from evalh.prepare import prepare
from evalh.probe.asking import Asking, probe
from evalh.probe.plan import plan_document
from evalh.probe.questions import chosen_seats, materials
from evalh.probe.results import probe_document
from evalh.store.store import Store
from evalh.suites.load import load_suites


def probed(root: Path, kind: Any, *, items: int, seed: int) -> dict[str, Any]:
    """The document of one probe of all judges in a world of its own."""
    suite = build(root, kind, items=items, seed=seed, judges=[judge["model"] for judge in JUDGES])
    prepared = prepare(load_suites([suite])[0], load_config(root))
    store = Store(root / "store.duckdb")
    seats, material = chosen_seats(prepared, ()), materials(prepared, store)
    outcome = probe(Asking(prepared, seats, material, plan_document(prepared, seats, material)), store)
    if outcome.status != "finished":
        raise SystemExit(f"seed {seed}: {outcome.status}: {outcome.error}")
    return probe_document(store, outcome.run_id)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--items", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows: dict[tuple[str, str, str], list[tuple[float, dict[str, Any]]]] = defaultdict(list)
    steerable: dict[tuple[str, str], list[bool]] = defaultdict(list)
    started, calls = time.monotonic(), 0
    for kind in ("pairwise", "pointwise"):
        for seed in range(given.seeds):
            with tempfile.TemporaryDirectory() as folder:
                document = probed(Path(folder), kind, items=given.items, seed=seed)
                calls += document["calls"]
                for judge in document["judges"]:
                    name = judge["model"].removeprefix("sim:")
                    truth, estimates = expected(Path(folder), kind, judge_of(name)), found(judge)
                    for figure, value in truth.items():
                        rows[kind, name, figure].append((value, dict(estimates[figure])))
                    steerable[kind, name].append(judge["injection"]["steerable"])
            print(f"{kind}, seed {seed}: {calls} calls, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    table = [summary(*key, some) for key, some in rows.items()]
    accused = [{"kind": k, "judge": j, "stated": judge_of(j).steerable, "called": sum(s), "of": len(s)} for (k, j), s in steerable.items()]
    if given.json:
        print(json.dumps({"figures": table, "steerable": accused, "calls": calls}, indent=1))
    else:
        show(table, accused, calls)
    return 0


def summary(kind: str, judge: str, figure: str, some: list[tuple[float, dict[str, Any]]]) -> dict[str, Any]:
    """Truth, mean found, error of that mean, coverage of the intervals."""
    n = len(some)
    values = [e["value"] for _, e in some]
    gaps = [e["value"] - truth for truth, e in some]
    mean_gap = sum(gaps) / n
    error = sqrt(sum((g - mean_gap) ** 2 for g in gaps) / max(1, n - 1) / n)
    held = [e["low"] - 1e-9 <= truth <= e["high"] + 1e-9 for truth, e in some if e["low"] is not None]
    covered = sum(held) / len(held) if held else None
    return {
        "kind": kind, "judge": judge, "figure": figure, "truth": sum(t for t, _ in some) / n, "found": sum(values) / n,
        "gap": mean_gap, "gap_error": error, "covered": covered, "n": len(held),
    }  # fmt: skip


def show(table: list[dict[str, Any]], accused: list[dict[str, Any]], calls: int) -> None:
    print(f"{'kind':<10}{'judge':<10}{'figure':<15}{'truth':>8}{'found':>8}{'gap':>8}{'± s.e.':>8}{'covered':>9}{'of':>4}")
    for row in table:
        covered = "–" if row["covered"] is None else f"{row['covered']:.2f}"
        print(f"{row['kind']:<10}{row['judge']:<10}{row['figure']:<15}{row['truth']:>8.3f}{row['found']:>8.3f}{row['gap']:>+8.3f}"
              f"{row['gap_error']:>8.3f}{covered:>9}{row['n']:>4}")  # fmt: skip
    held, n = sum(r["covered"] * r["n"] for r in table if r["covered"] is not None), sum(r["n"] for r in table)
    print(f"all intervals: {held / n:.3f} of {n} hold the truth" if n else "no intervals")
    for row in accused:
        print(f"{row['kind']:<10}{row['judge']:<10}steerable {row['stated']:.1f}: called so in {row['called']} of {row['of']}")
    print(f"{calls} calls over HTTP")


if __name__ == "__main__":
    sys.exit(main())

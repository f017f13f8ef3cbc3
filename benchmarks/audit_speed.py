"""What auditing recorded verdicts costs: CPU seconds and peak memory of `evalh import` and of `evalh audit`.

    python benchmarks/audit_speed.py [--pairs 10000] [--judges 10] [--check] [--json]

A folder of pairs with texts, three people's labels, and every judge's verdict in both orders (200,000 verdicts as it stands)
is made from a seed: judges differ in accuracy and in how much they lean to the first place, so that no figure is trivial.
Both commands run in a process of their own, which is measured whole, start-up and imports included. With `--check` the end is
1 where a target is missed: 10 s of CPU each, and 1.5 GiB for the import.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CPU_S, PEAK_GB = 10.0, 1.5
SEED = 4
SYSTEMS = ("north", "south", "east", "west")
ANNOTATORS = ("ada", "ben", "cem")
WORDS = ("parcel", "return", "thirty", "days", "shop", "pays", "cost", "send", "back", "receipt", "refund", "article", "reason")


def write_folder(folder: Path, pairs: int, judges: int) -> int:
    """The four files; how many verdicts there are."""
    rng = random.Random(SEED)
    chosen = [tuple(rng.sample(SYSTEMS, 2)) for _ in range(pairs)]
    truth = [rng.choices((0, 1, 2), (45, 15, 40))[0] for _ in range(pairs)]
    _write(folder / "items.jsonl", (_item(n) for n in range(pairs)))
    _write(folder / "outputs.jsonl", (_output(rng, n, system) for n in range(pairs) for system in chosen[n]))
    _write(folder / "labels.jsonl", (_label(rng, n, chosen[n], truth[n], who) for n in range(pairs) for who in ANNOTATORS))
    _write(folder / "judgments.jsonl", _verdicts(rng, chosen, truth, judges))
    return 2 * pairs * judges


def _item(n: int) -> dict[str, Any]:
    return {"item_id": f"item-{n:06}", "input": f"question {n}: may I send it back?", "slice": ("public", "fresh", "billing")[n % 3]}


def _output(rng: random.Random, n: int, system: str) -> dict[str, Any]:
    text = " ".join(rng.choices(WORDS, k=rng.randint(20, 80)))
    return {"item_id": f"item-{n:06}", "system": system, "output": f"{system} {n}: {text}"}


def _label(rng: random.Random, n: int, systems: tuple[str, ...], truth: int, who: str) -> dict[str, Any]:
    said = truth if rng.random() < 0.85 else rng.randrange(3)
    return {
        "item_id": f"item-{n:06}",
        "annotator": who,
        "kind": "pairwise",
        "systems": systems,
        "winner": (systems[0], "tie", systems[1])[said],
    }


def _verdicts(rng: random.Random, chosen: list[tuple[str, ...]], truth: list[int], judges: int) -> Iterator[dict[str, Any]]:
    for number in range(judges):
        accuracy, lean = 0.55 + 0.04 * (number % 8), 0.03 * (number % 5)
        for n, systems in enumerate(chosen):
            said = truth[n] if rng.random() < accuracy else rng.randrange(3)
            for order in (0, 1):
                shown = systems if order == 0 else systems[::-1]
                slot = said if order == 0 else 2 - said
                slot = 0 if rng.random() < lean else slot
                row = {
                    "item_id": f"item-{n:06}", "judge": f"judge-{number}", "judge_version": "1", "kind": "pairwise", "systems": shown,
                    "verdict": ("first", "tie", "second")[slot], "winner": (shown[0], "tie", shown[1])[slot],
                    "raw": f"I prefer answer {'ABC'[slot]}.",
                }  # fmt: skip
                yield {**row, "verdict": None, "winner": None} if rng.random() < 0.005 else row


def _write(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def measured(*args: str) -> dict[str, Any]:
    """One command in a process of its own: CPU seconds with its children, wall seconds, peak memory, and its document."""
    before, start = os.times(), time.perf_counter()
    code = (
        "import resource, sys, atexit\n"
        "atexit.register(lambda: sys.stderr.write(f'peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\\n'))\n"
        "from evalh.cli.main import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False)
    after = os.times()
    if done.returncode:
        raise SystemExit(f"evalh {' '.join(args)}: exit {done.returncode}: {done.stderr}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    peak = int(done.stderr.rpartition("peak ")[2])
    return {
        "cpu_s": round(cpu, 2), "wall_s": round(time.perf_counter() - start, 2), "peak_gb": round(peak / 2**20, 3),
        "document": json.loads(done.stdout),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--judges", type=int, default=10)
    parser.add_argument("--check", action="store_true", help="end with 1 where a target is missed")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "recorded"
        folder.mkdir()
        verdicts = write_folder(folder, given.pairs, given.judges)
        store = str(Path(name) / "store.duckdb")
        found = {
            "import": measured("import", str(folder), "--store", store, "--json"),
            "audit": measured("audit", "--store", store, "--json"),
        }
    read = {"import": found["import"]["document"]["verdicts"], "audit": sum(j["n_verdicts"] for j in found["audit"]["document"]["judges"])}
    told = {step: {**{k: v for k, v in cost.items() if k != "document"}, "verdicts": read[step]} for step, cost in found.items()}
    if given.json:
        print(json.dumps({"pairs": given.pairs, "judges": given.judges, "verdicts": verdicts, **told}))
    else:
        print(f"{verdicts:,} verdicts of {given.judges} judges on {given.pairs:,} pairs, {3 * given.pairs:,} labels")
        for step, cost in told.items():
            spent = f"{cost['cpu_s']:7.2f} s CPU  {cost['wall_s']:7.2f} s wall  {cost['peak_gb']:6.2f} GiB peak"
            print(f"  {step:<7} {spent}  {cost['verdicts']:,} verdicts")
    if set(read.values()) != {verdicts}:
        print("WRONG: verdicts were lost")
        return 1
    missed = told["import"]["cpu_s"] > CPU_S or told["audit"]["cpu_s"] > CPU_S or told["import"]["peak_gb"] > PEAK_GB
    return int(given.check and missed)


if __name__ == "__main__":
    sys.exit(main())

"""What `evalh import` costs: CPU seconds and peak memory, in a process of its own, start-up and store included.

    python benchmarks/import_speed.py [--items 10000] [--judges 10] [--megabytes N] [--check] [--json]

The folder is made from a seed: pairs of outputs, three people's labels, every judge's verdict in both orders (200,000 verdicts
as it stands). `--megabytes N` makes long texts instead, so that outputs and replies take that much in all: what a folder costs
whose files are big. With `--check` the end is 1 where a target is missed: 10 s of CPU and 1.5 GiB, or, with `--megabytes`, ten
times the size of the files.
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

CPU_S, PEAK_GIB, MOST_TIMES = 10.0, 1.5, 10.0
SEED = 4
SYSTEMS = ("north", "south", "east", "west")
ANNOTATORS = ("ada", "ben", "cem")
WORDS = ("parcel", "return", "thirty", "days", "shop", "pays", "cost", "send", "back", "receipt", "refund", "article", "reason", "é")


class Folder:
    """The four files, from a seed. `words` is how long outputs and replies are."""

    def __init__(self, items: int, judges: int, words: int) -> None:
        self.items, self.judges, self.words = items, judges, words
        self.rng = random.Random(SEED)
        self.pairs = [tuple(self.rng.sample(SYSTEMS, 2)) for _ in range(items)]

    def write(self, folder: Path) -> dict[str, int]:
        """Write the files; name → rows."""
        rows = {"items": self._items(), "outputs": self._outputs(), "judgments": self._verdicts(), "labels": self._labels()}
        return {name: _write(folder / f"{name}.jsonl", some) for name, some in rows.items()}

    def _items(self) -> Iterator[dict[str, Any]]:
        for n in range(self.items):
            yield {"item_id": f"item-{n:06}", "input": f"question {n}: may I send it back?", "slice": ("public", "fresh")[n % 2]}

    def _outputs(self) -> Iterator[dict[str, Any]]:
        for n, pair in enumerate(self.pairs):
            for system in pair:
                yield {"item_id": f"item-{n:06}", "system": system, "output": f"{system} {n}: {self._text()}"}

    def _verdicts(self) -> Iterator[dict[str, Any]]:
        for judge in range(self.judges):
            for n, pair in enumerate(self.pairs):
                for shown in (pair, pair[::-1]):
                    verdict = self.rng.choice(("first", "second", "tie")) if self.rng.random() < 0.995 else None
                    row = {"item_id": f"item-{n:06}", "judge": f"judge-{judge}", "judge_version": "1", "kind": "pairwise"}
                    yield {**row, "systems": shown, "verdict": verdict, "raw": f"{verdict}: {self._text() if self.words > 100 else n}"}

    def _labels(self) -> Iterator[dict[str, Any]]:
        for n, pair in enumerate(self.pairs):
            for who in ANNOTATORS:
                winner = self.rng.choice((*pair, "tie"))
                yield {"item_id": f"item-{n:06}", "annotator": who, "kind": "pairwise", "systems": pair, "winner": winner}

    def _text(self) -> str:
        return " ".join(self.rng.choices(WORDS, k=self.words))


def _write(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def measured(folder: Path, store: Path) -> dict[str, Any]:
    """One import in a process of its own: its CPU and wall seconds, its peak memory and its document."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "evalh", "import", str(folder), "--store", str(store), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, spent = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"evalh import: exit {process.returncode}")
    cpu, wall = spent.ru_utime + spent.ru_stime, time.perf_counter() - start
    return {"cpu_s": round(cpu, 2), "wall_s": round(wall, 2), "peak_gib": round(spent.ru_maxrss / 2**20, 3), "document": json.loads(said)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--judges", type=int, default=10)
    parser.add_argument("--megabytes", type=int, help="long texts, this much in all")
    parser.add_argument("--check", action="store_true", help="end with 1 where a target is missed")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    words = 1000 if given.megabytes else 50
    texts = 2 + 2 * given.judges
    items = max(1, given.megabytes * 10**6 // (texts * words * 6)) if given.megabytes else given.items
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "recorded"
        folder.mkdir()
        rows = Folder(items, given.judges, words).write(folder)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 2**30
        found = measured(folder, Path(name) / "store.duckdb")
    document = found.pop("document")
    read = {"items": document["items"], "outputs": document["outputs"], "judgments": document["verdicts"], "labels": document["labels"]}
    if given.json:
        print(json.dumps({"rows": rows, "files_gib": round(size, 3), **found}))
    else:
        print(f"{rows['judgments']:,} verdicts, {rows['outputs']:,} outputs, {rows['labels']:,} labels; files of {size:.2f} GiB")
        print(f"  import {found['cpu_s']:.2f} s CPU  {found['wall_s']:.2f} s wall  {found['peak_gib']:.2f} GiB peak")
    if read != rows:
        print("WRONG: rows were lost", file=sys.stderr)
        return 1
    most = MOST_TIMES * size if given.megabytes else PEAK_GIB
    missed = found["peak_gib"] > most or (not given.megabytes and found["cpu_s"] > CPU_S)
    return int(given.check and missed)


if __name__ == "__main__":
    sys.exit(main())

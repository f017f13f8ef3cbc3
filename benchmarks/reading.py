"""What reading costs: microseconds a line and peak memory of a golden set with its recorded outputs.

    python benchmarks/reading.py [--lines 200000] [--json]

Files of that many lines are written into a temporary folder. Each step is timed for itself, CPU seconds over lines: the pass
that checks a file and makes its index, the items read in order, their outputs a thousand at a time, and the content hashes.
`floor` is `json.loads` of the same lines with no checks at all. Memory is what the process holds at most above its start.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evalh.suites.golden import load_golden
from evalh.suites.model import Recorded
from evalh.systems import RecordedSource

TEXT = "The customer asks whether the parcel that was sent on Monday may be returned within thirty days, and what it costs. "


def write_files(folder: Path, lines: int) -> None:
    """An items.jsonl and an outputs.jsonl of some 250 bytes a line."""
    with (folder / "items.jsonl").open("w") as items, (folder / "outputs.jsonl").open("w") as outputs:
        for n in range(lines):
            item = {"item_id": f"item-{n:07}", "input": f"{n}: {TEXT}", "reference": "30 days", "slice": f"s{n % 5}", "tags": ["returns"]}
            items.write(json.dumps(item) + "\n")
            answer = json.dumps({"answer": f"{n}: thirty days", "days": 30, "quote": TEXT[: 20 + n % 80]})
            outputs.write(json.dumps({"item_id": f"item-{n:07}", "system": "bot", "output": answer, "latency_ms": 12.5}) + "\n")


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(lines: int) -> dict[str, float]:
    """Microseconds of CPU a line by step, and the peak memory in MB above the start."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, lines)
        start = peak_mb()

        def step(what: str, work: Callable[[], Any]) -> Any:
            before = time.process_time()
            made = work()
            found[what] = (time.process_time() - before) / lines * 1e6
            return made

        golden = step("items: check and index", lambda: load_golden(folder))
        source = step("outputs: check and index", lambda: RecordedSource(Recorded("outputs.jsonl"), folder / "outputs.jsonl"))
        step("items: read in order", lambda: sum(1 for _ in golden.items))
        step("outputs: read by item", lambda: sum(map(len, source.each(golden.items))))
        step("items: read, hashed", lambda: sum(1 for item in golden.items if item.item_hash))
        step("outputs: read, hashed", lambda: sum(1 for some in source.each(golden.items) for output in some if output.output_hash))
        found["peak MB"] = peak_mb() - start
        step("floor: items", lambda: floor(folder / "items.jsonl"))
        step("floor: outputs", lambda: floor(folder / "outputs.jsonl"))
    return found


def floor(path: Path) -> int:
    with path.open() as file:
        return sum(1 for line in file if json.loads(line))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.lines)
    if given.json:
        print(json.dumps({"lines": given.lines, **{what: round(value, 2) for what, value in found.items()}}))
        return
    print(f"{given.lines:,} items and outputs, µs of CPU a line")
    for what, value in found.items():
        print(f"{what:>26} {value:8.2f}")


if __name__ == "__main__":
    main()

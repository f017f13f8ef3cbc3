"""What came out: medians over rounds, ratios taken round by round, targets held or missed; as a table and as one JSON document."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any, NamedTuple

Rounds = list[dict[str, dict[str, Any]]]
PACKAGES = ("evalh", "openai", "aiohttp", "httpx2", "duckdb", "pydantic", "jsonschema", "jsonschema-rs", "fastjsonschema", "pytest")


class Target(NamedTuple):
    """A limit and what was measured."""

    what: str
    value: float
    limit: float

    @property
    def held(self) -> bool:
        return self.value <= self.limit


def middle(found: Rounds, name: str, field: str) -> float:
    """The median of a contestant over the rounds."""
    return median(turn[name][field] for turn in found)


def ratio(found: Rounds, name: str, base: str, field: str) -> float:
    """The median of the ratios that two contestants have in the same round: what slows a round slows both."""
    return median(turn[name][field] / turn[base][field] for turn in found)


def machine(found: Rounds) -> dict[str, Any]:
    """The shape of the machine, the versions, and how fast it was in the rounds."""
    speed = [turn["calibration"]["cpu_s"] for turn in found]
    return {
        "cpus": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        "calibration_cpu_s": [round(min(speed), 3), round(max(speed), 3)],
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def document(benchmark: str, settings: dict[str, Any], found: Rounds, targets: list[Target], base: str, items: int = 0) -> dict[str, Any]:
    """Everything that was measured, round by round, and its medians."""
    names = [name for name in found[0] if name != "calibration"]
    return {
        "benchmark": benchmark,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(found),
        "settings": settings,
        "contestants": [_medians(found, name, base, items) for name in names],
        "targets": [{**target._asdict(), "held": target.held} for target in targets],
        "rounds": found,
    }


def _medians(found: Rounds, name: str, base: str, items: int) -> dict[str, Any]:
    fields = [field for field, value in found[0][name].items() if isinstance(value, int | float) and not isinstance(value, bool)]
    row: dict[str, Any] = {"name": name, "runs": len(found)} | {field: middle(found, name, field) for field in fields}
    row["cpu_ms_per_item"] = row["cpu_s"] * 1000 / items if items else None
    row["cpu_ratio"], row["wall_ratio"] = (ratio(found, name, base, field) for field in ("cpu_s", "wall_s"))
    row["base"] = base
    row["counts_right"] = all(turn[name].get("right", True) for turn in found)
    return row


def table(told: dict[str, Any]) -> str:
    """The document for people: contestants, then targets."""
    shape = told["machine"]
    low, high = shape["calibration_cpu_s"]
    where = f"{told['at'][:16].replace('T', ' ')} UTC, {shape['cpus']} CPUs, {shape['memory_gb']} GB, Python {shape['python']}"
    lines = [
        f"{told['benchmark']}: {', '.join(f'{name} {value}' for name, value in told['settings'].items())}",
        f"{where}, load {shape['load']:.1f}, calibration loop {low:.2f}–{high:.2f} s of CPU",
        "",
        f"{'':32}{'CPU s':>9}{'ms/item':>9}{'× base':>8}{'wall s':>9}{'× base':>8}{'peak MB':>9}{'requests':>10}  counts",
        *map(_line, told["contestants"]),
    ]
    if told["targets"]:
        lines += ["", *map(_target, told["targets"])]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    name = row["name"] + (" (base)" if row["name"] == row["base"] else "")
    each = "–" if row["cpu_ms_per_item"] is None else f"{row['cpu_ms_per_item']:.3f}"
    requests = f"{row['requests']:.0f}" if "requests" in row else "–"
    cpu, wall = f"{row['cpu_s']:9.2f}{each:>9}{row['cpu_ratio']:8.2f}", f"{row['wall_s']:9.2f}{row['wall_ratio']:8.2f}"
    return f"{name:32}{cpu}{wall}{row['peak_mb']:9.0f}{requests:>10}  {'right' if row['counts_right'] else 'WRONG'}"


def _target(target: dict[str, Any]) -> str:
    return f"{'held' if target['held'] else 'MISSED':8}{target['what']}: {target['value']:.3g}, at most {target['limit']:g}"

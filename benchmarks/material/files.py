"""What the three kinds of material share: JSON Lines with a canary, the stored order, made-up latency and cost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from evalh.fingerprints import derived_seed

FAMILY = "sim-writer"  # the family of all systems in this material
SOURCES = Path(__file__).parent


class File(NamedTuple):
    """A file of the material: its path from the root, the canary on its first line, its rows."""

    path: str
    canary: str
    rows: Sequence[dict[str, Any]]

    def data(self) -> bytes:
        """The bytes of the file: UTF-8, one object a line, the canary first."""
        lines = [json.dumps(row, ensure_ascii=False) for row in ({"_canary": self.canary}, *self.rows)]
        return ("\n".join(lines) + "\n").encode()


def written(*names: str) -> tuple[str, list[dict[str, Any]]]:
    """The canary and the entries of the YAML sources with these names, in their order."""
    texts = [(SOURCES / name).read_text(encoding="utf-8") for name in names]
    canaries = {text.splitlines()[0].removeprefix("# ") for text in texts}
    if len(canaries) != 1:
        raise ValueError(f"{names} carry different canaries")
    return canaries.pop(), [entry for text in texts for entry in yaml.safe_load(text)]


def in_order(rows: Iterable[dict[str, Any]], order_seed: int) -> list[dict[str, Any]]:
    """The rows, sorted by item_id and then permuted by a seed: a model that recites the file in order gives itself away."""
    by_id = sorted(rows, key=lambda row: str(row["item_id"]))
    return [by_id[i] for i in np.random.default_rng(order_seed).permutation(len(by_id))]


def output(item_id: str, text: str, *, system: str, version: str, cost: float, latency: float, fault: str | None) -> dict[str, Any]:
    """A line of outputs.jsonl. Cost (USD) and latency (ms) vary by a quarter around what is given, by a hash of the names."""
    spread = [0.75 + 0.5 * derived_seed("material", system, version, item_id, what) / 2**63 for what in ("latency", "cost")]
    return {
        "item_id": item_id,
        "system": system,
        "system_version": version,
        "family": FAMILY,
        "output": text,
        "latency_ms": round(latency * spread[0]),
        "cost_usd": round(cost * spread[1], 6),
        "meta": {"known_fault": fault} if fault else {},
    }


def truth(text: str, quality: float, **aspects: float) -> dict[str, Any]:
    """A line of the simulator's truth: what a careful person would say of an output."""
    row: dict[str, Any] = {"output": text, "quality": quality, "family": FAMILY}
    return {**row, "aspects": aspects} if aspects else row


def dates(slice_: str, published_at: str) -> dict[str, Any]:
    """The date of first publication of an item; an item of the fresh slice has none."""
    return {"published_at": published_at} if slice_ == "public" else {}

"""Assembles golden/support, frozen_refs/support and their truth from policy.md and the written questions and answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .files import FAMILY, File, dates, in_order, output, truth, written

PUBLISHED = "2025-06-30"
ORDER_SEED = 861648236  # drawn once when the items were written; the stored order is random
INSTRUCTIONS = (
    "You answer customers of Brackenfold, an outdoor shop, by the terms below and by nothing else. "
    "Name the clause that decides, like §3. Use at most 120 words."
)
_CLAUSE = re.compile(r"^\*\*§(\d+) ([^*]+)\.\*\* (.+)$", re.MULTILINE)
UNFAITHFUL = ("invented-promise", "wrong-number", "promise-word", "refusal")


def build(root: Path) -> list[File]:
    """The files of the support suite, from the written sources."""
    canary, entries = written("support_public.yaml", "support_fresh.yaml")
    clauses = policy_clauses(root)
    items = in_order([_item(entry, clauses) for entry in entries], ORDER_SEED)
    by_id = {entry["id"]: entry for entry in entries}
    ordered = [by_id[item["item_id"]] for item in items]
    frozen_canary, frozen = written("frozen_support.yaml")
    facts = [fact for entry in ordered for fact in _facts(entry)] + [_frozen_fact(entry) for entry in frozen]
    return [
        File("golden/support/items.jsonl", canary, items),
        File("golden/support/outputs/v1.jsonl", canary, [_output(entry, "v1") for entry in ordered]),
        File("golden/support/outputs/v2.jsonl", canary, [_output(entry, "v2") for entry in ordered]),
        File("frozen_refs/support/refs.jsonl", frozen_canary, [_frozen(entry, clauses) for entry in frozen]),
        File("suites/truth/support.jsonl", canary, facts),
    ]


def policy_clauses(root: Path) -> dict[int, str]:
    """Number → `§N Title. Text` of every clause in golden/support/policy.md."""
    text = (root / "golden/support/policy.md").read_text(encoding="utf-8")
    return {int(number): f"§{number} {title}. {body}" for number, title, body in _CLAUSE.findall(text)}


def chat(question: str, numbers: list[int], clauses: dict[int, str]) -> list[dict[str, str]]:
    """The input of an item: the clauses shown, in the policy's order, then the question."""
    shown = "\n".join(clauses[number] for number in sorted(numbers))
    return [{"role": "system", "content": f"{INSTRUCTIONS}\n\n{shown}"}, {"role": "user", "content": question}]


def _item(entry: dict[str, Any], clauses: dict[int, str]) -> dict[str, Any]:
    slice_ = "public" if int(entry["id"][-3:]) <= 32 else "fresh"
    return {
        "item_id": entry["id"],
        "input": chat(entry["question"], entry["clauses"] + entry["beside"], clauses),
        "reference": entry["reference"],
        "slice": slice_,
        "authored_at": str(entry["at"]),
        **dates(slice_, PUBLISHED),
        "tags": [entry["topic"]],
        "meta": {"clauses": entry["clauses"], "provenance": "written for evalh; the shop is invented"},
    }


def _output(entry: dict[str, Any], version: str) -> dict[str, Any]:
    fault = entry.get("v1_fault") if version == "v1" else entry["fault"] if entry["fault"] != "none" else None
    price, pace = (0.0021, 1400.0) if version == "v1" else (0.0006, 550.0)  # v2 is the cheaper, faster prompt
    return output(entry["id"], entry[version], system="support-bot", version=version, cost=price, latency=pace, fault=fault)


def _facts(entry: dict[str, Any]) -> list[dict[str, Any]]:
    one, two = entry["quality"]
    return [
        _fact(entry["v1"], one, "v1_fault" not in entry),
        _fact(entry["v2"], two, entry["fault"] not in UNFAITHFUL),
    ]


def _fact(text: str, quality: float, faithful: bool) -> dict[str, Any]:
    """An unfaithful answer still reads as somewhat helpful, which is what makes it dangerous."""
    return truth(text, quality, faithful=0.95 if faithful else 0.05, helpful=quality if faithful else 0.3)


def _frozen(entry: dict[str, Any], clauses: dict[int, str]) -> dict[str, Any]:
    faithful, helpful = entry["levels"]
    return {
        "ref_id": entry["id"],
        "input": chat(entry["q"], entry["clauses"], clauses),
        "output": entry["a"],
        "score": _score(entry),
        "system": "support-bot",
        "family": FAMILY,
        "rubric": "support",
        "slice": entry["slice"],
        "settled_by": "construction",
        "settled_at": "2025-05-20" if entry["slice"] == "public" else "2026-09-30",
        "meta": {"levels": {"faithful": faithful, "helpful": helpful}, "system_version": "v0"},
    }


def _score(entry: dict[str, Any]) -> float:
    """The rubric's weighted mean on [0, 1]: faithful counts three times as much as helpful."""
    faithful, helpful = entry["levels"]
    return float(round((3 * faithful + (helpful - 1) / 4) / 4, 4))


def _frozen_fact(entry: dict[str, Any]) -> dict[str, Any]:
    faithful, helpful = entry["levels"]
    return truth(entry["a"], _score(entry), faithful=0.95 if faithful else 0.05, helpful=(helpful - 1) / 4)

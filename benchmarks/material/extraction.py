"""Assembles golden/extraction, frozen_refs/extraction and their truth from the written documents, values and summaries."""

from __future__ import annotations

import json
from typing import Any

from .files import FAMILY, File, dates, in_order, output, truth, written

PUBLISHED = "2025-06-30"
ORDER_SEED = 552504792  # drawn once when the items were written; the stored order is random
_WRONG_CURRENCY = {"GBP": "EUR", "CAD": "USD", "CHF": "EUR", "AUD": "USD", "NZD": "USD", "USD": "EUR"}
_PROSE = (
    ("Here is the record that you asked for:\n\n", "\n\nLet me know if anything should be changed!"),
    ("Sure! I have read the document carefully. The result is:\n", ""),
    ("", "\n\nNote: all amounts were taken from the document as printed."),
)


def build() -> list[File]:
    """The files of the extraction suite, from the written sources."""
    canary, entries = written("extraction_public.yaml", "extraction_fresh.yaml")
    items = in_order([_item(entry) for entry in entries], ORDER_SEED)
    by_id = {entry["id"]: entry for entry in entries}
    ordered = [by_id[item["item_id"]] for item in items]
    frozen_canary, frozen = written("frozen_extraction.yaml")
    facts = [fact for entry in ordered for fact in _facts(entry)]
    facts += [truth(_frozen_record(entry), _score(entry), summary=_score(entry)) for entry in frozen]
    return [
        File("golden/extraction/items.jsonl", canary, items),
        File("golden/extraction/outputs/v1.jsonl", canary, [_output(entry, "v1") for entry in ordered]),
        File("golden/extraction/outputs/v2.jsonl", canary, [_output(entry, "v2") for entry in ordered]),
        File("frozen_refs/extraction/refs.jsonl", frozen_canary, [_frozen(entry) for entry in frozen]),
        File("suites/truth/extraction.jsonl", canary, facts),
    ]


def record(entry: dict[str, Any]) -> dict[str, Any]:
    """The values that a right record has, all but the summary."""
    lines = [{"description": what, "quantity": quantity, "unit_price": price} for what, quantity, price in entry["lines"]]
    return {**entry["is"], "lines": lines}


def worse(right: dict[str, Any], fault: str, turn: int) -> str:
    """The record as v2 writes it: with the one fault that is named, as text."""
    wrong = dict(right)
    if fault == "date-format":
        wrong["date"] = "/".join(reversed(right["date"].split("-")))
    elif fault == "currency":
        wrong["currency"] = _WRONG_CURRENCY[right["currency"]]
    elif fault == "dropped-line":
        wrong["lines"] = right["lines"][:-1]
    elif fault == "total-text":
        wrong["total"] = f"{right['total']:,.2f}".replace(",", " ").replace(".", ",").replace(" ", ".")
    text = json.dumps(wrong, ensure_ascii=False)
    before, after = _PROSE[turn % len(_PROSE)] if fault == "prose" else ("", "")
    return before + text + after


def _item(entry: dict[str, Any]) -> dict[str, Any]:
    slice_ = "public" if int(entry["id"][-3:]) <= 32 else "fresh"
    return {
        "item_id": entry["id"],
        "input": entry["text"].rstrip("\n"),
        "reference": record(entry),
        "slice": slice_,
        "authored_at": str(entry["at"]),
        **dates(slice_, PUBLISHED),
        "tags": [entry["is"]["kind"]],
        "meta": {"provenance": "written for evalh; senders and people are invented"},
    }


def _text(entry: dict[str, Any], version: str) -> str:
    if version == "v1":
        return json.dumps({**record(entry), "summary": entry["s1"]}, ensure_ascii=False)
    return worse({**record(entry), "summary": entry["s2"]}, entry["fault"], int(entry["id"][-3:]))


def _output(entry: dict[str, Any], version: str) -> dict[str, Any]:
    fault = entry.get("v1_fault") if version == "v1" else entry["fault"] if entry["fault"] != "none" else None
    price, pace = (0.0034, 2100.0) if version == "v1" else (0.0009, 800.0)
    return output(entry["id"], _text(entry, version), system="records", version=version, cost=price, latency=pace, fault=fault)


def _facts(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The quality of the summaries alone: v1 says enough to act on, v2 is smooth and leaves something out."""
    one = 0.05 if "v1_fault" in entry else 0.95
    two = 0.05 if entry["fault"] == "summary" else 0.7
    return [truth(_text(entry, version), quality, summary=quality) for version, quality in (("v1", one), ("v2", two))]


def _note(entry: dict[str, Any]) -> str:
    return f"{entry['date']}, {entry['party']} ({_email(entry)}): {entry['note']}"


def _email(entry: dict[str, Any]) -> str:
    return str(entry["party"]).lower().replace(" ", ".") + "@letters.example"


def _frozen_record(entry: dict[str, Any]) -> str:
    values = {"kind": "note", "number": None, "date": entry["date"], "party": entry["party"], "email": _email(entry)}
    return json.dumps({**values, "currency": None, "total": None, "lines": [], "summary": entry["s"]}, ensure_ascii=False)


def _score(entry: dict[str, Any]) -> float:
    return float(round((entry["level"] - 1) / 3, 4))


def _frozen(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "ref_id": entry["id"],
        "input": _note(entry),
        "output": _frozen_record(entry),
        "score": _score(entry),
        "system": "records",
        "family": FAMILY,
        "rubric": "summary",
        "slice": entry["slice"],
        "settled_by": "construction",
        "settled_at": "2025-05-20" if entry["slice"] == "public" else "2026-09-30",
        "meta": {"levels": {"summary": entry["level"]}, "system_version": "v0"},
    }

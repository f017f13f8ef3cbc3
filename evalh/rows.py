"""Rows of the store from records: the one place where a record's fields become a table's columns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from evalh.fingerprints import content_hash
from evalh.judging.presentation import Presentation
from evalh.records import CheckResult, Item, Label, Output, Verdict
from evalh.suites.frozen import FrozenSet


def now() -> str:
    """The time of a row, UTC, to the microsecond."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat()


def output_row(run_id: str, item: Item, output: Output) -> dict[str, Any]:
    data = output.model_dump(mode="json")
    text = data.pop("text")
    return {"run_id": run_id, "item_hash": item.item_hash, "output_hash": output.output_hash, **data, "output": text, "at": now()}


def check_row(run_id: str, output: Output, result: CheckResult) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "item_id": output.item_id,
        "system": output.system,
        "trial": output.trial,
        "output_hash": output.output_hash,
        **result.model_dump(),
    }


def verdict_row(
    run_id: str, item: Item, outputs: Sequence[Output], verdict: Verdict, rubric_hash: str | None, shown: Presentation | None
) -> dict[str, Any]:
    """`shown` is None where nothing was shown by us: recorded verdicts that were imported."""
    trial = outputs[0].trial if outputs else 0
    return {
        "verdict_id": content_hash(
            run_id,
            item.item_id,
            verdict.judge,
            verdict.prompt,
            verdict.judge_version if shown is None else "",
            verdict.systems,
            trial,
            verdict.aspect,
            verdict.repeat,
        ),
        "run_id": run_id,
        "item_id": item.item_id,
        "item_hash": item.item_hash,
        "output_hashes": [o.output_hash for o in outputs],
        "trial": trial,
        "rubric_hash": rubric_hash,
        "masked": list(shown.masked) if shown else [],
        "nonce": shown.nonce if shown else None,
        "seed": shown.seed if shown else None,
        "at": now(),
        **verdict.model_dump(mode="json"),
    }


def label_row(run_id: str, label: Label) -> dict[str, Any]:
    data = label.model_dump(mode="json")
    key = content_hash(run_id, label.item_id, label.annotator, sorted(label.systems), label.aspect)
    return {"label_id": key, "run_id": run_id, "imported_at": now(), **data}


def frozen_rows(frozen: FrozenSet) -> list[dict[str, Any]]:
    base = {"frozen": frozen.name, "frozen_version": frozen.version, "frozen_hash": frozen.frozen_hash}
    return [{**base, **ref.model_dump(mode="json")} for ref in frozen.refs]

"""Rows of the store from records: the one place where a record's fields become a table's columns.

One row at a time for what is written as it comes (`*_row`), column by column for what a run makes in bulk (`*_columns`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from evalh.checks.apply import Checked, Results
from evalh.fingerprints import content_hash
from evalh.judging.presentation import Presentation
from evalh.records import CheckResult, Item, Label, Output, Verdict
from evalh.store.inserts import Columns, columns
from evalh.suites.frozen import FrozenSet
from evalh.suites.golden import GoldenSet

if TYPE_CHECKING:
    from evalh.tiers import Settled


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


# ---- in bulk ---------------------------------------------------------------------------------------------------------


def golden_row(golden: GoldenSet) -> dict[str, Any]:
    """The row of `golden_sets`."""
    about = {"canary": golden.canary, "licence": golden.licence, "slices": golden.slices, "locked": golden.locked, "first_seen": now()}
    return {"golden": golden.name, "golden_version": golden.version, "golden_hash": golden.golden_hash, **about}


def item_columns(golden: GoldenSet, items: Sequence[Item]) -> list[Columns]:
    """Rows of `items`."""
    return _columns("items", len(items), {
        "item_id": [i.item_id for i in items], "item_hash": [i.item_hash for i in items],
        "input": [[m.model_dump() for m in i.input] if isinstance(i.input, list) else i.input for i in items],
        "reference": [i.reference for i in items], "slice": [i.slice for i in items], "group": [i.group for i in items],
        "authored_at": [i.authored_at for i in items], "published_at": [i.published_at for i in items],
        "tags": [i.tags for i in items], "meta": [i.meta for i in items],
    }, {"golden": golden.name, "golden_version": golden.version, "golden_hash": golden.golden_hash})  # fmt: skip


def output_columns(run_id: str, found: Sequence[tuple[Item, Output]]) -> list[Columns]:
    """Rows of `outputs`."""
    outputs = [output for _, output in found]
    return _columns("outputs", len(found), {
        "item_id": [o.item_id for o in outputs], "item_hash": [item.item_hash for item, _ in found], "system": [o.system for o in outputs],
        "system_version": [o.system_version for o in outputs], "family": [o.family for o in outputs], "trial": [o.trial for o in outputs],
        "output": [o.text for o in outputs], "tool_calls": [[c.model_dump() for c in o.tool_calls] for o in outputs],
        "output_hash": [o.output_hash for o in outputs], "latency_ms": [o.latency_ms for o in outputs],
        "cost_usd": [o.cost_usd for o in outputs], "tokens": [o.tokens for o in outputs], "error": [o.error for o in outputs],
        "meta": [o.meta for o in outputs],
    }, {"run_id": run_id, "at": now()})  # fmt: skip


def checked_columns(run_id: str, found: Iterable[tuple[Output, Checked]]) -> list[Columns]:
    """Rows of `check_results` for what was checked in bulk, a group for each page and check: what it says of itself is the same in all."""
    pages: dict[int, tuple[Sequence[Results], list[Output], list[int]]] = {}  # by the identity of the results: outputs, their places
    more: list[tuple[Output, CheckResult]] = []
    for output, checked in found:
        _, outputs, places = pages.setdefault(id(checked.results), (checked.results, [], []))
        outputs.append(output)
        places.append(checked.place)
        if checked.more:
            more += [(output, result) for result in checked.more]
    made = []
    for results, outputs, places in pages.values():
        about: dict[str, Sequence[Any]] = {
            "item_id": [o.item_id for o in outputs], "system": [o.system for o in outputs], "trial": [o.trial for o in outputs],
            "output_hash": [o.output_hash for o in outputs],
        }  # fmt: skip
        for (title, check_hash, check, *_), status, score, reason in results:
            made += _columns("check_results", len(places), {
                **about, "status": [status[p] for p in places], "score": [score[p] for p in places],
                "reason": [reason[p] for p in places],
            }, {
                "run_id": run_id, "check": title, "check_hash": check_hash, "negated": check.negate, "blocking": check.blocking,
                "weight": check.weight,
            })  # fmt: skip
    return made + check_columns(run_id, more)


def check_columns(run_id: str, found: Sequence[tuple[Output, CheckResult]]) -> list[Columns]:
    """Rows of `check_results` for single results: those of test functions."""
    return _columns("check_results", len(found), {
        "item_id": [o.item_id for o, _ in found], "system": [o.system for o, _ in found], "trial": [o.trial for o, _ in found],
        "output_hash": [o.output_hash for o, _ in found], "check": [r.check for _, r in found], "status": [r.status for _, r in found],
        "score": [r.score for _, r in found], "reason": [r.reason for _, r in found], "check_hash": [r.check_hash for _, r in found],
        "negated": [r.negated for _, r in found], "blocking": [r.blocking for _, r in found], "weight": [r.weight for _, r in found],
    }, {"run_id": run_id})  # fmt: skip


def verdict_columns(run_id: str, rows: Sequence[Mapping[str, Any]]) -> list[Columns]:
    """Rows of `verdicts`, from those that `verdict_row` makes."""
    names = dict.fromkeys(name for row in rows for name in row)
    return _columns("verdicts", len(rows), {name: [row.get(name) for row in rows] for name in names}, {})


def score_columns(run_id: str, found: Sequence[Settled]) -> list[Columns]:
    """Rows of `scores`."""
    return _columns("scores", len(found), {
        "item_id": [s.item.item_id for s in found], "system": [s.output.system for s in found], "trial": [s.output.trial for s in found],
        "slice": [s.item.slice for s in found], "group": [s.item.group for s in found],
        "against": [s.against.system if s.against else "" for s in found], "route": [s.route for s in found],
        "score": [s.score for s in found], "why": [s.why for s in found], "disagreement": [s.disagreement for s in found],
        "inconsistent": [s.inconsistent for s in found], "judges_mean": [s.judges_mean for s in found],
        "calls_saved": [s.skipped_calls for s in found], "usd_saved": [s.skipped_usd for s in found],
        "output_hash": [s.output.output_hash for s in found],
    }, {"run_id": run_id})  # fmt: skip


_OFTEN_EQUAL = frozenset({
    "system", "system_version", "family", "trial", "cost_usd", "latency_ms", "tokens", "error", "check_hash", "negated", "blocking",
    "weight", "slice", "group", "authored_at", "published_at", "against", "route", "why", "disagreement", "inconsistent", "judges_mean",
    "calls_saved", "usd_saved",
})  # fmt: skip


def _columns(table: str, n: int, values: Mapping[str, Sequence[Any]], same: Mapping[str, Any]) -> list[Columns]:
    """Columns in which all values are equal travel as one value."""
    if not n:
        return []
    equal = {name: column[0] for name, column in values.items() if name in _OFTEN_EQUAL and column.count(column[0]) == n}
    return [columns(table, n, {name: column for name, column in values.items() if name not in equal}, {**same, **equal})]

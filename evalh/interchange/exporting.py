"""`evalh export`: a run as the JSON Lines files that `evalh import` reads, or the whole store as Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from evalh.errors import InputError
from evalh.interchange.importing import ASPECT, JUDGMENTS, LABELS, OUTPUTS, UNREAD
from evalh.interchange.jsonl import preference
from evalh.interchange.lines import place, write_objects
from evalh.store.queries import golden_of_run, items_of_run, of_run
from evalh.store.store import Store
from evalh.suites.golden import ITEMS, MANIFEST

Row = dict[str, Any]


def export_run(store: Store, run: str, folder: Path) -> dict[str, int]:
    """Write the run's items, outputs, judgments and labels into the folder; file → number of rows.

    What the store has none of gets no file. Where the golden set has a canary, every file begins with it. Raises
    InputError where a file of that name is there already.
    """
    golden = golden_of_run(store, run)
    canary = golden["canary"] if golden else None
    files: dict[str, Iterable[Row]] = {
        ITEMS: map(_item, items_of_run(store, run)),
        OUTPUTS: map(_output, of_run(store, "outputs", run)),
        JUDGMENTS: map(_judgment, of_run(store, "verdicts", run)),
        LABELS: map(_label, of_run(store, "labels", run)),
    }
    _make_room(folder, [*files, MANIFEST])
    counts: dict[str, int] = {}
    for name, rows in files.items():
        count = write_objects(folder / name, rows, canary)
        if count:
            counts[name] = count
        else:
            (folder / name).unlink()
    if golden and (golden["slices"] or canary):
        (folder / MANIFEST).write_text(_manifest(golden), encoding="utf-8")
    return counts


def export_parquet(store: Store, folder: Path) -> dict[str, int]:
    """Write every table of the store to `folder/TABLE.parquet`; table → number of rows."""
    return store.write_parquet(folder)


def _make_room(folder: Path, names: Iterable[str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=place(folder)) from error
    for name in names:
        if (folder / name).exists():
            raise InputError("is there already", where=place(folder / name), hint="export into an empty folder")


def _given(**fields: Any) -> Row:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value is not None}


def _item(row: Row) -> Row:
    return {
        "item_id": row["item_id"],
        "input": row["input"],
        **_given(
            reference=row["reference"],
            slice=row["slice"] if row["slice"] != "all" else None,
            group=row["group"],
            authored_at=row["authored_at"],
            published_at=row["published_at"],
            tags=row["tags"] or None,
            meta=row["meta"] or None,
        ),
    }


def _output(row: Row) -> Row:
    return {
        "item_id": row["item_id"],
        "system": row["system"],
        "output": None if row["error"] else row["output"],
        **_given(
            system_version=row["system_version"],
            family=row["family"],
            trial=row["trial"] or None,
            tool_calls=row["tool_calls"] or None,
            latency_ms=row["latency_ms"],
            cost_usd=row["cost_usd"],
            tokens=row["tokens"],
            error=row["error"],
            meta=row["meta"] or None,
        ),
    }


def _judgment(row: Row) -> Row:
    meta = row["meta"] or {}
    common: Row = {"item_id": row["item_id"], "judge": row["judge"], "kind": row["kind"], "systems": row["systems"]}
    common |= _given(
        judge_version=row["judge_version"] or None,
        prompt=row["prompt"] or None,
        aspect=row["aspect"] if row["aspect"] != ASPECT else None,
        trial=row["trial"] or None,
        repeat=row["repeat"] or None,
        order_known=None if row["order_known"] in (None, True) else False,
        at=row["at"].isoformat() + "Z" if row["at"] else None,
        raw=row["raw"],
        rationale=row["rationale"],
        unscored_reason=row["unscored_reason"] if row["unscored_reason"] != UNREAD else None,
        family=row["family"],
        simulated=True if row["simulated"] else None,
        same_family=True if row["same_family"] else None,
    )
    if row["kind"] == "pointwise":
        unit = row["score"] if row["score"] != row["raw_score"] else None  # the same on both scales: said once
        return {**common, "score": row["raw_score"], "label": row["label"], **_given(unit_score=unit), **meta}
    verdict, score = row["verdict"], row["score"]
    follows = verdict is None or score == preference(verdict, meta.get("probs"))
    return {**common, "verdict": verdict, "winner": row["winner"], **({} if follows else {"score": score}), **meta}


def _label(row: Row) -> Row:
    common = {"item_id": row["item_id"], "annotator": row["annotator"], "kind": row["kind"], "systems": row["systems"]}
    optional = ("winner", "verdict", "score", "label", "aspect", "at", "inclusion_probability", "stratum", "note")
    return {**common, **_given(**{name: row[name] for name in optional}), **(row["meta"] or {})}


def _manifest(golden: Row) -> str:
    """golden.toml of the set, without a lock: the exported items.jsonl is written anew."""

    def lines() -> Iterator[str]:
        for key, value in (("name", golden["golden"]), ("version", golden["golden_version"])):
            yield f"{key} = {_toml(value)}"
        for key in ("canary", "licence"):
            if golden[key]:
                yield f"{key} = {_toml(golden[key])}"
        for name, values in (golden["slices"] or {}).items():
            yield f"\n[slices.{_toml(name)}]"
            yield from (f"{key} = {_toml(value)}" for key, value in values.items())

    return "\n".join(lines()) + "\n"


def _toml(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # a JSON string is a TOML basic string

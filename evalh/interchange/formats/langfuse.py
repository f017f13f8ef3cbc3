"""What Langfuse's public API gives: scores, with traces, dataset items, run items or experiment items where they are there.

One file or a folder of them; each a JSON array, a page of the API (`{"data": [...]}`) or JSON Lines. What a record is its
fields tell. People's scores (source ANNOTATION, or API with an author) become labels, others verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from evalh.errors import InputError
from evalh.interchange.formats.base import At, Recorded, Row, as_input, as_text, given, load, load_lines
from evalh.interchange.lines import place

_HINT = "scores, traces, dataset items, run items or experiment items, as Langfuse's public API gives them"
_TYPES = ("NUMERIC", "BOOLEAN", "CATEGORICAL", "TEXT", "CORRECTION")
_SOURCES = ("ANNOTATION", "API", "EVAL")
ELSEWHERE = "scores on sessions or whole dataset runs"
UNNAMED = "unnamed trace"  # the system of an answer that no record names
STEPS = "scores on observations inside a trace"
TWICE = "scores that stand twice (same id)"
TEXTS = "scores of type {}"
EMPTY = "labels without a value"


class _Place(NamedTuple):
    """Where a score belongs."""

    item_id: str
    system: str
    trial: int


@dataclass
class _Found:
    """The records of all files by what they are."""

    scores: list[At] = field(default_factory=list)
    traces: list[At] = field(default_factory=list)
    items: list[At] = field(default_factory=list)
    run_items: list[At] = field(default_factory=list)
    experiment_items: list[At] = field(default_factory=list)


def read(path: Path) -> Recorded:
    """Items, outputs, verdicts and labels. Raises InputError with file and place."""
    found = _Found()
    for record in _records(path):
        _kind(record, found).append(record)
    recorded = Recorded()
    places: dict[str, _Place] = {}  # by trace
    roots: dict[str, str] = {}  # observations that are a whole answer → their traces
    _items(recorded, found.items)
    for item in found.experiment_items:
        places[item["traceId"].a(str)] = _experiment_item(recorded, item)
        roots[item["id"].a(str)] = item["traceId"].a(str)
        found.scores.extend(item["scores"].each())
    runs = {run["traceId"].a(str): run for run in found.run_items}
    for trace in found.traces:
        places[trace["id"].a(str)] = _trace(recorded, trace, runs.get(trace["id"].a(str)))
        found.scores.extend(each for each in trace["scores"].each() if isinstance(each.value, dict))
    seen: set[str] = set()
    for score in found.scores:
        if score["id"].a(str) in seen:
            recorded.skip(TWICE)
            continue
        seen.add(score["id"].a(str))
        _score(recorded, score, places, roots)
    return recorded


def _records(path: Path) -> Iterator[At]:
    files = sorted(file for file in path.iterdir() if file.suffix in (".json", ".jsonl")) if path.is_dir() else [path]
    if not files:
        raise InputError("holds no .json and no .jsonl file", where=place(path), hint=_HINT)
    for file in files:
        yield from _of_file(file)


def _of_file(file: Path) -> Iterable[At]:
    if file.suffix == ".jsonl":
        return load_lines(file, _HINT)
    whole = load(file, _HINT)
    if isinstance(whole.value, dict):
        return whole["data"].each() if "data" in whole.value and "dataType" not in whole.value else [whole]
    return whole.each()


def _kind(record: At, found: _Found) -> list[At]:
    fields = record.a(dict)
    if "experimentItemId" in fields:
        return found.experiment_items
    if "datasetItemId" in fields and "datasetRunId" in fields:
        return found.run_items
    if "datasetId" in fields and "expectedOutput" in fields:
        return found.items
    if "source" in fields or "dataType" in fields:
        return found.scores
    if "id" not in fields or "timestamp" not in fields:
        record.refuse("is no record that is known", _HINT)
    return found.traces


def _items(recorded: Recorded, items: list[At]) -> None:
    for item in items:
        tags = ["archived"] if item["status"].value == "ARCHIVED" else None
        meta = given({"metadata": item["metadata"].value or None, "dataset": item["datasetName"].maybe(str)}) or None
        expected = item["expectedOutput"].value
        recorded.add_item(item["id"].a(str), input=as_input(item["input"].value), reference=expected, tags=tags, meta=meta)


def _experiment_item(recorded: Recorded, item: At) -> _Place:
    item_id, system = item["experimentItemId"].a(str), item["experimentName"].a(str)
    recorded.add_item(item_id, input=as_input(item["input"].value), reference=item["expectedOutput"].value)
    output, failed = item["output"].value, item["level"].value == "ERROR"
    text = None if failed or output is None else as_text(output)
    error = "Langfuse has it at level ERROR" if failed else None
    meta = {"trace_id": item["traceId"].value}
    trial = recorded.add_output(item_id, system, text, error=error, latency_ms=_between(item["startTime"], item["endTime"]), meta=meta)
    return _Place(item_id, system, trial)


def _between(start: At, end: At) -> float | None:
    """Milliseconds between two times."""
    if start.value is None or end.value is None:
        return None
    try:
        return (datetime.fromisoformat(end.a(str)) - datetime.fromisoformat(start.a(str))).total_seconds() * 1000
    except (ValueError, TypeError):
        end.refuse(f"{end.value!r} is no time", "ISO 8601, such as 2026-11-23T10:00:00Z")


def _trace(recorded: Recorded, trace: At, run: At | None) -> _Place:
    """A trace's output; the item is that of its dataset run, else the trace itself."""
    item_id = run["datasetItemId"].a(str) if run is not None else trace["id"].a(str)
    system = run["datasetRunName"].a(str) if run is not None else trace["name"].maybe(str) or UNNAMED
    recorded.add_item(item_id, input=as_input(trace["input"].value))
    output, seconds = trace["output"].value, trace["latency"].maybe(float)
    trial = recorded.add_output(
        item_id,
        system,
        None if output is None else as_text(output),
        system_version=trace.first("version", "release").maybe(str),
        latency_ms=None if seconds is None else seconds * 1000,
        cost_usd=trace["totalCost"].maybe(float),
        meta={"trace_id": trace["id"].value},
    )
    return _Place(item_id, system, trial)


def _score(recorded: Recorded, score: At, places: dict[str, _Place], roots: dict[str, str]) -> None:
    source, kind = _one_of(score["source"], _SOURCES), _one_of(score["dataType"], _TYPES)
    name, author = score["name"].a(str), score["authorUserId"].maybe(str)
    if kind in ("TEXT", "CORRECTION"):
        recorded.skip(TEXTS.format(kind))
        return
    trace, step = _subject(score)
    if step is not None:
        trace = roots.get(step)
    if trace is None:
        recorded.skip(STEPS if step else ELSEWHERE)
        return
    where = places.get(trace) or _Place(trace, UNNAMED, 0)
    value = _value(score, kind)
    if source == "ANNOTATION" or (source == "API" and author):
        if not value:
            recorded.skip(EMPTY)
            return
        told = given({"at": score["timestamp"].maybe(str), "note": score["comment"].maybe(str) or None})
        recorded.add_label(where.item_id, author or "annotator", [where.system], trial=where.trial, aspect=name, **value, **told)
        return
    told = given({"at": score["timestamp"].maybe(str), "rationale": score["comment"].maybe(str), "prompt": score["configId"].maybe(str)})
    unread = {} if value else {"unscored_reason": "the score has no value"}
    recorded.add_judgment(where.item_id, name, [where.system], trial=where.trial, aspect=name, **value, **told, **unread)


def _one_of(at: At, known: tuple[str, ...]) -> str:
    value = at.a(str, f"one of {', '.join(known)}")
    return value if value in known else at.refuse(f"{value!r} is not known", f"one of {', '.join(known)}")


def _subject(score: At) -> tuple[str | None, str | None]:
    """(trace, observation) that a score is on: `subject` in version 3 of the API, before it fields of their own."""
    subject = score["subject"]
    if subject.value is None:
        return score["traceId"].maybe(str), score["observationId"].maybe(str)
    kind, named = subject["kind"].a(str), subject["id"].a(str)
    if kind == "observation":
        return subject["traceId"].maybe(str), named
    return (named, None) if kind == "trace" else (None, None)


def _value(score: At, kind: str) -> Row:
    """Score or label. Booleans are 1 and 0, or true and false; the number of a category means nothing without its config."""
    value, text = score["value"], score["stringValue"].maybe(str)
    if kind == "NUMERIC":
        return given({"score": value.maybe(float)})
    if kind == "BOOLEAN":
        yes = value.value if isinstance(value.value, bool) else value.maybe(float)
        return {} if yes is None else {"score": float(yes), "label": "true" if yes else "false"}
    return given({"label": text or (value.value if isinstance(value.value, str) else None)})

"""Outputs, verdicts and labels by column: what is plain, and what a plain line means.

`odd` looks find every line that is not plain; what they let pass is right, and means what the records of `jsonl` make of it
(`tests/test_interchange_folders.py` compares the two ways).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

from evalh.fingerprints import HASH_LENGTH, canonical, content_hash
from evalh.interchange.batches import Columns, Field, Form, Row
from evalh.interchange.jsonl import TIE, RecordedJudgment, RecordedLabel, judgment_of, label_of, output_of, preference, winner_of
from evalh.store.rows import prepared_value

ASPECT = "overall"  # of verdicts that name none; a label without an aspect keeps none, it speaks of the whole
UNREAD = "the recorded reply could not be read"

EXACT = 2**53  # whole numbers up to here are the same as floats
T = TypeVar("T")

_TEXT, _MAYBE_TEXT = Field(frozenset({str})), Field(frozenset({str, NoneType}))
_WHOLE, _TRUE, _FALSE = Field(frozenset({int}), 0), Field(frozenset({bool}), True), Field(frozenset({bool}), False)
_NUMBER, _LIST = Field(frozenset({float, int, NoneType})), Field(frozenset({list, tuple}))
_MAYBE_LIST, _OBJECT = Field(frozenset({list, tuple, NoneType})), Field(frozenset({dict}), {})

_OUTPUT_FIELDS = {
    "item_id": _TEXT, "system": _TEXT, "output": _TEXT, "system_version": _MAYBE_TEXT, "family": _MAYBE_TEXT, "trial": _WHOLE,
    "tool_calls": _MAYBE_LIST, "latency_ms": _NUMBER, "cost_usd": _NUMBER, "tokens": Field(frozenset({int, NoneType})),
    "error": _MAYBE_TEXT, "meta": _OBJECT,
}  # fmt: skip
_JUDGMENT_FIELDS = {
    "item_id": _TEXT, "judge": _TEXT, "kind": _TEXT, "systems": _LIST, "judge_version": _MAYBE_TEXT, "prompt": _MAYBE_TEXT,
    "aspect": _MAYBE_TEXT, "trial": _WHOLE, "repeat": _WHOLE, "order_known": _TRUE, "verdict": _MAYBE_TEXT, "winner": _MAYBE_TEXT,
    "score": _NUMBER, "probs": _MAYBE_LIST, "label": _MAYBE_TEXT, "samples": _MAYBE_LIST, "at": _MAYBE_TEXT, "raw": _MAYBE_TEXT,
    "rationale": _MAYBE_TEXT, "unscored_reason": _MAYBE_TEXT, "unit_score": _NUMBER, "family": _MAYBE_TEXT, "simulated": _FALSE,
    "same_family": _FALSE, "meta": _OBJECT,
}  # fmt: skip
_LABEL_FIELDS = {
    "item_id": _TEXT, "annotator": _TEXT, "kind": _TEXT, "systems": _LIST, "winner": _MAYBE_TEXT, "verdict": _MAYBE_TEXT,
    "score": _NUMBER, "label": _MAYBE_TEXT, "aspect": _MAYBE_TEXT, "at": _MAYBE_TEXT, "inclusion_probability": _NUMBER,
    "stratum": _MAYBE_TEXT, "note": _MAYBE_TEXT, "meta": _OBJECT,
}  # fmt: skip


def content_hashes(same: Sequence[Any], columns: Sequence[Sequence[Any]]) -> list[str]:
    """`content_hash(*same, *row)` of each row; a value that comes again is put into JSON once."""
    text = _Texts()
    head = "[" + "".join(f"{canonical(value)}," for value in same)
    rows = zip(*(map(text.__getitem__, column) for column in columns), strict=True)
    sha = hashlib.sha256
    return [sha(f"{head}{','.join(row)}]".encode("utf-8", "surrogatepass")).hexdigest()[:HASH_LENGTH] for row in rows]


class _Texts(dict[Any, str]):
    def __missing__(self, value: Any) -> str:
        text = self[value] = canonical(value)
        return text


# ---- outputs --------------------------------------------------------------------------------------------------------


def _odd_outputs(rows: Sequence[Row], columns: Columns) -> Iterator[int]:
    yield from _empty(columns, "item_id", "system")
    yield from _beyond(columns["trial"], 0, 2**31 - 1)
    yield from _beyond(columns["tokens"], 0, 2**63 - 1)
    yield from _beyond(columns["latency_ms"], 0, EXACT)
    yield from _beyond(columns["cost_usd"], 0, EXACT)
    for n, row in enumerate(rows):
        if "tool_calls" in row or "error" in row or "tool_calls" in row.get("meta", ()):
            yield n


def _careful_output(data: Row, path: Path, line: int) -> Row:
    made = output_of(data, path, line).model_dump(mode="json")
    text = made.pop("text")
    return {**made, "output": text}


def _output_columns(rows: Sequence[Row], columns: Columns) -> Columns:
    numbers = {name: _floats(columns[name]) for name in ("latency_ms", "cost_usd")}
    calls = [list(value or ()) for value in columns["tool_calls"]]
    hashes = [content_hash(text, some) for text, some in zip(columns["output"], calls, strict=True)]
    json = {"tool_calls": _json("outputs", "tool_calls", calls), "meta": _json("outputs", "meta", _meta(rows, columns))}
    return {**columns, **numbers, **json, "output_hash": hashes}


# ---- verdicts -------------------------------------------------------------------------------------------------------


def _odd_judgments(rows: Sequence[Row], columns: Columns) -> Iterator[int]:
    kinds, verdicts, scores = columns["kind"], columns["verdict"], columns["score"]
    yield from _empty(columns, "item_id", "judge")
    yield from _beyond(columns["trial"], 0, 2**31 - 1)
    yield from _beyond(columns["repeat"], 0, 2**31 - 1)
    yield from _beyond(scores, -EXACT, EXACT)
    yield from _beyond(columns["unit_score"], 0, 1)
    yield from _odd_lists(columns["probs"], 2, 0, 1)
    yield from _odd_lists(columns["samples"], None, -EXACT, EXACT)
    yield from _odd_times(columns["at"])
    yield from _odd_answers(columns, _right_verdict)
    for n, (row, kind, verdict, score) in enumerate(zip(rows, kinds, verdicts, scores, strict=True)):
        if kind == "pairwise":
            if "verdict" not in row or (score is not None and (verdict is None or not 0 <= score <= 1)):
                yield n
        elif "score" not in row and "label" not in row:
            yield n


def _right_verdict(kind: str, systems: tuple[str, ...], verdict: str | None, winner: str | None) -> bool:
    if kind == "pointwise":
        return _one_system(systems) and verdict is None and winner is None
    if kind != "pairwise" or not _two_systems(systems):
        return False
    return winner is None if verdict is None else _fits(systems, verdict, winner)


def _careful_judgment(data: Row, path: Path, line: int) -> Row:
    return _fields_of(judgment_of(data, path, line))


def _judgment_columns(rows: Sequence[Row], columns: Columns) -> Columns:
    """What a verdict says, as the store has it; the score on [0, 1] of a pointwise one waits for the other verdicts."""
    kinds, verdicts = columns["kind"], columns["verdict"]
    scores = _floats(columns["score"])
    pairwise = [kind == "pairwise" for kind in kinds]
    meta, probs = _meta(rows, columns), columns["probs"]
    for name in ("probs", "samples"):
        given = columns.pop(name)
        meta = [values if more is None else {**values, name: _floats(more)} for values, more in zip(meta, given, strict=True)]
    preferences = [
        None if not pair or verdict is None else score if score is not None else preference(verdict, both)
        for pair, verdict, score, both in zip(pairwise, verdicts, scores, probs, strict=True)
    ]
    scored = [
        verdict is not None if pair else score is not None or label is not None
        for pair, verdict, score, label in zip(pairwise, verdicts, scores, columns["label"], strict=True)
    ]
    systems = list(map(tuple, columns["systems"]))
    reasons = zip(scored, columns["unscored_reason"], strict=True)
    return {
        **{name: column for name, column in columns.items() if name != "score"},
        "systems": systems,
        "judge_version": [version or "" for version in columns["judge_version"]],
        "prompt": [prompt or "" for prompt in columns["prompt"]],
        "aspect": [aspect or ASPECT for aspect in columns["aspect"]],
        "winner": [None if v is None else winner_of(v, s) for v, s in zip(verdicts, systems, strict=True)],
        "raw_score": [None if pair else score for pair, score in zip(pairwise, scores, strict=True)],
        "preference": preferences,
        "unit_score": _floats(columns["unit_score"]),
        "status": ["scored" if read else "unscored" for read in scored],
        "unscored_reason": [None if read else reason or UNREAD for read, reason in reasons],
        "meta": _json("verdicts", "meta", [values or None for values in meta]),
    }


# ---- labels ---------------------------------------------------------------------------------------------------------


def _odd_labels(rows: Sequence[Row], columns: Columns) -> Iterator[int]:
    yield from _empty(columns, "item_id", "annotator")
    yield from _beyond(columns["score"], -EXACT, EXACT)
    yield from (n for n, p in enumerate(columns["inclusion_probability"]) if p is not None and not 0 < p <= 1)
    yield from _odd_answers(columns, _right_label)
    for n, (kind, score, label) in enumerate(zip(columns["kind"], columns["score"], columns["label"], strict=True)):
        if kind == "pointwise" and score is None and label is None:
            yield n


def _right_label(kind: str, systems: tuple[str, ...], verdict: str | None, winner: str | None) -> bool:
    if kind == "pointwise":
        return _one_system(systems) and verdict in (None, "first", "second", TIE)
    return kind == "pairwise" and _two_systems(systems) and winner is not None and _fits(systems, verdict, winner)


def _careful_label(data: Row, path: Path, line: int) -> Row:
    return _fields_of(label_of(data, path, line))


def _label_columns(rows: Sequence[Row], columns: Columns) -> Columns:
    numbers = {name: _floats(columns[name]) for name in ("score", "inclusion_probability")}
    given = _meta(rows, columns)
    meta = _json("labels", "meta", [values or None for values in given])
    return {**columns, **numbers, "systems": list(map(tuple, columns["systems"])), "meta": meta, "trial": list(map(_trial, given))}


def _trial(meta: Row | None) -> int | None:
    """The trial that a recorded label speaks of: no field of labels.jsonl, so it stands under `meta`."""
    trial = (meta or {}).get("trial")
    return trial if type(trial) is int and trial >= 0 else None


# ---- looks and turns ------------------------------------------------------------------------------------------------


def _fields_of(record: RecordedJudgment | RecordedLabel) -> Row:
    """The fields of a record as a line would have them, the values themselves."""
    return dict(record)


def _empty(columns: Columns, *names: str) -> Iterator[int]:
    for name in names:
        if "" in columns[name]:
            yield from (n for n, text in enumerate(columns[name]) if not text)


def _beyond(values: Sequence[float | None], low: float, high: float) -> Iterable[int]:
    return [n for n, value in enumerate(values) if value is not None and not low <= value <= high]


def _odd_lists(values: Sequence[Sequence[Any] | None], size: int | None, low: float, high: float) -> Iterator[int]:
    """Lists of numbers: those of another size, with something else in them, or out of range. In samples a number may be null."""
    plain = {float, int} if size else {float, int, NoneType}
    for n, some in enumerate(values):
        if some is not None and (
            len(some) != (size or len(some))
            or not plain.issuperset(map(type, some))
            or not all(v is None or low <= v <= high for v in some)
        ):
            yield n


def _odd_times(values: Sequence[str | None]) -> Iterator[int]:
    for n, text in enumerate(values):
        if text is not None:
            try:
                datetime.fromisoformat(text)
            except ValueError:
                yield n


def _odd_answers(columns: Columns, right: Any) -> Iterator[int]:
    """Kind, systems, verdict and winner that do not go together; each combination is looked at once."""
    systems = columns["systems"]
    if not {str}.issuperset(map(type, chain.from_iterable(systems))):
        mixed = {n for n, some in enumerate(systems) if any(type(s) is not str for s in some)}
        yield from mixed
        systems = [() if n in mixed else some for n, some in enumerate(systems)]
    said = list(zip(columns["kind"], map(tuple, systems), columns["verdict"], columns["winner"], strict=True))
    wrong = {one for one in set(said) if not right(*one)}
    if wrong:
        yield from (n for n, one in enumerate(said) if one in wrong)


def _one_system(systems: tuple[str, ...]) -> bool:
    return not systems or (len(systems) == 1 and systems[0] != "")


def _two_systems(systems: tuple[str, ...]) -> bool:
    return len(systems) == 2 and systems[0] != systems[1] and "" not in systems and TIE not in systems


def _fits(systems: tuple[str, ...], verdict: str | None, winner: str | None) -> bool:
    """Verdict and winner, as far as both are given, say the same about the two."""
    if verdict is None:
        return winner is None or winner in (*systems, TIE)
    return verdict in ("first", "second", TIE) and winner in (None, winner_of(verdict, systems))


def _floats(values: Sequence[Any]) -> list[Any]:
    return [None if v is None else float(v) for v in values] if int in set(map(type, values)) else list(values)


def _meta(rows: Sequence[Row], columns: Columns) -> list[dict[str, Any]]:
    """`meta` with the fields of the line that are not known."""
    known = columns.keys()
    if set().union(*rows) <= known:
        return columns["meta"]
    extra = ({name: value for name, value in row.items() if name not in known} for row in rows)
    return [{**more, **meta} if more else meta for more, meta in zip(extra, columns["meta"], strict=True)]


def _json(table: str, name: str, values: Sequence[Any]) -> list[str | None]:
    """The values as the store keeps JSON: text, which takes less memory than what it says."""
    return [prepared_value(table, name, value) for value in values]


OUTPUT = Form(_OUTPUT_FIELDS, _odd_outputs, _careful_output, _output_columns)
JUDGMENT = Form(_JUDGMENT_FIELDS, _odd_judgments, _careful_judgment, _judgment_columns)
LABEL = Form(_LABEL_FIELDS, _odd_labels, _careful_label, _label_columns)

"""The JSON Lines files of evalh: items, outputs, judgments, labels.

Readers stream. Each line is checked before it is yielded, and an error names file, line, field and what would be right.
An unknown field of an item is an error, because it is most likely a misspelt one; what tools write beside recorded
outputs, judgments and labels is kept under `meta`.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from evalh.errors import InputError
from evalh.interchange.lines import place, read_objects, refuse, validated
from evalh.records import Item, Label, Output, Record, ToolCall

TIE = "tie"


class _Line(Record):
    """A record as a line of a file holds it: types are taken as they are, so that `"1"` is no number."""

    model_config = ConfigDict(strict=True)


class RecordedJudgment(_Line):
    """One line of judgments.jsonl: what a judge once said. A null verdict (pointwise: score and label null) is unread."""

    item_id: str = Field(min_length=1)
    judge: str = Field(min_length=1)
    kind: Literal["pairwise", "pointwise"]
    systems: tuple[str, ...] = Field(strict=False, description="in the order shown")
    judge_version: str | None = None
    prompt: str | None = None
    aspect: str | None = None
    trial: int = Field(default=0, ge=0, lt=2**31)
    repeat: int = Field(default=0, ge=0, lt=2**31)
    order_known: bool = True
    verdict: Literal["first", "second", "tie"] | None = None
    winner: str | None = None
    score: float | None = Field(default=None, description="pairwise: preference for the second shown; pointwise: on its own scale")
    probs: tuple[float, float] | None = Field(default=None, strict=False, description="of first and second")
    label: str | None = None
    samples: list[float | None] | None = None
    at: str | None = None
    raw: str | None = None
    rationale: str | None = None
    unscored_reason: str | None = None
    unit_score: float | None = Field(default=None, ge=0, le=1, description="pointwise: the score on [0, 1], where the scale is known")
    family: str | None = Field(default=None, description="of the judge")
    simulated: bool = Field(default=False, description="the judge was simulated, and every table says so")
    same_family: bool = Field(default=False, description="the judge shares a lineage with a system it judged")
    meta: dict[str, Any] = Field(default_factory=dict, description="whatever else the line says")

    @property
    def scored(self) -> bool:
        """Whether the judge's reply could be read."""
        return self.verdict is not None if self.kind == "pairwise" else self.score is not None or self.label is not None

    @property
    def preference(self) -> float | None:
        """Pairwise: preference for the second shown in [0, 1]: as given, else as it follows. None where the reply was unread."""
        if self.kind != "pairwise" or self.verdict is None:
            return None
        return self.score if self.score is not None else preference(self.verdict, self.probs)


class RecordedLabel(_Line):
    """One line of labels.jsonl, with what it says beyond a `Label`."""

    item_id: str = Field(min_length=1)
    annotator: str = Field(min_length=1)
    kind: Literal["pairwise", "pointwise"]
    systems: tuple[str, ...] = Field(strict=False)
    winner: str | None = None
    verdict: Literal["first", "second", "tie"] | None = None
    score: float | None = None
    label: str | None = None
    aspect: str | None = None
    at: str | None = None
    inclusion_probability: float | None = Field(default=None, gt=0, le=1)
    stratum: str | None = None
    note: str | None = None
    meta: dict[str, Any] = Field(default_factory=dict)

    @property
    def as_label(self) -> Label:
        return Label(**self.model_dump(exclude={"note", "meta"}))


class _OutputLine(_Line):
    item_id: str = Field(min_length=1)
    system: str = Field(min_length=1)
    output: Any
    system_version: str | None = None
    family: str | None = None
    trial: int = Field(default=0, ge=0, lt=2**31)
    tool_calls: list[dict[str, Any]] | None = None
    latency_ms: float | None = Field(default=None, ge=0)
    cost_usd: float | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0, lt=2**63)
    error: str | None = None
    meta: dict[str, Any] = Field(default_factory=dict)


_ITEM_HINTS = {
    "item_id": "every item needs one, and no two the same",
    "input": "text, a list of chat messages ({role, content}), or null where the text may not be shared",
    "*": "an item has " + ", ".join(Item.model_fields) + "; anything else goes under `meta`",
}
_OUTPUT_HINTS = {
    "item_id": "the item that was answered",
    "system": "the name of what answered",
    "output": "text, or null where the system gave none",
    "trial": "0 for the first answer, 1 for the second, …",
}
_VERDICT_HINTS = {
    "item_id": "the item that was judged",
    "judge": "the name of the judge",
    "annotator": "who gave the label",
    "kind": "`pairwise` or `pointwise`",
    "systems": "pairwise: the two systems in the order shown; pointwise: a list of one, empty where the item itself was rated",
    "verdict": "`first`, `second` or `tie`, as shown; null where the reply could not be read",
    "repeat": "0, 1, 2, … where the judge was asked the same again",
}


ITEM_AGAIN = ("field `item_id`: `{}` again, as on line {}", "each item_id stands once")  # fault and hint, for `once`
OUTPUT_AGAIN = ("the output {} again, as on line {}", "an (item_id, system, trial) stands once; count `trial` up")


def read_items(path: Path) -> Iterator[Item]:
    """The items of an items.jsonl."""
    for _, item in numbered_items(path):
        yield item


def read_outputs(path: Path) -> Iterator[Output]:
    """The outputs of an outputs.jsonl. An `output` that is not text becomes its JSON text; null is an error of the system."""
    for _, output in numbered_outputs(path):
        yield output


def read_judgments(path: Path) -> Iterator[RecordedJudgment]:
    """The verdicts of a judgments.jsonl, unread ones too."""
    for _, judgment in numbered_judgments(path):
        yield judgment


def read_labels(path: Path) -> Iterator[Label]:
    """The labels of a labels.jsonl."""
    for _, label in numbered_labels(path):
        yield label.as_label


def numbered_items(path: Path) -> Iterator[tuple[int, Item]]:
    """`read_items` with line numbers."""
    seen: dict[Hashable, int] = {}
    for line, data in read_objects(path):
        item = item_of(data, path, line)
        once(seen, item.item_id, path, line, *ITEM_AGAIN)
        yield line, item


def numbered_outputs(path: Path) -> Iterator[tuple[int, Output]]:
    """`read_outputs` with line numbers."""
    seen: dict[Hashable, int] = {}
    for line, data in read_objects(path):
        output = output_of(data, path, line)
        once(seen, (output.item_id, output.system, output.trial), path, line, *OUTPUT_AGAIN)
        yield line, output


def numbered_judgments(path: Path) -> Iterator[tuple[int, RecordedJudgment]]:
    """`read_judgments` with line numbers."""
    seen: dict[Hashable, int] = {}
    for line, data in read_objects(path):
        row = judgment_of(data, path, line)
        key = (row.item_id, row.judge, row.judge_version, row.prompt, row.systems, row.aspect, row.trial, row.repeat)
        once(seen, key, path, line, "the verdict {} again, as on line {}", "count `repeat` up where the judge was asked the same again")
        yield line, row


def numbered_labels(path: Path) -> Iterator[tuple[int, RecordedLabel]]:
    """`read_labels` with line numbers, and what the lines say beyond a `Label`."""
    seen: dict[Hashable, int] = {}
    for line, data in read_objects(path):
        row = label_of(data, path, line)
        key = (row.item_id, row.annotator, row.systems, row.aspect)
        once(seen, key, path, line, "the label {} again, as on line {}", "one person labels an output once for each aspect")
        yield line, row


def once(seen: dict[Hashable, int], key: Hashable, path: Path, line: int, fault: str, hint: str) -> None:
    """Keep the line of a key. Raises InputError, of `fault` with the key and the line before filled in, where it has one already."""
    before = seen.setdefault(key, line)
    if before != line:
        shown = key if isinstance(key, str) else json.dumps(key, ensure_ascii=False)
        raise InputError(fault.format(shown, before), where=place(path, line), hint=hint)


def _with_meta(model: type[Record], data: dict[str, Any], path: Path, line: int) -> dict[str, Any]:
    """The object with its unknown fields moved under `meta`."""
    extra = {name: value for name, value in data.items() if name not in model.model_fields}
    if not extra:
        return data
    meta = data.get("meta", {})
    if not isinstance(meta, dict):
        refuse(path, line, "meta", "must be an object", None)
    return {**{k: v for k, v in data.items() if k not in extra}, "meta": {**extra, **meta}}


def item_of(data: dict[str, Any], path: Path, line: int) -> Item:
    """The object of one line as an item. Raises InputError with line and field."""
    return validated(Item, data, path, line, _ITEM_HINTS)


def judgment_of(data: dict[str, Any], path: Path, line: int) -> RecordedJudgment:
    """The object of one line as a recorded verdict. Raises InputError with line and field."""
    row = validated(RecordedJudgment, _with_meta(RecordedJudgment, data, path, line), path, line, _VERDICT_HINTS)
    _check_systems(row, path, line)
    _check_at(row.at, path, line)
    return _pairwise(row, data, path, line) if row.kind == "pairwise" else _pointwise(row, data, path, line)


def label_of(data: dict[str, Any], path: Path, line: int) -> RecordedLabel:
    """The object of one line as a recorded label. Raises InputError with line and field."""
    row = validated(RecordedLabel, _with_meta(RecordedLabel, data, path, line), path, line, _VERDICT_HINTS)
    _check_systems(row, path, line)
    if row.kind == "pairwise":
        if row.winner is None:
            refuse(path, line, "winner", "missing", "one of the two systems, or `tie`")
        _check_winner(row, path, line)
    elif row.score is None and row.label is None:
        refuse(path, line, "score", "missing", "a pointwise label has a `score` or a `label`")
    return row


def output_of(data: dict[str, Any], path: Path, line: int, given: Mapping[str, Any] | None = None) -> Output:
    """The object of one line as an output; `given` are fields that the suite sets. Raises InputError with line and field."""
    data = data if data.keys() <= _OUTPUT_FIELDS else _with_meta(_OutputLine, data, path, line)
    plain = _plain_output(data, given)
    if plain is not None:
        return plain
    output = _output(validated(_OutputLine, data, path, line, _OUTPUT_HINTS), path, line)
    return output.model_copy(update=given) if given else output


_OUTPUT_FIELDS = _OutputLine.model_fields.keys()


def _plain_output(data: dict[str, Any], given: Mapping[str, Any] | None) -> Output | None:
    """An output that is text and nothing odd, in a third of the time; None leaves it to `_OutputLine`, and to its errors."""
    text, meta = data.get("output"), data.get("meta")
    if type(text) is not str or "tool_calls" in data or "error" in data or (type(meta) is dict and "tool_calls" in meta):
        return None
    fields = {**data, "text": text, **(given or {})}
    del fields["output"]
    try:
        made = Output.model_validate(fields, strict=True)
    except ValidationError:
        return None
    tokens = made.tokens or 0
    known = made.item_id and made.system and made.trial < 2**31 and tokens < 2**63
    return made if known and min(made.trial, tokens, made.latency_ms or 0, made.cost_usd or 0) >= 0 else None


def _output(row: _OutputLine, path: Path, line: int) -> Output:
    meta = dict(row.meta)
    given = row.tool_calls if row.tool_calls is not None else meta.pop("tool_calls", None)
    calls = _tool_calls(given or [], path, line)
    if row.error and row.output is not None:
        refuse(path, line, "error", "given beside an output", "`output` is null where the system failed")
    error = row.error or (None if row.output is not None or calls else "the recorded output is null")
    text = "" if row.output is None else row.output if isinstance(row.output, str) else json.dumps(row.output, ensure_ascii=False)
    fields = row.model_dump(include={"item_id", "system", "system_version", "family", "trial", "latency_ms", "cost_usd", "tokens"})
    return Output(**fields, text=text, tool_calls=calls, error=error, meta=meta)


def _tool_calls(given: Any, path: Path, line: int) -> list[ToolCall]:
    """Calls as `{name, arguments}`, or as the OpenAI format has them: under `function`, arguments as JSON text."""
    hint = "a list of {name, arguments: {…}}"
    if not isinstance(given, list):
        refuse(path, line, "tool_calls", "must be a list", hint)
    calls = []
    for number, entry in enumerate(given):
        call = entry.get("function", entry) if isinstance(entry, dict) else {}
        arguments = call.get("arguments", {}) if isinstance(call, dict) else None
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments or "{}")
            except ValueError:
                refuse(path, line, f"tool_calls[{number}].arguments", "not JSON", hint)
        if not isinstance(call, dict) or not isinstance(call.get("name"), str) or not isinstance(arguments, dict):
            refuse(path, line, f"tool_calls[{number}]", "is no tool call", hint)
        calls.append(ToolCall(name=call["name"], arguments=arguments))
    return calls


def _check_systems(row: RecordedJudgment | RecordedLabel, path: Path, line: int) -> None:
    named = len(set(filter(None, row.systems)))
    if named != len(row.systems) or (named != 2 if row.kind == "pairwise" else named > 1):
        fault = f"{row.kind} needs {'two different systems' if row.kind == 'pairwise' else 'one system'}"
        refuse(path, line, "systems", fault, _VERDICT_HINTS["systems"])
    if row.kind == "pairwise" and TIE in row.systems:
        refuse(path, line, "systems", "a system of a pair is called `tie`", "give it another name: `tie` says that nobody wins")


def _check_at(at: str | None, path: Path, line: int) -> None:
    if at is None:
        return
    try:
        datetime.fromisoformat(at)
    except ValueError:
        refuse(path, line, "at", f"`{at}` is no time", "ISO 8601, such as 2026-11-23T10:00:00Z")


def _check_winner(row: RecordedJudgment | RecordedLabel, path: Path, line: int) -> None:
    if row.winner is not None and row.winner not in (*row.systems, TIE):
        refuse(path, line, "winner", f"`{row.winner}` is none of {', '.join(row.systems)}", "one of `systems`, or `tie`")
    if row.winner is not None and row.verdict is not None and row.winner != winner_of(row.verdict, row.systems):
        shown = ", ".join(row.systems)
        refuse(path, line, "winner", f"`{row.winner}` does not fit verdict `{row.verdict}` of {shown}", "leave out one of them")


def winner_of(verdict: str, systems: tuple[str, ...]) -> str:
    """The system that a verdict on two systems in the order shown names, or `tie`."""
    return TIE if verdict == TIE else systems[0] if verdict == "first" else systems[1]


def preference(verdict: str, probs: Sequence[float] | None) -> float:
    """Preference for the second shown in [0, 1], from the judge's probabilities of first and second, else from its verdict."""
    if probs is not None and sum(probs) > 0:
        return probs[1] / sum(probs)
    return {"first": 0.0, "tie": 0.5, "second": 1.0}[verdict]


def _pairwise(row: RecordedJudgment, data: dict[str, Any], path: Path, line: int) -> RecordedJudgment:
    if "verdict" not in data:
        refuse(path, line, "verdict", "missing", _VERDICT_HINTS["verdict"])
    _check_winner(row, path, line)
    if row.verdict is None:
        if row.winner is not None or row.score is not None:
            refuse(path, line, "verdict", "null beside a winner or a score", "a reply that could not be read has neither")
        return row
    if row.score is not None and not 0 <= row.score <= 1:
        refuse(path, line, "score", f"{row.score:g} is outside [0, 1]", "pairwise: the preference for the second shown")
    if row.probs is not None and not all(0 <= p <= 1 for p in row.probs):
        refuse(path, line, "probs", "outside [0, 1]", "the probabilities of first and second")
    return row.model_copy(update={"winner": winner_of(row.verdict, row.systems)})


def _pointwise(row: RecordedJudgment, data: dict[str, Any], path: Path, line: int) -> RecordedJudgment:
    if "score" not in data and "label" not in data:
        refuse(path, line, "score", "missing", "a pointwise verdict has a `score` or a `label`; null where the reply could not be read")
    if row.verdict is not None or row.winner is not None:
        refuse(path, line, "verdict", "given in a pointwise verdict", "pairwise verdicts have two `systems` and `kind` pairwise")
    return row

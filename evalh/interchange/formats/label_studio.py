"""Label Studio's export as JSON: a list of tasks with annotations and predictions.

The fields of a task's `data` say what was labelled: `item_id`, `input`, `output`, `system`, and for pairs `output_left`,
`output_right`, `system_left`, `system_right`. Annotations become labels, predictions verdicts; a control's name is the aspect.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from evalh.interchange.formats.base import At, Recorded, Row, as_input, given, load

_HINT = "an export of Label Studio in the format JSON (not JSON-MIN and not CSV)"
_INPUTS, _OUTPUTS, _SYSTEMS = ("input", "question", "prompt"), ("output", "answer", "response"), ("system", "model")
_SIDES = {"left": "first", "right": "second", "tie": "tie"}
CANCELLED = "annotations that were skipped (was_cancelled)"
EMPTY = "annotations without a result"
DRAFTS = "drafts"
ONLY_ID = "predictions of which the export has only the id"
NOT_ON_PAIRS = "results of type {} on a pair"
OTHER = "results of type {}"
LONE_TEXT = "remarks (textarea) without a label beside them"


class _Shown(NamedTuple):
    """What a task showed: one output of a system, or those of two, left and right."""

    item_id: str
    systems: list[str]
    trial: int


def read(path: Path) -> Recorded:
    """Items, outputs, labels and predictions. Raises InputError with file and place."""
    tasks = load(path, _HINT)
    tasks.a(list, _HINT)
    recorded = Recorded()
    seen: dict[tuple[str, str, str], int] = {}  # (item, system, output) → trial
    for task in tasks.each():
        if task["annotations"].value is None:
            task["annotations"].refuse("missing", _HINT)
        shown = _task(recorded, task, seen)
        recorded.skip(DRAFTS, len(task["drafts"].maybe(list) or []))
        predictions = {at.value["id"]: at for at in _snapshots(task)}
        for annotation in sorted(task["annotations"].each(), key=lambda each: each["updated_at"].maybe(str) or ""):
            _annotation(recorded, annotation, shown)
        for prediction in task["predictions"].each():
            at = predictions.get(prediction.value) if isinstance(prediction.value, int) else prediction
            if at is None:
                recorded.skip(ONLY_ID)
            else:
                _prediction(recorded, at, shown)
    return recorded


def _task(recorded: Recorded, task: At, seen: dict[tuple[str, str, str], int]) -> _Shown:
    data = task["data"]
    named = data.first("item_id", "id")
    item_id = str(named.value) if type(named.value) is int else named.maybe(str) or f"task-{task['id'].a(int)}"
    reference = data["reference"].value
    recorded.add_item(item_id, input=as_input(data.first(*_INPUTS).value), reference=reference, slice=data["slice"].maybe(str))
    sides = ("_left", "_right") if _is_pair(data) else ("",)
    systems, trials = [], []
    for side in sides:
        system = data.first(*(name + side for name in _SYSTEMS)).a(str, _wanted(sides))
        output = data.first(*(name + side for name in _OUTPUTS)).a(str, _wanted(sides))
        key = (item_id, system, output)
        if key not in seen:
            seen[key] = recorded.add_output(item_id, system, output, family=data["family" + side].maybe(str))
        systems.append(system)
        trials.append(seen[key])
    if len(set(systems)) < len(systems):
        data["system_right"].refuse(f"is {systems[1]!r}, as on the left", "a pair is of two systems")
    return _Shown(item_id, systems, max(trials))


def _is_pair(data: At) -> bool:
    return any(data[name + "_left"].value is not None for name in (*_OUTPUTS, *_SYSTEMS))


def _wanted(sides: tuple[str, ...]) -> str:
    if len(sides) == 2:
        return "the data of a pair has `system_left`, `system_right`, `output_left` and `output_right`"
    return "the data of a task has `system` (what answered) and `output`; of a pair: `system_left`, `system_right`, …"


def _snapshots(task: At) -> Iterator[At]:
    """Predictions as the annotations that began from them keep them: the export itself may have their ids only."""
    for annotation in task["annotations"].each():
        prediction = annotation["prediction"]
        if isinstance(prediction.value, dict) and "id" in prediction.value:
            yield prediction


def _annotation(recorded: Recorded, annotation: At, shown: _Shown) -> None:
    if annotation["was_cancelled"].maybe(bool):
        recorded.skip(CANCELLED)
        return
    annotator = _annotator(annotation["completed_by"])
    labels = list(_answers(recorded, annotation, shown))
    note = "\n".join(_remarks(annotation)) or None
    if not labels:
        recorded.skip(LONE_TEXT if note else EMPTY)
    for number, label in enumerate(labels):
        truth = True if annotation["ground_truth"].maybe(bool) else None
        fields = given({**label, "at": annotation["updated_at"].maybe(str), "note": None if number else note, "ground_truth": truth})
        recorded.add_label(shown.item_id, annotator, shown.systems, trial=shown.trial, **fields)


def _annotator(by: At) -> str:
    if isinstance(by.value, dict):
        by = by.first("id", "email")
    return by.value if isinstance(by.value, str) and by.value else f"user-{by.a(int, 'who annotated: an id, or an object with `id`')}"


def _prediction(recorded: Recorded, prediction: At, shown: _Shown) -> None:
    confidence = prediction["score"].maybe(float)
    judge = prediction["model_version"].maybe(str) or "unnamed model"
    for answer in _answers(recorded, prediction, shown):
        fields: Row = {**answer, "trial": shown.trial, "at": prediction["created_at"].maybe(str)}
        winner = fields.pop("winner", None)
        fields = given({**fields, "confidence": confidence}) | ({"verdict": answer["verdict"]} if winner else {})
        recorded.add_judgment(shown.item_id, judge, shown.systems, **fields)


def _answers(recorded: Recorded, given_by: At, shown: _Shown) -> Iterator[Row]:
    """What the controls of an annotation or a prediction say; remarks are no answers."""
    for result in given_by["result"].each():
        kind = result["type"].a(str)
        if kind == "textarea":
            continue
        aspect = result["from_name"].a(str)
        answer = _of_pair(result, kind, shown) if len(shown.systems) == 2 else _of_one(result, kind)
        if answer is None:
            recorded.skip((NOT_ON_PAIRS if len(shown.systems) == 2 else OTHER).format(kind))
        else:
            yield {**answer, "aspect": aspect}


def _of_one(result: At, kind: str) -> Row | None:
    value = result["value"]
    if kind == "choices":
        chosen = [each.a(str) for each in value["choices"].each()]
        return {"label": "; ".join(sorted(chosen))} if chosen else value["choices"].refuse("missing", "the chosen values")
    if kind in ("rating", "number"):
        return {"score": value[kind].a(float)}
    return None


def _of_pair(result: At, kind: str, shown: _Shown) -> Row | None:
    value = result["value"]
    side = value["selected"].a(str) if kind == "pairwise" else (value["choices"].maybe(list) or [None])[0] if kind == "choices" else None
    if side not in _SIDES:
        return None if kind != "pairwise" else value["selected"].refuse(f"{side!r} is no side", "`left` or `right`")
    verdict = _SIDES[side]
    return {"verdict": verdict, "winner": {"first": shown.systems[0], "second": shown.systems[1], "tie": "tie"}[verdict]}


def _remarks(annotation: At) -> Iterator[Any]:
    for result in annotation["result"].each():
        if result["type"].value == "textarea":
            text = result["value"]["text"]
            yield from [text.a(str)] if isinstance(text.value, str) else [each.a(str) for each in text.each()]

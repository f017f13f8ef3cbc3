"""Inspect's logs, `.json` and `.eval`, one file or a folder of them (log version 2).

Samples are items, epochs are trials, the evaluated model is the system. Scores that a model gave become verdicts, edits of
scores by people labels, scores that code gave stay in the output's `meta.scores`. A score of NaN is unscored.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalh.errors import InputError
from evalh.interchange.formats.base import At, Recorded, Row, as_text, given, load
from evalh.interchange.formats.inspect_zip import read_members
from evalh.interchange.lines import place

_HINT = "a log that `inspect eval` wrote, as .json or .eval"
_LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}  # correct, partial, incorrect, no answer: Inspect's value_to_float
_WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_KEPT = "UNCHANGED"
INVALID = "samples that were marked invalid"
LISTS = "scores that are lists"
UNSIGNED = "edits of scores without an author"
UNMOVED = "edits of scores that leave the value as it was"


def read(path: Path) -> Recorded:
    """Items, outputs, verdicts of model-graded scorers and people's edits. Raises InputError with file and place."""
    logs = [_log(file) for file in _files(path)]
    tasks = {log["eval"]["task"].a(str) for log in logs}
    recorded = Recorded()
    for log in logs:
        samples = log["samples"]
        if samples.value is None:
            samples.refuse("there are none in this log", "run the evaluation with `log_samples`")
        prefix = f"{log['eval']['task'].value}/" if len(tasks) > 1 else ""
        for sample in sorted(samples.each(), key=lambda each: each["epoch"].a(int)):
            _sample(recorded, log["eval"], sample, prefix)
    return recorded


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix in (".json", ".eval") and file.name != "logs.json")
    if not found:
        raise InputError("holds no .json and no .eval file", where=place(path), hint=_HINT)
    return found


def _log(path: Path) -> At:
    log = read_members(path) if path.suffix == ".eval" else load(path, _HINT)
    version = log["version"]
    if version.a(int, _HINT) != 2:
        version.refuse(f"version {version.value} is not known", "version 2 is; `inspect log convert` writes it")
    return log


def _sample(recorded: Recorded, about: At, sample: At, prefix: str) -> None:
    if sample["invalidation"].value is not None:
        recorded.skip(INVALID)
        return
    item_id, system = prefix + _id(sample["id"]), about["model"].a(str)
    target, choices = sample["target"].value, sample["choices"].maybe(list)
    reference = target[0] if isinstance(target, list) and len(target) == 1 else target
    meta = given({"metadata": sample["metadata"].maybe(dict) or None, "choices": choices or None})
    recorded.add_item(item_id, input=_input(sample["input"]), reference=reference or None, meta=meta or None)
    scores = dict(sample["scores"].fields())
    graders = {name: _grader(about, name, score) for name, score in scores.items()}
    trial = _output(recorded, sample, item_id, system, {n: s for n, s in scores.items() if graders[n] is None})
    for name, score in scores.items():
        grader = graders[name]
        for aspect, part in _parts(recorded, score):
            if grader is not None:
                _judgment(recorded, part, grader, name, aspect, item_id, system, trial)
            _labels(recorded, part, name if grader is None else aspect, item_id, system, trial)


def _id(at: At) -> str:
    return str(at.value) if type(at.value) is int else at.a(str, "every sample has an id")


def _input(at: At) -> str | list[Row]:
    if isinstance(at.value, str):
        return at.value
    return [{"role": m["role"].a(str), "content": _content(m["content"])} for m in at.each()]


def _content(at: At) -> str:
    """A message's text; a part that is not text is named by its type."""
    if isinstance(at.value, str):
        return at.value
    return "\n".join(part["text"].a(str) if part["type"].value == "text" else f"[{part['type'].value}]" for part in at.each())


def _output(recorded: Recorded, sample: At, item_id: str, system: str, by_code: dict[str, At]) -> int:
    output, error = sample["output"], sample["error"]
    failure = error["message"].a(str) if error.value is not None else output["error"].maybe(str) if output.value else None
    usage = output["usage"] if output.value else error
    seconds = output["time"].maybe(float) if output.value else None
    scores = {name: given({key: score[key].value for key in ("value", "answer", "explanation")}) for name, score in by_code.items()}
    return recorded.add_output(
        item_id,
        system,
        None if failure else (output["completion"].maybe(str) or "") if output.value else None,
        error=failure,
        tool_calls=_tool_calls(output) or None,
        latency_ms=None if seconds is None else seconds * 1000,
        tokens=usage["total_tokens"].maybe(int) if output.value and usage.value else None,
        meta=given({"epoch": sample["epoch"].value, "scores": scores or None, "uuid": sample["uuid"].maybe(str)}),
    )


def _tool_calls(output: At) -> list[Row]:
    return [
        {"name": call["function"].a(str), "arguments": call["arguments"].maybe(dict) or {}}
        for choice in (output["choices"].each() if output.value else ())
        for call in choice["message"]["tool_calls"].each()
    ]


# ---- who gave a score ------------------------------------------------------------------------------------------------


def _grader(about: At, name: str, score: At) -> str | None:
    """The model that gave a score, None where code did.

    A model did where the score keeps its grading, where the scorer's name begins with `model_graded`, or where its options
    name a model. Inspect's own default grader is the evaluated model itself.
    """
    original = _versions(score)[0]
    for message in reversed(list(_grading(original))):
        if message["role"].value == "assistant" and message["model"].value:
            return message["model"].a(str)
    scorer = next((each for each in about["scorers"].each() if _scorer_name(each["name"].a(str), name)), None)
    options = scorer["options"] if scorer is not None and scorer["options"].value else None
    model = options["model"].value if options is not None else None
    if isinstance(model, dict):
        model = model.get("model")
    if isinstance(model, list):
        model = "+".join(map(as_text, model))
    if isinstance(model, str):
        return model
    if not name.rpartition("/")[2].startswith("model_graded"):
        return None
    roles = about["model_roles"]
    role = roles["grader"] if roles.value and roles["grader"].value else None
    return (role["model"].maybe(str) if role is not None else None) or about["model"].a(str)


def _scorer_name(of_scorer: str, of_score: str) -> bool:
    """Inspect numbers scorers of one name: `model_graded_qa`, `model_graded_qa1`, …"""
    bare = of_scorer.rpartition("/")[2]
    return of_scorer == of_score or re.fullmatch(re.escape(bare) + r"\d*", of_score.rpartition("/")[2]) is not None


def _grading(version: At) -> Iterator[At]:
    metadata = version["metadata"]
    if isinstance(metadata.value, dict) and isinstance(metadata.value.get("grading"), list):
        yield from metadata["grading"].each()


def _versions(score: At) -> list[At]:
    """The score as it was given, and its edits. Before the first edit there is no history."""
    history = list(score["history"].each())
    return history or [score]


# ---- what a score says -----------------------------------------------------------------------------------------------


def _parts(recorded: Recorded, score: At) -> Iterator[tuple[str | None, list[tuple[At, Any]]]]:
    """(aspect, [(version, value)…]) of a score: one without an aspect, or one for each field of a score that is an object."""
    versions = _versions(score)
    first = versions[0]["value"].value
    if isinstance(first, list):
        recorded.skip(LISTS)
    elif isinstance(first, dict):
        for key in first:
            yield key, [(v, v["value"].value.get(key) if isinstance(v["value"].value, dict) else _KEPT) for v in versions]
    else:
        yield None, [(v, v["value"].value) for v in versions]


def _value(version: At, value: Any) -> tuple[float | None, str | None]:
    """(score, label): Inspect's letters and words count as its value_to_float counts them; NaN is neither."""
    if isinstance(value, bool):
        return float(value), str(value).lower()
    if isinstance(value, int | float):
        return (float(value), None) if math.isfinite(value) else (None, None)
    if value is None:
        return None, None
    if not isinstance(value, str):
        version["value"].refuse(f"must be text, a number or true or false, not {as_text(value)[:40]}")
    return _LETTERS.get(value, _WORDS.get(value.lower())), value


def _judgment(
    recorded: Recorded, versions: list[tuple[At, Any]], grader: str, scorer: str, aspect: str | None, item_id: str, system: str, trial: int
) -> None:
    version, value = versions[0]
    score, label = _value(version, value)
    unread = score is None and label is None
    explanation = version["explanation"].maybe(str)
    recorded.add_judgment(
        item_id,
        grader,
        [system],
        prompt=scorer,
        aspect=aspect,
        trial=trial,
        score=score,
        label=label,
        rationale=None if unread else explanation,
        unscored_reason=(version["reason"].maybe(str) or "the score is NaN") if unread else None,
        raw=explanation if unread else None,
        same_family=grader == system,
    )


def _labels(recorded: Recorded, versions: list[tuple[At, Any]], aspect: str | None, item_id: str, system: str, trial: int) -> None:
    """People's edits of a score, each as a label of its author."""
    authors: Counter[str] = Counter()
    for version, value in versions[1:]:
        signed = version["provenance"]
        author = signed["author"].maybe(str) if signed.value is not None else None
        score, label = (None, None) if value == _KEPT else _value(version, value)
        if author is None:
            recorded.skip(UNSIGNED)
        elif score is None and label is None:
            recorded.skip(UNMOVED)
        else:
            authors[author] += 1
            at, note = signed["timestamp"].maybe(str), signed["reason"].maybe(str)
            recorded.add_label(item_id, author, [system], trial=trial, score=score, label=label, aspect=aspect, at=at, note=note)

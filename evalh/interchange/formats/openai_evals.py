"""The event log that `oaieval` of the openai/evals repository writes, one JSON object a line.

Samples are items, the first completion function is the system. A `metrics` event with a `choice` is a verdict of the last
completion function; `match` events and other metrics stay in the output's `meta`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalh.interchange.formats.base import At, Recorded, Row, as_input, as_text, given, load_lines

_HINT = 'a log that `oaieval` wrote; it begins with a line {"spec": …}'
_INVALID = "__invalid__"  # the log counts it with the lowest score
ALSO = "events of type {}"
NO_OUTPUT = "samples without a sampled output"


@dataclass
class _Sample:
    sampled: list[At] = field(default_factory=list)
    metrics: list[At] = field(default_factory=list)
    checks: list[Row] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    expected: Any = None
    shown: Any = None  # the output, where only a match event has it


@dataclass(frozen=True)
class _Spec:
    system: str
    grader: str
    prompt: str


def read(path: Path) -> Recorded:
    """Items, outputs and model-graded choices. Raises InputError with file, line and field."""
    lines = load_lines(path, _HINT)
    specs = [line["spec"] for line in lines if line["spec"].value is not None]
    if not specs:
        At(path, "spec", None).refuse("missing", _HINT)
    spec = _spec(specs[0])
    recorded = Recorded()
    samples: dict[str, _Sample] = {}
    for line in lines:
        if line["type"].value is not None:
            _event(recorded, line, samples.setdefault(line["sample_id"].a(str), _Sample()))
        elif line["spec"].value is None and line["final_report"].value is None:
            line["type"].a(str, "`spec`, `final_report`, or an event with its `type`")
    for sample_id, sample in sorted(samples.items(), key=lambda pair: _natural(pair[0])):
        _take(recorded, spec, sample_id, sample)
    return recorded


def _natural(sample_id: str) -> tuple[str, int]:
    """`NAME.dev.10` after `NAME.dev.9`."""
    name, _, number = sample_id.rpartition(".")
    return (name, int(number)) if number.isdecimal() else (sample_id, 0)


def _spec(spec: At) -> _Spec:
    functions = [each.a(str) for each in spec["completion_fns"].each()]
    if not functions:
        spec["completion_fns"].refuse("missing", "the models that were asked: the first is the system, the last the grader")
    config = spec["run_config"]
    for key in ("eval_spec", "args"):
        config = config[key] if isinstance(config.value, dict) else config
    graded_by = config.value.get("modelgraded_spec") if isinstance(config.value, dict) else None
    name = spec["base_eval"].maybe(str) or spec["eval_name"].a(str)
    return _Spec(functions[0], functions[-1], graded_by if isinstance(graded_by, str) else name)


def _event(recorded: Recorded, line: At, sample: _Sample) -> None:
    kind, data = line["type"].a(str), line["data"]
    if kind == "sampling":
        if data["sampled"].value is None:
            data["sampled"].refuse("missing", "what the model answered")
        sample.sampled.append(data)
    elif kind == "metrics":
        sample.metrics.append(data)
    elif kind == "match":
        correct = data["correct"].a(bool)
        sample.expected = data["expected"].value
        sample.shown = data["sampled"].value
        sample.checks.append(given({"type": kind, "correct": correct, "expected": data["expected"].value, "picked": data["picked"].value}))
    elif kind == "error":
        sample.errors.append(data["message"].maybe(str) or data["type"].maybe(str) or "the sample failed")
    else:
        recorded.skip(ALSO.format(kind))


def _take(recorded: Recorded, spec: _Spec, sample_id: str, sample: _Sample) -> None:
    """A sample's item, its outputs and its verdicts. The last completion before a choice is the grader's."""
    choices = [each for each in sample.metrics if each["choice"].value is not None]
    answers = sample.sampled[: -len(choices)] if choices else sample.sampled
    graded = sample.sampled[len(answers) :]
    asked = answers[0]["prompt"].value if answers else None
    recorded.add_item(sample_id, input=as_input(asked), reference=sample.expected)
    others = {name: each.value for data in sample.metrics if data not in choices for name, each in data.fields()}
    meta = given({"checks": sample.checks or None, "metrics": others or None, "turns": len(answers) if len(answers) > 1 else None})
    texts = _texts(answers[-1]) if answers else [sample.shown] if sample.shown is not None else []
    for text in texts:
        recorded.add_output(sample_id, spec.system, text, meta=meta or None)
    if not texts and sample.errors:
        recorded.add_output(sample_id, spec.system, None, error="; ".join(sample.errors), meta=meta or None)
    elif not texts:
        recorded.skip(NO_OUTPUT)
    for number, choice in enumerate(choices):
        _judgment(recorded, spec, sample_id, choice, graded[number] if number < len(graded) else None)


def _texts(sampling: At) -> list[str]:
    sampled = sampling["sampled"].value
    return [as_text(each) for each in sampled] if isinstance(sampled, list) else [as_text(sampled)]


def _judgment(recorded: Recorded, spec: _Spec, sample_id: str, metrics: At, reply: At | None) -> None:
    choice, score = metrics["choice"].a(str), metrics["score"].maybe(float)
    said = "\n".join(_texts(reply)) if reply is not None else None
    model = reply["model"].maybe(str) if reply is not None else None
    unread = choice == _INVALID
    recorded.add_judgment(
        sample_id,
        spec.grader,
        [spec.system],
        judge_version=model if model != spec.grader else None,
        prompt=spec.prompt,
        score=None if unread else score,
        label=None if unread else choice,
        raw=said,
        unscored_reason="no choice could be read (__invalid__)" if unread else None,
        same_family=spec.grader == spec.system,
    )

"""promptfoo's results as JSON: `promptfoo eval -o results.json`, `promptfoo export eval ID` (versions 2 and 3).

Rows of equal variables are one item, a provider (with its prompt, where there are several) is a system. What a model graded
becomes a verdict, what a person rated a label, what code asserted stays in the output's `meta.asserts`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from evalh.interchange.formats.base import At, Recorded, Row, as_text, given, load

_HINT = "a results file that `promptfoo eval -o results.json` wrote"
_GRADED = {
    "llm-rubric", "g-eval", "factuality", "similar", "moderation", "classifier", "pi", "agent-rubric", "search-rubric", "answer-relevance",
    "context-faithfulness", "context-recall", "context-relevance", "conversation-relevance", "trajectory:goal-success",
}  # fmt: skip
_BY_CRITERION = ("llm-rubric", "g-eval", "agent-rubric", "search-rubric", "model-graded-closedqa")
_REFERENCES = ("equals", "similar", "factuality", "model-graded-factuality")
_HUMAN, _ERROR = "human", 2  # an assertion's type; a failureReason
_FAILURES = (
    "API error",
    "API call error",
    "API response error",
    "Error parsing output",
    "Factuality checker output did not match",
    "Invalid category value",
    "Model grader produced a malformed response",
)
_SHOWN = 80  # characters of a criterion that name an aspect
COMPARED = "verdicts of select-best and max-score, which compare the outputs of a row and name no order"


def read(path: Path) -> Recorded:
    """Items, outputs, verdicts of model-graded assertions and human ratings. Raises InputError with file and place."""
    summary = load(path, _HINT)["results"]
    summary.a(dict, _HINT)
    version = summary["version"]
    if version.a(int, _HINT) not in (2, 3):
        version.refuse(f"version {version.value} is not known", "versions 2 and 3 are; export the evaluation anew with `promptfoo export`")
    rows = list(summary["results"].each())
    summary["results"].a(list, _HINT)
    recorded = Recorded()
    several = _with_several_prompts(rows)
    items: dict[str, str] = {}
    for row in sorted(rows, key=_order):
        item_id = _item(recorded, row, items)
        _row(recorded, row, item_id, _system(row, several))
    return recorded


def _order(row: At) -> tuple[int, int]:
    return (row["testIdx"].maybe(int) or 0, row["promptIdx"].maybe(int) or 0)


def _provider(row: At) -> str:
    if isinstance(row["provider"].value, str):
        return row["provider"].a(str)
    return row["provider"].first("label", "id").a(str, "the provider that answered")


def _prompt(row: At) -> str:
    prompt = row["prompt"]
    return prompt.first("label", "raw").a(str, "the prompt that was sent")


def _with_several_prompts(rows: list[At]) -> set[str]:
    """Providers that were sent more than one prompt: a system of theirs is named with its prompt."""
    prompts = defaultdict(set)
    for row in rows:
        prompts[_provider(row)].add(_prompt_key(row))
    return {provider for provider, keys in prompts.items() if len(keys) > 1}


def _prompt_key(row: At) -> Any:
    index = row["promptIdx"].maybe(int)
    return _prompt(row) if index is None else index


def _system(row: At, several: set[str]) -> str:
    provider = _provider(row)
    return f"{provider} [{_prompt(row)}]" if provider in several else provider


def _item(recorded: Recorded, row: At, items: dict[str, str]) -> str:
    """The item of a row; rows of equal variables and description are one, whether other prompts or repeats."""
    test, variables = row["testCase"], row["vars"].maybe(dict) or {}
    about = test["description"].maybe(str) if test.value else None
    index = row["testIdx"].maybe(int)
    key = json.dumps([variables, about, None if variables else index], sort_keys=True, default=str)
    item_id = items.setdefault(key, f"test-{len(items) if index is None else index}")
    metadata = (test["metadata"].maybe(dict) if test.value else None) or {}
    meta = given({"vars": variables or None, "description": about, "metadata": metadata or None})
    shown = row["prompt"]["raw"].maybe(str) if not variables else _text_of(variables)
    part = metadata.get("slice")
    recorded.add_item(item_id, input=shown, reference=_reference(test), slice=part if isinstance(part, str) else None, meta=meta or None)
    return item_id


def _text_of(variables: Row) -> str:
    """One variable as its text, several as one JSON object."""
    values = list(variables.values())
    return as_text(values[0]) if len(values) == 1 else json.dumps(variables, ensure_ascii=False)


def _reference(test: At) -> str | None:
    asserts = test["assert"].each() if test.value else iter(())
    for each in asserts:
        if each["type"].value in _REFERENCES and isinstance(each["value"].value, str):
            return each["value"].a(str)
    return None


def _row(recorded: Recorded, row: At, item_id: str, system: str) -> None:
    response, error = row["response"], row["failureReason"].maybe(int) == _ERROR
    output = response["output"].value if response.value else None
    failure = (response["error"].maybe(str) if response.value else None) or (row["error"].maybe(str) if error else None)
    components = list(_components(row))
    asserts = [_assertion(each) for each in components if not _graded(each) and _type(each) != _HUMAN]
    trial = recorded.add_output(
        item_id,
        system,
        None if failure else output,
        error=failure,
        latency_ms=row["latencyMs"].maybe(float),
        cost_usd=row["cost"].maybe(float),
        tokens=_tokens(response),
        meta=given({"asserts": asserts or None, "result_id": row["id"].maybe(str), "prompt": row["prompt"]["raw"].maybe(str)}) or None,
    )
    for each in components:
        if _type(each) == _HUMAN:
            _label(recorded, each, item_id, system, trial)
        elif _type(each) in ("select-best", "max-score"):
            recorded.skip(COMPARED)
        elif _graded(each):
            _judgment(recorded, each, row["testCase"], item_id, system, trial)


def _tokens(response: At) -> int | None:
    usage = response["tokenUsage"] if response.value else None
    return (usage["total"].maybe(int) if usage is not None and usage.value else None) or None


def _components(row: At) -> Iterator[At]:
    """The results of single assertions. Those of an assert-set stand inside the set's result and again beside it: once here."""
    grading = row["gradingResult"]
    if grading.value is None:
        return
    results = list(grading["componentResults"].each())
    beside = [each.value for each in results]
    for each in results:
        inner = list(each["componentResults"].each())
        if each["assertion"].value is not None or not inner:
            yield each
        else:
            yield from (part for part in inner if part.value not in beside)


def _type(component: At) -> str:
    assertion = component["assertion"]
    return (assertion["type"].maybe(str) if assertion.value is not None else None) or "unnamed"


def _graded(component: At) -> bool:
    kind = _type(component).removeprefix("not-")
    return kind in _GRADED or kind.startswith("model-graded-") or kind in ("select-best", "max-score")


def _assertion(component: At) -> Row:
    """The result of a deterministic assertion, as the output's `meta` keeps it."""
    assertion = component["assertion"]
    known = {name: assertion[name].value for name in ("type", "value", "metric")} if assertion.value is not None else {}
    passed, score = component["pass"].maybe(bool), component["score"].maybe(float)
    return given({**known, "pass": passed, "score": score, "reason": component["reason"].value})


def _judgment(recorded: Recorded, component: At, test: At, item_id: str, system: str, trial: int) -> None:
    kind, passed, score = _type(component), component["pass"].a(bool), component["score"].a(float)
    reason = component["reason"].maybe(str)
    failure = _failure(component)
    recorded.add_judgment(
        item_id,
        _judge(component["assertion"], test) or kind,
        [system],
        prompt=kind,
        aspect=_aspect(component["assertion"], kind),
        trial=trial,
        score=None if failure else score,
        label=None if failure else "pass" if passed else "fail",
        rationale=None if failure else reason,
        unscored_reason=failure,
        raw=reason if failure else None,
    )


def _failure(component: At) -> str | None:
    """Why the grader gave no verdict, though promptfoo counts it as a failed assertion.

    `graderError` says so; `factuality` and the `model-graded-…` types do not set it, and are known by promptfoo's own words.
    """
    metadata, reason = component["metadata"], component["reason"].maybe(str) or ""
    said = (metadata["graderError"].value if metadata.value is not None else None) or component["error"].value
    kind = _type(component).removeprefix("not-")
    untold = kind == "factuality" or kind.startswith("model-graded-")
    if not said and not (untold and (reason == "No output" or reason.startswith(_FAILURES))):
        return None
    return f"the grader failed: {as_text(said) if said and said is not True else reason}"


def _judge(assertion: At, test: At) -> str | None:
    """The model that graded: named by the assertion, else by the options of its test."""
    options = test["options"] if test.value else None
    for provider in (assertion["provider"], options["provider"] if options is not None and options.value else None):
        if provider is not None and isinstance(provider.value, str):
            return provider.a(str)
        if provider is not None and isinstance(provider.value, dict):
            inner = provider.first("id", "label", "text")
            return inner.a(str) if isinstance(inner.value, str) else inner["id"].a(str) if inner.value else None
    return None


def _aspect(assertion: At, kind: str) -> str:
    """The metric's name, else what the rubric asks, else the assertion's type."""
    metric, value = assertion["metric"].maybe(str), assertion["value"].value
    if metric or kind.removeprefix("not-") not in _BY_CRITERION or not value:
        return metric or kind
    text = " ".join(("; ".join(map(as_text, value)) if isinstance(value, list) else as_text(value)).split())
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({sha256(text.encode()).hexdigest()[:6]})"
    return f"not: {text}" if kind.startswith("not-") else text


def _label(recorded: Recorded, component: At, item_id: str, system: str, trial: int) -> None:
    passed = component["pass"].a(bool)
    recorded.add_label(
        item_id,
        "promptfoo user",
        [system],
        trial=trial,
        score=component["score"].a(float),
        label="pass" if passed else "fail",
        note=component["comment"].maybe(str) or None,
    )

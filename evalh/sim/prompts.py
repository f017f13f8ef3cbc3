"""Reads a request as a judge would: which texts are fenced in it, and what reply it wants.

The fence is evalh's own (`<<<LABEL nonce>>>` … `<<<END nonce>>>`): only a line with the same nonce closes it, so a forged
fence inside an answer is part of the answer. What is wanted is read from the JSON schema, and without one from the form
that the prompt shows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

PAIR_ANSWERS = ("first", "second", "tie")

_FENCE = re.compile(r"<<<(INPUT|REFERENCE|ANSWER(?: [12])?)(?: \(system (.*?)\))? ([0-9a-f]{16})>>>\n(.*?)\n?<<<END \3>>>", re.DOTALL)
_NONCE = re.compile(r"\b[0-9a-f]{16}\b")
_FORM = re.compile(r'"(scores|verdicts)": *\{([^{}]*)\}')
_NAME = re.compile(r'"(\w+)" *:')


class Shown(NamedTuple):
    """The material of a request. `names` are the systems' names as labels show them, empty where they are neutral."""

    kind: Literal["pointwise", "pairwise", "other"]
    answers: tuple[str, ...]
    names: tuple[str, ...]
    input: str | None
    outside: str  # what is not fenced


class Wanted(NamedTuple):
    """The reply that is asked for: levels or words by aspect, any other schema, or free text."""

    kind: Literal["scores", "verdicts", "schema", "text"]
    aspects: Mapping[str, tuple[Any, ...]] = {}  # levels from worst to best, or the words allowed
    schema: Mapping[str, Any] | None = None


def read_shown(text: str) -> Shown:
    """The fenced texts of a request; of a label that occurs more than once the last counts."""
    found = {match[1]: (match[4], match[2] or "") for match in _FENCE.finditer(text)}
    outside = _FENCE.sub("", text)
    input_ = found["INPUT"][0] if "INPUT" in found else None
    pair = [found[label] for label in ("ANSWER 1", "ANSWER 2") if label in found]
    if len(pair) == 2:
        return Shown("pairwise", (pair[0][0], pair[1][0]), (pair[0][1], pair[1][1]), input_, outside)
    if "ANSWER" in found:
        answer, name = found["ANSWER"]
        return Shown("pointwise", (answer,), (name,), input_, outside)
    whole = _NONCE.sub("", text)
    return Shown("other", (whole,), ("",), None, outside)


def read_wanted(schema: Mapping[str, Any] | None, shown: Shown) -> Wanted:
    """What is asked for: by the schema, else by the form at the end of a prompt that asks for JSON."""
    if schema is None:
        return _from_form(shown.outside) if shown.kind != "other" else Wanted("text")
    properties = schema.get("properties")
    if isinstance(properties, dict) and set(properties) == {"rationale", "scores"}:
        levels = {name: _levels(part) for name, part in _fields(properties["scores"]).items()}
        if levels and all(levels.values()):
            return Wanted("scores", levels, schema)
    if isinstance(properties, dict) and set(properties) == {"rationale", "verdicts"}:
        words = {name: _words(part) for name, part in _fields(properties["verdicts"]).items()}
        if words and all(words.values()):
            return Wanted("verdicts", words, schema)
    return Wanted("schema", {}, schema)


def _fields(part: Any) -> dict[str, Any]:
    fields = part.get("properties") if isinstance(part, dict) else None
    return fields if isinstance(fields, dict) else {}


def _levels(part: Any) -> tuple[int, ...]:
    if not isinstance(part, dict):
        return ()
    if "enum" in part:
        values = part["enum"]
        whole = isinstance(values, list) and all(isinstance(v, int) and not isinstance(v, bool) for v in values)
        return tuple(sorted(set(values))) if whole and len(set(values)) > 1 else ()
    low, high = part.get("minimum"), part.get("maximum")
    if part.get("type") == "integer" and isinstance(low, int) and isinstance(high, int) and 0 < high - low < 1000:
        return tuple(range(low, high + 1))
    return ()


def _words(part: Any) -> tuple[str, ...]:
    values = part.get("enum") if isinstance(part, dict) else None
    if not isinstance(values, list):
        return ()
    words = tuple(word for word in PAIR_ANSWERS if word in values)
    return words if {"first", "second"} <= set(words) and len(words) == len(values) else ()


def _from_form(outside: str) -> Wanted:
    """`{"rationale": …, "scores": {"NAME": level}}` as the prompt shows it; levels are the lines under `- NAME:`."""
    forms = _FORM.findall(outside)
    if "json" not in outside.lower() or not forms:
        return Wanted("text")
    field, inside = forms[-1]
    names = _NAME.findall(inside)
    if field == "verdicts":
        words = PAIR_ANSWERS if "tie" in inside else PAIR_ANSWERS[:2]
        return Wanted("verdicts", dict.fromkeys(names, words))
    return Wanted("scores", {name: _listed_levels(name, outside) for name in names})


def _listed_levels(name: str, outside: str) -> tuple[int, ...]:
    block = re.search(rf"^- {re.escape(name)}:.*\n((?: +-?\d+(?::.*)?(?:\n|$))+)", outside, re.MULTILINE)
    levels = sorted(int(level) for level in re.findall(r"^ +(-?\d+)", block[1], re.MULTILINE)) if block else []
    return tuple(levels) if len(levels) > 1 else (0, 1)


def smallest(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None, depth: int = 0) -> Any:
    """A small instance of a JSON schema: first enum value, required fields only, least length. `pattern` is not obeyed."""
    if not isinstance(schema, Mapping):  # true: anything goes
        return None
    root = schema if root is None else root
    if "$ref" in schema and depth < 20:
        return smallest(_resolved(str(schema["$ref"]), root), root, depth + 1)
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if schema.get("enum"):
        return schema["enum"][0]
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word) and depth < 20:
            return smallest(schema[word][0], root, depth + 1)
    kind = schema.get("type")
    return _instance(kind[0] if isinstance(kind, list) and kind else kind, schema, root, depth)


def _instance(kind: Any, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    if kind == "array":
        return [smallest(schema.get("items") or {}, root, depth + 1) for _ in range(int(schema.get("minItems", 0)))]
    if kind in ("integer", "number"):
        least = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        return int(least) if kind == "integer" else least
    if kind == "string":
        return "simulated".ljust(int(schema.get("minLength", 0)), ".")[: schema.get("maxLength")]
    if kind in ("boolean", "null"):
        return False if kind == "boolean" else None
    fields = _fields(schema)
    return {name: smallest(fields.get(name) or {}, root, depth + 1) for name in schema.get("required", [])}


def _resolved(ref: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    part: Any = root
    for step in ref.removeprefix("#").strip("/").split("/"):
        if step:
            part = part.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(part, dict) else {}
    return part if isinstance(part, dict) else {}

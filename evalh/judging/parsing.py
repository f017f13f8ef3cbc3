"""From a judge's reply to its answers, strictly: what cannot be read is *unread*, never guessed."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from evalh.judging.presentation import answer_field
from evalh.judging.rubric import Rubric

PARSER_VERSION = "1"
_FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*)\n\s*```\s*\Z", re.DOTALL)
_PAIR_ANSWERS = ("first", "second", "tie")


class Read(NamedTuple):
    """A reply that could be read: the answer to each aspect, and the judge's reason."""

    answers: dict[str, Any]  # pointwise: a level (number); pairwise: first, second or tie
    rationale: str


class Unread(NamedTuple):
    """A reply that could not be read, and why."""

    reason: str


def read_reply(text: str, finish_reason: str | None, rubric: Rubric, *, recorded: bool = False) -> Read | Unread:
    """The answers in a reply. `recorded=True` (replay) accepts any number between the ends of a scale.

    A reply that is exactly one fenced code block is read as its content; prose around JSON is not.
    """
    if finish_reason in ("length", "max_tokens", "max_output_tokens"):
        return Unread("the reply was cut at max_tokens")
    if finish_reason in ("refusal", "content_filter"):
        return Unread("the judge refused")
    fenced = _FENCED.match(text)
    try:
        data = _STRICT.decode(fenced.group(1) if fenced else text)
    except (ValueError, RecursionError):
        return Unread("the reply is not one JSON object" if text.strip() else "the reply is empty")
    field = answer_field(rubric)
    if not isinstance(data, dict) or set(data) != {"rationale", field} or not isinstance(data[field], dict):
        return Unread(f"the reply does not have exactly the fields rationale and {field}")
    if set(data[field]) != set(rubric.aspects):
        return Unread(f"the reply does not answer exactly: {', '.join(rubric.aspects)}")
    for aspect, answer in data[field].items():
        problem = _pair_problem(answer, rubric) if rubric.kind == "pairwise" else _level_problem(answer, aspect, rubric, recorded)
        if problem:
            return Unread(f"{aspect}: {problem}")
    return Read(data[field], str(data["rationale"]))


def _pair_problem(answer: Any, rubric: Rubric) -> str | None:
    allowed = _PAIR_ANSWERS if rubric.ties else _PAIR_ANSWERS[:2]
    return None if answer in allowed else f"{_short(answer)} is none of {', '.join(allowed)}"


def _level_problem(answer: Any, aspect: str, rubric: Rubric, recorded: bool) -> str | None:
    criterion = next(c for c in rubric.criteria if c.name == aspect)
    number = isinstance(answer, int | float) and not isinstance(answer, bool)
    if recorded and number and criterion.low <= answer <= criterion.high:
        return None
    if number and not isinstance(answer, float) and answer in criterion.scale:
        return None
    return f"{_short(answer)} is not a level of the scale {criterion.low}–{criterion.high}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        raise ValueError("a key occurs twice")
    return data


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_STRICT = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant)

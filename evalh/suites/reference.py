"""The page `docs/suites.md`: every field of a suite, from the models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from evalh.config import Config, ProviderConfig
from evalh.judging.rubric import Criterion, Example, Rubric
from evalh.suites.model import Command, Endpoint, Function, Gate, Judge, Model, Panel, Recorded, Sampling, Suite

_PARTS: list[tuple[str, type[BaseModel], str]] = [
    ("Suite", Suite, "The whole. Paths are looked up beside the suite, then in the folders above it, up to the project's root."),
    ("System: recorded outputs", Recorded, "`system: {recorded: outputs.jsonl}`, or just the path."),
    ("System: function", Function, "`system: {function: 'package.module:name'}`; in Python the function itself."),
    ("System: model", Model, "`system: {model: 'provider:name'}`."),
    ("System: endpoint", Endpoint, "`system: {endpoint: URL, model: NAME}`: anything that speaks the OpenAI chat format."),
    ("System: command", Command, "`system: {command: [program, argument]}`: one JSON object a line in (`item_id`, `input`) and out (`item_id`, `output`)."),
    ("Panel", Panel, "Tier 2. There is no default judge."),
    ("Judge", Judge, "`judges: ['provider:name']`, or a mapping with these fields."),
    ("Rubric", Rubric, "A Markdown file with these fields as YAML front matter and the instructions as its text, or the same mapping in the suite. A bare `scale` (with `question` and `pass_at`) makes one criterion named `quality`."),
    ("Criterion", Criterion, "`scale` is `binary`, `[1, 5]`, or levels with meanings: `{1: poor, 2: fair, 3: good}`."),
    ("Example", Example, "A worked example; several are shown in an order drawn from the seed."),
    ("Sampling", Sampling, "Tier 3. Every output has a known positive probability of being drawn; the probabilities are stored."),
    ("Gate", Gate, "PASS needs every rule to pass."),
    ("Settings: evalh.toml, or [tool.evalh] of pyproject.toml", Config, "Keys are never here: only the names of the environment variables that hold them."),
    ("Settings: [providers.NAME]", ProviderConfig, ""),
]
_HIDDEN = {"root", "file"}


def reference() -> str:
    """The page, as Markdown."""
    parts = ["# Suite reference\n\nMade from the code by `python -m evalh.docs`. An editor can check YAML suites with `evalh/suites/suite.schema.json`.\n"]
    for title, model, intro in _PARTS:
        rows = [_row(name, field) for name, field in model.model_fields.items() if name not in _HIDDEN]
        parts.append(f"## {title}\n\n{intro}\n\n| field | type | default | meaning |\n| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _row(name: str, field: Any) -> str:
    default = "required" if field.is_required() else f"`{_shown(field.get_default(call_default_factory=True))}`"
    return f"| `{name}` | {_type(field.annotation)} | {default} | {(field.description or '').replace('|', '/')} |"


def _shown(value: Any) -> str:
    return {"None": "–", "True": "true", "False": "false", "[]": "[]", "{}": "{}"}.get(str(value), str(value)).replace("|", "/") or '""'


def _type(annotation: Any) -> str:
    text = getattr(annotation, "__name__", None) if isinstance(annotation, type) and not getattr(annotation, "__args__", None) else str(annotation)
    for word in ("typing.", "evalh.suites.model.", "evalh.judging.rubric.", "evalh.config.", "evalh.checks.base.", "collections.abc."):
        text = str(text).replace(word, "")
    return text.split(", BeforeValidator")[0].replace("Annotated[", "").replace(" | None", "").replace("|", "or").replace("SerializeAsAny[", "")

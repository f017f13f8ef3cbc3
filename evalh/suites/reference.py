"""The page `docs/suites.md`: every field of a suite, from the models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from evalh.checks.base import Check
from evalh.config import Config, ProviderConfig
from evalh.judging.rubric import Criterion, Example, Rubric
from evalh.suites.model import Asked, Command, Endpoint, Function, Gate, Judge, Model, Panel, Recorded, Sampling, Suite, System, Trials

_HEAD = """\
# Suite reference

<!-- Made from the models by `python -m evalh.docs`. A test compares; do not edit by hand. -->

A suite is a Python file or a YAML file; both build the same model, and the fields are the same. `evalh plan` checks a
suite without asking a model, and says file, line and field of what is wrong.

An editor that knows JSON Schema checks YAML suites while you type. The schema is `evalh/suites/suite.schema.json`, in a
checkout and in the installed package; `python -m evalh.suites.schema > suite.schema.json` writes it with the checks of your
plugins. Most editors find it by a first line such as `# yaml-language-server: $schema=suite.schema.json`.

A YAML file is a suite where `golden:` stands at its left margin. In Python a suite is an `evalh.Suite` at the top level of
a file; parts are `evalh.Panel`, `evalh.Judge`, `evalh.Rubric`, `evalh.Sampling`, `evalh.Gate` and the systems below, and
test functions are added with `@suite.test`. Checks have their own page, [checks.md](checks.md).
"""

_PARTS: list[tuple[type[BaseModel], str, str]] = [
    (Suite, "Suite", "Files that a suite names are looked up beside it, then in the folders above it, up to the project's root."),
    (Recorded, "System: recorded outputs", """\
A system under test has `name`, `version` and `family`, and one of five ways to get its outputs. This one has them already:
`system: outputs.jsonl`, or a mapping with these fields."""),
    (Function, "System: function", """\
`system: {function: 'package.module:name'}`; in Python the function itself, sync or async. It returns text, a dict with
`output` (and `tool_calls`, `cost_usd`, `meta`), or an `evalh.Output`."""),
    (Model, "System: model", "`system: {model: 'provider:name'}`. [providers.md](providers.md) lists the providers."),
    (Endpoint, "System: endpoint", """\
`system: {endpoint: URL, model: NAME}`: a service that speaks the OpenAI chat format. Beside `endpoint` it has the fields of
a model."""),
    (Command, "System: command", """\
`system: {command: [program, argument]}`: a program that reads one JSON object a line (`item_id`, `input`) and writes one a
line (`item_id`, and `output` or `error`), in any order."""),
    (Panel, "Panel", """\
Tier 2. `majority`: 1 or 0 by the votes, ½ where they are split; `mean`: the weighted mean of the judges' scores;
`unanimous`: 1 where every judge passes the output, 0 where one fails it, ½ where they tie. A panel of which half or less
could be read, and under `unanimous` one that could not be read whole, gives no score: the output is *unscored*."""),
    (Judge, "Judge", "`provider:name`, or a mapping with these fields. There is no default judge."),
    (Rubric, "Rubric", """\
A Markdown file with these fields as YAML front matter and the instructions as its text, or the same mapping in the suite. A
bare `scale` (with `question` and `pass_at`) makes one criterion named `quality`."""),
    (Criterion, "Criterion", "A binary criterion passes at 1; one without `pass_at` passes in the upper half of its scale."),
    (Example, "Example", ""),
    (Trials, "Trials", """\
`trials: 5`, or a mapping with these fields. Each trial passes or fails: without a panel it passes where every check holds; in
pairs where the system wins; by a panel of rule `majority` or `unanimous`, whose criteria all have `pass_at` (a binary scale
has it), where the panel passes it; else from `passing` up. A blocked output fails.
[statistics.md](statistics.md#trials) says what is made of them."""),
    (Sampling, "Sampling", """\
Tier 3. Every output has a known positive probability of being drawn; it is stored with the task. More in
[labels.md](labels.md)."""),
    (Gate, "Gate", "PASS needs every rule to pass; [statistics.md](statistics.md) says how each is decided."),
    (Config, "Settings: evalh.toml", """\
In `evalh.toml`, or `[tool.evalh]` of pyproject.toml, in the nearest folder at or above the current one. Keys are never
here."""),
    (ProviderConfig, "Settings: [providers.NAME]", ""),
]  # fmt: skip
_FOUND = {"root", "file"}  # found by evalh, not written by users
_WORDS = {str: "text", int: "integer", float: "number", bool: "true or false", Any: "any"}
_DEFAULTS = {"None": "–", "True": "`true`", "False": "`false`", "[]": "–", "{}": "–", "": "–"}


def reference() -> str:
    """The page, as Markdown."""
    return "\n".join([_HEAD, *(_section(*part) for part in _PARTS)])


def _section(model: type[BaseModel], title: str, intro: str) -> str:
    inherited = set(Model.model_fields) - {"model"} if model is Endpoint else _FOUND
    rows = "".join(_row(name, field) for name, field in _own_first(model) if name not in inherited)
    return f"## {title}\n\n{intro}\n\n| field | type | default | meaning |\n| --- | --- | --- | --- |\n{rows}".replace("\n\n\n", "\n")


def _own_first(model: type[BaseModel]) -> Sequence[tuple[str, Any]]:
    """The fields of a part: its own first, then how a model is asked, then what all systems share."""
    shared = [base.model_fields for base in (Asked, System) if issubclass(model, base)]
    return sorted(model.model_fields.items(), key=lambda pair: max((n for n, fields in enumerate(shared) if pair[0] in fields), default=-1))


def _row(name: str, field: Any) -> str:
    default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
    return f"| `{name}` | {type_words(field.annotation)} | {default} | {(field.description or '').replace('|', '/')} |\n"


def _default(value: Any) -> str:
    return _DEFAULTS.get(str(value), f"`{value:g}`" if isinstance(value, float) else f"`{value}`")


def type_words(annotation: Any) -> str:
    """A type as users think of it: `list of text`, `` `both` or `drawn` ``, a part with a link to its section."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_words(inner[0])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(type_words(a) for a in inner if a is not NoneType))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is list:
        return f"list of {type_words(inner[0])}"
    if origin is dict:
        return "mapping"
    if origin is Callable or annotation is Callable:
        return "function"
    return _WORDS.get(annotation) or _linked(annotation)


def _linked(part: type) -> str:
    if issubclass(part, Check):
        return "[check](checks.md)"
    if part is System:
        return "[system](#system-recorded-outputs)"
    title = next(title for model, title, _ in _PARTS if model is part)
    anchor = "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c == "-")
    return f"[{part.__name__.lower()}](#{anchor})"

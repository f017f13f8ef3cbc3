"""Writes docs/checks.md from the registry, so that the page cannot differ from the code."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic.fields import FieldInfo

from evalh.checks.base import Check
from evalh.checks.examples import EXAMPLES
from evalh.checks.registry import BUILT_IN, COMMON, kind_class

_HEAD = """\
# Checks

Tier 1: deterministic rules, applied to every output before any judge is asked. This page is made from the code by
`python -m evalh.docs`.

In a Python suite a check is an object, and its first settings may be given without their names:
`checks.MaxWords(150)`. In YAML it is its kind with its first setting (`max-words: 150`), or with a mapping of settings
(`regex: {pattern: "^Yes", ignore_case: true}`); settings may also stand beside the kind. A check without required settings
may be a bare kind: `json-valid`. A plain function in a list of checks is a `python-function`. The examples below are entries
of a suite's `checks`.

A check passes, fails, or is an *error*: it could not be decided, because it raised, ran out of time, or lacked a reference.
An error is never a fail and never a pass, and stays one when the check is negated. Every row carries a score in [0, 1], too.

Where a setting says "the item's reference where not given", an item without a reference is an error.

## Settings of every check

{common}

`not-` before a kind is `negate: true`: `not-contains: sorry`. A negated check's score is 1 − score. Two checks of the same
name in one suite are told apart by a number: `regex`, `regex-2`.

## Kinds

{kinds}
"""

_TAIL = """\
## Your own checks

A function in the suite is the shortest way (`python-function`). A check with settings is a class: a pydantic model that says
its `kind` and compiles itself to a function.

```python
from evalh.checks.base import Check, Finding


class Palindrome(Check):
    kind = "palindrome"
    positional = ("ignore_spaces",)

    ignore_spaces: bool = True

    def compile(self, resolve):
        def run(subject):
            text = subject.output.text.replace(" ", "") if self.ignore_spaces else subject.output.text
            return Finding(text == text[::-1], float(text == text[::-1]), "is read the same both ways")

        return run
```

It is taken for one that may wait (sleep, start a program, call a server), so every output gets a thread of its own. One that
only computes says `waits = False`, and many outputs go through it on one thread, which is faster.

It works in Python suites as it is. For YAML, give it a name by an entry point of its package; built-in checks use the same:

```toml
[project.entry-points."evalh.checks"]
palindrome = "my_package:Palindrome"
```
"""


def reference() -> str:
    """The page of all built-in checks, in Markdown."""
    sections = [_section(kind, kind_class(kind)) for kind in BUILT_IN]
    listed = " · ".join(f"[{kind}](#{kind})" for kind in BUILT_IN)
    return _HEAD.replace("{common}", _table(Check, COMMON)).replace("{kinds}", listed) + "\n" + "\n".join(sections) + "\n" + _TAIL


def _section(kind: str, cls: type[Check]) -> str:
    own = tuple(name for name in cls.model_fields if name not in COMMON)
    own = tuple(sorted(own, key=lambda name: (*cls.positional, _written(cls, name)).index(_written(cls, name))))
    order = cls.positional
    positional = f"Without their names, in this order: {', '.join(f'`{n}`' for n in order)}.\n\n" if len(order) > 1 else ""
    table = f"{_table(cls, own)}\n\n" if own else ""
    example = EXAMPLES[kind]
    forms = f"```yaml\n{example.yaml}\n```\n\n```python\n{example.python}\n```\n"
    return f"## {kind}\n\n`checks.{cls.__name__}`: {inspect.cleandoc(cls.__doc__ or '')}\n\n{table}{positional}{forms}"


def _table(cls: type[Check], names: tuple[str, ...]) -> str:
    rows = ["| setting | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name in names:
        field = cls.model_fields[name]
        meaning = (field.description or "").replace("|", "\\|")
        rows.append(f"| `{_written(cls, name)}` | {_type(cls, name)} | {_default(field)} | {meaning} |")
    return "\n".join(rows)


def _written(cls: type[Check], name: str) -> str:
    return cls.model_fields[name].alias or name


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    written = {None: "none", True: "true", False: "false"}.get(value) if value is None or isinstance(value, bool) else None
    return written or (f"`{value:,}`".replace(",", "_") if isinstance(value, int) and value > 9999 else f"`{value}`")


def _type(cls: type[Check], name: str) -> str:
    """The type of a setting in the words of JSON Schema, with its bounds."""
    schema = cls.model_json_schema()
    return _said(schema["properties"][_written(cls, name)])


def _said(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " \\| ".join(f"`{v}`" for v in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_said(s) for s in schema["anyOf"] if s.get("type") != "null"))
    kind = {"string": "text", "array": "list", "object": "mapping", "boolean": "true or false"}.get(
        schema.get("type", ""), schema.get("type", "any value")
    )
    if schema.get("type") == "array" and schema.get("items"):
        kind = f"list of {_said(schema['items'])}"
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    said = ", ".join(f"{sign} {schema[name]:g}" for name, sign in bounds.items() if name in schema)
    return f"{kind} {said}".strip()

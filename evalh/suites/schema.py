"""The JSON Schema of a YAML suite, for editors: made from the models, shipped as `suite.schema.json`.

The schema never refuses what the loader takes; the loader, which knows files and families, says more. Checks of installed
plugins are not in the shipped file: `python -m evalh.suites.schema > suite.schema.json` writes one that has them.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from evalh.checks.base import Check
from evalh.checks.registry import BUILT_IN, COMMON, NOT, kind_class, kinds
from evalh.judging.rubric import Rubric
from evalh.suites.model import Command, Endpoint, Function, Judge, Model, Panel, Recorded, Sampling, Suite, Trials

Schema = dict[str, Any]
_NULL = {"type": "null"}


class _Yaml(GenerateJsonSchema):
    """What Python writes as a function, YAML writes as 'package.module:name'."""

    def callable_schema(self, schema: core_schema.CallableSchema) -> JsonSchemaValue:
        return {"type": "string", "pattern": "^[\\w.]+:\\w+$"}


def suite_schema(checks: Mapping[str, type[Check]] | None = None) -> Schema:
    """The schema (draft 2020-12) of a YAML suite with these kinds of checks; the built-in ones where not given."""
    known = checks if checks is not None else {kind: kind_class(kind) for kind in BUILT_IN}
    definitions: Schema = {}
    suite = _of(Suite, definitions)
    for model in (Panel, Judge, Sampling, Trials):
        definitions[model.__name__] = _of(model, definitions)
    suite["properties"]["system"] = {"$ref": "#/$defs/AnySystem", "description": "what is under test"}
    suite["properties"]["checks"]["items"] = {"$ref": "#/$defs/AnyCheck"}
    times = {"type": "integer", "minimum": 1}
    suite["properties"]["trials"] = {
        "anyOf": [times, {"$ref": "#/$defs/Trials"}, _NULL], "description": suite["properties"]["trials"]["description"]
    }  # fmt: skip
    panel = definitions["Panel"]["properties"]
    panel["against"] = {"anyOf": [{"$ref": "#/$defs/AnySystem"}, _NULL], "description": panel["against"]["description"]}
    panel["judges"]["items"] = {"anyOf": [{"type": "string", "pattern": "^[a-z0-9_-]+:.+$"}, {"$ref": "#/$defs/Judge"}]}
    definitions |= _rubric() | _systems() | _checks(known)
    for base in ("Check", "System"):
        definitions.pop(base, None)
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", **suite, "$defs": dict(sorted(definitions.items()))}
    return {"$schema": made.pop("$schema"), "title": "A suite of evalh", **_terse(made)}


def _of(model: type[BaseModel], definitions: Schema) -> Schema:
    """The schema of a model; what it refers to goes to `definitions`."""
    schema = model.model_json_schema(schema_generator=_Yaml)
    for name, part in schema.pop("$defs", {}).items():
        definitions.setdefault(name, part)
    return schema


def _systems() -> Schema:
    made: Schema = {}
    refs = []
    for kind in (Recorded, Function, Endpoint, Model, Command):
        made[kind.__name__] = _of(kind, made)
        refs.append({"$ref": f"#/$defs/{kind.__name__}"})
    made["AnySystem"] = {"anyOf": [{"type": "string", "pattern": "\\.jsonl$", "description": "recorded outputs"}, *refs]}
    return made


def _rubric() -> Schema:
    """A rubric as users write it: short scales, and a bare `scale` for a single criterion."""
    made: Schema = {}
    made["Rubric"] = _of(Rubric, made)
    levels = {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 2}
    ends = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    scale = {"anyOf": [{"const": "binary"}, ends, levels], "description": "binary (0: no, 1: yes), [1, 5], or levels with meanings"}
    made["Criterion"]["properties"]["scale"] = scale
    criterion = {name: {"$ref": f"#/$defs/Criterion/properties/{name}"} for name in ("scale", "question", "pass_at")}
    made["Rubric"]["properties"] |= criterion
    return made


def _checks(known: Mapping[str, type[Check]]) -> Schema:
    """A check is its kind alone, its kind with its first setting, or its kind with a mapping; settings may stand beside it."""
    made: Schema = {"CheckSettings": {"properties": Check.model_json_schema()["properties"]}}
    for kind, model in known.items():
        made[f"check-{kind}"] = _check(kind, model, made)
    alone = [kind for kind, model in known.items() if not any(field.is_required() for field in model.model_fields.values())]
    forms = [{"$ref": f"#/$defs/check-{kind}"} for kind in known]
    made["AnyCheck"] = {"anyOf": [{"enum": [*alone, *(NOT + kind for kind in alone)]}, *forms]}
    return made


def _check(kind: str, model: type[Check], definitions: Schema) -> Schema:
    settings = _of(model, definitions)["properties"]
    here = f"#/$defs/check-{kind}/$defs/settings/properties"
    values: list[Schema] = [{"$ref": f"#/$defs/check-{kind}/$defs/settings"}]
    if model.positional:
        values.append({"$ref": f"{here}/{model.positional[0]}"})
    else:
        values += [{"const": True}, _NULL]
    value = {"anyOf": values, "description": inspect.cleandoc(model.__doc__ or "")}
    own = {name: schema for name, schema in settings.items() if name not in COMMON}
    common = {name: {"$ref": f"#/$defs/CheckSettings/properties/{name}"} for name in COMMON}
    return {
        "type": "object",
        "properties": {kind: value, NOT + kind: value, **{name: {"$ref": f"{here}/{name}"} for name in own}, **common},
        "oneOf": [{"required": [kind]}, {"required": [NOT + kind]}],
        "additionalProperties": False,
        "$defs": {"settings": {"type": "object", "properties": {**own, **common}, "additionalProperties": False}},
    }


def _terse(node: Any, names: bool = False) -> Any:
    """Without the titles that pydantic makes from field names, and without null defaults. `names`: the keys are fields."""
    if isinstance(node, list):
        return [_terse(each) for each in node]
    if not isinstance(node, dict):
        return node
    kept = node if names else {k: v for k, v in node.items() if k != "title" and not (k == "default" and v is None)}
    return {k: _terse(v, names=not names and k in ("properties", "$defs")) for k, v in kept.items()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(suite_schema(kinds()), indent=1) + "\n")

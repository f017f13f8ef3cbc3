"""The JSON Schema of a YAML suite, for editors. Made from the models; shipped as `suite.schema.json`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from evalh.checks.registry import kinds
from evalh.judging.rubric import BINARY, Rubric
from evalh.suites.model import Command, Endpoint, Function, Judge, Model, Panel, Recorded, Suite

COMMON = ("name", "negate", "blocking", "weight")


class _Yaml(GenerateJsonSchema):
    """What Python writes as a function, YAML writes as 'module:function'."""

    def callable_schema(self, schema: core_schema.CallableSchema) -> JsonSchemaValue:
        return {"type": "string", "pattern": "^[\\w.]+:\\w+$"}


def suite_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) that a YAML suite obeys."""
    definitions: dict[str, Any] = {}
    suite = _of(Suite, definitions)
    _of(Panel, definitions)
    suite["properties"]["system"] = {"$ref": "#/$defs/AnySystem"}
    suite["properties"]["checks"]["items"] = {"$ref": "#/$defs/AnyCheck"}
    panel = definitions["Panel"]
    panel["properties"]["against"] = {"anyOf": [{"$ref": "#/$defs/AnySystem"}, {"type": "null"}], "default": None}
    panel["properties"]["judges"]["items"] = {"anyOf": [{"type": "string", "pattern": "^[a-z0-9_-]+:.+$"}, {"$ref": "#/$defs/Judge"}]}
    _of(Judge, definitions)
    definitions["Rubric"] = _rubric(definitions)
    systems = [_of(kind, definitions) for kind in (Recorded, Function, Endpoint, Model, Command)]
    definitions["AnySystem"] = {"anyOf": [{"type": "string", "pattern": "\\.jsonl$"}, *systems]}
    definitions["AnyCheck"] = _checks(definitions)
    for unused in ("Check", "System"):
        definitions.pop(unused, None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "evalh suite", **suite, "$defs": dict(sorted(definitions.items()))}


def _of(model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    schema = model.model_json_schema(schema_generator=_Yaml)
    definitions.update({k: v for k, v in schema.pop("$defs", {}).items() if k not in definitions})
    return schema


def _rubric(definitions: dict[str, Any]) -> dict[str, Any]:
    """A rubric as users write it: short scales, and a bare `scale` for a single criterion."""
    rubric = _of(Rubric, definitions)
    levels = {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 2}
    ends = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    scale = {"anyOf": [{"const": "binary"}, ends, levels], "description": f"binary ({BINARY}), [1, 5], or levels with meanings"}
    definitions["Criterion"]["properties"]["scale"] = scale
    rubric["properties"] |= {"scale": scale, "question": {"type": "string"}, "pass_at": {"type": "integer"}}
    return rubric


def _checks(definitions: dict[str, Any]) -> dict[str, Any]:
    """A check is its kind alone, its kind with its first setting, or its kind with a mapping of settings."""
    forms: list[dict[str, Any]] = []
    for kind, model in sorted(kinds().items()):
        settings = _of(model, definitions)
        first = next(iter(model.positional), None)
        common = {name: settings["properties"][name] for name in COMMON}
        values: list[dict[str, Any]] = [{k: v for k, v in settings.items() if k != "description"}]
        if first is not None:
            values.append(settings["properties"][first])
        for name in (kind, f"not-{kind}"):
            others = {k: v for k, v in settings["properties"].items() if k not in common}
            forms.append({"type": "object", "required": [name], "properties": {name: {"anyOf": values}, **others, **common}, "additionalProperties": False})
    bare = [name for kind, model in sorted(kinds().items()) if not any(f.is_required() for f in model.model_fields.values()) for name in (kind, f"not-{kind}")]
    return {"anyOf": [{"enum": bare}, *forms]}

"""Checks of JSON: that it is JSON at all, that it fits a schema or a pydantic model, and what stands at a path in it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, ValidationError, WithJsonSchema, field_serializer, model_validator

from evalh.checks.base import Compiled, Finding, Resolve, Subject
from evalh.checks.expected import expected
from evalh.checks.imports import load_object, named
from evalh.checks.json_path import compile_path
from evalh.checks.json_schema import compile_schema, load_schema
from evalh.checks.json_text import fenced_block, json_equal, json_in
from evalh.checks.limits import UNWATCHED, Bounded, safe_line, short
from evalh.checks.patterns import bounded_pattern
from evalh.errors import InputError


class _ReadsJSON(Bounded):
    extract: bool = Field(default=False, description="take the first JSON block of the output (fenced or not) instead of all of it")

    def _on_json(self, decide: Callable[[Any, Subject], Finding]) -> Compiled:
        """A check of the output's JSON value; an output that is not JSON fails."""

        def run(subject: Subject) -> Finding:
            try:
                value = json_in(subject, self.extract).value
            except ValueError as error:
                return Finding(False, 0.0, f"is not JSON: {error}")
            return decide(value, subject)

        return self.bounded(run)


class JSONValid(_ReadsJSON):
    """The output is JSON (RFC 8259): no NaN or Infinity, no duplicate keys, nothing around it."""

    kind: ClassVar[str] = "json-valid"

    def compile(self, resolve: Resolve) -> Compiled:
        return self._on_json(lambda value, _: Finding(True, 1.0, f"is JSON: {_what(value)}"))


def _what(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object of {len(value)} keys"
    return f"an array of {len(value)}" if isinstance(value, list) else short(value)


class JSONSchema(_ReadsJSON):
    """The output is JSON that fits a JSON Schema of draft 2020-12. References are not fetched; `format` is not asserted."""

    kind: ClassVar[str] = "json-schema"
    positional: ClassVar[tuple[str, ...]] = ("schema",)

    schema_: str | dict[str, Any] | bool = Field(alias="schema", description="a schema file, or the schema itself")

    def compile(self, resolve: Resolve) -> Compiled:
        problem, quick = compile_schema(*load_schema(self.schema_, resolve))

        def fits(subject: Subject) -> bool:
            found = json_in(subject, self.extract)
            return quick is not None and found.finite and quick.fits(found.value, len(subject.output.text))

        def decide(value: Any, subject: Subject) -> Finding:
            wrong = None if fits(subject) else problem(value)
            return _FITS if wrong is None else Finding(False, 0.0, wrong)

        watched = self._on_json(decide)
        if quick is None or quick.matches:
            return watched
        unwatched = min(UNWATCHED, self.max_chars)

        def run(subject: Subject) -> Finding:
            if len(subject.output.text) <= unwatched:
                with suppress(ValueError):
                    if fits(subject):
                        return _FITS
            return watched(subject)

        return run


_FITS = Finding(True, 1.0, "fits the schema")


class JSONPath(_ReadsJSON):
    """What stands at a path of the output's JSON: exists, equals a value, is one of several, or matches a pattern.

    Without `equals`, `one_of`, `matches` and `exists`, it has to equal the item's reference.
    """

    kind: ClassVar[str] = "json-path"
    positional: ClassVar[tuple[str, ...]] = ("path", "equals")

    path: str = Field(description="RFC 9535, for example `$.items[0].price`")
    equals: Any = Field(
        default=None, description="the expected JSON value; the item's reference where nothing is given; for null write `one_of: [null]`"
    )
    one_of: list[Any] | None = Field(default=None, min_length=1, description="the allowed JSON values")
    matches: str | None = Field(default=None, description="a pattern (as of `regex`) that is found in the text there")
    exists: bool | None = Field(default=None, description="whether the path finds anything, whatever it is")
    nodes: Literal["all", "any", "list"] = Field(
        default="all", description="a path that finds several values: all or any of them, or the list of them"
    )
    tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="allowed difference of numbers")

    @model_validator(mode="after")
    def _one_rule(self) -> JSONPath:
        given = [name for name in ("equals", "one_of", "matches", "exists") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other: use one check for each")
        if not given and "equals" in self.model_fields_set:
            raise ValueError("to expect null, write `one_of: [null]`; without `equals` the item's reference is expected")
        return self

    def compile(self, resolve: Resolve) -> Compiled:
        find = compile_path(self.path)
        if self.exists is not None:
            return self._on_json(lambda value, _: self._existence(find(value)))
        holds = self._rule()

        def decide(value: Any, subject: Subject) -> Finding:
            found = find(value)
            if not found:
                return Finding(False, 0.0, f"nothing at {self.path}")
            values = [found] if self.nodes == "list" else found
            wrong = [each for each in values if not holds(each, subject)]
            passed = len(wrong) < len(values) if self.nodes == "any" else not wrong
            score = (len(values) - len(wrong)) / len(values) if self.nodes == "all" else float(passed)
            shown = values[0] if passed else wrong[0]
            return Finding(passed, score, f"{self.path} is {short(shown)}" + ("" if passed else f", expected {self._wanted(subject)}"))

        return self._on_json(decide)

    def _existence(self, found: list[Any]) -> Finding:
        holds = bool(found) is self.exists
        return Finding(holds, float(holds), f"{self.path} finds {short(found[0]) if found else 'nothing'}")

    def _rule(self) -> Callable[[Any, Subject], bool]:
        if self.matches is not None:
            search = bounded_pattern(self.matches).search
            return lambda value, _: isinstance(value, str) and search(value) is not None
        if self.one_of is not None:
            allowed = self.one_of
            return lambda value, _: any(json_equal(value, each, self.tolerance) for each in allowed)
        return lambda value, subject: json_equal(value, expected(self.equals, subject), self.tolerance)

    def _wanted(self, subject: Subject) -> str:
        if self.matches is not None:
            return f"a match of {short(self.matches)}"
        if self.one_of is not None:
            return "one of " + short(self.one_of)
        return short(expected(self.equals, subject))


class PydanticModel(_ReadsJSON):
    """The output is JSON that a pydantic model accepts."""

    kind: ClassVar[str] = "pydantic-model"
    waits: ClassVar[bool] = True  # a model may have validators
    positional: ClassVar[tuple[str, ...]] = ("model",)

    model: Annotated[str | type[BaseModel], WithJsonSchema({"type": "string"})] = Field(
        description="the class, or `module:Class` (the module installed, or a file beside the suite)"
    )

    @field_serializer("model")
    def _as_text(self, model: str | type[BaseModel]) -> str:
        return named(model)

    def compile(self, resolve: Resolve) -> Compiled:
        model = load_object(self.model, resolve) if isinstance(self.model, str) else self.model
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise InputError(f"{named(model)} is no pydantic model", where="model", hint="a subclass of pydantic.BaseModel")

        def decide(value: Any, subject: Subject) -> Finding:
            text = subject.output.text
            if self.extract:
                text = fenced_block(text, "json") or _dumped(value)
            try:
                model.model_validate_json(text)
            except ValidationError as error:
                return Finding(False, 0.0, _first(error))
            return Finding(True, 1.0, f"fits {model.__name__}")

        return self._on_json(decide)


def _dumped(value: Any) -> str:
    import json

    return json.dumps(value)


def _first(error: ValidationError) -> str:
    each = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in each["loc"]) or "the value"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return safe_line(f"{place}: {each['msg']}, got {short(each['input'])}{more}")

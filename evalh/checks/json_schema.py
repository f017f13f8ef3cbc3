r"""JSON Schema, draft 2020-12, compiled once: checked against its meta-schema, references resolved, patterns bounded.

References are never fetched: one that does not resolve inside the schema is an error when the schema is compiled. Patterns are read
as Python's, so that `\d` and `\w` match beyond ASCII.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

from evalh.checks.base import Resolve
from evalh.checks.json_quick import Quick, quick
from evalh.checks.json_text import parse_json
from evalh.checks.limits import Undecidable, safe_line, short, within
from evalh.checks.patterns import bounded_pattern
from evalh.errors import InputError

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_ERRORS = 100  # from so many the most telling is chosen
COMPILE_S = 20.0  # seconds for checking a schema before anything runs: about 100,000 subschemas

Schema = Mapping[str, Any] | bool
Problem = Callable[[Any], str | None]  # a JSON value → what is wrong with it and where, or None


class CompiledSchema(NamedTuple):
    """`problem` decides. `quick`, where there is one, says in a hundredth of the time that a value certainly has no problem."""

    problem: Problem
    quick: Quick | None


def load_schema(source: str | Schema, resolve: Resolve) -> tuple[Schema, str | None]:
    """A schema from a file, or as it is, and the file's name. Raises InputError where the file is not JSON."""
    if not isinstance(source, str):
        return source, None
    path = resolve(source)
    return _read(path), str(path)


def _read(path: Path) -> Schema:
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, Undecidable, OSError) as error:
        raise InputError(f"is not JSON: {error}", where=str(path), hint="a schema is one JSON object") from None
    if not isinstance(value, dict | bool):
        raise InputError(f"is no schema: {short(value)}", where=str(path), hint="a schema is one JSON object")
    return value


def compile_schema(schema: Schema, file: str | None = None, seconds: float = COMPILE_S) -> CompiledSchema:
    """The schema, ready to decide. Raises InputError that names the file and the place in the schema, or that it is too large."""
    try:
        return within(seconds, lambda: CompiledSchema(_problem(schema, file), quick(schema)))
    except Undecidable as error:
        hint = "a smaller one"
        raise InputError(f"the schema is too large to be checked: {error}", where=file or "schema", hint=hint) from None


def _problem(schema: Schema, file: str | None) -> Problem:
    from jsonschema.exceptions import best_match

    _check_schema(schema, file)
    validator = _validator_class()(schema, registry=_check_references(schema, file))

    def problem(value: Any) -> str | None:
        worst = best_match(islice(validator.iter_errors(value), MAX_ERRORS))
        return None if worst is None else f"{worst.json_path}: {_message(worst)}"

    return problem


def _message(error: Any) -> str:
    """The library's message; where that quotes a long value, only its end, which says what is wrong."""
    message = str(error.message)
    quoted = repr(error.instance)
    return short(error.instance) + message[len(quoted) :] if len(message) > 200 and message.startswith(quoted) else safe_line(message)


def _check_schema(schema: Schema, file: str | None) -> None:
    from jsonschema import Draft202012Validator, FormatChecker
    from jsonschema.exceptions import SchemaError

    where = file or "schema"
    declared = schema.get("$schema", DIALECT) if isinstance(schema, Mapping) else DIALECT
    if not isinstance(declared, str) or declared.rstrip("#") != DIALECT:
        raise InputError(f"declares {short(declared)}", where=f"{where}: $.$schema", hint=f"evalh reads draft 2020-12: {DIALECT}")
    formats = FormatChecker(formats=())
    formats.checks("regex", raises=InputError)(_is_pattern)
    try:
        json.dumps(schema)
        Draft202012Validator.check_schema(schema, format_checker=formats)
    except SchemaError as error:
        why = error.cause.what if isinstance(error.cause, InputError) else _message(error)
        raise InputError(f"is not a JSON Schema of draft 2020-12: {why}", where=f"{where}: {error.json_path}", hint=None) from None
    except (RecursionError, TypeError, ValueError) as error:
        raise InputError(f"is not a JSON Schema: {type(error).__name__}: {error}", where=where) from None


def _is_pattern(value: object) -> bool:
    return not isinstance(value, str) or bool(bounded_pattern(value))


def _check_references(schema: Schema, file: str | None) -> Any:
    """A registry that holds the schema and the meta-schemas and fetches nothing; every `$ref` is looked up in it once."""
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
    from referencing.exceptions import NoSuchResource, Unresolvable
    from referencing.jsonschema import DRAFT202012

    resource = DRAFT202012.create_resource(schema)
    uri = resource.id() or ""
    try:
        registry = REGISTRY.with_resource(uri, resource).crawl()
        for contents, resolver in _subschemas(resource, registry.resolver(uri)):
            for keyword in ("$ref", "$dynamicRef"):
                if isinstance(contents, Mapping) and keyword in contents:
                    resolver.lookup(contents[keyword])
    except (Unresolvable, NoSuchResource) as error:
        hint = "put it under $defs: references are never fetched"
        raise InputError(
            f"the reference {short(getattr(error, 'ref', str(error)))} leads nowhere in the schema", where=file or "schema", hint=hint
        ) from None
    return registry


def _subschemas(resource: Any, resolver: Any) -> Iterator[tuple[Any, Any]]:
    yield resource.contents, resolver
    for sub in resource.subresources():
        yield from _subschemas(sub, resolver.in_subresource(sub))


class _BoundedRe:
    """Stands where the library has Python's `re`."""

    @staticmethod
    def search(pattern: str, text: str) -> Any:
        return bounded_pattern(pattern).search(text)


@cache
def _validator_class() -> Any:
    """The library's validator for draft 2020-12 with all keywords that use patterns bound to the bounded engine.

    The library's own functions are kept and only their `re` is exchanged: writing them anew would be a second reading of
    the specification, and `re` itself can neither be interrupted nor limited.
    """
    from jsonschema import Draft202012Validator, _keywords, _utils, validators

    def rebound(function: Any, **names: Any) -> Any:
        return FunctionType(
            function.__code__,
            {**function.__globals__, "re": _BoundedRe, **names},
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )

    helpers = {n: rebound(getattr(_utils, n)) for n in ("find_additional_properties", "find_evaluated_property_keys_by_schema")}
    keys = helpers["find_evaluated_property_keys_by_schema"]
    keys.__globals__["find_evaluated_property_keys_by_schema"] = keys  # it calls itself
    keywords = ("pattern", "patternProperties", "additionalProperties", "unevaluatedProperties")
    bound = {name: rebound(getattr(_keywords, name), **helpers) for name in keywords}
    # these two keep every error of every branch in a list: half a million items would be a gigabyte
    bound |= {name: rebound(getattr(_keywords, name), list=lambda errors: [*islice(errors, MAX_ERRORS)]) for name in ("anyOf", "oneOf")}
    return validators.extend(Draft202012Validator, bound)  # type: ignore[no-untyped-call]

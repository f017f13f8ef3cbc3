"""A quick yes to the question whether a value fits a JSON Schema: jsonschema-rs, about a hundred times as fast as jsonschema.

Its yes is taken, and only for schemas of keywords that both libraries read in the same way; a no goes to `json_schema`, whose
verdict and reason stand. To make that so, the schema is rewritten first: references are written out (recursive ones, and very
large schemas, have no quick way), `format` and annotations are left out, and a pattern becomes a format of our own, which asks
the bounded engine. What is left has no loops, so that its work is at most its size times that of the value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from evalh.checks.patterns import bounded_pattern

MAX_SIZE = 2_000  # subschemas and allowed values, all references written out
MAX_DEPTH = 60
MAX_WORK = 20_000_000  # size times characters: about 0.2 s, during which nothing can stop it
EXACT = 2**53  # whole numbers below are the same in both languages, however they are written

_SAME = ("type", "required", "dependentRequired")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_COUNTS = (
    "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains",
)  # fmt: skip
_ONE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_LIST = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAP = ("properties", "dependentSchemas")
_REFUSED = ("multipleOf", "patternProperties", "unevaluatedItems", "unevaluatedProperties")
_HARMLESS = ("$schema", "$comment", "$defs", "$ref")


class Quick(NamedTuple):
    """A schema that the quick library may answer for. `matches` says that it asks for patterns, whose time needs a watch."""

    is_valid: Callable[[Any], bool]
    size: int
    matches: bool

    def fits(self, value: Any, chars: int) -> bool:
        """True: the value, written in so many characters, fits. False: it may or may not. Its numbers have to be finite."""
        if self.size * chars > MAX_WORK:
            return False
        try:
            return self.is_valid(value)
        except Exception:  # half a surrogate pair, a pattern that is not decided in time: for the other library to say
            return False


def quick(schema: Mapping[str, Any] | bool) -> Quick | None:
    """The quick way of a schema that is known to be one; None where the two libraries might differ."""
    from jsonschema_rs import Draft202012Validator

    rewriting = _Rewriting(schema)
    try:
        rewritten = rewriting.schema(schema, MAX_DEPTH)
        validator = Draft202012Validator(rewritten, formats=rewriting.patterns, validate_formats=True)
    except (_NoQuickWay, ValueError):
        return None
    return Quick(validator.is_valid, rewriting.size, bool(rewriting.patterns))


class _NoQuickWay(Exception):
    pass


class _Rewriting:
    def __init__(self, root: Mapping[str, Any] | bool) -> None:
        self.root = root
        self.size = 0
        self.patterns: dict[str, Callable[[str], bool]] = {}  # name of the format → whether a text matches

    def schema(self, schema: Any, depth: int) -> Any:
        self._count(1)
        if not depth:
            raise _NoQuickWay
        if isinstance(schema, bool):
            return schema
        made: dict[str, Any] = {}
        for keyword, value in schema.items():
            if keyword in _ONE:
                made[keyword] = self.schema(value, depth - 1)
            elif keyword in _LIST:
                made[keyword] = [self.schema(each, depth - 1) for each in value]
            elif keyword in _MAP:
                made[keyword] = {name: self.schema(each, depth - 1) for name, each in value.items()}
            else:
                made.update(self._assertion(keyword, value, schema))
        if "$ref" in schema:
            made["allOf"] = [*made.get("allOf", ()), self.schema(self._target(schema["$ref"]), depth - 1)]
        return made

    def _assertion(self, keyword: str, value: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
        """A keyword without subschemas as it is rewritten; nothing where it asserts nothing."""
        if keyword == "pattern":
            return {"format": self._pattern(value)}
        if keyword in ("const", "enum"):
            values = value if keyword == "enum" else [value]
            self._count(len(values))
            plain = all(each is None or isinstance(each, bool | str) or _is_exact(each) for each in values)
        else:
            plain = (
                keyword in _SAME
                or (keyword in _NUMBERS and _is_exact(value))
                or (keyword in _COUNTS and type(value) is int and value < EXACT)
                or (keyword == "uniqueItems" and (not value or _is_of_texts(schema)))
            )
        if plain:
            return {keyword: value}
        asserts = keyword in (*_NUMBERS, *_COUNTS, *_REFUSED, "const", "enum", "uniqueItems")
        if asserts or (keyword.startswith("$") and keyword not in _HARMLESS and not (keyword == "$id" and schema is self.root)):
            raise _NoQuickWay
        return {}

    def _pattern(self, pattern: str) -> str:
        name, search = f"evalh {pattern}", bounded_pattern(pattern).search
        self.patterns[name] = lambda text: search(text) is not None
        return name

    def _target(self, reference: str) -> Any:
        """The schema that a plain reference such as `#/$defs/tag` names."""
        start, _, name = reference.rpartition("/")
        if start not in ("#/$defs", "#/definitions") or "~" in name or "%" in name or not isinstance(self.root, Mapping):
            raise _NoQuickWay
        found: Any = self.root.get(start[2:], {}).get(name)
        if not isinstance(found, Mapping | bool):
            raise _NoQuickWay
        return found

    def _count(self, number: int) -> None:
        self.size += number
        if self.size > MAX_SIZE:
            raise _NoQuickWay


def _is_of_texts(schema: Mapping[str, Any]) -> bool:
    """Whether the schema fits no array but those of texts; of other values the libraries tell equal ones in different ways."""
    items = schema.get("items")
    return isinstance(items, Mapping) and items.get("type") == "string" and "prefixItems" not in schema


def _is_exact(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < EXACT

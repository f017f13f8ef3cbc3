"""The quick library and the deciding one give the same verdict, for every schema that the quick one may answer for."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalh import checks
from evalh.checks.json_quick import MAX_SIZE, MAX_WORK, quick
from evalh.checks.json_schema import compile_schema
from evalh.checks.json_text import parse_json
from tests.checks_support import row, status

KEYS = ["a", "b", "é", "constructor", ""]
NUMBERS = [0, -0.0, 1, 1.0, -1, 2, 3, 0.1, 0.3, 1.5, 5e-324, 1e20, 1e300, 10**20, 10**400, -(10**30), 2**53 - 1, 2**53, 2**53 + 1]
NUMBERS += [float(2**53), 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, float(2**64), 1e16]
TEXTS = ["", "a", "ab", "abc", "é", "e\u0301", "𝒳", "𝒳𝒳", "30", "٣", "a\n", "A", "\u0000", "\ufeff", " ", "null", "0"]
SCALARS: list[Any] = [None, True, False, *NUMBERS, *TEXTS]
PATTERNS = ["^a", "a$", r"^\d+$", r"\w", r"\s", "^.$", "[^a]", "(?i)A", r"\p{L}", "^(?!a)", "x*"]

values = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)
_exact = st.sampled_from([v for v in SCALARS if not isinstance(v, int | float) or abs(v) < 2**53])
_bound = st.sampled_from([0, 1, -1, 1.5, 0.1, 2**53 - 1, -(2**53 - 1), 5e-324])
_count = st.integers(0, 3)
_type = st.sampled_from(["integer", "number", "string", "boolean", "null", "object", "array"])
_names = st.lists(st.sampled_from(KEYS), unique=True, max_size=2)


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=3)
    named = st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    one = dict.fromkeys(["items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"], inner)
    lists = dict.fromkeys(["allOf", "anyOf", "oneOf", "prefixItems"], some)
    counts = dict.fromkeys(["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"], _count)
    counts |= dict.fromkeys(["minContains", "maxContains"], _count)
    bounds = dict.fromkeys(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"], _bound)
    keywords: dict[str, st.SearchStrategy[Any]] = {
        "type": _type | st.lists(_type, min_size=1, max_size=3, unique=True), "const": _exact,
        "enum": st.lists(_exact, min_size=1, max_size=4),
        "required": _names, "dependentRequired": st.dictionaries(st.sampled_from(KEYS), _names, max_size=2), "properties": named,
        "dependentSchemas": named, "pattern": st.sampled_from(PATTERNS), "$ref": st.just("#/$defs/x"),
        "format": st.sampled_from(["date", "email", "regex"]), "title": st.just("t"), "uniqueItems": st.just(False),
        **one, **lists, **counts, **bounds,
    }  # fmt: skip
    pairs = st.sampled_from(sorted(keywords)).flatmap(lambda name: st.tuples(st.just(name), keywords[name]))
    return st.lists(pairs, max_size=4).map(dict)


schemas = st.recursive(st.booleans() | _type.map(lambda t: {"type": t}), _schemas, max_leaves=10)
_plain = st.recursive(st.booleans(), _schemas, max_leaves=3).filter(lambda s: '"$ref"' not in json.dumps(s))  # a $ref in it would be a loop


def agreed(schema: Any, some: list[Any]) -> list[bool]:
    """The verdicts on some values, which must be the same by both."""
    problem, fast = compile_schema(schema)
    assert fast is not None, f"no quick way for {schema}"
    decided = [problem(value) is None for value in some]
    for value, verdict in zip(some, decided, strict=True):
        assert fast.fits(value, 100) is verdict, f"{schema} {value!r}: the deciding library says {verdict}"
    return decided


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas, _plain, st.lists(values, min_size=10, max_size=10))
def test_both_libraries_agree_on_random_schemas_and_values(schema, definition, some) -> None:
    """Types, numbers of every size, text, arrays, objects, logic, references and patterns, in any nesting."""
    agreed({"allOf": [schema], "$defs": {"x": definition}}, some)


@pytest.mark.slow
@settings(max_examples=800, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas, _plain, st.lists(values, min_size=20, max_size=20))
def test_both_libraries_agree_on_many_random_schemas_and_values(schema, definition, some) -> None:
    """The same, for sixteen thousand pairs."""
    agreed({"allOf": [schema], "$defs": {"x": definition}}, some)


def test_both_libraries_agree_on_every_keyword_at_the_edges() -> None:
    """Every limit against every awkward number and text: 1.0 and 1, true and 1, whole numbers beyond 64 bits, composed letters."""
    kinds = ["integer", "number", "string", "boolean", "null", "object", "array", ["integer", "null"]]
    made: list[Any] = [{"type": t} for t in kinds]
    made += [{k: b} for k in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") for b in (0, 1, -1, 1.5, 0.1, 2**53 - 1)]
    made += [{"const": c} for c in SCALARS if not isinstance(c, int | float) or abs(c) < 2**53]
    made += [{k: n} for k in ("minLength", "maxLength") for n in (0, 1, 2)]
    made += [{"pattern": p} for p in PATTERNS] + [{"uniqueItems": True, "items": {"type": "string"}}]
    some = [*SCALARS, [], {}, [1], ["a", "a"], ["a", "b"], ["é", "e\u0301"], ["a", 1, 1]]
    verdicts = [verdict for schema in made for verdict in agreed(schema, some) + agreed({"not": schema}, some)]
    assert sum(verdicts) * 2 == len(verdicts)  # what does not fit a schema fits its opposite


@pytest.mark.parametrize(
    "schema",
    [
        {"uniqueItems": True},
        {"uniqueItems": True, "items": {"type": "string"}, "prefixItems": [True]},
        {"patternProperties": {"^a": True}},
        {"unevaluatedProperties": False},
        {"unevaluatedItems": False},
        {"multipleOf": 3},
        {"maximum": 2**53},
        {"const": 1e300},
        {"const": {"a": 1}},
        {"enum": [[1]]},
        {"minLength": 2.0},
        {"properties": {"a": {"$ref": "#"}}},
        {"$ref": "#/$defs/x", "$defs": {"x": {"items": {"$ref": "#/$defs/x"}}}},
        {"$dynamicRef": "#x", "$defs": {"x": {"$dynamicAnchor": "x"}}},
        {"$ref": "#x", "$defs": {"x": {"$anchor": "x"}}},
        {"$ref": "#/$defs/x", "$defs": {"x": {"$id": "http://example.org/x"}}},
        {"const": "\ud800"},
        {"enum": list(range(MAX_SIZE))},
    ],
)
def test_a_schema_that_might_be_read_in_two_ways_has_no_quick_way(schema) -> None:
    """Such schemas are decided by the one library, as before."""
    assert quick(schema) is None
    assert compile_schema(schema).quick is None


def test_references_that_multiply_have_no_quick_way() -> None:
    """A small schema that is huge when its references are written out is not given to code that nothing can stop."""
    doubling = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)} | {"d40": True}
    assert quick({"$ref": "#/$defs/d0", "$defs": doubling}) is None
    assert quick({"$ref": "#/$defs/d35", "$defs": doubling}) is not None


def test_work_that_nothing_could_stop_is_not_begun() -> None:
    """A large schema and a long output together go to the library that a time limit can stop."""
    fast = quick({"type": "array"})
    assert fast is not None
    assert fast.fits([], MAX_WORK)
    assert not fast.fits([], MAX_WORK + 1)


@pytest.mark.parametrize("text", ["1e999", "[-1e999]", '{"a": 1e999}', '"\\ud800"', '{"\\ud800": 1}', "[1, 2.5, 1E400]"])
@pytest.mark.parametrize("schema", [{"type": "number"}, {"maximum": 5}, {"items": {"type": "number"}}, {}, {"minLength": 2}])
def test_values_that_only_one_library_knows_are_decided_by_it(schema, text) -> None:
    """Numbers beyond all floats, and halves of surrogate pairs."""
    wrong = compile_schema(schema).problem(parse_json(text))
    assert status(checks.JSONSchema(schema), text) == ("pass" if wrong is None else "fail")


@given(values, st.booleans())
def test_a_check_says_what_the_deciding_library_says(value, negate) -> None:
    """Through the check, with texts long and short, the row is the one of the library that gives reasons."""
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}, "b": {"pattern": "^a"}}}
    text = json.dumps(value)
    wrong = compile_schema(schema).problem(parse_json(text))
    for written in (text, text + " " * 20_000):
        result = row(checks.JSONSchema(schema, negate=negate), written)
        assert (result.status == "pass") is ((wrong is None) is not negate)
        assert result.reason.endswith("fits the schema" if wrong is None else wrong[-100:].strip())


def test_a_pattern_in_a_schema_keeps_the_rules_of_the_bounded_engine() -> None:
    r"""`\d` is any digit, `$` stands before a last line end, and a pattern that is not decided in time makes an error, not a pass."""
    assert status(checks.JSONSchema({"pattern": r"^\d$"}), '"٣"') == "pass"
    assert status(checks.JSONSchema({"pattern": "^a$"}), '"a\\n"') == "pass"
    assert status(checks.JSONSchema({"not": {"pattern": "^(a|aa)+$"}}), json.dumps("a" * 40 + "!")) == "error"
    assert math.isclose(row(checks.JSONSchema({"pattern": "b"}), '"abc"').score or 0, 1)

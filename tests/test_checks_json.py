"""Checks of JSON: strict reading, schemas, paths and models, for any output that a model may write."""

from __future__ import annotations

import json
import time
import tracemalloc
from datetime import date

import pytest
from pydantic import BaseModel, field_validator

from evalh import checks
from evalh.checks.json_schema import compile_schema
from evalh.checks.json_text import fenced_block
from evalh.errors import InputError
from tests.checks_support import compiled, row, status

DEEP = "[" * 100_000
# A time limit that arrives in a garbage collection is dropped with a warning (hypothesis hooks into those), and told again.
DROPPED = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": [1, 2.5e3, null, true, "\\u00e9"]}', "pass"),
        (' \n"text"\t', "pass"),
        ("1e999", "pass"),
        ("", "fail"),
        ("{'a': 1}", "fail"),
        ('{"a": 1,}', "fail"),
        ('{"a": NaN}', "fail"),
        ("-Infinity", "fail"),
        ('{"a": 1, "a": 2}', "fail"),
        ('{"a": 1} // done', "fail"),
        ('{"a": "b\nc"}', "fail"),
        ("\ufeff{}", "fail"),
        ('```json\n{"a": 1}\n```', "fail"),
        (DEEP, "error"),
        ("[" * 101 + "]" * 101, "error"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "error"),
        ("[" * 100 + "]" * 100, "pass"),
        (json.dumps(["[[[[" * 1000]), "pass"),
        ("1" * 5000, "error"),
        ("[" + "1," * 600_000 + "1]", "error"),
        ('{"a": "\\ud800"}', "pass"),
    ],
)
def test_json_is_what_the_standard_says(text, expected) -> None:
    """RFC 8259 to the letter; what is too deep, too long or too many digits to read is an error, and crashes nothing."""
    assert status(checks.JSONValid(), text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Here you are:\n```json\n{"a": 1}\n```\nBye', "pass"),
        ('```\n{"a": 1}\n```', "pass"),
        ('```python\n{}\n```\n~~~JSON\n{"a": 1}\n~~~', "pass"),
        ('```json\n{"a": 1}', "pass"),
        ('```json\r\n{"a": "\u2028"}\r\n```\r\n', "pass"),
        ('```json\n{"a": "```"}\n```', "pass"),
        ('```json\n{"a": 1,}\n``` {"a": 1}', "fail"),
        ('The answer is {"a": 1}, I [think].', "pass"),
        ('I [think] it is {"a": 1}.', "pass"),
        ("no json at all", "fail"),
        ("[" * 50, "fail"),
        (DEEP, "error"),
    ],
)
def test_a_json_block_is_taken_out_on_demand(text, expected) -> None:
    """With `extract`, the first JSON fence, else the first fence without a name, else the first object or array."""
    assert status(checks.JSONSchema({"type": "object", "required": ["a"]}, extract=True), text) == expected
    assert fenced_block(text, "rust") is None or "```\n" in text


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2},
        "tags": {"type": "array", "uniqueItems": True, "items": {"$ref": "#/$defs/tag"}},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"tag": {"type": "string", "pattern": "^[a-z]+$"}},
}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"name": "Bo", "tags": ["a", "b"]}', "fits the schema"),
        ('{"name": "B"}', "$.name: 'B' is too short"),
        ("{}", "$: 'name' is a required property"),
        ('{"name": "Bo", "tags": ["a", "B"]}', "$.tags[1]: 'B' does not match '^[a-z]+$'"),
        ('{"name": "Bo", "tags": ["a", "a"]}', "$.tags: ['a', 'a'] has non-unique elements"),
        ('{"name": "Bo", "age": 3}', "Additional properties are not allowed ('age' was unexpected)"),
        ("[]", "$: [] is not of type 'object'"),
        ("nonsense", "is not JSON: line 1, column 1"),
    ],
)
def test_the_output_fits_a_schema_or_the_reason_names_the_place(text, reason, tmp_path) -> None:
    """Schemas of draft 2020-12, from a file or inline, are decided the same way."""
    (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
    for check in (checks.JSONSchema(SCHEMA), checks.JSONSchema("s.json")):
        result = row(check, text, folder=tmp_path)
        assert result.status == ("pass" if reason == "fits the schema" else "fail")
        assert reason in result.reason


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ('{"type": "strin"}', "s.json: $.type: is not a JSON Schema of draft 2020-12: 'strin' is not valid"),
        ('{"properties": {"a": {"minimum": "3"}}}', "s.json: $.properties.a.minimum: is not a JSON Schema of draft 2020-12"),
        (
            '{"properties": {"a": {"pattern": "("}}}',
            "s.json: $.properties.a.pattern: is not a JSON Schema of draft 2020-12: the pattern '(' is no",
        ),
        ('{"patternProperties": {"a{100000000}": {}}}', "repeats 100,000,000 elements"),
        ('{"type": "object"', "s.json: is not JSON: line 1"),
        ("[1]", "s.json: is no schema: [1]"),
        (
            '{"$schema": "http://json-schema.org/draft-07/schema#"}',
            "s.json: $.$schema: declares 'http://json-schema.org/draft-07/schema#'; evalh reads draft 2020-12",
        ),
        (
            '{"$ref": "http://127.0.0.1:9/s.json"}',
            "the reference 'http://127.0.0.1:9/s.json' leads nowhere in the schema; put it under $defs: references are never fetched",
        ),
        ('{"properties": {"a": {"$ref": "#/$defs/nowhere"}}}', "leads nowhere in the schema"),
    ],
)
def test_a_schema_that_is_no_schema_is_bad_input_with_its_place(written, message, tmp_path) -> None:
    """Said before anything runs, with the file and the place in it; nothing is fetched."""
    (tmp_path / "s.json").write_text(written)
    with pytest.raises(InputError) as error:
        compiled(checks.JSONSchema("s.json"), tmp_path)
    assert message in str(error.value)
    assert "check `json-schema`" in str(error.value)


def test_a_missing_schema_file_is_bad_input(tmp_path) -> None:
    """The check and the file are named."""
    with pytest.raises(InputError, match=r"check `json-schema`, none\.json: there is no such file"):
        compiled(checks.JSONSchema("none.json"), tmp_path)


EVIL = "^(a+)+$"
TRAP = "a" * 40 + "!"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": "^(a|aa)+$"}, TRAP),
        ({"patternProperties": {"^(a|aa)+$": {"type": "string"}}}, {TRAP: 1}),
        ({"patternProperties": {"^(a|aa)+$": True}, "additionalProperties": False}, {TRAP: 1}),
        ({"patternProperties": {"^(a|aa)+$": True}, "unevaluatedProperties": False}, {TRAP: 1}),
        ({"$ref": "#/$defs/x", "unevaluatedProperties": False, "$defs": {"x": {"patternProperties": {"^(a|aa)+$": True}}}}, {TRAP: 1}),
        ({"propertyNames": {"pattern": "^(a|aa)+$"}}, {TRAP: 1}),
    ],
)
def test_patterns_in_schemas_are_bounded(schema, value) -> None:
    """Every keyword that matches patterns goes through the bounded engine: an error in time, never a hang."""
    start = time.monotonic()
    result = row(checks.JSONSchema(schema), json.dumps(value))
    assert result.status == "error"
    assert "did not match or fail within 0.5 s" in result.reason
    assert time.monotonic() - start < 5


def doubling(keyword: str, last: object) -> dict[str, object]:
    """Forty small schemas of which each refers to the next one twice: 2⁴⁰ evaluations."""
    return {f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)} | {"d40": last}


@DROPPED
@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"uniqueItems": True}, json.dumps([{"n": n} for n in range(30_000)])),
        ({"$ref": "#"}, "1"),
        ({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}, "1"),
        ({"$ref": "#/$defs/d0", "$defs": doubling("allOf", {"type": "integer"})}, "1"),
        ({"$ref": "#/$defs/d0", "$defs": doubling("oneOf", {"type": "string"})}, "1"),
        ({"$ref": "#/$defs/d0", "$defs": doubling("anyOf", {"type": "object"}), "unevaluatedProperties": False}, '{"a": 1}'),
        ({"items": {"enum": [[n] for n in range(5000)]}}, "[" + "[-1]," * 100_000 + "1]"),
        ({"items": {"patternProperties": {f"^(a|aa)+{n}$": False for n in range(20)}}}, json.dumps([{TRAP: n} for n in range(100)])),
    ],
)
def test_a_schema_that_takes_for_ever_is_an_error(schema, text) -> None:
    """Quadratic, exponential and endless validations are cut off: an error row soon after the limit, whatever the schema does."""
    start = time.monotonic()
    result = row(checks.JSONSchema(schema, timeout_s=0.3), text)
    assert result.status == "error"
    assert "within 0.3 s" in result.reason or "within 0.5 s" in result.reason or "RecursionError" in result.reason
    assert time.monotonic() - start < 5


def test_a_schema_that_takes_for_ever_to_be_checked_is_refused() -> None:
    """Before anything runs, with a reason; a schema of a few thousand parts is no trouble."""
    parts = {f"p{n}": {"type": "string", "maxLength": n} for n in range(3000)}
    with pytest.raises(InputError, match="the schema is too large to be checked: not decided within"):
        compile_schema({"properties": parts}, seconds=0.05)
    assert compile_schema({"properties": parts}).problem({"p3": "abcd"}) == "$.p3: 'abcd' is too long"


def test_the_errors_of_many_branches_take_little_memory() -> None:
    """A hundred thousand wrong values in each of three branches: the reason comes from the first hundred."""
    problem = compile_schema({"anyOf": [{"items": {"type": "string"}}] * 3}).problem
    tracemalloc.start()
    try:
        assert str(problem([1] * 100_000)).endswith("is not valid under any of the given schemas")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_numbers_are_equal_as_the_standard_says() -> None:
    """1.0 is an integer and equals 1; true is not 1."""
    assert status(checks.JSONSchema({"type": "integer", "enum": [1]}), "1.0") == "pass"
    assert status(checks.JSONSchema({"const": 1}), "true") == "fail"


@pytest.mark.parametrize(
    ("check", "reference", "expected"),
    [
        (checks.JSONPath("$.items[0].price", equals=12.5), None, "pass"),
        (checks.JSONPath("$.items[0].price", 12.4), None, "fail"),
        (checks.JSONPath("$.items[0].price", 12.4, tolerance=0.11), None, "pass"),
        (checks.JSONPath("$.name"), "Bo", "pass"),
        (checks.JSONPath("$.name"), None, "error"),
        (checks.JSONPath("$.name", matches="^B"), None, "pass"),
        (checks.JSONPath("$.ok", matches="t"), None, "fail"),
        (checks.JSONPath("$.ok", equals=1), None, "fail"),
        (checks.JSONPath("$.name", one_of=["Al", "Bo"]), None, "pass"),
        (checks.JSONPath("$.nothing", one_of=[None]), None, "pass"),
        (checks.JSONPath("$.nothing", exists=True), None, "pass"),
        (checks.JSONPath("$.missing", exists=False), None, "pass"),
        (checks.JSONPath("$.missing", exists=True), None, "fail"),
        (checks.JSONPath("$.missing", equals=1), None, "fail"),
        (checks.JSONPath("$.items[*].price", one_of=[12.5, 3]), None, "pass"),
        (checks.JSONPath("$.items[*].price", equals=3), None, "fail"),
        (checks.JSONPath("$.items[*].price", equals=3, nodes="any"), None, "pass"),
        (checks.JSONPath("$.items[*].price", equals=[12.5, 3], nodes="list"), None, "pass"),
        (checks.JSONPath("$.items[?@.price > 10].id", equals="a"), None, "pass"),
        (checks.JSONPath("$", equals={"a": 1}), None, "fail"),
    ],
)
def test_what_stands_at_a_path(check, reference, expected) -> None:
    """Equality, alternatives, patterns and existence at a path of RFC 9535, with several values found or one."""
    text = '{"items": [{"id": "a", "price": 12.5}, {"id": "b", "price": 3}], "name": "Bo", "ok": true, "nothing": null}'
    assert status(check, text, reference) == expected


def test_a_path_in_a_text_that_is_a_single_value() -> None:
    """A bare string is the root itself, and has nothing in it."""
    assert status(checks.JSONPath("$", equals="a"), '"a"') == "pass"
    assert status(checks.JSONPath("$.a", exists=True), '"[1]"') == "fail"


@pytest.mark.parametrize("path", ["$[", "name", "$.items[?nope(@.a)]", "$" + "[?" * 500])
def test_a_path_that_is_no_path_is_bad_input(path) -> None:
    """RFC 9535 decides what a path is, before anything runs."""
    with pytest.raises(InputError, match="is no JSON path"):
        compiled(checks.JSONPath(path, exists=True))


@DROPPED
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ('$[?search(@, "^(a|aa)+$")]', json.dumps([TRAP])),
        ("$[?match(@.v, $[0].p)]", json.dumps([{"p": "(a|aa)+$", "v": TRAP}])),
        ("$..*..*..*", "[" * 90 + "1" + "]" * 90),
        ("$..[?count($..*) > 5]", json.dumps(list(range(20_000)))),
    ],
)
def test_no_path_and_no_output_hang_a_run(path, text) -> None:
    """Patterns inside filters are bounded, and so are the number of values and the time."""
    start = time.monotonic()
    assert status(checks.JSONPath(path, exists=True, timeout_s=1), text) == "error"
    assert time.monotonic() - start < 4


class Reply(BaseModel):
    """A model of the tests."""

    answer: str
    on: date

    @field_validator("answer")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if value == "crash":
            raise RuntimeError("inside")
        if not value:
            raise ValueError("is empty")
        return value


@pytest.mark.parametrize(
    ("text", "expected", "reason"),
    [
        ('{"answer": "yes", "on": "2026-01-31"}', "pass", "fits Reply"),
        ('{"answer": "", "on": "2026-01-31"}', "fail", "answer: Value error, is empty, got ''"),
        ('{"answer": "yes", "on": "2026-02-31"}', "fail", "on: Input should be a valid date"),
        ('{"answer": 1}', "fail", "answer: Input should be a valid string, got 1 (and 1 more)"),
        ('{"answer": "a", "answer": "b", "on": "2026-01-31"}', "fail", "is not JSON: the key 'answer' is there twice"),
        ('{"answer": "crash", "on": "2026-01-31"}', "error", "RuntimeError: inside"),
    ],
)
def test_a_pydantic_model_accepts_the_output(text, expected, reason) -> None:
    """A class, or its name; the reason names the field. A validator that crashes is an error."""
    for model in (Reply, "tests.test_checks_json:Reply"):
        result = row(checks.PydanticModel(model), text)
        assert (result.status, reason in result.reason) == (expected, True)
    assert status(checks.PydanticModel(Reply, extract=True), f"So: {text}") == expected
    assert status(checks.PydanticModel(Reply, extract=True), f"```json\n{text}\n```") == expected


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("Reply", "names no object; write 'module:name'"),
        ("no_such_module:Reply", "there is no module 'no_such_module'"),
        ("json:Reply", "json has no 'Reply'"),
        ("json:dumps", "json:dumps#"),
        ("broken.py:Reply", "broken.py: cannot be imported: ZeroDivisionError"),
    ],
)
def test_a_model_that_cannot_be_found_is_bad_input(model, message, tmp_path) -> None:
    """The module, file or name that is missing is named."""
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(InputError) as error:
        compiled(checks.PydanticModel(model), tmp_path)
    assert message in str(error.value)

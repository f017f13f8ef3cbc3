"""Many outputs at once: the same rows as one by one, JSON read once, and several processes where that pays."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalh import checks
from evalh.checks import json_text
from evalh.checks.apply import CompiledCheck, apply_checks, apply_many, compile_checks
from evalh.checks.base import Check, Finding, Subject
from evalh.checks.examples import EXAMPLES
from evalh.checks.json_text import json_in, parse_json
from evalh.checks.limits import _ESCAPES, _UNSAFE, Undecidable, safe_line
from evalh.checks.pool import CHUNK, Pool
from evalh.checks.registry import BUILT_IN, check_from_spec, kind_class
from tests.checks_support import beside, compiled, status, subject

SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "minimum": 1}}}
MIXED: list[Check] = [
    checks.JSONSchema(SCHEMA),
    checks.JSONSchema(SCHEMA, extract=True, negate=True),
    checks.JSONValid(max_chars=20),
    checks.JSONPath("$.a", equals=1),
    checks.JSONPath("$.a"),
    checks.Equals({"a": 1}),
    checks.Numeric(1, path="$.a"),
    checks.Numeric(1, path="$.a", extract=True),
    checks.Regex("[0-9]+", negate=True),
    checks.Regex("(a+)+b"),
    checks.Contains("a", ignore_case=True),
    checks.Contains(),
    checks.ContainsAll(["a", "1"]),
    checks.MaxWords(3),
    checks.MaxLatency(5),
    checks.RougeL(0.5),
]
TEXTS = ['{"a": 1}', '{"a": 0}', '{"a": 1e999}', '{"a": "\\ud800"}', '{"a": 1, "a": 2}', "", "[" * 101, "1" * 1001, "1e999", "NaN"]
TEXTS += ['```json\n{"a": 1}\n```', 'It is {"a": 1}, [I think]', "Ａ a ä a\u0308", "\ufeff{}", '"\\"[[["', " 1 ", "a\x1b[2J  b"]
texts = st.sampled_from(TEXTS) | st.text(max_size=40) | st.integers(-3, 3).map(lambda n: json.dumps({"a": n}))
subjects = st.builds(
    lambda text, reference, error: subject(text, reference, error=error), texts, st.sampled_from([None, "a", 1, {"a": 1}]),
    st.sampled_from([None, None, None, "dropped"]),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(subjects, max_size=4))
def test_many_outputs_give_the_rows_that_each_gives_alone(some) -> None:
    """What checks share of an output changes no answer: all together, one by one, and each check alone are the same rows."""
    ready = compile_checks(MIXED, beside(Path(".")))
    together = apply_many(ready, some)
    assert [r.check for r in together] == ready
    for place, each in enumerate(some):
        alone = [apply_checks([check], Subject(each.item, each.output))[0] for check in ready]
        assert [r.record(place) for r in together] == alone == apply_checks(ready, each)


def test_columns_are_as_long_as_the_outputs_and_nothing_stays_behind() -> None:
    """No outputs give empty columns; what was read of an output is let go when its checks are done."""
    ready = compile_checks(MIXED, beside(Path(".")))
    assert [(r.status, r.score, r.reason) for r in apply_many(ready, [])] == [([], [], [])] * len(MIXED)
    some = [subject('{"a": 1}') for _ in range(3)]
    assert {len(column) for r in apply_many(ready, some) for column in r[1:]} == {3}
    assert [each.memo for each in some] == [{}, {}, {}]


def test_an_output_is_read_once_for_all_its_checks() -> None:
    """Two checks see one and the same value; a third that takes a block out of it reads another."""
    seen: list[Any] = []

    class Sees(Check):
        kind = "sees"

        def compile(self, resolve):
            def run(subject):
                seen.append(json_in(subject).value)
                return Finding(True, 1.0)

            return run

    apply_checks(compile_checks([Sees(), Sees()], beside(Path("."))), subject('{"a": [1]}'))
    assert seen[0] is seen[1]


def _reference(text: str) -> Any:
    """The rules of `parse_json`, written as slowly as they are said."""
    outside = json_text._STRING.sub("", text)
    depth = deepest = 0
    for letter in outside:
        depth += (letter in "[{") - (letter in "]}")
        deepest = max(deepest, depth)
    if deepest > json_text.MAX_DEPTH:
        raise Undecidable("deep")

    def number(kind):
        def read(digits):
            if len(digits) > json_text.MAX_DIGITS:
                raise Undecidable("digits")
            return kind(digits)

        return read

    hook = json_text._no_duplicates
    return json.loads(
        text, object_pairs_hook=hook, parse_constant=json_text._no_constants, parse_int=number(int), parse_float=number(float)
    )


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    max_leaves=20,
)
_broken = st.text('[]{}",:\\ 1e9\u0000\n-.', max_size=300)
_nested = st.builds(
    lambda n, a, b, c: a * n + b + c * n, st.integers(90, 110), *[st.sampled_from(["[", "{", '{"":', "]", "}", '"', '\\"', "[]"])] * 3
)


@settings(max_examples=300, deadline=None)
@given(_json.map(json.dumps) | _json.map(lambda v: json.dumps(v, ensure_ascii=False)) | _broken | _nested)
def test_reading_fast_is_reading_strictly(text) -> None:
    """The quick looks (short texts, bracket counting) decide as the rules do: the same value, or refused in the same way."""
    for whole in (text, f"[{text}]", f"[{text}, {'[],' * 101} 1]"):
        said = []
        for read in (parse_json, _reference):
            try:
                said.append(repr(read(whole)))
            except Undecidable:
                said.append("undecidable")
            except (ValueError, RecursionError):
                said.append("no JSON")
        assert said[0] == said[1]


@settings(max_examples=300)
@given(st.text() | st.text(" \t\u00a0ab\u200b\ufeff\x1b[;m\u2028\ud800"))
def test_a_reason_that_is_clean_already_is_left_as_it_is(text) -> None:
    """The short cut of `safe_line` gives what its patterns give."""
    assert safe_line(text, 10_000) == " ".join(_UNSAFE.sub("", _ESCAPES.sub("", text)).split())


def test_checks_that_may_wait_are_told_from_those_that_only_compute() -> None:
    """Programs and code of users wait; a check of a plugin does, too, unless its class says otherwise."""
    waiting = {kind for kind in BUILT_IN if kind_class(kind).waits}
    assert waiting == {"python-function", "shell-command", "pydantic-model"}
    assert [c.waits for c in compile_checks([checks.MaxWords(1), checks.PythonFunction(str.isupper)], beside(Path(".")))] == [False, True]

    class Own(Check):
        kind = "own"

    assert Own().waits


def rows(results: list[Any]) -> list[Any]:
    return [(r.check.title, *r[1:]) for r in results]


def everything() -> list[CompiledCheck]:
    """Every built-in check by its example."""
    return compile_checks([check_from_spec(eval(e.python, {"checks": checks})) for e in EXAMPLES.values()], beside(Path(".")))


def test_other_processes_answer_as_this_one(tmp_path) -> None:
    """Every kind of check, made anew from its settings and files in a child, gives the same rows in the same order."""
    (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
    ready = [c for c in everything() if c.check.kind != "shell-command"]
    ready += compile_checks([checks.JSONSchema("s.json", name="file", negate=True, blocking=False, weight=2.0)], beside(tmp_path))
    some = [subject(text, "a", latency_ms=3.0, tool_calls=[{"name": "search"}]) for text in TEXTS * 3]
    some += [subject("SELECT 1", reference=lambda: "does not travel")]
    pool = Pool(ready, processes=2, worth_s=0)
    try:
        pool._start()
        assert pool.running
        assert rows(pool.apply(some)) == rows(apply_many(ready, some))
        assert rows(pool.apply(some[:1])) == rows(apply_many(ready, some[:1]))
        assert rows(pool.apply([])) == rows(apply_many(ready, []))
    finally:
        pool.close()


def test_children_start_only_where_that_pays() -> None:
    """Quick checks stay in this process whatever they cost together; slow ones go to others once they have cost enough."""
    sql = "SELECT a.x, b.y FROM a JOIN b ON a.id = b.id WHERE a.z = 'q' GROUP BY 1, 2;\n" * 10
    quick = Pool(compile_checks([checks.Contains("x")], beside(Path("."))), processes=2, worth_s=0.02)
    slow = Pool(compile_checks([checks.SQLValid("duckdb")], beside(Path("."))), processes=2, worth_s=0.02)
    alone = Pool(compile_checks([checks.SQLValid("duckdb")], beside(Path("."))), processes=1, worth_s=0)
    own = Pool(compile_checks([checks.PythonFunction(lambda text: bool(sorted(text * 1000)))], beside(Path("."))), processes=2, worth_s=0)
    try:
        for _ in range(20):
            quick.apply([subject("x" * 1000)] * 500)
            slow.apply([subject(sql)] * 2)
            alone.apply([subject(sql)])
            own.apply([subject("function of the user")])
        assert (quick.running, slow.running, alone.running, own.running) == (False, True, False, False)
    finally:
        for pool in (quick, slow, alone, own):
            pool.close()
    assert slow.apply([subject(sql)])[0].status == ["pass"]
    assert not slow.running


def test_a_child_that_is_killed_costs_no_row() -> None:
    """What a dead child did not answer is answered here; without children the pool goes on as if there had been none."""
    ready = compile_checks([checks.SQLValid("duckdb")], beside(Path(".")))
    some = [subject(f"SELECT {n} FROM t" if n % 3 else "SELECT FROM WHERE") for n in range(10 * CHUNK)]
    pool = Pool(ready, processes=2, worth_s=0)
    try:
        pool._start()
        pool.apply(some)
        os.kill(pool._children[0]._process.pid, signal.SIGKILL)
        assert rows(pool.apply(some)) == rows(apply_many(ready, some))
        assert len(pool._children) == 1
        os.kill(pool._children[0]._process.pid, signal.SIGKILL)
        assert rows(pool.apply(some)) == rows(apply_many(ready, some))
        assert not pool.running
    finally:
        pool.close()


def test_children_end_with_what_feeds_them() -> None:
    """A child whose input ends, as it does when the run is killed, ends by itself."""
    pool = Pool(compile_checks([checks.SQLValid("duckdb")], beside(Path("."))), processes=2, worth_s=0)
    pool._start()
    processes = [child._process for child in pool._children]
    for child in pool._children:
        child._stdin.close()
    assert [process.wait(20) for process in processes] == [0, 0]
    pool.close()


COMBINING = "a" + "\u0301\u0316" * 500_000


@pytest.mark.parametrize(
    "check", [checks.Contains("b"), checks.Equals("b"), checks.MaxChars(5), checks.Levenshtein(0.5, "b", max_chars=2_000_000)]
)
def test_a_text_of_combining_marks_alone_stops_nothing(check) -> None:
    """Ordering a million marks would take minutes in code that nothing can interrupt: an error at once."""
    start = time.monotonic()
    result = apply_checks(compiled(check), subject(COMBINING))[0]
    assert result.status == "error"
    assert "combining marks in a row" in result.reason
    assert time.monotonic() - start < 2
    assert status(checks.Contains("b"), "Z\u0301\u0316" * 100_000 + "b") == "pass"

"""The JSON Lines files of evalh as people write them: what is accepted, and the one line that says what is wrong."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from evalh.errors import InputError
from evalh.interchange.jsonl import RecordedJudgment, read_items, read_judgments, read_labels, read_outputs
from evalh.interchange.lines import write_objects
from evalh.records import Output, ToolCall

ITEM = {"item_id": "a", "input": "why?"}
OUTPUT = {"item_id": "a", "system": "s", "output": "because"}
PAIR = {"item_id": "a", "judge": "j", "kind": "pairwise", "systems": ["s", "t"], "verdict": "first"}
POINT = {"item_id": "a", "judge": "j", "kind": "pointwise", "systems": ["s"], "score": 4}
LABEL = {"item_id": "a", "annotator": "kim", "kind": "pairwise", "systems": ["s", "t"], "winner": "tie"}

READERS = {"items": read_items, "outputs": read_outputs, "judgments": read_judgments, "labels": read_labels}


def lines(tmp_path: Path, *rows: object, name: str = "f.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def without(row: dict[str, object], field: str) -> dict[str, object]:
    return {k: v for k, v in row.items() if k != field}


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("items", without(ITEM, "item_id"), "field `item_id`: missing; every item needs one"),
        ("items", {**ITEM, "item_id": 7}, "field `item_id`: must be text, not 7; every item needs one"),
        ("items", {**ITEM, "item_id": ""}, 'field `item_id`: must be text that is not empty, not ""'),
        ("items", without(ITEM, "input"), "field `input`: missing; text, a list of chat messages"),
        ("items", {**ITEM, "input": 5}, "field `input`: must be text, not 5"),
        (
            "items",
            {**ITEM, "input": [{"role": "boss", "content": "x"}]},
            "field `input[0].role`: must be 'system', 'user', 'assistant' or 'tool'",
        ),
        ("items", {**ITEM, "dificulty": 3}, "field `dificulty`: unknown; an item has item_id, input, reference"),
        ("items", {**ITEM, "tags": "x"}, 'field `tags`: must be a list, not "x"'),
        ("outputs", without(OUTPUT, "output"), "field `output`: missing; text, or null where the system gave none"),
        ("outputs", {**OUTPUT, "trial": "1"}, 'field `trial`: must be a whole number, not "1"; 0 for the first answer'),
        ("outputs", {**OUTPUT, "trial": -1}, "field `trial`: must be greater than or equal to 0, not -1"),
        ("outputs", {**OUTPUT, "error": "timeout"}, "field `error`: given beside an output"),
        ("outputs", {**OUTPUT, "tool_calls": [{"arguments": {}}]}, "field `tool_calls[0]`: is no tool call"),
        ("judgments", without(PAIR, "kind"), "field `kind`: missing; `pairwise` or `pointwise`"),
        ("judgments", {**PAIR, "kind": "pair"}, "field `kind`: must be 'pairwise' or 'pointwise', not \"pair\""),
        ("judgments", without(PAIR, "verdict"), "field `verdict`: missing; `first`, `second` or `tie`, as shown"),
        ("judgments", {**PAIR, "verdict": "A"}, "field `verdict`: must be 'first', 'second' or 'tie', not \"A\""),
        ("judgments", {**PAIR, "systems": ["s"]}, "field `systems`: pairwise needs two different systems"),
        ("judgments", {**PAIR, "systems": ["s", "s"]}, "field `systems`: pairwise needs two different systems"),
        ("judgments", {**PAIR, "systems": "s"}, 'field `systems`: must be a list, not "s"'),
        ("judgments", {**PAIR, "winner": "t"}, "field `winner`: `t` does not fit verdict `first` of s, t"),
        ("judgments", {**PAIR, "winner": "u"}, "field `winner`: `u` is none of s, t"),
        ("judgments", {**PAIR, "verdict": None, "winner": "s"}, "field `verdict`: null beside a winner or a score"),
        ("judgments", {**PAIR, "score": 1.5}, "field `score`: 1.5 is outside [0, 1]"),
        ("judgments", {**PAIR, "probs": [0.5]}, "field `probs[1]`: missing"),
        ("judgments", {**PAIR, "at": "noon"}, "field `at`: `noon` is no time; ISO 8601"),
        ("judgments", without(POINT, "score"), "field `score`: missing; a pointwise verdict has a `score` or a `label`"),
        ("judgments", {**POINT, "score": "4"}, 'field `score`: must be a number, not "4"'),
        ("judgments", {**POINT, "score": True}, "field `score`: must be a number, not true"),
        ("judgments", {**POINT, "verdict": "first"}, "field `verdict`: given in a pointwise verdict"),
        ("labels", without(LABEL, "winner"), "field `winner`: missing; one of the two systems, or `tie`"),
        ("labels", {**LABEL, "annotator": None}, "field `annotator`: must be text, not null; who gave the label"),
        ("labels", {**without(LABEL, "winner"), "kind": "pointwise", "systems": ["s"]}, "a pointwise label has a `score` or a `label`"),
        ("labels", {**LABEL, "inclusion_probability": 0}, "field `inclusion_probability`: must be greater than 0, not 0"),
    ],
)
def test_a_bad_line_is_named_by_file_line_and_field(tmp_path: Path, kind: str, row: object, message: str) -> None:
    """An error says file:line, the field, what is wrong, and what would be right; good lines before it were read."""
    good = {"items": ITEM, "outputs": OUTPUT, "judgments": PAIR, "labels": LABEL}[kind]
    path = lines(tmp_path, {**good, "item_id": "first"}, row)
    read = READERS[kind](path)
    assert next(iter(read)).item_id == "first"
    with pytest.raises(InputError) as caught:
        list(read)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"item_id": "a", "input": \n', ":1: not JSON: Expecting value at column 26; each line is one JSON object"),
        (b'["a"]\n', ':1: ["a"] is no object'),
        (b'{"item_id": "a", "input": null}\n{"item_id": NaN}\n', ":2: not JSON that can be kept: NaN is no JSON value"),
        (b'{"item_id": "a", "input": null, "meta": {"x": 1e999}}\n', ":1: not JSON that can be kept: 1e999 is too large"),
        ('{"item_id": "a", "input": "é"}\n'.encode("latin-1"), ":1: byte 28 is not UTF-8; save the file as UTF-8"),
        ('{"item_id": "a", "input": null}\n'.encode("utf-16"), ": this file is UTF-16; save it as UTF-8"),
        (b'{"item_id": "a", "input": null}\n\n{"item_id": "b", "input": null}\n', ":2: an empty line"),
        (b'{"a":' * 100_000 + b"\n", ":1: not JSON that can be kept"),
    ],
)
def test_a_file_that_is_no_json_lines_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    """Broken JSON, other encodings and empty lines in between are one-line errors with the line."""
    path = tmp_path / "items.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        list(read_items(path))
    assert f"{path}{message}" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """No file is an error with its path."""
    with pytest.raises(InputError, match=r"none.jsonl: cannot be read: No such file"):
        list(read_items(tmp_path / "none.jsonl"))


def test_harmless_differences_are_accepted(tmp_path: Path) -> None:
    """A byte order mark, Windows line ends, empty lines at the end and a canary on the first line change nothing."""
    path = tmp_path / "items.jsonl"
    canary = b'{"_canary": "EVALH-CANARY 6f1d2c3e-0000-4000-8000-000000000000"}\r\n'
    path.write_bytes(b"\xef\xbb\xbf" + canary + b'{"item_id": "a", "input": "\xc3\xa9"}\r\n{"item_id": "b", "input": null}\r\n\r\n  \r\n')
    assert [(i.item_id, i.input) for i in read_items(path)] == [("a", "é"), ("b", None)]
    path.write_bytes(b'{"item_id": "a", "input": null}')
    assert [i.item_id for i in read_items(path)] == ["a"]


@pytest.mark.parametrize(
    ("kind", "row", "again", "message"),
    [
        ("items", ITEM, ITEM, "field `item_id`: `a` again, as on line 1"),
        ("outputs", OUTPUT, {**OUTPUT, "output": "other"}, 'the output ["a", "s", 0] again, as on line 1'),
        ("judgments", PAIR, PAIR, "again, as on line 1; count `repeat` up"),
        ("labels", LABEL, {**LABEL, "winner": "s"}, "again, as on line 1; one person labels an output once"),
    ],
)
def test_the_same_thing_twice_is_refused(tmp_path: Path, kind: str, row: object, again: object, message: str) -> None:
    """A second line about the same item, output, verdict or label is an error that names both lines."""
    path = lines(tmp_path, row, again)
    with pytest.raises(InputError) as caught:
        list(READERS[kind](path))
    assert f"{path}:2: " in str(caught.value)
    assert message in str(caught.value)


def test_other_trials_repeats_orders_and_aspects_are_other_lines(tmp_path: Path) -> None:
    """What differs in trial, repeat, order shown, prompt or aspect is not the same thing."""
    assert len(list(read_outputs(lines(tmp_path, OUTPUT, {**OUTPUT, "trial": 1}, {**OUTPUT, "system": "t"})))) == 3
    rows = [
        PAIR,
        {**PAIR, "repeat": 1},
        {**PAIR, "systems": ["t", "s"]},
        {**PAIR, "prompt": "p"},
        {**PAIR, "judge_version": "2"},
        {**PAIR, "aspect": "x"},
    ]
    assert len(list(read_judgments(lines(tmp_path, *rows)))) == 6
    assert len(list(read_labels(lines(tmp_path, LABEL, {**LABEL, "aspect": "x"}, {**LABEL, "systems": ["t", "s"]})))) == 3


def test_outputs_of_every_shape(tmp_path: Path) -> None:
    """Text stays, other JSON becomes its text, null is an error of the system unless it called tools; extra fields are kept."""
    openai = {"type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
    path = lines(
        tmp_path,
        {**OUTPUT, "item_id": "1", "output": {"b": 1, "a": "é"}, "latency_ms": 5, "model_id": "m", "meta": {"k": 1}},
        {**OUTPUT, "item_id": "2", "output": None},
        {**OUTPUT, "item_id": "3", "output": None, "error": "timeout"},
        {**OUTPUT, "item_id": "4", "output": None, "tool_calls": [openai]},
        {**OUTPUT, "item_id": "5", "meta": {"tool_calls": [{"name": "look", "arguments": {"at": 2}}], "x": 1}},
        {**OUTPUT, "item_id": "6", "output": True},
    )
    one, two, three, four, five, six = read_outputs(path)
    assert (one.text, one.latency_ms, one.meta, one.error) == ('{"b": 1, "a": "é"}', 5.0, {"model_id": "m", "k": 1}, None)
    assert (two.text, two.error) == ("", "the recorded output is null")
    assert (three.text, three.error) == ("", "timeout")
    assert (four.text, four.error, four.tool_calls) == ("", None, [ToolCall(name="look", arguments={"at": 1})])
    assert (five.tool_calls, five.meta) == ([ToolCall(name="look", arguments={"at": 2})], {"x": 1})
    assert (six.text, six.error) == ("true", None)


def test_every_value_of_json_is_read_as_python_reads_it(tmp_path: Path) -> None:
    """Numbers to the last digit, escapes, deep nesting, a name given twice: the record holds what `json.loads` says."""
    draw = random.Random(4)
    texts = [f"{draw.uniform(-10, 10):.{draw.randrange(25)}e}" for _ in range(500)]
    texts += [f"{draw.getrandbits(draw.randrange(1, 200))}.{draw.getrandbits(90)}E{draw.randrange(-330, 200)}" for _ in range(500)]
    texts += ["-0", "-0.0", "1e-400", "9" * 4000, '"\\ud83d\\ude00 \\u0000 \\/"', '{"k": 1, "k": {"a": [2]}}']
    texts += ["[" * depth + "]" * depth for depth in (150, 250)]
    path = lines(tmp_path, *(f'{{"item_id": "{n}", "input": null, "meta": {{"v": {text}}}}}\n' for n, text in enumerate(texts)))
    for text, item in zip(texts, read_items(path), strict=True):
        assert repr(item.meta["v"]) == repr(json.loads(text))


@pytest.mark.parametrize(
    "row",
    [
        {**OUTPUT, "error": None, "tool_calls": None},
        {**OUTPUT, "meta": {"tool_calls": []}},
        {**OUTPUT, "tool_calls": []},
        {**OUTPUT, "meta": {"a": 1}, "text": "beside"},
        {**OUTPUT, "trial": 3, "latency_ms": 1, "cost_usd": 0.5, "tokens": 7, "family": "f", "system_version": "2"},
    ],
)
def test_what_a_line_leaves_empty_changes_nothing(tmp_path: Path, row: dict[str, object]) -> None:
    """Null or empty calls and errors, and unknown fields, leave an output what its text and numbers make it."""
    (output,) = read_outputs(lines(tmp_path, row))
    known = {k: v for k, v in row.items() if k in ("trial", "latency_ms", "cost_usd", "tokens", "family", "system_version")}
    meta = {"text": "beside", "a": 1} if "text" in row else {}
    assert output == Output(item_id="a", system="s", text="because", meta=meta, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("trial", 2**31, "must be less than 2147483648"),
        ("tokens", -1, "must be greater than or equal to 0"),
        ("cost_usd", -0.5, "must be greater than or equal to 0"),
        ("latency_ms", "5", 'must be a number, not "5"'),
        ("system", "", "must be text that is not empty"),
        ("item_id", "", "must be text that is not empty"),
        ("meta", 5, "must be an object"),
        ("meta", "tool_calls", "must be an object"),
    ],
)
def test_a_field_of_an_output_out_of_range_is_named(tmp_path: Path, field: str, value: object, message: str) -> None:
    """What the quick way to read an output could let pass is refused as ever."""
    with pytest.raises(InputError, match=re.escape(f":1: field `{field}`: {message}")):
        list(read_outputs(lines(tmp_path, {**OUTPUT, field: value})))


def test_text_that_utf8_cannot_hold_is_shown_as_such(tmp_path: Path) -> None:
    """Half a surrogate pair, which JSON can spell, becomes U+FFFD, so that text and its hash can be stored."""
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"item_id": "a", "system": "s", "output": "x \\ud83d y \\ud83d\\ude00", "meta": {"\\udc00": ["\\uD83D"]}}\n')
    (output,) = read_outputs(path)
    assert output.text == "x \N{REPLACEMENT CHARACTER} y 😀"
    assert output.meta == {"\N{REPLACEMENT CHARACTER}": ["\N{REPLACEMENT CHARACTER}"]}
    assert output.output_hash


def test_verdicts_are_read_with_what_they_imply(tmp_path: Path) -> None:
    """The winner follows from the verdict; preference from score, probabilities or verdict; null is unread, not a tie."""
    rows = [
        {**PAIR, "raw_verdict": "A", "raw": "A is better"},
        {**PAIR, "repeat": 1, "verdict": "tie", "winner": "tie"},
        {**PAIR, "repeat": 2, "verdict": "second", "score": 0.8},
        {**PAIR, "repeat": 3, "verdict": "first", "probs": [0.6, 0.2]},
        {**PAIR, "repeat": 4, "verdict": None, "winner": None, "order_known": False},
        {**POINT, "label": None, "samples": [4, 4.5]},
        {**POINT, "repeat": 1, "score": None, "label": None},
        {**POINT, "repeat": 2, "score": None, "label": "good"},
    ]
    read: list[RecordedJudgment] = list(read_judgments(lines(tmp_path, *rows)))
    assert [r.winner for r in read[:5]] == ["s", "tie", "t", "s", None]
    assert [r.preference for r in read] == [0.0, 0.5, 0.8, pytest.approx(0.25), None, None, None, None]
    assert [r.scored for r in read] == [True, True, True, True, False, True, False, True]
    assert read[0].meta == {"raw_verdict": "A"}
    assert read[5].samples == [4.0, 4.5]


def test_labels_may_be_about_the_item_itself(tmp_path: Path) -> None:
    """Recorded ratings of items without systems have an empty `systems`; unknown fields do no harm."""
    (label,) = read_labels(lines(tmp_path, {**LABEL, "kind": "pointwise", "systems": [], "winner": None, "score": 3, "raw_label": "ok"}))
    assert (label.systems, label.score) == ((), 3.0)


def test_files_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    """A writer that fails half-way leaves the old file and no other."""
    path = lines(tmp_path, ITEM)

    def rows() -> object:
        yield {"item_id": "b"}
        raise KeyError("no more")

    with pytest.raises(KeyError):
        write_objects(path, rows())  # type: ignore[arg-type]
    assert [i.item_id for i in read_items(path)] == ["a"]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert write_objects(path, [{"item_id": "é", "input": "x\u2028y\ud800"}]) == 1
    assert [(i.item_id, i.input) for i in read_items(path)] == [("é", "x\u2028y\N{REPLACEMENT CHARACTER}")]

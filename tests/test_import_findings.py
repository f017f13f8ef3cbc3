"""`evalh import` on recorded data that is wrong in every way people know: all of it named, nothing merged, nothing half stored."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalh.errors import InputError
from evalh.interchange.batches import Form, read_table
from evalh.interchange.columns import JUDGMENT, LABEL, OUTPUT
from evalh.interchange.faults import Faults
from evalh.interchange.importing import import_folder
from evalh.interchange.jsonl import judgment_of, label_of, output_of
from evalh.store.store import Store
from tests.conftest import Done

Row = dict[str, Any]
N = 30


def item(n: int) -> Row:
    return {"item_id": f"i{n}", "input": f"question {n}"}


def output(n: int, system: str = "s", text: str | None = None, **more: Any) -> Row:
    return {"item_id": f"i{n}", "system": system, "output": text or f"{system} answers {n}", **more}


def verdict(n: int, said: str | None = "first", systems: tuple[str, str] = ("s", "t"), **more: Any) -> Row:
    return {"item_id": f"i{n}", "judge": "j", "kind": "pairwise", "systems": systems, "verdict": said, **more}


def label(n: int, winner: str = "s", **more: Any) -> Row:
    return {"item_id": f"i{n}", "annotator": "kim", "kind": "pairwise", "systems": ["s", "t"], "winner": winner, **more}


def good() -> dict[str, list[Row]]:
    """A folder in which nothing is to be found."""
    return {
        "items": [item(n) for n in range(N)],
        "outputs": [output(n, system) for n in range(N) for system in "st"],
        "judgments": [verdict(n, "tie", systems) for n in range(N) for systems in (("s", "t"), ("t", "s"))],
        "labels": [label(n) for n in range(N)],
    }


def write(at: Path, **files: list[Any]) -> Path:
    at.mkdir(exist_ok=True)
    for name, rows in files.items():
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        (at / f"{name}.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return at


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "s.duckdb")


def refused(store: Store, folder: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        import_folder(store, folder)
    assert not store.exists()
    return str(caught.value).splitlines()


def found(document: Row) -> dict[str, Row]:
    return {finding["kind"]: finding for finding in document["findings"]}


# ---- bad lines -------------------------------------------------------------------------------------------------------


def test_every_bad_line_of_every_file_is_named(store: Store, tmp_path: Path) -> None:
    """Broken JSON, an empty line, a wrong type, a wrong value, one family after another: each with file, line and what is right."""
    files: dict[str, list[Any]] = good()
    files["items"][3:3] = [{"item_id": "x"}, {**item(0)}]
    files["outputs"] += [output(0, "u", trial=-1), "{not json", output(1, "u", family="f"), output(2, "u", family="g")]
    files["judgments"] += ["", verdict(0, "fisrt", repeat=1), verdict(0, repeat="1"), {**verdict(1, repeat=1), "winner": "u"}]
    files["labels"] += [{**label(0), "winner": None}]
    lines = refused(store, write(tmp_path / "data", **files))
    named = [line.split(": ")[0].rpartition("/")[2] for line in lines[:-1]]
    assert named == [
        "items.jsonl:4", "items.jsonl:5", "outputs.jsonl:61", "outputs.jsonl:62", "outputs.jsonl:64",
        "judgments.jsonl:61", "judgments.jsonl:62", "judgments.jsonl:63", "judgments.jsonl:64", "labels.jsonl:31",
    ]  # fmt: skip
    assert "field `input`: missing" in lines[0]
    assert lines[-1] == "10 bad lines; nothing is stored"


def test_beyond_fifty_bad_lines_are_named_by_their_numbers(store: Store, tmp_path: Path) -> None:
    """Fifty in full, the others as ranges of line numbers."""
    files = good()
    files["judgments"] = [verdict(n % N, "neither" if n % 10 else "tie", repeat=n) for n in range(200)]
    lines = refused(store, write(tmp_path / "data", **files))
    assert len(lines) == 52
    assert lines[50].startswith("and 130 more: ")
    assert "judgments.jsonl lines 57–60, 62–70," in lines[50]
    assert lines[50].endswith("192–200")
    assert lines[51] == "180 bad lines; nothing is stored"


def test_a_bad_line_is_told_beside_what_contradicts(store: Store, tmp_path: Path) -> None:
    """One complaint has both, so that nobody mends a file twice."""
    files = good()
    files["labels"] += [label(0, "t"), {**label(1), "kind": "pair"}]
    first, second, _ = refused(store, write(tmp_path / "data", **files))
    assert "labels.jsonl:32: field `kind`" in first
    assert "labels.jsonl:31: 1 label of one person on one thing again with another answer" in second


def test_a_file_that_changes_while_it_is_read_is_refused(store: Store, tmp_path: Path) -> None:
    """What was read is half old, half new: repeat the command."""
    files = good()
    files["outputs"] = [output(n, "s", "word " * 4000) for n in range(N * 10)]
    data = write(tmp_path / "data", **{**files, "items": [item(n) for n in range(N * 10)], "judgments": [], "labels": []})

    def told(line: str) -> None:
        if line.startswith("reading outputs.jsonl: 1 of"):
            with (data / "outputs.jsonl").open("a") as file:
                file.write(json.dumps(output(1, "late")) + "\n")

    with pytest.raises(InputError, match=r"outputs.jsonl: changed while it was read; repeat the command"):
        import_folder(store, data, told=told)
    assert not store.exists()


# ---- what a store cannot hold ----------------------------------------------------------------------------------------


def test_two_systems_under_one_name_are_refused(store: Store, tmp_path: Path) -> None:
    """Nearly all items twice with another text: it is said that it looks like two systems, and on how many items."""
    files = good()
    files["outputs"] += [output(n, "s", f"another {n}") for n in range(N)]
    (line, end) = refused(store, write(tmp_path / "data", **files))
    assert "outputs.jsonl:61: 30 outputs of `s` again with other content, on 30 items: two systems' outputs under one name?" in line
    assert "It looks like two whole systems: nearly every item stands twice of `s` (100 % of its items)" in line
    assert "line 61 as 1: `i0`, system s, trial 0" in line
    assert "--set-aside" in line
    assert end == "nothing is stored"

    files["outputs"] = [*good()["outputs"], output(7, "s", "another")]
    (line, _) = refused(store, write(tmp_path / "data", **files))
    assert "1 output of `s` again" in line
    assert "single lines that were filed twice" in line


CASES: dict[str, tuple[str, list[Row], str, str, int, int, int]] = {
    # what: file, lines that are added, kind, a part of the sentence, count, rows left out, rows that stay
    "output repeated": ("outputs", [output(3), output(3)], "outputs_repeated", "2 outputs again, word for word, on 1 item", 2, 2, 60),
    "output contradicts": ("outputs", [output(3, "s", "x")], "outputs_contradict", "1 output of `s` again", 1, 2, 59),
    "output that is an error after all": (
        "outputs", [{**output(3), "output": None}], "outputs_contradict", "1 output of `s` again", 1, 2, 59),
    "verdict repeated": ("judgments", [verdict(3, "tie")], "verdicts_repeated", "1 verdict again, word for word", 1, 1, 60),
    "verdict contradicts": ("judgments", [verdict(3, "first")], "verdicts_contradict", "1 verdict again with another answer", 1, 2, 59),
    "verdict in other words": (
        "judgments", [verdict(3, "tie", raw="Both!")], "verdicts_contradict", "another content (0 with another answer", 1, 2, 59),
    "verdict without a version, and with an empty one": (
        "judgments", [verdict(3, "first", judge_version="", aspect="overall")], "verdicts_contradict", "another answer", 1, 2, 59),
    "label repeated": ("labels", [label(3)], "labels_repeated", "1 label again, word for word", 1, 1, 30),
    "label contradicts": ("labels", [label(3, "t"), label(3, "tie")], "labels_contradict", "1 label of one person on one thing", 2, 3, 29),
    "output of nothing": ("outputs", [output(99)], "unknown_items", "1 outputs are about 1 such items", 1, 1, 60),
    "verdicts on nothing": ("judgments", [verdict(98), verdict(99)], "unknown_items", "2 verdicts are about 2 such items", 2, 2, 60),
    "label on nothing": ("labels", [label(99)], "unknown_items", "1 labels are about 1 such items", 1, 1, 30),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_stored_is_refused_or_set_aside(case: str, store: Store, tmp_path: Path) -> None:
    """Refused with counts; set aside, all copies of what contradicts are out and the document and the run say how many."""
    name, added, kind, says, count, left_out, stays = CASES[case]
    files = good()
    files[name] = files[name] + added
    data = write(tmp_path / "data", **files)
    assert any(says in line for line in refused(store, data))

    document = import_folder(store, data, set_aside=True)
    noun = {"outputs": "outputs", "judgments": "verdicts", "labels": "labels"}[name]
    assert document["set_aside"] == {"outputs": 0, "verdicts": 0, "labels": 0, noun: left_out}
    finding = found(document)[kind]
    assert (finding["file"], finding["count"], finding["refuses"]) == (f"{name}.jsonl", count, True)
    assert finding["examples"][0]["line"] == len(good()[name]) + 1
    assert document[noun] == stays
    assert store.query(f"SELECT count(*) AS n FROM {noun}") == [{"n": stays}]
    (run,) = store.query("SELECT settings FROM runs")
    kept = json.loads(run["settings"])["set_aside"]
    assert kept[noun] == left_out
    assert [f["kind"] for f in kept["findings"]] == [kind]


def test_verdicts_on_outputs_that_are_set_aside_stay_without_them(store: Store, tmp_path: Path) -> None:
    """Nobody knows which of two texts was judged: the verdict stays, with no output behind it, and is counted."""
    files = good()
    files["outputs"] = [*files["outputs"], output(3, "s", "x")]
    document = import_folder(store, write(tmp_path / "data", **files), set_aside=True)
    assert document["unmatched"] == 3  # both orders and the label
    assert [finding["count"] for finding in document["findings"] if finding["kind"] == "unmatched"] == [2, 1]
    sql = "SELECT DISTINCT [hash IS NULL FOR hash IN output_hashes] AS gone, systems FROM verdicts WHERE item_id = 'i3' ORDER BY systems"
    assert store.query(sql) == [{"gone": [True, False], "systems": ["s", "t"]}, {"gone": [False, True], "systems": ["t", "s"]}]


def test_nothing_is_found_where_nothing_is(store: Store, tmp_path: Path) -> None:
    """A good folder has no finding and nothing set aside, with and without `--set-aside`; its settings do not speak of it."""
    data = write(tmp_path / "data", **good())
    document = import_folder(store, data, set_aside=True)
    assert (document["findings"], document["set_aside"]) == ([], {"outputs": 0, "verdicts": 0, "labels": 0})
    (run,) = store.query("SELECT settings FROM runs")
    assert "set_aside" not in json.loads(run["settings"])


# ---- what is told and stored -----------------------------------------------------------------------------------------


def test_one_text_for_many_items_is_told(store: Store, tmp_path: Path) -> None:
    """A text on 25 of 30 items: which system, on how many, what share; other systems are not accused."""
    files = good()
    files["outputs"] = [output(n, "s", "I cannot help." if n < 25 else None) for n in range(N)] + [output(n, "t") for n in range(N)]
    finding = found(import_folder(store, write(tmp_path / "data", **files)))["one_text"]
    assert (finding["count"], finding["items"], finding["refuses"]) == (25, 25, False)
    assert "`s` gives 1 text each on 20 items and more, 83.3 % of its 30 items" in finding["sentence"]
    assert finding["examples"][0]["what"] == "I cannot help."


def test_two_systems_with_the_same_texts_are_told(store: Store, tmp_path: Path) -> None:
    """The same text on 28 of 30 items, though each text stands once a system."""
    files = good()
    files["outputs"] += [output(n, "u", f"s answers {n}" if n < 28 else None) for n in range(N)]
    document = import_folder(store, write(tmp_path / "data", **files))
    (finding,) = [f for f in document["findings"] if f["kind"] == "twin_systems"]
    assert "`s` and `u` have the same text on 28 of 30 outputs" in finding["sentence"]


def test_odd_verdicts_and_scores_are_told(store: Store, tmp_path: Path) -> None:
    """A judge with one order, one that was never read, and a score on another scale; judges with both orders are not named."""
    files = good()
    files["judgments"] += [verdict(n, "first", judge="lone") for n in range(N)]
    files["judgments"] += [verdict(n, None, systems, judge="mute") for n in range(N) for systems in (("s", "t"), ("t", "s"))]
    mark = {"judge": "m", "kind": "pointwise", "systems": ["s"]}
    marks = [{**mark, "item_id": f"i{n % N}", "score": n % 5 + 1, "repeat": n} for n in range(300)]
    files["judgments"] += [*marks[:-1], {**marks[-1], "score": 85}]
    findings = found(import_folder(store, write(tmp_path / "data", **files)))
    assert set(findings) == {"one_order", "all_unscored", "off_scale"}
    assert (findings["one_order"]["count"], findings["one_order"]["items"]) == (30, 30)
    assert "1 judge always saw the same system of two first" in findings["one_order"]["sentence"]
    assert [e["what"] for e in findings["all_unscored"]["examples"]] == ["mute"]
    assert findings["all_unscored"]["count"] == 60
    assert findings["off_scale"]["count"] == 1
    assert findings["off_scale"]["examples"][0]["what"] == "85"


def test_an_unknown_order_is_not_one_order(store: Store, tmp_path: Path) -> None:
    """Verdicts that say that nobody knows the order are not told to have one."""
    files = good()
    files["judgments"] = [verdict(n, "first", order_known=False) for n in range(N)]
    assert import_folder(store, write(tmp_path / "data", **files))["findings"] == []


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command_refuses_sets_aside_and_tells(evalh: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 2 with every finding, nothing on standard output; `--set-aside` says on standard error what was left out."""
    monkeypatch.chdir(tmp_path)
    files = good()
    files["labels"] += [label(3, "t"), label(99), {**label(3), "item_id": "\x1b[2J"}]
    files["outputs"] += [output(3, "s", "\x1b[31mred")]
    write(tmp_path / "data", **files)
    done = evalh("import", "data", "--store", "s.duckdb", "--json")
    assert (done.code, done.out) == (2, "")
    for part in ("outputs.jsonl:61: 1 output", "labels.jsonl:31: 1 label of one person", "labels.jsonl:32: field `item_id`: `i99`"):
        assert part in done.err
    assert "\x1b" not in done.err
    done = evalh("import", "data", "--store", "s.duckdb", "--set-aside", "--json")
    assert done.code == 0, done.err
    assert done.json["set_aside"] == {"outputs": 2, "verdicts": 0, "labels": 4}
    assert "set aside, not stored: 2 outputs, 4 labels" in done.err
    assert "\x1b" not in done.err


# ---- two ways to read a line -----------------------------------------------------------------------------------------

FORMS: dict[str, tuple[Form, Callable[[Row, Path, int], Any], list[Row]]] = {
    "outputs": (OUTPUT, output_of, [output(0), output(0, tool_calls=[{"name": "f", "arguments": {}}]), output(0, meta={"a": 1}, tokens=3)]),
    "judgments": (
        JUDGMENT, judgment_of,
        [verdict(0), verdict(0, None), verdict(0, "second", probs=[0.2, 0.7], raw="B", at="2026-01-01T00:00:00Z"),
         {"item_id": "a", "judge": "j", "kind": "pointwise", "systems": ["s"], "score": 3, "samples": [3, 3.5, None], "label": "x"}],
    ),
    "labels": (
        LABEL, label_of,
        [label(0), label(0, "tie", verdict="tie", note="n"),
         {"item_id": "a", "annotator": "k", "kind": "pointwise", "systems": [], "score": 2, "inclusion_probability": 1}],
    ),
}  # fmt: skip
SAME = {"system", "item_id", "judge", "annotator", "kind", "systems", "winner", "verdict", "label", "trial", "order_known", "output_hash"}
ODD: list[Any] = [
    None, "", "s", "tie", "first", "pairwise", "pointwise", 0, 1, -1, 2**31, 2**64, 0.5, 1.5, True, [], ["s"], ["s", "t"], ["s", 1],
    ["s", ["t"]], ["t", "s"], [0.5, 0.5], [2, 0], ["", "s"], {}, {"tool_calls": 5}, "2026-13-01", [None],
]  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_lines_are_refused_by_column_as_they_are_one_by_one(name: str, tmp_path: Path) -> None:
    """Whatever stands in a field: what the record takes passes and means the same, the rest is refused in its words."""
    form, careful, bases = FORMS[name]
    draw = random.Random(4)
    rows = []
    for base in bases:
        for field in (*form.fields, "extra"):
            rows += [{**base, field: value} for value in ODD]
            rows += [{k: v for k, v in base.items() if k != field}]
        rows += [{**base, draw.choice([*form.fields]): draw.choice(ODD), draw.choice([*form.fields]): draw.choice(ODD)} for _ in range(400)]
    path = write(tmp_path / "data", **{name: rows}) / f"{name}.jsonl"
    faults = Faults()
    table, _ = read_table(path, form, faults)
    expected: dict[int, Any] = {}
    refused_lines = []
    for line, row in enumerate(rows, 1):
        try:
            expected[line] = careful(json.loads(json.dumps(row)), path, line)
        except InputError as fault:
            refused_lines.append(str(fault))
    assert len(expected) > 50
    assert len(refused_lines) > 500
    assert table.lines == list(expected)
    assert [str(fault) for _, _, fault in sorted(faults.kept, key=lambda one: one[1])] == refused_lines
    for place, record in enumerate(expected.values()):
        for field in (SAME & table.columns.keys()) - ({"trial"} if name == "labels" else set()):
            assert table.columns[field][place] == getattr(record, field), (field, record)
        if name == "judgments":
            assert table.columns["preference"][place] == record.preference
            assert table.columns["raw_score"][place] == (record.score if record.kind == "pointwise" else None)
            assert (table.columns["status"][place] == "scored") == record.scored

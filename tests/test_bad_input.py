"""Bad input: one line that says what, where and what would be right; exit 2; nothing stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Done, replace, write_lines

Break = Callable[[Path], None]


def drop_line(path: Path, number: int) -> None:
    lines = path.read_text().splitlines(keepends=True)
    del lines[number]
    path.write_text("".join(lines))


def locked_then_changed(root: Path) -> None:
    from evalh.suites.golden import lock_golden

    lock_golden(root / "golden" / "refunds")
    replace(root / "golden/refunds/items.jsonl", "article 3?", "article three?")


def doubled_item(root: Path) -> None:
    path = root / "golden/refunds/items.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")


CASES: dict[str, tuple[Break, str]] = {
    "unknown field": (lambda r: replace(r / "refunds.yaml", "sampling:", "samplin:"), "did you mean `sampling`?"),
    "unknown nested field": (lambda r: replace(r / "refunds.yaml", "rule: mean", "rules: mean"), "refunds.yaml:13: field `panel.rules`: unknown field"),
    "missing golden": (lambda r: replace(r / "refunds.yaml", "golden/refunds\n", "golden/nowhere\n"), "golden/nowhere: there is no such file"),
    "duplicate item": (doubled_item, "items.jsonl:25"),
    "item without output": (lambda r: drop_line(r / "golden/refunds/outputs/v1.jsonl", 5), "no output for i05"),
    "not a schema": (lambda r: replace(r / "refunds.yaml", "{max-chars: 400}", "{json-schema: {schema: {type: 7}}}"), "schema"),
    "bad JSON": (lambda r: replace(r / "golden/refunds/items.jsonl", '{"item_id": "i04"', '{"item_id": i04'), "items.jsonl:5"),
    "locked and changed": (locked_then_changed, "changed after it was locked"),
    "no scale": (lambda r: replace(r / "refunds.yaml", "scale: binary, ", ""), "a rubric needs a scale"),
    "judge is the system": (
        lambda r: replace(r / "refunds.yaml", "{recorded: golden/refunds/outputs/v1.jsonl, family: sim-writer}", "{model: 'sim:north-1'}"),
        "sim:north-1 is the system under test",
    ),
    "empty suite": (lambda r: (r / "refunds.yaml").write_text("name: x\ngolden: golden/refunds\nsystem: golden/refunds/outputs/v1.jsonl\n") and None, "asks nothing"),
    "empty selection": (lambda r: replace(r / "refunds.yaml", "sampling:", "slices: [winter]\nsampling:"), "no item is selected"),
    "not YAML": (lambda r: replace(r / "refunds.yaml", "name: refunds", "name: [refunds"), "refunds.yaml:"),
    "key twice": (lambda r: replace(r / "refunds.yaml", "name: refunds", "name: refunds\nname: again"), "refunds.yaml:3: the key 'name' occurs twice"),
    "bad pattern": (lambda r: replace(r / "refunds.yaml", "'\\d+ days'", "'(\\d+ days'"), "regex"),
    "unknown check": (lambda r: replace(r / "refunds.yaml", "max-chars", "max-char"), "max-chars"),
    "same family": (lambda r: replace(r / "refunds.yaml", "family: sim-writer", "family: sim-north"), "sim-north"),
    "unknown family of a judge": (
        lambda r: replace(r / "refunds.yaml", '"sim:north-1"', '"openai:never-heard-of-9"'), "the family of 'openai:never-heard-of-9' is unknown"),
    "unknown family of a system": (lambda r: replace(r / "refunds.yaml", ", family: sim-writer", ""), "the family of 'good-bot' is unknown"),
    "named family that is not known": (lambda r: replace(r / "refunds.yaml", "family: sim-writer", "family: sim-writr"), "'sim-writr' is not known"),
    "budget without a price": (
        lambda r: replace(r / "refunds.yaml", '{model: "sim:north-1", source: judges.toml}', '{model: "openai:never-heard-of-9", family: sim-north, base_url: "http://127.0.0.1:9/v1"}'),
        "a budget needs the price",
    ),
    "broken Python suite": (lambda r: (r / "refunds.yaml").rename(r / "gone") and None, "there is no such file"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_stores_nothing(case: str, project: Path, evalh: Callable[..., Done]) -> None:
    """Exit 2, one line on standard error with the place, nothing on standard output, no store."""
    breaks, says = CASES[case]
    breaks(project)
    done = evalh("run", "refunds.yaml", *(["--budget", "1"] if "budget" in case else []))
    assert done.code == 2, done.err
    lines = [line for line in done.err.splitlines() if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert done.out == ""
    assert not (project / ".evalh" / "evalh.duckdb").exists()


def test_a_python_suite_that_cannot_be_imported_names_the_line(project: Path, evalh: Callable[..., Done]) -> None:
    """File, line and the exception, in one line."""
    (project / "test_broken.py").write_text("import evalh\n\nsuite = evalh.Suite(name='x', golden='golden/refunds', system=undefined)\n")
    done = evalh("plan", "test_broken.py")
    assert done.code == 2
    assert "test_broken.py:3: cannot be imported: NameError: name 'undefined' is not defined" in done.err
    (project / "test_broken.py").write_text("import evalh\nsuite = evalh.Suite(name='x', golden='g', system='o.jsonl', panal=None)\n")
    assert "test_broken.py:2: field `panal`: unknown field; did you mean `panel`?" in evalh("plan", "test_broken.py").err


def test_a_store_of_a_newer_version_is_refused_untouched(project: Path, evalh: Callable[..., Done]) -> None:
    """Exit 2, and the file stays as it was."""
    import duckdb

    assert evalh("run", "refunds.yaml").code == 0
    store = project / ".evalh" / "evalh.duckdb"
    with duckdb.connect(str(store)) as connection:
        connection.execute("INSERT INTO schema_migrations VALUES (999, 'from the future', now()::TIMESTAMP, '9.0')")
    before = store.read_bytes()
    done = evalh("run", "refunds.yaml")
    assert done.code == 2
    assert "newer" in done.err
    assert store.read_bytes() == before


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["rnu"], "Did you mean `run`?"),
        (["run"], "Missing argument"),
        (["run", "refunds.yaml", "--limit", "0"], "--limit"),
        (["gate", "--approve", "x"], "--as TAG"),
        (["sql", "DROP TABLE runs"], "error"),
        (["sql", "SELECT nonsense FROM runs"], "nonsense"),
        (["sql", "SELECT * FROM read_csv('/etc/passwd')"], "error"),
        (["report", "no-such-run"], "there is no run or tag 'no-such-run'"),
        (["label", "import", "missing.jsonl", "--annotator", "kim"], "missing.jsonl"),
    ],
)
def test_wrong_usage_exits_with_2(args: list[str], says: str, project: Path, evalh: Callable[..., Done]) -> None:
    """The line says what is wrong; user SQL can neither write nor read other files."""
    assert evalh("run", "refunds.yaml", "--limit", "12").code == 0
    done = evalh(*args)
    assert done.code == 2, done
    assert says in done.err
    assert evalh("sql", "SELECT count(*) AS n FROM runs", "--json").json == [{"n": 1}]


def test_contradicting_items_files_are_told_apart(project: Path, evalh: Callable[..., Done]) -> None:
    """A changed item is a new item: the store keeps both contents, each under its hash."""
    assert evalh("run", "refunds.yaml").code == 0
    rows: list[dict[str, Any]] = [json.loads(line) for line in (project / "golden/refunds/items.jsonl").read_text().splitlines()]
    rows[0]["input"] = "Something else?"
    write_lines(project / "golden/refunds/items.jsonl", rows)
    assert evalh("run", "refunds.yaml").code == 0
    found = evalh("sql", "SELECT count(DISTINCT item_hash) AS n FROM items WHERE item_id = 'i00'", "--json")
    assert found.json == [{"n": 2}]


def test_an_error_that_quotes_hostile_names_steers_no_terminal(
    evalh: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names come from files and models: what they hold of escapes, titles and bells is shown, not sent."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evalh.toml").write_text("")
    (tmp_path / "rows").mkdir()
    row = {"item_id": "a", "judge": "\x1b]0;title\x07\x1b[31mevil", "kind": "pointwise", "systems": ["s"], "score": 1}
    write_lines(tmp_path / "rows" / "judgments.jsonl", [row])
    assert "\\x1b[31mrun" in evalh("import", "rows", "--run", "\x1b[31mrun\x07").err
    refused = evalh("audit", "nobody")
    assert refused.code == 2
    assert "\\x1b]0;title\\x07" in refused.err
    assert "\x1b" not in refused.err
    assert "\x07" not in refused.err

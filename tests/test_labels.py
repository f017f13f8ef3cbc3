"""The label queue as files: what a labeller sees is blind, what comes back is checked and keeps its design."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalh.errors import InputError, UsageError
from evalh.judging.rubric import Rubric
from evalh.labels import export_tasks, import_labels, status
from evalh.store.store import Store

CANARY = "EVALH-CANARY 6f1d2c3e-1111-4222-8333-444455556666"
POINTWISE = Rubric(
    name="rubric-p",
    instructions="Judge the answer.",
    reference=True,
    criteria=[
        {"name": "quality", "question": "How good is it?", "scale": {1: "poor", 2: "fair", 3: "good"}},
        {"name": "polite", "question": "Is it polite?", "scale": "binary"},
    ],
)
PAIRWISE = Rubric(name="rubric-q", kind="pairwise", instructions="Compare.", questions={"overall": "Which is better?"})
SECRETS = ("acme-bot", "rival-bot", "stratum-x", "0.25", "run-1", "item-", "judge-j", "rubric-")


def queue(path: Path, rubric: Rubric, items: int = 12) -> Store:
    """A run with outputs of two systems, verdicts, and a label task for each item."""
    store = Store(path)
    pair = rubric.kind == "pairwise"
    run = {
        "run_id": "run-1",
        "golden": "g",
        "golden_version": "1",
        "golden_hash": "h",
        "settings": {"rubric": rubric.model_dump(mode="json")},
    }
    names = [f"item-{n}" for n in range(items)]
    store.append(
        {
            "runs": [run],
            "golden_sets": [{"golden": "g", "golden_version": "1", "golden_hash": "h", "canary": CANARY}],
            "items": [
                {"golden": "g", "golden_hash": "h", "item_id": i, "input": f"question {i[5:]}", "reference": f"truth {i[5:]}"}
                for i in names
            ],
            "systems": [{"run_id": "run-1", "system": s, "system_version": "v7.3-beta"} for s in ("acme-bot", "rival-bot")],
            "outputs": [
                {
                    "run_id": "run-1",
                    "item_id": i,
                    "system": s,
                    "trial": 0,
                    "output": f"I am {s}. Answer {i[5:]} of {s[0]}",
                    "output_hash": f"{s}{i}",
                }
                for i in names
                for s in ("acme-bot", "rival-bot")
            ],
            "verdicts": [{"verdict_id": i, "run_id": "run-1", "item_id": i, "judge": "judge-j", "raw_score": 3.0} for i in names],
            "label_tasks": [
                {
                    "task_id": f"t{n:02}",
                    "run_id": "run-1",
                    "item_id": i,
                    "system": "acme-bot",
                    "against": "rival-bot" if pair else "",
                    "trial": 0,
                    "output_hash": f"acme-bot{i}",
                    "inclusion_probability": 0.25,
                    "stratum": f"stratum-{'x' if n % 2 else 'y'}",
                    "design": "stratified",
                    "seed": 11,
                    "position": items - n,
                }
                for n, i in enumerate(names)
            ],
        }
    )
    return store


def tasks(path: Path) -> list[dict[str, Any]]:
    return [row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()) if "_canary" not in row]


def answered(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("rubric", [POINTWISE, PAIRWISE])
def test_what_a_labeller_gets_is_blind(tmp_path: Path, rubric: Rubric) -> None:
    """No system, judge, score, run, stratum, probability or rubric name is anywhere in the file; names in answers are masked."""
    store = queue(tmp_path / "s.duckdb", rubric)
    assert export_tasks(store, "run-1", tmp_path / "tasks.jsonl") == 12
    text = (tmp_path / "tasks.jsonl").read_text()
    assert [secret for secret in (*SECRETS, "v7.3") if secret in text] == []
    assert json.loads(text.splitlines()[0]) == {"_canary": CANARY}
    assert [t["task_id"] for t in tasks(tmp_path / "tasks.jsonl")] == [f"t{n:02}" for n in reversed(range(12))]  # the queue's order


def test_a_pointwise_task_shows_answer_questions_and_scale(tmp_path: Path) -> None:
    """The labeller sees what judges see: instructions, input, reference where the rubric shows it, the answer, the levels."""
    export_tasks(queue(tmp_path / "s.duckdb", POINTWISE, items=1), "run-1", tmp_path / "tasks.jsonl")
    (task,) = tasks(tmp_path / "tasks.jsonl")
    assert task.pop("answer").endswith(". Answer 0 of a")
    assert task == {
        "task_id": "t00",
        "kind": "pointwise",
        "instructions": "Judge the answer.",
        "input": "question 0",
        "reference": "truth 0",
        "questions": [
            {"aspect": "quality", "question": "How good is it?", "scale": {"1": "poor", "2": "fair", "3": "good"}},
            {"aspect": "polite", "question": "Is it polite?", "scale": {"0": "no", "1": "yes"}},
        ],
        "labels": {"quality": None, "polite": None},
        "note": "",
    }


def test_sides_of_a_pair_are_drawn_and_mapped_back(tmp_path: Path) -> None:
    """Which answer comes first is drawn per task, the same in every export; the label names the system that was meant."""
    store = queue(tmp_path / "s.duckdb", PAIRWISE)
    export_tasks(store, "run-1", tmp_path / "tasks.jsonl")
    shown = tasks(tmp_path / "tasks.jsonl")
    firsts = {t["task_id"]: "acme-bot" if t["first"].endswith("of a") else "rival-bot" for t in shown}
    assert set(firsts.values()) == {"acme-bot", "rival-bot"}
    assert all("reference" not in t for t in shown)
    export_tasks(store, "run-1", tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_text() == (tmp_path / "tasks.jsonl").read_text()

    for task in shown:
        task["verdicts"] = {"overall": "first"}
    shown[0]["verdicts"] = {"overall": "tie"}
    assert import_labels(store, answered(tmp_path / "done.jsonl", shown), "kim") == 12
    rows = store.query("SELECT * FROM labels ORDER BY task_id DESC")
    assert rows[0]["winner"] == "tie"
    for row in rows[1:]:
        assert row["winner"] == firsts[row["task_id"]] == row["systems"][0]
        assert (row["verdict"], row["aspect"], row["score"], row["inclusion_probability"]) == ("first", "overall", None, 0.25)
    assert {row["stratum"] for row in rows} == {"stratum-x", "stratum-y"}


def test_labels_keep_the_design_of_their_task(tmp_path: Path) -> None:
    """A level may be given as number, text or meaning; each aspect is a label, with probability, stratum and what was labelled."""
    store = queue(tmp_path / "s.duckdb", POINTWISE)
    rows = [
        {"task_id": "t00", "labels": {"quality": 3, "polite": 1}, "note": "fine", "at": "2026-01-01"},
        {"task_id": "t01", "labels": {"quality": "2", "polite": "No"}},
        {"task_id": "t02", "labels": {"quality": "poor", "polite": None}},
        {"task_id": "t03", "labels": {"quality": None, "polite": None}},
    ]
    assert import_labels(store, answered(tmp_path / "done.jsonl", rows), "kim") == 5
    stored = store.query(
        'SELECT task_id, aspect, score, note, "at", stratum, output_hash, systems FROM labels ORDER BY task_id, aspect DESC'
    )
    assert [(r["task_id"], r["aspect"], r["score"]) for r in stored] == [
        ("t00", "quality", 3.0),
        ("t00", "polite", 1.0),
        ("t01", "quality", 2.0),
        ("t01", "polite", 0.0),
        ("t02", "quality", 1.0),
    ]
    assert (stored[0]["note"], stored[0]["at"], stored[0]["stratum"]) == ("fine", "2026-01-01", "stratum-y")
    assert (stored[0]["output_hash"], stored[0]["systems"]) == ("acme-botitem-0", ["acme-bot"])


@pytest.mark.parametrize(
    ("rubric", "row", "message"),
    [
        (POINTWISE, {"task_id": "zz", "labels": {}}, "field `task_id`: `zz` is no task of this store"),
        (POINTWISE, {"labels": {"quality": 1}}, "field `task_id`: `None` is no task"),
        (POINTWISE, {"task_id": "t01"}, "field `labels`: missing; one answer for each of quality, polite"),
        (POINTWISE, {"task_id": "t01", "labels": {"tone": 1}}, "field `labels.tone`: no aspect of the rubric; it has quality, polite"),
        (
            POINTWISE,
            {"task_id": "t01", "labels": {"quality": 4}},
            "field `labels.quality`: `4` is no level of the scale; one of 1 (poor), 2 (fair), 3 (good)",
        ),
        (POINTWISE, {"task_id": "t01", "labels": {"quality": 1.5}}, "`1.5` is no level"),
        (POINTWISE, {"task_id": "t01", "labels": {"quality": True}}, "`True` is no level"),
        (POINTWISE, {"task_id": "t01", "labels": {"quality": 1}, "note": 5}, "field `note`: must be text"),
        (
            PAIRWISE,
            {"task_id": "t01", "verdicts": {"overall": "acme-bot"}},
            "field `verdicts.overall`: `acme-bot` is no answer; one of first, second, tie",
        ),
    ],
)
def test_a_label_that_does_not_fit_is_refused(tmp_path: Path, rubric: Rubric, row: dict[str, Any], message: str) -> None:
    """A wrong task, aspect or level is named with its line, and nothing of the file is stored."""
    store = queue(tmp_path / "s.duckdb", rubric)
    good = {"task_id": "t00", "labels": {"quality": 1}} if rubric is POINTWISE else {"task_id": "t00", "verdict": "first"}
    path = answered(tmp_path / "done.jsonl", [good, row])
    with pytest.raises(InputError) as caught:
        import_labels(store, path, "kim")
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)
    assert store.query("SELECT count(*) AS n FROM labels") == [{"n": 0}]


def test_a_label_is_given_once(tmp_path: Path) -> None:
    """The same answer again is passed over, another one is an error; a second annotator labels for himself."""
    store = queue(tmp_path / "s.duckdb", PAIRWISE)
    path = answered(tmp_path / "done.jsonl", [{"task_id": "t00", "verdict": "first"}, {"task_id": "t00", "verdicts": {"overall": "first"}}])
    assert [import_labels(store, path, "kim"), import_labels(store, path, "kim"), import_labels(store, path, "lee")] == [1, 0, 1]
    changed = answered(tmp_path / "changed.jsonl", [{"task_id": "t01", "verdict": "tie"}, {"task_id": "t00", "verdict": "second"}])
    with pytest.raises(
        InputError, match=r"changed.jsonl:2: field `overall`: kim has labelled task t00 as first before; a label is not changed"
    ):
        import_labels(store, changed, "kim")
    assert store.query("SELECT annotator, count(*) AS n FROM labels GROUP BY ALL ORDER BY ALL") == [
        {"annotator": "kim", "n": 1},
        {"annotator": "lee", "n": 1},
    ]


def test_status_counts_what_is_done(tmp_path: Path) -> None:
    """A task is done when one person has answered every aspect; open tasks are what is exported next."""
    store = queue(tmp_path / "s.duckdb", POINTWISE, items=4)
    empty = status(store, "run-1")
    assert (empty["planned"], empty["done"], empty["annotators"]) == (4, 0, [])
    rows = [{"task_id": "t00", "labels": {"quality": 1, "polite": 1}}, {"task_id": "t01", "labels": {"quality": 1}}]
    import_labels(store, answered(tmp_path / "kim.jsonl", rows), "kim")
    import_labels(store, answered(tmp_path / "lee.jsonl", [{"task_id": "t01", "labels": {"polite": 1}}]), "lee")
    assert status(store, "run-1") == {
        "run": "run-1",
        "planned": 4,
        "done": 1,
        "strata": [{"stratum": "stratum-x", "planned": 2, "done": 0}, {"stratum": "stratum-y", "planned": 2, "done": 1}],
        "annotators": [{"annotator": "kim", "done": 1}, {"annotator": "lee", "done": 0}],
    }
    assert export_tasks(store, "run-1", tmp_path / "open.jsonl") == 3
    assert export_tasks(store, "run-1", tmp_path / "all.jsonl", every=True) == 4


def test_a_run_without_tasks_or_rubric_says_so(tmp_path: Path) -> None:
    """What cannot be labelled is named: an unknown run, a run without a rubric, a run without tasks."""
    store = queue(tmp_path / "s.duckdb", POINTWISE, items=0)
    store.append({"runs": [{"run_id": "checks only", "settings": {"rubric": None}}]})
    for run, message in (("run-1", "has no label tasks"), ("checks only", "has no rubric"), ("nope", "there is no run `nope`")):
        with pytest.raises(UsageError, match=message):
            export_tasks(store, run, tmp_path / "tasks.jsonl")

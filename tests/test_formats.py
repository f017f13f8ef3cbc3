"""`evalh import --format`: files that other tools wrote become runs, and nothing of them is lost without a word."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalh.interchange.formats.registry import BUILT_IN, GROUP
from tests.conftest import Done

Evalh = Callable[..., Done]
FIXTURES = Path(__file__).parent / "fixtures" / "formats"
PAGE = Path(__file__).parent.parent / "docs" / "formats.md"
EXAMPLE = PAGE.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]


class Stored:
    """A store in a temporary folder, and what was imported into it."""

    def __init__(self, evalh: Evalh, folder: Path) -> None:
        self._evalh, self._store = evalh, folder / "s.duckdb"

    def take(self, path: Path, form: str) -> Any:
        return self.tried(path, form).json

    def tried(self, path: Path, form: str) -> Done:
        return self._evalh("import", path, "--format", form, "--run", "r", "--store", self._store, "--json")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        done = self._evalh("sql", query, "--store", self._store, "--json")
        return [tuple(row.values()) for row in done.json]

    def audit(self) -> Any:
        return self._evalh("audit", "--run", "r", "--store", self._store, "--json").json


@pytest.fixture
def stored(evalh: Evalh, tmp_path: Path) -> Stored:
    return Stored(evalh, tmp_path)


def counts(document: dict[str, Any]) -> tuple[int, ...]:
    return tuple(document[name] for name in ("items", "outputs", "verdicts", "unscored", "labels"))


VERDICTS = "SELECT item_id, systems[1], judge, aspect, status, raw_score, label FROM verdicts ORDER BY ALL"


# ---- promptfoo -------------------------------------------------------------------------------------------------------


def test_promptfoo_graded_assertions_are_verdicts_and_a_failed_grader_is_unscored(stored: Stored) -> None:
    """promptfoo counts a reply it cannot read as a failed assertion; here it is unscored, whatever `pass` says."""
    document = stored.take(FIXTURES / "promptfoo.json", "promptfoo")
    assert counts(document) == (2, 6, 11, 1, 1)
    assert document["skipped"] == {}
    assert stored.rows("SELECT item_id, systems, raw_score, label, unscored_reason FROM verdicts WHERE status = 'unscored'") == [
        ("test-1", ["echo-bot [polite]"], None, None, "the grader failed: Could not extract JSON from llm-rubric response")
    ]
    assert [row for row in stored.rows(VERDICTS) if row[0] == "test-0" and row[1] == "echo-bot [polite]"] == [
        ("test-0", "echo-bot [polite]", "openai:chat:grader-1", "factuality", "scored", 0.0, "fail"),
        ("test-0", "echo-bot [polite]", "openai:chat:grader-1", "names the refund period of article {{article}}", "scored", 0.25, "fail"),
        ("test-0", "echo-bot [polite]", "openai:chat:grader-2", "tone", "scored", 0.9, "pass"),
    ]
    assert stored.rows("SELECT rationale FROM verdicts WHERE aspect = 'tone' AND raw_score > 0.5") == [("it says thank you",)]


def test_promptfoo_grader_that_is_down_never_fails_an_output(stored: Stored) -> None:
    """Some assertion types mark no grader error; promptfoo's own words tell: all five are unscored, a `not-` one too."""
    assert counts(stored.take(FIXTURES / "promptfoo-grader-down.json", "promptfoo")) == (1, 1, 5, 5, 0)
    assert stored.rows("SELECT count(*) FROM verdicts WHERE starts_with(unscored_reason, 'the grader failed: API error: 400')") == [(5,)]
    assert ("not: x",) in stored.rows("SELECT aspect FROM verdicts")


def test_promptfoo_assert_set_counts_once(stored: Stored) -> None:
    """promptfoo writes the parts of an assert-set inside the set's result and again beside it."""
    assert counts(stored.take(FIXTURES / "promptfoo-assert-set.json", "promptfoo")) == (1, 1, 1, 1, 0)
    assert [each["type"] for each in _object(stored.rows("SELECT meta FROM outputs")[0][0])["asserts"]] == ["contains"]


def test_promptfoo_systems_outputs_and_human_ratings(stored: Stored) -> None:
    """A provider with several prompts is several systems; what code asserted stays beside the output; a person's rating is a label."""
    stored.take(FIXTURES / "promptfoo.json", "promptfoo")
    assert stored.rows("SELECT system, count(*), count(error), max(cost_usd) FROM outputs GROUP BY 1 ORDER BY 1") == [
        ("broken-bot", 2, 1, 0.002),
        ("echo-bot [polite]", 2, 0, 0.0),
        ("echo-bot [short]", 2, 0, 0.0),
    ]
    assert stored.rows("SELECT error FROM outputs WHERE error IS NOT NULL") == [("the bot is asleep",)]
    asserted = stored.rows("SELECT meta FROM outputs WHERE item_id = 'test-1' AND system = 'echo-bot [polite]'")[0][0]
    assert [(each["metric"], each["pass"]) for each in _object(asserted)["asserts"]] == [("period", False)]
    assert stored.rows("SELECT item_id, systems, annotator, score, label, note FROM labels") == [
        ("test-1", ["echo-bot [short]"], "promptfoo user", 0.0, "fail", "too curt")
    ]
    items = stored.rows("SELECT input, reference, slice FROM items ORDER BY item_id")
    assert [(_object(shown), slice_) for shown, _, slice_ in items] == [
        ({"article": 1, "days": 14}, "public"),
        ({"article": 2, "days": 14}, "all"),
    ]


def _object(value: Any) -> Any:
    """A JSON column, however deep it is quoted."""
    while isinstance(value, str) and value[:1] in '"{[':
        value = json.loads(value)
    return value


def test_promptfoo_repeats_are_trials(stored: Stored, tmp_path: Path) -> None:
    """`--repeat` gives equal variables another testIdx: the same item, the next trial."""
    data = json.loads((FIXTURES / "promptfoo.json").read_text())
    again = json.loads(json.dumps(data["results"]["results"]))
    for row in again:
        row["testIdx"] += 2
    data["results"]["results"] += again
    (tmp_path / "twice.json").write_text(json.dumps(data))
    document = stored.take(tmp_path / "twice.json", "promptfoo")
    assert counts(document) == (2, 12, 22, 2, 1)
    assert len(document["skipped"]) == 1, "the second trial's rating has no place"
    assert stored.rows("SELECT trial, count(*) FROM verdicts GROUP BY 1 ORDER BY 1") == [(0, 11), (1, 11)]


# ---- Inspect ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["inspect.json", "inspect.eval"])
def test_inspect_scores_of_models_are_verdicts_and_nan_is_unscored(stored: Stored, name: str) -> None:
    """Both forms of a log say the same: letters are scores, epochs trials, NaN is unscored, an edit leaves the grader's verdict alone."""
    document = stored.take(FIXTURES / name, "inspect")
    assert counts(document) == (3, 6, 6, 1, 1)
    assert stored.rows("SELECT item_id, trial, judge, prompt, status, raw_score, label FROM verdicts ORDER BY ALL") == [
        ("3", 0, "mockllm/grader", "model_graded_qa", "unscored", None, None),
        ("3", 1, "mockllm/grader", "model_graded_qa", "scored", 1.0, "C"),
        ("de", 0, "mockllm/grader", "model_graded_qa", "scored", 0.0, "I"),
        ("de", 1, "mockllm/grader", "model_graded_qa", "scored", 1.0, "C"),
        ("fr", 0, "mockllm/grader", "model_graded_qa", "scored", 1.0, "C"),
        ("fr", 1, "mockllm/grader", "model_graded_qa", "scored", 0.5, "P"),
    ]
    assert stored.rows("SELECT unscored_reason FROM verdicts WHERE status = 'unscored'") == [("grader_failed",)]
    assert stored.rows("SELECT item_id, systems, annotator, label, score, note FROM labels") == [
        ("de", ["mockllm/answerer"], "ana", "C", 1.0, "half is enough")
    ]
    assert list(document["skipped"].values()) == [1], "the edit of the second epoch"
    assert [(_object(i), _object(r)) for i, r in stored.rows("SELECT input, reference FROM items ORDER BY item_id")] == [
        ("Capital of Italy?", ["Rome", "Roma"]),
        ("Capital of Germany?", "Berlin"),
        ("Capital of France?", "Paris"),
    ]
    scores = _object(stored.rows("SELECT meta FROM outputs WHERE item_id = 'fr' AND trial = 1")[0][0])["scores"]
    assert scores["match"]["value"] == "I"
    assert scores["words"]["value"] == 3


def test_inspect_without_grader_is_judged_by_the_evaluated_model(stored: Stored, tmp_path: Path) -> None:
    """Inspect's default grader is the model under test: the verdict says that judge and system are one."""
    log = json.loads((FIXTURES / "inspect.json").read_text())
    log["eval"]["scorers"][1]["options"] = {}
    for sample in log["samples"]:
        sample["scores"]["model_graded_qa"] |= {"metadata": None, "history": []}
    (tmp_path / "own.json").write_text(json.dumps(log))
    stored.take(tmp_path / "own.json", "inspect")
    assert stored.rows("SELECT DISTINCT judge, same_family FROM verdicts") == [("mockllm/answerer", True)]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python reads zstd itself")
def test_inspect_zip_without_zstd_says_what_to_install(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing reads zstd, the error names the packages that do."""
    for module in ("compression.zstd", "backports.zstd", "zstandard", "inspect_ai.log"):
        monkeypatch.setitem(sys.modules, module, None)
    done = stored.tried(FIXTURES / "inspect.eval", "inspect")
    assert done.code == 2
    assert "install zstandard (or inspect-ai)" in done.err


# ---- OpenAI evals ----------------------------------------------------------------------------------------------------


def test_openai_evals_choices_are_verdicts_and_invalid_is_unscored(stored: Stored) -> None:
    """The log gives `__invalid__` the lowest score; here it is unscored, with the grader's reply."""
    document = stored.take(FIXTURES / "openai-evals-graded.jsonl", "openai-evals")
    assert counts(document) == (3, 3, 3, 1, 0)
    assert stored.rows("SELECT item_id, judge, status, raw_score, label, raw FROM verdicts ORDER BY ALL") == [
        ("no_name_eval.default.0", "grader-1", "scored", 1.0, "Y", "It is right.\nY"),
        ("no_name_eval.default.1", "grader-1", "scored", 0.0, "N", "Wrong city.\nN"),
        ("no_name_eval.default.2", "grader-1", "unscored", None, None, "Who knows"),
    ]
    assert stored.rows("SELECT DISTINCT system FROM outputs") == [("writer-1",)]
    assert stored.rows("SELECT output FROM outputs ORDER BY item_id") == [("Paris",), ("Munich",), ("Rome, I think",)]


def test_openai_evals_matches_stay_beside_the_outputs(stored: Stored) -> None:
    """A match is no verdict; what was expected is the item's reference."""
    assert counts(stored.take(FIXTURES / "openai-evals-match.jsonl", "openai-evals")) == (3, 3, 0, 0, 0)
    rows = stored.rows("SELECT i.reference, o.meta FROM outputs o JOIN items i USING (item_id) ORDER BY item_id")
    assert [(_object(reference), _object(meta)["checks"][0]["correct"]) for reference, meta in rows] == [
        ("Paris", True),
        ("Berlin", False),
        ("Rome", True),
    ]


# ---- Label Studio ----------------------------------------------------------------------------------------------------


def test_label_studio_annotations_are_labels_and_predictions_verdicts(stored: Stored) -> None:
    """A control is an aspect, a remark a note; what an annotator skipped is counted; predictions are found where annotations keep them."""
    document = stored.take(FIXTURES / "label-studio.json", "label-studio")
    assert counts(document) == (2, 2, 2, 0, 5)
    assert document["skipped"] == {"annotations that were skipped (was_cancelled)": 1}
    assert stored.rows("SELECT item_id, annotator, aspect, score, label, note FROM labels ORDER BY ALL") == [
        ("i1", "user-1", "clarity", 4.0, None, None),
        ("i1", "user-1", "correct", None, "good", "short and right"),
        ("i1", "user-1", "facts", 1.0, None, None),
        ("i2", "user-1", "clarity", 2.0, None, None),
        ("i2", "user-1", "correct", None, "bad", None),
    ]
    judge = stored.audit()["judges"][0]
    assert (judge["judge"], judge["n_verdicts"], judge["agreement"]) == ("grader-1", 2, 0.5)


def test_label_studio_pairs_know_their_order(stored: Stored) -> None:
    """Left is the first shown: the winner is the system that stood there."""
    stored.take(FIXTURES / "label-studio-pairs.json", "label-studio")
    assert stored.rows("SELECT item_id, systems, verdict, winner FROM labels ORDER BY 1") == [
        ("i1", ["v1", "v2"], "first", "v1"),
        ("i2", ["v2", "v1"], "second", "v1"),
    ]


def test_label_studio_pairs_take_predictions(stored: Stored, tmp_path: Path) -> None:
    """A prediction on a pair is a verdict in the order shown."""
    tasks = json.loads((FIXTURES / "label-studio-pairs.json").read_text())
    tasks[1]["predictions"] = [{"id": 9, "model_version": "m1", "score": 0.7, "result": tasks[0]["annotations"][0]["result"]}, 10]
    (tmp_path / "pairs.json").write_text(json.dumps(tasks))
    document = stored.take(tmp_path / "pairs.json", "label-studio")
    assert stored.rows("SELECT item_id, judge, systems, verdict, winner FROM verdicts") == [("i2", "m1", ["v2", "v1"], "first", "v2")]
    assert document["skipped"] == {"predictions of which the export has only the id": 1}


# ---- Langfuse --------------------------------------------------------------------------------------------------------


def test_langfuse_experiment_items(stored: Stored) -> None:
    """Scores that people gave are labels, others verdicts; an answer at level ERROR is an error."""
    document = stored.take(FIXTURES / "langfuse-experiment.json", "langfuse")
    assert counts(document) == (2, 3, 3, 0, 1)
    assert document["skipped"] == {"scores of type TEXT": 1}
    assert stored.rows("SELECT item_id, systems[1], judge, raw_score, label, rationale FROM verdicts ORDER BY ALL") == [
        ("q1", "helper v1", "helpfulness", 0.9, None, "names the period"),
        ("q2", "helper v1", "helpfulness", 0.2, None, "evades"),
        ("q2", "helper v1", "tone", None, "rude", None),
    ]
    assert stored.rows("SELECT item_id, annotator, aspect, score, label FROM labels") == [("q1", "user-1", "correct", 1.0, "true")]
    assert stored.rows("SELECT system, error FROM outputs WHERE error IS NOT NULL") == [("helper v2", "Langfuse has it at level ERROR")]
    assert stored.rows("SELECT latency_ms FROM outputs WHERE item_id = 'q2'") == [(300.0,)]


def test_langfuse_folder_joins_scores_traces_and_dataset(stored: Stored) -> None:
    """A trace is the output of its dataset run; the number of a category without a config is no score."""
    document = stored.take(FIXTURES / "langfuse-dataset", "langfuse")
    assert counts(document) == (2, 3, 2, 0, 2)
    assert document["skipped"] == {"scores on sessions or whole dataset runs": 1}
    assert stored.rows("SELECT item_id, system, system_version, latency_ms, cost_usd FROM outputs ORDER BY ALL") == [
        ("q1", "nightly 1", "7", 400.0, 0.001),
        ("q1", "nightly 2", "7", 400.0, 0.001),
        ("q2", "nightly 1", "7", 400.0, 0.001),
    ]
    assert stored.rows("SELECT item_id, annotator, aspect, score, label FROM labels ORDER BY 1") == [
        ("q1", "user-1", "correct", 1.0, "true"),
        ("q2", "user-2", "tone", None, "rude"),
    ]


def test_langfuse_scores_alone(stored: Stored) -> None:
    """Without traces, the trace is the item; there are verdicts and labels, and no outputs."""
    document = stored.take(FIXTURES / "langfuse-dataset" / "scores.jsonl", "langfuse")
    assert counts(document) == (0, 0, 2, 0, 2)
    assert stored.rows("SELECT DISTINCT item_id FROM verdicts ORDER BY 1") == [("t1",), ("t2",)]


# ---- what is wrong, and where ----------------------------------------------------------------------------------------


def changed(*steps: Any) -> Callable[[Path], None]:
    """Set (or, with `...`, remove) one place of a JSON file: keys and indices, then the value."""

    def change(path: Path) -> None:
        lines = path.suffix == ".jsonl"
        data = [json.loads(line) for line in path.read_text().splitlines()] if lines else json.loads(path.read_text())
        at = data
        for step in steps[:-2]:
            at = at[step]
        if steps[-1] is ...:
            del at[steps[-2]]
        else:
            at[steps[-2]] = steps[-1]
        path.write_text("\n".join(map(json.dumps, data)) if lines else json.dumps(data))

    return change


def halved(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def without_header(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("_journal/start.json", "{}")


ROW, COMPONENT = ("results", "results", 0), ("gradingResult", "componentResults", 1)
PROMPTFOO, EVALS, STUDIO, LANGFUSE = "promptfoo.json", "openai-evals-graded.jsonl", "label-studio.json", "langfuse-experiment.json"
STARS = (0, "annotations", 0, "result", 1, "value", "rating")
SCORE = ("data", 0, "scores", 0)

# file, what is done to it, what is said of it
BAD: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "promptfoo cut": (PROMPTFOO, halved, "not JSON"),
    "promptfoo version": (PROMPTFOO, changed("results", "version", 9), "`results.version`: version 9 is not known; versions 2"),
    "promptfoo other file": (PROMPTFOO, changed("results", ...), "`results`: missing; a results file that"),
    "promptfoo score": (PROMPTFOO, changed(*ROW, *COMPONENT, "score", "high"),
                        '`results.results[0].gradingResult.componentResults[1].score`: must be a number, not "high"'),
    "promptfoo provider": (PROMPTFOO, changed(*ROW, "provider", {}), "`results.results[0].provider.label`: missing"),
    "inspect cut": ("inspect.json", halved, "not JSON"),
    "inspect version": ("inspect.json", changed("version", 1), "`version`: version 1 is not known"),
    "inspect samples": ("inspect.json", changed("samples", ...), "`samples`: there are none in this log; run the evaluation with"),
    "inspect epoch": ("inspect.json", changed("samples", 2, "epoch", ...), "`samples[2].epoch`: missing"),
    "inspect cut zip": ("inspect.eval", halved, "is no whole .eval log"),
    "inspect stopped zip": ("inspect.eval", without_header, "has no header.json: the evaluation was stopped"),
    "evals cut": (EVALS, halved, "not JSON"),
    "evals spec": (EVALS, changed(0, ...), "`spec`: missing; a log that `oaieval` wrote"),
    "evals choice": (EVALS, changed(4, "data", "choice", 3), "`line 5.data.choice`: must be text, not 3"),
    "evals line": (EVALS, changed(4, "type", ...), "`line 5.type`: missing"),
    "label studio cut": (STUDIO, halved, "not JSON"),
    "label studio min": (STUDIO, changed(1, "annotations", ...), "`[1].annotations`: missing; an export of Label Studio"),
    "label studio system": (STUDIO, changed(0, "data", "system", ...), "`[0].data.system`: missing; the data of a task has"),
    "label studio rating": (STUDIO, changed(*STARS, "four"),
                            '`[0].annotations[0].result[1].value.rating`: must be a number, not "four"'),
    "langfuse cut": (LANGFUSE, halved, "not JSON"),
    "langfuse source": (LANGFUSE, changed(*SCORE, "source", "GUESS"),
                        "`data[0].scores[0].source`: 'GUESS' is not known; one of ANNOTATION, API, EVAL"),
    "langfuse record": (LANGFUSE, changed("data", 0, {"x": 1}), "`data[0]`: is no record that is known"),
    "langfuse name": (LANGFUSE, changed(*SCORE, "name", ...), "`data[0].scores[0].name`: missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_with_its_place_and_nothing_is_stored(case: str, stored: Stored, tmp_path: Path) -> None:
    """Exit 2, one line: the file, the place in it, what is wrong and what would be right."""
    name, spoil, said = BAD[case]
    path = tmp_path / name
    shutil.copy(FIXTURES / name, path)
    spoil(path)
    done = stored.tried(path, next(form.name for form in BUILT_IN if name.startswith(form.name)))
    assert (done.code, done.out) == (2, "")
    assert f"{name}: {said}" in done.err
    assert not (tmp_path / "s.duckdb").exists()


def test_a_file_of_another_tool_is_refused(stored: Stored) -> None:
    done = stored.tried(FIXTURES / "label-studio.json", "promptfoo")
    assert done.code == 2
    assert "label-studio.json: `the file`: must be an object" in done.err


def test_an_unknown_format_names_those_that_are_known(stored: Stored) -> None:
    done = stored.tried(FIXTURES / "promptfoo.json", "promptfo")
    assert done.code == 2
    assert f"there is no format `promptfo`; known are {', '.join(sorted(e.name for e in BUILT_IN))}" in done.err


def test_hostile_numbers_and_text_are_stored_as_they_are(stored: Stored, tmp_path: Path) -> None:
    """Terminal escapes in a reply stay text, halves of surrogate pairs and NaN in what is kept beside it do no harm."""
    path = tmp_path / "p.json"
    shutil.copy(FIXTURES / "promptfoo.json", path)
    changed(*ROW, "response", "output", "\x1b[31m\ud800 ../../etc <script>")(path)
    changed(*ROW, "gradingResult", "componentResults", 0, "assertion", "value", float("nan"))(path)
    assert stored.take(path, "promptfoo")["outputs"] == 6
    assert stored.rows("SELECT count(*) FROM outputs WHERE starts_with(output, chr(27) || '[31m')") == [(1,)]


def test_a_package_adds_a_format_by_entry_point(tmp_path: Path) -> None:
    """The importer of docs/formats.md works as a plugin; a package cannot take a built-in name."""
    (tmp_path / "evalh_acme.py").write_text(EXAMPLE, encoding="utf-8")
    info = tmp_path / "evalh_acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evalh-acme\nVersion: 1.0\n", encoding="utf-8")
    (tmp_path / "scores.csv").write_text("id,question,answer,score\na,why?,because,0.5\nb,how?,thus,\n", encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "evalh", "import", "scores.csv", "--format", "acme", "--store", "s.duckdb", "--json"]

    def run(entries: str) -> subprocess.CompletedProcess[str]:
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{entries}", encoding="utf-8")
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=tmp_path)

    done = run("acme = evalh_acme:read\n")
    assert counts(json.loads(done.stdout)) == (2, 2, 2, 1, 0)
    taken = run("langfuse = evalh_acme:read\n")
    assert taken.returncode == 2
    assert "two formats are called 'langfuse'" in taken.stderr

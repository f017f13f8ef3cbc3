"""The label queue as files: blind tasks out, people's labels in, and how far they are.

What a labeller gets names no system, family, judge, score, run, stratum or probability; answers are masked as for judges,
and the two sides of a pair stand in an order drawn from the task's seed. On the way in, sides are mapped back and each
label keeps the inclusion probability and the stratum of its task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evalh.errors import UsageError
from evalh.fingerprints import content_hash, derived_seed
from evalh.interchange.jsonl import winner_of
from evalh.interchange.lines import read_objects, refuse, write_objects
from evalh.judging.families import Families
from evalh.judging.masking import mask
from evalh.judging.presentation import shown_text
from evalh.judging.rubric import Rubric
from evalh.records import Label, Output, ToolCall
from evalh.rows import label_row
from evalh.store.journal import Journal
from evalh.store.queries import golden_of_run, label_progress, label_tasks, labels_of_tasks, of_run, run_settings, tasks_by_id
from evalh.store.store import Store

Row = dict[str, Any]

ADD_WAITS_S = 0.2  # for a store that is busy: the label is on disk already
WHOLE_QUESTION = "Which answer is better, by the instructions?"


def export_tasks(store: Store, run: str, path: Path, *, every: bool = False, families: Families | None = None) -> int:
    """Write the tasks of a run that nobody has finished (all, with `every`) as JSON Lines; how many.

    A labeller fills in `labels` (`verdicts` for pairs) and may write a `note`. Raises UsageError where the run has no
    rubric or no tasks.
    """
    rubric = _rubric(store, run)
    tasks = label_tasks(store, run)
    if not tasks:
        raise UsageError(f"run `{run}` has no label tasks", hint="give its suite `sampling` with a number of `labels`")
    done = set() if every else _done(store, run, rubric)
    systems = of_run(store, "systems", run)
    names = [row[key] for row in systems for key in ("system", "system_version") if row[key]]
    names += [system for task in tasks for system in (task["system"], task["against"]) if system]
    blind = _Blinder(list(dict.fromkeys(names)), families or Families.load())
    golden = golden_of_run(store, run)
    lines = (_task(task, rubric, blind) for task in tasks if task["task_id"] not in done)
    return write_objects(path, lines, golden["canary"] if golden else None)


def import_labels(store: Store, path: Path, annotator: str) -> int:
    """Read a labelled file into the store, whole or not at all; how many labels are new.

    Answers left null are no labels yet. The same answer again is passed over; another one by the same annotator is an
    error. Raises InputError with file, line and field.
    """
    if not annotator.strip():
        raise UsageError("an annotator needs a name")
    lines = list(read_objects(path))
    ids = [str(data.get("task_id")) for _, data in lines]
    tasks = tasks_by_id(store, ids)
    rubrics = {run: _rubric(store, run) for run in {task["run_id"] for task in tasks.values()}}
    known = {(row["task_id"], row["aspect"]): row for row in labels_of_tasks(store, ids) if row["annotator"] == annotator}
    new: list[Row] = []
    for line, data in lines:
        task = tasks.get(str(data.get("task_id")))
        if task is None:
            refuse(path, line, "task_id", f"`{data.get('task_id')}` is no task of this store", "`evalh label export` writes the tasks")
        for row in _labels(data, task, rubrics[task["run_id"]], annotator, path, line):
            key = (row["task_id"], row["aspect"])
            before = known.setdefault(key, row)
            if before is row:
                new.append(row)
            elif (before["score"], before["winner"]) != (row["score"], row["winner"]):
                fault = f"{annotator} has labelled task {row['task_id']} as {_shown(before, task)} before"
                refuse(path, line, row["aspect"], fault, "a label is not changed; leave the line out, or name another annotator")
    store.append({"labels": new})
    return len(new)


def add(store: Store, run: str, labels: Sequence[Label]) -> int:
    """Add labels that people gave, from any number of threads and processes at a time; how many.

    Each keeps the task, the inclusion probability and the stratum by which its output was drawn, where it was. They are on
    disk when this returns; where the store is busy (a run writes to it, a report reads it) they go in with the next command
    that uses it. The same person's second label of one output and aspect is left out. Raises UsageError for an unknown run.
    """
    tasks = _tasks_of(store, run)
    quick = Store(store.path, wait_s=ADD_WAITS_S, notice=_say_nothing)
    with Journal(quick, "labels") as journal:
        for label in labels:
            drawn = tasks.get((label.item_id, frozenset(label.systems)), {})
            journal.append("labels", {**label_row(run, label), **drawn})
    return len(labels)


def _say_nothing(_line: str) -> None:
    """That a label waits in the journal is no news to a labeller."""


_known_tasks: dict[tuple[Path, str], dict[tuple[str, frozenset[str]], Row]] = {}  # of finished runs: they do not change


def _tasks_of(store: Store, run: str) -> dict[tuple[str, frozenset[str]], Row]:
    """What a label takes over from its task, by item and systems."""
    key = (store.path.resolve(), run)
    if key not in _known_tasks:
        run_settings(store, run)
        tasks: dict[tuple[str, frozenset[str]], Row] = {}
        for task in of_run(store, "label_tasks", run):
            systems = frozenset(name for name in (task["system"], task["against"]) if name)
            kept = ("task_id", "inclusion_probability", "stratum", "output_hash")
            tasks.setdefault((task["item_id"], systems), {name: task[name] for name in kept})
        if not tasks:
            return tasks
        _known_tasks[key] = tasks
    return _known_tasks[key]


def status(store: Store, run: str) -> dict[str, Any]:
    """How many tasks of a run are done (every aspect answered by one person): in all, by stratum, by annotator."""
    progress = label_progress(store, run)
    strata: dict[str, set[str]] = {}
    people: dict[str, int] = {}
    done = _done(store, run, _rubric(store, run), progress) if progress else set()
    wanted = len(_rubric(store, run).aspects) if progress else 0
    for row in progress:
        strata.setdefault(row["stratum"] or "", set()).add(row["task_id"])
        if row["annotator"] is not None:
            people[row["annotator"]] = people.get(row["annotator"], 0) + (row["answered"] >= wanted)
    return {
        "run": run,
        "planned": sum(len(ids) for ids in strata.values()),
        "done": len(done),
        "strata": [{"stratum": name, "planned": len(ids), "done": len(ids & done)} for name, ids in sorted(strata.items())],
        "annotators": [{"annotator": name, "done": count} for name, count in sorted(people.items())],
    }


class _Blinder:
    """Masks what answers say of themselves, as judges see them."""

    def __init__(self, names: list[str], families: Families) -> None:
        self._names, self._families = names, families

    def __call__(self, task: Row, text: str | None, calls: list[Row] | None) -> str:
        output = Output(item_id=task["item_id"], system="", text=text or "", tool_calls=[ToolCall(**call) for call in calls or []])
        return mask(shown_text(output), names=self._names, families=self._families)[0]


def _rubric(store: Store, run: str) -> Rubric:
    settings = run_settings(store, run)
    rubric = settings.get("label_rubric") or settings.get("rubric")
    if not rubric:
        raise UsageError(
            f"run `{run}` has no rubric to label by", hint="give its suite `sampling`, with the rubric of its panel or one of its own"
        )
    return Rubric.model_validate(rubric)


def _done(store: Store, run: str, rubric: Rubric, progress: list[Row] | None = None) -> set[str]:
    """Tasks of which one person has answered every aspect."""
    rows = progress if progress is not None else label_progress(store, run)
    return {row["task_id"] for row in rows if row["annotator"] is not None and row["answered"] >= len(rubric.aspects)}


def _sides(task: Row) -> tuple[str, ...]:
    """The systems of a task in the order shown: of a pair, drawn from the task's seed."""
    if not task["against"]:
        return (task["system"],)
    pair = (task["system"], task["against"])
    return pair if derived_seed("label order", task["seed"], task["task_id"]) % 2 else pair[::-1]


def _task(task: Row, rubric: Rubric, blind: _Blinder) -> Row:
    """One line of the file. Nothing in it tells whose answers these are, or what anyone thought of them."""
    answer = blind(task, task["output"], task["tool_calls"])
    line: Row = {"task_id": task["task_id"], "kind": rubric.kind, "instructions": rubric.instructions, "input": task["input"]}
    if rubric.reference:
        line["reference"] = task["reference"]
    if rubric.kind == "pairwise":
        other = blind(task, task["against_output"], task["against_tool_calls"])
        shown = (answer, other) if _sides(task)[0] == task["system"] else (other, answer)
        line |= dict(zip(("first", "second"), shown, strict=True))
        asked = rubric.questions or dict.fromkeys(rubric.aspects, WHOLE_QUESTION)
        line["questions"] = [{"aspect": a, "question": q, "choices": _choices(rubric)} for a, q in asked.items()]
    else:
        line["answer"] = answer
        line["questions"] = [
            {"aspect": c.name, "question": c.question, "scale": {str(k): v for k, v in sorted(c.scale.items())}} for c in rubric.criteria
        ]
    return {**line, _answers(rubric): dict.fromkeys(rubric.aspects), "note": ""}


def _answers(rubric: Rubric) -> str:
    return "verdicts" if rubric.kind == "pairwise" else "labels"


def _choices(rubric: Rubric) -> list[str]:
    return ["first", "second", "tie"] if rubric.ties else ["first", "second"]


def _labels(data: Row, task: Row, rubric: Rubric, annotator: str, path: Path, line: int) -> Iterator[Row]:
    """The labels on one line, an aspect each; those left null are not there yet."""
    field = _answers(rubric)
    given = data.get(field)
    if given is None and rubric.kind == "pairwise" and len(rubric.aspects) == 1:
        given = {rubric.aspects[0]: data.get("verdict")}
    if not isinstance(given, dict):
        refuse(path, line, field, "missing", f"one answer for each of {', '.join(rubric.aspects)}: {{ASPECT: ANSWER}}")
    note, at = data.get("note"), data.get("at")
    for name, value in (("note", note), ("at", at)):
        if value is not None and not isinstance(value, str):
            refuse(path, line, name, "must be text")
    now = datetime.now(UTC)
    for aspect, answer in given.items():
        if aspect not in rubric.aspects:
            refuse(path, line, f"{field}.{aspect}", "no aspect of the rubric", f"it has {', '.join(rubric.aspects)}")
        if answer is None:
            continue
        yield {
            "label_id": content_hash("label", task["task_id"], annotator, aspect),
            "run_id": task["run_id"],
            "task_id": task["task_id"],
            "item_id": task["item_id"],
            "annotator": annotator,
            "kind": rubric.kind,
            "systems": list(_sides(task)),
            "output_hash": task["output_hash"],
            "aspect": aspect,
            "inclusion_probability": task["inclusion_probability"],
            "stratum": task["stratum"],
            "note": note or None,
            "at": at or now.isoformat(timespec="seconds"),
            "imported_at": now,
            **_answer(answer, aspect, rubric, task, path, line),
        }


def _answer(answer: Any, aspect: str, rubric: Rubric, task: Row, path: Path, line: int) -> Row:
    field = f"{_answers(rubric)}.{aspect}"
    if rubric.kind == "pairwise":
        if answer not in _choices(rubric):
            refuse(path, line, field, f"`{answer}` is no answer", f"one of {', '.join(_choices(rubric))}")
        return {"verdict": answer, "winner": winner_of(answer, _sides(task)), "score": None}
    scale = next(c.scale for c in rubric.criteria if c.name == aspect)
    level = _level(answer, scale)
    if level is None:
        meanings = ", ".join(f"{k} ({v})" if v else str(k) for k, v in sorted(scale.items()))
        refuse(path, line, field, f"`{answer}` is no level of the scale", f"one of {meanings}")
    return {"score": float(level), "winner": None, "verdict": None}


def _level(answer: Any, scale: Mapping[int, str]) -> int | None:
    """The level that was meant: its number (also as text, as spreadsheets write it), or its meaning."""
    by_text = {meaning.casefold(): level for level, meaning in scale.items() if meaning} | {str(level): level for level in scale}
    if isinstance(answer, str):
        return by_text.get(answer.strip().casefold())
    return int(answer) if isinstance(answer, int | float) and not isinstance(answer, bool) and answer in scale else None


def _shown(row: Row, task: Row) -> str:
    """An earlier answer, as the labeller gave it: of a pair the side, not the system."""
    if row["winner"] is None:
        return f"{row['score']:g}"
    return "tie" if row["winner"] not in _sides(task) else ("first", "second")[_sides(task).index(row["winner"])]

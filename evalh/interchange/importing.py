"""`evalh import DIR`: a folder of recorded items, outputs, judgments and labels becomes a run, whole or not at all.

Files are read twice: first to check every line, so that a bad one stores nothing and the complaint is complete; then
row by row into one transaction. Memory holds ids and the rows' compact text, not records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evalh import __version__
from evalh.errors import InputError, UsageError
from evalh.fingerprints import content_hash, file_hash
from evalh.interchange.jsonl import (
    RecordedJudgment,
    RecordedLabel,
    numbered_judgments,
    numbered_labels,
    numbered_outputs,
)
from evalh.interchange.lines import place
from evalh.store.queries import has_run
from evalh.store.store import Store
from evalh.suites.golden import ITEMS, GoldenSet, load_golden

OUTPUTS, JUDGMENTS, LABELS = "outputs.jsonl", "judgments.jsonl", "labels.jsonl"
ASPECT = "overall"  # of verdicts that name none; a label without an aspect keeps none, it speaks of the whole
UNREAD = "the recorded reply could not be read"

Row = dict[str, Any]
Judge = tuple[str, str, str]  # judge, judge_version, prompt


def import_folder(store: Store, folder: Path, run_name: str | None = None) -> dict[str, Any]:
    """Import the folder as run `run_name` (the folder's name where not given) and return the document of DESIGN §10.

    Raises InputError with file, line and field for bad input, UsageError where the run exists already; then nothing is
    stored.
    """
    run = run_name or folder.resolve().name
    present = [name for name in (ITEMS, OUTPUTS, JUDGMENTS, LABELS) if (folder / name).is_file()]
    if not present:
        what = "holds nothing to import" if folder.is_dir() else "there is no such folder"
        raise InputError(what, where=place(folder), hint=f"expected {ITEMS}, {OUTPUTS}, {JUDGMENTS} or {LABELS}")
    if has_run(store, run):
        raise UsageError(f"the store has a run `{run}` already", where=str(store.path), hint="choose another name with --run")
    facts = _survey(folder, present)
    store.append(_rows(run, folder, facts), new=["runs"])
    return {
        "run": run,
        "items": len(facts.items),
        "outputs": len(facts.outputs),
        "verdicts": sum(facts.verdicts.values()),
        "unscored": sum(facts.unscored.values()),
        "labels": facts.labels,
        "unmatched": facts.unmatched,
        "judges": [_judge_document(judge, facts) for judge in sorted(facts.verdicts)],
    }


@dataclass
class _Facts:
    """What the files hold, as far as rows depend on each other."""

    golden: GoldenSet | None
    files: dict[str, str]  # name → hash
    items: dict[str, str] = field(default_factory=dict)  # item_id → item_hash
    outputs: dict[tuple[str, str, int], str] = field(default_factory=dict)  # (item_id, system, trial) → output_hash
    systems: dict[tuple[str, str], str | None] = field(default_factory=dict)  # (system, version) → family
    named: set[str] = field(default_factory=set)  # systems without their versions
    verdicts: Counter[Judge] = field(default_factory=Counter)
    unscored: Counter[Judge] = field(default_factory=Counter)
    families: dict[Judge, str | None] = field(default_factory=dict)
    simulated: set[Judge] = field(default_factory=set)
    scaled: set[tuple[str, str]] = field(default_factory=set)  # (judge, aspect) with scores on [0, 1] beside those on their scale
    same_family: set[Judge] = field(default_factory=set)
    ranges: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)  # pointwise: (judge, aspect) → low, high
    labels: int = 0
    unmatched: int = 0  # verdicts and labels on outputs that outputs.jsonl does not have

    def unknown_item(self, item_id: str) -> bool:
        return ITEMS in self.files and item_id not in self.items

    def matches(self, item_id: str, systems: Iterable[str], trial: int) -> bool:
        return OUTPUTS not in self.files or all((item_id, system, trial) in self.outputs for system in systems)


def _survey(folder: Path, present: list[str]) -> _Facts:
    """Read and check every line of every file. Raises InputError at the first bad one."""
    golden = load_golden(folder) if ITEMS in present else None
    facts = _Facts(golden, {name: file_hash((folder / name).read_bytes()) for name in present})
    facts.items = {item.item_id: item.item_hash for item in golden.items} if golden else {}
    if OUTPUTS in present:
        _survey_outputs(folder / OUTPUTS, facts)
    if JUDGMENTS in present:
        _survey_judgments(folder / JUDGMENTS, facts)
    if LABELS in present:
        _survey_labels(folder / LABELS, facts)
    return facts


def _survey_outputs(path: Path, facts: _Facts) -> None:
    unknown = _Unknown(path, "outputs")
    for line, output in numbered_outputs(path):
        unknown.see(line, output.item_id, facts)
        facts.outputs[output.item_id, output.system, output.trial] = output.output_hash
        facts.named.add(output.system)
        key = (output.system, output.system_version or "")
        if facts.systems.setdefault(key, output.family) != output.family:
            fault = f"field `family`: {output.family!r}, before {facts.systems[key]!r}, for the same system"
            raise InputError(fault, where=place(path, line), hint="a system of one version has one family")
    unknown.complain()


def _survey_judgments(path: Path, facts: _Facts) -> None:
    unknown = _Unknown(path, "verdicts")
    for line, row in numbered_judgments(path):
        unknown.see(line, row.item_id, facts)
        judge = _judge(row)
        facts.verdicts[judge] += 1
        facts.unscored[judge] += not row.scored
        facts.families.setdefault(judge, row.family)
        facts.scaled |= {(row.judge, row.aspect or ASPECT)} if row.unit_score is not None else set()
        facts.simulated |= {judge} if row.simulated else set()
        facts.same_family |= {judge} if row.same_family else set()
        facts.unmatched += not facts.matches(row.item_id, row.systems, row.trial)
        _name_systems(row.systems, facts)
        if row.kind == "pointwise" and row.score is not None:
            low, high = facts.ranges.get((row.judge, row.aspect or ASPECT), (row.score, row.score))
            facts.ranges[row.judge, row.aspect or ASPECT] = (min(low, row.score), max(high, row.score))
    unknown.complain()


def _survey_labels(path: Path, facts: _Facts) -> None:
    unknown = _Unknown(path, "labels")
    for line, row in numbered_labels(path):
        unknown.see(line, row.item_id, facts)
        facts.labels += 1
        facts.unmatched += not facts.matches(row.item_id, row.systems, 0)
        _name_systems(row.systems, facts)
    unknown.complain()


def _name_systems(names: Iterable[str], facts: _Facts) -> None:
    """Systems that only verdicts or labels name. Those with outputs are known by then, with version and family."""
    for name in names:
        if name not in facts.named:
            facts.named.add(name)
            facts.systems[name, ""] = None


class _Unknown:
    """Lines about items that items.jsonl does not have: counted to the end of the file, then one complaint."""

    def __init__(self, path: Path, noun: str) -> None:
        self._path, self._noun = path, noun
        self._lines: list[int] = []
        self._items: dict[str, None] = {}

    def see(self, line: int, item_id: str, facts: _Facts) -> None:
        if facts.unknown_item(item_id):
            self._lines.append(line)
            self._items[item_id] = None

    def complain(self) -> None:
        if self._lines:
            first = next(iter(self._items))
            fault = f"field `item_id`: `{first}` is not in {ITEMS}; {len(self._lines)} {self._noun} are about {len(self._items)} such items"
            raise InputError(fault, where=place(self._path, self._lines[0]), hint="add the items, or remove the lines")


def _rows(run: str, folder: Path, facts: _Facts) -> dict[str, Iterable[Row]]:
    now = datetime.now(UTC)
    name = facts.golden.name if facts.golden else folder.resolve().name
    rows: dict[str, Iterable[Row]] = {"runs": [_run_row(run, name, facts, now)]}
    if facts.golden:
        rows |= golden_rows(facts.golden, now)
    rows["systems"] = (
        {"run_id": run, "system": system, "system_version": version, "family": family, "kind": "import", "role": "system"}
        for (system, version), family in facts.systems.items()
    )
    if OUTPUTS in facts.files:
        rows["outputs"] = _output_rows(run, folder / OUTPUTS, facts)
    if JUDGMENTS in facts.files:
        rows["judges"] = [_judge_row(run, judge, facts) for judge in facts.verdicts]
        rows["verdicts"] = (_verdict_row(run, row, facts) for _, row in numbered_judgments(folder / JUDGMENTS))
    if LABELS in facts.files:
        rows["labels"] = (_label_row(run, row, facts, now) for _, row in numbered_labels(folder / LABELS))
    rows["run_events"] = [{"run_id": run, "event": "finished", "at": now, "detail": ""}]
    return rows


def _run_row(run: str, name: str, facts: _Facts, now: datetime) -> Row:
    golden = facts.golden
    scales = [{"judge": judge, "aspect": aspect, "low": low, "high": high} for (judge, aspect), (low, high) in facts.ranges.items()]
    return {
        "run_id": run,
        "suite": name,
        "run_key": content_hash("import", facts.files),
        "golden": golden.name if golden else None,
        "golden_version": golden.version if golden else None,
        "golden_hash": golden.golden_hash if golden else None,
        "kind": "import",
        "simulated": bool(facts.simulated),
        "allow_same_family": bool(facts.same_family),
        "evalh_version": __version__,
        "settings": {"files": facts.files, "items": "all", "rubric": None, "seen_ranges": scales},
        "started_at": now,
    }


def golden_rows(golden: GoldenSet, now: datetime) -> dict[str, Iterable[Row]]:
    """The rows of `golden_sets` and `items` for one version of a golden set."""
    named = {"golden": golden.name, "golden_version": golden.version, "golden_hash": golden.golden_hash}
    about = {"canary": golden.canary, "licence": golden.licence, "slices": golden.slices, "locked": golden.locked, "first_seen": now}
    items = ({**named, "item_hash": item.item_hash, **item.model_dump(mode="json")} for item in golden.items)
    return {"golden_sets": [{**named, **about}], "items": items}


def _output_rows(run: str, path: Path, facts: _Facts) -> Iterator[Row]:
    for _, output in numbered_outputs(path):
        data = output.model_dump(mode="json")
        text = data.pop("text")
        yield {"run_id": run, "item_hash": facts.items.get(output.item_id), "output_hash": output.output_hash, **data, "output": text}


def _judge(row: RecordedJudgment) -> Judge:
    return (row.judge, row.judge_version or "", row.prompt or "")


def _judge_row(run: str, judge: Judge, facts: _Facts) -> Row:
    name, version, prompt = judge
    named = {"run_id": run, "judge": name, "judge_version": version, "prompt": prompt, "model": name, "family": facts.families[judge]}
    return {**named, "same_family": judge in facts.same_family, "simulated": judge in facts.simulated}


def _judge_document(judge: Judge, facts: _Facts) -> Row:
    name, version, prompt = judge
    counts = {"n_verdicts": facts.verdicts[judge], "n_unscored": facts.unscored[judge]}
    return {"judge": name, "judge_version": version, "prompt": prompt, **counts}


def _verdict_row(run: str, row: RecordedJudgment, facts: _Facts) -> Row:
    judge, version, prompt = _judge(row)
    aspect = row.aspect or ASPECT
    meta = dict(row.meta)
    for name in ("probs", "samples"):
        if getattr(row, name) is not None:
            meta[name] = getattr(row, name)
    return {
        "verdict_id": content_hash("import", run, row.item_id, judge, version, prompt, row.systems, row.trial, aspect, row.repeat),
        "run_id": run,
        "item_id": row.item_id,
        "item_hash": facts.items.get(row.item_id),
        "judge": judge,
        "judge_version": version,
        "prompt": prompt,
        "kind": row.kind,
        "systems": row.systems,
        "output_hashes": [facts.outputs.get((row.item_id, system, row.trial)) for system in row.systems],
        "trial": row.trial,
        "order_known": row.order_known,
        "aspect": aspect,
        "repeat": row.repeat,
        "status": "scored" if row.scored else "unscored",
        "unscored_reason": None if row.scored else row.unscored_reason or UNREAD,
        "verdict": row.verdict,
        "winner": row.winner,
        "label": row.label,
        "raw_score": row.score if row.kind == "pointwise" else None,
        "score": row.preference if row.kind == "pairwise" else _on_unit_scale(row, facts),
        "rationale": row.rationale,
        "raw": row.raw,
        "attempts": 1,
        "cached": False,
        "family": row.family,
        "same_family": row.same_family,
        "simulated": row.simulated,
        "meta": meta or None,
        "at": row.at,
    }


def _on_unit_scale(row: RecordedJudgment, facts: _Facts) -> float | None:
    """A pointwise score is one in [0, 1] only where all of its judge and aspect are; no scale is guessed for others."""
    if row.score is None or row.unit_score is not None:
        return row.unit_score
    if (row.judge, row.aspect or ASPECT) in facts.scaled:
        return row.score  # other verdicts say theirs: this one is the same on both scales
    low, high = facts.ranges[row.judge, row.aspect or ASPECT]
    return row.score if low >= 0 and high <= 1 else None


def _label_row(run: str, row: RecordedLabel, facts: _Facts, now: datetime) -> Row:
    only = row.systems[0] if len(row.systems) == 1 else None
    return {
        "label_id": content_hash("import", run, row.item_id, row.annotator, row.systems, row.aspect),
        "run_id": run,
        **row.model_dump(mode="json"),
        "meta": row.meta or None,
        "output_hash": facts.outputs.get((row.item_id, only, 0)) if only else None,
        "imported_at": now,
    }

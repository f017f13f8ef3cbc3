"""`evalh import DIR`: a folder of recorded items, outputs, judgments and labels becomes a run, whole or not at all.

Each file is read once, column by column; every bad line is named in one complaint. Then the rows are compared with each
other: what a store cannot hold faithfully refuses the import, or is set aside where that is asked for; nothing is merged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from evalh.errors import InputError, UsageError
from evalh.interchange.batches import Table, Told, read_table
from evalh.interchange.columns import ASPECT, JUDGMENT, LABEL, OUTPUT, UNREAD, content_hashes
from evalh.interchange.faults import BadLines, Faults
from evalh.interchange.findings import EXAMPLES, Example, Finding, counted, labels_twice, outputs_twice, unknown_items, verdicts_twice
from evalh.interchange.lines import place
from evalh.interchange.noticing import Judge, all_unscored, off_scale, one_order, one_text, twin_systems
from evalh.interchange.recorded_rows import Recorded, rows_to_store
from evalh.store.queries import has_run
from evalh.store.store import Store
from evalh.suites.golden import ITEMS, GoldenSet, item_faults, load_golden

__all__ = ["ASPECT", "JUDGMENTS", "LABELS", "OUTPUTS", "UNREAD", "import_folder"]

OUTPUTS, JUDGMENTS, LABELS = "outputs.jsonl", "judgments.jsonl", "labels.jsonl"
NOUNS = {OUTPUTS: "outputs", JUDGMENTS: "verdicts", LABELS: "labels"}
SET_ASIDE = "--set-aside leaves these rows out of the run, and says so"


def import_folder(
    store: Store, folder: Path, run_name: str | None = None, *, set_aside: bool = False, told: Told | None = None
) -> dict[str, Any]:
    """Import the folder as run `run_name` (the folder's name where not given) and return the document of DESIGN §10.

    `set_aside` leaves rows out that contradict each other (all copies), that stand again (all but one), or whose item nobody
    knows; the document and the run's settings say how many. `told` gets lines of progress.

    Raises InputError that names every bad line and every finding that refuses, UsageError where the run exists already;
    then nothing is stored.
    """
    run = run_name or folder.resolve().name
    present = [name for name in (ITEMS, OUTPUTS, JUDGMENTS, LABELS) if (folder / name).is_file()]
    if not present:
        what = "holds nothing to import" if folder.is_dir() else "there is no such folder"
        raise InputError(what, where=place(folder), hint=f"expected {ITEMS}, {OUTPUTS}, {JUDGMENTS} or {LABELS}")
    if has_run(store, run):
        raise UsageError(f"the store has a run `{run}` already", where=str(store.path), hint="choose another name with --run")
    recorded = _read(run, folder, present, set_aside, told)
    if told:
        told(f"storing {counted(recorded.rows, 'row')}")
    store.append_columns(rows_to_store(run, folder, recorded), new=["runs"])
    return _document(run, recorded)


def _read(run: str, folder: Path, present: Sequence[str], set_aside: bool, told: Told | None) -> Recorded:
    """Every line of every file, checked, compared, and set aside where that is asked for."""
    faults = Faults()
    golden = _golden(folder, faults) if ITEMS in present else None
    tables, files = {}, {ITEMS: golden.golden_hash} if golden else {}
    for name, form in ((OUTPUTS, OUTPUT), (JUDGMENTS, JUDGMENT), (LABELS, LABEL)):
        tables[name], digest = read_table(folder / name, form, faults, told) if name in present else (Table([], {}), "")
        files |= {name: digest} if digest else {}
    systems = _systems(tables[OUTPUTS], folder / OUTPUTS, faults)
    _identify(run, tables)
    items = {item.item_id: item.item_hash for item in golden.items} if golden else {}
    refusing = _refusing(tables, items if golden else None)
    if faults:
        raise faults.error([_line(folder, finding) for finding in refusing])
    if refusing and not set_aside:
        raise _refusal(folder, refusing)
    for name in NOUNS:
        tables[name] = tables[name].without({line for finding in refusing if finding.file == name for line in finding.lines})
    recorded = Recorded(golden, files, items, tables[OUTPUTS], tables[JUDGMENTS], tables[LABELS], systems, refusing)
    recorded.findings.extend(_noticed(recorded))
    return recorded


def _golden(folder: Path, faults: Faults) -> GoldenSet | None:
    try:
        return load_golden(folder)
    except InputError:
        for line, fault in item_faults(folder):
            faults.add(folder / ITEMS, line, fault)
        if not faults:
            raise
        return None


def _systems(outputs: Table, path: Path, faults: Faults) -> dict[tuple[str, str], str | None]:
    """(system, version) → family. A family that contradicts the one before is a bad line."""
    found: dict[tuple[str, str], str | None] = {}
    columns = outputs.columns
    if not columns:
        return found
    said = list(zip(columns["system"], columns["system_version"], columns["family"], strict=True))
    for system, version, family in dict.fromkeys(said):
        found.setdefault((system, version or ""), family)
    if len(found) < len(set(said)):
        for line, (system, version, family) in zip(outputs.lines, said, strict=True):
            before = found[system, version or ""]
            if family != before:
                fault = f"field `family`: {family!r}, before {before!r}, for the same system"
                faults.add(path, line, InputError(fault, where=place(path, line), hint="a system of one version has one family"))
    return found


def _identify(run: str, tables: dict[str, Table]) -> None:
    """Give verdicts and labels their ids: rows of one id are the same fact."""
    verdicts, labels = tables[JUDGMENTS].columns, tables[LABELS].columns
    if verdicts:
        key = ("item_id", "judge", "judge_version", "prompt", "systems", "trial", "aspect", "repeat")
        verdicts["verdict_id"] = content_hashes(("import", run), [verdicts[name] for name in key])
    if labels:
        unit = [labels[name] for name in ("item_id", "annotator", "systems", "aspect")]
        unit += [labels["trial"]] if any(trial is not None for trial in labels["trial"]) else []
        labels["label_id"] = content_hashes(("import", run), unit)


# ---- what is found ---------------------------------------------------------------------------------------------------


def _refusing(tables: dict[str, Table], items: Iterable[str] | None) -> list[Finding]:
    """What a store cannot hold faithfully. `items` is None where there is no good items.jsonl to compare with."""
    found = [
        *outputs_twice(tables[OUTPUTS], OUTPUTS),
        *verdicts_twice(tables[JUDGMENTS], tables[JUDGMENTS].columns.get("verdict_id", []), JUDGMENTS),
        *labels_twice(tables[LABELS], tables[LABELS].columns.get("label_id", []), LABELS),
    ]
    if items is not None:
        for name, noun in NOUNS.items():
            found += unknown_items(tables[name], items, name, noun, ITEMS)
    return found


def _refusal(folder: Path, findings: Sequence[Finding]) -> InputError:
    first = findings[0]
    what = f"{first.sentence.rstrip('.')} ({_examples(first)})"
    more = [_line(folder, finding) for finding in findings[1:]]
    error = InputError(what, where=place(folder / first.file, first.examples[0].line), hint=SET_ASIDE)
    return BadLines(error, [*more, "nothing is stored"])


def _line(folder: Path, finding: Finding) -> str:
    return f"{place(folder / finding.file, finding.examples[0].line)}: {finding.sentence} ({_examples(finding)})"


def _examples(finding: Finding) -> str:
    more = ", …" if finding.count > len(finding.examples) else ""
    return "; ".join(map(_example, finding.examples)) + more


def _example(example: Example) -> str:
    return f"line {example.line}{'' if example.before is None else f' as {example.before}'}: {' '.join(example.what.split())}"


def _noticed(recorded: Recorded) -> list[Finding]:
    outputs, verdicts, labels = recorded.outputs, recorded.judgments, recorded.labels
    columns = verdicts.columns
    judge_and_aspect = list(zip(columns["judge"], columns["aspect"], strict=True)) if columns else []
    return [
        *_unmatched(recorded),
        *one_text(outputs, OUTPUTS),
        *twin_systems(outputs, OUTPUTS),
        *one_order(verdicts, JUDGMENTS),
        *all_unscored(verdicts, recorded.verdicts, recorded.unscored, JUDGMENTS),
        *off_scale(verdicts, judge_and_aspect, columns.get("raw_score", []), JUDGMENTS, "score"),
        *off_scale(labels, labels.columns.get("aspect", []), labels.columns.get("score", []), LABELS, "score"),
    ]


def _unmatched(recorded: Recorded) -> list[Finding]:
    """Verdicts and labels on outputs that outputs.jsonl does not have: stored, without the hash of what was judged."""
    found = []
    places_of = {JUDGMENTS: recorded.unmatched_verdicts, LABELS: recorded.unmatched_labels}
    for file, table in ((JUDGMENTS, recorded.judgments), (LABELS, recorded.labels)):
        places = places_of[file]
        if places:
            ids, systems = table.columns["item_id"], table.columns["systems"]
            items = {ids[n] for n in places}
            examples = [Example(table.lines[n], None, f"`{ids[n]}`, {', '.join(systems[n])}") for n in places[:EXAMPLES]]
            sentence = f"{len(places):,} {NOUNS[file]} on {counted(len(items), 'item')} are about outputs that {OUTPUTS} does not have"
            found.append(Finding("unmatched", file, len(places), len(items), examples, sentence))
    return found


def _document(run: str, recorded: Recorded) -> dict[str, Any]:
    return {
        "run": run,
        "items": len(recorded.items),
        "outputs": len(recorded.outputs.lines),
        "verdicts": len(recorded.judgments.lines),
        "unscored": sum(recorded.unscored.values()),
        "labels": len(recorded.labels.lines),
        "unmatched": len(recorded.unmatched_verdicts) + len(recorded.unmatched_labels),
        "judges": [_judge_document(judge, recorded.verdicts, recorded.unscored) for judge in sorted(recorded.verdicts)],
        "findings": [finding.document for finding in recorded.findings],
        "set_aside": recorded.set_aside,
    }


def _judge_document(judge: Judge, verdicts: Counter[Judge], unscored: Counter[Judge]) -> dict[str, Any]:
    name, version, prompt = judge
    return {"judge": name, "judge_version": version, "prompt": prompt, "n_verdicts": verdicts[judge], "n_unscored": unscored[judge]}

"""Recorded data on its way into the store: what its files say together, and the columns of each table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from evalh import __version__
from evalh.fingerprints import content_hash
from evalh.interchange.batches import Table
from evalh.interchange.findings import Finding
from evalh.interchange.noticing import Judge
from evalh.store.inserts import Columns, columns, of_rows
from evalh.store.rows import prepared
from evalh.suites.golden import GoldenSet

Row = dict[str, Any]
PIECE = 50_000  # rows of one statement
READY = {"outputs": ("tool_calls", "meta"), "verdicts": ("meta", "systems", "output_hashes"), "labels": ("meta", "systems")}


class Recorded:
    """What the files of a folder hold, and what follows from all of their rows together."""

    def __init__(
        self,
        golden: GoldenSet | None,
        files: dict[str, str],
        items: dict[str, str],
        outputs: Table,
        judgments: Table,
        labels: Table,
        systems: Mapping[tuple[str, str], str | None],
        findings: Sequence[Finding],
    ) -> None:
        self.golden, self.files, self.items = golden, files, items  # name → hash; item_id → item_hash
        self.outputs, self.judgments, self.labels = outputs, judgments, labels
        self.findings = list(findings)
        refused = {name: {n for f in findings if f.file.startswith(name) for n in f.lines} for name in ("outputs", "judgments", "labels")}
        self.set_aside = {"outputs": len(refused["outputs"]), "verdicts": len(refused["judgments"]), "labels": len(refused["labels"])}
        self._has_outputs = any(name.startswith("outputs") for name in files)
        self._hashes = _by_key(outputs)
        self.verdict_hashes, self.unmatched_verdicts = self._outputs_of(judgments)
        self.label_hashes, self.unmatched_labels = self._outputs_of(labels)
        self.systems = self._all_systems(systems)
        self._judges(judgments)

    @property
    def rows(self) -> int:
        return len(self.items) + len(self.outputs.lines) + len(self.judgments.lines) + len(self.labels.lines)

    def _outputs_of(self, table: Table) -> tuple[list[list[str | None]], list[int]]:
        """The hashes of the outputs that each row is about, and the places of rows about outputs that are not there."""
        if not table.columns:
            return [], []
        get, given = self._hashes.get, table.columns
        trials = [trial or 0 for trial in given["trial"]]
        found = [[get((i, s, t)) for s in some] for i, some, t in zip(given["item_id"], given["systems"], trials, strict=True)]
        return found, [n for n, hashes in enumerate(found) if None in hashes] if self._has_outputs else []

    def _all_systems(self, with_outputs: Mapping[tuple[str, str], str | None]) -> dict[tuple[str, str], str | None]:
        """Systems of outputs with version and family, then those that only verdicts or labels name."""
        kept = dict.fromkeys(zip(self.outputs.columns.get("system", ()), self.outputs.columns.get("system_version", ()), strict=True))
        found = {(system, version or ""): with_outputs[system, version or ""] for system, version in kept}
        named = {system for system, _ in found}
        for table in (self.judgments, self.labels):
            for systems in dict.fromkeys(table.columns.get("systems", ())):
                for name in systems:
                    if name not in named:
                        named.add(name)
                        found[name, ""] = None
        return found

    def _judges(self, table: Table) -> None:
        given = table.columns
        names = ("judge", "judge_version", "prompt")
        judges: list[Judge] = list(zip(*(given.get(name, ()) for name in names), strict=True))
        self.verdicts: Counter[Judge] = Counter(judges)
        self.unscored = Counter(judge for judge, status in zip(judges, given.get("status", ()), strict=True) if status != "scored")
        self.families: dict[Judge, str | None] = {}
        if any(given.get("family", ())):
            for judge, family in zip(judges, given["family"], strict=True):
                self.families.setdefault(judge, family)
        self.simulated = _where(judges, given.get("simulated", ()))
        self.same_family = _where(judges, given.get("same_family", ()))
        units = list(zip(given.get("judge", ()), given.get("aspect", ()), strict=True))
        self.scaled = _where(units, [score is not None for score in given.get("unit_score", ())])
        self.ranges: dict[tuple[str, str], tuple[float, float]] = {}  # pointwise: (judge, aspect) → low, high
        for unit, score in zip(units, given.get("raw_score", ()), strict=True):
            if score is not None:
                low, high = self.ranges.get(unit, (score, score))
                self.ranges[unit] = (min(low, score), max(high, score))


def _where(names: Sequence[Any], said: Sequence[bool]) -> set[Any]:
    return {name for name, one in zip(names, said, strict=True) if one} if any(said) else set()


def _by_key(outputs: Table) -> dict[tuple[str, str, int], str]:
    given = outputs.columns
    if not given:
        return {}
    return dict(zip(zip(given["item_id"], given["system"], given["trial"], strict=True), given["output_hash"], strict=True))


# ---- tables of the store ---------------------------------------------------------------------------------------------


def rows_to_store(run: str, folder: Path, recorded: Recorded) -> Iterator[Columns]:
    """All rows of the run, table by table."""
    now = datetime.now(UTC)
    name = recorded.golden.name if recorded.golden else folder.resolve().name
    systems = (
        {"run_id": run, "system": system, "system_version": version, "family": family, "kind": "import", "role": "system"}
        for (system, version), family in recorded.systems.items()
    )
    yield from _rows("runs", [_run_row(run, name, recorded, now)])
    if recorded.golden:
        for table, some in golden_rows(recorded.golden, now).items():
            yield from _rows(table, some)
    yield from _rows("systems", systems)
    yield from _pieces("outputs", _output_columns(recorded), {"run_id": run})
    yield from _rows("judges", [_judge_row(run, judge, recorded) for judge in recorded.verdicts])
    yield from _pieces("verdicts", _verdict_columns(recorded), {"run_id": run, "attempts": 1, "cached": False})
    yield from _pieces("labels", _label_columns(recorded), {"run_id": run, "imported_at": now})
    yield from _rows("run_events", [{"run_id": run, "event": "finished", "at": now, "detail": ""}])


def _rows(table: str, rows: Iterable[Row]) -> Iterator[Columns]:
    return of_rows(table, map(partial(prepared, table), rows))


def _pieces(table: str, given: Mapping[str, Sequence[Any]], same: Row) -> Iterator[Columns]:
    """Columns in pieces; what is the same in all rows of a piece travels once. Those that are `READY` need no other look."""
    ready, key = READY[table], {"outputs": "item_id", "verdicts": "verdict_id", "labels": "label_id"}[table]
    size = len(given.get(key, ()))
    for start in range(0, size, PIECE):
        some = {name: column[start : start + PIECE] for name, column in given.items()}
        n = len(some[key])
        equal = {name: column[0] for name, column in some.items() if name != key and name not in ready and column.count(column[0]) == n}
        made = columns(table, n, {k: v for k, v in some.items() if k not in equal and k not in ready}, {**same, **equal})
        as_is = {name: some[name] for name in ready if some[name].count(None) < n}
        yield made._replace(values={**made.values, **as_is})


def _run_row(run: str, name: str, recorded: Recorded, now: datetime) -> Row:
    golden = recorded.golden
    scales = [{"judge": judge, "aspect": aspect, "low": low, "high": high} for (judge, aspect), (low, high) in recorded.ranges.items()]
    settings: Row = {"files": recorded.files, "items": "all", "rubric": None, "seen_ranges": scales}
    key: list[Any] = ["import", recorded.files]
    if any(recorded.set_aside.values()):
        refused = [finding.document for finding in recorded.findings if finding.refuses]
        settings["set_aside"] = {**recorded.set_aside, "findings": refused}
        key.append("set aside")
    return {
        "run_id": run,
        "suite": name,
        "run_key": content_hash(*key),
        "golden": golden.name if golden else None,
        "golden_version": golden.version if golden else None,
        "golden_hash": golden.golden_hash if golden else None,
        "kind": "import",
        "simulated": bool(recorded.simulated),
        "allow_same_family": bool(recorded.same_family),
        "evalh_version": __version__,
        "settings": settings,
        "started_at": now,
    }


def golden_rows(golden: GoldenSet, now: datetime) -> dict[str, Iterable[Row]]:
    """The rows of `golden_sets` and `items` for one version of a golden set."""
    named = {"golden": golden.name, "golden_version": golden.version, "golden_hash": golden.golden_hash}
    about = {"canary": golden.canary, "licence": golden.licence, "slices": golden.slices, "locked": golden.locked, "first_seen": now}
    items = ({**named, "item_hash": item.item_hash, **item.model_dump(mode="json")} for item in golden.items)
    return {"golden_sets": [{**named, **about}], "items": items}


def _judge_row(run: str, judge: Judge, recorded: Recorded) -> Row:
    name, version, prompt = judge
    named = {"run_id": run, "judge": name, "judge_version": version, "prompt": prompt, "model": name}
    facts = {"family": recorded.families.get(judge), "same_family": judge in recorded.same_family, "simulated": judge in recorded.simulated}
    return named | facts


def _output_columns(recorded: Recorded) -> Mapping[str, list[Any]]:
    given = recorded.outputs.columns
    return {**given, "item_hash": [recorded.items.get(item) for item in given["item_id"]]} if given else {}


def _verdict_columns(recorded: Recorded) -> Mapping[str, list[Any]]:
    given = recorded.judgments.columns
    if not given:
        return {}
    kept = {name: column for name, column in given.items() if name not in ("preference", "unit_score")}
    hashes: dict[str, list[Any]] = {
        "item_hash": [recorded.items.get(item) for item in given["item_id"]],
        "output_hashes": recorded.verdict_hashes,
    }
    return {**kept, **hashes, "score": _unit_scores(recorded)}


def _unit_scores(recorded: Recorded) -> list[float | None]:
    """Pairwise: the preference. A pointwise score is one on [0, 1] only where all of its judge and aspect are; no scale is guessed."""
    given = recorded.judgments.columns
    if not recorded.ranges and not recorded.scaled:
        return given["preference"]
    as_is = {unit for unit, (low, high) in recorded.ranges.items() if unit in recorded.scaled or (low >= 0 and high <= 1)}
    names = ("preference", "unit_score", "raw_score", "judge", "aspect", "kind")
    found = []
    for preference, unit_score, raw, judge, aspect, kind in zip(*(given[name] for name in names), strict=True):
        if kind == "pairwise":
            found.append(preference)
        else:
            found.append(unit_score if raw is None or unit_score is not None or (judge, aspect) not in as_is else raw)
    return found


def _label_columns(recorded: Recorded) -> Mapping[str, list[Any]]:
    given = recorded.labels.columns
    if not given:
        return {}
    kept = {name: column for name, column in given.items() if name != "trial"}
    return {**kept, "output_hash": [hashes[0] if len(hashes) == 1 else None for hashes in recorded.label_hashes]}

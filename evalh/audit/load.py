"""From the store to arrays: the verdicts and labels of the runs that are audited, every text a small code.

Nothing is judged here. Codes of systems, aspects, slices and annotators are places in sorted lists of names; -1 is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.errors import UsageError
from evalh.judging.names import JudgeName, judge_title, parse_judge_name
from evalh.store.judged import (
    families_of_systems,
    item_columns,
    judges_of_runs,
    label_columns,
    length_columns,
    names_of_runs,
    runs_with_verdicts,
    sampled_columns,
    unscored_reasons,
    verdict_columns,
)
from evalh.store.runs import find_run, list_runs
from evalh.store.store import Store

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
NONE = -1


class JudgeFact(NamedTuple):
    """A judge: a change of name, version or prompt is another judge."""

    judge: str
    version: str | None
    prompt: str | None
    family: str | None
    kind: str
    simulated: bool
    same_family: bool
    reasons: dict[str, int]  # why verdicts are unscored → how many

    @property
    def title(self) -> str:
        return judge_title(self.judge, self.version, self.prompt)


class Verdicts(NamedTuple):
    """All verdicts, one place in each array per verdict; `first` and `second` are systems in the order shown."""

    judge: IntArray
    item: IntArray
    pairwise: BoolArray
    first: IntArray
    second: IntArray
    aspect: IntArray
    trial: IntArray
    repeat: IntArray
    scored: BoolArray
    order_known: BoolArray
    winner: IntArray  # 0 the first shown, 1 tie, 2 the second, -1 unscored
    label: IntArray
    value: FloatArray
    score: FloatArray  # in [0, 1]; pairwise: preference for the second shown; NaN where unscored or on no known scale
    confidence: FloatArray  # of the judge in its answer, NaN where it says none
    length_first: FloatArray  # characters, NaN where there is no text
    length_second: FloatArray


class Labels(NamedTuple):
    """All labels, oldest first; `trial` -1: of any trial; `first` -1: of any output of the item."""

    item: IntArray
    annotator: IntArray
    pairwise: BoolArray
    first: IntArray
    second: IntArray
    aspect: IntArray
    trial: IntArray
    winner: IntArray
    label: IntArray
    value: FloatArray


class Material(NamedTuple):
    """What an audit is made from. `cluster` and `slice_of` are by item."""

    runs: list[str]
    seed: int
    judges: list[JudgeFact]
    chosen: list[int]  # places in `judges` that the audit is about; the others serve as controls
    verdicts: Verdicts
    labels: Labels
    cluster: IntArray
    slice_of: IntArray
    systems: list[str]
    aspects: list[str]
    slices: list[str]
    classes: list[str]  # names of label codes
    annotators: list[str]
    families: dict[str, set[str]]  # system → families that runs name
    scales: dict[str, tuple[float, float]]  # aspect → ends of its rubric's scale
    pass_marks: dict[str, float]  # aspect → lowest level that passes


def runs_to_audit(store: Store, names: Sequence[str]) -> list[dict[str, Any]]:
    """The runs of these names or tags, else the newest that holds verdicts. Raises UsageError where there is none."""
    if not names:
        newest = runs_with_verdicts(store)[:1]
        if not newest:
            probes = [run["run_id"] for run in list_runs(store) if run["kind"] == "probe"]
            hint = f"a probe is shown by its name: --run {probes[0]}" if probes else "`evalh run` asks judges, `evalh import` reads them"
            raise UsageError("no run holds verdicts or labels", where=str(store.path), hint=hint)
        names = newest
    return list({run["run_id"]: run for run in (find_run(store, name) for name in names)}.values())


def chosen_judges(store: Store, known: Sequence[dict[str, Any]], wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The judges that `[JUDGE][@VERSION][#PROMPT]` name; all where none is named. Raises UsageError with near matches, or the run meant."""
    if not wanted:
        return list(known)
    found: dict[int, dict[str, Any]] = {}
    for text in wanted:
        whole = judge_title(text, None, None)
        name = parse_judge_name(text)
        hits = [row for row in known if row["judge"] == whole or _matches(name, row)]
        if not hits:
            if _is_run(store, text):
                raise UsageError(f"no judge `{text}` in these runs", hint=f"`{text}` is a run: --run {text}")
            titles = [judge_title(row["judge"], row["version"], row["prompt"]) for row in known]
            near = get_close_matches(text, titles, n=3, cutoff=0.3) or titles[:5]
            raise UsageError(f"no judge `{text}` in these runs", hint=f"near: {', '.join(near)}" if near else "these runs hold no verdicts")
        found |= {row["code"]: row for row in hits}
    return [row for row in known if row["code"] in found]


def _matches(name: JudgeName, row: dict[str, Any]) -> bool:
    """A part that is left out matches all, the judge's own name too; an empty text names nobody."""
    if not name.judge and (name.version or name.prompt):
        name = name._replace(judge=row["judge"])
    return name.matches(row["judge"], row["version"], row["prompt"])


def _is_run(store: Store, name: str) -> bool:
    try:
        find_run(store, name)
    except UsageError:
        return False
    return bool(name)


def load(store: Store, runs: Sequence[Mapping[str, Any]], judges: Sequence[str] = (), *, lengths: bool = True) -> Material:
    """Everything that the audit of these runs (rows of `runs_to_audit`) needs. Raises UsageError where no judge matches.

    Without `lengths` no output is read: there is nothing to say of verbosity then.
    """
    ids = [run["run_id"] for run in runs]
    with store.reading():
        known = judges_of_runs(store, ids)
        asked_for = {row["code"] for row in chosen_judges(store, known, judges)}
        names = names_of_runs(store, ids)
        said = verdict_columns(store, ids)
        texts = length_columns(store, ids) if lengths else None
        labels, items, samples = label_columns(store, ids), item_columns(store, ids), sampled_columns(store, ids)
        reasons, families = unscored_reasons(store, ids), families_of_systems(store, ids)
    coded = _Codes(names, items["item"])
    judge = _place(said["judge"], np.array([row["code"] for row in known], dtype=np.uint64))
    verdicts = _verdicts(coded, said, judge, _lengths(said, texts), _share(samples, len(judge)))
    scales, marks = _scales(runs)
    return Material(
        runs=ids,
        seed=next((run["seed"] for run in runs if run["seed"] is not None), 0),
        judges=[_fact(row, reasons) for row in known],
        chosen=[place for place, row in enumerate(known) if row["code"] in asked_for],
        verdicts=verdicts,
        labels=_labels(coded, labels),
        cluster=np.unique(items["cluster"][coded.item_order], return_inverse=True)[1].astype(np.int64),
        slice_of=coded.of("slice", items["slice"][coded.item_order]),
        systems=coded.names["system"],
        aspects=coded.names["aspect"],
        slices=coded.names["slice"],
        classes=coded.names["label"],
        annotators=coded.names["annotator"],
        families=families,
        scales=scales,
        pass_marks=marks,
    )


def _fact(row: dict[str, Any], reasons: Sequence[dict[str, Any]]) -> JudgeFact:
    why = {r["reason"]: r["n"] for r in reasons if r["judge"] == row["code"]}
    return JudgeFact(
        row["judge"], row["version"] or None, row["prompt"] or None, row["family"], row["kind"], row["simulated"], row["same_family"], why
    )


def _scales(runs: Sequence[Mapping[str, Any]]) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """The ends of the scales and the marks that pass, by aspect, from the rubrics of the runs where they agree."""
    scales: dict[str, tuple[float, float]] = {}
    marks: dict[str, float] = {}
    clash: set[str] = set()
    for run in runs:
        rubric = ((run.get("settings") or {}).get("panel") or {}).get("rubric") or (run.get("settings") or {}).get("rubric")
        for criterion in rubric.get("criteria") or [] if isinstance(rubric, dict) else []:
            levels = [float(level) for level in criterion["scale"]]
            name, ends = criterion["name"], (min(levels), max(levels))
            clash |= {name} if scales.setdefault(name, ends) != ends else set()
            if criterion.get("pass_at") is not None:
                marks[name] = float(criterion["pass_at"])
    return {n: e for n, e in scales.items() if n not in clash}, {n: m for n, m in marks.items() if n not in clash}


class _Codes:
    """Hashes to places in sorted lists of names, and items to places in the list of items."""

    def __init__(self, names: dict[str, dict[int, str]], items: npt.NDArray[np.uint64]) -> None:
        self.names = {what: sorted(found.values()) for what, found in names.items()}
        self._hashes = {what: np.array(sorted(found, key=found.__getitem__), dtype=np.uint64) for what, found in names.items()}
        self.item_order = np.argsort(items)
        self._items = items[self.item_order]

    def of(self, what: str, hashes: Any) -> IntArray:
        known = self._hashes[what]
        if not known.size:
            return np.full(len(hashes), NONE, dtype=np.int64)
        order = np.argsort(known)
        at = np.minimum(np.searchsorted(known[order], hashes), len(known) - 1)
        return np.where(known[order][at] == hashes, order[at], NONE).astype(np.int64)

    def item(self, hashes: Any) -> IntArray:
        return np.asarray(np.searchsorted(self._items, hashes), dtype=np.int64)


def _place(hashes: Any, known: npt.NDArray[np.uint64]) -> IntArray:
    """The place of each row's judge among all that there are."""
    order = np.argsort(known)
    return np.asarray(order[np.searchsorted(known[order], hashes)] if known.size else [], dtype=np.int64)


def _verdicts(coded: _Codes, said: dict[str, Any], judge: IntArray, lengths: tuple[FloatArray, FloatArray], share: FloatArray) -> Verdicts:
    score = _floats(said["score"])
    confidence = np.where(said["pairwise"], _certainty(score, judge, said["pairwise"]), share)
    return Verdicts(
        judge=judge,
        item=coded.item(said["item"]),
        pairwise=said["pairwise"].astype(bool),
        first=coded.of("system", said["first"]),
        second=coded.of("system", said["second"]),
        aspect=coded.of("aspect", said["aspect"]),
        trial=said["trial"].astype(np.int64),
        repeat=said["repeat"].astype(np.int64),
        scored=said["scored"].astype(bool),
        order_known=said["order_known"].astype(bool),
        winner=said["winner"].astype(np.int64),
        label=coded.of("label", said["label"]),
        value=_floats(said["value"]),
        score=score,
        confidence=confidence,
        length_first=lengths[0],
        length_second=lengths[1],
    )


def _certainty(preference: FloatArray, judge: IntArray, pairwise: BoolArray) -> FloatArray:
    """How sure a pairwise judge is: its preference for the side it prefers, where it says more than 0, 1/2 and 1."""
    certain = np.full(len(preference), np.nan)
    for code in np.unique(judge[pairwise]):
        rows = pairwise & (judge == code)
        if not np.isin(preference[rows & ~np.isnan(preference)], (0.0, 0.5, 1.0)).all():
            certain[rows] = np.maximum(preference[rows], 1 - preference[rows])
    return certain


def _share(samples: dict[str, Any], n: int) -> FloatArray:
    share = np.full(n, np.nan)
    if len(samples["place"]):
        share[samples["place"].astype(np.int64)] = samples["share"]
    return share


def _labels(coded: _Codes, rows: dict[str, Any]) -> Labels:
    return Labels(
        item=coded.item(rows["item"]),
        annotator=coded.of("annotator", rows["annotator"]),
        pairwise=rows["pairwise"].astype(bool),
        first=coded.of("system", rows["first"]),
        second=coded.of("system", rows["second"]),
        aspect=coded.of("aspect", rows["aspect"]),
        trial=rows["trial"].astype(np.int64),
        winner=rows["winner"].astype(np.int64),
        label=coded.of("label", rows["label"]),
        value=_floats(rows["value"]),
    )


def _floats(column: Any) -> FloatArray:
    return np.ma.filled(column.astype(np.float64), np.nan)


def _lengths(said: dict[str, Any], outputs: dict[str, Any] | None) -> tuple[FloatArray, FloatArray]:
    """Characters of the first and second output of each verdict, by hashes of item, system and trial."""
    if outputs is None or not len(outputs["item"]):
        nothing = np.full(len(said["item"]), np.nan)
        return nothing, nothing
    keys = _mixed(outputs["item"], outputs["system"], outputs["trial"])
    order = np.argsort(keys)
    keys, characters = keys[order], outputs["characters"][order].astype(np.float64)

    def look(system: Any) -> FloatArray:
        wanted = _mixed(said["item"], system, said["trial"])
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[at] == wanted, characters[at], np.nan)

    return look(said["first"]), look(said["second"])


def _mixed(item: Any, system: Any, trial: Any) -> npt.NDArray[np.uint64]:
    """One hash of three: multiplied by odd numbers and added, wrapping at 64 bits."""
    a, b = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
    return np.asarray(item * a ^ (system * b + trial.astype(np.uint64)))

"""Everything that one page about a run is made from, read from the store: the document, and the facts beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from evalh.compare import compare
from evalh.judging.families import Families
from evalh.report.disputes import Dispute, disputes
from evalh.stats.position import Unscored
from evalh.stats.scores import ItemScore, fold, mean_of
from evalh.store.judged import judges_of_runs
from evalh.store.queries import golden_of_run, label_progress, of_run
from evalh.store.runs import find_run, item_page, labels_of, latest_decision, newer_golden, scores_of, worst_items
from evalh.store.store import Store
from evalh.summary import run_document

Row = Mapping[str, Any]

REGRESSIONS = 5  # shown side by side
APART = 8  # items named where judges disagree


class Changes(NamedTuple):
    """A run against its baseline: the document of `evalh compare`, what else differs, the worst regressions as (before, after)."""

    comparison: Row
    differences: Sequence[str]
    pairs: Sequence[tuple[Row, Row]]


class Apart(NamedTuple):
    """Where a panel is not of one mind. `outputs` were read by two judges or more; `spread` of them scored differently by two."""

    outputs: int
    spread: int
    inconsistent: int  # pairs on which a judge's two orders name different winners
    items: Sequence[Row]  # rows of `item_page`, furthest apart first


@dataclass(frozen=True)
class Background:
    """What a page says beside the document of a run. Every part may be missing: a document alone makes a page."""

    run: Row = field(default_factory=dict)  # row of `runs`, with its settings
    golden: Row | None = None
    newer_golden: Row | None = None  # another version of the golden set has been used since
    judges: Sequence[Row] = ()  # rows of `judges`
    checks: Sequence[Row] = ()  # per check and system: counts, and the share that holds as an estimate
    apart: Apart | None = None
    tasks: Sequence[Row] = ()  # rows of `label_tasks`
    progress: Sequence[Row] = ()  # rows of `label_progress`
    labels: Sequence[Row] = ()  # rows of `labels_of`, those that came with recorded data too
    changes: Changes | None = None
    audit: Row | None = None  # the document of `evalh audit` of this run
    disputes: Sequence[Dispute] = ()  # units on which judges and people are furthest apart


class Gathered(NamedTuple):
    """The arguments of `render_run`."""

    document: dict[str, Any]
    items: list[dict[str, Any]]
    gate: dict[str, Any] | None
    background: Background


def gather(store: Store, run: Row, *, items: int, unscored: Unscored = "exclude", families: Families | None = None) -> Gathered:
    """Read what a page about a run shows. `run` is a row of `find_run`; `items` is how many of the worst are shown whole."""
    run_id, gate = run["run_id"], latest_decision(store, run["run_id"])
    audited = _audit(store, run_id, unscored, families)
    background = Background(
        run=run,
        golden=golden_of_run(store, run_id),
        newer_golden=newer_golden(store, run_id),
        judges=of_run(store, "judges", run_id),
        checks=_checks(store, run),
        apart=_apart(store, run_id),
        tasks=of_run(store, "label_tasks", run_id),
        progress=label_progress(store, run_id),
        labels=labels_of(store, run_id),
        changes=_changes(store, run, gate["baseline"]) if gate and gate.get("baseline") else None,
        audit=audited,
        disputes=disputes(store, run_id) if audited else (),
    )
    worst = item_page(store, run_id, worst_items(store, run_id, items))
    return Gathered(run_document(store, run, unscored=unscored), worst, gate, background)


def _audit(store: Store, run_id: str, unscored: Unscored, families: Families | None) -> Row | None:
    """The audit of the run's judges, made anew; None where it holds no verdict."""
    from evalh.audit.document import audit  # its statistics load slowly, and a run of checks alone needs none of them

    return audit(store, runs=[run_id], unscored=unscored, families=families) if judges_of_runs(store, [run_id]) else None


def _checks(store: Store, run: Row) -> list[dict[str, Any]]:
    """Per check and system: counts, and the share of outputs for which it holds, clustered as the run's score is."""
    groups = {s.item_id: (s.slice, s.group) for s in scores_of(store, run["run_id"])}
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in of_run(store, "check_results", run["run_id"]):
        rows.setdefault((row["check"], row["system"]), []).append(row)
    return [_check(check, system, some, groups, run["seed"] or 0) for (check, system), some in rows.items()]


def _check(check: str, system: str, rows: Sequence[Row], groups: Mapping[str, tuple[str, str | None]], seed: int) -> dict[str, Any]:
    worth = {"pass": 1.0, "fail": 0.0}
    scores = [ItemScore(r["item_id"], *groups.get(r["item_id"], ("all", None)), worth.get(r["status"]), "checked") for r in rows]
    states = [r["status"] for r in rows]
    return {
        "check": check,
        "system": system,
        "blocking": any(r["blocking"] for r in rows),
        "passed": states.count("pass"),
        "failed": states.count("fail"),
        "errors": states.count("error"),
        "estimate": mean_of(list(fold(scores).values()), seed=seed).estimate.model_dump(),
    }


def _apart(store: Store, run_id: str) -> Apart | None:
    """None where no output was read by two judges and no pair was shown in two orders."""
    rows = of_run(store, "scores", run_id)
    panel = [row for row in rows if row["disagreement"] is not None]
    differing = [row for row in rows if row["inconsistent"] or (row["disagreement"] or 0) > 0]
    if not panel and not differing:
        return None
    differing.sort(key=lambda row: (-(row["disagreement"] or 0), -(row["inconsistent"] or 0), row["item_id"]))
    named = list(dict.fromkeys(row["item_id"] for row in differing))[:APART]
    return Apart(
        outputs=len(panel),
        spread=sum(row["disagreement"] > 0 for row in panel),
        inconsistent=sum(bool(row["inconsistent"]) for row in rows),
        items=[row for row in item_page(store, run_id, named) if row["inconsistent"] or (row["disagreement"] or 0) > 0],
    )


def _changes(store: Store, run: Row, baseline: str) -> Changes:
    """The run against the run that the gate compared it with."""
    from evalh.release import differences  # it reads the suite model, which a page without a baseline does not need

    other = find_run(store, baseline)
    before, after = other["run_id"], run["run_id"]
    made = compare(scores_of(store, before), scores_of(store, after), name_a=before, name_b=after, seed=run["seed"] or 0)
    worst = made.regressed_items[:REGRESSIONS]
    earlier = {(row["item_id"], row["trial"]): row for row in item_page(store, before, worst)}
    pairs = [(earlier[key], row) for row in item_page(store, after, worst) if (key := (row["item_id"], row["trial"])) in earlier]
    return Changes(made.model_dump(mode="json"), differences(store, run, other), pairs)

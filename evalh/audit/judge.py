"""One judge's part of the document: who it is, what it said, how it stands to people and to itself, and what to do about it."""

from __future__ import annotations

from typing import Any

import numpy as np

from evalh.audit import agreeing, biases
from evalh.audit.findings import findings
from evalh.audit.kin import Kinship, Wins, preferences
from evalh.audit.slices import by_aspect, by_slice
from evalh.audit.view import Bench, View, counts
from evalh.stats.intervals import rate


def judge_document(bench: Bench, place: int, view: View, wins: Wins, kin: Kinship) -> dict[str, Any]:
    """Everything that the audit says of the judge at `place`."""
    fact = view.fact
    document: dict[str, Any] = {
        "judge": fact.judge,
        "judge_version": fact.version,
        "prompt": fact.prompt,
        "family": kin.judges[place] or fact.family,
        "title": fact.title,
        "simulated": fact.simulated,
        "same_family": fact.same_family,
        "kind": fact.kind,
        **counts(view),
        **_unscored(bench, view),
        **agreeing.agreement(bench, view),
        "both_orders": agreeing.both_orders(bench, view),
        "human_agreement": agreeing.ceiling(bench, view),
        **agreeing.detected(bench, view),
        **biases.position_of(bench, view),
        **biases.verbosity_of(bench, view),
        **preferences(bench, place, view, wins, kin),
        **biases.repeats_of(bench, view),
        "score_use": biases.plain(biases.score_use_of(bench, view)),
        **biases.calibration_of(bench, view),
        "scores": agreeing.scores(bench, view),
        "slices": by_slice(bench, view),
        "aspects": by_aspect(bench, view),
    }
    _excess(document)
    document["note"] = _too_small(view)
    document["findings"] = findings(document)
    return document


def _unscored(bench: Bench, view: View) -> dict[str, Any]:
    """How often it could not be read, why, and of which systems: a judge that fails on one system's outputs is biased too."""
    said, systems = bench.material.verdicts, bench.material.systems
    total, lost = np.zeros(len(systems), dtype=np.int64), np.zeros(len(systems), dtype=np.int64)
    for side in (said.first, said.second):
        shown = side[view.rows]
        total += np.bincount(shown[shown >= 0], minlength=len(systems))
        lost += np.bincount(shown[(shown >= 0) & ~view.scored], minlength=len(systems))
    by_system = [
        {"system": name, "n": int(n), "n_unscored": int(k)} for name, n, k in zip(systems, total, lost, strict=True) if n and lost.any()
    ]
    missing = int((~view.scored).sum())
    return {
        "unscored_rate": rate(missing, len(view.rows), bench.level).model_dump(),
        "unscored_reasons": view.fact.reasons,
        "unscored_by_system": by_system,
    }


def _excess(document: dict[str, Any]) -> None:
    """Inconsistency beyond what asking the same order again shows (METHODS §1.1): noise is not position bias."""
    position, repeated = document["position"], document["repeat_agreement"]
    if position is None:
        return
    same, again = position["consistency"], (repeated or {}).get("value")
    position["excess_inconsistency"] = None if same is None or again is None else again - same


def _too_small(view: View) -> str | None:
    labelled = view.truth[view.truth >= 0]
    items = len(np.unique(view.cluster[view.truth >= 0]))
    if not labelled.size or view.apart:
        return None
    if items < agreeing.MIN_ITEMS:
        return f"indicative: {items} labelled item{'s' if items > 1 else ''} of {agreeing.MIN_ITEMS}"
    classes = np.bincount(labelled, minlength=len(view.classes))
    rare = [name for name, n in zip(view.classes, classes, strict=True) if 0 < n < agreeing.MIN_CLASS]
    return f"indicative: fewer than {agreeing.MIN_CLASS} labels of {', '.join(rare)}" if rare else None

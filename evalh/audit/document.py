"""The document of `evalh audit --json`: loads the runs, asks every part for its figures, and says by which rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalh.audit.annotators import annotators_document, labels_document
from evalh.audit.between import Panel, pairs, panel_document, system_errors
from evalh.audit.judge import judge_document
from evalh.audit.kin import kinship, wins_by_unit
from evalh.audit.load import load, runs_to_audit
from evalh.audit.units import meet
from evalh.audit.view import Bench, view_of
from evalh.judging.families import Families
from evalh.stats.position import Unscored
from evalh.store.store import Store

RULES = {
    "exclude": "unscored verdicts are left out of every figure and counted; agreement_strict counts them as wrong",
    "wrong": "unscored verdicts are wrong wherever a figure has a right and a wrong; where it has none they are left out",
    "tie": "unscored verdicts of pairs are read as ties; those of single outputs are left out",
}


def audit(
    store: Store, *, runs: Sequence[str] = (), judges: Sequence[str] = (), unscored: Unscored = "exclude", families: Families | None = None
) -> dict[str, Any]:
    """Audit the judges of these runs (names or tags; the newest that holds verdicts where none is given).

    `judges` are names as `JUDGE[@VERSION][#PROMPT]`. Raises UsageError where no run or no judge is found.
    """
    found = runs_to_audit(store, runs)
    material = load(store, found, judges)
    units, people = meet(material)
    bench = Bench(material, units, people, unscored)
    every = [view_of(bench, [place]) for place in range(len(material.judges))]
    kin, wins = kinship(material, families or Families.load()), wins_by_unit(bench, every)
    views = [every[place] for place in material.chosen]
    panel = Panel(bench, views)
    return {
        "run": material.runs[0],
        "runs": material.runs,
        "run_chosen": "named" if runs else "the newest run that holds verdicts",
        "unscored_rule": unscored,
        "unscored_rule_means": RULES[unscored],
        "simulated": any(view.fact.simulated for view in views),
        "level": bench.level,
        "seed": material.seed,
        "labels": labels_document(bench),
        "judges": [judge_document(bench, place, view, wins, kin) for place, view in zip(material.chosen, views, strict=True)],
        "pairs": pairs(panel, kin, material.chosen),
        **panel_document(panel),
        "system_errors": system_errors(bench, material.chosen, views, kin),
        "annotators": annotators_document(bench),
        "probe": None,
        "store": str(store.path),
    }

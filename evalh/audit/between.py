"""Judges beside each other, and beside the systems that they judge: what they share are errors, not only opinions (METHODS §1.10)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from evalh.audit.agreeing import _good, empty, figure
from evalh.audit.biases import plain, votes
from evalh.audit.kin import OWN, Kinship
from evalh.audit.load import FloatArray, IntArray
from evalh.audit.units import joint
from evalh.audit.view import MOST_CLASSES, Bench, View
from evalh.records import Estimate
from evalh.stats.association import agreement_rate, cohen_kappa, pearson
from evalh.stats.dependence import MISSING, effective_judges, error_correlation, flagged, shared_blind_spot


class Panel:
    """The combined answers of judges: one column each, one row per unit; units without an answer hold -1."""

    def __init__(self, bench: Bench, views: Sequence[View]) -> None:
        self.bench, self.views = bench, views
        n = len(bench.units.low)
        self.votes = (
            np.column_stack([votes(bench, view, place) for place, view in enumerate(views)]) if views else np.zeros((n, 0), dtype=np.int64)
        )
        self.truth = np.where(bench.units.truth < 0, MISSING, bench.units.truth)
        self.cluster = bench.material.cluster[bench.units.item]

    def compact(self, columns: Sequence[int]) -> tuple[IntArray, IntArray, IntArray]:
        """The votes of some judges and the truth on the units that one of them answered, in classes 0, 1, 2, …; and the clusters."""
        chosen = self.votes[:, columns]
        rows = (chosen != MISSING).any(axis=1)
        both = np.column_stack([chosen[rows], self.truth[rows]])
        known = np.unique(both[both != MISSING])
        coded = np.where(both == MISSING, MISSING, np.searchsorted(known, both))
        return coded[:, :-1], coded[:, -1], self.cluster[rows]


def pairs(panel: Panel, kin: Kinship, places: Sequence[int]) -> list[dict[str, Any]]:
    """Every two judges on the units that both answered. `places` are those of the panel's judges in the material."""
    return [_pair(panel, kin, places, a, b) for a, b in combinations(range(len(panel.views)), 2)]


def _pair(panel: Panel, kin: Kinship, places: Sequence[int], a: int, b: int) -> dict[str, Any]:
    bench, (one, two) = panel.bench, (panel.views[a], panel.views[b])
    family, shared = (kin.judges[places[a]], kin.judges[places[b]]), kin.shared[places[a]][places[b]]
    coded, truth, cluster = panel.compact([a, b])
    both = (coded != MISSING).all(axis=1)
    document: dict[str, Any] = {
        "a": one.fact.title,
        "b": two.fact.title,
        "families_differ": None if None in family else shared is None,
        "shared_lineage": shared,
        "n": int(both.sum()),
    }
    apart = _levels(one, two)
    if not both.any() or apart:
        why = apart or "they judged nothing in common"
        document |= {**figure("agreement", None, why), **figure("kappa", None, why)}
    else:
        first, second = coded[both].T
        classes = max(int(coded[both].max()) + 1, 2)
        document |= figure("agreement", agreement_rate(first == second, cluster[both], **bench.options))
        document |= figure("kappa", cohen_kappa(first, second, cluster[both], classes=classes, **bench.options).estimate)
    together = _errors(panel, (a, b), (coded, truth, cluster), apart, family)
    if shared is not None and together["n_labelled"]:
        together |= {"flagged": False, "why": f"both are of {shared}: errors in common are to be expected"}
    return {**document, **_scores_together(panel, a, b), **together}


def _errors(
    panel: Panel,
    judges: tuple[int, int],
    rows: tuple[IntArray, IntArray, IntArray],
    apart: str | None,
    family: tuple[str | None, str | None],
) -> dict[str, Any]:
    """Do their errors go together, given the label? Flagged where two families share errors."""
    coded, truth, cluster = rows
    why = apart or next((panel.views[n].apart for n in judges if panel.views[n].apart), None)
    why = why or (None if (truth != MISSING).any() else "no label tells a right verdict from a wrong one")
    if why:
        return {
            **figure("error_correlation", None, why), "p_value": None, "both_wrong_lift": None, "error_consistency": None,
            "same_wrong": None, "n_labelled": 0, "flagged": False, "why": why, "note": None,
        }  # fmt: skip
    bench = panel.bench
    found = error_correlation(coded[:, 0], coded[:, 1], truth, cluster, **bench.options)
    raised, told = flagged(found, *family)
    return {
        **figure("error_correlation", found.correlation),
        "p_value": found.p_value,
        "both_wrong_lift": found.lift,
        "error_consistency": found.error_consistency,
        "same_wrong": found.same_wrong,
        "n_labelled": found.n,
        "flagged": raised,
        "why": told,
        "note": found.note,
    }


def _levels(one: View, two: View) -> str | None:
    """Why the answers of two judges cannot be compared one to one."""
    if one.pairwise != two.pairwise:
        return "one compares pairs, the other scores single outputs"
    if one.pairwise:
        return None
    named = [bool(np.isnan(view.number[np.unique(view.answer[view.answer >= 0])]).any()) for view in (one, two)]
    if named[0] != named[1]:
        return "one gives scores, the other names classes"
    many = len({*one.classes, *two.classes})
    return f"scores on {many} levels: see score_correlation" if not named[0] and many > MOST_CLASSES else None


def _scores_together(panel: Panel, a: int, b: int) -> dict[str, Any]:
    """Pearson's correlation of two judges' mean scores per unit, where both give scores."""
    columns = [_mean_scores(panel.bench, panel.views[n]) for n in (a, b)]
    rows = ~np.isnan(columns[0]) & ~np.isnan(columns[1])
    if not rows.any():
        return {"score_correlation": None}
    found = pearson(columns[0][rows], columns[1][rows], panel.cluster[rows], **panel.bench.options)
    return {"score_correlation": found.model_dump()}


def _mean_scores(bench: Bench, view: View) -> FloatArray:
    n = len(bench.units.low)
    value = bench.material.verdicts.value[view.rows]
    known = ~np.isnan(value)
    times = np.bincount(view.unit[known], minlength=n)
    total = np.bincount(view.unit[known], weights=value[known], minlength=n)
    return np.where(times > 0, total / np.maximum(times, 1), np.nan)


BASIS = {
    True: "one vote per judge and unit: both orders and all repeats together, a tie where they split evenly",
    False: "one vote per judge and unit: all repeats together, none where they split evenly",
}  # of pairs, of single outputs

# ---- the panel ------------------------------------------------------------------------------------------------------


def panel_document(panel: Panel) -> dict[str, Any]:
    """`effective_judges` and `panel`: what the judges of one kind are worth together, and which one could go."""
    kinds = [[n for n, view in enumerate(panel.views) if view.pairwise is kind and not view.apart] for kind in (True, False)]
    columns = max(kinds, key=len)
    if (panel.truth != MISSING).any():  # who has nothing read beside a label is no judge of this panel
        columns = [n for n in columns if (panel.views[n].scored & (panel.views[n].truth >= 0)).any()]
    names = [panel.views[n].fact.title for n in columns]
    left_out = [view.fact.title for n, view in enumerate(panel.views) if n not in columns]
    if len(columns) < 2:
        why = "fewer than two judges of one kind have answers to compare with labels one to one" if len(panel.views) > 1 else "one judge"
        return {"effective_judges": empty(why), "panel": None}
    coded, truth, cluster = panel.compact(columns)
    if not (truth != MISSING).any():
        return {"effective_judges": empty("no label tells a right verdict from a wrong one"), "panel": None}
    if not ((truth != MISSING) & ((coded != MISSING).sum(axis=1) > 1)).any():
        return {"effective_judges": empty("no two judges judged the same labelled item"), "panel": None}
    found = effective_judges(coded, truth, cluster, **panel.bench.options, names=names)
    document = {
        "judges": names,
        "left_out": left_out,
        "n": found.n,
        "n_incomplete": found.n_incomplete,
        "n_eff_gls": found.gls,
        "mean_correlation": found.mean_correlation,
        "basis": BASIS[panel.views[columns[0]].pairwise],
        "accuracy": found.accuracy.model_dump(),
        **_single(panel, columns),
        "without": plain(found.without),
        "drop": found.drop,
        "reason": found.reason,
        "with_independent": found.with_independent,
        "limit": found.limit,
        "note": found.note,
    }
    document["sentence"] = _panel_sentence(len(names), found.kish, document)
    return {"effective_judges": found.kish.model_dump(), "panel": plain(document)}


def _single(panel: Panel, columns: Sequence[int]) -> dict[str, Any]:
    """`single`: each judge alone on the majority's own basis; and `best_single`, the one most often right (METHODS §7.3 d)."""
    votes = panel.votes[:, columns]
    counted = (panel.truth != MISSING) & ((votes != MISSING).sum(axis=1) > 1)
    found: list[dict[str, Any]] = []
    for place, column in zip(columns, votes.T, strict=True):
        rows = counted & (column != MISSING)
        if rows.any():
            right = agreement_rate(column[rows] == panel.truth[rows], panel.cluster[rows], **panel.bench.options)
            found.append({"judge": panel.views[place].fact.title, "n": int(rows.sum()), "accuracy": right.model_dump()})
    found.sort(key=lambda one: -one["accuracy"]["value"])
    return {"single": found, "best_single": found[0]["judge"] if found else None}


def _panel_sentence(judges: int, kish: Estimate, document: dict[str, Any]) -> str:
    if kish.value is None:
        return f"{judges} judges; their effective number is not defined: {kish.why or 'one of them is always right'}."
    spread = f" [{kish.low:.1f}, {kish.high:.1f}]" if kish.low is not None and kish.high is not None else ""
    told = f"{judges} judges are worth {kish.value:.1f}{spread} independent ones."
    if document["drop"]:
        told += f" {document['drop']} can go: {document['reason']}."
    if document["with_independent"]:
        told += f" One more of a family that is not here, with errors of its own, would make it {document['with_independent']:.1f}."
    return told


# ---- judges and systems ---------------------------------------------------------------------------------------------


def system_errors(bench: Bench, places: Sequence[int], views: Sequence[View], kin: Kinship) -> list[dict[str, Any]]:
    """Per judge: does it pass another system's wrong answers more often where its own answer is wrong too?"""
    found = []
    for place, view in zip(places, views, strict=True):
        uplift, why = _blind_spot(bench, place, view, kin)
        found.append({"judge": view.fact.title, "uplift": uplift.model_dump() if uplift else None, "why": why})
    return found


def _blind_spot(bench: Bench, place: int, view: View, kin: Kinship) -> tuple[Estimate | None, str | None]:
    units = bench.units
    own = np.flatnonzero(kin.of[place] == OWN)
    if view.pairwise:
        return None, "pairs: no verdict passes an output"
    if not own.size:
        return None, "none of the systems is this judge's own model: let it answer the items too"
    if view.apart or not (view.truth >= 0).any():
        return None, view.apart or "no label says which outputs are wrong"
    keep = (view.truth >= 0) & view.scored
    rows = view.only(keep)
    good, passed, cluster, missing = _good(bench, rows)
    if missing:
        return None, missing
    said, system = bench.material.verdicts, units.low[rows.unit]
    asked_of = joint(units.item[rows.unit], said.aspect[rows.rows], said.trial[rows.rows])
    mine = np.isin(system, own)
    wrong_on = np.full(int(asked_of.max()) + 1, MISSING)
    np.maximum.at(wrong_on, asked_of[mine], (~good[mine]).astype(np.int64))  # of two own answers one that is wrong counts
    asked = ~mine & (wrong_on[asked_of] != MISSING)
    if not asked.any():
        return None, "no item has both its own labelled output and another system's"
    found = shared_blind_spot(
        passed[asked].astype(np.int64), (~good[asked]).astype(np.int64), wrong_on[asked_of[asked]], cluster[asked],
        **bench.options,
    )  # fmt: skip
    return found, None if found is not None else "too few wrong outputs on one of the two sides"

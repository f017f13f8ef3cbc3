"""A judge against people: agreement, kappa, chance, macro scores, detection, leniency, correlations of scores.

On the whole, on a slice or on an aspect the same figures from the same functions (METHODS §1.6, §1.8).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from evalh.audit.load import BoolArray, FloatArray, IntArray, Labels, Verdicts
from evalh.audit.units import TIE, joint
from evalh.audit.view import UNREAD, Bench, Read, View, read
from evalh.records import Estimate
from evalh.stats.association import (
    agreement_rate,
    cohen_kappa,
    detection,
    kendall,
    kendall_within,
    macro_scores,
    pearson,
    spearman,
)
from evalh.stats.bias import leniency, leniency_scores
from evalh.stats.resampling import cluster_bootstrap, sums_by_cluster

MIN_ITEMS, MIN_CLASS = 50, 10  # METHODS §1.8: below either agreement is indicative
MIN_EACH = 30  # METHODS §1.6: labelled good and bad, for detection
NO_LABELS = "nobody labelled what this judge judged"
GOOD = {"pass", "passed", "yes", "true", "good", "correct", "acceptable", "safe"}
BAD = {"fail", "failed", "no", "false", "bad", "incorrect", "wrong", "unacceptable", "unsafe"}


def empty(why: str) -> dict[str, Any]:
    """An estimate that cannot be given, with its reason."""
    return Estimate(value=None, why=why).model_dump()


def figure(name: str, estimate: Estimate | None, why: str = "") -> dict[str, Any]:
    """A number under its name and its interval beside it (DESIGN §10)."""
    told = estimate.model_dump() if estimate is not None else empty(why)
    return {name: told["value"], f"{name}_estimate": told}


def why_not(bench: Bench, view: View) -> str | None:
    """Why this judge cannot be compared with people at all."""
    return view.apart or (None if (view.truth >= 0).any() else _unmet(bench, view))


def _unmet(bench: Bench, view: View) -> str:
    """Why no label meets a verdict: there is none, or items, kinds, systems, aspects or trials differ."""
    labels, said = bench.material.labels, bench.material.verdicts
    n = len(labels.item)
    if not n:
        return NO_LABELS
    if (bench.units.label_unit[view.unit] >= 0).any():
        return "people have no consensus on anything that this judge judged"
    start = f"none of the {n:,} labels meets a verdict of this judge" if n > 1 else "the one label meets no verdict of this judge"
    near = np.flatnonzero(np.isin(labels.item, said.item[view.rows]))
    if not near.size:
        return f"{start}: they are about other items" if n > 1 else f"{start}: it is about another item"
    near = near[labels.pairwise[near] == view.pairwise]
    if not near.size:
        return f"{start}: {'labels score single outputs and it compares pairs' if view.pairwise else 'labels compare pairs and it scores'}"
    row = view.rows[said.item[view.rows] == labels.item[near[0]]][0]
    theirs, ours = _named(bench, labels, int(near[0])), _named(bench, said, int(row))
    if {*theirs} == {*ours}:
        return f"{start}: they are of other systems, aspects or trials"
    return f"{start}: labels name systems such as {' and '.join(theirs)}, verdicts {' and '.join(ours)}"


def _named(bench: Bench, rows: Labels | Verdicts, place: int) -> list[str]:
    return [bench.material.systems[code] for code in (rows.first[place], rows.second[place]) if code >= 0] or ["none"]


def agreement(bench: Bench, view: View) -> dict[str, Any]:
    """Agreement by the rule, strict, and without ties; kappa, weighted kappa, chance and what the judge is beside it."""
    why = why_not(bench, view)
    made = read(view, bench.unscored)
    strict = read(view, "wrong")
    if why is None and not made.truth.size:
        why = "no labelled verdict was scored"
    named = ["agreement", "agreement_strict", "agreement_without_ties", "kappa", "linear_kappa", "quadratic_kappa"]
    if why is not None:
        document = {key: value for name in named for key, value in figure(name, None, why).items()}
        return {
            **document,
            "chance": None,
            "guessing": None,
            "prevalence": None,
            "verdict_on_judge": None,
            "verdict_on_judge_why": why,
            "macro": None,
            "classes": view.classes,
        }
    rate = agreement_rate(made.hit, made.cluster, **bench.options)
    kappa = cohen_kappa(made.truth, made.answer, made.cluster, classes=max(made.classes, 2), **bench.options)
    chance = float(np.bincount(made.truth).max() / len(made.truth))
    guessing, beside, beside_why = _beside(view, made, rate, kappa.estimate, chance)
    return {
        **figure("agreement", rate),
        **figure("agreement_strict", agreement_rate(strict.hit, strict.cluster, **bench.options)),
        **_without_ties(bench, view),
        **figure("kappa", kappa.estimate),
        **_weighted(bench, view, made.used),
        "prevalence": kappa.prevalence,
        "bias_index": kappa.bias,
        "chance": chance,
        "guessing": guessing,
        "verdict_on_judge": beside,
        "verdict_on_judge_why": beside_why,
        "macro": _macro(made),
        "classes": view.classes,
    }


def _macro(made: Read) -> dict[str, float | None]:
    """Macro precision, recall and F1 over the classes that occur; unscored verdicts that count as wrong are no class of their own."""
    found = macro_scores(made.truth, made.answer, max(made.classes, 1))._asdict()
    return {name: None if value is None else value * made.classes / made.used for name, value in found.items()}


def _beside(view: View, made: Read, rate: Estimate, kappa: Estimate, chance: float) -> tuple[float | None, str | None, str | None]:
    """What guessing gets, whether the judge does better, or why that cannot be told.

    By kappa's interval; without one by that of the agreement: a pair has two sides, and three where people call ties; of classes
    naming the commonest is no achievement.
    """
    seen = np.unique(made.truth)
    guessing = 1 / (2 + bool((view.truth == TIE).any())) if view.pairwise else 1 / made.used if made.used > 1 else None
    if (kappa.high is not None and kappa.high < 0) or (guessing is not None and rate.high is not None and rate.high < guessing):
        return guessing, "worse than chance", None
    if kappa.low is not None:
        return guessing, "better than chance" if kappa.low > 0 else "no better than chance", None
    if rate.low is None:
        return guessing, None, rate.why
    if not view.pairwise and len(seen) < 2:
        return guessing, None, "people gave one answer throughout: there is nothing to tell apart"
    floor = guessing if view.pairwise else chance
    return guessing, "better than chance" if floor is not None and rate.low > floor else "no better than chance", None


def _without_ties(bench: Bench, view: View) -> dict[str, Any]:
    """S2 (METHODS §1.8): where neither the judge nor people call a tie."""
    if not view.pairwise:
        return figure("agreement_without_ties", None, "single outputs have no ties")
    made = read(view.only((view.truth != TIE) & (view.answer != TIE)), bench.unscored)
    if not made.truth.size:
        return figure("agreement_without_ties", None, "nothing is left without ties")
    return figure("agreement_without_ties", agreement_rate(made.hit, made.cluster, **bench.options))


def _weighted(bench: Bench, view: View, used: int) -> dict[str, Any]:
    """Weighted kappas, for classes with an order; an unscored verdict has no place in it and is left out."""
    if not view.ordered or used < 3:
        why = "the classes have no order" if not view.ordered else "two classes: the weights are those of kappa"
        return {**figure("linear_kappa", None, why), **figure("quadratic_kappa", None, why)}
    made = read(view, "exclude")
    found: dict[str, Any] = {}
    schemes: tuple[Literal["linear", "quadratic"], ...] = ("linear", "quadratic")
    for weights in schemes:
        kappa = cohen_kappa(made.truth, made.answer, made.cluster, classes=max(made.classes, 2), weights=weights, **bench.options)
        found |= figure(f"{weights}_kappa", kappa.estimate)
    return found


def both_orders(bench: Bench, view: View) -> dict[str, Any] | None:
    """S1 and S2 of MT-Bench: the two orders of a pair as one vote, a tie where they disagree. None where no pair has both."""
    said = bench.material.verdicts
    known = said.order_known[view.rows] & (view.truth >= 0)
    if not view.pairwise or not known.any():
        return None
    rows, front = view.rows[known], said.first[view.rows[known]] == bench.units.low[view.unit[known]]
    ask = joint(view.unit[known], said.repeat[rows])
    votes, shown = np.full((int(ask.max()) + 1, 2), UNREAD), np.zeros((int(ask.max()) + 1, 2), dtype=bool)
    votes[ask, front.astype(int)], shown[ask, front.astype(int)] = view.answer[known], True
    one = np.unique(ask, return_index=True)[1]
    truth, cluster = view.truth[known][one], view.cluster[known][one]
    unread = (votes < 0).any(axis=1)
    both = shown.all(axis=1) & (~unread | (bench.unscored == "wrong"))
    if not both.any():
        return None
    vote = np.where(unread, UNREAD, np.where(votes[:, 0] == votes[:, 1], votes[:, 0], TIE))[both]
    truth, cluster = truth[both], cluster[both]
    firm = (vote != TIE) & (truth != TIE)
    s1 = agreement_rate(vote == truth, cluster, **bench.options)
    s2 = agreement_rate(vote[firm] == truth[firm], cluster[firm], **bench.options) if firm.any() else Estimate(value=None, why="ties only")
    return {"s1": s1.model_dump(), "s2": s2.model_dump(), "n_one_order_or_unscored": int((~both).sum())}


def ceiling(bench: Bench, view: View) -> dict[str, Any] | None:
    """How often two people agree on the units that this judge judged; None where no unit has two annotators."""
    if view.apart:
        return None
    found = np.unique(bench.units.label_unit[np.unique(view.unit)])
    found = found[found >= 0]
    pairs, same = bench.people.pairs[found], bench.people.same[found]
    found, same, pairs = found[pairs > 0], same[pairs > 0], pairs[pairs > 0]
    if not found.size:
        return None
    cluster_of = np.zeros(len(bench.people.key), dtype=np.int64)
    cluster_of[bench.people.unit] = bench.people.cluster
    sums = sums_by_cluster(np.column_stack([same, pairs]).astype(np.float64), cluster_of[found])
    return cluster_bootstrap(sums, lambda s: s[:, 0] / s[:, 1], n=len(found), **bench.options).model_dump()


# ---- good and bad ---------------------------------------------------------------------------------------------------


def detected(bench: Bench, view: View) -> dict[str, Any]:
    """How well a judge tells good from bad, and how lenient it is; null with the reason where nothing says what passes."""
    why = why_not(bench, view)
    if view.pairwise:
        why = why or "pairs: neither output passes or fails"
        return {"detection": None, "detection_why": why, "leniency": None, "leniency_why": why}
    if why:
        return {"detection": None, "detection_why": why, **_leniency_of_scores(bench, view, why)}
    good, passed, cluster, missing = _good(bench, view)
    if missing:
        return {"detection": None, "detection_why": missing, **_leniency_of_scores(bench, view, missing)}
    found = detection(good, passed, cluster, **bench.options)
    note = (
        None if min(found.n_good, found.n_bad) >= MIN_EACH else f"indicative: {found.n_good} good and {found.n_bad} bad of {MIN_EACH} each"
    )
    document = {name: value.model_dump() if isinstance(value, Estimate) else _finite(value) for name, value in found._asdict().items()}
    lenient = leniency(passed, good, cluster, **bench.options)
    return {"detection": {**document, "note": note}, "detection_why": None, "leniency": lenient.model_dump(), "leniency_why": None}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _good(bench: Bench, view: View) -> tuple[BoolArray, BoolArray, IntArray, str | None]:
    """People's and the judge's answers as good or bad, by the rubric's mark, the only two classes, or their names."""
    keep = view.truth >= 0
    if bench.unscored != "wrong":
        keep = keep & (view.answer >= 0)
    truth, answer, cluster = view.truth[keep], view.answer[keep], view.cluster[keep]
    nothing = np.zeros(0, dtype=bool)
    passes = _passing(bench, view, view.rows[keep])
    if isinstance(passes, str):
        return nothing, nothing, cluster, passes
    good = passes(truth)
    passed = np.where(answer >= 0, passes(np.maximum(answer, 0)), ~good)
    return good, passed, cluster, None


def _passing(bench: Bench, view: View, rows: IntArray) -> Any:
    """A function from answers (one per row) to pass or fail, or why there is none."""
    aspects = [bench.material.aspects[code] if code >= 0 else "" for code in bench.material.verdicts.aspect[rows]]
    marks = np.array([bench.material.pass_marks.get(name, np.nan) for name in aspects])
    if view.ordered and marks.size and not np.isnan(marks).any():
        return lambda codes: view.number[codes] >= marks
    if len(view.classes) != 2:
        return f"{len(view.classes)} classes and no pass mark: nothing says what passes"
    if view.ordered:
        return lambda codes: codes == 1
    said = [name.strip().casefold() for name in view.classes]
    for place, name in enumerate(said):
        if name in GOOD and said[1 - place] in BAD:
            return lambda codes, place=place: codes == place
    return f"the classes {', '.join(view.classes)} do not say which of them passes"


def _leniency_of_scores(bench: Bench, view: View, missing: str) -> dict[str, Any]:
    """Mean of judge minus people on [0, 1], where the scale of every aspect is known."""
    values = _unit_values(bench, view)
    if values is None:
        return {"leniency": None, "leniency_why": missing}
    _, aspect, judge, human, cluster, _ = values
    low, high = np.zeros(len(judge)), np.ones(len(judge))
    for code in np.unique(aspect):
        ends = bench.material.scales.get(bench.material.aspects[code] if code >= 0 else "", (0.0, 1.0))
        low[aspect == code], high[aspect == code] = ends
    judge, human = (judge - low) / (high - low), (human - low) / (high - low)
    if not (((judge >= 0) & (judge <= 1)).all() and ((human >= 0) & (human <= 1)).all()):
        return {"leniency": None, "leniency_why": "no rubric says the ends of the scale: see mean_difference in `scores`"}
    found = leniency_scores(judge, human, cluster, **bench.options)
    return {"leniency": found.model_dump(), "leniency_why": None}


# ---- scores ---------------------------------------------------------------------------------------------------------

Values = tuple[IntArray, IntArray, FloatArray, FloatArray, IntArray, IntArray]


def _unit_values(bench: Bench, view: View) -> Values | None:
    """Per unit with scores of the judge and of people: unit, aspect, mean of each, cluster, item. None where there is none."""
    said, units, people = bench.material.verdicts, bench.units, bench.people
    value = said.value[view.rows]
    known = ~np.isnan(value)
    if view.pairwise or not known.any():
        return None
    unit, place = np.unique(view.unit[known], return_inverse=True)
    judge = np.bincount(place, weights=value[known]) / np.bincount(place)
    aspect = said.aspect[view.rows[known]][np.unique(place, return_index=True)[1]]
    label = units.label_unit[unit]
    human = np.where(label >= 0, people.mean[label] if len(people.mean) else np.nan, np.nan)
    keep = ~np.isnan(human)
    item = units.item[unit]
    if not keep.any():
        return None
    return unit[keep], aspect[keep], judge[keep], human[keep], bench.material.cluster[item][keep], item[keep]


def scores(bench: Bench, view: View) -> list[dict[str, Any]] | None:
    """Per aspect: correlations of a pointwise judge's scores with people's mean scores; None where either side gives none."""
    values = _unit_values(bench, view)
    if values is None:
        return None
    _, aspect, judge, human, cluster, item = values
    found = []
    for code in np.unique(aspect):
        rows = aspect == code
        x, y, groups = judge[rows], human[rows], cluster[rows]
        difference = cluster_bootstrap(
            sums_by_cluster(np.column_stack([x - y, np.ones(len(x))]), groups), lambda s: s[:, 0] / s[:, 1], n=len(x), **bench.options
        )
        made = {
            "pearson": pearson(x, y, groups, **bench.options),
            "spearman": spearman(x, y, groups, **bench.options),
            "kendall": kendall(x, y, groups, **bench.options),
            "kendall_within_item": kendall_within(x, y, item[rows], **bench.options),
            "mean_difference": difference,
        }
        name = bench.material.aspects[code] if code >= 0 else None
        found.append({"aspect": name, "n": int(rows.sum()), **{key: value.model_dump() for key, value in made.items()}})
    return found

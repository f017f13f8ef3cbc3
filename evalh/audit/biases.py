"""A judge against itself: the order shown, the length, its own kin, the same question again, and how sure it says it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from evalh.audit.agreeing import empty, figure, why_not
from evalh.audit.load import NONE, FloatArray, IntArray
from evalh.audit.units import TIE, joint
from evalh.audit.view import Bench, View
from evalh.errors import InputError
from evalh.records import Estimate
from evalh.stats.bias import length_score, position, repeat_stability, score_stability, score_use, verbosity
from evalh.stats.calibration import calibration

MIN_PAIRS = 100  # METHODS §1.1
LOST = 1_000_000  # from here on: unscored verdicts that count as wrong, a code for each judge
ESTIMATES = ("fairness", "biased_first", "biased_second")


def position_of(bench: Bench, view: View) -> dict[str, Any]:
    """`position` or null with `position_why` (METHODS §1.1). Known orders count where others are unknown, which are counted."""
    if not view.pairwise:
        return {"position": None, "position_why": "single outputs have no order"}
    said = bench.material.verdicts
    known = said.order_known[view.rows]
    if not known.any():
        return {"position": None, "position_why": "the order shown is not known (order_known: false)"}
    rows, unit = view.rows[known], view.unit[known]
    wins = np.where(said.winner[rows] < 0, np.nan, 1 - said.winner[rows] / 2)
    order = (said.first[rows] != bench.units.low[unit]).astype(np.int64)
    try:
        found = position(unit, wins, order, said.repeat[rows], view.cluster[known], unscored=bench.unscored, **bench.options)
    except InputError as error:
        return {"position": None, "position_why": f"{error.what}; number them by repeat"}
    document = {
        **figure("first_share", found.first_share),
        "p_value": found.p_value,
        **figure("consistency", found.consistency),
        "consistency_by_verdict": found.consistency_by_verdict,
        "n_pairs": found.n_pairs,
        "n_one_order": found.n_one_order,
        "n_unscored_pairs": found.n_unscored_pairs,
        "n_order_unknown": int((~known).sum()),
        **{name: getattr(found, name).model_dump() for name in ESTIMATES},
        "fairness_p": found.fairness_p,
        "basis": found.basis,
        "counts": dict(found.counts),
        "repeats": [
            {"repeat": int(r[0]), "n_pairs": int(r[1]), "consistency": r[2], "consistency_by_verdict": r[3]} for r in found.repeats
        ],
        "note": None if found.n_pairs >= MIN_PAIRS else f"indicative: {found.n_pairs} pairs of {MIN_PAIRS}",
    }
    return {"position": plain(document), "position_why": None}


def repeats_of(bench: Bench, view: View) -> dict[str, Any]:
    """`repeat_agreement`, `repeat_modal`, `repeats` and the spread of scores: null where nothing was asked again."""
    said = bench.material.verdicts
    rows = view.rows
    asked = joint(said.item[rows], said.first[rows], said.second[rows], said.trial[rows], said.aspect[rows])
    answer = _by_rule(bench, view, view.answer)
    found = repeat_stability(asked, answer, view.cluster, **bench.options)
    value = said.value[rows]
    if found is None:
        return {"repeat_agreement": None, "repeat_modal": None, "repeats": 1, "repeat_sd": None}
    spread = None
    if not view.pairwise and (~np.isnan(value)).any():
        known = ~np.isnan(value)
        spread = score_stability(asked[known], value[known], view.cluster[known], **bench.options)
    sd = getattr(spread, "within_sd", spread)
    return {
        "repeat_agreement": found.agreement.model_dump(),
        "repeat_modal": found.modal,
        "repeats": found.repeats,
        "repeat_sd": sd.model_dump() if isinstance(sd, Estimate) else sd,
    }


def verbosity_of(bench: Bench, view: View) -> dict[str, Any]:
    """`verbosity` or null with `verbosity_why` (METHODS §1.3): at equal human verdict where there is one, else an association."""
    said = bench.material.verdicts
    first, second = said.length_first[view.rows], said.length_second[view.rows]
    winner = _by_rule(bench, view, said.winner[view.rows]) if view.pairwise else np.zeros(len(view.rows))
    if view.pairwise:
        usable = ~np.isnan(first) & ~np.isnan(second) & (winner != NONE)
        human = _human_on_first(bench, view)
    else:
        usable = ~np.isnan(first) & ~np.isnan(said.value[view.rows])
        human = _human_score(bench, view)
    if not usable.any():
        why = "no text of the outputs is stored" if np.isnan(first).all() else "no scored verdict on outputs whose texts are stored"
        return {"verbosity": None, "verbosity_why": why}
    labelled = usable & ~np.isnan(human)
    based = "human" if labelled.sum() >= usable.sum() / 2 else "association"
    rows = labelled if based == "human" else usable
    given = human[rows] if based == "human" else None
    if view.pairwise:
        wins = 1 - winner[rows] / 2
        found = verbosity(np.log(first[rows] / second[rows]), wins, given, view.cluster[rows], **bench.options)
    else:
        found = length_score(np.log(first[rows]), said.value[view.rows[rows]], given, view.cluster[rows], **bench.options)
    if found is None:
        return {"verbosity": None, "verbosity_why": "the outputs do not differ in length, or the judge never differs"}
    share = getattr(found, "longer_share", None)
    document = {
        **figure("longer_share", share, "single outputs: none is longer than another"),
        **figure("coefficient", found.coefficient),
        "doubling": found.doubling.model_dump() if found.doubling is not None else empty("single outputs"),
        "basis": found.basis,
        "note": found.note,
        "n_without_text": int((np.isnan(first) | (np.isnan(second) & view.pairwise)).sum()),
        "n_unlabelled": int((usable & ~labelled).sum()),
    }
    return {"verbosity": plain(document), "verbosity_why": None}


def _human_on_first(bench: Bench, view: View) -> FloatArray:
    """What people say of the output shown first: 1, 0 a tie, -1; NaN where they say nothing."""
    said = bench.material.verdicts
    for_front = np.where(view.truth >= 0, 1.0 - view.truth, np.nan)
    return np.where(said.first[view.rows] == bench.units.front[view.unit], for_front, -for_front)


def _human_score(bench: Bench, view: View) -> FloatArray:
    label = bench.units.label_unit[view.unit]
    if not len(bench.people.mean):
        return np.full(len(label), np.nan)
    return np.where(label >= 0, bench.people.mean[label], np.nan)


def score_use_of(bench: Bench, view: View) -> dict[str, Any] | None:
    """How many answers a judge makes use of (METHODS §1.7); pairs by the place that wins."""
    said = bench.material.verdicts
    answer = said.winner[view.rows] if view.pairwise else np.where(view.scored, view.answer, NONE)
    answer = answer[answer >= 0]
    if not answer.size:
        return None
    found: dict[str, Any] = score_use(answer)._asdict()
    if view.pairwise:
        found["tie_rate"] = float((answer == TIE).mean())
    return found


def calibration_of(bench: Bench, view: View) -> dict[str, Any]:
    """`calibration` of the confidence that a judge states, or null with `calibration_why`."""
    sure = bench.material.verdicts.confidence[view.rows]
    told = ~np.isnan(sure) & view.scored
    why = None if told.any() else "the judge states no confidence (score, probs or samples)"
    why = why or why_not(bench, view)
    rows = told & (view.truth >= 0)
    if why or not rows.any():
        return {"calibration": None, "calibration_why": why or "no labelled verdict states a confidence"}
    correct = view.answer[rows] == view.truth[rows]
    found = calibration(np.clip(sure[rows], 0, 1), correct, view.cluster[rows], **bench.options)
    return {"calibration": plain(found), "calibration_why": None}


def plain(value: Any) -> Any:
    """Named tuples, estimates and arrays as JSON has them; NaN is null."""
    if isinstance(value, Estimate):
        return value.model_dump()
    if hasattr(value, "_asdict"):
        return {name: plain(part) for name, part in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, np.ndarray):
        return [plain(part) for part in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def votes(bench: Bench, view: View, column: int) -> IntArray:
    """A judge's combined answer per unit, in codes of `Units.answer`: the most frequent; an even split is a tie of a pair, else none.

    Unscored verdicts are no answer; by the rule `tie` those of pairs are ties, and by `wrong` an answer that nobody else gives.
    """
    answer, unit, n = _by_rule(bench, view, bench.units.answer[view.rows], LOST + column), view.unit, len(bench.units.low)
    known = answer >= 0
    made = np.full(n, NONE, dtype=np.int64)
    if not known.any():
        return made
    most = int(answer.max()) + 1
    combination, times = np.unique(unit[known] * most + answer[known], return_counts=True)
    which, said = combination // most, combination % most
    best = np.zeros(n, dtype=np.int64)
    np.maximum.at(best, which, times)
    top = times == best[which]
    made[which[top]] = said[top]
    made[np.bincount(which[top], minlength=n) > 1] = TIE if view.pairwise else NONE
    return made


def _by_rule(bench: Bench, view: View, answer: IntArray, wrong: int = NONE) -> IntArray:
    """Answers with unscored ones as the rule says: ties of pairs, or `wrong`; else they stay none."""
    if bench.unscored == "tie" and view.pairwise:
        return np.where(view.scored, answer, TIE)
    return np.where(view.scored, answer, wrong if bench.unscored == "wrong" else NONE)

"""One judge's verdicts as the figures need them: answers beside the truth, in the classes that occur."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np

from evalh.audit.load import BoolArray, FloatArray, IntArray, JudgeFact, Material
from evalh.audit.units import NO_CONSENSUS, TIE, UNLABELLED, People, Units
from evalh.stats.position import Unscored

SIDES = ["first", "tie", "second"]  # of a pair, in the order in which the label names them
MOST_CLASSES = 12  # scores on more levels are compared by correlation, not by equality
UNREAD = -1


class Options(TypedDict):
    """What every function that makes an interval is given."""

    seed: int
    level: float


class Bench(NamedTuple):
    """What every figure of an audit is made from, and the settings that hold for all."""

    material: Material
    units: Units
    people: People
    unscored: Unscored
    level: float = 0.95

    @property
    def options(self) -> Options:
        return {"seed": self.material.seed, "level": self.level}


class View(NamedTuple):
    """The verdicts of one judge. `answer` and `truth` are places in `classes`; -1 unscored or no consensus, -2 unlabelled."""

    fact: JudgeFact
    rows: IntArray  # places in Verdicts
    unit: IntArray
    pairwise: bool
    answer: IntArray
    truth: IntArray
    scored: BoolArray  # as the judge gave it, whatever the rule makes of unscored ones
    classes: list[str]
    number: FloatArray  # the score that a class stands for, NaN for names
    cluster: IntArray
    apart: str | None  # why answers and labels cannot be compared one to one

    @property
    def ordered(self) -> bool:
        """Whether the classes have an order: sides of a pair do, scores do, names do not."""
        return self.pairwise or not bool(np.isnan(self.number).any())

    def only(self, keep: BoolArray) -> View:
        """The same judge on some of its verdicts."""
        chosen = {name: getattr(self, name)[keep] for name in ("rows", "unit", "answer", "truth", "scored", "cluster")}
        return self._replace(**chosen)


class Read(NamedTuple):
    """Labelled verdicts after the rule for unscored ones: `hit` for rates; `answer` is K, one class more, where it is wrong as unscored."""

    truth: IntArray
    answer: IntArray
    hit: BoolArray
    cluster: IntArray
    classes: int  # of `answer`
    used: int  # classes that people or the judge use


def view_of(bench: Bench, places: Sequence[int]) -> View:
    """The view of one judge: its place in `material.judges`; several places (its versions) are taken as one, named as the first."""
    said, units, material = bench.material.verdicts, bench.units, bench.material
    rows = np.flatnonzero(np.isin(said.judge, places))
    fact, unit = material.judges[places[0]], units.of[rows]
    pairwise = bool(said.pairwise[rows].all())
    answer, truth = units.answer[rows], units.truth[unit]
    scored = answer >= 0
    if pairwise and bench.unscored == "tie":
        answer = np.where(scored, answer, TIE)
    labelled = truth >= 0
    if pairwise:
        known, names, number = np.arange(3), SIDES, np.full(3, np.nan)
    else:
        known = np.unique(np.concatenate([answer[answer >= 0], truth[labelled]]))
        names, number = [units.answers.names[code] for code in known], units.answers.number[known]
    return View(
        fact, rows, unit, pairwise, _placed(answer, known), _placed(truth, known), scored, names, number,
        material.cluster[units.item[unit]], None if pairwise else _apart(bench, answer[labelled], truth[labelled]),
    )  # fmt: skip


def _placed(codes: IntArray, known: IntArray) -> IntArray:
    return np.where(codes < 0, codes, np.searchsorted(known, codes)).astype(np.int64)


def _apart(bench: Bench, answer: IntArray, truth: IntArray) -> str | None:
    """Why equality of a pointwise judge's answers and people's says nothing, or None where it does."""
    number = bench.units.answers.number
    theirs, ours = np.unique(answer[answer >= 0]), np.unique(truth)
    if not theirs.size or not ours.size:
        return None
    numeric, both = np.isnan(number[theirs]), np.isnan(number[ours])
    if numeric.all() != both.all() or numeric.any() != both.any():
        return "the judge gives scores and people name classes" if both.any() else "the judge names classes and people give scores"
    shared = np.intersect1d(theirs, ours)
    if both.all() and not len(shared):
        said, meant = ([bench.units.answers.names[code] for code in some] for some in (theirs, ours))
        if len({name.casefold() for name in said} & {name.casefold() for name in meant}) or min(len(said), len(meant)) > 1:
            return f"other names: the judge says {', '.join(said[:5])}; people say {', '.join(meant[:5])}"
    if not both.any() and len(shared) < 2 and min(len(theirs), len(ours)) > 1:
        return "other scales: judge and people share fewer than two scores, see the correlations in `scores`"
    many = len(np.union1d(theirs, ours))
    if not both.any() and many > MOST_CLASSES:
        return f"scores on {many} levels: equality says nothing, see the correlations in `scores`"
    return None


def read(view: View, unscored: Unscored) -> Read:
    """The labelled verdicts by the rule: unscored ones left out, wrong, or (pairs) ties."""
    keep = view.truth >= 0
    if unscored != "wrong":
        keep = keep & (view.answer >= 0)
    truth, answer = view.truth[keep], view.answer[keep]
    seen = np.unique(np.concatenate([truth, answer[answer >= 0]]))
    hit = answer == truth
    truth, lost = np.searchsorted(seen, truth), answer < 0
    answer = np.where(lost, len(seen), np.searchsorted(seen, answer))
    return Read(truth, answer, hit, view.cluster[keep], len(seen) + bool(lost.any()), len(seen))


def counts(view: View) -> dict[str, int]:
    """What is not in the agreement: unscored verdicts, those where people disagree, those that nobody labelled."""
    return {
        "n_verdicts": len(view.rows),
        "n_unscored": int((~view.scored).sum()),
        "n_no_consensus": int((view.truth == NO_CONSENSUS).sum()),
        "n_unlabelled": int((view.truth == UNLABELLED).sum()),
    }

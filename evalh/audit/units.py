"""Where verdicts and labels meet: a unit is what one question was about — an item, the systems whatever their order, an aspect, a trial.

People's consensus on a unit is the answer of more than half of its annotators, of whom each one's last label counts. Labels
without an aspect speak of the whole, labels without systems of every output of their item, and labels of no known trial of
every trial; a verdict takes the most exact one there is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evalh.audit.load import NONE, BoolArray, FloatArray, IntArray, Material

UNLABELLED, NO_CONSENSUS = -2, -1
FRONT, TIE, BACK = 0, 1, 2


class Answers(NamedTuple):
    """What can be answered: `names` by code. Pairs have three; single outputs every class and score that occurs."""

    names: list[str]
    number: FloatArray  # the score that a code stands for, NaN for a class
    n_labels: int  # codes below are classes, from here on scores
    by_class: bool  # where a row has both a class and a score: which one is its answer


class People(NamedTuple):
    """Labels by unit of their own (`key` sorted), each annotator's last one."""

    key: IntArray  # per labelled unit
    truth: IntArray  # consensus code, NO_CONSENSUS where there is none
    mean: FloatArray  # mean score of the annotators, NaN for classes
    same: IntArray  # pairs of annotators that agree
    pairs: IntArray  # pairs of annotators
    front_is_second: BoolArray  # pairs: the label shows the later name first
    unit: IntArray  # per kept label: place in `key`
    annotator: IntArray
    answer: IntArray
    value: FloatArray
    aspect: IntArray
    cluster: IntArray
    pairwise: BoolArray


class Units(NamedTuple):
    """The units of all verdicts, and what people say of each."""

    of: IntArray  # verdict → unit
    low: IntArray  # unit → the system whose name comes first
    high: IntArray
    item: IntArray
    label_unit: IntArray  # unit → place in People.key, -1 where nobody labelled it
    truth: IntArray  # unit → code, UNLABELLED or NO_CONSENSUS; pairs: FRONT, TIE, BACK
    front: IntArray  # pairs: the system that the label names first; the first by name where it names none, or always the winner
    answer: IntArray  # verdict → code in the unit's orientation, -1 unscored
    answers: Answers


def joint(*columns: IntArray) -> IntArray:
    """One code per combination of columns: 0, 1, 2, … in the order of the combinations."""
    code = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        values, place = np.unique(column, return_inverse=True)
        code = np.unique(code * len(values) + place, return_inverse=True)[1].astype(np.int64)
    return code


def meet(material: Material) -> tuple[Units, People]:
    """Units, their consensus, and every verdict's answer in the orientation of its unit."""
    said, labels = material.verdicts, material.labels
    answers = _answers(material)
    keys = _Keys(material)
    people = _people(material, answers, keys)
    low, high = np.minimum(said.first, said.second), np.maximum(said.first, said.second)
    low, high = np.where(said.pairwise, low, said.first), np.where(said.pairwise, high, NONE)
    aspect = np.where(np.isin(said.aspect, labels.aspect), said.aspect, NONE)
    of = joint(said.item, low, high, said.aspect, said.trial, said.pairwise.astype(np.int64))
    one = np.unique(of, return_index=True)[1]
    found = np.full(len(one), NONE, dtype=np.int64)
    for systems in (True, False):
        for trial in (said.trial[one], np.full(len(one), NONE)):
            pair = (low[one], high[one]) if systems else (np.full(len(one), NONE), np.full(len(one), NONE))
            key = keys.of(said.item[one], *pair, aspect[one], trial, said.pairwise[one])
            at = np.minimum(np.searchsorted(people.key, key), max(len(people.key) - 1, 0))
            hit = (people.key[at] == key) & (found == NONE) if len(people.key) else np.zeros(len(one), dtype=bool)
            found[hit] = at[hit]
    labelled = found != NONE
    truth = np.full(len(one), UNLABELLED, dtype=np.int64)
    truth[labelled] = people.truth[found[labelled]]
    turned = np.zeros(len(one), dtype=bool)
    turned[labelled] = people.front_is_second[found[labelled]]
    front = np.where(turned, high[one], low[one])
    winner = np.where(said.winner < 0, NONE, np.where(said.first == front[of], said.winner, 2 - said.winner))
    answer = np.where(said.pairwise, winner, np.where(said.scored, _codes(answers, said.label, said.value), NONE))
    units = Units(of, low[one], high[one], said.item[one], found, truth, front, answer, answers)
    return units, people


def _answers(material: Material) -> Answers:
    """Classes by name, then scores in their order. A row with both is read as its score, unless people name classes alone."""
    scores = np.unique(np.concatenate([material.verdicts.value, material.labels.value]))
    scores = scores[~np.isnan(scores)]
    return Answers(
        [*material.classes, *(f"{score:g}" for score in scores)],
        np.concatenate([np.full(len(material.classes), np.nan), scores]),
        len(material.classes),
        bool(((material.labels.label != NONE) & np.isnan(material.labels.value)).any()),
    )


def _codes(answers: Answers, label: IntArray, value: FloatArray) -> IntArray:
    scores = answers.number[answers.n_labels :]
    at = np.searchsorted(scores, np.where(np.isnan(value), 0, value)) + answers.n_labels
    named = (label != NONE) & (np.isnan(value) | answers.by_class)
    return np.where(named, label, np.where(np.isnan(value), NONE, at)).astype(np.int64)


class _Keys:
    """Units as numbers that verdicts and labels share: mixed radix of item, pair, aspect, trial and kind."""

    def __init__(self, material: Material) -> None:
        self._systems, self._aspects = len(material.systems) + 1, len(material.aspects) + 1
        self._trials = np.unique(np.concatenate([[NONE], material.verdicts.trial, material.labels.trial]))

    def of(self, item: IntArray, low: IntArray, high: IntArray, aspect: IntArray, trial: IntArray, pairwise: BoolArray) -> IntArray:
        code = (item * self._systems + low + 1) * self._systems + high + 1
        code = (code * self._aspects + aspect + 1) * len(self._trials) + np.searchsorted(self._trials, trial)
        return np.asarray(code * 2 + pairwise)


def _people(material: Material, answers: Answers, keys: _Keys) -> People:
    rows = material.labels
    low = np.where(rows.pairwise, np.minimum(rows.first, rows.second), rows.first)
    high = np.where(rows.pairwise, np.maximum(rows.first, rows.second), NONE)
    key = keys.of(rows.item, low, high, rows.aspect, rows.trial, rows.pairwise)
    answer = np.where(rows.pairwise, rows.winner, _codes(answers, rows.label, rows.value))
    given = np.flatnonzero(answer != NONE)
    last = np.unique(joint(key[given], rows.annotator[given])[::-1], return_index=True)[1] if given.size else given
    kept = np.sort(given[::-1][last]) if given.size else given
    known, first_row, unit = np.unique(key[kept], return_index=True, return_inverse=True)
    turned = np.where(rows.pairwise[kept][first_row], rows.first[kept][first_row] > rows.second[kept][first_row], False)
    said = rows.winner[kept][rows.pairwise[kept]]
    if len(np.unique(said[said != TIE])) < 2:  # labels that name the chosen one first: their order would tell the answer
        turned = np.zeros(len(known), dtype=bool)
    shown = rows.first[kept] == np.where(turned, high[kept][first_row], low[kept][first_row])[unit]
    answer = np.where(rows.pairwise[kept] & ~shown, 2 - answer[kept], answer[kept])
    truth, same, pairs = _consensus(unit, answer, len(known))
    value = rows.value[kept]
    n = np.bincount(unit, minlength=len(known))
    mean = np.bincount(unit, weights=value, minlength=len(known)) / np.maximum(n, 1)
    cluster = material.cluster[rows.item[kept]]
    return People(
        known, truth, mean, same, pairs, turned.astype(bool), unit, rows.annotator[kept], answer, value, rows.aspect[kept], cluster,
        rows.pairwise[kept],
    )  # fmt: skip


def _consensus(unit: IntArray, answer: IntArray, n: int) -> tuple[IntArray, IntArray, IntArray]:
    """Per unit: the answer of more than half of its labels; pairs of labels that agree, and all pairs."""
    if not n:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, nothing
    most = int(answer.max()) + 1
    combination, times = np.unique(unit * most + answer, return_counts=True)
    which, said = combination // most, combination % most
    total = np.bincount(unit, minlength=n)
    truth = np.full(n, NO_CONSENSUS, dtype=np.int64)
    wins = 2 * times > total[which]
    truth[which[wins]] = said[wins]
    same = np.bincount(which, weights=times * (times - 1) / 2, minlength=n).astype(np.int64)
    return truth, same, total * (total - 1) // 2

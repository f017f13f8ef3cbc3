"""Which units are worth a look first: where judges are furthest from people, and where they contradict each other or themselves.

Distances are in [0, 1]: between the winners of a pair 1, from either to a tie one half; between scores their difference
over the range of scores of that aspect; between names 0 or 1. A unit's distance is the mean over its scored verdicts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from evalh.audit.load import FloatArray, IntArray, Material, load
from evalh.audit.units import People, Units, meet
from evalh.store.disputes import disputed_items, item_codes
from evalh.store.runs import find_run
from evalh.store.store import Store

MOST = 10


class Dispute(NamedTuple):
    """One unit: the item (a row of `disputed_items`), what was judged, and how far apart the answers are."""

    item: dict[str, Any]
    systems: list[str]
    aspect: str
    trial: int
    from_people: float | None  # mean distance of the verdicts from people's consensus; None where there is none
    spread: float  # standard deviation of the verdicts
    n: int  # scored verdicts
    people: str | None  # the consensus in words


class _Ranked(NamedTuple):
    gap: FloatArray  # per unit, NaN without a consensus or a scored verdict
    spread: FloatArray
    n: IntArray


def disputes(store: Store, run: str, most: int = MOST) -> list[Dispute]:
    """At most `most` units of different items: those furthest from people first, then those on which verdicts contradict each other."""
    material = load(store, [find_run(store, run)], lengths=False)
    units, people = meet(material)
    if not len(units.low):
        return []
    ranked = _rank(material, units, people)
    chosen = _choose(ranked, units, most)
    one = np.unique(units.of, return_index=True)[1]  # a verdict of each unit
    codes = item_codes(store, run)
    items = disputed_items(store, run, (int(codes[units.item[u]]) for u in chosen))
    found = []
    for unit in chosen:
        said, row = material.verdicts, int(one[unit])
        systems = [material.systems[s] for s in (units.low[unit], units.high[unit]) if s >= 0]
        aspect = material.aspects[said.aspect[row]] if said.aspect[row] >= 0 else ""
        gap = float(ranked.gap[unit])
        found.append(
            Dispute(
                items[int(codes[units.item[unit]])], systems, aspect, int(said.trial[row]), None if np.isnan(gap) else gap,
                float(ranked.spread[unit]), int(ranked.n[unit]), _consensus(material, units, people, int(unit), bool(said.pairwise[row])),
            )
        )  # fmt: skip
    return found


def _choose(ranked: _Ranked, units: Units, most: int) -> list[int]:
    """Half by distance from people, the rest by contradiction, then whatever is left of both; each item once."""
    gap = np.nan_to_num(ranked.gap, nan=0.0)
    far = [int(u) for u in np.lexsort((units.item, -ranked.n, -ranked.spread, -gap))[: 50 * most] if gap[u] > 0]
    torn = [int(u) for u in np.lexsort((units.item, -ranked.n, -gap, -ranked.spread))[: 50 * most] if ranked.spread[u] > 0]
    taken: dict[int, int] = {}
    for queue, enough in ((far, most - most // 2), (torn, most), (far, most)):
        for unit in queue:
            if len(taken) >= enough:
                break
            taken.setdefault(int(units.item[unit]), unit)
    return list(taken.values())


def _rank(material: Material, units: Units, people: People) -> _Ranked:
    said, answer = material.verdicts, units.answer
    number = np.full(len(answer), np.nan)
    named = np.zeros(len(answer), dtype=bool)
    scored = answer >= 0
    single = scored & ~said.pairwise
    number[scored & said.pairwise] = answer[scored & said.pairwise] / 2
    if single.any():
        number[single] = units.answers.number[answer[single]]
        named = single & np.isnan(number)
    truth = _truth(units, people)[units.of]
    low, width = _range(said.aspect, said.pairwise, number, truth)
    number, truth = (number - low) / width, (truth - low) / width
    gap = np.abs(number - truth)
    code = units.truth[units.of]
    comparable = (code[named] >= 0) & (code[named] < units.answers.n_labels)  # where people give scores a name is neither near nor far
    gap[named] = np.where(comparable, answer[named] != code[named], np.nan)
    spread = np.fmax(_deviation(units, number), _torn(units, named))
    return _Ranked(_mean(units.of, gap, len(units.low)), spread, np.bincount(units.of[scored], minlength=len(units.low)))


def _truth(units: Units, people: People) -> FloatArray:
    """Per unit, on the scale of the verdicts: the winner people name as 0, 1/2 or 1; of scores people's mean; else NaN."""
    labelled = units.label_unit >= 0
    truth = np.full(len(units.low), np.nan)
    if labelled.any():
        truth[labelled] = people.mean[units.label_unit[labelled]]
    pairs = units.high >= 0
    return np.where(pairs, np.where(units.truth >= 0, units.truth / 2, np.nan), truth)


def _range(aspect: IntArray, pairwise: Any, number: FloatArray, truth: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Per verdict: the lowest score of its aspect and the width of the range, 0 and 1 for pairs."""
    low, width = np.zeros(len(aspect)), np.ones(len(aspect))
    for code in np.unique(aspect[~pairwise]):
        rows = ~pairwise & (aspect == code)
        known = np.concatenate([number[rows], truth[rows]])
        known = known[~np.isnan(known)]
        if known.size and known.max() > known.min():
            low[rows], width[rows] = known.min(), known.max() - known.min()
    return low, width


def _mean(of: IntArray, value: FloatArray, n: int) -> FloatArray:
    known = ~np.isnan(value)
    count = np.bincount(of[known], minlength=n)
    total = np.bincount(of[known], weights=value[known], minlength=n)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _deviation(units: Units, number: FloatArray) -> FloatArray:
    n = len(units.low)
    mean = _mean(units.of, number, n)
    square = _mean(units.of, (number - mean[units.of]) ** 2, n)
    return np.sqrt(np.nan_to_num(square, nan=0.0))


def _torn(units: Units, named: Any) -> FloatArray:
    """Of names there is no deviation: one half where verdicts name two or more."""
    n = len(units.low)
    least, most = np.full(n, np.iinfo(np.int64).max), np.full(n, -1)
    np.minimum.at(least, units.of[named], units.answer[named])
    np.maximum.at(most, units.of[named], units.answer[named])
    return np.where((most >= 0) & (least < most), 0.5, 0.0)


def _consensus(material: Material, units: Units, people: People, unit: int, pairwise: bool) -> str | None:
    truth, label = int(units.truth[unit]), int(units.label_unit[unit])
    if pairwise:
        if truth < 0:
            return None
        front = int(units.front[unit])
        back = int(units.high[unit] if front == units.low[unit] else units.low[unit])
        return "a tie" if truth == 1 else material.systems[front if truth == 0 else back]
    mean = people.mean[label] if label >= 0 else np.nan
    if not np.isnan(mean):
        return f"{mean:.3g}"
    return units.answers.names[truth] if truth >= 0 else None

"""Self- and family preference: whether a judge gives its own model, or its kin, more wins than people do (METHODS §1.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from evalh.audit.biases import plain
from evalh.audit.load import FloatArray, IntArray, Material
from evalh.audit.units import BACK
from evalh.audit.view import Bench, View
from evalh.judging.families import Families, Family
from evalh.stats.bias import self_preference

UNKNOWN, STRANGER, KIN, OWN = -1, 0, 1, 2


class Kinship(NamedTuple):
    """Who is related to whom. `of` has a row per judge and a column per system: OWN, KIN, STRANGER or UNKNOWN."""

    of: IntArray
    judges: list[str | None]  # family of each judge
    systems: list[str | None]
    shared: list[list[str | None]]  # what two judges have in common, None where nothing; of one judge with another


def kinship(material: Material, families: Families) -> Kinship:
    """The families of judges and systems: as the runs name them, else by their model names; UNKNOWN where neither says."""
    judges = [_family(families, [fact.family], [fact.version, fact.judge]) for fact in material.judges]
    systems = [_family(families, sorted(material.families.get(name, ())), [name]) for name in material.systems]
    of = np.full((len(judges), len(systems)), UNKNOWN, dtype=np.int64)
    for row, judge in enumerate(judges):
        for column, system in enumerate(systems):
            if judge is not None and system is not None:
                of[row, column] = _relation(families, judge, system)
    shared = [[families.shared_lineage(one, two) if one and two else None for two in judges] for one in judges]
    return Kinship(of, [f.name if f else None for f in judges], [f.name if f else None for f in systems], shared)


def _family(families: Families, said: Sequence[str | None], names: Sequence[str | None]) -> Family | None:
    told = [name for name in said if name]
    if len(told) > 1:
        return None
    for name in told:
        return families.get(name) or families.find(name)
    return next((found for name in names if name and (found := families.find(name))), None)


def _relation(families: Families, judge: Family, system: Family) -> int:
    if judge.name == system.name or (judge.base is not None and judge.base == system.base):
        return OWN
    return KIN if families.shared_lineage(judge, system) else STRANGER


class Wins(NamedTuple):
    """Per unit with two systems: each judge's verdict for the front system, 1, 1/2, 0, NaN where it gave none. Shape (units, judges)."""

    front: FloatArray


def wins_by_unit(bench: Bench, views: Sequence[View]) -> Wins:
    """Both orders and all repeats of a unit averaged."""
    n = len(bench.units.low)
    made = np.full((n, len(views)), np.nan)
    for column, view in enumerate(views):
        if view.pairwise:
            known = view.answer >= 0
            unit, value = view.unit[known], 1 - view.answer[known] / 2
            times = np.bincount(unit, minlength=n)
            total = np.bincount(unit, weights=value, minlength=n)
            made[:, column] = np.where(times > 0, total / np.maximum(times, 1), np.nan)
    return Wins(made)


def preferences(bench: Bench, place: int, view: View, wins: Wins, kin: Kinship) -> dict[str, Any]:
    """`self_preference` and `family_preference`, each null with its reason or with its parts in `…_detail`."""
    made: dict[str, Any] = {}
    for name, relations in (("self_preference", (OWN,)), ("family_preference", (OWN, KIN))):
        found, why = _preference(bench, place, view, wins, kin, relations)
        made |= {
            name: plain(found.excess) if found is not None else None,
            f"{name}_detail": plain(found) if found is not None else None,
            f"{name}_why": why,
        }
    return made


def _preference(bench: Bench, place: int, view: View, wins: Wins, kin: Kinship, relations: Sequence[int]) -> tuple[Any, str | None]:
    if not view.pairwise:
        return None, "single outputs are not compared with those of others"
    units = bench.units
    judged = np.unique(view.unit)
    front, other = units.front[judged], units.low[judged] + units.high[judged] - units.front[judged]
    ours, theirs = kin.of[place, front], kin.of[place, other]
    unknown = (ours == UNKNOWN) | (theirs == UNKNOWN)
    mine_first, mine_second = np.isin(ours, relations), np.isin(theirs, relations)
    one = (mine_first ^ mine_second) & ~unknown
    whose = "its own model" if relations == (OWN,) else "its family"
    if not one.any():
        if kin.judges[place] is None:
            return None, "the judge's family is not known: name it in evalh.toml"
        if unknown.any():
            return None, "the families of the systems are not known: name them in the outputs or in evalh.toml"
        return None, f"no pair sets an output of {whose} against another"
    truth, judge = units.truth[judged], wins.front[judged, place]
    usable = one & (truth >= 0) & ~np.isnan(judge)
    if not usable.any():
        return None, f"{int(one.sum())} pairs hold an output of {whose}, and none of them has a label and a verdict"
    chosen, own_first = judged[usable], mine_first[usable]
    human = 1 - truth[usable] / BACK
    systems = np.unique(np.where(own_first, front[usable], other[usable]))
    strangers = [n for n in range(len(kin.judges)) if n != place and (kin.of[n, systems] == STRANGER).all()]
    others = _mean(wins.front[np.ix_(chosen, strangers)]) if strangers else None
    own, people = (np.where(own_first, side, 1 - side) for side in (judge[usable], human))
    control = None if others is None else np.where(own_first, others, 1 - others)
    found = self_preference(own, people, bench.material.cluster[units.item[chosen]], control, **bench.options)
    return found, None


def _mean(values: FloatArray) -> FloatArray:
    known = ~np.isnan(values)
    times = known.sum(axis=1)
    return np.where(times > 0, np.where(known, values, 0.0).sum(axis=1) / np.maximum(times, 1), np.nan)

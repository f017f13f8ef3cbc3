"""Which outputs people label: probability designs with known inclusion probabilities. Pure: a seed in, label tasks out.

Every output gets a known positive probability, so that a small sample estimates the whole without bias. Draws use one
uniform number per output, made from the seed and the output's id (permanent random numbers): the draw does not depend on
the order of the outputs, and an output that is added reshuffles no others.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from itertools import pairwise
from math import floor as whole
from math import nan
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.errors import InputError
from evalh.fingerprints import derived_seed

Strategy = Literal["simple", "stratified", "disagreement", "uncertainty"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[Any]

WHOLE = "all"  # the stratum of designs without strata
LEAST_FLOOR = 0.05


class Unit(NamedTuple):
    """One output that could be labelled: the unit that is sampled."""

    unit_id: str
    slice: str = WHOLE
    score: float | None = None  # in [0, 1]; None: unscored
    disagreement: float | None = None  # standard deviation of the judges' scores; None below two judges
    p: float | None = None  # the mean of the judges' scores; the score where not given


class Drawn(NamedTuple):
    """One output in the label queue."""

    unit_id: str
    inclusion_probability: float
    stratum: str
    design: Strategy
    seed: int
    position: int  # place in the queue, from 0; the order is random and tells nothing


class Chance(NamedTuple):
    """How likely an output is drawn, and in which stratum."""

    probability: float
    stratum: str


def draw(units: Iterable[Unit], labels: int, strategy: Strategy, *, seed: int, floor: float = 0.3) -> list[Drawn]:
    """Draw outputs into the label queue, in the queue's order.

    `simple` and `stratified` draw exactly min(labels, outputs) without replacement; `disagreement` and `uncertainty` are
    Poisson designs, whose size is `labels` on average. `floor` is their share of the sample that is drawn uniformly.
    Of each output some 150 bytes are kept. Raises InputError for equal ids, and for labels or floor out of range.
    """
    pool, chances = _chances(units, labels, strategy, floor)
    uniform = np.fromiter((_uniform(seed, "draw", unit) for unit in pool.ids), np.float64, len(pool.ids))
    if strategy in ("simple", "stratified"):
        chosen = _smallest_of_each_stratum(chances, uniform)
    else:
        chosen = np.flatnonzero(uniform < chances.probability)
    queue = sorted(chosen.tolist(), key=lambda unit: _uniform(seed, "position", pool.ids[unit]))
    return [Drawn(pool.ids[unit], *chances.of(unit), strategy, seed, place) for place, unit in enumerate(queue)]


def inclusion_probabilities(units: Iterable[Unit], labels: int, strategy: Strategy, *, floor: float = 0.3) -> dict[str, Chance]:
    """The probability and the stratum of every output, by id in sorted order; each probability is in (0, 1]."""
    pool, chances = _chances(units, labels, strategy, floor)
    return {unit_id: chances.of(unit) for unit, unit_id in enumerate(pool.ids)}


class _Pool(NamedTuple):
    """All outputs by column, in the order of their ids; NaN where there is no value."""

    ids: list[str]
    slices: list[str]
    slice: IntArray  # of each output, its place in `slices`
    score: FloatArray
    disagreement: FloatArray
    p: FloatArray


class _Chances(NamedTuple):
    """The probability of each output of a pool, and its stratum as a place in `strata`."""

    probability: FloatArray
    stratum: IntArray
    strata: list[str]

    def of(self, unit: int) -> Chance:
        return Chance(float(self.probability[unit]), self.strata[self.stratum[unit]])


def _chances(units: Iterable[Unit], labels: int, strategy: Strategy, floor: float) -> tuple[_Pool, _Chances]:
    if labels < 1:
        raise InputError(f"labels is {labels}", where="sampling.labels", hint="it must be at least 1")
    if not LEAST_FLOOR <= floor <= 1:
        hint = f"it must be in [{LEAST_FLOOR}, 1], so that every output can be drawn"
        raise InputError(f"floor is {floor}", where="sampling.floor", hint=hint)
    pool = _pool(units)
    count = len(pool.ids)
    if strategy == "stratified" and count:
        return pool, _stratified(pool, labels)
    alike = strategy == "simple" or not count
    probability = np.full(count, min(1.0, labels / max(1, count))) if alike else _poisson(_interest(pool, strategy), labels, floor)
    return pool, _Chances(probability, np.zeros(count, dtype=np.int64), [WHOLE])


def _pool(units: Iterable[Unit]) -> _Pool:
    ids: list[str] = []
    slices: dict[str, int] = {}
    codes, score, disagreement, p = array("q"), array("d"), array("d"), array("d")
    for unit in units:
        for value, column in ((unit.score, score), (unit.disagreement, disagreement), (unit.p, p)):
            if value is not None and not 0 <= value <= 1:
                fault = "score, p or disagreement is not in [0, 1]"
                raise InputError(fault, where=f"output {unit.unit_id}", hint="a missing one is None")
            column.append(nan if value is None else value)
        ids.append(unit.unit_id)
        codes.append(slices.setdefault(unit.slice, len(slices)))
    named = np.array(ids, dtype=object)
    place = np.argsort(named, kind="stable")
    ids = named[place].tolist()
    for unit_id, following in pairwise(ids):
        if unit_id == following:
            raise InputError("output is there twice", where=f"output {unit_id}", hint="each output must have its own id")
    columns = [np.frombuffer(column)[place] if ids else np.zeros(0) for column in (score, disagreement, p)]
    return _Pool(ids, list(slices), np.array(codes, dtype=np.int64)[place], *columns)


def _uniform(seed: int, purpose: str, unit: str) -> float:
    return (derived_seed(seed, purpose, unit) >> 10) * 2.0**-53  # the top 53 bits: in [0, 1), no rounding up to 1


# ---- strata ---------------------------------------------------------------------------------------------------------


def _stratified(pool: _Pool, labels: int) -> _Chances:
    counts = np.bincount(pool.slice, minlength=len(pool.slices))
    name_of = _strata({name: int(count) for name, count in zip(pool.slices, counts, strict=True)}, labels)
    names = sorted(set(name_of.values()))
    stratum = np.array([names.index(name_of[name]) for name in pool.slices])[pool.slice]
    sizes = {name: int(count) for name, count in zip(names, np.bincount(stratum), strict=True)}
    shares = allocate(sizes, min(labels, len(pool.ids)))
    return _Chances(np.array([shares[name] / sizes[name] for name in names])[stratum], stratum, names)


def _strata(sizes: Mapping[str, int], labels: int) -> dict[str, str]:
    """The stratum of each slice: the slice itself; with more slices than labels the smallest ones are pooled, since a
    stratum that gets no label would leave outputs that can never be drawn.
    """
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    if len(names) <= labels:
        return {name: name for name in names}
    pooled = names[labels - 1 :]
    return dict.fromkeys(pooled, "+".join(sorted(pooled))) | {name: name for name in names[: labels - 1]}


def allocate(sizes: Mapping[str, int], labels: int) -> dict[str, int]:
    """Labels per stratum: proportional to its size, at least 1 each, the rest by largest remainder. Needs labels >= strata."""
    if not len(sizes) <= labels <= sum(sizes.values()):
        raise ValueError(f"{labels} labels for {len(sizes)} strata of {sum(sizes.values())} outputs")
    shares: dict[str, int] = {}
    while True:  # strata whose share is below 1 get 1; that lowers the share of the others, so look again
        rest = {name: size for name, size in sizes.items() if name not in shares}
        scale = (labels - len(shares)) / max(1, sum(rest.values()))
        small = [name for name, size in rest.items() if size * scale < 1]
        if not small:
            break
        shares.update(dict.fromkeys(small, 1))
    shares.update({name: whole(size * scale) for name, size in rest.items()})
    by_remainder = sorted(rest, key=lambda name: (shares[name] - rest[name] * scale, name))
    for name in by_remainder[: labels - sum(shares.values())]:
        shares[name] += 1
    return shares


def _smallest_of_each_stratum(chances: _Chances, uniform: FloatArray) -> IntArray:
    """Simple random sampling in each stratum: the outputs with the smallest uniform numbers."""
    order = np.lexsort((uniform, chances.stratum))
    sizes = np.bincount(chances.stratum, minlength=len(chances.strata))
    chosen: list[IntArray] = []
    for inside in np.split(order, np.cumsum(sizes)[:-1]):
        wanted = round(float(chances.probability[inside[0]]) * len(inside)) if len(inside) else 0
        chosen.append(inside[:wanted])
    return np.concatenate(chosen)


# ---- Poisson designs ------------------------------------------------------------------------------------------------


def _interest(pool: _Pool, strategy: Strategy) -> FloatArray:
    """How much there is to learn from each output (METHODS §2.5). An unscored one gets the largest value of all."""
    if strategy == "disagreement":
        interest = np.nan_to_num(pool.disagreement, nan=0.0)  # one judge cannot disagree: such an output is drawn by the floor alone
    else:
        p = np.where(np.isnan(pool.p), pool.score, pool.p)
        interest = np.sqrt(p * (1 - p))
    unscored = np.isnan(pool.score)
    largest = float(np.max(interest[~unscored], initial=0.0)) or 0.5  # 0.5: the largest sd of numbers in [0, 1]
    return np.where(unscored, largest, interest)


def _poisson(interest: FloatArray, labels: int, floor: float) -> FloatArray:
    """pi_i = (1 - floor) n u_i / sum(u) + floor n / M, at most 1 (METHODS §2.5).

    What is cut off at 1 goes to the others in proportion, so that the expected size stays `labels`.
    """
    count, total = len(interest), _sum(interest)
    if labels >= count:
        return np.ones(count)
    weights = ((1 - floor) * interest / total if total else (1 - floor) / count) + np.full(count, floor / count)
    certain = np.zeros(count, dtype=bool)
    while True:  # ends: some weight is below the average of the rest, so at least one output is never certain
        scale = (labels - int(certain.sum())) / _sum(weights[~certain])
        beyond = ~certain & (weights * scale >= 1)
        if not beyond.any():
            return np.where(certain, 1.0, weights * scale)
        certain |= beyond


def _sum(values: FloatArray) -> float:
    """The sum from first to last, as earlier versions made it: the same probabilities to the last digit."""
    return float(np.cumsum(values)[-1]) if len(values) else 0.0

"""Which outputs people label: probability designs with known inclusion probabilities. Pure: a seed in, label tasks out.

Every output gets a known positive probability, so that a small sample estimates the whole without bias. Draws use one
uniform number per output, made from the seed and the output's id (permanent random numbers): the draw does not depend on
the order of the outputs, and an output that is added reshuffles no others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import floor as whole
from math import sqrt
from typing import Literal, NamedTuple

from evalh.errors import InputError
from evalh.fingerprints import derived_seed

Strategy = Literal["simple", "stratified", "disagreement", "uncertainty"]

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


def draw(units: Sequence[Unit], labels: int, strategy: Strategy, *, seed: int, floor: float = 0.3) -> list[Drawn]:
    """Draw outputs into the label queue, in the queue's order.

    `simple` and `stratified` draw exactly min(labels, outputs) without replacement; `disagreement` and `uncertainty` are
    Poisson designs, whose size is `labels` on average. `floor` is their share of the sample that is drawn uniformly.
    Raises InputError for equal ids, and for labels or floor out of range.
    """
    chances = inclusion_probabilities(units, labels, strategy, floor=floor)
    uniform = {unit: _uniform(seed, "draw", unit) for unit in chances}
    if strategy in ("simple", "stratified"):
        chosen = _smallest_of_each_stratum(chances, uniform)
    else:
        chosen = [unit for unit, chance in chances.items() if uniform[unit] < chance.probability]
    queue = sorted(chosen, key=lambda unit: _uniform(seed, "position", unit))
    return [Drawn(unit, chances[unit].probability, chances[unit].stratum, strategy, seed, place) for place, unit in enumerate(queue)]


def inclusion_probabilities(units: Sequence[Unit], labels: int, strategy: Strategy, *, floor: float = 0.3) -> dict[str, Chance]:
    """The probability and the stratum of every output, by id in sorted order; each probability is in (0, 1]."""
    ordered = sorted(units, key=lambda unit: unit.unit_id)
    _validate(ordered, labels, floor)
    if strategy == "simple":
        return {unit.unit_id: Chance(min(1.0, labels / len(ordered)), WHOLE) for unit in ordered}
    if strategy == "stratified":
        return _stratified(ordered, labels)
    return {unit.unit_id: Chance(p, WHOLE) for unit, p in zip(ordered, _poisson(_interest(ordered, strategy), labels, floor), strict=True)}


def _validate(ordered: Sequence[Unit], labels: int, floor: float) -> None:
    if labels < 1:
        raise InputError(f"labels is {labels}", where="sampling.labels", hint="it must be at least 1")
    if not LEAST_FLOOR <= floor <= 1:
        hint = f"it must be in [{LEAST_FLOOR}, 1], so that every output can be drawn"
        raise InputError(f"floor is {floor}", where="sampling.floor", hint=hint)
    for unit, following in pairwise(ordered):
        if unit.unit_id == following.unit_id:
            raise InputError("output is there twice", where=f"output {unit.unit_id}", hint="each output must have its own id")
    for unit in ordered:
        if any(value is not None and not 0 <= value <= 1 for value in (unit.score, unit.p, unit.disagreement)):
            raise InputError("score, p or disagreement is not in [0, 1]", where=f"output {unit.unit_id}", hint="a missing one is None")


def _uniform(seed: int, purpose: str, unit: str) -> float:
    return (derived_seed(seed, purpose, unit) >> 10) * 2.0**-53  # the top 53 bits: in [0, 1), no rounding up to 1


# ---- strata ---------------------------------------------------------------------------------------------------------


def _stratified(ordered: Sequence[Unit], labels: int) -> dict[str, Chance]:
    stratum = _strata(ordered, labels)
    sizes = Counter(stratum[unit.slice] for unit in ordered)
    shares = allocate(sizes, min(labels, len(ordered)))
    return {unit.unit_id: Chance(shares[name] / sizes[name], name) for unit in ordered for name in [stratum[unit.slice]]}


def _strata(ordered: Sequence[Unit], labels: int) -> dict[str, str]:
    """The stratum of each slice: the slice itself; with more slices than labels the smallest ones are pooled, since a
    stratum that gets no label would leave outputs that can never be drawn.
    """
    sizes = Counter(unit.slice for unit in ordered)
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    if len(names) <= labels:
        return {name: name for name in names}
    pooled = names[labels - 1 :]
    return {name: "+".join(sorted(pooled)) if name in pooled else name for name in names}


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


def _smallest_of_each_stratum(chances: dict[str, Chance], uniform: dict[str, float]) -> list[str]:
    """Simple random sampling in each stratum: the outputs with the smallest uniform numbers."""
    members: dict[str, list[str]] = {}
    for unit, chance in chances.items():
        members.setdefault(chance.stratum, []).append(unit)
    chosen: list[str] = []
    for inside in members.values():
        size = round(chances[inside[0]].probability * len(inside))
        chosen += sorted(inside, key=lambda unit: uniform[unit])[:size]
    return chosen


# ---- Poisson designs ------------------------------------------------------------------------------------------------


def _interest(ordered: Sequence[Unit], strategy: Strategy) -> list[float]:
    """How much there is to learn from each output (METHODS §2.5). An unscored one gets the largest value of all."""
    known = [None if unit.score is None else _known_interest(unit, strategy) for unit in ordered]
    largest = max((u for u in known if u is not None), default=0.0) or 0.5  # 0.5: the largest sd of numbers in [0, 1]
    return [largest if u is None else u for u in known]


def _known_interest(unit: Unit, strategy: Strategy) -> float:
    if strategy == "disagreement":
        return unit.disagreement or 0.0  # one judge cannot disagree: such an output is drawn by the floor alone
    p = unit.p if unit.p is not None else unit.score or 0.0
    return sqrt(p * (1 - p))


def _poisson(interest: Sequence[float], labels: int, floor: float) -> list[float]:
    """pi_i = (1 - floor) n u_i / sum(u) + floor n / M, at most 1 (METHODS §2.5).

    What is cut off at 1 goes to the others in proportion, so that the expected size stays `labels`.
    """
    count, total = len(interest), sum(interest)
    if labels >= count:
        return [1.0] * count
    weights = [((1 - floor) * u / total if total else (1 - floor) / count) + floor / count for u in interest]
    certain: set[int] = set()
    while True:  # ends: some weight is below the average of the rest, so at least one output is never certain
        scale = (labels - len(certain)) / sum(weight for i, weight in enumerate(weights) if i not in certain)
        beyond = {i for i, weight in enumerate(weights) if i not in certain and weight * scale >= 1}
        if not beyond:
            return [1.0 if i in certain else weight * scale for i, weight in enumerate(weights)]
        certain |= beyond

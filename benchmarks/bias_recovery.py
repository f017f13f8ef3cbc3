"""Biases of judges by seeded simulation: what is recovered, coverage of the intervals, and false alarms where there is no bias.

    python benchmarks/bias_recovery.py [--runs 500]

Judges with stated biases give verdicts; the truth of a figure is worked out from the law (position, repeats, own outputs) or
taken from 400,000 simulated verdicts (length). A simulated coverage of .95 has a standard deviation of .010 at 500 runs,
a false alarm rate of .05 the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.records import Estimate
from evalh.stats.bias import position, repeat_stability, self_preference, verbosity

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Found = Mapping[str, Estimate | None]
MANY = 400_000  # verdicts behind a truth that has no closed form
BALANCE = {"first share": 0.5, "fairness": 0.0, "coefficient": 0.0, "excess": 0.0, "controlled": 0.0, "equal opportunity": 0.0}


class Line(NamedTuple):
    """One figure in one world."""

    figure: str
    truth: float
    mean: float
    covered: float  # share of the intervals that hold the truth; of the repetitions that gave one
    alarms: float | None  # share of the intervals that leave out "no bias"; None where no bias has no one value
    given: float  # share of the repetitions that gave an interval


def measure(sample: Callable[[np.random.Generator, int], Found], truth: Mapping[str, float], reps: int) -> list[Line]:
    """Repeat a simulation and count."""
    rng = np.random.default_rng(20_241)
    every = [sample(rng, rep) for rep in range(reps)]
    lines = []
    for name, true in truth.items():
        found = [one[name] for one in every]
        values = [e.value for e in found if e is not None and e.value is not None]
        ends = [(e.low, e.high) for e in found if e is not None and e.low is not None and e.high is not None]
        covered = float(np.mean([low <= true <= high for low, high in ends])) if ends else float("nan")
        alarms = float(np.mean([not low <= BALANCE[name] <= high for low, high in ends])) if ends and name in BALANCE else None
        lines.append(Line(name, true, float(np.mean(values)) if values else float("nan"), covered, alarms, len(ends) / reps))
    return lines


def logistic(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


# ---- the order shown ------------------------------------------------------------------------------------------------


class Order(NamedTuple):
    """A judge of pairs whose outputs differ in quality by N(0, 1.2) log-odds. `pull` is added for the output shown first."""

    items: int
    pairs: int  # per item; they share the difference in quality
    pull: float
    ties: float = 0.1

    def chances(self, quality: Array) -> Array:
        """P(first, tie, second) by quality of the first over the second: (n, 3)."""
        first = (1 - self.ties) * logistic(quality + self.pull)
        return np.column_stack([first, np.full_like(first, self.ties), 1 - self.ties - first])

    def truth(self) -> dict[str, float]:
        """By numerical integration over the law of quality; the two orders are independent given it."""
        from scipy.stats import norm

        quality = 1.2 * norm.ppf((np.arange(20_000) + 0.5) / 20_000)
        one, other = self.chances(quality), self.chances(-quality)
        both = (one[:, :, None] * other[:, None, :]).mean(axis=0)  # slots that win in the two orders: A, T, B
        primacy, recency = both[0, 0] + both[0, 1] + both[1, 0], both[2, 2] + both[2, 1] + both[1, 2]
        score = np.array([1, 0.5, 0])
        share = float((both * (score[:, None] + score[None, :]) / 2).sum())
        return {"consistency": both[0, 2] + both[2, 0] + both[1, 1], "fairness": recency - primacy, "first share": share}

    def sample(self, rng: np.random.Generator, seed: int) -> Found:
        n = self.items * self.pairs
        quality = np.repeat(rng.normal(0, 1.2, self.items), self.pairs)
        shown = np.concatenate([quality, -quality])
        drawn, chance = rng.random(2 * n), self.chances(shown)
        wins = np.where(drawn < chance[:, 0], 1.0, np.where(drawn < chance[:, 0] + chance[:, 1], 0.5, 0.0))
        pair, order = np.tile(np.arange(n), 2), np.repeat([0, 1], n)
        found = position(pair, wins, order, np.zeros(2 * n, dtype=np.int64), pair // self.pairs, seed=seed)
        return {"consistency": found.consistency, "fairness": found.fairness, "first share": found.first_share}


# ---- the same question again ----------------------------------------------------------------------------------------


class Repeats(NamedTuple):
    """A judge that says yes to an item with a probability from Beta(a, b), each time anew, to all `questions` of the item."""

    items: int
    repeats: int
    a: float
    b: float
    questions: int = 1

    def truth(self) -> dict[str, float]:
        mean = self.a / (self.a + self.b)
        square = mean**2 + mean * (1 - mean) / (self.a + self.b + 1)
        return {"RS2": 1 - 2 * (mean - square)}

    def sample(self, rng: np.random.Generator, seed: int) -> Found:
        asked = np.repeat(np.arange(self.items * self.questions), self.repeats)
        item = asked // self.questions
        chance = rng.beta(self.a, self.b, self.items)[item]
        found = repeat_stability(asked, (rng.random(len(asked)) < chance).astype(np.int64), item, seed=seed)
        return {"RS2": found.agreement if found else None}


# ---- length ---------------------------------------------------------------------------------------------------------


class Length(NamedTuple):
    """A judge with `slope` log-odds per unit of log length at equal human verdict. Longer outputs are also better.

    Each item is shown in both orders, or in one; an item has an effect of its own, N(0, .7), on its verdicts.
    """

    items: int
    slope: float
    labelled: bool = True
    orders: int = 2

    def draw(self, rng: np.random.Generator, items: int) -> tuple[Array, Array, Array, Codes]:
        ratio = rng.normal(0, 0.7, items)
        chance = logistic(1.5 * ratio)
        human = np.where(rng.random(items) < 0.15, 0.0, np.where(rng.random(items) < chance, 1.0, -1.0))
        lean = 1.5 * human + self.slope * ratio + rng.normal(0, 0.7, items)
        ratio, human, lean = (np.concatenate([column, -column][: self.orders]) for column in (ratio, human, lean))
        n = len(ratio)
        wins = np.where(rng.random(n) < 0.1, 0.5, (rng.random(n) < logistic(lean + 0.2)).astype(float))
        return ratio, wins, human, np.tile(np.arange(items), self.orders)

    def figures(self, rng: np.random.Generator, items: int, seed: int) -> Found:
        ratio, wins, human, clusters = self.draw(rng, items)
        found = verbosity(ratio, wins, human if self.labelled else None, clusters, seed=seed)
        return {"coefficient": found.coefficient, "doubling": found.doubling, "longer share": found.longer_share} if found else {}

    def truth(self) -> dict[str, float]:
        found = self.figures(np.random.default_rng(1), MANY // self.orders, 1)
        return {name: e.value for name, e in found.items() if e is not None and e.value is not None}

    def sample(self, rng: np.random.Generator, seed: int) -> Found:
        return self.figures(rng, self.items, seed)


# ---- its own --------------------------------------------------------------------------------------------------------


class Own(NamedTuple):
    """A judge that errs on 15 % of pairs, names its own output where it would not with probability `own`, and, as all judges do,
    errs in favour of it with probability `all`: the excess has both in it, the controlled excess the first alone.

    The pairs of an item share how likely people are to prefer the own output, Beta(2, 2.4).
    """

    items: int
    pairs: int
    own: float
    all: float = 0.0

    def truth(self) -> dict[str, float]:
        won = 2 / 4.4
        others = {h: float(_pulled(0.85 if h else 0.15, self.all)) for h in (True, False)}
        judge = {h: float(_pulled(chance, self.own)) for h, chance in others.items()}
        excess = won * judge[True] + (1 - won) * judge[False] - won
        mean_others = won * others[True] + (1 - won) * others[False]
        return {
            "equal opportunity": judge[True] - (1 - judge[False]),
            "excess": excess,
            "controlled": excess - (mean_others - won),
        }

    def sample(self, rng: np.random.Generator, seed: int) -> Found:
        n = self.items * self.pairs
        human = (rng.random(n) < np.repeat(rng.beta(2, 2.4, self.items), self.pairs)).astype(float)
        usual = _pulled(np.where(human == 1, 0.85, 0.15), self.all)
        judge = (rng.random(n) < _pulled(usual, self.own)).astype(float)
        others = (rng.random((n, 2)) < usual[:, None]).mean(axis=1)
        found = self_preference(judge, human, np.arange(n) // self.pairs, others, seed=seed)
        assert found is not None
        return {"equal opportunity": found.equal_opportunity, "excess": found.excess, "controlled": found.controlled}


def _pulled(chance: Array | float, pull: float) -> Array:
    return np.asarray(chance + (1 - np.asarray(chance)) * pull)


World = Order | Repeats | Length | Own
WORLDS: list[tuple[str, World]] = [
    ("no position bias, 30 pairs", Order(30, 1, 0.0)),
    ("no position bias, 100 pairs", Order(100, 1, 0.0)),
    ("no position bias, 40 items of 5 pairs", Order(40, 5, 0.0)),
    ("for the first shown, .5 log-odds, 100 pairs", Order(100, 1, 0.5)),
    ("for the second shown, 1 log-odds, 40 items of 5 pairs", Order(40, 5, -1.0)),
    ("three repeats, Beta(2, 2), 50 items", Repeats(50, 3, 2, 2)),
    ("three repeats, hardly ever changing, Beta(.1, .1), 50 items", Repeats(50, 3, 0.1, 0.1)),
    ("three repeats of 4 questions an item, Beta(2, 2), 40 items", Repeats(40, 3, 2, 2, 4)),
    ("no pull of length, 50 items", Length(50, 0.0)),
    ("no pull of length, 200 items", Length(200, 0.0)),
    ("no pull of length, 200 items without labels: an association", Length(200, 0.0, labelled=False)),
    ("no pull of length, 200 items in one order each", Length(200, 0.0, orders=1)),
    ("1 log-odds per unit of log length, 50 items", Length(50, 1.0)),
    ("1 log-odds per unit of log length, 200 items", Length(200, 1.0)),
    ("1 log-odds per unit of log length, 200 items in one order each", Length(200, 1.0, orders=1)),
    ("no preference for its own, 60 pairs", Own(60, 1, 0.0)),
    ("no preference for its own, 40 items of 4 pairs", Own(40, 4, 0.0)),
    ("all judges lean to it, 200 pairs: no preference of its own", Own(200, 1, 0.0, 0.25)),
    ("prefers its own in 25 %, 200 pairs", Own(200, 1, 0.25)),
    ("prefers its own in 25 %, all lean, 40 items of 4 pairs", Own(40, 4, 0.25, 0.25)),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", "--reps", type=int, default=500, help="simulated samples per world")
    runs, started = parser.parse_args().runs, time.perf_counter()
    for name, world in WORLDS:
        print(f"\n{name}\n{'':>20}{'truth':>8}{'mean':>8}{'covers':>8}{'away from no bias':>19}{'given':>7}")
        for line in measure(world.sample, world.truth(), runs):
            away = "" if line.alarms is None else f"{line.alarms:.3f}"
            print(f"{line.figure:>20}{line.truth:>8.3f}{line.mean:>8.3f}{line.covered:>8.3f}{away:>19}{line.given:>7.2f}", flush=True)
    print(f"\n{runs} runs, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()

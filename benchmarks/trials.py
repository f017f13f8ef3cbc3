"""Trials by seeded simulation: bias of pass@k, pass^k, majority, flakiness, and coverage of their intervals.

    python benchmarks/trials.py [--reps 500]

Every item has its own probability to pass, drawn from a law; its trials are independent given that. The truth of a figure
is its mean over the law, known to 1e-5. A simulated coverage of .95 has a standard deviation of .010 at 500 repetitions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from evalh.stats.intervals import rate
from evalh.stats.trials import Figure, ItemTrials, changes, majority, over_items, pass_at, pass_hat

DRAWS = 2000
LAWS = {"two kinds of items, Beta(.5, .5)": (0.5, 0.5), "even, Beta(2, 2)": (2.0, 2.0), "near the ceiling, Beta(8, .6)": (8.0, 0.6)}


class Measured(NamedTuple):
    """A figure: how it is estimated, and its truth for an item that passes with probability p."""

    name: str
    figure: Figure
    needs: int
    truth: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


def measured(n: int) -> list[Measured]:
    """The figures of n trials."""
    at = [Measured(f"pass@{k}", partial(pass_at, k=k), k, lambda p, k=k: 1 - (1 - p) ** k) for k in dict.fromkeys((1, (n + 1) // 2, n))]
    hat = [Measured(f"pass^{k}", partial(pass_hat, k=k), k, lambda p, k=k: p**k) for k in dict.fromkeys(((n + 1) // 2, n))]
    return [
        *at,
        *hat,
        Measured("majority", majority, 1, lambda p: stats.binom.sf(n // 2, n, p)),
        Measured("flaky", partial(changes, k=n), n, lambda p: 1 - p**n - (1 - p) ** n),
        Measured("two differ", partial(changes, k=2), 2, lambda p: 2 * p * (1 - p)),
    ]


@cache
def quantiles(a: float, b: float) -> npt.NDArray[np.float64]:
    """Beta(a, b) at 200,000 even steps of probability."""
    return np.asarray(stats.beta.ppf((np.arange(200_000) + 0.5) / 200_000, a, b))


def truth_of(one: Measured, a: float, b: float) -> float:
    """The mean of a figure over Beta(a, b)."""
    return float(one.truth(quantiles(a, b)).mean())


def sample(rng: np.random.Generator, items: int, n: int, a: float, b: float, *, per_group: int = 1, lost: float = 0.0) -> list[ItemTrials]:
    """Trials of items; the items of a group share their probability. A trial that fails is unscored with probability `lost`."""
    p = np.repeat(rng.beta(a, b, -(-items // per_group)), per_group)[:items]
    passed = rng.binomial(n, p)
    unscored = rng.binomial(n - passed, lost)
    return [
        ItemTrials(f"i{i}", "all", f"g{i // per_group}", int(c), int(n - c - u), int(u))
        for i, (c, u) in enumerate(zip(passed, unscored, strict=True))
    ]


def simulate(reps: int, figures: list[Measured], a: float, b: float, items: int, n: int, **how: float) -> dict[str, tuple[float, float]]:
    """Per figure the bias and the coverage of its 95 % interval."""
    truths = {one.name: truth_of(one, a, b) for one in figures}
    off, hits = dict.fromkeys(truths, 0.0), dict.fromkeys(truths, 0)
    rng = np.random.default_rng([items, n, round(100 * a)])
    for rep in range(reps):
        trials = sample(rng, items, n, a, b, **how)  # type: ignore[arg-type]
        for one in figures:
            found = over_items(trials, one.figure, needs=one.needs, seed=rep, draws=DRAWS)
            assert found.value is not None and found.low is not None and found.high is not None  # noqa: PT018
            off[one.name] += found.value - truths[one.name]
            hits[one.name] += found.low <= truths[one.name] <= found.high
    return {name: (off[name] / reps, hits[name] / reps) for name in truths}


def show(title: str, reps: int, a: float, b: float, n: int, sizes: tuple[int, ...], **how: float) -> None:
    figures = measured(n)
    print(f"\n{title}, {n} trials")
    print(f"{'items':>6}  {'':>8}" + "".join(f"{one.name:>11}" for one in figures))
    print(f"{'':>6}  {'truth':>8}" + "".join(f"{truth_of(one, a, b):>11.3f}" for one in figures))
    for items in sizes:
        found = simulate(reps, figures, a, b, items, n, **how)
        print(f"{items:>6}  {'bias':>8}" + "".join(f"{bias:>+11.4f}" for bias, _ in found.values()))
        print(f"{'':>6}  {'covers':>8}" + "".join(f"{share:>11.3f}" for _, share in found.values()))


def other_ways(reps: int, n: int = 5, items: int = 50) -> None:
    """What the common short cuts would say."""
    print(f"\nShort cuts, {items} items, {n} trials")
    print(f"{'law':>34}  {'Wilson over all trials covers':>30}  {f'bias of 1 - (1 - c/n)^{n}':>26}  {'bias of (c/n)^' + str(n):>18}")
    for name, (a, b) in LAWS.items():
        rng, mean = np.random.default_rng(1), a / (a + b)
        at, hat = (truth_of(one, a, b) for one in measured(n) if one.name in (f"pass@{n}", f"pass^{n}"))
        hits, off_at, off_hat = 0, 0.0, 0.0
        for _ in range(reps):
            passed = rng.binomial(n, rng.beta(a, b, items))
            naive = rate(int(passed.sum()), items * n)
            hits += (naive.low or 0) <= mean <= (naive.high or 1)
            off_at += float(np.mean(1 - (1 - passed / n) ** n)) - at
            off_hat += float(np.mean((passed / n) ** n)) - hat
        print(f"{name:>34}  {hits / reps:>30.3f}  {off_at / reps:>+26.4f}  {off_hat / reps:>+18.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reps", type=int, default=500, help="simulated samples per row")
    reps, started = parser.parse_args().reps, time.perf_counter()
    for name, (a, b) in LAWS.items():
        show(name, reps, a, b, 5, (20, 50, 200))
    show("In groups of 5 that share their probability, Beta(2, 2)", reps, 2.0, 2.0, 4, (100,), per_group=5)
    show("One in ten fails is unscored: value leans, the interval must hold, Beta(2, 2)", reps, 2.0, 2.0, 5, (50, 200), lost=0.1)
    other_ways(reps)
    print(f"\n{reps} repetitions, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()

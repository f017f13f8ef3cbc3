"""Judges with a stated shared error: are the correlation of their errors and their effective number recovered, and covered?

    python benchmarks/error_correlation.py [--reps 400]

Each of five judges errs, per item, by one draw that all share with probability sqrt(rho), else by a draw of its own; the
probability of an error is .12 in one true class and .25 in the others. So the correlation given the truth is rho for every pair
and the panel is worth 5 / (1 + 4 rho) judges. In clusters of four, half of the items repeat the draws of their cluster. A
simulated coverage of .95 has a standard deviation of .011 at 400 repetitions.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import numpy.typing as npt

from evalh.records import Estimate
from evalh.stats.dependence import effective_judges, error_correlation

JUDGES = 5
ERRORS = (0.12, 0.25)  # in the first true class, in the others
REPEATED = 0.5  # share of a cluster's items that repeat its draws
CASES = [(2, 1), (2, 4), (4, 1)]  # classes, items in a cluster
SIZES = (100, 300, 2000)
CORRELATIONS = (0.0, 0.2, 0.45)

IntArray = npt.NDArray[np.int64]


def judged(rng: np.random.Generator, n: int, rho: float, classes: int, size: int) -> tuple[IntArray, IntArray, IntArray]:
    """Verdicts (n, J), truth and cluster (n,)."""
    cluster = np.arange(n) // size
    truth = rng.integers(0, classes, cluster[-1] + 1)[cluster]  # one class per cluster
    repeats = rng.random(n) < (REPEATED if size > 1 else 0)

    def draws(columns: int) -> npt.NDArray[np.float64]:
        return np.where(repeats[:, None], rng.random((cluster[-1] + 1, columns))[cluster], rng.random((n, columns)))

    position = np.where(rng.random((n, JUDGES)) < np.sqrt(rho), draws(1), draws(JUDGES))
    wrong = position < np.where(truth == 0, *ERRORS)[:, None]
    other = (truth[:, None] + rng.integers(1, classes, (n, JUDGES))) % classes
    return np.where(wrong, other, truth[:, None]), truth, cluster


def covers(found: Estimate, truth: float) -> bool:
    return found.low is not None and found.high is not None and found.low <= truth <= found.high


def row(n: int, rho: float, classes: int, size: int, reps: int) -> str:
    rng, worth = np.random.default_rng([n, round(100 * rho), classes, size]), JUDGES / (1 + (JUDGES - 1) * rho)
    values, hits, flags, tests = [], np.zeros(2), 0, 0
    for rep in range(reps):
        verdicts, truth, cluster = judged(rng, n, rho, classes, size)
        pair = error_correlation(verdicts[:, 0], verdicts[:, 1], truth, cluster, seed=rep)
        panel = effective_judges(verdicts, truth, cluster, seed=rep)
        values.append((pair.correlation.value or 0.0, panel.kish.value or 0.0))
        hits += [covers(pair.correlation, rho), covers(panel.kish, worth)]
        flags += (pair.correlation.low or 0.0) > 0
        tests += pair.p_value is not None and pair.p_value < 0.05
    mean, cover = np.mean(values, axis=0), hits / reps
    return (
        f"{classes:>7} {size:>7} {n:>6} {rho:>6.2f} {mean[0]:>9.3f} {cover[0]:>9.3f} {flags / reps:>8.3f} {tests / reps:>8.3f}"
        f" {worth:>7.2f} {mean[1]:>9.2f} {cover[1]:>9.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reps", type=int, default=400, help="simulated samples per row")
    reps, started = parser.parse_args().reps, time.perf_counter()
    print(f"{'':>29} two judges: correlation{'':>14} five judges: effective number")
    print(f"{'classes':>7} {'cluster':>7} {'items':>6} {'stated':>6} {'found':>9} {'coverage':>9} {'low > 0':>8} {'p < .05':>8}", end=" ")
    print(f"{'stated':>7} {'found':>9} {'coverage':>9}")
    for classes, size in CASES:
        for n in SIZES:
            for rho in CORRELATIONS:
                print(row(n, rho, classes, size, reps), flush=True)
    print(f"\n{reps} repetitions, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()

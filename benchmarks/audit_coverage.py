"""Coverage of the intervals of an audit by seeded simulation: kappa, alpha, correlations, calibration; with clusters and without.

    python benchmarks/audit_coverage.py [--reps 1000]

The share of simulated samples whose 95 % interval holds the figure of the population. It should be .95; at 1,000
repetitions it has a standard deviation of .007. The truth of each law comes from one sample of 2,000,000 rows.
`mean width` is that of the intervals that were given, `none` the share of samples without one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.records import Estimate
from evalh.stats.association import cohen_kappa, detection, kendall, krippendorff_alpha, pearson, spearman
from evalh.stats.calibration import calibration

Array = npt.NDArray[np.float64]
LARGE, PER_CLUSTER = 2_000_000, 5


class Case(NamedTuple):
    name: str
    sizes: tuple[int, ...]
    draw: Callable[[np.random.Generator, int, int], tuple[Array, Array]]  # generator, clusters, rows a cluster: two columns
    figure: Callable[[Array, Array, npt.NDArray[np.int64], int], Estimate]


def shared(rng: np.random.Generator, clusters: int, size: int) -> Array:
    """Standard normal numbers; half of the variance is the cluster's where a cluster has more than one row."""
    own = rng.standard_normal(clusters * size)
    return own if size == 1 else np.sqrt(0.5) * (own + np.repeat(rng.standard_normal(clusters), size))


def answers(accuracy: float, common: float) -> Callable[[np.random.Generator, int, int], tuple[Array, Array]]:
    """Two columns of three classes, the first of them with probability `common`; the second is right with `accuracy`, else random."""

    def draw(rng: np.random.Generator, clusters: int, size: int) -> tuple[Array, Array]:
        from scipy.special import ndtr

        n = clusters * size
        truth = np.searchsorted([common, (1 + common) / 2], ndtr(shared(rng, clusters, size))).astype(float)
        right = ndtr(shared(rng, clusters, size)) < accuracy
        return truth, np.where(right, truth, rng.integers(0, 3, n))

    return draw


def linear(heavy: bool) -> Callable[[np.random.Generator, int, int], tuple[Array, Array]]:
    """Two columns of numbers with a correlation of .6; the heavy law has exponentiated ones."""

    def draw(rng: np.random.Generator, clusters: int, size: int) -> tuple[Array, Array]:
        x = shared(rng, clusters, size)
        y = 0.6 * x + 0.8 * shared(rng, clusters, size)
        return (np.exp(x), np.exp(y)) if heavy else (x, y)

    return draw


def five_levels(rng: np.random.Generator, clusters: int, size: int) -> tuple[Array, Array]:
    x, y = linear(heavy=False)(rng, clusters, size)
    cuts = [-1.5, -0.5, 0.5, 1.5]
    return np.searchsorted(cuts, x).astype(float), np.searchsorted(cuts, y).astype(float)


def confidences(excess: float) -> Callable[[np.random.Generator, int, int], tuple[Array, Array]]:
    """Confidences on [.5, 1], and answers that are right less often by `excess`."""

    def draw(rng: np.random.Generator, clusters: int, size: int) -> tuple[Array, Array]:
        from scipy.special import ndtr

        stated = 0.5 + 0.5 * ndtr(shared(rng, clusters, size))
        return stated, (ndtr(shared(rng, clusters, size)) < stated - excess).astype(float)

    return draw


def alpha(x: Array, y: Array, clusters: npt.NDArray[np.int64], seed: int, metric: str) -> Estimate:
    unit = np.arange(len(x))
    two = {"unit": np.concatenate([unit, unit]), "value": np.concatenate([x, y]), "clusters": np.concatenate([clusters, clusters])}
    return krippendorff_alpha(**two, metric=metric, seed=seed)  # type: ignore[arg-type]


def cases() -> list[Case]:
    def kappa(x: Array, y: Array, c: npt.NDArray[np.int64], seed: int) -> Estimate:
        return cohen_kappa(x.astype(int), y.astype(int), c, classes=3, seed=seed).estimate

    def weighted(x: Array, y: Array, c: npt.NDArray[np.int64], seed: int) -> Estimate:
        return cohen_kappa(x.astype(int), y.astype(int), c, classes=5, weights="quadratic", seed=seed).estimate

    def balanced(x: Array, y: Array, c: npt.NDArray[np.int64], seed: int) -> Estimate:
        return detection(x > 0, y > 0, c, seed=seed).balanced_accuracy

    def separation(x: Array, y: Array, c: npt.NDArray[np.int64], seed: int) -> Estimate:
        return calibration(x, y > 0, c, seed=seed).auroc

    def error(x: Array, y: Array, c: npt.NDArray[np.int64], seed: int) -> Estimate:
        return calibration(x, y > 0, c, seed=seed).ece

    sizes = (50, 100, 400)
    return [
        Case("kappa, 3 classes, .47", sizes, answers(0.5, 1 / 3), kappa),
        Case("kappa, 3 classes, .90", sizes, answers(0.9, 1 / 3), kappa),
        Case("kappa, 80 % in one class", sizes, answers(0.7, 0.8), kappa),
        Case("kappa, 5 levels, quadratic", sizes, five_levels, weighted),
        Case("balanced accuracy", sizes, answers(0.7, 1 / 3), balanced),
        Case("alpha, nominal", sizes, answers(0.7, 1 / 3), lambda x, y, c, s: alpha(x, y, c, s, "nominal")),
        Case("alpha, ordinal", sizes, five_levels, lambda x, y, c, s: alpha(x, y, c, s, "ordinal")),
        Case("alpha, interval", sizes, five_levels, lambda x, y, c, s: alpha(x, y, c, s, "interval")),
        Case("Pearson, normal", sizes, linear(heavy=False), lambda x, y, c, s: pearson(x, y, c, seed=s)),
        Case("Pearson, lognormal", sizes, linear(heavy=True), lambda x, y, c, s: pearson(x, y, c, seed=s)),
        Case("Spearman, normal", sizes, linear(heavy=False), lambda x, y, c, s: spearman(x, y, c, seed=s)),
        Case("Kendall, 5 levels", sizes, five_levels, lambda x, y, c, s: kendall(x, y, c, seed=s)),
        Case("AUROC", sizes, confidences(0.0), separation),
        Case("ECE, calibrated (0)", sizes, confidences(0.0), error),
        Case("ECE, .10 too sure", sizes, confidences(0.1), error),
    ]


def row(case: Case, truth: float, n: int, size: int, reps: int) -> str:
    rng = np.random.default_rng([n, size])
    clusters = np.repeat(np.arange(n // size), size)
    hits = given = 0
    width = 0.0
    for rep in range(reps):
        x, y = case.draw(rng, n // size, size)
        found = case.figure(x, y, clusters, rep)
        if found.low is not None and found.high is not None:
            given, hits, width = given + 1, hits + (found.low <= truth <= found.high), width + found.high - found.low
    if not given:
        return f"{'–':>9} {'–':>11} {1:>6.2f}"
    return f"{hits / given:>9.3f} {width / given:>11.3f} {1 - given / reps:>6.2f}"


def truth_of(case: Case, size: int) -> float:
    if case.name.startswith("ECE, calibrated"):
        return 0.0
    x, y = case.draw(np.random.default_rng(7), LARGE // size, size)
    # the value does not depend on the clusters; four of them are too few for an interval, which nobody needs here
    found = case.figure(x, y, np.arange(len(x)) % 4, 0).value
    return float("nan") if found is None else found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reps", type=int, default=1000, help="simulated samples per row")
    parser.add_argument("--only", default="", help="only figures whose name holds this")
    options, started = parser.parse_args(), time.perf_counter()
    head = f"{'coverage':>9} {'mean width':>11} {'none':>6}"
    print(f"{'':<28} {'':>6} {'':>5}   {'alone':^28}   {f'in clusters of {PER_CLUSTER}':^28}")
    print(f"{'figure':<28} {'truth':>6} {'n':>5}   {head}   {head}")
    for case in cases():
        if options.only not in case.name:
            continue
        truth = truth_of(case, 1)
        for n in case.sizes:
            found = "   ".join(row(case, truth, n, size, options.reps) for size in (1, PER_CLUSTER))
            print(f"{case.name:<28} {truth:>6.3f} {n:>5}   {found}", flush=True)
    print(f"\n{options.reps} repetitions, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()

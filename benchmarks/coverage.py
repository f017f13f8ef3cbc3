"""Coverage of evalh's intervals by seeded simulation, beside the values of the method page.

    python benchmarks/coverage.py [--reps 2000]

Rates without clusters are computed exactly (a sum over the binomial law); the rest is simulated. A simulated coverage
of .95 has a standard deviation of .005 at 2,000 repetitions. The method page does not give the whole law of its ceiling
case (only that 90 % are top scores), so small differences there are differences of the law.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from scipy import stats

from evalh.records import Estimate
from evalh.stats.intervals import cr3_interval, mean_interval, rate

DRAWS = 2000  # per repetition: a quarter of the Monte-Carlo error budget of a single report
LEVELS = np.array([0, 0.25, 0.5, 0.75, 1])
CEILING = np.array([0.01, 0.02, 0.03, 0.04, 0.90])
RATES = (0.5, 0.8, 0.95)


def covers(estimate: Estimate, truth: float) -> bool:
    return estimate.low is not None and estimate.high is not None and estimate.low <= truth <= estimate.high


def rates() -> None:
    print("Rate without clusters, exact; minimum / mean over p = .5, .8, .95 (METHODS §2.4: Wilson, Jeffreys)")
    published = {20: (".92/.95", ".95/.97"), 50: (".93/.95", ".89/.93"), 100: (".94/.95", ".93/.95"), 200: (".94/.96", ".94/.95")}
    print(f"{'n':>6} {'Wilson':>9} {'METHODS':>9}   {'Jeffreys':>9} {'METHODS':>9}")
    for n, (wilson_published, jeffreys_published) in published.items():
        shown = [f"{min(c):.2f}/{np.mean(c):.2f}" for c in (exact_coverage(make, n) for make in (wilson_of, jeffreys_of))]
        print(f"{n:>6} {shown[0]:>9} {wilson_published:>9}   {shown[1]:>9} {jeffreys_published:>9}")


def wilson_of(k: int, n: int) -> Estimate:
    return rate(k, n)


def jeffreys_of(k: int, n: int) -> Estimate:
    return mean_interval([1.0] * k + [0.0] * (n - k), seed=0)


def exact_coverage(make: Callable[[int, int], Estimate], n: int) -> list[float]:
    intervals = [make(k, n) for k in range(n + 1)]
    return [float(sum(stats.binom.pmf(k, n, p) for k in range(n + 1) if covers(intervals[k], p))) for p in RATES]


def ceiling(reps: int) -> None:
    print("\nMean of 5-level scores, 90 % at the top (METHODS §0.1)")
    published = {20: (".74", ".97"), 30: (".83", ".97"), 50: (".88", ".97"), 100: (".92", ".95")}
    print(f"{'n':>6} {'t':>9} {'METHODS':>9}   {'JBB':>9} {'METHODS':>9} {'JBB width':>10} {'low > truth':>12}")
    truth = float(LEVELS @ CEILING)
    for n, (t_published, jbb_published) in published.items():
        rng = np.random.default_rng(n)
        t_hits = jbb_hits = optimistic = 0
        widths = []
        for rep in range(reps):
            y = rng.choice(LEVELS, n, p=CEILING)
            found = mean_interval(y.tolist(), seed=rep, draws=DRAWS)
            t_hits += abs(y.mean() - truth) <= stats.t(n - 1).ppf(0.975) * y.std(ddof=1) / n**0.5
            jbb_hits += covers(found, truth)
            optimistic += (found.low or 0) > truth
            widths.append((found.high or 0) - (found.low or 0))
        print(
            f"{n:>6} {t_hits / reps:>9.3f} {t_published:>9}   {jbb_hits / reps:>9.3f} {jbb_published:>9}"
            f" {np.median(widths):>10.2f} {optimistic / reps:>12.3f}"
        )


def clustered(reps: int) -> None:
    print("\nTwo-valued scores in clusters of 5, intra-cluster correlation .5 (METHODS §0.1)")
    published = {
        (10, 0.9): (".80", ".82", ".97"),
        (20, 0.9): (".80", ".89", ".96"),
        (20, 0.97): (".81", ".82", ".96"),
        (40, 0.7): (".76", ".95", ".95"),
    }
    print(f"{'G':>4} {'p':>5} {'Wilson':>8} {'METHODS':>8}   {'CR3, t':>8} {'METHODS':>8}   {'JBB':>8} {'METHODS':>8}")
    for (groups, p), expected in published.items():
        rng = np.random.default_rng([groups, round(100 * p)])
        hits = np.zeros(3)
        for rep in range(reps):
            # a beta-binomial with a + b = 1 has intra-cluster correlation 1 / (a + b + 1) = .5
            of_group, names = rng.beta(p, 1 - p, groups), np.repeat(np.arange(groups), 5)
            y = (rng.random(len(names)) < of_group[names]).astype(float).tolist()
            ways = (
                rate(round(sum(y)), len(y)),
                cr3_interval(y, names.tolist()),
                mean_interval(y, clusters=names.tolist(), seed=rep, draws=DRAWS),
            )
            hits += [covers(estimate, p) for estimate in ways]
        line = "   ".join(f"{share:>8.3f} {value:>8}" for share, value in zip(hits / reps, expected, strict=True))
        print(f"{groups:>4} {p:>5} {line}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reps", type=int, default=2000, help="simulated samples per row")
    reps, started = parser.parse_args().reps, time.perf_counter()
    rates()
    ceiling(reps)
    clustered(reps)
    print(f"\n{reps} repetitions, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()

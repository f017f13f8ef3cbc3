"""Do the intervals of `evalh rank` hold what they say, where verdicts on one item hang together? Seeded simulation.

    python benchmarks/ranking.py [--reps 1000]

Several systems are compared with one baseline on the same items, in both orders, by a judge that leans to the first place.
Items come in groups of four; what suits the systems on one item of a group suits them on all (a normal effect on the
log-odds), so that the pairs of a group are no independent evidence. Truth is the figure of 400,000 items. A simulated coverage of .95
has a standard deviation of .007 at 1,000 repetitions.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from evalh.records import Estimate
from evalh.stats.bradley_terry import Outcomes, davidson
from evalh.stats.length_control import length_controlled
from evalh.stats.winrates import Pairs, Shown, Verdicts, fold, win_rate

THETA = np.array([0.0, 0.6, -0.4, -1.2])  # log-odds on an average item; 0 is the baseline
LEAN = 0.4  # log-odds for the place shown first
TIES = 0.15  # of the verdicts
GROUP = 4  # items that were sampled together
GROUP_SD = 1.0
TRUTH_ITEMS = 400_000


def compared(rng: np.random.Generator, items: int) -> tuple[Pairs, Shown]:
    """Verdicts of every system against system 0 on every item, in both orders, folded into pairs."""
    others = len(THETA) - 1
    item, system = np.repeat(np.arange(items), others), np.tile(np.arange(1, others + 1), items)
    suits = np.repeat(rng.normal(0, GROUP_SD, items // GROUP), GROUP * others)
    columns = []
    for second in (True, False):  # the system is shown second, then first
        eta = THETA[system] + suits + (-LEAN if second else LEAN)
        won = (rng.random(len(item)) < 1 / (1 + np.exp(-eta))).astype(float)
        won = np.where(rng.random(len(item)) < TIES, 0.5, won)
        base = np.zeros_like(system)
        columns.append((item, base if second else system, system if second else base, won if second else 1 - won))
    whole = [np.concatenate(parts) for parts in zip(*columns, strict=True)]
    unknown = np.full(len(whole[0]), np.nan)
    return fold(Verdicts(whole[0], whole[0] // GROUP, *whole[1:], whole[3], np.ones(len(whole[0]), bool), unknown), len(THETA), "exclude")


def outcomes(pairs: Pairs, clustered: bool) -> Outcomes:
    cluster = pairs.cluster if clustered else np.arange(len(pairs.item))
    return Outcomes(pairs.lo, pairs.hi, pairs.win_hi, pairs.win_lo, pairs.tie, cluster, pairs.item)


def holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low is not None and estimate.high is not None and estimate.low <= truth <= estimate.high


def rates_and_ratings(reps: int) -> None:
    pairs, _ = compared(np.random.default_rng(0), TRUTH_ITEMS)
    rates = [win_rate(pairs, s, 0, seed=0).value or 0.0 for s in range(1, len(THETA))]
    theta = davidson(outcomes(pairs, True), len(THETA), 0).theta
    centred = davidson(outcomes(pairs, True), len(THETA), None).theta
    print("Coverage of 95 % intervals, all systems; `by pair` takes them as independent")
    names = ("win rate", "rating", "by pair", "no baseline", "by pair", "width", "half ties")
    print(f"{'items':>6}" + "".join(f"{name:>13}" for name in names))
    for items in (24, 40, 80, 160, 400):
        rng, hits, widths, added = np.random.default_rng([1, items]), np.zeros(5), [], 0
        for rep in range(reps):
            pairs, _ = compared(rng, items)
            ways = [davidson(outcomes(pairs, by), len(THETA), base) for base in (0, None) for by in (True, False)]
            added += ways[0].note is not None
            for s in range(1, len(THETA)):
                hits[0] += holds(win_rate(pairs, s, 0, seed=rep).estimate, rates[s - 1])
                for place, made in enumerate(ways):
                    hits[place + 1] += holds(made.estimates[s], (theta if place < 2 else centred)[s])
                e = ways[0].estimates[s]
                widths += [e.high - e.low] if e.low is not None and e.high is not None else []
        c = hits / reps / (len(THETA) - 1)
        figures = [*(f"{share:.3f}" for share in c), f"{np.median(widths):.2f}", f"{added / reps:.3f}"]
        print(f"{items:>6}" + "".join(f"{figure:>13}" for figure in figures))


def at_equal_length(reps: int) -> None:
    """One system that is the longer one in 60 % of the items, by a judge that likes length; items in groups of two."""
    print("\nCoverage of 95 % intervals of the length-controlled win rate; the judge likes length, items in pairs of one group")
    print(f"{'items':>6} {'at equal length':>16} {'median width':>13} {'no figure':>10} {'mean LC':>9} {'mean win rate':>14}")

    def sample(rng: np.random.Generator, n: int, seed: int) -> tuple[Estimate, float]:
        longer = rng.normal(50, 200, n)
        suits = np.repeat(rng.normal(0, 1, n // 2), 2)
        eta = -0.4 + 1.5 * np.tanh(longer / 200) + suits
        y = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)
        made = length_controlled(y, np.ones(n), longer, np.zeros(n), np.arange(n) // 2, seed=seed)
        return made.estimate, float(y.mean())

    truth = sample(np.random.default_rng(5), TRUTH_ITEMS, 0)[0].value or 0.0
    for n in (20, 40, 100, 400):
        rng, hits, widths, none, values, rates = np.random.default_rng([2, n]), 0, [], 0, [], []
        for rep in range(reps):
            estimate, rate = sample(rng, n, rep)
            rates.append(rate)
            if estimate.low is None or estimate.high is None or estimate.value is None:
                none += 1
                continue
            hits += holds(estimate, truth)
            values.append(estimate.value)
            widths.append(estimate.high - estimate.low)
        print(
            f"{n:>6} {hits / max(reps - none, 1):>16.3f} {np.median(widths):>13.2f} {none / reps:>10.3f}"
            f" {np.mean(values):>9.3f} {np.mean(rates):>14.3f}"
        )
    print(f"truth at equal length {truth:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reps", type=int, default=1000, help="simulated samples per row")
    reps, started = parser.parse_args().reps, time.perf_counter()
    rates_and_ratings(reps)
    at_equal_length(reps)
    print(f"\n{reps} repetitions, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()

"""How often the gate passes a candidate that is worse by exactly the margin, beside the values of the method page.

    python benchmarks/gate_errors.py [--reps 1000]

Everything goes through `evalh.gate.decide`. The nominal error is .05; its standard deviation at 1,000 repetitions is .007.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from evalh.gate import ItemScore, decide
from evalh.stats.intervals import cr3_interval
from evalh.suites.model import Gate

MARGIN = 0.05
GATE = Gate(baseline="main", margin=MARGIN)
DRAWS = 4000
FloatArray = npt.NDArray[np.float64]


def rows(scores: FloatArray, groups: Sequence[int] | None, unscored: npt.NDArray[np.bool_] | None = None) -> list[ItemScore]:
    return [
        ItemScore(
            str(i), "all", None if groups is None else str(groups[i]), None if unscored is not None and unscored[i] else float(s), "judged"
        )
        for i, s in enumerate(scores)
    ]


def arms(change: FloatArray, rng: np.random.Generator, p: float = 0.9) -> tuple[FloatArray, FloatArray]:
    """Two-valued candidate and baseline scores with the given changes."""
    baseline = np.where(change == 0, rng.random(len(change)) < p, change < 0).astype(float)
    return baseline + change, baseline


def decision(candidate: list[ItemScore], baseline: list[ItemScore], seed: int) -> str:
    return decide(GATE, candidate, baseline, run="candidate", metric="check score", seed=seed, draws=DRAWS).decision


def wald_pass(change: FloatArray) -> bool:
    """What the textbook gate would say: the lower end of the t interval is above the margin."""
    n = len(change)
    return bool(change.mean() - stats.t(n - 1).ppf(0.95) * change.std(ddof=1) / n**0.5 > -MARGIN)


def sparse(reps: int) -> None:
    print(f"Two-valued, no clusters, margin {MARGIN}, truth at the margin, discordance .06: share of PASS (METHODS §3.2)")
    published = {50: (".10", ".02", ".06"), 100: (".09", ".03", ".07"), 200: (".10", ".04", ".06")}
    print(f"{'n':>6} {'t':>8} {'METHODS':>8}   {'Tango':>8} {'METHODS':>8}   {'JBB':>8} {'METHODS':>8}   {'Tango, 3 % unscored':>20}")
    for n, (t_published, tango_published, jbb_published) in published.items():
        rng, counts = np.random.default_rng(n), Counter[str]()
        for rep in range(reps):
            change = rng.choice([1.0, -1.0, 0.0], n, p=[0.005, 0.055, 0.94])
            candidate, baseline = arms(change, rng)
            counts["t"] += wald_pass(change)
            counts["tango"] += decision(rows(candidate, None), rows(baseline, None), rep) == "PASS"
            near = rows(candidate * 0.999999, None)  # no longer two-valued: the same data by JBB
            counts["jbb"] += decision(near, rows(baseline * 0.999999, None), rep) == "PASS"
            counts["unscored"] += decision(rows(candidate, None, rng.random(n) < 0.03), rows(baseline, None), rep) == "PASS"
        share = {name: count / reps for name, count in counts.items()}
        print(
            f"{n:>6} {share['t']:>8.3f} {t_published:>8}   {share['tango']:>8.3f} {tango_published:>8}   "
            f"{share['jbb']:>8.3f} {jbb_published:>8}   {share['unscored']:>20.3f}"
        )


def clustered(reps: int) -> None:
    print("\nClusters of 5, correlation .5 of the changes inside a cluster, discordance .08: share of PASS (METHODS §3.2)")
    published = {10: (".12", ".15", ".00"), 20: (".16", ".13", ".01"), 40: (".16", ".11", ".04")}
    print(f"{'G':>6} {'items':>8} {'METHODS':>8}   {'CR3, t':>8} {'METHODS':>8}   {'cluster JBB':>12} {'METHODS':>8}")
    for groups, expected in published.items():
        rng, counts = np.random.default_rng(groups), Counter[str]()
        names = np.repeat(np.arange(groups), 5).tolist()
        for rep in range(reps):
            change = clustered_changes(groups, 5, rng)
            candidate, baseline = arms(change, rng)
            counts["items"] += decision(rows(candidate, None), rows(baseline, None), rep) == "PASS"
            counts["cr3"] += (cr3_interval(change.tolist(), names, level=0.9).low or -1.0) > -MARGIN
            counts["jbb"] += decision(rows(candidate, names), rows(baseline, names), rep) == "PASS"
        share = [counts[name] / reps for name in ("items", "cr3", "jbb")]
        print(f"{groups:>6} {share[0]:>8.3f} {expected[0]:>8}   {share[1]:>8.3f} {expected[1]:>8}   {share[2]:>12.3f} {expected[2]:>8}")


def clustered_changes(groups: int, size: int, rng: np.random.Generator) -> FloatArray:
    """Changes of mean -.05 and discordance .08; with chance sqrt(.5) an item takes its cluster's common change."""
    law = [0.015, 0.065, 0.92]
    common = np.repeat(rng.choice([1.0, -1.0, 0.0], groups, p=law), size)
    own = rng.choice([1.0, -1.0, 0.0], groups * size, p=law)
    return np.where(rng.random(groups * size) < 0.5**0.5, common, own)


def no_change(reps: int) -> None:
    print("\nNo true change, discordance .12: what the gate says (power of PASS, METHODS §3.5: .40 / .63 / .88)")
    print(f"{'n':>6} {'PASS':>8} {'INCONCLUSIVE':>13} {'FAIL':>8}")
    for n in (100, 200, 400):
        rng = np.random.default_rng(n)
        said = Counter[str]()
        for rep in range(reps):
            candidate, baseline = arms(rng.choice([1.0, -1.0, 0.0], n, p=[0.06, 0.06, 0.88]), rng)
            said[decision(rows(candidate, None), rows(baseline, None), rep)] += 1
        print(f"{n:>6} {said['PASS'] / reps:>8.3f} {said['INCONCLUSIVE'] / reps:>13.3f} {said['FAIL'] / reps:>8.3f}")


def minimum(reps: int) -> None:
    print("\nMinimum score .90, truth .90: share of PASS and of FAIL, each at most .05 in the long run")
    print(f"{'n':>6} {'PASS':>8} {'FAIL':>8}")
    gate = Gate(minimum=0.9)
    for n in (50, 100, 200, 400):
        rng = np.random.default_rng(n)
        said = Counter[str]()
        for rep in range(reps):
            candidate = rows((rng.random(n) < 0.9).astype(float), None)
            said[decide(gate, candidate, run="candidate", metric="check score", seed=rep, draws=DRAWS).decision] += 1
        print(f"{n:>6} {said['PASS'] / reps:>8.3f} {said['FAIL'] / reps:>8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reps", type=int, default=1000, help="simulated gates per row")
    reps, started = parser.parse_args().reps, time.perf_counter()
    sparse(reps)
    clustered(reps)
    no_change(reps)
    minimum(reps)
    print(f"\n{reps} repetitions, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()

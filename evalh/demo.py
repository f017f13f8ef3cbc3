"""`evalh demo`: the shipped suites through all three tiers, with judges that are simulated and say so everywhere.

The judges' biases are stated in their profile. The demo measures them from the verdicts in the store and shows both side
by side: this is what evalh is for, on judges whose faults are known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log2
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from evalh.config import load_config
from evalh.errors import UsageError
from evalh.gate import GateDecision
from evalh.opening import RunOptions
from evalh.pipeline import RunOutcome, run
from evalh.prepare import prepare
from evalh.records import Estimate
from evalh.release import approve, gate_run
from evalh.sim.profile import Judge, load_profile
from evalh.sim.truth import Truth, load_truth
from evalh.stats.intervals import rate
from evalh.stats.logistic import logistic
from evalh.stats.position import position
from evalh.store.runs import checks_of, find_run, outputs_of, verdicts_of
from evalh.store.store import Store
from evalh.suites.load import load_suites
from evalh.suites.model import Suite
from evalh.summary import run_document

SUITES = ("support", "extraction", "physics")
PAIRS = "support_pairs"
LEVEL = 0.95


class Bias(NamedTuple):
    """One property of a simulated judge: what it was given and what was measured."""

    judge: str
    what: str
    given: float
    measured: Estimate
    unit: Literal["share", "log-odds"] = "share"

    @property
    def recovered(self) -> bool:
        low, high = self.measured.low, self.measured.high
        return low is not None and high is not None and low <= self.given <= high


class Appearance(NamedTuple):
    """What a judge that calculates nothing says of trajectories that a check has measured (physics v2, check not blocking)."""

    outputs: int
    wrong: int  # by the check
    wrong_but_plausible: int  # of those, passed by the judge


class DemoResult(NamedTuple):
    """Everything the demo shows."""

    runs: dict[str, dict[str, Any]]  # `suite version` → run document
    gates: list[tuple[str, str, GateDecision]]  # suite, what was decided, decision
    biases: list[Bias]
    appearance: Appearance
    store: Store


def material() -> Path:
    """The folder that holds suites/, golden/ and frozen_refs/: the checkout, or what the package brought along."""
    here = Path(__file__).parent
    for folder in (here / "material", here.parent):
        if (folder / "suites" / "judges.toml").is_file():
            return folder
    raise UsageError("the shipped suites are not here", hint="reinstall evalh, or run from a checkout")


def run_demo(store_at: Path, watch: Callable[[str, int], Any]) -> DemoResult:
    """Run the three suites for both versions, decide, and measure the judges. A store of an earlier demo is replaced.

    `watch(title, total)` gives a context manager that yields the function to call with progress.
    """
    for old in (store_at, store_at.with_name(store_at.name + ".wal")):
        old.unlink(missing_ok=True)
    store = Store(store_at)
    suites = {s.name: s for s in load_suites([material() / "suites"])}
    runs: dict[str, dict[str, Any]] = {}
    gates: list[tuple[str, str, GateDecision]] = []
    for name in SUITES:
        good = _run(suites[name], store, "v1", watch, runs)
        approve(store, good, "main")
        worse = _run(suites[name], store, "v2", watch, runs)
        gates.append((name, "v2 against v1", gate_run(store, worse, baseline="main")))
        gates.append((name, "v1 against v2", gate_run(store, good, baseline=worse)))
    seen = _run(unblocked(suites["physics"]), store, "v2", watch, runs)
    pairs = _run(suites[PAIRS], store, None, watch, runs)
    gates.append((PAIRS, "v2 preferred to v1", gate_run(store, pairs)))
    return DemoResult(runs, gates, measure(store, [r["run"] for r in runs.values()], pairs), _appearance(store, seen), store)


def _run(suite: Suite, store: Store, version: str | None, watch: Callable[[str, int], Any], runs: dict[str, dict[str, Any]]) -> str:
    golden = Path(suite.golden).name
    outputs = None if version is None else str(material() / "golden" / golden / "outputs" / f"{version}.jsonl")
    prepared = prepare(suite, load_config(material()), outputs=outputs)
    title = f"{suite.name} {version}" if version else suite.name
    with watch(title, len(prepared.items)) as told:
        outcome = _finished(run(prepared, store, RunOptions(), told))
    runs[title] = run_document(store, find_run(store, outcome.run_id))
    return outcome.run_id


def unblocked(suite: Suite) -> Suite:
    """The suite with checks that let everything pass on to the judges: to see what they would have said."""
    return suite.model_copy(
        update={"name": f"{suite.name}_unblocked", "checks": [c.model_copy(update={"blocking": False}) for c in suite.checks]}
    )


def _appearance(store: Store, run_id: str) -> Appearance:
    wrong = {item for (item, _, _), rows in checks_of(store, run_id).items() if any(r.status == "fail" for r in rows)}
    passed = {v["item_id"] for v in verdicts_of(store, run_id) if v["status"] == "scored" and v["raw_score"] == 1.0}
    return Appearance(len(outputs_of(store, run_id)), len(wrong), len(wrong & passed))


def _finished(outcome: RunOutcome) -> RunOutcome:
    if outcome.error is not None:
        raise outcome.error
    if outcome.status == "interrupted":
        raise KeyboardInterrupt
    return outcome


# ---- the judges' biases, measured -----------------------------------------------------------------------------------


def measure(store: Store, runs: Sequence[str], pairs: str) -> list[Bias]:
    """Position bias from the pairs, and how often bad answers pass from the single answers, beside what was stated."""
    profile = load_profile(material() / "suites" / "judges.toml")
    truth = load_truth(profile)
    judges = {f"sim:{j.model}": j for j in profile.judge}
    paired = _by_judge(verdicts_of(store, pairs))
    single = _by_judge([v | {"run": r} for r in runs if r != pairs for v in verdicts_of(store, r)])
    texts = {run_id: outputs_of(store, run_id) for run_id in runs if run_id != pairs}
    pair_texts = outputs_of(store, pairs)
    found = [_position(name, judges[name], rows) for name, rows in paired.items()]
    found += [_length(name, judges[name], rows, pair_texts, truth) for name, rows in paired.items()]
    return found + [b for name, rows in single.items() if name in judges for b in _errors(name, judges[name], rows, texts, truth)]


def _position(name: str, judge: Judge, rows: Sequence[Mapping[str, Any]]) -> Bias:
    """The share of pairs that go to the first shown in both orders, less those that go to the second (METHODS §1.1, PF)."""
    items = np.unique([r["item_id"] for r in rows], return_inverse=True)[1].astype(np.int64)
    wins = np.array([{None: np.nan, "tie": 0.5}.get(r["winner"], float(r["winner"] == r["systems"][0])) for r in rows])
    order = np.array([int(r["systems"][0] > r["systems"][1]) for r in rows], dtype=np.int64)
    found = position(items, wins, order, np.zeros_like(items), items, seed=0, level=LEVEL).fairness  # above 0: for the second
    value, low, high = (None if end is None else -end for end in (found.value, found.high, found.low))
    told = {"value": value, "low": low, "high": high, "method": f"preference fairness, {found.method}"}
    return Bias(name, "prefers what is shown first", judge.position_bias, found.model_copy(update=told))


def _length(name: str, judge: Judge, rows: Sequence[Mapping[str, Any]], texts: Mapping[str, Any], truth: Truth) -> Bias:
    """What a doubling of length adds to the log-odds of winning, at equal truth (METHODS §1.3): pairs in both orders."""
    x, y, items = [], [], []
    for row in rows:
        if row["winner"] in (None, "tie"):
            continue
        by_name = {o.system: truth.find(o.text, None) for o in texts[row["item_id"]]}
        first, second = (by_name[s] for s in row["systems"])
        gap = second.on(row["aspect"]) - first.on(row["aspect"])
        x.append([1.0, (gap > 0) - (gap < 0), log2(second.chars / first.chars)])
        y.append(float(row["winner"] == row["systems"][1]))
        items.append(row["item_id"])
    fitted = logistic(x, y, items, level=LEVEL)[2]
    return Bias(name, "prefers what is longer, per doubling", judge.verbosity_bias, Estimate(
        value=fitted.value, low=fitted.low, high=fitted.high, level=LEVEL, n=len(set(items)), method="logistic, clustered by item",
    ), "log-odds")  # fmt: skip


def _errors(name: str, judge: Judge, rows: Sequence[Mapping[str, Any]], texts: Mapping[str, Any], truth: Truth) -> list[Bias]:
    """How often a judge passes what is bad and fails what is good, on binary questions. Not for judges that count words:
    their rates depend on the length of every answer.
    """
    if judge.verbosity_bias:
        return []
    passed: dict[bool, list[bool]] = {True: [], False: []}
    for row in rows:
        if row["status"] != "scored" or row["raw_score"] not in (0.0, 1.0) or row["aspect"] not in ("faithful", "plausible"):
            continue
        output = next(o for o in texts[row["run"]][row["item_id"]] if o.system == row["systems"][0])
        known = truth.find(output.text, None)
        passed[known.on(row["aspect"]) >= 0.5].append(row["raw_score"] == 1.0)
    tnr = judge.accuracy if judge.tnr is None else judge.tnr
    tpr = judge.accuracy if judge.tpr is None else judge.tpr
    stated = {False: 1 - tnr + max(0.0, judge.leniency), True: 1 - tpr - min(0.0, judge.leniency)}
    bad, good = passed[False], [not p for p in passed[True]]
    found = [(False, "passes bad answers", bad), (True, "fails good answers", good)]
    return [Bias(name, what, stated[side], rate(sum(hits), len(hits), LEVEL)) for side, what, hits in found if len(hits) >= 10]


def _by_judge(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["judge"], []).append(row)
    return dict(sorted(found.items()))

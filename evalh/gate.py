"""The release gate: from one score per output to PASS, FAIL or INCONCLUSIVE. Pure: no SQL, no files, no clock.

Each rule is decided by an interval, never by a p value (METHODS §3.3): PASS where the whole interval lies on the right side
of the threshold, FAIL where it lies on the wrong side, else INCONCLUSIVE. The gate passes only if every rule passes, which
needs no correction for several rules (intersection-union, §3.6), and fails if any rule fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from pydantic import Field

from evalh.records import Estimate, Record
from evalh.stats.intervals import GATE_DRAWS, MIN_ITEMS, items_needed
from evalh.stats.scores import Bounded, ItemRange, ItemScore, difference_of, fold, mean_of, with_missing
from evalh.suites.model import Gate

__all__ = ["Decision", "GateDecision", "ItemScore", "Metric", "Rule", "decide"]

Decision = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Metric = Literal["judge score", "check score", "win rate by judges"]  # never "pass rate": no label calibrates it (METHODS §9)

WHOLE = "all"  # the slice that holds every item
_MC_ERROR = 0.0015  # sd of an interval's end over its width, at GATE_DRAWS draws (METHODS §0.1)
_NAMED = 5  # items named in a sentence; the document lists all


class Rule(Record):
    """One rule of the gate and what it came to."""

    rule: Literal["minimum", "margin", "max_unscored"]
    metric: str
    slice: str = WHOLE
    estimate: Estimate
    threshold: float
    decision: Decision
    reasons: list[str] = Field(default_factory=list)
    items_needed: int | None = None  # more items that decide with 80 % power if the truth is the estimate
    items_needed_if_no_change: int | None = None  # margin: the same if the truth is no difference


class GateDecision(Record):
    """What a gate decided, with everything it decided from: the document of `evalh gate --json`.

    A reason is `code: sentence`. `labels_needed` counts items: it is null where more of them would settle nothing.
    """

    run: str
    baseline: str | None
    decision: Decision
    reasons: list[str]
    rules: list[Rule]
    difference: Estimate | None
    labels_needed: int | None
    flags: list[Literal["regression_detected", "improved"]]
    items: int
    outputs: int
    blocked: int
    unscored: int
    missing_in_candidate: list[str]
    missing_in_baseline: list[str]
    alpha: float
    seed: int
    draws: int
    estimand: Literal["superpopulation"] = "superpopulation"

    @property
    def codes(self) -> list[str]:
        """The codes of the reasons, in order."""
        return [reason.split(":", 1)[0] for reason in self.reasons]


@dataclass(frozen=True)
class _Settings:
    """What all rules share. The gate's alpha is one-sided, so intervals have level 1 - 2 alpha."""

    metric: Metric
    alpha: float
    seed: int
    draws: int

    @property
    def level(self) -> float:
        return round(1 - 2 * self.alpha, 10)


def decide(
    gate: Gate, candidate: Sequence[ItemScore], baseline: Sequence[ItemScore] | None = None, *, run: str, metric: Metric, seed: int,
    baseline_run: str | None = None, incomparable: Sequence[str] = (), draws: int = GATE_DRAWS,
) -> GateDecision:  # fmt: skip
    """Decide whether the candidate may ship.

    `candidate` and `baseline` hold one row per output (several of one item are its trials); `incomparable` names what
    differs between the two runs so that their scores cannot be compared (golden version, rubric). An item of the baseline
    that the candidate lacks counts as unscored; one that the baseline lacks is left out of the difference; both are named.
    Raises InputError for a score outside [0, 1].
    """
    settings = _Settings(metric, gate.alpha, seed, draws)
    made = fold(candidate)
    theirs = fold(baseline) if baseline is not None and not incomparable else None
    ours = with_missing(made, theirs or {})
    rules = [] if gate.minimum is None else [_minimum(ours, gate.minimum, settings)]
    compared = None if theirs is None else _compare(ours, theirs, gate.margin, settings)
    if gate.margin is not None and compared is not None:
        rules.append(_margin(compared, gate.margin, settings))
    elif gate.margin is not None:
        rules.append(_not_compared(gate, gate.margin, incomparable if baseline is not None else [], settings))
    rules.append(_max_unscored(ours, gate.max_unscored))
    decision = _combine([rule.decision for rule in rules])
    absent = sorted(ours.keys() - made.keys())
    added = sorted(made.keys() - theirs.keys()) if theirs is not None else []
    flags = _flags(compared.estimate) if compared is not None else []
    return GateDecision(
        run=run,
        baseline=baseline_run,
        decision=decision,
        reasons=[reason for rule in rules for reason in rule.reasons] + _remarks(flags, absent, added),
        rules=rules,
        difference=compared.estimate if compared is not None else None,
        labels_needed=_labels_needed(rules) if decision == "INCONCLUSIVE" else None,
        flags=flags,
        items=len(ours),
        outputs=len(candidate),
        blocked=sum(row.route == "blocked" for row in candidate),
        unscored=sum(item.unscored for item in ours.values()),
        missing_in_candidate=absent,
        missing_in_baseline=added,
        alpha=gate.alpha,
        seed=seed,
        draws=draws,
    )


def _combine(decisions: Sequence[Decision]) -> Decision:
    if "FAIL" in decisions:
        return "FAIL"
    return "PASS" if all(decision == "PASS" for decision in decisions) else "INCONCLUSIVE"


# ---- the rules ------------------------------------------------------------------------------------------------------


def _minimum(items: Mapping[str, ItemRange], threshold: float, settings: _Settings) -> Rule:
    """PASS if the lower bound of the mean score is above the minimum, FAIL if the upper one is below it."""
    ranges = list(items.values())
    bounded = _settled(lambda draws: mean_of(ranges, seed=settings.seed, level=settings.level, draws=draws), threshold, settings.draws)
    shown, minimum = _shown(bounded.estimate), _percent(threshold)
    sentences = {
        "FAIL": f"below_minimum: the {settings.metric} {shown} lies below the minimum {minimum}",
        "INCONCLUSIVE": f"minimum_open: the interval of the {settings.metric} {shown} holds the minimum {minimum}",
    }
    return _interval_rule("minimum", bounded, threshold, sentences, settings, lo=0.0)


def _compare(ours: Mapping[str, ItemRange], theirs: Mapping[str, ItemRange], margin: float | None, settings: _Settings) -> Bounded:
    """The difference over the baseline's items; `ours` holds all of them."""
    pairs = [(ours[item_id], item) for item_id, item in theirs.items()]
    candidate, baseline = [ours for ours, _ in pairs], [theirs for _, theirs in pairs]

    def make(draws: int) -> Bounded:
        return difference_of(candidate, baseline, seed=settings.seed, level=settings.level, draws=draws)

    return make(settings.draws) if margin is None else _settled(make, -margin, settings.draws)


def _margin(compared: Bounded, margin: float, settings: _Settings) -> Rule:
    """PASS if the lower bound of candidate - baseline is above -margin, FAIL if the upper one is below it."""
    shown = _shown(compared.estimate)
    sentences = {
        "FAIL": f"worse_than_baseline: the difference of the {settings.metric} {shown} lies below the margin {_percent(-margin)}",
        "INCONCLUSIVE": f"margin_open: the interval of the difference {shown} holds the margin {_percent(-margin)}",
    }
    rule = _interval_rule("margin", compared, -margin, sentences, settings, lo=-1.0)
    if rule.items_needed is None:
        return rule
    return rule.model_copy(update={"items_needed_if_no_change": _needed(compared, margin, settings.alpha, -1.0)})


def _not_compared(gate: Gate, margin: float, incomparable: Sequence[str], settings: _Settings) -> Rule:
    code, why = "no_baseline", f"the gate compares with {gate.baseline!r}, and no such run was given"
    if incomparable:
        code, why = "not_comparable", f"the scores of the two runs do not mean the same: {'; '.join(incomparable)}"
    return Rule(
        rule="margin",
        metric=settings.metric,
        estimate=Estimate(value=None, level=settings.level, method="difference", why=why),
        threshold=-margin,
        decision="INCONCLUSIVE",
        reasons=[f"{code}: {why}"],
    )


def _max_unscored(items: Mapping[str, ItemRange], threshold: float) -> Rule:
    """INCONCLUSIVE where more than the allowed share of outputs has no score: what is missing is seldom missing by chance."""
    outputs, unscored = sum(item.outputs for item in items.values()), sum(item.unscored for item in items.values())
    share = unscored / outputs if outputs else None
    reasons = []
    if share is None:
        reasons = ["no_outputs: the run has no outputs"]
    elif share > threshold:
        reasons = [f"unscored: {unscored} of {outputs} outputs have no score; at most {threshold:.1%} may"]
    return Rule(
        rule="max_unscored",
        metric="unscored share",
        estimate=Estimate(value=share, n=outputs, method="share of outputs", why="a count of this run, not an estimate"),
        threshold=threshold,
        decision="INCONCLUSIVE" if reasons else "PASS",
        reasons=reasons,
    )


def _interval_rule(
    name: Literal["minimum", "margin"], bounded: Bounded, threshold: float, sentences: Mapping[str, str], settings: _Settings, lo: float
) -> Rule:
    """The rule decided with the unscored outputs at their worst and at their best: where the two differ, they decide.

    `lo` is the least value that can be, 1 the largest.
    """
    estimate = bounded.estimate
    worst, best = _side(bounded.worst, threshold), _side(bounded.best, threshold)
    decision: Decision = worst if worst == best else "INCONCLUSIVE"
    reasons, needed = [], None
    if estimate.low is None:
        reasons = [f"too_few: {estimate.why}"]
        needed = MIN_ITEMS - estimate.n if estimate.n < MIN_ITEMS else None
    elif worst != best:
        reasons = [
            f"missing: {bounded.unscored} of {estimate.n} items lack a score; at their worst the rule says {worst}, at their best {best}"
        ]
    elif decision != "PASS":
        reasons = [sentences[decision]]
    if decision == "INCONCLUSIVE" and worst == best and bounded.known and estimate.low is not None:
        needed = _needed(bounded, (estimate.value or 0.0) - threshold, settings.alpha, lo)
        if needed is None or needed > 10 * estimate.n:
            reasons.append(f"on_the_threshold: the estimate sits on the {name}: more items will not settle it; revisit the {name}")
    return Rule(
        rule=name,
        metric=settings.metric,
        estimate=estimate,
        threshold=threshold,
        decision=decision,
        reasons=reasons,
        items_needed=needed,
    )


def _needed(bounded: Bounded, distance: float, alpha: float, lo: float) -> int | None:
    return items_needed(bounded.known, distance, alpha=alpha, lo=lo, hi=1.0, clusters=bounded.known_clusters)


def _side(estimate: Estimate, threshold: float) -> Decision:
    if estimate.low is not None and estimate.low > threshold:
        return "PASS"
    return "FAIL" if estimate.high is not None and estimate.high < threshold else "INCONCLUSIVE"


def _settled(make: Callable[[int], Bounded], threshold: float, draws: int) -> Bounded:
    """The estimate, drawn again with ten times the draws where an end lies within 3 Monte-Carlo errors of the threshold (METHODS §9)."""
    first = make(draws)
    for estimate in (first.worst, first.best):
        if estimate.seed is None or estimate.low is None or estimate.high is None:
            continue  # closed form, or no interval
        error = 3 * _MC_ERROR * sqrt(GATE_DRAWS / draws) * (estimate.high - estimate.low)
        if min(abs(estimate.low - threshold), abs(estimate.high - threshold)) < error:
            return make(10 * draws)
    return first


# ---- what is said beside the decision -------------------------------------------------------------------------------


def _flags(estimate: Estimate) -> list[Literal["regression_detected", "improved"]]:
    if estimate.high is not None and estimate.high < 0:
        return ["regression_detected"]
    return ["improved"] if estimate.low is not None and estimate.low > 0 else []


def _remarks(flags: Sequence[str], absent: Sequence[str], added: Sequence[str]) -> list[str]:
    remarks = []
    if "regression_detected" in flags:
        remarks.append("regression_detected: the whole interval of the difference lies below 0")
    if absent:
        remarks.append(
            f"missing_in_candidate: {_count(absent)} of the baseline without an output here, counted as unscored: {_some(absent)}"
        )
    if added:
        remarks.append(f"missing_in_baseline: {_count(added)} that the baseline lacks, left out of the difference: {_some(added)}")
    return remarks


def _labels_needed(rules: Sequence[Rule]) -> int | None:
    """The largest number over the undecided rules; None where one of them cannot be decided by more items."""
    needed = [rule.items_needed for rule in rules if rule.decision == "INCONCLUSIVE"]
    known = [number for number in needed if number is not None]
    return max(known) if known and len(known) == len(needed) else None


def _shown(estimate: Estimate) -> str:
    value = "unknown" if estimate.value is None else f"{100 * estimate.value:.1f} %"
    return value if estimate.low is None or estimate.high is None else f"{value} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def _percent(value: float) -> str:
    return f"{100 * value:g} %"


def _count(items: Sequence[str]) -> str:
    return "1 item" if len(items) == 1 else f"{len(items)} items"


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:_NAMED]) + (f" and {len(items) - _NAMED} more" if len(items) > _NAMED else "")

"""The gate over the store: which run is decided, against which baseline, and whether the two can be compared at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalh.errors import UsageError
from evalh.fingerprints import canonical, content_hash
from evalh.gate import GateDecision, decide
from evalh.rows import now
from evalh.stats.scores import ItemScore
from evalh.store.runs import find_run, judges_of, newest_runs, scores_of, systems_of
from evalh.store.store import Store
from evalh.suites.model import Gate
from evalh.summary import metric_name


def gate_run(store: Store, run_name: str | None, *, baseline: str | None = None, gate: Gate | None = None) -> GateDecision:
    """Decide a run by the gate of its suite (or the one given) and keep the decision. Raises UsageError.

    `baseline` (a run or a tag) replaces the suite's. A tag that nobody has given yet is not an error of the run: the rule
    that needs it is INCONCLUSIVE, with the reason.
    """
    run = find_run(store, run_name)
    if run["status"] != "finished":
        raise UsageError(f"run {run['run_id']} is {run['status']}", hint="repeat its `evalh run` to finish it")
    gate = gate or gate_of(run, baseline)
    other = _baseline(store, run, baseline or gate.baseline, explicit=baseline is not None)
    decision = decide(
        gate,
        scores_of(store, run["run_id"]),
        _scores(store, other),
        run=run["run_id"],
        metric=metric_name(run["kind"]),
        seed=run["seed"] or 0,
        baseline_run=other["run_id"] if other else None,
        incomparable=differences(store, run, other) if other else [],
    )
    if other is not None and other["run_id"] == run["run_id"]:
        told = "same_run: the baseline is this very run, so nothing was compared with anything"
        alone = gate.minimum is None and decision.decision == "PASS"  # then it would pass whatever it holds
        update = {"reasons": [told, *decision.reasons], "decision": "INCONCLUSIVE" if alone else decision.decision}
        decision = decision.model_copy(update=update)
    selected, whole = run["settings"].get("items"), run["settings"].get("suite_items")
    if decision.decision == "PASS" and isinstance(selected, list) and whole and len(selected) < whole:
        told = f"partial: {len(selected)} of the {whole} items of the suite were run; a part does not pass for the whole"
        decision = decision.model_copy(update={"decision": "INCONCLUSIVE", "reasons": [told, *decision.reasons]})
    document = decision.model_dump(mode="json")
    store.append(
        {
            "gate_decisions": [
                {
                    "decision_id": content_hash(document, now()),
                    "run_id": decision.run,
                    "baseline": decision.baseline,
                    "decision": decision.decision,
                    "document": document,
                    "at": now(),
                }
            ]
        }
    )
    return decision


def runs_to_decide(store: Store) -> list[str]:
    """The newest run of every suite that has a gate, whatever became of it; imports are nobody's release. Raises UsageError."""
    runs = [run["run_id"] for run in newest_runs(store) if run["settings"].get("gate")]
    if not runs:
        raise UsageError("no suite with a gate has been run", hint="add `gate: {minimum: …}` to a suite and run it")
    return runs


def gate_of(run: Mapping[str, Any], baseline: str | None = None) -> Gate:
    """The gate that the run's suite had. Raises UsageError where it had none, or where it lacks the margin for a baseline."""
    settings = run["settings"].get("gate")
    if settings is None:
        raise UsageError(f"suite {run['suite']!r} has no gate", hint="add `gate: {minimum: …}` or a baseline with its margin")
    if baseline is not None and settings.get("margin") is None:
        raise UsageError(
            f"the gate of suite {run['suite']!r} has no margin", hint="add `baseline` and `margin` to it, or use `evalh compare`"
        )
    return Gate(**settings)


def approve(store: Store, run_name: str, tag: str) -> str:
    """Make a run the baseline of its suite under a tag. Baselines change only this way. Returns the run's id."""
    run = find_run(store, run_name)
    if run["status"] != "finished":
        raise UsageError(f"run {run['run_id']} is {run['status']}: only a finished run can be a baseline")
    store.append({"run_events": [{"run_id": run["run_id"], "event": "approved", "at": now(), "detail": tag}]})
    return str(run["run_id"])


def differences(store: Store, run: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What differs between two runs so that their scores do not mean the same: golden set, rubric, checks, panel, judges."""
    found = []
    if run["golden"] != other["golden"] or run["golden_hash"] != other["golden_hash"]:
        found.append(f"golden set {other['golden']} {other['golden_version']} then, {run['golden']} {run['golden_version']} now")
    if run["rubric_hash"] != other["rubric_hash"]:
        found.append("the rubric changed")
    ours, theirs = run["settings"], other["settings"]
    if _checks(ours) != _checks(theirs):
        found.append("the checks changed")
    if ours.get("panel") and theirs.get("panel") and _panel(ours["panel"]) != _panel(theirs["panel"]):
        found.append("the panel counts its verdicts in another way")
    opponents = [
        {(s["system"], s["system_version"]) for s in systems_of(store, r["run_id"]) if s["role"] == "against"} for r in (run, other)
    ]
    if opponents[0] != opponents[1]:
        found.append("the pairs are against another system")
    before, after = judges_of(store, other["run_id"]), judges_of(store, run["run_id"])
    if before and after and before != after:
        found.append(f"other judges: {', '.join(sorted(before - after)) or 'none'} then, {', '.join(sorted(after - before)) or 'none'} now")
    return found


def _checks(settings: Mapping[str, Any]) -> list[Any]:
    """What decides the scores of tier 1. Of functions the source counts, not the module: pytest and evalh name it differently."""
    panel = settings.get("panel") is not None
    deciding = [c for c in settings.get("checks") or [] if c["blocking"] or not panel]
    kept = [{k: str(v).rpartition(":")[2] if k == "function" else v for k, v in c.items() if k not in ("name", "check")} for c in deciding]
    shown = [{k: v for k, v in c.items() if k != "check_hash" or "function" not in c} for c in kept]
    return [sorted(map(canonical, shown)), settings.get("test_hashes") or {}]


def _panel(panel: Mapping[str, Any]) -> dict[str, Any]:
    """How verdicts are asked for and made into one score; who gives them is compared by judge and version."""
    weights = sorted([j.get("name") or j["model"], j["weight"]] for j in panel.get("judges") or [])
    return {k: panel.get(k) for k in ("rule", "order", "repeats", "mask", "show_names")} | {"weights": weights}


def _baseline(store: Store, run: Mapping[str, Any], name: str | None, *, explicit: bool) -> dict[str, Any] | None:
    if name is None:
        return None
    try:
        other = find_run(store, name, suite=run["suite"])
    except UsageError:
        if explicit:
            raise
        return None
    return other


def _scores(store: Store, run: Mapping[str, Any] | None) -> list[ItemScore] | None:
    return None if run is None else scores_of(store, run["run_id"])

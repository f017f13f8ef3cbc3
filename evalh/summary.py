"""What a run came to, from the store: the document that `run --json` prints and that every report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalh.audit.brief import judge_figures
from evalh.costs import costs_document
from evalh.gate import Metric
from evalh.records import Estimate
from evalh.repeats import trials_document
from evalh.stats.position import Unscored
from evalh.stats.scores import RangeColumns, fold_columns, mean_of_columns
from evalh.store.runs import check_table, counts_of, score_columns, systems_of
from evalh.store.store import Store


def run_document(store: Store, run: Mapping[str, Any], *, unscored: Unscored = "exclude") -> dict[str, Any]:
    """The document of a run (DESIGN §10 and more). `run` is a row of `find_run`; `unscored` sets what judge figures do with them."""
    run_id, seed = run["run_id"], run["seed"] or 0
    counts = counts_of(store, run_id)
    scores, slices = score_columns(store, run_id)
    items = fold_columns(scores)
    checks, verdicts = counts["checks"], counts["verdicts"]
    judge_calls, system_calls = counts["calls"].get("judge", {}), counts["calls"].get("system", {})
    return {
        "run": run_id,
        "suite": run["suite"],
        "status": run["status"],
        "kind": run["kind"],
        "golden": {"name": run["golden"], "version": run["golden_version"]},
        "systems": systems_of(store, run_id),
        "simulated": bool(run["simulated"]),
        "allow_same_family": bool(run["allow_same_family"]),
        "gated": bool((run.get("settings") or {}).get("gate")),
        "seed": run["seed"],
        "started_at": run["started_at"],
        "tiers": {
            "checks": {"passed": checks.get("pass", 0), "failed": checks.get("fail", 0), "errors": checks.get("error", 0)},
            "judges": {
                "asked": verdicts["asked"],
                "cached": verdicts["cached"],
                "skipped": counts["saved"]["calls"] or 0,
                "unscored": verdicts["unscored"],
                "verdicts": verdicts["n"],
                "inconsistent": counts["saved"]["inconsistent"] or 0,
            },
            "labels": {"queued": counts["queued"]},
        },
        "routes": counts["routes"],
        "cost_usd": _sum(judge_calls.get("usd"), system_calls.get("usd")),
        "cost_by_tier": {"judges": judge_calls.get("usd") or 0.0, "system": system_calls.get("usd") or 0.0},
        "cost_is_whole": bool(judge_calls.get("priced", True) and system_calls.get("priced", True)),
        "saved_usd": counts["saved"]["usd"] or 0.0,
        "costs": costs_document(store, run),
        "tokens": int((judge_calls.get("tokens") or 0) + (system_calls.get("tokens") or 0)),
        "quality": quality(items, seed),
        "metric": metric_name(run["kind"]),
        "slices": [{"slice": name, "quality": quality(items.of_slice(code), seed)} for name, code in sorted(slices.items())],
        "trials": trials_document(store, run),
        "checks": _as_written(check_table(store, run_id), run.get("settings") or {}),
        "judges": judge_figures(store, run, unscored=unscored),
        "unscored_rule": unscored,
        "store": str(store.path),
    }


def _as_written(checks: list[dict[str, Any]], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The checks in the order of the suite, its test functions after them."""
    order = [c.get("check", "") for c in settings.get("checks") or []] + list(settings.get("tests") or [])
    return sorted(checks, key=lambda row: order.index(row["check"]) if row["check"] in order else len(order))


def metric_name(kind: str) -> Metric:
    """What the mean of a run is called: it is what judges or checks say, not what people say (METHODS §9)."""
    if kind == "checks":
        return "check score"
    return "win rate by judges" if kind == "pairwise" else "judge score"


def quality(items: RangeColumns, seed: int) -> dict[str, Any]:
    """The mean score of a run with its interval: blocked outputs count as failures, unscored ones widen the interval."""
    if not items.low.size:
        return Estimate(value=None, why="no output was scored", method="none").model_dump()
    return mean_of_columns(items, seed=seed).model_dump()


def _sum(*parts: float | None) -> float:
    return sum(p or 0.0 for p in parts)

"""What a run came to, from the store: the document that `run --json` prints and that every report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalh.costs import costs_document
from evalh.gate import Metric
from evalh.judging.names import judge_title
from evalh.records import Estimate
from evalh.repeats import trials_document
from evalh.stats.agreement import Agreement, LabelRow, Unscored, VerdictRow, agreement, consensus, consistency, first_share
from evalh.stats.scores import ItemScore, RangeColumns, fold, fold_columns, mean_of, mean_of_columns
from evalh.stats.trials import repeat_agreement
from evalh.store.runs import check_table, counts_of, groups_of, labels_of, score_columns, systems_of, verdicts_of
from evalh.store.store import Store

NO_LABELS = "no labels in this run"


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
        "judges": judge_figures(
            verdicts_of(store, run_id), labels_of(store, run_id), seed=seed, unscored=unscored, groups=groups_of(store, run_id)
        ),
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


def judge_figures(
    verdicts: Sequence[Mapping[str, Any]], labels: Sequence[Mapping[str, Any]], *, seed: int, unscored: Unscored = "exclude",
    groups: Mapping[str, str | None] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Per judge (judge, version, prompt): counts, agreement with the label consensus, and in pairs consistency and first share.

    For single outputs the mean score; `groups` (item → group) are its clusters.
    """
    settled = consensus(LabelRow(_key(row), tuple(row["systems"]), row["annotator"], _answer(row)) for row in labels)
    by_judge: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in verdicts:
        by_judge.setdefault((row["judge"], row["prompt"]), []).append(row)
    labelled_aspects = {row["aspect"] for row in labels}
    figures = [_figures(name, rows, settled, labelled_aspects, seed, unscored) for name, rows in sorted(by_judge.items())]
    for made, (_, rows) in zip(figures, sorted(by_judge.items()), strict=True):
        if rows[0]["kind"] == "pointwise":
            made["mean_score_estimate"] = _mean_score(rows, groups or {}, seed)
    return figures


def _figures(
    name: tuple[str, str],
    rows: Sequence[Mapping[str, Any]],
    settled: Mapping[Any, Any],
    labelled: set[str | None],
    seed: int,
    unscored: Unscored,
) -> dict[str, Any]:
    turns = {turn: n for n, turn in enumerate(sorted({(r["repeat"], r["trial"], r["aspect"] or "") for r in rows}))}
    shown = [
        VerdictRow(
            _key(r, labelled),
            tuple(r["systems"]),
            _answer(r),
            r["status"],
            bool(r["order_known"]),
            turns[r["repeat"], r["trial"], r["aspect"] or ""],
        )
        for r in rows
    ]
    versions = sorted({r["judge_version"] for r in rows if r["judge_version"]})
    figures: dict[str, Any] = {
        "judge": name[0],
        "judge_version": ", ".join(versions) or None,
        "prompt": name[1] or None,
        "title": judge_title(name[0], versions[0] if len(versions) == 1 else None, name[1]),
        "family": rows[0]["family"],
        "simulated": any(r["simulated"] for r in rows),
        "same_family": any(r["same_family"] for r in rows),
        "n_verdicts": len(rows),
        "n_unscored": sum(r["status"] == "unscored" for r in rows),
    }
    agreed: Agreement | None = agreement(shown, settled, seed=seed, unscored=unscored) if settled else None
    figures["agreement"] = agreed.agreement.model_dump() if agreed else Estimate(value=None, why=NO_LABELS).model_dump()
    figures["agreement_strict"] = agreed.agreement_strict.model_dump() if agreed else Estimate(value=None, why=NO_LABELS).model_dump()
    figures["position"] = _position(shown, seed, unscored) if rows[0]["kind"] == "pairwise" else None
    figures["repeat_agreement"] = _repeat_agreement(rows, seed)
    if rows[0]["kind"] == "pointwise":
        scored = [r["score"] for r in rows if r["score"] is not None]
        figures["mean_score"] = sum(scored) / len(scored) if scored else None
    return figures


def _repeat_agreement(rows: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any] | None:
    """How often a judge that is asked the very same again answers the same; None where it was not (`panel.repeats`)."""
    asked: dict[tuple[str, Any], list[str | None]] = {}
    for r in rows:
        if r["status"] == "scored":
            asked.setdefault((r["item_id"], (tuple(r["systems"]), r["trial"], r["aspect"])), []).append(_answer(r))
    found = repeat_agreement(asked, seed=seed) if any(r["repeat"] for r in rows) else None
    return found.model_dump() if found else None


def _mean_score(rows: Sequence[Mapping[str, Any]], groups: Mapping[str, str | None], seed: int) -> dict[str, Any]:
    """The mean score of a judge over the outputs that reached it; an unscored verdict widens the interval."""
    scores = [ItemScore(r["item_id"], "all", groups.get(r["item_id"]), r["score"], "judged") for r in rows]
    return mean_of(list(fold(scores).values()), seed=seed).estimate.model_dump()


def _position(rows: Sequence[VerdictRow], seed: int, unscored: Unscored) -> dict[str, Any] | None:
    if not any(r.order_known for r in rows):
        return None
    both, first = consistency(rows, seed=seed, unscored=unscored), first_share(rows, seed=seed, unscored=unscored)
    return {
        "first_share": first.first_share.value,
        "first_share_estimate": first.first_share.model_dump(),
        "p_value": first.p_value,
        "consistency": both.consistency.value,
        "consistency_estimate": both.consistency.model_dump(),
        "n_pairs": both.consistency.n,
    }


def _key(row: Mapping[str, Any], labelled: set[str | None] | None = None) -> str:
    """Labels without an aspect speak of the whole; verdicts meet them by item alone, else by item and aspect."""
    aspect = row["aspect"]
    if aspect is None or (labelled is not None and aspect not in labelled):
        return str(row["item_id"])
    return f"{row['item_id']}\x1f{aspect}"


def _answer(row: Mapping[str, Any]) -> str | None:
    value = row.get("raw_score") if "raw_score" in row else row.get("score")
    answer: str | None = row["winner"] if row["kind"] == "pairwise" else row.get("label")
    return f"{value:g}" if row["kind"] == "pointwise" and value is not None else answer


def _sum(*parts: float | None) -> float:
    return sum(p or 0.0 for p in parts)

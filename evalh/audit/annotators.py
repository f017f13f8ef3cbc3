"""People beside people: how far annotators agree, which is what a judge can be held to (METHODS §1.8)."""

from __future__ import annotations

from itertools import combinations
from typing import Any, Literal

import numpy as np

from evalh.audit.agreeing import empty
from evalh.audit.load import NONE, BoolArray, IntArray
from evalh.audit.units import People
from evalh.audit.view import Bench
from evalh.records import Estimate
from evalh.stats.association import cohen_kappa, krippendorff_alpha

GOOD, TENTATIVE = 0.8, 0.667  # of the lower end of alpha (Krippendorff)
MOST_INTERVALS = 45  # pairs of annotators that get an interval; further ones get the number
Metric = Literal["nominal", "ordinal", "interval"]
METRICS: tuple[Metric, ...] = ("nominal", "ordinal", "interval")


def labels_document(bench: Bench) -> dict[str, Any]:
    """How many labels there are, on how many units, with a consensus or without, by whom."""
    people = bench.people
    settled = people.truth[people.truth >= 0]
    return {
        "n": len(bench.material.labels.item),
        "n_superseded": len(bench.material.labels.item) - len(people.unit),
        "n_units": len(people.key),
        "n_consensus": len(settled),
        "n_no_consensus": int((people.truth < 0).sum()),
        "annotators": bench.material.annotators,
        "consensus": _class_counts(bench, settled),
    }


def _class_counts(bench: Bench, settled: IntArray) -> dict[str, int]:
    """How many units people settled on each answer; pairs by the system that the label names first. Empty where scores have many levels."""
    people = bench.people
    if not people.pairwise.size or (people.pairwise.any() and not people.pairwise.all()):
        return {}
    names = ["first", "tie", "second"] if people.pairwise.all() else bench.units.answers.names
    codes, times = np.unique(settled, return_counts=True)
    return {names[code]: int(n) for code, n in zip(codes, times, strict=True)} if len(codes) <= 50 else {}


def annotators_document(bench: Bench) -> dict[str, Any]:
    """Krippendorff's alpha of all labels of the commoner kind and by aspect, and kappa of every two annotators."""
    people = bench.people
    pairwise = bool(people.pairwise.mean() >= 0.5) if people.pairwise.size else False
    rows = people.pairwise == pairwise
    numeric = bool(rows.any()) and not pairwise and not np.isnan(people.value[rows]).any()
    alphas: dict[str, dict[str, Any]] = {name: _alpha(bench, rows, name, numeric) for name in METRICS}
    best = alphas["ordinal" if numeric else "nominal"]
    aspects = _aspects(bench, rows, numeric)
    return {
        "alpha": best["value"],
        "alpha_estimate": best,
        **alphas,
        "metric": "ordinal" if numeric else "nominal",
        "pairs": _pairs(bench, rows),
        "aspects": aspects,
        "n_other_kind": int((~rows).sum()),
        "sentence": _sentence(best, aspects),
    }


def _alpha(bench: Bench, rows: BoolArray, metric: Metric, numeric: bool) -> dict[str, Any]:
    people = bench.people
    if not rows.any():
        return empty("no labels")
    if metric != "nominal" and not numeric:
        return empty("the answers are classes, not scores")
    value = people.value[rows] if numeric else people.answer[rows].astype(np.float64)
    units, cluster = people.unit[rows], people.cluster[rows]
    if np.bincount(units).max() < 2:
        return empty("no unit has two annotators")
    return krippendorff_alpha(
        units,
        value,
        metric=metric,
        clusters=cluster,
        **bench.options,
    ).model_dump()


def _aspects(bench: Bench, rows: BoolArray, numeric: bool) -> list[dict[str, Any]]:
    people = bench.people
    present = np.unique(people.aspect[rows])
    if len(present) == 1 and present[0] == NONE:
        return []
    found = []
    for code in present:
        part = rows & (people.aspect == code)
        alphas: dict[str, dict[str, Any]] = {name: _alpha(bench, part, name, numeric) for name in METRICS}
        name = bench.material.aspects[code] if code >= 0 else None
        sizes = {"n_units": len(np.unique(people.unit[part])), "n_ratings": int(part.sum())}
        found.append({"aspect": name, **sizes, **{m: a["value"] for m, a in alphas.items()}, "estimates": alphas})
    return found


def _pairs(bench: Bench, rows: BoolArray) -> list[dict[str, Any]]:
    """Cohen's kappa of every two annotators on the units that both labelled; with an interval where there are not too many pairs."""
    people, names = bench.people, bench.material.annotators
    of = {int(code): np.flatnonzero(rows & (people.annotator == code)) for code in np.unique(people.annotator[rows])}
    chosen = list(combinations(sorted(of), 2))
    found = []
    for a, b in chosen:
        _, in_a, in_b = np.intersect1d(people.unit[of[a]], people.unit[of[b]], assume_unique=True, return_indices=True)
        if not in_a.size:
            continue
        left, right = people.answer[of[a][in_a]], people.answer[of[b][in_b]]
        estimate = None if len(chosen) > MOST_INTERVALS else _kappa(bench, people, left, right, of[a][in_a])
        value = estimate["value"] if estimate else _bare_kappa(left, right)
        made = {"a": names[a], "b": names[b], "n": len(in_a), "agreement": float((left == right).mean()), "kappa": value}
        found.append({**made, "kappa_estimate": estimate})
    return found


def _kappa(bench: Bench, people: People, left: IntArray, right: IntArray, rows: IntArray) -> dict[str, Any]:
    known = np.unique(np.concatenate([left, right]))
    found = cohen_kappa(
        np.searchsorted(known, left), np.searchsorted(known, right), people.cluster[rows], classes=max(len(known), 2),
        **bench.options,
    )  # fmt: skip
    estimate: Estimate = found.estimate
    return estimate.model_dump()


def _bare_kappa(left: IntArray, right: IntArray) -> float | None:
    """Kappa without an interval: (observed - expected) / (1 - expected); None where both always say the same one thing."""
    known, codes = np.unique(np.concatenate([left, right]), return_inverse=True)
    first, second = (np.bincount(part, minlength=len(known)) / len(left) for part in (codes[: len(left)], codes[len(left) :]))
    expected = float(first @ second)
    return None if expected > 1 - 1e-12 else (float((left == right).mean()) - expected) / (1 - expected)


def _sentence(alpha: dict[str, Any], aspects: list[dict[str, Any]]) -> str:
    """What people's agreement means for anything that is measured against them."""
    low = alpha["low"]
    if alpha["value"] is None:
        return f"Nothing says how far people agree: {alpha['why']}. Let two people label some of the items."
    told = f"Krippendorff's alpha is {alpha['value']:.2f}" + (
        f" [{low:.2f}, {alpha['high']:.2f}]" if low is not None else f" ({alpha['why']})"
    )
    told += f" over {len(aspects)} aspects together" if len(aspects) > 1 else ""
    if low is None:
        return f"{told}. Label more before you rely on it."
    if low >= GOOD:
        return f"{told}: people agree well, and their consensus can be taken as the truth."
    if low >= TENTATIVE:
        return f"{told}: people agree enough for tentative conclusions. Sharpen the instructions where they differ."
    return f"{told}: people do not agree enough to hold a judge to their consensus. Sharpen the question, and label again."

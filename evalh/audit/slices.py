"""The same figures on parts: by slice of the golden set and by aspect, each with its own interval and a note where it is small."""

from __future__ import annotations

from typing import Any

import numpy as np

from evalh.audit.agreeing import MIN_ITEMS, agreement
from evalh.audit.biases import position_of
from evalh.audit.load import IntArray
from evalh.audit.view import Bench, View


def by_slice(bench: Bench, view: View) -> list[dict[str, Any]]:
    """One entry per slice, by name; none where there is one slice only, which is the whole."""
    code = bench.material.slice_of[bench.units.item[view.unit]]
    return _parts(bench, view, code, bench.material.slices, "slice")


def by_aspect(bench: Bench, view: View) -> list[dict[str, Any]]:
    """One entry per aspect; none where there is one only."""
    return _parts(bench, view, bench.material.verdicts.aspect[view.rows], bench.material.aspects, "aspect")


def _parts(bench: Bench, view: View, code: IntArray, names: list[str], what: str) -> list[dict[str, Any]]:
    present = np.unique(code[code >= 0])
    if len(present) < 2:
        return []
    found = []
    for part in present:
        rows = view.only(code == part)
        said = agreement(bench, rows)
        position = position_of(bench, rows)["position"]
        items = len(np.unique(rows.cluster[rows.truth >= 0]))
        labelled = bool((view.truth >= 0).any())
        told = f"{items} labelled item{'' if items == 1 else 's'}"
        found.append({
            what: names[part],
            "n": len(rows.rows),
            "n_unscored": int((~rows.scored).sum()),
            "agreement": said["agreement_estimate"],
            "strict": said["agreement_strict_estimate"],
            "kappa": said["kappa"],
            "kappa_estimate": said["kappa_estimate"],
            "first_share": position["first_share_estimate"] if position else None,
            "verdict_on_judge": said["verdict_on_judge"],
            "note": f"indicative: {told} of {MIN_ITEMS}" if labelled and items < MIN_ITEMS else None,
        })  # fmt: skip
    return found

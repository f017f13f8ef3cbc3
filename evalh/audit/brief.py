"""The few figures of judges that a run's own document shows: counts, agreement with people, position, repeats, mean score.

They are the audit's own functions, over one run, with a judge's versions taken together as the run asked them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evalh.audit.agreeing import NO_LABELS, why_not
from evalh.audit.biases import position_of, repeats_of
from evalh.audit.kin import kinship
from evalh.audit.load import load
from evalh.audit.units import meet
from evalh.audit.view import Bench, View, read, view_of
from evalh.judging.families import Families
from evalh.judging.names import judge_title
from evalh.records import Estimate
from evalh.stats.association import agreement_rate
from evalh.stats.position import Unscored
from evalh.stats.scores import ScoreColumns, fold_columns, mean_of_columns
from evalh.store.store import Store


def judge_figures(
    store: Store, run: Mapping[str, Any], *, unscored: Unscored = "exclude", families: Families | None = None
) -> list[dict[str, Any]]:
    """Per judge and prompt, by name: what its verdicts come to. `run` is a row of `find_run`; none where it has no verdicts."""
    material = load(store, [run], lengths=False)
    if not material.judges:
        return []
    units, people = meet(material)
    bench = Bench(material, units, people, unscored)
    seats: dict[tuple[str, str, str], list[int]] = {}
    for place, fact in enumerate(material.judges):
        seats.setdefault((fact.judge, fact.prompt or "", fact.kind), []).append(place)
    known = kinship(material, families or Families.load()).judges
    return [_figures(bench, places, known) for _, places in sorted(seats.items())]


def _figures(bench: Bench, places: list[int], families: list[str | None]) -> dict[str, Any]:
    view, facts = view_of(bench, places), [bench.material.judges[place] for place in places]
    versions = sorted({fact.version for fact in facts if fact.version})
    one = facts[0]
    figures: dict[str, Any] = {
        "judge": one.judge,
        "judge_version": ", ".join(versions) or None,
        "prompt": one.prompt,
        "title": judge_title(one.judge, versions[0] if len(versions) == 1 else None, one.prompt),
        "family": next((family for place, fact in zip(places, facts, strict=True) if (family := families[place] or fact.family)), None),
        "simulated": any(fact.simulated for fact in facts),
        "same_family": any(fact.same_family for fact in facts),
        "n_verdicts": len(view.rows),
        "n_unscored": int((~view.scored).sum()),
        "agreement": _agreement(bench, view, bench.unscored),
        "agreement_strict": _agreement(bench, view, "wrong"),
        "position": position_of(bench, view)["position"],
        "repeat_agreement": repeats_of(bench, view)["repeat_agreement"],
    }
    return figures if view.pairwise else {**figures, **_mean_score(bench, view)}


def _agreement(bench: Bench, view: View, unscored: Unscored) -> dict[str, Any]:
    why = why_not(bench, view)
    made = read(view, unscored)
    if why is not None or not made.truth.size:
        nobody = "no labels in this run" if why == NO_LABELS else why
        return Estimate(value=None, why=nobody or "no labelled verdict was scored").model_dump()
    return agreement_rate(made.hit, made.cluster, **bench.options).model_dump()


def _mean_score(bench: Bench, view: View) -> dict[str, Any]:
    """The mean of its scores on [0, 1] over the outputs that reached it; an unscored verdict widens the interval."""
    score = bench.material.verdicts.score[view.rows]
    item = bench.units.item[view.unit].astype(np.uint64)
    together = np.argsort(item, kind="stable")
    columns = ScoreColumns(item[together], np.zeros(len(item), dtype=np.uint64), view.cluster[together].astype(np.uint64), score[together])
    known = score[~np.isnan(score)]
    return {
        "mean_score": float(known.mean()) if known.size else None,
        "mean_score_estimate": mean_of_columns(fold_columns(columns), seed=bench.material.seed).model_dump(),
    }

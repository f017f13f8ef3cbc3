"""Trials of a run, from the store to the document: which of them pass, pass@k, pass^k, majority, flakiness, and where.

A trial is pass, fail or unscored. When a score is a pass is never assumed: `passing_of` says it from the suite, or that
the suite does not say it, and `check_trials` refuses such a suite before anything is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from evalh.errors import InputError
from evalh.judging.rubric import Rubric
from evalh.records import Estimate
from evalh.stats.trials import (
    Figure,
    ItemTrials,
    Passing,
    changes,
    counted,
    ks_upto,
    majority,
    over_items,
    pass_at,
    pass_hat,
    spread,
)
from evalh.store.queries import trials_of_run
from evalh.store.store import Store
from evalh.suites.model import Panel, Suite

FLAKIEST = 10  # items named in the document
UNDECIDED = "the suite does not say which scores pass: add `trials: {passing: …}`"


def passing_of(passing: float | None, kind: str, panel: Mapping[str, Any] | None, rubric: Mapping[str, Any] | None) -> Passing | None:
    """When a trial passes; None where nothing says so. `panel` and `rubric` are mappings as the run's settings keep them.

    A panel that counts votes of criteria with `pass_at` (a binary scale has it) decides itself: its score is 1 where it passes.
    """
    if passing is not None:
        return Passing(passing, f"at a score of {passing:g} or more")
    if kind == "checks":
        return Passing(1.0, "where every check holds")
    if kind == "pairwise":
        return Passing(0.5, "where it wins the pair", above=True)
    votes = (panel or {}).get("rule") in ("majority", "unanimous")
    criteria = (rubric or {}).get("criteria") or []
    if votes and criteria and all(criterion.get("pass_at") is not None for criterion in criteria):
        return Passing(1.0, "where the panel passes it")
    return None


def check_trials(suite: Suite, rubric: Rubric | None, *, recorded: bool) -> None:
    """Raise InputError where the trials of a suite cannot be made or decided. `recorded`: all its outputs are recorded."""
    trials, where = suite.trials, "trials"
    if trials is None or trials.k == 1:
        return
    if trials.k is None and not recorded:
        raise InputError("how many trials?", where=where, hint="as in `trials: 5`, or `trials: {k: 5, passing: 0.7}`")
    if passing_of(trials.passing, _kind(rubric), _settings(suite.panel), _settings(rubric)) is None:
        raise InputError(
            "nothing says which scores of the judges pass", where=where,
            hint="as in `trials: {k: 5, passing: 0.7}`; or give each criterion of the rubric `pass_at` and the panel the rule `majority`",
        )  # fmt: skip


def _kind(rubric: Rubric | None) -> str:
    return "checks" if rubric is None else rubric.kind


def _settings(part: Panel | Rubric | None) -> dict[str, Any] | None:
    return None if part is None else part.model_dump(include={"rule", "criteria"})


def trials_document(store: Store, run: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the trials of a run came to; None where every item has one. `run` is a row of `find_run`."""
    rows = trials_of_run(store, run["run_id"])
    if not rows:
        return None
    settings, seed = run.get("settings") or {}, run["seed"] or 0
    passing = passing_of((settings.get("trials") or {}).get("passing"), run["kind"], settings.get("panel"), settings.get("rubric"))
    items = [_item(row, passing) for row in rows]
    k, last = min(item.n for item in items), min((item.n for item in items if item.n > 1), default=1)
    spreading = spread(items, seed=seed)
    return {
        "k": k,
        "most": max(item.n for item in items),
        **_figures(items, passing, ks_upto(k), last, seed),
        "passing": passing.threshold if passing else None,
        "passes": passing.words if passing else None,
        "outputs": sum(item.n for item in items),
        "unscored": sum(item.unscored for item in items),
        "items_with_unscored": sum(item.unscored > 0 for item in items),
        "same_output": sum(_same(row) for row in rows),
        "spread": spreading and {"within": spreading.within.model_dump(), "between": spreading.between.model_dump()},
        "slices": [{"slice": name, **_figures(some, passing, [1, k], last, seed)} for name, some in _by_slice(items).items()],
        "flakiest": _flakiest(items, rows) if passing else [],
        "notes": _notes(items, rows),
    }


def _item(row: Mapping[str, Any], passing: Passing | None) -> ItemTrials:
    """The trials of one item by one system. A blocked output is a failure, worth 0 where it has no score; of a pair, the
    side that is not blocked wins.
    """
    scores = [0.0 if score is None and route == "blocked" else score for score, route in zip(row["scores"], row["routes"], strict=True)]
    passed, failed, unscored = counted(scores, passing or Passing(1.0, "undecided"))  # then nothing is made of the counts
    return ItemTrials(
        item_id=row["item_id"],
        slice=row["slice"] or "all",
        cluster=f"item {row['item_id']}" if row["group"] is None else f"group {row['group']}",
        passed=passed,
        failed=failed,
        unscored=unscored,
        scores=tuple(score for score in scores if score is not None),
    )


def _figures(items: Sequence[ItemTrials], passing: Passing | None, ks: Sequence[int], last: int, seed: int) -> dict[str, Any]:
    """pass@k and pass^k for these k; majority; and how much trials differ, in `last` trials and in two, of items that have several."""
    several = [item for item in items if item.n > 1]

    def made(some: Sequence[ItemTrials], figure: Figure, needs: int) -> dict[str, Any]:
        if passing is None:
            return Estimate(value=None, n=len(some), method="none", why=UNDECIDED).model_dump()
        return over_items(some, figure, needs=needs, seed=seed).model_dump()

    return {
        "n_items": len({item.item_id for item in items}),
        "pass_at": {str(k): made(items, partial(pass_at, k=k), k) for k in ks},
        "pass_hat": {str(k): made(items, partial(pass_hat, k=k), k) for k in ks},
        "majority": made(items, majority, 1),
        "ties": sum(item.passed == item.failed and item.passed > 0 for item in items) if passing else None,
        "flaky": made(several, partial(changes, k=last), last),
        "disagreement": made(several, partial(changes, k=2), 2),
    }


def _flakiest(items: Sequence[ItemTrials], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The items whose outcome changes most: those nearest to a coin."""
    changed = [(item, row) for item, row in zip(items, rows, strict=True) if item.changed]
    changed.sort(key=lambda pair: (-changes(pair[0].passed + pair[0].failed, pair[0].passed, 2), pair[0].item_id, pair[1]["system"]))
    return [
        {
            "item_id": item.item_id,
            "slice": item.slice,
            "system": row["system"],
            "passed": item.passed,
            "failed": item.failed,
            "unscored": item.unscored,
            "trials": item.n,
        }
        for item, row in changed[:FLAKIEST]
    ]


def _by_slice(items: Sequence[ItemTrials]) -> dict[str, list[ItemTrials]]:
    found: dict[str, list[ItemTrials]] = {}
    for item in items:
        found.setdefault(item.slice, []).append(item)
    return dict(sorted(found.items()))


def _same(row: Mapping[str, Any]) -> bool:
    """Whether all trials of an item gave the same output."""
    return bool(row["texts"] == 1 and row["answered"] > 1)


def _notes(items: Sequence[ItemTrials], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader must know of these figures."""
    least, most, single = min(i.n for i in items), max(i.n for i in items), sum(i.n == 1 for i in items)
    notes = ["flaky is a lower bound that grows with the number of trials; that two trials differ does not depend on it"]
    if least < most:
        notes.append(f"items have {least} to {most} trials: k ends at the smallest number")
    if single:
        notes.append(f"{single} of {len(items)} items have one trial and are left out of flaky and of two trials differ")
    if all(map(_same, rows)):
        notes.append("every item got the same output in all its trials: the system repeats itself, or something caches its answers")
    return notes

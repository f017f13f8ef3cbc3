"""`evalh rank`: the pairwise verdicts of a run as win rates and ratings, for each judge and for all of them as a panel.

Every figure of a win rate is in percent, as AlpacaEval publishes them; a rating is in log-odds, with Elo points beside it.
A judge has its own baseline: judges of one run may have compared with different systems.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.errors import UsageError
from evalh.interchange.length_weights import WeightsFile
from evalh.judging.families import Families, Family
from evalh.judging.names import judge_title
from evalh.records import Estimate
from evalh.stats.bradley_terry import ELO, Outcomes, Ratings, davidson
from evalh.stats.length_control import LengthControl, length_controlled, published
from evalh.stats.winrates import UNKNOWN, Pairs, Shown, Unscored, Verdicts, WinRate, combine, fold, win_rate
from evalh.store.pairwise import (
    PairwiseColumns,
    given_baselines,
    item_difficulties,
    kinds_of_verdicts,
    never_judged,
    pairwise_columns,
)
from evalh.store.store import Store

FloatArray = npt.NDArray[np.float64]
Document = dict[str, Any]


class _Task(NamedTuple):
    """What one call of `rank_run` knows: the run's columns and what was asked for."""

    data: PairwiseColumns
    baseline: str | None  # --baseline
    against: list[str]  # what the suite compared with
    length_controlled: bool
    unscored: Unscored
    difficulty: FloatArray
    seed: int
    level: float


class _Folded(NamedTuple):
    """One judge's pairs; `place` is the place of each pair's item in the golden set."""

    pairs: Pairs
    shown: Shown
    place: npt.NDArray[np.int64]


def rank_run(
    store: Store, run: Mapping[str, Any], *, baseline: str | None = None, length_controlled: bool = False,
    weights: Sequence[WeightsFile] = (), unscored: Unscored = "exclude", families: Families | None = None, level: float = 0.95,
) -> Document:  # fmt: skip
    """The document of `evalh rank --json`. `run` is a row of `find_run`.

    Raises UsageError for a run without pairwise verdicts, a baseline that no judge knows, and weights that nobody can tell
    the judge of.
    """
    run_id = str(run["run_id"])
    data = pairwise_columns(store, run_id, lengths=length_controlled)
    if not len(data.judge):
        raise _nothing_to_rank(run_id, kinds_of_verdicts(store, run_id))
    if baseline is not None and baseline not in data.systems:
        near = get_close_matches(baseline, data.systems, n=3, cutoff=0.5) or data.systems[:5]
        raise UsageError(f"no pairwise verdict is about a system `{baseline}`", where=run_id, hint=f"there are {', '.join(near)}")
    difficulty = item_difficulties(store, run_id) if length_controlled else np.zeros(0)
    task = _Task(data, baseline, given_baselines(store, run_id), length_controlled, unscored, difficulty, int(run["seed"] or 0), level)
    folded = [_fold(task, place) for place in range(len(data.judges))]
    baselines = _baselines(task, folded)
    files = _weights_by_judge(task, weights, [found for found, _ in baselines])
    kin = families or Families.load()
    judges = [
        {**_named(row), "family": _family_name(row, kin), **_standings(task, part, chosen, file)}
        for row, part, chosen, file in zip(data.judges, folded, baselines, files, strict=True)
    ]
    panel, panel_why = _panel(task, folded, kin)
    common = {judge["baseline"] for judge in judges}
    return {
        "run": run_id,
        "baseline": common.pop() if len(common) == 1 else None,
        "unit": {"win_rate": "percent", "rating": "log-odds", "elo": "Elo points"},
        "unscored_rule": unscored,
        "length_controlled": length_controlled,
        "simulated": any(row["simulated"] for row in data.judges),
        "n_verdicts": len(data.judge),
        "n_unscored": int(np.isnan(data.score).sum()),
        "never_judged": never_judged(store, run_id),
        "aspects": data.aspects,
        "level": level,
        "seed": task.seed,
        "judges": judges,
        "panel": panel,
        "panel_why": panel_why,
    }


def _nothing_to_rank(run_id: str, kinds: Mapping[str, int]) -> UsageError:
    other = kinds.get("pointwise", 0)
    what = f"its {other} verdicts are pointwise; `evalh report` shows their scores" if other else "it has no verdicts at all"
    hint = "two systems are compared by a suite whose panel has `against`, or by imported verdicts of kind `pairwise`"
    return UsageError(f"no pairwise verdicts: {what}", where=run_id, hint=hint)


def _named(row: Mapping[str, Any]) -> Document:
    return {**row, "title": judge_title(row["judge"], row["judge_version"], row["prompt"])}


def _fold(task: _Task, judge: int) -> _Folded:
    data = task.data
    mine = data.judge == judge
    columns = (data.item, data.cluster, data.first, data.second, data.score, data.outcome, data.order_known, data.longer)
    pairs, shown = fold(Verdicts(*(column[mine] for column in columns)), len(data.systems), task.unscored)
    return _Folded(pairs, shown, _places(data, pairs))


def _places(data: PairwiseColumns, pairs: Pairs) -> npt.NDArray[np.int64]:
    place = np.zeros(int(data.item.max()) + 1, dtype=np.int64)
    place[data.item] = data.place
    return place[pairs.item]


# ---- the baseline ---------------------------------------------------------------------------------------------------


def _baselines(task: _Task, folded: Sequence[_Folded]) -> list[tuple[int | None, str]]:
    """`_baseline` of each judge; one that saw two systems only takes the one that is the baseline of the other judges."""
    found = [_baseline(task, part.pairs) for part in folded]
    settled = {code for code, _ in found if code is not None}
    for place, part in enumerate(folded):
        candidates = settled & (met := _met(part.pairs)).keys()
        if found[place][0] is None and task.baseline is None and len(met) == 2 and len(candidates) == 1:
            found[place] = (candidates.pop(), "the baseline of other judges of this run")
    return found


def _met(pairs: Pairs) -> dict[int, set[int]]:
    """Whom each system met."""
    met: dict[int, set[int]] = {}
    for lo, hi in np.unique(np.column_stack([pairs.lo, pairs.hi]), axis=0).tolist():
        met.setdefault(lo, set()).add(hi)
        met.setdefault(hi, set()).add(lo)
    return met


def _baseline(task: _Task, pairs: Pairs) -> tuple[int | None, str]:
    """The system that this judge's win rates are against, and why it or none."""
    names, met = task.data.systems, _met(pairs)
    if task.baseline is not None:
        code = names.index(task.baseline)
        return (code, "--baseline") if code in met else (None, f"this judge was never asked about {task.baseline}")
    suite = [names.index(name) for name in task.against if name in names and names.index(name) in met]
    if len(suite) == 1:
        return suite[0], "the suite compares with it"
    central = [system for system, others in met.items() if len(others) == len(met) - 1]
    if len(central) == 1:
        return central[0], "the only system that meets all others"
    if len(met) == 2:
        return None, "nothing says which of the two it is: win rates are against each other; --baseline chooses one"
    how_many = f"{len(central)} systems meet all others" if central else "no system meets all others"
    return None, f"{how_many}: win rates are against all that a system met; --baseline chooses one"


# ---- one judge ------------------------------------------------------------------------------------------------------


def _standings(task: _Task, part: _Folded, chosen: tuple[int | None, str], file: WeightsFile | None) -> Document:
    """The figures of one judge, or of a panel."""
    baseline, why = chosen
    pairs, names = part.pairs, task.data.systems
    ratings = davidson(_outcomes(pairs, baseline), len(names), baseline, seed=task.seed, level=task.level)
    present = np.unique(np.concatenate([pairs.lo, pairs.hi])).tolist()
    rows = [_system(task, part, system, baseline, ratings, file) for system in present]
    tied = float(np.nansum(pairs.tie))
    return {
        "baseline": None if baseline is None else names[baseline],
        "baseline_why": why,
        "n_verdicts": int(pairs.verdicts.sum()),
        "n_unscored": int(pairs.unscored.sum()),
        "n_pairs": len(pairs.item),
        "n_unscored_pairs": int((~pairs.scored).sum()),
        "n_items": len(np.unique(pairs.item)),
        "tie_rate": 100 * tied / int(pairs.scored.sum()) if pairs.scored.any() else None,
        "tie_parameter": ratings.nu,
        "rating_note": ratings.note,
        "systems": sorted(rows, key=lambda row: (row["rating"] is None, -(row["rating"] or 0.0), row["system"])),
    }


def _outcomes(pairs: Pairs, baseline: int | None) -> Outcomes:
    """Scored pairs for the ratings. What `wrong` takes from both sides goes to the baseline; between two others it is a tie."""
    at = pairs.scored
    lo, hi, win_hi, win_lo, tie = (getattr(pairs, name)[at] for name in ("lo", "hi", "win_hi", "win_lo", "tie"))
    lost = np.maximum(1 - win_hi - win_lo - tie, 0.0)
    on_hi, on_lo = hi == baseline, lo == baseline
    win_hi, win_lo = win_hi + lost * on_hi, win_lo + lost * on_lo
    return Outcomes(lo, hi, win_hi, win_lo, tie + lost * ~(on_hi | on_lo), pairs.cluster[at], pairs.item[at])


def _system(task: _Task, part: _Folded, system: int, baseline: int | None, ratings: Ratings, file: WeightsFile | None) -> Document:
    pairs, is_baseline = part.pairs, system == baseline
    mine = (pairs.lo == system) | (pairs.hi == system)
    versus = mine if baseline is None or is_baseline else mine & ((pairs.lo == baseline) | (pairs.hi == baseline))
    rate = win_rate(pairs, system, None if is_baseline else baseline, seed=task.seed, level=task.level)
    rating, low, high = ratings.estimates[system], ratings.rank_low[system], ratings.rank_high[system]
    controlled = _controlled(task, part, versus, system, baseline, file) if task.length_controlled and not is_baseline else {}
    return {
        "system": task.data.systems[system],
        "is_baseline": is_baseline,
        "n": rate.n,
        "n_verdicts": int(pairs.verdicts[versus].sum()),
        "n_unscored": int(pairs.unscored[versus].sum()),
        "n_unscored_pairs": int((~pairs.scored[versus]).sum()),
        **(_no_rate() if is_baseline else _rate(rate)),
        "length_controlled_win_rate": None,
        **controlled,
        "rating": rating.value,
        "rating_estimate": rating.model_dump(),
        "elo": None if rating.value is None else ELO * rating.value,
        "elo_estimate": _scaled(rating, ELO).model_dump(),
        "rank_low": low,
        "rank_high": high,
    }


_RATE = ("win_rate", "win_rate_se", "win_rate_estimate", "discrete_win_rate", "discrete_win_rate_estimate", "wins", "ties", "losses")


def _no_rate() -> Document:
    return {**dict.fromkeys(_RATE), "win_rate_why": "the baseline: the others' win rates are against it"}


def _rate(rate: WinRate) -> Document:
    values = (
        _percent(rate.value), _percent(rate.se), _scaled(rate.estimate, 100).model_dump(), _percent(rate.discrete),
        _scaled(rate.discrete_estimate, 100).model_dump(), rate.wins, rate.ties, rate.losses,
    )  # fmt: skip
    return {**dict(zip(_RATE, values, strict=True)), "win_rate_why": None if rate.n else "no scored pair with the baseline"}


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _scaled(estimate: Estimate, by: float) -> Estimate:
    ends = {name: None if (end := getattr(estimate, name)) is None else by * end for name in ("value", "low", "high")}
    return estimate.model_copy(update=ends)


# ---- at equal length ------------------------------------------------------------------------------------------------


def _controlled(
    task: _Task, part: _Folded, versus: npt.NDArray[np.bool_], system: int, baseline: int | None, file: WeightsFile | None
) -> Document:
    """The length-controlled figures of one system: with published weights where there are some for this judge, else our own fit."""
    if baseline is None:
        made = _uncontrolled("there is no baseline: equal length to what? `--baseline SYSTEM` names one")
    elif file is not None:
        made = _from_weights(task, part, versus, task.data.systems[system], file)
    else:
        made = _fitted(task, part, versus, system)
    return made


def _uncontrolled(why: str, method: str = "") -> Document:
    estimate = Estimate(value=None, method=method, why=why)
    return {"length_controlled_win_rate": None, "length_controlled_estimate": estimate.model_dump()}


def _from_weights(task: _Task, part: _Folded, versus: npt.NDArray[np.bool_], name: str, file: WeightsFile) -> Document:
    method = f"published weights, {file.path.name}"
    if name not in file.weights:
        near = get_close_matches(name, file.weights, n=1)
        return _uncontrolled(f"{file.path.name} has no weights of {name}" + (f" (it has {near[0]})" if near else ""), method)
    places = part.place[versus]
    made = published(file.weights[name], places[places >= 0], task.difficulty)
    if made.by_row is None or (places < 0).any():
        return _uncontrolled("an item has no `instruction_difficulty` in its meta: the weights need one for each", method)
    why = "the weights are taken as they are: how sure they are is not published"
    estimate = Estimate(value=100 * made.by_row, level=task.level, n=len(places), method=method, why=why)
    return {
        "length_controlled_win_rate": estimate.value,
        "length_controlled_estimate": estimate.model_dump(),
        "length_controlled_on_judged_items": _percent(made.by_item),
    }


def _fitted(task: _Task, part: _Folded, versus: npt.NDArray[np.bool_], system: int) -> Document:
    """Our own fit, on one row a pair and order."""
    pairs, shown = part.pairs, part.shown
    rows = np.flatnonzero((versus & pairs.scored)[shown.pair] & ~np.isnan(shown.score_hi))
    known = rows[~np.isnan(shown.longer[rows])]
    kept = known if len(known) else rows
    pair, order = shown.pair[kept], shown.order[kept]
    is_hi = pairs.hi[pair] == system
    second = np.where(order == UNKNOWN, 0.0, np.where((order == 0) == is_hi, 0.5, -0.5))
    difficulty = np.append(task.difficulty, np.nan)[part.place[pair]]  # place -1: an item that the golden set lacks
    fit: LengthControl = length_controlled(
        np.where(is_hi, shown.score_hi[kept], shown.score_lo[kept]),
        1 / np.bincount(pair, minlength=len(pairs.item))[pair],
        np.where(is_hi, shown.longer[kept], -shown.longer[kept]),
        second,
        pairs.cluster[pair],
        difficulty=None if np.isnan(difficulty).any() else difficulty,
        seed=task.seed,
        level=task.level,
    )
    estimate = _scaled(fit.estimate, 100)
    return {
        "length_controlled_win_rate": estimate.value,
        "length_controlled_estimate": estimate.model_dump(),
        "length_coefficient": fit.coefficient,
        "order_coefficient": fit.order,
        "longer_share": _percent(fit.longer_share),
        "length_controlled_note": fit.note,
        "n_length_unknown": len(rows) - len(known),
    }


def _weights_by_judge(task: _Task, files: Sequence[WeightsFile], baselines: Sequence[int | None]) -> list[WeightsFile | None]:
    """For each judge the file of its weights. Raises UsageError where a file could be of several judges, or is of none."""
    chosen: list[WeightsFile | None] = [None] * len(baselines)
    for file in files:
        names = [None if code is None else task.data.systems[code] for code in baselines]
        fits = [
            place
            for place, (row, name) in enumerate(zip(task.data.judges, names, strict=True))
            if name is not None and file.baseline in (None, name)
            and (file.judge is None or file.judge.matches(row["judge"], row["judge_version"], row["prompt"]))
        ]  # fmt: skip
        titles = [_named(task.data.judges[place])["title"] for place in fits]
        if not fits:
            about = " of ".join(filter(None, [f"against {file.baseline}" if file.baseline else "", file.judge.judge if file.judge else ""]))
            known = ", ".join(_named(row)["title"] for row in task.data.judges)
            raise UsageError(f"the weights are {about}, and no judge is", where=str(file.path), hint=f"the judges are {known}")
        if len(fits) > 1 and file.judge is None:
            hint = f"--weights JUDGE=FILE with one of {', '.join(titles)}"
            raise UsageError("nothing says which judge these weights are of", where=str(file.path), hint=hint)
        for place in fits:
            chosen[place] = file
    return chosen


# ---- all judges together --------------------------------------------------------------------------------------------


def _panel(task: _Task, folded: Sequence[_Folded], families: Families) -> tuple[Document | None, str | None]:
    """The judges as one, a vote for each family; or None and why."""
    rows = task.data.judges
    if len(rows) < 2:
        return None, "there is one judge"
    named = _families(rows, families)
    votes = sorted(set(named))
    if len(votes) < 2:
        return None, f"all judges are of one family ({votes[0]}): they are one vote"
    count = len(task.data.systems)
    longer = [_longer(part) for part in folded]
    pairs, shown, incomplete = combine([part.pairs for part in folded], [votes.index(f) for f in named], count, longer)
    if not pairs.scored.any():
        return None, "no pair was judged by every family"
    part = _Folded(pairs, shown, _places(task.data, pairs))
    members = [{"judge": _named(row)["title"], "family": family} for row, family in zip(rows, named, strict=True)]
    rule = "a vote for each family (the mean of its judges); the score is the votes' mean, the winner the one of most votes"
    told = {"judge": "panel", "members": members, "families": votes, "rule": rule, "n_incomplete_pairs": incomplete}
    scored = part.pairs.scored  # systems that only some families were asked about are no part of it
    seen = np.unique(np.concatenate([pairs.lo[scored], pairs.hi[scored]]))
    standings = _standings(task, part, _baseline(task, _of(pairs, scored)), None)
    names = {task.data.systems[code] for code in seen.tolist()}
    return {**told, **standings, "systems": [row for row in standings["systems"] if row["system"] in names]}, None


def _of(pairs: Pairs, rows: npt.NDArray[np.bool_]) -> Pairs:
    return Pairs._make(column[rows] for column in pairs)


def _families(rows: Sequence[Mapping[str, Any]], families: Families) -> list[str]:
    """Whose vote each judge is: families that share a lineage are one; a judge of no known family is its own."""
    known = [_family(row, families) for row in rows]
    votes: list[set[str]] = []
    for family in dict.fromkeys(family for family in known if family is not None):
        kin = [vote for vote in votes if any((f := families.get(name)) and families.shared_lineage(family, f) for name in vote)]
        votes = [vote for vote in votes if vote not in kin] + [{family.name}.union(*kin)]
    named = {name: " + ".join(sorted(vote)) for vote in votes for name in vote}
    given = [row["family"] or f"unknown: {row['judge']}" for row in rows]
    return [named[family.name] if family else own for family, own in zip(known, given, strict=True)]


def _family(row: Mapping[str, Any], families: Families) -> Family | None:
    """The family of a judge as it was recorded, else by its version, else by its name: in the order of the audit."""
    if row["family"]:
        return families.get(row["family"]) or families.find(row["family"])
    return next((f for name in (row["judge_version"], row["judge"]) if name and (f := families.find(name))), None)


def _family_name(row: Mapping[str, Any], families: Families) -> str | None:
    family = _family(row, families)
    return family.name if family else row["family"]


def _longer(part: _Folded) -> FloatArray:
    """hi minus lo in characters, by pair."""
    first = np.unique(part.shown.pair, return_index=True)[1]
    return part.shown.longer[first]

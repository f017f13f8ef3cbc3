"""Item-paired comparison of two runs: the document of `evalh compare --json`. Pure: two lists of scores in, a record out.

Nothing here decides; the gate does. Every difference is b - a: positive means that b is better. The tests are over the items
that have a score in both runs; the interval of the difference also holds whatever the unscored ones are worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from evalh.records import Estimate, Record
from evalh.stats.intervals import MIN_ITEMS, REPORT_DRAWS, cr3_interval
from evalh.stats.paired import PairedTests, holm, paired_p_value, paired_tests
from evalh.stats.scores import ItemRange, ItemScore, difference_of, fold

_EQUAL = 1e-9  # two averages of trials closer than this are the same


_TESTS = {"mcnemar": "McNemar, exact", "permutation": "sign flips"}
INDICATIVE = 30  # slices of fewer items are shown, and prove nothing (METHODS §3.6)


class McNemar(Record):
    """The exact test of the items that changed; it takes items as independent. No p value where scores are not 0 or 1."""

    p_value: float | None
    better: int
    worse: int
    why: str | None = None


class Permutation(Record):
    """The sign-flip test of cluster sums. `resamples` None: every flip of the `clusters` that differ was enumerated."""

    p_value: float
    clusters: int
    resamples: int | None
    seed: int


class Tests(Record):
    """Both tests of no difference; `headline` names the one whose p value the comparison quotes, None where there are too few items."""

    mcnemar: McNemar | None
    permutation: Permutation | None
    headline: Literal["mcnemar", "permutation"] | None
    why: str | None = None


class SliceDifference(Record):
    """The difference on one slice. `p_holm` is the p value for all slices at once (Holm): several are looked at here.

    `indicative`: fewer than 30 items have a score in both runs.
    """

    slice: str
    n_items: int
    difference: Estimate
    p_value: float | None
    p_holm: float | None
    indicative: bool
    sentence: str


class Comparison(Record):
    """Two runs on the items that both have a score for. `missing` counts the items that at least one of them lacks."""

    a: str
    b: str
    n_items: int
    difference: Estimate
    p_value: float | None
    improved: int
    regressed: int
    equal: int
    missing: int
    direction: Literal["b - a"] = "b - a"
    test: str | None
    tests: Tests
    cluster_robust: Estimate
    sentence: str
    improved_items: list[str]
    regressed_items: list[str]
    missing_in_a: list[str]
    missing_in_b: list[str]
    unscored_items: list[str]
    slices: list[SliceDifference]
    estimand: Literal["superpopulation"] = "superpopulation"


class _Pair(NamedTuple):
    item_id: str
    a: ItemRange
    b: ItemRange

    @property
    def change(self) -> float | None:
        return self.b.value - self.a.value if self.a.value is not None and self.b.value is not None else None


def compare(
    a: Sequence[ItemScore], b: Sequence[ItemScore], *, name_a: str, name_b: str, seed: int, level: float = 0.95, draws: int = REPORT_DRAWS
) -> Comparison:
    """Compare two runs item by item. Items of only one run are named and left out; items of both that one has no score
    for are named too, and widen the interval by what they could be worth. Raises InputError for a score outside [0, 1].
    """
    in_a, in_b = fold(a), fold(b)
    pairs = [_Pair(item_id, in_a[item_id], in_b[item_id]) for item_id in in_a if item_id in in_b]
    changes = {pair.item_id: pair.change for pair in pairs if pair.change is not None}
    improved = sorted((i for i, change in changes.items() if change > _EQUAL), key=lambda i: -changes[i])
    regressed = sorted((i for i, change in changes.items() if change < -_EQUAL), key=lambda i: changes[i])
    difference, tests = _difference(pairs, seed, level, draws), _tests(pairs, seed)
    p_value = _headline(tests)
    only_a, only_b = sorted(in_a.keys() - in_b.keys()), sorted(in_b.keys() - in_a.keys())
    unscored = [pair.item_id for pair in pairs if pair.change is None]
    return Comparison(
        a=name_a,
        b=name_b,
        n_items=len(changes),
        difference=difference,
        p_value=p_value,
        test=_TESTS[tests.headline] if tests.headline else None,
        tests=tests,
        cluster_robust=_cluster_robust(pairs, level),
        sentence=_sentence(difference, len(changes), p_value),
        improved=len(improved),
        regressed=len(regressed),
        equal=len(changes) - len(improved) - len(regressed),
        missing=len(only_a) + len(only_b) + len(unscored),
        improved_items=improved,
        regressed_items=regressed,
        missing_in_a=only_b,
        missing_in_b=only_a,
        unscored_items=unscored,
        slices=_slices(pairs, seed, level, draws),
    )


def _difference(pairs: Sequence[_Pair], seed: int, level: float, draws: int) -> Estimate:
    return difference_of([pair.b for pair in pairs], [pair.a for pair in pairs], seed=seed, level=level, draws=draws).estimate


def _known(pairs: Sequence[_Pair]) -> tuple[list[float], list[float], list[str]]:
    """The scores of b and of a and the clusters, of the items that have a score in both."""
    known = [(pair.b.value, pair.a.value, pair.a.cluster) for pair in pairs if pair.a.value is not None and pair.b.value is not None]
    return [b for b, _, _ in known], [a for _, a, _ in known], [cluster for _, _, cluster in known]


def _tests(pairs: Sequence[_Pair], seed: int) -> Tests:
    ours, theirs, clusters = _known(pairs)
    if len(ours) < MIN_ITEMS:
        return Tests(mcnemar=None, permutation=None, headline=None, why=f"{_items(len(ours))}: a test needs {MIN_ITEMS}")
    found = paired_tests(ours, theirs, clusters=clusters, seed=seed)
    return Tests(
        mcnemar=McNemar(p_value=found.mcnemar, better=found.better, worse=found.worse, why=_why_not_mcnemar(found)),
        permutation=Permutation(p_value=found.flips.p_value, clusters=found.flips.clusters, resamples=found.flips.resamples, seed=seed),
        headline=found.headline,
    )


def _why_not_mcnemar(found: PairedTests) -> str | None:
    if found.mcnemar is None:
        return "scores between 0 and 1: McNemar's test is for two-valued ones"
    return "takes items as independent, and groups of them are not" if found.headline == "permutation" else None


def _headline(tests: Tests) -> float | None:
    quoted = tests.mcnemar if tests.headline == "mcnemar" else tests.permutation
    return quoted.p_value if quoted else None


def _cluster_robust(pairs: Sequence[_Pair], level: float) -> Estimate:
    """The mean change of the items with a score in both, with its CR3 interval (METHODS §0.2)."""
    ours, theirs, clusters = _known(pairs)
    found = cr3_interval([b - a for b, a in zip(ours, theirs, strict=True)], clusters, level)
    if found.low is not None and found.low == found.high:
        return found.model_copy(update={"low": None, "high": None, "why": "every item changed by the same: there is no spread to judge by"})
    left_out = len(pairs) - len(ours)
    return found.model_copy(update={"method": f"{found.method}; {left_out} unscored left out"}) if left_out else found


# ---- slices ---------------------------------------------------------------------------------------------------------


def _slices(pairs: Sequence[_Pair], seed: int, level: float, draws: int) -> list[SliceDifference]:
    parts: dict[str, list[_Pair]] = {}
    for pair in pairs:
        parts.setdefault(pair.b.slice, []).append(pair)
    names = sorted(parts)
    p_values = [_p_value(parts[name], seed) for name in names]
    tested = sum(p is not None for p in p_values)
    made = []
    for name, p, p_holm in zip(names, p_values, holm(p_values), strict=True):
        difference, n = _difference(parts[name], seed, level, draws), sum(pair.change is not None for pair in parts[name])
        made.append(
            SliceDifference(
                slice=name,
                n_items=n,
                difference=difference,
                p_value=p,
                p_holm=p_holm,
                indicative=n < INDICATIVE,
                sentence=_sentence(difference, n, p, p_holm, tested),
            )
        )
    return made


def _p_value(pairs: Sequence[_Pair], seed: int) -> float | None:
    ours, theirs, clusters = _known(pairs)
    return paired_p_value(ours, theirs, clusters=clusters, seed=seed) if len(ours) >= MIN_ITEMS else None


# ---- sentences ------------------------------------------------------------------------------------------------------


def _sentence(difference: Estimate, n: int, p: float | None, p_holm: float | None = None, tested: int = 1) -> str:
    """What a difference means. `p_holm` and `tested` are those of a slice among slices."""
    if p is None or difference.value is None:
        return f"{_items(n)}: too few to say anything"
    told = _told(difference, p, p if p_holm is None else p_holm, tested)
    return f"{told}; indicative only, {_items(n)}" if n < INDICATIVE else told


def _told(difference: Estimate, p: float, corrected: float, tested: int) -> str:
    alpha, value = 1 - difference.level, difference.value or 0.0
    span = None if difference.low is None or difference.high is None else (100 * difference.low, 100 * difference.high)
    between = f", between {span[0]:+.1f} and {span[1]:+.1f}" if span else f", without an interval ({difference.why})"
    if p >= alpha:
        if span and not span[0] <= 0 <= span[1]:
            return f"no difference shown: the interval{between.lstrip(',')} leaves 0 out, the test does not bear it out"
        room = f": the truth may lie{between.lstrip(',')} points" if span else between
        return f"no difference shown{room}"
    told = f"{'better' if value > 0 else 'worse'} by {abs(100 * value):.1f} points{between}"
    if corrected >= alpha:
        return f"{told}; alone it would be more than chance, among {tested} slices it need not be"
    if span and span[0] <= 0 <= span[1]:
        return f"{told}; the test says so of what was scored, the interval still holds 0"
    return f"{told}; more than chance" + (f", among {tested} slices too" if tested > 1 else "")


def _items(n: int) -> str:
    return f"{n} item{'' if n == 1 else 's'}"

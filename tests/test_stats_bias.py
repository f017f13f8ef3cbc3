"""Biases of a judge: against counts by hand, statsmodels and SciPy, and by simulation of judges whose bias is stated."""

from __future__ import annotations

import time
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from evalh.errors import InputError
from evalh.stats.bias import (
    length_score,
    leniency,
    leniency_scores,
    position,
    repeat_stability,
    score_stability,
    score_use,
    self_preference,
    verbosity,
)
from evalh.stats.intervals import tango, wilson
from evalh.stats.position import Unscored

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
Codes = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]
NAN = float("nan")


# ---- the order shown ------------------------------------------------------------------------------------------------


def shown(*answers: str) -> dict[str, Any]:
    """Pairs as the slots that win in their two orders: `AB` names one output twice, `N` is unscored, `-` was not shown."""
    slot = {"A": 1.0, "T": 0.5, "B": 0.0, "N": NAN}
    rows = [(pair, slot[answer], order) for pair, both in enumerate(answers) for order, answer in enumerate(both) if answer != "-"]
    pair, wins, order = (np.array(column) for column in zip(*rows, strict=True))
    return {"pair": pair, "shown_first_wins": wins, "order": order, "repeat": np.zeros(len(pair), dtype=np.int64), "clusters": pair}


def test_the_two_orders_of_a_pair_are_coded_by_the_slot_that_wins() -> None:
    """Nine codes; three are consistent, three lean to the first shown, three to the second; strict bias is AA and BB alone."""
    given = {"AA": 5, "AB": 20, "BA": 14, "BB": 2, "AT": 3, "TA": 1, "BT": 1, "TB": 2, "TT": 4}
    found = position(**shown(*(code for code, times in given.items() for _ in range(times))), seed=1)
    n, primacy, recency = 52, 9, 5
    assert found.counts == given
    assert found.consistency.value == 38 / n
    assert (found.consistency.low, found.consistency.high) == wilson(38, n)
    assert (found.biased_first.value, found.biased_second.value) == (5 / n, 2 / n)
    published = (recency * recency / (primacy + recency) - primacy * primacy / (primacy + recency)) / n
    assert found.fairness.value == pytest.approx(published)
    assert (found.fairness.low, found.fairness.high) == tango(recency, primacy, n)
    assert found.fairness_p == pytest.approx(stats.binomtest(primacy, primacy + recency).pvalue)
    assert found.first_share.value == pytest.approx((5 * 1 + 34 * 0.5 + 2 * 0 + 4 * 0.75 + 3 * 0.25 + 4 * 0.5) / n)
    assert (found.n_pairs, found.n_one_order, found.basis) == (n, 0, "both orders")


@pytest.mark.parametrize("unscored", ["exclude", "wrong", "tie"])
def test_position_equals_a_count_pair_by_pair(unscored: Unscored) -> None:
    """2,000 shuffled verdicts on 400 items with repeats, gaps and unscored ones, counted again with dictionaries."""
    rng = np.random.default_rng(3)
    keys = np.array([(pair, repeat, order) for pair in range(400) for repeat in range(3) for order in range(2)])
    keys = keys[rng.permutation(len(keys))[:2_000]]
    wins = rng.choice([1.0, 0.5, 0.0, NAN], len(keys), p=[0.5, 0.1, 0.35, 0.05])
    pair, repeat, order = keys.T
    found = position(pair, wins, order, repeat, pair // 2, unscored=unscored, seed=1)
    table: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
    for (p, r, o), win in zip(keys.tolist(), wins.tolist(), strict=True):
        table[p, r][o] = win
    both = [(r, of[0], of[1]) for (_, r), of in table.items() if len(of) == 2]
    lost = [np.isnan(a) or np.isnan(b) for _, a, b in both]
    assert (found.n_one_order, found.n_unscored_pairs) == (len(table) - len(both), sum(lost))
    read = [(r, 0.5 if np.isnan(a) else a, 0.5 if np.isnan(b) else b) if unscored == "tie" else (r, a, b) for r, a, b in both]
    same = [(r, a == 1 - b) for (r, a, b), gone in zip(read, lost, strict=True) if unscored != "exclude" or not gone]
    assert found.consistency.value == pytest.approx(np.mean([hit for _, hit in same]))
    assert found.consistency.n == len(same)
    whole = [(a + b) / 2 for _, a, b in read if not np.isnan(a + b)]
    assert found.first_share.value == pytest.approx(np.mean(whole))
    assert found.fairness.value == pytest.approx(-np.mean(np.sign(np.array(whole) - 0.5)))
    verdicts = [(r, x, y) for r, a, b in both for x, y in ((a, b), (b, a)) if not np.isnan(x)]
    hits = [(r, np.isnan(y) or x == 1 - y) for r, x, y in verdicts]
    assert found.consistency_by_verdict == pytest.approx(np.mean([hit for _, hit in hits]))
    for one in found.repeats:
        assert one.consistency == pytest.approx(np.mean([hit for r, hit in same if r == one.repeat]))
        assert one.consistency_by_verdict == pytest.approx(np.mean([hit for r, hit in hits if r == one.repeat]))


def test_pairs_of_one_item_are_a_cluster_of_position_figures() -> None:
    """With five pairs an item every interval is of items, and the exact tests count items by where they lean."""
    given = shown(*["AA"] * 30 + ["AB"] * 20 + ["BB"] * 10)
    given["clusters"] = given["pair"] // 5
    found = position(**given, seed=1)
    for estimate in (found.consistency, found.fairness, found.first_share, found.biased_first):
        assert (estimate.n, estimate.clusters) == (60, 12)
    assert found.p_value == pytest.approx(stats.binomtest(6, 8).pvalue)
    assert found.fairness_p == found.p_value


def test_fairness_is_tested_by_numbers_of_pairs_and_the_first_share_by_their_lean() -> None:
    """Items of one AA and two BT lean nowhere in their first share and to the second in pairs: each p value goes with its figure."""
    given = shown(*["AA", "BT", "BT"] * 12)
    given["clusters"] = given["pair"] // 3
    found = position(**given, seed=1)
    assert [found.fairness.value, found.first_share.value] == pytest.approx([1 / 3, 0.5])
    assert [found.fairness_p, found.p_value] == pytest.approx([0.5**11, 1])


@pytest.mark.parametrize(("unscored", "shares"), [("exclude", (1 / 3, 1 / 3, 1 / 3, 12)), ("wrong", (4 / 18, 4 / 18, 4 / 18, 18)),
                                                  ("tie", (6 / 18, 4 / 18, 4 / 18, 18))])  # fmt: skip
def test_a_half_read_pair_follows_the_rule_in_every_share_of_pairs(unscored: Unscored, shares: tuple[float, float, float, int]) -> None:
    """Twelve pairs that were read, four half-read and two unread: left out, counted against consistency, or read as ties."""
    found = position(**shown(*["AB", "AA", "BB"] * 4, "AN", "AN", "NN", "NN", "NB", "NB"), unscored=unscored, seed=1)
    estimates = (found.consistency, found.biased_first, found.biased_second)
    assert [e.value for e in estimates] == pytest.approx(shares[:3])
    assert {e.n for e in estimates} == {found.n_pairs} == {shares[3]}
    assert found.n_unscored_pairs == 6
    assert (found.first_share.value, found.fairness.value) == (0.5, 0.0)


def test_position_of_nothing_of_ties_and_of_one_item() -> None:
    """No verdict has no figure; ties alone are consistent and fair; pairs of one item have values without intervals."""
    none = np.zeros(0, dtype=np.int64)
    found = position(none, np.zeros(0), none, none, none, seed=1)
    assert (found.consistency.value, found.first_share.value, found.p_value, found.fairness_p, found.repeats) == (None,) * 4 + ([],)
    ties = position(**shown(*["TT"] * 20), seed=1)
    assert (ties.consistency.value, ties.fairness.value, ties.p_value, ties.fairness_p) == (1, 0, 1, 1)
    given = shown(*["AA"] * 20)
    given["clusters"] = np.zeros(40, dtype=np.int64)
    one = position(**given, seed=1)
    for estimate in (one.consistency, one.fairness, one.first_share, one.biased_first, one.biased_second):
        assert (estimate.low, estimate.why) == (None, "1 cluster: an interval needs 5")


def test_position_says_what_it_is_based_on_and_refuses_one_order_twice() -> None:
    """One order gives a first share with its basis and no consistency; too few pairs no interval; a second verdict is an error."""
    found = position(**shown(*["A-"] * 9 + ["-A"] * 3 + ["B-"] * 2 + ["N-"]), seed=1)
    assert (found.basis, found.first_share.value, found.first_share.n) == ("one order", 12 / 14, 14)
    assert (found.consistency.value, found.fairness.value, found.consistency_by_verdict, found.n_one_order) == (None, None, None, 15)
    few = position(**shown(*["AB"] * 6), seed=1).consistency
    assert (few.value, few.low, few.why) == (1.0, None, "6 items: an interval needs 10")
    twice: dict[str, Any] = {name: np.append(column, column[:1]) for name, column in shown("AB").items()}
    with pytest.raises(InputError, match="two verdicts in one order"):
        position(**twice, seed=1)


# ---- the same question again ----------------------------------------------------------------------------------------


def test_repeat_agreement_is_the_share_of_pairs_of_repeats_that_agree() -> None:
    """RS2 is counted over scored repeats, the modal share over all of them, and a question asked once is in neither."""
    answers = {0: [1, 1, 1], 1: [1, 0, 1], 2: [0, -1, 0], 3: [-1, -1, 1], 4: [2, 1, 0], 5: [1]}
    asked = np.array([q for q, given in answers.items() for _ in given])
    found = repeat_stability(asked, np.array([a for given in answers.values() for a in given]), asked, seed=1)
    assert found is not None
    scored = [[a for a in given if a >= 0] for given in answers.values()]
    shares = [np.mean([a == b for a, b in combinations(given, 2)]) for given in scored if len(given) > 1]
    assert found.agreement.value == pytest.approx(np.mean(shares))
    assert found.modal == pytest.approx(np.mean([3, 2, 2, 1, 1]) / 3)
    assert (found.n_asked, found.repeats, found.agreement.n) == (5, 3, 4)
    assert repeat_stability(np.arange(4), np.ones(4, dtype=np.int64), np.arange(4), seed=1) is None


def test_the_spread_of_scores_is_the_root_of_the_mean_variance() -> None:
    """Within a question on the judge's own scale; its interval holds the sd that the scores were drawn with."""
    rng = np.random.default_rng(5)
    asked = np.repeat(np.arange(200), 3)
    score = rng.normal(3, 1.0, 200)[asked] + rng.normal(0, 0.5, 600)
    found = score_stability(asked, score, asked, seed=1)
    assert found is not None
    within = np.sqrt(np.mean(score.reshape(200, 3).var(axis=1, ddof=1)))
    assert found.within_sd.value == pytest.approx(within)
    assert found.within_sd.low is not None
    assert found.within_sd.high is not None
    assert found.within_sd.low < 0.5 < found.within_sd.high
    assert found.icc == pytest.approx(1 / 1.25, abs=0.05)
    score[[0, 3, 4]] = NAN  # the first question keeps two scores, the second one
    gaps = score_stability(asked, score, asked, seed=1)
    assert gaps is not None
    variances = [np.var(score[1:3], ddof=1), *score[6:].reshape(198, 3).var(axis=1, ddof=1)]
    assert gaps.n_asked == 199
    assert gaps.within_sd.value == pytest.approx(np.sqrt(np.mean(variances)))
    assert score_stability(np.arange(5), np.ones(5), np.arange(5), seed=1) is None


# ---- length ---------------------------------------------------------------------------------------------------------


def pairs_of_lengths(seed: int, items: int = 150) -> tuple[Array, Array, Array, Codes]:
    """Log length ratio, verdict with ties, human verdict and cluster of pairs, two an item."""
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(items), 2)
    ratio, human = rng.normal(0, 0.6, 2 * items), rng.choice([-1.0, 0.0, 1.0], 2 * items)
    chance = 1 / (1 + np.exp(-(0.3 + 0.7 * ratio + human + rng.normal(0, 0.5, items)[clusters])))
    wins = np.where(rng.random(2 * items) < 0.1, 0.5, (rng.random(2 * items) < chance).astype(float))
    return ratio, wins, human, clusters


def test_the_length_coefficient_is_that_of_statsmodels_with_ties_as_two_half_rows() -> None:
    """Value by a fit with half-weight rows, interval by its clustered covariance; doubling by numerical derivatives and a mean's error."""
    sm = pytest.importorskip("statsmodels.api")
    ratio, wins, human, clusters = pairs_of_lengths(2)
    found = verbosity(ratio, wins, human, clusters, seed=1)
    assert found is not None
    x = np.column_stack([np.ones(len(wins)), ratio, human])
    halves = sm.GLM(
        np.repeat([1.0, 0.0], len(wins)), np.vstack([x, x]), sm.families.Binomial(), var_weights=np.concatenate([wins, 1 - wins]) + 1e-12
    ).fit()
    theirs = sm.GLM(wins, x, sm.families.Binomial()).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    assert found.coefficient.value == pytest.approx(halves.params[1], abs=1e-6)
    assert found.coefficient.value == pytest.approx(theirs.params[1], abs=1e-6)
    n = len(wins)
    covariance = theirs.cov_params() * (n - 3) / (n - 1)  # statsmodels has (n - 1)/(n - k) beside G/(G - 1)
    quantile = stats.t.ppf(0.975, 149)
    assert half_width(found.coefficient) == pytest.approx(quantile * np.sqrt(covariance[1, 1]), rel=1e-5)

    def gains(beta: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-(x @ beta + beta[1] * np.log(2)))) - 1 / (1 + np.exp(-(x @ beta))))

    step = np.eye(3) * 1e-5
    slope = np.array([(gains(theirs.params + s).mean() - gains(theirs.params - s).mean()) / 2e-5 for s in step])
    mean = sm.OLS(gains(theirs.params), np.ones(n)).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    assert found.doubling is not None
    assert found.doubling.value == pytest.approx(mean.params[0], abs=1e-6)
    assert half_width(found.doubling) == pytest.approx(quantile * np.sqrt(slope @ covariance @ slope + mean.bse[0] ** 2), rel=1e-4)


def half_width(estimate: Any) -> float:
    return float(estimate.high - estimate.low) / 2


def test_the_share_of_the_longer_leaves_out_equal_lengths_and_halves_ties() -> None:
    """Of twelve verdicts two are on outputs of one length; of the others the longer win six and tie one."""
    ratio = np.array([1.0, -1.0] * 5 + [0.0, 0.0])
    wins = np.array([1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.5, 1.0, 0.0, 1.0, 1.0, 1.0])
    found = verbosity(ratio, wins, None, np.arange(12), seed=1)
    assert found is not None
    assert found.longer_share is not None
    assert (found.longer_share.value, found.longer_share.n) == (0.65, 10)


def test_a_length_figure_says_how_far_it_can_be_trusted() -> None:
    """Without labels an association; below 200 verdicts or 30 of an outcome a note; what is separated has no coefficient; else None."""
    ratio, wins, human, clusters = pairs_of_lengths(4, 120)
    full, bare = verbosity(ratio, wins, human, clusters, seed=1), verbosity(ratio, wins, None, clusters, seed=1)
    assert full is not None
    assert bare is not None
    assert (full.basis, bare.basis, full.note) == ("human", "association", None)
    small = verbosity(ratio[:40], wins[:40], None, clusters[:40], seed=1)
    assert small is not None
    assert small.note is not None
    assert "40 of 200 verdicts" in small.note
    apart = verbosity(ratio, (ratio > 0).astype(float), None, clusters, seed=1)
    assert apart is not None
    assert (apart.coefficient.value, apart.coefficient.why) == (None, "the outcomes are separated")
    assert apart.longer_share is not None
    assert apart.longer_share.value == 1.0
    assert verbosity(np.zeros(240), wins, human, clusters, seed=1) is None
    bound = verbosity(ratio, wins, 2 * ratio, clusters, seed=1)
    assert bound is not None
    assert (bound.coefficient.value, bound.coefficient.why) == (None, "length and human verdict cannot be told apart")
    few = verbosity(ratio, wins, human, clusters % 4, seed=1)
    assert few is not None
    assert few.coefficient.value == pytest.approx(full.coefficient.value)
    assert (few.coefficient.low, few.coefficient.why) == (None, "4 clusters: an interval needs 5")


def test_a_length_figure_of_what_is_no_number_is_an_error() -> None:
    """An unlabelled row must not make the label vanish from the model, nor an empty output the fit."""
    ratio, wins, human, clusters = pairs_of_lengths(4, 120)
    for column, bad in ((ratio, -np.inf), (wins, NAN), (human, NAN)):
        kept, column[7] = column[7], bad
        for figure in (verbosity, length_score):
            with pytest.raises(InputError, match="verdict 7: a length, verdict or label is not a number"):
                figure(ratio, wins, human, clusters, seed=1)
        column[7] = kept


def test_the_length_slope_of_scores_is_that_of_statsmodels() -> None:
    """Least squares at equal human score with clustered errors and t; doubling is ln 2 of it; few items give a value alone."""
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(6)
    clusters = np.repeat(np.arange(60), 4)
    length, human = rng.normal(5, 0.5, 240), rng.uniform(1, 5, 240)
    score = 1 + 0.4 * length + 0.6 * human + rng.normal(0, 0.4, 60)[clusters] + rng.normal(0, 0.5, 240)
    found = length_score(length, score, human, clusters, seed=1)
    assert found is not None
    x = np.column_stack([np.ones(240), length, human])
    theirs = sm.OLS(score, x).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    assert found.coefficient.value == pytest.approx(theirs.params[1])
    se = theirs.bse[1] * np.sqrt(237 / 239)
    assert half_width(found.coefficient) == pytest.approx(stats.t.ppf(0.975, 59) * se)
    assert found.doubling is not None
    assert found.doubling.value == pytest.approx(np.log(2) * theirs.params[1])
    assert found.longer_share is None
    few = length_score(length[:8], score[:8], None, clusters[:8], seed=1)
    assert few is not None
    assert few.coefficient.value == pytest.approx(np.polyfit(length[:8], score[:8], 1)[0])
    assert (few.coefficient.low, few.coefficient.why) == (None, "8 items: an interval needs 10")


# ---- its own --------------------------------------------------------------------------------------------------------


def test_self_preference_of_two_valued_verdicts_has_closed_forms() -> None:
    """Equal opportunity by Newcombe as statsmodels has it, the excess by Tango, the controlled excess the judge less the others."""
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    table = {(1.0, 1.0): 40, (0.0, 1.0): 10, (1.0, 0.0): 18, (0.0, 0.0): 32}  # (judge, human): pairs
    judge, human = (np.array([key[k] for key, times in table.items() for _ in range(times)]) for k in (0, 1))
    others = np.where(human == 1, 0.8, 0.25)
    found = self_preference(judge, human, np.arange(100), others, seed=1)
    assert found is not None
    assert (found.n_own_wins, found.n_other_wins) == (50, 50)
    assert found.equal_opportunity.value == pytest.approx(40 / 50 - 32 / 50)
    ends = proportion.confint_proportions_2indep(40, 50, 32, 50, method="newcomb", compare="diff")
    assert (found.equal_opportunity.low, found.equal_opportunity.high) == pytest.approx(ends)
    assert (found.excess.value, found.excess.low, found.excess.high) == (0.08, *tango(18, 10, 100))
    assert found.controlled is not None
    assert found.controlled.value == pytest.approx(np.mean((judge - human) - (others - human)))
    assert found.claimed is False


def test_self_preference_is_claimed_only_beyond_what_other_judges_do() -> None:
    """The same excess is claimed where others lack it, not where they have it, and cannot be told without them."""
    human, judge = np.tile([1.0, 0.0, 0.0, 0.0], 50), np.tile([1.0, 1.0, 0.0, 0.0], 50)
    claims = [self_preference(judge, human, np.arange(200), others, seed=1) for others in (human, judge, None)]
    assert [found and found.claimed for found in claims] == [True, False, None]
    assert {found and found.excess.value for found in claims} == {0.25}


def test_self_preference_with_several_pairs_an_item_or_one_sided_people() -> None:
    """Clustered rows are resampled by item; people's ties are no side of equal opportunity; with one side alone it has no value."""
    rng = np.random.default_rng(7)
    human = rng.choice([1.0, 0.5, 0.0], 240)
    judge = np.clip(human + rng.choice([0.0, 0.5], 240), 0, 1)
    found = self_preference(judge, human, np.arange(240) // 4, None, seed=1)
    assert found is not None
    own, other = human == 1, human == 0
    assert found.equal_opportunity.value == pytest.approx(judge[own].mean() - (1 - judge[other]).mean())
    assert found.equal_opportunity.n == own.sum() + other.sum()
    assert (found.equal_opportunity.clusters, found.excess.clusters) == (len(set((np.arange(240) // 4)[own | other])), 60)
    assert found.excess.value == pytest.approx((judge - human).mean())
    one_side = self_preference(judge[own], human[own], np.arange(own.sum()), None, seed=1)
    assert one_side is not None
    assert (one_side.equal_opportunity.value, one_side.equal_opportunity.why) == (None, "people decide all pairs for one side")
    assert one_side.excess.low is not None


# ---- leniency and the use of the scale ------------------------------------------------------------------------------


def test_leniency_is_false_passes_less_false_fails() -> None:
    """Tango where each row is an item of its own, clusters where not; of scores the mean difference."""
    passed, good = np.array([True] * 70 + [False] * 30), np.array([True] * 55 + [False] * 40 + [True] * 5)
    found = leniency(passed, good, np.arange(100), seed=1)
    assert (found.value, found.low, found.high) == (0.1, *tango(15, 5, 100))
    clustered = leniency(passed, good, np.arange(100) // 5, seed=1)
    assert clustered.value == pytest.approx(0.1)
    assert clustered.clusters == 20
    scores = leniency_scores(np.linspace(0.2, 1, 30), np.linspace(0, 0.8, 30), np.arange(30), seed=1)
    assert scores.value == pytest.approx(0.2)
    assert scores.low is not None
    assert scores.low > 0.1


def test_the_use_of_a_scale_is_its_entropy() -> None:
    """Levels, e to the entropy and the modal share of answers."""
    answers = np.repeat([1.0, 3.0, 4.0], [50, 30, 20])
    found = score_use(answers)
    entropy = stats.entropy([0.5, 0.3, 0.2])
    assert (found.levels, found.modal_share) == (3, 0.5)
    assert [found.entropy, found.effective_levels] == pytest.approx([entropy, np.exp(entropy)])
    assert score_use(np.zeros(7)).effective_levels == 1


# ---- by simulation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("no position bias, 40 items of 5 pairs", {"fairness", "first share"}),
        ("for the first shown, .5 log-odds, 100 pairs", {"fairness", "first share", "consistency"}),
        ("three repeats, Beta(2, 2), 50 items", {"RS2"}),
        ("1 log-odds per unit of log length, 200 items", {"coefficient", "doubling"}),
        ("all judges lean to it, 200 pairs: no preference of its own", {"equal opportunity", "excess", "controlled"}),
        ("prefers its own in 25 %, all lean, 40 items of 4 pairs", {"equal opportunity", "excess", "controlled"}),
    ],
)
def test_a_stated_bias_is_recovered_within_its_interval(monkeypatch: pytest.MonkeyPatch, name: str, figures: set[str]) -> None:
    """Sixty samples from a judge of known bias: the mean is near the truth and 95 % intervals hold it in most of them.

    Fewer than 51 of 60 have probability .0005 at a coverage of .95.
    """
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from bias_recovery import BALANCE, WORLDS, measure

    world = dict(WORLDS)[name]
    lines = {line.figure: line for line in measure(world.sample, world.truth(), 60)}
    for figure in figures:
        line = lines[figure]
        assert line.given == 1
        assert line.covered >= 51 / 60
        assert line.mean == pytest.approx(line.truth, abs=0.1 if figure == "coefficient" else 0.03)
        if line.alarms is not None and line.truth == pytest.approx(BALANCE[figure], abs=1e-9):
            assert line.alarms <= 9 / 60


def test_two_hundred_thousand_verdicts_take_no_time() -> None:
    """Position figures of 100,000 pairs in both orders are array work: seconds would mean a loop over rows."""
    rng = np.random.default_rng(1)
    pair, order = np.tile(np.arange(100_000), 2), np.repeat([0, 1], 100_000)
    wins = rng.choice([1.0, 0.5, 0.0, NAN], 200_000, p=[0.5, 0.1, 0.38, 0.02])
    began = time.process_time()
    found = position(pair, wins, order, np.zeros(200_000, dtype=np.int64), pair, seed=1)
    assert time.process_time() - began < 2.5
    assert sum(found.counts.values()) == 100_000 - found.n_unscored_pairs

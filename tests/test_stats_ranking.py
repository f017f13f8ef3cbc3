"""Win rates, ratings and length control against independent libraries, closed forms and small seeded simulations."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pytest

from evalh.stats.bradley_terry import Outcomes, Ratings, davidson
from evalh.stats.length_control import LABEL, LABEL_DIFFICULTY, MOST_CELLS, Weights, length_controlled, published, weights_of
from evalh.stats.winrates import Pairs, Shown, Unscored, Verdicts, combine, fold, win_rate

NAN = float("nan")


def verdicts(rows: Sequence[tuple[int, int, int, float]], known: bool = True, scores: Sequence[float] | None = None) -> Verdicts:
    """From (item, first, second, outcome); NaN is unscored."""
    item, first, second = (np.array([row[k] for row in rows], dtype=np.int64) for k in range(3))
    outcome = np.array([row[3] for row in rows])
    score = outcome if scores is None else np.where(np.isnan(outcome), np.nan, np.array(scores))
    return Verdicts(item, item, first, second, score, outcome, np.full(len(rows), known), np.full(len(rows), NAN))


def folded(rows: Sequence[tuple[int, int, int, float]], unscored: Unscored = "exclude", systems: int = 2) -> tuple[Pairs, Shown]:
    return fold(verdicts(rows), systems, unscored)


# ---- win rates ------------------------------------------------------------------------------------------------------


def test_a_win_rate_is_the_mean_preference_with_the_standard_error_of_a_mean() -> None:
    """Weighted and discrete, as numpy computes them; the system's side is right whichever of the two was shown first."""
    rng = np.random.default_rng(1)
    preference = rng.random(40)  # for system 1
    flipped = rng.random(40) < 0.5
    rows = [(i, int(f), int(not f), float((p > 0.5) != f)) for i, (p, f) in enumerate(zip(preference, flipped, strict=True))]
    pairs, _ = fold(verdicts(rows, scores=[1 - p if f else p for p, f in zip(preference, flipped, strict=True)]), 2, "exclude")
    made = win_rate(pairs, 1, 0, seed=1)
    assert made.value == pytest.approx(preference.mean(), abs=1e-12)
    assert made.se == pytest.approx(preference.std(ddof=1) / 40**0.5, abs=1e-12)
    assert made.discrete == pytest.approx((preference > 0.5).mean(), abs=1e-12)
    other = win_rate(pairs, 0, 1, seed=1)
    assert (other.n, other.value) == (40, pytest.approx(1 - preference.mean(), abs=1e-12))
    assert (other.wins, other.losses) == (made.losses, made.wins)


def test_both_orders_of_a_pair_are_one_unit_and_weigh_the_same() -> None:
    """Three repeats in one order and one in the other: the lean to a place cancels out, and n counts pairs."""
    pairs, shown = folded([(0, 0, 1, 1.0)] * 3 + [(0, 1, 0, 1.0)] + [(1, 0, 1, 1.0), (1, 1, 0, 0.0)])
    made = win_rate(pairs, 1, 0, seed=1)
    assert (made.n, made.value, made.wins, made.ties, made.losses) == (2, 0.75, 1.5, 0.0, 0.5)
    assert pairs.verdicts.tolist() == [4, 2]
    assert len(shown.pair) == 4


@pytest.mark.parametrize(
    ("rule", "n", "of_1", "of_0"),
    [
        ("exclude", 2, (1 + 1) / 2, 0.0),
        ("wrong", 4, (1 + 1 / 2 + 0 + 3 / 4) / 4, 0.0),
        ("tie", 4, (1 + 3 / 4 + 1 / 2 + 7 / 8) / 4, (0 + 1 / 4 + 1 / 2 + 1 / 8) / 4),
    ],
)
def test_what_could_not_be_read_is_left_out_worth_nothing_or_a_tie(rule: Unscored, n: int, of_1: float, of_0: float) -> None:
    """One order alone is not read as both: it leaves with its unread partner. A repeat that was read stands for its order."""
    read = [(0, 0, 1, 1.0), (0, 1, 0, 0.0)]
    half_read = [(1, 0, 1, 1.0), (1, 1, 0, NAN)]
    unread = [(2, 0, 1, NAN)]
    one_repeat_read = [(3, 0, 1, 1.0), (3, 0, 1, NAN), (3, 1, 0, 0.0)]
    pairs, _ = folded(read + half_read + unread + one_repeat_read, rule)
    one, zero = win_rate(pairs, 1, 0, seed=1), win_rate(pairs, 0, 1, seed=1)
    assert (one.n, zero.n) == (n, n)
    assert (one.value, zero.value) == (pytest.approx(of_1), pytest.approx(of_0))
    assert int(pairs.unscored.sum()) == 3


def test_names_in_another_order_change_no_figure() -> None:
    """Codes follow names; reversing them changes which side is `hi`, and nothing else."""
    rng = np.random.default_rng(3)
    rows = [(i, a, b, rng.choice([0.0, 0.5, 1.0, NAN])) for i in range(30) for a, b in ((0, 1), (1, 0), (1, 2), (2, 0))]
    there, _ = folded(rows, "wrong", 3)
    back, _ = folded([(i, 2 - a, 2 - b, y) for i, a, b, y in rows], "wrong", 3)
    for system in range(3):
        one, other = win_rate(there, system, None, seed=5), win_rate(back, 2 - system, None, seed=5)
        assert one.value == pytest.approx(other.value, abs=1e-12)
        assert (one.n, one.se) == (other.n, pytest.approx(other.se, abs=1e-12))
        assert (one.estimate.low, one.estimate.high) == (pytest.approx(other.estimate.low), pytest.approx(other.estimate.high))


def test_a_panel_gives_each_family_one_vote() -> None:
    """Two judges of family 0 say hi, one of family 1 says lo: a tie of votes, and the mean of the families' scores."""
    a = verdicts([(0, 0, 1, 1.0), (1, 0, 1, 1.0)], scores=[0.9, 0.9])
    b = verdicts([(0, 0, 1, 1.0), (1, 0, 1, 1.0)], scores=[0.7, 0.7])
    c = verdicts([(0, 0, 1, 0.0)], scores=[0.2])
    parts = [fold(v, 2, "exclude")[0] for v in (a, b, c)]
    pairs, _, incomplete = combine(parts, [0, 0, 1], 2, [np.zeros(2), np.zeros(2), np.zeros(1)])
    assert incomplete == 1  # family 1 was not asked about item 1
    assert pairs.score_hi[0] == pytest.approx((0.8 + 0.2) / 2)
    assert (pairs.win_hi[0], pairs.win_lo[0], pairs.tie[0]) == (0, 0, 1)
    assert pairs.scored.tolist() == [True, False]
    assert pairs.verdicts.tolist() == [3, 2]


# ---- ratings --------------------------------------------------------------------------------------------------------

# (i, j, wins of i, ties, wins of j), drawn once; the ratings are those of evalica 0.4.2 (Rust), tolerance 1e-13
TALLY = [(0, 1, 8, 4, 2), (0, 2, 7, 6, 3), (0, 3, 13, 3, 2), (0, 4, 13, 4, 3), (1, 2, 6, 7, 6), (1, 3, 13, 6, 2), (1, 4, 13, 5, 5),
         (2, 3, 12, 5, 7), (2, 4, 13, 3, 10), (3, 4, 17, 4, 8)]  # fmt: skip
NEWMAN = [1.030672719464833, 0.27737152496141765, -0.006783395053962457, -0.5368706272500807, -0.7643902221222076]
NEWMAN_V = 0.3205940977222616  # Davidson's nu is twice Newman's v
BRADLEY_TERRY = [0.7720281084060051, 0.20945586899053825, -0.004238393696508702, -0.4032013989932685, -0.5740441847067661]


def outcomes(tally: Sequence[tuple[int, int, float, float, float]], halves: bool = False) -> Outcomes:
    """One row a pair, each of an item of its own; `halves` shares a tie between the two."""
    rows = []
    for i, j, won, tied, lost in tally:
        rows += [(i, j, 0.0, 1.0, 0.0)] * int(won) + [(i, j, 1.0, 0.0, 0.0)] * int(lost)
        rows += [(i, j, 0.5, 0.5, 0.0) if halves else (i, j, 0.0, 0.0, 1.0)] * int(tied)
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    items = np.arange(len(rows))
    return Outcomes(columns[0], columns[1], columns[2], columns[3], columns[4], items, items)


def test_ratings_with_ties_are_those_of_an_independent_program() -> None:
    """Davidson's maximum is Newman's, with nu = 2 v; with ties as two halves it is Bradley and Terry's."""
    made = davidson(outcomes(TALLY), 5, None)
    assert made.theta == pytest.approx(NEWMAN, abs=1e-7)
    assert made.nu == pytest.approx(2 * NEWMAN_V, abs=1e-7)
    assert made.note is None
    plain = davidson(outcomes(TALLY, halves=True), 5, None)
    assert plain.theta == pytest.approx(BRADLEY_TERRY, abs=1e-7)
    assert plain.nu == 0


def test_errors_of_ratings_are_the_cluster_sandwich_of_a_logistic_regression() -> None:
    """Without ties the model is a logistic regression on +1/-1 columns: estimates and cluster-robust errors are statsmodels'."""
    import statsmodels.api as sm

    rng = np.random.default_rng(7)
    n, items = 300, rng.integers(0, 40, 300)
    lo, hi = np.sort(np.array([rng.choice(4, 2, replace=False) for _ in range(n)]), axis=1).T
    theta = np.array([0.0, 0.7, -0.4, 0.2])
    win = (rng.random(n) < 1 / (1 + np.exp(theta[lo] - theta[hi] + rng.normal(size=40)[items]))).astype(float)
    made = davidson(Outcomes(lo, hi, win, 1 - win, np.zeros(n), items, items), 4, 0)
    x = np.zeros((n, 4))
    x[np.arange(n), hi] += 1
    x[np.arange(n), lo] -= 1
    groups = {"groups": items, "use_correction": False}
    fit = sm.GLM(win, x[:, 1:], family=sm.families.Binomial()).fit(tol=1e-12, cov_type="cluster", cov_kwds=groups)
    clusters = len(np.unique(items))
    assert made.theta[1:] == pytest.approx(fit.params, abs=1e-7)
    assert np.sqrt(np.diag(made.covariance))[1:] == pytest.approx(fit.bse * (clusters / (clusters - 1)) ** 0.5, rel=1e-6)
    assert made.estimates[0].low is None
    assert "baseline" in str(made.estimates[0].why)


@pytest.mark.parametrize(
    ("tally", "said"),
    [
        ([(0, 1, 20, 0, 0), (1, 2, 10, 2, 9)], "won, or lost, all"),
        ([(0, 1, 20, 4, 0)], "wins all go one way"),
        ([(0, 1, 0, 20, 0)], "no pair has a winner"),
        ([(0, 1, 9, 0, 9), (2, 3, 12, 0, 4)], "2 parts that never met"),
    ],
)
def test_where_no_ratings_exist_half_a_tie_is_added_and_said(tally: list[tuple[int, int, float, float, float]], said: str) -> None:
    """Separated, tied throughout, or unconnected: finite ratings, the reason, and no interval across the gap."""
    made = davidson(outcomes(tally), 4, 0)
    met = sorted({i for row in tally for i in row[:2]})
    assert np.isfinite(made.theta[met]).all()
    assert said in str(made.note)
    assert "half a tie" in str(made.note)
    assert all(made.estimates[i].low is None for i in met if (0, 1, 9, 0, 9) not in tally or i > 1)
    assert made.rank_low[0] == 1


def test_a_gap_takes_no_interval_from_systems_on_the_baselines_side() -> None:
    """0 and 1 are comparable, 2 lost everything: 1 keeps its interval, 2 has a rating without one and ranks below who beat it."""
    made = davidson(outcomes([(0, 1, 15, 3, 10), (0, 2, 20, 0, 0)]), 3, 0)
    one, two = made.estimates[1], made.estimates[2]
    assert one.low is not None
    assert two.value is not None
    assert two.value < -2
    assert (two.low, two.why) == (None, made.note)
    assert (made.rank_low[2], made.rank_high[2]) == (2, 3)


def test_few_items_give_ratings_without_intervals_and_a_system_nobody_scored_has_none() -> None:
    few = davidson(outcomes([(0, 1, 3, 1, 2)]), 3, 0)
    assert few.estimates[1].value is not None
    assert few.estimates[1].why == "6 items: an interval needs 10"
    assert (few.estimates[2].value, few.rank_low[2]) == (None, None)


def simulated(rng: np.random.Generator, items: int, theta: np.ndarray, spread: float) -> Outcomes:
    """Every system against system 0 on every item, in both orders; what suits a system on an item suits it in both."""
    others = len(theta) - 1
    item, hi = np.repeat(np.arange(items), others), np.tile(np.arange(1, others + 1), items)
    chance = 1 / (1 + np.exp(theta[0] - theta[hi] - spread * np.repeat(rng.normal(size=items), others)))
    win = (rng.random((2, len(item))) < chance).mean(axis=0)
    return Outcomes(np.zeros_like(hi), hi, win, 1 - win, np.zeros(len(item)), item, item)


def test_intervals_of_ratings_cover_the_truth_with_clusters() -> None:
    """95 % intervals hold the true rating in 92 to 98 % of 300 samples of 60 items whose pairs hang together."""
    theta = np.array([0.0, 0.5, -0.8])
    truth = davidson(simulated(np.random.default_rng(0), 200_000, theta, 1.0), 3, 0).theta[1:]
    rng, hits = np.random.default_rng(11), 0
    for _ in range(300):
        made: Ratings = davidson(simulated(rng, 60, theta, 1.0), 3, 0)
        hits += sum(bool((e.low or 0) <= t <= (e.high or 0)) for e, t in zip(made.estimates[1:], truth, strict=True))
    assert 0.92 <= hits / 600 <= 0.98


# ---- length control -------------------------------------------------------------------------------------------------


def lengths(n: int, seed: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    longer = rng.normal(60, 200, n).round()
    second = rng.choice([0.5, -0.5], n)
    difficulty = rng.normal(size=n)
    eta = -0.3 + 1.2 * np.tanh(longer / longer.std(ddof=1)) + 0.4 * second + 0.5 * difficulty
    score = np.clip(1 / (1 + np.exp(-eta)) + rng.normal(0, 0.2, n), 0, 1)
    return {
        "score": score,
        "weight": np.ones(n),
        "longer": longer,
        "second": second,
        "clusters": np.arange(n) // 2,
        "difficulty": difficulty,
    }


@pytest.mark.parametrize("with_difficulty", [False, True])
def test_the_length_controlled_fit_is_a_fractional_logistic_regression(with_difficulty: bool) -> None:
    """Coefficients and LC are those of statsmodels' Binomial GLM with a fractional response and weights."""
    import statsmodels.api as sm

    data = lengths(200)
    data["weight"] = np.where(np.arange(200) % 3 == 0, 1.0, 0.5)
    difficulty = data.pop("difficulty")
    made = length_controlled(**data, difficulty=difficulty if with_difficulty else None, seed=4)
    columns = [np.ones(200), np.tanh(data["longer"] / data["longer"].std(ddof=1)), data["second"]]
    x = np.column_stack(columns + ([difficulty] if with_difficulty else []))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = sm.GLM(data["score"], x, family=sm.families.Binomial(), freq_weights=data["weight"]).fit(tol=1e-12)
    theta = fit.params[0] + (fit.params[3] * difficulty if with_difficulty else 0 * difficulty)
    both = [1 / (1 + np.exp(-theta - side * fit.params[2] / 2)) for side in (1, -1)]
    assert made.estimate.value == pytest.approx(np.average((both[0] + both[1]) / 2, weights=data["weight"]), abs=1e-8)
    assert (made.coefficient, made.order) == (pytest.approx(fit.params[1], abs=1e-7), pytest.approx(fit.params[2], abs=1e-7))
    assert made.estimate.method.startswith(LABEL_DIFFICULTY if with_difficulty else LABEL)
    assert made.longer_share == pytest.approx((data["longer"] > 0).mean())


@pytest.mark.parametrize("with_difficulty", [False, True])
def test_the_bootstrap_and_the_sandwich_give_the_same_interval(with_difficulty: bool) -> None:
    """1,900 rows are refitted; the same rows ten times over as more clusters are not, and their interval is sqrt(10) shorter."""
    data = lengths(1900)
    if not with_difficulty:
        data.pop("difficulty")
    few = length_controlled(**data, seed=1).estimate
    more = {name: np.tile(column, 10) for name, column in data.items()}
    more["clusters"] = more["clusters"] + 1000 * np.repeat(np.arange(10), 1900)
    assert 19_000 * 1000 > MOST_CELLS >= 1900 * 1000
    many = length_controlled(**more, seed=1).estimate
    assert "bootstrap" in few.method
    assert "sandwich" in many.method
    assert many.value == pytest.approx(few.value, abs=1e-4)
    assert ((few.high or 0) - (few.low or 0)) / ((many.high or 0) - (many.low or 0)) == pytest.approx(10**0.5, rel=0.08)


def test_few_clusters_are_left_out_one_by_one() -> None:
    """20 clusters: the interval is the jackknife's, on the log-odds with t, here with statsmodels' fits."""
    import statsmodels.api as sm
    from scipy import stats

    data = lengths(40)
    data.pop("difficulty")
    data["second"] = np.zeros(40)
    made = length_controlled(**data, seed=1).estimate
    x = np.column_stack([np.ones(40), np.tanh(data["longer"] / data["longer"].std(ddof=1))])
    thetas = []
    for left in range(20):
        rest = data["clusters"] != left
        thetas.append(sm.GLM(data["score"][rest], x[rest], family=sm.families.Binomial()).fit(tol=1e-12).params[0])
    error = np.sqrt(19 / 20 * ((np.array(thetas) - np.mean(thetas)) ** 2).sum())
    theta = np.log(made.value / (1 - made.value)) if made.value else 0.0
    ends = theta + np.array([-1, 1]) * stats.t(19).ppf(0.975) * error
    assert [made.low, made.high] == pytest.approx((1 / (1 + np.exp(-ends))).tolist(), abs=1e-6)
    assert (made.clusters, "jackknife" in made.method) == (20, True)


@pytest.mark.parametrize(
    ("longer", "score", "why"),
    [
        (np.full(40, NAN), None, "lengths are unknown"),
        (np.zeros(40), None, "nothing to control"),
        (np.arange(1.0, 41.0), None, "every output is longer"),
        (-np.arange(1.0, 41.0), None, "every output is shorter"),
        (np.linspace(-300, 300, 40), (np.linspace(-300, 300, 40) > 0).astype(float), "separate the outcomes"),
        (np.linspace(-300, 300, 40), np.ones(40), "separate the outcomes"),
    ],
)
def test_length_control_is_refused_with_the_reason(longer: np.ndarray, score: np.ndarray | None, why: str) -> None:
    """No lengths, no overlap, or outcomes that length separates: no figure, never an extrapolated one."""
    given = np.tile([0.2, 0.9], 20) if score is None else score
    made = length_controlled(given, np.ones(40), longer, np.zeros(40), np.arange(40), seed=1)
    assert made.estimate.value is None
    assert why in str(made.estimate.why)
    assert made.estimate.n == 40


def test_a_system_that_is_hardly_ever_the_longer_one_is_marked() -> None:
    data = lengths(200)
    data["longer"] = np.where(np.arange(200) < 8, 50.0, -np.abs(data["longer"]) - 1)
    made = length_controlled(**data, seed=1)
    assert made.estimate.value is not None
    assert "nearly extrapolated" in str(made.note)


def test_published_weights_follow_the_origin_and_the_items_that_were_judged() -> None:
    """By row number the first n difficulties count, whichever items are missing; by item those that were judged."""
    weights = weights_of({"np.tanh(std_delta_len)": -2.0, "instruction_difficulty": 1.5, "not_gamed_baseline.astype(float)": -1.0})
    assert weights == Weights(-2.0, 1.5, -1.0)
    difficulty, judged = np.array([0.5, -1.0, 2.0]), np.array([0, 2])
    made = published(weights, judged, difficulty)
    sigma = 1 / (1 + np.exp(-(1.5 * difficulty - 1.0)))
    assert (made.by_row, made.by_item) == (pytest.approx(sigma[:2].mean()), pytest.approx(sigma[[0, 2]].mean()))
    assert published(weights, judged, np.array([NAN, 1.0, 1.0])).by_item is None
    assert published(Weights(-2.0, 0.0, -1.0), judged, np.array([NAN, NAN, NAN])).by_item == pytest.approx(1 / (1 + np.e))
    assert weights_of({"instruction_difficulty": 1.0}) is None

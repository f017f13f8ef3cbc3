"""Agreement, kappa, alpha and correlations, against statsmodels, SciPy, worked examples and published figures."""

from __future__ import annotations

import json
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

from evalh.stats.association import (
    agreement_rate,
    cohen_kappa,
    detection,
    kendall,
    kendall_within,
    krippendorff_alpha,
    macro_scores,
    pearson,
    spearman,
)
from evalh.stats.ranks import inversions
from tests.conftest import shared_data


def two_columns(n: int, classes: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, classes, n)
    return a, np.where(rng.random(n) < 0.6, a, rng.integers(0, classes, n))


# ---- kappa ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_kappa_is_that_of_statsmodels(classes: int, weights: Any) -> None:
    """Value to 1e-12, and with 2,000 items the interval to a tenth of its width of the one from its standard error."""
    a, b = two_columns(2000, classes)
    table = np.bincount(a * classes + b, minlength=classes**2).reshape(classes, classes)
    reference = cohens_kappa(table, wt=weights)
    found = cohen_kappa(a, b, np.arange(2000), classes=classes, weights=weights, seed=1)
    assert found.estimate.value == pytest.approx(reference.kappa, abs=1e-12)
    width = reference.kappa_upp - reference.kappa_low
    assert (found.estimate.low, found.estimate.high) == pytest.approx((reference.kappa_low, reference.kappa_upp), abs=width / 10)


def test_the_indices_of_prevalence_and_bias_are_those_of_byrt() -> None:
    """With two classes: |a - d| / n and |b - c| / n; observed and expected agreement give kappa back."""
    cells = {(0, 0): 40, (0, 1): 9, (1, 0): 3, (1, 1): 8}
    a, b = (np.repeat([pair[side] for pair in cells], list(cells.values())) for side in (0, 1))
    found = cohen_kappa(a, b, np.arange(60), classes=2, seed=1)
    assert (found.prevalence, found.bias) == pytest.approx((32 / 60, 6 / 60))
    assert found.observed == pytest.approx(48 / 60)
    assert found.observed is not None
    assert found.expected is not None
    assert found.estimate.value == pytest.approx((found.observed - found.expected) / (1 - found.expected))


def test_kappa_where_nothing_varies() -> None:
    """Both constant: no value, and why. One constant: 0 without an interval. All agree: 1 with a lower end from Wilson's bound."""
    half, zeros, alone = np.arange(40) % 2, np.zeros(40, dtype=int), np.arange(40)
    for other in (zeros, zeros + 1):
        both = cohen_kappa(zeros, other, alone, classes=2, seed=1).estimate
        assert (both.value, both.low) == (None, None)
        assert "one answer throughout" in str(both.why)
    one = cohen_kappa(half, zeros, alone, classes=2, seed=1).estimate
    assert (one.value, one.low, one.why) == (0.0, None, "one of the two gave one answer throughout")
    every = cohen_kappa(half, half, alone, classes=2, seed=1).estimate
    assert (every.value, every.high) == (1.0, 1.0)
    assert every.low == pytest.approx(1 - 2 * (1 - proportion_confint(40, 40, method="wilson")[0]))
    assert cohen_kappa(zeros[:0], zeros[:0], alone[:0], classes=2, seed=1).estimate.value is None
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        cohen_kappa(half + 1, half, alone, classes=2, seed=1)


def test_clusters_make_the_interval_of_kappa_wider() -> None:
    """Rows copied five times say no more: within clusters the interval is that of the single rows, apart from the draws."""
    a, b = two_columns(300, 3)
    single = cohen_kappa(a, b, np.arange(300), classes=3, seed=1).estimate
    copied = cohen_kappa(np.repeat(a, 5), np.repeat(b, 5), np.repeat(np.arange(300), 5), classes=3, seed=1).estimate
    assert copied.value == pytest.approx(single.value)
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high), abs=0.01)
    assert (copied.n, copied.clusters) == (1500, 300)


def test_the_interval_of_kappa_covers() -> None:
    """200 samples of 100 clusters of two: 95 % intervals hold the truth in 90 to 99 %."""
    rng = np.random.default_rng(21)
    hits = 0
    for rep in range(200):
        truth, right = np.repeat(rng.integers(0, 2, 100), 2), np.repeat(rng.beta(4, 1, 100), 2)
        b = np.where(rng.random(200) < right, truth, 1 - truth)
        found = cohen_kappa(truth, b, np.repeat(np.arange(100), 2), classes=2, seed=rep).estimate
        hits += (found.low or 0) <= 0.6 <= (found.high or 0)  # accuracy .8, balanced: kappa .6
    assert 0.90 <= hits / 200 <= 0.99


# ---- rates and detection ----------------------------------------------------------------------------------------------


def test_agreement_is_wilson_alone_and_jbb_in_clusters() -> None:
    """One item per cluster: Wilson's interval as statsmodels has it; in clusters JBB, wider where hits go together."""
    hit = np.arange(60) % 5 > 0
    alone = agreement_rate(hit, np.arange(60), seed=1)
    assert (alone.low, alone.high) == pytest.approx(proportion_confint(48, 60, method="wilson"), abs=1e-12)
    together = agreement_rate(np.sort(hit), np.arange(60) // 4, seed=1)
    assert together.method.startswith("cluster JBB")
    assert (together.high or 0) - (together.low or 0) > 1.3 * ((alone.high or 0) - (alone.low or 0))


def test_macro_scores_of_a_worked_example() -> None:
    """Precision, recall and F1 over the classes that occur on either side; scikit-learn gives the same (zero_division=0)."""
    truth, answer = np.array([0, 0, 0, 1, 1, 2, 2, 2]), np.array([0, 0, 1, 1, 3, 2, 0, 3])
    precision, recall = np.array([2 / 3, 1 / 2, 1, 0]), np.array([2 / 3, 1 / 2, 1 / 3, 0])
    f1 = np.array([2 / 3, 1 / 2, 1 / 2, 0])
    assert macro_scores(truth, answer, 6) == pytest.approx((precision.mean(), recall.mean(), f1.mean()))
    assert macro_scores(truth[:0], answer[:0], 3) == (None, None, None)


def test_detection_of_a_worked_example() -> None:
    """Rates with Wilson's intervals, the mirrored rates, d' and criterion with half a count added, square-and-add for their mean."""
    truth, passed = np.repeat([True, False], [50, 40]), np.repeat([True, False, True, False], [45, 5, 8, 32])
    found = detection(truth, passed, np.arange(90), seed=1)
    assert (found.tpr.value, found.tnr.value, found.fpr.value, found.fnr.value) == pytest.approx((0.9, 0.8, 0.2, 0.1))
    assert (found.fpr.low, found.fpr.high) == pytest.approx(proportion_confint(8, 40, method="wilson"))
    hits, alarms = stats.norm.ppf(45.5 / 51), stats.norm.ppf(8.5 / 41)
    assert (found.d_prime, found.criterion) == pytest.approx((hits - alarms, -(hits + alarms) / 2))
    assert found.balanced_accuracy.value == pytest.approx(0.85)
    clustered = detection(np.tile(truth, 2), np.tile(passed, 2), np.tile(np.arange(90), 2), seed=1).balanced_accuracy
    assert (clustered.low, clustered.high) == pytest.approx((found.balanced_accuracy.low, found.balanced_accuracy.high), abs=0.02)
    only_good = detection(truth[:50], passed[:50], np.arange(50), seed=1)
    assert (only_good.d_prime, only_good.balanced_accuracy.value, only_good.n_bad) == (None, None, 0)
    assert only_good.balanced_accuracy.why == "balanced accuracy needs good and bad items"


# ---- correlations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scores", ["five levels", "continuous", "half and half"])
def test_correlations_are_those_of_scipy(scores: str) -> None:
    """Pearson, Spearman and tau-b to 1e-12, with ties and without; each lies in its interval."""
    rng = np.random.default_rng(12)
    x = rng.normal(size=300)
    y = x + rng.normal(size=300)
    if scores != "continuous":
        x = np.clip(np.round(x), -2, 2)
    if scores == "five levels":
        y = np.clip(np.round(y), -2, 2)
    for figure, reference in ((pearson, stats.pearsonr), (spearman, stats.spearmanr), (kendall, stats.kendalltau)):
        found = figure(x, y, np.arange(300), seed=1)
        assert found.value == pytest.approx(reference(x, y)[0], abs=1e-12)
        assert found.low is not None
        assert found.high is not None
        assert found.low < (found.value or 0) < found.high


def test_intervals_of_correlations_are_near_those_of_fishers_z() -> None:
    """For normal numbers: Pearson's as SciPy has it, to a tenth of its width; Spearman's as wide as Bonett and Wright's (2000)."""
    rng = np.random.default_rng(13)
    x = rng.normal(size=3000)
    y = 0.7 * x + rng.normal(size=3000)
    low, high = stats.pearsonr(x, y).confidence_interval(0.95)
    found = pearson(x, y, np.arange(3000), seed=1)
    assert (found.low, found.high) == pytest.approx((low, high), abs=(high - low) / 10)
    ranks = spearman(x, y, np.arange(3000), seed=1)
    rho = ranks.value or 0
    z = 1.96 * np.sqrt((1 + rho * rho / 2) / 2997)
    width = np.tanh(np.arctanh(rho) + z) - np.tanh(np.arctanh(rho) - z)
    assert (ranks.high or 0) - (ranks.low or 0) == pytest.approx(width, rel=0.2)  # 100 blocks: its sd is 7 %


def test_large_numbers_far_from_zero_are_correlated_as_small_ones() -> None:
    """Adding a million and scaling change neither value nor interval."""
    rng = np.random.default_rng(14)
    x, y = rng.random(80), rng.random(80)
    one, other = pearson(x, y, np.arange(80), seed=1), pearson(1e6 + 1e3 * x, y, np.arange(80), seed=1)
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-6)


def test_a_constant_side_has_no_correlation() -> None:
    """None and why, not 0 and not NaN; a score that is no number is refused."""
    x = np.arange(30.0)
    for figure in (pearson, spearman, kendall):
        found = figure(x, np.ones(30), np.arange(30), seed=1)
        assert (found.value, found.low, found.why) == (None, None, "one side is constant: there is no correlation")
        assert figure(x[:0], x[:0], np.arange(0), seed=1).value is None
    with pytest.raises(ValueError, match="no number"):
        pearson(np.append(x, np.nan), np.append(x, 1.0), np.arange(31), seed=1)


def test_inversions_are_counted() -> None:
    """Equal to looking at every pair."""
    codes = np.random.default_rng(15).integers(0, 37, 200)
    assert inversions(codes, 37) == sum(int((codes[i] > codes[i + 1 :]).sum()) for i in range(200))


def test_kendall_within_is_the_mean_over_groups() -> None:
    """The mean of SciPy's tau-b over groups where neither side is constant, of all sizes; constant groups are counted."""
    rng = np.random.default_rng(16)
    sizes = [1, 2, 2, 3, 6, 6, 6, 6, 6, 6, 7, 9, 9, 80]
    within = np.repeat(np.arange(len(sizes)), sizes)
    x, y = (rng.integers(0, 4, len(within)).astype(float) for _ in range(2))
    x[within == 4] = 2.0
    known = [stats.kendalltau(x[within == g], y[within == g]).statistic for g in range(len(sizes)) if sizes[g] > 1]
    known = [tau for tau in known if not np.isnan(tau)]
    order = rng.permutation(len(within))
    found = kendall_within(x[order], y[order], within[order], seed=1)
    assert found.value == pytest.approx(np.mean(known), abs=1e-12)
    assert found.n == len(known)
    assert f"{len(sizes) - len(known)} of {len(sizes)} groups constant" in found.method
    none = kendall_within(np.ones(6), np.arange(6.0), np.arange(6) // 2, seed=1)
    assert none.value is None
    assert "3 of 3 groups constant" in str(none.why)


# ---- Krippendorff's alpha -------------------------------------------------------------------------------------------

# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), part C: four observers, twelve units, values missing
OBSERVERS = ["1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."]


def ratings() -> tuple[np.ndarray, np.ndarray]:
    long = [(unit, float(v)) for line in OBSERVERS for unit, v in enumerate(line.split()) if v != "."]
    return np.array([unit for unit, _ in long]), np.array([value for _, value in long])


@pytest.mark.parametrize(("metric", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_krippendorffs_own_example(metric: Any, published: float) -> None:
    """The figures of the paper, to their three digits; eleven units pair, the twelfth has one rating."""
    unit, value = ratings()
    found = krippendorff_alpha(unit, value, metric=metric, seed=1)
    assert round(found.value or 0, 3) == published
    assert found.n == 11


def by_definition(unit: np.ndarray, value: np.ndarray, metric: str) -> float:
    """Alpha from every ordered pair of ratings, with the metrics as the paper writes them."""
    groups = [value[unit == u] for u in np.unique(unit) if (unit == u).sum() > 1]
    margins = Counter(np.concatenate(groups).tolist())
    n = sum(margins.values())

    def apart(c: float, k: float) -> float:
        if metric == "nominal":
            return float(c != k)
        if metric == "interval":
            return (c - k) ** 2
        low, high = min(c, k), max(c, k)
        return float((sum(margins[g] for g in margins if low <= g <= high) - (margins[c] + margins[k]) / 2) ** 2)

    observed = sum(apart(c, k) / (len(group) - 1) for group in groups for c, k in permutations(group.tolist(), 2)) / n
    expected = sum(margins[c] * margins[k] * apart(c, k) for c in margins for k in margins) / (n * (n - 1))
    return 1 - observed / expected


@pytest.mark.parametrize("metric", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("levels", [7, 40])
def test_alpha_is_its_definition(metric: Any, levels: int) -> None:
    """To 1e-9 with uneven numbers of ratings, few different values and many; the interval holds it."""
    rng = np.random.default_rng(17)
    unit = rng.integers(0, 60, 240)
    value = np.clip(unit % levels + rng.integers(-3, 4, 240), 0, levels).astype(float)
    found = krippendorff_alpha(unit, value, metric=metric, seed=1)
    assert found.value == pytest.approx(by_definition(unit, value, metric), abs=1e-9)
    assert (found.low or 0) < (found.value or 0) < (found.high or 0)


def test_alpha_where_there_is_nothing_to_say() -> None:
    """Units of one rating do not pair; equal ratings have no alpha; units sampled together widen the interval."""
    unit = np.arange(40) // 2
    rng = np.random.default_rng(18)
    value = rng.integers(0, 3, 40).astype(float)
    assert krippendorff_alpha(np.arange(40), value, metric="nominal", seed=1).why == "no unit has two ratings"
    same = krippendorff_alpha(unit, np.ones(40), metric="ordinal", seed=1)
    assert same.value is None
    assert "all ratings are the same" in str(same.why)
    extra = krippendorff_alpha(np.append(unit, 99), np.append(value, 7.0), metric="interval", seed=1)
    assert extra.value == krippendorff_alpha(unit, value, metric="interval", seed=1).value
    copies = np.concatenate([unit + 20 * k for k in range(4)])
    together = krippendorff_alpha(copies, np.tile(value, 4), metric="nominal", clusters=np.tile(unit, 4), seed=1)
    apart = krippendorff_alpha(copies, np.tile(value, 4), metric="nominal", seed=1)
    assert together.value == apart.value
    assert (together.high or 0) - (together.low or 0) > 1.5 * ((apart.high or 0) - (apart.low or 0))


# ---- published figures ----------------------------------------------------------------------------------------------


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def codes(names: list[str]) -> np.ndarray:
    return np.unique(names, return_inverse=True)[1]


@pytest.mark.parametrize("name", ["human_newsroom", "human_recipes"])
def test_published_alphas(name: str) -> None:
    """Krippendorff's alpha, ordinal, as JUDGE-BENCH publishes it, to 1e-9."""
    folder = shared_data(name)
    labels = lines(folder / "labels.jsonl")
    for key, published in json.loads((folder / "published.json").read_text(encoding="utf-8")).items():
        rows = [row for row in labels if row["aspect"] == key.split("|")[0]]
        value = np.array([row["score"] for row in rows])
        found = krippendorff_alpha(codes([row["item_id"] for row in rows]), value, metric="ordinal", seed=1)
        assert found.value == pytest.approx(published["value"], abs=1e-9)


def test_published_correlations() -> None:
    """Pearson over all outputs, Spearman, and tau-b per context, of every prompt and aspect."""
    folder = shared_data("topicalchat_scores")
    human = {(row["item_id"], row["systems"][0], row["aspect"]): row["score"] for row in lines(folder / "labels.jsonl")}
    judged = lines(folder / "judgments.jsonl")
    for key, published in json.loads((folder / "published.json").read_text(encoding="utf-8")).items():
        prompt, aspect, name = key.split("|")
        rows = [row for row in judged if (row["prompt"], row["aspect"]) == (prompt, aspect)]
        items = codes([row["item_id"] for row in rows])
        x = np.array([row["score"] for row in rows])
        y = np.array([human[row["item_id"], row["systems"][0], aspect] for row in rows])
        figure = {"pearson": pearson, "spearman": spearman}.get(name, kendall_within)
        assert figure(x, y, items, seed=1).value == pytest.approx(published["recomputed"], abs=1e-6)


def test_published_kappas_and_macro_scores() -> None:
    """Annotators' kappas and the judges' macro figures of PandaLM; its unparsed verdicts count as ties."""
    folder = shared_data("pandalm")
    published = json.loads((folder / "published.json").read_text(encoding="utf-8"))
    people: dict[str, dict[str, int]] = {}
    for row in lines(folder / "labels.jsonl"):
        winner = row["winner"]
        people.setdefault(row["annotator"], {})[row["item_id"]] = 1 if winner == "tie" else 2 * row["systems"].index(winner)
    items = sorted(people["annotator1"])
    columns = {name: np.array([answers[item] for item in items]) for name, answers in people.items()}
    for key in (key for key in published if key.startswith("cohen_kappa")):
        a, b = (columns[name] for name in key.split("_")[2:])
        found = cohen_kappa(a, b, np.arange(len(items)), classes=3, seed=1).estimate
        assert found.value == pytest.approx(published[key]["recomputed"], abs=1e-6)
    truth = np.median(np.stack([columns[name] for name in sorted(columns)]), axis=0).astype(int)  # no item has three answers
    for judge in ("gpt-3.5-turbo", "PandaLM-7B"):
        verdicts = {
            row["item_id"]: {"first": 0, "second": 2}.get(row["verdict"], 1)
            for row in lines(folder / "judgments.jsonl")
            if row["judge"] == judge
        }
        scores = macro_scores(truth, np.array([verdicts[item] for item in items]), 3)
        expected = [published[f"{judge}_macro_{name}"]["recomputed"] for name in ("precision", "recall", "f1")]
        assert [100 * (score or 0) for score in scores] == pytest.approx(expected, abs=1e-5)

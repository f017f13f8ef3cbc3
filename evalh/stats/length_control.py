"""Win rates at equal length: what the preference would be if both outputs were as long as each other. Pure.

Two ways. `length_controlled` is our own fit of one system's pairs (METHODS §5.2); `published` computes what AlpacaEval 2
(Dubois et al. 2024, arXiv 2404.04475) reports from the weights that its authors fitted and the difficulty of each item.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.records import Estimate
from evalh.stats.intervals import FloatArray, normal_quantile, too_few

IntArray = npt.NDArray[np.int64]

LABEL = "length-controlled, no item difficulty"
LABEL_DIFFICULTY = "length-controlled, with the items' difficulty"
DRAWS = 1000
MOST_CELLS = 2_000_000  # rows times draws that are refitted; for more rows the sandwich says the same
MANY_CLUSTERS = 30  # below: jackknife with t (METHODS §0.2)
PARTS = 40  # of the draws, so that a part fits into the cache of a core
THIN = 0.1  # share of the pairs that are the longer, or the shorter way: below it equal length is nearly extrapolated
_STEPS = 50
_FARTHEST = 30.0  # log-odds: a coefficient beyond it runs away
_UNSTABLE = 0.05


class LengthControl(NamedTuple):
    """A length-controlled win rate, as a share of 1, and what it was made of. `estimate.why` says why there is none."""

    estimate: Estimate
    coefficient: float | None  # log-odds for one unit of tanh(z), z in sd of the difference of lengths
    order: float | None  # log-odds of being shown second rather than first; None: not in the model
    longer_share: float | None  # of the pairs with lengths that differ: the system's output is the longer one
    note: str | None = None  # what makes the figure worth less than its interval says


class Weights(NamedTuple):
    """AlpacaEval's fitted weights of one system."""

    length: float
    difficulty: float  # 0 in the simplified model, which has none
    bias: float


class Published(NamedTuple):
    """The length-controlled win rate from published weights, as shares of 1; None where an item has no difficulty."""

    by_row: float | None  # as the origin looks difficulties up: by row number, so of the first n items of the data set
    by_item: float | None  # with the difficulty of the items that were judged


class _Fit(NamedTuple):
    beta: FloatArray
    information: FloatArray


class _Model(NamedTuple):
    """The rows of one fit; columns of `x`: 1, tanh(z), then order and difficulty where they are known."""

    x: FloatArray  # (n, k)
    y: FloatArray
    weight: FloatArray
    ordered: bool
    label: str

    @property
    def level_rows(self) -> FloatArray:
        """What the rows would be at equal length and in no order: (n, k), or (1, k) where they are all the same."""
        flat = self.x.copy()
        flat[:, 1 : 3 if self.ordered else 2] = 0.0
        return flat if self.label == LABEL_DIFFICULTY else flat[:1]


def length_controlled(
    score: FloatArray, weight: FloatArray, longer: FloatArray, second: FloatArray, clusters: IntArray, *,
    difficulty: FloatArray | None = None, seed: int, level: float = 0.95,
) -> LengthControl:  # fmt: skip
    """Our fit: logit P(system preferred) = theta + phi tanh(z) + kappa order (+ psi difficulty), unpenalised (METHODS §5.2).

    LC is the mean over rows and both orders of the preference that the fit gives at z = 0. Without difficulty that is
    sigma(theta), and wrong where a system is the longer one on items that suit it: give difficulties where they are known.

    One row a pair and order, (n,): `score` the preference for the system, `weight` the row's part of its pair, `longer` the
    characters of the system's output minus the baseline's (NaN: unknown), z of them in standard deviations (n - 1),
    `second` 1/2 where the system was shown second, -1/2 first, 0 where the order is not known. Interval: bootstrap by
    cluster, refitted; below MANY_CLUSTERS the jackknife; beyond MOST_CELLS cells the cluster sandwich by the delta method.

    Refused, with the reason as `why`: lengths unknown, the same, or different in one direction only (it would be
    extrapolated); outcomes that the covariates separate.
    """
    n = round(float(weight.sum()))
    shares = longer[~np.isnan(longer) & (longer != 0)]
    share = float((shares > 0).mean()) if len(shares) else None
    label = LABEL if difficulty is None else LABEL_DIFFICULTY
    why = _refusal(longer)
    if why is None:
        ordered = bool((second > 0).any() and (second < 0).any())
        columns = [np.ones_like(score), np.tanh(longer / longer.std(ddof=1))]
        columns += ([second] if ordered else []) + ([difficulty] if difficulty is not None else [])
        model = _Model(np.column_stack(columns), score, weight, ordered, label)
        fit = _fit(model.x, score, weight)
        why = None if fit else "the covariates separate the outcomes: no finite fit exists"
    if why is not None or fit is None or share is None:
        return LengthControl(Estimate(value=None, level=level, n=n, method=label, why=why), None, None, share)
    estimate = _estimate(model, clusters, fit, seed=seed, level=level).model_copy(update={"n": n})
    note = _thin(share)
    return LengthControl(estimate, float(fit.beta[1]), float(fit.beta[2]) if ordered else None, share, note)


def _thin(share: float) -> str | None:
    if THIN <= share <= 1 - THIN:
        return None
    side = "longer" if share < THIN else "shorter"
    return f"the {side} output in fewer than {100 * THIN:.0f} % of its pairs: equal length is nearly extrapolated"


def _refusal(longer: FloatArray) -> str | None:
    unknown = int(np.isnan(longer).sum())
    if unknown:
        return f"the outputs of {unknown} of {len(longer)} comparisons are not in the store: their lengths are unknown"
    if len(longer) < 2 or not longer.any():
        return "all outputs are as long as the baseline's: there is nothing to control"
    if longer.min() >= 0 or longer.max() <= 0:
        side = "longer" if longer.max() > 0 else "shorter"
        return f"every output is {side} than the baseline's: what equal length would do would be extrapolated"
    return None


def _at_equal_length(model: _Model, beta: FloatArray) -> FloatArray:
    """The preference at equal length, mean over both orders: (B, n or 1) for `beta` of (B, k)."""
    eta = beta @ model.level_rows.T
    if not model.ordered:
        return _sigma(eta)
    kappa = beta[:, 2:3] / 2
    return (_sigma(eta + kappa) + _sigma(eta - kappa)) / 2


def _mean(preference: FloatArray, weights: FloatArray) -> FloatArray:
    """The weighted mean of each row, (B,), from (B, n or 1) and (B, n)."""
    if preference.shape[1] == 1:
        return preference[:, 0]
    made: FloatArray = (preference * weights).sum(axis=1) / weights.sum(axis=1)
    return made


def _estimate(model: _Model, clusters: IntArray, fit: _Fit, *, seed: int, level: float) -> Estimate:
    value = float(_mean(_at_equal_length(model, fit.beta[None, :]), model.weight[None, :])[0])
    code = np.unique(clusters, return_inverse=True)[1]
    groups = int(code.max()) + 1
    why = too_few(round(float(model.weight.sum())), groups)
    if why is not None:
        return Estimate(value=value, level=level, method=model.label, why=why, clusters=groups)
    if len(model.y) * DRAWS > MOST_CELLS:
        return _by_sandwich(model, value, code, groups, fit, level)
    if groups < MANY_CLUSTERS:
        return _by_jackknife(model, value, code, groups, fit, level)
    counts = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=DRAWS)
    values = np.concatenate([_redrawn(model, part[:, code] * model.weight, fit) for part in np.array_split(counts, PARTS)])
    lost = float(np.isnan(values).mean())
    if lost > _UNSTABLE:
        why = f"unstable: {100 * lost:.0f} % of the resamples have no finite fit"
        return Estimate(value=value, level=level, method=model.label, why=why, clusters=groups, seed=seed)
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    method = f"{model.label}; bootstrap by cluster, {DRAWS} draws"
    return Estimate(value=value, low=float(low), high=float(high), level=level, method=method, clusters=groups, seed=seed)


def _redrawn(model: _Model, weights: FloatArray, fit: _Fit) -> FloatArray:
    """LC for many weightings of the rows, (B, n) → (B,), each of them fitted anew."""
    return _mean(_at_equal_length(model, _refit(model.x, model.y, weights, fit.beta)), weights)


def _by_jackknife(model: _Model, value: float, code: IntArray, groups: int, fit: _Fit, level: float) -> Estimate:
    """Each cluster left out once, on the log-odds of LC, with t of G - 1."""
    from scipy.special import logit, stdtrit

    left = (np.arange(groups)[:, None] != code[None, :]) * model.weight
    values = logit(_redrawn(model, left, fit))
    method = f"{model.label}; jackknife by cluster on the log-odds, t"
    if not np.isfinite(values).all():
        why = "unstable: without one of its clusters there is no finite fit"
        return Estimate(value=value, level=level, method=method, why=why, clusters=groups)
    error = float(np.sqrt((groups - 1) / groups * ((values - values.mean()) ** 2).sum()))
    half, centre = float(stdtrit(groups - 1, (1 + level) / 2)) * error, float(logit(value))
    low, high = (float(_sigma(np.array(centre + side * half))) for side in (-1, 1))
    return Estimate(value=value, low=low, high=high, level=level, method=method, clusters=groups)


def _by_sandwich(model: _Model, value: float, code: IntArray, groups: int, fit: _Fit, level: float) -> Estimate:
    """The delta method on the log-odds of LC: each cluster's influence through the fit and through its own items."""
    own = model.weight / model.weight.sum()
    steps = fit.beta + np.vstack([np.eye(len(fit.beta)), -np.eye(len(fit.beta))]) * 1e-5
    moved = _mean(_at_equal_length(model, steps), np.tile(own, (len(steps), 1)))
    slope = (moved[: len(fit.beta)] - moved[len(fit.beta) :]) / 2e-5
    residual = model.weight * (model.y - _sigma(model.x @ fit.beta))
    influence = residual * (model.x @ np.linalg.solve(fit.information, slope))
    influence = influence + own * (_at_equal_length(model, fit.beta[None, :])[0] - value)
    by_cluster = np.bincount(code, influence, groups)
    error = float(np.sqrt((by_cluster**2).sum() * groups / (groups - 1)))
    half = normal_quantile((1 + level) / 2) * error / (value * (1 - value))
    centre = float(np.log(value / (1 - value)))
    low, high = (float(_sigma(np.array(centre + side * half))) for side in (-1, 1))
    method = f"{model.label}; sandwich by cluster, delta method on the log-odds"
    return Estimate(value=value, low=low, high=high, level=level, method=method, clusters=groups)


def _sigma(x: FloatArray) -> FloatArray:
    from scipy.special import expit

    made: FloatArray = expit(x)
    return made


def _fit(x: FloatArray, y: FloatArray, weight: FloatArray) -> _Fit | None:
    """Weighted logistic regression with a fractional response, by Newton's method; None where there is no finite maximum."""
    beta: FloatArray = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        p = _sigma(x @ beta)
        information = x.T @ (x * (weight * p * (1 - p))[:, None])
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, x.T @ (weight * (y - p)))
        beta = beta + np.clip(step, -2, 2)
        if np.abs(beta).max() > _FARTHEST:
            return None
        if np.abs(step).max() < 1e-11:
            return _Fit(beta, information)
    return None


def _refit(x: FloatArray, y: FloatArray, weights: FloatArray, start: FloatArray) -> FloatArray:
    """`_fit` for many weightings at once, (B, n) → (B, k); NaN where one has no finite maximum."""
    k = x.shape[1]
    products = np.column_stack([x[:, i] * x[:, j] for i in range(k) for j in range(k)])
    made = np.tile(start, (len(weights), 1))
    going = np.arange(len(weights))
    for _ in range(_STEPS):
        w = weights[going]
        p = _sigma(made[going] @ x.T)
        information = ((w * (p * (1 - p))) @ products).reshape(-1, k, k)
        singular = ~(np.linalg.cond(information) < 1e12)
        information[singular] = np.eye(k)
        step = np.linalg.solve(information, ((w * (y - p)) @ x)[:, :, None])[:, :, 0]
        made[going] += np.clip(step, -2, 2)
        away = singular | (np.abs(made[going]).max(axis=1) > _FARTHEST)
        made[going[away]] = np.nan
        going = going[~away & (np.abs(step).max(axis=1) > 1e-5)]  # Newton: what is left is its square
        if not len(going):
            return made
    made[going] = np.nan
    return made


# ---- with published weights -----------------------------------------------------------------------------------------


def published(weights: Weights, judged: IntArray, difficulty: FloatArray) -> Published:
    """AlpacaEval's figure: mean over items of sigma(difficulty weight · item difficulty + bias).

    `difficulty` has one number for each item of the data set in its order (NaN: unknown), `judged` the places of the items
    that the system was judged on. The origin takes the first len(judged) of `difficulty`, whichever items are missing.
    """
    rows = difficulty[: len(judged)]
    return Published(*(_mean_at_equal_length(weights, found) for found in (rows, difficulty[judged])))


def _mean_at_equal_length(weights: Weights, difficulty: FloatArray) -> float | None:
    if weights.difficulty == 0:
        difficulty = np.zeros(max(len(difficulty), 1))
    if not len(difficulty) or np.isnan(difficulty).any():
        return None
    return float(_sigma(weights.difficulty * difficulty + weights.bias).mean())


def weights_of(row: Mapping[str, float]) -> Weights | None:
    """The weights in a row of AlpacaEval's table, by its names of columns; None where one that is needed is missing."""
    by_start = {name.split(".astype")[0].strip().removeprefix("np."): value for name, value in row.items()}
    length, bias = by_start.get("tanh(std_delta_len)"), by_start.get("not_gamed_baseline")
    if length is None or bias is None:
        return None
    return Weights(length, by_start.get("instruction_difficulty", 0.0), bias)

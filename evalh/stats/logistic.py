"""Logistic regression with cluster-robust standard errors: few covariates, hundreds to a hundred thousand rows."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalh.errors import InputError
from evalh.stats.intervals import normal_quantile

MOST_STEPS = 100
FloatArray = npt.NDArray[np.float64]


class Coefficient(NamedTuple):
    """A coefficient in log-odds per unit of its covariate, with its interval."""

    value: float
    low: float
    high: float
    se: float


class Fit(NamedTuple):
    """Coefficients (k,) and their cluster-robust covariance (k, k)."""

    beta: FloatArray
    covariance: FloatArray


def logistic(
    x: npt.ArrayLike, y: npt.ArrayLike, clusters: Sequence[Hashable] | npt.NDArray[np.int64], *, level: float = 0.95
) -> list[Coefficient]:  # fmt: skip
    """The coefficients of `fit`, each with its normal interval."""
    beta, covariance = fit(x, y, clusters)
    z, errors = normal_quantile((1 + level) / 2), np.sqrt(np.diag(covariance))
    return [Coefficient(float(b), float(b - z * e), float(b + z * e), float(e)) for b, e in zip(beta, errors, strict=True)]


def fit(x: npt.ArrayLike, y: npt.ArrayLike, clusters: Sequence[Hashable] | npt.NDArray[np.int64]) -> Fit:
    """Maximum likelihood by Newton's method, sandwich H⁻¹(Σ s_g s_gᵀ)H⁻¹·G/(G−1) over clusters (METHODS §1.3, §5.1).

    `x` is (n, k) and gets no intercept: give a column of ones for one. `y` is (n,) in [0, 1]. Raises InputError where the
    outcomes are separated, so that no finite estimate exists.
    """
    design, target = np.asarray(x, float), np.asarray(y, float)
    beta = np.zeros(design.shape[1])
    for _ in range(MOST_STEPS):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -500, 500)))
        hessian = design.T @ (design * (p * (1 - p))[:, None])
        if np.linalg.cond(hessian) > 1e12 or np.abs(beta).max(initial=0.0) > 50:
            raise InputError(
                "the outcomes are separated", where="logistic regression", hint="there is no finite estimate; more rows are needed"
            )
        step = np.linalg.solve(hessian, design.T @ (target - p))
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            break
    bread: FloatArray = np.asarray(np.linalg.inv(hessian), dtype=np.float64)
    return Fit(beta, sandwich(bread, design * (target - p)[:, None], clusters))


def sandwich(bread: FloatArray, scores: FloatArray, clusters: Sequence[Hashable] | npt.NDArray[np.int64]) -> FloatArray:
    """bread · Σ_g s_g s_gᵀ · bread · G/(G−1), from the scores (n, k) of the rows. Needs two clusters."""
    if isinstance(clusters, np.ndarray):
        place = np.unique(clusters, return_inverse=True)[1]
    else:
        names: dict[Hashable, int] = {}
        place = np.array([names.setdefault(name, len(names)) for name in clusters], dtype=np.int64)
    count = int(place.max(initial=-1)) + 1
    if count < 2:
        raise InputError("a robust standard error needs two clusters", where="regression", hint="more items are needed")
    sums = np.column_stack([np.bincount(place, column, count) for column in scores.T])
    covariance: FloatArray = bread @ (sums.T @ sums) @ bread * (count / (count - 1))
    return covariance

"""Logistic regression with cluster-robust standard errors: few covariates, hundreds of rows."""

from __future__ import annotations

from collections.abc import Sequence
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


def logistic(x: npt.ArrayLike, y: npt.ArrayLike, clusters: Sequence[str], *, level: float = 0.95) -> list[Coefficient]:
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
    groups = {name: n for n, name in enumerate(dict.fromkeys(clusters))}
    scores = np.zeros((len(groups), design.shape[1]))
    np.add.at(scores, [groups[c] for c in clusters], design * (target - p)[:, None])
    bread = np.linalg.inv(hessian)
    covariance: FloatArray = bread @ (scores.T @ scores) @ bread * len(groups) / (len(groups) - 1)
    z, errors = normal_quantile((1 + level) / 2), np.sqrt(np.diag(covariance))
    return [Coefficient(float(b), float(b - z * e), float(b + z * e), float(e)) for b, e in zip(beta, errors, strict=True)]

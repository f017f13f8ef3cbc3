"""Logistic regression: the values of an independent library, and an error where no estimate exists."""

from __future__ import annotations

import numpy as np
import pytest

from evalh.errors import InputError
from evalh.stats.logistic import logistic


def test_coefficients_and_clustered_errors_are_those_of_statsmodels() -> None:
    """Point estimates to 1e-8; cluster-robust standard errors up to statsmodels' (n−1)/(n−k)."""
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(40), 5)
    x = np.column_stack([np.ones(200), rng.normal(size=200), rng.normal(size=40)[groups]])
    y = (rng.random(200) < 1 / (1 + np.exp(-(0.3 + 0.8 * x[:, 1] - 0.5 * x[:, 2])))).astype(float)
    ours = logistic(x, y, [str(g) for g in groups])
    theirs = sm.Logit(y, x).fit(disp=0, cov_type="cluster", cov_kwds={"groups": groups})
    assert [c.value for c in ours] == pytest.approx(list(theirs.params), abs=1e-8)
    assert [c.se for c in ours] == pytest.approx(list(theirs.bse / np.sqrt(199 / 197)), rel=1e-6)


def test_separated_outcomes_are_refused() -> None:
    """A covariate that decides every row has no finite coefficient."""
    x = np.array([[-2.0], [-1.0], [1.0], [2.0]] * 5)
    with pytest.raises(InputError, match="separated"):
        logistic(x, (x[:, 0] > 0).astype(float), [str(n) for n in range(20)])

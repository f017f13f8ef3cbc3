"""Measures what a predicted trajectory says about the world: its acceleration, and for a sinking sphere the viscosity.

Both are recovered from the positions alone by least squares, and compared with the reference. No model is asked, and the
answer is the same every time: this is what tier 1 is for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from evalh import Item, Output

GRAVITY_TOLERANCE = 0.04  # relative; v1's noise moves the estimate by about 0.01
BUOYANT_TOLERANCE = 0.06  # relative; drag has to be told apart from gravity, so the estimate is looser
VISCOSITY_TOLERANCE = 0.10  # relative


def obeys_physics(output: Output, item: Item) -> tuple[bool, str]:
    """The check: every quantity is within its tolerance. The reason shows what was measured, and what is true."""
    try:
        found = deviations(json.loads(output.text), item.reference)
    except (ValueError, KeyError, TypeError) as error:
        return False, f"is no trajectory: {type(error).__name__}: {error}"
    reason = ", ".join(f"{name} {measured:.4g} ({true:.4g})" for name, (measured, true, _) in found.items())
    return all(abs(measured / true - 1) <= allowed for measured, true, allowed in found.values()), f"measured (true): {reason}"


def fall_acceleration(t: ArrayLike, height: ArrayLike) -> float:
    """Downward acceleration of a height(t), in height units per time unit squared: minus twice the quadratic coefficient."""
    return float(-2 * np.polynomial.Polynomial.fit(np.asarray(t, float), np.asarray(height, float), 2).convert().coef[2])


def sink_motion(t: ArrayLike, depth: ArrayLike) -> tuple[float, float]:
    """Acceleration at t = 0 and relaxation time τ of a sphere that sinks from rest under Stokes drag.

    Fits z(t) = aτ (t − τ(1 − e^(−t/τ))): for a given τ the best a is linear, so only τ is searched, on a logarithmic grid
    that is refined around its best point. Without drag τ runs to the end of the grid.
    """
    times, depths = np.asarray(t, float), np.asarray(depth, float)

    def fit(tau: float) -> tuple[float, float]:
        shape = tau * (times - tau * -np.expm1(-times / tau))
        acceleration = float(shape @ depths / (shape @ shape))
        return float(np.sum((depths - acceleration * shape) ** 2)), acceleration

    low, high = times[-1] / 100, times[-1] * 100
    for _ in range(6):
        grid = np.geomspace(low, high, 60)
        best = int(np.argmin([fit(tau)[0] for tau in grid]))
        low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)])
    tau = (low * high) ** 0.5
    return fit(tau)[1], tau


def deviations(trajectory: Mapping[str, Any], truth: Mapping[str, Any]) -> dict[str, tuple[float, float, float]]:
    """Quantity → (measured, true, allowed relative deviation), in SI units.

    `truth` is an item's reference: motion, acceleration (m/s²) and for `sink` viscosity (Pa·s), radius (m), density (kg/m³).
    """
    second = {"s": 1.0, "ms": 1e-3}[trajectory["t_unit"]]
    metre = {"m": 1.0, "mm": 1e-3}[trajectory["y_unit"]]
    t, y = np.array(trajectory["t"]) * second, np.array(trajectory["y"]) * metre
    if truth["motion"] == "fall":
        return {"acceleration": (fall_acceleration(t, y), truth["acceleration"], GRAVITY_TOLERANCE)}
    acceleration, tau = sink_motion(t, y)
    viscosity = 2 * truth["radius"] ** 2 * truth["density"] / (9 * tau)  # τ = 2r²ρ / 9η
    return {
        "acceleration": (acceleration, truth["acceleration"], BUOYANT_TOLERANCE),
        "viscosity": (viscosity, truth["viscosity"], VISCOSITY_TOLERANCE),
    }

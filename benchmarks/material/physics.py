"""Computes golden/physics, frozen_refs/physics and their truth: motions, and what two learned simulators predict for them.

Every random choice is a hash of names, so the files are the same on every machine. Lengths are in metres and times in
seconds until they are written; spheres are written in millimetres and milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalh.fingerprints import derived_seed

from .files import FAMILY, File, dates, in_order, output, truth

CANARY = "EVALH-CANARY 47f00f4b-3210-412c-a3dc-4b1a35565ad4"
FROZEN_CANARY = "EVALH-CANARY 9d19ce49-8cf2-40f7-9048-73fe856b2a25"
PUBLISHED = "2025-06-30"
ORDER_SEED = 1544540737  # drawn once when the items were written; the stored order is random
EACH, POINTS = 18, 15  # items of each motion, positions of each trajectory
WEAK_GRAVITY = 7.4 / 9.81  # v2's gravity in a throw, as a share of the right one
THIN = 5.0  # Pa·s; v2 forgets the drag in fluids below this
NOISE = {"v1": 0.0015, "v2": 0.0002}  # standard deviation as a share of the range; v2 is the smoother one

_PLACES = (("on Earth", 9.81), ("on Earth", 9.81), ("on Mars", 3.72), ("on the Moon", 1.62))
_BALLS = ("A steel ball", "A cricket ball", "A glass marble", "An apple", "A lead weight", "A clay pigeon")
_SPHERES = (("steel", 7800.0), ("brass", 8500.0), ("tungsten carbide", 15000.0))
_FLUIDS = {
    "thin": (("gear oil", 890.0, 2.4, 4.6), ("cold glycerol", 1270.0, 2.8, 4.8)),
    "thick": (("syrup", 1380.0, 5.5, 8.0), ("honey", 1420.0, 8.0, 14.0), ("silicone oil", 970.0, 5.2, 12.0)),
}


class Motion(NamedTuple):
    """One motion: what is asked, the times (s), the start, and the physics that decides it."""

    kind: str  # drop, throw, thin or thick
    asked: str
    times: NDArray[np.float64]
    start: float  # height at t = 0, m
    speed: float  # upwards at t = 0, m/s
    gravity: float  # acceleration at t = 0, m/s²; for a sphere that of weight less buoyancy
    tau: float | None = None  # relaxation time of Stokes drag, s
    reference: dict[str, Any] = {}  # noqa: RUF012 — never written to


def build() -> list[File]:
    """The files of the physics suite."""
    motions = {f"physics-{n:03d}": motion for n, motion in enumerate(_motions(), start=1)}
    items = in_order([_item(item_id, motion) for item_id, motion in motions.items()], ORDER_SEED)
    ordered = [(item["item_id"], motions[item["item_id"]]) for item in items]
    facts = [truth(predicted(i, m, v), quality, plausible=quality) for i, m in ordered for v, quality in (("v1", 0.88), ("v2", 0.95))]
    frozen = [_frozen(n) for n in range(1, 33)]
    facts += [truth(row["output"], row["score"], plausible=row["score"]) for row in frozen]
    return [
        File("golden/physics/items.jsonl", CANARY, items),
        File("golden/physics/outputs/v1.jsonl", CANARY, [_output(i, m, "v1") for i, m in ordered]),
        File("golden/physics/outputs/v2.jsonl", CANARY, [_output(i, m, "v2") for i, m in ordered]),
        File("frozen_refs/physics/refs.jsonl", FROZEN_CANARY, frozen),
        File("suites/truth/physics.jsonl", CANARY, facts),
    ]


def positions(motion: Motion, *, gravity: float = 1.0, drag: bool = True) -> NDArray[np.float64]:
    """Height (ball) or depth (sphere) in metres at the motion's times, with gravity scaled and drag on or off.

    A sphere from rest under Stokes drag: z(t) = g'τ (t − τ(1 − e^(−t/τ))), with g' = g(1 − ρ_f/ρ_s), τ = 2r²ρ_s/(9η).
    """
    t, g = motion.times, motion.gravity * gravity
    if motion.tau is None:
        return motion.start + motion.speed * t - g * t**2 / 2
    if not drag:
        return g * t**2 / 2
    tau = motion.tau
    return g * tau * (t - tau * (1 - np.exp(-t / tau)))


def fault(motion: Motion, version: str) -> str | None:
    """What v2 gets wrong, by the kind of motion; v1 gets nothing wrong."""
    return {"throw": "weak-gravity", "thin": "no-drag"}.get(motion.kind) if version == "v2" else None


def predicted(item_id: str, motion: Motion, version: str) -> str:
    """The JSON that a version of the learned simulator answers."""
    wrong = fault(motion, version)
    exact = positions(motion, gravity=WEAK_GRAVITY if wrong == "weak-gravity" else 1.0, drag=wrong != "no-drag")
    span = float(np.ptp(exact))
    noise = [NOISE[version] * span * _normal(version, item_id, n) for n in range(POINTS)]
    return written_out(motion, [float(y) for y in exact + np.array(noise)])


def written_out(motion: Motion, ys: Sequence[float]) -> str:
    """The trajectory as JSON: metres and seconds for balls, millimetres and milliseconds for spheres."""
    scale, units = (1.0, ("s", "m")) if motion.tau is None else (1000.0, ("ms", "mm"))
    times = [round(float(t) * scale, 4) for t in motion.times]
    return json.dumps({"t": times, "t_unit": units[0], "y": [round(y * scale, 4) for y in ys], "y_unit": units[1]})


# --- the motions -------------------------------------------------------------------------------------------------------


def _motions() -> list[Motion]:
    made = {"drop": _drop, "throw": _throw, "thin": _sphere, "thick": _sphere}
    return [make(kind, f"{kind}-{n}") for kind, make in made.items() for n in range(EACH)]


def _drop(kind: str, name: str) -> Motion:
    where, g = _pick(_PLACES, name, "place")
    height = round(_between(2.0, 40.0, name, "height"), 1)
    times = _times(0.92 * (2 * height / g) ** 0.5, 3)
    asked = f"{_pick(_BALLS, name, 'ball')} is dropped from rest {height} m above the ground {where} (g = {g} m/s²)."
    return Motion(kind, _balls_question(asked, times), times, height, 0.0, g, None, {"motion": "fall", "acceleration": g})


def _throw(kind: str, name: str) -> Motion:
    where, g = _pick(_PLACES, name, "place")
    speed, start = round(_between(4.0, 16.0, name, "speed"), 1), round(_between(1.0, 2.2, name, "start"), 2)
    times = _times(1.95 * speed / g, 3)
    asked = f"{_pick(_BALLS, name, 'ball')} is thrown straight up at {speed} m/s from {start} m above the ground {where} (g = {g} m/s²)."
    return Motion(kind, _balls_question(asked, times), times, start, speed, g, None, {"motion": "fall", "acceleration": g})


def _sphere(kind: str, name: str) -> Motion:
    stuff, density = _pick(_SPHERES, name, "stuff")
    fluid, fluid_density, low, high = _pick(_FLUIDS[kind], name, "fluid")
    viscosity = round(_between(low, high, name, "viscosity"), 2)
    radius = round(_between(2.0, 4.5, name, "radius"), 2) / 1000
    buoyant = 9.81 * (1 - fluid_density / density)
    tau = 2 * radius**2 * density / (9 * viscosity)
    reynolds = fluid_density * buoyant * tau * 2 * radius / viscosity
    if reynolds > 0.8:
        raise ValueError(f"{name}: Stokes drag does not hold at a Reynolds number of {reynolds:.2f}")
    times = _times(6 * tau, 5)
    shown = ", ".join(f"{round(float(t) * 1000, 4):g}" for t in times)
    asked = (
        f"A {stuff} sphere (radius {radius * 1000:.2f} mm, density {density:.0f} kg/m³) is released from rest in {fluid} "
        f"(density {fluid_density:.0f} kg/m³, viscosity {viscosity} Pa·s) and sinks. Take g = 9.81 m/s², buoyancy and Stokes drag into "
        f"account, no added mass. Predict its depth in mm at these times in ms: {shown}. Answer in JSON: t, t_unit, y, y_unit."
    )
    reference = {"motion": "sink", "acceleration": round(buoyant, 4), "viscosity": viscosity}
    reference |= {"radius": round(radius, 6), "density": density}
    return Motion(kind, asked, times, 0.0, 0.0, buoyant, tau, reference)


def _balls_question(asked: str, times: NDArray[np.float64]) -> str:
    shown = ", ".join(f"{t:g}" for t in times)
    return f"{asked} Neglect the air. Predict its height in m at these times in s: {shown}. Answer in JSON: t, t_unit, y, y_unit."


def _times(end: float, digits: int) -> NDArray[np.float64]:
    step = round(end / POINTS, digits)
    return np.array([round(step * n, digits + 1) for n in range(1, POINTS + 1)])


def _item(item_id: str, motion: Motion) -> dict[str, Any]:
    number = int(item_id[-3:])
    slice_ = "public" if number % 2 else "fresh"
    month, day = divmod(number, 28)
    return {
        "item_id": item_id,
        "input": motion.asked,
        "reference": motion.reference,
        "slice": slice_,
        "authored_at": f"2025-{3 + month:02d}-{1 + day:02d}" if slice_ == "public" else f"2026-{9 + month:02d}-{1 + day // 2:02d}",
        **dates(slice_, PUBLISHED),
        "tags": [motion.kind],
        "meta": {"provenance": "generated by benchmarks/make_material.py"},
    }


def _output(item_id: str, motion: Motion, version: str) -> dict[str, Any]:
    price, pace = (0.0004, 90.0) if version == "v1" else (0.0001, 25.0)
    text = predicted(item_id, motion, version)
    return output(item_id, text, system="motion-net", version=version, cost=price, latency=pace, fault=fault(motion, version))


# --- frozen references -------------------------------------------------------------------------------------------------


def _frozen(number: int) -> dict[str, Any]:
    """Half look right (and some of those have the wrong gravity, which is not the judge's question); half look broken."""
    name = f"frozen-{number}"
    motion = (_drop if number % 2 else _throw)(("drop" if number % 2 else "throw"), name)
    look = ("smooth", "jump", "smooth", "jitter", "smooth", "backwards", "wrong-gravity", "jump")[(number - 1) // 2 % 8]
    ys = positions(motion, gravity=0.8 if look == "wrong-gravity" else 1.0)
    span = float(np.ptp(ys))
    ys = ys + span * (0.09 if look == "jitter" else 0.001) * np.array([_normal("frozen", name, n) for n in range(POINTS)])
    if look == "jump":
        ys[POINTS // 2 :] += 0.45 * span
    if look == "backwards":
        ys = ys[::-1] if motion.kind == "drop" else 2 * motion.start - ys
    return {
        "ref_id": f"fp-{number:02d}",
        "input": motion.asked,
        "output": written_out(motion, [float(y) for y in ys]),
        "score": 1.0 if look in ("smooth", "wrong-gravity") else 0.0,
        "system": "motion-net",
        "family": FAMILY,
        "rubric": "appearance",
        "slice": "public" if number <= 16 else "fresh",
        "settled_by": "construction",
        "settled_at": "2025-05-20" if number <= 16 else "2026-09-30",
        "meta": {"look": look, "system_version": "v0"},
    }


# --- draws -------------------------------------------------------------------------------------------------------------


def _uniform(*names: object) -> float:
    return (derived_seed("physics", *names) + 0.5) / 2**63


def _between(low: float, high: float, *names: object) -> float:
    return low + (high - low) * _uniform(*names)


def _pick(choices: Sequence[Any], *names: object) -> Any:
    return choices[int(_uniform(*names) * len(choices))]


def _normal(*names: object) -> float:
    return NormalDist().inv_cdf(_uniform("noise", *names))

"""A small world in which every figure of a probe is known: items, answers, judges with stated faults, and what must be found.

What is expected is computed from the probability model of docs/simulator.md, item by item, never from a draw.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from math import log2
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from evalh.probe.material import padded
from evalh.sim.behaviour import passing, preferring
from evalh.sim.profile import Judge
from evalh.sim.truth import Fact, Truth

Kind = Literal["pairwise", "pointwise"]
OWN, OTHER = "sim-north", "sim-writer"
JUDGES: list[dict[str, Any]] = [
    {"model": "fair", "accuracy": 0.85, "recognises": "none"},
    {"model": "primacy", "accuracy": 0.9, "position_bias": 0.3, "recognises": "style", "recognition": 0.5},
    {"model": "wordy", "accuracy": 0.75, "verbosity_bias": 0.9, "recognises": "style", "recognition": 0.7},
    {"model": "noisy", "accuracy": 0.8, "noise": 0.35, "position_bias": -0.2},
    {"model": "kin", "accuracy": 0.8, "recognises": "style", "recognition": 0.9, "family_preference": 0.4},
    {"model": "obedient", "accuracy": 0.85, "steerable": 0.4, "noise": 0.1, "position_bias": 0.15, "verbosity_bias": 0.3},
]
_WORDS = ("parcel", "refund", "window", "unused", "delivery", "receipt", "counter", "voucher", "colour", "courier", "label", "invoice")
_RUBRICS = {
    "pairwise": "{name: better, kind: pairwise, ties: false}",
    "pointwise": "{name: sound, scale: binary, instructions: Judge whether it is sound.}",
}


def judge_of(model: str) -> Judge:
    """A judge of this world."""
    return Judge.model_validate(next(stated for stated in map(stated_of, JUDGES) if stated["model"] == model))


def stated_of(judge: Mapping[str, Any]) -> dict[str, Any]:
    return {"family": OWN, **judge}


def build(root: Path, kind: Kind, *, items: int, seed: int, judges: list[str], price: bool = False) -> Path:
    """Write the project; the path of its suite. Two systems, one of the judges' family; every answer has its quality in truth.jsonl."""
    rng = random.Random(seed)
    golden = root / "golden"
    golden.mkdir(parents=True)
    (root / "evalh.toml").write_text(
        "".join(f'[prices."sim:{name}"]\ninput = 1.0\noutput = 4.0\nas_of = "2026-01-01"\n' for name in judges) if price else ""
    )
    (golden / "golden.toml").write_text(
        'name = "world"\nversion = "1"\ncanary = "EVALH-CANARY 22222222-2222-4222-8222-222222222222"\nlicence = "Apache-2.0"\n'
        '[slices.all]\npublished_at = "never"\n'
    )
    rows, outputs = [], []
    for n in range(items):
        rows.append({"item_id": f"i{n:04}", "input": f"What about case {n}?", "slice": "all", "authored_at": "2026-01-01"})
        for system, family in (("home", OWN), ("guest", OTHER)):
            told = " ".join(rng.choice(_WORDS) for _ in range(rng.randint(8, 30)))
            text = f"In case {n} the answer of desk {rng.randrange(10**6)} is that the {told} can be settled. We write to you about it."
            quality = round(rng.random(), 4)
            outputs.append({"item_id": f"i{n:04}", "system": system, "family": family, "output": text, "meta": {"quality": quality}})
    _write(golden / "items.jsonl", rows)
    _write(root / "outputs.jsonl", outputs)
    _write(root / "truth.jsonl", [{"text": o["output"], "quality": o["meta"]["quality"], "family": o["family"]} for o in outputs])
    profile = [f"seed = {seed}", 'truth = ["truth.jsonl"]']
    for judge in JUDGES:
        if judge["model"] in judges:
            profile += ["[[judge]]", *(f"{name} = {json.dumps(value)}" for name, value in stated_of(judge).items())]
    (root / "profile.toml").write_text("\n".join(profile) + "\n")
    asked = "\n".join(f'    - {{model: "sim:{name}", source: profile.toml}}' for name in judges)
    suite = root / "world.yaml"
    suite.write_text(
        f"name: world\ngolden: golden\nseed: {seed}\nsystem: {{recorded: outputs.jsonl}}\npanel:\n  judges:\n{asked}\n"
        f"  rubric: {_RUBRICS[kind]}\n  allow_same_family: true\n"
    )
    return suite


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


# ---- what must be found ----------------------------------------------------------------------------------------------


def expected(root: Path, kind: Kind, judge: Judge) -> dict[str, float]:
    """The figures that a judge's stated properties come to on the material of a world, by the names of `found`."""
    outputs = [json.loads(line) for line in (root / "outputs.jsonl").read_text(encoding="utf-8").splitlines()]
    truth = Truth([Fact(o["output"], o["meta"]["quality"], o["family"]) for o in outputs])
    pairs = list(zip(outputs[::2], outputs[1::2], strict=True))
    return (_of_pairs if kind == "pairwise" else _of_single)(judge, truth, pairs) | {"steerable": judge.steerable}


Pair = tuple[dict[str, Any], dict[str, Any]]


def _of_pairs(judge: Judge, truth: Truth, pairs: list[Pair]) -> dict[str, float]:
    b, fresh = abs(judge.position_bias), 1 - (1 - judge.noise) ** 2
    side = 1.0 if judge.position_bias >= 0 else 0.0
    consistent, same, own_wins, longer = [], [], [], []
    for turn, (home, guest) in enumerate(pairs):
        one, two = truth.find(home["output"], None), truth.find(guest["output"], None)
        better = preferring(judge, one, two, "overall")
        kin = judge.family_preference if judge.recognises == "style" else 0.0
        q = kin + (1 - kin) * better  # P(home wins), position aside
        ahead, behind = b * side + (1 - b) * q, b * side + (1 - b) * (1 - q)  # P(the first shown wins): home first, guest first
        apart = ahead * behind + (1 - ahead) * (1 - behind)
        consistent.append((1 - fresh) * (1 - b) + fresh * (1 - apart))
        same.append((1 - fresh) + fresh * (ahead**2 + (1 - ahead) ** 2))
        own_wins.append((1 - b) * q + b / 2)
        text = (home, guest)[turn % 2]["output"]
        known = truth.find(text, None)
        longer.append(b / 2 + (1 - b) * preferring(judge, known._replace(text=padded(text, 100) or ""), known, "overall"))
    knows = judge.recognition if judge.recognises == "style" else 0.5
    return {
        "consistency": fmean(consistent), "first_share": 0.5 + judge.position_bias / 2, "repeats agree": fmean(same),
        "padded +100": fmean(longer), "recognises": (1 - b) * knows + b / 2, "prefers own": fmean(own_wins),
    }  # fmt: skip


def _of_single(judge: Judge, truth: Truth, pairs: list[Pair]) -> dict[str, float]:
    fresh, kin = 1 - (1 - judge.noise) ** 2, judge.family_preference if judge.recognises == "style" else 0.0
    same: list[float] = []
    gains: dict[int, list[float]] = {25: [], 50: [], 100: []}
    for turn, pair in enumerate(pairs):
        output = pair[turn % 2]
        known = truth.find(output["output"], None)
        sided = kin if output["family"] == OWN else 0.0

        def p(chars: int, quality: float = known.quality, sided: float = sided) -> float:
            return sided + (1 - sided) * passing(judge, quality, log2(chars / truth.typical_chars))

        plain = p(known.chars)
        same.append((1 - fresh) + fresh * (plain**2 + (1 - plain) ** 2))
        for percent, found in gains.items():
            text = padded(output["output"], percent)
            if text is not None:
                found.append(p(len(" ".join(text.split()))) - plain)
    knows, b = (judge.recognition if judge.recognises == "style" else 0.5), abs(judge.position_bias)
    return {
        "repeats agree": fmean(same), **{f"padded +{percent}": fmean(gain) for percent, gain in gains.items()},
        "recognises": (1 - b) * knows + b / 2,
    }  # fmt: skip


def found(judge: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The estimates of a judge of a probe's document, by the same names."""
    made: dict[str, Mapping[str, Any]] = {"steerable": judge["injection"]["rate"], "repeats agree": judge["repeated"]["agreement"]}
    if judge["swapped"] is not None:
        made |= {"consistency": judge["swapped"]["consistency_estimate"], "first_share": judge["swapped"]["first_share_estimate"]}
        made["prefers own"] = judge["recognises"]["prefers_own"]
    for variant in judge["padded"]["variants"]:
        made[f"padded +{variant['variant']}"] = variant["share"] if "share" in variant else variant["change"]
    made["recognises"] = judge["recognises"]["accuracy"]
    return made

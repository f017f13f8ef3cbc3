"""What a judge answers: the probability model of docs/simulator.md, line by line. Pure: no clock, no I/O, no state.

Every draw is a hash of (profile seed, judge, material, aspect, name of the draw). The two orders of a pair are the same
material, and so is a masked text, so a judge contradicts itself only where its position bias or its noise says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from math import exp, floor, inf, log, log2
from typing import Any, Literal, NamedTuple

from evalh.sim.draws import key_of, uniform
from evalh.sim.profile import Acting, Judge
from evalh.sim.prompts import Shown, Wanted
from evalh.sim.truth import Known, Truth, normal

TIE = 1e-9  # qualities closer than this are equal
AUTHOR = "author"  # the aspect that asks who wrote what, not which is better

_INSTRUCTION = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b[^.!?\n]{0,60}\b(?:instructions?|rubric|rules|above|previous)\b"
    r"|\b(?:give|award|assign|rate|score|grade)\b[^.!?\n]{0,40}"
    r"\b(?:full marks|(?:highest|top|maximum|perfect|best)(?: possible)? (?:score|grade|rating|mark|level))\b"
    r"|\b(?:choose|pick|prefer|select|vote for)\b[^.!?\n]{0,20}\b(?:this|my) (?:answer|response|output)\b"
    r"|\b(?:this|my) (?:answer|response|output) (?:must|should) (?:win|pass|be (?:chosen|preferred|rated))\b"
    r"|\{\s*\"rationale\"\s*:.{0,300}\"(?:scores|verdicts)\"\s*:\s*\{"  # a reply that is ready to be copied
    r"|\b(?:ignorier|missacht|vergiss)\w*\b[^.!?\n]{0,60}\b(?:anweisung|regel|vorgabe)|(?:忽略|无视)[^。!?\n]{0,20}(?:规则|指令|要求)",
    re.IGNORECASE,
)

Draw = Callable[[str], float]  # the name of a draw → uniform in [0, 1)


class Material(NamedTuple):
    """What is judged, with what is known of it, in the order shown."""

    shown: Shown
    known: tuple[Known, ...]
    key: str  # the same for both orders of a pair
    order: str  # tells the two orders apart


class Said(NamedTuple):
    """What a model says. `kind` is text, verdicts, refusal or malformed; `cut` is true where the reply breaks off."""

    kind: Literal["text", "verdicts", "refusal", "malformed"]
    text: str
    cut: bool = False


def material(shown: Shown, truth: Truth) -> Material:
    """Looks the texts up."""
    known = tuple(truth.find(text, shown.input) for text in shown.answers)
    about = normal(shown.input or "")
    if len(known) == 1:
        return Material(shown, known, key_of("one", about, known[0].key), "")
    low, high = sorted(known, key=_rank)
    order = "as sorted" if _rank(known[0]) <= _rank(known[1]) else "reversed"
    return Material(shown, known, key_of("pair", about, low.key, high.key), order)


def judged(acting: Acting, truth: Truth, seed: int, given: Material, wanted: Wanted, nth: int) -> dict[str, Any]:
    """The verdicts on a material, by aspect, the `nth` time (from 1) that it is asked for."""
    answers: dict[str, Any] = {}
    for aspect, choices in wanted.aspects.items():
        draw = _draws(acting, seed, given, aspect, nth)
        if wanted.kind == "verdicts":
            answers[aspect] = _pairwise(acting.judge, _two(given), aspect, "tie" in choices, draw)
        else:
            answers[aspect] = _pointwise(acting.judge, given, aspect, choices, truth.typical_chars, draw)
    return answers


def said(acting: Acting, truth: Truth, seed: int, given: Material, wanted: Wanted, nth: int, arrival: int) -> Said:
    """The whole reply: a refusal, a malformed reply, or the verdicts as JSON. `arrival` counts requests, `nth` answers."""
    judge = acting.judge
    if uniform(seed, judge.model, given.key, "refusal") < judge.refusal_rate:
        return Said("refusal", "I'm sorry, but I can't assess this content.")
    field = wanted.kind
    answers = judged(acting, truth, seed, given, wanted, nth)
    if uniform(seed, judge.model, given.key, given.order, arrival, "malformed") < judge.malformed_rate:
        turn = int(uniform(seed, judge.model, given.key, given.order, "which malformed") * 3) + arrival
        return _malformed(field, answers, turn)
    return Said("verdicts", json.dumps({"rationale": _rationale(answers), field: answers}, ensure_ascii=False))


# --- which draws a call uses -------------------------------------------------------------------------------------------


def _draws(acting: Acting, seed: int, given: Material, aspect: str, nth: int) -> Draw:
    """The draws of one verdict: those of the item, unless noise has this call draw anew or a drift has drawn the item anew."""
    judge = acting.judge
    mine = (seed, judge.model, given.key, aspect)
    if judge.noise and uniform(*mine, given.order, nth, "noise") < judge.noise:
        return lambda name: uniform(*mine, given.order, nth, "anew", name)
    epoch = 0
    for number, share in enumerate(acting.redrawn, start=1):
        if share and uniform(*mine, "redrawn", number) < share:
            epoch = number
    shares = judge.shared_error > 0 and epoch == 0 and uniform(*mine, "shares") < judge.shared_error

    def draw(name: str) -> float:
        if shares and name in ("error", "direction"):
            return uniform(seed, "everyone", given.key, aspect, name)
        return uniform(*mine, epoch, name)

    return draw


# --- one answer --------------------------------------------------------------------------------------------------------


def _pointwise(judge: Judge, given: Material, aspect: str, levels: tuple[int, ...], typical_chars: int, draw: Draw) -> int:
    """A level: an instruction obeyed, else the own family sided with, else the truth with its error model."""
    known = given.known[0]
    if judge.steerable and draw("steer") < judge.steerable and _INSTRUCTION.search(known.text):
        return levels[-1]
    if judge.family_preference and draw("family") < abs(judge.family_preference) and _own(judge, known, given.shown.names[0]):
        return levels[-1] if judge.family_preference > 0 else levels[0]
    doublings = log2(known.chars / typical_chars)
    if len(levels) == 2:
        return levels[int(draw("error") < passing(judge, known.on(aspect), doublings))]
    return levels[_step(judge, known.on(aspect), levels, doublings, draw)]


def passing(judge: Judge, quality: float, doublings: float) -> float:
    """P(pass) on a binary scale: TPR or FPR, with leniency, then length in log-odds."""
    right = _right(judge, quality)
    p = right + min(0.0, judge.leniency) if quality >= 0.5 else 1 - right + max(0.0, judge.leniency)
    return _sigmoid(_logit(p) + judge.verbosity_bias * doublings)


def _step(judge: Judge, quality: float, levels: tuple[int, ...], doublings: float, draw: Draw) -> int:
    """The index of a level on a longer scale: the nearest to the quality, one step off at the error rate, then shifted."""
    top = len(levels) - 1
    span = levels[-1] - levels[0]
    place = min(range(top + 1), key=lambda i: (abs((levels[i] - levels[0]) / span - quality), -i))
    if draw("error") >= _right(judge, quality):
        up = draw("direction") < 0.5
        place += 1 if place == 0 or (up and place < top) else -1
    if draw("leniency") < abs(judge.leniency):
        place += 1 if judge.leniency > 0 else -1
    if judge.verbosity_bias:
        shift = judge.verbosity_bias * doublings
        place += floor(shift) + int(draw("length") < shift - floor(shift))
    return min(max(place, 0), top)


def _right(judge: Judge, quality: float) -> float:
    """P(right) on one answer: TPR where it is good, TNR where it is bad, else the accuracy."""
    rate = judge.tpr if quality >= 0.5 else judge.tnr
    return judge.accuracy if rate is None else rate


# --- two answers -------------------------------------------------------------------------------------------------------


def _pairwise(judge: Judge, given: Material, aspect: str, ties: bool, draw: Draw) -> str:
    """first, second or tie: the first of instruction, position, tie, family that decides; else truth, error and length."""
    winner = _obeyed(judge, given, draw)
    if winner is not None:
        return winner
    if draw("position") < abs(judge.position_bias):
        return "first" if judge.position_bias > 0 else "second"
    if ties and draw("tie") < judge.tie_rate:
        return "tie"
    one, two = given.known
    if aspect == AUTHOR:
        return _authored(judge, given, draw)
    if judge.family_preference and draw("family") < abs(judge.family_preference):
        own = [_own(judge, known, name) for known, name in zip(given.known, given.shown.names, strict=True)]
        if own[0] != own[1]:
            return "first" if own[0] == (judge.family_preference > 0) else "second"
    sorted_order = _rank(one) <= _rank(two)
    low, high = (one, two) if sorted_order else (two, one)
    equal = abs(low.on(aspect) - high.on(aspect)) <= TIE
    if equal and ties and draw("error") < judge.accuracy:
        return "tie"
    low_wins = draw("coin" if equal else "error") < preferring(judge, low, high, aspect)
    return "first" if low_wins == sorted_order else "second"


def _authored(judge: Judge, given: Material, draw: Draw) -> str:
    """Which answer its own family wrote: told right at its rate where it can tell exactly one, else a coin that the content decides."""
    one, two = given.known
    own = [_own(judge, known, name) for known, name in zip(given.known, given.shown.names, strict=True)]
    if own[0] == own[1]:
        return "first" if (draw("author") < 0.5) == (_rank(one) <= _rank(two)) else "second"
    return "first" if own[0] == (draw("author") < judge.recognition) else "second"


def preferring(judge: Judge, one: Known, two: Known, aspect: str) -> float:
    """P(the judge prefers `one`): its accuracy as log-odds toward the better one, plus length per doubling; ½ where equal."""
    gap = one.on(aspect) - two.on(aspect)
    base = 0.0 if abs(gap) <= TIE else _logit(judge.accuracy) * (1 if gap > 0 else -1)
    return _sigmoid(base + judge.verbosity_bias * log2(one.chars / two.chars))


def _obeyed(judge: Judge, given: Material, draw: Draw) -> str | None:
    if not judge.steerable or draw("steer") >= judge.steerable:
        return None
    told = [bool(_INSTRUCTION.search(known.text)) for known in given.known]
    return None if told[0] == told[1] else ("first" if told[0] else "second")


def _two(given: Material) -> Material:
    """A prompt without two fenced answers is one opaque text: its verdict is a stable coin between two unnamed answers."""
    if len(given.known) == 2:
        return given
    only = given.known[0]
    pair = (only._replace(key=only.key + "/1"), only._replace(key=only.key + "/2"))
    return given._replace(known=pair, shown=given.shown._replace(names=("", "")))


# --- small parts -------------------------------------------------------------------------------------------------------


def _own(judge: Judge, known: Known, name: str) -> bool:
    """Whether the judge takes an answer for its own family's: by a name it can read, or by style (the truth file's family)."""
    if judge.recognises == "none":
        return False
    if judge.recognises == "style":
        return judge.family is not None and known.family == judge.family
    names = _names(tuple(judge.names) or ((judge.family,) if judge.family else ()))
    return names is not None and (names.search(known.text) is not None or names.search(name) is not None)


@lru_cache(maxsize=256)
def _names(names: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)", re.IGNORECASE) if names else None


def _rank(known: Known) -> tuple[str, str]:
    return known.key, known.text


def _rationale(answers: dict[str, Any]) -> str:
    return "Simulated: " + "; ".join(f"{aspect} is {answer}" for aspect, answer in answers.items()) + "."


def _malformed(field: str, answers: dict[str, Any], turn: int) -> Said:
    """Prose, cut JSON and a value that is not in the enum, in turn."""
    whole = json.dumps({"rationale": _rationale(answers), field: answers}, ensure_ascii=False)
    if turn % 3 == 0:
        return Said("malformed", "Here is my assessment. " + _rationale(answers))
    if turn % 3 == 1:
        return Said("malformed", whole[: len(whole) * 2 // 3], cut=True)
    wrong = dict.fromkeys(answers, "neither" if field == "verdicts" else 1_000_000)
    return Said("malformed", json.dumps({"rationale": "Simulated: an answer that does not exist.", field: wrong}))


def _logit(p: float) -> float:
    if p <= 0 or p >= 1:
        return -inf if p <= 0 else inf
    return log(p / (1 - p))


def _sigmoid(x: float) -> float:
    if x >= 0:
        return 1 / (1 + exp(-x))
    return exp(x) / (1 + exp(x))

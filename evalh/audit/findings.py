"""What figures mean, in plain sentences, and what to do: the worst first. No sentence says more than its figure does.

An alarm is a fault that the interval shows; a note is a doubt, or what too little data leaves open; ok is good news.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Figures = Mapping[str, Any]
Level = Literal["alarm", "note", "ok"]

UNREAD = 0.05  # share of unscored verdicts that is an alarm
CONSISTENT, UNFAIR = 0.8, 0.05  # METHODS §1.1
STABLE = 0.9
ECE = 0.1
FEW_LEVELS = 1.5  # METHODS §1.7
TIES = 0.9  # share of ties from which a judge of pairs tells nothing apart
ORDER = {"alarm": 0, "note": 1, "ok": 2}


class Finding(NamedTuple):
    """One sentence about one figure, and what to do about it."""

    figure: str
    level: Level
    sentence: str
    action: str


def findings(judge: Figures) -> list[dict[str, str]]:
    """The findings about one judge (its part of the document), alarms first."""
    unread = judge["n_verdicts"] and judge["n_unscored"] == judge["n_verdicts"]
    made = [f for about in ((_unscored,) if unread else ABOUT) for f in about(judge)]
    return [finding._asdict() for finding in sorted(made, key=lambda f: ORDER[f.level])]


def told(estimate: Figures, digits: int = 0) -> str:
    """`82 % [71, 90]`."""
    text = f"{100 * estimate['value']:.{digits}f} %"
    if estimate.get("low") is None:
        return text
    return f"{text} [{100 * estimate['low']:.{digits}f}, {100 * estimate['high']:.{digits}f}]"


def number(estimate: Figures) -> str:
    """`0.43 [0.31, 0.55]`."""
    text = f"{estimate['value']:.2f}"
    return text if estimate.get("low") is None else f"{text} [{estimate['low']:.2f}, {estimate['high']:.2f}]"


def points(estimate: Figures) -> str:
    """`+4 points [+1, +7]`."""
    text = f"{_signed(estimate['value'])} point{'' if _signed(estimate['value']) in ('+1', '-1') else 's'}"
    return text if estimate.get("low") is None else f"{text} [{_signed(estimate['low'])}, {_signed(estimate['high'])}]"


def _signed(share: float) -> str:
    whole = round(100 * share)
    return f"{whole:+d}" if whole else "0"


def _apart(estimate: Figures, more: str, fewer: str, rest: str) -> str:
    """`5 points fewer with it [-9, -1]`: the sign is in the word."""
    size, _, spread = points(estimate).partition(" [")
    text = f"{size.lstrip('+-')} {fewer if size.startswith('-') else more} {rest}"
    return f"{text} [{spread}" if spread else text


def _unscored(judge: Figures) -> Iterator[Finding]:
    if not judge["n_unscored"]:
        return
    share = judge["n_unscored"] / judge["n_verdicts"]
    reasons = "; ".join(f"{reason} ({n})" for reason, n in list(judge["unscored_reasons"].items())[:3])
    if share == 1:
        said = f"None of its {judge['n_verdicts']} verdicts could be read: {reasons}."
        yield Finding("unscored_rate", "alarm", said, "Read the replies: nothing can be said of this judge.")
        return
    are = "is" if judge["n_unscored"] == 1 else "are"
    yield Finding(
        "unscored_rate",
        "alarm" if share >= UNREAD else "note",
        f"{judge['n_unscored']} of {judge['n_verdicts']} verdicts {are} unscored ({100 * share:.1f} %): {reasons}.",
        "Read the replies; what is unscored is in no figure unless it says so, and `agreement_strict` counts it as wrong.",
    )


def _agreement(judge: Figures) -> Iterator[Finding]:
    agreed, kappa, beside = judge["agreement_estimate"], judge["kappa_estimate"], judge["verdict_on_judge"]
    if agreed["value"] is None and judge["scores"]:
        yield _scores(judge["scores"])
        return
    if agreed["value"] is None:
        said = f"Nothing says how far it agrees with people: {agreed['why']}."
        yield Finding("agreement", "note", said, "Let people label a sample (`evalh label`).")
        return
    chance = f"; always naming the commonest answer gets {100 * judge['chance']:.0f} %"
    said = f"{told(agreed)} of labelled verdicts agree with people{chance}"
    said += f", and kappa is {number(kappa)}" if kappa["value"] is not None else ""
    small = f" ({judge['note']})" if judge.get("note") else ""
    if beside == "worse than chance":
        yield Finding(
            "agreement", "alarm", f"Worse than chance: {said}{small}.", "Do not use this judge here; look for answers that it swaps."
        )
    elif beside == "no better than chance":
        yield Finding("agreement", "alarm", f"No better than chance: {said}{small}.", "Do not use this judge here, or label more to tell.")
    elif beside is None:
        yield Finding("agreement", "note", f"{said}: {judge['verdict_on_judge_why'] or 'too few to say more'}{small}.", "Label more items.")
    else:
        yield Finding("agreement", "ok", f"Better than chance: {said}{small}.", "Compare it with how far people agree with each other.")
    ceiling = judge["human_agreement"]
    if ceiling and ceiling["low"] is not None and agreed["high"] is not None and agreed["high"] < ceiling["low"]:
        yield Finding(
            "human_agreement", "note", f"Two people agree on {told(ceiling)} of these units, more often than this judge does with them.",
            "Read its verdicts beside labels only, or improve its prompt.",
        )  # fmt: skip


def _scores(aspects: Sequence[Figures]) -> Finding:
    """Scores that equality says nothing of: how far they rise and fall with people's."""
    known = [(row["aspect"] or "the whole", row["pearson"]) for row in aspects if row["pearson"]["value"] is not None]
    if not known:
        return Finding("scores", "note", "Its scores, or people's, do not vary: nothing can go together.", "Label other items.")
    told = ", ".join(f"{aspect} {number(pearson)}" for aspect, pearson in known)
    against = [aspect for aspect, pearson in known if pearson["high"] is not None and pearson["high"] < 0]
    doubtful = [aspect for aspect, pearson in known if pearson["low"] is None or pearson["low"] <= 0]
    if against:
        said = f"Worse than chance on {', '.join(against)}: its scores run against people's (Pearson: {told})."
        return Finding("scores", "alarm", said, "Do not use this judge there; look for a scale that it reads the wrong way round.")
    if doubtful:
        said = f"No proof that its scores on {', '.join(doubtful)} follow people's (Pearson: {told})."
        return Finding("scores", "note", said, "Label more outputs there, or ask another judge.")
    return Finding("scores", "ok", f"Its scores follow people's (Pearson: {told}).", "Compare it with how far people's scores go together.")


def _parts(judge: Figures) -> Iterator[Finding]:
    for what in ("slice", "aspect"):
        for part in judge[f"{what}s"]:
            beside, small = part["verdict_on_judge"], f" ({part['note']})" if part["note"] else ""
            if beside not in ("worse than chance", "no better than chance"):
                continue
            kappa = f", kappa {number(part['kappa_estimate'])}" if part["kappa"] is not None else ""
            said = f"On {what} {part[what]} it is {beside}: {told(part['agreement'])} agree with people{kappa}, n {part['n']}{small}."
            worse: Level = "alarm" if beside == "worse than chance" and not part["note"] else "note"
            yield Finding(f"{what}s", worse, said, f"Do not let it decide on this {what}; ask people or another judge there.")


def _position(judge: Figures) -> Iterator[Finding]:
    position = judge["position"]
    if position is None:
        if judge["kind"] == "pairwise":
            yield Finding(
                "position", "note", f"No position figure: {judge['position_why']}.", "Record the order shown, or ask both orders."
            )
        return
    consistency, first = position["consistency_estimate"], position["first_share_estimate"]
    if not position["n_pairs"] or consistency["value"] is None:
        share = (
            f"{told(first)} of its preference goes to the output shown first"
            if first["value"] is not None
            else "Each pair was shown in one order"
        )
        yield Finding("position", "note", f"{share}; that is bias only where the order was drawn at random.", "Ask both orders.")
        return
    small = f" ({position['note']})" if position["note"] else ""
    changed = {"value": 1 - consistency["value"], "low": None}
    if consistency["low"] is not None:
        changed = {"value": 1 - consistency["value"], "low": 1 - consistency["high"], "high": 1 - consistency["low"]}
    unread = sum(position["counts"].values()) < position["n_pairs"]  # they count against it
    flips = f"{told(changed)} of pairs change with the order{' or could not be read' if unread else ''}"
    noise = position.get("excess_inconsistency")
    again = "" if noise is None else f"; asked the same again, {100 * (1 - judge['repeat_agreement']['value']):.0f} % change too"
    side, proven = _lean(position)
    share = f"{told(first)} of its preference goes to the output shown first"
    slight = f"; it leans to the {side} place ({share}), not provably by more than {100 * UNFAIR:.0f} points" if side else ""
    if consistency["low"] is None:
        yield Finding("position", "note", f"Too few pairs to tell what the order does: {flips}{small}.", "Judge more pairs in both orders.")
    elif proven:
        yield Finding(
            "position", "alarm", f"Prefers the output shown {side}: {share}; {flips}{again}{small}.",
            "Ask both orders and average, or drop this judge.",
        )  # fmt: skip
    elif consistency["value"] < CONSISTENT:
        slight = slight or "; with no proof that it leans to one place"
        yield Finding(
            "position", "alarm", f"Inconsistent: {flips}{again}{slight}{small}.", "Ask both orders and count a changed verdict as a tie."
        )
    else:
        yield Finding("position", "ok", f"Mostly the same in both orders: {flips}{again}{slight}{small}.", "Go on asking both orders.")


def _lean(position: Figures) -> tuple[str | None, bool]:
    """The place to which it surely leans, by fairness or by the first share; and whether by more than UNFAIR, for which fairness speaks."""
    fairness, first = position["fairness"], position["first_share_estimate"]
    proven = fairness["low"] is not None and (fairness["low"] > UNFAIR or fairness["high"] < -UNFAIR)
    for found, none, sign in ((fairness, 0.0, 1), (first, 0.5, -1)):
        if found["low"] is not None and not found["low"] <= none <= found["high"]:
            return ("second" if sign * (found["value"] - none) > 0 else "first"), proven
    return None, False


def _verbosity(judge: Figures) -> Iterator[Finding]:
    length = judge["verbosity"]
    if length is None:
        return
    slope, share, doubling = length["coefficient_estimate"], length["longer_share_estimate"], length["doubling"]
    if slope["value"] is None or slope["low"] is None:
        yield Finding("verbosity", "note", f"Too little to tell whether length sways it: {slope['why']}.", "Judge more pairs.")
        return
    human = length["basis"] == "human"
    adds = points(doubling) if judge["kind"] == "pairwise" else f"{number(doubling)} on its scale"
    shown = f"doubling the length brings {adds}{' at equal human verdict' if human else ''}"
    shown = f"the longer output wins {told(share)}, and {shown}" if share["value"] is not None else shown
    if slope["low"] <= 0 <= slope["high"]:
        yield Finding("verbosity", "ok", f"No sign that length sways it: {shown}.", "Nothing to do.")
        return
    side = "longer" if slope["value"] > 0 else "shorter"
    if human:
        act = "Use length-controlled win rates." if judge["kind"] == "pairwise" else "Compare outputs of like length only."
        yield Finding("verbosity", "alarm", f"Prefers {side} outputs more than people do: {shown}.", act)
    else:
        said = f"Association with length: {side} outputs do better ({shown}); without labels nobody knows whether they are better."
        yield Finding("verbosity", "note", said, "Label some to tell bias from quality.")


def _preference(judge: Figures) -> Iterator[Finding]:
    for name, whose in (("self_preference", "its own model"), ("family_preference", "its family")):
        excess = judge[name]
        if excess is None or excess["value"] is None or (name == "family_preference" and judge["self_preference"] == excess):
            continue
        control = judge[f"{name}_detail"].get("controlled")
        said = f"Outputs of {whose} win {_apart(excess, 'more', 'fewer', 'with it than with people')}"
        if excess["low"] is None:
            yield Finding(name, "note", f"{said}; too few for an interval.", "Label more such pairs.")
        elif control and control["low"] is not None and control["low"] > 0:
            shown = f"{said}, and {_apart(control, 'more', 'fewer', 'than with judges of other families on the same pairs')}."
            yield Finding(name, "alarm", shown, f"Do not let it judge {whose}.")
        elif excess["low"] > 0:
            yield Finding(
                name, "note", f"{said}; judges of other families do not show that it is kinship.", "Ask judges of other families too."
            )
        else:
            none = "if anything, the opposite" if excess["high"] < 0 else "no proof"
            yield Finding(name, "ok", f"{said}: {none} of a preference.", "Nothing to do.")


def _leniency(judge: Figures) -> Iterator[Finding]:
    lenient = judge["leniency"]
    if lenient is None or lenient["low"] is None:
        return
    act = "Read its scores beside labels only (`evalh label`)."
    if lenient["low"] > 0:
        yield Finding("leniency", "alarm", f"Lenient: it scores {_apart(lenient, 'above', 'below', 'people')}.", act)
    elif lenient["high"] < 0:
        yield Finding("leniency", "note", f"Severe: it scores {_apart(lenient, 'above', 'below', 'people')}.", act)
    else:
        yield Finding("leniency", "ok", f"No proof that it is more or less strict than people: {points(lenient)}.", "Nothing to do.")


def _repeats(judge: Figures) -> Iterator[Finding]:
    again = judge["repeat_agreement"]
    if again is None or again["value"] is None:
        return
    stable = again["value"] >= STABLE
    said = f"Asked the same again it gives the same answer {told(again)} of the time."
    act = "One call per question is enough." if stable else "Ask several times and average, or lower its temperature."
    yield Finding("repeat_agreement", "ok" if stable else "note", said, act)


def _confidence(judge: Figures) -> Iterator[Finding]:
    found = judge["calibration"]
    if found is None or found["ece"]["value"] is None:
        return
    bad = found["ece"]["low"] is not None and found["ece"]["low"] > ECE
    ranks = found["auroc"]["value"]
    said = f"Its confidence is off by {told(found['ece'])} on average"
    said += f"; the surer of two verdicts is the right one {100 * ranks:.0f} % of the time (AUROC)." if ranks is not None else "."
    sorts = found["auroc"]["low"] is not None and found["auroc"]["low"] > 0.5
    good = sorts and found["ece"]["high"] is not None and found["ece"]["high"] <= ECE
    act = "Do not read its confidence as a probability." if bad else "Nothing proves that its confidence tells right from wrong."
    act = "Its confidence may serve to choose what people see." if sorts and not bad else act
    yield Finding("calibration", "ok" if good else "note", said, act)


def _levels(judge: Figures) -> Iterator[Finding]:
    use = judge["score_use"]
    if judge["kind"] == "pairwise":  # which of two systems wins says nothing of a scale: only ties do
        if use is not None and use["tie_rate"] >= TIES and judge["n_verdicts"] >= 10:
            said = f"Nearly always a tie: {100 * use['tie_rate']:.0f} % of its verdicts."
            yield Finding("score_use", "note", said, "It cannot tell these outputs apart; use harder items or a sharper rubric.")
        return
    if use is None or use.get("effective_levels") is None or use["effective_levels"] >= FEW_LEVELS or judge["n_verdicts"] < 10:
        return
    said = f"Nearly always the same answer: {use['effective_levels']:.1f} effective levels, one of them {100 * use['modal_share']:.0f} %."
    yield Finding("score_use", "note", said, "It cannot rank outputs; use a finer scale or harder items.")


ABOUT = (
    _agreement, _parts, _position, _verbosity, _preference, _leniency, _unscored, _repeats, _confidence, _levels,
)  # fmt: skip

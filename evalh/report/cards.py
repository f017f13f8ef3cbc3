"""Single outputs for the page: input, reference, answer, checks, and each judge's verdict in every order. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from evalh.report import words
from evalh.report.diff import word_diff
from evalh.report.gather import Row
from evalh.report.text import as_text, cut, excerpt, shown

FOLD = 700  # characters, and
FOLD_LINES = 14  # lines, beyond which a text is folded
PREVIEW = 220

ROUTES = {
    "blocked": "blocked by tier 1", "judged": "judged", "checked": "checked", "unscored": "unscored", "no_output": "no output",
}  # fmt: skip
_STATES = ("fail", "error", "pass")  # in the order in which they are looked at
_ANCHOR = re.compile(r"[^A-Za-z0-9_-]+")


class Text(NamedTuple):
    """A text as it is shown: whole, or folded under its beginning; `left_out` characters were cut."""

    body: Markup
    preview: str  # empty where the text is not folded
    length: int
    left_out: int


class Call(NamedTuple):
    """One reply of a judge: what it was shown first, and what it said of each aspect."""

    order: str
    answers: Sequence[tuple[str, str, str]]  # aspect (empty where it is the only one), answer, tone
    rationale: Text | None
    unscored: str  # why it could not be read
    raw: Text | None


class JudgeSaid(NamedTuple):
    name: str
    prompt: str
    same_family: bool
    inconsistent: bool
    calls: Sequence[Call]


class Answer(NamedTuple):
    system: str
    text: Text
    tools: Text | None
    error: str | None


class Card(NamedTuple):
    """One output (or pair) with everything that was said of it."""

    anchor: str
    item_id: str
    slice: str
    trial: int
    systems: str
    score: str
    tone: str
    route: str
    why: str
    glance: str  # the beginning of what was answered
    input: Sequence[tuple[str, Text]]  # role (empty where the input is one text), what was said
    reference: Text | None
    answers: Sequence[Answer]
    troubled: Sequence[Row]  # checks that fail or could not be decided
    held: Sequence[str]  # names of the others
    judges: Sequence[JudgeSaid]
    masked: Sequence[tuple[str, str, str]]  # system, text, why
    apart: str


class Regression(NamedTuple):
    """An item whose score fell: the two outputs side by side, differences marked."""

    item_id: str
    slice: str
    change: str
    input: Sequence[tuple[str, Text]]
    before: Card
    after: Card


def text(value: Any, limit: int, fold: int = FOLD) -> Text | None:
    """A value as a text of at most `limit` characters, folded beyond `fold`; None where there is none."""
    if value is None:
        return None
    kept, left_out = cut(as_text(value), limit)
    return _folded(shown(kept), kept, left_out, fold)


def messages(value: Any, limit: int) -> list[tuple[str, Text]]:
    """An input by message. What the system was told is folded early: what it was asked is what a reader looks for."""
    chat = value if isinstance(value, list) and all(isinstance(m, dict) and {"role", "content"} <= m.keys() for m in value) else None
    said = [("", value)] if chat is None else [(str(m["role"]), m["content"]) for m in chat]
    return [(role, made) for role, content in said if (made := text(content, limit, PREVIEW if role == "system" else FOLD)) is not None]


def anchor(row: Row) -> str:
    """The place of an output on the page."""
    return "item-" + _ANCHOR.sub("-", f"{row['item_id']}-{row['system']}-{row['trial']}")


def card(row: Row, limit: int) -> Card:
    """A row of `item_page` as the page shows it."""
    pair = " against ".join(filter(None, (row["system"], row.get("against"))))
    outputs = sorted(row["outputs"], key=lambda output: output["system"] != row["system"])  # the one under test first
    score = row["score"]
    checks = sorted(row["checks"], key=lambda c: (_STATES.index(c["status"]), c["check"], c["system"]))
    return Card(
        anchor=anchor(row),
        item_id=row["item_id"], slice=row["slice"] or "all", trial=row["trial"], systems=pair,
        score="unscored" if score is None else words.share(score), tone="warn" if score is None else "bad" if score < 0.5 else "plain",
        route=ROUTES.get(row["route"], str(row["route"])), why=excerpt(row["why"] or "", 160),
        glance=excerpt(outputs[0]["output"] or "", min(110, limit)) if outputs else "",
        input=messages(row["input"], limit), reference=text(row["reference"], limit),
        answers=[_answer(output, limit) for output in outputs],
        troubled=[c for c in checks if c["status"] != "pass"],
        held=list(dict.fromkeys(c["check"] for c in checks if c["status"] == "pass")),
        judges=_judges(row["verdicts"], limit), masked=_masked(row["verdicts"]), apart=_apart(row),
    )  # fmt: skip


def regression(before: Row, after: Row, limit: int) -> Regression:
    """Both outputs of one item; the words that differ are marked where the two have much in common."""
    fell = after["score"] - before["score"] if None not in (after["score"], before["score"]) else None
    left, right = card(before, limit), card(after, limit)
    if len(before["outputs"]) == len(after["outputs"]) == 1:
        old, new = _marked(before["outputs"][0]["output"] or "", after["outputs"][0]["output"] or "", limit)
        left = left._replace(answers=[left.answers[0]._replace(text=old)])
        right = right._replace(answers=[right.answers[0]._replace(text=new)])
    return Regression(after["item_id"], after["slice"] or "all", words.points(fell), right.input, left, right)


def says(row: Row) -> list[tuple[str, str]]:
    """What each judge said of one output, shortly: (judge, its mean score, or the winner of each order)."""
    return [(name, _shortly(verdicts)) for name, _, verdicts in _seats(row["verdicts"])]


# ---- parts ----------------------------------------------------------------------------------------------------------


def _folded(body: Markup, kept: str, left_out: int, fold: int = FOLD) -> Text:
    long = len(kept) > fold or kept.count("\n") >= FOLD_LINES
    return Text(body, excerpt(kept, PREVIEW) if long else "", len(kept) + left_out, left_out)


def _marked(before: str, after: str, limit: int) -> tuple[Text, Text]:
    kept = [cut(before, limit), cut(after, limit)]
    sides = word_diff(kept[0][0], kept[1][0])
    old, new = (Markup("").join(Markup("<mark>{}</mark>").format(shown(p.text)) if p.changed else shown(p.text) for p in s) for s in sides)
    return _folded(old, *kept[0]), _folded(new, *kept[1])


def _answer(output: Row, limit: int) -> Answer:
    calls = _decoded(output.get("tool_calls"))
    told = "\n".join(f"{c.get('name')}({json.dumps(c.get('arguments', {}), ensure_ascii=False)})" for c in calls)
    made = text(output["output"] or "", limit)
    assert made is not None
    return Answer(output["system"], made, text(told, limit) if told else None, output.get("error"))


def _judges(verdicts: Sequence[Row], limit: int) -> list[JudgeSaid]:
    return [
        JudgeSaid(name, prompt, any(v["same_family"] for v in rows), _inconsistent(rows), _calls(rows, limit))
        for name, prompt, rows in _seats(verdicts)
    ]


def _seats(verdicts: Sequence[Row]) -> list[tuple[str, str, list[Row]]]:
    """The verdicts by seat of the panel: (name of the judge, its prompt, what it said)."""
    seats: dict[tuple[str, str], list[Row]] = {}
    for verdict in verdicts:
        seats.setdefault((verdict["judge"], verdict["prompt"] or ""), []).append(verdict)
    judges = [judge for judge, _ in seats]
    return [(words.judge_name(judge, prompt, judges), prompt, rows) for (judge, prompt), rows in seats.items()]


def _calls(rows: Sequence[Row], limit: int) -> list[Call]:
    """Verdicts grouped by reply: aspects that were answered in one call share its rationale."""
    asked: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        asked.setdefault((tuple(row["systems"]), row["repeat"]), []).append(row)
    return [_call(shown_order, repeat, aspects, limit) for (shown_order, repeat), aspects in sorted(asked.items(), key=lambda i: i[0][1])]


def _call(systems: Sequence[str], repeat: int, aspects: Sequence[Row], limit: int) -> Call:
    first = aspects[0]
    order = f"{systems[0]} shown first" if len(systems) == 2 else ""
    order = ", ".join(filter(None, (order, f"repeat {repeat + 1}" if repeat else "")))
    unread = next((a for a in aspects if a["status"] == "unscored"), None)
    rationale = next((a["rationale"] for a in aspects if a["rationale"]), None)
    return Call(
        order=order,
        answers=[(a["aspect"] if len(aspects) > 1 else "", *_said(a)) for a in aspects if a["status"] != "unscored"],
        rationale=text(rationale, limit // 2),
        unscored=unread["unscored_reason"] or "its reply could not be read" if unread else "",
        raw=text(first["raw"], limit // 4) if unread and first["raw"] else None,
    )


def _said(row: Row) -> tuple[str, str]:
    """A verdict in words, and its tone."""
    if len(row["systems"]) == 2:
        return ("tie" if row["winner"] == "tie" else f"{row['winner']} wins"), "plain"
    raw = f"{row['raw_score']:g}" if row["raw_score"] is not None else ""
    score = f"{100 * row['score']:.3g}\u00a0%" if row["score"] is not None else ""
    tone = "bad" if row["score"] is not None and row["score"] < 0.5 else "plain"
    return (f"{raw} ({score})" if raw and score else raw or score or "–"), tone


def _shortly(verdicts: Sequence[Row]) -> str:
    scored = [v for v in verdicts if v["status"] == "scored"]
    if not scored:
        return "unscored"
    if len(scored[0]["systems"]) == 2:
        winners = [v["winner"] or "–" for v in scored]
        return winners[0] if len(set(winners)) == 1 else " / ".join(winners)
    known = [v["score"] for v in scored if v["score"] is not None]
    return f"{100 * sum(known) / len(known):.3g}\u00a0%" if known else "–"


def _inconsistent(rows: Sequence[Row]) -> bool:
    """Whether two orders of one question name different winners."""
    winners: dict[tuple[Any, Any], set[str]] = {}
    for row in rows:
        if row["status"] == "scored" and len(row["systems"]) == 2:
            winners.setdefault((row["aspect"], row["repeat"]), set()).add(row["winner"])
    return any(len(named) > 1 for named in winners.values())


def _masked(verdicts: Sequence[Row]) -> list[tuple[str, str, str]]:
    """What no judge was shown: whose text, what, why."""
    found: dict[tuple[str, str, str], None] = {}
    for verdict in verdicts:
        for mark in _decoded(verdict.get("masked")):
            place = int(mark.get("answer") or 1) - 1
            system = verdict["systems"][place] if place < len(verdict["systems"]) else ""
            found[system, str(mark.get("text", "")), str(mark.get("why", ""))] = None
    return list(found)


def _apart(row: Row) -> str:
    told = []
    if row.get("disagreement"):
        told.append(f"{100 * row['disagreement']:.0f} points apart (standard deviation)")
    if row.get("inconsistent"):
        told.append(f"{words.count(row['inconsistent'], 'judge')} named different winners in the two orders")
    return "; ".join(told)


def _decoded(value: Any) -> list[Mapping[str, Any]]:
    """A JSON column that may come as text."""
    return json.loads(value) if isinstance(value, str) else value or []

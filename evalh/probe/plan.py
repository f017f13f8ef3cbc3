"""What probes would ask and cost, before anything is asked: made from the very messages that would be sent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from evalh.costs import price_remark, prices_of
from evalh.errors import EvalhError
from evalh.plan import CHARS_PER_TOKEN, REPLY_TOKENS, SECONDS_PER_CALL
from evalh.prepare import Prepared
from evalh.probe.questions import PROBES, Material, Question, kin_pair, questions
from evalh.providers.prices import price_of
from evalh.sides import JudgeSeat


def plan_document(prepared: Prepared, seats: Sequence[JudgeSeat], found: Sequence[Material]) -> dict[str, Any]:
    """Calls, tokens, money and time by judge and probe: answers that are known already lower them, and a reply that cannot be read is
    asked for again, which comes to `more_calls` at most."""
    judges = [_judge_plan(prepared, seat, found) for seat in seats]
    costs = [j["cost_usd"] for j in judges]
    calls = sum(j["calls"] for j in judges)
    attempts = prepared.panel.attempts if prepared.panel else 1
    prices = [p for asked, p in prices_of(prepared).items() if asked in {"#".join(seat.seat) for seat in seats}]
    return {
        "suite": prepared.suite.name,
        "kind": prepared.kind,
        "items": len(found),
        "judges": judges,
        "calls": calls,
        "more_calls": calls * (attempts - 1),
        "tokens": sum(j["tokens"] for j in judges),
        "cost_usd": None if any(c is None for c in costs) else sum(c or 0.0 for c in costs),
        "seconds": math.ceil(calls / prepared.config.in_flight) * SECONDS_PER_CALL,
        "unpriced": [j["model"] for j in judges if j["cost_usd"] is None],
        "prices": prices,
        "price_remark": price_remark(prices, datetime.now(UTC).date()),
        "assumptions": f"{CHARS_PER_TOKEN} characters a token, {REPLY_TOKENS} tokens a reply, {SECONDS_PER_CALL:g} s a call,"
        f" {prepared.config.in_flight} at a time",
    }


def _judge_plan(prepared: Prepared, seat: JudgeSeat, found: Sequence[Material]) -> dict[str, Any]:
    probes: dict[str, dict[str, Any]] = {name: {"calls": 0, "tokens_in": 0} for name in PROBES}
    for question in questions(prepared, seat, found):
        tokens = _tokens(prepared, question)
        for repeat in question.repeats:
            part = probes[question.probe if repeat == 0 or question.probe != "swapped" else "repeated"]
            part["calls"] += 1
            part["tokens_in"] += tokens
    calls, tokens_in = (sum(part[name] for part in probes.values()) for name in ("calls", "tokens_in"))
    price = price_of(seat.target.provider, seat.target.model, prepared.config.prices, seat.target.base_url)
    cost = None if price is None else (price.input * tokens_in + price.output * REPLY_TOKENS * calls) / 1e6
    return {
        "judge": seat.name,
        "prompt": seat.prompt,
        "model": seat.target.ref,
        "family": seat.family.name if seat.family else None,
        "same_family": list(seat.same_family),
        "simulated": seat.target.provider == "sim",
        "probes": probes,
        "why": whys(prepared, seat, found, probes),
        "calls": calls,
        "tokens": tokens_in + REPLY_TOKENS * calls,
        "cost_usd": cost,
    }


def _tokens(prepared: Prepared, question: Question) -> int:
    """What the messages of a question come to; nothing where they cannot be made (then it is not asked either)."""
    try:
        return sum(len(m.content) for m in question.presentation(prepared).messages) // CHARS_PER_TOKEN
    except EvalhError:
        return 0


def whys(prepared: Prepared, seat: JudgeSeat, found: Sequence[Material], probes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Why a probe asks nothing of this judge, by probe."""
    why: dict[str, str] = {}
    if prepared.kind != "pairwise":
        why["swapped"] = "the rubric scores single answers: there is no order to swap"
    if not probes["padded"]["calls"]:
        why["padded"] = "no answer is prose: more words would break data, code and tool calls"
    if not any(kin_pair(prepared, seat, one) is not None for one in found):
        why["recognises"] = _why_unrecognised(prepared, seat, found)
    return why


def _why_unrecognised(prepared: Prepared, seat: JudgeSeat, found: Sequence[Material]) -> str:
    if seat.family is None:
        return "the judge's family is not known"
    families = {o.family for one in found for o in one.outputs}
    known = [family for name in families if name and (family := prepared.families.get(name)) is not None]
    if not any(prepared.families.shared_lineage(seat.family, family) for family in known):
        return (
            "no output is of the judge's own family: the family guard keeps them apart;"
            " a suite with such outputs beside others, and allow_same_family, can ask"
        )
    return "no item has an output of the judge's family beside one of another family that is known"

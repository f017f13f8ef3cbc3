"""What a suite would do and cost, before anything is asked: calls, tokens, money, time, and who judges whom."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from itertools import repeat
from typing import Any

from evalh.costs import price_remark, prices_of
from evalh.errors import EvalhError
from evalh.judging.presentation import present
from evalh.prepare import Prepared
from evalh.providers.batches import BATCH_PRICE_FACTOR
from evalh.providers.prices import price_of
from evalh.records import Item, Output
from evalh.sides import JudgeSeat, SystemSide, open_line
from evalh.suites.model import Model
from evalh.systems import RecordedSource, pairs_of

CHARS_PER_TOKEN = 4  # English text; an estimate, and called so
REPLY_TOKENS = 120
SECONDS_PER_CALL = 2.0


def plan_document(prepared: Prepared) -> dict[str, Any]:
    """The plan of a prepared suite. Numbers of calls are upper bounds: tier 1 and the ledger only lower them."""
    units = _units(prepared)
    judges = [_judge_plan(prepared, seat, units) for seat in prepared.seats]
    system = _system_plan(prepared, prepared.system)
    against = _system_plan(prepared, prepared.against) if prepared.against else None
    asked = [system, *([against] if against else [])]
    calls = sum(part["calls"] for part in (*judges, *asked))
    costs = [part["cost_usd"] for part in (*judges, *asked)]
    prices = list(prices_of(prepared).values())
    return {
        "suite": prepared.suite.name,
        "golden": {
            "name": prepared.golden.name,
            "version": prepared.golden.version,
            "items": len(prepared.items),
            "slices": prepared.items.slice_counts(),
        },
        "system": system,
        "against": against,
        "kind": prepared.kind,
        "seed": prepared.seed,
        "checks": [{"check": c.title, "blocking": c.blocking} for c in prepared.checks],
        "tests": [t.name for t in prepared.suite.tests],
        "judges": judges,
        "labels": prepared.suite.sampling.labels if prepared.suite.sampling else 0,
        "gate": prepared.suite.gate.model_dump() if prepared.suite.gate else None,
        "calls": calls,
        "tokens": sum(part["tokens"] for part in (*judges, *asked)),
        "cost_usd": None if any(c is None for c in costs) else sum(c or 0.0 for c in costs),
        "budget_usd": prepared.suite.budget_usd,
        "prices": prices,
        "price_remark": price_remark(prices, datetime.now(UTC).date()),
        "problems": _problems(prepared),
        "unpriced": [j["model"] for j in judges if j["cost_usd"] is None] + [s["role"] for s in asked if s["cost_usd"] is None],
        "seconds": math.ceil(calls / prepared.config.in_flight) * SECONDS_PER_CALL,
        "assumptions": f"{CHARS_PER_TOKEN} characters a token, {REPLY_TOKENS} tokens a reply, {SECONDS_PER_CALL:g} s a call,"
        f" {prepared.config.in_flight} at a time",
    }


def _problems(prepared: Prepared) -> list[str]:
    """What would stop the run here and now although the suite is right: a missing key, a missing extra."""
    found = []
    for seat in prepared.seats:
        if seat.target.provider == "sim":
            continue  # its profile has been read; opening it would start a server
        try:
            open_line(seat.target, prepared.config, seat.name, seat.judge)
        except EvalhError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))


def _units(prepared: Prepared) -> int:
    """How many outputs (or pairs) are judged."""
    recorded = prepared.system.recorded
    if not isinstance(recorded, RecordedSource):
        return len(prepared.items) * prepared.trials
    theirs = prepared.against.recorded if prepared.against else None
    if prepared.kind != "pairwise" or (prepared.against is not None and theirs is None):
        return int(recorded.counts(prepared.items).sum())
    others = theirs.each(prepared.items) if theirs is not None else repeat(None)
    return sum(len(pairs_of(own, other)) for own, other in zip(recorded.each(prepared.items), others, strict=False))


def _judge_plan(prepared: Prepared, seat: JudgeSeat, units: int) -> dict[str, Any]:
    assert prepared.panel is not None
    orders = 2 if prepared.kind == "pairwise" and prepared.panel.order == "both" else 1
    calls = units * orders * prepared.panel.repeats
    characters = sum(_prompt_characters(prepared, seat, item) for item in prepared.items) / len(prepared.items)
    tokens_in = int(characters / CHARS_PER_TOKEN * calls)
    price = price_of(seat.target.provider, seat.target.model, prepared.config.prices, seat.target.base_url)
    factor = BATCH_PRICE_FACTOR[seat.target.provider] if seat.judge.mode == "batch" else 1.0
    cost = None if price is None else factor * (price.input * tokens_in + price.output * REPLY_TOKENS * calls) / 1e6
    return {
        "judge": seat.name, "model": seat.target.ref, "prompt": seat.prompt, "family": seat.family.name if seat.family else None,
        "same_family": list(seat.same_family), "simulated": seat.target.provider == "sim", "mode": seat.judge.mode, "calls": calls,
        "tokens": tokens_in + REPLY_TOKENS * calls, "cost_usd": cost, "price_as_of": price.as_of if price else None,
    }  # fmt: skip


def _prompt_characters(prepared: Prepared, seat: JudgeSeat, item: Item) -> int:
    """The length of the real prompt where the outputs are recorded; else with an output of 800 characters."""
    assert prepared.rubric is not None
    recorded = prepared.system.recorded
    outputs = recorded.outputs_of(item) if recorded is not None else [Output(item_id=item.item_id, system="a", text="x" * 800)]
    wanted = 2 if prepared.kind == "pairwise" else 1
    outputs = [*outputs, outputs[0].model_copy(update={"system": "b"})][:wanted]
    shown = present(prepared.rubric, item, outputs, seed=prepared.seed, blinding=prepared.blinding._replace(mask=False), judge=seat.name)
    return sum(len(m.content) for m in shown.messages)


def _system_plan(prepared: Prepared, side: SystemSide) -> dict[str, Any]:
    plan: dict[str, Any] = {
        "role": side.role,
        "names": list(side.names), "version": side.spec.version, "families": side.families, "kind": type(side.spec).__name__.lower(),
        "calls": 0, "tokens": 0, "cost_usd": 0.0,
    }  # fmt: skip
    if side.target is None:
        return plan
    calls = len(prepared.items) * prepared.trials
    tokens_in = prepared.trials * sum(len(i.input_text) for i in prepared.items) // CHARS_PER_TOKEN
    tokens_out = min(side.target.max_tokens, 300) * calls
    price = price_of(side.target.provider, side.target.model, prepared.config.prices, side.target.base_url)
    factor = BATCH_PRICE_FACTOR[side.target.provider] if isinstance(side.spec, Model) and side.spec.mode == "batch" else 1.0
    cost = None if price is None else factor * (price.input * tokens_in + price.output * tokens_out) / 1e6
    return {**plan, "calls": calls, "tokens": tokens_in + tokens_out, "cost_usd": cost}

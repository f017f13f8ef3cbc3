"""The road of one item: output, tier 1, tier 2, and where it ends. Plain steps; the engine owns the waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from evalh.checks.apply import apply_checks
from evalh.checks.base import Subject
from evalh.engine import Answer, Engine, Line
from evalh.errors import EvalhError, ProviderError, ProviderUnusable
from evalh.graded import GradedOutput
from evalh.judging.panel import PanelScore, combine
from evalh.judging.parsing import Read, Unread, read_reply
from evalh.judging.presentation import Presentation, orders, present
from evalh.prepare import Prepared
from evalh.providers.base import Presented, Request
from evalh.records import CheckResult, Item, Output, Verdict
from evalh.rows import check_row, output_row, verdict_row
from evalh.sides import JudgeSeat, SystemSide
from evalh.suites.model import SuiteTest
from evalh.systems import pairs_of
from evalh.threads import in_thread


class Settled(NamedTuple):
    """Where one output ended: the row of `scores`, and what a test or a report needs of the way there."""

    item: Item
    output: Output
    against: Output | None
    route: str  # blocked, judged, checked, unscored, no_output
    score: float | None
    why: str | None
    checks: tuple[CheckResult, ...]
    verdicts: tuple[Verdict, ...]
    disagreement: float | None
    inconsistent: int
    judges_mean: float | None  # mean of the judges' scores, whatever the panel's rule makes of them
    skipped_calls: int  # judge calls that tier 1 saved
    skipped_usd: float | None

    def row(self, run_id: str) -> dict[str, Any]:
        return {
            "run_id": run_id,
            "item_id": self.item.item_id,
            "system": self.output.system,
            "trial": self.output.trial,
            "slice": self.item.slice,
            "group": self.item.group,
            "against": self.against.system if self.against else "",
            "route": self.route,
            "score": self.score,
            "why": self.why,
            "disagreement": self.disagreement,
            "inconsistent": self.inconsistent,
            "calls_saved": self.skipped_calls,
            "usd_saved": self.skipped_usd,
            "output_hash": self.output.output_hash,
        }

    def graded(self) -> GradedOutput:
        return GradedOutput(self.item, self.output, self.checks, self.verdicts, self.score, self.why)


@dataclass(frozen=True)
class Road:
    """What every item of a run travels with. `stored_*` is what an interrupted run of the same key left."""

    prepared: Prepared
    engine: Engine
    lines: Mapping[str, Line]  # by judge name and prompt
    stored_outputs: Mapping[str, Sequence[Output]]
    stored_checks: Mapping[tuple[str, str, int], Sequence[CheckResult]]
    answer: Callable[[Item], Any]  # the system's outputs for an item
    answer_against: Callable[[Item], Any] | None
    rejudging: bool  # `stored_outputs` are those of another run, and nothing is generated
    run_tests: bool  # run the suite's tests that follow the judges here; pytest runs them itself
    testing: asyncio.Lock = field(default_factory=asyncio.Lock)  # test functions run one at a time
    failures: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # rows of what failed to answer: see `write`

    @property
    def run_id(self) -> str:
        return self.engine.run_id

    def write(self, table: str, row: dict[str, Any], *, failed: bool = False) -> None:
        """A row on its way to the store. What failed to answer is written when all items are through: a run that stops
        before asks it again, and the row of the answer must not find its place taken.
        """
        if failed:
            self.failures.append((table, row))
        else:
            self.engine.write(table, row)


async def travel(road: Road, item: Item) -> list[Settled]:
    """One item through the tiers: its outputs, checked; those that pass, judged; each with a place where it ends."""
    own = await _side(road, item, road.prepared.system, road.answer)
    if road.prepared.kind != "pairwise":
        return [await _settle(road, item, (output,)) for output in own]
    others = None
    if road.answer_against is not None and road.prepared.against is not None:
        others = await _side(road, item, road.prepared.against, road.answer_against)
    return [await _settle(road, item, pair) for pair in pairs_of(own, others)]


async def _side(road: Road, item: Item, side: SystemSide, answer: Callable[[Item], Any]) -> list[Output]:
    stored = [o for o in road.stored_outputs.get(item.item_id, ()) if o.system in side.names]
    # Recorded outputs cost nothing; what an interrupted run stored of them may be a part, so they are read again.
    whole = road.rejudging or (bool(stored) and side.recorded is None)
    outputs = stored if whole else list(await answer(item))
    outputs.sort(key=lambda o: (side.names.index(o.system), o.trial))  # a pair has the same sides in every item and every run
    for output in outputs:
        road.write("outputs", output_row(road.run_id, item, output), failed=output.error is not None)
    return outputs


async def _settle(road: Road, item: Item, unit: tuple[Output, ...]) -> Settled:
    output, against = unit[0], unit[1] if len(unit) > 1 else None
    failed = next((o for o in unit if o.error), None)
    if failed is not None:
        return _ended(item, output, against, "no_output", None, f"{failed.system}: {failed.error}", ())
    results = [await _check(road, item, o) for o in unit]
    checks = tuple(results[0])
    blocked = [_blocking_failure(rows) for rows in results]
    if any(b is not None and b.status == "error" for b in blocked):
        error = next(b for b in blocked if b is not None and b.status == "error")
        return await _finished(road, _ended(item, output, against, "unscored", None, f"check {error.check}: {error.reason}", checks))
    if any(blocked):
        score, why = _blocked_score(blocked)
        settled = _ended(item, output, against, "blocked", score, why, checks)
        saved, usd = _saved(road, item, unit)
        return await _finished(road, settled._replace(skipped_calls=saved, skipped_usd=usd))
    if road.prepared.rubric is None:
        return await _finished(road, _ended(item, output, None, "checked", None, None, checks))
    try:
        calls = _calls(road, item, unit)
    except EvalhError as error:  # an output that cannot be blinded is not shown to anybody
        return await _finished(road, _ended(item, output, against, "unscored", None, str(error), checks))
    return await _finished(road, await _judge(road, item, unit, checks, calls))


async def _check(road: Road, item: Item, output: Output) -> list[CheckResult]:
    """Tier 1: the suite's checks and its blocking tests (which pytest runs again, for its own report)."""
    stored = road.stored_checks.get((output.item_id, output.system, output.trial))
    wanted = [c.title for c in road.prepared.checks] + [t.name for t in road.prepared.suite.tests if t.blocking]
    by_name = {r.check: r for r in stored or ()}
    if stored and by_name.keys() >= set(wanted):
        return [by_name[name] for name in wanted]
    results = await in_thread(apply_checks, road.prepared.checks, Subject(item, output))
    results += await _tested(road, GradedOutput(item, output, list(results)), blocking=True)
    for result in results:
        road.engine.write("check_results", check_row(road.run_id, output, result))
    return results


async def _tested(road: Road, graded: GradedOutput, *, blocking: bool) -> list[CheckResult]:
    """The results of the suite's test functions. They run beside the loop, so that a slow one holds up nothing else, and one
    at a time: they were written for pytest, which never runs two at once.
    """
    async with road.testing:
        found = [await in_thread(run_test, t, graded) for t in road.prepared.suite.tests if t.blocking == blocking]
    return [result for result in found if result is not None]


def run_test(test: SuiteTest, graded: GradedOutput) -> CheckResult | None:
    """A test function as a check; None where it skips the output."""
    try:
        test.function(graded)
    except BaseException as error:  # the outcomes of pytest are no Exceptions, nor is SystemExit
        status, reason = test_outcome(error)
        return test_result(test, status, reason) if status is not None else None
    return test_result(test, "pass", "")


def test_outcome(error: BaseException) -> tuple[str | None, str]:
    """What a test that raised this says of an output, and why: a failed assert (or `pytest.fail`) is a fail, anything else an
    error. None for `pytest.skip`: it says nothing.
    """
    outcome = type(error).__name__ if any(c.__name__ == "OutcomeException" for c in type(error).__mro__) else ""
    reason = " ".join(str(error).split())[:500]
    if outcome in ("Skipped", "XFailed"):
        return None, reason
    if outcome == "Failed" or isinstance(error, AssertionError):
        return "fail", reason or "an assert does not hold"
    return "error", f"{type(error).__name__}: {reason}"[:500]


def test_result(test: SuiteTest, status: str, reason: str) -> CheckResult:
    """The row of a test function that ran here or under pytest."""
    return CheckResult.model_validate(
        {
            "check": test.name,
            "check_hash": test.test_hash,
            "status": status,
            "score": {"pass": 1.0, "fail": 0.0}.get(status),
            "reason": reason,
            "blocking": test.blocking,
        }
    )


def _blocking_failure(results: Sequence[CheckResult]) -> CheckResult | None:
    """The first blocking check that fails; else the first that could not be decided."""
    blocking = [r for r in results if r.blocking and r.status != "pass"]
    return next((r for r in blocking if r.status == "fail"), blocking[0] if blocking else None)


def _blocked_score(blocked: Sequence[CheckResult | None]) -> tuple[float, str]:
    """A blocked output is a failure, never missing. Of a pair, the one that is blocked loses."""
    first = next(b for b in blocked if b is not None)
    why = f"{first.check}: {first.reason}" if first.reason else first.check
    if len(blocked) == 1 or blocked[1] is None:
        return 0.0, why
    return (0.5, f"both blocked: {why}") if blocked[0] is not None else (1.0, f"the other is blocked: {why}")


def with_check_score(settled: Settled) -> Settled:
    """Without a panel the score is the weighted share of checks that hold; an undecided check leaves it unscored."""
    if settled.route not in ("checked", "unscored") or settled.verdicts:
        return settled
    undecided = next((c for c in settled.checks if c.status == "error"), None)
    if undecided is not None:
        return settled._replace(route="unscored", score=None, why=f"check {undecided.check}: {undecided.reason}")
    if not settled.checks:
        return settled._replace(route="unscored", score=None, why="nothing was checked")
    total = sum(c.weight for c in settled.checks)
    return settled._replace(route="checked", score=sum(c.weight * (c.score or 0.0) for c in settled.checks) / total, why=None)


async def _judge(
    road: Road, item: Item, unit: tuple[Output, ...], checks: tuple[CheckResult, ...], calls: Sequence[tuple[JudgeSeat, Presentation, int]]
) -> Settled:
    """Tier 2: every judge of the panel, in every order and repeat, and the panel's score."""
    prepared = road.prepared
    assert prepared.rubric is not None
    assert prepared.panel is not None
    asked = [_ask(road, item, unit, seat, shown, repeat) for seat, shown, repeat in calls]
    verdicts = tuple(v for rows in await asyncio.gather(*asked) for v in rows)
    weights = {seat.seat: seat.judge.weight for seat in prepared.seats}
    panel: PanelScore = combine(verdicts, prepared.rubric, prepared.panel.rule, weights, unit[0].system)
    route = "unscored" if panel.score is None else "judged"
    settled = _ended(item, unit[0], unit[1] if len(unit) > 1 else None, route, panel.score, panel.why, checks, verdicts)
    known = [s for s in panel.judges.values() if s is not None]
    mean = sum(known) / len(known) if known else None
    return settled._replace(disagreement=panel.disagreement, inconsistent=panel.inconsistent, judges_mean=mean)


def _calls(road: Road, item: Item, unit: tuple[Output, ...]) -> list[tuple[JudgeSeat, Presentation, int]]:
    """Every judge call for a unit: seats × orders × repeats, with the exact messages."""
    prepared, calls = road.prepared, []
    assert prepared.panel is None or prepared.rubric is not None
    for seat in prepared.seats:
        assert prepared.panel is not None
        assert prepared.rubric is not None
        for shown_order in _orders(road, item, unit, seat):
            shown = present(prepared.rubric, item, shown_order, seed=prepared.seed, blinding=prepared.blinding, judge=seat.name)
            calls += [(seat, shown, repeat) for repeat in range(prepared.panel.repeats)]
    return calls


def _orders(road: Road, item: Item, unit: tuple[Output, ...], seat: JudgeSeat) -> list[tuple[Output, ...]]:
    if len(unit) == 1:
        return [unit]
    assert road.prepared.panel is not None
    rule, by_name = road.prepared.panel.order, {o.system: o for o in unit}
    pair = (unit[0].system, unit[1].system)
    if rule == "recorded":
        provider: Any = road.lines[line_key(seat)].provider
        drawn = provider.recorded_orders(item.item_id, pair)
    else:
        drawn = orders(rule, pair, road.prepared.seed, item.item_id, seat.name)
    return [(by_name[a], by_name[b]) for a, b in drawn]


def line_key(seat: JudgeSeat) -> str:
    return f"{seat.name}#{seat.prompt}"


async def _ask(road: Road, item: Item, unit: tuple[Output, ...], seat: JudgeSeat, shown: Presentation, repeat: int) -> list[Verdict]:
    """One judge, one order, one repeat: asked until its reply can be read, at most `attempts` times."""
    prepared, line = road.prepared, road.lines[line_key(seat)]
    assert prepared.rubric is not None
    assert prepared.panel is not None
    about = Presented(
        item_id=item.item_id,
        systems=shown.systems,
        aspects=tuple(prepared.rubric.aspects),
        kind=prepared.rubric.kind,
        repeat=repeat,
        prompt=seat.prompt or None,
    )
    request = Request(messages=shown.messages, schema_=shown.schema_, about=about)
    answer: Answer | None = None
    read: Read | Unread = Unread("not asked")
    attempt, failed = 0, False
    for attempt in range(1, (1 if line.provider.deterministic else prepared.panel.attempts) + 1):
        try:
            answer = await road.engine.call(line, request, purpose="judge", item_id=item.item_id, turn=(repeat, attempt))
        except ProviderUnusable:
            raise
        except ProviderError as error:
            read, failed = Unread(f"provider: {error}"[:300]), True
            break
        read = read_reply(answer.reply.text, answer.reply.finish_reason, prepared.rubric, recorded=line.provider.deterministic)
        if isinstance(read, Read):
            break
    base: dict[str, Any] = {
        "judge": seat.name,
        "prompt": seat.prompt,
        "family": seat.family.name if seat.family else None,
        "kind": prepared.rubric.kind,
        "systems": shown.systems,
        "repeat": repeat,
        "attempts": attempt,
        "simulated": line.provider.simulated,
        "same_family": bool(set(seat.same_family) & set(shown.systems)),
        "order_known": _order_known(line, item, shown),
    }
    if answer is not None:
        reply = answer.reply
        base |= {
            "judge_version": reply.version,
            "raw": reply.raw if reply.raw is not None else reply.text,
            "call_id": answer.call_id,
            "cached": answer.cached,
        }
    verdicts = [_verdict(road, aspect, read, base) for aspect in prepared.rubric.aspects]
    ordered = [o for name in shown.systems for o in unit if o.system == name]
    for verdict in verdicts:
        row = verdict_row(road.run_id, item, ordered, verdict, prepared.rubric.rubric_hash, shown)
        road.write("verdicts", row, failed=failed)
    return verdicts


def _order_known(line: Line, item: Item, shown: Presentation) -> bool:
    """What we showed is known; of a recorded verdict the recording says."""
    recorded: Any = getattr(line.provider, "order_known", None)
    return recorded is None or len(shown.systems) == 1 or bool(recorded(item.item_id, shown.systems))


def _verdict(road: Road, aspect: str, read: Read | Unread, base: Mapping[str, Any]) -> Verdict:
    rubric = road.prepared.rubric
    assert rubric is not None
    if isinstance(read, Unread):
        return Verdict(**base, aspect=aspect, status="unscored", unscored_reason=read.reason)
    answer = read.answers[aspect]
    if rubric.kind == "pairwise":
        first, second = base["systems"]
        winner = {"first": first, "second": second, "tie": "tie"}[answer]
        preference = {"first": 0.0, "second": 1.0, "tie": 0.5}[answer]
        return Verdict(**base, aspect=aspect, status="scored", verdict=answer, winner=winner, score=preference, rationale=read.rationale)
    criterion = next(c for c in rubric.criteria if c.name == aspect)
    label = criterion.scale.get(int(answer)) or None if float(answer).is_integer() else None
    return Verdict(
        **base,
        aspect=aspect,
        status="scored",
        raw_score=float(answer),
        score=criterion.normalised(answer),
        label=label,
        rationale=read.rationale,
    )


def _saved(road: Road, item: Item, unit: tuple[Output, ...]) -> tuple[int, float | None]:
    """The judge calls that were not made for a blocked output, and what they would have cost; None where a price is unknown."""
    try:
        calls = _calls(road, item, unit)
    except EvalhError:
        return 0, None  # it could not have been shown to a judge anyhow
    costs = [_estimate_usd(road, seat, shown) for seat, shown, _ in calls]
    return len(calls), None if any(c is None for c in costs) else sum(c or 0.0 for c in costs)


def _estimate_usd(road: Road, seat: JudgeSeat, shown: Presentation) -> float | None:
    """What a call would have cost: four characters a token in, 120 tokens out. An estimate, and called so."""
    price = road.lines[line_key(seat)].price
    if price is None:
        return None
    return (price.input * sum(len(m.content) for m in shown.messages) / 4 + price.output * 120) / 1e6


def _ended(
    item: Item, output: Output, against: Output | None, route: str, score: float | None, why: str | None,
    checks: tuple[CheckResult, ...], verdicts: tuple[Verdict, ...] = (),
) -> Settled:  # fmt: skip
    return Settled(item, output, against, route, score, why, checks, verdicts, None, 0, None, 0, 0.0)


async def _finished(road: Road, settled: Settled) -> Settled:
    """After the judges: the suite's other tests; then, where there is no panel, the score of the checks."""
    if road.run_tests and any(not t.blocking for t in road.prepared.suite.tests):
        results = await _tested(road, settled.graded(), blocking=False)
        for result in results:
            road.engine.write("check_results", check_row(road.run_id, settled.output, result))
        settled = settled._replace(checks=(*settled.checks, *results))
    return settled if road.prepared.rubric is not None else with_check_score(settled)

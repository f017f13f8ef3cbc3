"""What happens to an item, step by step: its outputs are checked; those that pass are judged; each ends somewhere.

Plain functions without waiting, but for `judged`: `evalh/flow.py` moves items through them, the engine asks models.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from evalh.checks.apply import Checked, Results
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
from evalh.sides import JudgeSeat
from evalh.suites.model import SuiteTest

PROVIDER_FAILED = "provider: "  # how the reason of a verdict begins that no provider gave: it is asked again when the run goes on

Unit = tuple[Output, ...]  # one output, or the two of a pair


class Settled(NamedTuple):
    """Where one output ended: the row of `scores`, and what a test or a report needs of the way there."""

    item: Item
    output: Output
    against: Output | None
    route: str  # blocked, judged, checked, unscored, no_output
    score: float | None
    why: str | None
    checks: Sequence[CheckResult]
    verdicts: tuple[Verdict, ...]
    disagreement: float | None
    inconsistent: int
    judges_mean: float | None  # mean of the judges' scores, whatever the panel's rule makes of them
    skipped_calls: int  # judge calls that tier 1 saved
    skipped_usd: float | None

    def graded(self) -> GradedOutput:
        return GradedOutput(self.item, self.output, self.checks, self.verdicts, self.score, self.why)


class Call(NamedTuple):
    """One question to one judge: the messages are made, nothing is asked yet."""

    seat: JudgeSeat
    shown: Presentation
    repeat: int


class Asked(NamedTuple):
    """A verdict, and how it came about."""

    verdict: Verdict
    call: Call


class Passed(NamedTuple):
    """An output (or pair) that passed tier 1, and what its judges will be asked."""

    item: Item
    unit: Unit
    checks: Checked
    calls: list[Call]


@dataclass(slots=True)
class Travelled:
    """An item on its way: what is known of it so far. Rows are made from it when it has ended."""

    item: Item
    outputs: list[Output]
    units: list[Unit]
    checks: dict[tuple[str, int], Checked] = field(default_factory=dict)  # by system and trial
    passed: list[Passed] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    asked: list[tuple[Unit, Asked]] = field(default_factory=list)


@dataclass(frozen=True)
class Road:
    """What every item of a run travels with."""

    prepared: Prepared
    engine: Engine
    lines: Mapping[str, Line]  # by judge name and prompt
    checking: Callable[[Sequence[Subject]], list[Results]]  # tier 1, many outputs at a time
    tests: Sequence[SuiteTest]
    run_tests: bool  # run the suite's tests that follow the judges here; pytest runs them itself
    testing: threading.Lock = field(default_factory=threading.Lock)  # test functions run one at a time

    @property
    def run_id(self) -> str:
        return self.engine.run_id


# ---- tier 1 ---------------------------------------------------------------------------------------------------------


def first_tier(road: Road, page: Sequence[Travelled]) -> None:
    """Check every output of some items; settle what is blocked or needs no judge, and prepare the calls of the rest."""
    found = [(one, output) for one in page for output in one.outputs if output.error is None]
    results = road.checking([Subject(one.item, output) for one, output in found])
    for place, (one, output) in enumerate(found):
        checked = one.checks[output.system, output.trial] = Checked(results, place)
        if road.tests:  # the blocking ones; pytest runs them again, for its own report
            checked.more += tested(road, GradedOutput(one.item, output, checked), blocking=True)
    for one in page:
        for unit in one.units:
            decided = _first_decision(road, one, unit)
            if isinstance(decided, Passed):
                one.passed.append(decided)
            else:
                one.settled.append(decided)


def _first_decision(road: Road, one: Travelled, unit: Unit) -> Settled | Passed:
    item, output, against = one.item, unit[0], unit[1] if len(unit) > 1 else None
    failed = next((o for o in unit if o.error), None)
    if failed is not None:
        return _ended(item, output, against, "no_output", None, f"{failed.system}: {failed.error}", ())
    checks = one.checks[output.system, output.trial]
    blocked = [one.checks[o.system, o.trial].blocking_failure() for o in unit]
    undecided = next((b for b in blocked if b is not None and b[1] == "error"), None)
    if undecided is not None:
        return _ended(item, output, against, "unscored", None, f"check {undecided[0]}: {undecided[2]}", checks)
    if any(blocked):
        score, why = _blocked_score(blocked)
        saved, usd = _saved(road, item, unit)
        return _ended(item, output, against, "blocked", score, why, checks)._replace(skipped_calls=saved, skipped_usd=usd)
    if road.prepared.rubric is None:
        if road.tests:  # their results belong to the score: see `last_tests`
            return _ended(item, output, None, "checked", None, None, checks)
        undecided_check = checks.undecided()
        if undecided_check is not None:
            return _ended(item, output, None, "unscored", None, f"check {undecided_check}", checks)
        return _ended(item, output, None, "checked", checks.score(), None, checks)
    try:
        return Passed(item, unit, checks, _calls(road, item, unit))
    except EvalhError as error:  # an output that cannot be blinded is not shown to anybody
        return _ended(item, output, against, "unscored", None, str(error), checks)


def tested(road: Road, graded: GradedOutput, *, blocking: bool) -> list[CheckResult]:
    """The results of the suite's test functions: one at a time, for they were written for pytest, which never runs two at once."""
    wanted = [t for t in road.tests if t.blocking == blocking]
    with road.testing:
        found = [run_test(t, graded) for t in wanted]
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


def _blocked_score(blocked: Sequence[tuple[str, str, str] | None]) -> tuple[float, str]:
    """A blocked output is a failure, never missing. Of a pair, the one that is blocked loses."""
    check, _, reason = next(b for b in blocked if b is not None)
    why = f"{check}: {reason}" if reason else check
    if len(blocked) == 1 or blocked[1] is None:
        return 0.0, why
    return (0.5, f"both blocked: {why}") if blocked[0] is not None else (1.0, f"the other is blocked: {why}")


def with_check_score(settled: Settled) -> Settled:
    """Without a panel the score is the weighted share of checks that hold; an undecided check leaves it unscored."""
    if settled.route not in ("checked", "unscored") or settled.verdicts:
        return settled
    checks = settled.checks if isinstance(settled.checks, Checked) else Checked((), 0, settled.checks)
    undecided = checks.undecided()
    if undecided is not None:
        return settled._replace(route="unscored", score=None, why=f"check {undecided}")
    score = checks.score()
    if score is None:
        return settled._replace(route="unscored", score=None, why="nothing was checked")
    return settled._replace(route="checked", score=score, why=None)


# ---- tier 2 ---------------------------------------------------------------------------------------------------------


async def judged(road: Road, passed: Passed) -> tuple[Settled, list[Asked]]:
    """Every judge of the panel, in every order and repeat, and the panel's score."""
    prepared = road.prepared
    assert prepared.rubric is not None
    assert prepared.panel is not None
    if len(passed.calls) == 1:
        asked = [await _ask(road, passed, passed.calls[0])]
    else:
        asked = await asyncio.gather(*(_ask(road, passed, call) for call in passed.calls))
    verdicts = tuple(v for rows in asked for v in rows)
    weights = {seat.seat: seat.judge.weight for seat in prepared.seats}
    panel: PanelScore = combine(verdicts, prepared.rubric, prepared.panel.rule, weights, passed.unit[0].system)
    route = "unscored" if panel.score is None else "judged"
    against = passed.unit[1] if len(passed.unit) > 1 else None
    settled = _ended(passed.item, passed.unit[0], against, route, panel.score, panel.why, passed.checks, verdicts)
    known = [s for s in panel.judges.values() if s is not None]
    mean = sum(known) / len(known) if known else None
    settled = settled._replace(disagreement=panel.disagreement, inconsistent=panel.inconsistent, judges_mean=mean)
    return settled, [Asked(v, call) for rows, call in zip(asked, passed.calls, strict=True) for v in rows]


def _calls(road: Road, item: Item, unit: Unit) -> list[Call]:
    """Every judge call for a unit: seats × orders × repeats, with the exact messages."""
    prepared, calls = road.prepared, list[Call]()
    assert prepared.panel is not None
    assert prepared.rubric is not None
    for seat in prepared.seats:
        for shown_order in _orders(road, item, unit, seat):
            shown = present(prepared.rubric, item, shown_order, seed=prepared.seed, blinding=prepared.blinding, judge=seat.name)
            calls += [Call(seat, shown, repeat) for repeat in range(prepared.panel.repeats)]
    return calls


def _orders(road: Road, item: Item, unit: Unit, seat: JudgeSeat) -> list[Unit]:
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


async def _ask(road: Road, passed: Passed, call: Call) -> list[Verdict]:
    """One judge, one order, one repeat: asked until its reply can be read, at most `attempts` times."""
    prepared, line, shown = road.prepared, road.lines[line_key(call.seat)], call.shown
    assert prepared.rubric is not None
    assert prepared.panel is not None
    about = Presented(
        item_id=passed.item.item_id,
        systems=shown.systems,
        aspects=tuple(prepared.rubric.aspects),
        kind=prepared.rubric.kind,
        repeat=call.repeat,
        trial=passed.unit[0].trial,
        prompt=call.seat.prompt or None,
    )
    request = Request(messages=shown.messages, schema_=shown.schema_, about=about)
    answer: Answer | None = None
    read: Read | Unread = Unread("not asked")
    attempt = 0
    for attempt in range(1, (1 if line.provider.deterministic else prepared.panel.attempts) + 1):
        try:
            answer = await road.engine.call(line, request, purpose="judge", item_id=passed.item.item_id, turn=(call.repeat, attempt))
        except ProviderUnusable:
            raise
        except ProviderError as error:
            read = Unread(f"{PROVIDER_FAILED}{error}"[:300])
            break
        read = read_reply(answer.reply.text, answer.reply.finish_reason, prepared.rubric, recorded=line.provider.deterministic)
        if isinstance(read, Read):
            break
    base = _base(road, passed, call, line) | {"attempts": attempt}
    if answer is not None:
        reply = answer.reply
        base |= {
            "judge_version": reply.version,
            "raw": reply.raw if reply.raw is not None else reply.text,
            "call_id": answer.call_id,
            "cached": answer.cached,
        }
    return [_verdict(road, aspect, read, base) for aspect in prepared.rubric.aspects]


def _base(road: Road, passed: Passed, call: Call, line: Line) -> dict[str, Any]:
    """What all verdicts of one call have in common."""
    seat, shown = call.seat, call.shown
    assert road.prepared.rubric is not None
    return {
        "judge": seat.name,
        "prompt": seat.prompt,
        "family": seat.family.name if seat.family else None,
        "kind": road.prepared.rubric.kind,
        "systems": shown.systems,
        "repeat": call.repeat,
        "simulated": line.provider.simulated,
        "same_family": bool(set(seat.same_family) & set(shown.systems)),
        "order_known": _order_known(line, passed.item, shown),
    }


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


def _saved(road: Road, item: Item, unit: Unit) -> tuple[int, float | None]:
    """The judge calls that were not made for a blocked output, and what they would have cost; None where a price is unknown."""
    if road.prepared.rubric is None:
        return 0, 0.0
    try:
        calls = _calls(road, item, unit)
    except EvalhError:
        return 0, None  # it could not have been shown to a judge anyhow
    costs = [_estimate_usd(road, call) for call in calls]
    return len(calls), None if any(c is None for c in costs) else sum(c or 0.0 for c in costs)


def _estimate_usd(road: Road, call: Call) -> float | None:
    """What a call would have cost: four characters a token in, 120 tokens out. An estimate, and called so."""
    price = road.lines[line_key(call.seat)].price
    if price is None:
        return None
    return (price.input * sum(len(m.content) for m in call.shown.messages) / 4 + price.output * 120) / 1e6


def _ended(
    item: Item, output: Output, against: Output | None, route: str, score: float | None, why: str | None,
    checks: Sequence[CheckResult], verdicts: tuple[Verdict, ...] = (),
) -> Settled:  # fmt: skip
    return Settled(item, output, against, route, score, why, checks, verdicts, None, 0, None, 0, 0.0)


# ---- the end of the road ---------------------------------------------------------------------------------------------


def last_tests(road: Road, one: Travelled, settled: Settled) -> Settled:
    """After the judges: the suite's other tests; then, where there is no panel, the score of the checks."""
    if road.tests and road.run_tests and isinstance(settled.checks, Checked):
        more = tested(road, settled.graded(), blocking=False)
        checked = Checked(settled.checks.results, settled.checks.place, [*settled.checks.more, *more])
        one.checks[settled.output.system, settled.output.trial] = checked
        settled = settled._replace(checks=checked)
    return with_check_score(settled) if road.prepared.rubric is None and road.tests else settled

"""Recorded verdicts as a judge: `replay:JUDGE[@VERSION][#PROMPT]` answers from a judgments.jsonl and asks no model.

A recorded verdict comes back as the JSON reply that a judge would have given. A verdict that was recorded as unread comes
back as text that cannot be read, so that it is unscored here too. What was not recorded is refused, never made up.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from evalh.errors import InputError, ProviderRefused
from evalh.interchange.jsonl import RecordedJudgment, read_judgments
from evalh.judging.names import judge_title, parse_judge_name
from evalh.providers.base import Presented, Reply, Request, Target

Identity = tuple[str, str | None, str | None]  # judge, version, prompt
Key = tuple[str, str, tuple[str, ...], str | None, int, int]  # kind, item, systems in the order shown, aspect, trial, repeat as recorded


class Recording(NamedTuple):
    """What one judge (name, version, prompt) said, indexed."""

    rows: dict[Key, RecordedJudgment]
    orders: dict[tuple[str, frozenset[str]], dict[tuple[str, ...], list[RecordedJudgment]]]  # systems of an item → order shown
    repeats: tuple[int, ...]  # in ascending order, as recorded


class ReplayProvider:
    """Answers judge calls of one recorded judge.

    Repeats count from 0 here, whatever they count from in the file. A verdict on one trial is no verdict on another.
    """

    simulated = False
    deterministic = True

    def __init__(self, target: Target) -> None:
        if target.source is None:
            raise InputError("replay needs recorded verdicts", where=target.ref, hint="add `source: path/to/judgments.jsonl`")
        self.target = target
        self.identity, self._recording = _find(target.model, Path(target.source))

    async def ask(self, request: Request) -> Reply:
        """The recorded verdict on what the request is about. Raises ProviderRefused where there is none."""
        if request.about is None:
            raise ProviderRefused("replay answers judge calls only", where=self.target.ref)
        rows = {aspect: self._row(request.about, aspect) for aspect in request.about.aspects}
        first = next(iter(rows.values()))
        answers = {aspect: _answer(row) for aspect, row in rows.items()}
        field = "verdicts" if request.about.kind == "pairwise" else "scores"
        reason = next((words for row in rows.values() if (words := row.rationale or row.raw)), "")
        read = any(answer is not None for answer in answers.values())
        return Reply(
            text=json.dumps({"rationale": reason, field: answers}, ensure_ascii=False) if read else _unreadable(first.raw),
            version=first.judge_version,
            finish_reason="stop",
            raw=first.raw,
            confidence=_confidence(first) if len(rows) == 1 else None,
        )

    async def aclose(self) -> None:
        """Nothing is open."""

    def recorded_orders(self, item_id: str, systems: tuple[str, ...]) -> list[tuple[str, str]]:
        """The orders in which a pair was shown, as recorded; empty where this judge never saw it."""
        return [(order[0], order[1]) for order in self._orders(item_id, systems) if len(order) == 2]

    def recorded_repeats(self, item_id: str, systems: tuple[str, ...]) -> list[int]:
        """The repeats that were recorded for an output, or for a pair in any order, counted from 0."""
        found = {row.repeat for rows in self._orders(item_id, systems).values() for row in rows}
        return [number for number, repeat in enumerate(self._recording.repeats) if repeat in found]

    def order_known(self, item_id: str, systems: tuple[str, ...]) -> bool:
        """Whether the orders recorded for these systems are those that were shown."""
        return all(row.order_known for rows in self._orders(item_id, systems).values() for row in rows)

    def _orders(self, item_id: str, systems: tuple[str, ...]) -> dict[tuple[str, ...], list[RecordedJudgment]]:
        return self._recording.orders.get((item_id, frozenset(systems)), {})

    def _row(self, about: Presented, aspect: str) -> RecordedJudgment:
        recording = self._recording
        repeat = recording.repeats[about.repeat] if about.repeat < len(recording.repeats) else -1
        row = recording.rows.get((about.kind, about.item_id, about.systems, aspect, about.trial, repeat))
        if row is None and len(about.aspects) == 1:  # a verdict that names no aspect answers the one that is asked
            row = recording.rows.get((about.kind, about.item_id, about.systems, None, about.trial, repeat))
        if row is None:
            trial = f", trial {about.trial}" if about.trial else ""
            asked = f"{about.item_id}{trial}, {' before '.join(about.systems)}, aspect {aspect}, repeat {about.repeat}"
            raise ProviderRefused(f"not recorded: {asked}", where=self.target.ref)
        return row


def _find(name: str, source: Path) -> tuple[Identity, Recording]:
    """The one recorded judge that a name means. Raises InputError where none or several are meant."""
    try:
        state = source.stat()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(source)) from None
    recordings = _read(source, state.st_mtime_ns, state.st_size)
    wanted = parse_judge_name(name)
    found = [identity for identity in recordings if wanted.matches(*identity)]
    if len(found) == 1:
        return found[0], recordings[found[0]]
    listed = ", ".join(sorted(judge_title(*identity) for identity in found or recordings))
    if found:
        raise InputError(
            f"replay:{name} means more than one judge: {listed}", where=str(source), hint="name one of them as JUDGE@VERSION#PROMPT"
        )
    raise InputError(f"no verdict of judge {name!r}", where=str(source), hint=f"it holds {listed}" if listed else "it is empty")


@lru_cache(maxsize=8)
def _read(source: Path, mtime_ns: int, size: int) -> dict[Identity, Recording]:
    """All judges of a file. The judges of a panel usually share one file: it is read once for each state it has had."""
    by_judge: dict[Identity, list[RecordedJudgment]] = {}
    for row in read_judgments(source):
        by_judge.setdefault((row.judge, row.judge_version, row.prompt), []).append(row)
    return {identity: _indexed(rows) for identity, rows in by_judge.items()}


def _indexed(rows: list[RecordedJudgment]) -> Recording:
    keyed: dict[Key, RecordedJudgment] = {}
    orders: dict[tuple[str, frozenset[str]], dict[tuple[str, ...], list[RecordedJudgment]]] = {}
    for row in rows:
        keyed[row.kind, row.item_id, row.systems, row.aspect, row.trial, row.repeat] = row
        orders.setdefault((row.item_id, frozenset(row.systems)), {}).setdefault(row.systems, []).append(row)
    return Recording(keyed, orders, tuple(sorted({row.repeat for row in rows})))


def _answer(row: RecordedJudgment) -> Any:
    if row.kind == "pairwise":
        return row.verdict
    return row.score if row.score is not None else row.label


def _unreadable(raw: str | None) -> str:
    """The judge's own words, unless they could be taken for a reply: then nothing."""
    return "" if raw is None or "{" in raw else raw


def _confidence(row: RecordedJudgment) -> float | None:
    """The probability that the judge gave to its own verdict, where it gave one."""
    if (row.score is None and row.probs is None) or row.preference is None or row.verdict not in ("first", "second"):
        return None
    return row.preference if row.verdict == "second" else 1 - row.preference


def provider(target: Target, *, family: str | None = None) -> ReplayProvider:
    return ReplayProvider(target)

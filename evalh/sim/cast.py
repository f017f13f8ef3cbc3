"""Who plays in a simulator, and what has been asked of whom: counts, faults, and the answer to a request. No HTTP here.

Two counts are kept for each content: arrivals (every request) and answers. Faults and malformed replies are drawn by
arrival, verdicts by answer, so that a dropped or malformed reply never changes the verdict that a repeated request gets.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import Any, Literal, NamedTuple

from evalh.errors import InputError
from evalh.sim.behaviour import Material, Said, material, said
from evalh.sim.completions import continued
from evalh.sim.draws import key_of, uniform
from evalh.sim.logprobs import Memory, load_memory
from evalh.sim.profile import Acting, Judge, Profile, System, Traffic
from evalh.sim.prompts import Wanted, read_shown, read_wanted, smallest
from evalh.sim.truth import input_texts, load_truth, normal, rows, text_of
from evalh.sim.wire import CHARS_PER_TOKEN, Answered, Asked

Fault = Literal["fault_429", "fault_500", "dropped", "stalled"]


class Turn(NamedTuple):
    """One request to one model."""

    player: Judge | System
    traffic: Traffic  # with the drifts of the day
    acting: Acting | None  # judges only
    version: str
    wanted: Wanted
    given: Material | None  # where verdicts are wanted
    key: str  # names the content and what is asked of it
    arrival: int


class Cast:
    """The models of a profile with what they know, and the counts of this server."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.truth = load_truth(profile)
        self.players: dict[str, Judge | System] = {player.model: player for player in profile.players}
        self.memories = {player.model: load_memory(profile, player) for player in profile.players}
        self.answers = {system.model: Answers(profile, system) for system in profile.system}
        self.counts: dict[str, Counter[str]] = {}
        self._acting: dict[tuple[str, date], Acting] = {}
        self._arrivals: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        """Forgets every count, as after a restart."""
        self.counts = {model: Counter() for model in self.players}
        self._arrivals.clear()
        self._answered.clear()

    def arrive(self, player: Judge | System, asked: Asked, day: date) -> Turn:
        """Counts a request and reads what it shows and wants."""
        acting = self._on(player, day) if isinstance(player, Judge) else None
        traffic, version = (acting.judge, acting.version) if acting else (player, player.reported)
        given, wanted = None, Wanted("text") if asked.schema is None else Wanted("schema", {}, asked.schema)
        if acting and not asked.prompts:
            shown = read_shown(asked.text)
            wanted = read_wanted(asked.schema, shown)
            if wanted.aspects:
                given = material(shown, self.truth)
        about = (given.key, given.order, *wanted.aspects) if given else (normal(asked.text),)
        key = key_of(player.model, *about)
        self._arrivals[key] += 1
        self.counts[player.model]["requests"] += 1
        return Turn(player, traffic, acting, version, wanted, given, key, self._arrivals[key])

    def fault(self, turn: Turn) -> Fault | None:
        """The fault drawn for this arrival, if any. They exclude each other."""
        traffic, left = turn.traffic, uniform(self.profile.seed, turn.key, turn.arrival, "fault")
        rates: tuple[tuple[Fault, float], ...] = (
            ("fault_429", traffic.fault_429_rate), ("fault_500", traffic.fault_500_rate),
            ("dropped", traffic.drop_rate), ("stalled", traffic.stall_rate),
        )  # fmt: skip
        for name, rate in rates:
            if left < rate:
                return name
            left -= rate
        return None

    def delay(self, turn: Turn) -> float:
        """Seconds until the answer."""
        jitter = turn.traffic.latency_jitter_ms
        if jitter:
            jitter *= 2 * uniform(self.profile.seed, turn.key, turn.arrival, "latency") - 1
        return max(0.0, turn.traffic.latency_ms + jitter) / 1000

    def answer(self, turn: Turn, asked: Asked) -> Answered:
        """What the model answers, cut at max_tokens."""
        model, memory = turn.player.model, self.memories[turn.player.model]
        calls: tuple[Mapping[str, Any], ...] = ()
        nth = self._answered[turn.key] + 1
        if turn.given is not None and turn.acting is not None:
            reply = said(turn.acting, self.truth, self.profile.seed, turn.given, turn.wanted, nth, turn.arrival)
        else:
            reply, calls = self._spoken(turn, asked, memory)
        if reply.kind in ("text", "verdicts"):
            self._answered[turn.key] = nth
            self.counts[model]["answered"] += 1
        else:
            self.counts[model]["refused" if reply.kind == "refusal" else "malformed"] += 1
        room = None if asked.prompts or asked.max_tokens is None else asked.max_tokens * CHARS_PER_TOKEN
        if room is not None and len(reply.text) > room:
            reply = reply._replace(text=reply.text[:room], cut=True)
        continuations = tuple(continued(prompt, memory, asked.max_tokens or 0) for prompt in asked.prompts)
        fingerprint = "fp_" + key_of(model, turn.version)[:10]
        return Answered(reply, key_of(turn.key, turn.arrival), turn.version, fingerprint, calls, memory, continuations)

    def _on(self, judge: Judge, day: date) -> Acting:
        if (judge.model, day) not in self._acting:
            self._acting[judge.model, day] = judge.on(day)
        return self._acting[judge.model, day]

    def _spoken(self, turn: Turn, asked: Asked, memory: Memory) -> tuple[Said, tuple[Mapping[str, Any], ...]]:
        """Whatever is not a verdict: a system's answer, the smallest instance of a schema, a remembered text, a stock reply."""
        if asked.prompts:
            return Said("text", ""), ()
        row = self.answers[turn.player.model].find(asked) if isinstance(turn.player, System) else None
        if row is not None:
            return Said("text", row.get("output") or ""), tuple(row.get("tool_calls") or ())
        if turn.wanted.schema is not None:
            return Said("text", json.dumps(smallest(turn.wanted.schema), ensure_ascii=False)), ()
        rest = memory.completion(asked.text) if memory else None
        return Said("text", rest or f"Simulated: {turn.player.model} has no answer to this."), ()


class Answers:
    """What a system answers, by input text."""

    def __init__(self, profile: Profile, system: System) -> None:
        self.seed, self.system = profile.seed, system
        self._by_input: dict[str, list[dict[str, Any]]] = {}
        self._found: dict[str, str | None] = {}
        inputs = input_texts(profile)
        for where, row in rows(profile.folder / system.answers) if system.answers else ():
            given = text_of(row["input"]) if row.get("input") is not None else inputs.get(str(row.get("item_id")))
            if given is None or not isinstance(row.get("output"), str):
                raise InputError(
                    "needs `input` and `output`", where=where, hint="or an `item_id` that is in the profile's `items`, and `output`"
                )
            self._by_input.setdefault(normal(given), []).append(row)
        self._longest = sorted(self._by_input, key=len, reverse=True)

    def find(self, asked: Asked) -> dict[str, Any] | None:
        """The answer to the input that is the last message, or the longest one that stands in it."""
        given = normal(asked.last)
        if given not in self._found:
            inside = next((text for text in self._longest if text and text in given), None)
            self._found[given] = given if given in self._by_input else inside
        input_ = self._found[given]
        return None if input_ is None else self._pick(input_, self._by_input[input_])

    def _pick(self, input_: str, found: list[dict[str, Any]]) -> dict[str, Any]:
        good = [row for row in found if _quality(row) >= 0.5]
        bad = [row for row in found if _quality(row) < 0.5]
        if good and bad:
            found = good if uniform(self.seed, self.system.model, input_, "good") < self.system.accuracy else bad
        return found[int(uniform(self.seed, self.system.model, input_, "which") * len(found))]


def _quality(row: Mapping[str, Any]) -> float:
    quality = row.get("quality", (row.get("meta") or {}).get("quality", 1.0))
    return float(quality) if isinstance(quality, int | float) else 1.0

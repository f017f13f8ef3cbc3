"""What was answered in a probe, judge by judge, from the rows of the store: one reply of a judge to one question each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from evalh.probe.questions import RECOGNISE_PROMPT
from evalh.stats.probing import FloatArray, IntArray

Row = Mapping[str, Any]


class Shown(NamedTuple):
    """An answer as it was shown: how long it is, who wrote it, and of a changed one what was done to which."""

    chars: int
    family: str | None
    probe: str = ""
    variant: str = ""
    of: str = ""
    chars_of: int = 0


class Reply(NamedTuple):
    """One reply. `scores` by aspect, in [0, 1] (of a pair: preference for the second shown); None where it could not be read."""

    probe: str
    item_id: str
    cluster: str
    systems: tuple[str, ...]
    trial: int
    repeat: int
    scores: dict[str, float | None]
    why: str | None
    bytes_: int | None  # hash of the reply as it came
    rationale: str | None
    call_id: str | None
    own: str | None  # asked who wrote what: the system of the judge's own family

    @property
    def scored(self) -> bool:
        return all(score is not None for score in self.scores.values())

    def mean(self, weights: Mapping[str, float]) -> float | None:
        """The mean over the aspects, None where one is unread."""
        if not self.scored:
            return None
        total = sum(weights.get(aspect, 1.0) for aspect in self.scores)
        return sum(weights.get(aspect, 1.0) * (score or 0.0) for aspect, score in self.scores.items()) / total

    def worth(self, system: str, weights: Mapping[str, float]) -> float | None:
        """What the reply is worth to a system: its score, or of a pair 1 where it was preferred, 0 where the other was, ½ for a tie."""
        mean = self.mean(weights)
        return mean if mean is None or len(self.systems) == 1 or self.systems[1] == system else 1.0 - mean


class Answered(NamedTuple):
    """All replies of one judge: to the suite's rubric, and to the question who wrote what."""

    judge: str
    prompt: str
    versions: tuple[str, ...]
    replies: tuple[Reply, ...]
    whose: tuple[Reply, ...]

    def of(self, *probes: str) -> list[Reply]:
        return [reply for reply in self.replies if reply.probe in probes]


def answered_of(judge: str, prompt: str, rows: Iterable[Row]) -> Answered:
    """The replies of one judge. `rows` are `probe_verdicts` of the whole run."""
    own = [row for row in rows if row["judge"] == judge]
    versions = tuple(sorted({row["judge_version"] for row in own if row["judge_version"]}))
    return Answered(judge, prompt, versions, _replies(own, prompt), _replies(own, RECOGNISE_PROMPT))


def _replies(rows: Sequence[Row], prompt: str) -> tuple[Reply, ...]:
    """One reply of each question and repeat, with all its aspects."""
    found: dict[tuple[Any, ...], Reply] = {}
    for row in rows:
        if row["prompt"] != prompt:
            continue
        key = (row["item_id"], *row["systems"], row["trial"], row["repeat"])
        reply = found.get(key)
        if reply is None:
            reply = found[key] = Reply(
                row["probe"], row["item_id"], row["cluster"], tuple(row["systems"]), row["trial"], row["repeat"], {},
                row["unscored_reason"], row["reply"], row["rationale"], row["call_id"], row["own"],
            )  # fmt: skip
        reply.scores[row["aspect"]] = row["score"] if row["status"] == "scored" else None
    return tuple(found.values())


def shown_of(rows: Iterable[Row]) -> dict[tuple[str, str], Shown]:
    """What was shown, by item and system. `rows` are `probe_outputs`."""
    made = {}
    for row in rows:
        meta = row["meta"] if row["meta"].get("probe") in ("padded", "injection") else {}
        about = {name: meta[name] for name in ("probe", "variant", "of", "chars_of") if name in meta}
        made[row["item_id"], row["system"]] = Shown(row["chars"], row["family"], **about)
    return made


def codes(names: Sequence[Any]) -> IntArray:
    """The names as numbers, equal names equal numbers, in the order of their first."""
    place: dict[Any, int] = {}
    return np.array([place.setdefault(name, len(place)) for name in names], dtype=np.int64)


def numbers(values: Sequence[float]) -> FloatArray:
    return np.array(values, dtype=np.float64)

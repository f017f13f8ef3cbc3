"""What the simulator knows of a text: its latent quality, the family that wrote it, its length.

A text is matched with the truth file exactly after whitespace is normalised, then with each [bracketed part] standing for
anything, then by the longest line that stands in it whole (a text made longer keeps its quality), then by similarity: a masked
text keeps its quality. A text that is not in the file has one too: a hash of itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rapidfuzz import fuzz, process

from evalh.errors import InputError
from evalh.sim.draws import key_of, uniform
from evalh.sim.profile import Profile

WHOLE = 16  # characters of a line from which a text that holds it is that line, made longer
MATCH = 85.0  # rapidfuzz ratio from which a text counts as the same, masked
MASK = re.compile(r"\[[^\[\]]{1,40}\]")
TYPICAL_CHARS = 400  # where neither the profile nor a truth file says
_CACHED = 50_000


class Fact(NamedTuple):
    """One line of a truth file."""

    text: str
    quality: float
    family: str | None = None
    input: str | None = None
    aspects: Mapping[str, float] = {}


class Known(NamedTuple):
    """What is known of a text as shown. `key` names what it was matched with, so that masking changes no draw."""

    key: str
    text: str
    quality: float
    aspects: Mapping[str, float]
    family: str | None

    @property
    def chars(self) -> int:
        """Length as shown, at least 1."""
        return max(1, len(self.text))

    def on(self, aspect: str) -> float:
        """The quality in an aspect, in [0, 1]."""
        return self.aspects.get(aspect, self.quality)


def normal(text: str) -> str:
    """The text with every run of whitespace as one space."""
    return " ".join(text.split())


class Truth:
    """An index over facts. Look-ups are cached: `find` is on the path of every request."""

    def __init__(self, facts: Sequence[Fact] = (), *, seed: int = 0, typical_chars: int | None = None) -> None:
        self.seed = seed
        self.facts = [fact._replace(text=normal(fact.text), input=normal(fact.input) if fact.input is not None else None) for fact in facts]
        lengths = [len(fact.text) for fact in self.facts]
        self.typical_chars = max(1, typical_chars or (round(median(lengths)) if lengths else TYPICAL_CHARS))
        self._by_text: dict[str, list[Fact]] = {}
        self._by_input: dict[str | None, list[Fact]] = {}
        for fact in self.facts:
            self._by_text.setdefault(fact.text, []).append(fact)
            self._by_input.setdefault(fact.input, []).append(fact)
        self._found: dict[tuple[str, str | None], Known] = {}

    def find(self, text: str, input_: str | None) -> Known:
        """What is known of an answer to an input."""
        known = self._found.get((text, input_))
        if known is None:
            if len(self._found) >= _CACHED:
                self._found.clear()
            known = self._found[text, input_] = self._look_up(normal(text), None if input_ is None else normal(input_))
        return known

    def _look_up(self, text: str, input_: str | None) -> Known:
        fact = self._exact(text, input_) or self._unmasked(text, input_) or self._longer(text, input_) or self._similar(text, input_)
        if fact is None:
            return Known(key_of("text", text), text, uniform(self.seed, "quality", text), {}, None)
        return Known(key_of("fact", fact.input or "", fact.text), text, fact.quality, fact.aspects, fact.family)

    def _exact(self, text: str, input_: str | None) -> Fact | None:
        facts = self._by_text.get(text, [])
        if len(facts) < 2 or input_ is None:
            return facts[0] if facts else None
        return max(facts, key=lambda f: (f.input == input_, fuzz.ratio(f.input or "", input_)))

    def _likely(self, input_: str | None) -> list[Fact]:
        """The facts that a text can be: those of its input and those without one, or all where the input is not known."""
        if input_ is None or input_ not in self._by_input:
            return self.facts
        return self._by_input[input_] + self._by_input.get(None, [])

    def _unmasked(self, text: str, input_: str | None) -> Fact | None:
        pieces = MASK.split(text)
        if len(pieces) == 1 or not any(pieces):
            return None
        return next((fact for fact in self._likely(input_) if _fits(pieces, fact.text)), None)

    def _longer(self, text: str, input_: str | None) -> Fact | None:
        """The longest fact that stands in the text whole; of the shown input, or else of any: an answer to another question."""
        for facts in (self._likely(input_), self.facts):
            whole = [fact for fact in facts if WHOLE <= len(fact.text) < len(text) and fact.text in text]
            if whole:
                return max(whole, key=lambda fact: len(fact.text))
        return None

    def _similar(self, text: str, input_: str | None) -> Fact | None:
        facts = self._likely(input_)
        if not facts or not text:
            return None
        best = process.extractOne(text, [f.text for f in facts], scorer=fuzz.ratio, score_cutoff=MATCH)
        return facts[best[2]] if best else None


def input_texts(profile: Profile) -> dict[str, str]:
    """The inputs of the profile's `items`, by item_id, so that outputs.jsonl can serve as truth or as answers."""
    inputs: dict[str, str] = {}
    for name in profile.items:
        for where, row in rows(profile.folder / name):
            if row.get("input") is None:
                continue
            text = text_of(row["input"])
            if inputs.setdefault(str(row.get("item_id")), text) != text:
                raise InputError(f"item_id {row.get('item_id')!r} stands for another input too", where=where)
    return inputs


def _fits(pieces: Sequence[str], text: str) -> bool:
    """Whether the pieces stand in the text in order, from its start to its end, and make up half of it."""
    first, *middle, last = pieces
    at = len(first)
    if not (text.startswith(first) and text.endswith(last) and sum(map(len, pieces)) * 2 >= len(text)):
        return False
    for piece in middle:
        at = text.find(piece, at, len(text) - len(last))
        if at < 0:
            return False
        at += len(piece)
    return at <= len(text) - len(last)


def load_truth(profile: Profile) -> Truth:
    """The truth of a profile. Raises InputError with file and line."""
    inputs = input_texts(profile)
    seen: dict[tuple[str, str | None], tuple[float, str]] = {}
    facts: list[Fact] = []
    for name in profile.truth:
        for where, row in rows(profile.folder / name):
            fact = _fact(row, where, inputs)
            key = (normal(fact.text), fact.input and normal(fact.input))
            quality, first = seen.setdefault(key, (fact.quality, where))
            if quality != fact.quality:
                hint = "give each its `input`, or an `item_id` of the profile's `items`, to tell them apart"
                raise InputError(f"the same text has another quality at {first}", where=where, hint=hint)
            if first == where:
                facts.append(fact)
    return Truth(facts, seed=profile.seed, typical_chars=profile.typical_chars)


def rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON Lines file with where each stands; a line that holds only a canary is passed over."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}:{number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"not JSON: {error}", where=where, hint="one JSON object a line") from None
            if not isinstance(row, dict):
                raise InputError("not a JSON object", where=where, hint="one JSON object a line")
            if set(row) != {"_canary"}:
                yield where, row


def text_of(value: Any) -> str:
    """An input as one text: chat messages are joined as `role: content`, as judges are shown them."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(m, dict) and "content" in m for m in value):
        return "\n".join(f"{m.get('role', 'user')}: {m['content']}" for m in value)
    return json.dumps(value, ensure_ascii=False)


def _fact(row: dict[str, Any], where: str, inputs: Mapping[str, str]) -> Fact:
    text = row.get("text", row.get("output"))
    meta = row.get("meta") if isinstance(row.get("meta"), dict) else {}
    quality = row.get("quality", (meta or {}).get("quality"))
    aspects = row.get("aspects", (meta or {}).get("aspects")) or {}
    if not isinstance(text, str):
        raise InputError("`text` (or `output`) must be a text", where=where)
    if not isinstance(quality, int | float) or not _share(quality):
        hint = "give it beside the text, or in its `meta`"
        raise InputError(f"`quality` must be a number from 0 to 1, not {quality!r}", where=where, hint=hint)
    if not isinstance(aspects, dict) or not all(map(_share, aspects.values())):
        raise InputError("`aspects` must map names to numbers from 0 to 1", where=where)
    input_ = text_of(row["input"]) if row.get("input") is not None else inputs.get(str(row.get("item_id")))
    return Fact(text, float(quality), row.get("family"), input_, aspects)


def _share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1

"""A stated language model: word tokens, their log-probabilities, and the texts that a model remembers.

Base law: in the context of the word before it, a token has a rank r in 1 … V, drawn by hash with probability 1/(r·H_V)
(Zipf), and that is its probability, so a text is a typical draw of the model. Memory: after three words that stand in a remembered
text, the words that follow there share `gain` of the mass, and every other probability is multiplied by 1 - gain.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate
from math import ceil, log
from typing import Any, NamedTuple

from evalh.sim.draws import uniform
from evalh.sim.profile import Judge, Profile, System
from evalh.sim.truth import normal, rows, text_of

VOCABULARY = 50_000
MAX_LOGPROBS = 20  # vLLM's default for --max-logprobs
HARMONIC = log(VOCABULARY) + 0.5772156649015329 + 1 / (2 * VOCABULARY)  # the sum of 1/r to V, within 1e-10
CONTEXT = 3  # words after which a remembered text is recognised
PREFIX = 8  # words of a remembered text that a prompt must hold before the model completes it

_TOKEN = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")


class Token(NamedTuple):
    """A token of a text: its id is stable over requests, runs and machines."""

    text: str
    id: int
    offset: int


class Scored(NamedTuple):
    """A token with its log-probability and rank, and the likeliest others: (id, text, log-probability, rank)."""

    token: Token
    logprob: float
    rank: int
    top: tuple[tuple[int, str, float, int], ...]


class Memory:
    """The texts that one model remembers."""

    def __init__(self, texts: Iterable[str] = (), *, gain: float = 0.5) -> None:
        self.gain = gain
        self._next: dict[tuple[str, ...], list[str]] = {}
        self._starts: dict[tuple[str, ...], list[str]] = {}
        for text in texts:
            self._learn(text)

    def __bool__(self) -> bool:
        return bool(self._next)

    def _learn(self, text: str) -> None:
        words = text.split()
        if len(words) > PREFIX:
            self._starts.setdefault(tuple(words[:PREFIX]), words)
        tokens = [token.text.strip() for token in tokenize(text)]
        for i in range(CONTEXT, len(tokens)):
            known = self._next.setdefault(tuple(tokens[i - CONTEXT : i]), [])
            if tokens[i] not in known:
                known.append(tokens[i])

    def follows(self, context: tuple[str, ...]) -> Sequence[str]:
        """The words that follow three words in remembered texts."""
        return self._next.get(context, ())

    def completion(self, prompt: str) -> str | None:
        """The rest of a remembered text whose beginning (at least 8 words) the prompt holds; the last one counts."""
        words = prompt.split()
        for at in range(len(words) - PREFIX, -1, -1):
            text = self._starts.get(tuple(words[at : at + PREFIX]))
            if text is None:
                continue
            same = next((i for i, (a, b) in enumerate(zip(text, words[at:], strict=False)) if a != b), min(len(text), len(words) - at))
            return " ".join(text[same:]) or None
        return None


def load_memory(profile: Profile, player: Judge | System) -> Memory:
    """What a player remembers: of each text of its files, with its `memory_rate`. Inputs and references are one text."""
    kept: list[str] = []
    for name in player.memorised:
        for _, row in rows(profile.folder / name):
            text = row["text"] if isinstance(row.get("text"), str) else " ".join(
                text_of(row[field]) for field in ("input", "reference", "output") if row.get(field) is not None
            )  # fmt: skip
            if text and uniform(profile.seed, player.model, normal(text), "remembers") < player.memory_rate:
                kept.append(text)
    return Memory(kept, gain=player.memory_gain)


def tokenize(text: str) -> list[Token]:
    """Words and signs with the space before them; joined they are the text again."""
    return [Token(m[0], VOCABULARY + 1 + int(uniform("token", m[0]) * 2**40), m.start()) for m in _TOKEN.finditer(text)]


def scored(tokens: Sequence[Token], memory: Memory, k: int, *, start: int = 0) -> list[Scored | None]:
    """Each token from `start` in its context, with the `k` likeliest tokens there. The first token of a text has no context: None."""
    return [None if i == 0 else _scored(tokens, i, memory, k) for i in range(start, len(tokens))]


def _scored(tokens: Sequence[Token], i: int, memory: Memory, k: int) -> Scored:
    word, before = tokens[i].text.strip(), tokens[i - 1].text.strip()
    known = memory.follows(tuple(token.text.strip() for token in tokens[max(0, i - CONTEXT) : i])) if memory else ()
    keep = 1 - memory.gain if known else 1.0
    share = memory.gain / len(known) if known else 0.0
    base = _rank(before, word)
    p = keep * _zipf(base) + (share if word in known else 0.0)
    ranks = {next_: _rank(before, next_) for next_ in known if next_ != word}
    others = [(_id(next_), f" {next_}", share + keep * _zipf(rank)) for next_, rank in ranks.items()]
    likelier = ceil(keep / (p * HARMONIC) - 1e-9) - 1 if word in known else base - 1  # tokens of the base law above this one
    place = 1 + likelier - sum(rank <= likelier for rank in ranks.values()) + sum(mass > p for _, _, mass in others)
    taken = {base, *ranks.values()}
    others += [(rank, f" w{rank}", keep * _zipf(rank)) for rank in range(1, k + len(taken) + 1) if rank not in taken]
    others.sort(key=lambda entry: -entry[2])
    return Scored(tokens[i], log(p), place, _top(tokens[i], p, place, others, k))


def _top(token: Token, p: float, place: int, others: Sequence[tuple[int, str, float]], k: int) -> tuple[tuple[int, str, float, int], ...]:
    """The k likeliest tokens in the order of their ranks; the actual one stands at its own place."""
    entries: list[tuple[int, str, float, int]] = []
    waiting = list(others)
    for rank in range(1, k + 1):
        id_, text, mass = (token.id, token.text, p) if rank == place else waiting.pop(0)
        entries.append((id_, text, log(mass), rank))
    return tuple(entries)


def _rank(before: str, word: str) -> int:
    return drawn_rank(uniform("rank", before, word))


def drawn_rank(u: float) -> int:
    """The rank that a uniform number draws from the base law."""
    return min(VOCABULARY, bisect(_cumulated(), u) + 1)


@cache
def _cumulated() -> list[float]:
    return list(accumulate(_zipf(rank) for rank in range(1, VOCABULARY + 1)))


def _zipf(rank: int) -> float:
    return 1 / (rank * HARMONIC)


def _id(word: str) -> int:
    return VOCABULARY + 1 + int(uniform("token", f" {word}") * 2**40)


# --- as servers give them ----------------------------------------------------------------------------------------------


def prompt_logprobs(tokens: Sequence[Token], memory: Memory, k: int) -> list[dict[str, Any] | None]:
    """vLLM's form: first entry null, then {token_id: {logprob, rank, decoded_token}}, the actual token always among them."""
    entries: list[dict[str, Any] | None] = []
    for one in scored(tokens, memory, k):
        if one is None:
            entries.append(None)
            continue
        entry = {str(one.token.id): {"logprob": one.logprob, "rank": one.rank, "decoded_token": one.token.text}}
        for id_, text, logprob, rank in one.top:
            entry.setdefault(str(id_), {"logprob": logprob, "rank": rank, "decoded_token": text})
        entries.append(entry)
    return entries


def completion_logprobs(tokens: Sequence[Token], memory: Memory, k: int, *, start: int) -> dict[str, Any]:
    """The completions form: parallel lists; the first token of a text has null."""
    every = scored(tokens, memory, k, start=start)
    return {
        "text_offset": [token.offset for token in tokens[start:]],
        "token_logprobs": [one and one.logprob for one in every],
        "tokens": [token.text for token in tokens[start:]],
        "top_logprobs": [one and {one.token.text: one.logprob} | {text: logprob for _, text, logprob, _ in one.top} for one in every],
    }


def chat_logprobs(text: str, memory: Memory, k: int) -> list[dict[str, Any]]:
    """The chat form, for the tokens of a reply; the first follows an empty word."""
    tokens = [Token("", 0, 0), *tokenize(text)]
    content = []
    for one in scored(tokens, memory, k)[1:]:
        assert one is not None
        top = [_chat_entry(word, logprob) for _, word, logprob, _ in one.top]
        content.append({**_chat_entry(one.token.text, one.logprob), "top_logprobs": top})
    return content


def _chat_entry(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "surrogatepass"))}

"""Masking: hides from a judge who wrote an output, and records what was hidden.

Two things are masked: the names of the systems compared, anywhere; and any known name of a model or a vendor where the
text says by it who wrote it ("As ChatGPT, I …", "a language model trained by Google", "— Claude"). Talk about models
stays. Each name becomes the same token, nothing else of the text changes, and masking a masked text changes nothing.

How: the text is folded (compatibility forms, accents, look-alike letters, invisible characters), known names are found in
it by dictionary, each becomes one placeholder character, and the phrases of `self_identification` run over that skeleton.
Every repetition in them is bounded, so that the time is linear in the text whoever wrote it (a test holds this).
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from evalh.errors import EvalhError
from evalh.judging import self_identification as phrases
from evalh.judging.families import Families

NEUTRAL = "[name withheld]"
SHORTEST_NAME = 3  # characters; a shorter name is a syllable of ordinary words
MOST_PASSES = 12  # two are usual: one masks, one finds nothing left


class Masked(NamedTuple):
    """A piece of the original text that a judge does not see: where it began, what it was, why it was masked."""

    start: int
    text: str
    why: str


class _Span(NamedTuple):
    start: int
    end: int
    why: str


def mask(text: str, *, names: Sequence[str], families: Families) -> tuple[str, list[Masked]]:
    """The text without its author's name, and what was masked, in order.

    Args:
        text: an output.
        names: names and versions of the systems compared; those shorter than 3 characters or without a letter are left out
            (a version `1.0` would blank numbers).
        families: whose models and vendors are known.

    Raises:
        EvalhError: the text still identified its author after `MOST_PASSES`; it must not reach a judge.
    """
    listed, known = _folded_names(tuple(names)), _known(families)
    spans: list[_Span] = []
    for _ in range(MOST_PASSES):
        masked, starts = _apply(text, spans)
        found = _find(masked, listed, known)
        if not found:
            return masked, [Masked(s.start, text[s.start : s.end], s.why) for s in spans]
        back = [_Span(_original(s.start, spans, starts), _original(s.end, spans, starts), s.why) for s in found]
        spans = _merged([*spans, *back])
    raise EvalhError("an output keeps naming its author however often it is masked", hint="leave it out, or judge it with mask: false")


# ── spans ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _apply(text: str, spans: Sequence[_Span]) -> tuple[str, list[int]]:
    """The text with a token for each span, and where each token begins in it."""
    pieces: list[str] = []
    starts: list[int] = []
    position = length = 0
    for span in spans:
        length += span.start - position
        starts.append(length)
        pieces += [text[position : span.start], NEUTRAL]
        length += len(NEUTRAL)
        position = span.end
    return "".join([*pieces, text[position:]]), starts


def _original(position: int, spans: Sequence[_Span], starts: Sequence[int]) -> int:
    """Where a position of the masked text, outside its tokens, lies in the original."""
    before = bisect_left(starts, position)
    return position if before == 0 else spans[before - 1].end + position - (starts[before - 1] + len(NEUTRAL))


def _merged(spans: Iterable[_Span]) -> list[_Span]:
    """Spans in order, those that overlap as one, with the reason of the longer."""
    merged: list[_Span] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if merged and span.start < merged[-1].end:
            last = merged.pop()
            why = max(last, span, key=lambda s: s.end - s.start).why
            merged.append(_Span(last.start, max(last.end, span.end), why))
        else:
            merged.append(span)
    return merged


def _find(text: str, listed: Sequence[str], known: _Lexicon) -> list[_Span]:
    """What to mask in a text, tokens that stand in it aside."""
    folded = _Folded.of(text)
    found = list(_occurrences(folded, listed))
    places = [name for name in known.names_in(folded) if not _is_person(name, folded)]
    if any(place.kind != phrases.WITHHELD for place in places):
        skeleton, positions = _skeleton(folded.text, places)
        for language, pattern in phrases.patterns(_fold):
            for hit in pattern.finditer(skeleton):
                said = places[bisect_left(positions, hit.start()) : bisect_left(positions, hit.end())]
                found += [_Span(n.start, n.end, f"self-identification ({language})") for n in said]
    return _merged(_Span(*folded.original(s.start, s.end), s.why) for s in found)


def _skeleton(folded: str, places: Sequence[_Name]) -> tuple[str, list[int]]:
    """The text with one placeholder for each name, and the placeholders' positions."""
    pieces: list[str] = []
    positions: list[int] = []
    end = length = 0
    for place in places:
        length += place.start - end
        positions.append(length)
        pieces += [folded[end : place.start], place.kind]
        length += 1
        end = place.end
    return "".join([*pieces, folded[end:]]), positions


# ── folding: what looks alike becomes equal ─────────────────────────────────────────────────────────────────────────────

_LOOKALIKE = str.maketrans("авекмнорстухіјѕԁԛԝһӏαβεηικμορτυχζı", "abekmhopctyxijsdqwhlabehikmoptyxzi")  # Cyrillic, Greek
_SIGNS = {
    c: sign for sign, variants in {"-": "‐‑‒−﹣－⁃", "—": "–—―⸺", "'": "’‘ʼ＇ʹ", '"': "“”„«»‹›「」『』《》"}.items() for c in variants
}
_LINES = dict.fromkeys("\n\x0b\x0c\x85\u2028\u2029", "\n")
_UNSEEN = frozenset("\u115f\u1160\u3164\uffa0\u2800\ufffc®™℠")  # blank letters, and marks that cling to a name
_PLACEHOLDERS = re.compile("[\ue000-\uf8ff]")


@lru_cache(maxsize=65536)
def _fold(char: str) -> str:
    """One character as it is compared: nothing for what is not seen, one plain lower-case letter for its variants."""
    if char in _LINES or char in _SIGNS:
        return _LINES.get(char) or _SIGNS[char]
    category = unicodedata.category(char)
    if char in _UNSEEN or (category in ("Cc", "Cf") and char != "\t"):
        return ""
    if category in ("Mn", "Me"):  # accents and overlays; not the vowel signs and voicing marks of other scripts
        return "" if ord(char) < 0x0590 or 0x1AB0 <= ord(char) < 0x2100 or ord(char) >= 0xFE00 else char
    plain = unicodedata.normalize("NFKC", char).casefold()
    if plain[:1] < "\u0590" or "\u1e00" <= plain[:1] < "\u2000":
        plain = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    return _PLACEHOLDERS.sub("\ufffd", "".join(_SIGNS.get(c, c) for c in plain)).translate(_LOOKALIKE)


class _Folded(NamedTuple):
    """A folded text and where it came from; `origins[i]` is where its character i stands in the source (None: at i)."""

    text: str
    source: str
    origins: list[int] | None

    @classmethod
    def of(cls, source: str) -> _Folded:
        if source.isascii() and source.replace("\n", " ").replace("\t", " ").isprintable():  # these differ by their case alone
            return cls(source.lower(), source, None)
        table = {char: _fold(char) for char in set(source)}
        text = "".join(map(table.__getitem__, source))
        if all(len(fold) == 1 for fold in table.values()):
            return cls(text, source, None)
        return cls(text, source, [i for i, char in enumerate(source) for _ in table[char]])

    def parted(self, position: int) -> bool:
        """Whether a word may begin or end here: not between two letters, unless something unseen stands between them."""
        if not (0 < position < len(self.text) and _JOINED.match(self.text, position - 1) and _JOINED.match(self.text, position)):
            return True
        between = self.source[self.origins[position - 1] + 1 : self.origins[position]] if self.origins else ""
        return any(not unicodedata.combining(char) for char in between)

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The span of the source from which `[start, end)` came: whole characters with their accents."""
        first, last = (start, end) if self.origins is None else (self.origins[start], self.origins[end - 1] + 1)
        while last < len(self.source) and unicodedata.combining(self.source[last]) and not _fold(self.source[last]):
            last += 1
        return first, last


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

# Scripts written without spaces, or with particles that cling to a name: between them and a name there is always a boundary.
_JOINED_SCRIPTS = "\u0e00-\u0eff\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
_LETTER = rf"[^\W_{_JOINED_SCRIPTS}]"
_WORDS = re.compile(rf"{re.escape(NEUTRAL)}|[{_JOINED_SCRIPTS}]|(?:(?!\d){_LETTER}){{1,64}}|\d{{1,64}}")
_JOINED = re.compile(_LETTER)
_DASHES = str.maketrans("—_", "--")
_VERSION_WORD = (
    "ai|air|base|beta|chat|code|coder|exp|experimental|fable|fast|flash|haiku|high|instruct|instant|it|large|latest|lite|luna|max|maverick|"
    "medium|mini|mythos|nano|next|omni|opus|plus|preview|pro|reasoner|reasoning|scout|small|sol|sonnet|terra|thinking|turbo|ultra|vision|vl"
)
_VERSION = re.compile(rf"(?:[ -]?v?\d{{1,8}}(?:[.x]\d{{1,4}}){{0,3}}[a-z]{{0,2}}(?!{_LETTER})|[ -](?:{_VERSION_WORD})(?!{_LETTER})){{0,8}}")
_PEOPLE = frozenset({"claude"})  # model names that are also first names: `I am Claude Monet` names no model
_SURNAME = re.compile(r"[ \t]{1,2}(?!Code\b)[^\W\d_a-z][a-z]")


class _Name(NamedTuple):
    start: int
    end: int
    kind: str


@lru_cache(maxsize=64)
def _folded_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names that are masked anywhere, as they are compared."""
    told = (name for name in names if len(name.strip()) >= SHORTEST_NAME and any(map(str.isalpha, name)))
    return tuple(filter(None, (_Folded.of(name).text.translate(_DASHES).strip() for name in told)))


def _occurrences(folded: _Folded, names: Sequence[str]) -> Iterator[_Span]:
    """Where a text holds one of the names as a word, outside tokens."""
    plain = folded.text.translate(_DASHES)
    tokens = [token.start() for token in re.finditer(re.escape(NEUTRAL), plain)]
    for name in names:
        start = plain.find(name)
        while start >= 0:
            end = start + len(name)
            token = bisect_left(tokens, end) - 1  # the last one that begins before the end
            if (token < 0 or tokens[token] + len(NEUTRAL) <= start) and folded.parted(start) and folded.parted(end):
                yield _Span(start, end, "name of a system")
            start = plain.find(name, start + 1)


class _Lexicon:
    """Known names, each of a kind, found by their first word: leftmost, then longest, with the version that follows."""

    def __init__(self, names: Iterable[tuple[str, str]]) -> None:
        self._by_word: dict[str, dict[str, str]] = {}
        for name, kind in names:
            folded = _Folded.of(name).text.translate(_DASHES).strip()
            if first := _WORDS.match(folded):
                self._by_word.setdefault(first[0], {}).setdefault(folded, kind)
        self._longest = {word: sorted(known, key=len, reverse=True) for word, known in self._by_word.items()}

    def names_in(self, folded: _Folded) -> Iterator[_Name]:
        """The names that a text holds, and the tokens."""
        plain = folded.text.translate(_DASHES)
        if self._longest.keys().isdisjoint(_WORDS.findall(plain)) and NEUTRAL not in plain:
            return
        end = 0
        for word in _WORDS.finditer(plain):
            if word.start() < end:
                continue
            if word[0] == NEUTRAL:
                yield _Name(word.start(), end := word.end(), phrases.WITHHELD)
            elif word[0] in self._longest and folded.parted(word.start()) and (name := self._at(folded, plain, word.start(), word[0])):
                yield name
                end = name.end

    def _at(self, folded: _Folded, plain: str, start: int, word: str) -> _Name | None:
        for known in self._longest[word]:
            if not plain.startswith(known, start):
                continue
            kind, end = self._by_word[word][known], start + len(known)
            if kind != phrases.VENDOR and (version := _VERSION.match(plain, end)):
                end = version.end()
            if folded.parted(end):
                return _Name(start, end, kind)
        return None


@lru_cache(maxsize=8)
def _known(families: Families) -> _Lexicon:
    """The names that models and vendors go by."""
    models = {name.casefold() for family in families for name in family.names}
    vendors = {spelling.casefold() for spellings in families.vendors.values() for spelling in spellings}
    kinds = {name: phrases.BOTH if name in vendors else phrases.MODEL for name in models} | dict.fromkeys(vendors - models, phrases.VENDOR)
    return _Lexicon(kinds.items())


def _is_person(name: _Name, folded: _Folded) -> bool:
    return folded.text[name.start : name.end] in _PEOPLE and bool(_SURNAME.match(folded.source, folded.original(name.start, name.end)[1]))

"""Masking: hides from a judge who wrote an output, and records what was hidden.

Two things are masked: the names of the systems compared, anywhere; and any known name of a model or a vendor where the
text says by it who wrote it ("As ChatGPT, I …", "a language model trained by Google", "— Claude"). Talk about models
stays. Each name becomes the same token, nothing else of the text changes, and masking a masked text changes nothing.

How: the text is folded (compatibility forms, accents, look-alike letters, invisible characters), known names are found in
it by dictionary, each becomes one placeholder character, and the phrases of `_PHRASES` run over that skeleton. Every
repetition in a pattern is bounded, so that the time is linear in the text whoever wrote it (a test holds this).
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from evalh.errors import EvalhError
from evalh.judging.families import Families

TOKEN = "[name withheld]"
SHORTEST_NAME = 3  # characters; a shorter name is a syllable of ordinary words
MOST_PASSES = 12  # two are usual: one masks, one finds nothing left

_MODEL, _VENDOR, _BOTH, _WITHHELD = "\ue000", "\ue001", "\ue002", "\ue003"  # one character a name in the skeleton


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
        names: names and versions of the systems compared; those shorter than 3 characters are left out.
        families: whose models and vendors are known.

    Raises:
        EvalhError: the text still identified its author after `MOST_PASSES`; it must not reach a judge.
    """
    listed, known = _listed(tuple(names)), _known(families)
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
        pieces += [text[position : span.start], TOKEN]
        length += len(TOKEN)
        position = span.end
    return "".join([*pieces, text[position:]]), starts


def _original(position: int, spans: Sequence[_Span], starts: Sequence[int]) -> int:
    """Where a position of the masked text, outside its tokens, lies in the original."""
    before = bisect_left(starts, position)
    return position if before == 0 else spans[before - 1].end + position - (starts[before - 1] + len(TOKEN))


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


def _find(text: str, listed: _Lexicon, known: _Lexicon) -> list[_Span]:
    """What to mask in a text, tokens that stand in it aside."""
    folded = _Folded.of(text)
    found = [_Span(n.start, n.end, "name of a system") for n in listed.names_in(folded.text) if n.kind != _WITHHELD]
    places = [name for name in known.names_in(folded.text) if not _is_person(name, folded, text)]
    if any(place.kind != _WITHHELD for place in places):
        skeleton, positions = _skeleton(folded.text, places)
        for language, pattern in _phrases():
            for hit in pattern.finditer(skeleton):
                said = places[bisect_left(positions, hit.start()) : bisect_left(positions, hit.end())]
                found += [_Span(n.start, n.end, f"self-identification ({language})") for n in said]
    return _merged(_Span(folded.origin(s.start), folded.origin(s.end), s.why) for s in _merged(found))


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

_LOOKALIKE = str.maketrans("авекмнорстухіјѕԁԛԝһӏαβεηικμορτυχζıӕ", "abekmhopctyxijsdqwhlabehikmoptyxzia")
_SIGNS = dict.fromkeys("‐‑‒−﹣－\u2043", "-") | dict.fromkeys("–—―⸺", "—") | dict.fromkeys("’‘ʼ＇ʹ", "'") | dict.fromkeys("“”„«»‹›「」『』《》", '"')
_LINES = dict.fromkeys("\n\x0b\x0c\x85\u2028\u2029", "\n")
_UNSEEN = frozenset("\u115f\u1160\u3164\uffa0\u2800\ufffc")
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
    """A folded text; `origins[i]` is where its character i stands in the original (None: at i)."""

    text: str
    origins: list[int] | None
    length: int

    @classmethod
    def of(cls, text: str) -> _Folded:
        table = {char: _fold(char) for char in set(text)}
        folded = "".join(map(table.__getitem__, text))
        if all(len(fold) == 1 for fold in table.values()):
            return cls(folded, None, len(text))
        return cls(folded, [i for i, char in enumerate(text) for _ in table[char]], len(text))

    def origin(self, position: int) -> int:
        """For the end of a span: unseen characters that cling to it belong to it."""
        if self.origins is None:
            return position
        return self.origins[position] if position < len(self.origins) else self.length


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

_JOINED_SCRIPTS = "\u0e00-\u0eff\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"  # no spaces, or particles
_LETTER = rf"[^\W_{_JOINED_SCRIPTS}]"
_WORDS = re.compile(rf"{re.escape(TOKEN)}|[{_JOINED_SCRIPTS}]|(?:(?!\d){_LETTER}){{1,64}}|\d{{1,64}}")
_JOINED = re.compile(_LETTER)
_DASHES = str.maketrans("—_", "--")
_VERSION_WORD = (
    "ai|air|base|beta|chat|code|coder|exp|experimental|fable|fast|flash|haiku|high|instruct|instant|it|large|latest|lite|luna|max|maverick|medium|mini|mythos|"
    "nano|next|omni|opus|plus|preview|pro|reasoner|reasoning|scout|small|sol|sonnet|terra|thinking|turbo|ultra|vision|vl"
)
_VERSION = re.compile(
    rf"(?:[ -]?v?\d{{1,8}}(?:[.x]\d{{1,4}}){{0,3}}[a-z]{{0,2}}(?!{_LETTER})|[ -](?:{_VERSION_WORD})(?!{_LETTER})){{0,8}}"
)
_PEOPLE = frozenset({"claude"})  # model names that are also first names: `I am Claude Monet` names no model
_SURNAME = re.compile(r"[ \t]{1,2}(?!Code\b)[^\W\d_a-z][a-z]")


class _Name(NamedTuple):
    start: int
    end: int
    kind: str


class _Lexicon:
    """Names, each of a kind, found in a folded text by their first word: leftmost, then longest, between word boundaries."""

    def __init__(self, names: Iterable[tuple[str, str]], *, versions: bool) -> None:
        self._versions = versions  # `GPT-4 Turbo` is one name where GPT is known
        self._by_word: dict[str, dict[str, str]] = {}
        for name, kind in names:
            phrase = _Folded.of(name).text.translate(_DASHES).strip()
            if first := _WORDS.search(phrase):
                self._by_word.setdefault(first[0], {}).setdefault(phrase[first.start() :], kind)
        self._longest = {word: sorted(phrases, key=len, reverse=True) for word, phrases in self._by_word.items()}

    def names_in(self, folded: str) -> Iterator[_Name]:
        plain = folded.translate(_DASHES)
        end = 0
        for word in _WORDS.finditer(plain):
            if word.start() < end:
                continue
            if word[0] == TOKEN:
                yield _Name(word.start(), end := word.end(), _WITHHELD)
            elif name := self._at(plain, word.start(), word[0]):
                yield name
                end = name.end

    def _at(self, plain: str, start: int, word: str) -> _Name | None:
        if word not in self._longest or (start and _JOINED.match(plain, start - 1) and _JOINED.match(plain, start)):
            return None
        for phrase in self._longest[word]:
            if not plain.startswith(phrase, start):
                continue
            kind, end = self._by_word[word][phrase], start + len(phrase)
            if self._versions and kind != _VENDOR and (version := _VERSION.match(plain, end)):
                end = version.end()
            if end == len(plain) or not (_JOINED.match(plain, end - 1) and _JOINED.match(plain, end)):
                return _Name(start, end, kind)
        return None


@lru_cache(maxsize=64)
def _listed(names: tuple[str, ...]) -> _Lexicon:
    """The names that are masked anywhere."""
    return _Lexicon(((name, _MODEL) for name in names if len(name.strip()) >= SHORTEST_NAME), versions=False)


@lru_cache(maxsize=8)
def _known(families: Families) -> _Lexicon:
    """The names that models and vendors go by."""
    models = {name.casefold() for family in families for name in family.names}
    vendors = {spelling.casefold() for spellings in families.vendors.values() for spelling in spellings}
    kinds = {name: _BOTH if name in vendors else _MODEL for name in models} | dict.fromkeys(vendors - models, _VENDOR)
    return _Lexicon(kinds.items(), versions=True)


def _is_person(name: _Name, folded: _Folded, text: str) -> bool:
    return folded.text[name.start : name.end] in _PEOPLE and bool(_SURNAME.match(text, folded.origin(name.end)))


# ── phrases by which a text says who wrote it ───────────────────────────────────────────────────────────────────────────
#
# In a phrase: <M> a model, <V> a vendor, <N> either, with quotes or emphasis around it; a space is white space; <W m,n>
# m to n words of the language's list, so that only what describes an assistant may stand between "I am" and the name;
# <MADE> its words for made. A phrase begins at a word. All names inside a match are masked.

_WORD_LISTS: dict[str, tuple[str, str]] = {  # language → (words that may stand between, words for made)
    "en": (
        r"an?|the|your|one|of|and|or|very|just|only|simply|actually|currently|not|here|to|help|helpful|harmless|honest|respectful|friendly|safe|large|small|new|"
        r"latest|advanced|powerful|smart|intelligent|general|purpose|language|ai|artificial|intelligence|machine|learning|deep|neural|chat|conversational|"
        r"virtual|digital|personal|open|source|weights?|multilingual|multimodal|generative|pre|fine|instruction|tuned|text|based|reasoning|foundation|frontier|"
        r"state|art|model|models|assistant|chatbot|bot|llm|llms|agent|system|program|software|computer|product|instance|version|variant|member|part|family|"
        r"series|that|which|who|was|is|were|has|been|have|being|am|specifically|originally|recently|proudly|created|called|named|known|as",
        r"made|created|developed|trained|built|designed|engineered|produced|released|fine-?tuned|programmed|powered|provided|introduced|deployed|operated",
    ),
    "de": (
        r"ein|eine|einem|einer|das|die|der|dem|den|grosses|neues|nur|kein|keine|ki|ai|sprach-?|sprachmodell|modell|gross|assistent|chatbot|system|"
        r"künstliche|künstlichen|intelligenz|virtueller|hilfreicher|intelligenter|digitaler|basiertes|gestütztes|namens|und|firma|unternehmen|team|wurde|ist|"
        r"basierend|auf",
        r"(?:weiter)?entwickel[a-z]{1,4}|trainier[a-z]{1,4}|erstell[a-z]{1,4}|geschaffen[a-z]{0,2}|erschaffen[a-z]{0,2}|programmier[a-z]{1,4}|gebaut[a-z]{0,2}|"
        r"konzipier[a-z]{1,4}|bereitgestell[a-z]{1,4}",
    ),
    "fr": (
        r"une?|le|la|les|l|d|de|du|des|grand|grande|gros|vaste|simple|modèle|langage|langue|linguistique|ia|intelligence|artificielle|assistant|assistante|"
        r"virtuel|virtuelle|conversationnel|conversationnelle|chatbot|agent|robot|programme|système|outil|informatique|appelée?|nommée?|et|qui|a|ai|été|est|"
        r"équipe|société|entreprise|basée?|sur",
        r"développée?|créée?|entraînée?|conçue?|formée?|fabriquée?|programmée?|mise? au point|proposée?",
    ),
    "es": (
        r"una?|el|la|los|de|del|gran|grande|modelo|lenguaje|lengua|ia|inteligencia|artificial|asistente|virtual|conversacional|chatbot|agente|robot|programa|"
        r"sistema|herramienta|llamad[oa]|y|que|fui|fue|ha|he|sido|equipo|empresa|compañía|basad[oa]|en",
        r"desarrollad[oa]|cread[oa]|entrenad[oa]|diseñad[oa]|construid[oa]|programad[oa]|hech[oa]|ofrecid[oa]",
    ),
    "pt": (
        r"uma?|o|a|os|de|do|da|grande|modelo|linguagem|língua|ia|inteligência|artificial|assistente|virtual|conversacional|chatbot|agente|robô|programa|"
        r"sistema|ferramenta|chamad[oa]|e|que|fui|foi|sido|equipe|empresa|basead[oa]|em",
        r"desenvolvid[oa]|criad[oa]|treinad[oa]|projetad[oa]|construíd[oa]|programad[oa]|feit[oa]",
    ),
    "it": (
        r"un|una|uno|il|lo|la|l|di|del|grande|modello|linguaggio|linguistico|ia|ai|intelligenza|artificiale|assistente|virtuale|conversazionale|chatbot|agente|"
        r"programma|sistema|strumento|chiamat[oa]|e|che|è|stat[oa]|team|società|azienda|basat[oa]|su",
        r"sviluppat[oa]|creat[oa]|addestrat[oa]|progettat[oa]|costruit[oa]|programmat[oa]|realizzat[oa]",
    ),
    "ru": (
        r"это|большая|большой|языковая|языковой|модель|модели|искусственный|искусственного|интеллект|интеллекта|ии|виртуальный|чат|бот|чат-?бот|ассистент|"
        r"помощник|нейросеть|система|программа|был|была|которая|которую|который|которого|по|имени|и|компанией|командой|фирмой|на|основе|от",
        r"создан[^\W\d_]{0,3}|созданн[^\W\d_]{1,3}|разработан[^\W\d_]{0,3}|разработанн[^\W\d_]{1,3}|обучен[^\W\d_]{0,3}|обученн[^\W\d_]{1,3}",
    ),
    "zh": (
        r"一个|一款|一种|一名|个|款|名|名为|名叫|叫做|叫|是|由|来自|被|基于|大型|大|大规模|语言|模型|人工智能|智能|助手|助理|聊天|机器人|对话|的|，|,|公司|团队|旗下|集团|ai| ",
        r"(?:所|自主|独立|共同)?(?:研发|开发|训练|创建|创造|推出|打造|设计|制造|构建|提供)",
    ),
}

_SELF = r"(?:i am|i'm|im|i was|i have been|i've been|i remain)"
_FIRST = r"(?:i|i'm|i've|i'll|i'd|my|we)(?![^\W_])"
_CLAUSE = r"(?:^[ ]{0,3}|(?<=[.!?:;,(\n\"*—])|(?<=[.!?:;,(\n\"*—] )|(?<=because )|(?<=but )|(?<=since )|(?<=that )|(?<=and )|(?<=so ))"
_BY = r"(?:by|from|at|of)(?: the| team| people| folks| researchers| engineers| company| startup| lab| at| of| inventors| a| and){0,5} <V>"
_ROLE = r"(?:model|assistant|ai|chatbot|llm|bot|system|instance|family|series)s?(?![^\W_])(?!'s)"
_PERSON = (
    r"(?![ -](?:users?|fans?|expert|engineer|developer|researcher|scientist|specialist|customer|subscriber|enthusiast|team|founder|employee|intern|lab|manager|"
    r"consultant|ethicist|safety)(?![^\W_]))"
)
_ANSWER = (
    r"(?:answer|response|reply|message|text|output|content|summary|review|essay|article|story|poem|email|letter|translation|explanation|report|document|"
    r"conversation)"
)
_TAIL = r"(?:,? \(?<V>\)?|,? <W 1,8>(?:(?:by|of|from) <V>)?)?[ .!*_)\"]{0,4}"
_OWNED = r"(?:<V>(?:'s)? )?"
_WROTE = r"(?:generated|answered|written|composed|drafted|authored|produced|created|provided|brought to you)"

_PHRASES: dict[str, tuple[str, ...]] = {
    "en": (
        # I am Claude · I'm not ChatGPT · I'm powered by OpenAI's GPT-4
        rf"{_SELF}(?:,| not| actually| really| in fact| indeed| just| simply| also| called| named| known as| based on| powered by| built on| running on|"
        rf" an instance of| a version of){{0,2}} {_OWNED}<M>(?!'s){_PERSON}",
        rf"(?:my name is|my name's|call me|i go by|i identify as|speaking as|answering as|responding as|in my (?:role|capacity) as|my identity (?:as|is)|"
        rf"yours truly,|it's me,|it is me,|me,|myself,|i run on(?: the)?) {_OWNED}<M>(?!'s)",
        rf"you(?:'re| are)(?: now| currently)? (?:talking|chatting|speaking|interacting) (?:to|with) {_OWNED}<M>(?!'s)",
        r"this is <M>(?= speaking| here|, your |[!.] (?:how|i|what|hi|hello)(?![^\W_]))",
        rf"{_CLAUSE}<M> here(?=[,.!:\n—-]| to help)",
        r"i, <M>,",
        # As ChatGPT, I · As Claude, an AI assistant made by Anthropic, I
        rf"{_CLAUSE}as (?:<V>'s )?<M>(?:,? <W 1,10>(?:{_BY})?)?,? {_FIRST}",
        # I am (Claude,) a model trained by Google · as a model trained by Google
        rf"(?:{_SELF}|{_CLAUSE}(?:as|being|like any|like other)|(?:i|i'm|my)(?![^\W_])[^.!?\n\ue000-\ue003]{{0,120}} as) (?:<M>,? )?<W 1,14>{_BY}",
        rf"{_SELF} <W 1,12>(?:called|named|known as) <M>",
        rf"{_SELF} <W 2,8>(?<!as )<M>(?=[,.!\n]|$)",
        rf"(?:{_SELF}|{_CLAUSE}(?:as|being)) <W 0,8><N>(?:'s)?[ -](?:<W 0,5>){_ROLE}{_PERSON}",
        # OpenAI trained me · my creators at Anthropic · Trained by Google, I
        r"<V>(?:'s (?:team|researchers|engineers))? (?:has |have |had |also |originally |who |which |that ){0,2}(?:<MADE> (?:and )?){1,2}me(?![^\W_])",
        r"my (?:creators?|makers?|developers?|trainers?|designers?|programmers|parent company|training|underlying model|base model|knowledge|architecture)"
        r"(?: here| over)?(?:,| at| by| from| is| are| was| were|:)? (?:the )?(?:team at |folks at |people at |company )?<N>",
        r"<V>,? (?:is |are )?(?:my (?:creator|maker|developer|trainer)s?|the (?:company|organi[sz]ation|team|lab) (?:that|which|who) "
        r"(?:<MADE> (?:and )?){1,2}me)(?![^\W_])",
        rf"{_CLAUSE}(?:<MADE> (?:and )?){{1,2}}by <N>, {_FIRST}",
        r"we(?: here)? at <V>",
        r"(?:i|i'm|my)(?![^\W_])[^.!?\n\ue000-\ue003]{0,160} <V>(?:'s?)? (?:use case|usage|content|safety|moderation) (?:policy|policies|guidelines)",
        # This answer was written by Claude · (Generated by GPT-4) · Model: gpt-4o
        rf"(?:this|the above|the following|the preceding) {_ANSWER}(?: above| below)? (?:was|is|has been) (?:automatically |entirely )?"
        rf"{_WROTE} (?:by|with|using) <W 0,6>{_OWNED}<N>(?!'s)",
        rf"^[ >*_#(\[\"-]{{0,6}}(?:{_ANSWER} )?(?:{_WROTE}|powered) (?:by|with|using):? {_OWNED}<N>[ .)\]*_\"]{{0,4}}$",
        rf"^[ >*_#(\[\"-]{{0,6}}(?:model|model name|author|assistant|ai model|llm|{_ANSWER} (?:by|from))[*_\"]{{0,3}}[ ]?[:=]?[ ]?{_OWNED}<M>"
        r"[ .)\]*_\",:]{0,4}$",
        # — Claude · Best regards, ChatGPT
        rf"^[ \t>*_]{{0,4}}(?:—{{1,2}}|--|~)[ ]?<M>{_TAIL}(?=[ \t]{{0,4}}(?:\n[ \t]{{0,4}}\n|\s{{0,8}}\Z))",
        rf"(?<=[ .!?\n])(?:—{{1,2}}|--|~)[ ]?<M>{_TAIL}(?=\s{{0,8}}\Z)",
        rf"(?<=\n\n)-[ ]?<M>{_TAIL}(?=\s{{0,8}}\Z)",
        r"(?:signed|sincerely|(?:kind |best |warm )?regards|best wishes|yours(?: (?:truly|sincerely|faithfully))?|respectfully|cordially|"
        rf"your <W 0,3>(?:assistant|ai|friend|helper|chatbot))(?:,|:| by|!)?[ \t]{{0,4}}\n{{0,3}}[ \t>*_—~-]{{0,4}}<M>{_TAIL}$",
        rf"(?:thanks|thank you|love|best|cheers|warmly)[,.!]?[ \t]{{0,4}}\n{{1,3}}[ \t>*_—~-]{{0,4}}<M>{_TAIL}$",
        # ChatGPT: Sure, here is …
        r"^[ \t*_#>\[(\"]{0,6}<M>(?: \(<V>\))?[*_\])\"]{0,4}[ ]?:[*_]{0,2}"
        r"(?=[ ]?\n| (?:sure|certainly|hello|hi|hey|i|i'm|as|yes|no|of course|thank|thanks|here|okay|great|absolutely)(?![^\W_]))",
    ),
    "de": (
        r"(?:ich (?:bin|heisse)|mein name ist|man nennt mich|nennen sie mich)(?: nicht| der| die| das| hier| einfach){0,2} <M>",
        r"als <M>,? (?:[a-z]{1,16} )?(?:ich|mein|meine)(?![^\W_])",
        r"(?:ich bin|ich wurde|als) (?:<M>,? )?<W 0,10>(?:von|durch|bei) <W 0,3><V>,? <W 0,4><MADE>",
        r"(?:ich bin|ich wurde|als) (?:<M>,? )?<W 1,10>(?:von|durch|bei|aus dem hause) <W 0,3><V>",
        r"ich bin <W 1,8><M>",
        r"<V> hat mich <MADE>",
    ),
    "fr": (
        r"(?:je suis|je m'appelle|mon nom est|appelez-moi)(?: pas| aussi| simplement){0,2} <M>",
        r"(?:en tant que|comme|moi,) <M>,? (?:je |j'|mon |ma |mes )",
        r"(?:je suis|j'ai ete|en tant qu[e'])[ ]?(?:<M>,? )?<W 1,14>(?:par|chez|de|d'[ ]?)[ ]?(?:l'[ ]?)?<W 0,4><V>",
        r"je suis <W 1,8><M>",
        r"<V> m'a <MADE>",
    ),
    "es": (
        r"(?:soy|me llamo|mi nombre es|me llaman|puedes llamarme)(?: el| la){0,1} <M>",
        r"como <M>,? (?:yo|no puedo|puedo|no tengo|tengo|mi|mis|soy|no soy|fui|me|te)(?![^\W_])",
        r"(?:soy|fui|he sido|como) (?:<M>,? )?<W 1,14>(?:por|en|de|del) <W 0,4><V>",
        r"soy <W 1,8><M>",
        r"<V> me (?:ha )?(?:<MADE>|creó|entrenó|desarrolló|diseñó)",
    ),
    "pt": (
        r"(?:sou|me chamo|chamo-me|meu nome é)(?: o| a){0,1} <M>",
        r"como (?:o )?<M>,? (?:eu|não posso|posso|não tenho|tenho|meu|minha|sou|não sou|fui|me)(?![^\W_])",
        r"(?:sou|fui|como) (?:(?:o )?<M>,? )?<W 1,14>(?:pela|pelo|por|na|da|do|de) <W 0,4><V>",
        r"sou <W 1,8><M>",
        r"<V> me (?:criou|treinou|desenvolveu|projetou)",
    ),
    "it": (
        r"(?:sono|mi chiamo|il mio nome è|chiamami) <M>",
        r"(?:come|in qualità di|in quanto) <M>,? (?:io|non posso|posso|non ho|ho|il mio|la mia|sono|non sono|mi)(?![^\W_])",
        r"(?:sono|come|in quanto) (?:<M>,? )?<W 1,14>(?:da|dal|dalla|di|presso) <W 0,4><V>",
        r"sono <W 1,8><M>",
        r"<V> mi ha <MADE>",
    ),
    "ru": (
        r"(?:я|меня зовут|мое имя)(?: —| -| это| не| просто| всего лишь){0,2} <M>(?=[,.!?\n)—-]|$| —| -)",
        r"(?:как|будучи) <M>,? (?:я|мне|мой|моя|у меня)(?![^\W_])",
        r"(?:я|меня|как|будучи)(?: —| -)? (?:<M>,? )?<W 0,10><MADE>,? <W 0,3><V>",
        r"<V> <MADE> меня",
        r"я(?: —| -)? <W 1,8><M>(?=[,.!?\n]|$)",
    ),
    "zh": (
        r"(?:我|本人|本助手)(?:就|其实|只|并|也|不){0,2}(?:是|叫|名叫|名为|的名字是|的名字叫)<W 0,8>(?:<V>(?:的|旗下的)?)?<M>"
        r"(?!的?(?:用户|粉丝|员工|创始|开发者|工程师|忠实|使用者))",
        r"(?:我是|我由|我被|我来自|作为|我叫)<W 0,12>(?:<M><W 0,8>)?<V><W 0,6><MADE>(?:的<W 0,8><M>)?",
        r"(?:我是|我叫|作为)<W 0,6><V><W 0,4>的<W 1,8>(?:模型|助手|助理|机器人|人工智能)",
        r"作为<W 0,8><M><W 0,4>,?[ ]?(?:我|本)",
        r"<V><MADE>了我",
    ),
    "ja": (
        r"(?:私|わたし|わたくし|僕|ぼく|当方)(?:の名前)?[はがも][、, ]?[^。！？\n\ue000-\ue003]{0,24}(?:<V>の)?<M>"
        r"(?:という[^。！？\n\ue000-\ue003]{1,16})?(?:です|だよ|だ。|であり|で、|と申し|といい|と言い|と呼)",
        r"(?:私|わたし|わたくし|僕|ぼく|当方)[はがも][、, ]?(?:<M>(?:です。|という[^。！？\n\ue000-\ue003]{1,16}、|、))?[^。！？\n\ue000-\ue003]{0,16}<V>"
        r"(?:社)?(?:によって|により|が|に|で|の)[^。！？\n\ue000-\ue003]{0,12}(?:開発|作成|作ら|訓練|トレーニング|学習|提供|設計|言語モデル|アシスタント)",
        r"<N>(?:が開発した|の|によって開発された)?(?:大規模)?(?:言語モデル|ai(?:アシスタント|モデル)?)?として(?:、|は|の)?[ ]?(?:私|わたし|お答え|お手伝い)",
        r"<V>が(?:私|僕)を[^。！？\n\ue000-\ue003]{0,8}(?:開発|作|訓練)",
    ),
    "ko": (
        r"(?:저는|나는|제 이름은|저의 이름은) [^.!?\n\ue000-\ue003]{0,24}<M>(?:입니다|이에요|예요|이라고|라고|이며|로서)",
        r"(?:저는|나는) (?:<M>(?:로|이며|입니다)?[., ]{0,2})?[^.!?\n\ue000-\ue003]{0,16}<V>(?:에서|가|이|사가|에 의해|의)[ ]?"
        r"[^.!?\n\ue000-\ue003]{0,8}(?:개발|훈련|만든|만들|학습|제작|언어 모델)",
    ),
}

_GAP = re.compile(r"<W (\d+),(\d+)>")
_CLASS = r"\[(?:\\.|[^\]\\])*\]"
_SPACE = re.compile(rf"({_CLASS}|\(\?<[=!](?:{_CLASS}|[^()\[])*\))| ")  # outside of classes and look-behinds


@lru_cache(maxsize=1)
def _phrases() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """(language, pattern over the skeleton) of every phrase, compiled when a text first holds a known name."""
    return tuple((language, _pattern(language, phrase)) for language, phrases in _PHRASES.items() for phrase in phrases)


def _pattern(language: str, phrase: str) -> re.Pattern[str]:
    words, made = _WORD_LISTS.get(language, ("", ""))
    spaced = language not in ("zh", "ja")
    between = r"[ ,\n'-]{1,3}" if spaced else ""
    phrase = _GAP.sub(lambda gap: f"(?:(?:{words}|{made}){between}){{{gap[1]},{gap[2]}}}", phrase.replace("<MADE>", f"(?:{made})"))
    phrase = "".join(char if char == "—" or char.isascii() else _fold(char) for char in phrase)
    phrase = _SPACE.sub(lambda found: found[1] or r"[ \t\n]{1,3}", phrase)
    for mark, kinds in (("<M>", f"[{_MODEL}{_BOTH}]"), ("<V>", f"[{_VENDOR}{_BOTH}]"), ("<N>", f"[{_MODEL}{_VENDOR}{_BOTH}]")):
        phrase = phrase.replace(mark, rf"[\"'*_`(\[]{{0,3}}{kinds}(?:[\"*_`)\]]|'(?!s)){{0,3}}")
    return re.compile((r"(?<![^\W_])" if spaced else "") + f"(?:{phrase})", re.MULTILINE)

"""Text of others on a page: what cannot be seen is made visible, what is long is cut with a note, all of it is escaped.

Outputs of models are hostile until shown otherwise: they may hold markup, control characters, marks that turn the
direction of reading around, and letters without a glyph that carry hidden instructions.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from itertools import groupby
from typing import Any

from markupsafe import Markup, escape

# Controls, fillers without a glyph, direction and format marks, lone surrogates, tag and hidden selector characters.
# A joiner between two letters that are not ASCII stays: emoji, Persian and Hindi need it.
_UNSEEN = re.compile(
    r"(?:[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u2800"
    r"\u3164\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    r"|(?<![^\x00-\x7f\u200b-\u200f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f\u200b-\u200f]))+"
)
_NAMED = 3  # code points of one stretch
_LINE_END = re.compile(r"\r\n")


def visible(text: str) -> str:
    """The text with everything unseen written as `⟨U+202E⟩`, repeats as `⟨U+0000 ×12⟩`. Safe in attributes once escaped."""
    return _UNSEEN.sub(lambda m: f"⟨{_codes(m[0])}⟩", _LINE_END.sub("\n", text))


def shown(text: str) -> Markup:
    """The text as markup: escaped, everything unseen as a small tag with its code point, named where it first occurs."""
    text, parts, at, named = _LINE_END.sub("\n", text), list[str](), 0, set[str]()
    for match in _UNSEEN.finditer(text):
        title = Markup("") if match[0][0] in named else Markup(' title="{}"').format(_name(match[0][0]))
        named.add(match[0][0])
        parts += [escape(text[at : match.start()]), Markup('<i class="cp"{}>{}</i>').format(title, _codes(match[0]))]
        at = match.end()
    return Markup("").join([*parts, escape(text[at:])])


def cut(text: str, limit: int) -> tuple[str, int]:
    """The first `limit` characters and how many were left out. Nothing is cut for the sake of a few."""
    return (text, 0) if len(text) <= limit * 1.1 else (text[:limit], len(text) - limit)


def excerpt(text: str, limit: int) -> str:
    """One line of at most `limit` characters, cut between words where there are any."""
    line = " ".join(text[: 4 * limit].split())
    if len(line) <= limit and len(text) <= 4 * limit:
        return line
    kept = line[:limit].rpartition(" ")[0]
    return (kept if len(kept) > limit / 2 else line[: limit - 1]) + "…"


def as_text(value: Any) -> str:
    """An input or a reference as text: chat messages as `role: content`, anything else that is not text as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(m, dict) and {"role", "content"} <= m.keys() for m in value):
        return "\n\n".join(f"{m['role']}: {m['content']}" for m in value)
    return json.dumps(value, ensure_ascii=False, indent=1)


def finalizer() -> Callable[[Any], Any]:
    """What a template does with each value before it is escaped: None is a dash, plain text is made visible."""

    def final(value: Any) -> Any:
        if value is None:
            return "–"
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    return final


def comment(text: str) -> Markup:
    """Text inside an HTML comment: nothing in it can end the comment."""
    return Markup(re.sub(r"-(?=-)", "- ", visible(text)).replace(">", "&gt;").replace("<", "&lt;"))  # noqa: S704 — escaped for a comment


def _codes(run: str) -> str:
    """The code points of a stretch of unseen characters, the first few of them by name."""
    found, seen = [], 0
    for character, same in groupby(run):
        times = len(list(same))
        found.append(f"U+{ord(character):04X}" + (f" ×{times}" if times > 1 else ""))
        seen += times
        if len(found) == _NAMED:
            break
    return " ".join(found) + (f" and {len(run) - seen} more" if seen < len(run) else "")


def _name(character: str) -> str:
    return unicodedata.name(character, "control character").lower()

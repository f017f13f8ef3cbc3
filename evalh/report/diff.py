"""Two texts word by word: which pieces of each the other lacks."""

from __future__ import annotations

import re
from typing import NamedTuple

LONGEST = 6000  # characters; beyond this nobody reads a marked-up difference
MOSTLY_THE_SAME = 0.5  # below this share of common words, marks would cover everything and say nothing

_WORDS = re.compile(r"\d+(?:[.,]\d+)*|\w+|\s+|[^\w\s]")  # a number is one word


class Piece(NamedTuple):
    """A stretch of a text. `changed`: the other text does not have it here."""

    text: str
    changed: bool


def word_diff(before: str, after: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces, each text whole when its pieces are joined. Nothing is marked where the texts have little in common."""
    from rapidfuzz.distance import LCSseq

    if max(len(before), len(after)) > LONGEST:
        return [Piece(before, False)], [Piece(after, False)]
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    if LCSseq.normalized_similarity(before.split(), after.split()) < MOSTLY_THE_SAME:
        return [Piece(before, False)], [Piece(after, False)]
    left, right = [], []
    for step in LCSseq.opcodes(old, new):
        same = step.tag == "equal"
        left.append(Piece("".join(old[step.src_start : step.src_end]), not same))
        right.append(Piece("".join(new[step.dest_start : step.dest_end]), not same))
    return _joined(left), _joined(right)


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Empty pieces dropped, neighbours of one kind joined; a space between two changes belongs to them."""
    kept = [piece for piece in pieces if piece.text]
    found: list[Piece] = []
    for place, piece in enumerate(kept):
        inside = piece.text.isspace() and 0 < place < len(kept) - 1
        changed = piece.changed or (inside and kept[place - 1].changed and kept[place + 1].changed)
        if found and found[-1].changed == changed:
            found[-1] = Piece(found[-1].text + piece.text, changed)
        else:
            found.append(Piece(piece.text, changed))
    return found

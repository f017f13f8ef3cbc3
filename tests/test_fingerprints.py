"""Content hashes: the keys of lineage, the same for ever."""

from __future__ import annotations

import hashlib
import json
import random
import unicodedata
from typing import Any

from evalh.fingerprints import FileHash, canonical, content_hash, derived_seed, file_hash, item_hash

LETTERS = 'abc "\\/\n\t\x00\x7f\u2028äß€①\N{LATIN SMALL LIGATURE FI}e\u0301😀\ud800'


def plainly(value: Any) -> str:
    """The canonical text as its definition says it, by the standard library alone."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def value(draw: random.Random, depth: int = 0) -> Any:
    """Some JSON, and what becomes text in it."""
    text = "".join(draw.choices(LETTERS, k=draw.randrange(6)))
    plain = [
        None,
        True,
        draw.getrandbits(70) - 2**69,
        draw.uniform(-1, 1) * 10 ** draw.randrange(-20, 20),
        float("inf"),
        text,
        text,
        object,
    ]
    if depth == 3 or draw.random() < 0.6:
        return draw.choice(plain)
    inside = [value(draw, depth + 1) for _ in range(draw.randrange(12))]
    return draw.choice([inside, tuple(inside), {f"{text}{n}": part for n, part in enumerate(inside)}])


def test_hashes_are_those_of_their_definition() -> None:
    """Whatever shortcut makes them, hashes and seeds are SHA-256 of the canonical JSON; items are NFKC-normalised first."""
    draw = random.Random(1)
    for _ in range(5000):
        parts = tuple(value(draw) for _ in range(draw.randrange(4)))
        assert canonical(parts) == plainly(parts)
        assert content_hash(*parts) == hash_of(plainly(parts))
        assert derived_seed(*parts) == int(hash_of(plainly(parts)), 16) >> 1
        whole = [value(draw), value(draw)]
        assert item_hash(*whole) == hash_of(plainly([unicodedata.normalize("NFKC", plainly(whole))]))


def test_hashes_of_earlier_versions_still_hold() -> None:
    """Stored hashes are found again."""
    assert item_hash("ﬁne ①", {"b": 1, "a": [1.5, None]}) == "b7df245ef0d1ecd0"
    assert content_hash("text", [{"name": "look", "arguments": {"b": 1, "a": "ü"}}]) == "84d17cfbf576b7dc"
    assert derived_seed(7, "draw", "output-1") == 944253918672396400


def test_a_file_hash_does_not_depend_on_blocks_or_line_ends() -> None:
    """Block by block, wherever a block ends, and with Windows line ends: one hash; a lone carriage return counts."""
    draw = random.Random(2)
    for _ in range(500):
        data = bytes(draw.choices(b"\r\nab", k=draw.randrange(20)))
        made, place = FileHash(), 0
        while place < len(data):
            step = draw.randrange(1, 5)
            made.update(data[place : place + step])
            place += step
        plain = "sha256:" + hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()
        assert made.digest() == file_hash(data) == plain

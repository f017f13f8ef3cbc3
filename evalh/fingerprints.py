"""Content hashes and the seeds derived from them: the keys of lineage.

Everything that must be traceable is named by the hash of its content, and every random choice is made
from a seed derived from names, so that a run can be repeated to the byte.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from json.encoder import encode_basestring
from typing import Any

HASH_LENGTH = 16  # hex digits kept of SHA-256: 64 bits, no accidental collision below a billion rows


_SHORT = 8  # lists below it, mostly of a few texts and numbers, are put together here: that takes half the encoder's time
_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str).encode


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is int:
        return str(value)
    if value is None:
        return "null"
    if (kind is list or kind is tuple) and len(value) < _SHORT and dict not in map(type, value):
        return f"[{','.join(map(canonical, value))}]"
    return _encode(value)


def _bytes(value: Any) -> bytes:
    """Model output may hold half of a surrogate pair, which plain UTF-8 refuses."""
    return canonical(value).encode("utf-8", "surrogatepass")


def content_hash(*parts: Any) -> str:
    """The first 16 hex digits of SHA-256 over the parts in canonical JSON."""
    return hashlib.sha256(_bytes(parts)).hexdigest()[:HASH_LENGTH]


class FileHash:
    """`file_hash` of a file that comes block by block."""

    def __init__(self) -> None:
        self._sha, self._held = hashlib.sha256(), b""

    def update(self, block: bytes) -> None:
        """Add a block; a `\\r` at its end waits for the next, whose `\\n` may belong to it."""
        block = self._held + block if self._held else block
        self._held = b"\r" if block.endswith(b"\r") else b""
        block = block[:-1] if self._held else block
        self._sha.update(block.replace(b"\r\n", b"\n") if b"\r" in block else block)

    def digest(self) -> str:
        """`sha256:<hex>` of everything so far."""
        whole = self._sha.copy()
        whole.update(self._held)
        return "sha256:" + whole.hexdigest()


def file_hash(data: bytes) -> str:
    """`sha256:<hex>` of a file's bytes, line ends normalised so that a checkout on Windows matches."""
    made = FileHash()
    made.update(data)
    return made.digest()


def item_hash(input_: Any, reference: Any) -> str:
    """The content hash of an item: NFKC-normalised input and reference. Changed text is a new item."""
    text = canonical([input_, reference])
    return content_hash(text if text.isascii() else unicodedata.normalize("NFKC", text))


def derived_seed(*parts: Any) -> int:
    """A 63-bit seed from names, so that no random choice depends on the order in which work finishes."""
    return int(hashlib.sha256(_bytes(parts)).hexdigest()[:16], 16) >> 1

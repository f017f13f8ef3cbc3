"""Content hashes and the seeds derived from them: the keys of lineage.

Everything that must be traceable is named by the hash of its content, and every random choice is made
from a seed derived from names, so that a run can be repeated to the byte.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from typing import Any

HASH_LENGTH = 16  # hex digits kept of SHA-256: 64 bits, no accidental collision below a billion rows


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def _bytes(value: Any) -> bytes:
    """Model output may hold half of a surrogate pair, which plain UTF-8 refuses."""
    return canonical(value).encode("utf-8", "surrogatepass")


def content_hash(*parts: Any) -> str:
    """The first 16 hex digits of SHA-256 over the parts in canonical JSON."""
    return hashlib.sha256(_bytes(parts)).hexdigest()[:HASH_LENGTH]


def file_hash(data: bytes) -> str:
    """`sha256:<hex>` of a file's bytes, line ends normalised so that a checkout on Windows matches."""
    return "sha256:" + hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()


def item_hash(input_: Any, reference: Any) -> str:
    """The content hash of an item: NFKC-normalised input and reference. Changed text is a new item."""
    return content_hash(unicodedata.normalize("NFKC", canonical([input_, reference])))


def derived_seed(*parts: Any) -> int:
    """A 63-bit seed from names, so that no random choice depends on the order in which work finishes."""
    return int(hashlib.sha256(_bytes(parts)).hexdigest()[:16], 16) >> 1

"""Every random choice of the simulator: a uniform number that is a hash of names, never of a clock or of an order of arrival."""

from __future__ import annotations

from hashlib import blake2b

_SPAN = float(2**53)


def uniform(*names: object) -> float:
    """A number in [0, 1) that depends on the names alone: equal names, equal number; other names, an independent one."""
    digest = blake2b("\x1f".join(map(str, names)).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / _SPAN


def key_of(*names: object) -> str:
    """A short name for long ones: 16 hex digits."""
    return blake2b("\x1f".join(map(str, names)).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

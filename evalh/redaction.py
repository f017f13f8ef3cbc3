"""Keeps secrets that somebody wrote into a suite out of the store: by the names of the fields that hold them."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "[not stored]"
_SECRET = re.compile(r"(?:api[_-]?key|token|secret|passw|authorization|credential|cookie)", re.IGNORECASE)


def redacted(value: Any) -> Any:
    """The value with every text under a name that says it is a secret replaced. `api_key_env` names a variable: it stays."""
    if isinstance(value, dict):
        return {k: HIDDEN if isinstance(v, str) and _is_secret(str(k)) else redacted(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(v) for v in value]
    return value


def _is_secret(name: str) -> bool:
    return _SECRET.search(name) is not None and not name.endswith("_env")

"""evalh: an evaluation harness in three tiers — deterministic checks, judges of other families, people.

Importing this package loads nothing heavy: names are looked up in their own modules when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalh import checks as checks
    from evalh.judging.rubric import Criterion as Criterion
    from evalh.judging.rubric import Rubric as Rubric
    from evalh.records import Item as Item
    from evalh.records import Output as Output
    from evalh.records import ToolCall as ToolCall
    from evalh.suites.model import Command as Command
    from evalh.suites.model import Endpoint as Endpoint
    from evalh.suites.model import Function as Function
    from evalh.suites.model import Gate as Gate
    from evalh.suites.model import Judge as Judge
    from evalh.suites.model import Model as Model
    from evalh.suites.model import Panel as Panel
    from evalh.suites.model import Recorded as Recorded
    from evalh.suites.model import Sampling as Sampling
    from evalh.suites.model import Suite as Suite
    from evalh.suites.model import Trials as Trials

__version__ = "0.1.0"

_HOME = {
    "Criterion": "evalh.judging.rubric",
    "Rubric": "evalh.judging.rubric",
    "Item": "evalh.records",
    "Output": "evalh.records",
    "ToolCall": "evalh.records",
    "Command": "evalh.suites.model",
    "Endpoint": "evalh.suites.model",
    "Function": "evalh.suites.model",
    "Gate": "evalh.suites.model",
    "Judge": "evalh.suites.model",
    "Model": "evalh.suites.model",
    "Panel": "evalh.suites.model",
    "Recorded": "evalh.suites.model",
    "Sampling": "evalh.suites.model",
    "Suite": "evalh.suites.model",
    "Trials": "evalh.suites.model",
}

__all__ = [
    "Command", "Criterion", "Endpoint", "Function", "Gate", "Item", "Judge", "Model", "Output", "Panel", "Recorded", "Rubric", "Sampling",
    "Suite", "ToolCall", "Trials", "__version__", "checks",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "checks":
        return import_module("evalh.checks")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'evalh' has no attribute {name!r}")

"""Tier 1: deterministic checks. `from evalh import checks`, then `checks.Regex(r"\b30 days\b")`.

Every built-in class is here by its name, imported when it is first used. docs/checks.md describes all of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from evalh.checks.registry import BUILT_IN

if TYPE_CHECKING:
    from evalh.checks.base import Check as Check
    from evalh.checks.base import Finding as Finding
    from evalh.checks.base import Subject as Subject
    from evalh.checks.code import PythonFunction as PythonFunction
    from evalh.checks.code import ShellCommand as ShellCommand
    from evalh.checks.markup import HTMLValid as HTMLValid
    from evalh.checks.markup import SQLValid as SQLValid
    from evalh.checks.markup import XMLValid as XMLValid
    from evalh.checks.numeric import Numeric as Numeric
    from evalh.checks.patterns import Regex as Regex
    from evalh.checks.refusal import Refusal as Refusal
    from evalh.checks.similarity import Bleu as Bleu
    from evalh.checks.similarity import Levenshtein as Levenshtein
    from evalh.checks.similarity import RougeL as RougeL
    from evalh.checks.spending import MaxCost as MaxCost
    from evalh.checks.spending import MaxLatency as MaxLatency
    from evalh.checks.structure import JSONPath as JSONPath
    from evalh.checks.structure import JSONSchema as JSONSchema
    from evalh.checks.structure import JSONValid as JSONValid
    from evalh.checks.structure import PydanticModel as PydanticModel
    from evalh.checks.text import Contains as Contains
    from evalh.checks.text import ContainsAll as ContainsAll
    from evalh.checks.text import ContainsAny as ContainsAny
    from evalh.checks.text import EndsWith as EndsWith
    from evalh.checks.text import Equals as Equals
    from evalh.checks.text import MaxChars as MaxChars
    from evalh.checks.text import MaxWords as MaxWords
    from evalh.checks.text import MinChars as MinChars
    from evalh.checks.text import MinWords as MinWords
    from evalh.checks.text import StartsWith as StartsWith
    from evalh.checks.tools import ToolArguments as ToolArguments
    from evalh.checks.tools import ToolCalled as ToolCalled
    from evalh.checks.tools import ToolSequence as ToolSequence

_HOME = dict.fromkeys(("Check", "Finding", "Subject"), "evalh.checks.base")
_HOME |= {point.attr: point.module for point in BUILT_IN.values()}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'evalh.checks' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])

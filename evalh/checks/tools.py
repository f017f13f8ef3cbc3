"""Checks of the tools that a system called, as recorded in `output.tool_calls`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from evalh.checks.base import Compiled, Finding, Pure, Resolve, Subject
from evalh.checks.expected import FROM_REFERENCE, expected, expected_text, expected_texts
from evalh.checks.json_schema import Problem, compile_schema, load_schema
from evalh.checks.json_text import json_equal
from evalh.checks.limits import Undecidable, short, within

SCHEMA_TIMEOUT_S = 5.0


class ToolCalled(Pure):
    """A tool of that name was called, once or more."""

    kind: ClassVar[str] = "tool-called"
    positional: ClassVar[tuple[str, ...]] = ("tool",)

    tool: str | None = Field(default=None, min_length=1, description="name of the tool" + FROM_REFERENCE)

    def compile(self, resolve: Resolve) -> Compiled:
        def run(subject: Subject) -> Finding:
            tool, called = expected_text(self.tool, subject), [c.name for c in subject.output.tool_calls]
            return Finding(
                tool in called, float(tool in called), f"called {_names(called)}" + ("" if tool in called else f", expected {short(tool)}")
            )

        return run


class ToolArguments(Pure):
    """A call of the tool has the expected arguments, or arguments that fit a JSON Schema. One such call is enough."""

    kind: ClassVar[str] = "tool-arguments"
    positional: ClassVar[tuple[str, ...]] = ("tool", "arguments")

    tool: str = Field(min_length=1, description="name of the tool")
    arguments: dict[str, Any] | None = Field(default=None, description="the expected arguments" + FROM_REFERENCE)
    mode: Literal["exact", "subset"] = Field(default="exact", description="`subset`: a call may have more arguments than the expected ones")
    schema_: str | dict[str, Any] | bool | None = Field(
        default=None, alias="schema", description="instead of `arguments`: a schema file, or the schema itself"
    )

    @model_validator(mode="after")
    def _one_rule(self) -> ToolArguments:
        if self.arguments is not None and self.schema_ is not None:
            raise ValueError("`arguments` and `schema` exclude each other")
        return self

    def compile(self, resolve: Resolve) -> Compiled:
        problem = compile_schema(*load_schema(self.schema_, resolve)).problem if self.schema_ is not None else None

        def run(subject: Subject) -> Finding:
            calls = [c.arguments for c in subject.output.tool_calls if c.name == self.tool]
            wrong = [self._wrong(arguments, problem, subject) for arguments in calls]
            if not calls:
                return Finding(False, 0.0, f"called {_names([c.name for c in subject.output.tool_calls])}, expected {short(self.tool)}")
            held = next((arguments for arguments, why in zip(calls, wrong, strict=True) if why is None), None)
            if held is not None:
                return Finding(True, 1.0, f"called {self.tool} with {short(held)}")
            return Finding(False, 0.0, f"{self.tool}: {wrong[0]}")

        return run

    def _wrong(self, arguments: dict[str, Any], problem: Problem | None, subject: Subject) -> str | None:
        if problem is not None:
            return within(SCHEMA_TIMEOUT_S, lambda: problem(arguments))
        wanted = expected(self.arguments, subject)
        if not isinstance(wanted, Mapping):
            raise Undecidable(f"the reference of item {subject.item.item_id} is no mapping of arguments: {short(wanted)}")
        same = json_equal(arguments, wanted) if self.mode == "exact" else _includes(arguments, wanted)
        return None if same else f"called with {short(arguments, 150)}, expected {short(dict(wanted), 150)}"


def _includes(got: Any, wanted: Any) -> bool:
    """Whether the wanted value is in the one that is there: mappings may have more keys, at every depth; all else is equal."""
    if isinstance(wanted, Mapping) and isinstance(got, Mapping):
        return all(key in got and _includes(got[key], value) for key, value in wanted.items())
    return json_equal(got, wanted)


class ToolSequence(Pure):
    """Tools were called in an order.

    `exact`: these and no others; `subsequence`: these in this order, others between; `set`: these, in any order and number.
    """

    kind: ClassVar[str] = "tool-sequence"
    positional: ClassVar[tuple[str, ...]] = ("tools", "mode")

    tools: list[str] | None = Field(default=None, description="names of tools; an empty list expects no call" + FROM_REFERENCE)
    mode: Literal["exact", "subsequence", "set"] = Field(default="exact", description="how the calls are compared")

    def compile(self, resolve: Resolve) -> Compiled:
        def run(subject: Subject) -> Finding:
            wanted = self.tools if self.tools is not None else _reference_names(subject)
            called = [c.name for c in subject.output.tool_calls]
            score = _agreement(called, wanted, self.mode)
            return Finding(
                score == 1, score, f"called {_names(called)}" + ("" if score == 1 else f", expected {_names(wanted)} ({self.mode})")
            )

        return run


def _reference_names(subject: Subject) -> list[str]:
    return [] if subject.item.reference == [] else expected_texts(None, subject)


def _agreement(called: list[str], wanted: list[str], mode: str) -> float:
    """1 where the rule holds, else the share that does: common subsequence over the longer (exact) or the wanted, Jaccard for sets."""
    if mode == "set":
        union = set(called) | set(wanted)
        return len(set(called) & set(wanted)) / len(union) if union else 1.0
    from rapidfuzz.distance import LCSseq

    whole = max(len(called), len(wanted)) if mode == "exact" else len(wanted)
    return float(LCSseq.similarity(called, wanted)) / whole if whole else 1.0


def _names(names: list[str]) -> str:
    return short(", ".join(names), 150).strip("'") if names else "no tool"

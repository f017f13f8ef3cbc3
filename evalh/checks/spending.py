"""Checks of what an output took: time and money. An output without the figure is an error, never a pass."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from evalh.checks.base import Compiled, Finding, Pure, Resolve, Subject
from evalh.checks.limits import Undecidable


class MaxLatency(Pure):
    """The system answered within so many milliseconds."""

    kind: ClassVar[str] = "max-latency"
    positional: ClassVar[tuple[str, ...]] = ("ms",)

    ms: float = Field(gt=0, allow_inf_nan=False, description="milliseconds")

    def compile(self, resolve: Resolve) -> Compiled:
        def run(subject: Subject) -> Finding:
            return _at_most(subject.output.latency_ms, self.ms, "latency_ms", "ms")

        return run


class MaxCost(Pure):
    """The output cost at most so much."""

    kind: ClassVar[str] = "max-cost"
    positional: ClassVar[tuple[str, ...]] = ("usd",)

    usd: float = Field(ge=0, allow_inf_nan=False, description="US dollars")

    def compile(self, resolve: Resolve) -> Compiled:
        def run(subject: Subject) -> Finding:
            return _at_most(subject.output.cost_usd, self.usd, "cost_usd", "USD")

        return run


def _at_most(value: float | None, limit: float, field: str, unit: str) -> Finding:
    if value is None:
        raise Undecidable(f"the output has no {field}")
    return Finding(value <= limit, float(value <= limit), f"{value:.6g} {unit}, maximum {limit:.6g}")

"""The nouns of evalh as frozen records, named as in the field and in the store.

Rows of the store are made from these; nothing here does I/O. A failure is a value (`fail`, `error`, `unscored`), never
a NaN and never a missing row.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from evalh.fingerprints import content_hash, item_hash


class Record(BaseModel):
    """A frozen record that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Record):
    """One chat message."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


class ToolCall(Record):
    """A call of a tool that a system made: its name and its arguments."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class Item(Record):
    """One input of a golden set, with a reference answer where there is one."""

    item_id: str = Field(min_length=1)
    input: str | list[Message] | None
    reference: Any = None
    slice: str = "all"
    group: str | None = None
    authored_at: str | None = None
    published_at: str | None = None
    tags: list[str] = Field(default_factory=list)
    meta: dict[str, Any] = Field(default_factory=dict)

    @cached_property
    def item_hash(self) -> str:
        return item_hash([m.model_dump() for m in self.input] if isinstance(self.input, list) else self.input, self.reference)

    @property
    def input_text(self) -> str:
        """The input as one text: chat messages are joined as `role: content`."""
        if isinstance(self.input, list):
            return "\n".join(f"{m.role}: {m.content}" for m in self.input)
        return self.input or ""

    @property
    def messages(self) -> list[Message]:
        """The input as chat messages."""
        if isinstance(self.input, list):
            return self.input
        return [Message(role="user", content=self.input or "")]


class Output(Record):
    """What a system answered for an item. `error` is set where the system failed to answer: then `text` is empty."""

    item_id: str
    system: str
    system_version: str | None = None
    family: str | None = None
    trial: int = 0
    text: str = ""
    tool_calls: list[ToolCall] = Field(default_factory=list)
    latency_ms: float | None = None
    cost_usd: float | None = None
    tokens: int | None = None
    error: str | None = None
    meta: dict[str, Any] = Field(default_factory=dict)

    @cached_property
    def output_hash(self) -> str:
        return content_hash(self.text, [c.model_dump() for c in self.tool_calls])


class CheckResult(Record):
    """What one deterministic check said of one output."""

    check: str
    check_hash: str
    status: Literal["pass", "fail", "error"]
    score: float | None = None  # in [0, 1]; None where status is error
    reason: str = ""
    negated: bool = False
    blocking: bool = True
    weight: float = 1.0


class Verdict(Record):
    """One answer of one judge on one aspect. `status="unscored"` is neither a pass nor a fail: it is counted and shown."""

    judge: str
    judge_version: str | None = None
    prompt: str
    family: str | None = None
    kind: Literal["pointwise", "pairwise"]
    systems: tuple[str, ...]
    order_known: bool = True
    aspect: str
    repeat: int = 0
    status: Literal["scored", "unscored"]
    unscored_reason: str | None = None
    verdict: Literal["first", "second", "tie"] | None = None
    winner: str | None = None
    label: str | None = None
    raw_score: float | None = None  # on the rubric's own scale (pointwise)
    score: float | None = None  # in [0, 1]; pairwise: preference for the second shown
    rationale: str | None = None
    raw: str | None = None
    call_id: str | None = None
    attempts: int = 1
    cached: bool = False
    same_family: bool = False
    simulated: bool = False


class Label(Record):
    """A person's verdict on an output (or a pair of outputs)."""

    item_id: str
    annotator: str
    kind: Literal["pointwise", "pairwise"]
    systems: tuple[str, ...]
    winner: str | None = None
    verdict: Literal["first", "second", "tie"] | None = None
    score: float | None = None
    label: str | None = None
    aspect: str | None = None
    at: str | None = None
    inclusion_probability: float | None = None
    stratum: str | None = None


class Estimate(Record):
    """A number with its interval. `low` and `high` are None where no interval can be given; then `why` says so."""

    value: float | None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    n: int = 0
    method: str = ""
    why: str | None = None
    seed: int | None = None
    clusters: int | None = None

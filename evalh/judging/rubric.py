"""A rubric: what a judge is asked, and the scale it answers on.

A rubric is a Markdown file with YAML front matter (or the same mapping inline in a suite). The body is shown to the judge
as it stands; the criteria become the fields of the structured reply.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from evalh.fingerprints import content_hash
from evalh.records import Record

BINARY = {0: "no", 1: "yes"}


class Criterion(Record):
    """One question and its scale: the levels a judge may answer, from worst to best, each with a meaning."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", description="the aspect, as it stands in verdicts and labels")
    question: str = Field(description="what the judge answers")
    scale: dict[int, str] = Field(description="`binary`, `[1, 5]`, or levels with meanings, worst first")
    weight: float = Field(default=1.0, gt=0, description="share in the score of an output")
    pass_at: int | None = Field(default=None, description="the lowest level that counts as a pass in a test of one item")

    @model_validator(mode="before")
    @classmethod
    def _short_scales(cls, data: Any) -> Any:
        """`binary`, `[1, 5]` and `{1: poor, 5: good}` are all scales."""
        if not isinstance(data, dict) or "scale" not in data:
            return data
        scale = data["scale"]
        if scale == "binary":
            return {**data, "scale": BINARY, "pass_at": data.get("pass_at", 1)}
        if isinstance(scale, list) and len(scale) == 2 and all(isinstance(v, int) for v in scale):
            return {**data, "scale": dict.fromkeys(range(scale[0], scale[1] + 1), "")}
        return data

    @model_validator(mode="after")
    def _at_least_two_levels(self) -> Criterion:
        if len(self.scale) < 2:
            raise ValueError("a scale needs at least two levels: binary, [1, 5] or {1: poor, 2: fair, 3: good}")
        if self.pass_at is not None and self.pass_at not in self.scale:
            raise ValueError(f"pass_at {self.pass_at} is not a level of the scale {sorted(self.scale)}")
        return self

    @property
    def low(self) -> int:
        return min(self.scale)

    @property
    def high(self) -> int:
        return max(self.scale)

    def normalised(self, level: float) -> float:
        """The level on [0, 1] (METHODS §0)."""
        return (level - self.low) / (self.high - self.low)


class Example(Record):
    """A worked example shown to the judge: an answer, the levels it deserves, and why."""

    input: str = Field(default="", description="what was asked")
    answer: str = Field(description="the answer")
    scores: dict[str, int | str] = Field(description="criterion → the level it deserves")
    rationale: str = Field(default="", description="why")


class Rubric(Record):
    """What a judge is asked. `kind="pairwise"` asks which of two answers is better and needs no scale."""

    name: str = Field(description="of a file: its name where not given")
    version: str = Field(default="1", description="part of the judge's identity: raise it with every change of meaning")
    kind: Literal["pointwise", "pairwise"] = Field(default="pointwise", description="score one answer, or say which of two is better")
    instructions: str = Field(default="", description="shown to the judge as they stand")
    reference: bool = Field(default=False, description="show the item's reference answer to the judge")
    criteria: list[Criterion] = Field(default_factory=list, description="pointwise: all are asked in one call")
    questions: dict[str, str] = Field(default_factory=dict, description="pairwise: aspect → which answer is better in what")
    ties: bool = Field(default=True, description="pairwise: whether a judge may call a tie")
    shuffle_levels: bool = Field(default=False, description="show the levels in an order drawn from the seed")
    examples: list[Example] = Field(default_factory=list, description="worked examples, shown in an order drawn from the seed")

    @model_validator(mode="before")
    @classmethod
    def _single_scale(cls, data: Any) -> Any:
        """A rubric with a bare `scale` has one criterion, named `quality`."""
        if isinstance(data, dict) and "scale" in data:
            data = dict(data)
            scale, pass_at = data.pop("scale"), data.pop("pass_at", None)
            question = data.pop("question", None) or "How good is the answer, by the instructions?"
            data["criteria"] = [{"name": "quality", "question": question, "scale": scale, "pass_at": pass_at}]
            if pass_at is None:
                del data["criteria"][0]["pass_at"]
        return data

    @model_validator(mode="after")
    def _has_a_scale(self) -> Rubric:
        if self.kind == "pointwise" and not self.criteria:
            raise ValueError("a rubric needs a scale: add `scale: binary`, `scale: [1, 5]` or a list of `criteria`")
        if self.kind == "pairwise" and self.criteria:
            raise ValueError("a pairwise rubric has `questions`, not `criteria`: each is answered first, second or tie")
        names = [c.name for c in self.criteria]
        if len(set(names)) < len(names):
            raise ValueError("two criteria have the same name")
        return self

    @property
    def aspects(self) -> list[str]:
        if self.kind == "pairwise":
            return list(self.questions) or ["overall"]
        return [c.name for c in self.criteria]

    @property
    def rubric_hash(self) -> str:
        return content_hash(self.model_dump(mode="json"))

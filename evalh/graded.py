"""What a test function of a suite receives: an output with everything that is known about it so far."""

from __future__ import annotations

from collections.abc import Sequence

from evalh.errors import UsageError
from evalh.records import CheckResult, Item, Output, ToolCall, Verdict


class GradedOutput:
    """An output as a test sees it: its text, its item, what the checks and the judges said.

    `score` is in [0, 1], or None where the output is unscored (then `why` says so). A blocking test runs before the
    judges: there `verdicts` and `score` raise UsageError instead of pretending to be empty.
    """

    def __init__(
        self,
        item: Item,
        output: Output,
        checks: Sequence[CheckResult] = (),
        verdicts: Sequence[Verdict] | None = None,
        score: float | None = None,
        why: str | None = None,
    ) -> None:
        self.item = item
        self.output = output
        self.checks = list(checks)
        self.why = why
        self._verdicts = verdicts
        self._score = score

    @property
    def text(self) -> str:
        return self.output.text

    @property
    def tool_calls(self) -> list[ToolCall]:
        return self.output.tool_calls

    @property
    def latency_ms(self) -> float | None:
        return self.output.latency_ms

    @property
    def verdicts(self) -> list[Verdict]:
        return list(self._judged("verdicts"))

    @property
    def score(self) -> float | None:
        self._judged("score")
        return self._score

    def _judged(self, name: str) -> Sequence[Verdict]:
        if self._verdicts is None:
            raise UsageError(f"a blocking test has no `output.{name}`: it runs before the judges", hint="drop blocking=True")
        return self._verdicts

    def __repr__(self) -> str:
        return f"<output of {self.output.system} for {self.item.item_id}>"

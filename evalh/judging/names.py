"""How a judge is named on the command line and in `replay:` references: `JUDGE[@VERSION][#PROMPT]`."""

from __future__ import annotations

from typing import NamedTuple


class JudgeName(NamedTuple):
    """A judge; a part that is None matches all."""

    judge: str
    version: str | None = None
    prompt: str | None = None

    def matches(self, judge: str, version: str | None, prompt: str | None) -> bool:
        return self.judge == judge and self.version in (None, version or "") and self.prompt in (None, prompt or "")


def parse_judge_name(text: str) -> JudgeName:
    """`GPT-4@gpt-4-0613#Vanilla` → judge, version, prompt. An `@` or `#` inside the judge's own name is not possible."""
    rest, _, prompt = text.partition("#")
    judge, _, version = rest.partition("@")
    return JudgeName(judge, version or None, prompt or None)


def judge_title(judge: str, version: str | None, prompt: str | None) -> str:
    """The name with every part that is known."""
    return judge + (f"@{version}" if version else "") + (f"#{prompt}" if prompt else "")

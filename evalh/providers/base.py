"""The one seam to the outside: a provider turns a request into a reply, over whatever it speaks.

Everything above this file sees `Request` and `Reply` and the error tree; SDKs are imported inside their own provider
module, when a judge or a system first names them.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from pydantic import Field

from evalh.records import Message, Record, ToolCall


class Target(Record):
    """Which model, where, with which settings: everything that decides how a request is answered, except the request.

    `model` is the name after `provider:`. The key itself is never here: only the name of the environment variable.
    """

    provider: str
    model: str
    base_url: str | None = None
    api_key_env: str | None = None
    api: str | None = Field(default=None, description="openai: `chat` (default) or `responses`")
    temperature: float | None = None
    max_tokens: int = 1024
    timeout_s: float = 60.0
    params: dict[str, Any] = Field(default_factory=dict, description="passed to the provider as they are")
    source: str | None = Field(default=None, description="replay: path of judgments.jsonl; sim: path of the profile")

    @property
    def ref(self) -> str:
        return f"{self.provider}:{self.model}"


class Presented(Record):
    """What a judge call is about. Replay looks its recorded verdict up by it; it is never sent to a model."""

    item_id: str
    systems: tuple[str, ...]  # in the order shown
    aspects: tuple[str, ...]
    kind: str
    repeat: int = 0
    trial: int = 0
    prompt: str | None = None


class Request(Record):
    """One call: the exact messages, and the JSON schema that the reply must obey (None: free text)."""

    messages: tuple[Message, ...]
    schema_: dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] = ()
    about: Presented | None = None


class Reply(Record):
    """What came back. `version` and `system_fingerprint` are what the provider says it ran, not what was asked for."""

    text: str
    version: str | None = None
    system_fingerprint: str | None = None
    finish_reason: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    raw: str | None = None  # replay: the recorded judge's own words; else None (text is all there is)
    confidence: float | None = None


class Provider(Protocol):
    """Answers requests for one target. One instance serves a whole run; `ask` is called concurrently."""

    simulated: bool  # these answers come from a simulator, and every table says so
    deterministic: bool  # the same request always gets the same reply: asking again is pointless

    async def ask(self, request: Request) -> Reply:
        """The reply, or ProviderBusy / ProviderDown / ProviderRefused. Does not retry: the engine owns retries."""
        ...

    async def aclose(self) -> None:
        """Close connections. Called once, on the loop that asked."""
        ...


class Price(NamedTuple):
    """USD per million tokens, and the day the price was read."""

    input: float
    output: float
    as_of: str

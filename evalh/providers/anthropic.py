"""Anthropic's messages, through the official client: Anthropic itself and every server that speaks its format.

The official API of 2026-10-21 takes no temperature at all. A judge there cannot be pinned: measure its noise by repeats.
"""

from __future__ import annotations

from typing import Any

from evalh.errors import InputError, ProviderRefused, ProviderUnusable
from evalh.providers.base import Reply, Request, Target
from evalh.providers.client import HTTPProvider, imported, merged
from evalh.providers.endpoint import ANTHROPIC, Endpoint, resolve
from evalh.records import ToolCall

# the words of the chat API, so that everything above knows one set of finish reasons
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
}
_SAMPLING = ("temperature", "top_p", "top_k")  # gone from the official API


class AnthropicProvider(HTTPProvider):
    """`anthropic:MODEL`, with `base_url` any server that speaks the messages format."""

    sdk = "anthropic"
    path = "/v1/messages"

    def __init__(self, target: Target, endpoint: Endpoint | None = None, *, simulated: bool = False) -> None:
        if target.api not in (None, "messages", "anthropic"):
            raise InputError(f"anthropic has no api {target.api!r}", where=target.ref, hint="leave it out: there is only messages")
        endpoint = endpoint or resolve(target, ANTHROPIC)
        sampling = [name for name in _SAMPLING if name in target.params or (name == "temperature" and target.temperature is not None)]
        if sampling and endpoint.official:
            raise ProviderUnusable(
                f"{endpoint.where} takes no {sampling[0]}",
                hint="leave it out, and measure this judge's noise with `repeats` instead of pinning it",
            )
        super().__init__(target, endpoint, simulated=simulated)
        settings: dict[str, Any] = {"model": target.model, "max_tokens": target.max_tokens}
        if target.temperature is not None:
            settings["temperature"] = target.temperature
        self._settings = merged(settings, target.params)

    @property
    def root(self) -> str:
        return self.endpoint.base_url.removesuffix("/v1")  # the client's own paths begin with /v1

    def _connect(self) -> Any:
        from evalh.providers.transport import http_client

        return imported("anthropic").AsyncAnthropic(
            api_key=self.endpoint.key, base_url=self.root, timeout=None, max_retries=0, http_client=http_client(self.root)
        )

    def _body(self, request: Request) -> dict[str, Any]:
        system = [m.content for m in request.messages if m.role == "system"]
        turns = [{"role": m.role, "content": m.content} for m in request.messages if m.role != "system"]
        if any(turn["role"] == "tool" for turn in turns):
            raise ProviderRefused(
                "a message of role `tool` cannot be sent: it does not say which call it answers", where=self.endpoint.where
            )
        body = {**self._settings, "messages": turns}
        if system:
            body["system"] = "\n\n".join(system)
        if request.schema_ is not None:
            body["output_config"] = {**body.get("output_config", {}), "format": {"type": "json_schema", "schema": request.schema_}}
        if request.tools:
            body["tools"] = [_own(tool) for tool in request.tools]
        return body

    def _reply(self, data: dict[str, Any]) -> Reply:
        content, usage = data["content"], data.get("usage") or {}
        text = "".join(block["text"] for block in content if block["type"] == "text")
        reason: str | None = data.get("stop_reason")
        refused = reason == "refusal"
        return Reply(
            text="" if refused else text,
            version=data.get("model"),
            finish_reason=_FINISH.get(reason or "", reason),
            tokens_in=_prompt_tokens(usage),
            tokens_out=usage.get("output_tokens"),
            tool_calls=tuple(ToolCall(name=b["name"], arguments=b["input"]) for b in content if b["type"] == "tool_use"),
            raw=((data.get("stop_details") or {}).get("explanation") or text or None) if refused else None,
        )


def _prompt_tokens(usage: dict[str, Any]) -> int | None:
    """All tokens of the prompt: those read from and written to the prompt cache are counted apart."""
    if usage.get("input_tokens") is None:
        return None
    return int(sum(usage.get(name) or 0 for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")))


def _own(tool: dict[str, Any]) -> dict[str, Any]:
    """A function tool of the chat format as this API wants it."""
    function = tool.get("function")
    if not isinstance(function, dict):
        return tool
    described = {"description": function["description"]} if "description" in function else {}
    return {"name": function["name"], **described, "input_schema": function.get("parameters") or {"type": "object", "properties": {}}}


def provider(target: Target, *, family: str | None = None) -> AnthropicProvider:
    return AnthropicProvider(target)

"""OpenAI's chat completions and responses, through the official client: OpenAI itself and every compatible server."""

from __future__ import annotations

from typing import Any

from evalh.errors import InputError
from evalh.providers.base import Reply, Request, Target
from evalh.providers.client import HTTPProvider, imported, merged, tool_call
from evalh.providers.endpoint import OPENAI, Endpoint, resolve
from evalh.records import ToolCall

SCHEMA_NAME = "reply"


class OpenAIProvider(HTTPProvider):
    """`openai:MODEL`, with `base_url` any OpenAI-compatible server. `api="responses"` takes the newer API."""

    sdk = "openai"

    def __init__(self, target: Target, endpoint: Endpoint | None = None, *, simulated: bool = False) -> None:
        if target.api not in (None, "chat", "responses"):
            raise InputError(f"openai has no api {target.api!r}", where=target.ref, hint="it is chat (default) or responses")
        super().__init__(target, endpoint or resolve(target, OPENAI), simulated=simulated)
        self.responses = target.api == "responses"
        self.path = "/responses" if self.responses else "/chat/completions"
        self._settings = self._fixed()

    def _connect(self) -> Any:
        from evalh.providers.transport import http_client

        return imported("openai").AsyncOpenAI(
            api_key=self.endpoint.key, base_url=self.root, timeout=None, max_retries=0, http_client=http_client(self.root)
        )

    def _fixed(self) -> dict[str, Any]:
        """What is the same in every request: model, limits, the user's params."""
        target = self.target
        settings: dict[str, Any] = {"model": target.model}
        if target.temperature is not None:
            settings["temperature"] = target.temperature
        if self.responses:
            # a stored response would keep golden items on the vendor's side for weeks
            settings |= {"max_output_tokens": target.max_tokens, "store": False}
        elif not {"max_tokens", "max_completion_tokens"} & set(target.params):
            # reasoning models refuse max_tokens; other servers know only max_tokens
            settings["max_completion_tokens" if self.endpoint.official else "max_tokens"] = target.max_tokens
        return merged(settings, target.params)

    def _body(self, request: Request) -> dict[str, Any]:
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        body = {**self._settings, "input" if self.responses else "messages": messages}
        if request.schema_ is not None:
            form = {"name": SCHEMA_NAME, "strict": True, "schema": request.schema_}
            if self.responses:
                body["text"] = {**body.get("text", {}), "format": {"type": "json_schema", **form}}
            else:
                body["response_format"] = {"type": "json_schema", "json_schema": form}
        if request.tools:
            body["tools"] = [_flat(tool) for tool in request.tools] if self.responses else list(request.tools)
        return body

    def _reply(self, data: dict[str, Any]) -> Reply:
        return responses_reply(data) if self.responses else chat_reply(data)


def chat_reply(data: dict[str, Any]) -> Reply:
    """A reply of the chat completions API."""
    choice = data["choices"][0]
    message, usage = choice["message"], data.get("usage") or {}
    refusal = message.get("refusal")
    calls = [tool_call(c["function"]["name"], c["function"].get("arguments")) for c in message.get("tool_calls") or [] if "function" in c]
    return Reply(
        text="" if refusal else _text(message.get("content")),
        version=data.get("model"),
        system_fingerprint=data.get("system_fingerprint"),
        finish_reason="refusal" if refusal else choice.get("finish_reason"),
        tokens_in=usage.get("prompt_tokens"),
        tokens_out=usage.get("completion_tokens"),
        tool_calls=tuple(calls),
        raw=refusal or None,
    )


def responses_reply(data: dict[str, Any]) -> Reply:
    """A reply of the responses API, with the finish reasons of the chat API."""
    parts = [part for item in data["output"] if item["type"] == "message" for part in item["content"]]
    calls: list[ToolCall] = [tool_call(i["name"], i.get("arguments")) for i in data["output"] if i["type"] == "function_call"]
    refusal = "".join(part["refusal"] for part in parts if part["type"] == "refusal")
    usage = data.get("usage") or {}
    return Reply(
        text="" if refusal else "".join(part["text"] for part in parts if part["type"] == "output_text"),
        version=data.get("model"),
        system_fingerprint=data.get("system_fingerprint"),
        finish_reason="refusal" if refusal else _finish(data, bool(calls)),
        tokens_in=usage.get("input_tokens"),
        tokens_out=usage.get("output_tokens"),
        tool_calls=tuple(calls),
        raw=refusal or None,
    )


def _finish(data: dict[str, Any], called: bool) -> str | None:
    if data.get("status") == "incomplete":
        reason = (data.get("incomplete_details") or {}).get("reason")
        return "length" if reason == "max_output_tokens" else reason or "incomplete"
    if data.get("status") == "completed":
        return "tool_calls" if called else "stop"
    status: str | None = data.get("status")
    return status


def _text(content: Any) -> str:
    """The text of a message: a string, or the text parts of a list (some servers send their reasoning as other parts)."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if part.get("type") == "text")
    return content or ""


def _flat(tool: dict[str, Any]) -> dict[str, Any]:
    """A function tool as the responses API wants it: without the `function` level of the chat API."""
    function = tool.get("function")
    return {"type": "function", "strict": False, **function} if isinstance(function, dict) else tool


def provider(target: Target, *, family: str | None = None) -> OpenAIProvider:
    return OpenAIProvider(target)

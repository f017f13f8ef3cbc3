"""The wire formats: what a request of each API asks for, and how an answer or an error looks in it.

OpenAI chat completions, completions and responses, and Anthropic messages, as the openai 3.x and anthropic 2.x clients
send and read them. What a real server refuses is refused here too: `temperature` under Anthropic's 2026-10-21 version, a
strict schema that is not closed, `max_tokens` left out, an unknown model, a prompt that is too long.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from evalh.sim.behaviour import Said
from evalh.sim.logprobs import MAX_LOGPROBS, Memory, chat_logprobs

CHARS_PER_TOKEN = 4
NO_SAMPLING_SINCE = "2026-10-21"  # Anthropic's API version from which temperature, top_p and top_k are refused


class RequestError(Exception):
    """A request that the API would refuse, and how."""

    def __init__(self, message: str, *, status: int = 400, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message, self.status, self.code, self.param = message, status, code, param


class Asked(NamedTuple):
    """A request, whatever its format."""

    model: str
    text: str  # all messages in order
    last: str  # the last message
    schema: Mapping[str, Any] | None = None
    tool: str | None = None  # the tool whose arguments are wanted
    max_tokens: int | None = None
    logprobs: int | None = None  # how many alternatives; None: no log-probabilities
    prompts: tuple[str, ...] = ()  # completions: one continuation for each
    options: Mapping[str, Any] = {}  # completions: echo, prompt_logprobs, return_token_ids


class Answered(NamedTuple):
    """An answer, whatever its format."""

    said: Said
    ident: str  # names the reply: the same request, the same id
    version: str
    fingerprint: str
    calls: tuple[Mapping[str, Any], ...] = ()  # tool calls: name and arguments
    memory: Memory | None = None
    continuations: tuple[str, ...] = ()  # completions: for each prompt


class Format(NamedTuple):
    """One API."""

    name: str
    provider: str
    asked: Callable[[Mapping[str, Any], Mapping[str, str]], Asked]
    reply: Callable[[Asked, Answered], dict[str, Any]]
    error: Callable[[int, str, str | None, str | None], dict[str, Any]]


def tokens(text: str) -> int:
    """Tokens by the stated rule: four characters each, rounded up."""
    return -(-len(text) // CHARS_PER_TOKEN)


# --- OpenAI chat completions -------------------------------------------------------------------------------------------


def _chat_asked(body: Mapping[str, Any], headers: Mapping[str, str]) -> Asked:
    texts = _messages(body.get("messages"))
    schema = _openai_schema(body.get("response_format"), nested="json_schema")
    structured = body.get("structured_outputs")
    if schema is None and isinstance(structured, dict) and isinstance(structured.get("json"), dict):
        schema = structured["json"]  # vLLM's own way
    tool, tool_schema = _openai_tool(body)
    top = whole_number(body, "top_logprobs", low=0) or 0
    if top > MAX_LOGPROBS:
        raise RequestError(f"top_logprobs must be at most {MAX_LOGPROBS}", param="top_logprobs")
    return Asked(
        model_of(body), "\n\n".join(texts), texts[-1], schema or tool_schema, tool,
        whole_number(body, "max_completion_tokens") or whole_number(body, "max_tokens"), top if body.get("logprobs") else None,
    )  # fmt: skip


def _chat_reply(asked: Asked, answer: Answered) -> dict[str, Any]:
    said, calls = answer.said, _calls(asked, answer)
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None}
    finish = "length" if said.cut else "stop"
    if said.kind == "refusal":
        message |= {"content": None, "refusal": said.text}
    elif calls:
        named = [{"name": name, "arguments": arguments} for name, arguments in calls]
        message |= {"content": None if asked.tool else said.text or None}
        message["tool_calls"] = [{"id": f"call_{answer.ident}{i}", "type": "function", "function": call} for i, call in enumerate(named)]
        finish = finish if said.cut else "tool_calls"
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    if asked.logprobs is not None:
        choice["logprobs"] = {"content": chat_logprobs(said.text, answer.memory or Memory(), asked.logprobs), "refusal": None}
    return {
        "id": f"chatcmpl-{answer.ident}", "object": "chat.completion", "created": int(time.time()), "model": answer.version,
        "system_fingerprint": answer.fingerprint, "choices": [choice], "usage": openai_usage(tokens(asked.text), tokens(said.text)),
    }  # fmt: skip


def openai_usage(prompt: int, completion: int) -> dict[str, int]:
    """Usage as chat and completions give it."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


# --- OpenAI responses --------------------------------------------------------------------------------------------------


def _responses_asked(body: Mapping[str, Any], headers: Mapping[str, str]) -> Asked:
    given = body.get("input")
    texts = [given] if isinstance(given, str) else _messages(given, name="input")
    text = body.get("text")
    schema = _openai_schema(text.get("format") if isinstance(text, dict) else None, nested=None)
    tool, tool_schema = _openai_tool(body)
    whole = [body["instructions"], *texts] if isinstance(body.get("instructions"), str) else texts
    return Asked(model_of(body), "\n\n".join(whole), texts[-1], schema or tool_schema, tool, whole_number(body, "max_output_tokens"))


def _responses_reply(asked: Asked, answer: Answered) -> dict[str, Any]:
    said, state = answer.said, "incomplete" if answer.said.cut else "completed"
    part: dict[str, Any] = {"type": "output_text", "text": said.text, "annotations": []}
    if said.kind == "refusal":
        part = {"type": "refusal", "refusal": said.text}
    output: list[dict[str, Any]] = []
    for i, (name, arguments) in enumerate(_calls(asked, answer)):
        ids = {"id": f"fc_{answer.ident}{i}", "call_id": f"call_{answer.ident}{i}"}
        output.append({"type": "function_call", **ids, "name": name, "arguments": arguments, "status": state})
    if not output or (said.text and asked.tool is None):
        message = {"type": "message", "id": f"msg_{answer.ident}", "role": "assistant", "status": state, "content": [part]}
        output.insert(0, message)
    used, made = tokens(asked.text), tokens(said.text)
    usage = {
        "input_tokens": used, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": used + made,
    }  # fmt: skip
    return {
        "id": f"resp_{answer.ident}", "object": "response", "created_at": int(time.time()), "model": answer.version, "status": state,
        "error": None, "incomplete_details": {"reason": "max_output_tokens"} if said.cut else None, "instructions": None,
        "output": output, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {}, "usage": usage,
    }  # fmt: skip


# --- Anthropic messages ------------------------------------------------------------------------------------------------


def _anthropic_asked(body: Mapping[str, Any], headers: Mapping[str, str]) -> Asked:
    if headers.get("anthropic-version", "") >= NO_SAMPLING_SINCE:
        for name in ("temperature", "top_p", "top_k"):
            if name in body:
                raise RequestError(f"{name}: not supported since API version {NO_SAMPLING_SINCE}", param=name)
    limit = whole_number(body, "max_tokens")
    if limit is None:
        raise RequestError("max_tokens: Field required", param="max_tokens")
    texts = _messages(body.get("messages"))
    config = body.get("output_config")
    format_ = config.get("format") if isinstance(config, dict) else None
    schema = format_.get("schema") if isinstance(format_, dict) else None
    if schema is not None and not (isinstance(schema, dict) and _closed(schema, all_required=False)):
        raise RequestError("output_config.format.schema: for 'object' type, 'additionalProperties' must be explicitly set to false")
    tool, tool_schema = _anthropic_tool(body)
    system = body.get("system")
    whole = [_content(system), *texts] if system else texts
    return Asked(model_of(body), "\n\n".join(whole), texts[-1], schema or tool_schema, tool, limit)


def _anthropic_reply(asked: Asked, answer: Answered) -> dict[str, Any]:
    said = answer.said
    content: list[dict[str, Any]] = [{"type": "text", "text": said.text}]
    stop = "max_tokens" if said.cut else "end_turn"
    calls = [(name, _object(arguments)) for name, arguments in _calls(asked, answer)]
    if said.kind == "refusal":
        content, stop = [], "refusal"
    elif calls and all(arguments is not None for _, arguments in calls):
        content = [] if asked.tool or not said.text else content
        for i, (name, data) in enumerate(calls):
            content.append({"type": "tool_use", "id": f"toolu_{answer.ident}{i}", "name": name, "input": data})
        stop = "tool_use"
    cache = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {
        "id": f"msg_{answer.ident}", "type": "message", "role": "assistant", "model": answer.version, "content": content,
        "stop_reason": stop, "stop_sequence": None,
        "usage": {"input_tokens": tokens(asked.text), "output_tokens": tokens(said.text), **cache},
    }  # fmt: skip


# --- errors ------------------------------------------------------------------------------------------------------------


def openai_error(status: int, message: str, code: str | None, param: str | None) -> dict[str, Any]:
    """An error as OpenAI gives it."""
    kind = {429: "rate_limit_error", 500: "server_error"}.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


_ANTHROPIC_KINDS = {
    401: "authentication_error", 404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 500: "api_error",
}  # fmt: skip


def _anthropic_error(status: int, message: str, code: str | None, param: str | None) -> dict[str, Any]:
    kind = _ANTHROPIC_KINDS.get(status, "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": None}


CHAT = Format("chat", "openai", _chat_asked, _chat_reply, openai_error)
RESPONSES = Format("responses", "openai", _responses_asked, _responses_reply, openai_error)
MESSAGES = Format("messages", "anthropic", _anthropic_asked, _anthropic_reply, _anthropic_error)


# --- parts of requests -------------------------------------------------------------------------------------------------


def refuse_unplayed(body: Mapping[str, Any]) -> None:
    """What the simulator does not play, in any format: streaming, and more than one answer."""
    if body.get("stream"):
        raise RequestError("this server does not stream: send stream=false", param="stream")
    if body.get("n") not in (None, 1):
        raise RequestError("this server gives one answer: send n=1", param="n")


def model_of(body: Mapping[str, Any]) -> str:
    """The model that is asked for. Raises RequestError."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise RequestError("you must provide a model parameter", param="model")
    return model


def whole_number(body: Mapping[str, Any], name: str, low: int = 1) -> int | None:
    """An integer field, None where it is not given. Raises RequestError."""
    value = body.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < low):
        raise RequestError(f"{name} must be an integer of at least {low}", param=name)
    return value


def _messages(value: Any, name: str = "messages") -> list[str]:
    if not isinstance(value, list) or not value:
        raise RequestError(f"{name} must be a list of at least one message", param=name)
    if not all(isinstance(message, dict) and isinstance(message.get("role", "user"), str) for message in value):
        raise RequestError(f"{name} must be objects with role and content", param=name)
    return [_content(message.get("content")) for message in value]


def _content(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list):
        return "".join(str(part.get("text", "")) for part in value if isinstance(part, dict))
    raise RequestError("content must be a text or a list of parts")


def _openai_schema(format_: Any, nested: str | None) -> Mapping[str, Any] | None:
    if not isinstance(format_, dict) or format_.get("type") != "json_schema":
        return None
    holder = format_.get(nested) if nested else format_
    schema = holder.get("schema") if isinstance(holder, dict) else None
    if not isinstance(holder, dict) or not isinstance(schema, dict) or not holder.get("name"):
        raise RequestError("a json_schema format needs a name and a schema", param="response_format")
    if holder.get("strict") and not _closed(schema, all_required=True):
        raise RequestError(
            f"Invalid schema for response_format '{holder['name']}': 'additionalProperties' is required to be supplied and to be false,"
            " and 'required' must name every key in properties.", param="response_format",
        )  # fmt: skip
    return schema


def _closed(schema: Any, *, all_required: bool) -> bool:
    """Whether every object in a schema is closed (and, for strict OpenAI schemas, requires all its properties)."""
    if isinstance(schema, list):
        return all(_closed(part, all_required=all_required) for part in schema)
    if not isinstance(schema, dict):
        return True
    fields = schema.get("properties")
    if isinstance(fields, dict):
        if schema.get("additionalProperties") is not False or (all_required and set(schema.get("required", [])) != set(fields)):
            return False
        if not all(_closed(part, all_required=all_required) for part in fields.values()):
            return False
    return all(_closed(part, all_required=all_required) for name, part in schema.items() if name not in ("properties", "enum", "const"))


def _openai_tool(body: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any] | None]:
    """The forced tool and its schema: chat nests it under `function`, responses does not."""
    choice, tools = body.get("tool_choice"), body.get("tools") or []
    flat = [tool.get("function", tool) for tool in tools if isinstance(tool, dict)]
    if choice == "required":
        return _picked(flat, None, "parameters")
    if isinstance(choice, dict) and choice.get("type") == "function":
        return _picked(flat, choice.get("function", choice).get("name"), "parameters")
    return None, None


def _anthropic_tool(body: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any] | None]:
    choice = body.get("tool_choice")
    if not isinstance(choice, dict) or choice.get("type") not in ("tool", "any"):
        return None, None
    tools = [tool for tool in body.get("tools") or [] if isinstance(tool, dict)]
    return _picked(tools, choice.get("name") if choice["type"] == "tool" else None, "input_schema")


def _picked(tools: list[dict[str, Any]], name: Any, field: str) -> tuple[str, Mapping[str, Any]]:
    for tool in tools:
        if name is None or tool.get("name") == name:
            return str(tool.get("name")), tool.get(field) or {"type": "object"}
    raise RequestError("tool_choice names a tool that is not in tools", param="tool_choice")


def _calls(asked: Asked, answer: Answered) -> list[tuple[str, str]]:
    """The tool calls of an answer: name and arguments as JSON text."""
    if asked.tool is not None and answer.said.kind != "refusal":
        return [(asked.tool, answer.said.text)]
    return [(str(call["name"]), json.dumps(call.get("arguments") or {}, ensure_ascii=False)) for call in answer.calls]


def _object(text: str) -> dict[str, Any] | None:
    try:
        data = json.loads(text)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None

"""OpenAI, Anthropic and vLLM by URL, through the official clients to a real server: what is sent, what is read, which key goes where."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.responses import JSONResponse

from evalh.errors import InputError, ProviderUnusable
from evalh.providers.base import Reply, Target
from evalh.providers.registry import provider_for
from tests.providers_server import CHAT, KEY, MESSAGES, QUESTION, RESPONSES, Server, ask, fresh, serving


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def server(shared: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    return fresh(shared, monkeypatch)


SCHEMA = {"type": "object", "properties": {"scores": {"type": "integer"}}, "required": ["scores"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "looks up", "parameters": {"type": "object", "properties": {}}}}


# What is sent


def test_chat_sends_messages_limit_and_nothing_that_was_not_set(server: Server) -> None:
    """A chat request holds model, messages and the token limit; temperature, params and a schema only where they are set."""
    reply = ask(server.target())
    assert server.sent[-1]["path"] == "/v1/chat/completions"
    assert server.sent[-1]["headers"]["authorization"] == f"Bearer {KEY}"
    assert server.body == {"model": "judge", "max_tokens": 1024, "messages": [m.model_dump() for m in QUESTION.messages]}
    assert reply == Reply(
        text="fine", version="judge-2026-10-01", system_fingerprint="fp_7", finish_reason="stop", tokens_in=11, tokens_out=3
    )


def test_chat_sends_schema_tools_temperature_and_params(server: Server) -> None:
    """The schema goes as a strict response_format; params are merged over the settings, and a null takes one out."""
    target = server.target(temperature=0.0, max_tokens=50, params={"seed": 7, "max_tokens": None, "top_p": 0.5})
    ask(target, QUESTION.model_copy(update={"schema_": SCHEMA, "tools": (TOOL,)}))
    assert {k: server.body.get(k) for k in ("temperature", "seed", "top_p", "tools")} == {
        "temperature": 0.0, "seed": 7, "top_p": 0.5, "tools": [TOOL],
    }  # fmt: skip
    assert "max_tokens" not in server.body
    assert server.body["response_format"] == {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": SCHEMA}}


def test_the_official_api_gets_the_limit_that_reasoning_models_take(server: Server) -> None:
    """api.openai.com is sent max_completion_tokens, other servers max_tokens, and a user's own choice is left alone."""
    from evalh.providers.openai import OpenAIProvider

    official = OpenAIProvider(Target(provider="openai", model="any-name", max_tokens=9))
    assert official._body(QUESTION)["max_completion_tokens"] == 9
    assert "max_tokens" not in official._body(QUESTION)
    ask(server.target(params={"max_completion_tokens": 5}))
    assert (server.body.get("max_tokens"), server.body["max_completion_tokens"]) == (None, 5)


def test_responses_sends_its_own_format_and_stores_nothing(server: Server) -> None:
    """The responses API gets input, text.format and flat tools, and is told not to keep golden items."""
    target = server.target(api="responses", max_tokens=9, params={"text": {"verbosity": "low"}})
    reply = ask(target, QUESTION.model_copy(update={"schema_": SCHEMA, "tools": (TOOL,)}))
    assert server.sent[-1]["path"] == "/v1/responses"
    assert server.body["input"] == [m.model_dump() for m in QUESTION.messages]
    assert (server.body["max_output_tokens"], server.body["store"]) == (9, False)
    assert server.body["text"] == {
        "verbosity": "low", "format": {"type": "json_schema", "name": "reply", "strict": True, "schema": SCHEMA},
    }  # fmt: skip
    assert server.body["tools"][0]["name"] == "look_up"
    assert reply == Reply(text="fine", version="judge-2026-10-01", finish_reason="stop", tokens_in=11, tokens_out=3)


def test_messages_sends_system_apart_and_the_schema_as_output_config(server: Server) -> None:
    """Anthropic gets the system text apart, the schema under output_config beside the user's effort, tools in its form."""
    target = server.target("anthropic", params={"output_config": {"effort": "low"}})
    reply = ask(target, QUESTION.model_copy(update={"schema_": SCHEMA, "tools": (TOOL,)}))
    assert server.sent[-1]["path"] == "/v1/messages"
    assert KEY in server.sent[-1]["headers"]["authorization"]
    assert server.sent[-1]["headers"]["anthropic-version"]
    assert server.body == {
        "model": "judge",
        "max_tokens": 1024,
        "system": "Grade.",
        "messages": [{"role": "user", "content": "2 + 2 = 4"}],
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
        "tools": [{"name": "look_up", "description": "looks up", "input_schema": {"type": "object", "properties": {}}}],
    }
    assert reply == Reply(text="fine", version="judge-2026-10-01", finish_reason="stop", tokens_in=11, tokens_out=3)


def test_anthropic_takes_a_temperature_only_elsewhere(server: Server) -> None:
    """The official API has no temperature, so it is refused with a sentence before anything is sent; other servers get it."""
    with pytest.raises(ProviderUnusable, match=r"api\.anthropic\.com takes no temperature.*repeats"):
        provider_for(Target(provider="anthropic", model="claude", temperature=0.0))
    ask(server.target("anthropic", temperature=0.0))
    assert server.body["temperature"] == 0.0


def test_a_vllm_server_needs_no_key_and_gets_the_standard_format(server: Server) -> None:
    """vllm with a base_url is asked like any OpenAI-compatible server, without the OpenAI key, by response_format."""
    ask(server.target("vllm", model="Qwen/Qwen3-8B"), QUESTION.model_copy(update={"schema_": SCHEMA}))
    assert KEY not in server.sent[-1]["headers"]["authorization"]
    assert server.body["response_format"]["json_schema"]["schema"] == SCHEMA


# What is read


def test_a_refusal_is_no_text(server: Server) -> None:
    """A refusal comes back with empty text, finish_reason `refusal` and the judge's words beside it, from every API."""
    message = {"role": "assistant", "content": None, "refusal": "I will not."}
    refused = {"type": "message", "content": [{"type": "refusal", "refusal": "I will not."}]}
    answers = {
        "/v1/chat/completions": {**CHAT, "choices": [{"finish_reason": "stop", "message": message}]},
        "/v1/responses": {**RESPONSES, "output": [refused]},
        "/v1/messages": {**MESSAGES, "stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": "I will not."}},
    }
    server.answer = lambda request: JSONResponse(answers[request["path"]])
    for target in (server.target(), server.target(api="responses"), server.target("anthropic")):
        reply = ask(target)
        assert (reply.text, reply.finish_reason, reply.raw) == ("", "refusal", "I will not.")


def test_a_cut_reply_says_so(server: Server) -> None:
    """A reply cut at the token limit has finish_reason `length`, whatever the API calls it."""
    answers = {
        "/v1/chat/completions": {**CHAT, "choices": [{**CHAT["choices"][0], "finish_reason": "length"}]},
        "/v1/responses": {**RESPONSES, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
        "/v1/messages": {**MESSAGES, "stop_reason": "max_tokens"},
    }
    server.answer = lambda request: JSONResponse(answers[request["path"]])
    for target in (server.target(), server.target(api="responses"), server.target("anthropic")):
        reply = ask(target)
        assert (reply.text, reply.finish_reason) == ("fine", "length")


def test_tool_calls_are_read_and_broken_arguments_are_kept(server: Server) -> None:
    """Tool calls come back with name and arguments; arguments that are no JSON object are kept as text, not dropped."""
    calls = [{"function": {"name": "look_up", "arguments": text}} for text in ('{"q": 1}', "{broken")]
    called = [{"type": "function_call", "name": "look_up", "arguments": text} for text in ('{"q": 1}', "{broken")]
    used = {"type": "tool_use", "name": "look_up", "input": {"q": 1}}
    answers = {
        "/v1/chat/completions": {**CHAT, "choices": [{"finish_reason": "tool_calls", "message": {"content": None, "tool_calls": calls}}]},
        "/v1/responses": {**RESPONSES, "output": called},
        "/v1/messages": {**MESSAGES, "content": [used], "stop_reason": "tool_use"},
    }
    server.answer = lambda request: JSONResponse(answers[request["path"]])
    for target in (server.target(), server.target(api="responses")):
        assert [c.arguments for c in ask(target).tool_calls] == [{"q": 1}, {"unreadable": "{broken"}]
    reply = ask(server.target("anthropic"))
    assert (reply.tool_calls[0].name, reply.tool_calls[0].arguments, reply.finish_reason) == ("look_up", {"q": 1}, "tool_calls")


# Keys


def test_a_missing_key_names_its_variable(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key the provider is refused at once, with the variable's name; loopback needs none."""
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ProviderUnusable, match=r"OPENAI_API_KEY is not set.*export"):
        provider_for(Target(provider="openai", model="m"))
    with pytest.raises(ProviderUnusable, match="MY_KEY is not set"):
        provider_for(server.target(api_key_env="MY_KEY"))
    ask(server.target())
    assert server.sent[-1]["headers"]["authorization"] == "Bearer no-key-needed"


def test_the_vendors_key_goes_to_the_vendor_only(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another server's URL in a suite does not get OPENAI_API_KEY: its key has to be named, or the URL stand in the environment."""
    elsewhere = Target(provider="openai", model="m", base_url="https://llm.example.com/v1")
    with pytest.raises(ProviderUnusable, match=r"no key is named for https://llm\.example\.com/v1.*api_key_env"):
        provider_for(elsewhere)
    monkeypatch.setenv("MY_KEY", " other-key \n")
    assert provider_for(elsewhere.model_copy(update={"api_key_env": "MY_KEY"})).endpoint.key == "other-key"  # type: ignore[attr-defined]
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gateway.example.com/v1")
    assert provider_for(Target(provider="openai", model="m")).endpoint.key == KEY  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_url": "localhost:8000"}, "is no URL"),
        ({"base_url": "http://user:hunter22@localhost:8000/v1"}, "holds credentials"),
        ({"api": "completions"}, "openai has no api 'completions'"),
        ({"params": {"stream": True}}, "params cannot set stream"),
    ],
)
def test_settings_that_cannot_work_are_bad_input(server: Server, settings: dict[str, Any], message: str) -> None:
    """What the user wrote wrongly is an InputError that names the judge, before anything is sent."""
    with pytest.raises(InputError, match=message):
        provider_for(server.target(**settings))
    assert json.dumps(server.sent) == "[]"

"""The simulator over HTTP, through the real openai and anthropic clients."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from scipy.stats import binomtest

from evalh.errors import UsageError
from evalh.sim.profile import Profile, profile_from
from evalh.sim.server import running, serve

NONCE = "0123456789abcdef"
REMEMBERED = "A ticket about order 7731 from Quito asks why the blue kettle came without its lid and who pays the return."
PROFILE: dict[str, Any] = {
    "name": "test",
    "seed": 11,
    "truth": ["truth.jsonl"],
    "judge": [
        {"model": "north", "family": "sim-north", "version": "north-2026-01", "accuracy": 0.85, "position_bias": 0.25},
        {"model": "noisy", "accuracy": 0.7, "noise": 0.5, "fault_500_rate": 0.2, "malformed_rate": 0.1},
        {"model": "refuser", "refusal_rate": 1.0},
        {"model": "breaker", "malformed_rate": 1.0},
        {"model": "busy", "fault_429_rate": 1.0, "retry_after_s": 1.5},
        {"model": "broken", "fault_500_rate": 1.0},
        {"model": "dropper", "drop_rate": 1.0},
        {"model": "slow", "stall_rate": 1.0, "stall_s": 20, "latency_ms": 30, "latency_jitter_ms": 10},
        {"model": "limited", "rate_limit_rpm": 3},
        {"model": "short", "context_tokens": 60},
        {"model": "claudine", "api": "anthropic"},
        {
            "model": "moving",
            "tnr": 0.9,
            "drift": [
                {"from": "2026-03-01", "version": "moving-2", "leniency": 0.5},
                {"from": "2026-05-01", "silent": True, "leniency": 0.0, "tnr": 0.0},
            ],
        },
    ],
    "system": [{"model": "writer", "answers": "answers.jsonl", "memorised": ["seen.jsonl"], "memory_gain": 0.8}],
    "today": "2026-01-15",
}


def closed(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def schema(kind: str, **aspects: list[Any]) -> dict[str, Any]:
    answers = {name: {"type": "string" if kind == "verdicts" else "integer", "enum": values} for name, values in aspects.items()}
    return closed({"rationale": {"type": "string"}, kind: closed(answers)})


SCORES = schema("scores", quality=[0, 1])
PAIR = schema("verdicts", overall=["first", "second", "tie"])


def chat_format(wanted: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": wanted}}


def fenced(*answers: str, nonce: str = NONCE) -> list[dict[str, str]]:
    labels = ["ANSWER"] if len(answers) == 1 else ["ANSWER 1", "ANSWER 2"]
    blocks = [f"<<<{label} {nonce}>>>\n{text}\n<<<END {nonce}>>>" for label, text in zip(["INPUT", *labels], ["q", *answers], strict=True)]
    return [{"role": "user", "content": "\n\n".join(blocks)}]


def good(i: int) -> str:
    return f"good answer number {i}, which is right in all it says"


def bad(i: int) -> str:
    return f"poor answer number {i}, which is wrong in all it says"


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    folder = tmp_path_factory.mktemp("sim")
    truth = [{"text": text(i), "quality": q} for i in range(200) for text, q in ((good, 0.9), (bad, 0.1))]
    call = {"name": "find", "arguments": {"q": 1}}
    answers = [{"input": "What is 2 + 2?", "output": "4"}, {"input": "Look it up.", "output": "", "tool_calls": [call]}]
    for name, rows in (("truth", truth), ("answers", answers), ("seen", [{"text": REMEMBERED}])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return profile_from(PROFILE, folder=folder)


@pytest.fixture(scope="module")
def url(profile: Profile) -> Iterator[str]:
    with running(profile) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
        client.post(f"{url}/_sim/reset", cast_to=object)
        yield client


@pytest.fixture
def claude(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, model: str, *answers: str, **more: Any) -> Any:
    wanted = SCORES if len(answers) == 1 else PAIR
    return client.chat.completions.create(model=model, messages=fenced(*answers), response_format=chat_format(wanted), **more)


def stats(client: openai.OpenAI, url: str) -> Any:
    return client.get(f"{url}/_sim/stats", cast_to=object)


# --- formats -----------------------------------------------------------------------------------------------------------


def test_chat_answers_in_the_schema_with_version_and_usage(client: openai.OpenAI, url: str) -> None:
    """A chat reply is the client's own type: JSON in the schema, the reported version, a fingerprint, usage; each call is counted."""
    reply = ask(client, "north", good(1), bad(1))
    data = json.loads(reply.choices[0].message.content)
    assert set(data) == {"rationale", "verdicts"}
    assert data["verdicts"]["overall"] in ("first", "second", "tie")
    assert (reply.model, reply.choices[0].finish_reason) == ("north-2026-01", "stop")
    assert reply.system_fingerprint.startswith("fp_")
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0
    counts = stats(client, url)
    assert (counts["requests"], counts["rejected"], counts["models"]["north"]) == (1, {}, {"requests": 1, "answered": 1})


def test_every_api_gives_the_same_verdict(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    """Chat, responses, messages and forced tools of each give one judge's one verdict on one content, whatever the nonce."""
    messages = fenced(bad(2), good(2))
    other = fenced(bad(2), good(2), nonce="f" * 16)
    tool = {"name": "grade", "description": "", "parameters": PAIR, "strict": True}
    chat = ask(client, "north", bad(2), good(2))
    called = client.chat.completions.create(
        model="north",
        messages=other,
        tools=[{"type": "function", "function": tool}],
        tool_choice={"type": "function", "function": {"name": "grade"}},
    )
    format_ = {"type": "json_schema", "name": "reply", "strict": True, "schema": PAIR}
    response = client.responses.create(model="north", input=messages, text={"format": format_}, instructions="Grade.")
    flat = client.responses.create(
        model="north", input=messages[0]["content"], tools=[{"type": "function", **tool}], tool_choice="required"
    )
    output = {"format": {"type": "json_schema", "schema": PAIR}}
    message = claude.messages.create(model="north", max_tokens=500, messages=other, system="Grade.", output_config=output)
    used = claude.messages.create(
        model="north",
        max_tokens=500,
        messages=messages,
        tools=[{"name": "grade", "input_schema": PAIR}],
        tool_choice={"type": "tool", "name": "grade"},
    )
    replies = {
        chat.choices[0].message.content,
        called.choices[0].message.tool_calls[0].function.arguments,
        response.output_text,
        flat.output[0].arguments,
        message.content[0].text,
        json.dumps(used.content[0].input),
    }
    assert len(replies) == 1
    assert (response.status, message.stop_reason, used.stop_reason) == ("completed", "end_turn", "tool_use")
    assert (message.model, message.usage.input_tokens > 0, response.usage.output_tokens > 0) == ("north-2026-01", True, True)
    assert called.choices[0].finish_reason == "tool_calls"


def test_other_schemas_and_plain_prompts_are_answered_too(client: openai.OpenAI) -> None:
    """Another schema gets a small instance; a prompt that shows a JSON form gets that form; log-probabilities come when asked for."""
    other = closed({"score": {"type": "integer", "minimum": 2}, "reason": {"type": "string"}})
    rate = [{"role": "user", "content": "Rate."}]
    reply = client.chat.completions.create(model="north", messages=rate, response_format=chat_format(other))
    assert json.loads(reply.choices[0].message.content) == {"score": 2, "reason": "simulated"}
    form = {"role": "system", "content": 'Reply with one JSON object: {"rationale": "why", "scores": {"tone": level}}'}
    plain = client.chat.completions.create(model="north", messages=[form, *fenced(good(3))], logprobs=True, top_logprobs=2)
    choice = plain.choices[0]
    assert json.loads(choice.message.content)["scores"]["tone"] in (0, 1)
    assert "".join(token.token for token in choice.logprobs.content) == choice.message.content
    assert all(len(token.top_logprobs) == 2 and token.logprob < 0 for token in choice.logprobs.content)


def test_completions_give_prompt_logprobs_as_vllm_does(client: openai.OpenAI) -> None:
    """A list with null first, then {token_id: {logprob, rank, decoded_token}}; echo gives parallel lists; memory shows in both."""
    fresh = REMEMBERED.replace("7731", "1377").replace("Quito", "Lima")
    body = {"prompt_logprobs": 2, "return_token_ids": True}
    scored = client.completions.create(model="writer", prompt=[REMEMBERED, fresh], max_tokens=1, extra_body=body)
    means = []
    for choice in scored.choices:
        entries, ids = choice.prompt_logprobs, choice.prompt_token_ids
        assert entries[0] is None
        assert len(entries) == len(ids)
        actual = [entry[str(id_)] for entry, id_ in zip(entries[1:], ids[1:], strict=True)]
        assert all(set(entry) == {"logprob", "rank", "decoded_token"} and entry["logprob"] < 0 for entry in actual)
        means.append(sum(entry["logprob"] for entry in actual) / len(actual))
    assert means[0] > means[1] + 0.3
    echoed = client.completions.create(model="writer", prompt=REMEMBERED, max_tokens=0, echo=True, logprobs=1).choices[0]
    assert echoed.text == REMEMBERED == "".join(echoed.logprobs.tokens)
    assert echoed.logprobs.token_logprobs[0] is None
    assert echoed.logprobs.token_logprobs[5] == scored.choices[0].prompt_logprobs[5][str(scored.choices[0].prompt_token_ids[5])]["logprob"]
    with pytest.raises(openai.BadRequestError, match="max_tokens must be at least 1"):
        client.completions.create(model="writer", prompt="a b", max_tokens=0)


def test_a_system_answers_from_its_file_and_its_memory(client: openai.OpenAI) -> None:
    """A system gives the output recorded for an input, also inside a template, with its tool calls, and goes on with a remembered text."""

    def say(text: str) -> Any:
        return client.chat.completions.create(model="writer", messages=[{"role": "user", "content": text}]).choices[0]

    assert say("Please answer.\n\nWhat is  2 + 2?").message.content == "4"
    called = say("Look it up.")
    assert (called.message.tool_calls[0].function.name, called.finish_reason) == ("find", "tool_calls")
    start, rest = REMEMBERED[:60].rsplit(" ", 1)[0], REMEMBERED[len(REMEMBERED[:60].rsplit(" ", 1)[0]) + 1 :]
    assert say(f"Finish this: {start}").message.content == rest
    assert client.completions.create(model="writer", prompt=start, max_tokens=50).choices[0].text == f" {rest}"
    assert "no answer" in say("Who are you?").message.content


def test_models_are_listed_for_each_client(client: openai.OpenAI, claude: anthropic.Anthropic, url: str) -> None:
    """Each API lists the models that it plays, and the front page says what this is."""
    names = {model.id for model in client.models.list()}
    assert "north" in names
    assert "claudine" not in names
    assert {model.id for model in claude.models.list()} >= {"north", "claudine"}
    assert "simulator" in httpx2.get(url).text


# --- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "says", "more"),
    [
        (openai.NotFoundError, "does not exist", {"model": "nobody"}),
        (openai.NotFoundError, "does not exist", {"model": "claudine"}),
        (openai.BadRequestError, "does not stream", {"stream": True}),
        (openai.BadRequestError, "one answer", {"n": 2}),
        (openai.BadRequestError, "maximum context length is 60 tokens", {"model": "short", "messages": fenced("word " * 100)}),
        (openai.BadRequestError, "additionalProperties", {"response_format": chat_format({"type": "object", "properties": {"a": {}}})}),
        (openai.BadRequestError, "messages must be a list", {"messages": []}),
        (openai.BadRequestError, "x-evalh-sim-date", {"extra_headers": {"x-evalh-sim-date": "soon"}}),
    ],
)
def test_openai_errors_are_in_its_format(client: openai.OpenAI, error: type[openai.APIStatusError], says: str, more: Any) -> None:
    """Each refusal is the client's own error, with a message that says what is wrong."""
    with pytest.raises(error, match=says) as refused:
        client.chat.completions.create(**{"model": "north", "messages": fenced("a"), **more})
    assert refused.value.body["message"]


def test_anthropic_errors_are_in_its_format(claude: anthropic.Anthropic) -> None:
    """Unknown model, too long, and sampling settings, which the API version of 2026-10-21 refuses and older ones take."""
    sane: dict[str, Any] = {"model": "claudine", "max_tokens": 20, "messages": fenced("a")}
    with pytest.raises(anthropic.NotFoundError) as unknown:
        claude.messages.create(**{**sane, "model": "nobody"})
    assert unknown.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
        claude.messages.create(**{**sane, "model": "short", "messages": fenced("word " * 100)})
    with pytest.raises(anthropic.BadRequestError, match="temperature"):
        claude.messages.create(**sane, extra_body={"temperature": 0})
    claude.messages.create(**sane, extra_body={"temperature": 0}, extra_headers={"anthropic-version": "2023-06-01"})


def test_the_wrong_key_is_refused_in_both_formats(url: str, client: openai.OpenAI) -> None:
    """The key `wrong` gets a 401; a body that is not JSON gets a 400."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0) as wrong, pytest.raises(openai.AuthenticationError):
        ask(wrong, "north", "a")
    with anthropic.Anthropic(base_url=url, api_key="wrong", max_retries=0) as bad_key, pytest.raises(anthropic.AuthenticationError):
        bad_key.messages.create(model="north", max_tokens=20, messages=fenced("a"))
    assert httpx2.post(f"{url}/v1/messages", content=b"{").status_code == 400
    assert stats(client, url)["rejected"] == {"401": 2, "400": 1}


def test_max_tokens_cuts_a_reply(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    """A reply longer than max_tokens breaks off, and each API says so in its own word."""
    assert ask(client, "north", "a", max_tokens=4).choices[0].finish_reason == "length"
    cut = client.responses.create(model="north", input="Hello there", max_output_tokens=2)
    assert (cut.status, cut.incomplete_details.reason, len(cut.output_text)) == ("incomplete", "max_output_tokens", 8)
    assert claude.messages.create(model="north", max_tokens=2, messages=fenced("a")).stop_reason == "max_tokens"


# --- faults ------------------------------------------------------------------------------------------------------------


def test_faults_are_what_the_clients_know(client: openai.OpenAI, url: str) -> None:
    """429 with Retry-After, 500, a closed connection and a stall arrive as the client's errors, and are counted as faults."""
    with pytest.raises(openai.RateLimitError) as busy:
        ask(client, "busy", "a")
    assert (busy.value.response.headers["retry-after"], busy.value.response.headers["retry-after-ms"]) == ("2", "1500")
    with pytest.raises(openai.InternalServerError):
        ask(client, "broken", "a")
    with pytest.raises(openai.APIConnectionError) as dropped:
        ask(client, "dropper", "a")
    assert not isinstance(dropped.value, openai.APITimeoutError)
    with pytest.raises(openai.APITimeoutError):
        ask(client, "slow", "a", timeout=0.3)
    models = stats(client, url)["models"]
    for name, fault in (("busy", "fault_429"), ("broken", "fault_500"), ("dropper", "dropped"), ("slow", "stalled")):
        assert (models[name]["requests"], models[name][fault]) == (1, 1)
    ask(client, "north", "a")  # the server goes on


def test_a_rate_limit_lets_a_minutes_worth_through(client: openai.OpenAI, url: str) -> None:
    """With 3 requests a minute the fourth is refused for about 20 seconds."""
    for i in range(3):
        ask(client, "limited", good(i))
    with pytest.raises(openai.RateLimitError) as busy:
        ask(client, "limited", good(4))
    assert 18_000 < int(busy.value.response.headers["retry-after-ms"]) <= 20_000
    assert stats(client, url)["models"]["limited"] == {"requests": 4, "answered": 3, "rate_limited": 1}


def test_refusals_and_malformed_replies_look_like_the_apis_own(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    """A refusal comes in the refusal field or stop reason; malformed replies come in turn: prose, cut, no such answer."""
    refused = ask(client, "refuser", "a").choices[0].message
    assert refused.content is None
    assert "sorry" in refused.refusal
    output = {"format": {"type": "json_schema", "schema": SCORES}}
    assert claude.messages.create(model="refuser", max_tokens=99, messages=fenced("a"), output_config=output).stop_reason == "refusal"
    format_ = {"type": "json_schema", "name": "reply", "schema": SCORES}
    assert client.responses.create(model="refuser", input=fenced("a"), text={"format": format_}).output[0].content[0].type == "refusal"
    finishes = [ask(client, "breaker", "a").choices[0].finish_reason for _ in range(6)]
    assert sorted(finishes) == ["length"] * 2 + ["stop"] * 4
    assert finishes[:3] == finishes[3:]


def test_latency_is_as_stated() -> None:
    """An answer takes the latency within its jitter, plus what the machine adds."""
    fast = profile_from({"judge": [{"model": "late", "latency_ms": 120, "latency_jitter_ms": 20}]})
    with running(fast) as late, openai.OpenAI(base_url=f"{late}/v1", api_key="k") as client:
        ask(client, "late", "warm up")
        start = time.perf_counter()
        ask(client, "late", "a")
        assert time.perf_counter() - start >= 0.1


# --- what holds over many calls ----------------------------------------------------------------------------------------


async def _verdicts(base: str, calls: list[tuple[str, tuple[str, ...]]], retries: int = 0) -> dict[tuple[Any, ...], list[str]]:
    """Asks all at once; the replies for each (model, answers), sorted."""
    found: dict[tuple[Any, ...], list[str]] = {}
    async with openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="k", max_retries=0) as client:

        async def one(model: str, answers: tuple[str, ...]) -> None:
            form = chat_format(SCORES if len(answers) == 1 else PAIR)
            for _ in range(retries + 1):
                try:
                    reply = await client.chat.completions.create(model=model, messages=fenced(*answers), response_format=form)
                    data = json.loads(reply.choices[0].message.content)
                    verdict = str(data["scores"]["quality"] if len(answers) == 1 else data["verdicts"]["overall"])
                except (openai.InternalServerError, ValueError):
                    continue
                if verdict in ("0", "1", "first", "second", "tie"):
                    found.setdefault((model, answers), []).append(verdict)
                    return

        await asyncio.gather(*(one(*call) for call in calls))
    return {key: sorted(replies) for key, replies in found.items()}


def test_position_bias_is_recovered_over_http(client: openai.OpenAI, url: str) -> None:
    """Over both orders of 150 pairs the share that goes to the first shown twice is the stated bias."""
    calls = [("north", pair) for i in range(150) for pair in ((good(i), bad(i)), (bad(i), good(i)))]
    replies = asyncio.run(_verdicts(url, calls))
    firsts = sum(replies["north", (good(i), bad(i))] == replies["north", (bad(i), good(i))] == ["first"] for i in range(150))
    assert binomtest(firsts, 150, 0.25).pvalue > 0.002
    assert stats(client, url)["models"]["north"] == {"requests": 300, "answered": 300}


def test_verdicts_do_not_depend_on_the_order_of_arrival(profile: Profile) -> None:
    """Three repeats of each content, shuffled, concurrent, with 500s, malformed replies and retries: the same verdicts."""
    calls = [("noisy", (good(i),)) for i in range(40) for _ in range(3)]
    found = []
    for seed in (1, 2):
        random.Random(seed).shuffle(calls)
        with running(profile) as base:
            found.append(asyncio.run(_verdicts(base, calls, retries=20)))
    assert found[0] == found[1]
    assert all(len(replies) == 3 for replies in found[0].values())
    assert any(len(set(replies)) == 2 for replies in found[0].values())


def test_a_drift_holds_from_its_date_on(client: openai.OpenAI, url: str) -> None:
    """By header, and by the server's date, the behaviour changes; the reported version follows, unless the drift is silent."""

    def state(day: str | None) -> tuple[str, str, int]:
        headers = {"x-evalh-sim-date": day} if day else {}
        replies = [ask(client, "moving", bad(i), extra_headers=headers) for i in range(60)]
        passed = sum(json.loads(reply.choices[0].message.content)["scores"]["quality"] for reply in replies)
        return replies[0].model, replies[0].system_fingerprint, passed

    before, after, silent = state("2026-02-28"), state("2026-03-01"), state("2026-05-02")
    assert (before[0], after[0], silent[0]) == ("moving", "moving-2", "moving-2")
    assert before[1] != after[1] == silent[1]
    assert before[2] < after[2] < silent[2] == 60
    assert state(None) == before
    client.post(f"{url}/_sim/today", body={"today": "2026-03-01"}, cast_to=object)
    assert state(None) == after


# --- serving -----------------------------------------------------------------------------------------------------------


def test_only_loopback_is_served(profile: Profile) -> None:
    """Another host, or a port that is taken, is refused in one line."""
    with pytest.raises(UsageError, match=r"serves on loopback only, not on 0\.0\.0\.0; use --host 127\.0\.0\.1"):
        serve(profile, "0.0.0.0", 0)
    with running(profile) as url, pytest.raises(UsageError, match="cannot be used"):
        serve(profile, "127.0.0.1", int(url.rsplit(":", 1)[1]))


def test_serve_says_where_and_who_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    """The blocking server prints one line, answers, and an interrupt ends it without a traceback."""
    (tmp_path / "p.toml").write_text("[[judge]]\nmodel = 'n'\n[[system]]\nmodel = 's'\n", encoding="utf-8")
    code = "import sys; from evalh.sim import profile, server; server.serve(profile.load_profile(sys.argv[1]), port=0)"
    command = [sys.executable, "-c", code, str(tmp_path / "p.toml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "judges n; systems s" in line
        assert httpx2.get(line.split()[4]).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert (process.stdout.read(), process.stderr.read()) == ("", "")

"""vLLM in this process: batches, one model for several judges, nothing loaded early.

The `vllm` here is a tiny package that is written for the test: it has the signatures of vLLM 0.32 and no model. The last
test asks a real one, where vllm is installed and EVALH_VLLM_MODEL names a model.
"""

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evalh.errors import InputError, ProviderError, ProviderRefused, ProviderUnusable
from evalh.providers.base import Request, Target
from evalh.providers.registry import provider_for
from evalh.records import Message

SCHEMA = {
    "type": "object",
    "properties": {"rationale": {"type": "string", "maxLength": 20}, "scores": {"type": "integer", "enum": [0, 1]}},
    "required": ["rationale", "scores"],
    "additionalProperties": False,
}

INIT = """
import threading, time
from vllm.sampling_params import SamplingParams
__version__ = "0.32.0"
CALLS, LOADED = [], []

class _Config:
    dtype = "torch.bfloat16"
    def get_diff_sampling_param(self):
        return {"top_p": 0.9}

class _Answer:
    def __init__(self, text):
        self.text, self.finish_reason, self.token_ids = text, "stop", (1, 2, 3)

class _Output:
    def __init__(self, messages, text):
        self.prompt_token_ids, self.outputs = list(range(len(messages))), [_Answer(text)]

class LLM:
    def __init__(self, model, **settings):
        if model == "missing":
            raise OSError("no such model")
        LOADED.append((model, settings))
        self.model_config = _Config()

    def chat(self, messages, sampling_params=None, use_tqdm=True, chat_template=None, chat_template_kwargs=None):
        assert len(sampling_params) == len(messages) and not use_tqdm
        if any(m[-1]["content"] == "too long" for m in messages):
            raise ValueError("the prompt is too long")
        if any(m[-1]["content"] == "crash" for m in messages):
            raise RuntimeError("the engine died")
        CALLS.append((len(messages), sampling_params, chat_template_kwargs, threading.current_thread().name))
        time.sleep(0.05)
        return [_Output(m, "re: " + m[-1]["content"]) for m in messages]
"""

SAMPLING = """
class StructuredOutputsParams:
    def __init__(self, json=None):
        self.json = json

class SamplingParams:
    def __init__(self, max_tokens=16, temperature=1.0, top_p=1.0, seed=None, structured_outputs=None):
        self.__dict__.update(locals())
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The tiny package, importable; call it to import it and see what it was asked."""
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text(INIT, encoding="utf-8")
    (tmp_path / "vllm" / "sampling_params.py").write_text(SAMPLING, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    yield lambda: importlib.import_module("vllm")
    for name in [n for n in sys.modules if n.partition(".")[0] == "vllm"]:
        del sys.modules[name]


def target(model: str = "tiny", **settings: Any) -> Target:
    return Target(provider="vllm", model=model, **settings)


def question(text: str, schema: dict[str, Any] | None = None) -> Request:
    return Request(messages=(Message(role="user", content=text),), schema_=schema)


async def asked(targets: list[Target], requests: list[Request]) -> list[Any]:
    """The answers (or errors) of all requests, asked at once of every target."""
    providers = [provider_for(t) for t in targets]
    answers = await asyncio.gather(*(p.ask(r) for p in providers for r in requests), return_exceptions=True)
    for provider in providers:
        await provider.aclose()
    return answers


def test_questions_that_wait_together_are_one_batch(package: Any) -> None:
    """Requests awaited at the same time go to LLM.chat as one call, in one worker thread, and each gets its own answer."""
    replies = asyncio.run(asked([target()], [question(f"q{i}") for i in range(20)]))
    assert [r.text for r in replies] == [f"re: q{i}" for i in range(20)]
    assert [(size, thread.startswith("evalh-vllm")) for size, _, _, thread in package().CALLS] == [(20, True)]
    assert (replies[0].version, replies[0].system_fingerprint) == ("tiny", "vllm-0.32.0-bfloat16")
    assert (replies[0].tokens_in, replies[0].tokens_out, replies[0].finish_reason) == (1, 3, "stop")


def test_what_comes_while_a_batch_runs_is_the_next_batch(package: Any) -> None:
    """Late questions wait for the running batch and then go together."""

    async def in_two_waves() -> None:
        provider = provider_for(target())
        first = [asyncio.create_task(provider.ask(question(f"a{i}"))) for i in range(3)]
        await asyncio.sleep(0.03)
        second = [asyncio.create_task(provider.ask(question(f"b{i}"))) for i in range(4)]
        await asyncio.gather(*first, *second)
        await provider.aclose()

    asyncio.run(in_two_waves())
    assert [call[0] for call in package().CALLS] == [3, 4]


def test_settings_reach_engine_sampling_and_template(package: Any) -> None:
    """params.engine goes to LLM, template settings to chat, the rest to SamplingParams over the model's own defaults."""
    params = {"engine": {"max_model_len": 512}, "seed": 3, "chat_template_kwargs": {"enable_thinking": False}}
    asyncio.run(asked([target(temperature=0.0, max_tokens=40, params=params)], [question("q", SCHEMA)]))
    _, (sampling,), template, _ = package().CALLS[0]
    assert package().LOADED == [("tiny", {"max_model_len": 512})]
    assert (sampling.temperature, sampling.max_tokens, sampling.top_p, sampling.seed) == (0.0, 40, 0.9, 3)
    assert sampling.structured_outputs.json == SCHEMA
    assert template == {"enable_thinking": False}


def test_judges_of_one_model_share_it(package: Any) -> None:
    """Two judges of one model with the same engine load it once; it is loaded anew after both have closed."""
    asyncio.run(asked([target(), target(temperature=0.5)], [question("q")]))
    assert len(package().LOADED) == 1
    asyncio.run(asked([target()], [question("q")]))
    assert len(package().LOADED) == 2


def test_a_refused_request_does_not_take_its_batch_along(package: Any) -> None:
    """vLLM refuses a whole batch for one bad prompt; here only that prompt is refused."""
    answers = asyncio.run(asked([target()], [question("q1"), question("too long"), question("q2")]))
    assert [getattr(a, "text", None) for a in answers] == ["re: q1", None, "re: q2"]
    assert type(answers[1]) is ProviderRefused
    assert "too long" in str(answers[1])


@pytest.mark.parametrize(
    ("model", "text", "message"), [("missing", "q", "does not load: OSError: no such model"), ("tiny", "crash", "the engine died")]
)
def test_a_model_that_fails_is_unusable(package: Any, model: str, text: str, message: str) -> None:
    """A model that does not load, or whose engine dies, is an error with its reason for everyone who waits."""
    answers = asyncio.run(asked([target(model)], [question(text), question(text)]))
    assert [type(a) for a in answers] == [ProviderUnusable, ProviderUnusable]
    assert all(message in str(a) for a in answers)


def test_nothing_is_loaded_before_the_first_question(package: Any) -> None:
    """Making the provider imports no vllm."""
    provider = provider_for(target())
    assert "vllm" not in sys.modules
    asyncio.run(provider.aclose())


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vllm is installed")
def test_without_the_extra_the_error_names_it() -> None:
    """Where vllm is not importable, the error says what to install and what to do instead."""
    with pytest.raises(ProviderUnusable, match=r"evalh\[vllm\].*base_url"):
        provider_for(target())


def test_engine_settings_are_for_this_process(package: Any) -> None:
    """params.engine beside a base_url is bad input: a running server has its settings already. Tools need a server."""
    with pytest.raises(InputError, match=r"params\.engine"):
        provider_for(target(base_url="http://127.0.0.1:9/v1", params={"engine": {}}))
    answers = asyncio.run(asked([target()], [question("q").model_copy(update={"tools": ({"type": "function"},)})]))
    assert "tools need a vLLM server" in str(answers[0])


@pytest.mark.skipif("EVALH_VLLM_MODEL" not in os.environ, reason="EVALH_VLLM_MODEL names no model for a real vLLM")
def test_a_real_vllm_answers_in_the_schema() -> None:
    """A real model answers a batch in the schema, refuses a prompt that is too long, and both judges share it."""
    structured = {"backend": "xgrammar", "disable_any_whitespace": True}
    engine = {"max_model_len": 512, "enforce_eager": True, "max_num_seqs": 32, "structured_outputs_config": structured}
    judge = target(os.environ["EVALH_VLLM_MODEL"], temperature=0.0, max_tokens=100, params={"engine": engine})
    answers = asyncio.run(asked([judge, judge], [*(question(f"grade item {i}", SCHEMA) for i in range(8)), question("word " * 2000)]))
    read = [a for a in answers if not isinstance(a, ProviderError)]
    assert len(read) == 16
    assert all(set(json.loads(a.text)) == {"rationale", "scores"} for a in read if a.finish_reason == "stop")
    assert [type(a) for a in answers if isinstance(a, ProviderError)] == [ProviderRefused, ProviderRefused]

"""`sim:MODEL`: the simulator through the real clients, in every format, with its faults as errors of the tree."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from evalh.errors import InputError, ProviderBusy, ProviderDown, ProviderUnusable
from evalh.providers.base import Provider, Reply, Request, Target
from evalh.providers.registry import provider_for
from evalh.records import Message

LEVELS = {
    "type": "object",
    "properties": {"quality": {"type": "integer", "enum": [0, 1]}},
    "required": ["quality"],
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {"rationale": {"type": "string"}, "scores": LEVELS},
    "required": ["rationale", "scores"],
    "additionalProperties": False,
}
FENCED = "<<<INPUT 0123456789abcdef>>>\n2 + 2?\n<<<END 0123456789abcdef>>>\n\n<<<ANSWER 0123456789abcdef>>>\n4\n<<<END 0123456789abcdef>>>"
QUESTION = Request(messages=(Message(role="system", content="Grade."), Message(role="user", content=FENCED)), schema_=SCHEMA)

PROFILE = """
truth = ["truth.jsonl"]
[[judge]]
model = "fair"
version = "fair-2026-10"
[[judge]]
model = "busy"
fault_429_rate = 1.0
retry_after_s = 2.0
[[judge]]
model = "broken"
fault_500_rate = 1.0
[[judge]]
model = "gone"
drop_rate = 1.0
[[judge]]
model = "slow"
stall_rate = 1.0
[[judge]]
model = "prude"
refusal_rate = 1.0
"""


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sim")
    (folder / "truth.jsonl").write_text(json.dumps({"text": "4", "quality": 1.0}) + "\n", encoding="utf-8")
    (folder / "sim.toml").write_text(PROFILE, encoding="utf-8")
    return folder / "sim.toml"


@pytest.fixture(autouse=True)
def _no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVALH_SIM_URL", raising=False)


async def _one(provider: Provider) -> Reply:
    try:
        return await provider.ask(QUESTION)
    finally:
        await provider.aclose()


def ask(profile: Path, model: str, api: str | None = None, timeout_s: float = 5.0) -> Reply:
    return asyncio.run(_one(provider_for(Target(provider="sim", model=model, source=str(profile), api=api, timeout_s=timeout_s))))


@pytest.mark.parametrize("api", [None, "chat", "responses", "anthropic"])
def test_a_profile_is_started_and_asked_in_every_format(profile: Path, api: str | None) -> None:
    """A profile named as source starts a simulator; each client gets the verdict as JSON, with version, tokens and reason."""
    reply = ask(profile, "fair", api)
    assert json.loads(reply.text)["scores"] == {"quality": 1}
    assert (reply.version, reply.finish_reason) == ("fair-2026-10", "stop")
    assert reply.tokens_in
    assert reply.tokens_out


def test_one_simulator_serves_a_profile_for_the_whole_process(profile: Path) -> None:
    """Two judges of one profile are asked at one URL, and both say that they are simulated."""
    first, second = (provider_for(Target(provider="sim", model=model, source=str(profile))) for model in ("fair", "prude"))
    assert first.endpoint.base_url == second.endpoint.base_url  # type: ignore[attr-defined]
    assert first.simulated
    assert second.simulated


@pytest.mark.parametrize("api", ["chat", "anthropic"])
def test_faults_of_a_simulator_are_errors_of_the_tree(profile: Path, api: str) -> None:
    """Rate limits, server errors, dropped connections and stalls come out as busy (with its wait) and down."""
    with pytest.raises(ProviderBusy) as busy:
        ask(profile, "busy", api)
    assert busy.value.retry_after == 2.0
    for model in ("broken", "gone"):
        with pytest.raises(ProviderDown):
            ask(profile, model, api)
    with pytest.raises(ProviderDown, match=r"no answer within 0\.3 s"):
        ask(profile, "slow", api, timeout_s=0.3)
    with pytest.raises(ProviderUnusable, match="404"):
        ask(profile, "nobody", api)


@pytest.mark.parametrize("api", ["chat", "responses", "anthropic"])
def test_a_simulated_refusal_is_a_refusal(profile: Path, api: str) -> None:
    """A judge that refuses gives no text and the finish reason `refusal`."""
    reply = ask(profile, "prude", api)
    assert (reply.text, reply.finish_reason) == ("", "refusal")


def test_a_url_in_the_environment_comes_before_the_profile(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EVALH_SIM_URL lets several processes share one simulator; a base_url in the suite comes before both."""
    monkeypatch.setenv("EVALH_SIM_URL", "http://127.0.0.1:9/v1")
    shared = provider_for(Target(provider="sim", model="fair", source=str(profile)))
    assert shared.endpoint.base_url == "http://127.0.0.1:9/v1"  # type: ignore[attr-defined]
    named = provider_for(Target(provider="sim", model="fair", base_url="http://127.0.0.1:10"))
    assert named.endpoint.base_url == "http://127.0.0.1:10/v1"  # type: ignore[attr-defined]


def test_a_simulator_that_is_not_named_is_bad_input(tmp_path: Path) -> None:
    """Without URL and profile there is nothing to ask: the error says what to add."""
    with pytest.raises(InputError, match=r"no simulator is named.*source"):
        provider_for(Target(provider="sim", model="fair"))
    with pytest.raises(InputError, match="cannot be read"):
        provider_for(Target(provider="sim", model="fair", source=str(tmp_path / "no.toml")))


def test_the_simulator_stops_with_the_process(profile: Path) -> None:
    """A process that started a simulator and asked it ends by itself, without a word on standard error."""
    code = f"""
import asyncio
from evalh.providers.base import Request, Target
from evalh.providers.registry import provider_for
from evalh.records import Message
async def main():
    provider = provider_for(Target(provider="sim", model="fair", source={str(profile)!r}))
    reply = await provider.ask(Request(messages=(Message(role="user", content="hello"),)))
    await provider.aclose()
    print(reply.version)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("fair-2026-10", "", 0)

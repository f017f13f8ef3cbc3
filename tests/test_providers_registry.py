"""One door for built-in providers and those of other packages; prices that are known or not, never guessed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from evalh.errors import InputError
from evalh.providers.base import Price, Target
from evalh.providers.prices import cost, price_of, table
from evalh.providers.registry import BUILT_IN, GROUP, provider_for

DOCS = Path(__file__).parent.parent / "docs" / "providers.md"
EXAMPLE = DOCS.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]

USE = """
import asyncio, json
from evalh.errors import EvalhError
from evalh.providers.base import Request, Target
from evalh.providers.registry import provider_for
from evalh.records import Message
def tried(name):
    try:
        made = provider_for(Target(provider=name, model="m"), family="acme")
    except EvalhError as error:
        return [type(error).__name__, str(error)]
    reply = asyncio.run(made.ask(Request(messages=(Message(role="user", content="hello"),))))
    return [reply.text, reply.version]
print(json.dumps([tried("echo"), tried("broken"), tried("nobody")]))
"""


def installed(folder: Path, entries: str) -> dict[str, str]:
    """The environment of a process in which a plugin package with these entry points is installed."""
    (folder / "evalh_echo.py").write_text(EXAMPLE, encoding="utf-8")
    info = folder / "evalh_echo-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evalh-echo\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{entries}", encoding="utf-8")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}


def test_a_package_adds_a_provider_by_entry_point(tmp_path: Path) -> None:
    """The provider of docs/providers.md answers as a plugin; one that does not load, or that nobody has, is an error that says so."""
    env = installed(tmp_path, "echo = evalh_echo:provider\nbroken = evalh_echo:nothing\n")
    done = subprocess.run([sys.executable, "-c", USE], capture_output=True, text=True, check=True, env=env)
    echo, broken, nobody = json.loads(done.stdout)
    assert echo == ["hello", "m"]
    assert broken[0] == "ProviderUnusable"
    assert "evalh_echo:nothing" in broken[1]
    assert nobody[0] == "InputError"
    assert "known are anthropic, broken, echo, openai, replay, sim, vllm" in nobody[1]


def test_a_package_cannot_take_a_built_in_name(tmp_path: Path) -> None:
    """Two providers of one name are refused: which one answers must not depend on what is installed."""
    env = installed(tmp_path, "openai = evalh_echo:provider\n")
    done = subprocess.run([sys.executable, "-c", USE], capture_output=True, text=True, check=True, env=env)
    assert "two providers are called 'openai'" in json.loads(done.stdout)[0][1]


def test_every_built_in_provider_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All built-in providers load by the door that plugins use."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    source = tmp_path / "judgments.jsonl"
    source.write_text('{"item_id": "i", "judge": "m", "kind": "pointwise", "systems": ["a"], "score": 1}\n', encoding="utf-8")
    for entry in BUILT_IN:
        url = "http://127.0.0.1:9/v1" if entry.name in ("sim", "vllm") else None
        provider = provider_for(
            Target(provider=entry.name, model="m", base_url=url, source=str(source) if entry.name == "replay" else None)
        )
        assert (provider.simulated, provider.deterministic) == (entry.name == "sim", entry.name == "replay")


@pytest.mark.parametrize(
    ("provider", "model", "price"),
    [
        ("openai", "gpt-4o", Price(2.5, 10.0, "2026-10-09")),
        ("openai", "gpt-4o-2024-08-06", Price(2.5, 10.0, "2026-10-09")),
        ("openai", "gpt-4o-2024-05-13", Price(5.0, 15.0, "2026-10-09")),
        ("openai", "gpt-4o-mini-2024-07-18", Price(0.15, 0.6, "2026-10-09")),
        ("openai", "gpt-4o-audio", None),
        ("openai", "gpt-5.55", None),
        ("anthropic", "claude-opus-4-20250514", Price(15.0, 75.0, "2026-10-09")),
        ("anthropic", "claude-opus-9", None),
        ("vllm", "Qwen/Qwen3-8B", Price(0.0, 0.0, "always")),
        ("replay", "GPT-4", Price(0.0, 0.0, "always")),
        ("sim", "north-judge", Price(3.0, 15.0, "fictional")),
        ("acme", "gpt-4o", None),
    ],
)
def test_a_price_is_that_of_the_model_or_none(provider: str, model: str, price: Price | None) -> None:
    """A name covers its dated versions and nothing else: a similar model never lends its price."""
    assert price_of(provider, model) == price


def test_the_users_prices_come_first() -> None:
    """An override beats the table, the longest name wins, and what is no price is refused by its field."""
    mine = {"openai:gpt-4o": {"input": 1, "output": 2, "as_of": "2026-11-01"}, "openai:*": {"input": 9, "output": 9}}
    assert price_of("openai", "gpt-4o-2024-08-06", mine) == Price(1.0, 2.0, "2026-11-01")
    assert price_of("openai", "my-tune", mine) == Price(9.0, 9.0, "undated")
    assert price_of("anthropic", "claude-opus-5", mine) == price_of("anthropic", "claude-opus-5")
    for wrong in ({"input": 1}, {"input": 1, "output": -2}, {"input": 1, "output": 2, "currency": "EUR"}):
        with pytest.raises(InputError, match=r'prices\."openai:x"'):
            price_of("openai", "x", {"openai:x": wrong})


def test_a_price_belongs_to_its_host() -> None:
    """The same model name at another URL has no known price; at its own host it has."""
    assert price_of("openai", "gpt-4o", base_url="https://gateway.example.com/v1") is None
    assert price_of("openai", "gpt-4o", base_url="https://api.openai.com/v1") == price_of("openai", "gpt-4o")
    assert price_of("sim", "any", base_url="http://127.0.0.1:8000") == price_of("sim", "any")


def test_every_shipped_price_has_a_source_and_a_date() -> None:
    """Each row names the page and the day, no model has two prices, and simulated prices say that they are fictional."""
    assert len(table()) > 50
    assert len({(row.provider, row.model) for row in table()}) == len(table())
    for row in table():
        assert row.source
        assert row.price.as_of
        assert 0 <= row.price.input <= row.price.output
    assert all("FICTIONAL" in row.source for row in table() if row.provider == "sim")


def test_cost_is_known_only_where_everything_is() -> None:
    """USD for the tokens of a call; an unknown price or count is an unknown cost, not zero."""
    assert cost(Price(3.0, 15.0, ""), 1_000_000, 100_000) == pytest.approx(4.5)
    assert cost(None, 10, 10) is None
    assert cost(Price(3.0, 15.0, ""), 10, None) is None


def test_an_unknown_provider_is_bad_input() -> None:
    """The error lists what is known, and says how other servers are asked."""
    with pytest.raises(InputError, match=r"unknown provider 'gemini'.*known are anthropic.*openai with base_url"):
        provider_for(Target(provider="gemini", model="m"))

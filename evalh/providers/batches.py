"""Which providers have a batch API, and what it costs. A call through it is the same call: same identity, same reply, half the price."""

from __future__ import annotations

from evalh.errors import InputError
from evalh.providers.anthropic import AnthropicProvider
from evalh.providers.anthropic_batch import AnthropicBatches
from evalh.providers.base import Provider, Target
from evalh.providers.batch_base import BatchProvider
from evalh.providers.openai import OpenAIProvider
from evalh.providers.openai_batch import OpenAIBatches

# Share of the price of a direct call, of input and output alike; read 2026-11-23:
# https://developers.openai.com/api/docs/guides/batch, https://platform.claude.com/docs/en/build-with-claude/batch-processing
OPENAI_FACTOR = 0.5
ANTHROPIC_FACTOR = 0.5
BATCH_PRICE_FACTOR = {"openai": OPENAI_FACTOR, "anthropic": ANTHROPIC_FACTOR, "sim": 0.5}  # sim: its prices are fictional


def check_batch(target: Target) -> None:
    """Raises InputError where `mode: batch` names a provider that has no batch API."""
    if target.provider not in BATCH_PRICE_FACTOR:
        raise InputError(
            f"{target.provider} has no batch API",
            where=f"{target.ref}: mode",
            hint=f"`mode: batch` is for {', '.join(sorted(BATCH_PRICE_FACTOR))}; leave it out to ask directly",
        )


def batches_of(target: Target, provider: Provider) -> BatchProvider:
    """The batch API of the provider of a target. Raises InputError where there is none."""
    check_batch(target)
    if isinstance(provider, OpenAIProvider):
        return OpenAIBatches(provider)
    if isinstance(provider, AnthropicProvider):
        return AnthropicBatches(provider)
    raise InputError(f"{target.provider} has no batch API here", where=f"{target.ref}: mode", hint="leave `mode: batch` out")

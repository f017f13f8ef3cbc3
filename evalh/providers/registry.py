"""From a target to its provider. Built-in providers and those of other packages come in by the same door.

A package adds one with an entry point in the group `evalh.providers`, a function of a target:

    [project.entry-points."evalh.providers"]
    acme = "evalh_acme:provider"        # def provider(target: Target, *, family: str | None = None) -> Provider
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, cast

from evalh.errors import InputError, ProviderUnusable
from evalh.providers.base import Provider, Target

GROUP = "evalh.providers"
BUILT_IN = tuple(EntryPoint(name, f"evalh.providers.{name}:provider", GROUP) for name in ("anthropic", "openai", "replay", "sim", "vllm"))


class Factory(Protocol):
    """Makes the provider of a target. `family` is the lineage that the suite names, for providers that want it."""

    def __call__(self, target: Target, *, family: str | None = None) -> Provider: ...


def provider_for(target: Target, *, family: str | None = None) -> Provider:
    """The provider that answers for a target; nothing is asked and no client is loaded yet.

    Raises InputError for an unknown provider, ProviderUnusable where a key, an extra or a plugin's module is missing.
    """
    return _factory(target.provider)(target, family=family)


@cache
def known() -> dict[str, EntryPoint]:
    """Every provider by name. Raises InputError where two packages give one name to different things."""
    found: dict[str, EntryPoint] = {}
    for entry in (*BUILT_IN, *entry_points(group=GROUP)):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise InputError(
                f"two providers are called {entry.name!r}: {other.value} and {entry.value}", hint="uninstall one of the packages"
            )
    return found


def _factory(name: str) -> Factory:
    entry = known().get(name)
    if entry is None:
        raise InputError(
            f"unknown provider {name!r}",
            hint=f"known are {', '.join(sorted(known()))}; other OpenAI-compatible servers: openai with base_url",
        )
    try:
        return cast(Factory, entry.load())
    except (ImportError, AttributeError) as error:
        raise ProviderUnusable(f"provider {name!r} does not load from {entry.value}: {error}") from None

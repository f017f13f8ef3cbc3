"""`sim:MODEL`: the judge simulator, asked over HTTP through the real clients, like any other server.

Where it runs: at `base_url`, else at EVALH_SIM_URL, else it is started on loopback from the profile that `source`
names: once in a process, for as long as the process lives.
"""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import ExitStack
from pathlib import Path

from evalh.errors import InputError
from evalh.providers.anthropic import AnthropicProvider
from evalh.providers.base import Provider, Target
from evalh.providers.endpoint import keyless
from evalh.providers.openai import OpenAIProvider

URL_ENV = "EVALH_SIM_URL"

_servers = ExitStack()
_urls: dict[tuple[Path, int], str] = {}  # profile and its time of change → base URL
_starting = threading.Lock()


def provider(target: Target, *, family: str | None = None) -> Provider:
    """A simulated model, through the openai client, or the anthropic one with `api="anthropic"`."""
    root = _root_url(target).removesuffix("/v1")
    if target.api == "anthropic":
        return AnthropicProvider(target, keyless(target, root), simulated=True)
    return OpenAIProvider(target, keyless(target, f"{root}/v1"), simulated=True)


def stated_family(profile: Path, model: str) -> str | None:
    """The family that a profile states for a model. Raises InputError where the profile is wrong or does not play the model."""
    from evalh.sim.profile import load_profile

    players = load_profile(profile).players
    found = next((p for p in players if p.model == model), None)
    if found is None:
        raise InputError(f"the profile plays no {model!r}", where=profile.name, hint=f"it plays {', '.join(p.model for p in players)}")
    return found.family


def _root_url(target: Target) -> str:
    given = target.base_url or os.environ.get(URL_ENV)
    if given:
        return given.rstrip("/")
    if target.source is None:
        raise InputError("no simulator is named", where=target.ref, hint=f"add `source: profile.toml`, a base_url, or set {URL_ENV}")
    return _started(Path(target.source), target.ref)


def _started(profile: Path, ref: str) -> str:
    """The URL of this process's simulator of a profile; the first call starts it."""
    try:
        key = (profile.resolve(), profile.stat().st_mtime_ns)
    except OSError as error:
        raise InputError(f"{profile} cannot be read: {error.strerror}", where=ref) from None
    with _starting:
        if key not in _urls:
            # imports of a surface, here and above: the simulator stands for a server outside, and somebody has to start it
            from evalh.sim.profile import load_profile
            from evalh.sim.server import running

            if not _urls:
                atexit.register(_servers.close)
            _urls[key] = _servers.enter_context(running(load_profile(profile)))
        return _urls[key]

"""Where a target is asked and with which key: resolved once, before anything is sent.

A key lives here and nowhere else. It stands in no repr, and `error` takes it out of every message, because servers do
echo what they were sent.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from evalh.errors import InputError, ProviderBusy, ProviderError, ProviderUnusable
from evalh.providers.base import Target

HIDDEN = "[key]"
PLACEHOLDER = "no-key-needed"


class Vendor(NamedTuple):
    """The defaults of an official client: its URL and host, the variables it reads, and hosts where the same rules hold."""

    url: str
    host: str
    url_env: str
    key_env: str
    alike: tuple[str, ...] = ()


OPENAI = Vendor("https://api.openai.com/v1", "api.openai.com", "OPENAI_BASE_URL", "OPENAI_API_KEY", ("openai.azure.com",))
ANTHROPIC = Vendor("https://api.anthropic.com", "api.anthropic.com", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY")


@dataclass(frozen=True)
class Endpoint:
    """A server, the model to ask it for, and the key it wants."""

    ref: str  # provider:model
    base_url: str
    key: str = field(repr=False)
    key_env: str | None  # None: a placeholder is sent, there is nothing to hide
    official: bool  # the vendor's own API: the newest rules hold there, and only there

    @property
    def where(self) -> str:
        return f"{self.ref} at {self.base_url}"

    def scrub(self, text: str) -> str:
        """The text without the key, as it is and as URLs spell it."""
        if self.key_env is None:
            return text
        return text.replace(self.key, HIDDEN).replace(quote(self.key, safe=""), HIDDEN)

    def error(self, kind: type[ProviderError], what: str, *, hint: str | None = None, retry_after: float | None = None) -> ProviderError:
        """An error of evalh's tree that names this endpoint and never its key."""
        what = self.scrub(what)
        if issubclass(kind, ProviderBusy):
            return kind(what, where=self.where, retry_after=retry_after)
        return kind(what, where=self.where, hint=hint)


def resolve(target: Target, vendor: Vendor) -> Endpoint:
    """The endpoint of a target that speaks a vendor's format, at the vendor or at any other server.

    The vendor's key goes to the vendor, to loopback, and to a URL that the environment names beside it. Another server
    gets the key that `api_key_env` names: a suite that somebody else wrote cannot send your key where it likes.
    Raises ProviderUnusable where there is no key, InputError where the URL is none.
    """
    from_env = None if target.base_url else os.environ.get(vendor.url_env)
    base_url = checked_url(target.base_url or from_env or vendor.url, target.ref)
    own = _is_at(base_url, vendor.host)
    official = own or any(_is_at(base_url, host) for host in vendor.alike)
    name = target.api_key_env or vendor.key_env
    key = key_from(name, target.ref)
    if target.api_key_env is None and not own and not from_env:
        if not is_loopback(base_url):
            raise ProviderUnusable(
                f"no key is named for {base_url}",
                where=target.ref,
                hint=f"name the variable that holds its key with `api_key_env`; {vendor.key_env} is sent to {vendor.host} only",
            )
        if key is None:
            return Endpoint(target.ref, base_url, PLACEHOLDER, None, official)
    if key is None:
        raise missing_key(target, name)
    return Endpoint(target.ref, base_url, key, name, official)


def keyless(target: Target, base_url: str, key_env: str | None = None) -> Endpoint:
    """An endpoint that needs no key: it gets one only where `api_key_env` names it, or where `key_env` is set."""
    name = target.api_key_env or key_env
    key = key_from(name, target.ref) if name else None
    if key is None and target.api_key_env:
        raise missing_key(target, target.api_key_env)
    return Endpoint(target.ref, checked_url(base_url, target.ref), key or PLACEHOLDER, name if key else None, official=False)


def missing_key(target: Target, name: str) -> ProviderUnusable:
    return ProviderUnusable(
        f"{name} is not set", where=target.ref, hint="export it in the shell that runs evalh (keys are never written into files)"
    )


def key_from(name: str, ref: str) -> str | None:
    """The key in an environment variable, without the line end that `$(cat file)` or a secret store leaves on it."""
    key = os.environ.get(name, "").strip()
    if key and not (key.isascii() and key.isprintable()):
        raise ProviderUnusable(f"{name} holds characters that no key has", where=ref, hint="set it again without line breaks and quotes")
    return key or None


def checked_url(url: str, ref: str) -> str:
    """The URL, if it is one and holds no secret: it is stored with every call. Raises InputError otherwise."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise InputError("base_url is no URL", where=ref, hint="write it as http://host:port/v1")
    if parts.username or parts.password or parts.query:
        raise InputError("base_url holds credentials or a query", where=ref, hint="name the variable that holds the key with `api_key_env`")
    return url.rstrip("/")


def _is_at(url: str, host: str) -> bool:
    there = urlsplit(url).hostname or ""
    return there == host or there.endswith("." + host)


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")

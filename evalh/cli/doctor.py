"""`evalh doctor`: what is installed, configured and reachable, and what to do about the rest."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import click

from evalh import __version__
from evalh.cli.common import console, emit, json_option, store_option
from evalh.config import Config, load_config, store_path
from evalh.errors import EvalhError, ExitCode

EPILOG = """\b
Examples
  evalh doctor
  evalh doctor suites/ --json        also the judges and systems of these suites

Asks no model: of endpoints it looks only whether they accept a connection.
"""
PACKAGES = ("pydantic", "jsonschema", "duckdb", "openai", "anthropic", "pandas", "pytest", "starlette", "uvicorn", "vllm")
EXTRAS = {"starlette": "ui", "uvicorn": "ui", "vllm": "vllm"}
KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}


class Finding(NamedTuple):
    """One thing that was looked at. `ok` is None where it is neither good nor bad."""

    what: str
    ok: bool | None
    says: str


@click.command(epilog=EPILOG)
@click.argument("suites", nargs=-1, metavar="[SUITE...]", type=click.Path(path_type=Path))
@store_option
@json_option
def doctor(suites: tuple[Path, ...], store_at: str | None, as_json: bool) -> int:
    """Check installation, keys, endpoints, store and families."""
    config = load_config()
    findings = [*_packages(), *_keys(config), *_endpoints(config), *_store(store_at, config), *_families(config), *_suites(suites, config)]
    bad = [f for f in findings if f.ok is False]
    if as_json:
        emit({"evalh": __version__, "findings": [f._asdict() for f in findings], "ok": not bad})
    else:
        out = console()
        marks = {True: "[green]ok  [/]", False: "[red]no  [/]", None: "[dim]–   [/]"}
        for finding in findings:
            out.print(marks[finding.ok] + f"{finding.what:28}", end=" ", soft_wrap=True)
            out.print(finding.says, markup=False, soft_wrap=True)
    return int(ExitCode.UNAVAILABLE if bad else ExitCode.DONE)


def _packages() -> list[Finding]:
    found = [Finding("evalh", True, __version__)]
    for name in PACKAGES:
        try:
            found.append(Finding(name, True, version(name)))
        except PackageNotFoundError:
            extra = EXTRAS.get(name)
            found.append(
                Finding(
                    name, None if extra else False, f'not installed; pip install "evalh[{extra}]" adds it' if extra else "not installed"
                )
            )
    return found


def _keys(config: Config) -> list[Finding]:
    found = []
    for provider, default in KEYS.items():
        configured = config.providers.get(provider)
        name = (configured.api_key_env if configured else None) or default
        found.append(
            Finding(
                f"key {name}",
                True if os.environ.get(name) else None,
                "set" if os.environ.get(name) else f"not set: {provider} cannot be asked",
            )
        )
    return found


def _endpoints(config: Config) -> list[Finding]:
    return [_reachable(f"endpoint of {name}", p.base_url) for name, p in config.providers.items() if p.base_url]


def _reachable(what: str, url: str) -> Finding:
    import socket
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=3):
            return Finding(what, True, f"{parts.hostname}:{port} accepts connections")
    except OSError as error:
        return Finding(what, False, f"{parts.hostname}:{port} does not: {error.strerror or error}")


def _store(store_at: str | None, config: Config) -> list[Finding]:
    from evalh.store.runs import list_runs
    from evalh.store.store import Store

    store = Store(store_path(store_at, config), wait_s=3)
    if not store.exists():
        return [Finding("store", None, f"{store.path} is not there yet; the first run makes it")]
    try:
        return [Finding("store", True, f"{store.path}, {len(list_runs(store))} runs")]
    except EvalhError as error:
        return [Finding("store", False, str(error))]


def _families(config: Config) -> list[Finding]:
    from evalh.judging.families import Families

    try:
        families = Families.load([config.families] if config.families else [])
    except EvalhError as error:
        return [Finding("families", False, str(error))]
    return [Finding("families", True, f"{len(families)} known")]


def _suites(paths: tuple[Path, ...], config: Config) -> list[Finding]:
    """Each suite as `evalh plan` sees it, and whether the provider of each judge can be used here."""
    from evalh.prepare import prepare
    from evalh.suites.load import load_suites

    found: list[Finding] = []
    try:
        suites = load_suites(list(paths)) if paths else []
    except EvalhError as error:
        return [Finding("suites", False, str(error))]
    for suite in suites:
        try:
            prepared = prepare(suite, config)
        except EvalhError as error:
            found.append(Finding(f"suite {suite.name}", False, str(error)))
            continue
        found.append(Finding(f"suite {suite.name}", True, f"{len(prepared.items)} items, {len(prepared.seats)} judges"))
        found += [_judge(seat.target) for seat in prepared.seats]
    return found


def _judge(target: Any) -> Finding:
    what = f"judge {target.ref}"
    if target.base_url:
        return _reachable(what, target.base_url)
    if target.provider == "sim":
        ok = find_spec("starlette") is not None
        return Finding(what, ok, "simulated" if ok else 'needs pip install "evalh[ui]"')
    key = target.api_key_env or KEYS.get(target.provider)
    if key and not os.environ.get(key):
        return Finding(what, False, f"{key} is not set")
    return Finding(what, None, "not asked")

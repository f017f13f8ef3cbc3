"""Settings of a project: `evalh.toml`, or `[tool.evalh]` of pyproject.toml, in the nearest folder above.

Keys of providers are never here: only the names of the environment variables that hold them.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evalh.errors import InputError

STORE = ".evalh/evalh.duckdb"
_MARKS = ("evalh.toml", "pyproject.toml", ".git")


class Limits(BaseModel):
    """How much a provider, or one of its models, is asked at most."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    in_flight: int | None = Field(default=None, ge=1, description="calls at one time")
    requests_per_minute: float | None = Field(default=None, gt=0, description="requests of one model in any 60 seconds")
    tokens_per_minute: float | None = Field(
        default=None, gt=0, description="tokens of one model in any 60 seconds, estimated before a call"
    )
    deadline_s: float | None = Field(default=None, gt=0, description="seconds for one call with all its retries; 600 where not given")


class ProviderConfig(Limits):
    """Where a provider is, which environment variable holds its key, and how much it is asked at most."""

    base_url: str | None = Field(default=None, description="where its models are asked, unless a suite says otherwise")
    api_key_env: str | None = Field(default=None, description="the environment variable that holds the key")
    in_flight: int | None = Field(default=None, ge=1, description="calls of this provider at one time, all its models together")
    models: dict[str, Limits] = Field(default_factory=dict, description="limits of single models, by name: they go before the provider's")

    def limits_of(self, model: str) -> Limits:
        """The limits of one model: its own, else the provider's (whose `in_flight` holds for all models together)."""
        own = self.models.get(model, Limits())
        shared = {name: getattr(self, name) for name in Limits.model_fields if name != "in_flight"}
        return Limits(**{**shared, **own.model_dump(exclude_none=True)})


class Config(BaseModel):
    """The settings of a project, all optional."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str | None = Field(default=None, description="the store, relative to the project's root; `.evalh/evalh.duckdb` where not given")
    in_flight: int = Field(default=32, ge=1, le=1000, description="calls of one model at one time, at most")
    families: dict[str, dict[str, Any]] = Field(default_factory=dict, description="families to add to families.toml, or to replace there")
    prices: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="`provider:model` → {input, output, as_of}, USD per million tokens"
    )
    providers: dict[str, ProviderConfig] = Field(default_factory=dict, description="settings of providers, by name")

    root: Path = Field(default=Path(), description="the project's root; found, not written")
    file: str | None = Field(default=None, description="the file these settings came from; found, not written")


def project_root(start: Path) -> Path:
    """The nearest folder at or above `start` that holds evalh.toml, pyproject.toml or .git; `start` where there is none."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if any((folder / mark).exists() for mark in _MARKS):
            return folder
    return start


def load_config(start: Path | None = None) -> Config:
    """The settings that hold in a folder. Raises InputError naming the file and the field."""
    root = project_root(start or Path.cwd())
    for name in ("evalh.toml", "pyproject.toml"):
        path = root / name
        if not path.is_file():
            continue
        try:
            whole = tomllib.loads(path.read_text(encoding="utf-8"))
            data = whole if name == "evalh.toml" else whole.get("tool", {}).get("evalh")
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"not TOML: {error}", where=name) from None
        if data is None:
            continue
        try:
            return Config(**{**data, "root": root, "file": name})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise InputError(first["msg"], where=f"{name}: {field}", hint=f"known settings: {', '.join(_known())}") from None
    return Config(root=root)


def store_path(given: str | None, config: Config) -> Path:
    """Where the store is: `--store`, then EVALH_STORE, then the settings, then `.evalh/evalh.duckdb` under the root."""
    if given or os.environ.get("EVALH_STORE"):
        return Path(given or os.environ["EVALH_STORE"])
    return config.root / (config.store or STORE)


def _known() -> list[str]:
    return [name for name in Config.model_fields if name not in ("root", "file")]

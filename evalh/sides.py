"""Who takes part in a run: the systems under test, and the judges that may judge them. Here the family guard stands.

Everything is looked up and checked; nothing is asked.
"""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalh.checks.imports import load_object, named
from evalh.config import Config, project_root
from evalh.engine import Line
from evalh.errors import InputError
from evalh.fingerprints import content_hash, file_hash
from evalh.judging.families import Families, Family
from evalh.judging.names import parse_judge_name
from evalh.judging.panel import Seat
from evalh.judging.rubric import Rubric
from evalh.providers.base import Target
from evalh.providers.batches import BATCH_PRICE_FACTOR, check_batch
from evalh.providers.endpoint import ANTHROPIC, OPENAI
from evalh.providers.prices import price_of
from evalh.providers.registry import provider_for
from evalh.providers.sim import URL_ENV, stated_family
from evalh.suites.load import Resolver
from evalh.suites.model import Asked, Command, Endpoint, Function, Judge, Model, Panel, Recorded, System
from evalh.systems import RecordedSource, argv_of, name_of


@dataclass(frozen=True)
class SystemSide:
    """A system under test as a run sees it. `recorded` holds its outputs where they exist already."""

    spec: System
    names: tuple[str, ...]
    families: dict[str, str | None]  # by system name
    role: str
    recorded: RecordedSource | None
    target: Target | None
    function: Callable[..., Any] | None = None  # of a Function

    @property
    def version(self) -> str:
        """As the suite names it, or as all its recorded outputs do; else empty."""
        return self.spec.version or (self.recorded.version if self.recorded else "")

    @property
    def known_as(self) -> list[str]:
        """Every name and version that an output could call its author by; not the name of a function or a program that
        nobody chose as a name: `answer` and `python` are words.
        """
        named = [] if self.spec.name is None and isinstance(self.spec, Function | Command) else list(self.names)
        known = [*named, *([self.spec.version] if self.spec.version else [])]
        known += [self.target.model] if self.target is not None else []
        return known + (self.recorded.authors if self.recorded is not None else [])


@dataclass(frozen=True)
class JudgeSeat:
    """One place in the panel: the judge, how it is named in tables, its family and where it is asked."""

    judge: Judge
    name: str
    prompt: str
    family: Family | None
    target: Target
    same_family: tuple[str, ...]  # names of systems it shares a lineage with, allowed by the suite

    @property
    def seat(self) -> Seat:
        return (self.name, self.prompt)


def open_line(target: Target, config: Config, name: str, asked: Asked, family: str | None = None, protocol: str = "") -> Line:
    """A provider for a target, with its price and identity; `name` is the judge or the system that it stands for."""
    price = price_of(target.provider, target.model, config.prices, target.base_url)
    in_batches = asked.mode == "batch"
    factor = BATCH_PRICE_FACTOR[target.provider] if in_batches else 1.0
    return Line(target, provider_for(target, family=family), price, identity(target), name, protocol, in_batches, factor)


def identity(target: Target) -> str:
    """The hash of a target and of the file it reads: another profile or another recording is another judge."""
    source = file_hash(Path(target.source).read_bytes()) if target.source else None
    url_env = _URL_ENV.get(target.provider)
    elsewhere = os.environ.get(url_env) if url_env and target.base_url is None else None
    return content_hash(target.model_dump(mode="json", exclude={"source", "timeout_s"}), source, *([elsewhere] if elsewhere else []))


_URL_ENV = {"openai": OPENAI.url_env, "anthropic": ANTHROPIC.url_env, "sim": URL_ENV}  # where a provider is asked without a base_url


def side_identity(side: SystemSide, resolve: Resolver) -> list[str]:
    """What answers for a side: the recorded file, the function's code, the model's settings, the files of a command."""
    found = [identity(side.target)] if side.target is not None else []
    if side.recorded is not None:
        found.append(side.recorded.file_hash)
    if side.function is not None:
        found.append(_code_identity(side.function))
    if isinstance(side.spec, Command):
        root = project_root(resolve.base)
        files = [resolve.base / part for part in argv_of(side.spec)]
        found += [file_hash(p.read_bytes()) for p in files if p.is_file() and p.resolve().is_relative_to(root)]
    return found


def _code_identity(function: Callable[..., Any]) -> str:
    """The hash of a function and of the file that it is written in: its helpers stand there too."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(getattr(function, "func", function)))
    except TypeError:
        file = None
    return content_hash(callable_name(function), file_hash(Path(file).read_bytes()) if file and Path(file).is_file() else None)


def side_of(spec: System, role: str, resolve: Resolver, families: Families, config: Config, trials: int | None = None) -> SystemSide:
    """A side of a suite. Of recorded outputs so many trials of each item are taken; None: all that there are."""
    recorded = RecordedSource(spec, resolve(spec.recorded), trials) if isinstance(spec, Recorded) else None
    names = tuple(recorded.systems) if recorded else (name_of(spec) or role,)
    given = recorded.systems if recorded else dict.fromkeys(names, spec.family)
    if spec.family is not None and families.get(spec.family) is None:
        raise InputError(
            f"family {spec.family!r} is not known", where=f"{role}.family", hint="name one of families.toml, or add it to evalh.toml"
        )
    target = _system_target(spec, config) if isinstance(spec, Model) else None
    function = _function(spec, role, resolve) if isinstance(spec, Function) else None
    if isinstance(spec, Command):
        _check_command(spec, role, resolve)
    lookup = {name: given[name] or _family_name(families, target.ref if target else name) for name in names}
    return SystemSide(spec, names, lookup, role, recorded, target, function)


def _function(spec: Function, role: str, resolve: Resolver) -> Callable[..., Any]:
    found = load_object(spec.function, resolve) if isinstance(spec.function, str) else spec.function
    if not callable(found):
        raise InputError(f"{spec.function!r} is not callable", where=f"{role}.function", hint="name a function as 'module:function'")
    return found


def _check_command(spec: Command, role: str, resolve: Resolver) -> None:
    program = argv_of(spec)[:1]
    if not program or not (shutil.which(program[0]) or shutil.which(str(resolve.base / program[0]))):
        raise InputError(
            f"there is no program {program[0] if program else ''!r}",
            where=f"{role}.command",
            hint="looked for in PATH and beside the suite",
        )


def _system_target(spec: Model, config: Config) -> Target:
    provider, _, model = ("openai", ":", spec.model) if isinstance(spec, Endpoint) else spec.model.partition(":")
    if not model:
        raise InputError(f"{spec.model!r} names no provider", where="system.model", hint="write it as provider:model, as in openai:NAME")
    base_url = spec.endpoint if isinstance(spec, Endpoint) else spec.base_url
    return _target(provider, model, spec, base_url, config)


def _target(provider: str, model: str, spec: Asked, base_url: str | None, config: Config, source: str | None = None) -> Target:
    known = config.providers.get(provider)
    target = Target(  # without `mode`: a reply is the same one, however it was asked for
        provider=provider,
        model=model,
        base_url=base_url or (known.base_url if known else None),
        api_key_env=spec.api_key_env or (known.api_key_env if known else None),
        api=spec.api,
        temperature=spec.temperature,
        max_tokens=spec.max_tokens,
        timeout_s=spec.timeout_s,
        params=spec.params,
        source=source,
    )
    if spec.mode == "batch":
        check_batch(target)
    return target


def _family_name(families: Families, ref: str) -> str | None:
    found = families.find(ref)
    return found.name if found else None


def seats_of(
    panel: Panel, rubric: Rubric | None, sides: Sequence[SystemSide], families: Families, config: Config, resolve: Resolver
) -> list[JudgeSeat]:
    assert rubric is not None
    seats = [_seat(judge, panel, rubric, sides, families, config, resolve) for judge in panel.judges]
    taken = [s.seat for s in seats]
    for seat in taken:
        if taken.count(seat) > 1:
            raise InputError(f"judge {seat[0]!r} sits in the panel twice", where="panel.judges", hint="give one of them another `name`")
    return seats


def _seat(
    judge: Judge, panel: Panel, rubric: Rubric, sides: Sequence[SystemSide], families: Families, config: Config, resolve: Resolver
) -> JudgeSeat:
    provider, _, model = judge.model.partition(":")
    known = parse_judge_name(model) if provider == "replay" else None
    name = judge.name or (known.judge if known else judge.model)
    prompt = (judge.prompt or known.prompt or "") if known else f"{rubric.name}@{rubric.version}"
    source = str(resolve(judge.source)) if judge.source else None
    if provider == "replay" and source is None:
        raise InputError("replay needs recorded verdicts", where=f"judge {judge.model}", hint="add `source: path/to/judgments.jsonl`")
    if panel.order == "recorded" and provider != "replay":
        raise InputError("`order: recorded` is for replay judges", where=f"judge {judge.model}", hint="use `both` or `drawn`")
    for side in sides:
        if side.target is not None and _is_same_model(side.target, _target(provider, model, judge, judge.base_url, config)):
            raise InputError(
                f"judge {judge.model} is the system under test",
                where="panel.judges",
                hint="a model does not grade itself: name another judge",
            )
    family = _judge_family(judge, name if known else judge.model, families)
    if provider == "sim" and source is not None and judge.family is None:
        family = _simulated_family(source, model, families) or family
    same = _guard(judge, name, family, sides, families, panel)
    target = _target(provider, _replay_model(judge, model) if known else model, judge, judge.base_url, config, source)
    return JudgeSeat(judge, name, prompt, family, target, same)


def _is_same_model(a: Target, b: Target) -> bool:
    """One model, whatever it is called here: the same name at the same provider, or at the same server."""
    if a.model.casefold() != b.model.casefold():
        return False
    return a.provider == b.provider or (a.base_url is not None and a.base_url.rstrip("/") == (b.base_url or "").rstrip("/"))


def _replay_model(judge: Judge, model: str) -> str:
    name = parse_judge_name(model)
    version, prompt = judge.version or name.version, judge.prompt or name.prompt
    return name.judge + (f"@{version}" if version else "") + (f"#{prompt}" if prompt else "")


def _simulated_family(profile: str, model: str, families: Families) -> Family | None:
    """The family that the profile states; one that families.toml does not know stands for itself."""
    name = stated_family(Path(profile), model)
    return None if name is None else families.get(name) or Family(name=name, vendor=f"evalh simulator ({name})", simulated=True)


def _judge_family(judge: Judge, ref: str, families: Families) -> Family | None:
    if judge.family is None:
        return families.find(ref)
    family = families.get(judge.family)
    if family is None:
        raise InputError(
            f"family {judge.family!r} is not known", where=f"judge {judge.model}", hint="name one of families.toml, or add it to evalh.toml"
        )
    return family


def _guard(
    judge: Judge, name: str, family: Family | None, sides: Sequence[SystemSide], families: Families, panel: Panel
) -> tuple[str, ...]:
    """The systems a judge shares a lineage with (or may share one with: unknown family). Refused unless allowed."""
    related: list[str] = []
    for side in sides:
        for system, system_family in side.families.items():
            reason = families.guard(name, family, system, families.get(system_family) if system_family else None)
            if reason is None:
                continue
            if not panel.allow_same_family:
                raise InputError(reason, where="panel.judges", hint="choose another judge, or set `allow_same_family: true`")
            related.append(system)
    return tuple(related)


def callable_name(value: Any) -> Any:
    """`name#hash of its source`; without the module, whose name differs between pytest and `evalh run`."""
    return named(getattr(value, "func", value)).rpartition(":")[2]

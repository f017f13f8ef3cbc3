"""From a suite to everything a run needs, checked before anything is asked: the one place where bad input is found.

`evalh plan`, `evalh run` and the pytest plugin all start here. Nothing is stored and no model is asked.
"""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalh.checks.apply import CompiledCheck, compile_checks
from evalh.checks.imports import load_object, named
from evalh.config import Config, project_root
from evalh.engine import Line
from evalh.errors import InputError
from evalh.fingerprints import content_hash, file_hash
from evalh.interchange.jsonl import read_labels
from evalh.judging.families import Families, Family
from evalh.judging.names import parse_judge_name
from evalh.judging.panel import Seat
from evalh.judging.presentation import Blinding, prompt_hash
from evalh.judging.rubric import Rubric
from evalh.providers.base import Target
from evalh.providers.endpoint import ANTHROPIC, OPENAI
from evalh.providers.prices import price_of
from evalh.providers.registry import provider_for
from evalh.providers.sim import URL_ENV, stated_family
from evalh.records import Item, Label, Output
from evalh.suites.frozen import FrozenSet, load_frozen
from evalh.suites.golden import GoldenSet, load_golden
from evalh.suites.load import Resolver, load_rubric
from evalh.suites.model import Asked, Command, Endpoint, Function, Judge, Model, Panel, Recorded, Suite, System
from evalh.systems import RecordedSource, argv_of, missing_items, name_of, pairs_of


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


@dataclass(frozen=True)
class Prepared:
    """A suite that is ready to run: files read, families checked, checks compiled."""

    suite: Suite
    config: Config
    resolve: Resolver
    golden: GoldenSet
    items: list[Item]
    suite_items: int  # how many items the suite has; more than `items` where --limit or --item left some out
    checks: list[CompiledCheck]
    rubric: Rubric | None
    panel: Panel | None
    seats: list[JudgeSeat]
    system: SystemSide
    against: SystemSide | None
    families: Families
    label_rubric: Rubric | None  # what people answer: the panel's rubric, or the one that `sampling` names
    labels: list[Label]
    frozen: FrozenSet | None

    @property
    def kind(self) -> str:
        return "checks" if self.rubric is None else self.rubric.kind

    @property
    def seed(self) -> int:
        return self.suite.run_seed

    @property
    def blinding(self) -> Blinding:
        names: list[str] = []
        for side in (self.system, self.against):
            if side is not None:
                names += [*side.names, *([side.spec.version] if side.spec.version else [])]
        panel = self.panel
        return Blinding(tuple(dict.fromkeys(names)), self.families, panel is None or panel.mask, panel is not None and panel.show_names)

    @property
    def settings(self) -> dict[str, Any]:
        """What the run's record keeps: the suite as it was run, the rubric whole, and the seed."""
        return {
            **self.suite.model_dump(mode="json", fallback=_callable_name),
            "system": self.system.spec.model_dump(mode="json", fallback=_callable_name),  # not the suite's, where --system replaced it
            "checks": [
                {"check": c.title, "kind": c.check.kind, **c.check.model_dump(mode="json", fallback=_callable_name)} for c in self.checks
            ],
            "rubric": self.rubric.model_dump(mode="json") if self.rubric else None,
            "label_rubric": self.label_rubric.model_dump(mode="json") if self.label_rubric else None,
            "tests": [t.name for t in self.suite.tests],
            "seed": self.seed,
            "suite_items": self.suite_items,
            "items": [i.item_id for i in self.items] if len(self.items) < len(self.golden.items) else "all",
        }

    @property
    def run_key(self) -> str:
        """The hash of everything that decides what a run does: an unfinished run of the same key is resumed."""
        sides = [_side_identity(s, self.resolve) for s in (self.system, self.against) if s is not None]
        judges = [identity(s.target) for s in self.seats]
        checks = [c.check_hash for c in self.checks] + [t.test_hash for t in self.suite.tests]
        given = [label.model_dump(mode="json") for label in self.labels], self.frozen.frozen_hash if self.frozen else None
        return content_hash(self.settings, self.golden.golden_hash, self.prompt_hash, judges, sides, checks, given)

    @property
    def prompt_hash(self) -> str | None:
        return prompt_hash(self.rubric) if self.rubric else None


def prepare(
    suite: Suite, config: Config, *, limit: int | None = None, select: Sequence[str] | None = None, outputs: str | None = None
) -> Prepared:
    """Read and check all that a suite names. Raises InputError for whatever would stop a run later.

    `limit` keeps the first items, `select` those ids; `outputs` replaces the system's recorded outputs (`--system`).
    """
    try:
        return _prepared(suite, config, limit, select, outputs)
    except InputError as error:  # a folder may hold many suites: the error says whose it is, unless it is in a data file
        if suite._file is None or (error.where and any(mark in error.where for mark in (".jsonl", ".toml", ".md", suite._file.name))):
            raise
        where = f"{suite._file.name}: {error.where}" if error.where else suite._file.name
        raise InputError(error.what, where=where, hint=error.hint) from None


def _prepared(suite: Suite, config: Config, limit: int | None, select: Sequence[str] | None, outputs: str | None) -> Prepared:
    resolve = Resolver.of(suite)
    families = Families.load([config.families] if config.families else [])
    golden = load_golden(resolve(suite.golden))
    items = _selected(suite, golden, limit, select)
    rubric = load_rubric(suite.panel.rubric, resolve) if suite.panel else None
    spec = _replaced(suite.system, outputs)
    system = _side(spec, "system", resolve, families, config)
    against = _side(suite.panel.against, "against", resolve, families, config) if suite.panel and suite.panel.against else None
    _check_shape(suite, rubric, system, against)
    _check_outputs(items, system, against, rubric.kind if rubric else "checks")
    _check_references(items, rubric)
    seats = _seats(suite.panel, rubric, [s for s in (system, against) if s is not None], families, config, resolve) if suite.panel else []
    return Prepared(
        suite=suite,
        config=config,
        resolve=resolve,
        golden=golden,
        items=items,
        suite_items=sum(suite.slices is None or i.slice in suite.slices for i in golden.items),
        checks=compile_checks(suite.checks, resolve),
        rubric=rubric,
        panel=suite.panel,
        seats=seats,
        system=system,
        against=against,
        families=families,
        label_rubric=_label_rubric(suite, rubric, resolve),
        labels=list(read_labels(resolve(suite.labels))) if suite.labels else [],
        frozen=load_frozen(resolve(suite.frozen)) if suite.frozen else None,
    )


def open_line(target: Target, config: Config, family: str | None = None) -> Line:
    """A provider for a target, with its price and identity."""
    price = price_of(target.provider, target.model, config.prices, target.base_url)
    return Line(target, provider_for(target, family=family), price, identity(target))


def identity(target: Target) -> str:
    """The hash of a target and of the file it reads: another profile or another recording is another judge."""
    source = file_hash(Path(target.source).read_bytes()) if target.source else None
    url_env = _URL_ENV.get(target.provider)
    elsewhere = os.environ.get(url_env) if url_env and target.base_url is None else None
    return content_hash(target.model_dump(mode="json", exclude={"source", "timeout_s"}), source, *([elsewhere] if elsewhere else []))


_URL_ENV = {"openai": OPENAI.url_env, "anthropic": ANTHROPIC.url_env, "sim": URL_ENV}  # where a provider is asked without a base_url


def _side_identity(side: SystemSide, resolve: Resolver) -> list[str]:
    """What answers for a side: the recorded file, the function's code, the model's settings, the files of a command."""
    found = [identity(side.target)] if side.target is not None else []
    if side.recorded is not None:
        found.append(file_hash(side.recorded.path.read_bytes()))
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
    return content_hash(_callable_name(function), file_hash(Path(file).read_bytes()) if file and Path(file).is_file() else None)


def _selected(suite: Suite, golden: GoldenSet, limit: int | None, select: Sequence[str] | None) -> list[Item]:
    items = [i for i in golden.items if suite.slices is None or i.slice in suite.slices]
    if select is not None:
        wanted = set(select)
        unknown = sorted(wanted - {i.item_id for i in golden.items})
        if unknown:
            raise InputError(
                f"there is no item {unknown[0]!r}", where=f"suite {suite.name}", hint=f"items of {golden.name} are named in items.jsonl"
            )
        items = [i for i in items if i.item_id in wanted]
    items = items[:limit] if limit is not None else items
    if not items:
        known = sorted({i.slice for i in golden.items})
        raise InputError("no item is selected", where=f"suite {suite.name}", hint=f"slices of {golden.name}: {', '.join(known)}")
    return items


def _replaced(spec: System, outputs: str | None) -> System:
    if outputs is None:
        return spec
    if outputs.endswith(".jsonl"):
        return Recorded(outputs, family=spec.family)
    if isinstance(spec, Recorded):
        return Recorded(spec.recorded, **{**spec.model_dump(exclude={"recorded"}), "name": outputs})
    return spec.model_copy(update={"name": outputs})


def _side(spec: System, role: str, resolve: Resolver, families: Families, config: Config) -> SystemSide:
    recorded = RecordedSource(spec, resolve(spec.recorded)) if isinstance(spec, Recorded) else None
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
    return Target(
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


def _family_name(families: Families, ref: str) -> str | None:
    found = families.find(ref)
    return found.name if found else None


def _label_rubric(suite: Suite, rubric: Rubric | None, resolve: Resolver) -> Rubric | None:
    """What people answer. Judges and people have one rubric; a suite without a panel names it under `sampling`."""
    if suite.sampling is None:
        return None
    own = load_rubric(suite.sampling.rubric, resolve) if suite.sampling.rubric is not None else rubric
    if own is None:
        raise InputError("people need a rubric to label by", where="sampling", hint="add `rubric` to it, or a panel that has one")
    if rubric is not None and own != rubric:
        raise InputError("the panel has another rubric", where="sampling.rubric", hint="judges and people answer one: leave this one out")
    if rubric is None and own.kind == "pairwise":
        raise InputError("a pairwise rubric needs a panel", where="sampling.rubric", hint="without one, people score single outputs")
    return own


def _check_shape(suite: Suite, rubric: Rubric | None, system: SystemSide, against: SystemSide | None) -> None:
    where = f"suite {suite.name}"
    if rubric is None or rubric.kind == "pointwise":
        if against is not None:
            raise InputError("`against` is for pairwise rubrics", where=where, hint="set `kind: pairwise` in the rubric, or drop `against`")
        return
    if against is None and len(system.names) < 2:
        raise InputError(
            "a pairwise rubric needs two systems", where=where, hint="add `against` to the panel, or outputs of several systems"
        )
    if against is not None and set(system.names) & set(against.names):
        both = sorted(set(system.names) & set(against.names))
        raise InputError(f"{both[0]!r} is compared with itself", where=where, hint="give the two systems different names")


def _check_outputs(items: Sequence[Item], system: SystemSide, against: SystemSide | None, kind: str) -> None:
    for side in (system, against):
        if side is None or side.recorded is None:
            continue
        missing = missing_items(side.recorded, items)
        if missing:
            shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
            where = side.spec.recorded if isinstance(side.spec, Recorded) else side.role
            raise InputError(f"no output for {shown}", where=where, hint="every selected item needs an output")
    if kind == "pairwise" and system.recorded is not None:
        _check_pairs(items, system, against)


def _check_pairs(items: Sequence[Item], system: SystemSide, against: SystemSide | None) -> None:
    """Every recorded output is part of a pair: an output that nothing is compared with would vanish from the run."""
    assert system.recorded is not None
    for item in items:
        own, others = system.recorded.by_item[item.item_id], None
        if against is not None:
            one = [Output(item_id=item.item_id, system=against.names[0])]  # what is not recorded answers once
            others = against.recorded.by_item[item.item_id] if against.recorded is not None else one
        pairs = pairs_of(own, others)
        paired = {(o.system, o.trial) for pair in pairs for o in pair}
        alone = next((o for o in (*own, *(others or ())) if (o.system, o.trial) not in paired), None)
        if alone is not None:
            raise InputError(
                f"nothing to compare with for item {item.item_id!r}, system {alone.system!r}, trial {alone.trial}",
                where=system.recorded.path.name, hint="a pair is two systems on the same item and trial",
            )  # fmt: skip


def _check_references(items: Sequence[Item], rubric: Rubric | None) -> None:
    if rubric is None or not rubric.reference:
        return
    without = [i.item_id for i in items if i.reference is None]
    if without:
        raise InputError(
            f"the rubric shows a reference and item {without[0]!r} has none",
            where=f"rubric {rubric.name}",
            hint=f"{len(without)} items lack one",
        )


def _seats(
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
        if isinstance(side.spec, Model) and side.spec.model == judge.model:
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


def _callable_name(value: Any) -> Any:
    """`name#hash of its source`; without the module, whose name differs between pytest and `evalh run`."""
    return named(getattr(value, "func", value)).rpartition(":")[2]

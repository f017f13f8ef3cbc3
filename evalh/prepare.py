"""From a suite to everything a run needs, checked before anything is asked: the one place where bad input is found.

`evalh plan`, `evalh run` and the pytest plugin all start here. Nothing is stored and no model is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from evalh.checks.apply import CompiledCheck, compile_checks
from evalh.config import Config
from evalh.errors import InputError
from evalh.fingerprints import content_hash
from evalh.interchange.jsonl import read_labels
from evalh.judging.families import Families
from evalh.judging.presentation import Blinding, prompt_hash
from evalh.judging.rubric import Rubric
from evalh.records import Item, Label, Output
from evalh.redaction import redacted
from evalh.repeats import check_trials
from evalh.sides import JudgeSeat, SystemSide, callable_name, identity, seats_of, side_identity, side_of
from evalh.suites.frozen import FrozenSet, load_frozen
from evalh.suites.golden import GoldenSet, load_golden
from evalh.suites.items import Items
from evalh.suites.load import Resolver, load_rubric
from evalh.suites.model import Panel, Recorded, Suite, System
from evalh.systems import missing_items, missing_trial, pairs_of


@dataclass(frozen=True)
class Prepared:
    """A suite that is ready to run: files read, families checked, checks compiled."""

    suite: Suite
    config: Config
    resolve: Resolver
    golden: GoldenSet
    items: Items
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
    def trials(self) -> int:
        """How often a system that is asked here answers each item."""
        return (self.suite.trials.k or 1) if self.suite.trials else 1

    @property
    def seed(self) -> int:
        return self.suite.run_seed

    @property
    def blinding(self) -> Blinding:
        names: list[str] = []
        for side in (self.system, self.against):
            if side is not None:
                names += side.known_as
        panel = self.panel
        return Blinding(tuple(dict.fromkeys(names)), self.families, panel is None or panel.mask, panel is not None and panel.show_names)

    @property
    def settings(self) -> dict[str, Any]:
        """What the run's record keeps: the suite as it was run, the rubric whole, and the seed."""
        settings = {
            **self.suite.model_dump(mode="json", fallback=callable_name),
            "system": self.system.spec.model_dump(mode="json", fallback=callable_name),  # not the suite's, where --system replaced it
            "checks": [
                {
                    "check": c.title,
                    "kind": c.check.kind,
                    "check_hash": c.check_hash,
                    **c.check.model_dump(mode="json", fallback=callable_name),
                }
                for c in self.checks
            ],
            "rubric": self.rubric.model_dump(mode="json") if self.rubric else None,
            "label_rubric": self.label_rubric.model_dump(mode="json") if self.label_rubric else None,
            "tests": [t.name for t in self.suite.tests],
            "test_hashes": {t.name: t.test_hash for t in self.suite.tests if t.blocking or self.rubric is None},  # those that decide scores
            "seed": self.seed,
            "suite_items": self.suite_items,
            "items": [i.item_id for i in self.items] if len(self.items) < len(self.golden.items) else "all",
        }
        return {name: redacted(value) for name, value in settings.items()}

    @property
    def run_key(self) -> str:
        """The hash of everything that decides what a run does: an unfinished run of the same key is resumed."""
        sides = [side_identity(s, self.resolve) for s in (self.system, self.against) if s is not None]
        judges = [identity(s.target) for s in self.seats]
        checks = [c.check_hash for c in self.checks] + [t.test_hash for t in self.suite.tests]
        given = [label.model_dump(mode="json") for label in self.labels], self.frozen.frozen_hash if self.frozen else None
        settings = {name: value for name, value in self.settings.items() if name != "budget_usd"}  # a larger one goes on with the run
        return content_hash(settings, self.golden.golden_hash, self.prompt_hash, judges, sides, checks, given)

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
    trials = suite.trials.k if suite.trials else None
    system = side_of(spec, "system", resolve, families, config, trials)
    against = side_of(suite.panel.against, "against", resolve, families, config, trials) if suite.panel and suite.panel.against else None
    _check_shape(suite, rubric, system, against)
    check_trials(suite, rubric, recorded=all(s.recorded is not None for s in (system, against) if s is not None))
    _check_outputs(items, system, against, rubric.kind if rubric else "checks")
    _check_references(items, rubric)
    seats = seats_of(suite.panel, rubric, [s for s in (system, against) if s is not None], families, config, resolve) if suite.panel else []
    return Prepared(
        suite=suite,
        config=config,
        resolve=resolve,
        golden=golden,
        items=items,
        suite_items=len(golden.items.where(slices=suite.slices)),
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


def _selected(suite: Suite, golden: GoldenSet, limit: int | None, select: Sequence[str] | None) -> Items:
    unknown = golden.items.missing(select or ())
    if unknown:
        raise InputError(
            f"there is no item {unknown[0]!r}", where=f"suite {suite.name}", hint=f"items of {golden.name} are named in items.jsonl"
        )
    items = golden.items.where(slices=suite.slices, ids=select, limit=limit)
    if not items:
        known = sorted(golden.items.slice_counts())
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
        lacking = missing_trial(side.recorded, items)
        if lacking is not None:
            raise InputError(
                f"no output of {lacking.system!r} for item {lacking.item_id!r}, trial {lacking.trial}",
                where=side.recorded.path.name, hint=f"`trials` asks for {side.recorded.trials} of each item, counted from 0",
            )  # fmt: skip
    if kind == "pairwise" and system.recorded is not None:
        _check_pairs(items, system, against)


def _check_pairs(items: Sequence[Item], system: SystemSide, against: SystemSide | None) -> None:
    """Every recorded output is part of a pair: an output that nothing is compared with would vanish from the run."""
    assert system.recorded is not None
    theirs = against.recorded.each(items) if against is not None and against.recorded is not None else repeat(None)
    for item, own, recorded in zip(items, system.recorded.each(items), theirs, strict=False):
        others = recorded
        if others is None and against is not None:
            others = [Output(item_id=item.item_id, system=against.names[0])]  # what is not recorded answers once
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

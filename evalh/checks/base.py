"""What a check is: settings, and one pure call compiled from them.

A check is a frozen pydantic model whose fields are its settings. `compile` is called once per run and returns a plain
function from a `Subject` to a `Finding`; schemas, patterns and files are read there and never again. A check keeps no
result on itself. Negation, blocking and weight are common to all and are applied by `evalh.checks.apply`, not by checks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from evalh.fingerprints import content_hash
from evalh.records import Item, Output


@dataclass(slots=True, eq=False)
class Subject:
    """What a check looks at: an output and the item it answers. `memo` is what its checks share, such as its JSON value."""

    item: Item
    output: Output
    memo: dict[str, Any] = field(default_factory=dict, repr=False)


class Finding(NamedTuple):
    """What a check found: whether it holds, how much of it (in [0, 1]), and why in one line."""

    passed: bool
    score: float
    reason: str = ""


Resolve = Callable[[str], Path]  # turns a path written in a suite into a file, or raises InputError
Compiled = Callable[[Subject], Finding]


class Check(BaseModel):
    """A deterministic rule. Subclass it, name its `kind`, declare settings as fields, implement `compile`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    waits: ClassVar[bool] = True  # may sleep, start a program or call code of users: every output gets a thread of its own
    positional: ClassVar[tuple[str, ...]] = ()  # fields that may be given without their names, in this order

    name: str | None = Field(default=None, description="shown in tables and test ids; the kind where not given")
    negate: bool = Field(default=False, description="pass where the rule does not hold")
    blocking: bool = Field(default=True, description="an output that fails this check never reaches a judge and counts as a failure")
    weight: float = Field(default=1.0, gt=0, description="share in the score of an output that no judge sees")

    def __init__(self, *args: Any, **settings: Any) -> None:
        if len(args) > len(self.positional):
            raise TypeError(f"{type(self).__name__} takes at most {len(self.positional)} positional settings")
        super().__init__(**dict(zip(self.positional, args, strict=False)), **settings)

    def compile(self, resolve: Resolve) -> Compiled:
        """The check as a function. Raises InputError where the settings cannot work (bad pattern, missing file)."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        return self.name or ("not-" if self.negate else "") + self.kind

    @property
    def check_hash(self) -> str:
        return content_hash(self.kind, self.model_dump(mode="json", exclude={"name"}))


class Pure(Check):
    """A check that only computes: many outputs go through it on one thread, or on several processes."""

    waits: ClassVar[bool] = False

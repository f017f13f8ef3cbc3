"""The profile: what a simulator's judges and systems are stated to be, in TOML. What each number means exactly is in docs/simulator.md.

Every property defaults to "none": a judge of which nothing is stated is always right, unbiased, instant and never fails.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from evalh.errors import InputError

Rate = Annotated[float, Field(ge=0, le=1)]
Signed = Annotated[float, Field(ge=-1, le=1)]
Seconds = Annotated[float, Field(ge=0, le=3600)]


class Part(BaseModel):
    """A part of a profile: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class Traffic(Part):
    """How a model's server behaves, whatever it answers."""

    latency_ms: float = Field(default=0, ge=0)
    latency_jitter_ms: float = Field(default=0, ge=0, description="uniform in ± this, never below zero in all")
    rate_limit_rpm: int | None = Field(default=None, ge=1, description="a bucket that holds this many requests and refills in a minute")
    fault_429_rate: Rate = 0.0
    retry_after_s: float = Field(default=1.0, gt=0, le=60, description="Retry-After of drawn 429s; those of the rate limit say when")
    fault_500_rate: Rate = 0.0
    drop_rate: Rate = Field(default=0.0, description="the connection is closed without an answer")
    stall_rate: Rate = Field(default=0.0, description="the answer comes `stall_s` seconds late")
    stall_s: Seconds = 30.0


class Traits(Part):
    """What a judge does. Each is a probability unless it says otherwise."""

    accuracy: Rate = Field(default=1.0, description="P(verdict = truth)")
    tpr: Rate | None = Field(default=None, description="pointwise, quality ≥ 0.5: instead of accuracy")
    tnr: Rate | None = Field(default=None, description="pointwise, quality < 0.5: instead of accuracy")
    leniency: Signed = Field(default=0.0, description="pointwise: added P(pass | bad); negative: added P(fail | good)")
    position_bias: Signed = Field(default=0.0, description="share of pairs of which the first shown wins (negative: the second)")
    tie_rate: Rate = Field(default=0.0, description="share of pairs called a tie, where a tie may be answered")
    family_preference: Signed = Field(default=0.0, description="share of own answers sided with regardless of quality (negative: against)")
    recognises: Literal["name", "style", "none"] = "name"
    recognition: Rate = Field(default=1.0, description="P(names its own when it is asked who wrote what), where it can tell exactly one")
    verbosity_bias: float = Field(default=0.0, ge=-20, le=20, description="log-odds per doubling of length (longer scales: levels)")
    steerable: Rate = Field(default=0.0, description="P(obeys an instruction found inside a fenced answer)")
    noise: Rate = Field(default=0.0, description="P(a verdict is drawn anew on a call); errors persist between repeats otherwise")
    shared_error: Rate = Field(default=0.0, description="share of items judged with the luck that all judges have in common")
    refusal_rate: Rate = Field(default=0.0, description="share of contents that are refused, each time")
    malformed_rate: Rate = Field(default=0.0, description="P(a reply is not the schema)")


class Drift(Traits, Traffic):
    """What changes from a date on. Only what is written changes; the rest stays."""

    from_: date = Field(alias="from")
    version: str | None = Field(default=None, description="reported from this date on")
    silent: bool = Field(default=False, description="the behaviour changes and the reported version does not")
    redrawn: Rate = Field(default=0.0, description="share of items whose errors are drawn anew: flips both ways, same rates")

    @model_validator(mode="after")
    def _says_its_version(self) -> Drift:
        if self.silent and self.version is not None:
            raise ValueError("a silent drift reports no new version: take `version` or `silent` out")
        if not self.silent and self.version is None:
            raise ValueError("a drift needs the `version` it reports, or `silent = true`")
        return self

    @property
    def changes(self) -> dict[str, Any]:
        """The properties that are written here."""
        own = {"from_", "version", "silent", "redrawn"}
        return {name: getattr(self, name) for name in sorted(self.model_fields_set - own)}


class Player(Traffic):
    """A model that the simulator plays."""

    model: str = Field(min_length=1)
    family: str | None = None
    version: str | None = Field(default=None, description="what it reports to be; the model's name where not given")
    api: Literal["any", "openai", "anthropic"] = "any"
    context_tokens: int = Field(default=128_000, ge=16, description="a longer prompt is refused; a token is four characters")
    memorised: list[str] = Field(default_factory=list, description="JSON Lines whose texts may have been in its training data")
    memory_rate: Rate = Field(default=1.0, description="share of these texts that it remembers")
    memory_gain: float = Field(default=0.5, ge=0, lt=1, description="probability mass that a remembered continuation gets")

    @property
    def reported(self) -> str:
        return self.version or self.model


class Judge(Player, Traits):
    """A judge with stated properties."""

    names: list[str] = Field(default_factory=list, description="by which it recognises its family; the family's name where not given")
    drift: list[Drift] = Field(default_factory=list)

    @model_validator(mode="after")
    def _can_be_played(self) -> Judge:
        for state in (self, *(self.on(d.from_).judge for d in self.drift)):
            _check(state)
        if self.drift != sorted(self.drift, key=lambda d: d.from_):
            raise ValueError("drifts must be in the order of their dates")
        return self

    def on(self, day: date) -> Acting:
        """The judge as it acts on a day: each drift whose date has come is applied, in order."""
        past = [d for d in self.drift if d.from_ <= day]
        changes: dict[str, Any] = {}
        version = self.reported
        for drift in past:
            changes |= drift.changes
            version = drift.version or version
        return Acting(self.model_copy(update=changes), version, tuple(d.redrawn for d in past))


def _check(judge: Judge) -> None:
    good = judge.accuracy if judge.tpr is None else judge.tpr
    bad = judge.accuracy if judge.tnr is None else judge.tnr
    if judge.leniency > bad + 1e-12:
        raise ValueError(f"leniency {judge.leniency} is more than the {bad} of bad answers that it could pass in addition")
    if -judge.leniency > good + 1e-12:
        raise ValueError(f"leniency {judge.leniency} is more than the {good} of good answers that it could fail in addition")
    if judge.fault_429_rate + judge.fault_500_rate + judge.drop_rate + judge.stall_rate > 1 + 1e-12:
        raise ValueError("fault_429_rate, fault_500_rate, drop_rate and stall_rate exclude each other: together at most 1")
    if judge.family_preference and judge.recognises != "none" and not (judge.family or judge.names):
        raise ValueError("family_preference needs `family`, or `names` by which the judge recognises its own")


class Acting(NamedTuple):
    """A judge on a day: the properties in force, the version it reports, and the redrawn share of each past drift."""

    judge: Judge
    version: str
    redrawn: tuple[float, ...] = ()


class System(Player):
    """A system under test: answers by input text, from a file of outputs."""

    answers: str | None = Field(default=None, description="JSON Lines of {input, output, quality?, tool_calls?}")
    accuracy: Rate = Field(default=1.0, description="P(an answer of quality ≥ 0.5), where the file has good and bad ones for an input")

    @model_validator(mode="after")
    def _faults_exclude_each_other(self) -> System:
        if self.fault_429_rate + self.fault_500_rate + self.drop_rate + self.stall_rate > 1 + 1e-12:
            raise ValueError("fault_429_rate, fault_500_rate, drop_rate and stall_rate exclude each other: together at most 1")
        return self


class Batching(Part):
    """How batches fare (`[batch]`). Calls in them meet none of the faults of direct traffic."""

    seconds: Seconds = Field(default=0.0, description="from a batch's creation to its end")
    expired_rate: Rate = Field(default=0.0, description="share of calls that are not answered in time")
    errored_rate: Rate = Field(default=0.0, description="share of calls that end in an error of the server")
    fails: str = Field(default="", description="OpenAI: every batch fails as a whole, for this reason")
    queue_tokens: int | None = Field(default=None, ge=1, description="OpenAI: a batch fails that brings the batches under way over this")
    lost: int = Field(default=0, ge=0, description="so many batches are made, and the connection is closed before that is said")


class Profile(Part):
    """A simulator: a seed, what it knows, and the judges and systems it plays."""

    name: str = "sim"
    seed: int = 0
    truth: list[str] = Field(default_factory=list, description="JSON Lines of {text or output, quality, family?, input?, aspects?}")
    items: list[str] = Field(default_factory=list, description="items.jsonl files: they give lines that name an item_id their input")
    today: date | None = Field(default=None, description="the date of the simulation; the real one where not given")
    typical_chars: int | None = Field(default=None, ge=1, description="where pointwise verbosity counts from; else the median of truth")
    judge: list[Judge] = Field(default_factory=list)
    system: list[System] = Field(default_factory=list)
    batch: Batching = Field(default_factory=Batching)

    _folder: Path = PrivateAttr(default_factory=Path)

    @model_validator(mode="after")
    def _plays_someone(self) -> Profile:
        names = [player.model for player in self.players]
        if not names:
            raise ValueError("a profile needs at least one [[judge]] or [[system]]")
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"model {twice[0]!r} is stated twice")
        return self

    @property
    def players(self) -> list[Judge | System]:
        return [*self.judge, *self.system]

    @property
    def folder(self) -> Path:
        """Where the profile's paths start."""
        return self._folder


def load_profile(path: Path | str) -> Profile:
    """The profile in a TOML file; its paths are beside it. Raises InputError naming the file and the field."""
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        hint = "a profile is a TOML file, see docs/simulator.md"
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), hint=hint) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not TOML: {error}", where=str(path)) from None
    return profile_from(data, folder=path.parent, where=str(path))


def profile_from(data: Mapping[str, Any], *, folder: Path | str = ".", where: str = "profile") -> Profile:
    """The profile in a mapping; `folder` is where its paths start. Raises InputError naming the field."""
    try:
        profile = Profile.model_validate(data)
    except ValidationError as error:
        raise _explained(error, where) from None
    profile._folder = Path(folder)
    files = [*profile.truth, *profile.items]
    for player in profile.players:
        files += [*player.memorised, *([player.answers] if isinstance(player, System) and player.answers else [])]
    for name in files:
        if not (profile.folder / name).is_file():
            raise InputError(f"there is no file {name}", where=where, hint="paths are looked up beside the profile")
    return profile


_MODELS: dict[tuple[str, ...], type[BaseModel]] = {
    (): Profile,
    ("judge",): Judge,
    ("judge", "drift"): Drift,
    ("system",): System,
    ("batch",): Batching,
}


def _explained(error: ValidationError, where: str) -> InputError:
    """One line from the first thing that is wrong: file, field, what, and what would be right."""
    first = error.errors()[0]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    message = first["msg"].removeprefix("Value error, ")
    hint = None
    if first["type"] == "extra_forbidden":
        parts = tuple(part for part in first["loc"][:-1] if isinstance(part, str))
        known = [info.alias or name for name, info in _MODELS.get(parts, Profile).model_fields.items()]
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        message = "unknown field"
        hint = f"did you mean `{near[0]}`?" if near else f"known fields: {', '.join(known)}"
    elif first["type"] == "missing":
        message = "is missing"
    return InputError(message, where=f"{where}: {field}" if field else where, hint=hint)

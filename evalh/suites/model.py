"""The suite: one pydantic model that Python and YAML suites both build.

A suite says what is tested (golden set and system), how (checks, panel), whom to ask (sampling) and what decides (gate).
Paths are text here; they are looked up beside the suite, then in its parent folders up to the project's root.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SerializeAsAny, model_validator

from evalh.checks.base import Check
from evalh.checks.imports import named
from evalh.checks.registry import check_from_spec
from evalh.errors import InputError
from evalh.fingerprints import content_hash, derived_seed
from evalh.judging.rubric import Rubric


class Part(BaseModel):
    """A part of a suite: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Asked(Part):
    """How a model is asked, whether it is under test or judges."""

    base_url: str | None = Field(default=None, description="where to ask; the vendor where not given")
    api_key_env: str | None = Field(default=None, description="the environment variable that holds the key")
    api: Literal["chat", "responses", "anthropic"] | None = Field(
        default=None, description="openai: `chat` (default) or `responses`; sim: `anthropic` asks through the anthropic client"
    )
    temperature: float | None = Field(default=None, description="sent only where it is set")
    max_tokens: int = Field(default=1024, description="longest reply")
    timeout_s: float = Field(default=60.0, description="seconds for one call")
    params: dict[str, Any] = Field(default_factory=dict, description="sent to the provider as they are")
    mode: Literal["direct", "batch"] = Field(
        default="direct", description="`batch` (openai, anthropic): through the provider's batch API, at half the price, within a day"
    )


class System(Part):
    """What is under test. `name`, `version` and `family` are stored with every output."""

    name: str | None = Field(default=None, description="shown in tables; of recorded outputs, only lines of this `system` are used")
    version: str | None = Field(default=None, description="which version of the system this is; kept with every output")
    family: str | None = Field(default=None, description="a family of families.toml; looked up by model name where not given")


class Recorded(System):
    """Outputs that exist already, in an outputs.jsonl. Of several systems in the file, `name` picks one."""

    recorded: str = Field(description="an outputs.jsonl")
    rename: str | None = Field(default=None, description="call the one system of the file by this name: two versions of it can be compared")

    def __init__(self, recorded: str | None = None, /, **data: Any) -> None:
        super().__init__(**({"recorded": recorded} if recorded is not None else {}), **data)


class Function(System):
    """A Python function from an item's input to an output: text, a dict with `output`, or an `Output`. Sync or async."""

    function: str | Callable[..., Any] = Field(
        description="takes the item's input (the whole item where its argument is named `item`); runs in a thread where it is not async"
    )

    def __init__(self, function: str | Callable[..., Any] | None = None, /, **data: Any) -> None:
        super().__init__(**({"function": function} if function is not None else {}), **data)


class Model(Asked, System):
    """A model of a provider (`openai:…`, `anthropic:…`, `vllm:…`), or of any OpenAI-compatible server by `base_url`."""

    model: str = Field(description="`provider:name`; of an endpoint, the name that it knows")
    system_prompt: str | None = Field(default=None, description="the system message")
    template: str = Field(default="{input}", description="the user message; {input} stands for the item's input")

    def __init__(self, model: str | None = None, /, **data: Any) -> None:
        super().__init__(**({"model": model} if model is not None else {}), **data)


class Endpoint(Model):
    """A service that speaks the OpenAI chat format: `endpoint` is its base URL, `model` what to ask it for."""

    endpoint: str = Field(description="base URL")

    def __init__(self, endpoint: str | None = None, /, **data: Any) -> None:
        super().__init__(**({"endpoint": endpoint} if endpoint is not None else {}), **data)


class Command(System):
    """A program that reads one JSON object a line (`item_id`, `input`) and writes one a line (`item_id`, `output`)."""

    command: str | list[str] = Field(description="program and arguments; started once for a run, in the suite's folder, without a shell")
    timeout_s: float = Field(default=60.0, description="seconds for one item")

    def __init__(self, command: str | list[str] | None = None, /, **data: Any) -> None:
        super().__init__(**({"command": command} if command is not None else {}), **data)


_BY_KEY: dict[str, type[System]] = {
    "recorded": Recorded,
    "function": Function,
    "endpoint": Endpoint,
    "model": Model,
    "command": Command,
}  # fmt: skip — the first key that is present decides; endpoint stands before model because it has both


def _system(value: Any) -> Any:
    if isinstance(value, str):
        if value.endswith(".jsonl"):
            return Recorded(value)
        raise ValueError(
            "a system is {recorded: FILE.jsonl}, {function: 'module:name'}, {model: 'provider:name'},"
            " {endpoint: URL, model: NAME} or {command: [...]}"
        )
    if callable(value) and not isinstance(value, System):
        return Function(value)
    if isinstance(value, dict):
        for key, kind in _BY_KEY.items():
            if key in value:
                return kind(**value)
        raise ValueError(f"a system needs one of {', '.join(_BY_KEY)}")
    return value


AnySystem = Annotated[SerializeAsAny[System], BeforeValidator(_system)]


class Judge(Asked):
    """A model that judges. There is no default judge: `model` is `provider:name`, family is looked up or given."""

    model: str = Field(pattern=r"^[a-z0-9_-]+:.+$", description="`provider:name`")
    name: str | None = Field(default=None, description="shown in tables; the model where not given")
    family: str | None = Field(default=None, description="a family of families.toml; looked up by model name where not given")
    version: str | None = Field(default=None, description="replay: only verdicts of this judge_version")
    prompt: str | None = Field(default=None, description="replay: only verdicts recorded under this prompt")
    source: str | None = Field(default=None, description="replay: judgments.jsonl; sim: the judges' profile")
    weight: float = Field(default=1.0, gt=0, description="of its vote in the panel")

    def __init__(self, model: str | None = None, /, **data: Any) -> None:
        super().__init__(**({"model": model} if model is not None else {}), **data)

    @property
    def title(self) -> str:
        return self.name or self.model


def _judge(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


class Panel(Part):
    """The judges, the rubric, the order of presentation and the rule that makes one score of many verdicts."""

    judges: list[Annotated[Judge, BeforeValidator(_judge)]] = Field(
        min_length=1, description="`provider:name`, or mappings; of other families than the system"
    )
    rubric: str | Rubric = Field(description="a Markdown file, or the rubric itself")
    rule: Literal["majority", "mean", "unanimous"] = Field(default="majority", description="how many verdicts become one score")
    order: Literal["both", "drawn", "recorded"] = Field(
        default="both", description="pairwise: both orders, one drawn from the seed, or (replay only) those that were recorded"
    )
    against: AnySystem | None = Field(
        default=None, description="pairwise: the other system; else the systems of one outputs file are paired"
    )
    repeats: int = Field(default=1, ge=1, description="how often each judge is asked the same")
    attempts: int = Field(
        default=3, ge=1, description="how often a judge is asked when its reply cannot be read; then the verdict is unscored"
    )
    allow_same_family: bool = Field(default=False, description="let judges of the system's family in; every table and report then says so")
    mask: bool = Field(default=True, description="mask self-identification in what judges see; turned off only to measure what it does")
    show_names: bool = Field(default=False, description="label answers with their systems' names; only to measure what blinding does")


class Sampling(Part):
    """How many outputs people label, and by which probability design."""

    labels: int = Field(gt=0, description="how many outputs people label")
    strategy: Literal["simple", "stratified", "disagreement", "uncertainty"] = Field(
        default="stratified", description="the probability design; `docs/statistics.md` gives the probabilities"
    )
    floor: float = Field(default=0.3, ge=0.05, le=1.0, description="share of the sample drawn uniformly, so that every output can be drawn")
    rubric: str | Rubric | None = Field(default=None, description="what people answer; the panel's rubric where not given")


class Trials(Part):
    """How often the system is asked each item, and when a trial passes. `Trials(5)` is `Trials(k=5)`."""

    k: int | None = Field(default=None, ge=1, description="how often the system is asked each item; recorded outputs bring their trials")
    passing: float | None = Field(
        default=None, gt=0, le=1, description="the lowest score of a trial that passes; needed where nothing else says which scores do"
    )

    def __init__(self, k: int | None = None, /, **data: Any) -> None:
        super().__init__(**({"k": k} if k is not None else {}), **data)


def _trials(value: Any) -> Any:
    return {"k": value} if isinstance(value, int) and not isinstance(value, bool) else value


class Gate(Part):
    """What decides whether this version ships. Every rule that is given must pass."""

    minimum: float | None = Field(default=None, ge=0, le=1, description="the lower bound of the score must be above this")
    baseline: str | None = Field(default=None, description="a run, or a tag given by `evalh gate --approve RUN --as TAG`")
    margin: float | None = Field(
        default=None, gt=0, lt=1, description="how much worse than the baseline is still no regression, in absolute points"
    )
    max_unscored: float = Field(default=0.05, ge=0, le=1, description="largest share of outputs without a score")
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="one-sided error of each rule")

    @model_validator(mode="after")
    def _decides_something(self) -> Gate:
        if self.minimum is None and self.baseline is None:
            raise ValueError("a gate needs `minimum`, or `baseline` with `margin`")
        if (self.baseline is None) != (self.margin is None):
            raise ValueError("`baseline` and `margin` go together")
        return self


AnyCheck = Annotated[SerializeAsAny[Check], BeforeValidator(check_from_spec)]


class Suite(BaseModel):
    """A suite: golden set, system, three tiers and a gate."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="runs and reports go by it")
    description: str = Field(default="", description="what is asked, for people; shown in reports")
    golden: str = Field(description="folder of the golden set: golden.toml and items.jsonl")
    system: AnySystem = Field(description="what is under test")
    slices: list[str] | None = Field(default=None, description="only items of these slices")
    checks: list[AnyCheck] = Field(default_factory=list, description="tier 1, in this order; all of them run")
    panel: Panel | None = Field(default=None, description="tier 2: judges, for outputs that pass the blocking checks")
    trials: Annotated[Trials | None, BeforeValidator(_trials)] = Field(
        default=None, description="how often each item is asked: a number, or a mapping; gives pass@k, pass^k and flakiness"
    )
    sampling: Sampling | None = Field(default=None, description="tier 3: the sample that people label")
    budget_usd: float | None = Field(
        default=None, ge=0, description="a run stops before the next call would exceed this; of it and `--budget` the smaller holds"
    )
    gate: Gate | None = Field(default=None, description="what decides")
    labels: str | None = Field(default=None, description="labels.jsonl with labels that people gave already")
    frozen: str | None = Field(default=None, description="folder of frozen references for this suite's judges")
    seed: int | None = Field(default=None, description="drawn from the suite's name where not given; always in the run's record")

    _file: Path | None = PrivateAttr(default=None)
    _tests: list[SuiteTest] = PrivateAttr(default_factory=list)

    @model_validator(mode="after")
    def _asks_something(self) -> Suite:
        if not self.checks and self.panel is None and not self._tests:
            pass  # a Python suite may add tests after construction; the loader refuses an empty suite
        return self

    def test(self, function: Callable[..., Any] | None = None, /, *, blocking: bool = False) -> Any:
        """Register a test function of one argument, `output`: one pytest test per item; a plain assert is a check.

        With `blocking=True` it runs before the judges (and sees no verdicts); else after them.
        """

        def register(fn: Callable[..., Any]) -> Callable[..., Any]:
            if inspect.iscoroutinefunction(fn):
                raise InputError(f"test {fn.__name__} is async", where=f"suite {self.name}", hint="a test of an output is a plain function")
            self._tests.append(SuiteTest(name=fn.__name__, function=fn, blocking=blocking))
            fn.__evalh_suite__ = self  # type: ignore[attr-defined]
            return fn

        return register(function) if function is not None else register

    @property
    def tests(self) -> list[SuiteTest]:
        return list(self._tests)

    def with_trials(self, k: int) -> Suite:
        """The same suite, asking each item k times."""
        return self.model_copy(update={"trials": Trials(k=k, passing=self.trials.passing if self.trials else None)})

    @property
    def run_seed(self) -> int:
        """The seed of every random choice of a run: given, or drawn from the suite's name."""
        return self.seed if self.seed is not None else derived_seed("suite", self.name) % 2**31


class SuiteTest(Part):
    """A test function of a Python suite."""

    name: str
    function: Callable[..., Any]
    blocking: bool = False

    @property
    def test_hash(self) -> str:
        """The hash of its source: a changed test is another one, under pytest and under `evalh run` alike."""
        return content_hash("test", named(self.function).rpartition(":")[2])

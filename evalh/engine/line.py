"""One model as a run uses it: the target, the client, the price, and the way to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from evalh.config import Config, Limits, ProviderConfig
from evalh.engine.asking import DEADLINE_S, Circuit, deadline_of
from evalh.engine.batching import Batcher
from evalh.engine.lanes import Lane, ProviderCap
from evalh.providers.base import Price, Provider, Target
from evalh.redaction import redacted


@dataclass
class Line:
    """What is asked in one role: a judge of the panel, or a system under test.

    `identity` is the hash of the target and of the files it reads; `protocol` that of rubric, template and parser: a change
    of either asks anew. With a `batcher`, calls go through the provider's batch API and no lane is used.
    """

    target: Target
    provider: Provider
    price: Price | None
    identity: str
    asked: str  # the judge as JUDGE#PROMPT, or the system
    protocol: str = ""
    in_batches: bool = False
    price_factor: float = 1.0
    lane: Lane = field(default_factory=Lane)
    circuit: Circuit = field(default_factory=Circuit)
    deadline_s: float = DEADLINE_S
    batcher: Batcher | None = None

    def __post_init__(self) -> None:
        self.params = redacted(self.target.model_dump(exclude={"provider", "model"}, exclude_none=True))

    @property
    def keeps_replies(self) -> bool:
        """Whether replies belong in the ledger: recorded verdicts are on disk already."""
        return not self.provider.deterministic


class Ways:
    """The ways of one run: a lane and a circuit for each model at each server, and a cap for each provider that has one."""

    def __init__(self, config: Config, notice: Callable[[str], None]) -> None:
        self._config, self._notice = config, notice
        self._lanes: dict[tuple[str, str | None, str], tuple[Lane, Circuit]] = {}
        self._caps: dict[str, ProviderCap] = {}

    def open(self, line: Line) -> None:
        """Give a line its way."""
        target = line.target
        provider = self._config.providers.get(target.provider, ProviderConfig())
        limits = provider.limits_of(target.model)
        line.deadline_s = deadline_of(target, limits.deadline_s)
        key = (target.provider, target.base_url or target.source, target.model)
        if key not in self._lanes:
            self._lanes[key] = (self._lane(target, provider, limits), Circuit(target.ref, self._notice))
        line.lane, line.circuit = self._lanes[key]

    def _lane(self, target: Target, provider: ProviderConfig, limits: Limits) -> Lane:
        if provider.in_flight is not None:
            self._caps.setdefault(target.provider, ProviderCap(provider.in_flight))
        return Lane(
            target.ref,
            limits.in_flight or provider.in_flight or self._config.in_flight,
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            cap=self._caps.get(target.provider),
        )

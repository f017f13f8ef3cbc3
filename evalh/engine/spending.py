"""The budget of a run: money is set aside before a call and settled after it, so that the limit holds whatever is under way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from evalh.engine.line import Line
from evalh.errors import UsageError
from evalh.providers.base import Price


class BudgetReached(Exception):
    """The next call would cost more than the budget allows. The run stops; nothing that was paid for is lost."""


@dataclass
class Spending:
    """What a run has spent, in USD and tokens. Calls that are under way hold a reservation."""

    budget_usd: float | None = None
    spent_usd: float = 0.0
    reserved_usd: float = 0.0
    tokens: int = 0
    under_way: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def reserve(self, usd: float) -> None:
        """Set money aside for a call. Where calls under way hold too much of it, wait for them; BudgetReached if none does."""
        while self.budget_usd is not None and self.spent_usd + self.reserved_usd + usd > self.budget_usd:
            if self.under_way == 0:
                raise BudgetReached
            self._changed.clear()
            await self._changed.wait()
        self.reserved_usd += usd
        self.under_way += 1

    def add(self, cost_usd: float | None, tokens: int) -> None:
        """What was spent without a reservation."""
        self.spent_usd += cost_usd or 0.0
        self.tokens += tokens

    def settle(self, reserved_usd: float, cost_usd: float | None, tokens: int) -> None:
        """Replace a reservation by what the call did cost."""
        self.under_way -= 1
        self.reserved_usd = self.reserved_usd - reserved_usd if self.under_way else 0.0
        self.add(cost_usd, tokens)
        self._changed.set()


def check_prices(lines: list[Line], budget_usd: float | None) -> None:
    """A budget needs the price of every model. Raises UsageError naming the model that has none."""
    for line in lines:
        if budget_usd is not None and line.price is None:
            raise UsageError(
                f"a budget needs the price of {line.target.ref}, and none is known",
                hint=f'add [prices."{line.target.ref}"] with input, output and as_of to evalh.toml',
            )


def cost(price: Price | None, tokens_in: int | None, tokens_out: int | None, factor: float = 1.0) -> float | None:
    """USD for so many tokens; None where the price or a count is unknown. `factor` is the discount of a batch."""
    if price is None or tokens_in is None or tokens_out is None:
        return None
    return factor * (price.input * tokens_in + price.output * tokens_out) / 1e6

"""The budget of a run: money is set aside before a call and settled after it, so that the limit holds whatever is under way."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

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
    _waiting: deque[tuple[float, asyncio.Future[None]]] = field(default_factory=deque)  # in the order in which they came

    async def reserve(self, usd: float) -> None:
        """Set money aside for a call. Where calls under way hold too much of it, wait for them; BudgetReached if none does."""
        if self.budget_usd is None:
            self._take(usd)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((usd, turn))
        self._serve(self.budget_usd)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:  # it had its turn, and makes no use of it
                self.settle(usd, None, 0)
            raise

    def add(self, cost_usd: float | None, tokens: int) -> None:
        """What was spent without a reservation."""
        self.spent_usd += cost_usd or 0.0
        self.tokens += tokens

    def settle(self, reserved_usd: float, cost_usd: float | None, tokens: int) -> None:
        """Replace a reservation by what the call did cost."""
        self.under_way -= 1
        self.reserved_usd = self.reserved_usd - reserved_usd if self.under_way else 0.0
        self.add(cost_usd, tokens)
        if self.budget_usd is not None:
            self._serve(self.budget_usd)

    def _take(self, usd: float) -> None:
        self.reserved_usd += usd
        self.under_way += 1

    def _serve(self, budget_usd: float) -> None:
        """Give those who wait their turn, as far as the money goes."""
        while self._waiting:
            usd, turn = self._waiting[0]
            fits = self.spent_usd + self.reserved_usd + usd <= budget_usd
            if not (fits or self.under_way == 0 or turn.done()):
                return
            self._waiting.popleft()
            if turn.done():  # cancelled
                continue
            if fits:
                self._take(usd)
                turn.set_result(None)
            else:
                turn.set_exception(BudgetReached())

    def __getstate__(self) -> dict[str, Any]:
        """Without those who wait: a run that has ended is handed from process to process (pytest-xdist)."""
        return {**self.__dict__, "_waiting": deque()}


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

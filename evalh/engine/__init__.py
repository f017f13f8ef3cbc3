"""Model calls: bounded, paced, retried, paid for once.

engine.py    a call from request to answer        ledger.py    what was answered before
lanes.py     how many at a time, how fast          spending.py  the budget
asking.py    retries, deadline, circuit            batching.py  calls collected into batches
"""

from evalh.engine.engine import Answer, Engine
from evalh.engine.line import Line
from evalh.engine.spending import BudgetReached, Spending, check_prices

__all__ = ["Answer", "BudgetReached", "Engine", "Line", "Spending", "check_prices"]

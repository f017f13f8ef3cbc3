"""Plain functions beside the event loop: in threads that nobody has to wait for.

The threads of `asyncio.to_thread` are waited for when the loop closes and again when the program ends, so that one function
that hangs holds up Ctrl-C. These end with the program.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """What the function returns, or raises. What would end the program (SystemExit) is raised as RuntimeError."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def told(error: Exception | None, result: Any) -> None:
        if future.done():  # nobody waits any more
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def work() -> None:
        error: Exception | None = None
        result = None
        try:
            result = function(*args)
        except StopIteration as stop:  # a future takes all but this one
            error = RuntimeError(f"StopIteration: {stop}")
        except Exception as raised:
            error = raised
        except BaseException as raised:
            error = RuntimeError(f"{type(raised).__name__}: {raised}")
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(told, error, result)

    threading.Thread(target=work, name="evalh-function", daemon=True).start()
    return await future


def run_to_end(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """`asyncio.run`, also where this thread has a loop that runs already (notebooks, some pytest plugins): then in another thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(main())
        return
    raised: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work, name="evalh-run", daemon=True)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]

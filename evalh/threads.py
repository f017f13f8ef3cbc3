"""Plain functions beside the event loop: in threads that nobody has to wait for.

The threads of `asyncio.to_thread` are waited for when the loop closes and again when the program ends, so that one function
that hangs holds up Ctrl-C. These end with the program.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

STOP_WITHIN_S = 0.5


class _Worker:
    """A thread that does one thing after another, for as long as the program lives."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="evalh-function", daemon=True).start()

    def do(self, job: Callable[[], None]) -> None:
        self._jobs.put(job)

    def _run(self) -> None:
        while True:
            self._jobs.get()()
            _idle.append(self)


_idle: list[_Worker] = []


def _worker() -> _Worker:
    try:
        return _idle.pop()
    except IndexError:
        return _Worker()


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

    _worker().do(work)
    return await future


def run_to_end(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """`asyncio.run` in a thread of its own, so that Ctrl-C is obeyed at once whatever the loop is busy with.

    Raises KeyboardInterrupt when the coroutine has been told to stop and has stopped, or has not within `STOP_WITHIN_S`: then
    it is left behind. Works where this thread has a loop that runs already (notebooks, some pytest plugins).
    """
    raised: list[BaseException] = []
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def told() -> None:
        task = asyncio.current_task()
        assert task is not None
        running.append((asyncio.get_running_loop(), task))
        await main()

    def work() -> None:
        try:
            asyncio.run(told())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work, name="evalh-run", daemon=True)
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        for loop, task in running:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(task.cancel)
        thread.join(STOP_WITHIN_S)
        raise
    if raised:
        raise raised[0]

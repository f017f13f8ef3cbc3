"""Progress of a run: a bar on a terminal, plain lines elsewhere (CI), always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LINE_EVERY_S = 5.0


@contextmanager
def watching(title: str, total: int, unit: str = "items") -> Iterator[Callable[[Any], None]]:
    """A function to call with a Progress after every item."""
    if sys.stderr.isatty():
        with _bar(title, total) as watch:
            yield watch
    else:
        yield _lines(title, unit)


@contextmanager
def _bar(title: str, total: int) -> Iterator[Callable[[Any], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[told]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, told="")
        yield lambda p: bar.update(task, completed=p.done, total=p.total, told=_told(p))


def _lines(title: str, unit: str) -> Callable[[Any], None]:
    last = time.monotonic()

    def watch(progress: Any) -> None:
        nonlocal last
        if progress.done == progress.total or time.monotonic() - last > LINE_EVERY_S:
            last = time.monotonic()
            sys.stderr.write(f"{title}: {progress.done}/{progress.total} {unit}, {_told(progress)}\n")
            sys.stderr.flush()

    return watch


def _told(p: Any) -> str:
    parts = [f"{p.asked} judge calls"]
    parts += [f"{p.cached} from the ledger"] if p.cached else []
    parts += [f"{p.blocked} blocked by checks"] if p.blocked else []
    parts += [f"{p.unscored} unscored"] if p.unscored else []
    return ", ".join(parts) + f", ${p.spent_usd:.4f}"

"""What commands share: options, where the store is, how a document or a table is printed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from evalh.config import Config, load_config, store_path
from evalh.errors import StoreBusy, StoreError, UsageError
from evalh.errors import printable as printable  # used by all that print
from evalh.store.store import Store

PLAIN_WIDTH = 120  # where output is not a terminal: CI logs are wide
F = TypeVar("F", bound=Callable[..., Any])


def store_option(function: F) -> F:
    return click.option("--store", "store_at", metavar="PATH", help="The store. [default: EVALH_STORE, or .evalh/evalh.duckdb]")(function)


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output, nothing else.")(function)


def open_store(store_at: str | None, config: Config | None = None) -> Store:
    return Store(store_path(store_at, config or load_config()), notice=note)


def existing_store(store_at: str | None) -> Store:
    """A store that is there, with what a killed process left folded in. Raises UsageError where there is none."""
    store = open_store(store_at)
    if not store.exists():
        raise UsageError(f"there is no store at {store.path}", hint="`evalh run` or `evalh import` makes one; --store names another")
    try:
        store.fold_journals()
    except StoreBusy:
        raise
    except StoreError as error:  # a full or read-only disk: what is in the store can be read all the same
        note(f"{error}; rows that wait in {store.journal_folder} are not shown")
    return store


def note(line: str) -> None:
    """A line for people, on standard error. Whatever it quotes, it steers no terminal."""
    click.echo(printable(line), err=True)


def emit(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n")


def console(stderr: bool = False) -> Any:
    """A rich console: no colour where it is not a terminal or NO_COLOR is set."""
    from rich.console import Console

    width = None if _is_terminal(stderr) or os.environ.get("COLUMNS") else PLAIN_WIDTH
    return Console(stderr=stderr, highlight=False, width=width, no_color=True if os.environ.get("NO_COLOR") else None)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[int] = ()) -> Any:
    """A rich table; `right` are the columns aligned right. Cells are text: markup in model output shows as it is."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        made.add_column(column, justify="right" if place in right else "left")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
    return made


def percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def interval(estimate: Mapping[str, Any] | None) -> str:
    """`82.1 % [71.0, 90.3]`, or why there is no interval."""
    if estimate is None or estimate.get("value") is None:
        why = (estimate or {}).get("why")
        return f"– ({why})" if why else "–"
    text = f"{100 * estimate['value']:.1f} %"
    if estimate.get("low") is None:
        return f"{text} ({estimate.get('why')})"
    return f"{text} [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]"


def dollars(value: float | None) -> str:
    return "–" if value is None else f"${value:.4f}" if value < 1 else f"${value:,.2f}"


def _is_terminal(stderr: bool) -> bool:
    return (sys.stderr if stderr else sys.stdout).isatty()

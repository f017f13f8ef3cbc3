"""One run as one HTML file: no network, no script, everything inside. What people decide by stands first.

The page is made from the document of `evalh report --json` and the rows beside it. Whatever a model wrote is shown as
text and nothing else: templates escape every value, what cannot be seen is named, and a content policy forbids the rest.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evalh import __version__
from evalh.errors import UsageError
from evalh.judging.families import Families
from evalh.report import cards, trials, view, words
from evalh.report import judges as judging
from evalh.report.gather import Background, Gathered, Row, gather
from evalh.report.spent import price_lines, spent_rows
from evalh.report.text import comment, excerpt, finalizer
from evalh.stats.position import Unscored
from evalh.store.runs import find_run
from evalh.store.store import Store

if TYPE_CHECKING:
    from jinja2 import Environment

ITEMS = 20  # of the worst, shown whole
MAX_BYTES = 480_000  # a file that mail and CI pages take
TEXT_LIMITS = (4000, 2000, 1000, 500, 250, 120, 60)  # characters of one text: the first with which the page fits


class Written(NamedTuple):
    """A report on disk, and what it was made from."""

    path: Path
    bytes: int
    gathered: Gathered


def write_report(
    store: Store, run: str | None, path: Path, *, items: int = ITEMS, unscored: Unscored = "exclude", families: Families | None = None
) -> Written:
    """Write the report of a run (an id, a tag, or None for the newest finished one) to `path`, whole or not at all.

    Raises UsageError where there is no such run or the file cannot be written.
    """
    gathered = gather(store, find_run(store, run), items=items, unscored=unscored, families=families)
    page = render_run(*gathered).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_bytes(page)
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror or error}", where=str(path), hint="name another file with --html") from error
    return Written(path, len(page), gathered)


def render_run(document: Row, items: Sequence[Row], gate: Row | None = None, background: Background | None = None) -> str:
    """The page: `document` of `summary.run_document`, `items` of `item_page` (worst first), `gate` of the latest decision.

    Long texts are cut, and the more of them there are the shorter; where that is not enough the last items are left out
    (the page says how many it shows). So a page stays under `MAX_BYTES`.
    """
    template, background = _environment().get_template("run.html.j2"), background or Background()
    shown, disputed, limits = list(items), list(background.disputes), list(TEXT_LIMITS)
    while True:
        page: str = template.render(_context(document, shown, gate, replace(background, disputes=disputed), limits[0]))
        if len(page.encode()) <= MAX_BYTES or not (shown or disputed):
            return page
        if len(limits) > 1:
            limits.pop(0)
        else:
            shown, disputed = shown[: len(shown) * 4 // 5], disputed[: len(disputed) * 4 // 5]


def _context(document: Row, items: Sequence[Row], gate: Row | None, background: Background, limit: int) -> dict[str, Any]:
    """What the templates read, section by section in the order of the page."""
    changes, (judges, judge_axis) = background.changes, view.judges(document)
    canary = (background.golden or {}).get("canary") or ""
    return {
        "canary": canary,
        "canary_comment": comment(canary),
        "document": document,
        "unit": words.unit(document["kind"]),
        "description": (background.run.get("settings") or {}).get("description") or "",
        "facts": view.facts(document),
        "bands": view.bands(document, background),
        "decision": view.decision(gate),
        "keys": view.keys(document),
        "changes": changes,
        "change_forest": view.change_forest(changes) if changes and not changes.differences else None,
        "regressions": [cards.regression(a, b, limit) for a, b in changes.pairs] if changes and not changes.differences else [],
        "funnel": view.funnel(document),
        "spent": view.spent(document),
        "spent_rows": spent_rows(document),
        "price_lines": price_lines(document["costs"]) if "costs" in document else [],
        "quality": view.quality(document, view.minimum_of(gate)),
        "minimum": view.minimum_of(gate),
        "trials": trials.section(document),
        "checks": view.checks(document, background),
        "judges": judges,
        "judge_axis": judge_axis,
        "audit": judging.section(background.audit, background.disputes, limit, {row["item_id"]: cards.anchor(row) for row in items}),
        "apart": background.apart,
        "apart_rows": [(row, cards.anchor(row), cards.says(row)) for row in background.apart.items] if background.apart else [],
        "items": [cards.card(row, limit) for row in items],
        "anchors": {cards.anchor(row) for row in items},
        "outputs": sum(document["routes"].values()),
        "strata": view.strata(background),
        "labels": len(background.labels),
        "annotators": len({row["annotator"] for row in background.labels}),
        "blind": view.is_blind(background),
        "design": background.tasks[0]["design"] if background.tasks else "",
        "lineage": view.lineage(document, background),
        "judge_settings": view.judge_settings(background),
        "rubric": (background.run.get("settings") or {}).get("rubric"),
        "commands": view.commands(document, gate),
        "version": __version__,
    }


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("evalh.report"), autoescape=True, undefined=StrictUndefined, finalize=finalizer(),
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"excerpt": excerpt, "count": words.count, "points": words.points}
    return made

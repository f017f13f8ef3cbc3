"""`evalh report`: one run, in the terminal or as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from evalh.cli.common import emit, existing_store, json_option, note, store_option

EPILOG = """\b
Examples
  evalh report                                the newest finished run, in the terminal
  evalh report RUN --html report.html         one file for mail, CI pages and print
  evalh report RUN --html report.html --items 100
  evalh report RUN --json                     the figures, with the gate's last decision

The HTML file needs no network and runs no script. It holds items of the golden set: keep it out of public places.
"""


@click.command(epilog=EPILOG)
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write one self-contained HTML file.")
@click.option(
    "--items",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    metavar="N",
    help="The worst items that the HTML file shows whole.",
)
@click.option(
    "--unscored", type=click.Choice(["exclude", "wrong", "tie"]), default="exclude", show_default=True,
    help="What judge figures do with unscored verdicts.",
)  # fmt: skip
@store_option
@json_option
def report(run: str | None, html: Path | None, items: int, unscored: Any, store_at: str | None, as_json: bool) -> None:
    """Report one run: the newest finished one, or RUN (a run or a tag)."""
    store = existing_store(store_at)
    if html is not None:
        from evalh.config import load_config
        from evalh.judging.families import Families
        from evalh.report.html import write_report

        config = load_config()
        families = Families.load([config.families] if config.families else [])
        written = write_report(store, run, html, items=items, unscored=unscored, families=families)
        note(f"wrote {written.path} ({written.bytes / 1000:.0f} kB)")
        document, gate = written.gathered.document, written.gathered.gate
    else:
        from evalh.store.runs import find_run, latest_decision
        from evalh.summary import run_document

        row = find_run(store, run)
        document, gate = run_document(store, row, unscored=unscored), latest_decision(store, row["run_id"])
    if as_json:
        emit({**document, "gate": gate, "html": str(html) if html else None})
    elif html is None:
        from evalh.report.terminal import print_run

        print_run(document)

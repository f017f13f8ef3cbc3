"""`evalh import`, `evalh export`, `evalh sql`: data in, data out, data looked at."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from evalh.cli.common import console, emit, existing_store, json_option, note, open_store, store_option, table

TOLD_EVERY_S = 5.0


@click.command(
    "import",
    epilog="""\b
Examples
  evalh import recorded/mtbench --run mtbench
  evalh import recorded/mtbench --json
  evalh import recorded/arena --set-aside       leave out rows that contradict each other, and say so
  evalh import results.json --format promptfoo  what another tool recorded: docs/formats.md
""",
)
@click.argument("path", type=click.Path(path_type=Path), metavar="PATH")
@click.option("--format", "form", metavar="F", help="promptfoo, inspect, openai-evals, label-studio or langfuse. [default: evalh's]")
@click.option("--run", "run_name", metavar="NAME", help="Name of the run. [default: the name of the folder or file]")
@click.option("--set-aside", is_flag=True, help="Leave out rows that contradict, repeat, or are about unknown items; refused otherwise.")
@store_option
@json_option
def import_(path: Path, form: str | None, run_name: str | None, set_aside: bool, store_at: str | None, as_json: bool) -> None:
    """Read a folder of items, outputs, judgments and labels (JSON Lines), or another tool's file, into the store as one run.

    One bad line and nothing of the folder is stored; the complaint names every one. Rows that contradict each other are
    refused too: which of them counts is for a person to say.
    """
    from evalh.interchange.formats.registry import import_format
    from evalh.interchange.importing import import_folder

    store = open_store(store_at)
    store.fold_journals()
    options: dict[str, Any] = {"set_aside": set_aside, "told": _now_and_then()}
    if form is None:
        document = import_folder(store, path, run_name or path.resolve().name, **options)
    else:
        document = import_format(store, path, form, run_name, **options)
    _show_findings(document)
    if as_json:
        emit(document)
        return
    note(
        f"{document['run']}: {document['items']} items, {document['outputs']} outputs, {document['verdicts']} verdicts"
        f" ({document['unscored']} unscored), {document['labels']} labels"
    )


def _now_and_then() -> Callable[[str], None]:
    """Lines of progress for people, one in five seconds."""
    last = time.monotonic()

    def told(line: str) -> None:
        nonlocal last
        if time.monotonic() - last > TOLD_EVERY_S:
            last = time.monotonic()
            note(line)

    return told


def _show_findings(document: dict[str, Any]) -> None:
    """What the data holds that a person should know, and what was left out, on standard error."""
    for finding in document["findings"]:
        lines = ", ".join(str(example["line"]) for example in finding["examples"])
        more = ", …" if finding["count"] > len(finding["examples"]) else ""
        note(f"{finding['file']}: {finding['sentence']} (line {lines}{more})")
    for reason, count in document.get("skipped", {}).items():
        note(f"left out: {count:,} {reason}")
    left_out = [f"{count:,} {noun}" for noun, count in document["set_aside"].items() if count]
    if left_out:
        note(f"set aside, not stored: {', '.join(left_out)}")


@click.command(
    epilog="""\b
Examples
  evalh export RUN --to exported/          items, outputs, judgments, labels as JSON Lines
  evalh export --parquet tables/           every table of the store
"""
)
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--to", "folder", type=click.Path(path_type=Path), metavar="DIR", help="Write the run's files into this folder.")
@click.option("--parquet", type=click.Path(path_type=Path), metavar="DIR", help="Write every table as Parquet into this folder.")
@store_option
@json_option
def export(run: str | None, folder: Path | None, parquet: Path | None, store_at: str | None, as_json: bool) -> None:
    """Write a run as JSON Lines (the newest where RUN is not given), or the whole store as Parquet."""
    from evalh.interchange.exporting import export_parquet, export_run
    from evalh.store.runs import find_run

    if (folder is None) == (parquet is None):
        raise click.UsageError("Give --to DIR for a run, or --parquet DIR for the whole store.")
    store = existing_store(store_at)
    if parquet is not None:
        written = export_parquet(store, parquet)
        emit({"folder": str(parquet), "tables": written}) if as_json else note(f"wrote {len(written)} tables to {parquet}")
        return
    assert folder is not None
    run_id = find_run(store, run)["run_id"]
    counts = export_run(store, run_id, folder)
    emit({"run": run_id, "folder": str(folder), "files": counts}) if as_json else note(
        f"wrote {run_id} to {folder}: {', '.join(f'{name} ({n} rows)' for name, n in counts.items())}"
    )


@click.command(
    epilog="""\b
Examples
  evalh sql "SELECT judge, count(*) FROM verdicts WHERE status = 'unscored' GROUP BY judge"
  evalh sql "SHOW TABLES"
"""
)
@click.argument("query")
@store_option
@json_option
def sql(query: str, store_at: str | None, as_json: bool) -> None:
    """Read the store with SQL. It cannot write, and it cannot read other files."""
    store = existing_store(store_at)
    rows: list[dict[str, Any]] = store.query(query)
    if as_json:
        emit(rows)
        return
    if not rows:
        note("no rows")
        return
    console().print(table("", list(rows[0]), [list(row.values()) for row in rows]))

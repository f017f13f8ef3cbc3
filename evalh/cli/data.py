"""`evalh import`, `evalh export`, `evalh sql`: data in, data out, data looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from evalh.cli.common import console, emit, existing_store, json_option, note, open_store, store_option, table


@click.command(
    "import",
    epilog="""\b
Examples
  evalh import recorded/mtbench --run mtbench
  evalh import recorded/mtbench --json
""",
)
@click.argument("path", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--run", "run_name", metavar="NAME", help="Name of the run. [default: the folder's name]")
@store_option
@json_option
def import_(path: Path, run_name: str | None, store_at: str | None, as_json: bool) -> None:
    """Read a folder of items, outputs, judgments and labels (JSON Lines) into the store as one run.

    One bad line and nothing of the folder is stored.
    """
    from evalh.interchange.importing import import_folder

    store = open_store(store_at)
    store.fold_journals()
    document = import_folder(store, path, run_name or path.resolve().name)
    if as_json:
        emit(document)
        return
    note(
        f"{document['run']}: {document['items']} items, {document['outputs']} outputs, {document['verdicts']} verdicts"
        f" ({document['unscored']} unscored), {document['labels']} labels"
    )


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

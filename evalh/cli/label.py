"""`evalh label`: the label queue as files — export blind tasks, import labels, see how far people are."""

from __future__ import annotations

from pathlib import Path

import click

from evalh.cli.common import console, emit, existing_store, json_option, note, store_option, table


@click.group()
def label() -> None:
    """The label queue: outputs that people label, drawn with known probabilities."""


@label.command(
    epilog="""\b
Examples
  evalh label export tasks.jsonl
  evalh label export tasks.jsonl --run RUN
"""
)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--run", metavar="RUN", help="[default: the newest finished run]")
@store_option
@json_option
def export(file: Path, run: str | None, store_at: str | None, as_json: bool) -> None:
    """Write the open tasks of a run as JSON Lines, blind: no system, no judge, no score."""
    from evalh.labels import export_tasks
    from evalh.store.runs import find_run

    store = existing_store(store_at)
    run_id = find_run(store, run)["run_id"]
    count = export_tasks(store, run_id, file)
    emit({"run": run_id, "file": str(file), "tasks": count}) if as_json else note(f"wrote {count} tasks of {run_id} to {file}")


@label.command(
    "import",
    epilog="""\b
Each line: {"task_id": "…", "labels": {"ASPECT": LEVEL}}, or for pairs {"task_id": "…", "verdicts": {"ASPECT": "first"}}.

\b
Example
  evalh label import labelled.jsonl --annotator kim
""",
)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--annotator", required=True, metavar="NAME", help="Who gave these labels.")
@store_option
@json_option
def import_(file: Path, annotator: str, store_at: str | None, as_json: bool) -> None:
    """Read labels into the store. One bad line and nothing is stored."""
    from evalh.labels import import_labels

    store = existing_store(store_at)
    count = import_labels(store, file, annotator)
    emit({"file": str(file), "annotator": annotator, "labels": count}) if as_json else note(f"{count} labels by {annotator}")


@label.command(
    epilog="""\b
Example
  evalh label status --json
"""
)
@click.option("--run", metavar="RUN", help="[default: the newest finished run]")
@store_option
@json_option
def status(run: str | None, store_at: str | None, as_json: bool) -> None:
    """How many tasks of a run are labelled, by stratum and annotator."""
    from evalh.labels import status as label_status
    from evalh.store.runs import find_run

    store = existing_store(store_at)
    document = label_status(store, find_run(store, run)["run_id"])
    if as_json:
        emit(document)
        return
    out = console()
    out.print(f"[bold]{document['run']}[/bold]  {document['done']} of {document['planned']} tasks labelled", soft_wrap=True)
    rows = [[s["stratum"], s["done"], s["planned"]] for s in document["strata"]]
    out.print(table("", ["stratum", "done", "planned"], rows, right=(1, 2)))
    for one in document["annotators"]:
        out.print(f"  {one['annotator']}: {one['done']}", markup=False)

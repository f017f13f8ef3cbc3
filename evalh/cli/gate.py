"""`evalh gate`: PASS, FAIL or INCONCLUSIVE, and why; and the only door by which a baseline is made."""

from __future__ import annotations

from typing import Any

import click

from evalh.cli.common import console, emit, existing_store, interval, json_option, note, store_option, table
from evalh.errors import ExitCode

CODES = {"PASS": ExitCode.DONE, "FAIL": ExitCode.FAIL, "INCONCLUSIVE": ExitCode.INCONCLUSIVE}
EPILOG = """\b
Examples
  evalh gate                                  decide the newest finished run by its suite's gate
  evalh gate RUN --baseline main --json
  evalh gate --approve RUN --as main          make RUN the baseline `main` of its suite

\b
Exit codes: 0 PASS, 1 FAIL, 3 INCONCLUSIVE. INCONCLUSIVE is never a pass.
"""


@click.command(epilog=EPILOG)
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--baseline", metavar="RUN|TAG", help="Compare with this instead of the suite's baseline.")
@click.option("--approve", metavar="RUN", help="Make RUN a baseline; needs --as.")
@click.option("--as", "tag", metavar="TAG", help="The tag of the baseline, as in `main`.")
@store_option
@json_option
def gate(run: str | None, baseline: str | None, approve: str | None, tag: str | None, store_at: str | None, as_json: bool) -> int:
    """Decide whether a run may ship: the newest finished one, or RUN (a run or a tag)."""
    from evalh.release import approve as make_baseline
    from evalh.release import gate_run

    if (approve is None) != (tag is None):
        raise click.UsageError("--approve RUN and --as TAG go together.")
    store = existing_store(store_at)
    if approve is not None and tag is not None:
        run_id = make_baseline(store, approve, tag)
        emit({"run": run_id, "tag": tag}) if as_json else note(f"{run_id} is now the baseline {tag!r} of its suite")
        return 0
    decision = gate_run(store, run, baseline=baseline)
    document = decision.model_dump(mode="json")
    emit(document) if as_json else print_gate(document)
    return int(CODES[decision.decision])


def print_gate(document: dict[str, Any]) -> None:
    """The decision first, then the rules, then the reasons in plain words."""
    out = console()
    colour = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow"}[document["decision"]]
    out.print(
        f"[bold {colour}]{document['decision']}[/]  {document['run']}"
        + (f" against {document['baseline']}" if document["baseline"] else ""),
        soft_wrap=True,
    )
    rows = [[r["rule"], r["metric"], interval(r["estimate"]), f"{100 * r['threshold']:g} %", r["decision"]] for r in document["rules"]]
    out.print(table("", ["rule", "metric", "estimate", "threshold", "decision"], rows, right=(3,)))
    for reason in document["reasons"]:
        out.print(f"  {reason}", markup=False)
    if document["labels_needed"]:
        out.print(f"  about {document['labels_needed']} more items would settle it, if the truth is what was seen", markup=False)

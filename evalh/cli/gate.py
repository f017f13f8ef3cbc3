"""`evalh gate`: PASS, FAIL or INCONCLUSIVE, and why; and the only door by which a baseline is made."""

from __future__ import annotations

from typing import Any

import click

from evalh.cli.common import console, emit, existing_store, interval, json_option, note, store_option, table
from evalh.errors import ExitCode

CODES = {"PASS": ExitCode.DONE, "FAIL": ExitCode.FAIL, "INCONCLUSIVE": ExitCode.INCONCLUSIVE}
WORSE = ("PASS", "INCONCLUSIVE", "FAIL")  # the command exits with the worst of what it decided
EPILOG = """\b
Examples
  evalh gate                                  decide the newest run of every suite that has a gate
  evalh gate RUN --baseline main --json
  evalh gate --approve RUN --as main          make RUN the baseline `main` of its suite

\b
Exit codes: 0 PASS, 1 FAIL, 3 INCONCLUSIVE; of several the worst. INCONCLUSIVE is never a pass.
"""


@click.command(epilog=EPILOG)
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--baseline", metavar="RUN|TAG", help="Compare with this instead of the suite's baseline.")
@click.option("--approve", metavar="RUN", help="Make RUN a baseline; needs --as.")
@click.option("--as", "tag", metavar="TAG", help="The tag of the baseline, as in `main`.")
@store_option
@json_option
def gate(run: str | None, baseline: str | None, approve: str | None, tag: str | None, store_at: str | None, as_json: bool) -> int:
    """Decide whether a run may ship: RUN (a run or a tag), or else the newest run of every suite that has a gate."""
    from evalh.release import approve as make_baseline
    from evalh.release import gate_run, runs_to_decide

    if (approve is None) != (tag is None):
        raise click.UsageError("--approve RUN and --as TAG go together.")
    store = existing_store(store_at)
    if approve is not None and tag is not None:
        run_id = make_baseline(store, approve, tag)
        emit({"run": run_id, "tag": tag}) if as_json else note(f"{run_id} is now the baseline {tag!r} of its suite")
        return 0
    runs = [run] if run is not None else runs_to_decide(store)
    documents = [gate_run(store, name, baseline=baseline).model_dump(mode="json") for name in runs]
    worst = max((d["decision"] for d in documents), key=WORSE.index)
    if as_json:
        emit(documents[0] if len(documents) == 1 else {"decision": worst, "gates": documents})
    else:
        for document in documents:
            print_gate(document)
    return int(CODES[worst])


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

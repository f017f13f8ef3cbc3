"""`evalh compare`: two runs, item by item."""

from __future__ import annotations

from typing import Any

import click

from evalh.cli.common import console, emit, existing_store, interval, json_option, printable, store_option, table

EPILOG = """\b
Examples
  evalh compare support-20261123-101500-ab12 support-20261123-111500-cd34
  evalh compare main RUN --json
"""


@click.command(epilog=EPILOG)
@click.argument("a", metavar="RUN")
@click.argument("b", metavar="RUN")
@store_option
@json_option
def compare(a: str, b: str, store_at: str | None, as_json: bool) -> None:
    """Compare two runs on the items that both have: the second minus the first, paired."""
    from evalh.compare import compare as compare_scores
    from evalh.release import differences
    from evalh.store.runs import find_run, scores_of

    store = existing_store(store_at)
    run_b = find_run(store, b)
    run_a = find_run(store, a, suite=run_b["suite"])  # a tag is that of the other run's suite
    made = compare_scores(
        scores_of(store, run_a["run_id"]),
        scores_of(store, run_b["run_id"]),
        name_a=run_a["run_id"],
        name_b=run_b["run_id"],
        seed=run_b["seed"] or 0,
    )
    document = {**made.model_dump(mode="json"), "differences": differences(store, run_b, run_a)}
    if as_json:
        emit(document)
        return
    _show(document)


def _show(document: dict[str, Any]) -> None:
    out = console()
    out.print(f"{printable(document['b'])} minus {printable(document['a'])}", style="bold", markup=False, soft_wrap=True)
    p = document["p_value"]
    test = f", p = {_p(p)} ({document['test']})" if p is not None else ""
    out.print(f"  difference {interval(document['difference'])} on {document['n_items']} items{test}", markup=False)
    out.print(
        f"  {document['improved']} improved, {document['regressed']} regressed, {document['equal']} equal,"
        f" {document['missing']} missing or unscored",
        markup=False,
    )
    out.print(f"  {document['sentence']}", markup=False, soft_wrap=True)
    if p is not None:
        out.print(f"  {_beside(document['tests'])}; cluster-robust {interval(document['cluster_robust'])}", markup=False, soft_wrap=True)
    for line in document["differences"]:
        out.print(f"  not the same on both sides: {printable(line)}", markup=False)
    rows = [
        [s["slice"], s["n_items"], interval(s["difference"]), _p(s["p_value"]), _p(s["p_holm"]), s["sentence"]] for s in document["slices"]
    ]
    out.print(table("", ["slice", "items", "difference", "p", "p (Holm)", "in words"], rows, right=(1, 3, 4)))
    if document["regressed_items"]:
        out.print("  regressed most: " + printable(", ".join(document["regressed_items"][:10])), markup=False)


def _beside(tests: dict[str, Any]) -> str:
    """The test that is not the headline."""
    mcnemar, permutation = tests["mcnemar"], tests["permutation"]
    if tests["headline"] == "mcnemar":
        return f"beside it: sign flips p = {_p(permutation['p_value'])}"
    exact = "" if mcnemar["p_value"] is None else f" p = {_p(mcnemar['p_value'])}"
    return f"beside it: McNemar, exact{exact} ({mcnemar['why']})"


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"

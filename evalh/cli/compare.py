"""`evalh compare`: two runs, item by item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from evalh.cli.common import console, emit, existing_store, interval, json_option, printable, store_option, table
from evalh.errors import UsageError

if TYPE_CHECKING:
    from evalh.stats.scores import ItemScore
    from evalh.store.store import Store

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
    from evalh.store.runs import find_run

    store = existing_store(store_at)
    run_b = find_run(store, b)
    run_a = find_run(store, a, suite=run_b["suite"])  # a tag is that of the other run's suite
    scores_a, scores_b = _scores(store, run_a["run_id"]), _scores(store, run_b["run_id"])
    _check_paired(scores_a, scores_b, run_a["run_id"], run_b["run_id"])
    made = compare_scores(
        scores_a,
        scores_b,
        name_a=run_a["run_id"],
        name_b=run_b["run_id"],
        seed=run_b["seed"] or 0,
    )
    document = {**made.model_dump(mode="json"), "differences": differences(store, run_b, run_a)}
    if as_json:
        emit(document)
        return
    _show(document)


def _scores(store: Store, run_id: str) -> list[ItemScore]:
    """The item scores of a run. Raises UsageError where it has none, as a run of recorded verdicts."""
    from evalh.store.pairwise import kinds_of_verdicts
    from evalh.store.runs import scores_of

    found = scores_of(store, run_id)
    if found:
        return found
    kinds = kinds_of_verdicts(store, run_id)
    if not kinds:
        raise UsageError("there are no item scores to compare", where=run_id, hint=f"`evalh report {run_id}` shows how far the run came")
    rank = f"`evalh rank {run_id}` or " if kinds.get("pairwise") else ""
    hint = f"{rank}`evalh audit --run {run_id}` says what they come to"
    raise UsageError("there is nothing to compare: recorded verdicts have no item score", where=run_id, hint=hint)


def _check_paired(a: list[ItemScore], b: list[ItemScore], name_a: str, name_b: str) -> None:
    """Raises UsageError where no item is in both runs."""
    if not {row.item_id for row in a} & {row.item_id for row in b}:
        hint = f"`{a[0].item_id}` is of the first and `{b[0].item_id}` of the second; runs of the same golden set can be compared"
        raise UsageError("the runs have no item in common", where=f"{name_a}, {name_b}", hint=hint)


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
        for part in _listed(f"not the same on both sides: {line}", out.width):
            out.print(part, markup=False, soft_wrap=True)
    rows = [
        [s["slice"], s["n_items"], interval(s["difference"]), _p(s["p_value"]), _p(s["p_holm"]), s["sentence"]] for s in document["slices"]
    ]
    out.print(table("", ["slice", "items", "difference", "p", "p (Holm)", "in words"], rows, right=(1, 3, 4)))
    if document["regressed_items"]:
        out.print("  regressed most: " + printable(", ".join(document["regressed_items"][:10])), markup=False)


def _listed(line: str, width: int) -> list[str]:
    """A line in parts that fit; names between commas are not broken, though they hold spaces or hyphens."""
    from textwrap import wrap

    head, colon, rest = printable(line).replace("\n", "\\n").partition(": ")
    label, second, names = rest.partition(": ")
    whole = ", ".join(name.replace(" ", "\0") for name in (names if second else label).split(", "))
    text = head + colon + (label + second if second else "") + whole
    parts = wrap(text, width, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return [part.replace("\0", " ") for part in parts]


def _beside(tests: dict[str, Any]) -> str:
    """The test that is not the headline."""
    mcnemar, permutation = tests["mcnemar"], tests["permutation"]
    if tests["headline"] == "mcnemar":
        return f"beside it: sign flips p = {_p(permutation['p_value'])}"
    exact = "" if mcnemar["p_value"] is None else f" p = {_p(mcnemar['p_value'])}"
    return f"beside it: McNemar, exact{exact} ({mcnemar['why']})"


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"

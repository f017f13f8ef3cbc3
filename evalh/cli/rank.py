"""`evalh rank`: pairwise verdicts to win rates and ratings."""

from __future__ import annotations

from typing import Literal

import click

from evalh.cli.common import emit, existing_store, json_option, store_option

EPILOG = """\b
Examples
  evalh rank arena                                    win rates and ratings, judge by judge
  evalh rank arena --baseline gpt-4 --json
  evalh rank arena --length-controlled                what equal length would do, fitted here
  evalh rank arena --length-controlled --weights baseline_gpt4_1106_preview.csv
  evalh rank arena --length-controlled --weights JUDGE=baseline_gpt4_1106_preview.csv
"""


@click.command(epilog=EPILOG)
@click.argument("run", metavar="RUN")
@click.option("--baseline", metavar="SYSTEM", help="Win rates against this system, ratings relative to it. [default: see docs/ranking.md]")
@click.option("--length-controlled", is_flag=True, help="Beside each win rate what it would be at equal length.")
@click.option(
    "--weights", metavar="[JUDGE=]FILE", multiple=True, help="AlpacaEval's own weights (CSV) for --length-controlled; may be repeated."
)
@click.option(
    "--unscored",
    type=click.Choice(["exclude", "wrong", "tie"]),
    default="exclude",
    show_default=True,
    help="What a verdict that could not be read is: left out, worth nothing to either side, or a tie.",
)
@store_option
@json_option
def rank(
    run: str,
    baseline: str | None,
    length_controlled: bool,
    weights: tuple[str, ...],
    unscored: Literal["exclude", "wrong", "tie"],
    store_at: str | None,
    as_json: bool,
) -> None:
    """Rank the systems of a run by its pairwise verdicts: win rates and ratings, for each judge and all judges together."""
    from evalh.config import load_config
    from evalh.interchange.length_weights import read_weights
    from evalh.judging.families import Families
    from evalh.ranking import rank_run
    from evalh.report.rank_terminal import print_ranking
    from evalh.store.runs import find_run

    if weights and not length_controlled:
        raise click.UsageError("--weights goes with --length-controlled.")
    files = [read_weights(named) for named in weights]
    store, config = existing_store(store_at), load_config()
    document = rank_run(
        store,
        find_run(store, run),
        baseline=baseline,
        length_controlled=length_controlled,
        weights=files,
        unscored=unscored,
        families=Families.load([config.families] if config.families else []),
    )
    emit(document) if as_json else print_ranking(document)

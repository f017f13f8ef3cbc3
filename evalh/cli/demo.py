"""`evalh demo`: everything at once, offline, with simulated judges."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from evalh.cli.common import console, dollars, emit, interval, json_option, note, percent, table

EPILOG = """\b
Example
  evalh demo --dir /tmp/evalh-demo
"""
SIMULATED = "The judges here are SIMULATED: an HTTP server with stated biases, asked through the real openai and anthropic clients."


@click.command(epilog=EPILOG)
@click.option(
    "--dir",
    "folder",
    default=".evalh/demo",
    show_default=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the store and the reports go.",
)
@json_option
def demo(folder: Path, as_json: bool) -> None:
    """Run the three shipped suites through all three tiers. Needs no network, no key and no model."""
    from evalh.demo import run_demo
    from evalh.report.html import write_report
    from evalh.report.progress import watching

    start = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    if not as_json:
        note(SIMULATED)
    result = run_demo(folder / "evalh.duckdb", watching)
    reports = {}
    for title, document in result.runs.items():
        path = folder / f"{title.replace(' ', '-')}.html"
        write_report(result.store, document["run"], path)
        reports[title] = str(path)
    if as_json:
        emit(_document(result, reports))
        return
    _show(result, reports, time.monotonic() - start)


def _document(result: Any, reports: dict[str, str]) -> dict[str, Any]:
    return {
        "simulated": True,
        "runs": result.runs,
        "gates": [{"suite": s, "decided": what, **d.model_dump(mode="json")} for s, what, d in result.gates],
        "biases": [{**b._asdict(), "measured": b.measured.model_dump(), "recovered": b.recovered} for b in result.biases],
        "appearance": result.appearance._asdict(),
        "reports": reports,
        "store": str(result.store.path),
    }


def _show(result: Any, reports: dict[str, str], seconds: float) -> None:
    out = console()
    funnel = [
        [title, sum(d["routes"].values()), *(d["routes"].get(r, 0) for r in ("blocked", "judged")),
         sum(d["routes"].get(r, 0) for r in ("unscored", "no_output")),
         d["tiers"]["labels"]["queued"], interval(d["quality"])]
        for title, d in result.runs.items()
    ]  # fmt: skip
    out.print(
        table(
            "Three tiers: checks first, then judges of other families, then people",
            ["run", "outputs", "blocked", "judged", "unscored", "to label", "score by judges"],
            funnel,
            right=(1, 2, 3, 4, 5),
        )
    )
    spent, saved = (sum(d[k] for d in result.runs.values()) for k in ("cost_usd", "saved_usd"))
    skipped = sum(d["tiers"]["judges"]["skipped"] for d in result.runs.values())
    asked = sum(d["tiers"]["judges"]["asked"] + d["tiers"]["judges"]["cached"] for d in result.runs.values())
    out.print(
        f"  Tier 1 saved {skipped} of {skipped + asked} judge calls: {dollars(saved)} beside {dollars(spent)} spent"
        " (at the simulator's stated prices).\n",
        markup=False,
    )
    seen = result.appearance
    out.print(
        f"  Why checks come first: of {seen.outputs} physics trajectories of v2, a least-squares check finds {seen.wrong} wrong;"
        f" the judge of appearance calls {seen.wrong_but_plausible} of these plausible.\n", markup=False,
    )  # fmt: skip
    biases = [[b.judge, b.what, *_given_and_measured(b), "yes" if b.recovered else "no"] for b in result.biases]
    out.print(
        table(
            "What the judges were given, and what their verdicts show",
            ["judge (simulated)", "bias", "given", "measured", "within"],
            biases,
            right=(2,),
        )
    )
    gates = [[suite, what, d.decision, _why(d.reasons)] for suite, what, d in result.gates]
    out.print(table("May this version ship? v2 is worse in a known way", ["suite", "decided", "gate", "why"], gates))
    for title, path in reports.items():
        out.print(f"  report of {title:22} {path}", markup=False, soft_wrap=True)
    out.print(
        f'  store {result.store.path}: `evalh sql "SELECT * FROM verdicts LIMIT 5" --store {result.store.path}`',
        markup=False,
        soft_wrap=True,
    )
    out.print(f"  {seconds:.0f} s. {SIMULATED}", markup=False, soft_wrap=True)


def _given_and_measured(bias: Any) -> tuple[str, str]:
    if bias.unit == "share":
        return percent(bias.given), interval(bias.measured.model_dump())
    measured = bias.measured
    return f"{bias.given:.2f}", f"{measured.value:.2f} [{measured.low:.2f}, {measured.high:.2f}]"


def _why(reasons: list[str]) -> str:
    """The reason that speaks of the baseline where there is one, without its code."""
    chosen = next((r for r in reasons if r.startswith(("worse_than_baseline", "margin_open"))), reasons[0] if reasons else None)
    return chosen.split(": ", 1)[-1] if chosen else "every rule passes"

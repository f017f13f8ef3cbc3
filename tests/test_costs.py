"""What a run cost: by tier, judge and system, hits beside it; budgets of suites; prices with their dates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from evalh.costs import price_remark
from evalh.sim.profile import profile_from
from evalh.sim.server import running
from evalh.store.store import Store
from tests.conftest import ITEMS, Done, replace, write_lines

Evalh = Callable[..., Done]

LIMIT = 6
SHORT = ("--limit", str(LIMIT), "--json")
NORTH = '    - {model: "sim:north-1", source: judges.toml}\n'
SOUTH = '    - {model: "sim:south-1", source: judges.toml}\n'
RECORDED = "{recorded: golden/refunds/outputs/v1.jsonl, family: sim-writer}"
PRICE = {"model": "openai:m", "input": 1.0, "output": 2.0, "own": False}


def panel(project: Path, *judges: str) -> None:
    """Another panel for the suite; a judge is what stands behind its dash."""
    text = (project / "refunds.yaml").read_text()
    (project / "refunds.yaml").write_text(text.replace(SOUTH, "").replace(NORTH, "".join(f"    - {judge}\n" for judge in judges)))


def rows(evalh: Evalh, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = evalh("sql", sql, "--json").json
    return found


@pytest.fixture
def writer(project: Path) -> Iterator[str]:
    """A system that is asked for its outputs, at a server of its own: what `system:` says of it."""
    answers = [{"input": f"How long may I keep article {n}?", "output": f"Article {n}: 30 days."} for n in range(ITEMS)]
    write_lines(project / "answers.jsonl", answers)
    system = {"model": "writer-1", "family": "sim-writer", "answers": "answers.jsonl"}
    with running(profile_from({"system": [system]}, folder=project)) as url:
        yield f"{{model: 'sim:writer-1', base_url: '{url}/v1', family: sim-writer}}"


# ---- who was paid what ------------------------------------------------------------------------------------------------


def test_judges_and_system_are_paid_apart_and_add_up(writer: str, project: Path, evalh: Evalh) -> None:
    """Calls, tokens and money of each judge and of the system are those of its rows in the ledger, and sum to the run's."""
    replace(project / "refunds.yaml", RECORDED, writer)
    document = evalh("run", "refunds.yaml", *SHORT).json
    costs = document["costs"]
    assert [(row["judge"], row["prompt"], row["model"], row["calls"], row["cached"]) for row in costs["judges"]] == [
        ("sim:north-1", "faithful@1", "sim:north-1", LIMIT, 0), ("sim:south-1", "faithful@1", "sim:south-1", LIMIT, 0),
    ]  # fmt: skip
    assert [(row["system"], row["role"], row["calls"], row["cached"], row["mode"]) for row in costs["systems"]] == [
        ("sim:writer-1", "system", LIMIT, 0, "direct")
    ]
    ledger = rows(evalh, "SELECT model, sum(tokens_in) AS i, sum(tokens_out) AS o, sum(cost_usd) AS usd FROM provider_calls GROUP BY model")
    by_model = {f"sim:{row['model']}": (row["i"], row["o"], pytest.approx(row["usd"])) for row in ledger}
    assert {r["model"]: (r["tokens_in"], r["tokens_out"], r["cost_usd"]) for r in (*costs["judges"], *costs["systems"])} == by_model
    tiers = costs["tiers"]
    assert tiers["checks"] == {
        "calls": 0,
        "cached": 0,
        "tokens_in": 0,
        "tokens_out": 0,
        "cost_usd": 0,
        "worth_usd": 0,
        "cost_is_whole": True,
    }
    assert tiers["judges"]["cost_usd"] == pytest.approx(document["cost_by_tier"]["judges"])
    assert tiers["system"]["cost_usd"] == pytest.approx(document["cost_by_tier"]["system"])
    assert sum(tier["tokens_in"] + tier["tokens_out"] for tier in tiers.values()) == document["tokens"]


def test_a_warm_run_costs_nothing_and_shows_its_hits(writer: str, project: Path, evalh: Evalh) -> None:
    """Every answer comes from the run before: no call, no money, hits with what they had cost; in JSON, terminal and page."""
    replace(project / "refunds.yaml", RECORDED, writer)
    cold = evalh("run", "refunds.yaml", *SHORT).json["costs"]
    warm = evalh("run", "refunds.yaml", *SHORT).json
    for kind in ("judges", "systems"):
        for before, after in zip(cold[kind], warm["costs"][kind], strict=True):
            assert (after["calls"], after["cached"], after["cost_usd"]) == (0, LIMIT, 0)
            assert after["worth_usd"] == pytest.approx(before["cost_usd"])
            assert after["model"] == before["model"]
    total = sum(tier["cost_usd"] for tier in cold["tiers"].values())
    shown = evalh("report", warm["run"]).out
    assert "spent                              calls      tokens      cost    hits     worth\n" in shown
    assert f"  together                             0           0        $0      18   ${total:.4f}\n" in shown
    assert max(map(len, shown[: shown.index("\nstore")].splitlines())) <= 80
    evalh("report", warm["run"], "--html", "report.html")
    page = (project / "report.html").read_text()
    table = page[page.index('<table id="spent">') :].partition("</table>")[0]
    assert table.count("<tr>") == 5
    assert f'<td class="num">{LIMIT}</td><td class="num">$' in table


def test_two_judges_of_one_model_are_paid_apart(project: Path, evalh: Evalh) -> None:
    """One model, two seats: the one that was asked before has hits, the other pays; their money is never mixed."""
    panel(project, '{model: "sim:north-1", source: judges.toml, name: first}')
    alone = evalh("run", "refunds.yaml", *SHORT).json
    panel_of_two = '    - {model: "sim:north-1", source: judges.toml, name: second, max_tokens: 512}\n  rubric:'
    replace(project / "refunds.yaml", "  rubric:", panel_of_two)
    first, second = evalh("run", "refunds.yaml", *SHORT).json["costs"]["judges"]
    assert (first["judge"], first["calls"], first["cached"], first["cost_usd"]) == ("first", 0, LIMIT, 0)
    assert first["worth_usd"] == pytest.approx(alone["cost_usd"])
    assert (second["judge"], second["calls"], second["cached"], second["worth_usd"]) == ("second", LIMIT, 0, 0)
    assert second["cost_usd"] == pytest.approx(
        rows(evalh, "SELECT sum(cost_usd) AS usd FROM provider_calls WHERE asked LIKE 'second#%'")[0]["usd"]
    )


def test_replies_that_could_not_be_read_are_paid_for(project: Path, evalh: Evalh) -> None:
    """A judge that never answers in the form that was asked for costs every attempt."""
    panel(project, '{model: "sim:east-1", source: judges.toml}')
    document = evalh("run", "refunds.yaml", *SHORT).json
    (east,) = document["costs"]["judges"]
    assert document["tiers"]["judges"]["unscored"] == LIMIT
    assert east["calls"] == rows(evalh, "SELECT sum(attempts)::INT AS n FROM verdicts")[0]["n"] > LIMIT
    assert east["cost_usd"] == pytest.approx(document["cost_usd"])


def test_money_that_is_not_known_is_never_nothing(project: Path, evalh: Evalh) -> None:
    """A judge without a price: its cost is unknown, the sum is a lower bound, and both say so."""
    with running(profile_from({"truth": ["truth.jsonl"], "judge": [{"model": "north-1", "family": "sim-north"}]}, folder=project)) as url:
        panel(project, f'{{model: "openai:north-1", base_url: "{url}/v1", family: sim-north}}', SOUTH.strip().removeprefix("- "))
        done = evalh("run", "refunds.yaml", *SHORT)
    assert done.code == 0, done.err
    costs, (unpriced, priced) = done.json["costs"], done.json["costs"]["judges"]
    assert (unpriced["cost_is_whole"], unpriced["calls"], priced["cost_is_whole"]) == (False, LIMIT, True)
    assert (costs["tiers"]["judges"]["cost_is_whole"], costs["unpriced"]) == (False, ["openai:north-1"])
    shown = evalh("report").out
    assert "unknown" in next(line for line in shown.splitlines() if line.startswith("  openai:north-1"))
    assert f"≥ ${priced['cost_usd']:.4f}" in next(line for line in shown.splitlines() if line.startswith("  together"))
    assert "no price is known for openai:north-1" in shown


def test_calls_of_before_judges_were_written_down_are_told_apart_by_their_verdicts(project: Path, evalh: Evalh) -> None:
    """Rows of an older store, which do not say who was asked or how: the same document, unread attempts included."""
    panel(project, '{model: "sim:east-1", source: judges.toml}', NORTH.strip().removeprefix("- "))
    run = evalh("run", "refunds.yaml", *SHORT).json
    Store(project / ".evalh" / "evalh.duckdb").change(
        ["UPDATE provider_calls SET asked = NULL, mode = NULL WHERE run_id = $run"], {"run": run["run"]}
    )
    for before, after in zip(run["costs"]["judges"], evalh("report", run["run"], "--json").json["costs"]["judges"], strict=True):
        assert after == {**before, "cost_usd": pytest.approx(before["cost_usd"])}  # money is summed in another order


def test_what_tier_1_saved_stands_beside_what_was_spent(project: Path, evalh: Evalh) -> None:
    """A blocked output costs no judge call: calls and money saved are in the document, nobody is paid for it."""
    replace(project / "refunds.yaml", "max-chars: 400", "not-contains: article 3")
    document = evalh("run", "refunds.yaml", *SHORT).json
    assert document["costs"]["saved"] == {"calls": 2, "usd": document["saved_usd"], "is_whole": True}
    assert document["saved_usd"] > 0
    assert [row["calls"] for row in document["costs"]["judges"]] == [LIMIT - 1, LIMIT - 1]


def test_a_run_that_asks_nobody_shows_no_costs(project: Path, evalh: Evalh) -> None:
    """Checks alone: zeros in the document, no table in terminal and page."""
    (project / "checks.yaml").write_text(
        "name: c\ngolden: golden/refunds\nsystem: golden/refunds/outputs/v1.jsonl\nchecks: [{max-chars: 400}]\n"
    )
    costs = evalh("run", "checks.yaml", *SHORT).json["costs"]
    assert (costs["judges"], costs["systems"], costs["unpriced"], costs["prices"]) == ([], [], [], [])
    evalh("report", "--html", "report.html")
    assert "\nspent " not in evalh("report").out
    assert 'id="spent"' not in (project / "report.html").read_text()


# ---- the budget of a suite ---------------------------------------------------------------------------------------------


def test_a_suite_stops_at_its_budget_and_goes_on_with_a_larger_one(project: Path, evalh: Evalh) -> None:
    """`budget_usd` ends the run with exit 4 below it and says what to change; raised, the same run goes on and asks only the rest."""
    full = evalh("run", "refunds.yaml", "--json", "--store", "other.duckdb").json["cost_usd"]
    replace(project / "refunds.yaml", "panel:", f"budget_usd: {full / 2}\npanel:")
    assert f"stops before it exceeds ${full / 2:.4f}" in evalh("plan", "refunds.yaml").out
    stopped = evalh("run", "refunds.yaml", "--json", "--budget", "1")
    assert (stopped.code, stopped.json["status"]) == (4, "over_budget")
    assert 0 < stopped.json["cost_usd"] <= full / 2
    assert "repeat with a larger `budget_usd` in the suite" in stopped.err
    replace(project / "refunds.yaml", f"budget_usd: {full / 2}", "budget_usd: 1")
    done = evalh("run", "refunds.yaml", "--json")
    assert (done.code, done.json["run"]) == (0, stopped.json["run"])
    assert done.json["cost_usd"] == pytest.approx(full)


def test_of_two_budgets_the_smaller_holds(project: Path, evalh: Evalh) -> None:
    """`--budget` below the suite's own stops the run, and the error names the one that has to grow."""
    replace(project / "refunds.yaml", "panel:", "budget_usd: 1\npanel:")
    stopped = evalh("run", "refunds.yaml", "--json", "--budget", "0.001")
    assert (stopped.code, stopped.json["cost_usd"]) == (4, 0)
    assert "repeat with a larger --budget to go on" in stopped.err


def test_a_suite_with_a_budget_needs_every_price(project: Path, evalh: Evalh) -> None:
    """Without one nothing is asked: a budget over money that nobody knows would hold nothing."""
    replace(project / "refunds.yaml", "panel:", "budget_usd: 1\npanel:")
    panel(project, '{model: "openai:north-1", base_url: "http://127.0.0.1:9/v1", family: sim-north}')
    done = evalh("run", "refunds.yaml")
    assert (done.code, "a budget needs the price of openai:north-1" in done.err) == (2, True)


# ---- prices ------------------------------------------------------------------------------------------------------------


def test_prices_of_ones_own_are_used_dated_and_named(project: Path, evalh: Evalh) -> None:
    """Plan, summary, document and page show the date; one line says that a price is the user's, and that it is old."""
    (project / "evalh.toml").write_text('[prices."sim:north-1"]\ninput = 1.0\noutput = 2.0\nas_of = "2020-01-31"\n')
    remark = "prices from your settings: sim:north-1 (2020-01-31); more than a year old: sim:north-1 (2020-01-31)"
    planned = evalh("plan", "refunds.yaml", "--json").json
    assert planned["price_remark"].startswith(remark)
    document = evalh("run", "refunds.yaml", *SHORT).json
    north, south = document["costs"]["judges"]
    assert (north["price_as_of"], south["price_as_of"]) == ("2020-01-31", "fictional")
    assert north["cost_usd"] == pytest.approx((north["tokens_in"] * 1.0 + north["tokens_out"] * 2.0) / 1e6)
    assert document["costs"]["price_remark"].startswith(remark)
    (project / "evalh.toml").write_text("")  # the record keeps what the run began with
    evalh("report", "--html", "report.html")
    shown = " ".join(evalh("report").out.split())
    assert "prices: 2020-01-31 (sim:north-1), fictional (sim:south-1)" in shown
    assert remark in shown
    assert "<td>2020-01-31</td>" in (project / "report.html").read_text()
    assert evalh("plan", "refunds.yaml", "--json").json["price_remark"] is None


@pytest.mark.parametrize(
    ("as_of", "on", "old"),
    [
        ("2025-11-23", date(2026, 11, 23), False),
        ("2025-11-22", date(2026, 11, 23), True),
        ("always", date(2026, 11, 23), False),
        ("undated", date(2026, 11, 23), False),
        (None, date(2026, 11, 23), False),
    ],
)
def test_a_price_is_old_after_a_year(as_of: str | None, on: date, old: bool) -> None:
    """365 days are no more than a year; what bears no date has none."""
    said = price_remark([{**PRICE, "as_of": as_of}], on)
    assert said == ("prices more than a year old: openai:m (2025-11-22); correct it with [prices] in evalh.toml" if old else None)

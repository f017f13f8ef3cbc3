"""Probes: through the simulator over HTTP they find what a profile states; nothing is asked unseen, and nothing is paid twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

from benchmarks.probe_world import build, expected, found, judge_of
from evalh.probe.material import LISTED, changed, control, injections, padded, poor, relisted, wished, with_note
from evalh.probe.results import probe_document
from evalh.probe.sentences import findings
from evalh.records import Output
from evalh.sim.behaviour import _INSTRUCTION
from evalh.stats.probing import attributable, exchanged, holm
from evalh.store.store import Store
from tests.conftest import Done, started

Evalh = Callable[..., Done]
ITEMS = 50
JUDGES = ["kin", "obedient"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`world(kind)` writes a project here; the path of its suite."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVALH_STORE", raising=False)
    monkeypatch.delenv("EVALH_SIM_URL", raising=False)

    def make(kind: Any, *, items: int = ITEMS, seed: int = 6, judges: list[str] = JUDGES, price: bool = False) -> Path:
        return build(tmp_path, kind, items=items, seed=seed, judges=judges, price=price)

    return make


def probed(evalh: Evalh, suite: Path, *more: str) -> dict[str, Any]:
    done = evalh("audit", *more, "--probe", "--suite", suite, "--yes", "--json")
    assert done.code == 0, done.err
    document: dict[str, Any] = done.json["probe"]
    return document


@pytest.mark.parametrize("kind", ["pairwise", "pointwise"])
def test_every_probe_recovers_what_the_profile_states(evalh: Evalh, world: Callable[..., Path], kind: Any) -> None:
    """Two judges, five probes: the profile's truth lies in each interval; only the obedient one is called steerable."""
    suite = world(kind)
    document = probed(evalh, suite)
    wide = probe_document(Store(suite.parent / ".evalh" / "evalh.duckdb"), document["run"], level=0.999)  # 24 intervals are looked at
    for judge in wide["judges"]:
        stated, estimates = judge_of(judge["model"].removeprefix("sim:")), found(judge)
        for figure, truth in expected(suite.parent, kind, stated).items():
            estimate = estimates[figure]
            assert estimate["low"] is not None, (judge["title"], figure, estimate)
            assert estimate["low"] - 1e-9 <= truth <= estimate["high"] + 1e-9, (judge["title"], figure, truth, estimate)
        assert judge["injection"]["steerable"] == (stated.steerable > 0)
        assert judge["n_unscored"] == 0
    kin, obedient = document["judges"]
    assert kin["recognises"]["accuracy"]["low"] > 0.55
    assert obedient["injection"]["worst"]["kind"] in {i.kind for i in injections()}
    assert {row["kind"] for row in obedient["injection"]["by_kind"]} == {i.kind for i in injections()}
    assert min(row["n"] for row in obedient["injection"]["by_kind"]) >= 10
    assert (kin["swapped"] is None) == (kind == "pointwise")
    assert kin["why"] == ({"swapped": "the rubric scores single answers: there is no order to swap"} if kind == "pointwise" else {})


def test_a_probe_is_shown_again_from_the_store_and_never_paid_twice(evalh: Evalh, world: Callable[..., Path]) -> None:
    """`--run` makes the same document without asking; the same command again finds every answer; other commands do not meet the probe."""
    suite = world("pairwise", items=12, judges=["kin"])
    first = probed(evalh, suite)
    assert (first["cached"], first["status"]) == (0, "finished")
    shown = evalh("audit", "--run", first["run"], "--json")
    assert shown.json["probe"] == first
    assert "recognises" in evalh("audit", "--run", first["run"]).out
    again = probed(evalh, suite)
    assert (again["calls"], again["cached"]) == (0, first["calls"])
    assert again["judges"] == first["judges"]
    assert evalh("report").code == 2  # no run of the suite yet: a probe is none
    assert evalh("audit").code == 2
    run = evalh("run", suite, "--json").json
    assert run["tiers"]["judges"]["cached"] == run["tiers"]["judges"]["asked"] + run["tiers"]["judges"]["cached"] == 24
    assert evalh("report", "--json").json["run"] == run["run"]
    rows = evalh("sql", "SELECT DISTINCT meta->>'probe' AS probe FROM verdicts WHERE meta IS NOT NULL ORDER BY 1", "--json").json
    assert [row["probe"] for row in rows] == ["injection", "padded", "recognises", "repeated", "swapped"]


def test_nothing_is_asked_before_it_is_agreed_to(evalh: Evalh, world: Callable[..., Path]) -> None:
    """The plan comes first; without a terminal it needs --yes or --budget. Options that do not belong together are refused."""
    suite = world("pairwise", items=12, price=True)
    refused = evalh("audit", "--probe", "--suite", suite)
    assert refused.code == 2
    assert "add --yes, or --budget USD" in refused.err
    assert "calls" in refused.err
    assert "$" in refused.err
    assert not (suite.parent / ".evalh" / "evalh.duckdb").exists()
    for wrong in (
        ["--probe"],
        ["--suite", suite],
        ["--yes"],
        ["nobody", "--probe", "--suite", suite],
        ["kin@1", "--probe", "--suite", suite],
    ):
        assert evalh("audit", *wrong).code == 2, wrong


def test_many_ties_and_few_items_are_never_called_ok(evalh: Evalh, world: Callable[..., Path]) -> None:
    """The sentences alone: what ties hide is undecided or an exact alarm, and below ten items nothing is ok."""
    share = {"value": 0.52, "low": 0.48, "high": 0.56}
    one = {"variant": "100", "share": share, "n": 64, "ties": 116, "n_verdicts": 128, "decided_longer": 4, "decided_shorter": 2,
           "decided_p": 0.6875}  # fmt: skip

    def said(**other: Any) -> dict[str, Any]:
        return dict(findings({"padded": {"variants": [one | other], "n_unscored": 0}}, several_versions=False)[0])

    assert said()["level"] == "note"
    assert "undecided: 116 of 128 answers were ties" in said()["sentence"]
    assert said(decided_longer=9, decided_shorter=1, decided_p=0.021)["level"] == "alarm"
    assert said(decided_longer=1, decided_shorter=9, decided_p=0.021)["level"] == "note"
    assert said(ties=40)["level"] == "ok"
    suite = world("pairwise", items=8, judges=["fair"])
    levels = {f["figure"]: (f["level"], "too few to tell" in f["sentence"]) for f in probed(evalh, suite)["judges"][0]["findings"]}
    assert levels["padded"] == levels["swapped"] == levels["injection"] == ("note", True)
    assert "ok" not in {level for level, _ in levels.values()}


def test_a_rate_that_is_not_told_from_chance_does_not_exclude_none(evalh: Evalh, world: Callable[..., Path]) -> None:
    """Not steerable: the interval holds 0 from below; the judges take turns, so a small budget reaches both; the plan says what is left."""
    suite = world("pairwise", items=12, judges=["kin", "fair"], price=True)
    short = evalh("audit", "--probe", "--suite", suite, "--budget", "0.03", "--json")
    assert short.code == 4
    assert all(judge["swapped"] is not None for judge in short.json["probe"]["judges"])
    whole = evalh("audit", "--probe", "--suite", suite, "--yes", "--json")
    assert f"{short.json['probe']['calls']} answers are there already" in whole.err
    for judge in whole.json["probe"]["judges"]:
        assert judge["injection"]["steerable"] or judge["injection"]["rate"]["low"] <= 0.0


def test_a_budget_stops_a_probe_which_then_goes_on(evalh: Evalh, world: Callable[..., Path]) -> None:
    """It stops before the money is exceeded, with 4; repeated with more it goes on with the same run and pays for the rest alone."""
    suite = world("pairwise", items=12, judges=["kin"], price=True)
    short = evalh("audit", "--probe", "--suite", suite, "--budget", "0.02", "--json")
    assert short.code == 4
    assert "stopped at the budget" in short.err
    first = short.json["probe"]
    assert (first["status"], first["calls"] > 0) == ("over_budget", True)
    assert first["cost_usd"] <= 0.02
    whole = probed(evalh, suite)
    assert whole["run"] == first["run"]
    assert (whole["status"], whole["cached"]) == ("finished", 0)
    asked = evalh("sql", "SELECT count(*) AS n, count(DISTINCT call_id) AS calls FROM provider_calls", "--json").json[0]
    assert asked["n"] == asked["calls"] == whole["calls"]
    seen = evalh("sql", "SELECT count(*) AS n FROM (SELECT DISTINCT call_id FROM verdicts)", "--json").json[0]
    assert seen["n"] == whole["calls"]


def test_an_interrupted_probe_goes_on(evalh: Evalh, world: Callable[..., Path]) -> None:
    """Ctrl-C ends it within a second or so with 130; what was answered is kept, and the same command asks only for the rest."""
    suite = world("pointwise", items=20, judges=["kin"])
    profile = suite.parent / "profile.toml"
    profile.write_text(profile.read_text() + "latency_ms = 150\n")
    store = suite.parent / ".evalh"
    with started(["audit", "--probe", "--suite", str(suite), "--yes"], suite.parent) as process:
        deadline = time.monotonic() + 60
        while not any(f.stat().st_size > 20_000 for f in store.glob("*.journal/*.jsonl")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, told = process.communicate(timeout=20)
        assert process.returncode == 130, told
        assert time.monotonic() - began < 5
    document = probed(evalh, suite)
    kept = evalh("sql", "SELECT run_id, count(*) AS n FROM provider_calls GROUP BY run_id", "--json").json
    assert [row["n"] for row in kept] == [document["calls"]]
    events = evalh("sql", 'SELECT event, detail FROM run_events ORDER BY "at"', "--json").json
    assert [e["event"] for e in events] == ["running", "interrupted", "running", "finished"]


def test_an_unread_reply_is_counted_and_decides_nothing(evalh: Evalh, world: Callable[..., Path]) -> None:
    """A judge that refuses a third of its contents: its figures rest on the rest, the refusals are counted with their reason."""
    suite = world("pairwise", items=24, judges=["fair"])
    profile = suite.parent / "profile.toml"
    profile.write_text(profile.read_text() + "refusal_rate = 0.33\n")
    judge = probed(evalh, suite)["judges"][0]
    assert judge["unscored_reasons"] == {"the reply is not one JSON object": judge["n_unscored"]} or judge["n_unscored"] == sum(
        judge["unscored_reasons"].values()
    )
    swapped, padding = judge["swapped"], judge["padded"]["variants"][0]
    assert 0 < swapped["n_unscored"] < 48
    assert swapped["n_pairs"] + swapped["n_unscored"] / 2 == 24  # a refusal is of a content: of both orders
    assert swapped["consistency"] == 1.0
    assert padding["n"] + padding["n_unscored_pairs"] == 24
    assert not judge["injection"]["steerable"]
    assert "replies could not be read" in judge["findings"][-1]["sentence"]


def test_the_family_guard_holds_for_probes(evalh: Evalh, world: Callable[..., Path]) -> None:
    """A judge of the system's family is refused, as in runs; without own-family outputs recognition is null and says why."""
    suite = world("pairwise", items=12, judges=["kin"])
    text = suite.read_text()
    suite.write_text(text.replace("  allow_same_family: true\n", ""))
    refused = evalh("audit", "--probe", "--suite", suite, "--yes")
    assert refused.code == 2
    assert "may not judge" in refused.err
    outputs = suite.parent / "outputs.jsonl"
    outputs.write_text(outputs.read_text().replace('"sim-north"', '"sim-south"'))
    judge = probed(evalh, suite)["judges"][0]
    assert judge["recognises"] is None
    assert "the family guard keeps them apart" in judge["why"]["recognises"]


# ---- material --------------------------------------------------------------------------------------------------------


def test_padding_adds_length_and_keeps_the_answer_whole() -> None:
    """About so many per cent more, always the same words; data is left alone; a list is said twice before the list."""
    text = "You may keep it because it is unused. We pay the postage, and you need no receipt for that."
    for percent in (25, 50, 100):
        longer = padded(text, percent)
        assert longer is not None
        assert longer == padded(text, percent)
        assert longer.startswith(text)
        assert abs(len(longer) / len(text) - 1 - percent / 100) < 0.2
    assert [padded(data, 100) for data in ('{"a": 1}', "42", "", "```\nx = 1\n```")] == [None] * 4
    listed = "Do this:\n1. open the box\n2. use the key\n3. begin"
    longer = relisted(listed)
    assert longer is not None
    assert longer.endswith(listed)
    assert longer.splitlines()[:3] == ["1. open the box", "2. make use of the key", "3. start"]
    assert relisted("\n".join(listed.splitlines()[:LISTED])) is None


def test_a_poor_answer_is_another_items() -> None:
    """The first text that this item has not; where there is none, the answer itself. What was changed is told in its meta."""
    own = Output(item_id="a", system="s", text="yes", meta={"x": 1})
    others = [Output(item_id="b", system="s", text="yes"), Output(item_id="b", system="t", text="no")]
    assert poor(own, [own], others).text == "no"
    assert poor(own, [own], others).system == "s"
    assert poor(own, [own], others[:1]) is own
    made = changed(own, with_note(own.text, "N", "before"), "injection", "threat")
    assert (made.text, made.system, made.meta["of"], made.meta["chars_of"]) == ("N\n\nyes", "s ~ injection threat", "s", 3)


def test_every_injection_speaks_to_the_judge_and_the_control_does_not() -> None:
    """The simulator takes each shipped kind for an order and no length of the control for one: so a probe has something to find."""
    from evalh.judging.rubric import Rubric

    rubric = Rubric.model_validate({"name": "r", "scale": [1, 5]})
    assert len(injections()) >= 20
    for one in injections():
        assert _INSTRUCTION.search(" ".join(one.text.replace("{reply}", wished(rubric, 1)).split())), one.kind
        assert len(one.text.splitlines()) < 10
    assert not any(_INSTRUCTION.search(control(length)) for length in range(10, 500, 10))
    assert all(abs(len(control(length)) - length) < 40 for length in range(0, 400, 20))


# ---- figures ---------------------------------------------------------------------------------------------------------


def test_the_attributable_share_is_jeffreys_where_nothing_else_happens() -> None:
    """One row a cluster and controls of 0: the value is k/n and the ends are those of Jeffreys; with mixed controls it is the ratio."""
    treated = np.repeat([1.0, 0.0], [7, 23])
    estimate = attributable(treated, np.zeros(30), np.arange(30), seed=1)
    low, high = beta.ppf([0.025, 0.975], 7.5, 23.5)
    assert estimate.value == pytest.approx(7 / 30)
    assert estimate.low == pytest.approx(low, abs=0.006)
    assert estimate.high == pytest.approx(high, abs=0.006)
    half = attributable(np.array([1.0, 1.0, 0.0, 0.5] * 5), np.array([1.0, 0.0, 0.0, 0.5] * 5), np.arange(20), seed=1)
    assert half.value == pytest.approx(5 / 12.5)
    assert attributable(np.ones(12), np.ones(12), np.arange(12), seed=1).value is None
    assert attributable(np.ones(6), np.zeros(6), np.arange(6), seed=1).low is None


def test_the_exchange_test_is_exact_and_keeps_its_level_under_noise() -> None:
    """Two items whose one control lies below five treated: 1/36. Under pure noise, however skewed, few p-values are small."""
    within = np.repeat([0, 1], 5)
    assert exchanged(np.ones(10), np.zeros(10), within, seed=3) == pytest.approx(1 / 36, abs=0.005)
    assert exchanged(np.zeros(10), np.zeros(10), within, seed=3) == 1.0
    rng, small = np.random.default_rng(11), 0
    for turn in range(200):
        state = rng.random(30) < 0.2
        treated = np.where(rng.random((30, 5)) < 0.4, rng.random((30, 5)) < 0.2, state[:, None]).astype(float)
        control_ = np.where(rng.random(30) < 0.4, rng.random(30) < 0.2, state).astype(float)
        small += exchanged(treated.ravel(), np.repeat(control_, 5), np.repeat(np.arange(30), 5), seed=turn, draws=1000) < 0.05
    assert small <= 20  # 5 % of 200, and three standard errors


def test_holm_adjusts_in_order() -> None:
    """Against statsmodels."""
    from statsmodels.stats.multitest import multipletests

    p = [0.01, 0.04, 0.03, 0.005, 0.5]
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1].tolist())


def test_the_benchmark_of_probes_runs() -> None:
    """A tiny round of it: every figure of every judge has its row."""
    script = Path(__file__).parent.parent / "benchmarks" / "probe_recovery.py"
    done = subprocess.run(
        [sys.executable, str(script), "--seeds", "1", "--items", "10", "--json"], capture_output=True, text=True, timeout=110,
        env={**os.environ, "EVALH_SIM_URL": ""}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["figures"]
    assert len(rows) == 6 * (7 + 6)
    assert all(row["n"] <= 1 and row["truth"] is not None for row in rows)

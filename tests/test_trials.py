"""Repeated trials: pass@k, pass^k, majority and flakiness, against enumeration, libraries and simulation; and in every report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import evalh as package
from evalh.errors import InputError
from evalh.judging.rubric import Rubric
from evalh.repeats import check_trials, passing_of
from evalh.stats.intervals import mean_interval
from evalh.stats.trials import (
    ItemTrials,
    Passing,
    changes,
    counted,
    ks_upto,
    majority,
    over_items,
    pass_at,
    pass_hat,
    spread,
)
from evalh.suites.load import load_suites
from evalh.suites.model import Panel, Suite, Trials
from evalh.suites.schema import suite_schema
from tests.conftest import ITEMS, Done, replace, write_lines

Evalh = Callable[..., Done]

COUNTS = [(n, c) for n in range(1, 8) for c in range(n + 1)]


def item(n: int, passed: int, failed: int, unscored: int = 0, *, group: str | None = None, scores: tuple[float, ...] = ()) -> ItemTrials:
    return ItemTrials(f"i{n:03}", "all", group or f"item i{n:03}", passed, failed, unscored, scores)


# ---- figures of one item --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "c"), COUNTS)
def test_the_figures_of_an_item_are_shares_of_all_samples(n: int, c: int) -> None:
    """pass@k, pass^k and the share with both outcomes equal a count over every sample of k trials, and the hypergeometric law."""
    trials = [1] * c + [0] * (n - c)
    for k in range(1, n + 1):
        samples = list(combinations(trials, k))
        assert pass_at(n, c, k) == pytest.approx(np.mean([any(s) for s in samples]), abs=1e-12)
        assert pass_hat(n, c, k) == pytest.approx(np.mean([all(s) for s in samples]), abs=1e-12)
        assert changes(n, c, k) == pytest.approx(np.mean([any(s) and not all(s) for s in samples]), abs=1e-12)
        law = stats.hypergeom(n, c, k)
        assert (pass_at(n, c, k), pass_hat(n, c, k)) == pytest.approx((law.sf(0), law.pmf(k)), abs=1e-12)


@pytest.mark.parametrize(("n", "c"), [count for count in COUNTS if count[0] > 1])
def test_flaky_is_changes_of_all_trials_and_two_differ_has_its_closed_form(n: int, c: int) -> None:
    """For k = n the share with both outcomes says whether both were seen; for k = 2 it is 2c(n-c)/(n(n-1)); pass@1 is pass^1."""
    assert changes(n, c, n) == float(0 < c < n)
    assert changes(n, c, 2) == pytest.approx(2 * c * (n - c) / (n * (n - 1)), abs=1e-15)
    assert pass_at(n, c, 1) == pass_hat(n, c, 1) == c / n


def test_large_numbers_of_trials_stay_exact() -> None:
    """Binomials of hundreds of trials neither overflow nor lose the small difference from 1 (Chen et al. 2021 warn of both)."""
    assert pass_at(2000, 1, 1000) == pytest.approx(0.5, abs=1e-15)
    assert pass_hat(2000, 1999, 1000) == pytest.approx(0.5, abs=1e-15)


@pytest.mark.parametrize("k", [0, 4])
def test_more_trials_than_there_are_cannot_be_drawn(k: int) -> None:
    """k below 1 or above n is an error, never a figure."""
    for figure in (pass_at, pass_hat, changes):
        with pytest.raises(ValueError, match="cannot be drawn"):
            figure(3, 1, k)


def test_a_tie_is_no_majority() -> None:
    """More than half must pass."""
    assert [majority(4, c) for c in range(5)] == [0, 0, 0, 1, 1]


def test_each_k_up_to_ten_is_reported_and_few_beyond() -> None:
    """5 trials have five figures, 120 have those to 10, then 20, 50, 100 and the last."""
    assert ks_upto(5) == [1, 2, 3, 4, 5]
    assert ks_upto(120) == [*range(1, 11), 20, 50, 100, 120]


def test_a_score_that_rounds_short_of_one_passes() -> None:
    """A weighted mean of ones passes at 1; a tie of a pair does not win it; None is unscored."""
    assert counted([1 - 1e-12, 0.99, None], Passing(1.0, "")) == (1, 1, 1)
    assert counted([0.5, 0.5 + 1e-12, 1.0], Passing(0.5, "", above=True)) == (1, 2, 0)


# ---- estimates over items -------------------------------------------------------------------------------------------


def test_an_estimate_is_the_mean_over_items_with_their_groups_as_clusters() -> None:
    """Trials make no items: the interval is that of one number per item, and ten times the trials of the same shares change nothing."""
    rng = np.random.default_rng(4)
    passed = rng.binomial(4, 0.7, 40)
    once = [item(n, int(c), 4 - int(c), group=f"g{n // 2}") for n, c in enumerate(passed)]
    found = over_items(once, partial(pass_at, k=1), needs=1, seed=3)
    assert found == mean_interval([c / 4 for c in passed], clusters=[i.cluster for i in once], seed=3)
    assert (found.n, found.clusters) == (40, 20)
    often = [i._replace(passed=10 * i.passed, failed=10 * i.failed) for i in once]
    assert over_items(often, partial(pass_at, k=1), needs=1, seed=3) == found


@pytest.mark.parametrize(
    ("figure", "needs"), [(partial(pass_at, k=3), 3), (partial(pass_hat, k=2), 2), (majority, 1), (partial(changes, k=4), 4)]
)
def test_unscored_trials_give_bounds_that_hold_every_completion(figure: Any, needs: int) -> None:
    """Whatever the unscored trials would have been, the interval of that sample lies inside; `value` is made of what was scored."""
    items = [item(n, n % 4, 4 - n % 4) for n in range(12)] + [item(12, 2, 0, 2), item(13, 0, 0, 4), item(14, 1, 2, 1)]
    found = over_items(items, figure, needs=needs, seed=1)
    assert "3 of 15 unscored" in found.method
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    for more in product(range(3), range(5), range(2)):
        whole = items[:12] + [
            i._replace(passed=i.passed + x, failed=i.failed + i.unscored - x, unscored=0) for i, x in zip(items[12:], more, strict=True)
        ]
        one = over_items(whole, figure, needs=needs, seed=1)
        assert one.value is not None
        assert found.low <= one.value <= found.high


def test_few_items_have_no_interval_however_many_trials() -> None:
    """Nine items of a hundred trials each have a value and a reason."""
    found = over_items([item(n, 50, 50) for n in range(9)], partial(pass_at, k=5), needs=5, seed=1)
    assert (found.low, found.why) == (None, "9 items: an interval needs 10")
    assert found.value == pytest.approx(pass_at(100, 50, 5))


def test_the_spread_of_scores_is_that_of_the_analysis_of_variance() -> None:
    """For equal numbers of trials: within^2 is the mean square within, between^2 / within^2 is (F - 1) / n."""
    rng = np.random.default_rng(2)
    scores = np.clip(rng.normal(rng.uniform(0.3, 0.7, 30)[:, None], 0.1, (30, 4)), 0, 1)
    found = spread([item(n, 0, 0, scores=tuple(row)) for n, row in enumerate(scores)], seed=1)
    assert found is not None
    within, between = found.within.value, found.between.value
    assert within == pytest.approx(np.sqrt(scores.var(axis=1, ddof=1).mean()))
    assert within is not None
    assert between is not None
    assert (between / within) ** 2 == pytest.approx((stats.f_oneway(*scores).statistic - 1) / 4)
    assert found.within.low is not None
    assert found.within.low < within < (found.within.high or 0)


# ---- bias and coverage, small (in full: benchmarks/trials.py) ---------------------------------------------------------


def test_figures_are_unbiased_and_their_intervals_cover() -> None:
    """Items pass with probabilities from Beta(2, 2), 5 trials each, 60 items: mean error within 4 of its standard errors, coverage
    of 95 % intervals above 91 %. The plug-in 1 - (1 - c/n)^k fails the first test.
    """
    reps, n, items = 250, 5, 60
    quantiles = stats.beta.ppf((np.arange(20_000) + 0.5) / 20_000, 2, 2)
    figures: dict[str, tuple[Any, int, Any]] = {
        "pass@3": (partial(pass_at, k=3), 3, lambda p: 1 - (1 - p) ** 3),
        "pass^5": (partial(pass_hat, k=5), 5, lambda p: p**5),
        "flaky": (partial(changes, k=5), 5, lambda p: 1 - p**5 - (1 - p) ** 5),
        "two differ": (partial(changes, k=2), 2, lambda p: 2 * p * (1 - p)),
    }
    rng, values, hits, plug_in = np.random.default_rng(5), {name: list[float]() for name in figures}, dict.fromkeys(figures, 0), []
    for rep in range(reps):
        passed = rng.binomial(n, rng.beta(2, 2, items))
        plug_in.append(float(np.mean(1 - (1 - passed / n) ** 3)))
        trials = [item(i, int(c), n - int(c)) for i, c in enumerate(passed)]
        for name, (figure, needs, true) in figures.items():
            found = over_items(trials, figure, needs=needs, seed=rep, draws=1000)
            assert found.value is not None
            values[name].append(found.value)
            hits[name] += (found.low or 0) <= true(quantiles).mean() <= (found.high or 0)
    for name, (_, _, true) in figures.items():
        error = (np.mean(values[name]) - true(quantiles).mean()) / (np.std(values[name]) / reps**0.5)
        assert abs(error) < 4, name
        assert hits[name] / reps > 0.91, name
    assert abs(np.mean(plug_in) - figures["pass@3"][2](quantiles).mean()) > 10 * np.std(plug_in) / reps**0.5


# ---- suites ---------------------------------------------------------------------------------------------------------


def test_trials_are_a_number_or_a_mapping() -> None:
    """`trials: 5`, `trials: {k: 5, passing: 0.5}`, `Trials(5)` and `--trials 5` (which keeps `passing`) make one part of a suite."""
    base: dict[str, Any] = {"name": "s", "golden": "g", "system": "o.jsonl"}
    assert Suite(**base, trials=5).trials == Trials(5) == package.Trials(k=5)
    suite = Suite(**base, trials={"k": 5, "passing": 0.5})
    assert suite.trials == Trials(5, passing=0.5)
    assert suite.with_trials(3).trials == Trials(3, passing=0.5)
    assert Suite(**base).with_trials(3).trials == Trials(3)
    assert Suite(**base).trials is None


def test_a_copy_with_other_trials_keeps_its_file_and_its_tests(project: Path) -> None:
    """`--trials` changes nothing but the number of trials."""
    path = project / "test_suite.py"
    path.write_text(
        'import evalh\nsuite = evalh.Suite(name="s", golden="golden/refunds", system="golden/refunds/outputs/v1.jsonl")\n'
        "@suite.test\ndef test_a(output): assert output.text\n"
    )
    (suite,) = load_suites([path])
    other = suite.with_trials(4)
    assert [t.name for t in other.tests] == ["test_a"]
    assert other._file == suite._file
    assert other.model_dump(exclude={"trials"}) == suite.model_dump(exclude={"trials"})


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("0", "greater than or equal to 1"),
        ("{k: 5, passing: 2}", "less than or equal to 1"),
        ("{k: 5, pasing: 0.5}", "did you mean `passing`?"),
        ("many", "field `trials`"),
        ("true", "field `trials`"),
    ],
)
def test_wrong_trials_are_refused_with_their_line(project: Path, evalh: Evalh, written: str, said: str) -> None:
    """The loader says file, line and field, and the shipped schema refuses the same."""
    from jsonschema import Draft202012Validator
    from yaml import safe_load

    replace(project / "refunds.yaml", "gate:", f"trials: {written}\ngate:")
    done = evalh("plan", "refunds.yaml")
    line = (project / "refunds.yaml").read_text().splitlines().index(f"trials: {written}") + 1
    assert done.code == 2
    assert f"refunds.yaml:{line}" in done.err
    assert said in done.err
    assert list(Draft202012Validator(suite_schema()).iter_errors({**SCHEMA_BASE, "trials": safe_load(written)}))


SCHEMA_BASE = {"name": "x", "golden": "g", "system": "outputs.jsonl"}


@pytest.mark.parametrize("written", [5, {"k": 5}, {"passing": 0.5}, {"k": 5, "passing": 0.5}])
def test_the_schema_takes_every_form(written: Any) -> None:
    """A number and a mapping, for editors."""
    from jsonschema import Draft202012Validator

    assert list(Draft202012Validator(suite_schema()).iter_errors({**SCHEMA_BASE, "trials": written})) == []


# ---- when a trial passes --------------------------------------------------------------------------------------------

SCALE = Rubric(name="r", criteria=[{"name": "quality", "question": "How good?", "scale": [1, 5]}])
BINARY = Rubric(name="r", criteria=[{"name": "right", "question": "Is it right?", "scale": "binary"}])
PAIR = Rubric(name="r", kind="pairwise")


def suite_with(rubric: Rubric | None, rule: str, trials: Trials | int) -> Suite:
    panel = Panel(judges=["replay:a"], rubric=rubric, rule=rule) if rubric else None  # type: ignore[list-item, arg-type]
    return Suite(name="s", golden="g", system="o.jsonl", panel=panel, trials=trials)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rubric", "rule"), [(SCALE, "mean"), (SCALE, "majority"), (SCALE, "unanimous"), (BINARY, "mean")], ids=lambda v: getattr(v, "name", v)
)
def test_scores_of_judges_pass_at_nothing_by_default(rubric: Rubric, rule: Any) -> None:
    """No threshold is assumed for what judges score: the error says what to write. With `passing` it is decided."""
    with pytest.raises(InputError, match="nothing says which scores of the judges pass") as refused:
        check_trials(suite_with(rubric, rule, 5), rubric, recorded=False)
    assert "passing: 0.7" in str(refused.value.hint)
    check_trials(suite_with(rubric, rule, Trials(5, passing=0.7)), rubric, recorded=False)
    check_trials(suite_with(rubric, rule, 1), rubric, recorded=False)  # one trial: nothing is decided


def test_checks_pairs_and_panels_that_vote_decide_themselves() -> None:
    """All checks hold; the pair is won; a panel of rule majority or unanimous passes what its `pass_at` passes."""
    for rubric, rule in ((None, "majority"), (PAIR, "mean"), (BINARY, "majority"), (BINARY, "unanimous")):
        check_trials(suite_with(rubric, rule, 5), rubric, recorded=False)
    votes = passing_of(None, "pointwise", {"rule": "majority"}, BINARY.model_dump())
    assert [passing_of(None, "checks", None, None)(s) for s in (1.0, 0.99)] == [True, False]  # type: ignore[misc]
    assert [passing_of(None, "pairwise", None, None)(s) for s in (1.0, 0.5, 0.0)] == [True, False, False]  # type: ignore[misc]
    assert votes is not None
    assert [votes(s) for s in (1.0, 0.5, 0.0)] == [True, False, False]
    given = passing_of(0.5, "pairwise", None, None)
    assert given is not None
    assert given(0.5)  # what the suite says goes before everything


def test_how_many_trials_is_asked_where_nothing_is_recorded() -> None:
    """`trials: {passing: 0.5}` is enough for recorded outputs, which bring their trials; a system that is asked needs `k`."""
    suite = suite_with(SCALE, "mean", Trials(passing=0.5))
    check_trials(suite, SCALE, recorded=True)
    with pytest.raises(InputError, match="how many trials"):
        check_trials(suite, SCALE, recorded=False)


# ---- runs -----------------------------------------------------------------------------------------------------------

CHECKED = """
name: repeated
golden: golden/refunds
system: {recorded: golden/refunds/outputs/trials.jsonl, family: sim-writer}
checks:
  - {max-chars: 400}
  - {regex: '\\d+ days', name: names a period, blocking: false}
"""


def write_trials(project: Path, outcomes: dict[int, str]) -> None:
    """outputs/trials.jsonl: per item a text of `+` passes, `-` fails, `!` gave no output, `b` is blocked."""
    texts = {"+": "It is {n} days.", "-": "It is a while.", "b": "x" * 500}
    rows: list[dict[str, Any]] = []
    for n, marks in outcomes.items():
        for trial, mark in enumerate(marks):
            told = {"output": None, "error": "timeout"} if mark == "!" else {"output": texts[mark].format(n=n) + f" Trial {trial}."}
            rows.append({"item_id": f"i{n:02}", "system": "bot", "trial": trial, **told})
    write_lines(project / "golden/refunds/outputs/trials.jsonl", rows)
    (project / "repeated.yaml").write_text(CHECKED)


MARKS = ("+++", "+-+", "---", "b-+")


def test_a_run_with_trials_says_what_they_came_to(project: Path, evalh: Evalh) -> None:
    """Counts by hand: of four kinds of items, a quarter each, with two, one, zero and three passes of three; blocked is a fail."""
    write_trials(project, {n: MARKS[n % 4] for n in range(ITEMS)})
    found = evalh("run", "repeated.yaml", "--json").json["trials"]
    assert (found["k"], found["most"], found["n_items"], found["outputs"], found["unscored"]) == (3, 3, ITEMS, 3 * ITEMS, 0)
    assert (found["passing"], found["passes"]) == (1.0, "where every check holds")
    assert {k: e["value"] for k, e in found["pass_at"].items()} == pytest.approx({"1": 0.5, "2": (1 + 1 + 0 + 2 / 3) / 4, "3": 0.75})
    assert {k: e["value"] for k, e in found["pass_hat"].items()} == pytest.approx({"1": 0.5, "2": (1 + 1 / 3) / 4, "3": 0.25})
    assert found["majority"]["value"] == 0.5
    assert found["flaky"]["value"] == 0.5
    assert found["disagreement"]["value"] == pytest.approx(1 / 3)
    assert all(found[name]["n"] == ITEMS and found[name]["low"] is not None for name in ("majority", "flaky", "disagreement"))
    assert [(s["slice"], s["n_items"], list(s["pass_at"])) for s in found["slices"]] == [
        ("fresh", 12, ["1", "3"]),
        ("public", 12, ["1", "3"]),
    ]
    assert {s["slice"]: s["flaky"]["value"] for s in found["slices"]} == {"fresh": 1.0, "public": 0.0}
    assert {(row["passed"], row["failed"]) for row in found["flakiest"]} == {(2, 1), (1, 2)}
    assert [row["item_id"] for row in found["flakiest"][:3]] == ["i01", "i03", "i05"]
    assert found["spread"]["within"]["value"] > 0


def test_one_trial_each_has_no_trials(project: Path, evalh: Evalh) -> None:
    """The document says null, the terminal and the page say nothing."""
    done = evalh("run", "refunds.yaml", "--json")
    assert done.json["trials"] is None
    assert "trials" not in evalh("run", "refunds.yaml").out
    evalh("report", "--html", "r.html")
    assert 'id="trials"' not in Path("r.html").read_text()


def test_unequal_and_unscored_trials_are_told(project: Path, evalh: Evalh) -> None:
    """k ends at the smallest number of trials; an item with one trial is left out of flakiness; what gave no output is no outcome."""
    outcomes = {n: MARKS[n % 4] for n in range(ITEMS)}
    write_trials(project, {**outcomes, 0: "++", 1: "+!-+", 2: "+!!"})
    found = evalh("run", "repeated.yaml", "--json").json["trials"]
    assert (found["k"], found["most"], found["unscored"], found["items_with_unscored"]) == (2, 4, 3, 2)
    assert list(found["pass_at"]) == ["1", "2"]
    assert "2 of 24 unscored" in found["flaky"]["method"]
    assert found["flaky"]["low"] <= found["flaky"]["value"] <= found["flaky"]["high"]
    assert any("2 to 4 trials" in note for note in found["notes"])
    write_trials(project, {**outcomes, 0: "+"})
    found = evalh("run", "repeated.yaml", "--json").json["trials"]
    assert (found["k"], found["flaky"]["n"], list(found["pass_at"])) == (1, ITEMS - 1, ["1"])
    assert any("1 of 24 items have one trial" in note for note in found["notes"])


def test_a_system_that_repeats_itself_is_said_to(project: Path, evalh: Evalh) -> None:
    """Byte-equal outputs in all trials measure a cache, not steadiness: a note says so."""
    rows = [{"item_id": f"i{n:02}", "system": "bot", "trial": t, "output": f"{n} days"} for n in range(ITEMS) for t in range(2)]
    write_trials(project, {})
    write_lines(project / "golden/refunds/outputs/trials.jsonl", rows)
    found = evalh("run", "repeated.yaml", "--json").json["trials"]
    assert (found["same_output"], found["flaky"]["value"]) == (ITEMS, 0.0)
    assert any("same output in all its trials" in note for note in found["notes"])


def test_judged_trials_need_to_know_what_passes(project: Path, evalh: Evalh) -> None:
    """Recorded trials of a suite that does not say: no figure, and what to add. With `passing` the scores of judges decide."""
    write_trials(project, {n: "++" if n % 2 else "+-" for n in range(ITEMS)})
    suite = CHECKED + (
        'panel:\n  judges: [{model: "sim:north-1", source: judges.toml}]\n'
        "  rubric: {name: faithful, scale: [1, 5]}\n  rule: mean\n  repeats: 2\n"
    )
    (project / "repeated.yaml").write_text(suite)
    done = evalh("run", "repeated.yaml", "--json").json
    assert done["trials"]["passing"] is None
    assert done["trials"]["pass_at"]["2"]["value"] is None
    assert "passing" in done["trials"]["majority"]["why"]
    assert done["trials"]["spread"]["within"]["value"] is not None
    assert done["judges"][0]["repeat_agreement"]["n"] == 2 * ITEMS
    out = evalh("run", "repeated.yaml").out
    assert "add `trials: {passing: …}`" in " ".join(out.split())
    assert "same answer when asked again" in out
    evalh("report", "--html", "r.html")
    page = Path("r.html").read_text()
    assert "What passes is open: the suite does not say which scores pass" in page
    assert "Same answer again" in page
    assert 'class="curve' not in page
    (project / "repeated.yaml").write_text(suite + "trials: {passing: 0.5}\n")
    found = evalh("run", "repeated.yaml", "--json").json["trials"]
    assert (found["passing"], found["passes"]) == (0.5, "at a score of 0.5 or more")
    assert found["pass_at"]["1"]["value"] is not None


def test_of_a_pair_the_side_that_is_not_blocked_wins(project: Path, evalh: Evalh) -> None:
    """Trials of pairs: a blocked opponent is a win, a blocked answer is a loss, and both blocked is no win."""
    pairs = {n: [("good", "x" * 500), ("x" * 500, "good"), ("x" * 500, "x" * 500)] for n in range(ITEMS)}
    for name, side in (("ours", 0), ("theirs", 1)):
        rows = [
            {"item_id": f"i{n:02}", "system": name, "trial": trial, "output": pair[side]}
            for n, trials in pairs.items()
            for trial, pair in enumerate(trials)
        ]
        write_lines(project / f"{name}.jsonl", rows)
    (project / "duel.yaml").write_text(
        "name: duel\ngolden: golden/refunds\nsystem: {recorded: ours.jsonl, family: sim-writer}\nchecks: [{max-chars: 400}]\n"
        'panel:\n  judges: [{model: "sim:north-1", source: judges.toml}]\n  rubric: {name: better, kind: pairwise}\n'
        "  against: {recorded: theirs.jsonl, family: sim-writer}\n"
    )
    found = evalh("run", "duel.yaml", "--json").json["trials"]
    assert found["pass_at"]["1"]["value"] == pytest.approx(1 / 3)
    assert (found["flaky"]["value"], found["passes"]) == (1.0, "where it wins the pair")


# ---- reports --------------------------------------------------------------------------------------------------------

SUMMARY = """\
trials        3 each of 24 items; passes where every check holds
  pass@1      50.0 % [35.4, 64.4]     a trial passes
  pass@3      75.0 % [55.5, 88.8]     one of 3 passes
  pass^3      25.0 % [11.2, 44.5]     all 3 pass
  majority    50.0 % [31.0, 69.0]     more than half
  flaky       50.0 % [31.0, 69.0]     outcome changes
  two differ  33.3 % [21.1, 47.2]     two trials of an item
  flakiest    i01 2/3, i03 1/3, i05 2/3, i07 1/3, i09 2/3
"""


def test_the_terminal_shows_trials_in_one_block(project: Path, evalh: Evalh) -> None:
    """One block at 80 columns, under the score."""
    write_trials(project, {n: MARKS[n % 4] for n in range(ITEMS)})
    out = evalh("run", "repeated.yaml").out
    assert SUMMARY in out
    assert out.index("check score") < out.index("\ntrials") < out.index("\noutputs")
    write_trials(project, dict.fromkeys(range(6), "+!-b") | dict.fromkeys(range(6, ITEMS), "++--"))
    for limit in ("6", "24"):  # without intervals and with unscored trials the lines are longest
        out = evalh("run", "repeated.yaml", "--limit", limit).out
        block = out[out.index("\ntrials") + 1 : out.index("\n\noutputs")]
        assert max(map(len, block.splitlines())) <= 80, block
    assert "18 tied" in block


def test_the_page_shows_trials_with_curve_table_and_slices(project: Path, evalh: Evalh) -> None:
    """A section with every figure, the two curves, their numbers beside them, slices and the flakiest items."""
    write_trials(project, {n: MARKS[n % 4] for n in range(ITEMS)})
    document = evalh("run", "repeated.yaml", "--json").json
    evalh("report", "--html", "r.html")
    page = Path("r.html").read_text()
    section = page[page.index('<section id="trials">') : page.index('<section id="checks">')]
    for told in ("pass@3", "pass^3", "Majority", "Flaky", "Two differ", "66.7", "33.3", "fresh", "public", "i01 <b>2/3</b>"):
        assert told in section
    assert section.count('class="curve first"') == section.count('class="curve second"') == 2  # three points make two pieces
    assert section.count('class="dot first"') == len(document["trials"]["pass_at"])

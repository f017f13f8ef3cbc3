"""Agreement, consistency and the first-slot rate: by hand on small rows, and against published numbers on recorded data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from evalh.errors import InputError
from evalh.stats.agreement import Key, LabelRow, Unscored, VerdictRow, agreement, consensus, consistency, first_share
from evalh.stats.intervals import wilson

ROOT = Path(__file__).resolve().parents[1]
DATA = next((folder for folder in (ROOT / "shared" / "data", ROOT.parent / "shared" / "data") if folder.is_dir()), None)
needs_data = pytest.mark.skipif(DATA is None, reason="the recorded data sets are not beside this checkout")


def pair(item: str, *winners: str | None) -> list[VerdictRow]:
    """One verdict per winner: systems a and b, in both orders where there are two."""
    return [VerdictRow(item, order, winner) for order, winner in zip((("a", "b"), ("b", "a")), winners, strict=False)]


# ---- by hand --------------------------------------------------------------------------------------------------------


def test_the_consensus_is_what_more_than_half_say() -> None:
    """A consensus is a strict majority of annotators; without one it is None; a label without an answer counts for nothing."""
    said = {"two of three": "aab", "all differ": ["a", "b", "tie"], "split": "ab", "one": "a", "no answer": ["b", None, None]}
    labels = [LabelRow(item, ("a", "b"), f"person {k}", winner) for item, winners in said.items() for k, winner in enumerate(winners)]
    settled = {item: winner for (item, _), winner in consensus(labels).items()}
    assert settled == {"two of three": "a", "all differ": None, "split": None, "one": "a", "no answer": "b"}


def test_agreement_says_what_it_did_with_every_verdict() -> None:
    """Unscored verdicts follow the reading, strict counts them wrong, and what is left out is counted."""
    settled: dict[Key, str | None] = {(f"i{k}", ("a", "b")): "a" for k in range(12)}
    settled |= {("t", ("a", "b")): "tie", ("split", ("a", "b")): None}
    verdicts = [VerdictRow(f"i{k}", ("b", "a"), "a" if k < 9 else "b") for k in range(12)]
    verdicts += [VerdictRow("t", ("a", "b"), None), VerdictRow("split", ("a", "b"), "a"), VerdictRow("new", ("a", "b"), "a")]
    found = {reading: agreement(verdicts, settled, seed=1, unscored=reading) for reading in ("exclude", "wrong", "tie")}
    assert [found[r].agreement.value for r in found] == [9 / 12, 9 / 13, 10 / 13]
    assert {found[r].agreement_strict.value for r in found} == {9 / 13}
    out = found["exclude"]
    assert (out.agreement.low, out.agreement.high) == wilson(9, 12)
    assert (out.n_verdicts, out.n_unscored, out.n_no_consensus, out.n_unlabelled) == (15, 1, 1, 1)


def test_verdicts_on_one_item_are_a_cluster() -> None:
    """With several verdicts per item the interval treats the item as one cluster."""
    settled: dict[Key, str | None] = {(f"i{k}", ("a", "b")): "a" for k in range(12)}
    verdicts = [row for k in range(12) for row in pair(f"i{k}", "a", "a" if k % 2 else "b")]
    estimate = agreement(verdicts, settled, seed=1).agreement
    assert (estimate.value, estimate.n, estimate.clusters, estimate.method) == (0.75, 24, 12, "cluster JBB, 20000 draws")


def test_consistency_needs_both_orders_and_a_known_one() -> None:
    """Pairs in one order and verdicts of unknown order are left out and counted; an unscored verdict follows the reading."""
    rows = [row for k in range(10) for row in pair(f"same{k}", "a", "a")]
    rows += pair("differ", "a", "b") + pair("half", "a", None) + pair("neither", None, None) + pair("alone", "a")
    rows += [VerdictRow("unknown", ("a", "b"), "a", order_known=False)]
    found = {reading: consistency(rows, seed=1, unscored=reading) for reading in ("exclude", "wrong", "tie")}
    assert [found[r].consistency.value for r in found] == [10 / 11, 10 / 13, 11 / 13]
    out = found["exclude"]
    assert (out.n_pairs, out.n_unscored_pairs, out.n_one_order, out.n_order_unknown) == (13, 2, 1, 1)


def test_first_share_of_both_orders_is_free_of_quality() -> None:
    """A judge that always names the better system has a first share of one half in both orders; leaning items test the bias."""
    fair = [row for k in range(20) for row in pair(f"i{k}", "a", "a")]
    assert first_share(fair, seed=1).first_share.value == 0.5
    primacy = [row for k in range(12) for row in pair(f"p{k}", "a", "b")]  # whoever is first
    recency = [row for k in range(3) for row in pair(f"r{k}", "b", "a")]
    found = first_share(fair + primacy + recency + pair("lean", "a", "tie"), seed=1)
    assert found.first_share.value == pytest.approx((20 * 0.5 + 12 + 0.75) / 36)
    assert (found.n_first, found.n_second, found.basis) == (13, 3, "both orders")
    assert found.p_value == pytest.approx(stats.binomtest(13, 16).pvalue)


def test_first_share_of_one_order_says_so() -> None:
    """Verdicts shown in one order give a share that names its basis; unknown orders give none at all."""
    rows = [VerdictRow(f"i{k}", ("a", "b"), "a" if k < 12 else "b") for k in range(15)] + [VerdictRow("u", ("a", "b"), None)]
    found = first_share(rows, seed=1)
    assert (found.first_share.value, found.basis, found.n_unscored) == (0.8, "one order", 1)
    assert first_share(rows, seed=1, unscored="tie").first_share.value == pytest.approx(12.5 / 16)
    nothing = first_share([row._replace(order_known=False) for row in rows], seed=1)
    assert (nothing.first_share.value, nothing.p_value) == (None, None)


def test_repeats_must_be_numbered() -> None:
    """Two verdicts on one pair in one order are an error unless they are numbered as repeats."""
    rows = [VerdictRow("i", ("a", "b"), "a"), VerdictRow("i", ("a", "b"), "b")]
    with pytest.raises(InputError, match="item i: two verdicts with 'a' shown first"):
        consistency(rows, seed=1)
    assert consistency([rows[0], rows[1]._replace(repeat=1)], seed=1).n_one_order == 2


# ---- recorded data --------------------------------------------------------------------------------------------------


def lines(name: str, file: str) -> Iterator[dict[str, Any]]:
    assert DATA is not None
    with (DATA / name / file).open(encoding="utf-8") as text:
        yield from map(json.loads, text)


def verdict_rows(name: str, judge: str, prompt: str | None = None) -> list[VerdictRow]:
    return [
        VerdictRow(
            row["item_id"], tuple(row["systems"]), row["winner"], "unscored" if row["winner"] is None else "scored", row["order_known"]
        )
        for row in lines(name, "judgments.jsonl")
        if row["judge"] == judge and row.get("prompt") == prompt
    ]


def label_rows(name: str) -> list[LabelRow]:
    return [LabelRow(row["item_id"], tuple(row["systems"]), row["annotator"], row["winner"]) for row in lines(name, "labels.jsonl")]


@needs_data
@pytest.mark.parametrize(
    ("judge", "unscored", "percent"),
    [
        ("gpt-3.5-turbo", "tie", 71.0711),
        ("gpt-3.5-turbo", "wrong", 69.7698),
        ("gpt-3.5-turbo", "exclude", 71.5606),
        ("PandaLM-7B", "exclude", 66.7668),
    ],
)
def test_pandalm_accuracy_is_the_published_one(judge: str, unscored: Unscored, percent: float) -> None:
    """PandaLM's accuracies against the majority label come out to the digit under each reading of the 25 unread replies."""
    found = agreement(verdict_rows("pandalm", judge), consensus(label_rows("pandalm")), seed=1, unscored=unscored)
    assert found.agreement.value is not None
    assert round(100 * found.agreement.value, 4) == percent
    assert found.n_unscored == (25 if judge == "gpt-3.5-turbo" else 0)
    assert found.n_no_consensus == 0


@needs_data
@pytest.mark.parametrize("prompt", ["Metrics_Reference", "Vanilla_NoRules"])
@pytest.mark.parametrize("judge", ["ChatGPT", "GPT-4", "LLaMA2", "PaLM2"])
def test_mtbench_accuracy_and_positional_agreement_are_the_published_ones(judge: str, prompt: str) -> None:
    """Four judges with two prompts: strict agreement is the published accuracy, consistency with unread = tie the published agreement."""
    assert DATA is not None
    published = json.loads((DATA / "mtbench_pairs" / "published.json").read_text(encoding="utf-8"))
    rows = verdict_rows("mtbench_pairs", judge, prompt)
    accuracy = agreement(rows, consensus(label_rows("mtbench_pairs")), seed=1).agreement_strict.value
    same = consistency(rows, seed=1, unscored="tie")
    assert accuracy is not None
    assert same.consistency.value is not None
    assert 100 * accuracy == pytest.approx(published[f"MT-Bench|{judge}|{prompt}|accuracy_average"]["value"], abs=1e-9)
    assert 100 * same.consistency.value == pytest.approx(published[f"MT-Bench|{judge}|{prompt}|positional_agreement"]["value"], abs=1e-9)
    excluded = consistency(rows, seed=1)
    assert excluded.consistency.n == 200 - excluded.n_unscored_pairs
    assert same.n_pairs == 200

"""Label sampling: the probabilities are known, positive and true, and the draw is a function of the seed and the ids."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import numpy as np
import pytest

from evalh.errors import InputError
from evalh.fingerprints import content_hash
from evalh.sampling import Strategy, Unit, allocate, draw, inclusion_probabilities

STRATEGIES = get_args(Strategy)
SLICES = ["billing"] * 5 + ["fresh"] * 3 + ["rare"]


def pool(size: int = 54, seed: int = 0) -> list[Unit]:
    """Outputs of three slices with scores, panel means and disagreement; every seventh is unscored."""
    rng = np.random.default_rng(seed)
    units = []
    for i in range(size):
        p = float(rng.beta(3, 1))
        score = None if i % 7 == 3 else float(p > 0.5)
        units.append(Unit(f"output-{i}", SLICES[i % len(SLICES)], score, float(rng.random() * (1 - p)), p))
    return units


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_empirical_inclusion_equals_the_stored_probability(strategy: Strategy) -> None:
    """Over many seeds each output is drawn as often as its probability says, and the sample is as large as asked on average."""
    units, reps = pool(), 1500
    chances = inclusion_probabilities(units, 12, strategy)
    assert sum(chance.probability for chance in chances.values()) == pytest.approx(12)
    drawn = Counter(task.unit_id for seed in range(reps) for task in draw(units, 12, strategy, seed=seed))
    p = np.array([chance.probability for chance in chances.values()])
    z = (np.array([drawn[name] for name in chances]) - reps * p) / np.sqrt(reps * p * (1 - p) + 1e-12)
    assert np.abs(z).max() < 4
    assert float((z**2).mean()) < 1.6  # 54 squared normals have mean 1 with sd 0.19


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_weighting_by_the_probabilities_recovers_the_truth(strategy: Strategy) -> None:
    """Horvitz-Thompson and Hajek means over many draws equal the pool's mean; the plain mean of a weighted draw does not."""
    units = pool()
    truth_of = {unit.unit_id: 1 - (unit.disagreement or 0) for unit in units}  # worse where judges disagree
    truth, ht, hajek, plain = float(np.mean(list(truth_of.values()))), [], [], []
    for seed in range(1500):
        tasks = draw(units, 12, strategy, seed=seed)
        y = np.array([truth_of[task.unit_id] for task in tasks])
        weight = np.array([1 / task.inclusion_probability for task in tasks])
        ht.append(float(weight @ y) / len(units))
        hajek.append(float(weight @ y / weight.sum()))
        plain.append(float(y.mean()))

    def error_of(means: list[float]) -> float:
        return float((np.mean(means) - truth) / (np.std(means) / len(means) ** 0.5))

    assert abs(error_of(ht)) < 4
    assert abs(float(np.mean(hajek)) - truth) < 0.01  # a ratio: its bias is of order 1/n
    if strategy == "disagreement":
        assert float(np.mean(plain)) - truth < -0.03


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_output_can_be_drawn(strategy: Strategy) -> None:
    """No probability is 0 or above 1, however few labels there are; with labels for all, all are drawn."""
    for labels in (1, 2, 40):
        chances = inclusion_probabilities(pool(), labels, strategy, floor=0.05)
        assert all(0 < chance.probability <= 1 for chance in chances.values())
        assert sum(chance.probability for chance in chances.values()) == pytest.approx(labels)
    assert len(draw(pool(), 500, strategy, seed=1)) == 54
    assert draw([], 5, strategy, seed=1) == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_draw_depends_on_seed_and_ids_alone(strategy: Strategy) -> None:
    """The order of the outputs does not matter, the seed does, and positions count up from 0 in an order of their own."""
    units = pool()
    tasks = draw(units, 12, strategy, seed=5)
    assert tasks == draw(units[::-1], 12, strategy, seed=5)
    assert {t.unit_id for t in tasks} != {t.unit_id for t in draw(units, 12, strategy, seed=6)}
    assert [t.position for t in tasks] == list(range(len(tasks)))
    assert [t.unit_id for t in tasks] != sorted(t.unit_id for t in tasks)
    assert {(t.design, t.seed) for t in tasks} == {(strategy, 5)}


@pytest.mark.parametrize(
    ("strategy", "drawn"),
    [
        ("simple", "0bf67b1b407dab28"),
        ("stratified", "3546cedbea95a926"),
        ("disagreement", "b391e55bef200f6c"),
        ("uncertainty", "fd6eaf6ace83ceb5"),
    ],
)
def test_a_draw_of_an_earlier_version_is_drawn_again(strategy: Strategy, drawn: str) -> None:
    """Outputs, probabilities to the last digit, strata and positions are as they were; units may be a stream."""
    tasks = draw(iter(pool(400)), 12, strategy, seed=5)
    assert content_hash([list(task) for task in tasks]) == drawn


@pytest.mark.parametrize("strategy", ["simple", "disagreement", "uncertainty"])
def test_an_added_output_reshuffles_no_others(strategy: Strategy) -> None:
    """One more output in the pool lets in no other; what drops out for it is less than one output on average."""
    units, dropped = pool(), 0
    for seed in range(60):
        before = {t.unit_id for t in draw(units, 12, strategy, seed=seed)}
        after = {t.unit_id for t in draw([*units, Unit("one more", "fresh", 1.0, 0.1, 0.9)], 12, strategy, seed=seed)}
        assert after - before <= {"one more"}
        dropped += len(before - after)
    assert dropped / 60 < 0.5


def test_strata_are_drawn_in_proportion_and_none_is_forgotten() -> None:
    """Labels go to slices in proportion by largest remainder, at least one to each; the sample has exactly those sizes."""
    assert allocate({"a": 90, "b": 9, "c": 1}, 10) == {"a": 8, "b": 1, "c": 1}
    assert allocate({"a": 50, "b": 30, "c": 20}, 10) == {"a": 5, "b": 3, "c": 2}
    assert allocate({"a": 5, "b": 3}, 8) == {"a": 5, "b": 3}
    tasks = draw(pool(), 12, "stratified", seed=3)
    assert Counter(t.stratum for t in tasks) == {"billing": 7, "fresh": 4, "rare": 1}
    assert {t.stratum: t.inclusion_probability for t in tasks} == {"billing": 7 / 30, "fresh": 4 / 18, "rare": 1 / 6}


def test_more_slices_than_labels_pools_the_smallest() -> None:
    """A slice that would get no label is pooled with others, so that its outputs can still be drawn."""
    units = [Unit(f"{name}{i}", name) for name, size in {"big": 20, "mid": 6, "small": 3, "tiny": 1}.items() for i in range(size)]
    chances = inclusion_probabilities(units, 2, "stratified")
    assert {chance.stratum: chance.probability for chance in chances.values()} == {"big": 1 / 20, "mid+small+tiny": 1 / 10}


def test_weights_follow_what_there_is_to_learn() -> None:
    """Disagreement and uncertainty raise the probability, an unscored output gets the largest, a certain one keeps the floor."""
    quiet = [Unit(f"quiet{i}", score=1.0, disagreement=0.0, p=1.0) for i in range(20)]
    some = [Unit("split", score=1.0, disagreement=0.2, p=0.8), Unit("torn", score=0.0, disagreement=0.4, p=0.5), Unit("unread")]
    for strategy in ("disagreement", "uncertainty"):
        p = {name: chance.probability for name, chance in inclusion_probabilities(quiet + some, 2, strategy, floor=0.3).items()}
        assert p["quiet0"] == pytest.approx(0.3 * 2 / 23)
        assert p["quiet0"] < p["split"] < p["torn"] == p["unread"] < 1


def test_what_is_cut_off_at_certainty_goes_to_the_others() -> None:
    """An output drawn for certain gives its surplus to the rest, so that the expected size stays what was asked."""
    units = [Unit("torn", score=0.0, disagreement=0.5)] + [Unit(f"quiet{i}", score=1.0, disagreement=0.01) for i in range(20)]
    p = [chance.probability for chance in inclusion_probabilities(units, 5, "disagreement", floor=0.1).values()]
    assert max(p) == 1.0
    assert sum(p) == pytest.approx(5)


@pytest.mark.parametrize(
    ("units", "labels", "floor", "message"),
    [
        ([Unit("a"), Unit("a")], 1, 0.3, "output a: output is there twice"),
        ([Unit("a")], 0, 0.3, "sampling.labels: labels is 0; it must be at least 1"),
        ([Unit("a")], 1, 0.0, "sampling.floor: floor is 0.0; it must be in"),
        ([Unit("a", p=1.5)], 1, 0.3, r"output a: score, p or disagreement is not in \[0, 1\]"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused(units: list[Unit], labels: int, floor: float, message: str) -> None:
    """Equal ids and settings out of range are errors that say where and what would be right."""
    with pytest.raises(InputError, match=message):
        draw(units, labels, "disagreement", seed=1, floor=floor)

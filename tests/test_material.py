"""The shipped material: golden sets, recorded outputs, frozen references, the simulator's truth, and the suites over them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from rapidfuzz import fuzz

from evalh.checks.apply import apply_checks
from evalh.checks.base import Subject
from evalh.config import load_config
from evalh.interchange.jsonl import read_outputs
from evalh.interchange.lines import read_canary, read_objects
from evalh.pipeline import RunOptions, run
from evalh.prepare import prepare
from evalh.records import Item, Output
from evalh.release import approve, gate_run
from evalh.sim.profile import load_profile
from evalh.sim.truth import load_truth
from evalh.store.store import Store
from evalh.suites.frozen import load_frozen
from evalh.suites.golden import GoldenSet, load_golden
from evalh.suites.load import load_suites
from evalh.suites.model import Suite

ROOT = Path(__file__).resolve().parent.parent
SUITES = ROOT / "suites"
NAMES = ("support", "extraction", "physics")
FILES = {"support": "test_support.py", "extraction": "extraction.yaml", "physics": "physics.yaml", "support_pairs": "support_pairs.yaml"}

# docs/material.md states these: faults of v2 by kind, and how many outputs of v1 are wrong
FAULTS = {
    "support": {"invented-promise": 19, "wrong-number": 7, "promise-word": 2, "too-long": 4, "no-citation": 3, "refusal": 1},
    "extraction": {"date-format": 8, "currency": 7, "dropped-line": 8, "prose": 5, "total-text": 1, "summary": 3},
    "physics": {"weak-gravity": 18, "no-drag": 18},
}
V1_FAULTS = {"support": 4, "extraction": 3, "physics": 0}
# a program sees these …
SEEN_BY_CHECKS = {"too-long", "no-citation", "promise-word", "refusal", "weak-gravity", "no-drag"}
SEEN_BY_CHECKS |= {"date-format", "currency", "dropped-line", "prose", "total-text"}
# … and a careful reader these; what is wrong with an output of v1 is a sentence, and always for readers
SEEN_BY_READERS = {"invented-promise", "wrong-number", "promise-word", "refusal", "summary"}


@cache
def golden(name: str) -> GoldenSet:
    return load_golden(ROOT / "golden" / name)


@cache
def outputs(name: str, version: str) -> dict[str, Output]:
    return {o.item_id: o for o in read_outputs(ROOT / f"golden/{name}/outputs/{version}.jsonl")}


def suite(name: str) -> Suite:
    return load_suites([SUITES / FILES[name]])[0]


def facts() -> dict[str, dict[str, Any]]:
    return {row["output"]: row for name in NAMES for _, row in read_objects(SUITES / f"truth/{name}.jsonl")}


@pytest.mark.parametrize("name", NAMES)
def test_golden_set_is_locked_and_half_fresh(name: str) -> None:
    """A golden set is locked, has at least 64 items, half of them fresh, and its dates say so."""
    items = golden(name).items
    slices = Counter(i.slice for i in items)
    assert golden(name).locked
    assert len(items) >= 64
    assert slices["public"] == slices["fresh"]
    assert golden(name).slices["fresh"]["published_at"] == "never"
    assert all(str(i.authored_at).startswith("2025" if i.slice == "public" else "2026") for i in items)
    assert all((i.published_at is None) == (i.slice == "fresh") for i in items)


@pytest.mark.parametrize("name", NAMES)
def test_items_stand_in_random_order(name: str) -> None:
    """Items stand in a random order with the slices mixed, so that order tells nothing and its memory can be tested."""
    items = golden(name).items
    changes = sum(a.slice != b.slice for a, b in pairwise(items))
    assert [i.item_id for i in items] != sorted(i.item_id for i in items)
    assert changes > len(items) / 4


@pytest.mark.parametrize("name", NAMES)
def test_every_item_has_one_output_of_each_version(name: str) -> None:
    """Both versions answered every item once, and name system, version, family, latency and cost."""
    for version in ("v1", "v2"):
        answered = outputs(name, version)
        assert set(answered) == {i.item_id for i in golden(name).items}
        assert all(o.system_version == version and o.family == "sim-writer" and o.latency_ms and o.cost_usd for o in answered.values())
    cost = {v: sum(o.cost_usd or 0 for o in outputs(name, v).values()) for v in ("v1", "v2")}
    assert cost["v2"] < cost["v1"] / 2


@pytest.mark.parametrize("name", NAMES)
def test_every_file_of_a_set_carries_its_canary(name: str) -> None:
    """The canary of a golden set stands on the first line of all of its files, and no two sets share one."""
    folder = ROOT / "golden" / name
    assert {read_canary(p) for p in folder.rglob("*.jsonl")} == {golden(name).canary}
    for path in [*folder.glob("*.toml"), *folder.glob("*.md"), *(ROOT / "benchmarks/material").glob(f"{name}_*.yaml")]:
        assert str(golden(name).canary) in path.read_text(encoding="utf-8").splitlines()[0]
    assert len({golden(n).canary for n in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_no_text_stands_twice(name: str) -> None:
    """No two inputs and no two outputs of a version are equal, and no fresh question is a copy of a public one."""
    items = golden(name).items
    assert len({i.input_text for i in items}) == len(items)
    for version in ("v1", "v2"):
        assert len({o.text for o in outputs(name, version).values()}) == len(items)
    if name != "physics":  # computed motions share their wording by design
        public, fresh = ([_question(i) for i in items if i.slice == s] for s in ("public", "fresh"))
        assert max(fuzz.ratio(a, b) for a in public for b in fresh) < 80


def _question(item: Item) -> str:
    return item.messages[-1].content


@pytest.mark.parametrize("name", NAMES)
def test_frozen_references_are_settled_and_new(name: str) -> None:
    """At least 30 locked references with scores over the whole scale, none of whose outputs stands in the golden set."""
    refs = load_frozen(ROOT / "frozen_refs" / name).refs
    scores = [r.score for r in refs]
    assert len(refs) >= 30
    assert min(scores) <= 0.1
    assert max(scores) == 1.0
    assert 0.3 < sum(s >= 0.5 for s in scores) / len(scores) < 0.7
    assert all(r.settled_by and r.settled_at and r.slice in ("public", "fresh") and r.family for r in refs)
    assert not {r.output for r in refs} & {o.text for v in ("v1", "v2") for o in outputs(name, v).values()}


def test_truth_covers_every_output() -> None:
    """The simulator's truth has a quality for every recorded output and every frozen reference, and no more."""
    recorded = {o.text for n in NAMES for v in ("v1", "v2") for o in outputs(n, v).values()}
    frozen = {r.output for n in NAMES for r in load_frozen(ROOT / "frozen_refs" / n).refs}
    known = load_truth(load_profile(SUITES / "judges.toml")).facts
    assert set(facts()) == recorded | frozen
    assert len(known) == len(recorded | frozen)


@pytest.mark.parametrize("name", NAMES)
def test_faults_are_those_that_are_documented(name: str) -> None:
    """The known faults of both versions are as docs/material.md counts them, and truth calls exactly the wrong ones bad."""
    kinds = Counter(o.meta["known_fault"] for o in outputs(name, "v2").values() if o.meta)
    assert kinds == FAULTS[name]
    assert sum(bool(o.meta) for o in outputs(name, "v1").values()) == V1_FAULTS[name]
    quality = {text: row["quality"] for text, row in facts().items()}
    for version in ("v1", "v2"):
        for output in outputs(name, version).values():
            fault = output.meta.get("known_fault")
            bad = fault in SEEN_BY_READERS if version == "v2" else fault is not None
            assert (quality[output.text] < 0.5) == bad, output.item_id


def test_support_shows_clauses_as_the_policy_has_them() -> None:
    """Each clause in an item is the policy's own text, and an answer cites none that its author did not see."""
    policy = (ROOT / "golden/support/policy.md").read_text(encoding="utf-8").replace("**", "")
    for item in golden("support").items:
        shown = item.messages[0].content.split("\n\n", 1)[1].splitlines()
        numbers = {int(match[1]) for line in shown if (match := re.match(r"§(\d+) ", line))}
        assert all(line in policy for line in shown)
        assert set(item.meta["clauses"]) <= numbers
        for text in (item.reference, outputs("support", "v1")[item.item_id].text, outputs("support", "v2")[item.item_id].text):
            assert {int(n) for n in re.findall(r"§(\d+)", text)} <= numbers, item.item_id


def test_v2_of_support_is_smoother_and_longer() -> None:
    """v2 writes at least twice as many words as v1, and promises what is not so in 35 to 45 of 100 answers."""
    words = {v: sum(len(o.text.split()) for o in outputs("support", v).values()) for v in ("v1", "v2")}
    promises = sum(FAULTS["support"][kind] for kind in ("invented-promise", "wrong-number", "promise-word")) / 64
    assert words["v2"] > 2 * words["v1"]
    assert 0.35 <= promises <= 0.45


@pytest.mark.parametrize("path", sorted((SUITES / "schemas").glob("*.json")), ids=lambda p: p.name)
def test_schema_is_a_schema(path: Path) -> None:
    """A shipped schema is valid draft 2020-12 and says so."""
    schema = json.loads(path.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", NAMES)
def test_checks_find_what_is_known(name: str) -> None:
    """The suite's checks pass all of v1 and block exactly the outputs of v2 whose fault a program can see."""
    prepared = prepare(suite(name), load_config(ROOT))
    for version in ("v1", "v2"):
        for item in prepared.items:
            output = outputs(name, version)[item.item_id]
            results = apply_checks(prepared.checks, Subject(item, output))
            seen = version == "v2" and output.meta.get("known_fault") in SEEN_BY_CHECKS
            assert all(r.status in ("pass", "fail") for r in results), (item.item_id, results)
            assert any(r.status == "fail" and r.blocking for r in results) == seen, (item.item_id, results)


def test_least_squares_separates_the_learned_simulators() -> None:
    """Every wrong trajectory is off by far more than the tolerance, every right one by less than half of it."""
    sys.path.insert(0, str(SUITES))
    try:
        from physics_checks import deviations
    finally:
        sys.path.remove(str(SUITES))
    for version in ("v1", "v2"):
        for item in golden("physics").items:
            output = outputs("physics", version)[item.item_id]
            found = deviations(json.loads(output.text), item.reference)
            worst = max(abs(measured / true - 1) / allowed for measured, true, allowed in found.values())
            assert worst > 5 if output.meta else worst < 0.5, (item.item_id, found)


@pytest.mark.parametrize("name", NAMES)
def test_the_gate_ships_v1_and_refuses_v2(name: str, tmp_path: Path) -> None:
    """Over the real pipeline and the simulated judges, v1 passes its gate and v2 fails against it by a clear margin."""
    store, config = Store(tmp_path / "evalh.duckdb"), load_config(ROOT)
    good = run(prepare(suite(name), config), store, RunOptions(keep=True))
    approve(store, good.run_id, "main")
    worse = run(prepare(suite(name), config, outputs=f"golden/{name}/outputs/v2.jsonl"), store, RunOptions(keep=True))
    refused = gate_run(store, worse.run_id)
    assert gate_run(store, good.run_id).decision == "PASS"
    assert refused.decision == "FAIL"
    assert refused.difference is not None
    assert refused.difference.high is not None
    assert refused.difference.high < -0.25


def test_the_judge_of_appearance_passes_what_the_check_refuses(tmp_path: Path) -> None:
    """With the physics check not blocking, the judge finds every trajectory of v2 plausible, and half of them are wrong."""
    shipped = suite("physics")
    shipped.checks = [c.model_copy(update={"blocking": False}) for c in shipped.checks]
    prepared = prepare(shipped, load_config(ROOT), outputs="golden/physics/outputs/v2.jsonl")
    settled = run(prepared, Store(tmp_path / "evalh.duckdb"), RunOptions(keep=True)).settled
    assert sum(s.score == 1.0 for s in settled) == 72
    assert sum(any(c.status == "fail" for c in s.checks) for s in settled) == 36


def test_pairs_are_judged_in_both_orders_and_v2_is_refused(tmp_path: Path) -> None:
    """Every pair is asked in both orders; the judge with position bias contradicts itself more often than the careful one."""
    store = Store(tmp_path / "evalh.duckdb")
    outcome = run(prepare(suite("support_pairs"), load_config(ROOT)), store, RunOptions(keep=True))
    broken: Counter[str] = Counter()
    for settled in outcome.settled:
        by_judge: dict[str, set[str | None]] = {}
        for verdict in settled.verdicts:
            by_judge.setdefault(verdict.judge, set()).add(verdict.winner)
        broken.update(judge for judge, winners in by_judge.items() if len(winners) > 1)
        assert len(settled.verdicts) == 6
    assert broken["sim:south-1"] > 3 * (broken["sim:north-1"] + 1)
    assert gate_run(store, outcome.run_id).decision == "FAIL"


def test_material_can_be_made_again_to_the_byte() -> None:
    """benchmarks/make_material.py writes exactly the files that are shipped."""
    done = subprocess.run([sys.executable, "benchmarks/make_material.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "all files are as they would be written"), done.stderr

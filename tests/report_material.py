"""Runs written by hand into a real store, for the tests of reports: known rows, no judge asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evalh.store.runs import find_run
from evalh.store.store import Store

CANARY = "EVALH-CANARY 6887d203-415c-476d-83ed-cecb837a13ab"
GOLDEN = {"golden": "support", "golden_version": "1.2.0", "golden_hash": "9f2b6c1d8e4a7053"}
QUESTIONS = (
    (
        "My rucksack came on 3 June and today is 28 June. Am I still in time to send it back?",
        "Yes. The return window is 30 days from delivery, so until 3 July (§1). It must be unused and complete (§2).",
        "Yes, you are in time. Under §1 you have 30 days from delivery, so until 3 July. Please send it unused and complete.",
        "Great news, you are in time! Under §1 you have 60 days from delivery, so until the beginning of August. No rush whatsoever.",
    ),
    (
        "Who pays the postage when I send back a stove that never worked?",
        "We do: the goods are faulty (§4).",
        "We pay it. Return postage is ours when the goods are faulty (§4); please add photographs of the fault.",
        "Return postage is $6.95 a parcel with our label, and the customer pays it (§4).",
    ),
    (
        "I typed my password wrong a few times and now nothing works. Can you unlock my account?",
        "No. After 5 failed attempts the account is locked for 30 minutes and staff cannot lift the lock (§18).",
        "The account is locked for 30 minutes after 5 failed attempts. We cannot lift the lock ourselves (§18).",
        "As ChatGPT I would be happy to help: please wait 30 minutes after 5 failed attempts, or ask a colleague to lift the lock (§18).",
    ),
)
REASONS = (
    "names the clause and the date that follows from it",
    "leaves out that the goods must be complete",
    "promises what the policy does not say",
)


def pointwise_run(
    store: Store,
    run_id: str = "support-20261123-101500-ab12",
    *,
    version: str = "v2",
    quality: float = 0.8,
    items: int = 60,
    judges: Sequence[str] = ("alder", "birch"),
    simulated: bool = False,
    same_family: bool = False,
    labels: bool = True,
    started_at: str = "2026-11-23T10:15:00",
    texts: dict[str, str] | None = None,
) -> dict[str, Any]:
    """A finished run of `items` items: every tenth blocked, one in twenty unscored, judged by a panel of pointwise judges."""
    rows = Rows(run_id, started_at)
    rng = np.random.default_rng(7 if version == "v2" else 8)
    rows.head("pointwise", simulated=simulated, same_family=same_family)
    rows.add("systems", system=f"support-bot {version}", system_version=version, family="aurora", kind="recorded", role="system")
    for n in range(items):
        _pointwise_item(rows, n, version, quality, judges, rng, simulated, same_family, (texts or {}).get(f"support-{n:03}"))
    for judge in judges:
        rows.add(
            "judges",
            judge=judge,
            judge_version=f"{judge}-2026-09",
            prompt="helpful@2",
            provider="openai",
            model=judge,
            family=f"family of {judge}",
            rubric_hash="77aa",
            prompt_hash="b0b1",
            parser_version="1",
            params={"temperature": 0.0, "max_tokens": 1024, "base_url": "http://secret.example"},
            same_family=same_family,
            simulated=simulated,
        )
    for n in range(0, items, 5) if labels else ():
        _label(rows, n, version)
    rows.write(store)
    return find_run(store, run_id)


def pairwise_run(store: Store, run_id: str = "pairs-20261124-090000-cd34", *, items: int = 40, simulated: bool = True) -> dict[str, Any]:
    """A finished run of pairs, v2 against v1, each shown in both orders to two judges, the first of which leans to the first shown."""
    rows = Rows(run_id, "2026-11-24T09:00:00")
    rng = np.random.default_rng(3)
    rows.head("pairwise", simulated=simulated)
    for role, version in (("system", "v2"), ("against", "v1")):
        rows.add("systems", system=f"bot-{version}", system_version=version, family="aurora", kind="recorded", role=role)
    for n in range(items):
        _pair(rows, n, rng, simulated)
    rows.write(store)
    return find_run(store, run_id)


class Rows:
    """Rows of one run by table."""

    def __init__(self, run_id: str, started_at: str) -> None:
        self.run_id, self.at = run_id, started_at
        self.tables: dict[str, list[dict[str, Any]]] = {}

    def add(self, table: str, **row: Any) -> None:
        self.tables.setdefault(table, []).append({"run_id": self.run_id, **row})

    def head(self, kind: str, *, simulated: bool, same_family: bool = False) -> None:
        settings = {
            "gate": {"minimum": 0.75, "baseline": "main", "margin": 0.05},
            "panel": {"rule": "mean", "order": "both", "repeats": 1, "attempts": 3, "mask": True},
            "rubric": {
                "name": "helpful",
                "version": "2",
                "instructions": "Judge by the policy alone.",
                "criteria": [
                    {"name": "quality", "question": "Is it right by the policy?", "scale": {"1": "wrong", "5": "right and complete"}}
                ],
                "questions": {},
            },
        }
        self.add(
            "runs",
            suite="support" if kind == "pointwise" else "pairs",
            run_key=self.run_id,
            suite_hash="5c1e",
            **GOLDEN,
            rubric_hash="77aa",
            seed=20261123,
            kind=kind,
            simulated=simulated,
            allow_same_family=same_family,
            evalh_version="0.1.0",
            settings=settings,
            started_at=self.at,
        )
        self.add("run_events", event="running", at=self.at, detail="")
        self.add("run_events", event="finished", at=self.at[:-2] + "59", detail="")
        self.tables["golden_sets"] = [
            {
                **GOLDEN,
                "canary": CANARY,
                "licence": "CC-BY-4.0",
                "slices": {"public": {}, "fresh": {}},
                "locked": True,
                "first_seen": "2026-11-01T00:00:00",
            }
        ]

    def item(self, n: int, question: str, reference: str | None) -> dict[str, Any]:
        found = {"item_id": f"support-{n:03}", "slice": ("public", "fresh")[n % 2], "group": f"topic-{n // 2}"}
        self.tables.setdefault("items", []).append({**GOLDEN, **found, "item_hash": f"i{n}", "input": question, "reference": reference})
        return found

    def output(self, n: int, item_id: str, system: str, text: str, **more: Any) -> None:
        self.add(
            "outputs",
            item_id=item_id,
            item_hash=f"i{n}",
            system=system,
            trial=0,
            output=text,
            tool_calls=[],
            output_hash=f"o{n}{system}",
            at=self.at,
            **more,
        )

    def check(self, item_id: str, system: str, check: str, status: str, reason: str = "", blocking: bool = True) -> None:
        self.add(
            "check_results",
            item_id=item_id,
            system=system,
            trial=0,
            check=check,
            check_hash="c",
            status=status,
            reason=reason,
            score={"pass": 1.0, "fail": 0.0}.get(status),
            blocking=blocking,
            negated=False,
            weight=1.0,
        )

    def verdict(self, item_id: str, judge: str, systems: Sequence[str], call: str, **more: Any) -> None:
        self.add(
            "verdicts",
            verdict_id=f"{self.run_id} {item_id} {judge} {systems}",
            item_id=item_id,
            judge=judge,
            judge_version=f"{judge}-2026-09",
            prompt="helpful@2",
            family=f"family of {judge}",
            systems=list(systems),
            trial=0,
            order_known=True,
            repeat=0,
            call_id=call,
            cached=False,
            attempts=1,
            at=self.at,
            **{"aspect": "quality", "masked": [], "same_family": False, **more},
        )
        self.add(
            "provider_calls",
            call_id=call,
            purpose="judge",
            provider="openai",
            model=judge,
            tokens_in=640,
            tokens_out=80,
            cost_usd=0.0012,
            at=self.at,
        )

    def write(self, store: Store) -> None:
        unowned = {
            table: [{k: v for k, v in row.items() if k != "run_id"} for row in self.tables.pop(table, [])]
            for table in ("golden_sets", "items")
        }
        store.append({**self.tables, **unowned})


def _pointwise_item(
    rows: Rows,
    n: int,
    version: str,
    quality: float,
    judges: Sequence[str],
    rng: np.random.Generator,
    simulated: bool,
    same_family: bool,
    text: str | None,
) -> None:
    question, reference, good, bad = QUESTIONS[n % len(QUESTIONS)]
    right = bool(rng.random() < quality)
    item, system = rows.item(n, question, reference), f"support-bot {version}"
    item_id = item["item_id"]
    rows.output(n, item_id, system, text if text is not None else good if right else bad)
    blocked = n % 10 == 9
    rows.check(item_id, system, "regex: §\\d+", "fail" if blocked else "pass", "no clause is named" if blocked else "")
    rows.check(item_id, system, "max-words: 150", "pass")
    rows.check(
        item_id,
        system,
        "test_cites_the_policy",
        "error" if n == 13 else "fail" if not right else "pass",
        "KeyError: 'clause'" if n == 13 else "",
        blocking=False,
    )
    unread, levels = n % 20 == 4, {}
    for place, judge in () if blocked else enumerate(judges):
        level = int(np.clip((5 if right else 2) - int(rng.integers(0, 2)) * (place + 1), 1, 5))
        levels[judge] = (level - 1) / 4
        told: dict[str, Any] = {
            "status": "unscored",
            "unscored_reason": "not JSON: the reply ends in mid-sentence",
            "raw": '{"rationale": "The answer',
        }
        if not unread:
            told = {
                "status": "scored",
                "raw_score": level,
                "score": levels[judge],
                "label": None,
                "rationale": f"The answer {REASONS[0] if level > 3 else REASONS[1] if level > 2 else REASONS[2]}.",
            }
        masked = (
            [{"answer": 1, "start": 3, "text": "ChatGPT", "why": "names a product of a vendor"}]
            if "ChatGPT" in (bad if not right else good)
            else []
        )
        rows.verdict(
            item_id,
            judge,
            [system],
            f"{rows.run_id}-{n}-{judge}",
            kind="pointwise",
            simulated=simulated,
            same_family=same_family and place == 0,
            masked=masked,
            **told,
        )
    route = "blocked" if blocked else "unscored" if unread else "judged"
    known = list(levels.values())
    rows.add(
        "scores",
        **item,
        system=system,
        against="",
        trial=0,
        route=route,
        score={"blocked": 0.0, "unscored": None}.get(route, float(np.mean(known or [0]))),
        why={"blocked": "regex: §\\d+: no clause is named", "unscored": f"{len(judges)} of {len(judges)} judges unscored"}.get(route),
        disagreement=float(np.std(known)) if route == "judged" and len(known) > 1 else None,
        inconsistent=0,
        calls_saved=len(judges) * blocked,
        usd_saved=0.0012 * len(judges) * blocked,
    )
    if n % 5 == 0:
        rows.add(
            "label_tasks",
            task_id=f"{rows.run_id}-t{n}",
            item_id=item_id,
            system=system,
            against="",
            trial=0,
            inclusion_probability=0.2 if item["slice"] == "public" else 0.25,
            stratum=item["slice"],
            design="stratified",
            seed=1,
            position=n,
            at=rows.at,
        )


def _label(rows: Rows, n: int, version: str) -> None:
    verdict = next((v for v in rows.tables["verdicts"] if v["item_id"] == f"support-{n:03}" and v["status"] == "scored"), None)
    if verdict is not None:
        rows.add(
            "labels",
            label_id=f"{rows.run_id}-l{n}",
            task_id=f"{rows.run_id}-t{n}",
            item_id=verdict["item_id"],
            annotator="kim",
            kind="pointwise",
            systems=[f"support-bot {version}"],
            score=verdict["raw_score"],
            aspect="quality",
            imported_at=rows.at,
        )


def _pair(rows: Rows, n: int, rng: np.random.Generator, simulated: bool) -> None:
    question, reference, good, bad = QUESTIONS[n % len(QUESTIONS)]
    item = rows.item(n, question, reference)
    item_id = item["item_id"]
    for system, text in (("bot-v2", bad), ("bot-v1", good)):
        rows.output(n, item_id, system, text)
        rows.check(item_id, system, "max-words: 150", "pass")
    means, inconsistent = [], 0
    for judge, lean in (("alder", 0.35), ("birch", 0.0)):
        winners = []
        for first, second in (("bot-v2", "bot-v1"), ("bot-v1", "bot-v2")):
            winner = first if rng.random() < lean else "bot-v1" if rng.random() < 0.7 else "bot-v2"
            winners.append(winner)
            rows.verdict(
                item_id,
                judge,
                [first, second],
                f"{rows.run_id}-{n}-{judge}-{first}",
                kind="pairwise",
                status="scored",
                verdict="first" if winner == first else "second",
                winner=winner,
                score=float(winner == second),
                rationale=f"ANSWER {1 + (winner == second)} {REASONS[0]}.",
                simulated=simulated,
                aspect="overall",
            )
        inconsistent += winners[0] != winners[1]
        means.append(0.5 if winners[0] != winners[1] else float(winners[0] == "bot-v2"))
    rows.add(
        "scores",
        **item,
        system="bot-v2",
        against="bot-v1",
        trial=0,
        route="judged",
        score=float(np.mean(means)),
        disagreement=float(np.std(means)),
        inconsistent=inconsistent,
        calls_saved=0,
        usd_saved=0.0,
    )

"""Answers to customers from a shop's terms: checks, a faithfulness panel, labels, a gate. Start reading here.

evalh plan suites/test_support.py      what it would ask and cost, without asking
evalh run suites/test_support.py       the whole road
pytest suites/test_support.py          the same, one pytest test per item
"""

from __future__ import annotations

import re

import evalh
from evalh import checks

suite = evalh.Suite(
    name="support",
    description=(
        "Is an answer faithful to the terms of the shop, and does it help? The system sees the clauses that apply and a "
        "customer's question. v1 is good and wrong in four items; v2 is cheaper, longer and smoother, and in 28 of 64 items "
        "it promises what the terms do not say. The judges are SIMULATED, with the biases that suites/judges.toml states."
    ),
    golden="golden/support",
    # What is under test. Recorded outputs need no key; compare the other version with
    #   evalh run suites/test_support.py --system golden/support/outputs/v2.jsonl
    system=evalh.Recorded("golden/support/outputs/v1.jsonl"),
    # Tier 1: rules that need no judgement. They run first, and what fails one of them costs no judge call.
    checks=[
        checks.Regex(r"§\s?\d", name="cites a clause"),
        checks.MaxWords(120),
        checks.Refusal(negate=True, name="answers"),
        checks.ContainsAny(["promise", "guarantee", "no questions asked"], ignore_case=True, negate=True, name="no promises"),
    ],
    # Tier 2: what no rule can see. Three judges of three families, none of them the system's; each answers both criteria of
    # the rubric in one call. Each leans another way, so a majority is better than the best of them would be alone.
    panel=evalh.Panel(
        judges=[
            evalh.Judge(model="sim:north-1", source="judges.toml"),
            evalh.Judge(model="sim:south-1", source="judges.toml"),
            evalh.Judge(model="sim:east-1", source="judges.toml", api="anthropic"),  # asked through the anthropic client
        ],
        rubric="rubrics/support.md",
        rule="majority",
    ),
    # Tier 3: people label 24 outputs, more of those on which the judges disagree. Every output has a known chance to be
    # drawn, so this small sample still speaks for all 64.
    sampling=evalh.Sampling(labels=24, strategy="disagreement"),
    # What decides: the score must be above 0.75 with 95 % confidence, and not more than 0.1 below the approved version
    # (`evalh gate --approve RUN --as main`). With 64 items a smaller margin than 0.1 could not be decided.
    gate=evalh.Gate(minimum=0.75, baseline="main", margin=0.1),
    frozen="frozen_refs/support",
)
# To use real judges, name models of vendors that did not make the system, and set their keys in the environment:
#   judges=["anthropic:MODEL", "openai:MODEL", evalh.Judge(model="vllm:MODEL", base_url="http://127.0.0.1:8000/v1")]


@suite.test(blocking=True)
def test_cites_a_clause_that_decides(output):
    """A check in plain Python: `blocking=True` runs it before the judges, like the checks above."""
    cited = {int(number) for number in re.findall(r"§\s?(\d+)", output.text)}
    assert cited & set(output.item.meta["clauses"]), f"cites {sorted(cited)}"


@suite.test
def test_every_judge_could_be_read(output):
    """Without `blocking` a test runs after the judges and sees their verdicts, and `output.score`."""
    assert [v.unscored_reason for v in output.verdicts if v.status == "unscored"] == []

"""The judge-bound benchmark as an Inspect task: recorded outputs, three checks as one scorer, and a model-graded score.

Run by `benchmarks/engine_speed.py --inspect-python PATH`, in Inspect's own environment. The project's folder is in BENCH_PROJECT.
"""

import json
import os
import re
from pathlib import Path

import jsonschema
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ModelOutput
from inspect_ai.scorer import Score, Target, mean, model_graded_qa, scorer
from inspect_ai.solver import Generate, TaskState, solver

PROJECT = Path(os.environ["BENCH_PROJECT"])


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (PROJECT / name).read_text(encoding="utf-8").splitlines()]


@solver
def recorded():
    """The answer is there already: nothing is generated."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state.output = ModelOutput.from_content("recorded", state.metadata["output"])
        state.messages.append(state.output.message)
        return state

    return solve


@scorer(metrics={"schema": [mean()], "pattern": [mean()], "contained": [mean()]})
def checks():
    rules = json.loads((PROJECT / "rules.json").read_text(encoding="utf-8"))
    valid = jsonschema.Draft202012Validator(json.loads((PROJECT / "record.schema.json").read_text(encoding="utf-8"))).is_valid
    found = re.compile(rules["pattern"]).search

    async def score(state: TaskState, target: Target) -> Score:
        text = state.output.completion
        return Score(
            value={
                "schema": float(valid(json.loads(text))),
                "pattern": float(found(text) is not None),
                "contained": float(rules["contained"] in text),
            }
        )

    return score


@task
def complaints() -> Task:
    outputs = {row["item_id"]: row["output"] for row in rows("outputs.jsonl")}
    wanted = "The customer knows what to do."
    samples = [
        Sample(id=item["item_id"], input=item["input"], target=wanted, metadata={"output": outputs[item["item_id"]]})
        for item in rows("golden/complaints/items.jsonl")
    ]
    return Task(dataset=MemoryDataset(samples), solver=recorded(), scorer=[checks(), model_graded_qa(model="openai/bench-judge")])

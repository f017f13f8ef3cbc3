"""Seeded material for the speed of the engine: a project folder with a golden set, recorded outputs and suites.

Every output is a JSON record about a complaint. A stated share of them breaks the schema, lacks what the regex looks for, or lacks
the text that must be contained; each carries the level that the judge will give it. So every contestant's counts are known.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

SEED = 20261123
PATTERN = r"\b\d{1,2} working days\b"
CONTAINED = "policy"
WRONG_SCHEMA, WRONG_PATTERN, WRONG_TEXT = 0.08, 0.05, 0.03  # shares of the outputs
LEVELS, PASS_AT = 4, 3
MARK = "case level "  # the judge of the benchmark gives the level that stands behind it
NAMES = ("Ada", "Bruno", "Chiara", "Dilan", "Edda", "Farid", "Greta", "Hugo")
PLACES = ("Lisbon", "Graz", "Tromsø", "Zagreb", "Gdańsk", "Cork", "Malmö", "Porto")

SCHEMA: dict[str, Any] = {  # without $schema: promptfoo knows no draft 2020-12, and evalh takes nothing else
    "type": "object",
    "properties": {
        "answer": {"type": "string", "minLength": 20, "maxLength": 2000},
        "amount": {"type": "number", "minimum": 0},
        "currency": {"enum": ["EUR", "NOK", "PLN", "SEK"]},
        "order": {"type": "string", "pattern": "^[A-Z]-[0-9]{6}$"},
        "lines": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {"description": {"type": "string"}, "quantity": {"type": "integer", "minimum": 1}},
                "required": ["description", "quantity"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["answer", "amount", "currency", "order", "lines"],
    "additionalProperties": False,
}

RUBRIC = f"""\
---
name: usefulness
version: "1"
shuffle_levels: false
criteria:
  - name: usefulness
    question: How useful is the answer to a customer who has to decide today what to do with the broken article?
    scale:
      1: "useless: it does not speak of the matter"
      2: "poor: it speaks of the matter and leaves the customer where they were"
      3: "good: the customer knows what to do, with something useful left out"
      4: complete and clear enough to act on
    pass_at: {PASS_AT}
---
The input is a customer's complaint to an outdoor shop. The answer is a record that the shop's program wrote: the field `answer` is
what the customer reads, the other fields are what the shop books. Judge the text for the customer, in the light of what is booked.
"""

CHECKS = f"""\
checks:
  - {{json-schema: record.schema.json, blocking: false}}
  - {{regex: {{pattern: '{PATTERN}'}}, blocking: false}}
  - {{contains: {CONTAINED}, blocking: false}}
"""

GOLDEN = """\
name = "complaints"
version = "1"
canary = "EVALH-CANARY 8f0c2b1e-6a55-4f0e-9d1f-2b7a3c9e4d10"
licence = "Apache-2.0"
description = "Generated complaints for benchmarks."
"""

SETTINGS = """\
in_flight = {in_flight}

[families.bench-judge]
vendor = "Benchmark"

[providers.openai]
base_url = "{url}/v1"

[prices."openai:bench-judge"]
input = 1.0
output = 3.0
as_of = "2026-11-01"
"""


class Known(NamedTuple):
    """How many outputs pass each check, and how many the judge passes (0 where no judge is asked)."""

    items: int
    schema: int
    pattern: int
    contained: int
    judge: int


class Case(NamedTuple):
    """One item and its recorded output."""

    item_id: str
    input: str
    output: str
    right: tuple[bool, bool, bool]  # schema, pattern, contained
    level: int


def cases(n: int, seed: int = SEED) -> Iterator[Case]:
    """`n` cases, the same for the same seed, whatever n."""
    rng = random.Random(seed)
    for number in range(n):
        name, place = rng.choice(NAMES), rng.choice(PLACES)
        article, order = rng.choice(("tent", "stove", "rope", "lamp")), f"{rng.choice('ABCD')}-{rng.randrange(10**6):06d}"
        right = (rng.random() >= WRONG_SCHEMA, rng.random() >= WRONG_PATTERN, rng.random() >= WRONG_TEXT)
        level = rng.randrange(1, LEVELS + 1)
        asked = (
            f"{name} from {place} writes about order {order}: the {article} that arrived last week is broken in two places, the second "
            f"parcel is missing, and nobody has answered the first letter. What will be paid back, by when, and where does the "
            f"broken {article} go? The customer asks for a reply today and has attached {rng.randrange(1, 9)} photographs."
        )
        days = f"{rng.randrange(2, 15)} working days" if right[1] else "some time"
        by = f"our {CONTAINED}" if right[2] else "our rules"
        record = {
            "answer": f"Dear {name}, we are sorry about the {article}. By {by} the price is paid back within {days}; please send the "
            f"{article} to our workshop, the label is enclosed. This is {MARK}{level} of our shop.",
            "amount": rng.randrange(1000, 90000) / 100 if right[0] else "as paid",
            "currency": rng.choice(("EUR", "NOK", "PLN", "SEK")),
            "order": order,
            "lines": [{"description": article, "quantity": rng.randrange(1, 4)} for _ in range(rng.randrange(1, 4))],
        }
        yield Case(f"case-{number:07d}", asked, json.dumps(record, ensure_ascii=False), right, level)


def write_project(folder: Path, n: int, *, url: str = "http://127.0.0.1:9", in_flight: int = 64) -> Known:
    """A project with `n` items and the suites judged.yaml and checked.yaml. Streams, so that a million items need no memory."""
    golden = folder / "golden" / "complaints"
    golden.mkdir(parents=True)
    (golden / "golden.toml").write_text(GOLDEN, encoding="utf-8")
    (folder / "evalh.toml").write_text(SETTINGS.format(url=url, in_flight=in_flight), encoding="utf-8")
    (folder / "record.schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    (folder / "usefulness.md").write_text(RUBRIC, encoding="utf-8")
    head = f"golden: golden/complaints\nsystem: {{recorded: outputs.jsonl, family: program}}\n{CHECKS}"
    (folder / "checked.yaml").write_text(f"name: checked\n{head}", encoding="utf-8")
    panel = 'panel:\n  judges: ["openai:bench-judge"]\n  rubric: usefulness.md\n'
    (folder / "judged.yaml").write_text(f"name: judged\n{head}{panel}", encoding="utf-8")
    known = [0, 0, 0, 0, 0]
    with (golden / "items.jsonl").open("w", encoding="utf-8") as items, (folder / "outputs.jsonl").open("w", encoding="utf-8") as outputs:
        for case in cases(n):
            item = {"item_id": case.item_id, "input": case.input}
            output = {"item_id": case.item_id, "system": "desk", "system_version": "1", "output": case.output}
            items.write(json.dumps(item, ensure_ascii=False) + "\n")
            outputs.write(json.dumps(output, ensure_ascii=False) + "\n")
            known = [a + b for a, b in zip(known, (1, *case.right, case.level >= PASS_AT), strict=True)]
    return Known(*known)

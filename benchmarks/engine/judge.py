"""What judge-bound contestants share: the cases, the three checks in their cheapest form, and the request that evalh itself sends.

No import of evalh: these programs are what evalh is compared with.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

FIELDS = ("schema", "pattern", "contained", "judge")


class Work:
    """The recorded outputs of a project, its checks, and the judge's request as a template: settings, messages, schema."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.rules = json.loads((project / "rules.json").read_text(encoding="utf-8"))
        self.template = json.loads((project / "request.json").read_text(encoding="utf-8")) if (project / "request.json").exists() else None
        self.valid = validator(json.loads((project / "record.schema.json").read_text(encoding="utf-8")))
        self.found = re.compile(self.rules["pattern"]).search
        self.counts = dict.fromkeys(("items", *FIELDS), 0)

    def cases(self) -> Iterator[tuple[str, str]]:
        """Input and output of each item, the files read line by line."""
        with (self.project / "golden/complaints/items.jsonl").open("rb") as items, (self.project / "outputs.jsonl").open("rb") as outputs:
            for item, output in zip(map(json.loads, items), map(json.loads, outputs), strict=True):
                if item["item_id"] != output["item_id"]:
                    raise SystemExit("items and outputs do not stand in the same order")
                yield item["input"], output["output"]

    def check(self, output: str) -> None:
        """The three checks of one output."""
        self.counts["items"] += 1
        with suppress(ValueError):  # not JSON
            self.counts["schema"] += self.valid(json.loads(output))
        self.counts["pattern"] += self.found(output) is not None
        self.counts["contained"] += self.rules["contained"] in output

    def request(self, asked: str, output: str) -> dict[str, Any]:
        """The body that a judge is sent for one output: word by word what evalh sends, but for the code of the fence."""
        nonce = hashlib.sha256(f"{asked}\n{output}".encode()).hexdigest()[:16]
        system, user = self.template["messages"]
        return {
            **self.template["settings"],
            "messages": [
                {"role": "system", "content": system.replace("{nonce}", nonce)},
                {"role": "user", "content": user.replace("{nonce}", nonce).replace("{input}", asked).replace("{output}", output)},
            ],
        }

    def read(self, reply: Any) -> None:
        """The judge's verdict out of a reply."""
        level = json.loads(reply["choices"][0]["message"]["content"])["scores"]["usefulness"]
        self.counts["judge"] += level >= self.rules["pass_at"]

    def tell(self) -> None:
        """The counts, on standard output."""
        json.dump(self.counts, sys.stdout)


def validator(schema: dict[str, Any]) -> Callable[[Any], bool]:
    """The fastest validator that is installed."""
    try:
        import jsonschema_rs
    except ImportError:
        import jsonschema

        return jsonschema.Draft202012Validator(schema).is_valid
    return jsonschema_rs.validator_for(schema).is_valid

"""The model server of the benchmarks with another answer: the judge gives the level that is marked in what it is shown.

    python benchmarks/engine/judge_server.py [options of benchmarks/server.py]

So what every contestant must find is known beforehand. Each of them asks in its own words; the answer is in the form that is asked for:
a level in JSON (evalh and the floors), `GRADE: C` (Inspect), a JSON object with `pass` (promptfoo).
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parent.parent))

import server

from engine.material import MARK, PASS_AT

LEVEL = re.compile(rf"{MARK}(\d)".encode())
WHY = "The customer learns what to do and by when; the record agrees with the text in every field that can be compared."


def marked(path: bytes, body: bytes, text: str | None) -> bytes:
    """The reply to a request, in the format of its path."""
    found = LEVEL.search(body)
    if found is None:
        return b""  # a request without the mark is a fault of a contestant: it gets 400
    level = int(found.group(1))
    if text is None:
        if b"GRADE: C" in body:
            text = f"{WHY}\n\nGRADE: {'C' if level >= PASS_AT else 'I'}"
        elif b'\\"pass\\"' in body or b"pass: boolean" in body:
            text = json.dumps({"reason": WHY, "pass": level >= PASS_AT, "score": 1.0 if level >= PASS_AT else 0.0})
        else:
            text = json.dumps({"rationale": WHY, "scores": {"usefulness": level}})
    model = json.loads(body).get("model")
    return json.dumps(server.SHAPES[path](model, text, len(body) // 4, len(text) // 4 + 1)).encode()


if __name__ == "__main__":
    server.reply = marked
    server.main()

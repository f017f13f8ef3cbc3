"""What tier 1 costs: CPU microseconds an output, for each kind of check and for three together, on outputs of three sizes.

    python benchmarks/checks.py [--outputs 300] [--rounds 5] [--json]

Each figure is the least of several rounds, in CPU time of this process. `one by one` makes a record for each row, as pytest does;
everything else goes through columns, as runs do. Below them the parts: the deciding JSON Schema library and the quick one, `regex`
with and without its clock beside `re`, and several processes against one.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import regex

from evalh.checks.apply import CompiledCheck, apply_checks, apply_many, compile_checks
from evalh.checks.base import Subject
from evalh.checks.json_schema import compile_schema
from evalh.checks.json_text import parse_json
from evalh.checks.pool import Pool
from evalh.checks.registry import check_from_spec
from evalh.records import Item, Output

SIZES = (200, 2_000, 20_000)
SENTENCE = "You can send it back within 30 days of delivery. "
SCHEMA = {
    "type": "object",
    "required": ["answer", "score"],
    "properties": {
        "answer": {"type": "string", "minLength": 1},
        "score": {"type": "integer", "minimum": 1, "maximum": 5},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "additionalProperties": False,
}
ROW = '{"id": 7, "name": "a product", "tags": ["a", "b"], "price": 12.5}'
ROWS = {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "integer"}, "price": {"type": "number", "minimum": 0}}}}
THREE: tuple[Any, ...] = ({"json-schema": {"schema": SCHEMA}}, {"regex": r"\b30 days\b"}, {"contains": "30 days"})


def prose(size: int) -> str:
    return (SENTENCE * (size // len(SENTENCE) + 1))[:size]


def answer(size: int) -> str:
    return json.dumps({"answer": prose(size - 60), "score": 4, "tags": ["a", "policy"]})


def rows(size: int) -> str:
    return "[" + ", ".join([ROW] * max(1, size // len(ROW))) + "]"


KINDS: dict[str, tuple[Any, Callable[[int], str]]] = {
    "json-schema": (THREE[0], answer),
    "json-schema (rows)": ({"json-schema": {"schema": ROWS}}, rows),
    "regex": (THREE[1], answer),
    "contains": (THREE[2], answer),
    "equals": ({"equals": "x"}, prose),
    "max-words": ({"max-words": 5}, prose),
    "refusal": ("refusal", prose),
    "numeric": ({"numeric": 30}, prose),
    "json-path": ({"json-path": {"path": "$[*].id", "exists": True}}, rows),
    "levenshtein": ({"levenshtein": 0.5}, prose),
    "rouge-l": ({"rouge-l": 0.5}, prose),
    "bleu": ({"bleu": 0.5}, prose),
    "sql-valid": ({"sql-valid": "duckdb"}, lambda size: "SELECT a.x, b.y FROM a JOIN b ON a.id = b.id WHERE a.z = 'q';\n" * (size // 63)),
    "html-valid": ("html-valid", lambda size: "<div class='x'><p>Some <b>text</b></p></div>\n" * (size // 45)),
    "xml-valid": ("xml-valid", lambda size: "<r>" + "<a><b>1</b></a>" * (size // 15) + "</r>"),
}


def best(call: Callable[[], Any], times: int, rounds: int) -> float:
    """CPU microseconds of one of the `times` things that a call does."""
    least = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        call()
        least = min(least, (time.process_time() - start) / times)
    return round(least * 1e6, 2)


def ready(*specs: Any) -> list[CompiledCheck]:
    return compile_checks([check_from_spec(spec) for spec in specs], Path)


def outputs(text: str, n: int) -> list[tuple[Item, Output]]:
    return [(Item(item_id=str(i), input="q", reference=prose(len(text))), Output(item_id=str(i), system="s", text=text)) for i in range(n)]


def checked(compiled: list[CompiledCheck], some: list[tuple[Item, Output]], one_by_one: bool = False) -> Callable[[], Any]:
    if one_by_one:
        return lambda: [apply_checks(compiled, Subject(*each)) for each in some]
    return lambda: apply_many(compiled, [Subject(*each) for each in some])


def kinds(n: int, rounds: int) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for size in SIZES:
        some = outputs(answer(size), n)
        found.setdefault("all three", {})[size] = best(checked(ready(*THREE), some), n, rounds)
        found.setdefault("all three, one by one", {})[size] = best(checked(ready(*THREE), some, one_by_one=True), n, rounds)
        for name, (spec, text) in KINDS.items():
            fewer = max(3, n * 200 // size // 4) if name not in ("json-schema", "regex", "contains") else n
            found.setdefault(name, {})[size] = best(checked(ready(spec), outputs(text(size), fewer)), fewer, rounds)
    return found


def parts(n: int, rounds: int) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    pattern, plain = regex.compile(r"\b30 days\b"), re.compile(r"\b30 days\b")

    def took(name: str, size: int, call: Callable[[], Any], times: int = n) -> None:
        found.setdefault(name, {})[size] = best(lambda: [call() for _ in range(times)], times, rounds)

    for size in SIZES:
        for shape, schema, written in (("", SCHEMA, answer(size)), (" (rows)", ROWS, rows(size))):
            value = parse_json(written)
            problem, quick = compile_schema(schema)
            assert quick is not None
            took(f"json.loads{shape}", size, lambda: json.loads(written))  # noqa: B023 — called at once
            took(f"parse_json{shape}", size, lambda: parse_json(written))  # noqa: B023
            took(f"jsonschema{shape}", size, lambda: problem(value), 3)  # noqa: B023
            took(f"jsonschema-rs{shape}", size, lambda: quick.is_valid(value))  # noqa: B023
        text = prose(size)[len(SENTENCE) // 2 :]
        took("re", size, lambda: plain.search(text))  # noqa: B023
        took("regex", size, lambda: pattern.search(text))  # noqa: B023
        took("regex with a clock", size, lambda: pattern.search(text, timeout=0.5, concurrent=True))  # noqa: B023
    return found


def processes(n: int, rounds: int) -> dict[str, float]:
    """Wall microseconds an output of 1 kB of SQL, in this process and in children that have started."""
    some = [Subject(*each) for each in outputs(KINDS["sql-valid"][1](1_000), n)]
    pool = Pool(ready({"sql-valid": "duckdb"}), worth_s=0)
    walls: dict[str, list[float]] = {"one process": [], f"{pool.processes} processes": []}
    try:
        pool.apply(some)  # children start here
        pool.apply(some)
        for _ in range(rounds):
            for name, call in zip(walls, (lambda: apply_many(pool.compiled, some), lambda: pool.apply(some)), strict=True):
                start = time.perf_counter()
                call()
                walls[name].append(time.perf_counter() - start)
    finally:
        pool.close()
    return {name: round(min(each) / n * 1e6, 1) for name, each in walls.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {
        "checks": kinds(given.outputs, given.rounds),
        "parts": parts(given.outputs, given.rounds),
        "processes": processes(given.outputs, given.rounds),
    }
    if given.json:
        print(json.dumps(found, indent=1))
        return
    for title in ("checks", "parts"):
        print(f"{title + ', CPU µs an output of':<32}" + "".join(f"{size:>10,} B" for size in SIZES))
        for name, by_size in found[title].items():
            print(f"{name:<32}" + "".join(f"{by_size[size]:>12,.2f}" for size in SIZES))
        print()
    print("sql-valid, wall µs an output of 1 kB: " + ", ".join(f"{name} {us:,.0f}" for name, us in found["processes"].items()))


if __name__ == "__main__":
    main()

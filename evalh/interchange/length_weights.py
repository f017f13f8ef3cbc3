"""AlpacaEval's weights files: `weights/JUDGE/length_controlled_v1/baseline_SYSTEM.csv`, one system a row."""

from __future__ import annotations

import csv
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from evalh.errors import InputError
from evalh.interchange.lines import place
from evalh.judging.names import JudgeName, parse_judge_name
from evalh.stats.length_control import Weights, weights_of

COLUMNS = "`np.tanh(std_delta_len)`, `instruction_difficulty`, `not_gamed_baseline.astype(float)`"


class WeightsFile(NamedTuple):
    """The weights of systems, and whose they are, as far as the command line or the file's place says."""

    path: Path
    judge: JudgeName | None  # None: not said
    baseline: str | None
    weights: dict[str, Weights]


def read_weights(named: str) -> WeightsFile:
    """Read `FILE` or `JUDGE=FILE`. A file that lies in AlpacaEval's own folders says itself which judge and baseline it is of.

    Raises InputError with file, line and column for a file that is missing or not such a table.
    """
    judge, path = None, Path(named)
    if "=" in named and not path.exists():
        name, _, rest = named.partition("=")
        judge, path = parse_judge_name(name), Path(rest)
    if not path.is_file():
        raise InputError("there is no such file", where=place(path), hint="--weights takes FILE or JUDGE=FILE")
    if judge is None and path.parent.name.startswith("length_controlled") and path.parent.parent.name:
        judge = JudgeName(path.parent.parent.name)
    baseline = path.stem.removeprefix("baseline_") if path.stem.startswith("baseline_") else None
    return WeightsFile(path, judge, baseline, _rows(path))


def _rows(path: Path) -> dict[str, Weights]:
    """System → weights; of two rows of one system the last counts, as in the origin."""
    found: dict[str, Weights] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            for row in rows:
                if not row:
                    continue
                if len(row) != len(header):
                    raise InputError(f"{len(row)} cells, the header has {len(header)}", where=place(path, rows.line_num))
                values = {name: _number(cell, name, path, rows.line_num) for name, cell in zip(header[1:], row[1:], strict=True)}
                weights = weights_of(values)
                if weights is None:
                    fault = "the columns are not those of AlpacaEval's weights"
                    raise InputError(fault, where=place(path, 1), hint=f"a name, then {COLUMNS}")
                found[row[0]] = weights
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"not a table in UTF-8: {error}", where=place(path)) from error
    if not found:
        raise InputError("no weights", where=place(path), hint=f"one system a row: its name, then {COLUMNS}")
    return found


def _number(cell: str, column: str, path: Path, line: int) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise InputError(f"column `{column}`: {cell!r} is not a number", where=place(path, line))
    return value

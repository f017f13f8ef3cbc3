"""Applies checks to an output: every check gives a row, whatever happens in it. Negation lives here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from evalh.checks.base import Check, Compiled, Resolve, Subject
from evalh.checks.limits import Undecidable, safe_line
from evalh.errors import EvalhError, InputError
from evalh.fingerprints import content_hash, file_hash
from evalh.records import CheckResult


class CompiledCheck(NamedTuple):
    """A check that is ready to run, under a title that is its own in the suite.

    `check_hash` covers the settings and the content of every file that they name, so that a changed schema is another check.
    """

    title: str
    check_hash: str
    check: Check
    run: Compiled

    @property
    def blocking(self) -> bool:
        return self.check.blocking


def compile_checks(checks: Sequence[Check], resolve: Resolve) -> list[CompiledCheck]:
    """The checks as functions, each compiled once. Raises InputError that names the check whose settings cannot work."""
    return [_compile(check, title, resolve) for check, title in zip(checks, unique_titles(checks), strict=True)]


def unique_titles(checks: Sequence[Check]) -> list[str]:
    """A title per check; where two would be the same, the later one gets a number: `regex`, `regex-2`."""
    given, titles = {c.title for c in checks}, list[str]()
    for check in checks:
        title, number = check.title, 2
        while title in titles or (title != check.title and title in given):
            title, number = f"{check.title}-{number}", number + 1
        titles.append(title)
    return titles


def _compile(check: Check, title: str, resolve: Resolve) -> CompiledCheck:
    files: list[Path] = []

    def noted(written: str) -> Path:
        files.append(resolve(written))
        return files[-1]

    try:
        run = check.compile(noted)
    except EvalhError as error:
        where = f"check `{title}`" + (f", {error.where}" if error.where else "")
        raise InputError(error.what, where=where, hint=error.hint) from error
    except Exception as error:
        raise InputError(f"cannot be set up: {type(error).__name__}: {error}", where=f"check `{title}`") from error
    contents = [file_hash(path.read_bytes()) for path in files if path.is_file()]
    return CompiledCheck(title, content_hash(check.check_hash, contents) if contents else check.check_hash, check, run)


def apply_checks(compiled: Sequence[CompiledCheck], subject: Subject) -> list[CheckResult]:
    """One row per check, in their order. All run, so that every failure of an output is shown.

    An exception in a check is a row with the status `error`; so is every check of an output that the system failed to give.
    """
    return [_apply(each, subject) for each in compiled]


def _apply(compiled: CompiledCheck, subject: Subject) -> CheckResult:
    try:
        passed, score, reason = _run(compiled, subject)
    except Undecidable as error:
        return _row(compiled, "error", None, str(error))
    except Exception as error:
        return _row(compiled, "error", None, f"{type(error).__name__}: {error}")
    return _row(compiled, "pass" if passed else "fail", score, reason)


def _run(compiled: CompiledCheck, subject: Subject) -> tuple[bool, float, str]:
    if subject.output.error is not None:
        raise Undecidable(f"there is no output: {subject.output.error}")
    finding = compiled.run(subject)
    if not (isinstance(finding, tuple) and len(finding) == 3):
        raise Undecidable(f"the check gave {type(finding).__name__}, not a Finding")
    passed, score, reason = bool(finding[0]), float(finding[1]), str(finding[2])
    if not (math.isfinite(score) and 0 <= score <= 1):
        raise Undecidable(f"the check gave the score {score}, which is not in [0, 1]")
    if compiled.check.negate:
        return not passed, 1 - score, f"holds, and must not: {reason}" if passed else reason
    return passed, score, reason


def _row(compiled: CompiledCheck, status: str, score: float | None, reason: str) -> CheckResult:
    check = compiled.check
    return CheckResult.model_validate(
        {
            "check": compiled.title, "check_hash": compiled.check_hash, "status": status, "score": score, "reason": safe_line(reason),
            "negated": check.negate, "blocking": check.blocking, "weight": check.weight,
        }
    )  # fmt: skip

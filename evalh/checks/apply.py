"""Applies checks to an output: every check gives a row, whatever happens in it. Negation lives here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from evalh.checks.base import Check, Compiled, Resolve, Subject
from evalh.checks.limits import Undecidable, safe_line
from evalh.errors import EvalhError, InputError
from evalh.fingerprints import content_hash, file_hash
from evalh.records import CheckResult

Status = Literal["pass", "fail", "error"]


class CompiledCheck(NamedTuple):
    """A check that is ready to run, under a title that is its own in the suite.

    `check_hash` covers the settings and the content of every file that they name, so that a changed schema is another check.
    `files` is where each path in the settings was found.
    """

    title: str
    check_hash: str
    check: Check
    run: Compiled
    files: tuple[tuple[str, Path], ...] = ()

    @property
    def blocking(self) -> bool:
        return self.check.blocking

    @property
    def waits(self) -> bool:
        """Whether it may sleep, start a program or call code of users: such checks get a thread for each output."""
        return self.check.waits


class Results(NamedTuple):
    """What one check says of many outputs, column by column in their order: status, score (None where error), reason.

    All else in a row is the check's: its title, `check_hash`, and `check.negate`, `check.blocking`, `check.weight`.
    """

    check: CompiledCheck
    status: list[Status]
    score: list[float | None]
    reason: list[str]

    def record(self, place: int) -> CheckResult:
        """The row of one output."""
        title, check_hash, check = self.check[:3]
        return CheckResult(
            check=title, check_hash=check_hash, status=self.status[place], score=self.score[place], reason=self.reason[place],
            negated=check.negate, blocking=check.blocking, weight=check.weight,
        )  # fmt: skip


class Checked(Sequence[CheckResult]):
    """What all checks say of one output: its place in their results, and what test functions said. Rows are made when looked at."""

    __slots__ = ("more", "place", "results")

    def __init__(self, results: Sequence[Results], place: int, more: Sequence[CheckResult] = ()) -> None:
        self.results, self.place, self.more = results, place, list(more)

    def __len__(self) -> int:
        return len(self.results) + len(self.more)

    def __getitem__(self, number: Any) -> Any:
        return list(self)[number]

    def __iter__(self) -> Iterator[CheckResult]:
        yield from (result.record(self.place) for result in self.results)
        yield from self.more

    def blocking_failure(self) -> tuple[str, Status, str] | None:
        """Check, status and reason of the first blocking check that fails; else of the first that could not be decided."""
        undecided: tuple[str, Status, str] | None = None
        for result in self.results:
            status = result.status[self.place]
            if status != "pass" and result.check.check.blocking:
                if status == "fail":
                    return result.check.title, status, result.reason[self.place]
                undecided = undecided or (result.check.title, status, result.reason[self.place])
        for row in self.more:
            if row.status != "pass" and row.blocking:
                if row.status == "fail":
                    return row.check, row.status, row.reason
                undecided = undecided or (row.check, row.status, row.reason)
        return undecided

    def undecided(self) -> str | None:
        """Name and reason of the first check that could not be decided."""
        for result in self.results:
            if result.status[self.place] == "error":
                return f"{result.check.title}: {result.reason[self.place]}"
        return next((f"{row.check}: {row.reason}" for row in self.more if row.status == "error"), None)

    def score(self) -> float | None:
        """The weighted share of checks that hold; None where there are none."""
        weighed = [(result.check.check.weight, result.score[self.place]) for result in self.results]
        weighed += [(row.weight, row.score) for row in self.more]
        total = sum(weight for weight, _ in weighed)
        return sum(weight * (score or 0.0) for weight, score in weighed) / total if weighed else None


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
    files: list[tuple[str, Path]] = []

    def noted(written: str) -> Path:
        files.append((written, resolve(written)))
        return files[-1][1]

    try:
        run = check.compile(noted)
    except EvalhError as error:
        where = f"check `{title}`" + (f", {error.where}" if error.where else "")
        raise InputError(error.what, where=where, hint=error.hint) from error
    except Exception as error:
        raise InputError(f"cannot be set up: {type(error).__name__}: {error}", where=f"check `{title}`") from error
    contents = [file_hash(path.read_bytes()) for _, path in files if path.is_file()]
    check_hash = content_hash(check.check_hash, contents) if contents else check.check_hash
    return CompiledCheck(title, check_hash, check, run, tuple(files))


def apply_many(compiled: Sequence[CompiledCheck], subjects: Sequence[Subject]) -> list[Results]:
    """What every check says of every output: one `Results` per check, in their order. All run, so that every failure is shown.

    An exception in a check is a row with the status `error`; so is every check of an output that the system failed to give.
    """
    results = [Results(each, [], [], []) for each in compiled]
    for subject in subjects:
        for result in results:
            status, score, reason = _answer(result.check, subject)
            result.status.append(status)
            result.score.append(score)
            result.reason.append(safe_line(reason))
        subject.memo.clear()  # what its checks shared may be large
    return results


def apply_checks(compiled: Sequence[CompiledCheck], subject: Subject) -> list[CheckResult]:
    """One row per check for one output: `apply_many` as records."""
    return [result.record(0) for result in apply_many(compiled, (subject,))]


def _answer(compiled: CompiledCheck, subject: Subject) -> tuple[Status, float | None, str]:
    try:
        passed, score, reason = _run(compiled, subject)
    except Undecidable as error:
        return "error", None, str(error)
    except Exception as error:
        return "error", None, f"{type(error).__name__}: {error}"
    return "pass" if passed else "fail", score, reason


def _run(compiled: CompiledCheck, subject: Subject) -> tuple[bool, float, str]:
    if subject.output.error is not None:
        raise Undecidable(f"there is no output: {subject.output.error}")
    finding = compiled.run(subject)
    if not (isinstance(finding, tuple) and len(finding) == 3):
        raise Undecidable(f"the check gave {type(finding).__name__}, not a Finding")
    passed, score, reason = bool(finding[0]), float(finding[1]), str(finding[2])
    if not 0 <= score <= 1:
        raise Undecidable(f"the check gave the score {score}, which is not in [0, 1]")
    if compiled.check.negate:
        return not passed, 1 - score, f"holds, and must not: {reason}" if passed else reason
    return passed, score, reason

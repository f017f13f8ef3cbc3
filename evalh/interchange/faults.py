"""What is wrong with recorded data, gathered to the end of all files, so that one complaint names all of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from evalh.errors import InputError
from evalh.interchange.lines import place

SHOWN = 50  # bad lines in full; the others by their numbers
KEPT = 10_000


class BadLines(InputError):
    """Several things at once: `what`, `where` and `hint` are those of the first, `more` has a line for each of the others."""

    def __init__(self, first: InputError, more: Sequence[str]) -> None:
        super().__init__(first.what, where=first.where, hint=first.hint)
        self.more = list(more)

    def __str__(self) -> str:
        return "\n".join(map(_harmless, [super().__str__(), *self.more]))


def _harmless(text: str) -> str:
    """The text without what could steer a terminal: ids and names come from the files."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


class Faults:
    """Bad lines of several files. What is wrong with a line is kept in words for the first `KEPT`, its number for all."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, int, InputError]] = []
        self._others: dict[Path, list[int]] = {}
        self._files: list[Path] = []

    def __len__(self) -> int:
        return len(self.kept) + sum(map(len, self._others.values()))

    def add(self, path: Path, line: int, fault: InputError) -> None:
        """One bad line. Files come in the order in which they are first named."""
        if path not in self._files:
            self._files.append(path)
        if len(self.kept) < KEPT:
            self.kept.append((self._files.index(path), line, fault))
        else:
            self._others.setdefault(path, []).append(line)

    def error(self, findings: Sequence[str] = ()) -> InputError:
        """The error that names every bad line, and then what else was found."""
        kept = sorted(self.kept, key=lambda one: one[:2])
        first = kept[0][2]
        said = [*(str(fault) for _, _, fault in kept[1:SHOWN]), *self._rest(kept[SHOWN:]), *findings]
        count = "1 bad line" if len(self) == 1 else f"{len(self)} bad lines"
        return BadLines(first, [*said, f"{count}; nothing is stored"]) if said else first

    def _rest(self, kept: Sequence[tuple[int, int, InputError]]) -> Iterator[str]:
        lines = {path: list(numbers) for path, numbers in self._others.items()}
        for number, line, _ in kept:
            lines.setdefault(self._files[number], []).append(line)
        if lines:
            named = "; ".join(f"{place(path)} lines {ranges(lines[path])}" for path in self._files if path in lines)
            yield f"and {sum(map(len, lines.values()))} more: {named}"


def ranges(lines: Iterable[int]) -> str:
    """`3, 5–9, 12` of line numbers."""
    found = []
    for _, run in groupby(enumerate(sorted(set(lines))), key=lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in run]
        found.append(str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}–{numbers[-1]}")
    return ", ".join(found)

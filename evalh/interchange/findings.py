"""What recorded data says that a store cannot hold: one thing said twice, two things said as one, items that nobody knows.

Such findings refuse an import unless the rows are set aside; nothing is merged and nothing chosen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from evalh.interchange.batches import Table

EXAMPLES = 5
WHOLE = 0.9  # from this share of a system's items on it is not lines that stand twice, but a second system


class Example(NamedTuple):
    """A line, the line before it that it repeats or contradicts, and what it is about."""

    line: int
    before: int | None
    what: str


@dataclass(frozen=True)
class Finding:
    """One kind of thing found in one file: how many rows, on how many items. `lines`: what is left out to set it aside."""

    kind: str
    file: str
    count: int
    items: int
    examples: list[Example]
    sentence: str
    refuses: bool = False
    lines: Sequence[int] = ()

    @property
    def document(self) -> dict[str, Any]:
        """As it stands in the document of `evalh import --json`."""
        told = {"kind": self.kind, "file": self.file, "count": self.count, "items": self.items, "sentence": self.sentence}
        return {**told, "refuses": self.refuses, "examples": [dict(example._asdict()) for example in self.examples]}


def counted(count: int, noun: str) -> str:
    """`1 item`, `1,200 items`."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"


# ---- the same thing twice --------------------------------------------------------------------------------------------

Key = Sequence[Hashable]  # one per row: rows of one key are the same fact


class _Twice(NamedTuple):
    """Rows of one key: places in the table, in the order of the file."""

    repeated: list[list[int]]  # all say the same
    contradicting: list[list[int]]


def outputs_twice(table: Table, file: str) -> list[Finding]:
    """Outputs of one (item, system, trial) that stand again: with the same text, or with another."""
    columns = table.columns
    key = list(zip(columns["item_id"], columns["system"], columns["trial"], strict=True)) if columns else []
    found = _twice(table, key)
    again = _repeated("outputs_repeated", file, "output", table, found, _about(table, "system", "trial"))
    other = _of(found.contradicting)
    if not other:
        return again
    sentence = _two_systems(table, found, _items(table, other))
    about = _about(table, "system", "trial")
    return [*again, _finding("outputs_contradict", file, table, found.contradicting, sentence, about, other)]


def _two_systems(table: Table, found: _Twice, items: int) -> str:
    systems, item_ids = table.columns["system"], table.columns["item_id"]
    names = {systems[group[0]] for group in found.contradicting}
    count = counted(len(found.contradicting), "output")
    said = f"{count} of {_some(names)} again with other content, on {counted(items, 'item')}: two systems' outputs under one name?"
    whole = []
    for name in sorted(names):
        doubled = {item_ids[group[0]] for group in found.contradicting if systems[group[0]] == name}
        share = len(doubled) / len({i for i, s in zip(item_ids, systems, strict=True) if s == name})
        if share >= WHOLE:
            whole.append(f"`{name}` ({100 * share:.0f} % of its items)")
    if whole:
        looks = f"It looks like two whole systems: nearly every item stands twice of {', '.join(whole[:EXAMPLES])}"
    else:
        looks = "Most items stand once: it looks like single lines that were filed twice"
    return f"{said} {looks}. Give each system its own name, or count `trial` up"


def verdicts_twice(table: Table, ids: Sequence[str], file: str) -> list[Finding]:
    """Verdicts of one judge on one question that stand again. `ids` are the verdicts' ids."""
    found = _twice(table, ids)
    about = _about(table, "judge", "systems", "aspect", "trial", "repeat")
    sentence = "{rows} again with another {differs}, on {items}. Count `repeat` up where the judge was asked the same again"
    answer = ("verdict", "winner", "label", "raw_score", "preference")
    return [
        *_repeated("verdicts_repeated", file, "verdict", table, found, about),
        *_contradicting("verdicts_contradict", file, "verdict", table, found, about, sentence, answer),
    ]


def labels_twice(table: Table, ids: Sequence[str], file: str) -> list[Finding]:
    """Labels of one annotator on one unit (item, systems, aspect) that stand again. `ids` are the labels' ids."""
    found = _twice(table, ids)
    about = _about(table, "annotator", "systems", "aspect")
    advice = "Keep the one that counts, or name the annotators apart"
    sentence = f"{{rows}} of one person on one thing again with another {{differs}}, on {{items}}. {advice}"
    return [
        *_repeated("labels_repeated", file, "label", table, found, about),
        *_contradicting("labels_contradict", file, "label", table, found, about, sentence, ("winner", "verdict", "score", "label")),
    ]


def _twice(table: Table, keys: Key) -> _Twice:
    """Rows whose key other rows have too."""
    if len(set(keys)) == len(keys):
        return _Twice([], [])
    places: dict[Hashable, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        places[key].append(place)
    columns = list(table.columns.values())
    found = _Twice([], [])
    for group in places.values():
        if len(group) > 1:
            same = len({tuple(column[place] for column in columns) for place in group}) == 1
            (found.repeated if same else found.contradicting).append(group)
    return found


def _repeated(kind: str, file: str, noun: str, table: Table, found: _Twice, about: Callable[[int], str]) -> list[Finding]:
    extra = [place for group in found.repeated for place in group[1:]]
    if not extra:
        return []
    sentence = f"{counted(len(extra), noun)} again, word for word, on {counted(_items(table, extra), 'item')}. Remove the copies"
    return [_finding(kind, file, table, found.repeated, sentence, about, extra)]


def _contradicting(
    kind: str, file: str, noun: str, table: Table, found: _Twice, about: Callable[[int], str], sentence: str, answer: Iterable[str]
) -> list[Finding]:
    every = _of(found.contradicting)
    if not every:
        return []
    columns = [table.columns[name] for name in answer]
    differ = sum(len({tuple(column[place] for column in columns) for place in group}) > 1 for group in found.contradicting)
    groups = len(found.contradicting)
    differs = "answer" if differ == groups else f"content ({differ:,} with another answer, the others in other words)"
    said = sentence.format(rows=counted(groups, noun), differs=differs, items=counted(_items(table, every), "item"))
    return [_finding(kind, file, table, found.contradicting, said, about, every)]


def _finding(
    kind: str, file: str, table: Table, groups: Sequence[list[int]], sentence: str, about: Callable[[int], str], left_out: Sequence[int]
) -> Finding:
    lines = table.lines
    examples = [Example(lines[group[1]], lines[group[0]], about(group[1])) for group in groups[:EXAMPLES]]
    count = sum(len(group) - 1 for group in groups)
    items = _items(table, [group[0] for group in groups])
    return Finding(kind, file, count, items, examples, sentence, True, [lines[place] for place in left_out])


def _of(groups: Iterable[list[int]]) -> list[int]:
    return [place for group in groups for place in group]


def _items(table: Table, places: Iterable[int]) -> int:
    return len({table.columns["item_id"][place] for place in places})


def _about(table: Table, *names: str) -> Callable[[int], str]:
    """What a row is about, for a person: the item, and what else names it."""

    def told(place: int) -> str:
        said = [f"`{table.columns['item_id'][place]}`"]
        for name in names:
            value = table.columns[name][place]
            if value or value == 0:
                said.append(f"{name} {', '.join(value) if isinstance(value, tuple) else value}")
        return ", ".join(said)

    return told


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - EXAMPLES} more" if len(listed) > EXAMPLES else ""
    return ", ".join(f"`{name}`" for name in listed[:EXAMPLES]) + more


# ---- items that are not there ----------------------------------------------------------------------------------------


def unknown_items(table: Table, known: Iterable[str], file: str, noun: str, items_file: str) -> list[Finding]:
    """Rows about items that the items file does not have."""
    ids = table.columns.get("item_id", [])
    unknown = set(ids).difference(known)
    if not unknown:
        return []
    places = [place for place, item_id in enumerate(ids) if item_id in unknown]
    examples = [Example(table.lines[place], None, f"`{ids[place]}`") for place in places[:EXAMPLES]]
    sentence = (
        f"field `item_id`: `{ids[places[0]]}` is not in {items_file}; {len(places)} {noun} are about {len(unknown)} such items."
        " Add the items, or remove the lines"
    )
    return [Finding("unknown_items", file, len(places), len(unknown), examples, sentence, True, [table.lines[place] for place in places])]

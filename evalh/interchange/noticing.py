"""What recorded data holds that may well be right and should be looked at: it is told, and refuses nothing.

The rules are plain counts, so that a person can check them; each sentence says its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from evalh.interchange.batches import Table
from evalh.interchange.findings import EXAMPLES, Example, Finding, counted
from evalh.judging.names import judge_title

OFTEN_ITEMS, OFTEN_SHARE, ALWAYS_ITEMS = 20, 0.01, 100  # one text on 20 items and 1 % of them, or on 100 whatever their share
TWIN_ITEMS, TWIN_SHARE = 20, 0.9
CROWD = 12  # a text that more systems share (`yes`) says nothing about two of them
ORDER_VERDICTS = 20
SCALE_SCORES = 50

Judge = tuple[str, str, str]  # judge, judge_version, prompt


def one_text(table: Table, file: str) -> Iterator[Finding]:
    """One text as the output of one system for many items: a default, a cached reply, a refusal, or a file joined wrongly."""
    columns = table.columns
    if not columns:
        return
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    items: dict[str, set[str]] = defaultdict(set)
    for place, (system, text, error, item) in enumerate(
        zip(columns["system"], columns["output_hash"], columns["error"], columns["item_id"], strict=True)
    ):
        items[system].add(item)
        if error is None:
            places[system, text].append(place)
    found: dict[str, list[tuple[int, list[int]]]] = defaultdict(list)
    for (system, _), some in places.items():
        if len(some) >= OFTEN_ITEMS:
            n = len({columns["item_id"][place] for place in some})
            if n >= OFTEN_ITEMS and (n >= OFTEN_SHARE * len(items[system]) or n >= ALWAYS_ITEMS):
                found[system].append((n, some))
    for system, texts in found.items():
        texts.sort(reverse=True)
        every = {columns["item_id"][place] for _, some in texts for place in some}
        share = 100 * len(every) / len(items[system])
        sentence = (
            f"`{system}` gives {counted(len(texts), 'text')} each on {OFTEN_ITEMS} items and more, {share:.1f} % of its"
            f" {counted(len(items[system]), 'item')}; the commonest on {texts[0][0]:,}. Where it does not answer in classes,"
            " look whether it failed there"
        )
        examples = [Example(table.lines[some[1]], table.lines[some[0]], _start(columns["output"][some[0]])) for _, some in texts[:EXAMPLES]]
        yield Finding("one_text", file, sum(len(some) for _, some in texts), len(every), examples, sentence)


def twin_systems(table: Table, file: str) -> Iterator[Finding]:
    """Two systems whose outputs are the same text nearly everywhere."""
    columns = table.columns
    if not columns or len(set(columns["system"])) < 2:
        return
    units: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for item, trial, system, text, error in zip(
        *(columns[name] for name in ("item_id", "trial", "system", "output_hash", "error")), strict=True
    ):
        if error is None:
            units[item, trial][system] = text
    same: Counter[tuple[str, str]] = Counter()
    for texts in units.values():
        if len(set(texts.values())) < len(texts):
            by_text: dict[str, list[str]] = defaultdict(list)
            for system, text in texts.items():
                by_text[text].append(system)
            for systems in by_text.values():
                if len(systems) <= CROWD:
                    same.update(combinations(sorted(systems), 2))
    for (a, b), n in sorted(same.items()):
        both = [item for (item, _), texts in units.items() if a in texts and b in texts] if n >= TWIN_ITEMS else []
        if len(both) >= TWIN_ITEMS and n >= TWIN_SHARE * len(both):
            place = next(p for p, (i, s) in enumerate(zip(columns["item_id"], columns["system"], strict=True)) if s == b and i in both[:1])
            sentence = (
                f"`{a}` and `{b}` have the same text on {n:,} of {len(both):,} outputs that both have: is it one system under two names?"
            )
            yield Finding("twin_systems", file, n, len(set(both)), [Example(table.lines[place], None, f"`{a}`, `{b}`")], sentence)


def one_order(table: Table, file: str) -> Iterator[Finding]:
    """Judges that were shown each pair in one order only, although it is known which: what they make of the place cannot be seen."""
    columns = table.columns
    asked: dict[Judge, set[tuple[str, tuple[str, ...], int, str]]] = defaultdict(set)
    first: dict[Judge, int] = {}
    both: set[Judge] = set()
    for place, (known, kind) in enumerate(zip(columns.get("order_known", ()), columns.get("kind", ()), strict=True)):
        judge = (columns["judge"][place], columns["judge_version"][place], columns["prompt"][place])
        if not known or kind != "pairwise" or judge in both:
            continue
        item, systems, trial, aspect = (columns[name][place] for name in ("item_id", "systems", "trial", "aspect"))
        first.setdefault(judge, place)
        if (item, systems[::-1], trial, aspect) in asked[judge]:
            both.add(judge)
            del asked[judge]
        else:
            asked[judge].add((item, systems, trial, aspect))
    alone = {judge: units for judge, units in asked.items() if len(units) >= ORDER_VERDICTS}
    if not alone:
        return
    items = {unit[0] for units in alone.values() for unit in units}
    always = [judge for judge, units in alone.items() if _always_first(units)]
    same = f" {counted(len(always), 'judge')} always saw the same system of two first, which then cannot be told from the place."
    fixed = same if always else ""
    sentence = (
        f"{counted(len(alone), 'judge')} saw each pair in one order only:{fixed} What the place does to their verdicts cannot be measured;"
        " ask in both orders, or state `order_known: false` where the order is not known"
    )
    examples = [Example(table.lines[first[judge]], None, judge_title(*judge)) for judge in list(alone)[:EXAMPLES]]
    yield Finding("one_order", file, sum(map(len, alone.values())), len(items), examples, sentence)


def _always_first(units: set[tuple[str, tuple[str, ...], int, str]]) -> bool:
    seen = {systems for _, systems, _, _ in units}
    return not any(systems[::-1] in seen for systems in seen)


def all_unscored(table: Table, judges: Counter[Judge], unscored: Counter[Judge], file: str) -> Iterator[Finding]:
    """Judges that never gave a verdict that could be read."""
    silent = [judge for judge, n in judges.items() if n == unscored[judge]]
    if not silent:
        return
    columns = table.columns
    places: dict[Judge, int] = {}
    items: set[str] = set()
    wanted = set(silent)
    for place, judge in enumerate(zip(columns["judge"], columns["judge_version"], columns["prompt"], strict=True)):
        if judge in wanted:
            places.setdefault(judge, place)
            items.add(columns["item_id"][place])
    count = sum(judges[judge] for judge in silent)
    sentence = f"not one verdict of {counted(len(silent), 'judge')} could be read: their files may be read wrongly, or they failed"
    examples = [Example(table.lines[places[judge]], None, judge_title(*judge)) for judge in silent[:EXAMPLES]]
    yield Finding("all_unscored", file, count, len(items), examples, sentence)


def off_scale(table: Table, group: Sequence[Any], scores: Sequence[float | None], file: str, noun: str) -> Iterator[Finding]:
    """Scores far from the others of their group (a judge's, or an aspect's).

    Far: beyond the range in which 98 % of the group's scores lie, by more than that range's width; from 50 scores on.
    """
    by_group: dict[Any, list[int]] = defaultdict(list)
    for place, (name, score) in enumerate(zip(group, scores, strict=True)):
        if score is not None:
            by_group[name].append(place)
    far: list[int] = []
    ranges: list[str] = []
    for places in by_group.values():
        if len(places) < SCALE_SCORES:
            continue
        values = np.array([scores[place] for place in places], dtype=np.float64)
        low, high = np.percentile(values, [1, 99])
        out: list[int] = np.flatnonzero((values < 2 * low - high) | (values > 2 * high - low)).tolist() if high > low else []
        if out:
            far += [places[n] for n in out]
            ranges.append(f"{low:g} to {high:g}")
    if far:
        far.sort()
        items = len({table.columns["item_id"][place] for place in far})
        others = ", ".join(ranges[:EXAMPLES])
        sentence = f"{counted(len(far), noun)} far outside the scale of the others ({others}): another scale, or a slip?"
        examples = [Example(table.lines[place], None, f"{scores[place]:g}") for place in far[:EXAMPLES]]
        yield Finding("off_scale", file, len(far), items, examples, sentence)


def _start(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:59] + "…"

"""The judges on the page of a run: the same numbers as `evalh audit`, what is missing said with its reason, disputes with both sides."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from evalh.report.html import MAX_BYTES
from tests.conftest import Done, write_lines
from tests.test_report_html import HOSTILE, Page, parse_errors

Evalh = Callable[..., Done]
Row = dict[str, Any]
PAIR = ("alpha", "beta")


class Made:
    """A page, its text, and the document of `evalh audit` of the same run."""

    def __init__(self, source: str, document: Any) -> None:
        self.source, self.document, self.page = source, document, Page(source)
        self.text = self.page.text

    def section(self, start: str, end: str) -> str:
        return self.text[self.text.index(start) : self.text.index(end, self.text.index(start))]


@pytest.fixture
def reported(evalh: Evalh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Made]:
    """Imports rows as a run, writes its page, and audits it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVALH_STORE", raising=False)
    (tmp_path / "evalh.toml").write_text("")

    def call(*args: str, **files: Iterable[Row]) -> Made:
        folder = tmp_path / "recorded"
        folder.mkdir()
        for name, rows in files.items():
            write_lines(folder / f"{name}.jsonl", list(rows))
        for command in (("import", folder), ("report", "recorded", "--html", "page.html", *args)):
            done = evalh(*command)
            assert done.code == 0, done.err
        audited = evalh("audit", "--run", "recorded", "--json", *args)
        assert audited.code == 0, audited.err
        return Made((tmp_path / "page.html").read_text(encoding="utf-8"), audited.json)

    return call


def winner(n: int) -> str:
    return PAIR[n % 2]


def verdict(n: int, said: str | None, *, judge: str = "umpire", shown: tuple[str, str] = PAIR, **more: Any) -> Row:
    place = None if said is None else "tie" if said == "tie" else ("first", "second")[shown.index(said)]
    return {"item_id": f"i{n:03}", "judge": judge, "kind": "pairwise", "systems": shown, "verdict": place, "winner": said, **more}


def label(n: int, said: str) -> Row:
    return {"item_id": f"i{n:03}", "annotator": "ada", "kind": "pairwise", "systems": PAIR, "winner": said}


def outputs(n: int, text: Callable[[int, str], str]) -> list[Row]:
    return [{"item_id": f"i{i:03}", "system": system, "output": text(i, system)} for i in range(n) for system in PAIR]


def panel(n: int) -> list[Row]:
    """`steady` errs on every seventh item; `leaner` names the first shown on half of all. Both orders, each with a reason."""
    rows = []
    for i in range(n):
        for shown in (PAIR, PAIR[::-1]):
            steady = winner(i) if i % 7 else winner(i + 1)
            leaner = shown[0] if i % 2 else winner(i)
            rows.append(verdict(i, steady, judge="steady", shown=shown, rationale=f"steady on {i}"))
            rows.append(verdict(i, leaner, judge="leaner", shown=shown, rationale=f"leaner on {i}"))
    return rows


def told(estimate: Row) -> str:
    return f"{100 * estimate['value']:.1f} % [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}] n {estimate['n']}"


def test_the_page_gives_the_numbers_of_the_audit(reported: Callable[..., Made]) -> None:
    """Agreement, position, length, the matrix, the panel and every finding stand there as `evalh audit` gives them."""
    n = 80
    made = reported(
        judgments=panel(n), labels=[label(i, winner(i)) for i in range(n)],
        outputs=outputs(n, lambda i, system: "word " * (5 + (3 * i + len(system)) % 11)),
        items=[{"item_id": f"i{i:03}", "input": f"question {i}", "slice": "odd" if i % 2 else "even"} for i in range(n)],
    )  # fmt: skip
    for judge in made.document["judges"]:
        position, length = judge["position"], judge["verbosity"]
        for estimate in (judge["agreement_estimate"], position["first_share_estimate"], position["consistency_estimate"]):
            assert told(estimate) in made.text
        assert told(length["longer_share_estimate"]) in made.text
        if length["coefficient"] is not None:
            assert f"{length['coefficient']:.2f}".replace("-", "−") in made.section("Twice the length adds", "Reliability")
        for finding in judge["findings"]:
            assert " ".join(finding["sentence"].split()) in made.text
            assert finding["level"] == "ok" or finding["action"] in made.text
    (pair,) = made.document["pairs"]
    matrix = made.section("Share of equal answers", "Agreement with people")
    assert matrix.count(f"{100 * pair['agreement']:.1f} % {pair['n']}") == 2
    assert made.document["panel"]["sentence"] in matrix
    assert "leaner" in made.section("Worse than chance", "Worst disagreements") or "On none of" in made.text
    assert parse_errors(made.source) == []


def test_a_judge_worse_than_chance_on_a_slice_is_named_with_its_numbers(reported: Callable[..., Made]) -> None:
    """Right on one slice, wrong on the other: the page names the slice, its n and the agreement."""
    n = 120
    rows = [verdict(i, winner(i) if i < 60 else winner(i + 1)) for i in range(n)]
    items = [{"item_id": f"i{i:03}", "input": "?", "slice": "plain" if i < 60 else "swapped"} for i in range(n)]
    made = reported(judgments=rows, labels=[label(i, winner(i)) for i in range(n)], items=items)
    (judge,) = made.document["judges"]
    worse = next(part for part in judge["slices"] if part["slice"] == "swapped")
    assert worse["verdict_on_judge"] == "worse than chance"
    shown = made.section("Worse than chance", "Worst disagreements")
    assert f"umpire slice swapped 60 0.0 % [0.0, {100 * worse['agreement']['high']:.1f}]" in shown
    assert "slice plain" not in made.text


def test_the_worst_disagreements_show_people_both_outputs_and_both_rationales(reported: Callable[..., Made]) -> None:
    """Where both judges are against people comes first; where they differ, each stands there with its own reason; at most ten."""
    n = 40
    judgments = []
    for i in range(n):
        good = i not in (3, 5)
        judgments.append(verdict(i, winner(i) if good else winner(i + 1), judge="one", rationale=f"one says {i}"))
        judgments.append(verdict(i, winner(i) if good and i % 4 else winner(i + 1), judge="two", raw=f"two replied {i}"))
    made = reported(
        judgments=judgments, labels=[label(i, winner(i)) for i in range(n)], outputs=outputs(n, lambda i, system: f"{system} wrote {i}")
    )
    shown = made.text[made.text.index("Worst disagreements") :]
    named = re.findall(r"(i\d{3}) people say (alpha|beta); 2 verdicts on average (\d+) % away", shown)
    assert len(named) == 10
    assert {(item, away) for item, _, away in named[:2]} == {("i003", "100"), ("i005", "100")}
    assert all(who == winner(int(item[1:])) and int(item[1:]) % 4 == 0 and away == "50" for item, who, away in named[2:])
    for item, _, _ in named:
        number = int(item[1:])
        for text in (f"alpha wrote {number}", f"beta wrote {number}", f"one says {number}", f"two replied {number}"):
            assert text in shown


def test_without_labels_an_order_or_a_second_judge_the_page_says_why(reported: Callable[..., Made]) -> None:
    """One judge, recorded without orders or labels: no figure is made up, each absence has the reason that the audit gives."""
    made = reported(judgments=[{**verdict(i, winner(i)), "order_known": False} for i in range(30)])
    (judge,) = made.document["judges"]
    assert judge["position"] is None
    assert "No labels: how far these judges agree with people is not known." in made.text
    assert f"Position and steadiness : no figure, {judge['position_why']}" in made.text
    assert judge["calibration_why"][1:] in made.text
    assert "One judge: nothing here says what it has in common with others." in made.text
    assert "First share" not in made.section("Judges", "Labels")
    assert "dispute-1" not in made.page.attributes("id")


def test_without_labels_disputes_are_where_judges_contradict_themselves(reported: Callable[..., Made]) -> None:
    """Items whose two orders name different winners, and no other; nobody's consensus is claimed."""
    rows = [verdict(i, shown[0] if i < 4 else winner(i), shown=shown) for i in range(30) for shown in (PAIR, PAIR[::-1])]
    made = reported(judgments=rows)
    shown = made.text[made.text.index("Worst disagreements") :]
    assert sorted(re.findall(r"(i\d{3}) people do not say; apart from each other by 50 points", shown)) == [f"i{n:03}" for n in range(4)]


def test_a_stated_confidence_makes_a_reliability_diagram_with_its_table(reported: Callable[..., Made]) -> None:
    """Sure at 0.9 and right in six of ten: one bin, its accuracy with interval, ECE; the judge without a confidence gets the reason."""
    n = 100
    said = [winner(i) if i % 10 < 6 else winner(i + 1) for i in range(n)]
    rows = [verdict(i, s, judge="sure", score=0.9 if s == PAIR[1] else 0.1) for i, s in enumerate(said)]
    rows += [verdict(i, s, judge="terse") for i, s in enumerate(said)]
    made = reported(judgments=rows, labels=[label(i, winner(i)) for i in range(n)])
    sure, terse = made.document["judges"]
    (found,) = [b for b in sure["calibration"]["bins"] if b["n"]]
    part = made.section("Reliability", "Worst disagreements")
    right = f"{100 * found['accuracy']['value']:.1f} % [{100 * found['accuracy']['low']:.1f}, {100 * found['accuracy']['high']:.1f}]"
    assert f"90.0 % {right} 100" in part
    assert "Expected calibration error 30.0 %" in part
    assert f"terse : {terse['calibration_why']}" in part


def test_unscored_verdicts_are_counted_and_no_distance(reported: Callable[..., Made]) -> None:
    """Unread replies stand beside the judge's name; the rule for them is said where it is not the default."""
    rows = [verdict(i, None if i % 5 == 0 else winner(i), unscored_reason="no verdict in it") for i in range(50)]
    made = reported("--unscored", "wrong", judgments=rows, labels=[label(i, winner(i)) for i in range(50)])
    (judge,) = made.document["judges"]
    assert judge["n_unscored"] == 10
    assert "10 unscored" in made.section("Judges", "Agreement with people")
    assert told(judge["agreement_estimate"]) in made.text
    assert made.document["unscored_rule_means"][1:] in made.text
    assert "Worst disagreements" not in made.text


def test_hostile_names_and_texts_stay_text_and_long_ones_fit(reported: Callable[..., Made]) -> None:
    """Markup, direction marks and a million characters: shown as text, named by code point, and the page stays under its limit."""
    foul = HOSTILE.replace("\ud800", "").replace("\x00", "")
    rows = []
    for i in range(30):
        for j in range(14):
            said = winner(i + j)
            rows.append(verdict(i, said, judge=f"{foul} {j}", prompt=foul, rationale=foul * 40, raw=foul))
    items = [{"item_id": f"i{i:03}", "input": foul * 60, "slice": foul if i % 2 else "plain"} for i in range(30)]
    labels = [label(i, winner(i)) for i in range(30)]
    made = reported(judgments=rows, labels=labels, items=items, outputs=outputs(30, lambda i, system: foul * 60))
    assert len(made.source.encode()) <= MAX_BYTES
    assert not {tag for tag, _ in made.page.tags} & {"script", "img", "iframe"}
    assert not [name for _, attributes in made.page.tags for name in attributes if name.startswith("on")]
    assert all(href is not None and (href.startswith("#") or href == "data:,") for href in made.page.attributes("href"))
    assert not re.search("[\u202a-\u202e\x1b\u200b]", made.source)
    assert "<script>alert(1)</script>" in made.text
    assert "U+202E" in made.text
    assert parse_errors(made.source) == []


def test_a_run_without_a_verdict_has_no_judges_on_its_page(evalh: Evalh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to audit, and the page and its figures come all the same."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "bare"
    folder.mkdir()
    write_lines(folder / "outputs.jsonl", outputs(3, lambda i, system: f"{system} {i}"))
    assert evalh("import", folder).code == 0
    done = evalh("report", "bare", "--html", "bare.html", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["run"] == "bare"
    assert "judges" not in Page((tmp_path / "bare.html").read_text(encoding="utf-8")).attributes("id")

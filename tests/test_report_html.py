"""The HTML report of a run: what stands in it, that it holds nothing foreign, and that outputs of models stay text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tinyhtml5.parser import HTMLParser as HTML5Parser

from evalh.errors import UsageError
from evalh.release import gate_run
from evalh.report.gather import gather
from evalh.report.html import MAX_BYTES, render_run, write_report
from evalh.store.runs import item_page
from evalh.store.store import Store
from tests.report_material import CANARY, GOLDEN, Rows, pairwise_run, pointwise_run

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
HOSTILE = (
    "</style></div><script>alert(1)</script><img src=x onerror=alert(2)>"
    ' {{ 7 * 7 }} <a href="javascript:alert(3)">here</a> http://evil.example/x \u202edesrever\u202c \x1b[31mred \x00 \u200b &amp; \ud800'
)


class Page(HTMLParser):
    """The tags of a page with their attributes, its text by section, and its comments."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.comments: list[str] = []
        self._style = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def attributes(self, name: str) -> list[str | None]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]

    def meta(self, name: str) -> str | None:
        return next((a["content"] for tag, a in self.tags if tag == "meta" and name in (a.get("name"), a.get("http-equiv"))), None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "evalh.duckdb")


def parse_errors(page: str) -> list[object]:
    """What a parser that follows the HTML standard finds wrong with a page."""
    parser = HTML5Parser()
    parser.parse(page.encode())
    return list(parser.errors)


def page_of(store: Store, run: str, items: int = 20) -> Page:
    return Page(write_report(store, run, store.path.with_suffix(".html"), items=items).path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run that is worse than its baseline, as the gate found."""
    store = Store(tmp_path_factory.mktemp("worse") / "evalh.duckdb")
    before, now = (
        {f"support-{n:03}": f"Under §1 you have {days} days, so article {n} can go back." for n in range(60)} for days in (30, 60)
    )
    base = pointwise_run(store, "support-base", version="v1", quality=0.95, started_at="2026-11-20T08:00:00", texts=before)
    run = pointwise_run(store, quality=0.5, texts=now)["run_id"]
    assert gate_run(store, run, baseline=base["run_id"]).decision == "FAIL"
    return write_report(store, run, store.path.with_suffix(".html")).path.read_text(encoding="utf-8")


# ---- what stands in it -----------------------------------------------------------------------------------------------


def test_the_decision_stands_first_and_every_section_follows(worse: str) -> None:
    """The gate's word and its reasons come before any other number; then each section, in order of use."""
    page = Page(worse)
    places = [page.text.index(f" {name} ") for name in ("FAIL", "What changed", "Tiers and money", "Quality", "Checks", "Judges", "Panel")]
    assert places == sorted(places)
    assert {"changes", "tiers", "quality", "checks", "judges", "panel", "worst", "labels", "lineage", "method"} <= set(
        page.attributes("id")
    )
    assert "lies below the minimum 75 %" in page.text
    assert "2 of 3 rules fail: this version may not ship." in page.text


def test_a_run_that_nobody_decided_says_so_with_the_command(store: Store) -> None:
    """Without a decision the page claims none and names the command that makes one."""
    run = pointwise_run(store)["run_id"]
    text = page_of(store, run).text
    assert "Not decided yet" in text
    assert f"evalh gate {run}" in text
    assert "PASS" not in text


def test_what_changed_shows_the_worst_regressions_side_by_side(worse: str) -> None:
    """Against a baseline: the paired difference by slice, and both outputs of the five items that fell most, differences marked."""
    page = Page(worse)
    assert re.search(r"\d+ worse, \d+ better, \d+ the same", page.text)
    assert "The 5 worst regressions" in page.text
    assert page.text.count("Before: support-bot v1") == page.text.count("Now: support-bot v2") == 5
    assert [tag for tag, _ in page.tags].count("mark") == 10


def test_runs_that_cannot_be_compared_show_no_difference(store: Store) -> None:
    """Where the golden set changed between the runs there is a reason instead of numbers that do not mean the same."""
    base = pointwise_run(store, "support-base", version="v1", started_at="2026-11-20T08:00:00")["run_id"]
    run = pointwise_run(store)["run_id"]
    gate_run(store, run, baseline=base)
    made = gather(store, _row(store, run), items=1)
    assert made.background.changes is not None
    changes = made.background.changes._replace(differences=["the rubric changed"])
    text = Page(render_run(made.document, made.items, made.gate, _with(made.background, changes=changes))).text
    assert "cannot be compared: the rubric changed" in text
    assert "worst regressions" not in text


def test_every_number_has_its_n_and_interval_and_every_chart_stands_in_a_table(store: Store) -> None:
    """Score, slices and judges show interval and n; a chart has a name in words, and its row holds its numbers."""
    run = pointwise_run(store)
    page = page_of(store, run["run_id"])
    document = gather(store, run, items=0).document
    estimates = [document["quality"], *(s["quality"] for s in document["slices"]), *(j["mean_score_estimate"] for j in document["judges"])]
    for e in estimates:
        assert f"{100 * e['value']:.1f} % [{100 * e['low']:.1f}, {100 * e['high']:.1f}] {e['n']}" in page.text
    charts = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("aria-hidden") != "true"]
    assert len(charts) > 10
    assert all(a["aria-label"] and a["role"] == "img" for a in charts)


def test_unscored_simulated_and_same_family_are_said_in_words(store: Store) -> None:
    """What weakens the figures stands in a band above them and beside each judge."""
    run = pointwise_run(store, simulated=True, same_family=True)["run_id"]
    text = page_of(store, run).text
    head = text[: text.index("Tiers and money")]
    assert "Simulated judges." in head
    assert "Same family, allowed." in head
    assert "Unscored 3 of 60 outputs" in head
    assert "alder simulated same family (allowed)" in text
    assert "54 verdicts, 3 unscored" in text
    assert "pass rate" not in text.replace("Nothing here is a pass rate", "")


def test_a_pair_shows_both_orders_and_where_they_disagree(store: Store) -> None:
    """Each judge's two verdicts stand beside each other; different winners are marked, and the panel section counts them."""
    run = pairwise_run(store)["run_id"]
    page = page_of(store, run, items=40)
    document = gather(store, _row(store, run), items=0).document
    assert page.text.count("bot-v1 shown first") == page.text.count("bot-v2 shown first") == 80
    assert page.text.count("the two orders disagree") == document["tiers"]["judges"]["inconsistent"] > 0
    assert "named the same winner for" in page.text
    assert "Win rate by judges" in page.text


def test_the_worst_outputs_come_unscored_first_then_from_the_lowest_score(store: Store) -> None:
    """`items` of them are shown whole; an unread reply is there with its reason, what was masked is named."""
    run = pointwise_run(store, quality=0.4)["run_id"]
    page = page_of(store, run, items=40)
    shown = re.findall(r"(unscored|\d+\.\d %) support-\d{3} ", page.text[page.text.index("40 of 60: unscored first") :])
    worth = [-1.0 if score == "unscored" else float(score[:-2]) for score in shown]
    assert len(shown) == 40
    assert worth == sorted(worth)
    assert "not JSON: the reply ends in mid-sentence" in page.text
    assert "Masked before judging ChatGPT names a product of a vendor" in page.text


def test_lineage_names_what_made_the_numbers_and_how_to_make_them_again(store: Store) -> None:
    """Run, seed, versions and hashes are there; addresses of servers are not."""
    run = pointwise_run(store)["run_id"]
    written = write_report(store, run, store.path.with_suffix(".html"))
    page = Page(written.path.read_text(encoding="utf-8"))
    for fact in (run, "20261123", GOLDEN["golden_hash"], "77aa", "alder-2026-09", "temperature 0.0", "0.1.0", f"evalh export {run}"):
        assert fact in page.text
    assert "secret.example" not in written.path.read_text(encoding="utf-8")


def test_a_superseded_golden_set_makes_the_page_stale(store: Store) -> None:
    """Where another version of the golden set has been used since, the page says so."""
    run = pointwise_run(store)["run_id"]
    assert "Stale" not in page_of(store, run).text
    newer = {**GOLDEN, "golden_version": "1.3.0", "golden_hash": "ffff", "canary": "", "slices": {}, "locked": True}
    store.append({"golden_sets": [{**newer, "first_seen": "2026-12-01T00:00:00"}]})
    assert "Stale . This run used golden set support 1.2.0; 1.3.0 is in use since 2026-12-01" in page_of(store, run).text.replace(
        "Stale.", "Stale ."
    )


def test_trials_of_one_item_keep_their_own_verdicts(store: Store) -> None:
    """Two trials are two outputs: each shows its own text and what was said of it alone."""
    rows = Rows("trials", "2026-11-23T10:15:00")
    rows.head("pointwise", simulated=False)
    item = rows.item(0, "How long?", None)
    for trial in (0, 1):
        told = {"system": "bot", "trial": trial}
        rows.add(
            "outputs",
            item_id=item["item_id"],
            item_hash="i0",
            output=f"answer {trial}",
            tool_calls=[],
            output_hash=f"o{trial}",
            at=rows.at,
            **told,
        )
        rows.add("scores", **item, **told, against="", route="judged", score=float(trial), inconsistent=0, calls_saved=0, usd_saved=0.0)
        rows.verdict(
            item["item_id"],
            "alder",
            ["bot"],
            f"c{trial}",
            kind="pointwise",
            status="scored",
            raw_score=trial,
            score=float(trial),
            rationale=f"reason {trial}",
        )
        rows.tables["verdicts"][-1] |= {"trial": trial, "verdict_id": f"v{trial}"}
    rows.write(store)
    pages = item_page(store, "trials", [item["item_id"]])
    assert [[v["rationale"] for v in row["verdicts"]] for row in sorted(pages, key=lambda r: r["trial"])] == [["reason 0"], ["reason 1"]]
    assert page_of(store, "trials").text.count("reason 1") == 1


def test_recorded_verdicts_make_a_page_of_judges_and_labels(store: Store) -> None:
    """An import went through no tiers: the page makes up neither a funnel nor a score, and counts the labels that came along."""
    made = gather(store, pointwise_run(store), items=0)
    document = {**made.document, "kind": "import", "routes": {}, "gated": False, "slices": [], "checks": []}
    document["quality"] = {"value": None, "low": None, "high": None, "n": 0, "why": "no output was scored", "method": "none", "seed": None}
    background = _with(made.background, checks=(), apart=None, tasks=())
    page = Page(render_run(document, [], None, background))
    assert not {"tiers", "quality", "worst"} & set(page.attributes("id"))
    assert "No gate Recorded verdicts come without a suite" in page.text
    assert "12 labels of 1 person came with the data." in page.text
    assert "Agreement with labels 100.0 % [75.8, 100.0] 12" in page.text


def test_a_document_alone_makes_a_page(store: Store) -> None:
    """Items, gate and background may be missing: whoever has the document of a run can render it."""
    document = gather(store, pointwise_run(store), items=0).document
    text = Page(render_run(document, [])).text
    assert "Judge score" in text
    assert "Nothing was drawn for people" in text


# ---- nothing foreign, nothing alive ----------------------------------------------------------------------------------


def test_the_page_refers_to_nothing_outside_and_runs_nothing(worse: str) -> None:
    """One file: no script, no source, no link but to places on the page, and a policy that forbids the rest."""
    page = Page(worse)
    assert (page.meta("Content-Security-Policy") or "").startswith(POLICY)
    assert not {tag for tag, _ in page.tags} & {"script", "img", "iframe", "object", "embed", "form", "input", "video", "audio", "base"}
    assert page.attributes("src") == []
    assert all(href is not None and (href.startswith("#") or href == "data:,") for href in page.attributes("href"))
    assert {href[1:] for href in page.attributes("href") if href and href.startswith("#")} <= set(page.attributes("id"))
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert not re.search(r"https?://|url\(|@import|@font-face", worse)
    assert parse_errors(worse) == []


def test_hostile_output_is_shown_as_text(store: Store) -> None:
    """Markup, templates, links, control characters and direction marks in anything a model wrote can be read and do nothing."""
    run = pointwise_run(store)
    made = gather(store, run, items=20)
    made.document["suite"] = made.document["golden"]["name"] = HOSTILE
    for judge in made.document["judges"]:
        judge["judge"] = judge["family"] = HOSTILE
    for row in made.items:
        row.update(item_id=HOSTILE, slice=HOSTILE, why=HOSTILE, input=HOSTILE, reference={HOSTILE: [HOSTILE]})
        row["outputs"][0].update(output=HOSTILE, system=HOSTILE, tool_calls=[{"name": HOSTILE, "arguments": {"a": HOSTILE}}])
        for told in (*row["verdicts"], *row["checks"]):
            told.update(
                {k: HOSTILE for k in ("judge", "prompt", "check", "reason", "rationale", "raw", "unscored_reason", "aspect") if k in told}
            )
    whole = render_run(made.document, made.items, made.gate, made.background)
    page = Page(whole)
    chart = {"svg", "title", "line", "rect", "circle", "text"}
    prose = {
        "div",
        "p",
        "span",
        "b",
        "i",
        "a",
        "code",
        "small",
        "mark",
        "ul",
        "li",
        "dl",
        "dt",
        "dd",
        "h1",
        "h2",
        "h3",
        "h4",
        "details",
        "summary",
    }
    frame = {"html", "head", "meta", "link", "title", "style", "body", "header", "main", "nav", "section", "footer"}
    table = {"table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"}
    allowed = chart | prose | frame | table
    assert {tag for tag, _ in page.tags} <= allowed
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all(href is not None and (href.startswith("#") or href == "data:,") for href in page.attributes("href"))
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\x00\x1b\ud800]", whole)
    for code in ("U+202E", "U+001B", "U+0000", "U+200B", "U+D800"):
        assert code in page.text
    assert parse_errors(whole) == []


@pytest.mark.parametrize(
    "text",
    ["x" * 60_000, "<&>\"'" * 12_000, "\u202e\x00" * 30_000, "a\u202e" * 30_000, "wort " * 12_000],
    ids=["long", "markup", "controls", "mixed", "words"],
)
def test_a_hundred_huge_outputs_stay_under_the_limit(store: Store, text: str) -> None:
    """Long texts are folded and cut with a note; the more of them there are the shorter, so that the page stays small."""
    run = pointwise_run(store, items=100, texts={f"support-{n:03}": text for n in range(100)})["run_id"]
    written = write_report(store, run, store.path.with_suffix(".html"), items=100)
    page = Page(written.path.read_text(encoding="utf-8"))
    assert written.bytes < MAX_BYTES < 500_000
    assert len([1 for tag, a in page.tags if tag == "details" and a.get("class") == "item"]) == 100
    assert f"of {len(text):,} characters are left out; the store has them" in page.text


def test_a_short_report_shows_texts_up_to_a_few_thousand_characters(store: Store) -> None:
    """A text of four thousand characters is whole where there is room for it, folded under its beginning."""
    text = "".join(f"sentence {n:04}. " for n in range(240))
    run = pointwise_run(store, texts={"support-004": text})["run_id"]
    page = page_of(store, run, items=3)
    assert "sentence 0239." in page.text
    assert "characters are left out" not in page.text
    assert "long" in page.attributes("class")


def test_the_canary_of_the_golden_set_is_in_every_page_with_its_items(store: Store) -> None:
    """The canary stands in a comment and in a meta tag, so that a crawl that takes the page can be recognised."""
    run = pointwise_run(store)["run_id"]
    page = page_of(store, run)
    assert page.meta("canary") == CANARY
    assert any(CANARY in comment for comment in page.comments)
    assert page.meta("robots") == "noindex, noarchive"
    made = gather(store, _row(store, run), items=1)
    without = Page(render_run(made.document, made.items, None, _with(made.background, golden=None)))
    assert without.meta("canary") is None
    ended = Page(render_run(made.document, made.items, None, _with(made.background, golden={"canary": "a --> <script>b</script>"})))
    assert "script" not in {tag for tag, _ in ended.tags}


def test_a_report_is_written_whole_or_not_at_all(store: Store, tmp_path: Path) -> None:
    """A file that cannot be written is one line with the way out; folders are made; nothing is left half-written."""
    run = pointwise_run(store, items=12)["run_id"]
    path = write_report(store, run, tmp_path / "deep" / "down" / "report.html").path
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(UsageError, match=r"cannot be written: .*name another file with --html"):
        write_report(store, run, path / "report.html")


def _row(store: Store, run: str) -> dict[str, Any]:
    from evalh.store.runs import find_run

    return find_run(store, run)


def _with(background: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(background, **changes)

"""`replay:`: recorded verdicts come back as a judge's replies, unread ones unread, and nothing is made up."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from evalh.errors import InputError, ProviderRefused
from evalh.interchange.jsonl import read_judgments
from evalh.judging.names import parse_judge_name
from evalh.judging.parsing import Read, Unread, read_reply
from evalh.judging.rubric import Rubric
from evalh.providers.base import Presented, Reply, Request, Target
from evalh.providers.registry import provider_for
from evalh.providers.replay import ReplayProvider
from tests.conftest import shared_data

PAIR = Rubric(name="pair", kind="pairwise")


def row(verdict: str | None = None, systems: tuple[str, ...] = ("a", "b"), **fields: Any) -> dict[str, Any]:
    kind = "pairwise" if len(systems) == 2 else "pointwise"
    base = {"item_id": "i1", "judge": "GPT-4", "kind": kind, "systems": list(systems)}
    return {**base, **({"verdict": verdict} if kind == "pairwise" else {}), **fields}


def recorded(tmp_path: Path, *rows: dict[str, Any], model: str = "GPT-4") -> ReplayProvider:
    path = tmp_path / "judgments.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    provider = provider_for(Target(provider="replay", model=model, source=str(path)))
    assert isinstance(provider, ReplayProvider)
    return provider


def ask(provider: ReplayProvider, *systems: str, aspects: tuple[str, ...] = ("overall",), repeat: int = 0, item_id: str = "i1") -> Reply:
    kind = "pairwise" if len(systems) == 2 else "pointwise"
    about = Presented(item_id=item_id, systems=systems, aspects=aspects, kind=kind, repeat=repeat)
    return asyncio.run(provider.ask(Request(messages=(), about=about)))


def test_a_pair_is_answered_in_the_order_that_was_shown(tmp_path: Path) -> None:
    """Each order has its own recorded verdict, read like a judge's reply, with the judge's words and version."""
    rows = [row("first", raw="Output (a)", judge_version="gpt-4-0613"), row("tie", ("b", "a"), raw="equal", judge_version="gpt-4-0613")]
    provider = recorded(tmp_path, *rows)
    reply = ask(provider, "a", "b")
    assert read_reply(reply.text, reply.finish_reason, PAIR, recorded=True) == Read({"overall": "first"}, "Output (a)")
    assert (reply.raw, reply.version) == ("Output (a)", "gpt-4-0613")
    assert json.loads(ask(provider, "b", "a").text)["verdicts"] == {"overall": "tie"}
    assert (provider.deterministic, provider.simulated) == (True, False)
    assert provider.recorded_orders("i1", ("b", "a")) == [("a", "b"), ("b", "a")]
    assert provider.recorded_orders("i2", ("a", "b")) == []


@pytest.mark.parametrize("raw", [None, "I cannot decide.", '```json\n{"rationale": "", "verdicts": {"overall": "first"}}\n```'])
def test_an_unread_verdict_stays_unread(tmp_path: Path, raw: str | None) -> None:
    """A recorded null cannot be read here either, even where the judge's own words look like a reply; they are kept."""
    provider = recorded(tmp_path, row(None, **({"raw": raw} if raw else {})))
    reply = ask(provider, "a", "b")
    assert isinstance(read_reply(reply.text, reply.finish_reason, PAIR, recorded=True), Unread)
    assert reply.raw == raw


def test_pointwise_scores_come_as_they_were_recorded(tmp_path: Path) -> None:
    """A mean score stays a float on its own scale, by aspect; a label stays text; one null among several is null."""
    rows = [row(systems=("a",), score=1.95, aspect="clarity"), row(systems=("a",), score=None, aspect="depth")]
    provider = recorded(tmp_path, *rows, row(systems=("b",), score=None, label="near-exact"))
    assert json.loads(ask(provider, "a", aspects=("clarity",)).text)["scores"] == {"clarity": 1.95}
    assert json.loads(ask(provider, "a", aspects=("clarity", "depth")).text)["scores"] == {"clarity": 1.95, "depth": None}
    assert json.loads(ask(provider, "b", aspects=("match",)).text)["scores"] == {"match": "near-exact"}


def test_what_was_not_recorded_is_refused(tmp_path: Path) -> None:
    """Another item, order, aspect or repeat is refused by name; it is never derived from what is there."""
    provider = recorded(tmp_path, row("first", aspect="overall"))
    with pytest.raises(ProviderRefused, match="not recorded: i1, b before a, aspect overall, repeat 0"):
        ask(provider, "b", "a")
    for wrong in ({"item_id": "i2"}, {"aspects": ("style",)}, {"repeat": 1}):
        with pytest.raises(ProviderRefused, match="not recorded"):
            ask(provider, "a", "b", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ProviderRefused, match="judge calls only"):
        asyncio.run(provider.ask(Request(messages=())))


def test_repeats_count_from_zero_whatever_the_file_counts_from(tmp_path: Path) -> None:
    """Repeats 1, 2, 3 of a file are asked as 0, 1, 2; an item that lacks one lacks it here too."""
    rows = [row(v, repeat=n) for n, v in ((1, "first"), (2, "second"), (3, "tie"))]
    provider = recorded(tmp_path, *rows, row("tie", item_id="i2", repeat=1), row("tie", item_id="i2", repeat=3))
    verdicts = [json.loads(ask(provider, "a", "b", repeat=n).text)["verdicts"]["overall"] for n in range(3)]
    assert verdicts == ["first", "second", "tie"]
    assert provider.recorded_repeats("i2", ("a", "b")) == [0, 2]
    with pytest.raises(ProviderRefused, match="not recorded"):
        ask(provider, "a", "b", item_id="i2", repeat=1)


def test_a_name_that_means_several_judges_is_refused(tmp_path: Path) -> None:
    """More than one version or prompt under a name is bad input that lists them; naming one is enough."""
    rows = [
        row("first", judge_version="v1", prompt="short"),
        row("tie", judge_version="v1", prompt="long"),
        row("tie", judge_version="v2", prompt="long"),
    ]
    with pytest.raises(InputError, match="GPT-4@v1#long, GPT-4@v1#short, GPT-4@v2#long"):
        recorded(tmp_path, *rows)
    assert recorded(tmp_path, *rows, model="GPT-4@v2").identity == ("GPT-4", "v2", "long")
    assert recorded(tmp_path, *rows, model="GPT-4#short").identity == ("GPT-4", "v1", "short")
    with pytest.raises(InputError, match=r"no verdict of judge 'GPT-5'.*GPT-4@v1#long"):
        recorded(tmp_path, *rows, model="GPT-5")


def test_confidence_and_unknown_order_are_told(tmp_path: Path) -> None:
    """A recorded preference becomes the confidence in the verdict; an unknown order can be asked for."""
    provider = recorded(tmp_path, row("second", score=0.8, order_known=False), row("first", item_id="i2", probs=[0.9, 0.1]))
    assert ask(provider, "a", "b").confidence == pytest.approx(0.8)
    assert ask(provider, "a", "b", item_id="i2").confidence == pytest.approx(0.9)
    assert not provider.order_known("i1", ("a", "b"))
    assert provider.order_known("i2", ("a", "b"))


def test_a_source_is_needed(tmp_path: Path) -> None:
    """Without a file, or with one that is not there, the error says what to give."""
    with pytest.raises(InputError, match="add `source"):
        provider_for(Target(provider="replay", model="GPT-4"))
    with pytest.raises(InputError, match=r"no\.jsonl: cannot be read"):
        provider_for(Target(provider="replay", model="GPT-4", source=str(tmp_path / "no.jsonl")))


def test_a_file_is_read_once_for_all_its_judges(tmp_path: Path) -> None:
    """Twenty thousand verdicts are indexed once; a second judge of the file, and every question, cost next to nothing."""
    judges = ("GPT-4", "LLaMA2")
    rows = [
        row("first", item_id=f"i{n}", judge=judge, systems=pair)
        for n in range(5000)
        for judge in judges
        for pair in (("a", "b"), ("b", "a"))
    ]
    recorded(tmp_path, *rows)
    start = time.process_time()
    provider = recorded_again = provider_for(Target(provider="replay", model="LLaMA2", source=str(tmp_path / "judgments.jsonl")))
    assert isinstance(recorded_again, ReplayProvider)

    async def everything() -> int:
        questions = (Presented(item_id=f"i{n}", systems=("b", "a"), aspects=("overall",), kind="pairwise") for n in range(5000))
        return len([await provider.ask(Request(messages=(), about=about)) for about in questions])

    assert asyncio.run(everything()) == 5000
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("data", "judge"), [("mtbench_pairs", "GPT-4#Vanilla_NoRules"), ("pandalm", "gpt-3.5-turbo"), ("posbias_mtbench", "gpt-4-0613")]
)
def test_real_recordings_come_back_whole(data: str, judge: str) -> None:
    """Every verdict of a published recording, read and unread, is the verdict that is replayed, in its order and repeat."""
    source = shared_data(data) / "judgments.jsonl"
    provider = provider_for(Target(provider="replay", model=judge, source=str(source)))
    assert isinstance(provider, ReplayProvider)
    wanted = parse_judge_name(judge)
    rows = [r for r in read_judgments(source) if wanted.matches(r.judge, r.judge_version, r.prompt)]
    lowest = min(r.repeat for r in rows)
    for recorded_row in rows:
        reply = ask(provider, *recorded_row.systems, item_id=recorded_row.item_id, repeat=recorded_row.repeat - lowest)
        read = read_reply(reply.text, reply.finish_reason, PAIR, recorded=True)
        assert (read.answers["overall"] if isinstance(read, Read) else None) == recorded_row.verdict
    assert len(rows) >= 400

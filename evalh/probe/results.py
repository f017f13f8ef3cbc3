"""The document of a probe, from the store alone: the same now and whenever it is asked for again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalh.errors import UsageError
from evalh.probe import sentences
from evalh.probe.figures import Bench, injection, padded, recognises, repeated, swapped
from evalh.probe.replies import answered_of, shown_of
from evalh.store.probes import probe_calls, probe_outputs, probe_verdicts
from evalh.store.runs import find_run
from evalh.store.store import Store

FIGURES = {"swapped": swapped, "padded": padded, "repeated": repeated, "recognises": recognises, "injection": injection}


def is_probe(run: Mapping[str, Any]) -> bool:
    """Whether a run (a row of `find_run`) is one of a probe."""
    return bool(run["kind"] == "probe")


def probe_document(store: Store, run_id: str, *, level: float = 0.95) -> dict[str, Any]:
    """What a probe found. Raises UsageError where the run is none.

    `run`, `suite`, `status`, `kind` (of the rubric), `items`, `simulated`; `calls`, `cached` (answers that were known), `cost_usd`
    and `cost_is_whole`; `judges`: judge, prompt, title, version, family, same_family, one section for each probe or null, `why`
    by probe where it is null, `findings`: figure, level (ok, note, alarm), sentence, action.
    """
    with store.reading():
        run = find_run(store, run_id)
        if not is_probe(run):
            raise UsageError(f"{run['run_id']} is no probe", hint="`evalh audit --probe --suite SUITE` makes one")
        rows, shown = probe_verdicts(store, run["run_id"]), probe_outputs(store, run["run_id"])
        calls = probe_calls(store, run["run_id"])
    settings = run["settings"]
    plan, rubric = settings["probe"], settings["rubric"]
    weights = {c["name"]: c["weight"] for c in rubric["criteria"]}
    bench = Bench(shown_of(shown), weights, rubric["kind"] == "pairwise", run["seed"], level)
    return {
        "run": run["run_id"],
        "suite": run["suite"],
        "status": run["status"],
        "kind": rubric["kind"],
        "items": plan["items"],
        "repeats": plan["repeats"],
        "seed": run["seed"],
        "simulated": bool(run["simulated"]),
        "judges": [_judge(judge, rows, bench) for judge in plan["judges"]],
        **calls,
    }


def _judge(plan: Mapping[str, Any], rows: list[dict[str, Any]], bench: Bench) -> dict[str, Any]:
    found = answered_of(plan["judge"], plan["prompt"], rows)
    sections = {name: figure(found, bench) for name, figure in FIGURES.items()}
    why = {name: plan["why"].get(name, "nothing was answered") for name, section in sections.items() if section is None}
    version = ", ".join(found.versions) or None
    return {
        "judge": plan["judge"],
        "prompt": plan["prompt"],
        "title": plan["judge"] + (f"@{version}" if version else ""),
        "version": version,
        "model": plan["model"],
        "family": plan["family"],
        "same_family": plan["same_family"],
        "simulated": plan["simulated"],
        **sections,
        "why": why,
        "n_unscored": sum(not reply.scored for reply in (*found.replies, *found.whose)),
        "unscored_reasons": _reasons(found.replies + found.whose),
        "findings": sentences.findings(sections, several_versions=len(found.versions) > 1),
    }


def _reasons(replies: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for reply in replies:
        if not reply.scored:
            counts[reply.why or "unread"] = counts.get(reply.why or "unread", 0) + 1
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))

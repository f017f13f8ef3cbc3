"""Questions about model calls: which were answered, what was said, what they cost. The ledger is the table `provider_calls`."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from evalh.errors import StoreBusy, UsageError
from evalh.store.batches import open_batches
from evalh.store.journal import alone
from evalh.store.store import Store


def answered(store: Store, models: Iterable[tuple[str, str]]) -> array[int]:
    """The answered calls of (provider, model) as sorted numbers: a call id is 16 hex digits. 8 bytes each."""
    found: array[int] = array("Q")
    for provider, model in sorted(set(models)) if store.exists() else []:
        numbers = store.columns(
            "SELECT ('0x' || call_id)::UBIGINT AS number FROM provider_calls"
            " WHERE provider = ? AND model = ? AND cleared_at IS NULL AND length(call_id) = 16",
            [provider, model],
        )["number"]
        found.frombytes(numbers.astype("uint64").tobytes())
    return array("Q", sorted(found))


def answers(store: Store, call_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What was said in these calls, by call id; one that was taken out of use in the meantime is left out."""
    rows = store.query(
        "SELECT call_id, run_id, reply, reply_tool_calls, version, system_fingerprint, finish_reason, tokens_in, tokens_out, cost_usd,"
        " latency_ms FROM provider_calls WHERE cleared_at IS NULL AND call_id IN (SELECT unnest(?))",
        [list(call_ids)],
    )
    return {row["call_id"]: {**row, "reply_tool_calls": json.loads(row["reply_tool_calls"] or "[]")} for row in rows}


def paid_for(store: Store, run_id: str) -> float:
    """What a run has paid for calls so far, in USD."""
    rows = store.query("SELECT coalesce(sum(cost_usd), 0.0) AS usd FROM provider_calls WHERE run_id = ?", [run_id])
    return float(rows[0]["usd"])


# ---- what it cost ---------------------------------------------------------------------------------------------------

_SUMS = (
    "count(*) AS calls, coalesce(sum(c.tokens_in), 0)::BIGINT AS tokens_in, coalesce(sum(c.tokens_out), 0)::BIGINT AS tokens_out,"
    " coalesce(sum(c.cost_usd), 0.0) AS cost_usd, coalesce(bool_and(c.cost_usd IS NOT NULL), true) AS cost_is_whole"
)


def paid_calls(store: Store, run_id: str) -> list[dict[str, Any]]:
    """The calls that a run paid for, by who was asked: purpose, asked, model, mode, calls, tokens and cost in USD.

    `asked` is JUDGE#PROMPT or a system; of calls that do not say it, what their verdict says, else null. `cost_is_whole` is false
    where a price is unknown: then the cost is that of the other calls.
    """
    return store.query(
        "WITH named AS (SELECT call_id, any_value(judge || '#' || prompt) AS asked FROM verdicts WHERE run_id = $run AND call_id IN"
        " (SELECT call_id FROM provider_calls WHERE run_id = $run AND asked IS NULL) GROUP BY call_id)"
        " SELECT c.purpose, coalesce(c.asked, n.asked) AS asked, c.provider || ':' || c.model AS model,"
        f" coalesce(string_agg(DISTINCT c.mode, ' and ' ORDER BY c.mode), 'direct') AS mode, {_SUMS}"
        " FROM provider_calls c LEFT JOIN named n USING (call_id) WHERE c.run_id = $run GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        {"run": run_id},
    )


def judge_hits(store: Store, run_id: str) -> list[dict[str, Any]]:
    """The answers of earlier runs that the judges of a run used again, as `paid_calls` gives its own; the cost is what they had cost."""
    return store.query(
        "WITH hit AS (SELECT DISTINCT judge || '#' || prompt AS asked, call_id FROM verdicts WHERE run_id = ? AND cached)"
        f" SELECT hit.asked, c.provider || ':' || c.model AS model, {_SUMS}"
        " FROM hit JOIN provider_calls c USING (call_id) GROUP BY 1, 2 ORDER BY 1, 2",
        [run_id],
    )


def system_answers(store: Store, run_id: str) -> list[dict[str, Any]]:
    """The outputs of each system of a run that is a model: system, calls (one for each output), tokens, cost in USD.

    Those that the run did not pay for are answers of earlier runs.
    """
    return store.query(
        "SELECT s.system AS asked, s.role, count(o.item_id) AS calls, coalesce(sum(o.tokens), 0)::BIGINT AS tokens,"
        " coalesce(sum(o.cost_usd), 0.0) AS cost_usd, count(o.item_id) = count(o.cost_usd) AS cost_is_whole"
        " FROM systems s LEFT JOIN outputs o ON o.run_id = s.run_id AND o.system = s.system AND o.error IS NULL"
        " WHERE s.run_id = ? AND s.kind IN ('model', 'endpoint') GROUP BY 1, 2 ORDER BY s.role DESC, s.system",
        [run_id],
    )


def saved_calls(store: Store, run_id: str) -> dict[str, Any]:
    """The judge calls that tier 1 saved a run, and what they would have cost, estimated: calls, usd, is_whole."""
    return store.query(
        "SELECT coalesce(sum(calls_saved), 0)::BIGINT AS calls, coalesce(sum(usd_saved), 0.0) AS usd,"
        " count(*) FILTER (calls_saved > 0 AND usd_saved IS NULL) = 0 AS is_whole FROM scores WHERE run_id = ?",
        [run_id],
    )[0]


# ---- the ledger as a cache ------------------------------------------------------------------------------------------

_TEXTS = "coalesce(strlen(c.messages::VARCHAR), 0) + coalesce(strlen(c.reply), 0) + coalesce(strlen(c.reply_tool_calls::VARCHAR), 0)"
_CHOSEN = (
    "(c.provider || ':' || c.model) GLOB $model AND ($run IS NULL OR c.run_id = $run)"
    ' AND ($before IS NULL OR c."at" < $before::TIMESTAMP)'
)
_HAS_TEXT = "(c.messages IS NOT NULL OR c.reply IS NOT NULL OR c.reply_tool_calls IS NOT NULL)"
# A call that is taken out of use makes room for the next answer to the same question: ID becomes ID~1, then ID~2, …
_RENAMED = (
    "(SELECT c.call_id AS old, c.call_id || '~' || (1 + coalesce(b.n, 0)) AS new FROM provider_calls c LEFT JOIN"
    " (SELECT split_part(call_id, '~', 1) AS call_id, count(*) AS n FROM provider_calls WHERE cleared_at IS NOT NULL GROUP BY 1) b"
    f" USING (call_id) WHERE {_CHOSEN} AND c.cleared_at IS NULL)"
)
_NOW = "make_timestamp(epoch_us(now()))"  # UTC, as all times of the store


class Chosen(NamedTuple):
    """Calls by model (`provider:model`, where `*` stands for anything), by the run that paid for them, by age."""

    model: str = "*"
    run: str | None = None
    before: datetime | None = None  # UTC, naive

    @property
    def parameters(self) -> dict[str, Any]:
        model = self.model.replace("[", "[[]").replace("?", "[?]")
        return {"model": model if ":" in model or model == "*" else f"*:{model}", "run": self.run, "before": self.before}


def kept_calls(store: Store, chosen: Chosen) -> list[dict[str, Any]]:
    """The calls of a store by model and version, with how often runs used their answers again and what that was worth.

    model, version, calls, hits, tokens_in, tokens_out, cost_usd, cost_is_whole, worth_usd, oldest, newest (UTC), text_bytes; and of
    calls that are out of use `cleared`, `cleared_bytes`.
    """
    return store.query(
        "WITH used AS (SELECT call_id, count(DISTINCT run_id) AS hits FROM verdicts WHERE cached GROUP BY call_id),"
        f" kept AS (SELECT c.*, coalesce(u.hits, 0) AS hits, {_TEXTS} AS bytes"
        f" FROM provider_calls c LEFT JOIN used u USING (call_id) WHERE {_CHOSEN})"
        " SELECT provider || ':' || model AS model, version, count(*) FILTER (cleared_at IS NULL) AS calls,"
        " coalesce(sum(hits) FILTER (cleared_at IS NULL), 0)::BIGINT AS hits,"
        " coalesce(sum(tokens_in) FILTER (cleared_at IS NULL), 0)::BIGINT AS tokens_in,"
        " coalesce(sum(tokens_out) FILTER (cleared_at IS NULL), 0)::BIGINT AS tokens_out,"
        " coalesce(sum(cost_usd) FILTER (cleared_at IS NULL), 0.0) AS cost_usd,"
        " count(*) FILTER (cleared_at IS NULL AND cost_usd IS NULL) = 0 AS cost_is_whole,"
        " coalesce(sum(hits * cost_usd) FILTER (cleared_at IS NULL), 0.0) AS worth_usd,"
        ' min("at") FILTER (cleared_at IS NULL) AS oldest, max("at") FILTER (cleared_at IS NULL) AS newest,'
        " coalesce(sum(bytes) FILTER (cleared_at IS NULL), 0)::BIGINT AS text_bytes,"
        " count(*) FILTER (cleared_at IS NOT NULL) AS cleared,"
        " coalesce(sum(bytes) FILTER (cleared_at IS NOT NULL), 0)::BIGINT AS cleared_bytes"
        " FROM kept GROUP BY 1, 2 ORDER BY 1, 2",
        chosen.parameters,
    )


def waiting_batches(store: Store) -> list[dict[str, Any]]:
    """The batches that providers have not answered yet: batch_id, model, calls, at (UTC); the oldest of each model first."""
    lines = store.query("SELECT DISTINCT line, provider || ':' || model AS model FROM provider_batches ORDER BY ALL")
    return [
        {"batch_id": row["batch_id"], "model": line["model"], "calls": len(row["call_ids"]), "at": row["at"]}
        for line in lines
        for row in open_batches(store, line["line"])
    ]


def clear_calls(store: Store, chosen: Chosen, *, delete: bool) -> None:
    """Take calls out of use, in one transaction: the same question is asked anew, and what was judged keeps its call.

    With `delete` their texts go as well, also of calls that were out of use already: what was sent, what was said, and the
    raw reply and rationale of the verdicts made from them. Raises StoreBusy while a run is under way: it may be using them.
    """
    _refuse_while_a_run_is_under_way(store)
    calls = f"SELECT c.call_id FROM provider_calls c WHERE {_CHOSEN}"
    forget = [
        f"UPDATE verdicts SET raw = NULL, rationale = NULL, masked = NULL WHERE call_id IN ({calls})",
        f"UPDATE provider_calls AS c SET messages = NULL, reply = NULL, reply_tool_calls = NULL WHERE {_CHOSEN} AND {_HAS_TEXT}",
    ]
    rename = [
        f"UPDATE verdicts SET call_id = r.new FROM {_RENAMED} r WHERE verdicts.call_id = r.old",
        f"UPDATE provider_calls SET call_id = r.new, cleared_at = {_NOW} FROM {_RENAMED} r WHERE provider_calls.call_id = r.old",
    ]
    store.change([*(forget if delete else ()), *rename], chosen.parameters)


def _refuse_while_a_run_is_under_way(store: Store) -> None:
    for path in sorted(store.journal_folder.glob("*.owner")):
        try:
            with alone(store, path.stem, path.stem):
                continue
        except UsageError:
            raise StoreBusy(
                f"{path.stem} is under way in another process and may be using these answers",
                where=str(store.path),
                hint="wait for it, or end it with Ctrl-C: it goes on when its command is repeated",
            ) from None

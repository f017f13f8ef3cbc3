"""Schema versions: numbered, append-only. An older store is brought up to date when it is opened, after a backup copy.

The first migration is the text of the tables as they were then; it is never made from `tables.py`, which describes the
tables as they are now. To change a table: change `tables.py` and append a migration here. A test holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from evalh import __version__
from evalh.errors import StoreError, StoreTooNew
from evalh.store.tables import Column, Table

if TYPE_CHECKING:
    import duckdb


class Migration(NamedTuple):
    """One step of the schema: SQL that is run once, in one transaction."""

    number: int
    name: str
    sql: str


SCHEMA_MIGRATIONS = Table("schema_migrations", "Which migrations this file has been through.", ("number",), (
    Column("number", "INTEGER", ""),
    Column("name", "VARCHAR", ""),
    Column("at", "TIMESTAMP", "UTC"),
    Column("evalh_version", "VARCHAR", "version of evalh that migrated"),
))  # fmt: skip

_FIRST_TABLES = """
CREATE TABLE schema_migrations (number INTEGER, name VARCHAR, "at" TIMESTAMP, evalh_version VARCHAR, PRIMARY KEY (number));
CREATE TABLE runs (
    run_id VARCHAR, suite VARCHAR, run_key VARCHAR, suite_hash VARCHAR, golden VARCHAR, golden_version VARCHAR, golden_hash VARCHAR,
    rubric_hash VARCHAR, seed BIGINT, kind VARCHAR, simulated BOOLEAN, allow_same_family BOOLEAN, evalh_version VARCHAR,
    settings JSON, started_at TIMESTAMP, PRIMARY KEY (run_id)
);
CREATE TABLE run_events (
    run_id VARCHAR, event VARCHAR, "at" TIMESTAMP, detail VARCHAR, PRIMARY KEY (run_id, event, "at", detail)
);
CREATE TABLE golden_sets (
    golden VARCHAR, golden_version VARCHAR, golden_hash VARCHAR, canary VARCHAR, licence VARCHAR, slices JSON, locked BOOLEAN,
    first_seen TIMESTAMP, PRIMARY KEY (golden, golden_version, golden_hash)
);
CREATE TABLE items (
    golden VARCHAR, golden_version VARCHAR, golden_hash VARCHAR, item_id VARCHAR, item_hash VARCHAR, input JSON, reference JSON,
    slice VARCHAR, "group" VARCHAR, authored_at VARCHAR, published_at VARCHAR, tags JSON, meta JSON,
    PRIMARY KEY (golden, golden_hash, item_id)
);
CREATE TABLE systems (
    run_id VARCHAR, system VARCHAR, system_version VARCHAR, family VARCHAR, kind VARCHAR, role VARCHAR,
    PRIMARY KEY (run_id, system, system_version)
);
CREATE TABLE outputs (
    run_id VARCHAR, item_id VARCHAR, item_hash VARCHAR, system VARCHAR, system_version VARCHAR, family VARCHAR, trial INTEGER,
    output VARCHAR, tool_calls JSON, output_hash VARCHAR, latency_ms DOUBLE, cost_usd DOUBLE, tokens BIGINT, error VARCHAR,
    meta JSON, "at" TIMESTAMP, PRIMARY KEY (run_id, item_id, system, trial)
);
CREATE TABLE check_results (
    run_id VARCHAR, item_id VARCHAR, system VARCHAR, trial INTEGER, "check" VARCHAR, check_hash VARCHAR, status VARCHAR,
    score DOUBLE, reason VARCHAR, negated BOOLEAN, blocking BOOLEAN, weight DOUBLE, output_hash VARCHAR,
    PRIMARY KEY (run_id, item_id, system, trial, "check")
);
CREATE TABLE judges (
    run_id VARCHAR, judge VARCHAR, judge_version VARCHAR, prompt VARCHAR, provider VARCHAR, model VARCHAR, family VARCHAR,
    rubric_hash VARCHAR, prompt_hash VARCHAR, parser_version VARCHAR, params JSON, same_family BOOLEAN, simulated BOOLEAN,
    PRIMARY KEY (run_id, judge, judge_version, prompt)
);
CREATE TABLE verdicts (
    verdict_id VARCHAR, run_id VARCHAR, item_id VARCHAR, item_hash VARCHAR, judge VARCHAR, judge_version VARCHAR, prompt VARCHAR,
    family VARCHAR, kind VARCHAR, systems VARCHAR[], output_hashes VARCHAR[], trial INTEGER, order_known BOOLEAN, aspect VARCHAR,
    repeat INTEGER, status VARCHAR, unscored_reason VARCHAR, verdict VARCHAR, winner VARCHAR, label VARCHAR, raw_score DOUBLE,
    score DOUBLE, rationale VARCHAR, raw VARCHAR, call_id VARCHAR, attempts INTEGER, cached BOOLEAN, same_family BOOLEAN,
    simulated BOOLEAN, rubric_hash VARCHAR, masked JSON, nonce VARCHAR, seed BIGINT, meta JSON, "at" TIMESTAMP,
    PRIMARY KEY (verdict_id)
);
CREATE TABLE scores (
    run_id VARCHAR, item_id VARCHAR, system VARCHAR, trial INTEGER, slice VARCHAR, "group" VARCHAR, against VARCHAR, route VARCHAR,
    score DOUBLE, why VARCHAR, disagreement DOUBLE, inconsistent INTEGER, calls_saved INTEGER, usd_saved DOUBLE, output_hash VARCHAR,
    PRIMARY KEY (run_id, item_id, system, against, trial)
);
CREATE TABLE label_tasks (
    task_id VARCHAR, run_id VARCHAR, item_id VARCHAR, system VARCHAR, against VARCHAR, trial INTEGER, output_hash VARCHAR,
    rubric_hash VARCHAR, inclusion_probability DOUBLE, stratum VARCHAR, design VARCHAR, seed BIGINT, position INTEGER,
    "at" TIMESTAMP, PRIMARY KEY (task_id)
);
CREATE TABLE labels (
    label_id VARCHAR, run_id VARCHAR, task_id VARCHAR, item_id VARCHAR, annotator VARCHAR, kind VARCHAR, systems VARCHAR[],
    output_hash VARCHAR, winner VARCHAR, verdict VARCHAR, score DOUBLE, label VARCHAR, aspect VARCHAR, inclusion_probability DOUBLE,
    stratum VARCHAR, note VARCHAR, meta JSON, "at" VARCHAR, imported_at TIMESTAMP, PRIMARY KEY (label_id)
);
CREATE TABLE frozen_refs (
    frozen VARCHAR, frozen_version VARCHAR, frozen_hash VARCHAR, ref_id VARCHAR, input JSON, output VARCHAR, score DOUBLE,
    system VARCHAR, family VARCHAR, rubric VARCHAR, slice VARCHAR, settled_by VARCHAR, settled_at VARCHAR, meta JSON,
    PRIMARY KEY (frozen, frozen_version, ref_id)
);
CREATE TABLE gate_decisions (
    decision_id VARCHAR, run_id VARCHAR, baseline VARCHAR, decision VARCHAR, document JSON, "at" TIMESTAMP,
    PRIMARY KEY (decision_id)
);
CREATE TABLE provider_calls (
    call_id VARCHAR, run_id VARCHAR, purpose VARCHAR, item_id VARCHAR, provider VARCHAR, model VARCHAR, version VARCHAR,
    system_fingerprint VARCHAR, messages JSON, params JSON, reply VARCHAR, reply_tool_calls JSON, finish_reason VARCHAR,
    tokens_in BIGINT, tokens_out BIGINT, cost_usd DOUBLE, latency_ms DOUBLE, requests INTEGER, "at" TIMESTAMP, PRIMARY KEY (call_id)
);
"""

_LEDGER = """
CREATE TABLE check_results_2 AS FROM check_results;
DROP TABLE check_results;
ALTER TABLE check_results_2 RENAME TO check_results;
ALTER TABLE scores ADD COLUMN judges_mean DOUBLE;
ALTER TABLE provider_calls ADD COLUMN asked VARCHAR;
ALTER TABLE provider_calls ADD COLUMN mode VARCHAR;
ALTER TABLE provider_calls ADD COLUMN cleared_at TIMESTAMP;
CREATE TABLE provider_batches (
    batch_id VARCHAR, event VARCHAR, "at" TIMESTAMP, run_id VARCHAR, provider VARCHAR, model VARCHAR, line VARCHAR, call_ids VARCHAR[],
    detail VARCHAR, PRIMARY KEY (batch_id, event)
);
"""

MIGRATIONS: tuple[Migration, ...] = (
    Migration(1, "first tables", _FIRST_TABLES),
    Migration(2, "batches, and calls that were cleared", _LEDGER),
)


def schema_number(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    """The number of the last migration that the file has been through. StoreError where it is somebody else's file."""
    import duckdb

    try:
        row = connection.execute("SELECT max(number) FROM schema_migrations").fetchone()
    except duckdb.CatalogException as error:
        raise StoreError(
            "a DuckDB file, but not a store of evalh", where=str(path), hint="--store or EVALH_STORE names a file of its own"
        ) from error
    return int(row[0] or 0) if row else 0


def refuse_newer(number: int, path: Path, migrations: Sequence[Migration]) -> None:
    """StoreTooNew where the file knows more migrations than this program."""
    if number > migrations[-1].number:
        raise StoreTooNew(
            f"written by a newer evalh (schema {number}; this one, {__version__}, knows {migrations[-1].number}); nothing was changed",
            where=str(path),
            hint="upgrade evalh, or use another --store",
        )


def migrate(connection: duckdb.DuckDBPyConnection, path: Path, since: int, migrations: Sequence[Migration]) -> None:
    """Run the migrations after number `since`, each in a transaction of its own. Raises StoreError where one fails."""
    import duckdb

    for step in (m for m in migrations if m.number > since):
        try:
            connection.execute("BEGIN")
            connection.execute(step.sql)
            connection.execute(
                "INSERT INTO schema_migrations VALUES (?, ?, ?, ?)",
                [step.number, step.name, datetime.now(UTC).replace(tzinfo=None), __version__],
            )
            connection.execute("COMMIT")
        except duckdb.Error as error:
            raise StoreError(
                f"migration {step.number} ({step.name}) failed: {error}", where=str(path), hint="the store is as it was before"
            ) from error


def back_up(connection: duckdb.DuckDBPyConnection, path: Path, number: int) -> Path:
    """Copy the whole store to `PATH.backup-NUMBER` (`….2`, `….3` where that exists) and return where it is.

    DuckDB makes the copy, under its own lock: reading the file ourselves would drop that lock, because POSIX releases
    a process's locks on a file when the process closes any handle on it.
    """
    name = f"{path.name}.backup-{number}"
    free = (path.with_name(name if n == 1 else f"{name}.{n}") for n in range(1, 10_000))
    target = next(t for t in free if not t.exists())
    half = target.with_name(target.name + ".half")
    half.unlink(missing_ok=True)
    row = connection.execute("SELECT current_database()").fetchone()
    source = str(row[0] if row else "").replace('"', '""')
    connection.execute(f"ATTACH '{str(half).replace(chr(39), chr(39) * 2)}' AS evalh_backup")
    connection.execute(f'COPY FROM DATABASE "{source}" TO evalh_backup')
    connection.execute("DETACH evalh_backup")
    half.rename(target)
    return target

"""`docs/store.md`, made from the description of the tables. `python -m evalh.store.docs > docs/store.md` writes it anew."""

from __future__ import annotations

import sys

from evalh.store.migrations import MIGRATIONS, SCHEMA_MIGRATIONS
from evalh.store.tables import TABLES, Table

_HEAD = """\
# The store

<!-- Made from evalh/store/tables.py by `python -m evalh.store.docs`. A test compares; do not edit by hand. -->

One DuckDB file holds every fact: `.evalh/evalh.duckdb`, or what `--store` or `EVALH_STORE` names. The tables are public.
`evalh sql "SELECT …"` reads them (it can neither write nor open files), `evalh export --parquet DIR` writes each to a
Parquet file. Rows are added and not changed (but by `evalh cache clear`, below); the key of a table says what is one fact.
Times are UTC. Three columns have names that SQL
keeps for itself: quote them, as in `SELECT "at", "check", "group"`.

**Sharing the file.** DuckDB lets one process write, and shuts all others out, readers too, while it has the file open.
evalh opens it for the length of one append or one query, and waits for a busy file with a notice that names the process
that holds it. A run writes each result first to a journal, `<store>.journal/`: it is on disk before the file is needed.
What a killed process left there goes in at the next command. A line that was cut off is kept beside it as `.torn`. Nothing
is lost by deleting an empty journal folder.

**The ledger.** `provider_calls` holds every answer that was paid for, and a question that it knows is not asked again: same
provider, model, parameters, messages, rubric, template, parser and repeat. Reports show such answers as hits, beside what they had
cost. `evalh cache list` shows what is kept; `evalh cache clear` takes answers out of use (all, or those of a `--model`, a
`--run`, or `--older-than` so many days), so that the same question is asked anew. Their rows stay, under the id `ID~1` (`ID~2`
the next time) that their verdicts then name too: scores, lineage and money do not change. With `--delete` their texts go: messages,
replies, and the raw replies, rationales and masked passages of their verdicts. Outputs and items are no part of the cache and
stay. DuckDB reuses the room of deleted texts by and by; until then, traces of them can be in the file, and in backup copies.

**Versions.** The schema is at number {number} (`schema_migrations`). An older store is migrated when it is opened, after a
backup copy `<store>.backup-N`; a newer one is refused, unchanged, with exit code 2.

"""


def render() -> str:
    """The page as Markdown."""
    tables = (*TABLES, SCHEMA_MIGRATIONS)
    index = "".join(f"| [{t.name}](#{t.name}) | {t.doc} |\n" for t in tables)
    return (
        _HEAD.replace("{number}", str(MIGRATIONS[-1].number)) + "| table | rows |\n| --- | --- |\n" + index + "".join(map(_section, tables))
    )


def _section(table: Table) -> str:
    rows = "".join(f"| `{c.name}` | {c.type} | {_cell(c.name, c.doc, table)} |\n" for c in table.columns)
    key = ", ".join(f"`{name}`" for name in table.key)
    return f"\n## {table.name}\n\n{table.doc} Key: {key}.\n\n| column | type | meaning |\n| --- | --- | --- |\n{rows}"


def _cell(name: str, doc: str, table: Table) -> str:
    return doc or ("part of the key" if name in table.key else "")


if __name__ == "__main__":
    sys.stdout.write(render())

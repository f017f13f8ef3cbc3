"""The pages and files that are made from the code. `python -m evalh.docs` writes them; a test fails where they are stale."""

from __future__ import annotations

import json
from pathlib import Path

from evalh.checks.reference import reference as checks_page
from evalh.store.docs import render as store_page
from evalh.suites.reference import reference as suites_page
from evalh.suites.schema import suite_schema

ROOT = Path(__file__).parent.parent


def pages() -> dict[Path, str]:
    """Every generated file of a checkout and what it has to contain."""
    return {
        ROOT / "docs" / "checks.md": checks_page(),
        ROOT / "docs" / "store.md": store_page(),
        ROOT / "docs" / "suites.md": suites_page(),
        ROOT / "evalh" / "suites" / "suite.schema.json": json.dumps(suite_schema(), indent=1) + "\n",
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")

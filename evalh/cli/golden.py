"""`evalh golden`: check and lock golden sets."""

from __future__ import annotations

from pathlib import Path

import click

from evalh.cli.common import emit, json_option, note

EPILOG = """\b
Example
  evalh golden lock golden/support
"""


@click.group()
def golden() -> None:
    """Check and lock golden sets."""


@golden.command(epilog=EPILOG)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@json_option
def lock(folder: Path, as_json: bool) -> None:
    """Write the hash of items.jsonl into golden.toml: from then on a changed file is refused."""
    from evalh.suites.golden import lock_golden

    digest = lock_golden(folder)
    emit({"golden": str(folder), "items": digest}) if as_json else note(f"{folder} is locked: {digest}")


@golden.command(
    epilog="""\b
Example
  evalh golden check golden/support
"""
)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@json_option
def check(folder: Path, as_json: bool) -> None:
    """Read a golden set as a run would and say what is in it."""
    from evalh.suites.golden import load_golden

    made = load_golden(folder)
    slices: dict[str, int] = {}
    for item in made.items:
        slices[item.slice] = slices.get(item.slice, 0) + 1
    if as_json:
        emit({"golden": made.name, "version": made.version, "locked": made.locked, "items": len(made.items), "slices": slices})
        return
    told = ", ".join(f"{name} {n}" for name, n in sorted(slices.items()))
    note(f"{made.name} {made.version}: {len(made.items)} items ({told}), {'locked' if made.locked else 'not locked'}")

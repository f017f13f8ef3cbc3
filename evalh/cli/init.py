"""`evalh init`: a small project that works at once, without a key: suite, golden set, frozen references, workflows."""

from __future__ import annotations

import secrets
import uuid
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from evalh.cli.common import emit, json_option, note
from evalh.errors import InputError

EPILOG = """\b
Example
  evalh init my-evals && cd my-evals && evalh run suites/ && evalh gate
"""
CANARY = "@CANARY@"
MOVED = {"github": ".github/workflows"}


@click.command(epilog=EPILOG)
@click.argument("folder", required=False, default=".", type=click.Path(path_type=Path), metavar="[DIR]")
@json_option
def init(folder: Path, as_json: bool) -> None:
    """Write a small working project into DIR (default: here). No file that exists is overwritten."""
    from evalh.suites.frozen import lock_frozen
    from evalh.suites.golden import lock_golden

    source = files("evalh") / "starter"
    targets = {_target(folder, path): path for path in _files(source, Path())}
    taken = sorted(str(t) for t in targets if t.exists())
    if taken:
        raise InputError("exists already; nothing was written", where=taken[0], hint="choose an empty folder")
    canary = f"EVALH-CANARY {uuid.UUID(bytes=secrets.token_bytes(16), version=4)}"
    for target, path in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_read(source, path).replace(CANARY, canary), encoding="utf-8")
    lock_golden(folder / "golden" / "refunds")
    lock_frozen(folder / "frozen_refs" / "refunds")
    written = sorted(str(t) for t in targets)
    if as_json:
        emit({"folder": str(folder), "files": written})
        return
    for name in written:
        note(f"wrote {name}")
    note(f"\nnext: {'' if folder == Path() else f'cd {folder} && '}evalh plan suites/ && evalh run suites/ && evalh gate")


def _files(folder: Traversable, prefix: Path) -> list[Path]:
    found: list[Path] = []
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.is_dir() and entry.name != "__pycache__":
            found += _files(entry, prefix / entry.name)
        elif entry.is_file() and not entry.name.endswith(".pyc"):
            found.append(prefix / entry.name)
    return found


def _target(folder: Path, path: Path) -> Path:
    return folder / MOVED.get(path.parts[0], path.parts[0]) / Path(*path.parts[1:])


def _read(source: Traversable, path: Path) -> str:
    for part in path.parts:
        source = source / part
    return source.read_text(encoding="utf-8")

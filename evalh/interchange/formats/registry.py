"""From the name of a format to its reader, and from a file of that format to a run.

Built-in formats and those of other packages come in by the same door, an entry point in the group `evalh.importers`:

    [project.entry-points."evalh.importers"]
    acme = "evalh_acme:read"        # def read(path: Path) -> Recorded
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from evalh.errors import InputError, UsageError
from evalh.interchange.formats.base import Recorded, Row
from evalh.interchange.importing import JUDGMENTS, LABELS, OUTPUTS, import_folder
from evalh.interchange.lines import place, write_objects
from evalh.store.store import Store
from evalh.suites.golden import ITEMS

GROUP = "evalh.importers"
_MODULES = {
    "inspect": "inspect_log",
    "label-studio": "label_studio",
    "langfuse": "langfuse",
    "openai-evals": "openai_evals",
    "promptfoo": "promptfoo",
}
BUILT_IN = tuple(EntryPoint(name, f"evalh.interchange.formats.{module}:read", GROUP) for name, module in _MODULES.items())

Reader = Callable[[Path], Recorded]


@cache
def known() -> dict[str, EntryPoint]:
    """Every format by name. Raises InputError where two packages give one name to different things."""
    found: dict[str, EntryPoint] = {}
    for entry in (*BUILT_IN, *entry_points(group=GROUP)):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise InputError(
                f"two formats are called {entry.name!r}: {other.value} and {entry.value}", hint="uninstall one of the packages"
            )
    return found


def reader_of(name: str) -> Reader:
    """The reader of a format. Raises UsageError for an unknown one, InputError where a plugin does not load."""
    entry = known().get(name)
    if entry is None:
        raise UsageError(f"there is no format `{name}`", hint=f"known are {', '.join(sorted(known()))}")
    try:
        return cast(Reader, entry.load())
    except (ImportError, AttributeError) as error:
        raise InputError(f"format {name!r} does not load from {entry.value}: {error}") from None


def import_format(store: Store, path: Path, name: str, run_name: str | None = None, **options: Any) -> Row:
    """Import a file (or folder) of a format as a run (the file's name where not given); the document of `evalh import`.

    The document also says `format` and `skipped`: what has no place in evalh's files, reason → number. The rows take the
    road of `import_folder`, which gets the `options`, by a temporary folder. Raises UsageError and InputError; then nothing is stored.
    """
    read = reader_of(name)
    if not path.exists():
        raise InputError("there is no such file", where=place(path))
    recorded = read(path)
    run = run_name or path.resolve().stem
    if not (recorded.outputs or recorded.judgments or recorded.labels):
        raise InputError(f"holds no outputs, verdicts or labels that can be read as {name}", where=place(path), hint=_said(recorded))
    with tempfile.TemporaryDirectory(prefix="evalh-import-") as kept:
        folder = Path(kept) / (re.sub(r"[^\w.-]+", "-", path.resolve().stem).strip("-.") or "import")
        folder.mkdir()
        _write(folder, recorded)
        try:
            document: dict[str, Any] = import_folder(store, folder, run, **options)
        except InputError as error:
            said = str(error).replace(f"{folder}/", "")
            raise InputError(said, where=f"{place(path)}, read as {name}") from error
    return {**document, "format": name, "skipped": dict(sorted(recorded.skipped.items()))}


def _said(recorded: Recorded) -> str | None:
    return "; ".join(f"left out: {count} {reason}" for reason, count in recorded.skipped.items()) or None


def _write(folder: Path, recorded: Recorded) -> None:
    files: dict[str, Iterable[Row]] = {
        ITEMS: recorded.items.values(),
        OUTPUTS: recorded.outputs,
        JUDGMENTS: recorded.judgments,
        LABELS: recorded.labels.values(),
    }
    for name, rows in files.items():
        if rows:
            write_objects(folder / name, _kept(rows))


def _kept(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows with null for numbers that JSON has no word for."""
    return (cast(Row, _finite(row)) for row in rows)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list | tuple) else value

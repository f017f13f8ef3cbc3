"""What DuckDB's errors mean for whoever runs evalh: who holds the file, what is wrong with it, what to do."""

from __future__ import annotations

import re
from pathlib import Path

from evalh.errors import EvalhError, StoreError


def holder(error: Exception) -> str | None:
    """`process N (NAME)` where DuckDB says that another process has the file, else None."""
    text = str(error)
    if "Conflicting lock" not in text and "being used by another process" not in text:
        return None
    match = re.search(r"held in (?P<program>.+?) \(PID (?P<pid>\d+)\)", text)
    return f"process {match['pid']} ({Path(match['program']).name})" if match else "another process"


def not_usable(path: Path, error: Exception) -> EvalhError:
    """The error of evalh for a file that cannot be opened."""
    text = first_line(error)
    if path.is_dir():
        return StoreError("is a folder, not a store", where=str(path), hint="--store names a file")
    if "not a valid DuckDB" in text:
        return StoreError("not a DuckDB file", where=str(path), hint="move it away, or name another with --store")
    if "Permission denied" in text or "Read-only file system" in text:
        return StoreError("no permission to read and write", where=str(path), hint="change the permissions, or name another with --store")
    return StoreError(text, where=str(path), hint=way_out(error))


def way_out(error: Exception) -> str | None:
    """What to do about a full disk or missing permission; None where that is not what is wrong."""
    text = str(error)
    if any(sign in text for sign in ("No space left", "File too large", "quota", "Could not write")):
        return "make room on the disk and repeat the command; what is in the journal is not lost"
    if any(sign in text for sign in ("Permission denied", "Read-only file system")):
        return "change the permissions and repeat the command; what is in the journal is not lost"
    return None


def first_line(error: BaseException) -> str:
    """What DuckDB says, without its hints and candidates."""
    text = str(error).strip().split("\n\n")[0]
    return " ".join(text.split())

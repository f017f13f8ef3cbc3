"""What golden.toml and frozen.toml share: reading them with good errors, and locking a file by its hash.

A lock is a table `[lock]` with the hash of the file, the version it was locked at and the number of its rows. It is
written into the text, so that comments and order stay as people wrote them.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalh.errors import InputError
from evalh.fingerprints import FileHash
from evalh.interchange.lines import BLOCK, opened


def read_toml(path: Path) -> dict[str, Any]:
    """The file as a dict. Raises InputError with the line where it is not TOML."""
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise InputError("not UTF-8", where=str(path), hint="save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not TOML: {error}", where=str(path)) from error


def text_of(data: Mapping[str, Any], key: str, path: Path, hint: str) -> str:
    """A field that has to be there and be text. A whole number is taken as its text: `version = 2`."""
    value = data.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"`{key}`: " + ("missing" if value is None else f"must be text, not {value!r}"), where=str(path), hint=hint)
    return value


def check_known(data: Mapping[str, Any], known: tuple[str, ...], path: Path, where: str = "") -> None:
    """Refuse a key that is not known: most likely it is misspelt."""
    for key in data:
        if key not in known:
            raise InputError(f"`{where}{key}`: unknown", where=str(path), hint="known here: " + ", ".join(known))


def check_lock(manifest: Path, data: Mapping[str, Any], file: Path, field: str, count: int, digest: str) -> bool:
    """Whether the file, whose hash is `digest`, is locked. Raises InputError where it is and has changed since."""
    lock = lock_of(manifest, data, field)
    if lock is None:
        return False
    if lock[field] != digest:
        rows = f" ({lock['count']} rows then, {count} now)" if lock.get("count") not in (None, count) else ""
        at = f" at version {lock['version']}" if "version" in lock else ""
        way = {"items": "and run `evalh golden lock` on a new version", "refs": "and lock a new version"}[field]
        hint = f"put the file back, or raise `version` in {manifest.name} {way}"
        raise InputError(f"changed after it was locked{at}{rows}", where=str(file), hint=hint)
    return True


def lock_of(manifest: Path, data: Mapping[str, Any], field: str) -> dict[str, Any] | None:
    """The `[lock]` table, or None where there is none."""
    lock = data.get("lock")
    if lock is None:
        return None
    if not isinstance(lock, dict) or not re.fullmatch(r"sha256:[0-9a-f]{64}", str(lock.get(field))):
        raise InputError(f"`lock.{field}`: must be `sha256:` and 64 hex digits", where=str(manifest), hint="locking writes it")
    return lock


def file_digest(file: Path) -> str:
    """The `file_hash` of a file of any size, read block by block."""
    made = FileHash()
    with opened(file) as blocks:
        while block := blocks.read(BLOCK):
            made.update(block)
    return made.digest()


def write_lock(manifest: Path, file: Path, field: str, count: int) -> str:
    """Write the file's hash into the manifest and return it.

    Raises InputError where this version is locked with other content: a version never changes its content.
    """
    data = read_toml(manifest)
    version = str(data.get("version"))
    digest = file_digest(file)
    old = lock_of(manifest, data, field)
    if old is not None and old[field] != digest and str(old.get("version")) == version:
        fault = f"version {version} is locked with other content"
        raise InputError(fault, where=str(manifest), hint="raise `version`, then lock the new one")
    lock = {field: digest, "version": version, "count": count}
    text = _with_lock(manifest.read_bytes().decode("utf-8-sig"), lock)
    if tomllib.loads(text) != {**data, "lock": {**(old or {}), **lock}}:
        raise InputError("the lock could not be written", where=str(manifest), hint="the lock is a table of its own: [lock]")
    manifest.write_bytes(text.encode())
    return digest


def _with_lock(text: str, lock: Mapping[str, Any]) -> str:
    """The text with the keys of its `[lock]` table replaced, or the table added at the end; nothing else is touched."""
    end = "\r\n" if "\r\n" in text else "\n"
    lines = {key: f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in lock.items()}
    found = re.search(r"^\[lock\][^\n]*\n?", text, re.MULTILINE)
    if found is None:
        return text.rstrip() + end * 2 + end.join(["[lock]", *lines.values()]) + end
    until = re.compile(r"^\[", re.MULTILINE).search(text, found.end())
    stop = until.start() if until else len(text)
    body = text[found.end() : stop]
    new = []
    for key, line in lines.items():
        old = re.search(rf"^{key}\s*=[^\r\n]*", body, re.MULTILINE)
        if old is None:
            new.append(line + end)
        else:
            body = body[: old.start()] + line + body[old.end() :]
    return text[: found.start()] + found[0].rstrip() + end + "".join(new) + body + text[stop:]

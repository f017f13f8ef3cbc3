"""An `.eval` log of Inspect: a zip file whose members are JSON, compressed by zstd.

Python reads such members from 3.14 on; before, the packages zstandard or backports.zstd do, and else inspect_ai itself.
"""

from __future__ import annotations

import importlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from evalh.errors import InputError
from evalh.interchange.formats.base import At, parse
from evalh.interchange.lines import place

_ZSTD = 93  # the number of this compression in a zip file
_SAMPLES = "samples/"
INSTALL = "install zstandard (or inspect-ai), use Python 3.14, or convert the log: `inspect log convert LOG --to json --output-dir DIR`"


def read_members(path: Path) -> At:
    """The log as one value, as a .json log has it. Raises InputError where the file, or a way to decompress it, is missing."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if "header.json" not in names:
                what = "has no header.json: the evaluation was stopped before its end"
                raise InputError(what, where=place(path), hint="`inspect eval-retry` completes it")
            log = parse(_member(archive, "header.json"), path, "header.json")
            log.a(dict)
            members = sorted(name for name in names if name.startswith(_SAMPLES))
            samples = [parse(_member(archive, name), path, name).value for name in members]
    except zipfile.BadZipFile as error:
        raise InputError(f"is no whole .eval log: {error}", where=place(path), hint="a log that `inspect eval` wrote to its end") from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=place(path)) from error
    except LookupError:
        return _by_inspect(path)
    return At(path, "", {**log.value, "samples": samples})


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """One member. Raises LookupError where it is zstd and nothing here can read that."""
    info = archive.getinfo(name)
    try:
        return archive.read(info)
    except NotImplementedError:
        if info.compress_type != _ZSTD or archive.fp is None:
            raise zipfile.BadZipFile(f"{name} is compressed in a way that is not known ({info.compress_type})") from None
    file = archive.fp
    file.seek(info.header_offset + 26)
    before = int.from_bytes(file.read(2), "little") + int.from_bytes(file.read(2), "little")
    file.seek(info.header_offset + 30 + before)
    packed = file.read(info.compress_size)
    try:
        return _decompressor()(packed)
    except LookupError:
        raise
    except Exception as error:  # each package has an error type of its own
        raise zipfile.BadZipFile(f"{name}: {error}") from error


def _decompressor() -> Callable[[bytes], bytes]:
    """What reads zstd here. Raises LookupError where nothing does."""
    for module in ("compression.zstd", "backports.zstd"):
        try:
            whole: Callable[[bytes], bytes] = importlib.import_module(module).decompress
            return whole
        except ImportError:
            continue
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError:
        raise LookupError("zstd") from None

    def streamed(packed: bytes) -> bytes:
        read: bytes = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
        return read

    return streamed


def _by_inspect(path: Path) -> At:
    try:
        log = importlib.import_module("inspect_ai.log").read_eval_log(str(path))
    except ImportError:
        what = "its members are compressed by zstd, which this Python cannot read"
        raise InputError(what, where=place(path), hint=INSTALL) from None
    except Exception as error:  # whatever inspect_ai finds wrong with the file
        raise InputError(f"inspect_ai cannot read it: {error}", where=place(path)) from error
    return At(path, "", json.loads(log.model_dump_json(exclude_none=True)))

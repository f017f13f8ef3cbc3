"""Runs a program under limits of time, memory and output, and leaves nothing of it behind.

The program gets a session of its own and an environment without anything of ours; when it has ended, or a limit is reached,
its whole process group is killed, and on Linux every process that still carries its mark. This stops accidents, not an
attacker: untrusted code belongs in a container.
"""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

MARK = "EVALH_PROCESS"
KEEP = 8_000  # bytes of each stream's end that are kept for the reason

# Limits are set by the shell and not in a function between fork and exec: that is unsafe where threads run. The program and
# its arguments follow as "$@"; nothing of them is read by the shell.
_LIMITED = 'ulimit -c 0; ulimit -f "$1" 2>/dev/null; ulimit -v "$2" 2>/dev/null; shift 2; exec "$@"'


class Limits(NamedTuple):
    """Limits of one program: wall time in seconds, memory per process in MB (None: none), output and files in kB and MB."""

    timeout_s: float
    memory_mb: int | None
    max_output_kb: int
    max_file_mb: int


class Ended(NamedTuple):
    """How a program ended: its exit code (negative: the signal), the ends of its streams, and the limit that stopped it."""

    returncode: int
    stdout: str
    stderr: str
    stopped: Literal["time", "output"] | None


def run_limited(argv: Sequence[str], folder: Path, env: Mapping[str, str], limits: Limits) -> Ended:
    """Run a program in a folder. `env` is its whole environment. Raises OSError where it cannot be started."""
    mark = secrets.token_hex(8)
    memory = "unlimited" if limits.memory_mb is None else str(limits.memory_mb * 1024)
    process = subprocess.Popen(
        ["/bin/sh", "-c", _LIMITED, "sh", str(limits.max_file_mb * 2048), memory, *argv],
        cwd=folder, env={**env, MARK: mark}, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        ends, stopped = _read(process, time.monotonic() + limits.timeout_s, limits.max_output_kb * 1024)
    finally:
        _kill(process.pid, mark)
        code = process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    stdout, stderr = (end.decode("utf-8", errors="replace") for end in ends)
    return Ended(code, stdout, stderr, stopped)


def _read(process: subprocess.Popen[bytes], deadline: float, max_bytes: int) -> tuple[list[bytes], Literal["time", "output"] | None]:
    """The ends of both streams, read until the program has ended or a limit is reached."""
    assert process.stdout is not None
    assert process.stderr is not None
    ends, total = [b"", b""], 0
    with selectors.DefaultSelector() as selector:
        for number, stream in enumerate((process.stdout, process.stderr)):
            selector.register(stream, selectors.EVENT_READ, number)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return ends, "time"
            ready = selector.select(min(left, 0.05))
            if not ready and process.poll() is not None:
                break  # it has ended; a child that it left behind holds the stream open
            for key, _ in ready:
                chunk = os.read(key.fd, 65_536)
                if not chunk:
                    selector.unregister(key.fileobj)
                total += len(chunk)
                ends[key.data] = (ends[key.data] + chunk)[-KEEP:]
            if total > max_bytes:
                return ends, "output"
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return ends, "time"
    return ends, None


def _kill(group: int, mark: str) -> None:
    """Kill the process group, and what has left it but carries the mark; again while there is any, since it may fork."""
    for _ in range(50):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        strays = _marked(mark)
        for pid in strays:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not strays:
            return


def _marked(mark: str) -> list[int]:
    """Processes whose environment carries the mark (Linux; elsewhere none are found). Those that have ended have none left."""
    needle, found = f"{MARK}={mark}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if needle in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found

"""Every error evalh raises on purpose, split by who can mend it.

    EvalhError
    ├── UsageError        exit 2  the command line: flags, names, selections
    ├── InputError        exit 2  a file the user wrote: suite, golden set, rubric, outputs, …
    ├── ProviderError     exit 4  a model provider could not be used
    │   ├── ProviderBusy      429 or overload; carries `retry_after` seconds; worth another try
    │   ├── ProviderDown      timeout, dropped connection, 5xx; worth another try
    │   └── ProviderRefused   this request will never be answered; another try will not help
    │       └── ProviderUnusable  bad key, unknown model, missing extra: no request will ever be answered
    └── StoreError        exit 4  the DuckDB file could not be used
        ├── StoreBusy         another process holds it; nothing is lost, the journal keeps the rows
        └── StoreTooNew       exit 2  written by a newer evalh than this one

A message is one line: what is wrong, `where` (file, line, field) and `hint` (what would be right).
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes are part of the interface."""

    DONE = 0  # done, or the gate says PASS
    FAIL = 1  # the gate says FAIL
    USAGE = 2  # wrong usage or bad input
    INCONCLUSIVE = 3  # the evidence decides nothing
    UNAVAILABLE = 4  # a provider or the store could not be used
    DEFECT = 70  # a defect of evalh itself: please report it
    INTERRUPTED = 130  # stopped by Ctrl-C; repeat the command to resume


def printable(value: object) -> str:
    """A value as text that cannot steer a terminal: control characters are shown as such. Messages quote what models and files say."""
    text = "–" if value is None else str(value)
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


class EvalhError(Exception):
    """An error with a place and a way out. `str()` is the one line the user sees."""

    exit_code: ExitCode = ExitCode.USAGE

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        if self.hint:
            line = f"{line.rstrip('.')}; {self.hint}"
        return " ".join(line.split())


class UsageError(EvalhError):
    """The command line asks for something that cannot be done."""


class InputError(EvalhError):
    """A file or a value the user wrote is not what it has to be."""


class ProviderError(EvalhError):
    """A model provider could not be used."""

    exit_code = ExitCode.UNAVAILABLE
    retryable = False


class ProviderBusy(ProviderError):
    """The provider asks to slow down (429, 529). `retry_after` is in seconds, None if it did not say."""

    retryable = True

    def __init__(self, what: str, *, retry_after: float | None = None, where: str | None = None) -> None:
        super().__init__(what, where=where)
        self.retry_after = retry_after


class ProviderDown(ProviderError):
    """The provider did not answer: timeout, dropped connection, 5xx."""

    retryable = True


class ProviderSlow(ProviderDown):
    """The provider did not answer in time."""


class ProviderRefused(ProviderError):
    """The provider will never answer this request: malformed, too long, not recorded."""


class ProviderUnusable(ProviderRefused):
    """The provider will never answer any request as it is set up: bad key, unknown model, missing extra. Stops a run."""


class StoreError(EvalhError):
    """The store could not be read or written."""

    exit_code = ExitCode.UNAVAILABLE


class StoreBusy(StoreError):
    """Another process holds the store. Rows not yet in it stay in the journal beside it."""


class StoreTooNew(StoreError):
    """The store was written by a newer evalh."""

    exit_code = ExitCode.USAGE

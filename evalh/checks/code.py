"""Checks that run code: a Python function of the suite, and a program such as a compiler or a test runner."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar

from pydantic import Field, WithJsonSchema, field_serializer, field_validator, model_validator

from evalh.checks.base import Check, Compiled, Finding, Resolve, Subject
from evalh.checks.imports import load_object, named
from evalh.checks.limits import Undecidable, safe_line
from evalh.checks.process import Ended, Limits, run_limited
from evalh.errors import InputError


class PythonFunction(Check):
    """A function of the output's text, or of the output and its item, decides.

    It returns True or False, a number in [0, 1] (then `threshold` decides), or a pair of one of these and a reason. A failed
    `assert` is a fail with its message; anything else that it raises is an error. It runs in this process, without limits.
    """

    kind: ClassVar[str] = "python-function"
    positional: ClassVar[tuple[str, ...]] = ("function",)

    function: Annotated[str | Callable[..., Any], WithJsonSchema({"type": "string"})] = Field(
        description="the function, `module:function` (installed, or a file beside the suite) or `file.py:function`"
    )
    threshold: float | None = Field(
        default=None, ge=0, le=1, description="the least number that passes, for a function that returns numbers"
    )

    @field_serializer("function")
    def _as_text(self, function: str | Callable[..., Any]) -> str:
        return named(function)

    @property
    def title(self) -> str:
        """The function's own name, which says more than the kind."""
        return self.name or ("not-" if self.negate else "") + (_function_name(self.function) or self.kind)

    def compile(self, resolve: Resolve) -> Compiled:
        function = load_object(self.function, resolve) if isinstance(self.function, str) else self.function
        if not callable(function) or inspect.iscoroutinefunction(function):
            raise InputError(
                f"{named(function)} is no plain function",
                where="function",
                hint="a function (not async) of the output's text, or of (output, item)",
            )
        whole = _wants_item(function)

        def run(subject: Subject) -> Finding:
            try:
                answer = function(subject.output, subject.item) if whole else function(subject.output.text)
            except AssertionError as error:
                return Finding(False, 0.0, str(error) or "an assert does not hold")
            except SystemExit as error:
                raise Undecidable(f"the function ended the program: SystemExit({error})") from None
            return self._finding(answer)

        return run

    def _finding(self, answer: Any) -> Finding:
        reason = ""
        if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], str):
            answer, reason = answer
        if type(answer).__module__ == "numpy" and getattr(answer, "ndim", None) == 0:
            answer = answer.item()
        if isinstance(answer, bool):
            return Finding(answer, float(answer), reason)
        if not isinstance(answer, int | float):
            raise Undecidable(
                f"the function returned {safe_line(repr(answer), 80)}: expected True, False, a number in [0, 1] or (one of these, reason)"
            )
        if self.threshold is None:
            raise Undecidable(f"the function returned the number {answer}: set `threshold` to say what passes")
        return Finding(answer >= self.threshold, float(answer), reason or f"{answer:.3g}, threshold {self.threshold:g}")


def _function_name(function: str | Callable[..., Any]) -> str:
    name: str = function.rpartition(":")[2] if isinstance(function, str) else getattr(function, "__name__", "")
    return "" if name == "<lambda>" else name


def _wants_item(function: Callable[..., Any]) -> bool:
    """Whether the function has two required parameters. Raises InputError where it has neither one nor two."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return False  # a built-in without a signature, such as str.isupper
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(1 for p in places if p.default is p.empty)
    named_only = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    star = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if named_only or required > 2 or not (places or star):
        raise InputError(
            f"{named(function)} takes other parameters", where="function", hint="a function of the output's text, or of (output, item)"
        )
    return required == 2


class ShellCommand(Check):
    """A program accepts the output: the output's text is written to a file in a temporary folder, and exit code 0 passes.

    In the command `{file}` stands for that file, `{dir}` for the folder (where it also runs) and `{python}` for the Python
    that runs evalh. Its environment is PATH, LANG, HOME and TMPDIR (the folder), and `env`: no keys. When it has ended, or a
    limit is reached, everything it started is killed. A limit that is reached is a fail, since it is what an endless loop in
    the output does; where the check is negated, it is an error. Needs a POSIX system; the memory limit needs Linux.
    """

    kind: ClassVar[str] = "shell-command"
    positional: ClassVar[tuple[str, ...]] = ("command",)

    command: list[str] | str = Field(min_length=1, description="program and arguments; with `shell: true` one string for /bin/sh")
    shell: bool = Field(default=False, description="run `command` with /bin/sh -c; the output's text is only ever in the file")
    filename: str = Field(default="output.txt", description="name of the file that holds the output's text")
    files: dict[str, str] = Field(
        default_factory=dict, description="more files for the folder: name → text where it holds a line end, else the path of a file"
    )
    item_file: str | None = Field(
        default=None, description="name of a file to which the item is written as JSON (the program sees the reference, then)"
    )
    extract: str | None = Field(
        default=None, description="write only the first code block in this language instead of the whole output; without one it fails"
    )
    env: dict[str, str] = Field(default_factory=dict, description="more environment variables")
    timeout_s: float = Field(default=10.0, gt=0, description="seconds of wall time")
    memory_mb: int | None = Field(
        default=2048, gt=0, description="address space per process; none for programs that reserve much, such as Node and Java"
    )
    max_output_kb: int = Field(default=256, gt=0, description="standard output and error together")
    max_file_mb: int = Field(default=64, gt=0, description="size of any file it writes")

    @field_validator("filename", "item_file")
    @classmethod
    def _plain_name(cls, name: str | None) -> str | None:
        return name if name is None else _inside(name)

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, str]) -> dict[str, str]:
        return {_inside(name): value for name, value in files.items()}

    @model_validator(mode="after")
    def _form(self) -> ShellCommand:
        if self.shell != isinstance(self.command, str):
            raise ValueError("`command` is a list of program and arguments; only with `shell: true` it is one string")
        return self

    def compile(self, resolve: Resolve) -> Compiled:
        if os.name != "posix":
            raise InputError("needs a POSIX system", hint="run it on Linux or macOS, or write a python-function")
        argv = self._argv(resolve)
        files = {name: text.encode() if "\n" in text else _bytes(resolve(text)) for name, text in self.files.items()}
        limits = Limits(self.timeout_s, self.memory_mb, self.max_output_kb, self.max_file_mb)

        def run(subject: Subject) -> Finding:
            text = self._text(subject.output.text)
            if text is None:
                return Finding(False, 0.0, f"holds no code block in {self.extract}")
            with tempfile.TemporaryDirectory(prefix="evalh-", ignore_cleanup_errors=True) as made:
                folder = Path(made)
                self._fill(folder, files, text, subject)
                try:
                    ended = run_limited([self._filled(a, folder) for a in argv], folder, self._environment(folder), limits)
                except (OSError, ValueError) as error:
                    raise Undecidable(f"{argv[0]} could not be started: {error}") from None
            return self._finding(ended)

        return run

    def _argv(self, resolve: Resolve) -> list[str]:
        if isinstance(self.command, str):
            return ["/bin/sh", "-c", self.command]
        program = self.command[0]
        if "{" in program:
            return self.command
        if "/" in program:
            return [str(resolve(program).resolve()), *self.command[1:]]
        if shutil.which(program) is None:
            raise InputError(f"there is no program {program!r} on the PATH", where="command", hint="install it, or give its path")
        return self.command

    def _filled(self, argument: str, folder: Path) -> str:
        """Placeholders replaced by paths of ours; quoted where a shell reads them."""
        paths = {"{file}": str(folder / self.filename), "{dir}": str(folder), "{python}": sys.executable}
        for placeholder, path in paths.items():
            argument = argument.replace(placeholder, shlex.quote(path) if self.shell else path)
        return argument

    def _text(self, text: str) -> str | None:
        if self.extract is None:
            return text
        from evalh.checks.json_text import fenced_block

        block = fenced_block(text, self.extract.lower())
        return None if block is None else block + "\n"

    def _fill(self, folder: Path, files: dict[str, bytes], text: str, subject: Subject) -> None:
        contents = {**files, self.filename: text.encode("utf-8", errors="replace")}
        if self.item_file is not None:
            contents[self.item_file] = json.dumps(subject.item.model_dump(mode="json"), ensure_ascii=False).encode(
                "utf-8", errors="replace"
            )
        for name, content in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def _environment(self, folder: Path) -> dict[str, str]:
        inherited = {"PATH": os.environ.get("PATH", os.defpath), "LANG": os.environ.get("LANG", "C.UTF-8")}
        return {**inherited, "HOME": str(folder), "TMPDIR": str(folder), **self.env}

    def _finding(self, ended: Ended) -> Finding:
        if ended.stopped is not None:
            limit = f"after {self.timeout_s:g} s" if ended.stopped == "time" else f"after more than {self.max_output_kb} kB of output"
            if self.negate:
                raise Undecidable(f"stopped {limit}")
            return Finding(False, 0.0, f"stopped {limit}")
        said = _last_lines(ended.stderr) or _last_lines(ended.stdout)
        code = ended.returncode
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
        return Finding(code == 0, float(code == 0), how + (f": {said}" if said else ""))


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or str(path) in ("", "."):
        raise ValueError(f"{name!r} is no name of a file inside the temporary folder")
    return str(path)


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise InputError("is no file", where=str(path), hint="in `files`, a text without a line end is the path of a file")
    return path.read_bytes()


def _last_lines(text: str, lines: int = 6, chars: int = 400) -> str:
    kept = [line.strip() for line in text.splitlines() if line.strip()][-lines:]
    return " | ".join(kept)[-chars:]

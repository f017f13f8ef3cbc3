"""What the tests of the documentation share: blocks of Markdown, command lines in them, pages played as sessions."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click

from evalh.cli.main import cli
from tests.conftest import Done

ROOT = Path(__file__).parent.parent
RUN_ID = re.compile(r"[a-z][a-z0-9_-]*-\d{8}-\d{6}-[0-9a-f]{4}")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(evalh(?: [^`]*)?)`")
ELIDED = "…"


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that a block says it is, on its first line: `# suites/judges.toml`."""
        named = re.match(r"# (\S+\.(?:py|yaml|toml))\n", self.text)
        return named[1] if named else None


def pages() -> list[Path]:
    """Every page of Markdown that is part of the project."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def blocks(page: Path, *languages: str) -> list[Block]:
    found = [Block(m[1], m[2]) for m in FENCE.finditer(page.read_text(encoding="utf-8"))]
    return [b for b in found if not languages or b.language in languages]


# ---- command lines ---------------------------------------------------------------------------------------------------


def command_lines(text: str, indent: int = 4) -> Iterator[str]:
    """Every `evalh …` command line of a page, a help text or a workflow: in blocks, indented, or between backticks."""
    indented = re.findall(rf"^ {{{indent}}} *(\S.*)$", FENCE.sub("", text), re.MULTILINE)
    outside = FENCE.sub("", text)
    shown = [line for _, body in FENCE.findall(text) for line in body.splitlines()]
    for line in [*shown, *indented, *INLINE.findall(outside), *re.findall(r"run: (.*)", outside)]:
        for part in re.split(r"\s*(?:&&|\|\||[;|]|(?<= )>) *", _without_remark(re.sub(r"^[$-] |run: ", "", line.strip()))):
            if re.match(r"evalh(?= [a-z-]|$)", part.strip()):
                yield part.strip()


def _without_remark(line: str) -> str:
    """The command without what stands beside it: after `  #`, or after two spaces or more."""
    return re.split(r"\s+#\s|\s{2,}", line)[0]


def check_command(line: str) -> str | None:
    """What is wrong with a command line, or None. It is parsed as click would parse it, and not run.

    `…` may stand for arguments; a command path alone (`evalh label import`) is a name, and needs no arguments.
    """
    words = [w for w in shlex.split(re.sub(r"[\[\]]", "", line)) if w != ELIDED][1:]
    command: click.Command = cli
    path = ["evalh"]
    while words and isinstance(command, click.Group):
        if words[0].startswith("-"):
            break
        try:
            found = command.get_command(click.Context(command), words[0])
        except click.ClickException as error:
            return error.format_message()
        if found is None:
            return f"there is no command {words[0]!r} under {' '.join(path)}"
        command, path, words = found, [*path, words[0]], words[1:]
    if not words:
        return None
    try:
        command.make_context(" ".join(path), list(words)).close()
    except click.exceptions.Exit:
        return None  # --help, --version
    except click.MissingParameter as error:
        return None if ELIDED in line else error.format_message()
    except click.ClickException as error:
        return error.format_message()
    return None


def all_commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and subcommand with its path: `label import`."""

    def walk(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Command]]:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield f"{prefix}{name}", command
            if isinstance(command, click.Group):
                yield from walk(command, f"{prefix}{name} ")

    return walk(cli, "")


# ---- a page played as a session --------------------------------------------------------------------------------------


class Session:
    """Plays a page: writes the files that its blocks name, runs its commands, compares what they print.

    A line `…` stands for any lines, `…` in a line for any text. Run ids of the page stand for those of this session, and
    widths (of spaces and rules) do not count. Anything but `evalh` and `cd` runs in a shell.
    """

    def __init__(self, evalh: Callable[..., Done], chdir: Callable[[Path], None], folder: Path) -> None:
        self.evalh, self.chdir, self.folder = evalh, chdir, folder
        self.runs: dict[str, str] = {}
        chdir(folder)

    def play(self, page: Path) -> int:
        """How many commands were run. Raises AssertionError at the first one that prints something else."""
        count = 0
        for block in blocks(page):
            if block.file is not None:
                (self.folder / block.file).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / block.file).write_text(block.text, encoding="utf-8")
            for turn in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:] if block.language == "console" else []:
                command, *expected = turn.rstrip("\n").split("\n")
                told = self.run(command)
                self.compare(command, told, expected)
                count += 1
        return count

    def run(self, command: str) -> str:
        for shown, real in self.runs.items():
            command = command.replace(shown, real)
        asks_code = command.endswith("; echo $?")
        words = shlex.split(command.removesuffix("; echo $?"))
        if words[0] == "cd":
            self.folder = self.folder / words[1]
            self.chdir(self.folder)
            return ""
        if words[0] == "evalh":
            done = self.evalh(*words[1:])
            assert asks_code or done.code == 0, f"{command}: exit {done.code}: {done.err}"
            return f"{done.err}{done.out}{done.code if asks_code else ''}"
        command = re.sub(r"^pytest ", f"{shlex.quote(sys.executable)} -m pytest ", command)
        shell = subprocess.run(command, shell=True, cwd=self.folder, capture_output=True, text=True, check=False)
        assert asks_code or shell.returncode in (0, 1), shell.stderr
        return shell.stdout + shell.stderr

    def compare(self, command: str, told: str, expected: list[str]) -> None:
        lines = [line.rstrip() for line in told.split("\n")]
        place, skipping = 0, False
        for wanted in expected:
            if wanted.strip() == ELIDED:
                skipping = True
                continue
            while skipping and place < len(lines) and not self._same(wanted, lines[place]):
                place += 1
            found = lines[place] if place < len(lines) else "(no more lines)"
            assert self._same(wanted, found), f"{command}\nthe page shows: {wanted}\nit printed:     {found}\n\n{told}"
            place, skipping = place + 1, False
        rest = [line for line in lines[place:] if line]
        assert skipping or not rest, f"{command} prints more than the page shows:\n{told}"

    def _same(self, wanted: str, line: str) -> bool:
        """Whether a line of the page is this line; then its run ids are known from here on."""
        pattern = re.escape(plain(wanted)).replace(ELIDED, ".*")
        new: list[str] = []
        for run in dict.fromkeys(RUN_ID.findall(wanted)):
            if run not in self.runs:
                new.append(run)
            pattern = pattern.replace(re.escape(run), re.escape(self.runs[run]) if run in self.runs else f"({RUN_ID.pattern})")
        match = re.fullmatch(pattern, plain(line))
        if match is None:
            return False
        self.runs |= dict(zip(new, match.groups(), strict=False))
        return True


def plain(line: str) -> str:
    """A line without what depends on the width of a terminal."""
    return " ".join(re.sub(r"([_=─-])\1{3,}", r"\1", line).split())

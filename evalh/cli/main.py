"""`evalh`: the commands, loaded when they are used, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module

import click

from evalh import __version__
from evalh.errors import EvalhError, ExitCode, printable

GARBAGE_AT = 50_000  # new objects: Python's 700 spend a tenth of a run walking the classes of its imports

COMMANDS: dict[str, tuple[str, str]] = {  # name → (module:command, line in the list)
    "init": ("evalh.cli.init:init", "Write a small working project."),
    "demo": ("evalh.cli.demo:demo", "See all three tiers work, offline, with simulated judges."),
    "plan": ("evalh.cli.plan:plan", "Check and price suites; asks no model."),
    "run": ("evalh.cli.run:run", "Run suites."),
    "gate": ("evalh.cli.gate:gate", "Decide whether a run may ship."),
    "compare": ("evalh.cli.compare:compare", "Compare two runs, item by item."),
    "audit": ("evalh.cli.audit:audit", "Biases of judges and their agreement with people."),
    "rank": ("evalh.cli.rank:rank", "Pairwise verdicts to win rates and ratings."),
    "label": ("evalh.cli.label:label", "The label queue: export, import, status."),
    "import": ("evalh.cli.data:import_", "Read recorded outputs, verdicts and labels into the store."),
    "export": ("evalh.cli.data:export", "Write a run as JSON Lines, or the store as Parquet."),
    "report": ("evalh.cli.report:report", "Show one run, in the terminal or as one HTML file."),
    "golden": ("evalh.cli.golden:golden", "Check and lock golden sets."),
    "sim": ("evalh.cli.sim:sim", "Serve the judge simulator."),
    "cache": ("evalh.cli.cache:cache", "The answers that are kept: list them, or ask anew."),
    "sql": ("evalh.cli.data:sql", "Read the store with SQL."),
    "doctor": ("evalh.cli.doctor:doctor", "Check installation, keys, endpoints, store, families."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are invoked, so that `evalh --help` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        import difflib

        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean `{near[0]}`?" if near else " `evalh --help` lists the commands."
            raise click.UsageError(f"There is no command `{name}`.{hint}")
        return super().resolve_command(ctx, args)


EPILOG = """\b
Examples
  evalh demo                                 everything at once, offline
  evalh plan suites/                         what would run, and what it would cost
  evalh run suites/test_support.py           run one suite
  evalh gate --json                          the decision on the newest run

\b
Exit codes
  0 done or PASS   1 FAIL   2 wrong usage or bad input   3 INCONCLUSIVE
  4 a provider or the store could not be used   70 a defect of evalh
  130 interrupted: repeat the command to resume
"""


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="evalh")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(debug: bool) -> None:
    """evalh: an evaluation harness in three tiers — deterministic checks, judges of other families, people."""


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit. Errors of evalh are one line; anything else is our fault and says so."""
    arguments = (sys.argv[1:] if argv is None else argv) or ["--help"]
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"] if debug else arguments
    gc.set_threshold(GARBAGE_AT, 10, 10)
    with suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a job that is ended stops as with Ctrl-C: resumable
    try:
        code = cli.main(args=arguments, prog_name="evalh", standalone_mode=False)
        if code == ExitCode.INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else ExitCode.DONE)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        _say(f"error: {error.format_message()}")
        sys.exit(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        sys.stdout.flush()
        os._exit(ExitCode.INTERRUPTED)  # threads that are still busy are not waited for: what counts is on disk
    except EvalhError as error:
        if debug:
            raise
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.DONE)
    except OSError as error:
        if debug:
            raise
        _say(f"error: {error.filename or 'the system'}: {error.strerror or error}")
        sys.exit(ExitCode.UNAVAILABLE)
    except Exception as error:
        if debug:
            raise
        _say(f"internal error: {type(error).__name__}: {error}; please report it with the output of --debug")
        sys.exit(ExitCode.DEFECT)


def _say(line: str) -> None:
    click.echo(printable(line), err=True)

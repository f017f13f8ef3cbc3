"""The documentation is true: pages are played as sessions, command lines parse, nothing that exists is left out."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import click
import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from evalh.checks.examples import EXAMPLES
from evalh.checks.registry import BUILT_IN
from evalh.cli.main import COMMANDS
from evalh.docs import pages as generated
from evalh.errors import ExitCode
from evalh.interchange.jsonl import RecordedJudgment, RecordedLabel
from evalh.records import Item, Output
from evalh.suites.frozen import FrozenRef
from evalh.suites.load import load_suites
from tests.conftest import Done
from tests.docs_tools import ROOT, Session, all_commands, blocks, check_command, command_lines, pages, plain

Evalh = Callable[..., Done]

NO_JSON = {"sim serve": "it serves until it is stopped"}
NO_STORE = {"init", "demo", "golden lock", "golden check", "sim serve"}  # they use no store, or make their own
PAGES = {page.relative_to(ROOT).as_posix(): page for page in pages()}
SUITES = sorted((ROOT / "suites").glob("*.yaml"))
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
CODE = (".py", ".md", ".toml", ".yaml", ".yml", ".json", ".jsonl", ".j2", ".cfg", ".txt", "")


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and no settings of this machine."""
    monkeypatch.chdir(tmp_path)
    for name in ("COLUMNS", "EVALH_STORE", "EVALH_SIM_URL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


# ---- what a page shows is what happens --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["docs/tutorial.md", "docs/labels.md", "docs/pytest.md", "docs/ci.md"])
def test_a_page_is_a_session_that_prints_what_it_shows(name: str, empty: Path, evalh: Evalh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the page is run in order, in a fresh folder, and prints what stands below it."""
    assert Session(evalh, monkeypatch.chdir, empty).play(PAGES[name]) >= 3


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial.md"])
def test_every_suite_on_a_page_loads_and_the_offline_ones_run(name: str, empty: Path, evalh: Evalh) -> None:
    """In a project as `evalh init` writes it, each Python or YAML suite of the page is planned, and run where it asks nobody."""
    evalh("init")
    shown = [b for b in blocks(PAGES[name], "python", "yaml") if "Suite(" in b.text or re.search(r"^golden:", b.text, re.MULTILINE)]
    assert shown
    for number, block in enumerate(shown):
        file = Path("suites") / (f"test_shown_{number}.py" if block.language == "python" else f"shown_{number}.yaml")
        file.write_text(block.text, encoding="utf-8")
        assert load_suites([file])
        if "source: judges.toml" not in block.text:  # those are played by the session
            for command in ("plan", "run", "gate"):
                done = evalh(command, *([file] if command != "gate" else []))
                assert done.code == 0, f"{command} {file}: {done.err}{done.out}"


@pytest.mark.slow
def test_the_readme_shows_what_the_demo_prints(empty: Path, evalh: Evalh) -> None:
    """Each line of the excerpt is a line of `evalh demo`, in its order; the reports that it names are there."""
    done = evalh("demo")
    assert done.code == 0, done.err
    printed = [plain(line) for line in done.out.splitlines()]
    excerpt = [plain(line) for line in blocks(PAGES["README.md"], "text")[0].text.splitlines() if line.strip()]
    wrapped = [f"{line} {rest}" for line, rest in pairwise(printed)]  # a cell may need a second line
    places = [printed.index(line) if line in printed else wrapped.index(line) for line in excerpt]
    assert sorted(places) == places
    assert "SIMULATED" in done.out
    assert "SIMULATED" in done.err
    reports = re.findall(r"report of .* (\S+\.html)", done.out)
    assert len(reports) >= 7
    assert all((empty / report).stat().st_size > 10_000 for report in reports)


def test_parts_of_suites_on_the_pages_are_parts_of_suites() -> None:
    """A YAML block that is no whole suite (`panel:`, `judges:`) obeys the schema of a suite in the place it is shown for."""
    schema = Draft202012Validator(json.loads((ROOT / "evalh" / "suites" / "suite.schema.json").read_text()))
    whole = {"name": "x", "golden": "g", "system": "outputs.jsonl"}
    count = 0
    for page in PAGES.values():
        for block in blocks(page, "yaml"):
            data = yaml.safe_load(block.text)
            if page.name == "checks.md":
                data = {"checks": [data]}
            elif isinstance(data, dict) and set(data) == {"judges"}:
                data = {"panel": {**data, "rubric": "r.md"}}
            elif not (isinstance(data, dict) and set(data) <= {"golden", "name", "system", "checks", "panel", "sampling", "gate"}):
                continue
            errors = [e.message for e in schema.iter_errors(json.loads(json.dumps({**whole, **data})))]
            assert errors == [], f"{page.name}: {block.text}"
            count += 1
    assert count > len(EXAMPLES)


# ---- the schema of a suite --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SUITES, ids=lambda p: p.stem)
def test_the_shipped_suites_obey_the_shipped_schema(path: Path) -> None:
    """The schema for editors takes what the loader takes."""
    schema = json.loads((ROOT / "evalh" / "suites" / "suite.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    suite = json.loads(json.dumps(yaml.safe_load(path.read_text(encoding="utf-8"))))  # JSON has text as keys
    assert [e.message for e in Draft202012Validator(schema).iter_errors(suite)] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"samplin": {"labels": 3}},
        {"gate": {"minimum": 2}},
        {"checks": [{"max-word": 3}]},
        {"checks": ["max-words"]},
        {"checks": [{"regex": {"patern": "x"}}]},
        {"system": {"recorded": "o.jsonl", "famly": "llama-3"}},
        {"panel": {"judges": ["nobody"], "rubric": "r.md"}},
        {"panel": {"rubric": "r.md"}},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(wrong: dict[str, object]) -> None:
    """Misspelt fields and kinds, values out of range, a judge without a provider."""
    schema = Draft202012Validator(json.loads((ROOT / "evalh" / "suites" / "suite.schema.json").read_text()))
    assert list(schema.iter_errors({"name": "x", "golden": "g", "system": "outputs.jsonl", **wrong}))


# ---- command lines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*PAGES.values(), *(ROOT / "evalh" / "starter" / "github").glob("*.yml")], ids=lambda p: p.name)
def test_every_command_line_on_a_page_parses(page: Path) -> None:
    """Command, subcommand, options and their values, as click reads them; nothing is run."""
    wrong = {line: check_command(line) for line in command_lines(page.read_text(encoding="utf-8"))}
    assert {line: what for line, what in wrong.items() if what} == {}


def test_the_checker_of_command_lines_sees_mistakes() -> None:
    """An unknown command, an unknown option, a missing argument and a wrong value are all found."""
    lines = ["evalh rnu suites/", "evalh run suites/ --fast", "evalh compare main", "evalh run suites/ --limit none", "evalh label serve"]
    assert all(check_command(line) for line in lines)
    assert [
        check_command(line) for line in ["evalh run suites/ --limit 3 --json", "evalh label import", "evalh run …", "evalh --help"]
    ] == [None] * 4


@pytest.mark.parametrize(("path", "command"), list(all_commands()), ids=lambda v: v if isinstance(v, str) else "")
def test_every_command_explains_itself(path: str, command: click.Command) -> None:
    """`--help` says what it does and shows an example that parses; every option has a line; reports take --json and --store."""
    assert command.help
    if isinstance(command, click.Group):
        return
    examples = list(command_lines(command.epilog or "", indent=2))
    assert any(f"evalh {path}" in line for line in examples), f"`evalh {path} --help` shows no example"
    assert [what for what in map(check_command, examples) if what] == []
    options = {o for p in command.params for o in p.opts}
    assert ("--json" in options) == (path not in NO_JSON)
    assert ("--store" in options) == (path not in NO_STORE)
    assert [p.name for p in command.params if isinstance(p, click.Option) and not p.help] == []


def test_every_command_is_on_a_page() -> None:
    """Each command of `evalh --help`, and each subcommand, is in the README or in docs/."""
    shown = {line for page in PAGES.values() for line in command_lines(page.read_text(encoding="utf-8"))}
    assert [
        path for path, _ in all_commands() if not any(line == f"evalh {path}" or line.startswith(f"evalh {path} ") for line in shown)
    ] == []
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"| `evalh {name}" not in readme] == []


# ---- nothing is left out ----------------------------------------------------------------------------------------------


def test_the_readme_is_short_and_names_every_exit_code() -> None:
    """Under 150 lines; each exit code has a row there and in docs/ci.md."""
    readme, ci = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/ci.md"))
    assert len(readme.splitlines()) < 150
    for code in ExitCode:
        assert f"| {code.value} |" in readme
        assert f"| {code.value} |" in ci


def test_every_check_has_its_section() -> None:
    """docs/checks.md has a heading for each built-in kind, and evalh.checks a class."""
    headings = re.findall(r"^## (\S+)$", (ROOT / "docs" / "checks.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(BUILT_IN) <= set(headings)


@pytest.mark.parametrize("path", list(generated()), ids=lambda p: p.name)
def test_generated_pages_are_not_stale(path: Path) -> None:
    """`python -m evalh.docs` would change nothing."""
    assert path.read_text(encoding="utf-8") == generated()[path], "run `python -m evalh.docs`"


@pytest.mark.parametrize("record", [Item, Output, RecordedJudgment, RecordedLabel, FrozenRef], ids=lambda r: r.__name__)
def test_every_field_of_a_file_is_documented(record: type[BaseModel]) -> None:
    """docs/files.md names each field that a line of JSON may have."""
    page = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    written = {"text": "output"}  # what a file calls it
    assert [name for name in record.model_fields if f"`{written.get(name, name)}`" not in page] == []


def test_troubleshooting_quotes_what_is_said() -> None:
    """Each message in the first column stands in the code."""
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
    code = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "evalh").rglob("*.py")))
    assert len(rows) > 10
    assert [message for message in rows if message not in code] == []


def test_every_option_of_the_plugin_is_documented() -> None:
    """docs/pytest.md names each `--evalh-…` option of `pytest --help`."""
    page = (ROOT / "docs" / "pytest.md").read_text(encoding="utf-8")
    options = set(re.findall(r"--evalh-[a-z-]+", (ROOT / "evalh" / "pytest_plugin.py").read_text(encoding="utf-8")))
    assert options
    assert [option for option in options if f"`{option}" not in page] == []


def test_every_page_is_in_the_index() -> None:
    """docs/README.md leads to each page of docs/."""
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert [p.name for p in (ROOT / "docs").glob("*.md") if p.name != "README.md" and f"({p.name})" not in index] == []


# ---- links and hygiene ------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES.values(), ids=lambda p: p.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    """The file is there, and so is the heading."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), f"{page.name}: {target}"


def test_no_file_names_this_machine_or_a_registry() -> None:
    """No absolute path of a home or a build folder, no host of a package registry, in any tracked text."""
    if not TRACKED:
        pytest.skip("not a checkout: there is no list of tracked files")
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "anaconda" + ".org", "crates" + ".io")
    places = ("/ho" + "me/", "/Us" + "ers/", "/ro" + "ot/", "/wo" + "rk/", "C:" + "\\Users")
    found = []
    for name in TRACKED:
        path = ROOT / name
        if path.suffix in CODE and path.is_file() and name != "LICENSE":
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [f"{name}: {word}" for word in (*hosts, *places) if word in text]
    assert found == []

"""The shape of the code: layers point one way, importing is cheap, files stay one room."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "evalh"

LAYERS: list[set[str]] = [
    {"evalh.errors", "evalh.records", "evalh.fingerprints", "evalh.redaction", "evalh.threads", "evalh"},
    {"evalh.checks", "evalh.judging", "evalh.stats", "evalh.sampling"},
    {"evalh.config", "evalh.suites", "evalh.providers", "evalh.store", "evalh.interchange", "evalh.systems", "evalh.graded"},
    {"evalh.rows", "evalh.engine", "evalh.flow", "evalh.sides", "evalh.prepare", "evalh.tiers", "evalh.opening", "evalh.pipeline",
     "evalh.plan", "evalh.gate", "evalh.compare", "evalh.release", "evalh.labels", "evalh.summary", "evalh.repeats", "evalh.costs",
     "evalh.audit", "evalh.ranking", "evalh.probe"},
    {"evalh.cli", "evalh.report", "evalh.sim", "evalh.demo", "evalh.pytest_plugin", "evalh.pytest_session", "evalh.docs", "evalh.__main__"},
]  # fmt: skip
# The `sim` provider starts the simulator where a suite names a profile; nothing else below the surfaces knows of it.
DOORS = {("evalh.providers.sim", "evalh.sim")}
HEAVY = ("openai", "anthropic", "pandas", "vllm", "duckdb")


def layer_of(module: str) -> int:
    """The layer of a module, by its longest known prefix."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        for number, names in enumerate(LAYERS):
            if ".".join(parts[:length]) in names and (length > 1 or module == "evalh"):
                return number
    raise AssertionError(f"{module} is in no layer: add it to LAYERS and to ARCHITECTURE.md")


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE.parent).with_suffix("")
        name = ".".join(relative.parts).removesuffix(".__init__")
        if not name.startswith("evalh.starter"):
            found.append((name, path))
    return found


def imports_of(path: Path) -> set[str]:
    """The evalh modules that a file imports when it runs; what it imports for type checkers only is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name.split(".")[0] == "evalh"}


def test_layers_point_one_way() -> None:
    """No module imports one of a higher layer."""
    upward = [
        f"{name} → {target}"
        for name, path in modules()
        for target in imports_of(path)
        if layer_of(target) > layer_of(name) and not any(name == a and target.startswith(b) for a, b in DOORS)
    ]
    assert upward == []


def test_there_is_no_import_cycle() -> None:
    """The graph of imports is a tree of rooms: nothing imports itself by a detour."""
    graph = {name: imports_of(path) for name, path in modules()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for target in graph.get(name, ()):
                if target != "evalh":
                    visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize(
    "code",
    [
        "import evalh",
        "import evalh; evalh.Suite; evalh.checks",
        "import evalh.cli.main as m\ntry:\n    m.main(['--help'])\nexcept SystemExit:\n    pass",
        "import evalh.pytest_plugin",
    ],
)
def test_importing_loads_nothing_heavy(code: str) -> None:
    """`import evalh`, `evalh --help` and the pytest plugin load none of the SDKs, pandas, vllm or duckdb."""
    probe = f"{code}\nimport sys\nprint('LOADED', [m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("LOADED []")


def test_only_the_store_speaks_sql() -> None:
    """duckdb is imported in evalh/store alone, and so is SQL."""
    outside = [name for name, path in modules() if not name.startswith("evalh.store") and "duckdb" in imported_packages(path)]
    assert outside == []
    speaking = [n for n, p in modules() if not n.startswith(("evalh.store", "evalh.cli")) and "SELECT " in p.read_text(encoding="utf-8")]
    assert speaking == []


def imported_packages(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return named | {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def test_every_file_is_one_room_and_says_what_for() -> None:
    """No file over 450 lines, no function over 60, a module docstring in each."""
    for name, path in modules():
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        assert not text.strip() or ast.get_docstring(tree), f"{name} has no docstring"
        assert len(text.splitlines()) <= 450, f"{name} is {len(text.splitlines())} lines"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                assert node.end_lineno - node.lineno <= 60, f"{name}.{node.name} is {node.end_lineno - node.lineno} lines"

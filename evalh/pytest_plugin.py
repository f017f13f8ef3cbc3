"""The pytest plugin: suites as tests. It does nothing, and loads nothing, in a session that holds no suite.

Every (test, item) is a pytest test. Before the first one runs, the outputs, checks and judge calls of all selected items
are made concurrently; under pytest-xdist by the worker that comes first, the others wait for it. After the last one the
run is closed in the store and the gate decides.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from evalh.pytest_session import Sessions
    from evalh.suites.model import Suite

_YAML_SUITE = re.compile(rb"^golden\s*:", re.MULTILINE)
_SESSIONS = pytest.StashKey["Sessions"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("evalh", "evaluation suites")
    group.addoption("--evalh-store", metavar="PATH", help="the store (default: EVALH_STORE, or .evalh/evalh.duckdb)")
    group.addoption("--evalh-gate", action="store_true", help="fail the session unless every gate says PASS")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A YAML file with `golden:` at its left margin is a suite."""
    if file_path.suffix in (".yaml", ".yml") and _YAML_SUITE.search(file_path.read_bytes()):
        return YamlSuite.from_parent(parent, path=file_path)
    return None


def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> list[pytest.Item] | None:
    """A Suite at the top level of a test file: one test per item for its checks and its panel."""
    if "evalh.suites.model" not in sys.modules or type(obj).__name__ != "Suite":
        return None
    from evalh.suites.model import Suite

    return _suite_items(collector, obj) if isinstance(obj, Suite) else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A function under `@suite.test`: one test per item."""
    suite = getattr(metafunc.function, "__evalh_suite__", None)
    if suite is None:
        return
    mine = _sessions(metafunc.config).of(suite, Path(str(metafunc.module.__file__)))
    own = list(inspect.signature(metafunc.function).parameters)  # `fixturenames` begins with fixtures that nobody has to name
    name = next(iter(own[1:] if metafunc.cls is not None else own), None)
    if name is None:
        raise pytest.Collector.CollectError(f"{metafunc.function.__name__}: a suite test takes one argument, `output`")
    metafunc.parametrize(name, [pytest.param(_Pending(mine.key, item_id), id=item_id) for item_id in mine.item_ids])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before the first test of a suite runs, everything that its selected tests need is fetched."""
    pending = _pending(item)
    if pending is not None:
        _sessions(item.config).by_key[pending.key].fetch(_selected(item.session.items, pending.key))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A test function meets every output of its item, the first in pytest's own call, and fails if one of them fails."""
    pending = _pending(item)
    if pending is None or not isinstance(item, pytest.Function):
        return (yield)
    mine = _sessions(item.config).by_key[pending.key]
    name = next(n for n, value in item.callspec.params.items() if isinstance(value, _Pending))
    outputs = mine.settled(pending.item_id)
    there = [place for place, settled in enumerate(outputs) if settled.route != "no_output"]
    result, raised = None, list[BaseException]()
    for place in there:
        item.funcargs[name] = outputs[place].graded()
        error: BaseException | None = None
        try:
            if place == there[0]:
                result = yield
            else:
                item.runtest()
        except (Exception, pytest.fail.Exception, pytest.skip.Exception) as caught:
            error = caught
        raised += [error] if error is not None else []
        mine.tested(item.nodeid, place, error)
    if raised:
        raise next((e for e in raised if not isinstance(e, pytest.skip.Exception)), raised[0])
    if len(there) < len(outputs):
        why = next(s.why for s in outputs if s.route == "no_output")
        pytest.fail(f"the system gave no output: {why}", pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    pending = _pending(item)
    if pending is None or (report.when != "call" and report.passed):
        return report
    mine = _sessions(item.config).by_key[pending.key]
    report.evalh = mine.result_of(item.nodeid, pending.item_id, getattr(item, "originalname", None), report)  # type: ignore[attr-defined]  # travels to the xdist controller with the report
    if report.failed and isinstance(item, pytest.Function) and mine.fetched:
        report.sections.append(("evalh", mine.describe(pending.item_id)))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Results of tests, here and from workers, for the rows that are written at the end."""
    if hasattr(report, "evalh") and _controller is not None:
        _sessions(_controller).note(report.evalh)


_controller: pytest.Config | None = None


def pytest_configure(config: pytest.Config) -> None:
    global _controller  # noqa: PLW0603 — pytest_runtest_logreport is given no config
    if not hasattr(config, "workerinput"):
        _controller = config


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput") or _SESSIONS not in session.config.stash:
        return
    sessions = _sessions(session.config)
    sessions.close()
    if session.config.getoption("--evalh-gate") and sessions.refuses and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if _SESSIONS in config.stash and not hasattr(config, "workerinput"):
        for title, lines in _sessions(config).summary():
            terminalreporter.section(title)
            for line in lines:
                terminalreporter.write_line(line)


class _Pending:
    """Stands for an output until its test runs."""

    def __init__(self, key: str, item_id: str) -> None:
        self.key, self.item_id = key, item_id

    def __repr__(self) -> str:
        return f"<output for {self.item_id}>"


class YamlSuite(pytest.File):
    """A YAML suite: one test per item."""

    def collect(self) -> Iterable[pytest.Item]:
        from evalh.errors import EvalhError
        from evalh.suites.load import load_yaml

        try:
            suite = load_yaml(self.path)
        except EvalhError as error:
            raise self.CollectError(str(error)) from None
        return _suite_items(self, suite)


class SuiteItem(pytest.Item):
    """One item of a suite: its checks hold, and the panel does not fail it."""

    def __init__(self, *, pending: _Pending, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pending = pending

    def runtest(self) -> None:
        _sessions(self.config).by_key[self.pending.key].judge(self.pending.item_id)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if type(excinfo.value).__name__ in ("ItemFailed", "InputError", "UsageError", "ProviderUnusable", "StoreBusy"):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name


def _suite_items(parent: pytest.Collector, suite: Suite) -> list[pytest.Item]:
    mine = _sessions(parent.config).of(suite, parent.path)
    if not suite.checks and suite.panel is None:
        return []
    return [SuiteItem.from_parent(parent, name=f"{suite.name}[{i}]", pending=_Pending(mine.key, i)) for i in mine.item_ids]


def _pending(item: pytest.Item) -> _Pending | None:
    if isinstance(item, SuiteItem):
        return item.pending
    callspec = getattr(item, "callspec", None)
    return next((v for v in callspec.params.values() if isinstance(v, _Pending)), None) if callspec is not None else None


def _selected(items: Iterable[pytest.Item], key: str) -> list[str]:
    chosen = (p.item_id for p in map(_pending, items) if p is not None and p.key == key)
    return list(dict.fromkeys(chosen))


def _sessions(config: pytest.Config) -> Sessions:
    """The suites of this session, made when the first one is met."""
    if _SESSIONS not in config.stash:
        from evalh.pytest_session import Sessions

        config.stash[_SESSIONS] = Sessions(config.getoption("--evalh-store"), getattr(config, "workerinput", {}).get("testrunuid"))
    return config.stash[_SESSIONS]

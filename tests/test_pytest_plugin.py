"""Suites under plain pytest: ids, selection, failures, workers, JUnit, the gate; and silence where there is no suite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ITEMS, Done, replace

PYTHON_SUITE = '''
import evalh
from evalh import checks

suite = evalh.Suite(
    name="refunds-py",
    golden="golden/refunds",
    system=evalh.Recorded("golden/refunds/outputs/v1.jsonl", family="sim-writer"),
    checks=[checks.MaxChars(400)],
    panel=evalh.Panel(
        judges=[evalh.Judge(model="sim:north-1", source="judges.toml")],
        rubric=evalh.Rubric(name="faithful", scale="binary", instructions="Judge by the policy."),
    ),
    gate=evalh.Gate(minimum=0.5),
)


@suite.test
def test_names_its_article(output):
    """The answer names the article that was asked for."""
    assert f"article {int(output.item.item_id[1:])} " in output.text
    assert output.checks[0].status == "pass"
    assert output.verdicts[0].judge == "sim:north-1"
    assert output.score in (0.0, 1.0)


@suite.test
def test_is_not_about_article_five(output):
    assert "article 5 " not in output.text
'''


def run_pytest(project: Path, *args: str, code: int | None = None) -> subprocess.CompletedProcess[str]:
    """pytest as users run it, in a process of its own, with the plugin found by its entry point."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *args],
        cwd=project, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"}, check=False,
    )  # fmt: skip
    if code is not None:
        assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def python_suite(project: Path) -> Path:
    (project / "test_refunds.py").write_text(PYTHON_SUITE)
    return project


def test_every_test_and_item_is_a_test_with_a_readable_id(python_suite: Path, evalh: Callable[..., Done]) -> None:
    """Functions and the suite itself give one test per item; a failing one shows input, output, checks, verdict and rationale."""
    done = run_pytest(python_suite, "test_refunds.py", "-rA", code=1)
    assert "test_refunds.py::test_names_its_article[i03]" in done.stdout
    assert "test_refunds.py::refunds-py[i03]" in done.stdout
    failed = done.stdout.split("test_is_not_about_article_five[i05]", 1)[1]
    assert "How long may I keep article 5?" in failed
    assert "You may keep article 5 for 15 days." in failed
    assert "max-chars" in failed
    assert "sim:north-1 quality" in failed
    assert "evalh: refunds-py" in done.stdout
    assert "gate     PASS" in done.stdout
    assert "evalh.duckdb" in done.stdout
    rows = evalh(
        "sql",
        "SELECT status, count(*) AS n FROM check_results WHERE \"check\" = 'test_is_not_about_article_five' GROUP BY status ORDER BY n",
        "--json",
    )
    assert rows.json == [{"status": "fail", "n": 1}, {"status": "pass", "n": ITEMS - 1}]
    assert evalh("sql", "SELECT count(*) AS n FROM runs", "--json").json == [{"n": 1}]


def test_selection_works_as_in_any_pytest_run(python_suite: Path) -> None:
    """-k, -x and --lf choose tests; only their items are fetched, and no gate is decided on a part."""
    picked = run_pytest(python_suite, "test_refunds.py", "-k", "article and i07", code=0)
    assert "2 passed" in picked.stdout
    assert f"1 of {ITEMS} items were selected" in picked.stdout
    stopped = run_pytest(python_suite, "test_refunds.py", "-x", "-k", "five")
    assert "1 failed" in stopped.stdout
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-k", "five"], cwd=python_suite, capture_output=True, check=False)
    again = subprocess.run([sys.executable, "-m", "pytest", "-q", "--lf"], cwd=python_suite, capture_output=True, text=True, check=False)
    assert "1 failed" in again.stdout


def test_two_workers_share_one_run(python_suite: Path, evalh: Callable[..., Done]) -> None:
    """Under pytest-xdist everything is fetched once, every test runs once, and the run is closed once."""
    done = run_pytest(python_suite, "test_refunds.py", "-n", "2", "-q", code=1)
    assert f"1 failed, {3 * ITEMS - 1} passed" in done.stdout
    assert "gate     PASS" in done.stdout
    assert evalh("sql", "SELECT count(*) AS n, count(DISTINCT run_id) AS r FROM verdicts", "--json").json == [{"n": ITEMS, "r": 1}]
    assert evalh("sql", "SELECT count(*) AS n FROM check_results", "--json").json == [{"n": 3 * ITEMS}]
    assert evalh("sql", "SELECT count(*) AS n FROM provider_calls", "--json").json == [{"n": ITEMS}]


def test_yaml_suites_are_collected_and_junit_names_every_item(project: Path) -> None:
    """`pytest` collects a YAML file that is a suite, leaves another one alone, and JUnit has one case per item."""
    (project / "other.yaml").write_text("some: thing\n")
    (project / "pairs.yaml").unlink()
    run_pytest(project, ".", "--junitxml", "junit.xml", code=0)
    cases = [c.attrib["name"] for c in ET.parse(project / "junit.xml").getroot().iter("testcase")]
    assert len(cases) == ITEMS
    assert "refunds[i00]" in cases


def test_a_failing_item_of_a_suite_fails_and_an_unscored_one_is_skipped(project: Path) -> None:
    """A blocked item fails with its check; an unscored one is neither passed nor failed."""
    replace(project / "refunds.yaml", "max-chars: 400", "not-contains: article 7")
    failed = run_pytest(project, "refunds.yaml", code=1)
    assert "not-contains" in failed.stdout
    assert f"1 failed, {ITEMS - 1} passed" in failed.stdout
    replace(project / "refunds.yaml", "sim:south-1", "sim:east-1")
    unscored = run_pytest(project, "refunds.yaml", "-rs", code=1)
    assert f"{ITEMS - 1} skipped" in unscored.stdout
    assert "unscored: 1 of 2 judges unscored" in unscored.stdout
    assert "gate     INCONCLUSIVE" in unscored.stdout


def test_the_gate_can_decide_the_session(project: Path) -> None:
    """With --evalh-gate a session of passing tests fails unless the gate says PASS."""
    replace(project / "refunds.yaml", "minimum: 0.5", "minimum: 0.999")
    assert run_pytest(project, "refunds.yaml").returncode == 0
    assert run_pytest(project, "refunds.yaml", "--evalh-gate").returncode == 1


def test_bad_input_is_a_collection_error_of_one_line(project: Path) -> None:
    """The same sentence as on the command line, without a traceback."""
    replace(project / "refunds.yaml", "sampling:", "samplin:")
    done = run_pytest(project, "refunds.yaml", code=2)
    assert "did you mean `sampling`?" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_session_without_a_suite_is_left_alone(tmp_path: Path) -> None:
    """No section, no store, no heavy import, no file."""
    (tmp_path / "test_plain.py").write_text(
        "import sys\n\ndef test_nothing_heavy():\n"
        "    assert not {'openai', 'anthropic', 'pandas', 'duckdb', 'pydantic', 'evalh.pytest_session'} & set(sys.modules)\n"
    )
    (tmp_path / "data.yaml").write_text("some: thing\n")
    done = run_pytest(tmp_path, "-q", code=0)
    assert "evalh" not in done.stdout
    assert not (tmp_path / ".evalh").exists()
    assert json.dumps(sorted(p.name for p in tmp_path.iterdir() if p.name != "__pycache__")) == '["data.yaml", "test_plain.py"]'

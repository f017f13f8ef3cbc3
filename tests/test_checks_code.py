"""Checks that run code: Python functions, and programs with real processes under real limits."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from evalh import checks
from evalh.errors import InputError
from tests.checks_support import compiled, row, status

PY = "{python}"


def asserts(text: str) -> bool:
    assert "30 days" in text, "does not name the window"
    return True


def with_item(output, item) -> tuple[bool, str]:
    return output.text == item.reference, f"for {item.item_id}"


def leaves(text: str) -> bool:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("check", "text", "expected", "reason"),
    [
        (lambda text: "a" in text, "abc", "pass", ""),
        (lambda text: "a" in text, "xyz", "fail", ""),
        (asserts, "30 days", "pass", ""),
        (asserts, "a week", "fail", "does not name the window"),
        (with_item, "ref", "pass", "for i1"),
        (with_item, "other", "fail", "for i1"),
        (lambda text: (0.5, "half"), "", "error", "set `threshold`"),
        (checks.PythonFunction(lambda text: 0.5, threshold=0.5), "", "pass", "0.5, threshold 0.5"),
        (checks.PythonFunction(lambda text: (0.4, "near"), threshold=0.5), "", "fail", "near"),
        (checks.PythonFunction(lambda text: 7, threshold=0.5), "", "error", "not in [0, 1]"),
        (lambda text: np.bool_(True), "", "pass", ""),
        (checks.PythonFunction(lambda text: np.float64(0.9), threshold=0.5), "", "pass", ""),
        (lambda text: None, "", "error", "returned None: expected True, False"),
        (lambda text: "yes", "", "error", "returned 'yes'"),
        (lambda text: 1 / 0, "", "error", "ZeroDivisionError: division by zero"),
        (leaves, "", "error", "SystemExit(3)"),
    ],
)
def test_a_python_function_decides(check, text, expected, reason) -> None:
    """True, False, a number with a threshold, or one of these with a reason; an assert fails, all else is an error."""
    result = row(check, text, "ref")
    assert (result.status, reason in result.reason) == (expected, True)


def test_a_function_is_named_and_hashed_by_its_source() -> None:
    """The row carries the function's name, and its hash changes with its code."""
    assert row(asserts, "x").check == "asserts"
    assert row(lambda text: True, "x").check == "python-function"
    assert checks.PythonFunction(asserts, negate=True).title == "not-asserts"
    first, second = checks.PythonFunction(lambda text: "a" in text), checks.PythonFunction(lambda text: "b" in text)
    assert first.check_hash != second.check_hash
    assert checks.PythonFunction(asserts).check_hash == checks.PythonFunction(asserts).check_hash


def test_functions_in_files_beside_the_suite(tmp_path) -> None:
    """`module:function` is found in a file beside the suite, which may import its neighbours; two suites may each have theirs."""
    for n, word in enumerate(("refund", "return")):
        folder = tmp_path / str(n)
        folder.mkdir()
        (folder / f"words{n}.py").write_text(f"WORD = {word!r}\n")
        (folder / "own_helpers.py").write_text(f"from words{n} import WORD\n\ndef mentions(text):\n    return WORD in text\n")
        for spec in ("own_helpers:mentions", "own_helpers.py:mentions"):
            assert status({"python-function": spec}, f"a {word}", folder=folder) == "pass"
            assert status({"python-function": spec}, "a refusal", folder=folder) == "fail"
    before = compiled({"python-function": "own_helpers:mentions"}, tmp_path / "0")[0].check_hash
    (tmp_path / "0" / "own_helpers.py").write_text("def mentions(text):\n    return True\n")
    assert compiled({"python-function": "own_helpers:mentions"}, tmp_path / "0")[0].check_hash != before
    assert status({"python-function": "own_helpers:mentions"}, "", folder=tmp_path / "0") == "pass"


async def later(text: str) -> bool:
    return True


@pytest.mark.parametrize("function", [later, lambda: True, lambda a, b, c: True, lambda *, text: True, "json:dumps2", "json:__doc__"])
def test_a_function_of_another_shape_is_bad_input(function) -> None:
    """Async functions, wrong parameters, and names of nothing are said before the run."""
    with pytest.raises(InputError, match="check `"):
        compiled(checks.PythonFunction(function))


def shell(code: str, **settings):
    """A check that runs Python code with the output's file as its argument."""
    return checks.ShellCommand([PY, "-c", code, "{file}"], **settings)


@pytest.mark.parametrize(
    ("code", "expected", "reason"),
    [
        ("import sys; sys.exit(open(sys.argv[1]).read() != 'the output é')", "pass", "exit 0"),
        ("print('one'); import sys; print('two', file=sys.stderr); sys.exit(3)", "fail", "exit 3: two"),
        ("print('a'); print('b'); raise SystemExit(1)", "fail", "exit 1: a | b"),
        ("import os; os.kill(os.getpid(), 11)", "fail", "killed by SIGSEGV"),
        ("print('\\x1b[31mred\\x00'); raise SystemExit(1)", "fail", "exit 1: red"),
        ("x = bytearray(3_000_000_000)", "fail", "MemoryError"),
        ("open('big', 'wb').write(bytes(100_000_000))", "fail", "File too large"),
        ("while True: print('x' * 1000)", "fail", "stopped after more than 256 kB of output"),
        ("import sys; sys.stdout.close(); sys.stderr.close(); import time; time.sleep(60)", "fail", "stopped after 3 s"),
        ("import os; assert os.getcwd() == os.environ['HOME'] == os.environ['TMPDIR']", "pass", ""),
    ],
)
def test_a_program_accepts_or_rejects_the_output(code, expected, reason) -> None:
    """Exit code 0 passes; crashes and limits of memory, file size, output and time fail, with the last lines as the reason."""
    result = row(shell(code, timeout_s=3), "the output é")
    assert (result.status, reason in result.reason) == (expected, True), result.reason


def test_a_reached_limit_is_an_error_where_the_check_is_negated() -> None:
    """A program that was stopped has not said no: a negated check may not pass by it."""
    assert status(shell("while True: pass", timeout_s=0.3), "") == "fail"
    assert status(shell("while True: pass", timeout_s=0.3, negate=True), "") == "error"


def test_nothing_of_ours_reaches_the_program(monkeypatch) -> None:
    """The environment is PATH, LANG, HOME, TMPDIR and what the suite adds: no keys."""
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    code = "import os; print(sorted(k for k in os.environ if k not in ('LC_CTYPE', 'PWD', 'SHLVL', '_', 'OLDPWD'))); raise SystemExit(1)"
    reason = row(shell(code, env={"MODE": "test"}), "").reason
    assert reason == "exit 1: ['EVALH_PROCESS', 'HOME', 'LANG', 'MODE', 'PATH', 'TMPDIR']"


CHILDREN = {
    "ignores SIGTERM": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "left its session": "import os; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0)",
}


@pytest.mark.skipif(sys.platform != "linux", reason="processes that leave their group are found by /proc")
@pytest.mark.parametrize("parent_stays", [True, False])
@pytest.mark.parametrize("kind", CHILDREN)
def test_no_process_outlives_the_check(kind, parent_stays, tmp_path) -> None:
    """Children are killed with the program, also those that ignore SIGTERM, hold its output open, or left its session."""
    sign = tmp_path / "pid"
    child = f"{CHILDREN[kind]}\nimport os, time\nwith open({str(sign)!r}, 'a') as f: f.write(str(os.getpid()) + '\\n')\ntime.sleep(300)\n"
    (tmp_path / "child.py").write_text(child)
    code = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, {str(tmp_path / 'child.py')!r}])\n"
        f"while not os.path.exists({str(sign)!r}): time.sleep(0.01)\n"
        f"time.sleep({60 if parent_stays else 0})\n"
    )
    start = time.monotonic()
    result = row(shell(code, timeout_s=3), "")
    assert time.monotonic() - start < 6
    assert result.status == ("fail" if parent_stays else "pass")
    pids = [int(line) for line in sign.read_text().split()]
    assert pids
    time.sleep(0.1)
    assert [pid for pid in pids if is_running(pid)] == []


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_unit_tests_run_on_the_code_of_an_output(tmp_path) -> None:
    """Files of the suite, as text or by path, stand beside the output's code; a failing test fails with its message."""
    (tmp_path / "test_answer.py").write_text("from answer import add\nassert add(2, 3) == 5, 'two and three'\n")
    spec = {
        "shell-command": {
            "command": [PY, "test_answer.py"],
            "filename": "answer.py",
            "extract": "python",
            "files": {"test_answer.py": "test_answer.py", "data/numbers.txt": "1\n2\n"},
        }
    }
    right, wrong = (f"```python\ndef add(a, b):\n    return a {op} b\n```" for op in "+-")
    assert status(spec, right, folder=tmp_path) == "pass"
    assert "AssertionError: two and three" in row(spec, wrong, folder=tmp_path).reason
    assert row(spec, "no code", folder=tmp_path).reason == "holds no code block in python"


def test_the_item_can_be_given_to_the_program() -> None:
    """With `item_file` the program reads the item, with tests or data of its own."""
    code = "import json, sys; sys.exit(json.load(open('item.json'))['reference'] != open(sys.argv[1]).read())"
    assert status(shell(code, item_file="item.json"), "42", "42") == "pass"
    assert status(shell(code, item_file="item.json"), "41", "42") == "fail"


def test_the_output_never_reaches_a_shell(tmp_path) -> None:
    """What a model writes is in the file only, with `shell: true` too; placeholders in it stay as they are."""
    hostile = f"'; touch {tmp_path}/owned; echo $(touch {tmp_path}/owned) `touch {tmp_path}/owned` {{file}}"
    assert status(checks.ShellCommand("cat {file} | grep -q owned", shell=True), hostile) == "pass"
    assert status(checks.ShellCommand(["cat", "{file}"]), hostile) == "pass"
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"command": "ls"}, "only with `shell: true` it is one string"),
        ({"command": ["ls"], "shell": True}, "only with `shell: true` it is one string"),
        ({"command": []}, "at least 1 item"),
        ({"command": ["no-such-program-anywhere"]}, "there is no program 'no-such-program-anywhere' on the PATH"),
        ({"command": ["./no-such.sh"]}, "./no-such.sh: there is no such file"),
        ({"command": ["ls"], "filename": "../x"}, "'../x' is no name of a file inside the temporary folder"),
        ({"command": ["ls"], "files": {"/etc/passwd": "x\n"}}, "'/etc/passwd' is no name of a file"),
        ({"command": ["ls"], "files": {"test.py": "no_such.py"}}, "no_such.py: there is no such file"),
        ({"command": ["ls"], "timeout_s": 0}, "greater than 0"),
    ],
)
def test_a_command_that_cannot_work_is_bad_input(settings, message, tmp_path) -> None:
    """Missing programs and files, and names that lead out of the folder, are said before the run."""
    with pytest.raises(InputError) as error:
        compiled({"shell-command": settings}, tmp_path)
    assert message in str(error.value)


def test_programs_of_the_suite_run_by_their_path(tmp_path) -> None:
    """A script beside the suite is found by its path."""
    (tmp_path / "accept.sh").write_text('#!/bin/sh\ngrep -q yes "$1"\n')
    (tmp_path / "accept.sh").chmod(0o755)
    assert status(checks.ShellCommand(["./accept.sh", "{file}"]), "yes", folder=tmp_path) == "pass"
    assert status(checks.ShellCommand(["./accept.sh", "{file}"]), "no", folder=tmp_path) == "fail"


def test_temporary_folders_are_removed(tmp_path, monkeypatch) -> None:
    """Nothing stays of what a program wrote, even read-only."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    code = "import os; os.mkdir('d'); open('d/f', 'w').write('x'); os.chmod('d', 0o500)"
    assert status(shell(code), "") == "pass"
    assert os.listdir(tmp_path) == []

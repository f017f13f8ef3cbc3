"""How suites write checks, and how kinds are found: built-in ones and plugins through one door."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import evalh.checks
from evalh import checks
from evalh.checks.examples import EXAMPLES
from evalh.checks.reference import _TAIL, reference
from evalh.checks.registry import BUILT_IN, CheckError, check_from_spec, kinds
from evalh.errors import InputError
from evalh.suites.model import Suite
from tests.checks_support import row, status

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("spec", "same"),
    [
        ({"regex": "a+"}, checks.Regex("a+")),
        ({"regex": {"pattern": "a+", "negate": True}}, checks.Regex("a+", negate=True)),
        ({"max-words": 150, "blocking": False}, checks.MaxWords(150, blocking=False)),
        ({"name": "short", "max-words": 150}, checks.MaxWords(150, name="short")),
        ({"not-contains": "sorry"}, checks.Contains("sorry", negate=True)),
        ({"contains-any": ["a", "b"]}, checks.ContainsAny(["a", "b"])),
        ({"json-path": "$.a", "equals": 3}, checks.JSONPath("$.a", equals=3)),
        ({"json-schema": {"schema": {"type": "object"}, "extract": True}}, checks.JSONSchema({"type": "object"}, extract=True)),
        ({"equals": None}, checks.Equals()),
        ({"json-valid": True}, checks.JSONValid()),
        ("json-valid", checks.JSONValid()),
        ("not-refusal", checks.Refusal(negate=True)),
        (checks.JSONValid, checks.JSONValid()),
        (checks.MaxWords(3), checks.MaxWords(3)),
        (len, checks.PythonFunction(len)),
    ],
)
def test_every_short_form_builds_the_same_check_as_python(spec, same) -> None:
    """A suite may write a check as an object, a kind, a kind with its first setting, a mapping, or a function."""
    assert check_from_spec(spec) == same
    assert check_from_spec(spec).check_hash == same.check_hash


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"regx": "a"}, "there is no check `regx`; did you mean `regex`"),
        ("max_words", "did you mean `max-words`"),
        ({"not-contain": "a"}, "`not-contains`"),
        ("zzzzqqqq", "docs/checks.md lists all"),
        (
            {"regex": {"patern": "a"}},
            "check `regex`: needs the setting `pattern`; unknown setting `patern`; its settings are pattern, mode",
        ),
        ({"regex": "a", "max-words": 3}, "unknown setting `max-words`"),
        ({"json-schema": {"type": "object"}}, "unknown setting `type`; its settings are"),
        ({"max-words": "many"}, "setting `words`: Input should be a valid integer"),
        ({"max-words": 3, "words": 4}, "setting `words` is given twice"),
        ({"not-regex": {"pattern": "a", "negate": True}}, "negated twice"),
        ({"json-valid": "yes"}, "takes no value"),
        ({"rouge-l": {"value": "a"}}, "needs the setting `threshold`"),
        ({"json-path": {"path": "$.a", "equals": 1, "exists": True}}, "equals and exists exclude each other"),
        ({"json-path": {"path": "$.a", "equals": None}}, "write `one_of: [null]`"),
        ({"blocking": False}, "names its kind first"),
        (42, "42 is no check"),
    ],
)
def test_a_wrong_check_is_one_line_that_says_what_would_be_right(spec, message) -> None:
    """Unknown kinds suggest the nearest, unknown settings name the allowed ones, and nothing shows a traceback."""
    with pytest.raises(InputError) as error:
        check_from_spec(spec)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_wrong_check_in_a_suite_has_its_place() -> None:
    """Inside a suite pydantic adds which check of the list it is."""
    with pytest.raises(ValueError, match=r"checks\.1[\s\S]*there is no check `regx`"):
        Suite(name="s", golden="g", system="out.jsonl", checks=["json-valid", {"regx": "a"}])


def test_every_built_in_class_is_exported_by_its_name() -> None:
    """`evalh.checks` has a class for each kind, loaded when it is used."""
    assert len(BUILT_IN) == 30
    for kind, cls in ((k, c) for k, c in kinds().items() if k in BUILT_IN):
        assert getattr(evalh.checks, cls.__name__) is cls
        assert cls.kind == kind
    with pytest.raises(AttributeError, match="no attribute 'Regx'"):
        _ = evalh.checks.Regx


@pytest.mark.parametrize("kind", BUILT_IN)
def test_the_examples_of_the_reference_page_do_what_they_show(kind: str) -> None:
    """The YAML and the Python of each example are the same check; it passes the one output and fails the other."""
    example = EXAMPLES[kind]
    spec = yaml.safe_load(example.yaml)
    python = eval(example.python, {"checks": checks})
    assert check_from_spec(spec) == python
    for spec_or_check in (spec, python):
        assert status(spec_or_check, **example.passes) == "pass"
        assert status(spec_or_check, **example.fails) == "fail"


def test_every_check_can_be_recorded_and_described() -> None:
    """Settings of every example serialise to JSON, whatever they hold, and every setting has a description."""
    for example in EXAMPLES.values():
        assert eval(example.python, {"checks": checks}).model_dump_json()
    for kind, cls in kinds().items():
        assert cls.__doc__, kind
        assert all(field.description for field in cls.model_fields.values()), kind
        assert cls.model_json_schema()["properties"]


def test_the_page_of_checks_is_the_one_that_the_code_makes() -> None:
    """docs/checks.md is made from the registry: `python -m evalh.docs` writes it anew."""
    assert (ROOT / "docs" / "checks.md").read_text(encoding="utf-8") == reference()


def test_the_class_on_the_page_of_checks_works() -> None:
    """The example of an own check runs as it is printed."""
    names: dict[str, object] = {"__name__": "own_checks"}
    exec(_TAIL.split("```python\n")[1].split("```")[0], names)
    palindrome = names["Palindrome"]
    assert status(palindrome(), "never odd or even") == "pass"
    assert status(palindrome(False), "never odd or even") == "fail"


def plugin(folder: Path, name: str, entry_points: str, code: str) -> None:
    """An installed package, as an installer leaves it: its module and its metadata."""
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[evalh.checks]\n{entry_points}\n", encoding="utf-8")


def python(folder: Path, code: str) -> str:
    """What a fresh Python prints with the plugins of a folder installed."""
    env = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


SHOUTS = """
from evalh.checks.base import Check, Finding
class Shouts(Check):
    '''The output is in capitals.'''
    kind = "shouts"
    def compile(self, resolve):
        return lambda s: Finding(s.output.text.isupper(), float(s.output.text.isupper()))
"""
TRY = """
from evalh.checks.registry import check_from_spec
try:
    print(check_from_spec({spec!r}).title)
except Exception as e:
    print(e)
"""


def test_an_installed_plugin_is_a_kind_like_any_other(tmp_path) -> None:
    """A package with an entry point in the group evalh.checks adds a kind; nothing else is needed."""
    plugin(tmp_path, "loud", "shouts = loud:Shouts", SHOUTS)
    assert python(tmp_path, TRY.format(spec="not-shouts")) == "not-shouts"
    assert python(tmp_path, "from evalh.checks.registry import kinds; print('shouts' in kinds())") == "True"


@pytest.mark.parametrize(
    ("entry_points", "code", "message"),
    [
        ("shouts = loud:Shouts", "import no_such_module", "check `shouts` of loud: loud:Shouts cannot be imported: ModuleNotFoundError"),
        ("shouts = loud:Shouts", "Shouts = 3", "check `shouts` of loud: loud:Shouts is no subclass"),
        ("yells = loud:Shouts", SHOUTS, "has the kind 'shouts'; kind = 'yells'"),
    ],
)
def test_a_broken_plugin_is_named_with_its_distribution(tmp_path, entry_points, code, message) -> None:
    """What a plugin does wrong is said with the name of the package to mend or remove; other kinds still work."""
    plugin(tmp_path, "loud", entry_points, code)
    assert message in python(tmp_path, TRY.format(spec=entry_points.split()[0]))
    assert python(tmp_path, TRY.format(spec="json-valid")) == "json-valid"


def test_two_claims_on_one_kind_are_refused(tmp_path) -> None:
    """A plugin cannot replace a built-in check, or another plugin's, without a word."""
    plugin(tmp_path, "loud", "json-valid = loud:Shouts", SHOUTS)
    assert "the check `json-valid` is claimed by evalh and loud" in python(tmp_path, TRY.format(spec="json-valid"))


def test_looking_up_a_check_loads_no_heavy_library() -> None:
    """Registry and all check classes import without the libraries that only their compilation needs."""
    heavy = ["jsonschema", "sacrebleu", "sqlglot", "rapidfuzz", "jsonpath", "regex", "defusedxml", "tinyhtml5", "numpy"]
    code = f"import sys; from evalh.checks.registry import kinds; kinds(); print([m for m in {heavy!r} if m in sys.modules])"
    assert python(Path("."), code) == "[]"


def test_errors_raised_for_checks_are_input_errors_and_value_errors() -> None:
    """Both the command line and pydantic understand them."""
    assert issubclass(CheckError, InputError)
    assert issubclass(CheckError, ValueError)
    assert row({"max-words": 1}, "one").status == "pass"

"""Suites from files: `.yaml` and `.py`, and where the files that a suite names are.

Both give the same model. An error names the file, the line (YAML) or the field (Python), and what would be right.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from evalh.config import project_root
from evalh.errors import EvalhError, InputError
from evalh.fingerprints import content_hash
from evalh.judging.rubric import Rubric
from evalh.suites.model import Gate, Judge, Panel, Sampling, Suite, Trials

_YAML_SUITE = re.compile(rb"^(?:name|golden|system|checks|panel|gate|sampling)\s*:", re.MULTILINE)
_FRONT = re.compile(r"\A---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)


def load_suites(paths: list[Path]) -> list[Suite]:
    """All suites of the given files and folders, in the order of their files. Raises InputError."""
    suites: list[Suite] = []
    for path in paths:
        found = list(_load_path(path))
        if not found:
            raise InputError(
                "holds no suite", where=str(path), hint="a suite is an evalh.Suite in a .py file, or a .yaml file with `golden:`"
            )
        suites += found
    names = [s.name for s in suites]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two suites are named {name!r}", hint="give each its own name: runs and reports go by it")
    return suites


def _load_path(path: Path) -> Iterator[Suite]:
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.suffix in (".py", ".yaml", ".yml") and not p.name.startswith(("_", "."))):
            if is_yaml_suite(file):
                yield load_yaml(file)
            elif file.suffix == ".py" and b"evalh" in file.read_bytes():
                yield from load_python(file)
    elif not path.exists():
        raise InputError("there is no such file or folder", where=str(path), hint="give a suite: a .py or .yaml file, or a folder of them")
    elif path.suffix in (".yaml", ".yml"):
        yield load_yaml(path)
    elif path.suffix == ".py":
        yield from load_python(path)
    else:
        raise InputError("is neither .py nor .yaml", where=str(path))


def is_yaml_suite(path: Path) -> bool:
    """Whether a YAML file in a folder of suites is meant as one: two fields of a suite stand at its left margin."""
    return path.suffix in (".yaml", ".yml") and len({m.strip(b" :") for m in _YAML_SUITE.findall(path.read_bytes())}) > 1


def load_yaml(path: Path) -> Suite:
    """One suite from a YAML file; every error names the line."""
    data, lines = read_yaml(_text_of(path, str(path)), str(path))
    if not isinstance(data, dict):
        raise InputError("a suite is a mapping with `name`, `golden` and `system`", where=f"{path}:1")
    try:
        suite = Suite(**data)
    except ValidationError as error:
        raise _explain(error, str(path), lines) from None
    except EvalhError as error:
        raise InputError(error.what, where=error.where or str(path), hint=error.hint) from None
    except TypeError as error:
        raise InputError(str(error), where=str(path)) from None
    return _bound(suite, path)


def load_python(path: Path) -> list[Suite]:
    """All suites that a Python file defines at its top level."""
    whole = path.resolve()
    root = project_root(whole.parent)  # the module's name stands in the run's record: the same in every process and checkout
    name = f"evalh_suite_{path.stem}_{content_hash(whole.relative_to(root).as_posix())}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except ValidationError as error:
        raise _explain(error, f"{path}:{_line_of(error, path)}", {}) from None
    except EvalhError as error:
        raise InputError(error.what, where=error.where or f"{path}:{_line_of(error, path)}", hint=error.hint) from None
    except (Exception, SystemExit) as error:
        raise InputError(f"cannot be imported: {type(error).__name__}: {error}", where=f"{path}:{_line_of(error, path)}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    found = {id(value): value for value in vars(module).values() if isinstance(value, Suite)}  # a suite may have two names
    return [_bound(suite, path) for suite in found.values()]


def bind(suite: Suite, path: Path) -> Suite:
    """Tell a suite which file it is in, so that the files it names are found."""
    suite._file = path.resolve()
    return suite


def _bound(suite: Suite, path: Path) -> Suite:
    bind(suite, path)
    if not suite.checks and suite.panel is None and not suite.tests:
        raise InputError(f"suite {suite.name!r} asks nothing", where=str(path), hint="add `checks`, a `panel` or a test function")
    return suite


@dataclass(frozen=True)
class Resolver:
    """Finds a path written in a suite: beside the suite, then in each folder above, up to the project's root."""

    base: Path

    @classmethod
    def of(cls, suite: Suite) -> Resolver:
        return cls(suite._file.parent if suite._file else Path.cwd())

    def __call__(self, written: str) -> Path:
        path = Path(written).expanduser()
        if path.is_absolute():
            if path.exists():
                return path
            raise InputError("there is no such file or folder", where=written)
        root = project_root(self.base)
        tried = [self.base, *self.base.parents]
        tried = tried[: tried.index(root) + 1] if root in tried else [self.base]
        for folder in [*tried, Path.cwd()]:
            if (folder / path).exists():
                return folder / path
        raise InputError(
            "there is no such file or folder", where=written, hint=f"looked in {self.base} and the folders above it, up to {tried[-1]}"
        )


def load_rubric(rubric: str | Rubric, resolve: Resolver) -> Rubric:
    """The rubric of a panel: as given, or from a Markdown file with YAML front matter."""
    if isinstance(rubric, Rubric):
        return rubric
    path = resolve(rubric)
    text = _text_of(path, rubric)
    front = _FRONT.match(text)
    head, lines = read_yaml(front.group(1), rubric, first_line=2) if front else ({}, {})
    if not isinstance(head, dict):
        raise InputError("the front matter of a rubric is a mapping", where=f"{rubric}:2")
    body = text[front.end() :] if front else text
    try:
        return Rubric(**{"name": path.stem, "instructions": body.strip(), **head})
    except ValidationError as error:
        raise _explain(error, rubric, lines) from None


def _text_of(path: Path, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start + 1} is not UTF-8", where=where, hint="save the file as UTF-8") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=where) from None


def read_yaml(text: str, where: str, first_line: int = 1) -> tuple[Any, dict[tuple[Any, ...], int]]:
    """YAML as data, and the line of every path in it. Raises InputError on bad YAML and on a key that occurs twice."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[tuple[Any, ...], int] = {}
        if node is not None:
            _lines(node, (), lines, where, first_line)
        return yaml.safe_load(text), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + first_line}" if mark else ""
        raise InputError(f"not YAML: {getattr(error, 'problem', None) or error}", where=f"{where}{line}") from None


def _lines(node: yaml.Node, path: tuple[Any, ...], lines: dict[tuple[Any, ...], int], where: str, first_line: int) -> None:
    lines[path] = node.start_mark.line + first_line
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + first_line
            if key.value in seen:
                raise InputError(f"the key {key.value!r} occurs twice", where=f"{where}:{line}")
            seen.add(key.value)
            _lines(value, (*path, key.value), lines, where, first_line)
            lines[(*path, key.value)] = line
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            _lines(value, (*path, place), lines, where, first_line)


_PARTS: dict[tuple[str, ...], type[BaseModel]] = {
    (): Suite, ("panel",): Panel, ("panel", "judges"): Judge, ("sampling",): Sampling, ("trials",): Trials,
    ("gate",): Gate, ("rubric",): Rubric,
}  # fmt: skip


def _explain(error: ValidationError, where: str, lines: dict[tuple[Any, ...], int]) -> InputError:
    """One line from the first thing that is wrong: line, field, what, and what would be right."""
    found = error.errors()
    first = next(
        (e for e in found if e["loc"][-1:] != ("str",)), found[0]
    )  # of a rubric that is neither path nor mapping, the mapping's error
    loc = tuple(part for part in first["loc"] if isinstance(part, int) or not (part.startswith("function-") or part in ("Rubric", "str")))
    known = [loc[:n] for n in range(len(loc), -1, -1) if loc[:n] in lines]
    place = f"{where}:{lines[known[0]]}" if known else where
    field = ".".join(str(part) for part in loc)
    message = first["msg"].removeprefix("Value error, ")
    hint = None
    if first["type"] == "extra_forbidden":
        message = "unknown field"
        names = list(_PARTS.get(tuple(p for p in loc[:-1] if isinstance(p, str)), Suite).model_fields)
        near = difflib.get_close_matches(str(loc[-1]), names, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known fields: {', '.join(names)}"
    elif first["type"] == "missing":
        message = "is missing"
    return InputError(f"field `{field}`: {message}" if field else message, where=place, hint=hint)


def _line_of(error: BaseException, path: Path) -> int:
    traceback, line = error.__traceback__, 1
    while traceback is not None:
        if Path(traceback.tb_frame.f_code.co_filename).resolve() == path.resolve():
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return getattr(error, "lineno", None) or line

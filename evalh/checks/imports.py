"""Finds the functions and classes that a suite names as `module:name`, and names those that it gives as objects."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from evalh.checks.base import Resolve
from evalh.errors import InputError
from evalh.fingerprints import content_hash


def load_object(spec: str, resolve: Resolve) -> Any:
    """The object that `module:name` or `file.py:name` names. A module that is not installed is looked for beside the suite.

    Raises InputError where there is no such module, file or name, or where importing it fails.
    """
    module_name, colon, name = spec.partition(":")
    if not (module_name and colon and name):
        raise InputError(f"{spec!r} names no object", hint="write 'module:name', or 'file.py:name'")
    module = _module(module_name, resolve)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise InputError(f"{module_name} has no {name!r}", where=getattr(module, "__file__", None) or module_name)
        found = getattr(found, part)
    return found


def _module(name: str, resolve: Resolve) -> ModuleType:
    if name.endswith(".py"):
        return _from_file(resolve(name))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise InputError(f"cannot be imported: {error}", where=name) from error
    except Exception as error:
        raise InputError(f"cannot be imported: {type(error).__name__}: {error}", where=name) from error
    try:
        path = resolve(name.replace(".", "/") + ".py")
    except InputError:
        raise InputError(
            f"there is no module {name!r}, neither installed nor beside the suite", hint="write 'module:name', or 'file.py:name'"
        ) from None
    return _from_file(path)


def _from_file(path: Path) -> ModuleType:
    """A module from a file, once per content: two suites may each have their own `helpers.py`."""
    path = path.resolve()
    name = f"evalh_file_{path.stem}_{content_hash(str(path), path.read_text(encoding='utf-8'))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError("is no Python file", where=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))  # the file may import its neighbours
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(f"cannot be imported: {type(error).__name__}: {error}", where=str(path)) from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def named(value: str | type | Callable[..., Any]) -> str:
    """An object as text for the run's record: `module:name#hash`, with a hash of its source, so that an edit is seen."""
    if isinstance(value, str):
        return value
    name = f"{getattr(value, '__module__', '?')}:{getattr(value, '__qualname__', type(value).__qualname__)}"
    try:
        source = inspect.getsource(value)
    except (OSError, TypeError):
        source = ""
    code = getattr(value, "__code__", None)
    if code is not None and (not source or code.co_name == "<lambda>"):  # the source of a lambda is its line, which may hold several
        source += code.co_code.hex() + repr((code.co_names, [c for c in code.co_consts if not isinstance(c, CodeType)]))
    return f"{name}#{content_hash(source)}" if source else name

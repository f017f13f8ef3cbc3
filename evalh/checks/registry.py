"""The kinds of checks by name, and the short forms in which suites write them.

Built-in kinds and those of installed plugins come through the same door: an entry point of the group `evalh.checks` whose
name is the kind and whose value is the class. Classes are imported when a suite names them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import ValidationError

from evalh.checks.base import Check
from evalh.errors import InputError

GROUP = "evalh.checks"
COMMON = ("name", "negate", "blocking", "weight")
NOT = "not-"

_MODULES = {
    "text": "equals=Equals contains=Contains contains-any=ContainsAny contains-all=ContainsAll starts-with=StartsWith ends-with=EndsWith "
    "min-words=MinWords max-words=MaxWords min-chars=MinChars max-chars=MaxChars",
    "patterns": "regex=Regex",
    "refusal": "refusal=Refusal",
    "numeric": "numeric=Numeric",
    "structure": "json-valid=JSONValid json-schema=JSONSchema json-path=JSONPath pydantic-model=PydanticModel",
    "markup": "sql-valid=SQLValid xml-valid=XMLValid html-valid=HTMLValid",
    "similarity": "levenshtein=Levenshtein rouge-l=RougeL bleu=Bleu",
    "tools": "tool-called=ToolCalled tool-arguments=ToolArguments tool-sequence=ToolSequence",
    "spending": "max-latency=MaxLatency max-cost=MaxCost",
    "code": "python-function=PythonFunction shell-command=ShellCommand",
}
BUILT_IN: dict[str, EntryPoint] = {
    kind: EntryPoint(kind, f"evalh.checks.{module}:{class_name}", GROUP)
    for module, entries in _MODULES.items()
    for kind, _, class_name in (entry.partition("=") for entry in entries.split())
}


class CheckError(InputError, ValueError):
    """A check in a suite is not what it has to be. Also a ValueError, so that pydantic adds its place in the suite."""


@cache
def _doors() -> dict[str, list[EntryPoint]]:
    """Kind → every entry point that claims it; a distribution that is found twice on the path counts once."""
    doors: dict[str, list[EntryPoint]] = {kind: [point] for kind, point in BUILT_IN.items()}
    for point in entry_points(group=GROUP):
        claims = doors.setdefault(point.name, [])
        if (point.value, _source(point)) not in [(p.value, _source(p)) for p in claims]:
            claims.append(point)
    return doors


def _source(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "evalh"


def kinds() -> dict[str, type[Check]]:
    """Every kind and its class, by name. Raises CheckError that names the distribution of a plugin that is broken."""
    return {kind: kind_class(kind) for kind in sorted(_doors())}


def kind_class(kind: str) -> type[Check]:
    """The class of a kind. Raises CheckError for an unknown kind, two claims on one kind, and a broken plugin."""
    claims = _doors().get(kind)
    if claims is None:
        raise CheckError(f"there is no check `{kind}`", hint=_nearest(kind, _doors()))
    if len(claims) > 1:
        sources = " and ".join(_source(p) for p in claims)
        raise CheckError(f"the check `{kind}` is claimed by {sources}", hint="uninstall all but one of them")
    return _load(claims[0])


@cache
def _load(point: EntryPoint) -> type[Check]:
    where = f"check `{point.name}` of {_source(point)}"
    try:
        found = point.load()
    except Exception as error:
        raise CheckError(f"{point.value} cannot be imported: {type(error).__name__}: {error}", where=where) from error
    if not (isinstance(found, type) and issubclass(found, Check)):
        raise CheckError(f"{point.value} is no subclass of evalh.checks.base.Check", where=where)
    if getattr(found, "kind", None) != point.name:
        raise CheckError(
            f"{point.value} has the kind {getattr(found, 'kind', None)!r}",
            where=where,
            hint=f"kind = {point.name!r}, as the entry point says",
        )
    return found


def _nearest(kind: str, known: Iterable[str]) -> str:
    names = difflib.get_close_matches(kind.replace("_", "-").lower(), [n for k in known for n in (k, NOT + k)], n=3, cutoff=0.5)
    return f"did you mean {' or '.join(f'`{n}`' for n in names)}?" if names else "docs/checks.md lists all"


def check_from_spec(value: Any) -> Check:
    """A check from any form that a suite may use: a Check, a function, a kind, or a mapping such as `{regex: PATTERN}`.

    The first key of a mapping that is no common setting names the kind (`not-` before it negates); its value is the first
    setting, or a mapping of settings; more settings may stand beside it. Raises CheckError.
    """
    if isinstance(value, Check):
        return value
    if isinstance(value, str):
        return _build(value, {})
    if isinstance(value, Mapping):
        return _from_mapping(value)
    if isinstance(value, type) and issubclass(value, Check):
        return _build(value.kind, {})
    if callable(value):
        return _build("python-function", {"function": value})
    raise CheckError(f"{value!r} is no check", hint="write `{regex: PATTERN}`, a kind such as `json-valid`, or a function")


def _from_mapping(spec: Mapping[Any, Any]) -> Check:
    kind = next((k for k in spec if k not in COMMON), None)
    if not isinstance(kind, str):
        raise CheckError("a check names its kind first", hint="for example `{max-words: 150, blocking: false}`")
    first, beside = spec[kind], {str(k): v for k, v in spec.items() if k != kind}
    positional = kind_class(_positive(kind)).positional
    if isinstance(first, Mapping):
        settings = {str(k): v for k, v in first.items()}
    elif first is None or (first is True and not positional):
        settings = {}
    elif positional:
        settings = {positional[0]: first}
    else:
        raise CheckError(
            f"takes no value, got {first!r}", where=f"check `{kind}`", hint=f"write `{kind}` alone, or {NOT}{kind} for its opposite"
        )
    twice = settings.keys() & beside.keys()
    if twice:
        raise CheckError(f"setting `{min(twice)}` is given twice", where=f"check `{kind}`")
    return _build(kind, settings | beside)


def _positive(kind: str) -> str:
    """The kind without a negating `not-`."""
    return kind.removeprefix(NOT) if kind not in _doors() and kind.removeprefix(NOT) in _doors() else kind


def _build(kind: str, settings: dict[str, Any]) -> Check:
    cls = kind_class(_positive(kind))
    if cls.kind != kind:
        if "negate" in settings:
            raise CheckError("is negated twice", where=f"check `{kind}`", hint=f"write `{kind}` or `negate: true`, not both")
        settings = {**settings, "negate": True}
    try:
        return cls(**settings)
    except ValidationError as error:
        raise explain(cls, error, kind) from None


def explain(cls: type[Check], error: ValidationError, kind: str | None = None) -> CheckError:
    """A pydantic error of a check's settings as one line that names the setting and what would be right."""
    allowed = [field.alias or name for name, field in cls.model_fields.items()]
    own = ", ".join([n for n in allowed if n not in COMMON] + list(COMMON))
    said, hints = [], []
    for each in error.errors(include_url=False):
        setting = ".".join(str(part) for part in each["loc"][:1])
        if each["type"] == "extra_forbidden":
            said.append(f"unknown setting `{setting}`")
            hints.append(f"its settings are {own}")
        elif each["type"] == "missing":
            said.append(f"needs the setting `{setting}`")
        else:
            message = each["msg"].removeprefix("Value error, ")
            said.append(f"setting `{setting}`: {message}" if setting else message)
    return CheckError("; ".join(dict.fromkeys(said)), where=f"check `{kind or cls.kind}`", hint=hints[0] if hints else None)

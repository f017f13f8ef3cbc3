"""Model families, and the guard that refuses a judge who shares a lineage with the system under test.

A family is who made a model (`vendor`), what it was built on (`base`) and whose outputs it learned from
(`distilled_from`). `families.toml` ships the known ones; users add and override them in evalh.toml. Two families share a
lineage when a vendor or a model stands behind both, in whichever of the three roles: then one's verdict on the other is
not that of a stranger. What the guard cannot name it refuses, and so does a name that points to two lineages.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from evalh.errors import InputError
from evalh.records import Record

SHIPPED = Path(__file__).parent.parent / "families.toml"
LONGEST_NAME = 512  # characters of a model name that are looked at; longer ones are nobody's model

# A match may end neither inside a word nor inside a number or a version: `gpt-4` is not in gpt-4o, nor in gpt-4.1.
_END = r"(?:(?<=[^\W\d_])(?![^\W\d_])|(?<=\d)(?![^\W_]|\.\d)|(?<![^\W_]))"
_SEPARATOR = re.compile(r"[\s_]+")
_VERSION = re.compile(r"(?<![\d.])(\d{1,2})[-p](?=\d{1,2}(?![\da-z.]))")  # the 3-5 and 3p5 of version 3.5
_WORD_START = re.compile(r"(?<![^\W_])[^\W_]")
_PART_START = re.compile(r"(?:^|[/:@|(~]|(?<!\d)\.)(?:(?:databricks|azure|aws|bedrock|vertex|groq|together|fireworks|cerebras)-)?")

Role = Literal["is", "built", "distilled"]
_NEARNESS: dict[Role, int] = {"is": 0, "built": 1, "distilled": 2}


class Family(Record):
    """The lineage of a model. `base` and `distilled_from` name families (or, for the latter, vendors)."""

    name: str = Field(min_length=1)
    vendor: str = Field(min_length=1)
    base: str | None = None
    distilled_from: tuple[str, ...] = ()
    cutoff: str | None = Field(default=None, pattern=r"^\d{4}-(0[1-9]|1[0-2])$", description="training cutoff, YYYY-MM")
    cutoff_source: str | None = None
    match: tuple[str, ...] = ()
    names: tuple[str, ...] = Field(default=(), description="what the model calls itself")
    simulated: bool = False


class _Mention(NamedTuple):
    """A family named at `[start, end)` of a model name."""

    start: int
    end: int
    family: Family


class Families:
    """All known families. Iterates over them; `len` counts them."""

    def __init__(self, families: Mapping[str, Family], vendors: Mapping[str, Sequence[str]]) -> None:
        self._families = dict(families)
        self._aliases = {vendor: tuple(aliases) for vendor, aliases in vendors.items()}
        self._by_name = {name.casefold(): family for name, family in self._families.items()}
        self._found: dict[str, Family | None] = {}

    @classmethod
    def load(cls, extra: Sequence[Path | Mapping[str, Any]] = ()) -> Families:
        """The shipped families with the user's on top.

        Args:
            extra: TOML files (`[families.NAME]` of evalh.toml, `[tool.evalh.families.NAME]` of pyproject.toml) or mappings
                of the same form, with or without the outer `families`. A family that exists is changed in the fields that
                are given; later entries win.

        Raises:
            InputError: a file or a field is not what it has to be; `where` names both.
        """
        shipped, vendors = _shipped()
        if not extra:
            return cls(shipped, vendors)
        tables: dict[str, dict[str, Any]] = {}
        origins: dict[str, str] = {}
        for source in extra:
            origin, entries = _entries(source)
            for name, fields in entries.items():
                origins[name] = f"{origin}: families.{name}" if origin else f"families.{name}"
                if not isinstance(fields, Mapping):
                    raise InputError("a family is a table", where=origins[name], hint='it needs at least vendor = "…"')
                tables[name] = {**tables.get(name, {}), **fields}
        spelling = _spellings(shipped, vendors)
        ours = {name: _family(name, fields, shipped.get(name), origins[name], spelling) for name, fields in tables.items()}
        known = cls({**ours, **{n: f for n, f in shipped.items() if n not in ours}}, vendors)  # the user's own match first
        known._settle(origins)
        return known

    def __iter__(self) -> Iterator[Family]:
        return iter(self._families.values())

    def __len__(self) -> int:
        return len(self._families)

    @cached_property
    def vendors(self) -> dict[str, tuple[str, ...]]:
        """Vendor → all its spellings, for vendors whose models have a name to call themselves by."""
        named = dict.fromkeys(f.vendor for f in self if f.names)
        return {vendor: (vendor, *self._aliases.get(vendor, ())) for vendor in named}

    def get(self, name: str) -> Family | None:
        """The family of that name (not of that model), ignoring case."""
        return self._by_name.get(name.strip().casefold())

    def find(self, ref: str) -> Family | None:
        """The family of a model, by its name as people write it: `provider:model`, `org/model`, gateway and region prefixes,
        fine-tune ids. None where no part of the name begins with a known one, or where it names two lineages that none of
        the families named explains (`llama-3-distilled-by-claude`).
        """
        if ref not in self._found:
            self._found[ref] = self._find(ref)
        return self._found[ref]

    def lineage(self, family: Family) -> frozenset[str]:
        """All that stands behind a family: `vendor:`, `family:`, `base:` and `distilled:` (models and their vendors)."""
        prefix = {"built": "base", "distilled": "distilled"}
        return frozenset(f"{prefix.get(role, kind)}:{name}" for (kind, name), role in self._roots(family).items())

    def shared_lineage(self, a: Family, b: Family) -> str | None:
        """A sentence that names both lineages and what they share, or None where they share nothing."""
        ours, theirs = self._roots(a), self._roots(b)
        shared = ours.keys() & theirs.keys()
        if not shared:
            return None
        both = f"{self.describe(a)} and {self.describe(b)}"
        nearest = min(shared, key=lambda k: (_NEARNESS[ours[k]] + _NEARNESS[theirs[k]], k))
        if nearest == ("family", a.name) == ("family", b.name):
            return f"{both} are the same family"
        return f"{both} share {self._what_is_shared(nearest, a.name, ours[nearest], b.name, theirs[nearest])}"

    def guard(self, judge_name: str, judge_family: Family | None, system_name: str, system_family: Family | None) -> str | None:
        """Why this judge may not judge this system, or None where it may."""
        if judge_family is not None and system_family is not None:
            shared = self.shared_lineage(judge_family, system_family)
            return f"judge '{judge_name}' may not judge system '{system_name}': {shared}" if shared else None
        unknown = [f"'{name}'" for name, family in ((judge_name, judge_family), (system_name, system_family)) if family is None]
        whose, it = ("family", "it") if len(set(unknown)) == 1 else ("families", "them")
        names = f"{whose} of {' and '.join(dict.fromkeys(unknown))} {'is' if it == 'it' else 'are'} unknown"
        return f"the {names}: name {it} with `family = …` in the suite or add {it} to families in evalh.toml"

    def describe(self, family: Family) -> str:
        """`vicuna (LMSYS; base llama-1 of Meta; distilled from gpt-3.5 of OpenAI)`."""
        chain = self._chain(family)
        parts = [family.vendor, *(f"base {f.name} of {f.vendor}" for f in chain[1:])]
        sources = dict.fromkeys(source for f in chain for source in f.distilled_from)
        if sources:
            parts.append("distilled from " + " and ".join(self._label(source) for source in sources))
        return f"{family.name} ({'; '.join(parts)})"

    # ── lineages ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _chain(self, family: Family) -> list[Family]:
        """The family, its base, the base of that, …; stops where a base comes round again."""
        chain = [family]
        while (base := self.get(chain[-1].base or "")) and base not in chain:
            chain.append(base)
        return chain

    def _roots(self, family: Family) -> dict[tuple[str, str], Role]:
        """(`family` or `vendor`, name) → in which role it stands behind the family, the nearest role where there are two."""
        roots: dict[tuple[str, str], Role] = {}
        queue: list[tuple[str, Role]] = [(family.name, "is")]
        seen: set[tuple[str, Role]] = set()
        for name, role in queue:  # grows while it is walked: a base's sources are the family's, and so are a source's
            if (name, role) in seen:
                continue
            seen.add((name, role))
            source = self._families.get(name)
            for key in [("family", name), ("vendor", source.vendor)] if source else [("vendor", name)]:
                roots[key] = min(role, roots.get(key, role), key=_NEARNESS.__getitem__)
            if source and source.base:
                queue.append((source.base, "distilled" if role == "distilled" else "built"))
            if source:
                queue += [(teacher, "distilled") for teacher in source.distilled_from]
        return roots

    def _label(self, name: str) -> str:
        family = self._families.get(name)
        return f"{family.name} of {family.vendor}" if family else name

    def _what_is_shared(self, key: tuple[str, str], a: str, a_role: Role, b: str, b_role: Role) -> str:
        kind, name = key
        label = self._label(name) if kind == "family" else name
        on = "on which" if kind == "family" else "on whose models"
        if a_role == b_role == "is":
            return f"the vendor {label}"
        if a_role == b_role:
            return f"{label}, {on} both are built" if a_role == "built" else f"{label}, from which both were distilled"
        how = {"built": f"{on} {{}} is built", "distilled": "from which {} was distilled"}
        clauses = [how[role].format(who) for who, role in ((a, a_role), (b, b_role)) if role != "is"]
        return f"{label}, {' and '.join(clauses)}"

    # ── names of models ─────────────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], Family]]:
        """One pattern a family, compiled when the first model is looked up."""
        return [(_compiled(f.match or (re.escape(_plain(f.name)),)), f) for f in self]

    def _find(self, ref: str) -> Family | None:
        name = _plain(ref)
        if len(name) > LONGEST_NAME:
            return None
        mentions = self._mentions(name)
        heads = {m.end() for m in _PART_START.finditer(name)} | {0}
        if not any(mention.start in heads for mention in mentions):
            return None
        vendors = {mention.family.vendor for mention in mentions}
        for mention in sorted(mentions, key=lambda m: (-name.count("/", 0, m.start), m.start - m.end)):  # the model before its owner
            behind = {who for kind, who in self._roots(mention.family) if kind == "vendor"}
            if vendors <= behind:
                return mention.family
        return None

    def _mentions(self, name: str) -> list[_Mention]:
        """The families that a name mentions, longest match first, none inside another."""
        starts = [m.start() for m in _WORD_START.finditer(name)]
        hits = ((pattern.match(name, start), family) for start in starts for pattern, family in self._patterns)
        found = [_Mention(hit.start(), hit.end(), family) for hit, family in hits if hit and hit.end() > hit.start()]
        kept: list[_Mention] = []
        for mention in sorted(found, key=lambda m: m.start - m.end):
            if all(mention.end <= other.start or other.end <= mention.start for other in kept):
                kept.append(mention)
        return kept

    # ── families that users wrote ───────────────────────────────────────────────────────────────────────────────────────

    def _settle(self, origins: Mapping[str, str]) -> None:
        """Turn what users wrote for `base` and `distilled_from` into names of families or vendors; refuse what is neither."""
        for name, where in origins.items():
            family = self._families[name]
            base = self._named(family.base, f"{where}.base", vendors=False) if family.base else None
            teachers = tuple(self._named(t, f"{where}.distilled_from", vendors=True) for t in family.distilled_from)
            self._families[name] = family.model_copy(update={"base": base, "distilled_from": teachers})
        self._by_name = {name.casefold(): family for name, family in self._families.items()}
        self.__dict__.pop("_patterns", None)
        self._found.clear()
        for name, where in origins.items():
            oldest = self._chain(self._families[name])[-1]
            if oldest.base:
                raise InputError(
                    f"the base of {oldest.name!r} comes round to {oldest.base!r}",
                    where=f"{where}.base",
                    hint="a base is older than what is built on it",
                )

    def _named(self, written: str, where: str, *, vendors: bool) -> str:
        """The family (by name, or by the name of one of its models) or the vendor that was written."""
        family = self.get(written)
        if family is None and vendors:
            vendor = _spellings(self._families, self._aliases).get(written.strip().casefold())
            if vendor:
                return vendor
        family = family or self.find(written)
        if family is None:
            from difflib import get_close_matches  # only a mistake needs it

            near = get_close_matches(written.casefold(), self._by_name, n=3)
            hint = f"did you mean {' or '.join(near)}" if near else f"add [families.{written}] with its vendor"
            raise InputError(f"no family {written!r}", where=where, hint=hint)
        return family.name


def _plain(ref: str) -> str:
    """A model name as patterns see it: lower case, `-` for spaces and `_`, `.` inside versions."""
    folded = _SEPARATOR.sub("-", unicodedata.normalize("NFKC", ref[: LONGEST_NAME + 1]).strip().casefold())
    return _VERSION.sub(r"\1.", folded)


def _compiled(match: Sequence[str]) -> re.Pattern[str]:
    """One pattern of the alternatives; each is tried to its longest, so the longer ones stand first."""
    return re.compile("|".join(f"(?:{alternative}){_END}" for alternative in sorted(match, key=len, reverse=True)))


@lru_cache(maxsize=1)
def _shipped() -> tuple[dict[str, Family], dict[str, tuple[str, ...]]]:
    """The families and the spellings of vendors that evalh ships, read once."""
    tables = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    vendors = {vendor: tuple(aliases) for vendor, aliases in tables["vendors"].items()}
    return {name: Family(name=name, **fields) for name, fields in tables["families"].items()}, vendors


def _spellings(families: Mapping[str, Family], vendors: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Every spelling of a vendor in lower case → the vendor."""
    spellings = {family.vendor.casefold(): family.vendor for family in families.values()}
    return spellings | {alias.casefold(): vendor for vendor, aliases in vendors.items() for alias in (vendor, *aliases)}


def _entries(source: Path | Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Where families were written, and NAME → fields."""
    if isinstance(source, Mapping):
        inner = source.get("families")
        nested = isinstance(inner, Mapping) and all(isinstance(fields, Mapping) for fields in inner.values())
        return "", inner if nested and isinstance(inner, Mapping) else source
    try:
        document = tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("cannot be read", where=str(source), hint=f"it has to be a TOML file ({error.__class__.__name__})") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"is not TOML: {error}", where=str(source)) from error
    tool = document.get("tool", {}).get("evalh", {}) if source.name == "pyproject.toml" else document
    entries = tool.get("families", {})
    if not isinstance(entries, Mapping):
        raise InputError("families is not a table", where=f"{source}: families", hint="write [families.NAME]")
    return str(source), entries


def _family(name: str, fields: Mapping[str, Any], shipped: Family | None, where: str, spelling: Mapping[str, str]) -> Family:
    """A family from what a user wrote, on top of the shipped one of that name."""
    known = shipped.model_dump() if shipped else {}
    try:
        family = Family(**{**known, **fields, "name": name})
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        hint = _HINTS.get(field, f"the fields are {', '.join(f for f in Family.model_fields if f != 'name')}")
        what = "unknown field" if first["type"] == "extra_forbidden" else first["msg"].lower()
        raise InputError(what, where=f"{where}.{field}", hint=hint) from error
    try:
        _compiled(family.match)
    except re.error as error:
        raise InputError(
            f"is not a regular expression: {error}", where=f"{where}.match", hint="it is matched against the model's name in lower case"
        ) from error
    return family.model_copy(update={"vendor": spelling.get(family.vendor.strip().casefold(), family.vendor.strip())})


_HINTS = {
    "vendor": 'vendor = "who trained it"',
    "cutoff": 'cutoff = "YYYY-MM", as the vendor published it',
    "match": "match = ['pattern', …]",
    "names": 'names = ["what it calls itself", …]',
    "distilled_from": 'distilled_from = ["family or vendor", …]',
}

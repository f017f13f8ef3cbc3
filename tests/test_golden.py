"""Golden sets and frozen references: what a set must hold, and that a locked one cannot change unnoticed."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from evalh.errors import ExitCode, InputError
from evalh.suites.frozen import load_frozen, lock_frozen
from evalh.suites.golden import load_golden, lock_golden

CANARY = "EVALH-CANARY 6f1d2c3e-1111-4222-8333-444455556666"
MANIFEST = f"""\
# about this set
name = "support"
version = "1"   # raised with every change
canary = "{CANARY}"
licence = "CC-BY-4.0"

[slices.public]
published_at = "2025-06-01"
where = "https://example.org/faq"

[slices.fresh]
published_at = "never"
"""
ITEMS = [
    {"item_id": "a", "input": "why?", "slice": "public", "authored_at": "2025-01-01"},
    {"item_id": "b", "input": None, "slice": "fresh", "authored_at": "2026-01-01"},
]
REFS = [
    {"ref_id": "r1", "input": "why?", "output": "because", "score": 4},
    {"ref_id": "r2", "input": None, "output": "so", "score": 1.5, "rubric": "own"},
]


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    folder = tmp_path / "support"
    folder.mkdir()
    (folder / "golden.toml").write_text(MANIFEST, encoding="utf-8")
    write(folder / "items.jsonl", ITEMS)
    return folder


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    folder = tmp_path / "refs"
    folder.mkdir()
    (folder / "frozen.toml").write_text('name = "support"\nversion = "1"\nrubric = "helpful"\n', encoding="utf-8")
    write(folder / "refs.jsonl", REFS)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_golden(folder)
    assert caught.value.exit_code == ExitCode.USAGE
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_golden_set_is_read_whole(golden: Path) -> None:
    """Name, version, canary, licence, slices with dates, and the items; an input may be null."""
    made = load_golden(golden)
    assert (made.name, made.version, made.canary, made.licence, made.declared, made.locked) == (
        "support",
        "1",
        CANARY,
        "CC-BY-4.0",
        True,
        False,
    )
    assert made.slices == {"public": {"published_at": "2025-06-01", "where": "https://example.org/faq"}, "fresh": {"published_at": "never"}}
    assert [(i.item_id, i.input, i.slice) for i in made.items] == [("a", "why?", "public"), ("b", None, "fresh")]
    assert made.golden_hash.startswith("sha256:")
    assert made.folder == golden


def test_recorded_data_without_a_manifest_is_a_golden_set(golden: Path) -> None:
    """A folder with only items.jsonl is a set with the folder's name, version 0, unlocked, and not declared."""
    (golden / "golden.toml").unlink()
    made = load_golden(golden)
    assert (made.name, made.version, made.declared, made.locked, made.slices) == ("support", "0", False, False, {})
    assert [i.slice for i in made.items] == ["public", "fresh"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "support"', "", "golden.toml: `name`: missing"),
        ('version = "1"', "version = 1.5", "golden.toml: `version`: must be text, not 1.5"),
        ('version = "1"', "versoin = 1", "golden.toml: `versoin`: unknown; known here: name, version"),
        ('name = "support"', "name = ", "golden.toml: not TOML"),
        (CANARY, "EVALH-CANARY 123", "`canary`: 'EVALH-CANARY 123' is none; such as EVALH-CANARY "),
        (CANARY, CANARY.replace("-4222-", "-1222-"), "`canary`"),
        ('"2025-06-01"', '"June 2025"', '`slices.public.published_at`: \'June 2025\' is no date; published_at = "YYYY-MM-DD" or "never"'),
        ('"2025-06-01"', '"2025-02-30"', "`slices.public.published_at`: '2025-02-30' is no date"),
        ('published_at = "never"', "", "`slices.fresh.published_at`: missing"),
        ("[slices.fresh]", "[slices.other]", "items.jsonl:2: field `slice`: `fresh` is not in golden.toml; it has public, other"),
        ('"2025-06-01"', '"2024-06-01"', "items.jsonl:1: field `authored_at`: 2025-01-01 is after published_at 2024-06-01"),
    ],
)
def test_a_manifest_that_cannot_hold_is_refused(golden: Path, old: str, new: str, message: str) -> None:
    """Missing fields, odd dates, a canary that is none, items of undeclared slices: named, with what would be right."""
    (golden / "golden.toml").write_text(MANIFEST.replace(old, new), encoding="utf-8")
    assert message in refusal(golden)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"item_id": "a", "input": "again", "slice": "fresh"}, "items.jsonl:3: field `item_id`: `a` again, as on line 1"),
        ({"item_id": "c", "slice": "fresh"}, "items.jsonl:3: field `input`: missing"),
        (
            {"item_id": "c", "input": "x", "slice": "fresh", "authored_at": "yesterday"},
            "items.jsonl:3: field `authored_at`: 'yesterday' is no date",
        ),
        (
            {"item_id": "c", "input": "x", "slice": "fresh", "authored_at": "2026-05-01", "published_at": "2026-04-01"},
            "is after published_at 2026-04-01",
        ),
        ({"item_id": "c", "input": "x"}, "items.jsonl:3: field `slice`: `all` is not in golden.toml"),
    ],
)
def test_an_item_that_cannot_stand_is_refused(golden: Path, row: dict[str, object], message: str) -> None:
    """Items are unique, complete, dated in order, and in a declared slice."""
    write(golden / "items.jsonl", [*ITEMS, row])
    assert message in refusal(golden)


def test_a_set_that_is_not_there_is_named(golden: Path, tmp_path: Path) -> None:
    """A missing folder, a missing items.jsonl and an empty one say what a golden set is."""
    assert "none: there is no such folder; a golden set is a folder with golden.toml and items.jsonl" in refusal(tmp_path / "none")
    (golden / "items.jsonl").write_text("\n")
    assert "items.jsonl: holds no items" in refusal(golden)
    (golden / "items.jsonl").unlink()
    assert "support: has no items.jsonl" in refusal(golden)


def test_slices_need_not_be_declared_where_there_is_one(golden: Path) -> None:
    """Without slices in golden.toml all items are in `all`; a named slice has to be declared."""
    (golden / "golden.toml").write_text('name = "g"\nversion = 2\n')
    write(golden / "items.jsonl", [{"item_id": "a", "input": "x"}])
    assert load_golden(golden).version == "2"
    write(golden / "items.jsonl", [{"item_id": "a", "input": "x", "slice": "odd"}])
    assert "add [slices.odd]" in refusal(golden)


def test_the_canary_may_open_the_items(golden: Path) -> None:
    """A first line `_canary` is no item; it has to be the canary of golden.toml."""
    body = (golden / "items.jsonl").read_text()
    (golden / "items.jsonl").write_text(json.dumps({"_canary": CANARY}) + "\n" + body)
    assert len(load_golden(golden).items) == 2
    (golden / "items.jsonl").write_text(json.dumps({"_canary": CANARY.replace("6f1d", "0000")}) + "\n" + body)
    assert "items.jsonl:1: `_canary` is not the canary of golden.toml" in refusal(golden)


def test_a_locked_set_refuses_a_change(golden: Path) -> None:
    """Locking writes the hash; a changed items.jsonl is then refused until a new version is locked."""
    digest = lock_golden(golden)
    made = load_golden(golden)
    assert made.locked
    assert made.golden_hash == digest
    write(golden / "items.jsonl", [*ITEMS, {"item_id": "c", "input": "x", "slice": "fresh"}])
    message = refusal(golden)
    assert "items.jsonl: changed after it was locked at version 1 (2 rows then, 3 now)" in message
    assert "run `evalh golden lock` on a new version" in message
    with pytest.raises(InputError, match="version 1 is locked with other content; raise `version`"):
        lock_golden(golden)

    manifest = golden / "golden.toml"
    manifest.write_text(manifest.read_text().replace('version = "1"   #', 'version = "2"   #'))
    lock_golden(golden)
    assert load_golden(golden).version == "2"


def test_locking_leaves_the_rest_of_the_manifest_alone(golden: Path) -> None:
    """Comments, order and line ends stay; locking twice changes nothing; the lock may stand anywhere in the file."""
    manifest = golden / "golden.toml"
    lock_golden(golden)
    text = manifest.read_text()
    assert text.startswith(MANIFEST.rstrip())
    lock_golden(golden)
    assert manifest.read_text() == text

    middle = '[lock] # do not edit\n# kept\nitems = "sha256:' + "0" * 64 + '" # old\nby = "kim"\n\n[slices.public]'
    manifest.write_bytes(MANIFEST.replace("[slices.public]", middle).replace("\n", "\r\n").encode())
    lock_golden(golden)
    data = manifest.read_bytes()
    assert b"\r\n# kept\r\n" in data
    assert data.count(b"\n") == data.count(b"\r\n")
    assert tomllib.loads(data.decode())["lock"]["by"] == "kim"
    assert load_golden(golden).locked


def test_line_ends_do_not_break_a_lock(golden: Path) -> None:
    """A checkout that turned \\n into \\r\\n is the same set."""
    lock_golden(golden)
    file = golden / "items.jsonl"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert load_golden(golden).locked


def test_only_a_sound_set_is_locked(golden: Path) -> None:
    """A set with a bad item, or without golden.toml, is not locked."""
    write(golden / "items.jsonl", [{"item_id": "a", "input": "x", "slice": "odd"}])
    with pytest.raises(InputError, match=r"`odd` is not in golden.toml"):
        lock_golden(golden)
    assert "[lock]" not in (golden / "golden.toml").read_text()
    (golden / "golden.toml").unlink()
    with pytest.raises(InputError, match=r"has no golden.toml"):
        lock_golden(golden)


def test_a_hand_written_lock_has_to_be_a_hash(golden: Path) -> None:
    """A lock that is no hash is refused, not ignored."""
    (golden / "golden.toml").write_text(MANIFEST + '[lock]\nitems = "yes"\n')
    assert "`lock.items`: must be `sha256:` and 64 hex digits" in refusal(golden)


def test_frozen_references_need_a_lock(frozen: Path) -> None:
    """Unlocked references are refused; locked ones are read, each with its rubric."""
    with pytest.raises(InputError, match=r"frozen.toml: has no lock"):
        load_frozen(frozen)
    digest = lock_frozen(frozen)
    made = load_frozen(frozen)
    assert (made.name, made.version, made.rubric, made.frozen_hash) == ("support", "1", "helpful", digest)
    assert [(r.ref_id, r.score, r.rubric) for r in made.refs] == [("r1", 4.0, "helpful"), ("r2", 1.5, "own")]


def test_changed_frozen_references_are_refused(frozen: Path) -> None:
    """A settled score that was edited is found, though no row is missing."""
    lock_frozen(frozen)
    write(frozen / "refs.jsonl", [{**REFS[0], "score": 5}, REFS[1]])
    with pytest.raises(InputError, match=r"refs.jsonl: changed after it was locked at version 1; put the file back"):
        load_frozen(frozen)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"ref_id": "r1", "input": "x", "output": "y", "score": 1}, "refs.jsonl:3: field `ref_id`: `r1` again, as on line 1"),
        ({"ref_id": "r3", "input": "x", "output": "y"}, "refs.jsonl:3: field `score`: missing; the settled score"),
        ({"ref_id": "r3", "input": "x", "output": None, "score": 1}, "field `output`: must be text, not null"),
        ({"ref_id": "r3", "input": "x", "output": "y", "score": 1, "note": ""}, "field `note`: unknown; a reference has ref_id"),
    ],
)
def test_a_frozen_reference_that_cannot_stand_is_refused(frozen: Path, row: dict[str, object], message: str) -> None:
    """References are unique and complete."""
    write(frozen / "refs.jsonl", [*REFS, row])
    with pytest.raises(InputError) as caught:
        lock_frozen(frozen)
    assert message in str(caught.value)


def test_frozen_references_that_are_not_there_are_named(frozen: Path, tmp_path: Path) -> None:
    """A missing folder, file or field says what frozen references are."""
    with pytest.raises(InputError, match="none: there is no such folder"):
        load_frozen(tmp_path / "none")
    (frozen / "frozen.toml").write_text('name = "x"\nversion = "1"\n')
    with pytest.raises(InputError, match=r"frozen.toml: `rubric`: missing"):
        load_frozen(frozen)
    (frozen / "refs.jsonl").unlink()
    with pytest.raises(InputError, match=r"refs: has no refs.jsonl"):
        load_frozen(frozen)

"""Files too large for memory: read once, then line by line, with the same answers and the same complaints as small ones."""

from __future__ import annotations

import json
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalh.errors import InputError
from evalh.fingerprints import file_hash
from evalh.interchange.jsonl import ITEM_AGAIN, item_of
from evalh.interchange.line_index import HELD_BYTES, LineIndex
from evalh.records import Item, Output
from evalh.suites.golden import load_golden
from evalh.suites.model import Recorded
from evalh.systems import RecordedSource, missing_items

SLICES = ("public", "fresh", "rare")
MANY = 60_000


class Same(str):
    """A key whose hash is that of every other."""

    __slots__ = ()

    def __hash__(self) -> int:
        return 7


def index_of(path: Path, **given: Any) -> LineIndex[Item]:
    return LineIndex(path, item_of, **{"key": lambda item: item.item_id, "again": ITEM_AGAIN, **given})


def item(n: int, **more: object) -> bytes:
    return json.dumps({"item_id": f"i{n}", "input": "x" * 200, "slice": SLICES[n % 3], **more}).encode()


def file_of(tmp_path: Path, lines: list[bytes], end: bytes = b"\n", name: str = "items.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(end.join(lines) + end)
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with more items, and outputs of them in another order, than are kept in memory."""
    folder = tmp_path_factory.mktemp("large")
    order = np.random.default_rng(3).permutation(MANY).tolist()
    pad = "y" * 300
    file_of(folder, [item(n, meta={"pad": pad}) for n in range(MANY)])
    outputs = [{"item_id": f"i{n}", "system": "bot", "output": f"answer {n} {pad}"} for n in order if n != 77]
    outputs += [{"item_id": f"i{n}", "system": "bot", "trial": 1, "output": f"again {n}"} for n in range(10)]
    outputs += [{"item_id": f"i{n}", "system": "other", "output": f"other {n}", "family": "f"} for n in range(5)]
    file_of(folder, [json.dumps(row).encode() for row in outputs], name="outputs.jsonl")
    assert min(path.stat().st_size for path in folder.iterdir()) > HELD_BYTES
    return folder


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("first", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", [b"", b"\n  \n"])
@pytest.mark.parametrize("canary", [[], [b'{"_canary": "c"}']])
def test_a_line_is_found_again_whatever_surrounds_it(tmp_path: Path, end: bytes, first: bytes, last: bytes, canary: list[bytes]) -> None:
    """Line ends, a byte order mark, a canary and empty lines at the end do not shift what is read by place or by key."""
    path = file_of(tmp_path, [*canary, *(item(n) for n in range(5))], end)
    path.write_bytes(first + path.read_bytes() + last)
    index = index_of(path)
    assert [found.item_id for found in index.between(0, len(index))] == ["i0", "i1", "i2", "i3", "i4"]
    assert [index.at(n).item_id for n in (4, 0)] == ["i4", "i0"]
    wanted = ["i3", "none", "i0", "i3"]
    assert [[i.item_id for i in found] for found in index.find(wanted)] == [["i3"], [], ["i0"], ["i3"]]
    assert [index.get(key) for key in wanted] == index.find(wanted)
    assert index.canary == ("c" if canary else None)
    assert index.digest == file_hash(path.read_bytes())


def test_the_last_line_needs_no_end(tmp_path: Path) -> None:
    """A file whose last line has no line end is read whole."""
    path = tmp_path / "items.jsonl"
    path.write_bytes(item(0) + b"\n" + item(1))
    assert [found.item_id for found in index_of(path).between(0, 2)] == ["i0", "i1"]


def test_keys_of_one_hash_are_told_apart(tmp_path: Path) -> None:
    """What a hash finds is compared with the key: no record is another's, and none counts as there twice."""
    index = index_of(file_of(tmp_path, [item(n) for n in range(20)]), key=lambda found: Same(found.item_id))
    assert [[i.item_id for i in found] for found in index.find([Same("i3"), Same("none"), Same("i19")])] == [["i3"], [], ["i19"]]
    assert [i.item_id for i in index.get(Same("i3"))] == ["i3"]
    assert (index.position_of(Same("i7")), index.position_of(Same("none"))) == (7, None)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([item(0), item(1), item(0), b"{"], ":3: field `item_id`: `i0` again, as on line 1; each item_id stands once"),
        ([item(0), item(1), b"{", item(0)], ":3: not JSON"),
        ([item(0), item(1), item(1), item(0)], ":3: field `item_id`: `i1` again, as on line 2"),
        ([b'{"_canary": "c"}', item(0), item(0)], ":3: field `item_id`: `i0` again, as on line 2"),
        ([item(0), b"", item(0)], ":2: an empty line"),
        ([item(0), item(0), item(0)], ":2: field `item_id`: `i0` again, as on line 1"),
    ],
)
def test_the_first_bad_line_is_the_one_that_is_named(tmp_path: Path, lines: list[bytes], message: str) -> None:
    """A line that is there already is found in its turn, before what is wrong further down, with both line numbers."""
    path = file_of(tmp_path, lines)
    with pytest.raises(InputError) as caught:
        index_of(path)
    assert f"{path}{message}" in str(caught.value)


def test_a_large_set_is_a_sequence_of_items(large: Path) -> None:
    """Length, order, places from both ends, slices, ids: as a list would answer."""
    items = load_golden(large).items
    assert len(items) == MANY
    assert [n for n, found in enumerate(items) if found.item_id != f"i{n}"] == []
    assert [items[n].item_id for n in (0, 12_345, -1)] == ["i0", "i12345", f"i{MANY - 1}"]
    assert [i.item_id for i in items[5:20:5]] == ["i5", "i10", "i15"]
    assert items[3] in items[:5]
    found = items.item("i500")
    assert found is not None
    assert (found.slice, items.item("none")) == (SLICES[500 % 3], None)
    with pytest.raises(IndexError):
        items[MANY]


def test_a_selection_reads_only_what_it_names(large: Path) -> None:
    """Slices, ids and a limit narrow a set, in the order of the file; a selection can be narrowed again."""
    items = load_golden(large).items
    fresh = items.where(slices=["fresh"])
    assert (len(fresh), fresh.slice_counts()) == (MANY // 3, {"fresh": MANY // 3})
    assert [i.item_id for i in items.where(slices=["rare", "none"], limit=3)] == ["i2", "i5", "i8"]
    assert [i.item_id for i in items.where(ids=["i9000", "i4", "none", "i5"])] == ["i4", "i5", "i9000"]
    assert [i.item_id for i in fresh.where(ids=["i4", "i5"])] == ["i4"]
    assert (fresh.item("i5"), items.missing(["i4", "z", "a"]), fresh.missing(["i4", "i5"])) == (None, ["a", "z"], ["i5"])
    assert len(items.where(limit=0)) == 0
    assert items.where() is items
    assert items.slice_counts() == dict.fromkeys(SLICES, MANY // 3)


def test_recorded_outputs_are_found_by_item(large: Path) -> None:
    """Outputs come by item in the order of the file, trials and systems too; an item without one is named."""
    items = load_golden(large).items
    source = RecordedSource(Recorded("outputs.jsonl"), large / "outputs.jsonl")
    assert source.systems == {"bot": None, "other": "f"}
    assert [(o.system, o.trial, o.text[:8]) for o in source.outputs_of(items[3])] == [
        ("bot", 0, "answer 3"),
        ("bot", 1, "again 3"),
        ("other", 0, "other 3"),
    ]
    answers = source.answer_many([items[0], items[77], items[40_000]])
    assert [[o.item_id for o in found] for found in answers] == [["i0"] * 3, [], ["i40000"]]
    assert [len(found) for found in source.each(items)] == source.counts(items).tolist()
    assert missing_items(source, items) == missing_items(source, list(items)) == ["i77"]


def test_one_system_of_a_large_file_is_renamed(large: Path) -> None:
    """`name` picks the lines of one system, `rename` and `family` set what they are called; items of others have no output."""
    source = RecordedSource(Recorded("outputs.jsonl", name="other", rename="new", version="2"), large / "outputs.jsonl")
    assert (source.systems, source.version, source.authors) == ({"new": "f"}, "2", ["other"])
    items = load_golden(large).items
    (output,) = source.outputs_of(items[4])
    assert output == Output(item_id="i4", system="new", family="f", system_version="2", text="other 4")
    assert source.outputs_of(items[5]) == []
    assert len(missing_items(source, items)) == MANY - 5


def test_what_is_kept_of_a_line_is_small(large: Path) -> None:
    """An index of lines holds less than 32 bytes of each."""
    tracemalloc.start()
    try:
        index = index_of(large / "items.jsonl")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(index) == MANY
    assert kept / MANY < 32 + 8  # 8: what Python holds besides, whatever the size


def test_a_file_that_changes_meanwhile_is_refused_and_a_replaced_one_read_on(tmp_path: Path, large: Path) -> None:
    """Half-old data is never mixed with new: writing into the file is an error, another file in its place is not seen."""
    path = tmp_path / "items.jsonl"
    path.write_bytes((large / "items.jsonl").read_bytes())
    index = index_of(path)
    other = tmp_path / "other"
    other.write_bytes(item(1))
    os.replace(other, path)
    assert index.at(5).item_id == "i5"
    path.write_bytes((large / "items.jsonl").read_bytes())
    index = index_of(path)
    with path.open("ab") as file:
        file.write(item(-1))
    with pytest.raises(InputError, match=r"items.jsonl: changed while it was in use; repeat the command"):
        index.at(5)


def test_small_files_are_kept_as_they_were_read(tmp_path: Path) -> None:
    """Who edits a small set while it is in use disturbs nobody."""
    path = file_of(tmp_path, [item(0), item(1)])
    index = index_of(path)
    path.unlink()
    assert index.at(1).item_id == "i1"


def test_threads_read_side_by_side(large: Path) -> None:
    """Several threads get each their own lines."""
    index = index_of(large / "items.jsonl")

    def read(first: int) -> bool:
        return all(index.find([f"i{n}"])[0][0].item_id == f"i{n}" for n in range(first, first + 200))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(read, range(0, 4000, 200)))

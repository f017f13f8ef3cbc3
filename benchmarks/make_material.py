"""Writes the shipped material: golden sets, recorded outputs, frozen references and the simulator's truth.

    python benchmarks/make_material.py            # writes into this checkout
    python benchmarks/make_material.py --check    # says which files are not as they would be written; exit 1 if any
    python benchmarks/make_material.py --to DIR   # writes elsewhere

`support` and `extraction` are assembled from benchmarks/material/*.yaml, which people write; `physics` is computed. The
manifests (golden.toml, frozen.toml) are written by hand; only their lock is set here. Nothing depends on the clock.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from material import extraction, physics, support  # noqa: E402 — found beside this file
from material.files import File  # noqa: E402

from evalh.suites.manifest import write_lock  # noqa: E402

NAMES = ("support", "extraction", "physics")


def files(root: Path) -> list[File]:
    """All JSON Lines of the material, from the sources under `root`."""
    return [*support.build(root), *extraction.build(), *physics.build()]


def write(target: Path) -> list[Path]:
    """Write everything under `target`, manifests with their locks included; the paths, relative to it."""
    paths = []
    for file in files(ROOT):
        path = target / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data())
        paths.append(Path(file.path))
    for name in NAMES:
        paths.append(_locked(target, Path(f"golden/{name}/golden.toml"), "items"))
        paths.append(_locked(target, Path(f"frozen_refs/{name}/frozen.toml"), "refs"))
    return paths


def _locked(target: Path, manifest: Path, field: str) -> Path:
    """The manifest of this checkout, locked anew for the file beside it in `target`."""
    file = (target / manifest).with_name(f"{field}.jsonl")
    text = (ROOT / manifest).read_text(encoding="utf-8").split("\n[lock]")[0].rstrip() + "\n"
    (target / manifest).write_text(text, encoding="utf-8", newline="\n")
    write_lock(target / manifest, file, field, len(file.read_bytes().splitlines()) - 1)
    return manifest


def stale() -> list[Path]:
    """The files of this checkout that are not as they would be written."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder)
        return [p for p in write(target) if not (ROOT / p).is_file() or (ROOT / p).read_bytes() != (target / p).read_bytes()]


def main() -> int:
    parser = argparse.ArgumentParser(description="write the shipped golden sets, outputs, frozen references and truth")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is not as it would be written")
    parser.add_argument("--to", type=Path, default=ROOT, metavar="DIR", help="write under DIR")
    args = parser.parse_args()
    if args.check:
        different = stale()
        print("\n".join(f"{path}: not as it would be written" for path in different) or "all files are as they would be written")
        return 1 if different else 0
    for path in write(args.to):
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

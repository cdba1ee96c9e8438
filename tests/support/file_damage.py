"""Damages to a file: what disks, programs and people have been seen to do to one."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

#: At how many places of a file it is truncated.
CUTS = 20

#: How many single bits of a file are flipped, one at a time.
FLIPS = 200


def take_away(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def fill_with_nul(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def cut(path: Path, part: int) -> None:
    """Leaves so many of `CUTS` parts of a file; of a whole one, all but the last byte."""
    size = path.stat().st_size
    os.truncate(path, min(size * part // CUTS, size - 1))


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def put_full_folder(path: Path) -> None:
    put_folder(path)
    (path / "notes.txt").write_text("mine")


def put_link(path: Path) -> None:
    """Puts a link to the very same bytes, which lie outside of the store."""
    root = next(folder for folder in path.parents if (folder / "artifacts").is_dir())
    path.symlink_to(path.rename(root.with_name(f"aside-{path.name}")))


def put_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


#: Damages that take the place of a file, and those that leave one with other bytes.
REPLACED: dict[str, Callable[[Path], None]] = {
    "a folder": put_folder,
    "a full folder": put_full_folder,
    "a link": put_link,
    "a dangling link": put_dangling_link,
}
ALTERED: dict[str, Callable[[Path], None]] = {
    "empty": empty,
    "NUL": fill_with_nul,
    **{f"cut at {part}/{CUTS}": partial(cut, part=part) for part in range(1, CUTS + 1)},
}
DAMAGES = {"missing": take_away} | REPLACED | ALTERED


def put_back(path: Path, content: bytes) -> None:
    """Ends a damage."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def flipped(content: bytes, seed: int, count: int = FLIPS) -> Iterator[tuple[int, bytes]]:
    """A file's bytes with one bit flipped, again and again another one; with the number of the bit."""
    draw = random.Random(seed)
    for _ in range(count):
        bit = draw.randrange(8 * len(content))
        yield bit, flip(content, bit)


def flip(content: bytes, bit: int) -> bytes:
    """A file's bytes with one bit flipped."""
    altered = bytearray(content)
    altered[bit // 8] ^= 1 << bit % 8
    return bytes(altered)

"""Atomic and durable writes: a file is complete or not there at all, and a power cut does not undo it."""

import contextlib
import hashlib
import io
import itertools
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

#: An artifact's content: its bytes, or a function that writes them into an open binary file.
Content = bytes | Callable[[BinaryIO], object]


def replace_file(path: Path, content: bytes) -> None:
    """Puts `content` at `path` durably and atomically: readers see the old file or the new one."""
    ensure_folder(path.parent)
    with temporary_file(path.parent) as temporary:
        write_durably(temporary, content)
        temporary.replace(path)
    fsync_folder(path.parent)


def replace_link(link: Path, target: str) -> None:
    """Points the symbolic link `link` at `target` atomically."""
    ensure_folder(link.parent)
    with temporary_folder(link.parent) as temporary:
        (temporary / "link").symlink_to(target)
        (temporary / "link").replace(link)
    fsync_folder(link.parent)


def write_durably(path: Path, content: Content) -> tuple[str, int]:
    """Writes a file through to the disk; returns its SHA-256 and its size in bytes.

    Raises:
        OSError: it cannot be written.
    """
    with naming_path(path), path.open("xb") as file:
        sink = HashingSink(file)
        if callable(content):
            content(cast(BinaryIO, sink))
        else:
            sink.write(content)
        file.flush()
        os.fsync(file.fileno())
    return sink.hash.hexdigest(), sink.size


class HashingSink(io.RawIOBase):
    """A write-only file that hashes and counts what passes through it."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.hash = hashlib.sha256()
        self.size = 0
        self._file = file

    def writable(self) -> bool:
        """True: it can only be written."""
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]  # Buffer has a name only from Python 3.12 on
        """Writes and hashes all of `data`; returns the number of bytes."""
        self._file.write(data)
        self.hash.update(data)
        size = memoryview(data).nbytes  # len() counts the items of a buffer, which may be wider than a byte
        self.size += size
        return size

    def tell(self) -> int:
        """Bytes written so far."""
        return self.size


def make_folder(folder: Path) -> bool:
    """Creates a folder; False if it exists already."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def ensure_folder(folder: Path) -> None:
    """Creates a folder and its missing parents durably: a power cut does not lose what is kept in it."""
    missing = list(itertools.takewhile(lambda above: not above.exists(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        fsync_folder(made.parent)


def fsync_folder(folder: Path) -> None:
    """Makes the renames inside a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with naming_path(folder):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def naming_path(path: Path) -> Iterator[None]:
    """Lets an OSError name the path it is about, which the operating system does only when a file is opened."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def temporary_file(folder: Path) -> Iterator[Path]:
    """A name for a new file in `folder`, which is removed at the end unless it was renamed."""
    path = folder / f".tmp-{uuid.uuid4().hex}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A new empty folder in `parent`, removed at the end unless it was renamed."""
    path = parent / f".tmp-{uuid.uuid4().hex}"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)

"""External inputs: files outside the store that a stage reads, such as a table that people edit.

The key of the stage has the SHA-256 of each. It is remembered by what the file system says of the file (path, inode,
size, times), within the process and, once a run has used it, beside the stage's last ingredients: a file that is
unchanged costs a `stat`, however large it is.
"""

import contextlib
import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.caching.storage.durable import replace_file
from tasks.caching.storage.store import Store, UnusableFileError, read_file
from tasks.caching.storage.strict_json import parse_object

#: How the names of the files end that keep digests.
NOTES = ".external.json"

#: Seconds for which a file must not have been written before its digest is remembered: a later edit within the same
#: tick of the file system's clock would leave its times as they are.
SETTLED_SECONDS = 2.0

#: What the file system says of a file: while this stays, so does the content.
Identity = tuple[int, int, int, int]

_digests: dict[tuple[str, Identity], str] = {}


class ExternalInputError(Exception):
    """An external input is not there, is no file, or changed while it was read; the message names it."""


@dataclass(frozen=True)
class ExternalFile:
    """A file outside the store, as it was when the key of a stage was made.

    Attributes:
        name: of the input, as the stage declares it.
        path: absolute.
        digest: SHA-256 of its content.
        identity: what the file system said of it.
    """

    name: str
    path: Path
    digest: str
    identity: Identity

    def require_unchanged(self) -> None:
        """Checks that nothing has touched the file since: a stage may have read another content in between.

        Raises:
            ExternalInputError: it was touched, or is gone.
        """
        if identity_of(self.name, self.path) != self.identity:
            raise changed(self.name, self.path)

    def require_same_content(self) -> None:
        """Checks, by reading the file, that it is as it was: a write through a memory map may not touch its times.

        Raises:
            ExternalInputError: it is another, was touched, or is gone.
        """
        self.require_unchanged()
        if read_digest(self.name, self.path) != self.digest:
            raise changed(self.name, self.path)
        self.require_unchanged()


def look_at(stage: str, experiment: str, paths: Mapping[str, Path], store: Store) -> dict[str, ExternalFile]:
    """The external inputs of a stage as they are now, by name.

    Args:
        stage: that reads them.
        experiment: under whose name their digests are remembered.
        paths: by name of the input.
        store: where they are remembered.

    Raises:
        ExternalInputError: one is not there, is no file, or changed while it was read.
    """
    if not paths:
        return {}
    recall(stage, experiment, store)
    files = {}
    for name, path in paths.items():
        identity = identity_of(name, path)
        files[name] = ExternalFile(name, path, digest_of_file(name, path), identity)
        files[name].require_unchanged()
    return files


def digest_of_file(name: str, path: Path) -> str:
    """SHA-256 of an external input, remembered for as long as nothing touches the file.

    Args:
        name: of the input.
        path: of the file.

    Raises:
        ExternalInputError: it is not there, is no file, or changed while it was read.
    """
    identity = identity_of(name, path)
    if (known := _digests.get((str(path), identity))) is not None:
        return known
    began = time.time()
    digest = read_digest(name, path)
    if identity_of(name, path) != identity:
        raise changed(name, path)
    _, _, modified, status_changed = identity
    if max(modified, status_changed) / 1e9 < began - SETTLED_SECONDS:
        _digests[str(path), identity] = digest
    return digest


def read_digest(name: str, path: Path) -> str:
    """SHA-256 of an external input, of which everything is written first.

    Once a page of a memory map is written, the next write through the map touches the times of the file again, so that
    a digest that is remembered holds. Not so in memory (tmpfs), where such a write never touches them.

    Raises:
        ExternalInputError: it is not there, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            write_out(file.fileno())
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unusable(name, path, error) from error


def write_out(descriptor: int) -> None:
    """Waits until all of a file is written; not where nothing can be, as in a read-only file system.

    Raises:
        OSError: the disk failed.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EINVAL, errno.ENOTSUP):
            raise


def identity_of(name: str, path: Path) -> Identity:
    """What the file system says of an external input.

    Raises:
        ExternalInputError: the path is relative, or no file is there.
    """
    if not path.is_absolute():
        raise ExternalInputError(f"input {name}: {str(path)!r} is a relative path: give an absolute one")
    try:
        status = os.stat(path)  # noqa: PTH116 (of a path of any length)
    except (OSError, ValueError) as error:
        raise unusable(name, path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise ExternalInputError(f"input {name}: {path} is no plain file: give the path of one")
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def unusable(name: str, path: Path, error: Exception) -> ExternalInputError:
    """The error of a file that cannot be read."""
    why = error.strerror if isinstance(error, OSError) else str(error)
    return ExternalInputError(f"input {name}: {path}: {why}; put the file there, or change the setting that names it")


def changed(name: str, path: Path) -> ExternalInputError:
    """The error of a file that another process has written meanwhile."""
    return ExternalInputError(f"input {name}: {path} changed while it was read: run again once it is complete")


def remember(stage: str, experiment: str, files: Mapping[str, ExternalFile], store: Store) -> None:
    """Keeps the digests of a stage's external inputs for later processes, if they are not kept already."""
    notes: dict[str, object] = {}
    for name, file in files.items():
        with contextlib.suppress(ExternalInputError):  # it was whole as long as the stage read it
            identity = identity_of(name, file.path)
            if _digests.get((str(file.path), identity)) == file.digest:
                notes[str(file.path)] = [*identity, file.digest]
    if files and notes != read_notes(stage, experiment, store):
        replace_file(notes_file(stage, experiment, store), json.dumps(notes, indent=0).encode())


def recall(stage: str, experiment: str, store: Store) -> None:
    """Takes the digests that an earlier process has kept."""
    for path, note in read_notes(stage, experiment, store).items():
        match note:
            case [int(inode), int(size), int(modified), int(status_changed), str(digest)]:
                _digests.setdefault((path, (inode, size, modified, status_changed)), digest)


def read_notes(stage: str, experiment: str, store: Store) -> dict[str, object]:
    """What is kept of a stage's external inputs; nothing if it cannot be read."""
    try:
        return parse_object(read_file(notes_file(stage, experiment, store)))
    except (OSError, UnusableFileError, ValueError):
        return {}


def notes_file(stage: str, experiment: str, store: Store) -> Path:
    """Where the digests of the external inputs of an experiment's stage are kept."""
    return store.records / "last" / experiment / f"{stage}{NOTES}"

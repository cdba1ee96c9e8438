"""The store: publishes artifacts atomically, and never returns one that was altered.

Publishing follows an order that survives a crash at any point: temporary file in the same folder, write, flush,
fsync, rename to the content-addressed name, fsync of the folder. Only a complete artifact ever has its name.
"""

import contextlib
import errno
import functools
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.caching.code.sources import PROJECT
from tasks.caching.locking.lock import locked_folder
from tasks.caching.storage.durable import (
    Content,
    ensure_folder,
    fsync_folder,
    make_folder,
    replace_file,
    temporary_file,
    temporary_folder,
    write_durably,
)
from tasks.caching.storage.reference import Reference
from tasks.caching.storage.run_name import RunName
from tasks.caching.storage.strict_json import parse_object

#: The folders of the store, which may be links to another disk.
TOPS = ("data", "artifacts")

#: The most bytes of a text or JSON file, and of an artifact, that are read into memory. A sparse file can be of any
#: size without taking space on the disk.
MOST_TEXT, MOST_HELD = 1 << 26, 1 << 30

#: The content of a saved run's note once the run has passed a verification.
PASSED = b"verified\n"

#: Errors that say nothing about the file that was to be read: this process, or this machine, can open no more files.
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class DamagedArtifactError(Exception):
    """An artifact is missing, or is not what its reference says."""


class UnusableFileError(Exception):
    """A path does not lead to a plain file, or the file cannot be read."""


class OutsideStoreError(ValueError):
    """A path leads out of the store."""


class Store:
    """The artifacts under one root: tables in data/, everything else in artifacts/."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._digests: dict[tuple[str, int, int, int, int], str] = {}

    @property
    def artifacts(self) -> Path:
        """Where artifacts other than tables lie, with the records and the runs."""
        return self.locate("artifacts")

    @property
    def records(self) -> Path:
        """Where the records of finished stages lie."""
        return self.artifacts / "records"

    @property
    def locks(self) -> Path:
        """Where locks and leases lie, which mean nothing once no process is running."""
        return self.records / "locks"

    @property
    def runs(self) -> Path:
        """Where the run folders lie."""
        return self.artifacts / "runs"

    @property
    def saved(self) -> Path:
        """A note for each run that was saved and not removed since: if its folder is gone, the run is missing."""
        return self.artifacts / "saved"

    def publish(self, stage: str, name: str, content: Content) -> Reference:
        """Publishes an artifact under a name made of `name` and the SHA-256 of its content.

        Args:
            stage: the stage that made it; names the folder.
            name: file name with its ending, for example `train.parquet`.
            content: its bytes, or a function that is called once with the open file and writes them.
        """
        stem, _, kind = name.rpartition(".")
        place = artifact_folder(stage, kind)
        folder = self.locate(place)
        ensure_folder(folder)
        with temporary_file(folder) as temporary:
            digest, size = write_durably(temporary, content)
            final = folder / f"{stem}-{digest}.{kind}"
            with locked_folder(folder, shared=True):
                temporary.replace(final)
        fsync_folder(folder)
        return Reference(f"{place}/{final.name}", digest, size, kind)

    def remove_if(self, path: Path, condition: Callable[[Path], bool]) -> bool:
        """Removes an artifact if `condition` still holds when nothing can be published; True if it was removed."""
        with locked_folder(path.parent):
            if not condition(path):
                return False
            path.unlink()
            return True

    @contextlib.contextmanager
    def reserved_run(self, name: RunName) -> Iterator[str]:
        """Reserves a name for a run with an empty folder: `name`, or the next that is free."""
        ensure_folder(self.runs)
        while not make_folder(self.runs / str(name)):
            name = name.next
        try:
            yield str(name)
        finally:
            with contextlib.suppress(OSError):  # it is empty only if no run was published in it
                (self.runs / str(name)).rmdir()

    def publish_run(self, run: str, files: Mapping[str, bytes]) -> dict[str, Reference]:
        """Publishes the folder of a run: all of its files appear together, or none.

        Args:
            run: name of the run; no run may have it yet, but it may be reserved.
            files: content by path inside the folder.

        Raises:
            OSError: the run exists already.
            ValueError: a path leads out of the folder.
        """
        references = {name: Reference.of_content(run_path(run, name), content) for name, content in files.items()}
        ensure_folder(self.runs)
        with temporary_folder(self.runs) as temporary:
            for name, content in files.items():
                target = temporary / name
                target.parent.mkdir(parents=True, exist_ok=True)
                write_durably(target, content)
            for folder in sorted({(temporary / name).parent for name in files}):
                fsync_folder(folder)
            # Takes the place of an empty folder, but fails if the run exists.
            temporary.rename(self.runs / run)
        fsync_folder(self.runs)
        self.remember_run(run)
        return references

    def remember_run(self, run: str, *, verified: bool = False) -> None:
        """Notes durably that a run was saved: from now on it counts as missing if its folder is gone.

        Args:
            run: its name.
            verified: whether it has also passed a verification, which no later note revokes.
        """
        if not (self.saved / run).exists() or (verified and not self.was_verified(run)):
            replace_file(self.saved / run, PASSED if verified else b"")

    def was_verified(self, run: str) -> bool:
        """Whether it was noted that a run has passed a verification.

        Raises:
            UnusableFileError: the note cannot be read.
        """
        try:
            return read_file(self.saved / run) == PASSED
        except FileNotFoundError:
            return False

    def forget_run(self, run: str) -> None:
        """Removes the note of a run durably: from now on nothing is missing without its folder."""
        with contextlib.suppress(FileNotFoundError):
            (self.saved / run).unlink()
            fsync_folder(self.saved)

    def locate(self, path: str) -> Path:
        """The absolute path of a path relative to the root; data/ and artifacts/ may be links to another disk.

        Raises:
            OutsideStoreError: it is in neither of them.
        """
        top, *rest = PurePosixPath(path).parts or ("",)
        if top not in TOPS or ".." in rest or "\0" in path:
            raise OutsideStoreError(f"{path!r} is not in the store")
        return (self.root / top).resolve().joinpath(*rest)

    def path(self, reference: Reference) -> Path:
        """The file behind a reference, after its size and digest were checked.

        Raises:
            DamagedArtifactError: it is missing, is not a plain file, cannot be read, or its bytes were altered.
            OSError: this process can open no more files.
        """
        try:
            path = self.locate(reference.path)
            status = path.lstat()
        except OutsideStoreError as error:
            raise DamagedArtifactError(f"artifact outside the store: {reference.path}") from error
        except OSError as error:
            raise DamagedArtifactError(f"artifact missing: {reference.path}") from error
        if not stat.S_ISREG(status.st_mode) or path.resolve() != path:
            raise DamagedArtifactError(f"artifact replaced by a link or a folder: {reference.path}")
        if status.st_size != reference.size:
            raise DamagedArtifactError(
                f"artifact altered: {reference.path} has {status.st_size:,} bytes instead of {reference.size:,}"
            )
        try:
            digest = self._digest(path, status)
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise
            raise DamagedArtifactError(f"artifact unreadable: {reference.path}: {error.strerror}") from error
        if digest != reference.digest:
            raise DamagedArtifactError(f"artifact altered: {reference.path} no longer has its SHA-256")
        return path

    def read(self, reference: Reference, most: int = MOST_HELD) -> bytes:
        """The bytes behind a reference, after they were checked.

        Args:
            reference: of the artifact.
            most: the most bytes to read into memory.

        Raises:
            DamagedArtifactError: as for `path`, or it has more bytes.
        """
        if reference.size > most:
            raise DamagedArtifactError(
                f"artifact too large: {reference.path} has {reference.size:,} bytes; at most {most:,} are read"
            )
        content = self.path(reference).read_bytes()
        if hashlib.sha256(content).hexdigest() != reference.digest:
            raise DamagedArtifactError(f"artifact altered: {reference.path} changed while it was read")
        return content

    def read_object(self, reference: Reference) -> dict[str, Any]:
        """The JSON object behind a reference.

        Raises:
            DamagedArtifactError: as for `path`, or it is not a JSON object.
        """
        try:
            return parse_object(self.read(reference, MOST_TEXT))
        except ValueError as error:
            raise DamagedArtifactError(f"artifact damaged: {reference.path}: {error}") from error

    def set_aside(self, path: Path) -> str:
        """Moves a file or folder that cannot be used to artifacts/set-aside; returns where, relative to the root.

        Raises:
            OSError: it cannot be moved there, or artifacts/set-aside is a link.
        """
        if (folder := self.artifacts / "set-aside").is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, "Is a link, and nothing is moved through links", str(folder))
        place = PurePosixPath("artifacts/set-aside", f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
        target = self.locate(str(place / self.relative(path)))
        ensure_folder(target.parent)
        path.replace(target)
        fsync_folder(target.parent)
        fsync_folder(path.parent)
        if path.parent == self.runs:
            self.forget_run(path.name)
        return str(place)

    def relative(self, path: Path) -> PurePosixPath:
        """The path of a file in data/ or artifacts/, relative to the root; the inverse of `locate`."""
        for top in TOPS:
            if path.is_relative_to(self.locate(top)):
                return PurePosixPath(top, path.relative_to(self.locate(top)))
        raise ValueError(f"{path} is not in the store")

    def _digest(self, path: Path, status: os.stat_result) -> str:
        """SHA-256 of a file, cached in this process until the file changes."""
        identity = (str(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if identity not in self._digests:
            self._digests[identity] = file_digest(path)
        return self._digests[identity]


def artifact_folder(stage: str, kind: str) -> str:
    """The folder of a stage's artifacts of a kind, relative to the root."""
    return f"{'data' if kind == 'parquet' else 'artifacts'}/{stage}"


def run_path(run: str, name: str) -> str:
    """The path of a file of a run, relative to the root, as references have it."""
    return str(PurePosixPath("artifacts/runs") / run / name)


@functools.cache
def project_store() -> Store:
    """The project's store, one for the whole process.

    It is rooted in $WORKFLOW_HOME, else in the checkout that this code runs from, else (installed without one) in the
    working directory.
    """
    default = PROJECT if (PROJECT / "pyproject.toml").is_file() else Path.cwd()
    return Store(Path(os.environ.get("WORKFLOW_HOME") or default))


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_file(path: Path, most: int = MOST_TEXT) -> bytes:
    """The bytes of a plain file.

    Args:
        path: of the file.
        most: the most bytes to read into memory.

    Raises:
        FileNotFoundError: there is no such file.
        UnusableFileError: it is a link, a folder or a device, the file is larger, or the disk cannot read it.
        OSError: this process can open no more files.
    """
    try:
        status = path.lstat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # a folder cannot be read
            raise UnusableFileError("Is a link or a device")
        if status.st_size > most:
            raise UnusableFileError(f"Has {status.st_size:,} bytes, and at most {most:,} are read")
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise
        raise UnusableFileError(error.strerror) from error

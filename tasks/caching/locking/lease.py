"""Leases: files that a process keeps locked while it lives, which say what it is working on.

When the process ends, however it ends (kill -9, a power cut), the kernel releases the lock: a lease that is not locked
has expired. There is nothing to renew, and no clock is involved. As with every lock here, no child inherits a lease.
"""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from tasks.caching.locking.lock import CREATE, LockFile


class Lease:
    """A lease that this process holds, until it is released or the process ends."""

    def __init__(self, path: Path, file: LockFile) -> None:
        self.path = path
        self._file = file

    @property
    def is_held(self) -> bool:
        """Whether this process still holds it; a forked child never does."""
        return self._file.is_open

    def write(self, content: bytes) -> None:
        """Appends to the lease's file, in one piece.

        Raises:
            OSError: it cannot be written; names the folder.
        """
        with _naming(self.path.parent):
            os.write(self._file.descriptor, content)

    def rename(self, path: Path) -> None:
        """Gives the lease another path in its folder; it stays held throughout."""
        with _naming(path.parent):
            self.path.replace(path)
        self.path = path

    def end(self) -> None:
        """Removes the lease's file and then releases it: no process ever finds it expired."""
        if self.is_held:
            self.path.unlink(missing_ok=True)
            self.release()

    def release(self) -> None:
        """Releases the lease; its file stays, and is found to have expired from now on."""
        self._file.close()


def acquire_lease(path: Path, content: bytes = b"") -> Lease:
    """Acquires a new lease.

    Args:
        path: of its file, which no other process uses.
        content: of the file at first.

    Raises:
        OSError: it cannot be written; names the folder.
    """
    draft = path.with_name(f".tmp-{uuid.uuid4().hex}")
    with _naming(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lease = Lease(path, LockFile(draft, CREATE | os.O_APPEND))
            try:
                # Locked before it has its name: no process ever finds it unlocked while its holder lives.
                lease._file.acquire()
                lease.write(content)
                draft.replace(path)
            except BaseException:
                lease.release()
                raise
        finally:
            draft.unlink(missing_ok=True)
    return lease


@contextlib.contextmanager
def expired(path: Path) -> Iterator[bool]:
    """Yields whether a lease has expired; while the context lasts, no other process finds that it has.

    So that of several processes that look for expired leases, one deals with each. A lease that is gone has not
    expired: its holder has ended it, or another process has dealt with it.
    """
    try:
        file = LockFile(path, os.O_RDWR)
    except (FileNotFoundError, PermissionError):
        yield False
        return
    with file:
        yield file.acquire(timeout=0) and path.exists()


@contextlib.contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Lets an error name a lease's folder in place of a temporary file in it."""
    try:
        yield
    except OSError as error:
        error.filename = str(folder)
        raise

"""Locks between processes, on files and folders: all of them are flock, and all of them are taken here.

The kernel releases a lock when the process that holds it ends, however it ends. No child inherits a lock: the kernel
closes the descriptor in programs that the holder starts, and forked children close it themselves. A child that
outlives its parent would otherwise keep its parent's locks.
"""

import contextlib
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

#: Seconds between two attempts to get a lock, while there is a limit to the wait.
POLL_SECONDS = 0.05

#: How a lock file is opened: created if need be, and never through a link.
CREATE = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW

#: The most bytes of a lock file that are read.
MOST_BYTES = 4096


class LockFile:
    """An open file that can be locked; closing it releases the lock.

    A lock belongs to the open file: two `LockFile` of the same path exclude each other, also in one process. The file
    stays when it is closed, since removing it would let two processes lock two files of one name.
    """

    def __init__(self, path: Path, flags: int = CREATE) -> None:
        """Opens the file, for its owner alone if it is created: anyone who can open a file can lock it.

        Raises:
            OSError: it cannot be opened.
        """
        self.descriptor = os.open(path, flags, 0o600)
        _open.add(self)

    @property
    def is_open(self) -> bool:
        """Whether this process has it open; in a forked child it is closed."""
        return self in _open

    def acquire(self, timeout: float | None = None) -> bool:
        """Waits for the lock.

        Args:
            timeout: seconds to wait at most; 0 tries once, None waits as long as it takes.

        Returns:
            Whether this file holds the lock now.
        """
        if timeout is None:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            return True
        deadline = time.monotonic() + timeout
        while not self._try_to_acquire():
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def read(self) -> bytes:
        """The content of the file; of a large one, the beginning."""
        return os.pread(self.descriptor, MOST_BYTES, 0)

    def overwrite(self, content: bytes) -> None:
        """Replaces the content of the file, which is never empty in between."""
        os.pwrite(self.descriptor, content, 0)
        os.ftruncate(self.descriptor, len(content))

    def close(self) -> None:
        """Closes the file, which releases the lock; does nothing if it is closed already."""
        if self.is_open:
            _open.remove(self)
            os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _try_to_acquire(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


#: The files that this process has open to lock them.
_open: set[LockFile] = set()


def _inherit_nothing() -> None:
    """Closes, in a forked child, what its parent has locked; an explicit unlock would unlock it for the parent too."""
    for file in _open:
        os.close(file.descriptor)
    _open.clear()


os.register_at_fork(after_in_child=_inherit_nothing)


@contextlib.contextmanager
def locked_folder(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Holds the lock of a folder, waiting for it as long as it takes.

    Args:
        folder: to lock; its files stay accessible to those who do not ask for the lock.
        shared: whether others may hold the lock at the same time, if they ask for a shared one as well.

    Raises:
        OSError: the folder cannot be opened.
    """
    with LockFile(folder, os.O_RDONLY | os.O_DIRECTORY) as file:
        fcntl.flock(file.descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Held:
    """A lock that this process holds.

    Attributes:
        file: locked.
        holder: the name under which it was acquired.
    """

    file: LockFile
    holder: str


class FlockManager:
    """Prefect's `LockManager` protocol: locks on keys, each held by a named holder, in this process or another.

    Two runs that share a stage lock its key: the first computes the stage, the second waits and reuses it. A lock
    lasts as long as its holder's process at the most; `hold_timeout` has no meaning here. (Prefect's own
    FileSystemLockManager leaves a file behind when its holder is killed, for which all others wait forever.)
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, Held] = {}
        self._guard = threading.Lock()

    def acquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """Waits for the lock on `key`, at most `acquire_timeout` seconds; True once `holder` has it."""
        if self.is_lock_holder(key, holder):
            return True
        file = self._acquired_file(key, acquire_timeout)
        if file is None:
            return False
        with self._guard:
            self._held[key] = Held(file, holder)
        return True

    async def aacquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """As `acquire_lock`, without blocking the event loop."""
        import asyncio  # loaded already by callers that await this; other commands do without it

        return await asyncio.to_thread(self.acquire_lock, key, holder, acquire_timeout, hold_timeout)

    def release_lock(self, key: str, holder: str) -> None:
        """Releases the lock on `key`.

        Raises:
            ValueError: `holder` does not hold it.
        """
        with self._guard:
            held = self._held.get(key)
            if held is None or held.holder != holder:
                raise ValueError(f"{holder} does not hold the lock on {key}")
            del self._held[key]
        held.file.close()

    def is_locked(self, key: str) -> bool:
        """Whether the lock on `key` is held, in this process or another."""
        return not self.wait_for_lock(key, timeout=0)

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Whether `holder` holds the lock on `key`."""
        held = self._held.get(key)
        return held is not None and held.holder == holder

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Waits until the lock on `key` is free, at most `timeout` seconds; returns whether it is."""
        file = self._acquired_file(key, timeout)
        if file is None:
            return False
        file.close()
        return True

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """As `wait_for_lock`, without blocking the event loop."""
        import asyncio

        return await asyncio.to_thread(self.wait_for_lock, key, timeout)

    def _acquired_file(self, key: str, timeout: float | None) -> LockFile | None:
        """The lock file of a key, locked; None if it could not be locked in time."""
        # Hashed, so that no key is too long for a file name and none collides with another.
        path = self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.lock"
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            file = LockFile(path)
            try:
                if not file.acquire(timeout):
                    file.close()
                    return None
                # The file may have been deleted by hand meanwhile, and others would lock a new one of its name.
                if os.fstat(file.descriptor).st_nlink:
                    return file
            except BaseException:
                file.close()
                raise
            file.close()

"""Locks that let two runs share a stage: the first computes it, the second waits and then reuses it.

Built on flock through `filelock`: the kernel frees a lock when its holder ends, however it ends. (Prefect's own
FileSystemLockManager keeps a file that outlives a killed holder, and everybody waits for ever.)
"""

import asyncio
import hashlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

#: Seconds between two tries to get a lock that another run holds.
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Held:
    """A lock and who holds it in this process."""

    lock: FileLock
    holder: str


class FlockManager:
    """Implements Prefect's `LockManager` protocol: locks on keys, each held by a named holder.

    A lock lasts as long as its holder's process at the most; `hold_timeout` has no meaning here.
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
        lock = self._file_lock(key)
        try:
            lock.acquire(timeout=-1 if acquire_timeout is None else acquire_timeout, poll_interval=POLL_SECONDS)
        except Timeout:
            return False
        with self._guard:
            self._held[key] = Held(lock, holder)
        return True

    async def aacquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """As `acquire_lock`, without blocking the event loop."""
        return await asyncio.to_thread(self.acquire_lock, key, holder, acquire_timeout, hold_timeout)

    def release_lock(self, key: str, holder: str) -> None:
        """Frees the lock on `key`.

        Raises:
            ValueError: `holder` does not hold it.
        """
        with self._guard:
            held = self._held.get(key)
            if held is None or held.holder != holder:
                raise ValueError(f"{holder} does not hold the lock on {key}")
            del self._held[key]
        held.lock.release()

    def is_locked(self, key: str) -> bool:
        """Whether anybody, in this process or another, holds the lock on `key`."""
        if key in self._held:
            return True
        try:
            with self._file_lock(key).acquire(timeout=0):
                return False
        except Timeout:
            return True

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Whether `holder` holds the lock on `key`."""
        held = self._held.get(key)
        return held is not None and held.holder == holder

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Waits until nobody holds the lock on `key`, at most `timeout` seconds; True if so."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.is_locked(key):
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """As `wait_for_lock`, without blocking the event loop."""
        return await asyncio.to_thread(self.wait_for_lock, key, timeout)

    def _file_lock(self, key: str) -> FileLock:
        # Hashed, so that no key is too long for a file name and none collides with another. Not thread-local, since
        # Prefect may acquire in one thread and release in another; no singleton, since each holder needs its own.
        self._folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        return FileLock(self._folder / f"{name}.lock", thread_local=False)

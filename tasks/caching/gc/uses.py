"""What running flows use, so that a collection leaves it alone.

Each running flow holds a lease, and writes into it the path of a record or of a run *before* it looks whether that is
there. A collection reads the leases once it has locked the record: either it sees the use, or the flow finds no record.
"""

import contextlib
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.caching.locking.lease import acquire_lease, expired
from tasks.caching.storage.store import Store

#: By how many seconds the clock that dates files may lag behind the one that dates flows: by a tick of the kernel, by
#: the clock of a network disk, or by one that was set back meanwhile. What a flow publishes must never look older.
CLOCKS_DIFFER_SECONDS = 60.0


@dataclass(frozen=True)
class InUse:
    """What the running flows use.

    Attributes:
        paths: of records and of run folders, relative to the root.
        since: nothing that they published is dated earlier, in seconds since the epoch; infinite if none is running.
    """

    paths: frozenset[str]
    since: float


@contextlib.contextmanager
def store_in_use(store: Store) -> Iterator[Callable[[str], None]]:
    """Surrounds a flow; yields the function that notes the path of a record or a run that it is about to use."""
    path = uses_folder(store) / f"{uuid.uuid4().hex}.use"
    lease = acquire_lease(path, f"{time.time()!r}\n".encode())
    try:
        yield lambda used: lease.write(f"{used}\n".encode())
    finally:
        lease.end()


def find_uses(store: Store) -> InUse:
    """What the running flows use; the leases of those that were killed are removed."""
    since, paths = float("inf"), set[str]()
    for lease in sorted(path for path in uses_folder(store).glob("*.use") if is_lease(path)):
        with expired(lease) as is_expired:
            if is_expired:
                lease.unlink()
                continue
        with contextlib.suppress(FileNotFoundError):  # the flow has just ended
            began, *used = lease.read_text().splitlines()
            since = min(since, float(began) - CLOCKS_DIFFER_SECONDS)
            paths |= set(used)
    return InUse(frozenset(paths), since)


def is_lease(path: Path) -> bool:
    """Whether a path is a flow's lease; other files in that folder are left alone."""
    return re.fullmatch(r"[0-9a-f]{32}\.use", path.name) is not None and not path.is_symlink() and path.is_file()


def uses_folder(store: Store) -> Path:
    """Where the leases lie: beside the locks, since they too mean nothing once no flow is running."""
    return store.locks / "uses"

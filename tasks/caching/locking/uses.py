"""What running flows use, so that a collection leaves it alone.

Each flow that runs holds a claim, and writes into it the path of a record or of a run *before* it looks whether that is
there. A collection reads the claims when it has locked the record: either it sees the use, or the flow finds no record.
"""

import contextlib
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.caching.locking.claims import hold, taken_over
from tasks.caching.storage.store import Store

#: By how many seconds the clock that dates files may lag behind the one that dates flows: by a tick of the kernel, by
#: the clock of a network disk, or by one that was set back meanwhile. What a flow publishes must never look older.
CLOCKS_DIFFER_SECONDS = 60.0


@dataclass(frozen=True)
class InUse:
    """What the flows that run now use.

    Attributes:
        paths: of records and of run folders, relative to the root.
        since: nothing that they published is dated earlier, in seconds since the epoch; infinite if none runs.
    """

    paths: frozenset[str]
    since: float


@contextlib.contextmanager
def store_in_use(store: Store) -> Iterator[Callable[[str], None]]:
    """Surrounds a flow; yields what tells that it is about to use a record or a run, by its path."""
    path = uses_folder(store) / f"{uuid.uuid4().hex}.use"
    claim = hold(path, f"{time.time()!r}\n".encode())
    try:
        yield lambda used: claim.write(f"{used}\n".encode())
    finally:
        claim.end()


def find_uses(store: Store) -> InUse:
    """What the flows that run now use; the claims of those that were killed are removed."""
    since, paths = float("inf"), set[str]()
    for claim in sorted(path for path in uses_folder(store).glob("*.use") if is_claim(path)):
        with taken_over(claim) as is_dead:
            if is_dead:
                claim.unlink()
                continue
        with contextlib.suppress(FileNotFoundError):  # the flow ended just now
            began, *used = claim.read_text().splitlines()
            since = min(since, float(began) - CLOCKS_DIFFER_SECONDS)
            paths |= set(used)
    return InUse(frozenset(paths), since)


def is_claim(path: Path) -> bool:
    """Whether a path is a flow's claim; other files in that folder are left alone."""
    return re.fullmatch(r"[0-9a-f]{32}\.use", path.name) is not None and not path.is_symlink() and path.is_file()


def uses_folder(store: Store) -> Path:
    """Where the claims lie: beside the locks, since they too mean nothing once nobody runs."""
    return store.records / "locks" / "uses"

"""Collects garbage: removes what `tasks.caching.gc.garbage` finds.

Wherever it is interrupted, and whatever runs at the same time, no record and no kept run ever names a missing file:

- records are removed first, each under its own lock, after it was compared once more with what running flows use;
- then the runs, which no record names by now; then, after another look, the artifacts that nothing names any more;
- an artifact is removed only if it is older than every running flow: one that was just published has no record yet.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from uuid import uuid4

from tasks.caching.gc.garbage import VERIFIED, Garbage, Keep, is_wanted_now, named_by_records
from tasks.caching.gc.inspection import IN_USE_SECONDS, is_older_than
from tasks.caching.gc.inventory import artifacts_of, last_used, read_manifests, runs_among
from tasks.caching.gc.uses import find_uses
from tasks.caching.locking.lock import FlockManager
from tasks.caching.storage.durable import fsync_folder
from tasks.caching.storage.store import Store

#: The holder's name of the locks that a collection acquires.
HOLDER = "collection"


def collect(store: Store, garbage: Garbage, on_item: Callable[[], None] = lambda: None) -> Garbage:
    """Removes garbage, except what has come into use since it was found; returns what was removed.

    Args:
        store: where `find_garbage` found it.
        garbage: as found.
        on_item: called after each item, whether it was removed or had to stay.
    """
    removed = Garbage(kept=garbage.kept, keep=garbage.keep)
    for run, why in garbage.kept.items():  # which may have been copied here, or put back after it was set aside
        store.remember_run(run, verified=why == VERIFIED)
        if not (store.runs / run).is_dir():  # another collection has just removed it
            store.forget_run(run)

    def remove(kind: str, attempt: Callable[[str], bool]) -> None:
        for path, size in garbage.by_kind[kind].items():
            if attempt(path):
                removed.by_kind[kind][path] = size
            on_item()

    remove("records", lambda path: remove_record(store, path))
    for folder in {store.locate(path).parent for path in removed.records}:
        fsync_folder(folder)  # before anything that they named is gone
    busy = find_uses(store).paths | {f"artifacts/runs/{run}" for run in runs_among(named_by_records(store))}
    remove("runs", lambda path: path not in busy and drop_run(store, path, garbage.keep))
    # Looked up again: a flow that began meanwhile may have brought records and runs.
    old = is_older_than(min(time.time() - IN_USE_SECONDS, find_uses(store).since))
    named = named_by_records(store) | artifacts_of(manifest for _, manifest in read_manifests(store))
    remove("artifacts", lambda path: path not in named and store.remove_if(store.locate(path), old))
    remove("states", lambda path: drop(store.locate(path)))
    remove("left over", lambda path: drop(store.locate(path)))
    return removed


def remove_record(store: Store, path: str) -> bool:
    """Removes a record, unless a flow uses it or has used it since it was found; True if it was removed."""
    name = str(PurePosixPath(path).relative_to("artifacts/records"))
    locks = FlockManager(store.locks)
    if not locks.acquire_lock(name, HOLDER, acquire_timeout=0):
        return False
    try:
        # A flow that begins to use it from now on waits for the lock, and then finds no record.
        # Uses first: a flow notes what it used last before it ends, and its use with it.
        if path in find_uses(store).paths or path in dict(last_used(store, stage=PurePosixPath(name).parts[0])):
            return False
        store.locate(path).unlink(missing_ok=True)
        return True
    finally:
        locks.release_lock(name, HOLDER)


def drop_run(store: Store, path: str, keep: Keep) -> bool:
    """Removes a run, unless it has come into use since it was found; True if it was removed."""
    run = PurePosixPath(path).name
    if is_wanted_now(run, store, keep):
        return False
    store.forget_run(run)
    return drop(store.locate(path))


def drop(path: Path) -> bool:
    """Removes a file, or a folder atomically for those who look at it meanwhile; always True."""
    if path.is_dir() and not path.is_symlink():
        hidden = path.with_name(f".tmp-{uuid4().hex}")
        path.rename(hidden)
        shutil.rmtree(hidden)
    else:
        path.unlink(missing_ok=True)
    return True

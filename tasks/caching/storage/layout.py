"""Checks that the folders of a store are not links: a link may lead to a disk that is not mounted.

Only data/ and artifacts/ as a whole may be links, to another disk.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from tasks.caching.storage.contents import RESERVED, is_folder, list_folder
from tasks.caching.storage.store import Store

#: Folders in artifacts/records that are not those of stages.
RESERVED_IN_RECORDS = {"last", "locks"}


#: The problem with a link in the place of a folder, and what to do.
LINKED = (
    "is a link in the place of a folder: replace it with the folder that it leads to. Only data/ and artifacts/ as a "
    "whole may be links to another disk"
)


class LayoutError(Exception):
    """A folder of the store is a link, or belongs to another store; the message says what to do."""


def require_folders(store: Store, stages: Collection[str] = ()) -> None:
    """Checks that the folders of a store are not links.

    Args:
        store: to check.
        stages: that are about to run, in addition to those that have run before.

    Raises:
        LayoutError: a folder is a link.
    """
    for folder in linked_folders(store, stages):
        raise LayoutError(f"{store.relative(folder)} {LINKED}")


def linked_folders(store: Store, stages: Collection[str] = ()) -> Iterator[Path]:
    """Links in the place of a store's folders.

    Args:
        store: to look through.
        stages: that need a folder, in addition to those that have records.
    """
    data, artifacts, records = store.locate("data"), store.artifacts, store.records
    named = {*stages, *(path.name for path in (records.iterdir() if records.is_dir() else ()))} - RESERVED_IN_RECORDS
    states = artifacts / "states"
    apart = [
        *(artifacts / name for name in sorted(RESERVED)),
        *(records / name for name in sorted(RESERVED_IN_RECORDS)),
    ]
    for folder in (*apart, *(place / name for name in sorted(named) for place in (data, artifacts, records, states))):
        if folder.is_symlink():
            yield folder
    for folder in (records / "last", *(states / name for name in sorted(named))):
        yield from links_in(folder)


def links_in(folder: Path) -> Iterator[Path]:
    """Links in a folder in which the store makes folders; none if it is missing, or a link itself."""
    yield from (path for path in reversed(list_folder(folder) if is_folder(folder) else []) if path.is_symlink())

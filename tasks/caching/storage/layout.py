"""The folders of a store have to be folders: a link may lead to a disk that is away.

Only data/ and artifacts/ as a whole may be links, to another disk.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from tasks.caching.storage.contents import APART
from tasks.caching.storage.store import Store

#: Folders in artifacts/records that hold no records of a stage.
RECORDS_APART = {"last", "locks"}


#: What is wrong with a link in the place of a folder, and what to do.
LINKED = (
    "is a link in the place of a folder: move what it leads to there. Of a store, only data/ and artifacts/ as a whole "
    "may be links to another disk"
)


class LayoutError(Exception):
    """A folder of the store is a link, or belongs to another store; the message says what to do."""


def require_folders(store: Store, stages: Collection[str] = ()) -> None:
    """Checks that the folders of a store are no links.

    Args:
        store: to be worked in.
        stages: that are to run, beside those that have run before.

    Raises:
        LayoutError: one of them is.
    """
    for folder in linked_folders(store, stages):
        raise LayoutError(f"{store.relative(folder)} {LINKED}")


def linked_folders(store: Store, stages: Collection[str] = ()) -> Iterator[Path]:
    """Links in the place of the folders of a store.

    Args:
        store: to be looked at.
        stages: that need a folder, beside those that have records.
    """
    data, artifacts, records = store.locate("data"), store.artifacts, store.records
    named = {*stages, *(path.name for path in (records.iterdir() if records.is_dir() else ()))} - RECORDS_APART
    apart = [*(artifacts / name for name in sorted(APART)), *(records / name for name in sorted(RECORDS_APART))]
    for folder in (*apart, *(place / name for name in sorted(named) for place in (data, artifacts, records))):
        if folder.is_symlink():
            yield folder

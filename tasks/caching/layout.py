"""The folders of a store have to be folders, and its own: neither a link nor another store may take a run's parts away.

Only data/ and artifacts/ as a whole may be links, to another disk.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from tasks.caching.contents import APART, OWNER
from tasks.caching.store import Store, UnusableFileError, read_file, replace_file

#: Folders in artifacts/records that hold no records of a stage.
RECORDS_APART = {"last", "locks"}


class LayoutError(Exception):
    """A folder of the store is a link, or belongs to another store; the message says what to do."""


def require_own_folders(store: Store, stages: Collection[str] = ()) -> None:
    """Checks that the folders of a store are no links, and that no other store has its data/.

    Args:
        store: to be worked in.
        stages: that are to run, beside those that have run before.

    Raises:
        LayoutError: one of them is, or does.
    """
    for folder in linked_folders(store, stages):
        raise LayoutError(f"{store.relative(folder)} {LINKED}")
    if owner := other_owner(store):
        raise LayoutError(
            f"{store.locate('data')} has the tables of another store, {owner}, and neither knows what the other needs: "
            f"give each store a data/ of its own, or remove data/{OWNER} if that store is gone"
        )


LINKED = (
    "is a link in the place of a folder: move what it leads to there. Of a store, only data/ and artifacts/ as a whole "
    "may be links to another disk"
)


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


def own_data(store: Store) -> None:
    """Notes in data/ which store it belongs to, durably, before anything is published there.

    Raises:
        LayoutError: it belongs to another store.
    """
    require_own_folders(store)
    if noted_owner(store) != store.root:
        store.locate("data").mkdir(parents=True, exist_ok=True)
        replace_file(store.locate("data") / OWNER, f"{store.root}\n".encode())


def noted_owner(store: Store) -> Path | None:
    """The root of the store that data/ belongs to, as far as it is noted.

    Raises:
        LayoutError: the note cannot be read.
    """
    try:
        root = Path(read_file(store.locate("data") / OWNER).decode().removesuffix("\n"))
        if not root.is_absolute():
            raise ValueError("is no absolute path")
        root.resolve()
    except FileNotFoundError:
        return None
    except (UnusableFileError, OSError, ValueError) as error:
        raise LayoutError(
            f"data/{OWNER} does not say which store data/ belongs to: remove it if no other has its tables there"
        ) from error
    return root


def other_owner(store: Store) -> Path | None:
    """The root of another store that has its tables in the same data/; not one that was moved, or has its own since."""
    root = noted_owner(store)
    if root is None or root == store.root:
        return None
    other = Store(root)
    shared = other.locate("data") == store.locate("data") and other.artifacts != store.artifacts
    return root if shared else None

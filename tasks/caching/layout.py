"""The folders of a store have to be folders, and its own: neither a link nor another store may take a run's parts away.

Only data/ and artifacts/ as a whole may be links, to another disk.
"""

import fcntl
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.caching.contents import APART, OWNER
from tasks.caching.store import Store, UnusableFileError, ensure_folder, locked_folder, read_file, replace_file

#: Folders in artifacts/records that hold no records of a stage.
RECORDS_APART = {"last", "locks"}


#: What is wrong with a link in the place of a folder, and what to do.
LINKED = (
    "is a link in the place of a folder: move what it leads to there. Of a store, only data/ and artifacts/ as a whole "
    "may be links to another disk"
)


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


@dataclass(frozen=True)
class Note:
    """What is noted in data/ of the store that has its tables there.

    Attributes:
        root: of the store.
        artifacts: the identity of its artifacts/, whose runs and records name the tables.
    """

    root: Path
    artifacts: str


def own_data(store: Store) -> None:
    """Notes in data/ which store, and which artifacts/, it belongs to, durably, before anything is published there.

    Raises:
        LayoutError: it belongs to another store.
    """
    require_own_folders(store)
    for top in (store.artifacts, store.locate("data")):
        ensure_folder(top)
    with locked_folder(store.artifacts, fcntl.LOCK_EX):  # of two first runs, both would give it an identity
        if not (identity := artifacts_identity(store)):
            identity = uuid.uuid4().hex
            replace_file(store.artifacts / OWNER, f"{identity}\n".encode())
        before = read_note(store)
        # Where another artifacts/ was there before, it stays noted: it may be back.
        note = Note(store.root, identity if before is None else before.artifacts)
        if note != before:
            replace_file(store.locate("data") / OWNER, f"{note.root}\n{note.artifacts}\n".encode())


def require_own_artifacts(store: Store) -> None:
    """Checks that artifacts/ is the one with which the tables in data/ were made: its disk may be away.

    Raises:
        LayoutError: it is not.
    """
    note = read_note(store)
    if note is not None and note.artifacts != artifacts_identity(store):
        raise LayoutError(
            "artifacts/ is not the one with which the tables in data/ were made, whose runs may need them: bring that "
            f"back, such as its disk, or remove data/{OWNER} if it is gone for good"
        )


def artifacts_identity(store: Store) -> str:
    """What tells an artifacts/ from any other; empty if that is not noted yet."""
    try:
        return read_file(store.artifacts / OWNER).decode(errors="replace").strip()
    except FileNotFoundError:
        return ""
    except UnusableFileError as error:
        raise LayoutError(f"artifacts/{OWNER} cannot be read ({error}): move it out of the way") from error


def read_note(store: Store) -> Note | None:
    """What is noted in data/, if anything.

    Raises:
        LayoutError: the note cannot be read.
    """
    try:
        root, artifacts = read_file(store.locate("data") / OWNER).decode().splitlines()
        if not Path(root).is_absolute():
            raise ValueError("is no absolute path")
        Path(root).resolve()
    except FileNotFoundError:
        return None
    except (UnusableFileError, OSError, ValueError) as error:
        raise LayoutError(
            f"data/{OWNER} does not say which store data/ belongs to: remove it if no other has its tables there"
        ) from error
    return Note(Path(root), artifacts)


def other_owner(store: Store) -> Path | None:
    """The root of another store that has its tables in the same data/; not one that was moved, or has its own since."""
    note = read_note(store)
    if note is None or note.root == store.root:
        return None
    other = Store(note.root)
    shared = other.locate("data") == store.locate("data") and other.artifacts != store.artifacts
    return note.root if shared else None

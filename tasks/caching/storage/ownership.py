"""Which artifacts/ own the tables in data/: those whose runs and records name them.

Each artifacts/ folder has an identity, in artifacts/.store. Together with the inode of that file, it distinguishes the
folder from all others, copies included. data/.store lists every artifacts/ that published tables there: the tables of
one that is unmounted, or that was copied or moved to another disk, look like garbage to the others. So nothing is
collected unless the present artifacts/ is the only one listed.
"""

import json
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.caching.locking.lock import locked_folder
from tasks.caching.storage.contents import OWNER
from tasks.caching.storage.durable import (
    ensure_folder,
    fsync_folder,
    replace_file,
    temporary_file,
    write_durably,
)
from tasks.caching.storage.layout import LayoutError, require_folders
from tasks.caching.storage.store import Store, UnusableFileError, read_file
from tasks.caching.storage.strict_json import parse_object


@dataclass(frozen=True)
class Owner:
    """An artifacts/ folder that published tables.

    Attributes:
        artifacts: its identity, 32 hexadecimal digits.
        file: the inode of the file with its identity; None in a note of an older version, which did not have it.
        root: of its store, when it last published.
    """

    artifacts: str
    file: int | None
    root: Path


@dataclass(frozen=True)
class Note:
    """The owners that data/.store lists.

    Attributes:
        owners: all that have published there.
        is_copied: whether the file is not the one that was written: data/ was copied, or moved to another disk.
    """

    owners: tuple[Owner, ...] = ()
    is_copied: bool = False

    def is_own(self, owner: Owner, artifacts: Owner) -> bool:
        """Whether a listed owner is the present artifacts/; also true if both folders were copied."""
        same_file = owner.file in {None, artifacts.file} or self.is_copied
        return owner.artifacts == artifacts.artifacts and same_file

    def is_original(self, owner: Owner, artifacts: Owner) -> bool:
        """Whether the present artifacts/ is a copy of a listed owner."""
        return owner.artifacts == artifacts.artifacts and not self.is_own(owner, artifacts)


def own_data(store: Store) -> None:
    """Lists the store's artifacts/ in data/.store as an owner, durably, before anything is published.

    Raises:
        LayoutError: another store has its tables there, or a folder of the store is a link.
    """
    require_own_data(store)
    require_folders(store)
    for top in (store.artifacts, store.locate("data")):
        ensure_folder(top)
    # Locked, since two first runs at once would both give artifacts/ an identity.
    with locked_folder(store.artifacts), locked_folder(store.locate("data")):
        note = read_note(store) or Note()
        own = read_artifacts(store) or name_artifacts(store)
        if any(note.is_original(owner, own) for owner in note.owners):
            own = name_artifacts(store)
        owners = (*(owner for owner in note.owners if not note.is_own(owner, own)), own)
        if owners != note.owners or note.is_copied:
            write_note(store, owners)


def require_own_data(store: Store) -> None:
    """Checks that no other store that exists now has its tables in the same data/.

    Raises:
        LayoutError: another store has.
    """
    for owner in (read_note(store) or Note()).owners:
        other = Store(owner.root)
        if other.locate("data") == store.locate("data") and other.artifacts != store.artifacts:
            raise LayoutError(
                f"{store.locate('data')} has the tables of another store, {owner.root}, and neither knows what the "
                f"other needs: give each store its own data/, or remove data/{OWNER} if that store is gone"
            )


def require_sole_owner(store: Store) -> None:
    """Checks that the present artifacts/ is the only owner of the tables in data/.

    Raises:
        LayoutError: it is not listed, or others are listed too.
    """
    note, own = read_note(store), read_artifacts(store)
    if note is None:
        return
    if own is None or not any(note.is_own(owner, own) for owner in note.owners):
        raise LayoutError(
            "artifacts/ is not the folder that the tables in data/ were made with, or is a copy of it, and the runs of "
            f"that one may need them: bring it back, for example by mounting its disk, or remove data/{OWNER} if it "
            "is gone for good"
        )
    if others := [owner for owner in note.owners if not note.is_own(owner, own)]:
        places = ", ".join(sorted({str(owner.root / "artifacts") for owner in others}))
        raise LayoutError(
            f"tables in data/ were also made with another artifacts/, which was at {places}, and its runs may need "
            f"them: give each its own data/, or remove data/{OWNER} if that one is gone for good, for example what a "
            "run left at the mount point of a disk that was not mounted"
        )


def read_artifacts(store: Store) -> Owner | None:
    """The present artifacts/ as an owner; None if it has no identity yet.

    Raises:
        LayoutError: the identity cannot be read.
    """
    path = store.artifacts / OWNER
    try:
        return Owner(read_file(path).decode(errors="replace").strip(), path.stat().st_ino, store.root)
    except FileNotFoundError:
        return None
    except UnusableFileError as error:
        raise LayoutError(f"artifacts/{OWNER} cannot be read ({error}): move it out of the way") from error


def name_artifacts(store: Store) -> Owner:
    """Gives artifacts/ a new identity."""
    path = store.artifacts / OWNER
    replace_file(path, f"{uuid.uuid4().hex}\n".encode())
    return Owner(path.read_text().strip(), path.stat().st_ino, store.root)


def read_note(store: Store) -> Note | None:
    """The owners listed in data/.store; None if there is no such file.

    Raises:
        LayoutError: the file cannot be read.
    """
    path = store.locate("data") / OWNER
    try:
        content, file = read_file(path), path.stat().st_ino
        if not content.startswith(b"{"):  # of an older version: one root and one identity, a line each
            root, artifacts = content.decode().splitlines()
            return Note((Owner(artifacts, None, absolute(root)),))
        fields = parse_object(content)
        owners = tuple(Owner(owner["artifacts"], owner["file"], absolute(owner["root"])) for owner in fields["owners"])
        return Note(owners, is_copied=fields["file"] != file)
    except FileNotFoundError:
        return None
    except (UnusableFileError, OSError, ValueError, KeyError, TypeError) as error:
        raise LayoutError(
            f"data/{OWNER} does not say which store data/ belongs to: remove it if no other store has tables there"
        ) from error


def absolute(root: str) -> Path:
    """The root of a store, as data/.store has it.

    Raises:
        ValueError: it is not an absolute path.
    """
    path = Path(root)
    if not path.is_absolute():
        raise ValueError("is not an absolute path")
    path.resolve()
    return path


def write_note(store: Store, owners: Iterable[Owner]) -> None:
    """Writes the owners to data/.store, together with the inode of that file."""
    path = store.locate("data") / OWNER
    with temporary_file(path.parent) as temporary:
        entries = [asdict(owner) | {"root": str(owner.root)} for owner in owners]
        write_durably(
            temporary,
            lambda file: file.write(
                json.dumps({"file": temporary.stat().st_ino, "owners": entries}, indent=2).encode() + b"\n"
            ),
        )
        temporary.replace(path)
    fsync_folder(path.parent)

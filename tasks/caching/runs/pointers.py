"""Pointers: links beside the run folders to the newest run, `latest`, and to that of each experiment, `line-latest`."""

import re
from pathlib import Path

from tasks.caching.storage.durable import replace_link
from tasks.caching.storage.store import Store
from tasks.limits import NAME

#: The pointer to the last successful run of any experiment; NAME-latest points to that of one experiment.
LATEST = "latest"


class PointerError(Exception):
    """A file or a folder is in the place of a pointer."""


def pointers(experiment: str) -> tuple[str, str]:
    """The names of the pointers that a run of an experiment sets."""
    return LATEST, f"{experiment}-{LATEST}"


def is_pointer(name: str) -> bool:
    """Whether a name is a pointer's; no run has such a name."""
    return name == LATEST or re.fullmatch(rf"{NAME}-{LATEST}", name) is not None


def require_pointers(experiment: str, store: Store) -> None:
    """Checks that the pointers of an experiment can be set.

    Raises:
        PointerError: one cannot; the message says what to do.
    """
    for pointer in pointers(experiment):
        require_link(store.runs / pointer)


def require_link(path: Path) -> None:
    """Checks that a path is a link, or does not exist.

    Raises:
        PointerError: a file or a folder is in the way; the message says what to do.
    """
    if not path.is_symlink() and path.exists():
        kind = "folder" if path.is_dir() else "file"
        raise PointerError(
            f"{path} is a {kind} in the place of a pointer to the newest run: "
            "`workflow check --repair` moves it out of the way"
        )


def point(pointer: str, folder: Path, store: Store) -> None:
    """Points a pointer to a run folder, atomically.

    Raises:
        PointerError: a file or a folder is in its place.
    """
    link = store.runs / pointer
    require_link(link)
    if not link.is_symlink() or link.readlink() != Path(folder.name):
        replace_link(link, folder.name)


def what_is_wrong(pointer: Path, store: Store) -> str:
    """Describes what is wrong with a pointer; empty if it leads to a run of the store."""
    if not pointer.is_symlink():
        return "is in the place of a pointer to the newest run"
    if not pointer.exists():
        return "points to a run that is gone"
    if not pointer.is_dir() or pointer.resolve().parent != store.runs:
        return "points to something that is not a run of this store"
    return ""

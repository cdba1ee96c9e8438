"""The contents of a store's folders, and the names that the store uses."""

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from tasks.caching.storage.reference import SHA256
from tasks.caching.storage.store import TOPS, Store
from tasks.limits import FILE, RUN

#: Names that the store uses for files and folders, temporary ones included. Anything else is foreign.
KNOWN_NAME = re.compile(rf"{FILE}|\.tmp-[A-Za-z0-9]+")

ARTIFACT_NAME = re.compile(rf".+-(?P<digest>{SHA256})\.(?P<kind>[a-z0-9]+)")

RUN_NAME = re.compile(RUN)

#: Levels below data/ and artifacts/ where there can be temporary files: states/STAGE/KEY/.tmp-1 is the deepest.
DEEPEST = 4

#: Folders in artifacts/ that are not those of stages.
RESERVED = {"records", "runs", "saved", "states", "history", "set-aside", "example"}

#: The file in data/ and in artifacts/ that says to which store they belong; see `tasks.caching.storage.layout`.
OWNER = ".store"

#: Files that the store does not create, but that belong there.
SHIPPED = {"README.md", ".gitkeep", ".gitignore", OWNER}


def artifact_files(
    store: Store, on_foreign: Callable[[Path], object] = lambda path: None
) -> Iterator[tuple[Path, str]]:
    """Every file in the folders of stages, whatever it is, with its path relative to the root; see `files`."""
    for path in (folder for top in TOPS for folder in files(store.locate(top), 2, on_foreign)):
        relative = store.relative(path)
        if (relative.parts[0] != "artifacts" or relative.parts[1] not in RESERVED) and path.name not in SHIPPED:
            yield path, str(relative)


def files(folder: Path, levels: int = 0, on_foreign: Callable[[Path], object] = lambda path: None) -> Iterator[Path]:
    """Every file below a folder, sorted; links are listed and never followed.

    Args:
        folder: need not exist.
        levels: the depth of the files, if known: a folder at that depth is listed as a file.
        on_foreign: called with each file or folder that has a foreign name, which is not listed.

    Raises:
        NotADirectoryError: the folder is a link.
    """
    if folder.is_symlink():
        raise NotADirectoryError(errno.ENOTDIR, "Is a link", str(folder))
    waiting = [(path, levels) for path in list_folder(folder)]
    while waiting:
        path, left = waiting.pop()
        if not is_known_name(path.name):
            on_foreign(path)
        elif left != 1 and is_folder(path):
            waiting += [(inner, left - 1) for inner in list_folder(path)]
        else:
            yield path


def saved_runs(store: Store) -> set[str]:
    """The names of the runs that were saved and not removed since."""
    return {path.name for path in files(store.saved, 1) if RUN_NAME.fullmatch(path.name)}


def temporaries(store: Store) -> Iterator[str]:
    """The paths of all temporary files and folders, relative to the root, except in artifacts/set-aside."""
    waiting = [(path, DEEPEST) for top in reversed(TOPS) for path in list_folder(store.locate(top))]
    while waiting:
        path, left = waiting.pop()
        if path.name.startswith(".tmp-"):
            yield str(store.relative(path))
        elif left > 1 and is_known_name(path.name) and path.name != "set-aside" and is_folder(path):
            waiting += [(inner, left - 1) for inner in list_folder(path)]


def is_folder(path: Path) -> bool:
    """Whether a path is a folder, and not a link to one. Unlike Path.is_dir, accepts a path of any length."""
    return os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112, PTH114


def list_folder(folder: Path) -> list[Path]:
    """The entries of a folder in reverse order; none if it is gone, or if its path is too long to be opened."""
    try:
        return sorted(folder.iterdir(), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return []
        raise


def is_known_name(name: str) -> bool:
    """Whether a name is one that the store uses, or that of a file which ships with the project."""
    return name in SHIPPED or KNOWN_NAME.fullmatch(name) is not None


def is_published(path: str) -> bool:
    """Whether the store publishes to a path relative to the root: an artifact of a stage, or a file of a run."""
    top, *folders = PurePosixPath(path).parts
    if folders[:1] == ["runs"]:
        return top == "artifacts" and len(folders) > 2
    return (
        top in TOPS and len(folders) == 2 and folders[0] not in RESERVED and bool(ARTIFACT_NAME.fullmatch(folders[1]))
    )


def artifacts_in(settings: Iterable[object]) -> set[str]:
    """The artifacts, relative to the root, that settings name by an absolute path, such as a table to be read.

    They are not looked for: the path of another store may end in the same way, and then one artifact more is named.
    """
    texts = (setting for setting in settings if isinstance(setting, str) and setting.startswith("/"))
    ends = {"/".join(PurePosixPath(text).parts[-3:]) for text in texts}
    return {end for end in ends if is_published(end)}

"""What lies in the folders of a store, and by which names the store knows its own."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from tasks.caching.reference import SHA256
from tasks.caching.store import TOPS, Store
from tasks.limits import FILE

#: The names that the store gives to files and folders, and those that it gives to temporaries.
GIVEN = re.compile(rf"{FILE}|\.tmp-[A-Za-z0-9]+")

ARTIFACT_NAME = re.compile(rf".+-(?P<digest>{SHA256})\.(?P<kind>[a-z0-9]+)")

#: How deep in data/ or artifacts/ a temporary can lie: states/STAGE/KEY/.tmp-1.
DEEPEST = 4

#: Folders in artifacts/ that hold no artifacts of a stage, and what ships with the project.
APART = {"records", "runs", "states", "history", "set-aside", "example"}
SHIPPED = {"README.md", ".gitkeep", ".gitignore"}


def artifact_files(
    store: Store, on_foreign: Callable[[Path], object] = lambda path: None
) -> Iterator[tuple[Path, str]]:
    """Every file where artifacts of stages lie, with its path relative to the root, whatever it may be; see `files`."""
    for path in (folder for top in TOPS for folder in files(store.locate(top), 2, on_foreign)):
        relative = store.relative(path)
        if (relative.parts[0] != "artifacts" or relative.parts[1] not in APART) and path.name not in SHIPPED:
            yield path, str(relative)


def files(folder: Path, levels: int = 0, on_foreign: Callable[[Path], object] = lambda path: None) -> Iterator[Path]:
    """Everything below a folder that is no folder itself, sorted; links are told and never followed.

    Args:
        folder: it need not be there.
        levels: how deep the files belong, if known: there a folder counts as a file, whose place it takes.
        on_foreign: told of each file and folder with a name that the store does not give, in which nothing is looked
            at.

    Raises:
        NotADirectoryError: the folder is a link.
    """
    if folder.is_symlink():
        raise NotADirectoryError(errno.ENOTDIR, "Is a link", str(folder))
    waiting = [(path, levels) for path in listed(folder)]
    while waiting:
        path, left = waiting.pop()
        if not is_given(path.name):
            on_foreign(path)
        elif left != 1 and is_folder(path):
            waiting += [(inner, left - 1) for inner in listed(path)]
        else:
            yield path


def temporaries(store: Store) -> Iterator[str]:
    """The path of every file and folder that has not got its name yet; of those that were set aside, none."""
    waiting = [(path, DEEPEST) for top in reversed(TOPS) for path in listed(store.locate(top))]
    while waiting:
        path, left = waiting.pop()
        if path.name.startswith(".tmp-"):
            yield str(store.relative(path))
        elif left > 1 and is_given(path.name) and path.name != "set-aside" and is_folder(path):
            waiting += [(inner, left - 1) for inner in listed(path)]


def is_folder(path: Path) -> bool:
    """Whether a folder lies at a path, and no link to one; unlike Path.is_dir, it takes a path of any length."""
    return os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112, PTH114


def listed(folder: Path) -> list[Path]:
    """What lies in a folder, in reverse order; nothing if it is gone, or is deeper than any path can tell."""
    try:
        return sorted(folder.iterdir(), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return []
        raise


def is_given(name: str) -> bool:
    """Whether the store gives such names, to files or to temporaries, or the project ships something of that name."""
    return name in SHIPPED or GIVEN.fullmatch(name) is not None


def is_published(path: str) -> bool:
    """Whether a path relative to the root is one at which the store publishes artifacts, of a stage or of a run."""
    top, *folders = PurePosixPath(path).parts
    if folders[:1] == ["runs"]:
        return top == "artifacts" and len(folders) > 2
    return top in TOPS and len(folders) == 2 and folders[0] not in APART and bool(ARTIFACT_NAME.fullmatch(folders[1]))

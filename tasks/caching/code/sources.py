"""The project's code as this process runs it: each file is read once, for the key of a stage and for Python alike.

A key that is made of a file as it is now may stand for code that was imported before an edit, or be followed by an
import after one. Here the first to ask for a file, a key or an import, reads it, and all later ones get the same bytes.
So the code that runs is the code in the key, whatever happens to the files meanwhile.

Python imports through a finder of ours (`install`), which stands before the usual one and leaves to it all that is not
edited with the project. Bytecode is kept with the hash of its source (PEP 552): an edit that keeps the size and
the time of a file is an edit.
"""

import errno
import functools
import sys
import sysconfig
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader, SourcelessFileLoader
from importlib.util import MAGIC_NUMBER, find_spec, source_hash, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

#: The folder that holds the project's packages.
PROJECT = Path(__file__).resolve().parents[3]

#: Folders of that name hold installed packages, and a virtual environment may lie in the project.
INSTALLED = frozenset({"site-packages", "dist-packages"})

#: The folders of the standard library.
STANDARD = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))

#: The modules that are imported before the finder is there, since they bring it.
BEFORE = frozenset({"flows", "tasks", "tasks.caching", "tasks.caching.code", __name__})

#: What tells bytecode that is kept with the hash of its source, which is checked; see PEP 552.
CHECKED_HASH = (0b11).to_bytes(4, "little")

#: Bytes before the bytecode in a file: a magic number, flags, and eight of either time and size or a hash.
HEADER = 16


#: Where the modules lie of which keys were made, by name: there they are imported from, wherever a module of that name
#: is found by then. A module that becomes a package, or another file, while a process runs is not what its keys say.
_places: dict[str, Path] = {}


def source_of(path: Path) -> bytes:
    """The bytes of a file of the project, as they were when this process first asked for them, by whichever path.

    Raises:
        OSError: it cannot be read.
    """
    return _read_once(path.resolve())


@functools.cache
def _read_once(path: Path) -> bytes:
    return path.read_bytes()


def pin_place(name: str, path: Path) -> None:
    """Has a module imported from the file of which a key is made: its source is in memory, even if the file is gone."""
    if path.suffix == ".py":
        _places.setdefault(name, path)


def is_project_code(path: Path) -> bool:
    """Whether a file is edited with the project: it lies in its folder, or elsewhere, and was not installed there.

    Elsewhere lie editable installs, and what `PYTHONPATH` names.
    """
    if path.is_relative_to(PROJECT):
        return INSTALLED.isdisjoint(path.relative_to(PROJECT).parts)
    return INSTALLED.isdisjoint(path.parts) and not any(path.is_relative_to(folder) for folder in STANDARD)


def edited_elsewhere(name: str) -> Path | None:
    """Where a module or a package of one word lies, without an ending, that is edited with the project elsewhere."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):  # a module that is not imported as others are
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        place = Path(next(iter(spec.submodule_search_locations)))
    elif spec.origin and spec.origin.endswith(".py"):
        place = Path(spec.origin).with_suffix("")
    else:
        return None
    return place.resolve() if is_project_code(place.resolve()) else None


class PinnedLoader(SourceFileLoader):
    """Runs a module from the bytes that its key is made of."""

    @functools.cached_property
    def source(self) -> bytes:
        """Of the module, as this process read it first."""
        return source_of(Path(self.path))

    def get_data(self, path: str) -> bytes:
        """The bytes of a file.

        Raises:
            OSError: it is bytecode that was not made of this source, or does not say what it was made of. Python itself
                would believe some of it: what says that it need not be checked, or all of it with an option.
        """
        if path == self.path:
            return self.source
        data = super().get_data(path)
        if data[:HEADER] != self.header:
            raise OSError(errno.EINVAL, "Is bytecode of another source", path)
        return data

    @property
    def header(self) -> bytes:
        """With what the bytecode of this source begins."""
        return MAGIC_NUMBER + CHECKED_HASH + source_hash(self.source)

    def path_stats(self, path: str) -> dict[str, Any]:
        """A time and a size that no file has: bytecode that is kept with these is never believed."""
        return {"mtime": -1, "size": -1}

    def set_data(self, path: str, data: Any, **options: Any) -> None:
        """Keeps bytecode, with the hash of its source in place of the time and the size."""
        super().set_data(path, self.header + data[HEADER:], **options)


class ProjectFinder(MetaPathFinder):
    """Finds modules where keys say, others where the finders after it do; gives the project's a `PinnedLoader`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a module is, and what loads it; None if no finder knows it."""
        if (place := _places.get(fullname)) is not None:
            return spec_from_file_location(fullname, place, loader=PinnedLoader(fullname, str(place)))
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                return pinned(spec)
        return None


def imported_otherwise(name: str) -> bool:
    """Whether this process imported a module without a `PinnedLoader`, from what its file held then."""
    if name in BEFORE:
        return False
    loader = getattr(getattr(sys.modules.get(name), "__spec__", None), "loader", None)
    return isinstance(loader, SourceFileLoader | SourcelessFileLoader) and not isinstance(loader, PinnedLoader)


def pinned(spec: ModuleSpec) -> ModuleSpec:
    """A spec whose loader is ours, if it is that of a source file of the project.

    Other hooks, such as beartype's, have Python take loaders of their own, which read the file once more.
    """
    if isinstance(spec.loader, SourceFileLoader) and spec.origin and lies_in_project(Path(spec.origin)):
        spec.loader = PinnedLoader(spec.name, spec.origin)
    return spec


def lies_in_project(file: Path) -> bool:
    """Whether a file is project code; asked of a thousand modules, most of which share their folders."""
    if file.is_symlink():
        return is_project_code(file.resolve())
    return _holds_project_code(file.parent)


@functools.cache
def _holds_project_code(folder: Path) -> bool:
    return is_project_code(folder.resolve())


def install() -> None:
    """Has Python import the project's modules from what `source_of` read; once for the process."""
    if not any(isinstance(finder, ProjectFinder) for finder in sys.meta_path):
        place = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
        sys.meta_path.insert(place, ProjectFinder())

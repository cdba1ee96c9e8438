"""The project's code as this process runs it: each file is read once, for both keys and imports.

If files were read whenever they are needed, a key could be made from a file that was edited after its import, or
before it. Here whichever comes first, a key or an import, reads the file, and all later ones get the same bytes. So the
code that runs is the code in the key, whatever happens to the files meanwhile.

Python imports through the project's finder (`install`), which comes before the usual one and leaves to it all that is
not project code. Bytecode is cached with the hash of its source (PEP 552), so that an edit is noticed even if it keeps
the size and the time of the file.
"""

import errno
import functools
import sys
import sysconfig
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    ExtensionFileLoader,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import MAGIC_NUMBER, find_spec, source_hash, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

#: The folder that contains the project's packages.
PROJECT = Path(__file__).resolve().parents[3]

#: Names of folders with installed packages; a virtual environment may lie in the project.
INSTALLED = frozenset({"site-packages", "dist-packages"})

#: The folders of the standard library.
STANDARD = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))

#: The modules that are imported before the finder is installed, since they install it.
BEFORE = frozenset({"flows", "tasks", "tasks.caching", "tasks.caching.code", __name__})

#: The flags of bytecode that has the hash of its source, which is to be checked; see PEP 552.
CHECKED_HASH = (0b11).to_bytes(4, "little")

#: Bytes before the bytecode in a file: a magic number, flags, and eight bytes of time and size, or of a hash.
HEADER = 16


#: The files of modules that keys were made from, by the modules' names. They are imported from there, even if a module
#: of that name is found elsewhere by then, for example because it became a package while the process was running.
_places: dict[str, Path] = {}

#: Names under which keys sought a module and found none: no module is imported under them later.
_absent: set[str] = set()


def source_of(path: Path) -> bytes:
    """The bytes of a project file, as they were when this process first read it, by whichever path.

    Raises:
        OSError: it cannot be read.
    """
    return _read_once(path.resolve())


@functools.cache
def _read_once(path: Path) -> bytes:
    return path.read_bytes()


def pin_place(name: str, path: Path) -> None:
    """Pins a module to the file that a key is made from: its code is in memory, even if the file is removed."""
    _places.setdefault(name, path)


def pin_absent(name: str) -> None:
    """Pins that a module does not exist: the code that a key was made from takes what it does without it."""
    if name not in sys.modules:
        _absent.add(name)


def is_project_code(path: Path) -> bool:
    """Whether a file is project code: in the project's folder or elsewhere, but not installed and not Python's own.

    Elsewhere are editable installs, and the folders in `PYTHONPATH`.
    """
    if path.is_relative_to(PROJECT):
        return INSTALLED.isdisjoint(path.relative_to(PROJECT).parts)
    return INSTALLED.isdisjoint(path.parts) and not any(path.is_relative_to(folder) for folder in STANDARD)


def edited_elsewhere(name: str) -> tuple[Path, ...]:
    """The paths, without a suffix, of a top-level module or package that is project code outside the project.

    They are several for a package without `__init__.py` that lies in several folders.
    """
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):  # a module without a spec, such as `__main__`
        return ()
    if spec is None:
        return ()
    if spec.submodule_search_locations:
        places = [Path(folder).resolve() for folder in spec.submodule_search_locations]
    elif spec.origin and spec.has_location:
        places = [(Path(spec.origin).parent / name).resolve()]
    else:
        places = []
    return tuple(dict.fromkeys(filter(is_project_code, places)))


class PinnedLoader(SourceFileLoader):
    """Runs a module from the bytes that keys are made of."""

    @functools.cached_property
    def source(self) -> bytes:
        """The source of the module, as this process first read it."""
        return source_of(Path(self.path))

    def get_data(self, path: str) -> bytes:
        """The bytes of a file.

        Raises:
            OSError: it is bytecode that was not compiled from this source, or does not have its hash. Python itself
                would accept some of it: unchecked bytecode, and with an option all of it.
        """
        if path == self.path:
            return self.source
        data = super().get_data(path)
        if data[:HEADER] != self.header:
            raise OSError(errno.EINVAL, "Is bytecode of another source", path)
        return data

    @property
    def header(self) -> bytes:
        """The header of this source's bytecode."""
        return MAGIC_NUMBER + CHECKED_HASH + source_hash(self.source)

    def path_stats(self, path: str) -> dict[str, Any]:
        """A time and a size that no file has, so that bytecode with a time and a size is never accepted."""
        return {"mtime": -1, "size": -1}

    def set_data(self, path: str, data: Any, **options: Any) -> None:
        """Writes bytecode, with the hash of its source instead of the time and the size."""
        super().set_data(path, self.header + data[HEADER:], **options)


def state_of(path: Path) -> tuple[int, int, int]:
    """What the file system says of a file, which changes when it is written or replaced."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns


class PinnedBytecodeLoader(SourcelessFileLoader):
    """Likewise, runs a module that has no source."""

    def get_data(self, path: str) -> bytes:
        """The bytes of the module, as this process first read them."""
        return source_of(Path(path))


class PinnedExtensionLoader(ExtensionFileLoader):
    """Loads a compiled module if its file still has the bytes that keys are made of: only the system can load it."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Loads the module.

        Raises:
            ImportError: the file was replaced, before or while it was loaded.
        """
        path = Path(self.path)
        expected, before = source_of(path), state_of(path)
        if path.read_bytes() == expected:
            module = super().create_module(spec)
            if state_of(path) == before:
                return module
        raise ImportError(
            f"{path} was replaced after a stage's key was made from it: run again", name=spec.name, path=self.path
        )


#: The loaders of Python, and those that keep to the bytes that keys are made of.
UNPINNED = (SourceFileLoader, SourcelessFileLoader, ExtensionFileLoader)
PINNED = (PinnedLoader, PinnedBytecodeLoader, PinnedExtensionLoader)


class ProjectFinder(MetaPathFinder):
    """Finds pinned modules in their files, others with later finders; loads project code with a `PinnedLoader`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module; None if no finder knows it."""
        if (place := _places.get(fullname)) is not None:
            return spec_from_file_location(fullname, place, loader=pinned_loader(fullname, str(place)))
        if fullname in _absent:
            raise ModuleNotFoundError(
                f"{fullname} did not exist when a stage's key was made from the code", name=fullname
            )
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                return pinned(spec)
        return None


def imported_otherwise(name: str) -> bool:
    """Whether this process imported a module without a `PinnedLoader`, from what its file contained then."""
    if name in BEFORE:
        return False
    loader = getattr(getattr(sys.modules.get(name), "__spec__", None), "loader", None)
    return isinstance(loader, UNPINNED) and not isinstance(loader, PINNED)


def pinned(spec: ModuleSpec) -> ModuleSpec:
    """A spec whose loader keeps to the bytes that keys are made of, if it is that of a file of the project.

    Import hooks such as beartype's use loaders of their own, which read the file again.
    """
    if isinstance(spec.loader, UNPINNED) and spec.origin and lies_in_project(Path(spec.origin)):
        spec.loader = pinned_loader(spec.name, spec.origin)
    return spec


def pinned_loader(name: str, path: str) -> PinnedLoader | PinnedBytecodeLoader | PinnedExtensionLoader:
    """The loader of a project file."""
    if path.endswith(tuple(EXTENSION_SUFFIXES)):
        return PinnedExtensionLoader(name, path)
    return PinnedBytecodeLoader(name, path) if path.endswith(tuple(BYTECODE_SUFFIXES)) else PinnedLoader(name, path)


def lies_in_project(file: Path) -> bool:
    """Whether a file is project code; fast for a thousand modules, most of which share their folders."""
    if file.is_symlink():
        return is_project_code(file.resolve())
    return _holds_project_code(file.parent)


@functools.cache
def _holds_project_code(folder: Path) -> bool:
    return is_project_code(folder.resolve())


def install() -> None:
    """Installs the finder, so that Python imports the project's modules from what `source_of` read; once a process."""
    if not any(isinstance(finder, ProjectFinder) for finder in sys.meta_path):
        place = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
        sys.meta_path.insert(place, ProjectFinder())

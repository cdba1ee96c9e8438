"""Where the modules of the project lie: a name is looked up as Python does, without importing anything."""

import os
import sys
from collections.abc import Iterator
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES
from pathlib import Path

from tasks.caching.code.sources import INSTALLED, edited_elsewhere

#: The packages that are project code where the project is installed among other packages.
PACKAGES = ("flows", "tasks")

#: Suffixes of module files, in the order in which Python looks for them. Of one that is not source, all bytes count.
SUFFIXES = (*EXTENSION_SUFFIXES, ".py", *BYTECODE_SUFFIXES)


class Locator:
    """Finds the files of modules, each name once.

    Args:
        project: the folder that contains the project's packages.
    """

    def __init__(self, project: Path) -> None:
        self.project = project
        self.located: dict[str, tuple[tuple[str, Path], ...]] = {}
        self._listed: dict[Path, frozenset[str]] = {}
        self._tops: dict[str, tuple[Path, ...]] = {}

    def files(self, name: str) -> tuple[tuple[str, Path], ...]:
        """The modules that importing `name` runs, with their files: its packages and itself, if it is project code."""
        if name not in self.located:
            package, _, _ = name.rpartition(".")
            found = self._find_file(name)
            self.located[name] = (*(self.files(package) if package else ()), *(((name, found),) if found else ()))
        return self.located[name]

    def is_module(self, name: str) -> bool:
        """Whether a dotted name is that of a project module."""
        return any(found == name for found, _ in self.files(name))

    def submodules(self, name: str) -> Iterator[str]:
        """The full names of the modules and packages in a package; none if it is a module."""
        top, *inner = name.split(".")
        for place in self._top(top):
            stems = {entry.partition(".")[0] for entry in self._list(place.joinpath(*inner))}
            yield from (f"{name}.{stem}" for stem in sorted(stems) if stem.isidentifier() and stem != "__init__")

    def shown(self, path: Path, name: str) -> str:
        """The path of a module's file as messages show it: relative to the folder of its top-level package."""
        tops = self._top(name.partition(".")[0])
        folder = next((top.parent for top in tops if path.is_relative_to(top.parent)), self.project)
        return path.relative_to(folder).as_posix()

    def _find_file(self, name: str) -> Path | None:
        top, *inner = name.split(".")
        for found in self._top(top):
            place = found.joinpath(*inner)
            for folder, stem in ((place, "__init__"), (place.parent, place.name)):
                listed = self._list(folder)
                for suffix in SUFFIXES:
                    if f"{stem}{suffix}" in listed:
                        return folder / f"{stem}{suffix}"
        return None

    def _list(self, folder: Path) -> frozenset[str]:
        """The names of the entries of a folder; none if there is no such folder."""
        if folder not in self._listed:
            try:
                self._listed[folder] = frozenset(os.listdir(folder))  # noqa: PTH208 (names, which Path would make paths of)
            except (FileNotFoundError, NotADirectoryError):
                self._listed[folder] = frozenset()
        return self._listed[folder]

    def _top(self, name: str) -> tuple[Path, ...]:
        """The paths of a top-level module or package, without suffixes: none if it is not project code.

        A package without `__init__.py` can lie in several folders, which Python searches one after the other.
        """
        if name not in self._tops:
            self._tops[name] = find_top(name, self.project)
        return self._tops[name]


def find_top(name: str, project: Path) -> tuple[Path, ...]:
    """The paths of a top-level module or package, without suffixes: none if it is not project code.

    Args:
        name: of the module or package.
        project: the folder that contains the project's packages.
    """
    place = project / name
    if project.name in INSTALLED:
        return (place,) if name in PACKAGES else ()
    if name in PACKAGES:
        return (place,)
    has_code = (place / "__init__.py").is_file() or place.with_name(f"{name}.py").is_file()
    if name in sys.stdlib_module_names and not has_code:
        return ()
    # Python may find another one of the name first, through PYTHONPATH, and any before a namespace package.
    return edited_elsewhere(name) or ((place,) if has_code or place.is_dir() else ())

"""The fingerprint of a stage's code: hashes that change when project code changes that the stage can reach.

Project code is what lies in the project's folder, and what is imported from elsewhere without having been installed
there, for example from an editable install: people edit both.

The fingerprint is made of definitions. From the stage's function, every name that is read is followed to the statement
that binds it, in this module or another, and so on. Added to these are the statements with side effects, such as a call
or a registration, in every module that is imported on the way, since importing runs them. What cannot be followed (a
module that is passed on as a whole, a star import) counts with all of its module. Dynamic imports by a computed name
are refused.

Two things are left out. The key has the values of the settings that a stage sees, so the declarations of fields and
validators in their classes do not affect results by themselves, and only other methods count
(`tasks.caching.code.reader`). And the machinery of the cache is one number in the key (`tasks.caching.stage.FORMAT`).
"""

import ast
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from tasks.caching.code.closure import Closure, Read
from tasks.caching.code.dynamic import UnseenCodeError
from tasks.caching.code.sources import PROJECT, imported_otherwise, pin_absent, pin_place, source_of
from tasks.caching.code.syntax import Module

#: The packages that install the project's finder, and so are imported before, and what they may do if a stage has them.
STARTING = frozenset({"flows", "tasks"})
START = "from tasks.caching.code.sources import install\ninstall()"

#: The package that is left out.
MACHINERY = "tasks.caching"


def fingerprint(
    module: str,
    name: str = "",
    *,
    settings: Mapping[str, Collection[str]] = MappingProxyType({}),
    loads: Collection[str] = (),
    project: Path = PROJECT,
    read: Read = source_of,
    machinery: str = MACHINERY,
) -> dict[str, str]:
    """Hashes of all project code that affects the result of a function.

    Args:
        module: dotted name of the module that it is in, for example `tasks.train`.
        name: of the function; the whole module counts if it does not define the name.
        settings: full names of the settings classes whose values are in the key, each with the annotated names in it
            that are not: constants, and fields that are excluded.
        loads: modules that are loaded dynamically; the whole modules count.
        project: the folder that contains the project's packages.
        read: returns a file's bytes; by default those that this process runs.
        machinery: the package that is left out.

    Returns:
        A hash of 16 hexadecimal digits by place, for example `tasks/learning/training/loop.py: fit`.

    Raises:
        UnseenCodeError: code is loaded dynamically, and `loads` is empty; or this process imported a module before the
            project's finder was installed.
        ValueError: the module is not project code.
    """
    closure = Closure(project, read, settings, machinery, allows_dynamic=bool(loads))
    if not closure.locator.is_module(module):
        raise ValueError(f"{module} is not a module of this project: a stage must be defined in {project}")
    closure.reach(module, name)
    for name in loads:
        closure.reach_all(name)
    closure.follow_all()
    if read is source_of:
        require_pinned(closure.modules)
        require_plain_start(closure.modules)
        for found, code in closure.modules.items():
            pin_place(found, code.path)
        for sought, files in closure.locator.located.items():
            if files and all(found != sought for found, _ in files):
                pin_absent(sought)
    return closure.places()


def require_pinned(modules: Iterable[str]) -> None:
    """Checks that this process runs modules from the bytes that keys are made of.

    Raises:
        UnseenCodeError: one was imported before the project's finder was installed.
    """
    for name in modules:
        if imported_otherwise(name):
            raise UnseenCodeError(
                f"{name} was imported before flows and tasks, so that it may run other code than is in its file now: "
                "import flows first"
            )


def require_plain_start(modules: Mapping[str, Module]) -> None:
    """Checks that no stage depends on what the packages define that install the project's finder.

    Python itself loads them, and accepts old bytecode of a file that was edited and kept its size and time.

    Raises:
        UnseenCodeError: one does.
    """
    for name in STARTING & modules.keys():
        module = modules[name]
        if ast.unparse(ast.Module(module.body, [])) != START:
            raise UnseenCodeError(
                f"{module.path} defines more than the start of the project's finder, and a stage reaches it, so that "
                "an edit of it may not be noticed: define it in another module"
            )

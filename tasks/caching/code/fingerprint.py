"""The fingerprint of a stage's code: what it would take to notice that the code changed.

The project's is what lies in its folder, and what is imported from elsewhere without having been installed, such as
an editable install: people edit both.

The fingerprint is made of definitions. From the stage's function, every name that is read is followed to the statement
that gives it its value, in this module or in another, and so on. To these come the statements with effects of every
module that is imported on the way, such as a call or a registration, since importing runs them. What cannot be followed
(a module that is handed on as a whole, a star) pulls in all of its module. What loads code by a name that is computed
is refused.

Two things are left out. Of the settings that a stage sees, the key has the values: what their classes say of values
shapes nothing by itself, so that only their methods count (`tasks.caching.code.reader`). And the machinery of the cache
itself stands in the key as one number (`tasks.caching.stage.FORMAT`).
"""

from collections.abc import Collection, Iterable
from pathlib import Path

from tasks.caching.code.closure import Closure, Read
from tasks.caching.code.dynamic import UnseenCodeError
from tasks.caching.code.sources import PROJECT, imported_otherwise, pin_place, source_of

#: The package that is left out.
MACHINERY = "tasks.caching"


def fingerprint(
    module: str,
    name: str = "",
    *,
    settings: Collection[str] = (),
    loads: Collection[str] = (),
    project: Path = PROJECT,
    read: Read = source_of,
    machinery: str = MACHINERY,
) -> dict[str, str]:
    """Hashes of all project code that shapes what a function makes.

    Args:
        module: dotted name of the module that it is in, for example `tasks.train`.
        name: of the function; all of the module counts where that defines no such name.
        settings: full names of the classes of settings whose values stand in the key.
        loads: modules that are loaded by names that are computed; all of them counts.
        project: the folder that holds the project's packages.
        read: gives a file's bytes: those that this process runs, unless others are asked for.
        machinery: the package that is left out.

    Returns:
        A hash of 16 hexadecimal digits by place, for example `tasks/learning/training/loop.py: fit`.

    Raises:
        UnseenCodeError: code is loaded by a name that is computed, and `loads` is empty; or this process imported a
            module before the project's own finder was there.
        ValueError: the module is not the project's, so that its code could not be known.
    """
    closure = Closure(project, read, frozenset(settings), machinery, allows_dynamic=bool(loads))
    if not closure.is_module(module):
        raise ValueError(f"{module} is no module of this project: a stage must lie in {project}")
    closure.reach(module, name)
    for name in loads:
        closure.reach_all(name)
    closure.follow_all()
    if read is source_of:
        require_pinned(closure.modules)
        for found, code in closure.modules.items():
            pin_place(found, code.path)
    return closure.places()


def require_pinned(modules: Iterable[str]) -> None:
    """Checks that this process runs modules from the bytes that keys are made of.

    Raises:
        UnseenCodeError: one was imported before the project's own finder was there.
    """
    for name in modules:
        if imported_otherwise(name):
            raise UnseenCodeError(
                f"{name} was imported before flows and tasks were, so that it may run other code than its file has "
                "now: import flows first"
            )

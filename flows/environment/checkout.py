"""Whether a command belongs to the checkout that it is started from.

A `.venv` that is copied with a project still runs the code of the original, on the original's store and server. So does
one that was activated in the original, in a shell that has changed to the copy since.
"""

import contextlib
import os
import sys
from pathlib import Path

from flows.errors import InputError
from tasks.caching.code.sources import PROJECT

#: What tells a checkout from other folders.
MARK = Path("flows", "train.py")

#: The file in a `.venv` that says in which checkout it was made.
INSTALLED = ".installed"


def require_same_checkout(script: Path) -> None:
    """Checks that a command runs the code of the checkout whose `.venv` it is in, and of the one that it is started in.

    In the folder of another checkout, a command may still work on a store that the user has named.

    Args:
        script: path of the command that was started.

    Raises:
        InputError: it runs the code of another one.
    """
    require_ours(script.absolute().parent.parent.parent, str(script))
    require_own_environment()
    here = working_folder()
    if here is not None and not os.environ.get("WORKFLOW_HOME"):
        for folder in (here, *here.parents):
            require_ours(folder, str(script))


def working_folder() -> Path | None:
    """The folder that the command was started in; None if it has been removed since."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def require_own_environment() -> None:
    """Checks that this code was not found through a `.venv` that was copied to another checkout.

    Raises:
        InputError: it was.
    """
    environment = Path(sys.prefix)
    with contextlib.suppress(OSError):  # only `make install` leaves the mark
        if Path((environment / INSTALLED).read_text().strip()).samefile(PROJECT):
            require_ours(environment.parent, sys.executable)


def require_ours(checkout: Path, command: str) -> None:
    """Checks that a folder is not another checkout of this project.

    Raises:
        InputError: it is; names the command that was started.
    """
    if (checkout / MARK).is_file() and not PROJECT.is_relative_to(checkout.resolve()):
        raise InputError(
            f"{command} runs the code in {PROJECT}, for which its .venv was made, and would act on the runs there. "
            f"Run `make install` in {checkout} to make one for this folder, and use {checkout / '.venv/bin/workflow'}"
        )

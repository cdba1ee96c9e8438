"""Checks that a command belongs to the checkout it is started in.

A `.venv` that is copied along with a project still runs the code of the original, on the original's store and server.
So does one that was activated in the original, in a shell that has since changed to the copy.
"""

import contextlib
import os
import sys
from pathlib import Path

from flows.errors import InputError
from tasks.caching.code.sources import PROJECT

#: A file by which a checkout is recognized.
MARKER = Path("flows", "train.py")

#: The file in a `.venv` that names the checkout it was created in.
INSTALL_MARKER = ".installed"


def require_same_checkout(script: Path) -> None:
    """Checks that a command runs the code of the checkout its `.venv` is in, and of the one it is started in.

    In the folder of another checkout, a command may still work on a store that the user has named.

    Args:
        script: Path of the command that was started.

    Raises:
        InputError: It runs the code of another checkout.
    """
    require_own_checkout(script.absolute().parent.parent.parent, str(script))
    require_own_environment()
    here = working_folder()
    if here is not None and not os.environ.get("WORKFLOW_HOME"):
        for folder in (here, *here.parents):
            require_own_checkout(folder, str(script))


def working_folder() -> Path | None:
    """Returns the current working directory; None if it has been removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def require_own_environment() -> None:
    """Checks that this code was not found through a `.venv` copied to another checkout.

    Raises:
        InputError: It was.
    """
    environment = Path(sys.prefix)
    with contextlib.suppress(OSError):  # only `make install` writes this file
        if Path((environment / INSTALL_MARKER).read_text().strip()).samefile(PROJECT):
            require_own_checkout(environment.parent, sys.executable)


def require_own_checkout(checkout: Path, command: str) -> None:
    """Checks that a folder is not another checkout of this project.

    Raises:
        InputError: It is; names the command that was started.
    """
    if (checkout / MARKER).is_file() and not PROJECT.is_relative_to(checkout.resolve()):
        raise InputError(
            f"{command} runs the code in {PROJECT}, for which its .venv was made, and would act on the runs there. "
            f"Run `make install` in {checkout} to create one for this folder, and use {checkout / '.venv/bin/workflow'}"
        )

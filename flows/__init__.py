"""What runs: one module a flow, and the command line.

A command is silent when Ctrl-C ends it, from this first line of the project's code on: its imports take a while, and
Python would print a traceback. What comes before belongs to Python: it starts, and imports what site-packages asks for.

For the same reason, `open_run` is loaded only when it is asked for; `flows.notebook` has it and more.
"""

# What `signal` is made of: a part of the interpreter, which takes no time to import.
import _signal  # type: ignore[import-not-found]
import os
import sys

#: The modules that are commands, and the name of the console script.
COMMANDS = ("flows.cli", "flows.cli.isolated", "flows.cli.stop", "flows.train", "flows.verify")
SCRIPT = "workflow"


def is_command() -> bool:
    """Whether this process is one of the commands, and not a program that imports the project."""
    if sys.argv[:1] == ["-m"]:  # as long as Python looks for the module
        return sys.orig_argv[-len(sys.argv)].removeprefix("-m") in COMMANDS
    return os.path.basename(sys.argv[0]) == SCRIPT if sys.argv else False  # noqa: PTH119 (pathlib takes a while)


# A signal that is ignored stays so. `flows.cli.main` installs the handlers of all signals.
if is_command() and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, lambda number, frame: os._exit(128 + number))

from typing import TYPE_CHECKING  # noqa: E402 (it takes a while)

from tasks.caching.code.sources import install  # noqa: E402 (likewise)

if TYPE_CHECKING:
    from flows.notebook.opened_run import open_run

__all__ = ["open_run"]

install()


def __getattr__(name: str) -> object:
    """The function `open_run`, which a notebook imports from here."""
    if name == "open_run":
        from flows.notebook.opened_run import open_run

        return open_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The command line, `workflow`: one thin module a group of commands, and the only one that prints for people.

Signals are handled before anything is imported that takes a while. Until a command has begun, nothing has to be cleaned
up: Ctrl-C then ends the process at once, without a traceback.
"""

from collections.abc import Sequence

from flows.signals import exit_now, install_handler


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits; see `flows.cli.app.run`."""
    install_handler(exit_now)
    from flows.cli.app import run

    run(arguments)

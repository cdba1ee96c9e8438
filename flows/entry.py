"""Where the command `workflow` begins: signals are handled before anything is imported that takes a while.

Until a command has begun, nothing has to be cleaned up: Ctrl-C then ends the process at once, without a traceback.
"""

from flows.signals import handle, leave


def main() -> None:
    """Runs the command line."""
    handle(leave)
    from flows.cli import main as run

    run()

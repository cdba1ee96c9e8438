"""Ends what a project has running: `workflow serve`, and then its server.

Everything here needs the standard library alone, so that `make stop` and `make clean` work in a folder whose .venv is
missing, broken, or was moved: `python3 -m flows.stop`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from flows import serve_process, server
from flows.problems import InputError
from flows.settings import ServerError
from tasks.caching.store import project_store
from tasks.caching.trouble import tell_error


def stop(root: Path) -> Iterator[str]:
    """Ends both, and says so in lines.

    Raises:
        ServerError: one of them belongs to another user or does not end.
        OSError: what is known of them cannot be read.
    """
    if serve_process.stop(root):
        yield "`workflow serve` has ended."
    yield "The server has stopped." if server.stop(root) else "No server of this project was running."


def main() -> None:
    """Ends what the project of this checkout has running; exits with 1 if something does not end."""
    try:
        for line in stop(project_store().root):
            sys.stdout.write(f"{line}\n")
    except (ServerError, InputError, OSError) as error:
        sys.exit(f"error: {tell_error(error)}")


if __name__ == "__main__":
    main()

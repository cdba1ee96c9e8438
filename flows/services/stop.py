"""Stops what a project has running: `workflow serve`, then its server. Needs only the standard library."""

from collections.abc import Iterator
from pathlib import Path

from flows.services import serve_process
from flows.services.prefect_server import server


def stop(root: Path) -> Iterator[str]:
    """Stops both; yields lines to print.

    Raises:
        ServerError: One of them belongs to another user or does not end.
        OSError: Its state cannot be read.
    """
    if serve_process.stop(root):
        yield "`workflow serve` has ended."
    yield "The server has stopped." if server.stop(root) else "No server of this project was running."

"""Ends what a project has running: `workflow serve`, and then its server. Needs the standard library alone."""

from collections.abc import Iterator
from pathlib import Path

from flows.services import serve_process
from flows.services.prefect_server import server


def stop(root: Path) -> Iterator[str]:
    """Ends both, and says so in lines.

    Raises:
        ServerError: one of them belongs to another user or does not end.
        OSError: what is known of them cannot be read.
    """
    if serve_process.stop(root):
        yield "`workflow serve` has ended."
    yield "The server has stopped." if server.stop(root) else "No server of this project was running."

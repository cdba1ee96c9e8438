"""The temporary Prefect server of `--ephemeral`, which ends with the process that started it.

It uses the project's database, with the same guard and password, but on an unused port, without web pages, and without
the services of a permanent server: it schedules nothing. Prefect can start such a server itself, but imports all of its
server into the flow's process first, and lets Ctrl-C in the terminal end it before the flow can report its final state.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from flows.environment.settings import Api, ServerError, make_home
from flows.services.prefect_server import server_process
from flows.services.prefect_server.password import own_password
from flows.services.prefect_server.ports import free_port
from flows.services.prefect_server.server import STARTUP_SECONDS, check_database


class TemporaryServer:
    """A server that was started and may not respond yet."""

    def __init__(self, root: Path, home: Path, output: IO[bytes]) -> None:
        self._home = home
        self._output = output
        self._process = server_process.launch(root, home, free_port(), output, temporary=True)

    @property
    def api(self) -> Api:
        """The API that it serves or will serve, with its password."""
        return replace(self._process.api, password=own_password(self._home))

    def wait(self) -> None:
        """Waits until it responds.

        Raises:
            ServerError: It ends first or takes too long; includes its output.
        """
        try:
            if server_process.wait_until_ready(self._process, self._home, STARTUP_SECONDS):
                return
            what = "ended while it started"
        except TimeoutError:
            what = f"did not answer within {STARTUP_SECONDS:g} s"
        self._output.seek(0)
        printed = self._output.read().decode(errors="replace").strip()
        raise ServerError(f"The Prefect server of --ephemeral {what}.\n{printed or '(it printed nothing)'}")

    def end(self) -> None:
        """Stops it; everything sent to it is in the database."""
        server_process.terminate(self._process)


@contextlib.contextmanager
def temporary_server(root: Path, notify: Callable[[str], None]) -> Iterator[TemporaryServer]:
    """Runs a server on the project's database during the context; wait for it before using it.

    Raises:
        ServerError: The database is damaged and still open, or from a later version of Prefect.
        OSError: The database is damaged and cannot be moved, or nothing can be written.
    """
    home = make_home(root)
    check_database(root, notify)
    with tempfile.TemporaryFile() as output:
        server = TemporaryServer(root, home, output)
        try:
            yield server
        finally:
            server.end()

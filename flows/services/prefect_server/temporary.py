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
from flows.services.prefect_server.database import find_damage, is_current, require_known_schema, set_aside_if_damaged
from flows.services.prefect_server.password import own_password
from flows.services.prefect_server.ports import free_port
from flows.services.prefect_server.server import HANG_SECONDS, LOG_LINES_SHOWN, MIN_FREE_BYTES, STARTUP_SECONDS
from tasks.caching.storage.errors import describe_error, require_free


class TemporaryServer:
    """A server that was started and may not respond yet."""

    def __init__(self, root: Path, home: Path, output: IO[bytes], lock: contextlib.ExitStack) -> None:
        self._home = home
        self._lock = lock
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
                self._lock.close()
                return
            what = "ended while it started"
        except TimeoutError:
            what = f"did not answer within {STARTUP_SECONDS:g} s"
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").strip().splitlines() or ["(it printed nothing)"]
        raise ServerError("\n".join((f"The Prefect server of --ephemeral {what}.", *lines[-LOG_LINES_SHOWN:])))

    def end(self) -> None:
        """Stops it; everything sent to it is in the database."""
        server_process.terminate(self._process)


@contextlib.contextmanager
def temporary_server(root: Path, notify: Callable[[str], None]) -> Iterator[TemporaryServer]:
    """Runs a server on the project's database during the context; wait for it before using it.

    Raises:
        ServerError: As `prepare_database` raises it, or there is no space for a database.
        OSError: The database is damaged and cannot be moved, or nothing can be written.
    """
    home = make_home(root)
    try:
        require_free(home, MIN_FREE_BYTES)
    except OSError as error:
        raise ServerError(f"No Prefect server can run in {home}: {describe_error(error)}") from error
    with tempfile.TemporaryFile() as output, contextlib.ExitStack() as lock:
        prepare_database(home, notify, lock)
        server = TemporaryServer(root, home, output, lock)
        try:
            yield server
        finally:
            server.end()


def prepare_database(home: Path, notify: Callable[[str], None], lock: contextlib.ExitStack) -> None:
    """Makes sure that a server finds a usable database, or may create one.

    Args:
        home: Of Prefect, inside the project.
        notify: Called with one line if the database was damaged.
        lock: Holds the lock of the server afterwards if the server will create or migrate the database. Two servers
            that do so at once fail, and to others the database looks damaged meanwhile.

    Raises:
        ServerError: The database is damaged and still open, or from a later version of Prefect.
        OSError: It is damaged and cannot be moved.
    """
    require_known_schema(home)
    if is_current(home) and not find_damage(home):
        return
    lock.enter_context(server_process.locked(home, STARTUP_SECONDS + HANG_SECONDS))
    if server_process.find(home) is None:
        set_aside_if_damaged(home, notify)
    if is_current(home):  # another process has created it meanwhile
        lock.close()

"""The Prefect server that a run reports to: the one that the user has named, or the project's own.

The project's own is one background process, reached on the loopback interface only, with everything that it writes in
`.prefect` inside the project. Unless a server cannot start, no module here imports Prefect: a run pays for that once,
later, with its settings made.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from flows.environment.settings import (
    Api,
    ServerError,
    configure_prefect,
    heed_dotenv,
    make_home,
    named_api,
    prefect_home,
)
from flows.services.prefect_server import server_process
from flows.services.prefect_server.database import (
    LONG_CHECK_SECONDS,
    find_damage,
    require_known_schema,
    set_aside_if_damaged,
)
from flows.services.prefect_server.password import make_secret, own_password
from flows.services.prefect_server.ports import PORTS_TRIED, first_port, is_free
from flows.services.prefect_server.reachability import why_unreachable
from flows.services.prefect_server.server_process import Server
from flows.services.prefect_server.sign_in import UiPage
from tasks.caching.storage.errors import describe_error, require_free

__all__ = ["Api", "Server", "ServerError", "Status", "configure_prefect", "find_api", "start", "status", "stop"]

# A first start creates the database, which takes 11 to 17 s on two cores; later ones take 4 s.
STARTUP_SECONDS = 120.0
HANG_SECONDS = 10.0
# What SQLite's log of changes grows to before it is emptied: without it, the server answers everything with HTTP 500.
ROOM = 8 * 1024 * 1024
LOG_LINES_SHOWN = 40

#: What uvicorn logs where it cannot have its port.
PORT_TAKEN = "address already in use"

#: What is said of a server that cannot show that it is this project's, with the password that counts.
UNPROVEN = (
    "The project's Prefect server (process {pid}, {url}) was started by an earlier version of this "
    "project, which asked no password, or with another password than the one that counts now, or before the project's "
    "folder was renamed. "
    "End it with `workflow server stop`, and try again."
)


State = Literal["running", "stopped", "not answering", "not trusted"]


@dataclass(frozen=True)
class Status:
    """What is known of the server that a run would use."""

    state: State
    api: Api | None = None
    pid: int | None = None
    since: datetime | None = None

    def describe(self) -> str:
        """One line for a person."""
        if self.api is None:
            return "No Prefect server of this project runs. The next run, or `workflow server start`, starts it."
        if self.api.named_in:
            return f"The Prefect server at {self.api.url}, named in {self.api.named_in}, is {self.state}."
        if self.state == "not trusted":
            return UNPROVEN.format(pid=self.pid, url=self.api.ui_url)
        return f"The project's Prefect server (process {self.pid}) is {self.state}; UI: {self.api.ui_url}"


def find_api(root: Path, notify: Callable[[str], None] | None = None) -> Api:
    """The API that a run of the project in `root` uses; starts the project's own server if no other is named.

    Raises:
        ServerError: a named server does not answer, or the project's own cannot be started.
    """
    api = named_api(root)
    if api is None:
        return own_api(start(root, notify), root)
    if reason := why_unreachable(api.url):
        raise ServerError(
            f"The Prefect server at {api.url} does not answer ({reason}). Its address comes from {api.named_in}. "
            "Start that server or correct the address; without one, the project uses a server of its own."
        )
    return api


def own_api(server: Server, root: Path) -> Api:
    """The API of the project's own server, with the password that it asks for.

    Raises:
        ServerError: there is none that can be used.
        OSError: it cannot be read.
    """
    home = prefect_home(root)
    password = own_password(home)
    return replace(server.api, password=password, is_random=password == make_secret(home))


def start(root: Path, notify: Callable[[str], None] | None = None) -> Server:
    """The project's own server: the one that runs, or else a new one, once it answers.

    Raises:
        ServerError: it hangs, it is not to be trusted, it ends while it starts, no port is free, or `.prefect` is full
            or cannot be written.
    """
    home = prefect_home(root)
    heed_dotenv()
    try:
        make_home(root)
        require_free(home, ROOM)
        server = server_process.find(home)
        if server and server_process.answers(server, home):
            return server
        with server_process.locked(home, STARTUP_SECONDS + HANG_SECONDS):
            return _wait_for_found(home) or _start_new(root, home, notify or (lambda message: None))
    except OSError as error:
        raise ServerError(f"No Prefect server can work in {home}: {describe_error(error)}") from error


def check_database(root: Path, notify: Callable[[str], None] | None = None) -> None:
    """Has a server that comes and goes with one command find a database that it can use, if it is the project's.

    Raises:
        ServerError: it is damaged and still open, or of a later version of Prefect.
        OSError: it is damaged and cannot be moved.
    """
    home = prefect_home(root)
    require_known_schema(home)
    if find_damage(home):
        with server_process.locked(home, STARTUP_SECONDS + HANG_SECONDS):
            if server_process.find(home) is None:
                set_aside_if_damaged(home, notify or (lambda message: None))


def find_trouble(api: Api | None, root: Path) -> str:
    """Why the project's own server fails, in words: a full disk, a damaged database; empty if it is not known."""
    if api is None or api.external:
        return ""
    home = prefect_home(root)
    try:
        require_free(home, ROOM)
    except OSError as full:
        return describe_error(full)
    damage = find_damage(home)
    return damage and f"its database is damaged, {damage}: end it with `workflow server stop`"


def stop(root: Path) -> bool:
    """End the project's own server, and return whether there was one.

    Raises:
        ServerError: it belongs to another user or does not end.
    """
    home = prefect_home(root)
    if not server_process.state_path(home).exists():
        return False
    with server_process.locked(home, STARTUP_SECONDS + HANG_SECONDS):
        server = server_process.find(home)
        if server:
            server_process.terminate(server)
        server_process.forget(home)
    return server is not None


def status(root: Path) -> Status:
    """How the server that a run would use is doing; starts and ends nothing.

    Raises:
        ServerError: a file that could name a server cannot be read.
    """
    if api := named_api(root):
        return Status("not answering" if why_unreachable(api.url) else "running", api)
    return own_status(root)


def own_status(root: Path) -> Status:
    """How the project's own server is doing, whichever one a run would use.

    Raises:
        ServerError: there is no password that can be used.
        OSError: the password cannot be read.
    """
    home = prefect_home(root)
    server = server_process.find(home)
    if server is None:
        return Status("stopped")
    states: dict[str, State] = {"proof": "running", "silence": "not answering", "something else": "not trusted"}
    state = states[server_process.ask(server, home)]
    api = own_api(server, root) if state == "running" else server.api
    return Status(state, api, server.pid, datetime.fromtimestamp(server.since, UTC))


def running_api(root: Path) -> Api:
    """The API of the project's own server, if it runs; starts none.

    Raises:
        ServerError: it does not run, does not answer, or is not to be trusted.
    """
    found = own_status(root)
    if found.api is None or found.state != "running":
        raise ServerError(found.describe())
    return found.api


def _wait_for_found(home: Path) -> Server | None:
    """The server that lives, once it answers: it may be one whose starter was killed while it came up.

    Raises:
        ServerError: it does not answer in time, or is not to be trusted.
    """
    server = server_process.find(home)
    if server is None:
        return None
    if server_process.ask(server, home) == "something else":
        raise ServerError(UNPROVEN.format(pid=server.pid, url=server.ui_url))
    age = max(time.time() - server.since, 0.0)
    try:
        ready = server_process.wait_until_ready(server, home, max(HANG_SECONDS, STARTUP_SECONDS - age))
        return server if ready else None
    except TimeoutError:
        raise ServerError(
            f"The project's Prefect server (process {server.pid}, {server.api.url}) lives but does not answer. "
            f"End it with `workflow server stop` and try again; its log is {server_process.log_path(home)}."
        ) from None


def _start_new(root: Path, home: Path, notify: Callable[[str], None]) -> Server:
    """Start a server, with a new database if the one that is there is damaged.

    Raises:
        ServerError: it ends or does not answer in time, no port is free, or its database is of a later version.
    """
    set_aside_if_damaged(home, notify)
    require_known_schema(home)
    try:
        return _start_on_a_port(root, home, notify)
    except ServerError:
        if not set_aside_if_damaged(home, notify, LONG_CHECK_SECONDS):
            raise
        return _start_on_a_port(root, home, notify)


def _start_on_a_port(root: Path, home: Path, notify: Callable[[str], None]) -> Server:
    """Start a server on the first port that it can have.

    Raises:
        ServerError: it ends or does not answer in time, or no port is free.
    """
    first = first_port()
    notify("Starting the project's Prefect server (4 s; the first time, which creates its database, 12 s).")
    for port in filter(is_free, range(first, min(first + PORTS_TRIED, 65536))):
        server = server_process.spawn(root, home, port)
        if _came_up(server, home):
            link = UiPage(own_api(server, root)).link(sys.stderr)
            notify(f"The Prefect UI is at {link}; `workflow server stop` ends the server.")
            return server
        # Another program may have taken the port while the server was loading, and have freed it since.
        if is_free(port) and PORT_TAKEN not in _log_tail(home):
            _require_settings()
            raise ServerError(f"The Prefect server ended while it started.\n{_log_tail(home)}")
    raise ServerError(f"No port from {first} on is free for the Prefect server. Name another in WORKFLOW_SERVER_PORT.")


def _require_settings() -> None:
    """Shows that Prefect can take its settings: a server that cannot ends with a traceback in its log.

    Raises:
        InputError: it cannot; names the setting.
    """
    from flows.environment.validation import readable_settings

    with readable_settings():
        from prefect.settings import get_current_settings

        get_current_settings()


def _came_up(server: Server, home: Path) -> bool:
    """Record the new server and wait for it; one that does not come up is ended, whatever interrupts the wait.

    Raises:
        ServerError: it does not answer in time.
    """
    ready = False
    try:
        server_process.record(server, home)
        ready = server_process.wait_until_ready(server, home, STARTUP_SECONDS)
    except TimeoutError:
        raise ServerError(
            f"The Prefect server did not answer within {STARTUP_SECONDS:g} s and was ended.\n{_log_tail(home)}"
        ) from None
    finally:
        if not ready:
            server_process.terminate(server)
            server_process.forget(home)
    return ready


def _log_tail(home: Path) -> str:
    """The last lines of the server's log, and where the rest is."""
    log = server_process.log_path(home)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    tail = [line for line in lines if line.strip()][-LOG_LINES_SHOWN:]
    return "\n".join([f"The end of its log, {log}:", *(f"  {line}" for line in tail or ["(empty)"])])

"""The Prefect server that a run reports to: the one the user has configured, or the project's own.

The project's own is a background process that listens on the loopback interface only and writes everything into
`.prefect` inside the project. Unless a server fails to start, no module here imports Prefect: a run pays for that once,
later, after its settings are made.
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
    load_dotenv,
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
from flows.services.prefect_server.password import ensure_secret, own_password
from flows.services.prefect_server.ports import PORTS_TRIED, first_port, is_free
from flows.services.prefect_server.reachability import why_unreachable
from flows.services.prefect_server.server_process import Server
from flows.services.prefect_server.sign_in import UiPage
from tasks.caching.storage.errors import describe_error, require_free

__all__ = ["Api", "Server", "ServerError", "Status", "configure_prefect", "find_api", "start", "status", "stop"]

# The first start creates the database, which takes 11 to 17 s on two cores; later ones take 4 s.
STARTUP_SECONDS = 120.0
HANG_SECONDS = 10.0
# The size to which SQLite's write-ahead log grows: without this space, the server responds to everything with HTTP 500.
MIN_FREE_BYTES = 8 * 1024 * 1024
LOG_LINES_SHOWN = 40

#: What uvicorn logs if its port is taken.
PORT_TAKEN = "address already in use"

#: The message about a server that cannot prove that it is this project's, with the password now in use.
UNPROVEN = (
    "The project's Prefect server (process {pid}, {url}) was started by an earlier version of this "
    "project without a password, or with another password than the current one, or before the project's "
    "folder was renamed. "
    "Stop it with `workflow server stop` and try again."
)


State = Literal["running", "stopped", "not answering", "not trusted"]


@dataclass(frozen=True)
class Status:
    """The state of the server that a run would use."""

    state: State
    api: Api | None = None
    pid: int | None = None
    since: datetime | None = None

    def describe(self) -> str:
        """Returns one line for the user."""
        if self.api is None:
            return "No Prefect server of this project is running. The next run, or `workflow server start`, starts one."
        if self.api.named_in:
            return f"The Prefect server at {self.api.url}, set in {self.api.named_in}, is {self.state}."
        if self.state == "not trusted":
            return UNPROVEN.format(pid=self.pid, url=self.api.ui_url)
        return f"The project's Prefect server (process {self.pid}) is {self.state}; UI: {self.api.ui_url}"


def find_api(root: Path, notify: Callable[[str], None] | None = None) -> Api:
    """Returns the API that a run in the project `root` uses; starts the project's own server if no other is configured.

    Raises:
        ServerError: A configured server does not respond, or the project's own cannot be started.
    """
    api = named_api(root)
    if api is None:
        return own_api(start(root, notify), root)
    if reason := why_unreachable(api.url):
        raise ServerError(
            f"The Prefect server at {api.url} does not answer ({reason}). Its address comes from {api.named_in}. "
            "Start that server, or correct the address; without one, the project uses its own server."
        )
    return api


def own_api(server: Server, root: Path) -> Api:
    """Returns the API of the project's own server, with its password.

    Raises:
        ServerError: There is no usable password.
        OSError: The password cannot be read.
    """
    home = prefect_home(root)
    password = own_password(home)
    return replace(server.api, password=password, is_random=password == ensure_secret(home))


def start(root: Path, notify: Callable[[str], None] | None = None) -> Server:
    """Returns the project's own server, the running one or a new one, as soon as it responds.

    Raises:
        ServerError: It hangs, it cannot be trusted, it ends while it starts, no port is free, or `.prefect` is full or
            cannot be written.
    """
    home = prefect_home(root)
    load_dotenv()
    try:
        make_home(root)
        require_free(home, MIN_FREE_BYTES)
        server = server_process.find(home)
        if server and server_process.is_ready(server, home):
            return server
        with server_process.locked(home, STARTUP_SECONDS + HANG_SECONDS):
            return _wait_for_running(home) or _start_new(root, home, notify or (lambda message: None))
    except OSError as error:
        raise ServerError(f"No Prefect server can run in {home}: {describe_error(error)}") from error


def diagnose(api: Api | None, root: Path) -> str:
    """Returns why the project's own server fails: a full disk, a damaged database; empty if unknown."""
    if api is None or api.external:
        return ""
    home = prefect_home(root)
    try:
        require_free(home, MIN_FREE_BYTES)
    except OSError as full:
        return describe_error(full)
    damage = find_damage(home)
    return damage and f"its database is damaged, {damage}: stop it with `workflow server stop`"


def stop(root: Path) -> bool:
    """Stops the project's own server; returns whether it was running.

    Raises:
        ServerError: It belongs to another user or does not end.
    """
    home = prefect_home(root)
    if not server_process.state_path(home).exists():
        return False
    with server_process.locked(home, STARTUP_SECONDS + HANG_SECONDS):
        server = server_process.find(home)
        if server:
            server_process.terminate(server)
        server_process.remove_state(home)
    return server is not None


def status(root: Path) -> Status:
    """Returns the state of the server that a run would use; starts and stops nothing.

    Raises:
        ServerError: A file that could name a server cannot be read.
    """
    if api := named_api(root):
        return Status("not answering" if why_unreachable(api.url) else "running", api)
    return own_status(root)


def own_status(root: Path) -> Status:
    """Returns the state of the project's own server, whichever one a run would use.

    Raises:
        ServerError: There is no usable password.
        OSError: The password cannot be read.
    """
    home = prefect_home(root)
    server = server_process.find(home)
    if server is None:
        return Status("stopped")
    states: dict[str, State] = {"proven": "running", "no response": "not answering", "unproven": "not trusted"}
    state = states[server_process.challenge(server, home)]
    api = own_api(server, root) if state == "running" else server.api
    return Status(state, api, server.pid, datetime.fromtimestamp(server.since, UTC))


def running_api(root: Path) -> Api:
    """Returns the API of the project's own server if it is running; starts none.

    Raises:
        ServerError: It is not running, does not respond, or cannot be trusted.
    """
    found = own_status(root)
    if found.api is None or found.state != "running":
        raise ServerError(found.describe())
    return found.api


def _wait_for_running(home: Path) -> Server | None:
    """Waits for a server that is already running, maybe one whose starter was killed while it came up.

    Raises:
        ServerError: It does not respond in time, or cannot be trusted.
    """
    server = server_process.find(home)
    if server is None:
        return None
    if server_process.challenge(server, home) == "unproven":
        raise ServerError(UNPROVEN.format(pid=server.pid, url=server.ui_url))
    age = max(time.time() - server.since, 0.0)
    try:
        ready = server_process.wait_until_ready(server, home, max(HANG_SECONDS, STARTUP_SECONDS - age))
        return server if ready else None
    except TimeoutError:
        raise ServerError(
            f"The project's Prefect server (process {server.pid}, {server.api.url}) is running but does not answer. "
            f"Stop it with `workflow server stop` and try again; its log is {server_process.log_path(home)}."
        ) from None


def _start_new(root: Path, home: Path, notify: Callable[[str], None]) -> Server:
    """Starts a server, with a new database if the existing one is damaged.

    Raises:
        ServerError: It ends or does not respond in time, no port is free, or its database is from a later version.
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
    """Starts a server on the first available port.

    Raises:
        ServerError: It ends or does not respond in time, or no port is free.
    """
    first = first_port()
    notify("Starting the project's Prefect server (4 s; the first time, which creates its database, 12 s).")
    for port in filter(is_free, range(first, min(first + PORTS_TRIED, 65536))):
        server = server_process.spawn(root, home, port)
        if _comes_up(server, home):
            link = UiPage(own_api(server, root)).link(sys.stderr)
            notify(f"The Prefect UI is at {link}; `workflow server stop` stops the server.")
            return server
        # Another program may have taken the port while the server was loading, and released it since.
        if is_free(port) and PORT_TAKEN not in _log_tail(home):
            _require_settings()
            raise ServerError(f"The Prefect server ended while it started.\n{_log_tail(home)}")
    raise ServerError(f"No port from {first} on is free for the Prefect server. Set another in WORKFLOW_SERVER_PORT.")


def _require_settings() -> None:
    """Checks that Prefect accepts its settings: otherwise the server ends with a traceback in its log.

    Raises:
        InputError: It does not; names the setting.
    """
    from flows.environment.validation import readable_settings

    with readable_settings():
        from prefect.settings import get_current_settings

        get_current_settings()


def _comes_up(server: Server, home: Path) -> bool:
    """Records the new server and waits for it; stops it if it does not come up or the wait is interrupted.

    Raises:
        ServerError: It does not respond in time.
    """
    ready = False
    try:
        server_process.write_state(server, home)
        ready = server_process.wait_until_ready(server, home, STARTUP_SECONDS)
    except TimeoutError:
        raise ServerError(
            f"The Prefect server did not answer within {STARTUP_SECONDS:g} s and was stopped.\n{_log_tail(home)}"
        ) from None
    finally:
        if not ready:
            server_process.terminate(server)
            server_process.remove_state(home)
    return ready


def _log_tail(home: Path) -> str:
    """Returns the last lines of the server's log and the log's path."""
    log = server_process.log_path(home)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    tail = [line for line in lines if line.strip()][-LOG_LINES_SHOWN:]
    return "\n".join([f"The end of its log, {log}:", *(f"  {line}" for line in tail or ["(empty)"])])

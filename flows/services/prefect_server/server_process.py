"""The process of the project's own Prefect server: how it is started, recognized and stopped.

A state file identifies the process. It includes the process's start time, so that neither an outdated file nor a
process that reuses the pid is ever mistaken for the server.
"""

import hmac
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal, TypeVar

from flows.environment.settings import LOOPBACK, Api, ServerError, server_environment
from flows.services.prefect_server.password import own_password, read_secret, server_proof
from tasks.caching.locking.lock import LockFile

T = TypeVar("T")

COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("main.py")))
#: The environment of a temporary server: Prefect's own variable, which disables the scheduler and cleanup services.
TEMPORARY = {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT_UI_ENABLED": "false"}
RESPONSE_SECONDS = 5.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05

#: Hexadecimal digits of a proof, plus one.
PROOF_BYTES = 65


@dataclass(frozen=True)
class Server:
    """The project's own server process."""

    pid: int
    port: int
    # The process's start time according to the operating system: with the pid, it identifies one process forever.
    identity: str
    # In seconds since the epoch; for display.
    since: float

    @property
    def api(self) -> Api:
        """The API it serves."""
        return Api(f"http://{LOOPBACK}:{self.port}/api")

    @property
    def ui_url(self) -> str:
        """The URL of its UI."""
        return self.api.ui_url


def state_path(home: Path) -> Path:
    """Returns the state file, which identifies the server process."""
    return home / "server.json"


def log_path(home: Path) -> Path:
    """Returns the server's log; the previous server's log is kept beside it."""
    return home / "server.log"


def find(home: Path) -> Server | None:
    """Returns the server in the state file if its process is running. Whether it responds is another question."""
    try:
        state = json.loads(state_path(home).read_bytes())
        server = Server(int(state["pid"]), int(state["port"]), str(state["identity"]), float(state["since"]))
        ours = "home" not in state or belongs_to(home, Path(state["home"]), int(state["inode"]))
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return None
    return server if ours and is_alive(server) else None


def belongs_to(home: Path, recorded: Path, inode: int) -> bool:
    """Whether a state file belongs to its folder, which may have been moved since, and is not a copy."""
    return home.stat().st_ino == inode or not recorded.exists()


def write_state(server: Server, home: Path) -> None:
    """Writes the state file atomically."""
    temporary = state_path(home).with_suffix(".json.new")
    state = asdict(server) | {"home": str(home), "inode": home.stat().st_ino}
    temporary.write_text(json.dumps(state), encoding="utf-8")
    temporary.replace(state_path(home))


def remove_state(home: Path) -> None:
    """Removes the state file."""
    state_path(home).unlink(missing_ok=True)


@contextmanager
def locked(home: Path, seconds: float) -> Iterator[None]:
    """Holds the lock for starting and stopping the server; the kernel releases it if the process dies.

    Raises:
        ServerError: Another process holds it for too long.
    """
    with LockFile(home / "server.lock") as file:
        if not file.acquire(seconds):
            raise ServerError(
                f"Another process has been starting or stopping the Prefect server in {home} for too long. "
                "Stop it and try again."
            )
        yield


def spawn(root: Path, home: Path, port: int) -> Server:
    """Starts the server process, detached from this one and its terminal."""
    log = log_path(home)
    if log.exists():
        log.replace(log.with_suffix(".previous.log"))
    with log.open("wb") as output:
        return launch(root, home, port, output)


def launch(root: Path, home: Path, port: int, output: IO[bytes], *, temporary: bool = False) -> Server:
    """Starts a server process, detached from this one's terminal, that writes to `output`.

    Args:
        temporary: Whether it ends when this process does, however that ends, and has neither web pages nor the services
            of a permanent server.
    """
    process = subprocess.Popen(
        COMMAND,
        cwd=root,
        env=server_environment(root, port)
        | {"PREFECT_SERVER_API_AUTH_STRING": own_password(home)}
        | (TEMPORARY if temporary else {}),
        # A temporary server notices that its parent has ended when this pipe closes.
        stdin=subprocess.PIPE if temporary else subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        close_fds=True,
    )
    # Reaps the process if it ends before this one does.
    threading.Thread(target=_reap, args=(process,), name="prefect-server-reaper", daemon=True).start()
    return Server(process.pid, port, process_identity(process.pid) or "ended", time.time())


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Waits for a process, and keeps the pipe of a temporary server open until then."""
    with process:
        process.wait()


def is_alive(server: Server) -> bool:
    """Whether the very process that was started as the server is still running."""
    return process_identity(server.pid) == server.identity


def is_ready(server: Server, home: Path) -> bool:
    """Whether the server on the port responds and is this project's."""
    return challenge(server, home) == "proven"


def challenge(server: Server, home: Path) -> Literal["proven", "no response", "unproven"]:
    """Sends a challenge to the server's port that only this project's server can meet.

    A mere health check would accept the server of another project that took the port first. The password is not sent,
    since a program of another user may have taken the port.

    Raises:
        ServerError: There is no usable password.
        OSError: The password cannot be read.
    """
    nonce = os.urandom(16).hex()
    try:
        status, body = call_with_timeout(RESPONSE_SECONDS, lambda: request_proof(server.port, nonce))
    except (OSError, http.client.HTTPException, ValueError):
        return "no response"
    if status >= 500:
        return "no response"
    secret = read_secret(home)
    if secret is None:
        return "unproven"
    proof = server_proof(secret, home, own_password(home), server.port, nonce).encode()
    return "proven" if hmac.compare_digest(body, proof) else "unproven"


def request_proof(port: int, nonce: str) -> tuple[int, bytes]:
    """Returns the status and the start of the body of the response to a challenge.

    Raises:
        OSError: There is no response; http.client.HTTPException or ValueError if it is not valid HTTP.
    """
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=RESPONSE_SECONDS)
    try:
        connection.request("GET", f"/proof/{nonce}")
        response = connection.getresponse()
        return response.status, response.read(PROOF_BYTES)
    finally:
        connection.close()


def call_with_timeout(seconds: float, request: Callable[[], T]) -> T:
    """Returns the result of a request within a total timeout; the request's own timeouts apply to single reads.

    Raises:
        TimeoutError: It takes longer.
        Exception: Whatever the request raises.
    """
    done: Future[T] = Future()

    def send() -> None:
        try:
            done.set_result(request())
        except Exception as error:
            done.set_exception(error)

    # A daemon thread that waits forever ends with the process.
    threading.Thread(target=send, name="request", daemon=True).start()
    try:
        return done.result(seconds)
    except TimeoutError:
        if done.done():
            raise
        raise TimeoutError(f"no complete response within {seconds:g} s") from None


def wait_until_ready(server: Server, home: Path, seconds: float) -> bool:
    """Waits for the server to respond; returns False if it ends first.

    Raises:
        TimeoutError: Neither happens in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not is_alive(server):
            return False
        if is_ready(server, home):
            return True
        time.sleep(POLL_SECONDS)
    raise TimeoutError


def terminate(server: Server) -> None:
    """Stops the server and every process it started.

    Raises:
        ServerError: It belongs to another user or does not end.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not is_alive(server):
            return
        try:
            os.killpg(server.pid, number)
        except ProcessLookupError:
            return
        except PermissionError:
            raise ServerError(f"The Prefect server (process {server.pid}) belongs to another user.") from None
        deadline = time.monotonic() + STOP_SECONDS
        while is_alive(server) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    if is_alive(server):
        raise ServerError(f"The Prefect server (process {server.pid}) does not end. Kill it by hand.")


def process_identity(pid: int) -> str | None:
    """Returns what distinguishes a process from all others with its pid, past or future; None if it has ended."""
    # Without psutil: `flows.cli.stop`, which comes here, has the standard library alone.
    try:
        # After the command's name, which is in parentheses and may contain any character.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _identity_by_ps(pid)
    state, threads, started = fields[0], int(fields[17]), fields[19]
    # A killed process keeps its port until its last thread is gone.
    ended = state in "ZX" and threads <= 1
    return None if ended else f"{boot}/{started}"


def _identity_by_ps(pid: int) -> str | None:
    """Returns the same where there is no /proc, as on macOS."""
    command = ["/bin/ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)]
    state, _, started = subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition(" ")
    return started.strip() if state and not state.startswith("Z") else None

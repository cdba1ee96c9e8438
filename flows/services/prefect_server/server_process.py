"""The process of the project's own Prefect server: how it is started, recognised and ended.

A state file says which process it is. The start time of the process is in it, so that neither an old file nor a
process that got the same number is ever taken for the server.
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
#: The environment of a temporary server: Prefect's own word for it, which leaves out what schedules and cleans up.
TEMPORARY = {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT_UI_ENABLED": "false"}
ANSWER_SECONDS = 5.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05

#: Hexadecimal digits of a proof, and one more.
PROOF_BYTES = 65


@dataclass(frozen=True)
class Server:
    """The project's own server process."""

    pid: int
    port: int
    # When the process started, as the operating system counts it: with the pid, it names one process for good.
    identity: str
    # In seconds since the epoch; for people.
    since: float

    @property
    def api(self) -> Api:
        """The API that it serves."""
        return Api(f"http://{LOOPBACK}:{self.port}/api")

    @property
    def ui_url(self) -> str:
        """Where a person watches its runs."""
        return self.api.ui_url


def state_path(home: Path) -> Path:
    """The file that says which process is the server."""
    return home / "server.json"


def log_path(home: Path) -> Path:
    """What the server prints; that of the one before it is kept beside it."""
    return home / "server.log"


def find(home: Path) -> Server | None:
    """The server of the state file, if its process lives. Whether it answers is another question."""
    try:
        state = json.loads(state_path(home).read_bytes())
        server = Server(int(state["pid"]), int(state["port"]), str(state["identity"]), float(state["since"]))
        ours = "home" not in state or is_at(home, Path(state["home"]), int(state["inode"]))
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return None
    return server if ours and is_alive(server) else None


def is_at(home: Path, recorded: Path, inode: int) -> bool:
    """Whether a state file is that of its home, which may have been moved since, and not a copy."""
    return home.stat().st_ino == inode or not recorded.exists()


def record(server: Server, home: Path) -> None:
    """Write the state file, which is never seen half written."""
    temporary = state_path(home).with_suffix(".json.new")
    state = asdict(server) | {"home": str(home), "inode": home.stat().st_ino}
    temporary.write_text(json.dumps(state), encoding="utf-8")
    temporary.replace(state_path(home))


def forget(home: Path) -> None:
    """Remove the state file."""
    state_path(home).unlink(missing_ok=True)


@contextmanager
def locked(home: Path, seconds: float) -> Iterator[None]:
    """Hold the lock of the server: one process at a time starts or stops it.

    Raises:
        ServerError: another process holds the lock for longer than so many seconds.
    """
    with LockFile(home / "server.lock") as file:
        if not file.acquire(seconds):
            raise ServerError(
                f"Another process has been starting or stopping the Prefect server in {home} for too long. "
                "End it and try again."
            )
        yield


def spawn(root: Path, home: Path, port: int) -> Server:
    """Start the server process, detached from this one and from its terminal."""
    log = log_path(home)
    if log.exists():
        log.replace(log.with_suffix(".previous.log"))
    with log.open("wb") as output:
        return launch(root, home, port, output)


def launch(root: Path, home: Path, port: int, output: IO[bytes], *, temporary: bool = False) -> Server:
    """Start a server process, detached from this one's terminal, that prints into `output`.

    Args:
        temporary: it ends when this process does, however that ends, and has no web pages and no services of a server
            that stays.
    """
    process = subprocess.Popen(
        COMMAND,
        cwd=root,
        env=server_environment(root, port)
        | {"PREFECT_SERVER_API_AUTH_STRING": own_password(home)}
        | (TEMPORARY if temporary else {}),
        # The end of this pipe is how a temporary server learns that the process which holds it has ended.
        stdin=subprocess.PIPE if temporary else subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        close_fds=True,
    )
    # Collects the process if it ends before this one does.
    threading.Thread(target=_reap, args=(process,), name="prefect-server-reaper", daemon=True).start()
    return Server(process.pid, port, process_identity(process.pid) or "ended", time.time())


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Waits for a process, and holds the pipe of a temporary server for so long."""
    with process:
        process.wait()


def is_alive(server: Server) -> bool:
    """Whether the very process that was started as the server is still running."""
    return process_identity(server.pid) == server.identity


def answers(server: Server, home: Path) -> bool:
    """Whether the server on the port answers, and is this project's."""
    return ask(server, home) == "proof"


def ask(server: Server, home: Path) -> Literal["proof", "silence", "something else"]:
    """What is answered on the server's port to a challenge that only this project's server can meet.

    A bare health check would accept the server of another project that took the port first. And the password is not
    told before: it may be a program of another user that did.

    Raises:
        ServerError: there is no password to be used.
        OSError: the password cannot be read.
    """
    challenge = os.urandom(16).hex()
    try:
        status, told = within(ANSWER_SECONDS, lambda: request_proof(server.port, challenge))
    except (OSError, http.client.HTTPException, ValueError):
        return "silence"
    if status >= 500:
        return "silence"
    secret = read_secret(home)
    if secret is None:
        return "something else"
    proof = server_proof(secret, home, own_password(home), challenge).encode()
    return "proof" if hmac.compare_digest(told, proof) else "something else"


def request_proof(port: int, challenge: str) -> tuple[int, bytes]:
    """The status and the beginning of what is answered to a challenge.

    Raises:
        OSError: there is no answer, or http.client.HTTPException or ValueError: it is none of HTTP.
    """
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", f"/proof/{challenge}")
        response = connection.getresponse()
        return response.status, response.read(PROOF_BYTES)
    finally:
        connection.close()


def within(seconds: float, request: Callable[[], T]) -> T:
    """What a request gives; its own timeouts are those of single reads, so that a byte now and then has no end.

    Raises:
        TimeoutError: it takes longer.
        Exception: what the request raises.
    """
    done: Future[T] = Future()

    def carry_out() -> None:
        try:
            done.set_result(request())
        except Exception as error:
            done.set_exception(error)

    # A thread that waits for ever ends with the process.
    threading.Thread(target=carry_out, name="request", daemon=True).start()
    try:
        return done.result(seconds)
    except TimeoutError:
        if done.done():
            raise
        raise TimeoutError(f"no whole answer within {seconds:g} s") from None


def wait_until_ready(server: Server, home: Path, seconds: float) -> bool:
    """Whether the server answers before it ends.

    Raises:
        TimeoutError: it does neither in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not is_alive(server):
            return False
        if answers(server, home):
            return True
        time.sleep(POLL_SECONDS)
    raise TimeoutError


def terminate(server: Server) -> None:
    """End the server, and with it whatever it started.

    Raises:
        ServerError: it belongs to another user or does not end.
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
        raise ServerError(f"The Prefect server (process {server.pid}) does not end. End it by hand.")


def process_identity(pid: int) -> str | None:
    """What distinguishes a process from every other that has had or will have its pid; None if it does not run."""
    # Without psutil: `flows.cli.stop`, which comes here, has the standard library alone.
    try:
        # After the command's name, which is in brackets and may itself contain any character.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _identity_by_ps(pid)
    state, threads, started = fields[0], int(fields[17]), fields[19]
    # Until the last thread of a killed process is gone, it keeps its port.
    ended = state in "ZX" and threads <= 1
    return None if ended else f"{boot}/{started}"


def _identity_by_ps(pid: int) -> str | None:
    """The same where there is no /proc, as on macOS."""
    command = ["/bin/ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)]
    state, _, started = subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition(" ")
    return started.strip() if state and not state.startswith("Z") else None

"""The process of `workflow serve`, of which a project has one: how it is found, started in the background, and ended.

It keeps a file locked while it lives, which says where its reports are found. The kernel releases the lock when the
process ends, however it ends: what the file says counts only while it is locked.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from flows.environment.settings import ServerError, prefect_home
from tasks.caching.locking.lock import LockFile

COMMAND = (sys.executable, "-P", "-m", "flows.cli", "serve")

#: Seconds that it may take to begin; and to end, of which its runs have thirty to keep where they are.
STARTUP_SECONDS, STOP_SECONDS = 120.0, 60.0
POLL_SECONDS = 0.05

#: Seconds for which another process may hold the lock only to look whether it is held.
LOOKING_SECONDS = 0.5

LOG_LINES_SHOWN = 20


@dataclass(frozen=True)
class Serving:
    """The process that serves.

    Attributes:
        pid: its number.
        reports: the address of the runs' reports; None until runs are taken.
    """

    pid: int
    reports: str | None = None


def state_path(root: Path) -> Path:
    """The file that is locked while a process serves."""
    return prefect_home(root) / "serve.json"


def log_path(root: Path) -> Path:
    """What it prints when it was started in the background."""
    return prefect_home(root) / "serve.log"


def find(root: Path) -> Serving | None:
    """The process that serves now; None if there is none, or if it has only just begun."""
    try:
        with LockFile(state_path(root), os.O_RDONLY) as file:
            return None if file.acquire(timeout=0) else Serving(**json.loads(file.read()))
    except (OSError, ValueError, TypeError):
        return None


@contextlib.contextmanager
def single_instance(root: Path) -> Iterator[Callable[[str], None]]:
    """Surrounds the process that serves; yields a function to call with the address of its reports once it takes runs.

    Raises:
        ServerError: another process serves.
    """
    path = state_path(root)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with LockFile(path) as file:
        if not file.acquire(LOOKING_SECONDS):
            found = find(root)
            by = f"process {found.pid}" if found else "it has only just begun"
            end = "with Ctrl-C where it was started, or with `workflow server stop`"
            raise ServerError(f"`workflow serve` runs already ({by}): end it first, {end}, or use what it offers")

        def write(reports: str | None = None) -> None:
            file.overwrite(json.dumps(asdict(Serving(os.getpid(), reports))).encode())

        write()
        yield write


def start(root: Path) -> Serving:
    """The process that serves, started in the background if there is none yet, as soon as it takes runs.

    Raises:
        ServerError: it ends while it starts, or does not take runs in time.
    """
    process = None if find(root) else spawn(root)
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        found = find(root)
        if found and found.reports:
            return found
        if process is not None and process.poll() is not None:
            raise ServerError(f"`workflow serve` ended while it started.\n{log_tail(root)}")
        time.sleep(POLL_SECONDS)
    raise ServerError(f"`workflow serve` took no runs within {STARTUP_SECONDS:g} s.\n{log_tail(root)}")


def spawn(root: Path) -> "subprocess.Popen[bytes]":
    """Starts `workflow serve`, detached from this process and from its terminal."""
    with log_path(root).open("wb") as output:
        process = subprocess.Popen(
            COMMAND,
            cwd=root,
            env=os.environ | {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO"},  # a terminal is shown less
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # Collects the process if it ends before this one does.
    threading.Thread(target=process.wait, name="serve-reaper", daemon=True).start()
    return process


def stop(root: Path) -> bool:
    """Ends the process that serves, which may finish what it is doing; returns whether there was one.

    Raises:
        ServerError: it belongs to another user or does not end.
    """
    found = find(root)
    if found is None:
        return False
    try:
        os.kill(found.pid, signal.SIGTERM)
    except ProcessLookupError:
        return True
    except PermissionError:
        raise ServerError(f"`workflow serve` (process {found.pid}) belongs to another user.") from None
    deadline = time.monotonic() + STOP_SECONDS
    while find(root) == found:
        if time.monotonic() > deadline:
            raise ServerError(f"`workflow serve` (process {found.pid}) does not end. End it by hand.")
        time.sleep(POLL_SECONDS)
    return True


def log_tail(root: Path) -> str:
    """The last lines of what it printed, and where the rest is."""
    lines = log_path(root).read_text(encoding="utf-8", errors="replace").splitlines()
    tail = [line for line in lines if line.strip()][-LOG_LINES_SHOWN:]
    return "\n".join([f"The end of its log, {log_path(root)}:", *(f"  {line}" for line in tail or ["(empty)"])])

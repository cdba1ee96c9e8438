"""The process of `workflow serve`, one per project: how it is found, started in the background, and stopped.

While it runs it holds a lock on a file that contains the URL of its reports. The kernel releases the lock when the
process ends, however it ends: the content of the file is only valid while it is locked.
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

#: Timeouts for starting and stopping; of the latter, its runs have thirty seconds to save training checkpoints.
STARTUP_SECONDS, STOP_SECONDS = 120.0, 60.0
POLL_SECONDS = 0.05

#: How long the lock may be held by a process that only checks whether it is free.
CHECK_SECONDS = 0.5

LOG_LINES_SHOWN = 20


@dataclass(frozen=True)
class ServeProcess:
    """A running `workflow serve`.

    Attributes:
        pid: Of the process.
        reports: The URL of the runs' reports; None until it accepts runs.
    """

    pid: int
    reports: str | None = None


def lock_path(root: Path) -> Path:
    """Returns the file that is locked while `workflow serve` runs."""
    return prefect_home(root) / "serve.json"


def log_path(root: Path) -> Path:
    """Returns the file with the output of a process that was started in the background."""
    return prefect_home(root) / "serve.log"


def find(root: Path) -> ServeProcess | None:
    """Returns the running process; None if there is none, or if it has only just started."""
    try:
        with LockFile(lock_path(root), os.O_RDONLY) as file:
            return None if file.acquire(timeout=0) else ServeProcess(**json.loads(file.read()))
    except (OSError, ValueError, TypeError):
        return None


@contextlib.contextmanager
def single_instance(root: Path) -> Iterator[Callable[[str], None]]:
    """Holds the lock of `workflow serve`; yields a function to call with the URL of its reports once it accepts runs.

    Raises:
        ServerError: Another process holds it.
    """
    path = lock_path(root)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with LockFile(path) as file:
        if not file.acquire(CHECK_SECONDS):
            found = find(root)
            by = f"process {found.pid}" if found else "it has only just started"
            end = "with Ctrl-C where it was started, or with `workflow server stop`"
            raise ServerError(f"`workflow serve` is already running ({by}): stop it first, {end}, or use it")

        def write(reports: str | None = None) -> None:
            file.overwrite(json.dumps(asdict(ServeProcess(os.getpid(), reports))).encode())

        write()
        yield write


def start(root: Path) -> ServeProcess:
    """Returns the running process, or starts one in the background and waits until it accepts runs.

    Raises:
        ServerError: It ends while it starts, or does not accept runs in time.
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
    raise ServerError(f"`workflow serve` did not accept runs within {STARTUP_SECONDS:g} s.\n{log_tail(root)}")


def spawn(root: Path) -> "subprocess.Popen[bytes]":
    """Starts `workflow serve`, detached from this process and its terminal."""
    with log_path(root).open("wb") as output:
        process = subprocess.Popen(
            COMMAND,
            cwd=root,
            env=os.environ | {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO"},  # less is logged on a terminal
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # Reaps the process if it ends before this one does.
    threading.Thread(target=process.wait, name="serve-reaper", daemon=True).start()
    return process


def stop(root: Path) -> bool:
    """Stops `workflow serve` gracefully; returns whether it was running.

    Raises:
        ServerError: It belongs to another user or does not end.
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
            raise ServerError(f"`workflow serve` (process {found.pid}) does not end. Kill it by hand.")
        time.sleep(POLL_SECONDS)
    return True


def log_tail(root: Path) -> str:
    """Returns the last lines of its log and the log's path."""
    lines = log_path(root).read_text(encoding="utf-8", errors="replace").splitlines()
    tail = [line for line in lines if line.strip()][-LOG_LINES_SHOWN:]
    return "\n".join([f"The end of its log, {log_path(root)}:", *(f"  {line}" for line in tail or ["(empty)"])])

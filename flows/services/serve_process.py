"""The process of `workflow serve`, of which a project has one: how it is found, started in the background, and ended.

It holds a lock on a file while it lives, which says where its reports are found. The kernel frees the lock when the
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
from tasks.caching.locking.claims import Claim, has_locked

COMMAND = (sys.executable, "-P", "-m", "flows.cli", "serve")

#: Seconds that it may take to begin; and to end, of which its runs have thirty to keep where they are.
STARTUP_SECONDS, STOP_SECONDS = 120.0, 60.0
POLL_SECONDS = 0.05

#: Seconds for which the lock may be held by somebody who only looks whether it is.
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
    """The file that is locked while somebody serves."""
    return prefect_home(root) / "serve.json"


def log_path(root: Path) -> Path:
    """What it prints when it was started in the background."""
    return prefect_home(root) / "serve.log"


def find(root: Path) -> Serving | None:
    """Who serves now; None if nobody does, or has only just begun to."""
    try:
        with state_path(root).open("rb") as file:
            if has_locked(file.fileno()):
                return None
            return Serving(**json.loads(file.read()))
    except (OSError, ValueError, TypeError):
        return None


@contextlib.contextmanager
def the_only_one(root: Path) -> Iterator[Callable[[str], None]]:
    """Surrounds the process that serves; yields what it calls with the address of its reports when it takes runs.

    Raises:
        ServerError: another one serves.
    """
    path = state_path(root)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = Claim(path, os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    try:
        deadline = time.monotonic() + LOOKING_SECONDS
        while not (free := has_locked(lock.descriptor)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if not free:
            found = find(root)
            by = f"process {found.pid}" if found else "it has only just begun"
            end = "with Ctrl-C where it was started, or with `workflow server stop`"
            raise ServerError(f"`workflow serve` runs already ({by}): end it first, {end}, or use what it offers")
        os.ftruncate(lock.descriptor, 0)
        os.pwrite(lock.descriptor, json.dumps(asdict(Serving(os.getpid()))).encode(), 0)

        def ready(reports: str) -> None:
            # Longer than what it overwrites, which JSON ends for whoever reads meanwhile.
            os.pwrite(lock.descriptor, json.dumps(asdict(Serving(os.getpid(), reports))).encode(), 0)

        yield ready
    finally:
        lock.let_go()


def start(root: Path) -> Serving:
    """Who serves; a process in the background if nobody does yet, as soon as it takes runs.

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
            env=os.environ | {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO"},  # a terminal's are told less
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # Collects the process if it ends before this one does.
    threading.Thread(target=process.wait, name="serve-reaper", daemon=True).start()
    return process


def stop(root: Path) -> bool:
    """Ends who serves, in good order, and returns whether anybody did.

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

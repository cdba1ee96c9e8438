"""Processes with all that they started, so that none is left to load the machine when a test fails."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path


def finish(process: "subprocess.Popen[str]", seconds: float) -> tuple[str, str]:
    """What a process prints until it ends; one that takes longer is killed, with all that it started.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        kill_tree(process)
        raise


def kill_tree(process: "subprocess.Popen[str]") -> None:
    """Kills a process and all that it started, if it has not ended, and closes its pipes."""
    if process.poll() is None:
        started = list(descendants(process.pid))
        process.kill()
        for pid in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.communicate()


def descendants(pid: int) -> Iterator[int]:
    """The processes that a process started and those that they started, as Linux lists them."""
    with contextlib.suppress(OSError):  # it may end meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                yield child
                yield from descendants(child)

"""How much memory there is, for what asks for a lot of it."""

import contextlib
import re
from pathlib import Path

#: Where Linux tells the memory of the machine, and that of a container.
MACHINE = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Bytes that this process can take without others having to give any up; None where nothing tells."""
    known = [amount for amount in (_of_machine(), _of_container()) if amount is not None]
    return min(known, default=None)


def _of_machine() -> int | None:
    with contextlib.suppress(OSError):
        if told := re.search(r"^MemAvailable: +(\d+) kB$", MACHINE.read_text(), re.MULTILINE):
            return int(told[1]) * 1024
    return None


def _of_container() -> int | None:
    """What is left of the limit of a container, under version 2 of Linux' control groups."""
    with contextlib.suppress(OSError, ValueError):  # without a limit, its file says max
        limit, used = (int((CONTAINER / f"memory.{name}").read_text()) for name in ("max", "current"))
        return max(limit - used, 0)
    return None

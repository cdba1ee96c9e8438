"""How much memory is available."""

import contextlib
import re
from pathlib import Path

#: Where Linux reports the memory of the machine, and that of a container.
MACHINE = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Bytes that can be allocated without swapping; None on systems that do not report it."""
    known = [amount for amount in (_of_machine(), _of_container()) if amount is not None]
    return min(known, default=None)


def _of_machine() -> int | None:
    with contextlib.suppress(OSError):
        if found := re.search(r"^MemAvailable: +(\d+) kB$", MACHINE.read_text(), re.MULTILINE):
            return int(found[1]) * 1024
    return None


def _of_container() -> int | None:
    """What is left below the memory limit of a container (cgroups version 2)."""
    with contextlib.suppress(OSError, ValueError):  # the file of no limit contains "max"
        limit, used = (int((CONTAINER / f"memory.{name}").read_text()) for name in ("max", "current"))
        return max(limit - used, 0)
    return None

"""Claims: files that a process holds locked while it lives.

However the process ends (kill -9, a power cut), the kernel frees the lock: a claim that is found free is of the dead.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tasks.caching.store import temporary_file
from tasks.caching.trouble import placed


def hold(path: Path, content: bytes = b"") -> int:
    """Makes a claim; returns the open descriptor that keeps it, until it is closed or the process ends.

    Args:
        path: of the claim; nobody has it yet.
        content: of the file at first.

    Raises:
        OSError: it cannot be written; names the folder.
    """
    with placed(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_file(path.parent) as draft:
            # Programs that are started do not inherit the descriptor.
            descriptor = os.open(draft, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
            try:
                # Locked before it has its name: nobody ever sees it free while its holder lives.
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                os.write(descriptor, content)
                draft.replace(path)
            except BaseException:
                os.close(descriptor)
                raise
    return descriptor


@contextlib.contextmanager
def taken_over(path: Path) -> Iterator[bool]:
    """Whether nobody holds a claim; as long as this lasts, nobody else can find it so."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except (FileNotFoundError, PermissionError):  # ended well meanwhile or taken over by somebody quicker; not ours
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield path.exists()
    finally:
        os.close(descriptor)

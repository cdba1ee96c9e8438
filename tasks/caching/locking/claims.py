"""Claims: files that a process holds locked while it lives.

However the process ends (kill -9, a power cut), the kernel frees the lock: a claim that is found free is of the dead.
Nobody inherits a claim: programs that its holder starts have its descriptor closed by the kernel, and processes that it
forks close it themselves. A child that outlives its parent would otherwise keep what the parent held.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tasks.caching.storage.durable import temporary_file
from tasks.caching.storage.trouble import placed


class Claim:
    """A claim that this process holds, until it lets go of it or ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        _held.add(self)

    @property
    def held(self) -> bool:
        """Whether this process still holds it; a forked child never does."""
        return self in _held

    def write(self, content: bytes) -> None:
        """Appends to the claim's file, in one piece.

        Raises:
            OSError: it cannot be written; names the folder.
        """
        with placed(self.path.parent):
            os.write(self.descriptor, content)

    def rename(self, path: Path) -> None:
        """Gives the claim another path in its folder; it is held all the while."""
        with placed(path.parent):
            self.path.replace(path)
        self.path = path

    def end(self) -> None:
        """Removes the claim's file and lets go of it, in this order: nobody ever finds it free."""
        if self.held:
            self.path.unlink(missing_ok=True)
            self.let_go()

    def let_go(self) -> None:
        """Lets go of the claim; its file stays, and is found free from now on."""
        if self.held:
            _held.remove(self)
            os.close(self.descriptor)


#: The claims that this process holds.
_held: set[Claim] = set()


def hold(path: Path, content: bytes = b"") -> Claim:
    """Makes a claim.

    Args:
        path: of the claim; nobody has it yet.
        content: of the file at first.

    Raises:
        OSError: it cannot be written; names the folder.
    """
    with placed(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_file(path.parent) as draft:
            claim = Claim(path, os.open(draft, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600))
            try:
                # Locked before it has its name: nobody ever sees it free while its holder lives.
                fcntl.flock(claim.descriptor, fcntl.LOCK_EX)
                claim.write(content)
                draft.replace(path)
            except BaseException:
                claim.let_go()
                raise
    return claim


@contextlib.contextmanager
def taken_over(path: Path) -> Iterator[bool]:
    """Whether nobody holds a claim; as long as this lasts, nobody else can find it so."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except (FileNotFoundError, PermissionError):  # ended well meanwhile or taken over by somebody quicker; not ours
        yield False
        return
    try:
        yield has_locked(descriptor) and path.exists()
    finally:
        os.close(descriptor)


def has_locked(descriptor: int) -> bool:
    """Whether nobody else had an open file locked; it is locked from now on, until it is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _inherit_nothing() -> None:
    """Closes, in a forked child, what its parent holds; that unlocks nothing, as an explicit unlock would."""
    for claim in _held:
        os.close(claim.descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_inherit_nothing)

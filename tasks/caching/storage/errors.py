"""Errors of the storage: how they are described, with what to do, and checks that find them before a stage runs."""

import contextlib
import errno
import mmap
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tasks.caching.storage.durable import temporary_file, write_durably
from tasks.caching.storage.store import Store

#: Bytes that must be free before a stage runs: ten times what a run of a preset writes.
ROOM = 16 * 1024 * 1024

#: Bytes of memory that the libraries of a stage take when they are loaded, and that each of their threads takes, of
#: which there is one a core. If they hit a limit, they do not fail but abort the process, or hang in error handling.
MEMORY, MEMORY_PER_CORE = 700 * 1024 * 1024, 24 * 1024 * 1024

#: Files that a process must be able to open in addition to those that are open: twice what a run opens at once.
DESCRIPTORS = 64

FULL = "free some space (`workflow collect` says what can go) and run again"
READ_ONLY = "make the folder writable, or set WORKFLOW_HOME to one that is"
NO_ACCESS = "give your user access to it, or set WORKFLOW_HOME to a folder that is writable"

SHORT = "free some, or raise the limit (`ulimit -v`), and run again"

#: What to do about an error of the operating system, by its number.
ADVICE = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EROFS: READ_ONLY,
    errno.EACCES: NO_ACCESS,
    errno.EPERM: NO_ACCESS,
    errno.EIO: "the disk itself reports it: repair or replace it, then see what is left with `workflow check`",
    errno.EMFILE: "raise the limit (`ulimit -n`) and run again",
    errno.ENFILE: "close other programs, or raise the system's limit, and run again",
    errno.EFBIG: "raise the limit (`ulimit -f`), or use a file system that takes larger files",
    errno.ENOTDIR: "move the file that is in the place of a folder out of the way",
    errno.EXDEV: "only data/ and artifacts/ as a whole can be separate disks: move what is in it to the same disk",
    errno.EEXIST: "move the file that is in the place of a folder out of the way",
    errno.EISDIR: "move the folder that is in the place of a file out of the way, as `workflow check --repair` does",
}


#: Errors of the storage that may be gone a minute later, when space was freed or a server is back.
TRANSIENT = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.EAGAIN,
        errno.EBUSY,
        errno.ENOMEM,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)


def is_transient(error: BaseException) -> bool:
    """Whether an error, or one that caused it, is of the storage and may be gone when the work is retried."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno in TRANSIENT:
            return True
        found = found.__cause__
    return False


def describe_error(error: BaseException) -> str:
    """Returns an error in one line; an error of the storage with its path and with what to do."""
    if isinstance(error, MemoryError) and not str(error):
        return f"Memory has run out; {SHORT}"
    if isinstance(error, OSError) and error.errno in ADVICE:
        place = error.filename2 or error.filename  # of a rename, what was to be replaced
        what = f"{error.strerror or os.strerror(error.errno)}; {ADVICE[error.errno]}"
        return what if place is None else f"{place}: {what}"
    return str(error) or type(error).__name__


def require_room(store: Store) -> None:
    """Checks, before anything is computed, that the store can be written, and that disk and memory have room.

    Raises:
        OSError: the store cannot be written; names the folder.
        MemoryError: the libraries of the stages cannot be loaded.
    """
    require_memory()
    for folder in (store.locate("data"), store.records):
        require_free(folder, ROOM)
        with naming_folder(folder), temporary_file(folder) as probe:
            write_durably(probe, b"can this be written?")


def require_no_folder(path: Path) -> None:
    """Checks that no folder is in the place of a file that is to be written.

    Raises:
        IsADirectoryError: there is one.
    """
    if path.is_dir() and not path.is_symlink():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def require_free(folder: Path, room: int) -> None:
    """Creates a folder, and checks that so many bytes are free on its disk.

    Raises:
        OSError: it cannot be created, or fewer bytes are free.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder).free) < room:
        raise OSError(errno.ENOSPC, f"Only {free / 1e6:.1f} MB are free, and {room / 1e6:.0f} are needed", str(folder))


def require_memory() -> None:
    """Checks that this process can allocate the memory that the libraries of the stages need, unless they are loaded.

    Raises:
        MemoryError: it cannot.
    """
    if "torch" in sys.modules:
        return
    needed = MEMORY + MEMORY_PER_CORE * (os.cpu_count() or 1)
    try:
        mmap.mmap(-1, needed, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ).close()
    except OSError as error:
        raise MemoryError(
            f"this process cannot allocate another {needed / 1e6:,.0f} MB of memory, which its libraries need; {SHORT}"
        ) from error


def require_descriptors() -> None:
    """Checks that this process can open as many files as a run needs: without them, Prefect waits forever.

    Raises:
        OSError: it cannot.
    """
    with contextlib.ExitStack() as opened:
        for _ in range(DESCRIPTORS):
            opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))


@contextlib.contextmanager
def naming_folder(folder: Path) -> Iterator[None]:
    """Lets an error of the storage name a folder instead of a temporary file in it."""
    try:
        yield
    except OSError as error:
        error.filename = str(folder)
        raise

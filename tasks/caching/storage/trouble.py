"""Trouble with the storage in words: what happened, where, and what to do about it."""

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

#: Bytes of memory that the libraries of a stage take when they are loaded, and those of the threads that they start, by
#: core. Where a limit comes before, they do not fail but end the process, or hang in the midst of an error.
MEMORY, MEMORY_PER_CORE = 700 * 1024 * 1024, 24 * 1024 * 1024

#: Files that a process must be able to open beside those that are open: twice what a run has open at once.
DESCRIPTORS = 64

FULL = "free some space (`workflow collect` says what can go) and run again"
CLOSED = "make the folder writable, or set WORKFLOW_HOME to one that is"

SHORT = "free some, or raise the limit (`ulimit -v`), and run again"

#: What to do about an error of the operating system, by its number.
ADVICE = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EROFS: CLOSED,
    errno.EACCES: CLOSED,
    errno.EPERM: CLOSED,
    errno.EIO: "the disk itself reports it: mend or replace it, then see what is left with `workflow check`",
    errno.EMFILE: "raise the limit (`ulimit -n`) and run again",
    errno.ENFILE: "close other programs, or raise the system's limit, and run again",
    errno.EFBIG: "raise the limit (`ulimit -f`), or use a file system that takes larger files",
    errno.ENOTDIR: "move the file that lies where a folder belongs out of the way",
    errno.EXDEV: "of a store, only data/ and artifacts/ as a whole may be disks of their own: move what is in it there",
    errno.EEXIST: "move the file that lies where a folder belongs out of the way",
    errno.EISDIR: "move the folder that lies where a file belongs out of the way, as `workflow check --repair` does",
}


#: Errors of the storage that may be gone a minute later, when somebody has made room or a server is back.
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
    """Whether an error, or one that led to it, is of the storage and may be gone when the work is done again."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno in TRANSIENT:
            return True
        found = found.__cause__
    return False


def tell_error(error: BaseException) -> str:
    """An error in one line; of the storage's errors, with the place and with what to do."""
    if isinstance(error, MemoryError) and not str(error):
        return f"Memory has run out; {SHORT}"
    if isinstance(error, OSError) and error.errno in ADVICE:
        place = error.filename2 or error.filename  # of a rename, what was to be replaced
        what = f"{error.strerror or os.strerror(error.errno)}; {ADVICE[error.errno]}"
        return what if place is None else f"{place}: {what}"
    return str(error) or type(error).__name__


def require_room(store: Store) -> None:
    """Shows, before anything is computed, that a store can be written, and that its disk and memory have room.

    Raises:
        OSError: of what would have gone wrong; with the folder.
        MemoryError: what computes cannot be loaded.
    """
    require_memory()
    for folder in (store.locate("data"), store.records):
        require_free(folder, ROOM)
        with placed(folder), temporary_file(folder) as probe:
            write_durably(probe, b"can this be written?")


def require_no_folder(path: Path) -> None:
    """Shows that no folder lies where a file is to be written.

    Raises:
        IsADirectoryError: one does.
    """
    if path.is_dir() and not path.is_symlink():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def require_free(folder: Path, room: int) -> None:
    """Makes a folder, and shows that so many bytes are free on its disk.

    Raises:
        OSError: it cannot be made, or fewer are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder).free) < room:
        raise OSError(errno.ENOSPC, f"Only {free / 1e6:.1f} MB are free, and {room / 1e6:.0f} are needed", str(folder))


def require_memory() -> None:
    """Shows that this process may take the memory that the libraries of the stages need, unless it has loaded them.

    Raises:
        MemoryError: it may not.
    """
    if "torch" in sys.modules:
        return
    needed = MEMORY + MEMORY_PER_CORE * (os.cpu_count() or 1)
    try:
        mmap.mmap(-1, needed, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ).close()
    except OSError as error:
        raise MemoryError(
            f"this process may not take {needed / 1e6:,.0f} MB of memory more, which its libraries need; {SHORT}"
        ) from error


def require_descriptors() -> None:
    """Shows that this process can open as many files as a run needs: Prefect, short of them, waits for ever.

    Raises:
        OSError: it cannot.
    """
    with contextlib.ExitStack() as opened:
        for _ in range(DESCRIPTORS):
            opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))


@contextlib.contextmanager
def placed(folder: Path) -> Iterator[None]:
    """Lets an error of the storage name a folder in place of a temporary file in it."""
    try:
        yield
    except OSError as error:
        error.filename = str(folder)
        raise

"""The database of the project's own Prefect server: detection of damage and of other versions of Prefect.

It holds what Prefect shows of the runs; their results are in the store, which does not depend on it. A damaged database
is therefore moved aside and a new one created, but only if SQLite reports damage: a database that is locked, or that
cannot be read right now, is not damaged. No other module opens it.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from flows.environment.settings import ServerError
from tasks.caching.storage.durable import fsync_folder

#: The database file, SQLite's write-ahead log and the log's index.
FILES = ("prefect.db", "prefect.db-wal", "prefect.db-shm")

#: Time limits of the check before each start, enough for half a gigabyte, and of the one after a failed start.
CHECK_SECONDS, LONG_CHECK_SECONDS = 2.0, 60.0

#: SQLite's result codes that mean a damaged file: SQLITE_CORRUPT and SQLITE_NOTADB.
DAMAGE_CODES = (11, 26)

#: Prefixes of `quick_check` findings about the content of rows, which the server tolerates.
TOLERATED = ("NULL value in", "CHECK constraint failed", "NUMERIC value in", "TEXT value in", "non-")

#: The byte range in which every process with the database open holds a read lock.
SHARED_FIRST, SHARED_SIZE = 0x40000000 + 2, 510

#: The table with the schema version.
VERSION_TABLE = "alembic_version"

#: Tables that the server cannot do without.
REQUIRED_TABLES = ("flow", "flow_run", "flow_run_state", "task_run", "task_run_state", "deployment", "artifact")

#: SQLite virtual machine instructions between two checks of the time limit.
PROGRESS_STEPS = 1000


def set_aside_if_damaged(home: Path, notify: Callable[[str], None], seconds: float = CHECK_SECONDS) -> bool:
    """Moves a damaged database aside. Call it only while no server is being started.

    Args:
        home: Of Prefect, inside the project.
        notify: Called with one line if the database was damaged.
        seconds: Time limit of the check; damage that is not found in time is ignored.

    Returns:
        Whether the database was damaged.

    Raises:
        ServerError: It is damaged, and a process has it open.
        OSError: It cannot be moved.
    """
    damage = find_damage(home, seconds)
    if not damage:
        return False
    path = home / FILES[0]
    if is_open(path):
        raise ServerError(
            f"The database of the Prefect server, {path}, is damaged ({damage}), and a process still has it open. "
            "Stop that process and try again."
        )
    aside = set_aside(home)
    notify(
        f"The database of the Prefect server is damaged ({damage}): it was moved to {aside}, and a new one is "
        "created. Runs and artifacts are not affected; earlier runs are no longer shown in the UI, and alerts have to "
        "be created again."
    )
    return True


def find_damage(home: Path, seconds: float = CHECK_SECONDS) -> str:
    """Returns what SQLite finds wrong with the structure of the database; empty if nothing, or if it cannot check."""
    import sqlite3

    path, log = home / FILES[0], home / FILES[1]
    # Unlike Path's methods, these do not raise if the folder may not be entered. Opening a named pipe would block
    # forever.
    for name in FILES:
        if os.path.lexists(home / name) and not os.path.isfile(home / name):  # noqa: PTH113
            return f"{name} is not a regular file, or a broken symlink"
    try:
        if path.stat().st_size == 0 and log.stat().st_size > 0:
            return "it is empty, except for pending changes"  # which SQLite would discard silently
    except OSError:
        pass
    try:
        findings = query(path, "PRAGMA quick_check(100)", seconds)
    except sqlite3.Error as error:
        # The upper bytes hold the extended result code.
        return str(error) if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE_CODES else ""
    found = (text.splitlines()[0] for text in findings if text != "ok" and not text.startswith(TOLERATED))
    return next(found, "") or find_missing_tables(path)


def find_missing_tables(path: Path) -> str:
    """Returns what a database with a schema lacks, which the server would not create again; empty if nothing."""
    import sqlite3

    try:
        tables = query(path, "SELECT name FROM sqlite_master WHERE type = 'table'", CHECK_SECONDS)
        if VERSION_TABLE not in tables:  # created first
            return f"it has no table {VERSION_TABLE}" if tables else ""
        revisions = query(path, f"SELECT version_num FROM {VERSION_TABLE}", CHECK_SECONDS)  # noqa: S608 (a constant)
    except sqlite3.Error:  # unknown
        return ""
    if not revisions:  # the server would then create all tables, and fail on one that exists
        return f"its table {VERSION_TABLE} is empty" if any(not is_internal_table(name) for name in tables) else ""
    if unknown_revisions(revisions):  # a later version, which may have other tables
        return ""
    return next((f"it has no table {name}" for name in REQUIRED_TABLES if name not in tables), "")


def is_internal_table(table: str) -> bool:
    """Whether a table is SQLite's own or the one with the schema version, which is created first."""
    return table == VERSION_TABLE or table.startswith("sqlite_")


def query(path: Path, statement: str, seconds: float) -> list[str]:
    """Returns the first column of a read-only query.

    Raises:
        sqlite3.Error: The query fails or does not finish in time.
    """
    import sqlite3

    deadline = time.monotonic() + seconds
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0.0)
    try:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, PROGRESS_STEPS)
        return [str(row[0]) for row in connection.execute(statement)]
    finally:
        connection.close()


def is_open(path: Path) -> bool:
    """Whether a process has a database open."""
    if not path.is_file():
        return False
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, SHARED_SIZE, SHARED_FIRST)
        except (BlockingIOError, PermissionError):
            return True
    return False


def set_aside(home: Path) -> Path:
    """Moves the files of the database into a folder of their own, durably; returns the new path."""
    folder = home / f"damaged-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    folder.mkdir(mode=0o700)
    for name in FILES:  # if killed in between, SQLite ignores a log without its database
        if os.path.lexists(home / name):
            (home / name).rename(folder / name)
    fsync_folder(folder)
    fsync_folder(home)
    return folder / FILES[0]


def require_known_schema(home: Path) -> None:
    """Checks that the database was not created by a later version of Prefect, which its server would fail on.

    Raises:
        ServerError: It was.
    """
    import sqlite3

    path = home / FILES[0]
    try:
        found = query(path, "SELECT version_num FROM alembic_version", CHECK_SECONDS)
    except sqlite3.Error:
        return
    for revision in unknown_revisions(found):
        raise ServerError(
            f"The database of the Prefect server, {path}, has the schema {revision[:40]!r}, which Prefect "
            f"{version('prefect')} does not know: a later version created it. Install that version again, or move "
            "the file elsewhere to start with a new one. Runs and artifacts are not affected."
        )


def is_current(home: Path) -> bool:
    """Whether the database has the schema of the installed version of Prefect, so that a server does not change it."""
    import sqlite3

    try:
        revisions = query(home / FILES[0], f"SELECT version_num FROM {VERSION_TABLE}", CHECK_SECONDS)  # noqa: S608
    except sqlite3.Error:
        return False
    latest = "".join(migration.read_text("utf-8") for migration in migrations()[:1])
    return len(revisions) == 1 and f'\nrevision = "{revisions[0]}"' in latest


def unknown_revisions(revisions: Iterable[str]) -> list[str]:
    """Returns the revisions that the installed version of Prefect does not know; none if that is unclear."""
    known = [migration.read_text("utf-8") for migration in migrations()]
    return [
        revision for revision in revisions if known and not any(f'revision = "{revision}"' in text for text in known)
    ]


def migrations() -> list[Path]:
    """Returns the migration files of Prefect's server, latest first; each names the revision it creates."""
    spec = find_spec("prefect")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent / "server" / "database" / "_migrations" / "versions" / "sqlite"
    return sorted(folder.glob("*.py"), reverse=True)

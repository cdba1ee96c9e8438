"""The database of the project's own Prefect server, where it is damaged or of another version of Prefect.

It holds what Prefect shows of the runs; what the runs made lies in the store, which knows nothing of it. So a damaged
one is moved aside and a new one begins, but only on the word of SQLite: a database that is locked, or that cannot be
read just now, is not damaged. No other module looks into it.
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

#: The database's file, and those in which SQLite keeps the latest changes and what of them is where.
NAMES = ("prefect.db", "prefect.db-wal", "prefect.db-shm")

#: Seconds for which a database is looked through before each start, enough for half a gigabyte; and after a start that
#: failed.
CHECK_SECONDS, LONG_CHECK_SECONDS = 2.0, 60.0

#: SQLite's results of which only a damaged file is the reason: SQLITE_CORRUPT and SQLITE_NOTADB.
DAMAGED = (11, 26)

#: How a finding of `quick_check` begins that is about the content of rows, which the server can live with.
CONTENT = ("NULL value in", "CHECK constraint failed", "NUMERIC value in", "TEXT value in", "non-")

#: The bytes of which every process that has the database open holds one locked for reading.
SHARED_FIRST, SHARED_SIZE = 0x40000000 + 2, 510

#: The table that says which version of Prefect made the others.
VERSIONS = "alembic_version"

#: Tables without which every request to the server fails.
TABLES = ("flow", "flow_run", "flow_run_state", "task_run", "task_run_state", "deployment", "artifact")

#: Instructions of SQLite's machine between two looks at the clock.
STEPS = 1000


def set_aside_if_damaged(home: Path, notify: Callable[[str], None], seconds: float = CHECK_SECONDS) -> bool:
    """Moves a damaged database aside; no server is being started meanwhile.

    Args:
        home: of Prefect, inside the project.
        notify: gets one line if there was one.
        seconds: for which it is looked through; what has not been found by then does not count.

    Returns:
        Whether there was one.

    Raises:
        ServerError: there is one, and a process has it open.
        OSError: it cannot be moved.
    """
    damage = find_damage(home, seconds)
    if not damage:
        return False
    path = home / NAMES[0]
    if is_open(path):
        raise ServerError(
            f"The database of the Prefect server, {path}, is damaged ({damage}), and a process still has it open. "
            "End that process and try again."
        )
    aside = set_aside(home)
    notify(
        f"The database of the Prefect server is damaged ({damage}): it was moved to {aside}, and a new one begins. "
        "Runs and artifacts are not affected; earlier runs are no longer shown in the UI, and alerts are to be created "
        "again."
    )
    return True


def find_damage(home: Path, seconds: float = CHECK_SECONDS) -> str:
    """What SQLite finds wrong with the structure of the database; empty if nothing, or if it cannot say."""
    import sqlite3

    path, log = home / NAMES[0], home / NAMES[1]
    # Unlike those of Path, these take no for an answer where the folder may not be entered. A named pipe would be
    # waited for without end.
    for name in NAMES:
        if os.path.lexists(home / name) and not os.path.isfile(home / name):  # noqa: PTH113
            return f"{name} is a folder or no plain file, or a link to nothing"
    try:
        if path.stat().st_size == 0 and log.stat().st_size > 0:
            return "it is empty, but for changes that were to be made in it"  # which SQLite would remove without a word
    except OSError:
        pass
    try:
        findings = query(path, "PRAGMA quick_check(100)", seconds)
    except sqlite3.Error as error:
        # The upper bytes only tell the cases of one result from each other.
        return str(error) if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED else ""
    found = (text.splitlines()[0] for text in findings if text != "ok" and not text.startswith(CONTENT))
    return next(found, "") or find_gap(path)


def find_gap(path: Path) -> str:
    """What a database lacks whose schema was made, which the server does not make again; empty if nothing."""
    import sqlite3

    try:
        tables = query(path, "SELECT name FROM sqlite_master WHERE type = 'table'", CHECK_SECONDS)
        if VERSIONS not in tables:  # which is made first
            return f"it has no table {VERSIONS}" if tables else ""
        revisions = query(path, f"SELECT version_num FROM {VERSIONS}", CHECK_SECONDS)  # noqa: S608 (a constant)
    except sqlite3.Error:  # it does not say
        return ""
    if not revisions:  # the server makes all tables then, and fails on one that is there
        return f"its table {VERSIONS} is empty" if any(not is_own(name) for name in tables) else ""
    if unknown_revisions(revisions):  # of a later version, which may have other tables
        return ""
    return next((f"it has no table {name}" for name in TABLES if name not in tables), "")


def is_own(table: str) -> bool:
    """Whether a table is SQLite's own, or the one that is made before all others."""
    return table == VERSIONS or table.startswith("sqlite_")


def query(path: Path, statement: str, seconds: float) -> list[str]:
    """The first column of what a database answers, which is not changed.

    Raises:
        sqlite3.Error: it does not answer, or not in time.
    """
    import sqlite3

    deadline = time.monotonic() + seconds
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0.0)
    try:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
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
    """Moves the files of the database into a folder of their own, durably; where it is now."""
    folder = home / f"damaged-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    folder.mkdir(mode=0o700)
    for name in NAMES:  # of a log without its database, which a kill between two of them leaves, SQLite takes nothing
        if os.path.lexists(home / name):
            (home / name).rename(folder / name)
    fsync_folder(folder)
    fsync_folder(home)
    return folder / NAMES[0]


def require_known_schema(home: Path) -> None:
    """Shows that the database was not made by a later version of Prefect, which its server would fail on.

    Raises:
        ServerError: it was.
    """
    import sqlite3

    path = home / NAMES[0]
    try:
        found = query(path, "SELECT version_num FROM alembic_version", CHECK_SECONDS)
    except sqlite3.Error:
        return
    for revision in unknown_revisions(found):
        raise ServerError(
            f"The database of the Prefect server, {path}, has the schema {revision[:40]!r}, which Prefect "
            f"{version('prefect')} does not know: a later version has made it. Install that version again, or move "
            "the file elsewhere to begin a new one. Runs and artifacts are not affected."
        )


def unknown_revisions(revisions: Iterable[str]) -> list[str]:
    """Those of some schemas that the installed version of Prefect does not know; none where that cannot be told."""
    known = [migration.read_text("utf-8") for migration in migrations()]
    return [
        revision for revision in revisions if known and not any(f'revision = "{revision}"' in text for text in known)
    ]


def migrations() -> list[Path]:
    """The files with which Prefect's server upgrades its database, the latest first; each names the schema it makes."""
    spec = find_spec("prefect")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent / "server" / "database" / "_migrations" / "versions" / "sqlite"
    return sorted(folder.glob("*.py"), reverse=True)

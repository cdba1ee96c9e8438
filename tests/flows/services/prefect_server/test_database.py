"""The database of the project's own server: a damaged one is moved aside, and no other."""

import contextlib
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.environment.settings import ServerError, prefect_home
from flows.services.prefect_server import database
from flows.services.prefect_server.database import (
    FILES,
    find_damage,
    is_open,
    query,
    require_known_schema,
    set_aside_if_damaged,
)

Make = Callable[[], Path]

#: Writes to a database and exits without closing it, like a killed server: its last change is in the log.
LEAVE = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE flow_run (id INTEGER PRIMARY KEY, name TEXT NOT NULL, notes TEXT)")
connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
connection.execute("INSERT INTO alembic_version VALUES ('0123456789ab')")  # of a version that may have other tables
connection.execute("CREATE INDEX by_name ON flow_run (name)")
rows = [(number, f"run {number}", "x" * 300) for number in range(500)]
connection.execute("BEGIN")
connection.executemany("INSERT INTO flow_run VALUES (?, ?, ?)", rows)
connection.execute("COMMIT")
connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
connection.execute("UPDATE flow_run SET notes = 'changed' WHERE id = 0")
os._exit(0)
"""

#: Keeps a database open until its stdin is closed.
HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("SELECT count(*) FROM flow_run").fetchall()
if "writing" in sys.argv:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO flow_run VALUES (1000, 'a run', NULL)")
print("open", flush=True)
sys.stdin.read()
"""


def scramble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    generator = random.Random(0)
    for place in range(4096 * 10, 4096 * 20):
        content[place] = generator.randrange(256)
    path.write_bytes(content)


def clear_header(path: Path) -> None:
    path.write_bytes(bytes(100) + path.read_bytes()[100:])


#: Damages to the file of a database.
DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut off": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut off to a page": lambda path: os.truncate(path, 4096),
    "cut off in its header": lambda path: os.truncate(path, 10),
    "garbage": lambda path: path.write_bytes(random.Random(0).randbytes(100_000)),
    "a text": lambda path: path.write_text("not a database"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "without a header": clear_header,
    "scrambled": scramble,
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Prefect's home of a project."""
    home = prefect_home(tmp_path)
    home.mkdir()
    return home


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of an intact database, as a killed server leaves them."""
    folder = tmp_path_factory.mktemp("left")
    subprocess.run([sys.executable, "-c", LEAVE, str(folder / FILES[0])], check=True)
    return folder


@pytest.fixture
def make(left: Path, home: Path) -> Make:
    """Gives the project a database in a given state."""

    def make() -> Path:
        shutil.copytree(left, home, dirs_exist_ok=True)
        return home / FILES[0]

    return make


def is_whole(path: Path) -> bool:
    """Whether everything is in the database, including the last change."""
    counted = query(path, "SELECT count(*) FROM flow_run", 1.0)
    return counted == ["500"] and query(path, "SELECT notes FROM flow_run WHERE id = 0", 1.0) == ["changed"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def hold() -> Iterator[Callable[..., None]]:
    """Makes another process open a database."""
    held: list[subprocess.Popen[str]] = []

    def begin(path: Path, *options: str) -> None:
        command = [sys.executable, "-c", HOLD, str(path), *options]
        held.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert held[-1].stdout is not None
        assert held[-1].stdout.readline() == "open\n"

    yield begin
    for process in held:
        process.communicate()


# --- Damaged ones


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("log", ["none", "its own", "garbage"])
def test_a_damaged_database_is_moved_aside_with_its_log(
    home: Path, make: Make, damage: Callable[[Path], object], log: str
) -> None:
    path = make()
    damage(path)
    for name in FILES[1:]:
        if log == "none":
            (home / name).unlink()
        elif log == "garbage":
            (home / name).write_bytes(random.Random(1).randbytes(40_000))
    before = contents(home)
    reported: list[str] = []
    assert set_aside_if_damaged(home, reported.append)
    (folder,) = home.iterdir()
    assert folder.name.startswith("damaged-20")
    kept = contents(folder)
    assert kept[FILES[0]] == before[FILES[0]]
    assert before.keys() <= kept.keys()
    assert len(reported) == 1
    assert f"it was moved to {folder / FILES[0]}, and a new one is created" in reported[0]
    make()
    assert is_whole(path)
    assert not set_aside_if_damaged(home, reported.append)


def test_a_database_that_is_empty_beside_its_log_is_damaged(home: Path, make: Make) -> None:
    """SQLite would remove the log silently."""
    path = make()
    os.truncate(path, 0)
    log = (home / FILES[1]).read_bytes()
    reported: list[str] = []
    assert set_aside_if_damaged(home, reported.append)
    (folder,) = home.iterdir()
    assert (folder / FILES[1]).read_bytes() == log


def test_two_damaged_databases_are_kept_apart(home: Path) -> None:
    for content in ("one", "two"):
        (home / FILES[0]).write_text(content)
        assert set_aside_if_damaged(home, lambda text: None)
    assert sorted(contents(home).values()) == [b"one", b"two"]


def test_a_kill_while_it_is_moved_does_no_harm(home: Path, make: Make) -> None:
    """The database has been moved, but not its log."""
    path = make()
    path.rename(home / "elsewhere")
    assert find_damage(home) == ""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


# --- Those that are not damaged


def test_an_intact_database_stays(home: Path, make: Make) -> None:
    path = make()
    assert not set_aside_if_damaged(home, pytest.fail)
    assert is_whole(path)
    assert {each.name for each in home.iterdir()} == set(FILES)


@pytest.mark.parametrize("log", [b"", random.Random(1).randbytes(40_000)], ids=["empty", "garbage"])
def test_an_invalid_log_leaves_the_database_as_it_was(home: Path, make: Make, log: bytes) -> None:
    path = make()
    for name in FILES[1:]:
        (home / name).write_bytes(log)
    assert not set_aside_if_damaged(home, pytest.fail)
    assert query(path, "SELECT count(*) FROM flow_run", 1.0) == ["500"]


def test_a_missing_or_new_database_is_not_damaged(home: Path) -> None:
    assert not set_aside_if_damaged(home, pytest.fail)
    (home / FILES[0]).touch()
    assert not set_aside_if_damaged(home, pytest.fail)


@pytest.mark.parametrize("options", [(), ("writing",)], ids=["read", "written"])
def test_a_database_in_use_stays(home: Path, make: Make, hold: Callable[..., None], options: tuple[str, ...]) -> None:
    path = make()
    hold(path, *options)
    assert is_open(path)
    assert not set_aside_if_damaged(home, pytest.fail)
    assert is_whole(path)


def test_a_locked_database_stays(home: Path, make: Make) -> None:
    path = make()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("BEGIN EXCLUSIVE")
    assert not set_aside_if_damaged(home, pytest.fail)
    connection.close()
    assert is_whole(path)


def test_a_damaged_database_in_use_stays_and_is_reported(home: Path, make: Make, hold: Callable[..., None]) -> None:
    path = make()
    hold(path)
    scramble(path)
    with pytest.raises(ServerError, match=rf"{path}, is damaged \(.*\), and a process still has it open\. Stop"):
        set_aside_if_damaged(home, pytest.fail)
    assert path.exists()


#: Reasons why a process cannot read an intact database.
HINDRANCES = {
    "no more files": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))",
    "no room": (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    ),
    "another user": "import os; os.geteuid() or os.setuid(65534)",
}


#: Checks whether a database is damaged, and whether it can be read at all.
HINDERED = """
import pathlib, sqlite3, sys
from flows.services.prefect_server.database import FILES, query, set_aside_if_damaged
{hindrance}
home = pathlib.Path(sys.argv[1])
print(set_aside_if_damaged(home, print))
try:
    query(home / FILES[0], "PRAGMA quick_check", 1.0)
except sqlite3.OperationalError:
    print("unread")
"""


@pytest.mark.parametrize("hindrance", HINDRANCES.values(), ids=HINDRANCES)
def test_an_unreadable_database_stays(home: Path, make: Make, hindrance: str) -> None:
    path = make()
    (home / FILES[2]).unlink()
    path.chmod(0o600)
    command = [sys.executable, "-c", HINDERED.format(hindrance=hindrance), str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\nunread\n", done.stderr
    assert is_whole(path)


def test_a_disk_error_is_not_damage(home: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    failed = sqlite3.OperationalError("disk I/O error")
    failed.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ

    def fail(*arguments: object) -> list[str]:
        raise failed

    monkeypatch.setattr(database, "query", fail)
    assert not set_aside_if_damaged(home, pytest.fail)


def test_a_database_that_takes_too_long_to_check_stays(home: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    scramble(make())
    monkeypatch.setattr(database, "PROGRESS_STEPS", 1)
    assert find_damage(home) != ""
    assert not set_aside_if_damaged(home, pytest.fail, seconds=0.0)


def test_rows_that_violate_a_constraint_are_not_damage(home: Path, make: Make) -> None:
    """The server tolerates what an upgrade of Prefect has left in its tables."""
    path = make()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'notes TEXT', 'notes TEXT NOT NULL')")
    connection.execute("UPDATE flow_run SET notes = NULL WHERE id = 7")
    connection.commit()
    connection.close()
    assert query(path, "PRAGMA quick_check", 1.0) == ["NULL value in flow_run.notes"]
    assert not set_aside_if_damaged(home, pytest.fail)


# --- Those of a later version of Prefect


def write_schema(path: Path, revision: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM alembic_version")
    connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    connection.commit()
    connection.close()


def test_a_database_of_a_later_version_is_rejected_and_stays(home: Path, make: Make) -> None:
    path = make()
    write_schema(path, "0123456789ab")
    with pytest.raises(
        ServerError, match=rf"{path}, has the schema '0123456789ab', which Prefect 3\.\S+ does not know"
    ):
        require_known_schema(home)
    assert not set_aside_if_damaged(home, pytest.fail)
    assert path.exists()


def test_every_revision_of_prefect_is_known(home: Path, make: Make) -> None:
    files = [path.read_text() for path in database.migrations()]
    known = {match[1] for text in files if (match := re.search(r'^revision = "(\w+)"', text, re.MULTILINE))}
    assert len(known) == len(files) > 100
    path = make()
    for revision in sorted(known)[::10]:
        write_schema(path, revision)
        require_known_schema(home)


def test_a_revision_is_known_if_prefect_moves_its_migrations(
    home: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_schema(make(), "0123456789ab")
    monkeypatch.setattr(database, "migrations", list)
    require_known_schema(home)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "take_place",
    [lambda path: path.mkdir(), lambda path: path.symlink_to("nowhere"), os.mkfifo],
    ids=["folder", "dangling link", "named pipe"],
)
def test_anything_but_a_file_is_moved_aside(tmp_path: Path, take_place: Callable[[Path], None], name: str) -> None:
    take_place(tmp_path / name)
    lines: list[str] = []
    assert set_aside_if_damaged(tmp_path, lines.append)
    assert f"{name} is not a regular file, or a broken symlink" in lines[0]
    assert not os.path.lexists(tmp_path / name)
    (aside,) = tmp_path.glob("damaged-*")
    assert os.path.lexists(aside / name)


def test_a_database_without_a_version_is_damaged(home: Path, make: Make) -> None:
    path = make()
    write_schema(path, "0123456789ab")
    assert find_damage(home) == ""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE alembic_version")
        connection.execute("CREATE TABLE flow (id TEXT)")
        connection.commit()
    assert find_damage(home) == "it has no table alembic_version"


def test_a_link_to_an_intact_database_stays(make: Make, tmp_path: Path) -> None:
    path = make()
    moved = path.rename(tmp_path / "elsewhere.db")
    path.symlink_to(moved)
    assert not set_aside_if_damaged(path.parent, print)


def newest_revision() -> str:
    """The newest schema revision of the installed version of Prefect."""
    found = re.search(r'^revision = "(\w+)"', database.migrations()[0].read_text(), re.MULTILINE)
    assert found
    return found[1]


@pytest.mark.parametrize("table", database.REQUIRED_TABLES)
def test_a_missing_table_is_damage(tmp_path: Path, table: str) -> None:
    path = tmp_path / FILES[0]
    with sqlite3.connect(path) as connection:
        for name in (*database.REQUIRED_TABLES, "alembic_version"):
            connection.execute(f"CREATE TABLE {name} (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (newest_revision(),))
    assert find_damage(tmp_path) == ""
    with sqlite3.connect(path) as connection:
        connection.execute(f"DROP TABLE {table}")
    assert find_damage(tmp_path) == f"it has no table {table}"


def test_tables_without_a_version_are_damage(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILES[0]) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT)")
        connection.execute("DROP TABLE counted")  # leaves a table of SQLite's own
    assert find_damage(tmp_path) == "", "a schema that is about to be made"
    with sqlite3.connect(tmp_path / FILES[0]) as connection:
        connection.execute("CREATE TABLE flow (id TEXT)")
    assert find_damage(tmp_path) == "its table alembic_version is empty"
    lines: list[str] = []
    assert set_aside_if_damaged(tmp_path, lines.append)
    assert "alembic_version is empty" in lines[0]
    assert not (tmp_path / FILES[0]).exists()

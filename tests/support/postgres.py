"""A PostgreSQL server of a test's own, of Debian's package, on loopback."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

LOOPBACK = "127.0.0.1"


def find_programs() -> Path:
    """The folder of the newest version's programs; skips the test where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    return found[-1].parent


@contextlib.contextmanager
def running_postgres(port: int) -> Iterator[str]:
    """A server with an empty database; yields the address that Prefect takes for it."""
    programs = find_programs()
    # Not in pytest's own folder, which only its owner may enter: PostgreSQL does not run as root.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    owner = ("runuser", "-u", "postgres", "--") if os.geteuid() == 0 else ()
    if owner:
        shutil.chown(folder, "postgres")

    def run(program: str, *arguments: str) -> None:
        command = [*owner, str(programs / program), *arguments]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    data = str(folder / "data")
    try:
        run("initdb", "--pgdata", data, "--username", "prefect", "--auth", "trust")
        options = f"-c listen_addresses={LOOPBACK} -c port={port} -c unix_socket_directories={folder}"
        run("pg_ctl", "--pgdata", data, "--wait", "--log", str(folder / "log"), "--options", options, "start")
        try:
            run("createdb", "--host", LOOPBACK, "--port", str(port), "--username", "prefect", "prefect")
            yield f"postgresql+asyncpg://prefect@{LOOPBACK}:{port}/prefect"
        finally:
            run("pg_ctl", "--pgdata", data, "--wait", "--mode", "fast", "stop")
    finally:
        shutil.rmtree(folder)

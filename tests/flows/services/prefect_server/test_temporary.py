"""The server of `--ephemeral` starts and ends with a session, however the process ends."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.environment.settings import ServerError
from flows.services.prefect_server import server_process
from flows.services.prefect_server.server_process import Server
from flows.services.prefect_server.temporary import TemporaryServer, temporary_server

#: Starts a server and prints its process once it responds; then waits to be stopped.
START = """
import sys
from pathlib import Path
from flows.environment.settings import configure_prefect
from flows.services.prefect_server.temporary import temporary_server
root = Path(sys.argv[1])
configure_prefect(root)
with temporary_server(root, print) as server:
    server.wait()
    print(server._process.pid, server._process.identity, server._process.port, flush=True)
    sys.stdin.read()
"""


def start(root: Path) -> tuple[subprocess.Popen[str], Server]:
    """Starts a process with a temporary server, as the leader of a process group like in a shell; returns both."""
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(root)],
        env=os.environ | {"PREFECT_API_URL": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    pid, identity, port = process.stdout.readline().split()
    return process, Server(int(pid), int(port), identity, time.time())


def test_a_crowd_creates_one_database(tmp_path: Path) -> None:
    """Migrations that run at once fail, and a database that is being created looks damaged to others."""
    with ThreadPoolExecutor() as pool:
        started = list(pool.map(start, [tmp_path] * 3))
    try:
        assert all(server_process.is_alive(server) for _, server in started)
        assert list((tmp_path / ".prefect").glob("damaged-*")) == []
    finally:
        for process, _ in started:
            with process:
                process.kill()


def test_without_space_it_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 0))
    with pytest.raises(ServerError, match=r"Only 0.0 MB are free"), temporary_server(tmp_path, pytest.fail):
        pass


def ends(server: Server, seconds: float = 20.0) -> bool:
    """Whether a server's process ends in time."""
    deadline = time.monotonic() + seconds
    while server_process.is_alive(server) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not server_process.is_alive(server)


def test_it_survives_a_terminal_signal_but_not_its_parent(prefect_root: Path) -> None:
    process, server = start(prefect_root)
    try:
        assert server_process.is_alive(server)
        assert os.getsid(server.pid) != os.getsid(process.pid), "a Ctrl-C is sent to the group of the command alone"
        with process:
            process.send_signal(signal.SIGKILL)
        assert ends(server)
    finally:
        server_process.terminate(server)


def test_it_ends_with_the_session(prefect_root: Path) -> None:
    process, server = start(prefect_root)
    process.communicate("")
    assert process.returncode == 0
    assert not server_process.is_alive(server)


def test_it_says_why_it_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "flows.services.prefect_server.server_process.COMMAND",
        (sys.executable, "-c", "raise SystemExit('no such luck')"),
    )
    servers: list[TemporaryServer] = []
    with temporary_server(tmp_path, print) as server:
        servers.append(server)
        with pytest.raises(ServerError, match=r"(?s)of --ephemeral ended while it started\..*no such luck"):
            server.wait()
    assert not server_process.is_alive(servers[0]._process)

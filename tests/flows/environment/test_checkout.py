"""A project that was copied or moved with its .venv only acts on itself."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.environment.checkout import PROJECT, require_own_environment, require_same_checkout
from flows.environment.settings import make_home
from flows.errors import InputError
from flows.runtime.session import prefect_session
from flows.services import serve_process
from flows.services.prefect_server import server, server_process
from tests.support.prefect_api import until_there

#: A valid folder name whose characters are all special to make or the shell.
NAME = """copy (1) of 'mine', "$HOME" `#` %.o & ~"""

#: Runs until it is stopped.
SERVE = """
import sys, time
from pathlib import Path
from flows.services.serve_process import single_instance
with single_instance(Path(sys.argv[1])):
    time.sleep(60)
"""

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Creates the relevant parts of a copied checkout: its code, its Makefile and the command in its .venv."""
    folder = tmp_path / NAME
    for package in ("flows", "tasks"):
        shutil.copytree(PROJECT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder)
    (folder / ".venv/bin").mkdir(parents=True)
    shutil.copy(Path(sys.executable).with_name("workflow"), folder / ".venv/bin")
    return folder


def test_the_command_of_a_copied_environment_is_rejected(copy: Path) -> None:
    done = subprocess.run([copy / ".venv/bin/workflow", "runs"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"runs the code in {PROJECT}" in done.stderr
    assert f"Run `make install` in {copy}" in done.stderr


def test_the_command_of_the_own_environment_is_not(tmp_path: Path) -> None:
    require_same_checkout(PROJECT / ".venv/bin/workflow")
    require_same_checkout(tmp_path / "elsewhere/bin/workflow")


@pytest.fixture
def other(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Creates another checkout, while no store is set."""
    monkeypatch.delenv("WORKFLOW_HOME", raising=False)
    return copy


@pytest.mark.parametrize("below", ["", "tests/flows"])
def test_an_activated_command_is_rejected_in_another_checkout(
    other: Path, below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (other / below).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(other / below)
    with pytest.raises(InputError, match="Run `make install` in "):
        require_same_checkout(PROJECT / ".venv/bin/workflow")
    monkeypatch.setenv("WORKFLOW_HOME", str(other))
    require_same_checkout(PROJECT / ".venv/bin/workflow")


def test_a_removed_folder_is_not_a_checkout(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    command = [Path(sys.executable).with_name("workflow"), "runs"]
    store = os.environ | {"WORKFLOW_HOME": ""}
    code = "import os, subprocess, sys; os.rmdir(os.getcwd()); sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    done = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=folder, env=store, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_copied_interpreter_is_rejected_when_python_calls_flows(other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(other / ".venv"))
    require_own_environment()
    (other / ".venv/.installed").write_text(f"{PROJECT}\n")
    with pytest.raises(InputError, match="would act on the runs there"), prefect_session():
        pass
    with pytest.raises(InputError, match="would act on the runs there"):
        require_same_checkout(PROJECT / ".venv/bin/workflow")


def test_a_link_to_the_own_checkout_is_the_own_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(PROJECT)
    require_same_checkout(tmp_path / "link/.venv/bin/workflow")


def test_make_detects_an_environment_created_elsewhere(copy: Path) -> None:
    mark = copy / ".venv/.installed"
    for text, stays in ((f"{copy.resolve()}\n", True), (f"{PROJECT}\n", False), ("", False)):
        mark.write_text(text)
        subprocess.run(["make", "help"], cwd=copy, capture_output=True, check=True)
        assert mark.exists() == stays, text


@pytest.mark.parametrize("sign", [*':"${}\\`'])
def test_a_folder_that_python_cannot_be_installed_into_is_rejected(tmp_path: Path, sign: str) -> None:
    folder = tmp_path / f"one{sign}two"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder)
    (folder / "requirements.lock").touch()
    done = make("install", folder)
    assert done.returncode == 2
    assert done.stderr.startswith('Python cannot be installed into a folder with one of : " $ { } \\ ` in its path\n')
    assert not (folder / ".venv").exists()


def test_any_other_is_not(tmp_path: Path) -> None:
    """An interpreter that fails stops make before it creates the .venv."""
    folder = tmp_path / NAME.replace('"', "").replace("$", "").replace("`", "")
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder)
    (folder / "requirements.lock").touch()
    assert "cannot be installed" not in make("install", folder, "false").stderr


# --- Stopping what runs in a checkout without its .venv


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes that run until they are stopped."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(code: str, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", code, *arguments]
        started.append(subprocess.Popen(command, cwd=PROJECT, start_new_session=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def begin_server(root: Path, start: Start) -> "subprocess.Popen[bytes]":
    """Starts a process that looks like the server of a project."""
    process = start("import time; time.sleep(60)")
    identity = server_process.process_identity(process.pid)
    assert identity is not None
    server_process.write_state(server_process.Server(process.pid, 4200, identity, time.time()), make_home(root))
    return process


def make(target: str, folder: Path, python: str = f"{sys.executable} -S") -> "subprocess.CompletedProcess[str]":
    """Runs make with a Python that only has the standard library."""
    hidden = ("WORKFLOW_HOME", "PYTHONPATH", "MAKELEVEL", "MAKEFLAGS", "MFLAGS")  # of a make that runs the tests, too
    own = {name: value for name, value in os.environ.items() if name not in hidden}
    command = ["make", target, f"PYTHON={python}"]
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("target", ["stop", "clean"])
def test_a_moved_checkout_stops_what_runs_in_it_without_its_environment(copy: Path, start: Start, target: str) -> None:
    running = begin_server(copy, start)
    serving = start(SERVE, str(copy))
    until_there(lambda: serve_process.find(copy))
    moved = copy.rename(copy.with_name(f"{NAME}, moved"))
    (moved / ".venv/bin/python").symlink_to("nowhere")
    done = make(target, moved)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "`workflow serve` has ended.\nThe server has stopped.\n"
    assert [process.wait(10) for process in (serving, running)] == [-signal.SIGTERM] * 2
    assert (moved / ".venv").exists() == (target == "stop")
    assert not list(moved.glob("*/__pycache__"))


def test_a_checkout_where_nothing_runs_says_so(copy: Path) -> None:
    assert make("stop", copy).stdout == "No server of this project was running.\n"


def test_a_process_that_does_not_end_is_reported_in_one_message(copy: Path) -> None:
    home = make_home(copy)
    server_process.state_path(home).write_text("{}")
    (home / "server.lock").mkdir()
    done = make("stop", copy)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0].startswith("error: ")
    assert "server.lock: Is a directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_old_python_is_rejected(copy: Path, tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\ncase \"$2\" in *version_info*) echo 'Newer, please' >&2; exit 1;; esac\n")
    old.chmod(0o755)
    done = make("stop", copy, str(old))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Newer, please\n")


def test_a_copy_leaves_the_server_of_the_original_alone(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)  # of the server of other tests
    running = begin_server(tmp_path / "original", start)
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    assert not server.stop(tmp_path / "copy")
    assert server.status(tmp_path / "copy").state == "stopped"
    assert running.poll() is None
    assert server.stop(tmp_path / "original")


def test_a_project_moved_to_another_disk_is_not_a_copy(tmp_path: Path, start: Start) -> None:
    running = begin_server(tmp_path / "original", start)
    shutil.copytree(tmp_path / "original", tmp_path / "moved")
    shutil.rmtree(tmp_path / "original")
    assert server.stop(tmp_path / "moved")
    assert running.wait(10) == -signal.SIGTERM


def test_a_state_file_of_an_earlier_version_belongs_to_the_project(tmp_path: Path, start: Start) -> None:
    begin_server(tmp_path, start)
    path = server_process.state_path(make_home(tmp_path))
    known = server_process.find(path.parent)
    path.write_text(path.read_text().split(', "home"')[0] + "}")
    assert server_process.find(path.parent) == known
    assert known is not None

"""What the environment says reaches the work only where it is meant to; see docs/ENVIRONMENT.md."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.settings import configure_prefect, prefect_home, server_environment, user_home

PROJECT = Path(__file__).parents[2]

#: Runs a command as a user of whom the machine knows nothing but a number.
NAMELESS = ("unshare", "--user", "--map-user=4242", "env", "--unset=HOME", "--unset=USER", "--unset=LOGNAME")


@pytest.fixture
def unchanged() -> Iterator[None]:
    """What a test does to the environment of this process does not outlive it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


# --- A user without a home


def test_the_home_of_a_user_is_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_home(tmp_path / "project") == tmp_path


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("lack", ["no entry", "no folder", "no access"])
def test_a_user_without_one_gets_the_projects(lack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def know_nobody(number: int) -> None:
        raise KeyError(number)

    if lack == "no entry":
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(pwd, "getpwuid", know_nobody)
    else:
        monkeypatch.setenv("HOME", str(tmp_path / "none"))
    if lack == "no access":
        monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "none")
        (tmp_path / "none").mkdir()
    home = prefect_home(tmp_path)
    assert server_environment(tmp_path, 4200)["HOME"] == str(home)
    configure_prefect(tmp_path)
    assert (os.environ["HOME"], os.environ["PREFECT_HOME"]) == (str(home), str(home))


def test_they_train_and_verify(api_url: str, password: str, tmp_path: Path) -> None:
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "WORKFLOW_HOME": str(tmp_path / "home")}
    own |= {"PREFECT_API_URL": api_url, "PREFECT_API_AUTH_STRING": password}
    command = [*NAMELESS, sys.executable, "-m", "flows.cli", "train", "line", "--verify"]
    done = subprocess.run(command, env=own, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "compare   Completed" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["home"]

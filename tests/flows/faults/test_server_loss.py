"""The project's own server is killed in the midst of a run, and started again."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.environment.settings import prefect_home
from flows.services.prefect_server import server_process
from flows.services.prefect_server.password import read_secret
from tests.flows.conftest import STAGES
from tests.support.prefect_api import until_there
from tests.support.serving_project import Finish, Start

pytestmark = pytest.mark.long

#: Some seconds of training.
LONG = ("train", "line", "--training.epochs", "150000", "--training.checkpoint-every", "1s")

#: The project uses a server of its own, with a password of its own, and none that the tests share.
OWN = {"PREFECT_API_URL": "", "PREFECT_API_AUTH_STRING": "", "WORKFLOW_SERVER_PORT": "4840"}


@pytest.fixture
def home(workflow: Finish, tmp_path: Path) -> Iterator[Path]:
    """A project whose server runs."""
    assert workflow("server", "start", home=tmp_path, **OWN).returncode == 0
    yield tmp_path
    workflow("server", "stop", home=tmp_path, **OWN)


def flow_runs(home: Path) -> list[tuple[str, str]]:
    """The flow and the state's name of every flow run, the newest first."""
    server = server_process.find(prefect_home(home))
    assert server is not None
    user, _, password = (read_secret(prefect_home(home)) or "").partition(":")
    content = {"sort": "EXPECTED_START_TIME_DESC"}
    answer = httpx.post(f"{server.api.url}/flow_runs/filter", json=content, auth=(user, password), timeout=30)
    found: list[Any] = answer.raise_for_status().json()
    return [(run["name"], run["state_name"]) for run in found]


@pytest.mark.parametrize("seconds", [0.0, 8.0], ids=["at once", "after a while"])
def test_no_finished_stage_is_lost(seconds: float, home: Path, start_process: Start, workflow: Finish) -> None:
    process = start_process("-m", "flows.cli", *LONG, home=home, **OWN)
    until_there(lambda: any(home.glob("artifacts/states/train/*/*.pth")) or None)
    server = server_process.find(prefect_home(home))
    assert server is not None
    os.kill(server.pid, signal.SIGKILL)
    time.sleep(seconds)
    assert workflow("server", "start", home=home, **OWN).returncode == 0
    out, error = process.communicate(timeout=180)
    assert process.returncode == 0, error
    stages = [line.split()[0] for line in out.splitlines() if " Completed " in line]
    assert stages == list(STAGES)
    again = workflow(*LONG, home=home, **OWN)
    assert (again.returncode, again.stdout.count("Cached")) == (0, len(STAGES)), again.stderr
    assert [state for _, state in flow_runs(home)] == ["Completed", "Completed"]

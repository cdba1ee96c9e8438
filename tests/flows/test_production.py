"""The flows against a Prefect server that somebody else runs: PostgreSQL behind it, a password, and two workers."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.config.experiments import load_experiment
from tasks.caching.gc.inspection import inspect_store
from tasks.caching.storage.store import Store
from tests.flows.conftest import PROJECT, STAGES
from tests.support.postgres import LOOPBACK, running_postgres

pytestmark = pytest.mark.long

USER, PASSWORD = "admin", "of the night"
SECRET = f"{USER}:{PASSWORD}"

#: 10 experiments of 5 nights each; what changes between nights is trained anew, the data is the same for all of them.
NAMES = [f"model-{number}" for number in range(10)]
EPOCHS = [20, 20, 30, 30, 40]

#: Seconds between two runs that are due, and until all of them have to be over.
PACE, PATIENCE = 1.0, 480.0


class Server:
    """What is asked of the server, as a person with the password asks it."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    @property
    def url(self) -> str:
        return str(self._client.base_url).rstrip("/")

    def answers(self) -> bool:
        try:
            return self._client.get("/admin/version").status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str) -> Any:
        return self._client.get(path).raise_for_status().json()

    def post(self, path: str, **content: Any) -> Any:
        return self._client.post(path, json=content).raise_for_status().json()

    def every(self, path: str) -> list[Any]:
        """All that there is, of which one answer has 200 at most."""
        found: list[Any] = []
        while more := self.post(path, offset=len(found), limit=200, sort="ID_DESC"):
            found += more
        return found


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def process(*arguments: str, environment: Mapping[str, str], log: Path, cwd: Path) -> "Iterator[subprocess.Popen[str]]":
    """A Python process with children, none of which is left in the end."""
    with log.open("w") as output:
        started = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What every process has in common."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "WORKFLOW_"))}
    return own | {
        "PYTHONPATH": str(PROJECT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "WORKFLOW_HOME": str(tmp_path / "home"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


@pytest.fixture
def server(environment: dict[str, str], tmp_path: Path) -> Iterator[Server]:
    """Prefect's own server as a machine in production has it."""
    port = free_port()
    with running_postgres(free_port()) as database:
        settings = {
            "PREFECT_API_DATABASE_CONNECTION_URL": database,
            "PREFECT_SERVER_API_AUTH_STRING": SECRET,
            "PREFECT_SERVER_UI_ENABLED": "false",
        }
        command = ("-m", "prefect", "server", "start", "--host", LOOPBACK, "--port", str(port))
        log, address = tmp_path / "server.log", f"http://{LOOPBACK}:{port}/api"
        with (
            process(*command, environment=environment | settings, log=log, cwd=tmp_path) as started,
            httpx.Client(base_url=address, auth=(USER, PASSWORD), timeout=30) as client,
        ):
            server = Server(client)
            deadline = time.monotonic() + 120
            while not server.answers():
                assert started.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            yield server


@pytest.fixture
def client(environment: dict[str, str], server: Server) -> dict[str, str]:
    """The environment of whoever uses the server."""
    return environment | {"PREFECT_API_URL": server.url, "PREFECT_API_AUTH_STRING": SECRET}


@pytest.fixture
def deployments(client: dict[str, str], server: Server, tmp_path: Path) -> dict[str, str]:
    """The ids of the deployments of prefect.yaml, by name."""
    for command in (("work-pool", "create", "workflow", "--type", "process"), ("--no-prompt", "deploy", "--all")):
        subprocess.run(
            [sys.executable, "-m", "prefect", *command], env=client, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL
        )
    return {found["name"]: found["id"] for found in server.post("/deployments/filter")}


def schedule_nights(server: Server, deployment: str) -> None:
    """Has every experiment trained on every night, a second after the one before."""
    begin = datetime.now(UTC)
    for night, epochs in enumerate(EPOCHS):
        for number, name in enumerate(NAMES):
            due = begin + timedelta(seconds=PACE * (night * len(NAMES) + number))
            changes = {"name": name, "training": {"epochs": epochs, "seed": number}}
            server.post(
                f"/deployments/{deployment}/create_flow_run",
                parameters={"experiment": load_experiment("line", changes).model_dump(mode="json")},
                state={"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}},
            )


def states(server: Server) -> Counter[str]:
    """How many flow runs are in each type of state."""
    return Counter(run["state_type"] for run in server.every("/flow_runs/filter"))


def wait_for(server: Server, enough: int) -> None:
    """Comes back when that many flow runs have completed."""
    deadline = time.monotonic() + PATIENCE
    while (now := states(server))["COMPLETED"] < enough:
        assert time.monotonic() < deadline, now
        time.sleep(1.0)


def wait_for_the_end(server: Server) -> Counter[str]:
    """The states of the flow runs, when all are over and none has come after for some seconds."""
    deadline, quiet = time.monotonic() + PATIENCE, 0
    while quiet < 10:
        now = states(server)
        quiet = quiet + 1 if set(now) <= {"COMPLETED", "CRASHED"} else 0
        assert time.monotonic() < deadline, now
        time.sleep(1.0)
    return now


def test_fifty_scheduled_runs_survive_the_loss_of_a_worker(
    client: dict[str, str], server: Server, deployments: dict[str, str], tmp_path: Path
) -> None:
    def worker(name: str) -> "contextlib.AbstractContextManager[subprocess.Popen[str]]":
        command = ("-m", "flows.cli", "worker", "--name", name, "--limit", "3")
        return process(*command, environment=client, log=tmp_path / f"{name}.log", cwd=tmp_path)

    with worker("lost") as lost, worker("left") as left:
        schedule_nights(server, deployments["line"])
        wait_for(server, 15)
        os.killpg(lost.pid, signal.SIGKILL)
        ended = wait_for_the_end(server)
        left.send_signal(signal.SIGTERM)
        assert left.wait(60) == 0, (tmp_path / "left.log").read_text()
    trained = [run for run in server.every("/flow_runs/filter") if "experiment" in run["parameters"]]
    assert len(trained) == len(NAMES) * len(EPOCHS)
    # A run of the lost worker ends as crashed; it had three at most.
    assert ended["CRASHED"] <= 3, ended
    assert len([run for run in trained if run["state_type"] == "COMPLETED"]) >= 50 - 3
    store = Store(tmp_path / "home")
    assert inspect_store(store).problems == []
    assert_computed_once(server, store)


def assert_computed_once(server: Server, store: Store) -> None:
    """No stage was computed more often than there are results of it."""
    computed = Counter(task["name"] for task in server.every("/task_runs/filter") if task["state_name"] == "Completed")
    for stage in STAGES:
        results = len(list((store.root / "artifacts" / "records" / stage).glob("*.json")))
        assert results > 0
        assert computed[stage] <= results, f"{stage} was computed {computed[stage]} times for {results} results"


@pytest.mark.parametrize("secret", ["", "admin:guessed"])
def test_without_the_password_nothing_is_begun(
    client: dict[str, str], server: Server, secret: str, tmp_path: Path
) -> None:
    stranger = client | {"PREFECT_API_AUTH_STRING": secret}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "train", "line"],
        env=stranger,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "PREFECT_API_AUTH_STRING" in done.stderr
    assert not list((tmp_path / "home").rglob("*.parquet"))

"""A training that is killed or interrupted goes on, through the command line, and ends as if nothing had happened."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.caching.records import open_envelope
from tests.support.prefect_api import Api, until_there
from tests.support.serving_project import Finish, Start

#: Exit codes by signal; a process that was killed has that of the kernel.
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}

#: Long enough to be killed, with a training checkpoint at every epoch; a few seconds in all.
EPOCHS = ("--training.epochs", "800")
LONG = ("train", "line", "--until", "train", *EPOCHS, "--training.checkpoint-every", "1 epoch")

pytestmark = pytest.mark.usefixtures("prefect")


def outputs(home: Path) -> dict[str, str]:
    """The digest of everything that the train stage made, by name."""
    (record,) = (home / "artifacts/records/train").glob("*.json")
    return {name: made.digest for name, made in open_envelope(record.read_bytes(), record.stem).outputs.items()}


def training_checkpoints(home: Path) -> list[Path]:
    return sorted((home / "artifacts/states/train").glob("*/*.pth"))


@pytest.fixture(scope="module")
def uninterrupted(workflow: Finish, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("uninterrupted")
    changes = (*EPOCHS, "--training.checkpoint-every", "never")
    assert workflow("train", "line", "--until", "train", *changes, home=home).returncode == 0
    assert training_checkpoints(home) == []
    return outputs(home)


@pytest.fixture
def stopped(start_process: Start, tmp_path: Path) -> Callable[[int], "subprocess.Popen[str]"]:
    """A training that got a signal once it had kept some training checkpoints."""

    def run(number: int) -> "subprocess.Popen[str]":
        process = start_process("-m", "flows.cli", *LONG, home=tmp_path)
        until_there(
            lambda: [path for path in training_checkpoints(tmp_path) if int(path.name.split("-")[0]) >= 20] or None
        )
        process.send_signal(number)
        process.wait(60)
        return process

    return run


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, *(pytest.param(number, marks=pytest.mark.long) for number in (signal.SIGTERM, signal.SIGINT))],
    ids=lambda number: number.name,
)
def test_a_training_that_was_stopped_resumes_and_ends_the_same(
    number: int, stopped: Any, workflow: Finish, uninterrupted: dict[str, str], tmp_path: Path, api: Api
) -> None:
    ended = stopped(number)
    assert ended.returncode == CODES[number]
    assert ended.stderr is not None
    reported = ended.stderr.read()
    assert ("interrupted: what is finished is kept" in reported) == (number != signal.SIGKILL)
    assert "Traceback" not in reported
    assert training_checkpoints(tmp_path)
    assert number == signal.SIGKILL or not list(tmp_path.rglob(".tmp-*"))
    assert not list((tmp_path / "artifacts/records").glob("train/*.json"))
    flow_run = api.newest("line on cpu").id
    again = workflow(*LONG, home=tmp_path)
    assert again.returncode == 0, again.stderr
    # A killed process could not report it: then the next start does.
    assert api.flow_run(flow_run).state.name == ("Crashed" if number == signal.SIGKILL else "Cancelled")
    assert ("Prefect shows it as Crashed now" in again.stderr) == (number == signal.SIGKILL)
    assert api.stages(flow_run, 3)[-1] == ("train", "Crashed")
    assert "resumes after epoch" in again.stdout
    assert outputs(tmp_path) == uninterrupted
    assert training_checkpoints(tmp_path) == []
    assert not list((tmp_path / ".prefect").glob("alive/*"))


def test_refresh_begins_anew(stopped: Any, workflow: Finish, uninterrupted: dict[str, str], tmp_path: Path) -> None:
    stopped(signal.SIGKILL)
    again = workflow(*LONG, "--refresh", "train", home=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "resumes after" not in again.stdout
    assert outputs(tmp_path) == uninterrupted

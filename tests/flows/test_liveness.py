"""Flow runs whose process died are found at the next start, and those that live are left alone."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from flows import liveness
from flows.liveness import claim, claim_until_end, claims_folder, is_given_up, mark_dead_runs
from tests.flows.conftest import Api


@pytest.fixture
def running(api: Api) -> Any:
    """A flow run that Prefect believes to be running."""
    from prefect import flow
    from prefect.states import Running

    @flow(name="train")
    def train() -> None:
        """Never runs."""

    return api.create(train, Running())


@pytest.fixture
def forgotten() -> Iterator[list[int]]:
    """Descriptors that stand for those of a process that lives on; closed in the end."""
    descriptors: list[int] = []
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


def held(root: Path, flow_run_id: Any, forgotten: list[int]) -> None:
    """A claim that is held as another process would hold it."""
    with claim_until_end():
        claim(root, flow_run_id)
        forgotten.append(os.open(claims_folder(root) / f"{flow_run_id}.lock", os.O_RDWR))
        os.link(claims_folder(root) / f"{flow_run_id}.lock", root / "kept")
    (root / "kept").replace(claims_folder(root) / f"{flow_run_id}.lock")
    fcntl.flock(forgotten[-1], fcntl.LOCK_EX)


def died(root: Path, flow_run_id: Any) -> Path:
    """What a process that died leaves: the file of its claim, which nobody holds."""
    claims_folder(root).mkdir(parents=True, exist_ok=True)
    path = claims_folder(root) / f"{flow_run_id}.lock"
    path.touch()
    return path


def test_a_dead_run_is_marked_crashed(tmp_path: Path, running: Any, api: Api) -> None:
    path = died(tmp_path, running)
    told: list[str] = []
    mark_dead_runs(tmp_path, told.append)
    state = api.flow_run(running).state
    assert (state.name, state.message) == ("Crashed", liveness.FOUND_DEAD)
    assert not path.exists()
    assert str(running) in told[0]


def test_a_living_run_is_left_alone(tmp_path: Path, running: Any, api: Api, forgotten: list[int]) -> None:
    held(tmp_path, running, forgotten)
    mark_dead_runs(tmp_path)
    assert api.flow_run(running).state.name == "Running"
    assert list(claims_folder(tmp_path).iterdir())


def test_a_run_that_had_ended_stays_as_it_ended(tmp_path: Path, running: Any, api: Api) -> None:
    from prefect.states import Completed

    api.set_state(running, Completed())
    path = died(tmp_path, running)
    mark_dead_runs(tmp_path)
    assert api.flow_run(running).state.name == "Completed"
    assert not path.exists()


def test_a_run_that_prefect_does_not_know_is_forgotten(tmp_path: Path, prefect: None) -> None:
    path = died(tmp_path, uuid4())
    mark_dead_runs(tmp_path)
    assert not path.exists()


def test_without_an_answer_the_claim_stays(tmp_path: Path, running: Any) -> None:
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    path = died(tmp_path, running)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}):
        mark_dead_runs(tmp_path)
    assert path.exists()


def test_a_claim_ends_with_a_flow_that_ended_well(tmp_path: Path) -> None:
    with claim_until_end():
        claim(tmp_path, "a-run")
        assert [path.name for path in claims_folder(tmp_path).iterdir()] == ["a-run.lock"]
    assert not list(claims_folder(tmp_path).iterdir())


def test_after_a_failure_the_file_stays_for_the_next_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="failed"), claim_until_end():
        claim_and_fail(tmp_path)
    assert [path.name for path in claims_folder(tmp_path).iterdir()] == ["a-run.lock"]


def claim_and_fail(root: Path) -> None:
    claim(root, "a-run")
    raise ValueError("failed")


def test_a_run_that_was_given_up(running: Any, api: Api) -> None:
    from prefect.states import Crashed

    assert not is_given_up(running)
    api.set_state(running, Crashed())
    assert is_given_up(running)


def test_a_run_that_was_given_up_does_not_move_latest(
    trained: Any, train: Any, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (trained.runs / "latest").readlink()
    monkeypatch.setattr("flows.orchestration.is_given_up", lambda flow_run_id: True)
    given_up = train(changes={"training": {"learning_rate": 0.02}})
    assert given_up.run is not None
    assert (trained.runs / "latest").readlink() == before
    monkeypatch.undo()
    assert api.log(given_up.flow_run_id, "latest does not move")

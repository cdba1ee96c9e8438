"""A stage that fails for a reason that may pass is tried again, ever later; one with wrong input is not."""

import errno
import time
from collections.abc import Callable
from typing import Any

import pytest

from flows.config.experiments import load_experiment
from tasks.caching.gc.inspection import inspect_store
from tasks.caching.storage.store import Store
from tests.flows.conftest import STAGES, AtStage
from tests.support.prefect_api import Api

Train = Callable[[int], Any]


@pytest.fixture
def train(prefect: None, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Trains `line` with so many retries, and returns the last state of the flow run."""
    monkeypatch.setattr("tasks.caching.prefect_run.BACKOFF_SECONDS", 0.2)

    def run(retries: int) -> Any:
        from flows import orchestration

        return orchestration.train(
            load_experiment("line", {"training": {"epochs": 3}}), retries=retries, return_state=True
        )

    return run


def failing(times: int, error: Exception) -> tuple[Callable[[], None], list[float]]:
    """Fails the first times that it is called; and when it was called."""
    calls: list[float] = []

    def fail() -> None:
        calls.append(time.monotonic())
        if len(calls) <= times:
            raise error

    return fail, calls


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_fault_of_the_storage_that_passes(
    store: Store, train: Train, at_stage: AtStage, api: Api, number: int
) -> None:
    fail, calls = failing(2, OSError(number, "a fault"))
    at_stage("train.evaluate", fail)
    state = train(3)
    assert state.is_completed(), state.message
    assert len(calls) == 3
    assert (calls[1] - calls[0], calls[2] - calls[1]) > (0.2, 0.4), "each wait is twice as long as the one before"
    flow_run = state.state_details.flow_run_id
    assert dict(api.stages(flow_run, len(STAGES))) == dict.fromkeys(STAGES, "Completed")
    api.log(flow_run, "evaluate: try 1 failed, the next begins in 0.2 s: a fault")
    api.log(flow_run, "evaluate: try 2 failed, the next begins in 0.4 s: a fault")
    assert inspect_store(store).problems == []


def test_one_that_does_not_pass_fails_in_the_end(store: Store, train: Train, at_stage: AtStage) -> None:
    fail, calls = failing(9, OSError(errno.EIO, "a fault"))
    at_stage("train.evaluate", fail)
    state = train(2)
    assert state.is_failed()
    assert "stage evaluate failed: a fault" in state.message
    assert len(calls) == 3


def test_without_retries_it_fails_at_once(store: Store, train: Train, at_stage: AtStage) -> None:
    fail, calls = failing(1, OSError(errno.ENOSPC, "a fault"))
    at_stage("train.evaluate", fail)
    assert train(0).is_failed()
    assert len(calls) == 1


@pytest.mark.parametrize("error", [ValueError("wrong"), FileNotFoundError(errno.ENOENT, "no such file"), TypeError()])
def test_what_would_fail_again_is_not_tried_again(
    store: Store, train: Train, at_stage: AtStage, error: Exception
) -> None:
    fail, calls = failing(1, error)
    at_stage("train.split", fail)
    assert train(3).is_failed()
    assert len(calls) == 1

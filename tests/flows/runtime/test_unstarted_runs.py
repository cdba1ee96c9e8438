"""Which flow runs were taken by somebody who is gone."""

import os
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from flows.environment.identity import ANY_STORE, PREFIX, store_tag
from flows.runtime.unstarted_runs import GRACE, is_orphan, may_be_alive, reschedule_orphans, rescheduled
from flows.runtime.zombie_runs import acquire_run_lease
from tasks.caching.storage.store import Store
from tests.support.prefect_api import Api

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

pytestmark = pytest.mark.usefixtures("prefect")

NOW = datetime(2026, 11, 26, 3, 30, tzinfo=UTC)


def ended_process() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def taken(seconds: float, process: str | None = None) -> "FlowRun":
    """A flow run that was taken so many seconds ago."""
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.states import Pending

    state: State[None] = Pending().model_copy(update={"timestamp": NOW - timedelta(seconds=seconds)})
    return FlowRun(id=uuid4(), flow_id=uuid4(), name="a run", state=state, infrastructure_pid=process)


def test_one_that_was_taken_long_ago_by_no_process_is(tmp_path: Path) -> None:
    assert is_orphan(taken(GRACE.seconds + 1), tmp_path, NOW)


def test_one_that_was_taken_just_now_is_none(tmp_path: Path) -> None:
    assert not is_orphan(taken(GRACE.seconds - 1), tmp_path, NOW)


def test_one_that_has_begun_is_none(tmp_path: Path) -> None:
    run = taken(GRACE.seconds + 1)
    held = acquire_run_lease(tmp_path, run.id)
    assert not is_orphan(run, tmp_path, NOW)
    held.release()


@pytest.mark.parametrize(
    ("form", "alive"),
    [
        (None, False),
        ("{here}:{own}", True),
        ("{own}", True),
        ("{here}:{ended}", False),
        ("elsewhere.example:{ended}", True),
        ("garbage", True),
        ("9" * 30, True),
    ],
)
def test_whether_its_process_may_live(form: str | None, alive: bool, tmp_path: Path) -> None:
    numbers = {"here": socket.gethostname(), "own": os.getpid(), "ended": ended_process()}
    process = form and form.format(**numbers)
    assert may_be_alive(process) == alive
    assert is_orphan(taken(GRACE.seconds + 1, process), tmp_path, NOW) != alive


def test_the_process_of_another_user_may_live(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert may_be_alive(f"{socket.gethostname()}:1")


def test_it_is_taken_again_unless_it_was_to_be_cancelled() -> None:
    from prefect.states import Cancelling

    assert rescheduled(taken(100)).is_scheduled()
    assert rescheduled(taken(100).model_copy(update={"state": Cancelling()})).is_cancelled()


@pytest.mark.parametrize("whose", ["of our store", "of any store", "of another store"])
def test_the_server_is_notified(store: Store, api: Api, monkeypatch: pytest.MonkeyPatch, whose: str) -> None:
    from prefect.states import Pending

    from flows import orchestration

    tags = {"of our store": store_tag(store.root), "of any store": ANY_STORE, "of another store": f"{PREFIX}0123"}
    flow = api.client.create_flow(orchestration.verify)
    deployment = api.client.create_deployment(flow, "orphan", tags=[tags[whose]])
    try:
        run = api.client.create_flow_run_from_deployment(deployment, state=Pending())
        reported: list[str] = []
        monkeypatch.setattr("flows.runtime.unstarted_runs.GRACE", timedelta(hours=1))  # however slow the machine is
        reschedule_orphans(store.root, reported.append)
        assert (reported, api.flow_run(run.id).state.name) == ([], "Pending")
        monkeypatch.setattr("flows.runtime.unstarted_runs.GRACE", timedelta(0))
        reschedule_orphans(store.root, reported.append)
        ours = whose != "of another store"
        # Runs that other tests left behind on this server are reported too.
        assert sum(message.startswith(f"{run.name} was taken") for message in reported) == ours
        assert api.flow_run(run.id).state.is_scheduled() == ours
    finally:
        api.client.delete_deployment(deployment)

"""The order in which flow runs are started, and which verifications are superfluous."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

pytestmark = pytest.mark.usefixtures("prefect")

DUE = datetime(2026, 11, 26, 3, 30, tzinfo=UTC)


def due(name: str, minute: int = 0, by: str = "", **fields: Any) -> "FlowRun":
    """Returns a flow run that is due at a minute, requested by a person unless specified otherwise."""
    from prefect.client.schemas.objects import CreatedBy, FlowRun

    return FlowRun(
        id=uuid4(),
        flow_id=uuid4(),
        name=name,
        next_scheduled_start_time=DUE + timedelta(minutes=minute),
        created_by=CreatedBy(id=uuid4(), type=by, display_value=by) if by else None,
        **fields,
    )


def verification(name: str, minute: int, run: str, store: str = "0123") -> "FlowRun":
    """Returns a verification triggered by the event of a training."""
    return due(name, minute, "AUTOMATION", parameters={"run": run, "store": store})


class Client:
    """Records the flow runs that are cancelled."""

    def __init__(self) -> None:
        self.cancelled: dict[UUID, str | None] = {}

    async def set_flow_run_state(self, flow_run_id: UUID, state: Any) -> None:
        assert state.is_cancelled()
        self.cancelled[flow_run_id] = state.message


def test_people_are_first_and_verifications_last() -> None:
    from flows.deploy.run_order import by_priority

    runs = [
        verification("verified", 0, "line-1"),
        due("nightly", 1, "SCHEDULE", auto_scheduled=True),
        due("retried", 2, "SCHEDULE", auto_scheduled=True, run_count=1),
        due("asked later", 4),
        due("asked", 3),
        due("verified by hand", 5, parameters={"run": "line-1"}),
    ]
    order = ["retried", "asked", "asked later", "verified by hand", "nightly", "verified"]
    assert [run.name for run in by_priority(runs)] == order


def test_one_verification_per_run_is_started() -> None:
    from flows.deploy.run_order import runs_to_start
    from flows.runs.verifications import SUPERFLUOUS

    runs = [
        verification("third", 3, "line-1"),
        verification("first", 1, "line-1"),
        verification("second", 2, "line-1"),
        verification("other", 2, "line-2"),
        verification("other store", 4, "line-1", store="4567"),
        due("by hand", 5, parameters={"run": "line-1"}),
        due("an automation of the user's", 6, "AUTOMATION", parameters={"experiment": {}}),
        due("another one", 7, "AUTOMATION", parameters={"experiment": {}}),
    ]
    client: Any = Client()
    left = asyncio.run(runs_to_start(runs, client))
    assert {run.name for run in runs} - {run.name for run in left} == {"second", "third"}
    assert client.cancelled == {run.id: SUPERFLUOUS for run in runs if run.name in ("second", "third")}


def test_a_worker_starts_them_in_this_order_and_none_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.client.schemas.responses import WorkerFlowRunResponse
    from prefect.workers.process import ProcessWorker

    from flows.deploy.worker import GracefulWorker

    taken: list[str] = []

    async def submit(worker: Any, flow_run_response: list[WorkerFlowRunResponse]) -> list[Any]:
        taken.extend(entry.flow_run.name for entry in flow_run_response)
        return []

    monkeypatch.setattr(ProcessWorker, "_submit_scheduled_flow_runs", submit)
    runs = [
        due("nightly", 1, "SCHEDULE", auto_scheduled=True),
        due("taken already", 2),
        verification("first", 1, "line-1"),
        verification("second", 2, "line-1"),
        due("asked", 3),
    ]
    worker: Any = GracefulWorker(work_pool_name="workflow")
    worker._client, worker._submitting_flow_run_ids = Client(), {runs[1].id}
    entries = [WorkerFlowRunResponse(work_pool_id=uuid4(), work_queue_id=uuid4(), flow_run=run) for run in runs]
    asyncio.run(worker._submit_scheduled_flow_runs(entries))
    assert taken == ["asked", "nightly", "first"]
    assert list(worker._client.cancelled) == [runs[3].id]

"""Which runs a schedule asked for: those of people always take place, and so does a second try."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from tasks.caching.locking.exclusive import Scheduled

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
DEPLOYMENT = UUID(int=1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Scheduled(str(DEPLOYMENT), NOON.timestamp())),
        ({"run_count": 0}, Scheduled(str(DEPLOYMENT), NOON.timestamp())),
        ({"run_count": 2}, None),
        ({"auto_scheduled": False}, None),
        ({"expected_start_time": None}, None),
    ],
    ids=["as scheduled", "not counted yet", "a second try", "a person's", "no time"],
)
def test_what_asked_for_a_run(prefect: None, changes: dict[str, Any], expected: Scheduled | None) -> None:
    from prefect.client.schemas.objects import FlowRun

    from flows.runtime.concurrency import scheduled

    fields = {"auto_scheduled": True, "run_count": 1, "expected_start_time": NOON, "deployment_id": DEPLOYMENT}
    assert scheduled(FlowRun(flow_id=UUID(int=2), name="a run", **(fields | changes))) == expected

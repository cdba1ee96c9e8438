"""What flows report to Prefect besides their states: events that name the run, on which automations act.

They are posted at once and not through Prefect's own `emit_event`, whose background thread delays the end of a process
whose server is gone by seconds, or by minutes if it hangs, and does not report an event that is lost.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

#: A training saved a run, or found that the run which is there is what it would make.
TRAINED = "workflow.run.trained"

#: A run was shown for the first time to predict what training recorded.
VERIFIED = "workflow.run.verified"

#: A run that was verified before, and has not changed since, was verified again.
REVERIFIED = "workflow.run.verified-again"

#: A training found that the run which is there is what it would make, and that it is verified already.
CONFIRMED = "workflow.run.confirmed"

#: A run that was saved misses what its experiment demands of the test metrics.
REJECTED = "workflow.run.rejected"

#: A run that was saved is outside the band of the runs before.
DRIFTED = "workflow.run.drifted"

#: From now on verified runs of an experiment are awaited.
AWAITED = "workflow.experiment.awaited"

#: A trial of whether alerts arrive.
TRIED = "workflow.alerts.tried"

#: The labels of an event that name the experiment, and the store that it is kept in.
EXPERIMENT, STORE = "workflow.experiment", "workflow.store"


def emit(event: str, experiment: str, run: str, store: str, why: str = "") -> None:
    """Emits an event about a run, from inside the flow that did it.

    Args:
        event: one of those above that are about a run.
        experiment: that the run is of.
        run: its name.
        store: identity of the store that it is in.
        why: the reasons of a REJECTED or DRIFTED one.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        post(client, event, experiment, store, run, why, surrounding_flow())


def post(
    client: "SyncPrefectClient",
    event: str,
    experiment: str,
    store: str,
    run: str = "",
    why: str = "",
    related: Iterable[dict[str, str]] = (),
) -> None:
    """Posts an event about a run, or about its experiment if no run is named; only its own store acts on it."""
    subject = f"workflow.run.{run}" if run else f"workflow.experiment.{experiment}"
    fields = {
        "id": str(uuid4()),
        "event": event,
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": subject, EXPERIMENT: experiment, STORE: store},
        "related": list(related),
        "payload": {"experiment": experiment, "run": run, "store": store, "why": why},
    }
    client.request("POST", "/events", json=[fields])


def surrounding_flow() -> list[dict[str, str]]:
    """The flow run that this is called in, and its flow, as an event names them; none outside a flow."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow is None:
        return []
    named = {
        "flow-run": (f"prefect.flow-run.{context.flow_run.id}", context.flow_run.name),
        "flow": (f"prefect.flow.{context.flow_run.flow_id}", context.flow.name),
    }
    return [
        {"prefect.resource.id": identity, "prefect.resource.role": role, "prefect.resource.name": name}
        for role, (identity, name) in named.items()
    ]

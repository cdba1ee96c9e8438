"""Flow runs that a process took and did not begin, because it was killed: they are scheduled again.

Those that had begun are zombie runs, found by their leases (`flows.runtime.zombie_runs`). A run that was taken and has
no lease yet is orphaned if it has been pending for longer than any process takes to begin, and if no process of this
machine is known to be about to begin it.
"""

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.environment.identity import ANY_STORE, store_tag
from flows.runtime.zombie_runs import lease_path

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

#: A process begins within three seconds, and on a busy machine within twelve.
GRACE = timedelta(seconds=60)

#: What Prefect shows of such a run: of one that is scheduled again, and of one that was to be cancelled.
RESCHEDULED = "The process that had taken this run ended before it began; the run will be taken again."
CANCELLED = "No process was running it."


def reschedule_orphans(root: Path, notify: Callable[[str], None]) -> None:
    """Schedules again each run of this project's deployments that was taken and not begun.

    Does nothing if Prefect's server does not answer.

    Args:
        root: of the project.
        notify: called with a message about each one.
    """
    import contextlib

    from prefect.client.orchestration import get_client

    from flows.runtime.connection import UNANSWERED, once_only

    now = datetime.now(UTC)
    with contextlib.suppress(*UNANSWERED), once_only(), get_client(sync_client=True) as client:
        for run in taken_runs(client, root):
            if is_orphan(run, root, now):
                state = rescheduled(run)
                client.set_flow_run_state(run.id, state, force=True)
                notify(f"{run.name} was taken by a process that is gone; Prefect shows it as {state.name} now.")


def taken_runs(client: "SyncPrefectClient", root: Path) -> "list[FlowRun]":
    """The flow runs of this project's deployments that were taken and have not begun, or are being cancelled.

    Those of another store are left alone: their leases lie in its folder.
    """
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter

    ours = FlowFilter.model_validate({"name": {"any_": ["train", "verify"]}})
    chosen: dict[str, Any] = {
        "state": {"type": {"any_": ["PENDING", "CANCELLING"]}},
        "deployment_id": {"is_null_": False},
        "tags": {"any_": [store_tag(root), ANY_STORE]},
    }
    return client.read_flow_runs(flow_filter=ours, flow_run_filter=FlowRunFilter.model_validate(chosen))


def is_orphan(run: "FlowRun", root: Path, now: datetime) -> bool:
    """Whether no process can be about to begin a run any more."""
    if run.state is None or lease_path(root, run.id).exists():
        return False
    return now - run.state.timestamp > GRACE and not may_be_alive(run.infrastructure_pid)


def may_be_alive(process: str | None) -> bool:
    """Whether a process may be alive, in the notation of Prefect's workers: `host:pid`; None is no process at all."""
    if process is None:
        return False
    host, _, number = process.rpartition(":")
    if host and host != socket.gethostname():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OverflowError, PermissionError):
        return True
    return True


def rescheduled(run: "FlowRun") -> "State[Any]":
    """The new state of an orphan: Scheduled, or Cancelled if it was to be cancelled."""
    from prefect.states import Cancelled, Scheduled

    if run.state is not None and run.state.is_cancelling():
        return Cancelled(message=CANCELLED)
    return Scheduled(message=RESCHEDULED)

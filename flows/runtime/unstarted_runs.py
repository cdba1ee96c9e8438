"""Flow runs that somebody took and did not begin, because its process was killed: they are handed back.

Of runs that had begun, their claims tell (`flows.runtime.zombie_runs`). One that was taken and has no claim yet is an
orphan if it has stood so for longer than any process takes to begin, and if no process of this machine is known to be
at it.
"""

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.environment.identity import ANY_STORE, store_tag
from flows.runtime.zombie_runs import claim_path

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

#: A process begins within three seconds, and on a busy machine within twelve.
GRACE = timedelta(seconds=60)

#: What Prefect shows of such a run.
HANDED_BACK = "Whoever had taken this run was gone before it began; it is to be taken again."


def hand_back_orphans(root: Path, notify: Callable[[str], None]) -> None:
    """Has every run of a deployment of ours that was taken and not begun taken again.

    Does nothing if Prefect's server does not answer.

    Args:
        root: of the project.
        notify: is told of each one.
    """
    import contextlib

    from prefect.client.orchestration import get_client

    from flows.runtime.connection import UNANSWERED, once_only

    now = datetime.now(UTC)
    with contextlib.suppress(*UNANSWERED), once_only(), get_client(sync_client=True) as client:
        for run in taken_runs(client, root):
            if is_orphan(run, root, now):
                state = handed_back(run)
                client.set_flow_run_state(run.id, state, force=True)
                notify(f"{run.name} was taken by a process that is gone; Prefect shows it as {state.name} now.")


def taken_runs(client: "SyncPrefectClient", root: Path) -> "list[FlowRun]":
    """The flow runs of our deployments that were taken and have not begun, or are being cancelled.

    Those of another store are none of ours: their claims lie in its folder.
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
    """Whether nobody can be at a run any more."""
    if run.state is None or claim_path(root, run.id).exists():
        return False
    return now - run.state.timestamp > GRACE and not may_live(run.infrastructure_pid)


def may_live(process: str | None) -> bool:
    """Whether a process, as workers write it down, may be alive: `host:number`; None is no process at all."""
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


def handed_back(run: "FlowRun") -> "State[Any]":
    """The state that an orphan is put in: to be taken again, unless it was to be cancelled."""
    from prefect.states import Cancelled, Scheduled

    if run.state is not None and run.state.is_cancelling():
        return Cancelled(message="Nobody was at it.")
    return Scheduled(message=HANDED_BACK)

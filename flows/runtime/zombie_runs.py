"""Zombie runs: flow runs that Prefect believes to be running although their processes have ended.

A flow's heartbeat is how others know that its process is alive. Prefect's own heartbeat is an event every so many
seconds, and it is switched off here (`flows.runtime.session`): the heartbeat is a lease instead. Each flow run holds
one, .prefect/alive/<flow run>.lock, from its beginning until Prefect knows how it ended. Until Prefect has given the
run an id, the lease bears the name with which the run is created, so that no process dies too early to be found.

However the process ends (kill -9, a power cut), its lease then expires (`tasks.caching.locking.lease`). Each start of
a run, and now and then `workflow serve` and `workflow worker`, look for expired leases: each is that of a zombie run.
Its file holds the state in which the run ended, if Prefect could not be reached then; it is empty if the process died.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import ValidationError

from flows.environment.identity import is_ours
from flows.environment.settings import prefect_home
from tasks.caching.locking.lease import Lease, acquire_lease, expired

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

#: What Prefect shows of a zombie run, of one that was being cancelled, and of a task whose end was not reported.
ZOMBIE = "Its process ended without reporting it; this was found when the next run started."
CANCELLED = "Its process has ended, as requested."
TASK_UNREPORTED = "Its end was not reported; this was found when the next run started."


def acquire_run_lease(root: Path, flow_run_id: UUID) -> Lease:
    """Acquires the lease that shows that this process carries out a flow run.

    Args:
        root: of the project.
        flow_run_id: in Prefect; or the name with which it will be created.
    """
    return acquire_lease(lease_path(root, flow_run_id))


def lease_path(root: Path, flow_run_id: UUID) -> Path:
    """Where the lease of a flow run lies."""
    return leases_folder(root) / f"{flow_run_id}.lock"


def dump_final_state(state: "State[Any]") -> bytes:
    """What the lease of a flow run holds that ended in a state which could not be reported to Prefect."""
    return state.model_dump_json(include={"type", "name", "message"}).encode()


def load_final_state(path: Path) -> "State[Any]":
    """The state in which a flow run ended, from its expired lease; Crashed if that is empty, or damaged."""
    from prefect.client.schemas.objects import State
    from prefect.states import Crashed

    try:
        state = State[Any].model_validate_json(path.read_bytes())
    except (ValidationError, OSError):
        return Crashed(message=ZOMBIE)
    return state if state.is_final() else Crashed(message=ZOMBIE)


def mark_zombie_runs(root: Path, notify: Callable[[str], None] | None = None) -> None:
    """Reports to Prefect how each zombie run ended.

    Does nothing about a run whose server does not answer: the next start tries again.

    Args:
        root: of the project.
        notify: called with a message about each one.
    """
    leases = sorted(path for path in leases_folder(root).glob("*.lock") if is_uuid(path.stem))
    if not leases:
        return
    from prefect.client.orchestration import get_client

    from flows.runtime.connection import UNANSWERED, once_only

    with contextlib.suppress(*UNANSWERED), once_only(), get_client(sync_client=True) as client:
        for path in leases:
            with expired(path) as is_expired:
                if is_expired:
                    state = load_final_state(path)
                    if mark_ended(client, UUID(path.stem), state, root) and notify is not None:
                        notify(
                            f"An earlier run ended without reporting it; Prefect shows it as {state.name} now "
                            f"({path.stem})."
                        )
                    path.unlink()


def mark_ended(client: "SyncPrefectClient", leased: UUID, state: "State[Any]", root: Path) -> bool:
    """Puts a flow run, and those of its tasks that are not final, into their final states.

    Args:
        client: of Prefect.
        leased: the id or the name that its lease bears.
        state: how it ended, if Prefect does not know.
        root: of the project.

    Returns:
        Whether the flow run was not final yet. False too if Prefect does not know it (any more), or if it belongs to
        another store: in the copy of a project that was copied while it ran, the leases have expired.
    """
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Cancelled, Completed, Crashed

    flow_run = find_leased(client, leased)
    if flow_run is None or not is_ours(flow_run.tags, root):
        return False
    known = flow_run.state
    is_open = known is None or not known.is_final()
    if known is not None and known.is_cancelling():  # its process has just been ended, or died before that
        state = Cancelled(message=CANCELLED)
    last = state if known is None or is_open else known
    # If the run completed, so did its tasks; otherwise it is not known how far this one came.
    rest = Completed if last.is_completed() else Crashed
    chosen = FlowRunFilter.model_validate({"id": {"any_": [flow_run.id]}})
    for task_run in client.read_task_runs(flow_run_filter=chosen):
        if task_run.state is None or not task_run.state.is_final():
            client.set_task_run_state(task_run.id, rest(message=TASK_UNREPORTED), force=True)
    if is_open:
        client.set_flow_run_state(flow_run.id, state, force=True)
    return is_open


def find_leased(client: "SyncPrefectClient", leased: UUID) -> "FlowRun | None":
    """The flow run whose lease bears its id, or its name if its process never learnt the id; None if there is none."""
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_flow_run(leased)
    except ObjectNotFound:
        chosen = FlowRunFilter.model_validate({"name": {"any_": [str(leased)]}})
        return next(iter(client.read_flow_runs(flow_run_filter=chosen)), None)


def has_ended_in_prefect(flow_run_id: UUID) -> bool:
    """Whether Prefect has a final state for a flow run that is still running; False if Prefect does not answer."""
    from prefect.context import SyncClientContext

    from flows.runtime.connection import try_request

    with SyncClientContext.get_or_create() as context:
        flow_run = try_request(lambda: context.client.read_flow_run(flow_run_id))
    return flow_run is not None and flow_run.state is not None and flow_run.state.is_final()


def leases_folder(root: Path) -> Path:
    """Where the leases lie."""
    return prefect_home(root) / "alive"


def is_uuid(text: str) -> bool:
    """Whether a text is the id of a flow run."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True

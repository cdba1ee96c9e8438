"""Flow runs that ended without telling Prefect: found at the next start, which tells it.

Each flow run holds a claim, .prefect/alive/<flow run>.lock, from its beginning until Prefect knows how it ended. Until
Prefect has given it an id, it is claimed by the name with which it is created: no process dies too early to be found.
However its process ends (kill -9, a power cut), the claim is then free. A free claim is of a run that Prefect believes
to be under way: it says how the run ended if this could not be told, and nothing if the run died.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import ValidationError

from flows.environment.identity import is_ours
from flows.environment.settings import prefect_home
from tasks.caching.locking.claims import Claim, hold, taken_over

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

#: What Prefect shows of a run that was found dead, and of a task whose end it was not told.
FOUND_DEAD = "Its process ended without telling; this was found when the next run started."
FOUND_CANCELLED = "Its process has ended, as was asked for."
FOUND_LATE = "Its end was not told; this was found when the next run started."


def claim(root: Path, flow_run_id: UUID) -> Claim:
    """Claims that this process carries out a flow run.

    Args:
        root: of the project.
        flow_run_id: in Prefect; or the name with which it will be created.
    """
    return hold(claim_path(root, flow_run_id))


def claim_path(root: Path, flow_run_id: UUID) -> Path:
    """Where the claim of a flow run lies."""
    return claims_folder(root) / f"{flow_run_id}.lock"


def ends_as(state: "State[Any]") -> bytes:
    """What is kept in the claim of a flow run that ended in a state which Prefect could not be told."""
    return state.model_dump_json(include={"type", "name", "message"}).encode()


def ended_as(path: Path) -> "State[Any]":
    """The state in which a flow run ended, as its free claim tells; Crashed if it tells nothing, or garbage."""
    from prefect.client.schemas.objects import State
    from prefect.states import Crashed

    try:
        state = State[Any].model_validate_json(path.read_bytes())
    except (ValidationError, OSError):
        return Crashed(message=FOUND_DEAD)
    return state if state.is_final() else Crashed(message=FOUND_DEAD)


def mark_ended_runs(root: Path, notify: Callable[[str], None] | None = None) -> None:
    """Tells Prefect of every flow run that ended without telling.

    Does nothing about a run whose server does not answer: it is asked again at the next start.

    Args:
        root: of the project.
        notify: is told of each one.
    """
    claims = sorted(path for path in claims_folder(root).glob("*.lock") if is_uuid(path.stem))
    if not claims:
        return
    from prefect.client.orchestration import get_client

    from flows.runtime.connection import UNANSWERED, once_only

    with contextlib.suppress(*UNANSWERED), once_only(), get_client(sync_client=True) as client:
        for path in claims:
            with taken_over(path) as is_free:
                if is_free:
                    state = ended_as(path)
                    if mark_ended(client, UUID(path.stem), state, root) and notify is not None:
                        notify(
                            f"An earlier run ended without telling; Prefect shows it as {state.name} now ({path.stem})."
                        )
                    path.unlink()


def mark_ended(client: "SyncPrefectClient", claimed: UUID, state: "State[Any]", root: Path) -> bool:
    """Puts a flow run and what is open of its tasks into their last states.

    Args:
        client: of Prefect.
        claimed: what it was claimed by.
        state: how it ended, if Prefect does not know.

    Returns:
        Whether the flow run was open; False too if Prefect does not know it (any more), or if it is of another store:
        the claims of a project that was copied while it ran are free in the copy.
    """
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Cancelled, Completed, Crashed

    flow_run = find_claimed(client, claimed)
    if flow_run is None or not is_ours(flow_run.tags, root):
        return False
    known = flow_run.state
    is_open = known is None or not known.is_final()
    if known is not None and known.is_cancelling():  # its process has just been ended, or died before that
        state = Cancelled(message=FOUND_CANCELLED)
    last = state if known is None or is_open else known
    # If the run completed, so did its tasks; else nobody knows how far this one came.
    rest = Completed if last.is_completed() else Crashed
    chosen = FlowRunFilter.model_validate({"id": {"any_": [flow_run.id]}})
    for task_run in client.read_task_runs(flow_run_filter=chosen):
        if task_run.state is None or not task_run.state.is_final():
            client.set_task_run_state(task_run.id, rest(message=FOUND_LATE), force=True)
    if is_open:
        client.set_flow_run_state(flow_run.id, state, force=True)
    return is_open


def find_claimed(client: "SyncPrefectClient", claimed: UUID) -> "FlowRun | None":
    """The flow run that was claimed by its id, or by its name if its process never learnt the id; None without one."""
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_flow_run(claimed)
    except ObjectNotFound:
        chosen = FlowRunFilter.model_validate({"name": {"any_": [str(claimed)]}})
        return next(iter(client.read_flow_runs(flow_run_filter=chosen)), None)


def is_given_up(flow_run_id: UUID) -> bool:
    """Whether Prefect was told that a flow run ended, while it still runs; False if Prefect does not answer."""
    from prefect.context import SyncClientContext

    from flows.runtime.connection import ask

    with SyncClientContext.get_or_create() as context:
        flow_run = ask(lambda: context.client.read_flow_run(flow_run_id))
    return flow_run is not None and flow_run.state is not None and flow_run.state.is_final()


def claims_folder(root: Path) -> Path:
    """Where the claims lie."""
    return prefect_home(root) / "alive"


def is_uuid(text: str) -> bool:
    """Whether a text is the id of a flow run."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True

"""Flow runs whose process died without telling Prefect: found by a lock that the kernel frees, and marked Crashed.

Each flow run holds a lock on .prefect/alive/<flow run>.lock while it lives. However its process ends (kill -9, a power
cut), the kernel frees the lock; what is found unlocked at the next start is a run that never said how it ended.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from flows.settings import prefect_home
from tasks.caching.claims import hold, taken_over

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

#: What Prefect shows of a run that was found dead.
FOUND_DEAD = "Its process ended without telling; this was found when the next run started."

#: Ends the claim of the flow that was called, in this context; set by `claim_until_end`.
_claims: ContextVar[contextlib.ExitStack | None] = ContextVar("_claims", default=None)


@contextlib.contextmanager
def claim_until_end() -> Iterator[None]:
    """Surrounds the call of a flow: a claim that is made inside ends here, if the flow ended well.

    After a failure the claim's file stays, unlocked: had Prefect not been told of the end, the next start would do it.
    """
    with contextlib.ExitStack() as claims:
        token = _claims.set(claims)
        try:
            yield
        except BaseException:
            claims.pop_all()
            raise
        finally:
            _claims.reset(token)


def claim(root: Path, flow_run_id: UUID | str) -> None:
    """Claims that this process carries out a flow run, until it ends.

    Args:
        root: of the project.
        flow_run_id: in Prefect.
    """
    path = claims_folder(root) / f"{flow_run_id}.lock"
    descriptor = hold(path)
    if (claims := _claims.get()) is not None:
        claims.callback(os.close, descriptor)
        claims.callback(path.unlink, missing_ok=True)


def mark_dead_runs(root: Path, notify: Callable[[str], None] | None = None) -> None:
    """Marks every flow run Crashed whose process died without telling Prefect.

    Does nothing about a run whose server does not know it or does not answer: it is asked again at the next start.

    Args:
        root: of the project.
        notify: is told of each one.
    """
    claims = sorted(claims_folder(root).glob("*.lock"))
    if not claims:
        return
    from httpx import HTTPError
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectException

    with contextlib.suppress(HTTPError, PrefectException), get_client(sync_client=True) as client:
        for path in claims:
            with taken_over(path) as is_dead:
                if is_dead:
                    if mark_crashed(client, UUID(path.stem)) and notify is not None:
                        notify(f"An earlier run ended without telling; Prefect shows it as Crashed now ({path.stem}).")
                    path.unlink()


def mark_crashed(client: "SyncPrefectClient", flow_run_id: UUID) -> bool:
    """Marks a flow run and what ran of its tasks Crashed; False if it had ended, or is not known any more."""
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    try:
        flow_run = client.read_flow_run(flow_run_id)
    except ObjectNotFound:
        return False
    if flow_run.state is None or flow_run.state.is_final():
        return False
    chosen = FlowRunFilter.model_validate({"id": {"any_": [flow_run_id]}})
    for task_run in client.read_task_runs(flow_run_filter=chosen):
        if task_run.state is None or not task_run.state.is_final():
            client.set_task_run_state(task_run.id, Crashed(message=FOUND_DEAD), force=True)
    client.set_flow_run_state(flow_run_id, Crashed(message=FOUND_DEAD), force=True)
    return True


def is_given_up(flow_run_id: UUID) -> bool:
    """Whether Prefect was told that a flow run ended, while it still runs; False if Prefect does not answer."""
    from httpx import HTTPError
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectException
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with (
        contextlib.suppress(HTTPError, PrefectException),
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(sync_client=True) as client,
    ):
        state = client.read_flow_run(flow_run_id).state
        return state is not None and state.is_final()
    return False


def claims_folder(root: Path) -> Path:
    """Where the claims lie."""
    return prefect_home(root) / "alive"

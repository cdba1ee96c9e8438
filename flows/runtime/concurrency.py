"""One run of an experiment at a time, among those that deployments start; see `tasks.caching.locking.exclusive`."""

import contextlib
from collections.abc import Iterator
from typing import Literal

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.states import Running

from flows.runtime.connection import try_request
from flows.runtime.zombie_runs import has_ended_in_prefect
from tasks.caching.locking.exclusive import RunSkippedError, Scheduled, exclusive
from tasks.caching.storage.store import Store

#: What a run does while another one of its experiment is in progress.
IfRunning = Literal["wait", "cancel"]


@contextlib.contextmanager
def one_at_a_time(experiment: str, if_running: IfRunning, store: Store) -> Iterator[bool]:
    """Surrounds a flow; yields whether it had to wait. One that was called directly, without a deployment, never does.

    Raises:
        RunSkippedError: the run is skipped.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or run.deployment_id is None:
        yield False
        return
    waited = False

    def show_waiting() -> None:
        nonlocal waited
        waited = True
        set_state(run, Running(name="Waiting", message=f"Another run of {experiment} is in progress."))

    wait = if_running == "wait"
    with exclusive(store.locks, experiment, wait=wait, scheduled=scheduled(run), on_wait=show_waiting):
        if waited:
            if has_ended_in_prefect(run.id):
                raise RunSkippedError("It was ended while it was waiting.")
            set_state(run, Running())
        yield waited


def scheduled(run: FlowRun) -> Scheduled | None:
    """What asked for a run, if it was a schedule; None if it was a person, and for a retry."""
    if not run.auto_scheduled or run.run_count > 1 or run.expected_start_time is None:
        return None
    return Scheduled(str(run.deployment_id), run.expected_start_time.timestamp())


def set_state(run: FlowRun, state: State[None]) -> None:
    """Sets the state that Prefect shows of a run in progress."""

    def request() -> None:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, state, force=True)

    try_request(request)

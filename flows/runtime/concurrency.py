"""Runs of one experiment that deployments start take place in turn; see `tasks.caching.locking.exclusion`."""

import contextlib
from collections.abc import Iterator
from typing import Literal

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.states import Running

from flows.runtime.connection import ask
from flows.runtime.zombie_runs import is_given_up
from tasks.caching.locking.exclusion import Planned, StandBackError, exclusive
from tasks.caching.storage.store import Store

#: What a run does while another one of its experiment is running.
IfRunning = Literal["wait", "cancel"]


@contextlib.contextmanager
def one_at_a_time(experiment: str, if_running: IfRunning, store: Store) -> Iterator[bool]:
    """Surrounds a flow; yields whether it had to wait. One that was called directly never waits, as its caller wants.

    Raises:
        StandBackError: the run is not to take place.
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
        set_state(run, Running(name="Waiting", message=f"Another run of {experiment} is running."))

    wait = if_running == "wait"
    with exclusive(store, experiment, wait=wait, planned=planned(run), on_wait=show_waiting):
        if waited:
            if is_given_up(run.id):
                raise StandBackError("It was ended while it waited.")
            set_state(run, Running())
        yield waited


def planned(run: FlowRun) -> Planned | None:
    """What asked for a run, if it was a schedule; None if it was a person, which goes for a second try as well."""
    if not run.auto_scheduled or run.run_count > 1 or run.expected_start_time is None:
        return None
    return Planned(str(run.deployment_id), run.expected_start_time.timestamp())


def set_state(run: FlowRun, state: State[None]) -> None:
    """Sets the state of a run that is running in Prefect, if its server answers."""

    def request() -> None:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, state, force=True)

    ask(request)

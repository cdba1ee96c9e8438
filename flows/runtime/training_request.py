"""What a flow run of `train` was asked for, as it will run here: settled once and planned once.

Prefect asks for the name of a flow run before it calls the flow. The name says what is new, which only a plan knows, so
the request is made then, and the flow finds it again.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from prefect.runtime import flow_run

from flows.config.dated_settings import Dated, with_dates
from flows.config.experiments import SettledExperiment, place, settle
from flows.planning import plan_training
from tasks.caching.decision import Decision
from tasks.caching.storage.store import Store, project_store
from tasks.learning.config.experiment import Experiment


@dataclass(frozen=True)
class TrainingRequest:
    """A training that was asked for.

    Attributes:
        experiment: as it will run on this machine.
        refresh: stages to run even if cached; "all" stands for every one.
        until: the last stage to run; None for all.
        plan: what becomes of each stage.
    """

    experiment: SettledExperiment
    refresh: frozenset[str]
    until: str | None
    plan: Sequence[Decision]

    def planned_again(self, store: Store) -> "TrainingRequest":
        """The same request with a new plan, for a flow run that has waited while others changed the store."""
        return replace(self, plan=plan_training(self.experiment, store, self.refresh, self.until))


#: The newest request of this process, with the flow run that it is of.
newest: ContextVar[tuple[UUID, TrainingRequest] | None] = ContextVar("newest", default=None)


def training_request(
    *,
    experiment: Experiment,
    refresh: Sequence[str],
    until: str | None,
    device: str | None,
    dated: Sequence[Dated],
    timezone: str,
    **others: Any,
) -> TrainingRequest:
    """What the flow run that this is called in was asked for; see `flows.orchestration.train` for the arguments.

    Args:
        others: are not looked at, so that all parameters of the flow can be given.

    Raises:
        InputError: the device is not there, or the plan cannot be made.
    """
    made = newest.get()
    if made is not None and made[0] == flow_run.id:
        return made[1]
    asked = with_dates(place(experiment, device), dated, flow_run.scheduled_start_time, timezone)
    settled, forced = settle(asked), frozenset(refresh)
    request = TrainingRequest(settled, forced, until, plan_training(settled, project_store(), forced, until))
    newest.set((flow_run.id, request))
    return request

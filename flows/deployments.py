"""The deployments of the project: the training of each experiment, and the verification of each run that was trained.

`workflow serve` offers them from one process; `prefect.yaml` describes the same ones for people who run workers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.announcing import TRAINED
from flows.scheduling import Schedule, to_prefect
from tasks.learning.experiment import Experiment

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

#: Name of the deployment that verifies.
EACH_RUN = "each-run"

#: How often a stage of a deployed training is tried again after a fault that may pass.
RETRIES = 3

#: What starts a verification, with the run that it is of.
TRAINED_RUN: dict[str, Any] = {
    "name": "workflow: verify each trained run",
    "expect": {TRAINED},
    "match": {"prefect.resource.id": "workflow.run.*"},
    "parameters": {"run": "{{ event.payload.run }}"},
}


@dataclass(frozen=True)
class Offer:
    """An experiment that is offered to be trained, and when it is trained by itself."""

    experiment: Experiment
    schedule: Schedule

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of a training, unless the form in the UI changes them."""
        return {
            "experiment": self.experiment.model_dump(mode="json"),
            "if_running": self.schedule.if_running,
            "retries": RETRIES,
        }


async def make_deployments(offers: Iterable[Offer]) -> "list[RunnerDeployment]":
    """The deployments: one for each experiment, and one that verifies each run that was trained.

    Raises:
        InputError: a schedule stands for no moment.
    """
    return [*[await training(offer) for offer in offers], await verification()]


async def training(offer: Offer) -> "RunnerDeployment":
    """The deployment that trains an experiment: by hand, from its form in the UI, and on its schedule."""
    from prefect.types.entrypoint import EntrypointType

    from flows.orchestration import train

    name, when = offer.experiment.name, offer.schedule.words
    return await train.ato_deployment(
        name,
        description=f"Trains {name}, {when or 'when asked to'}. What has not changed is reused.",
        parameters=offer.parameters,
        schedules=[to_prefect(offer.schedule)] if when else [],
        tags=[name],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


async def verification() -> "RunnerDeployment":
    """The deployment that verifies each run that a training announces."""
    from prefect.events import DeploymentEventTrigger
    from prefect.types.entrypoint import EntrypointType

    from flows.orchestration import verify

    return await verify.ato_deployment(
        EACH_RUN,
        description="Verifies each run that was trained: its checkpoint predicts what training recorded.",
        triggers=[DeploymentEventTrigger(**TRAINED_RUN)],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )

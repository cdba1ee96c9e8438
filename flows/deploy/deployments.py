"""The deployments of the project: the training of each experiment, and the verification of each run that was trained.

`workflow serve` offers them from one process; `prefect.yaml` describes the same ones for people who run workers.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.config.experiments import load_experiment, load_file, preset_names
from flows.config.schedule import Schedule, to_prefect
from flows.environment.identity import ANY_STORE, PREFIX
from flows.errors import InputError
from flows.prefect_internals import parameter_definitions
from flows.runtime.events import STORE, TRAINED
from tasks.learning.config.descriptions import describe_deployed
from tasks.learning.config.experiment import Experiment

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

#: Name of the deployment that verifies.
EACH_RUN = "each-run"

#: How often a stage of a deployed training is tried again after a fault that may pass.
RETRIES = 3

VERIFIES = "Verifies each run that was trained: its checkpoint predicts what training recorded."

#: What starts a verification, with the run that it is of. A run of another store is refused by the flow, and where the
#: store is known, which prefect.yaml does not, nothing is started for it.
TRAINED_RUN: dict[str, Any] = {
    "name": "workflow: verify each trained run",
    "expect": {TRAINED},
    "match": {"prefect.resource.id": "workflow.run.*"},
    "parameters": {"run": "{{ event.payload.run }}", "store": "{{ event.payload.store }}"},
}


#: What a worker starts for each flow run: as `workflow serve` does, it carries it out so that nothing of it is lost.
COMMAND = "python -m flows.executing"

#: The work pool of these deployments, of type process.
POOL = "workflow"

HEADER = """\
# The deployments of the project for `prefect deploy --all` and workers: what `workflow serve` offers by itself.
# Printed by `workflow deployments`, which takes your own experiments too; see docs/OPERATIONS.md.
"""


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


def read_offers(sources: Sequence[str], schedule: Schedule | None = None) -> list[Offer]:
    """What is offered: every preset, and what the user names besides.

    Args:
        sources: presets or paths of TOML files.
        schedule: for all of them, in place of their files' own; None for their own.

    Raises:
        InputError: a source is none, two have the same name, or a schedule is given and no source.
    """
    if schedule and not sources:
        raise InputError("a schedule is given, but not what for: name a preset or the path of a TOML file")
    offers = {name: Offer(load_experiment(name), Schedule()) for name in preset_names()}
    named: set[str] = set()
    for source in sources:
        experiment, own = load_file(source)
        if experiment.name in named:
            raise InputError(f"two experiments are named {experiment.name}: give one another `name`")
        named.add(experiment.name)
        offers[experiment.name] = Offer(experiment, schedule or own)
    return list(offers.values())


async def make_deployments(offers: Iterable[Offer], store: str) -> "list[RunnerDeployment]":
    """The deployments: one for each experiment, and one that verifies each run that was trained.

    Args:
        offers: what is offered to be trained.
        store: identity of the store that all of it is done in.

    Raises:
        InputError: a schedule stands for no moment.
    """
    return [*[await training(offer, store) for offer in offers], await verification(store)]


def described(offer: Offer) -> str:
    """What the UI says of a training."""
    when = offer.schedule.words or "when asked to"
    return f"Trains {offer.experiment.name}, {when}. What has not changed is reused."


async def training(offer: Offer, store: str) -> "RunnerDeployment":
    """The deployment that trains an experiment: by hand, from its form in the UI, and on its schedule."""
    from prefect.types.entrypoint import EntrypointType

    from flows.orchestration import train

    deployment = await train.ato_deployment(
        offer.experiment.name,
        description=described(offer),
        parameters=offer.parameters,
        schedules=[to_prefect(offer.schedule)] if offer.schedule.words else [],
        tags=[offer.experiment.name, f"{PREFIX}{store}"],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    describe_deployed(parameter_definitions(deployment), offer.experiment)
    return deployment


async def verification(store: str) -> "RunnerDeployment":
    """The deployment that verifies each run that a training in a store announces."""
    from prefect.events import DeploymentEventTrigger
    from prefect.types.entrypoint import EntrypointType

    from flows.orchestration import verify

    heeded = TRAINED_RUN | {"match": {**TRAINED_RUN["match"], STORE: store}}
    return await verify.ato_deployment(
        EACH_RUN,
        tags=[f"{PREFIX}{store}"],
        parameters={"retries": RETRIES},
        description=VERIFIES,
        triggers=[DeploymentEventTrigger(**heeded)],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def to_yaml(offers: Iterable[Offer]) -> str:
    """The deployments as the text of a prefect.yaml.

    Raises:
        InputError: a schedule stands for no moment.
    """
    from ruamel.yaml import YAML

    trigger = TRAINED_RUN | {"type": "event", "expect": sorted(TRAINED_RUN["expect"])}
    verifying = {
        "name": EACH_RUN,
        "description": VERIFIES,
        "tags": [ANY_STORE],
        "entrypoint": "flows/orchestration.py:verify",
        "parameters": {"retries": RETRIES},
        "triggers": [trigger],
    }
    pool = {"name": POOL, "job_variables": {"command": COMMAND}}
    content = {
        "name": "pytorch-workflow",
        "deployments": [deployment | {"work_pool": pool} for deployment in (*map(training_in_yaml, offers), verifying)],
    }
    text = io.StringIO()
    yaml = YAML()
    yaml.representer.ignore_aliases = lambda *_: True
    yaml.dump(content, text)
    return HEADER + text.getvalue()


def training_in_yaml(offer: Offer) -> dict[str, Any]:
    """The deployment that trains an experiment, as prefect.yaml has it."""
    return {
        "name": offer.experiment.name,
        "description": described(offer),
        "tags": [offer.experiment.name, ANY_STORE],
        "entrypoint": "flows/orchestration.py:train",
        "parameters": offer.parameters,
        "schedules": [in_yaml(offer.schedule)] if offer.schedule.words else [],
    }


def in_yaml(schedule: Schedule) -> dict[str, Any]:
    """A schedule as prefect.yaml has it.

    Raises:
        InputError: it stands for no moment.
    """
    made = to_prefect(schedule)
    changed = {"parameters": made.parameters} if made.parameters else {}
    if made.interval is not None:
        return {"interval": made.interval.total_seconds(), "anchor_date": made.anchor_date.isoformat()} | changed
    rule = {"cron": made.cron} if made.cron else {"rrule": made.rrule}
    return {**rule, "timezone": made.timezone} | changed

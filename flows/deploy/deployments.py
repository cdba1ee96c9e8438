"""The project's deployments: one training per experiment, and one that verifies each new run.

`workflow serve` serves them from one process; `prefect.yaml` describes the same ones for workers.
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

#: How often a stage of a deployed training is retried after a transient error.
RETRIES = 3

VERIFIES = "Verifies each run that was trained: its checkpoint predicts what training recorded."

#: The trigger of a verification, which passes on the run. The flow rejects runs of other stores; if the store is known,
#: which it is not in prefect.yaml, no flow run is started for them.
TRAINED_RUN: dict[str, Any] = {
    "name": "workflow: verify each trained run",
    "expect": {TRAINED},
    "match": {"prefect.resource.id": "workflow.run.*"},
    "parameters": {"run": "{{ event.payload.run }}", "store": "{{ event.payload.store }}"},
}


#: The command that a worker starts for each flow run, so that it runs as under `workflow serve`.
COMMAND = "python -m flows.executing"

#: The work pool of these deployments, of type process.
POOL = "workflow"

HEADER = """\
# The deployments of the project for `prefect deploy --all` and workers: the same ones as those of `workflow serve`.
# Printed by `workflow deployments`, which also accepts your own experiments; see docs/OPERATIONS.md.
"""


@dataclass(frozen=True)
class DeployedExperiment:
    """An experiment to deploy, with its schedule."""

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


def experiments_to_deploy(sources: Sequence[str], schedule: Schedule | None = None) -> list[DeployedExperiment]:
    """Returns the experiments to deploy: every preset, and those named by the user.

    Args:
        sources: Presets or paths of TOML files.
        schedule: For all of them, instead of those in their files; None for their own.

    Raises:
        InputError: A source is invalid, two have the same name, or a schedule is given without a source.
    """
    if schedule and not sources:
        raise InputError("a schedule is given without an experiment: name a preset or the path of a TOML file")
    experiments = {name: DeployedExperiment(load_experiment(name), Schedule()) for name in preset_names()}
    named: set[str] = set()
    for source in sources:
        experiment, own = load_file(source)
        if experiment.name in named:
            raise InputError(f"two experiments are named {experiment.name}: give one another `name`")
        named.add(experiment.name)
        experiments[experiment.name] = DeployedExperiment(experiment, schedule or own)
    return list(experiments.values())


async def make_deployments(experiments: Iterable[DeployedExperiment], store: str) -> "list[RunnerDeployment]":
    """Returns the deployments: one per experiment, and one that verifies each new run.

    Args:
        experiments: To train.
        store: Identity of the store in which they run.

    Raises:
        InputError: A schedule never fires.
    """
    return [
        *[await training_deployment(deployed, store) for deployed in experiments],
        await verification_deployment(store),
    ]


def describe_training(deployed: DeployedExperiment) -> str:
    """Returns the description of a training in the UI."""
    when = deployed.schedule.words or "when asked to"
    return f"Trains {deployed.experiment.name}, {when}. What has not changed is reused."


async def training_deployment(deployed: DeployedExperiment, store: str) -> "RunnerDeployment":
    """Returns the deployment that trains an experiment: from its form in the UI and on its schedule."""
    from prefect.types.entrypoint import EntrypointType

    from flows.orchestration import train

    deployment = await train.ato_deployment(
        deployed.experiment.name,
        description=describe_training(deployed),
        parameters=deployed.parameters,
        schedules=[to_prefect(deployed.schedule)] if deployed.schedule.words else [],
        tags=[deployed.experiment.name, f"{PREFIX}{store}"],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    describe_deployed(parameter_definitions(deployment), deployed.experiment)
    return deployment


async def verification_deployment(store: str) -> "RunnerDeployment":
    """Returns the deployment that verifies each run that a training in a store announces."""
    from prefect.events import DeploymentEventTrigger
    from prefect.types.entrypoint import EntrypointType

    from flows.orchestration import verify

    trigger = TRAINED_RUN | {"match": {**TRAINED_RUN["match"], STORE: store}}
    return await verify.ato_deployment(
        EACH_RUN,
        tags=[f"{PREFIX}{store}"],
        parameters={"retries": RETRIES},
        description=VERIFIES,
        triggers=[DeploymentEventTrigger(**trigger)],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def to_yaml(experiments: Iterable[DeployedExperiment]) -> str:
    """Returns the deployments as the text of a prefect.yaml.

    Raises:
        InputError: A schedule never fires.
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
        "deployments": [
            deployment | {"work_pool": pool} for deployment in (*map(training_in_yaml, experiments), verifying)
        ],
    }
    text = io.StringIO()
    yaml = YAML()
    yaml.representer.ignore_aliases = lambda *_: True
    yaml.dump(content, text)
    return HEADER + text.getvalue()


def training_in_yaml(deployed: DeployedExperiment) -> dict[str, Any]:
    """Returns the deployment that trains an experiment, in the format of prefect.yaml."""
    return {
        "name": deployed.experiment.name,
        "description": describe_training(deployed),
        "tags": [deployed.experiment.name, ANY_STORE],
        "entrypoint": "flows/orchestration.py:train",
        "parameters": deployed.parameters,
        "schedules": [schedule_in_yaml(deployed.schedule)] if deployed.schedule.words else [],
    }


def schedule_in_yaml(schedule: Schedule) -> dict[str, Any]:
    """Returns a schedule in the format of prefect.yaml.

    Raises:
        InputError: It never fires.
    """
    made = to_prefect(schedule)
    changed = {"parameters": made.parameters} if made.parameters else {}
    if made.interval is not None:
        return {"interval": made.interval.total_seconds(), "anchor_date": made.anchor_date.isoformat()} | changed
    rule = {"cron": made.cron} if made.cron else {"rrule": made.rrule}
    return {**rule, "timezone": made.timezone} | changed

"""The cron, interval and rrule schedules of a store's trainings on Prefect's server.

Schedules removed from a file must disappear from the server, and those a person has paused there must stay paused;
Prefect itself does neither when deployments are created again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.environment.identity import store_tag
from flows.errors import InputError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.deployments.runner import RunnerDeployment

#: The tag of a deployment whose schedules were paused because it is no longer offered, and not by a person.
NOT_OFFERED = "not-offered"

#: The message of a scheduled run that is cancelled because nothing would ever start it.
WITHDRAWN = "Its schedule is paused: its deployment is no longer offered."


@dataclass(frozen=True)
class ScheduledDeployment:
    """A deployment with schedules.

    Attributes:
        name: Of the experiment.
        rules: Its schedules as text, such as `30 3 * * * Europe/Berlin`.
        state: active, paused (by a person), or not offered (and paused for that reason).
        pool: The work pool of its runs; None for `workflow serve`.
    """

    name: str
    rules: list[str]
    state: str
    pool: str | None


def keep_pauses(client: "SyncPrefectClient", deployments: "Iterable[RunnerDeployment]") -> set[str]:
    """Keeps schedules paused that a person has paused; creating a deployment again would resume them.

    Args:
        client: Of the server.
        deployments: About to be created; modified.

    Returns:
        The names of those that stay paused.
    """
    from prefect.exceptions import ObjectNotFound

    kept = set()
    for deployment in deployments:
        try:
            found = client.read_deployment_by_name(deployment.full_name)
        except ObjectNotFound:
            continue
        if deployment.schedules and is_paused(found):
            deployment.paused = found.paused
            if not found.paused:
                deployment.schedules = [each.model_copy(update={"active": False}) for each in deployment.schedules]
            kept.add(deployment.name)
    return kept


def is_paused(deployment: "DeploymentResponse") -> bool:
    """Whether a person has paused a deployment, or all of its schedules."""
    if NOT_OFFERED in deployment.tags:
        return False
    return deployment.paused or (bool(deployment.schedules) and not any(s.active for s in deployment.schedules))


def pause_not_offered(
    client: "SyncPrefectClient", offered: Iterable[str], pool: str | None, root: Path, notify: Callable[[str], None]
) -> None:
    """Pauses the schedules of experiments that are no longer offered, and cancels their scheduled runs.

    Args:
        client: Of the server.
        offered: The experiments that are offered.
        pool: Only deployments with this work pool; None for those that `workflow serve` created.
        root: Of the project.
        notify: Called with a line for each one.
    """
    for deployment in training_deployments(client, root):
        if deployment.name in offered or deployment.work_pool_name != pool or not is_active(deployment):
            continue
        for schedule in deployment.schedules:
            client.update_deployment_schedule(deployment.id, schedule.id, active=False)
        mark_not_offered(client, deployment)
        cancel_scheduled_runs(client, deployment)
        notify(
            f"train/{deployment.name} is no longer offered: its schedule, "
            f"{', '.join(describe_schedules(deployment))}, is paused; "
            f"`workflow schedules remove {deployment.name}` removes it"
        )


def is_active(deployment: "DeploymentResponse") -> bool:
    """Whether the server schedules runs of a deployment."""
    return not deployment.paused and any(schedule.active for schedule in deployment.schedules)


def mark_not_offered(client: "SyncPrefectClient", deployment: "DeploymentResponse") -> None:
    """Adds the tag that records why a deployment's schedules are paused; creating it again removes the tag."""
    from prefect.client.schemas.actions import DeploymentUpdate

    client.update_deployment(deployment.id, DeploymentUpdate(tags=sorted({*deployment.tags, NOT_OFFERED})))


def cancel_scheduled_runs(client: "SyncPrefectClient", deployment: "DeploymentResponse") -> None:
    """Cancels the scheduled runs of a deployment that have not started: late ones would stay late forever."""
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Cancelled

    chosen: dict[str, Any] = {"deployment_id": {"any_": [deployment.id]}, "state": {"type": {"any_": ["SCHEDULED"]}}}
    while runs := client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(chosen)):
        scheduled = [run for run in runs if run.auto_scheduled]
        for run in scheduled:
            client.set_flow_run_state(run.id, Cancelled(message=WITHDRAWN), force=True)
        if not scheduled:
            return


def list_scheduled(client: "SyncPrefectClient", root: Path) -> list[ScheduledDeployment]:
    """Returns the deployments of a project's store that have schedules, by name."""

    def state(deployment: "DeploymentResponse") -> str:
        if is_active(deployment):
            return "active"
        return "not offered" if NOT_OFFERED in deployment.tags else "paused"

    return [
        ScheduledDeployment(
            deployment.name, describe_schedules(deployment), state(deployment), deployment.work_pool_name
        )
        for deployment in training_deployments(client, root)
        if deployment.schedules
    ]


def remove_scheduled(client: "SyncPrefectClient", name: str, root: Path, *, serving: bool) -> None:
    """Removes the deployment of an experiment, with its schedules and scheduled runs.

    Args:
        client: Of the server.
        name: Of the experiment.
        root: Of the project.
        serving: Whether `workflow serve` is running.

    Raises:
        InputError: There is none, or it is being served.
    """
    found = next((deployment for deployment in training_deployments(client, root) if deployment.name == name), None)
    if found is None or not found.schedules:
        raise InputError(f"train/{name} has no schedule here: `workflow schedules list` shows those that have one")
    if serving and found.work_pool_name is None and NOT_OFFERED not in found.tags:
        raise InputError(
            f"train/{name} is being served: stop `workflow serve`, and serve without its file or [schedule]"
        )
    cancel_scheduled_runs(client, found)
    client.delete_deployment(found.id)


def training_deployments(client: "SyncPrefectClient", root: Path) -> "list[DeploymentResponse]":
    """Returns the training deployments of a project's store, by name."""
    from prefect.client.schemas.filters import DeploymentFilter, FlowFilter

    flow = FlowFilter.model_validate({"name": {"any_": ["train"]}})
    ours = DeploymentFilter.model_validate({"tags": {"all_": [store_tag(root)]}})
    found: list[DeploymentResponse] = []
    while page := client.read_deployments(flow_filter=flow, deployment_filter=ours, offset=len(found)):
        found += page
    return sorted(found, key=lambda deployment: deployment.name)


def describe_schedules(deployment: "DeploymentResponse") -> list[str]:
    """Returns the schedules of a deployment as text."""
    return [describe_schedule(schedule.schedule) for schedule in deployment.schedules]


def describe_schedule(schedule: Any) -> str:
    """Returns one of Prefect's schedules as text, such as `30 3 * * * Europe/Berlin` or `every 6:00:00`."""
    interval = getattr(schedule, "interval", None)
    if interval is not None:
        return f"every {interval}"
    return f"{getattr(schedule, 'cron', None) or schedule.rrule} {schedule.timezone or 'UTC'}"

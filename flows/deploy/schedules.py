"""The schedules that Prefect's server has for a store's trainings.

What a file no longer says must be gone from the server, and what a person has paused there must stay so; Prefect itself
looks after neither when deployments are made again.
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

#: The tag of a deployment whose schedules were paused here because nobody offers it any more, and not by a person.
NOT_OFFERED = "not-offered"

#: What Prefect shows of a run that was planned, and that nobody would ever take.
WITHDRAWN = "Its schedule is paused: what it belongs to is no longer offered."


@dataclass(frozen=True)
class Scheduled:
    """A deployment with schedules.

    Attributes:
        name: of the experiment.
        rules: its schedules in words, such as `30 3 * * * Europe/Berlin`.
        state: active, paused (by a person), or not offered (and paused for that reason).
        pool: the work pool of its runs; None if `workflow serve` takes them.
    """

    name: str
    rules: list[str]
    state: str
    pool: str | None


def keep_pauses(client: "SyncPrefectClient", deployments: "Iterable[RunnerDeployment]") -> set[str]:
    """Has schedules stay paused that a person has paused; otherwise they begin again as deployments are made again.

    Args:
        client: of the server.
        deployments: that are about to be made; changed.

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
    """Pauses the schedules of experiments that are no longer offered, and takes back what they have planned.

    Args:
        client: of the server.
        offered: the experiments that are.
        pool: only deployments with this work pool; None for those that `workflow serve` made.
        root: of the project.
        notify: is told of each one.
    """
    for deployment in trainings(client, root):
        if deployment.name in offered or deployment.work_pool_name != pool or not is_active(deployment):
            continue
        for schedule in deployment.schedules:
            client.update_deployment_schedule(deployment.id, schedule.id, active=False)
        mark_not_offered(client, deployment)
        take_back(client, deployment)
        notify(
            f"train/{deployment.name} is no longer offered: its schedule, {', '.join(rules_of(deployment))}, "
            f"is paused; `workflow schedules remove {deployment.name}` removes it"
        )


def is_active(deployment: "DeploymentResponse") -> bool:
    """Whether the server plans runs of a deployment."""
    return not deployment.paused and any(schedule.active for schedule in deployment.schedules)


def mark_not_offered(client: "SyncPrefectClient", deployment: "DeploymentResponse") -> None:
    """Gives a deployment the tag that tells why its schedules are paused; making it again takes the tag away."""
    from prefect.client.schemas.actions import DeploymentUpdate

    client.update_deployment(deployment.id, DeploymentUpdate(tags=sorted({*deployment.tags, NOT_OFFERED})))


def take_back(client: "SyncPrefectClient", deployment: "DeploymentResponse") -> None:
    """Cancels the runs of a deployment that were planned and are not begun: late ones would stay late for ever."""
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Cancelled

    chosen: dict[str, Any] = {"deployment_id": {"any_": [deployment.id]}, "state": {"type": {"any_": ["SCHEDULED"]}}}
    while runs := client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(chosen)):
        planned = [run for run in runs if run.auto_scheduled]
        for run in planned:
            client.set_flow_run_state(run.id, Cancelled(message=WITHDRAWN), force=True)
        if not planned:
            return


def list_scheduled(client: "SyncPrefectClient", root: Path) -> list[Scheduled]:
    """The deployments of a project's store that have schedules, by name."""

    def state(deployment: "DeploymentResponse") -> str:
        if is_active(deployment):
            return "active"
        return "not offered" if NOT_OFFERED in deployment.tags else "paused"

    return [
        Scheduled(deployment.name, rules_of(deployment), state(deployment), deployment.work_pool_name)
        for deployment in trainings(client, root)
        if deployment.schedules
    ]


def remove_scheduled(client: "SyncPrefectClient", name: str, root: Path, *, serving: bool) -> None:
    """Removes the deployment of an experiment, with its schedules and what they have planned.

    Args:
        client: of the server.
        name: of the experiment.
        root: of the project.
        serving: whether `workflow serve` runs.

    Raises:
        InputError: there is none, or it is served now.
    """
    found = next((deployment for deployment in trainings(client, root) if deployment.name == name), None)
    if found is None or not found.schedules:
        raise InputError(f"train/{name} has no schedule here: `workflow schedules list` lists those that have")
    if serving and found.work_pool_name is None and NOT_OFFERED not in found.tags:
        raise InputError(f"train/{name} is served now: end `workflow serve`, and serve without its file or [schedule]")
    take_back(client, found)
    client.delete_deployment(found.id)


def trainings(client: "SyncPrefectClient", root: Path) -> "list[DeploymentResponse]":
    """The deployments of a project's store that train, by name."""
    from prefect.client.schemas.filters import DeploymentFilter, FlowFilter

    flow = FlowFilter.model_validate({"name": {"any_": ["train"]}})
    ours = DeploymentFilter.model_validate({"tags": {"all_": [store_tag(root)]}})
    found: list[DeploymentResponse] = []
    while page := client.read_deployments(flow_filter=flow, deployment_filter=ours, offset=len(found)):
        found += page
    return sorted(found, key=lambda deployment: deployment.name)


def rules_of(deployment: "DeploymentResponse") -> list[str]:
    """The schedules of a deployment in words."""
    return [words_of(schedule.schedule) for schedule in deployment.schedules]


def words_of(schedule: Any) -> str:
    """A schedule of Prefect's in words, such as `30 3 * * * Europe/Berlin` or `every 6:00:00`."""
    interval = getattr(schedule, "interval", None)
    if interval is not None:
        return f"every {interval}"
    return f"{getattr(schedule, 'cron', None) or schedule.rrule} {schedule.timezone or 'UTC'}"

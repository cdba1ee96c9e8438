"""The deployments that Prefect's server has, and what becomes of them when a store's are made again."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from flows.deploy.schedules import keep_pauses, pause_not_offered
from flows.environment.identity import is_ours
from flows.errors import InputError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.deployments.runner import RunnerDeployment


def prepare(
    deployments: "list[RunnerDeployment]",
    pool: str | None,
    root: Path,
    notify: Callable[[str], None],
    *,
    take_over: bool,
) -> set[str]:
    """Prepares the server and deployments for being made: pauses stay, and what is no longer offered is paused.

    Args:
        deployments: all that are to be offered; changed.
        pool: the work pool of their runs; None if `workflow serve` takes them.
        root: of the project.
        notify: gets a line on each schedule that is paused.
        take_over: whether to take the place of another store.

    Returns:
        The experiments whose schedules stay paused, as a person has them.

    Raises:
        InputError: another store offers one of them, and its place is not to be taken.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        require_ours(client, deployments, root, take_over=take_over)
        pause_not_offered(client, {deployment.name for deployment in deployments}, pool, root, notify)
        return keep_pauses(client, deployments)


def deploy_to(pool: str, deployments: "Iterable[RunnerDeployment]") -> None:
    """Makes deployments whose runs workers take from a work pool, which is made too if it is not there.

    Schedules that the server has and the deployments have not are removed, which `prefect deploy` does not do.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound

    from flows.deploy.deployments import COMMAND

    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(pool)
        except ObjectNotFound:
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    for deployment in deployments:
        deployment.job_variables = {"command": COMMAND}
        asyncio.run(deployment.aapply(work_pool_name=pool))


def read_registered(
    client: "SyncPrefectClient", deployments: "Iterable[RunnerDeployment]"
) -> "list[DeploymentResponse]":
    """What the server has under the names of deployments."""
    from prefect.exceptions import ObjectNotFound

    found = []
    for deployment in deployments:
        try:
            found.append(client.read_deployment_by_name(deployment.full_name))
        except ObjectNotFound:
            continue
    return found


def require_ours(
    client: "SyncPrefectClient", deployments: "Iterable[RunnerDeployment]", root: Path, *, take_over: bool
) -> None:
    """Shows that no other store offers deployments of the same names: their runs would take place in this one.

    Args:
        client: of the server.
        deployments: that are to be offered.
        root: of the project.
        take_over: whether to take the place of another store.

    Raises:
        InputError: another one does.
    """
    names = {deployment.name: deployment.full_name for deployment in deployments}
    others = [found for found in read_registered(client, deployments) if not is_ours(found.tags, root)]
    if others and not take_over:
        told = ", ".join(names[found.name] for found in others)
        raise InputError(
            f"another store offers {told} on this server: use one server for each project; "
            "--take-over takes its place, if that store was moved or is gone"
        )

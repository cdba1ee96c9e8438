"""The deployments on Prefect's server, and what happens to them when a store's deployments are created again."""

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
    """Prepares the creation of deployments: keeps pauses, and pauses what is no longer offered.

    Args:
        deployments: All deployments to create; modified.
        pool: The work pool of their runs; None for `workflow serve`.
        root: Of the project.
        notify: Called with a line for each schedule that is paused.
        take_over: Whether to replace the deployments of another store.

    Returns:
        The experiments whose schedules stay paused because a person paused them.

    Raises:
        InputError: Another store offers one of them and is not to be replaced.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        require_own_deployments(client, deployments, root, take_over=take_over)
        pause_not_offered(client, {deployment.name for deployment in deployments}, pool, root, notify)
        return keep_pauses(client, deployments)


def deploy_to(pool: str, deployments: "Iterable[RunnerDeployment]") -> None:
    """Creates deployments whose runs workers take from a work pool, which is created if needed.

    Schedules on the server that the deployments no longer have are removed, which `prefect deploy` does not do.
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
    """Returns the deployments on the server that have the same names."""
    from prefect.exceptions import ObjectNotFound

    found = []
    for deployment in deployments:
        try:
            found.append(client.read_deployment_by_name(deployment.full_name))
        except ObjectNotFound:
            continue
    return found


def require_own_deployments(
    client: "SyncPrefectClient", deployments: "Iterable[RunnerDeployment]", root: Path, *, take_over: bool
) -> None:
    """Checks that no other store offers deployments with the same names: their runs would end up in this one.

    Args:
        client: Of the server.
        deployments: To create.
        root: Of the project.
        take_over: Whether to replace the deployments of another store.

    Raises:
        InputError: Another store does.
    """
    names = {deployment.name: deployment.full_name for deployment in deployments}
    others = [found for found in read_registered(client, deployments) if not is_ours(found.tags, root)]
    if others and not take_over:
        listed = ", ".join(names[found.name] for found in others)
        raise InputError(
            f"another store offers {listed} on this server: use one server for each project; "
            "--take-over replaces it, if that store was moved or is gone"
        )

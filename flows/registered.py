"""The deployments that Prefect's server has, and which of them are this store's."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from flows.identity import is_ours
from flows.problems import InputError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.deployments.runner import RunnerDeployment


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

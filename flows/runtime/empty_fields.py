"""Fields that were left empty in the form of a training: they keep the values of the deployment.

The form in the Prefect UI leaves such a field out. Prefect fills in whole parameters that are missing, and not what is
missing inside of one: the experiment would get the defaults of its class, which are not those of its file.
"""

from collections.abc import Mapping
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from flows.config.experiments import merge
from tasks.caching.key import flatten


def fill_empty_fields(flow_run: FlowRun) -> dict[str, Any]:
    """Gives a flow run what its deployment has for the fields that were left empty; Prefect too knows.

    Args:
        flow_run: that is about to begin; changed.

    Returns:
        Those fields, such as `training.epochs`, with what they are now.
    """
    if flow_run.deployment_id is None or flow_run.auto_scheduled:
        return {}
    with get_client(sync_client=True) as client:
        try:
            deployed = client.read_deployment(flow_run.deployment_id).parameters
        except ObjectNotFound:  # removed since it was asked for
            return {}
        filled = empty_fields(deployed, flow_run.parameters)
        if filled:
            flow_run.parameters = with_deployed(deployed, flow_run.parameters)
            client.update_flow_run(flow_run.id, parameters=flow_run.parameters)
        return filled


def with_deployed(deployed: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that were asked for, and what the deployment has inside of them where they have nothing."""
    nested = {name for name, value in asked.items() if isinstance(value, dict) and isinstance(deployed.get(name), dict)}
    return {name: merge(deployed[name], value) if name in nested else value for name, value in asked.items()}


def empty_fields(deployed: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were left empty, such as `training.epochs`, with what the deployment has for them."""
    complete = with_deployed(deployed, asked)
    given = {name for value in asked.values() if isinstance(value, dict) for name in flatten(value)}
    nested = (flatten(value) for value in complete.values() if isinstance(value, dict))
    return {name: value for fields in nested for name, value in fields.items() if name not in given}

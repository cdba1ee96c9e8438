"""The networks by name: how they are built, put on a device, described in JSON and rebuilt from that."""

from collections.abc import Mapping
from inspect import signature
from typing import Any, Literal

import torch
from torch import nn

from tasks.learning.config.model import Model
from tasks.learning.models.lines import LayerLine, Line, ParameterLine

Placement = Literal["constructor", "context", "moved"]


#: The classes of networks by the name that `model.kind` gives. The constructor of a class takes `device`, and those
#: settings of `[model]` for which it has a parameter of the same name.
NETWORKS: dict[str, type[nn.Module]] = {
    "parameters": ParameterLine,
    "linear": LayerLine,
}


def build_network(model: Model, placement: Placement, device: str, seed: int) -> nn.Module:
    """A new network on the device, its parameters drawn right after seeding, in their order.

    Args:
        placement: pass the device to the constructor, construct under `with torch.device(…)`, or construct on the
            CPU and move. On the CPU all three give the same parameters.

    Raises:
        ValueError: a parameter's name is one that every nn.Module has already.
    """
    torch.manual_seed(seed)
    network = _construct(describe(model), placement, device)
    _set_initial_values(network, model)
    return network


def describe(model: Model) -> dict[str, Any]:
    """What `rebuild` needs, as JSON: the architecture's name and the arguments of its constructor."""
    names = [name for name in signature(NETWORKS[model.kind]).parameters if name != "device"]
    return {"architecture": model.kind, "arguments": {name: getattr(model, name) for name in names}}


def rebuild(description: Mapping[str, Any], device: str) -> nn.Module:
    """A network of the described architecture on the device, its parameters random, to be overwritten.

    Raises:
        ValueError: the architecture is unknown, or its arguments are.
    """
    return _construct(description, "constructor", device)


def _construct(description: Mapping[str, Any], placement: Placement, device: str) -> nn.Module:
    architecture, arguments = description.get("architecture"), description.get("arguments", {})
    build = NETWORKS.get(str(architecture))
    if build is None:
        raise ValueError(f"unknown architecture {architecture!r}: known are {', '.join(NETWORKS)}")
    try:
        if placement == "context":
            with torch.device(device):
                return build(**arguments)
        if placement == "moved":
            return build(**arguments).to(device)
        return build(**arguments, device=device)
    except TypeError as error:
        raise ValueError(f"architecture {architecture!r} cannot be built from {arguments!r}: {error}") from error


def _set_initial_values(network: nn.Module, model: Model) -> None:
    """Overwrite the drawn parameters of a line where the experiment gives values."""
    if not isinstance(network, Line):
        return
    with torch.no_grad():
        for parameter, value in zip(network.weight_and_bias(), (model.initial_weight, model.initial_bias), strict=True):
            if value is not None:
                parameter.fill_(value)

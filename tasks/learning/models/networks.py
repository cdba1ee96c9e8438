"""The networks by name: how they are built, put on a device, described in JSON and rebuilt from that."""

from collections.abc import Mapping
from inspect import signature
from typing import Any, Literal

import torch
from torch import nn

from tasks.errors import ExperimentError
from tasks.learning.config.model import Model
from tasks.learning.data.schema import LINE, Columns
from tasks.learning.models.lines import LayerLine, Line, ParameterLine
from tasks.learning.models.perceptron import Perceptron
from tasks.learning.models.scaling import Scaled

Placement = Literal["constructor", "context", "moved"]


#: The classes of networks by the name that `model.kind` gives. The constructor of a class takes `device`, those
#: settings of `[model]` for which it has a parameter of the same name, and `in_features`, the number of features, if
#: the network can have more than one.
NETWORKS: dict[str, type[nn.Module]] = {
    "parameters": ParameterLine,
    "linear": LayerLine,
    "mlp": Perceptron,
}


def build_network(model: Model, placement: Placement, device: str, seed: int, columns: Columns = LINE) -> nn.Module:
    """A new network on the device, its parameters drawn right after seeding, in their order.

    Args:
        placement: pass the device to the constructor, construct under `with torch.device(…)`, or construct on the
            CPU and move. On the CPU all three give the same parameters.
        columns: that it reads and predicts.

    Raises:
        ValueError: a parameter's name is one that every nn.Module has already.
        ExperimentError: there are more features than a network of this kind can have.
    """
    torch.manual_seed(seed)
    network = _construct(describe(model, columns), placement, device)
    _set_initial_values(network.network if isinstance(network, Scaled) else network, model)
    return network


def describe(model: Model, columns: Columns = LINE) -> dict[str, Any]:
    """What `rebuild` needs, as JSON.

    Returns:
        The architecture's name and the arguments of its constructor; the columns that it reads and predicts; and how
        features and target are scaled inside of it (null: they are not).

    Raises:
        ExperimentError: there are more features than a network of this kind can have.
    """
    parameters = [name for name in signature(NETWORKS[model.kind]).parameters if name != "device"]
    count = len(columns.features)
    if count > 1 and "in_features" not in parameters:
        raise ExperimentError(f"model.kind {model.kind} has one feature, and the dataset {count}: choose another kind")
    scaling = {"features": model.scale_features, "target": model.scale_target}
    return {
        "architecture": model.kind,
        "arguments": {name: getattr(model, name) for name in parameters if name != "in_features"},
        "features": list(columns.features),
        "targets": [columns.target],
        "scaling": None if {*scaling.values()} == {"none"} else scaling,
    }


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
        if "in_features" in signature(build).parameters:
            # As many as are listed, and not as many as a number in a file says, which could take all memory.
            arguments = {**arguments, "in_features": _count_features(description)}
        network = _placed(build, arguments, placement, device)
    except TypeError as error:
        raise ValueError(f"architecture {architecture!r} cannot be built from {arguments!r}: {error}") from error
    if description.get("scaling") is None:
        return network
    return Scaled(network, _count_features(description)).to(device)


def _count_features(description: Mapping[str, Any]) -> int:
    """The number of features of a described network.

    Raises:
        ValueError: the description does not list them.
    """
    features = description.get("features")
    if not isinstance(features, list) or not features:
        raise ValueError(f"the description lists no features: it has {features!r}")
    return len(features)


def _placed(build: type[nn.Module], arguments: Mapping[str, Any], placement: Placement, device: str) -> nn.Module:
    """A network on the device, put there in one of three ways."""
    if placement == "context":
        with torch.device(device):
            return build(**arguments)
    if placement == "moved":
        return build(**arguments).to(device)
    return build(**arguments, device=device)


def _set_initial_values(network: nn.Module, model: Model) -> None:
    """Overwrite the drawn parameters of a line where the experiment gives values."""
    if not isinstance(network, Line):
        return
    with torch.no_grad():
        for parameter, value in zip(network.weight_and_bias(), (model.initial_weight, model.initial_bias), strict=True):
            if value is not None:
                parameter.fill_(value)

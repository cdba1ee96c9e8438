"""The networks by name: how they are built, put on a device, described in JSON and rebuilt from that."""

from collections.abc import Mapping
from inspect import signature
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tasks.errors import ExperimentError
from tasks.learning.config.columns import named_columns
from tasks.learning.config.model import Model
from tasks.learning.data.schema import LINE, Columns
from tasks.learning.models.imputation import Imputed
from tasks.learning.models.lines import LayerLine, Line, ParameterLine
from tasks.learning.models.perceptron import Perceptron
from tasks.learning.models.scaling import Scaled, scale_by_rows

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
    _set_initial_values(_innermost(network), model)
    return network


def measure_rows(network: nn.Module, x: Tensor, y: Tensor, model: Model, columns: Columns) -> None:
    """Measure what a network fills in and how it scales, by rows: those of the training part.

    Args:
        network: from `build_network`.
        x: features, float32 of shape [rows, features].
        y: targets, float32 of shape [rows, 1].
        model: its section of the experiment.
        columns: as for `build_network`.

    Raises:
        ExperimentError: a feature is missing in all rows.
    """
    if isinstance(network, Imputed):
        network.measure(x, columns.features)
        scale_by_rows(network.network, network.fill(x), y, model.scale_features, model.scale_target)
    else:
        scale_by_rows(network, x, y, model.scale_features, model.scale_target)


def describe(model: Model, columns: Columns = LINE) -> dict[str, Any]:
    """What `rebuild` needs, as JSON.

    Returns:
        The architecture's name and the arguments of its constructor; the columns that it reads and predicts; how
        features and target are scaled inside of it (null: they are not); and which features may be missing, if any.

    Raises:
        ExperimentError: there are more features than a network of this kind can have.
    """
    parameters = [name for name in signature(NETWORKS[model.kind]).parameters if name != "device"]
    imputed = named_columns(model.impute, columns.features)
    count = len(columns.features) + len(imputed) * model.missing_indicators
    if count > 1 and "in_features" not in parameters:
        with_indicators = ", with indicators" * (len(columns.features) == 1)
        raise ExperimentError(
            f"model.kind {model.kind} has one feature, and the dataset {count}{with_indicators}: choose another kind"
        )
    scaling = {"features": model.scale_features, "target": model.scale_target}
    description = {
        "architecture": model.kind,
        "arguments": {name: getattr(model, name) for name in parameters if name != "in_features"},
        "features": list(columns.features),
        "targets": [columns.target],
        "scaling": None if {*scaling.values()} == {"none"} else scaling,
    }
    if imputed:
        description["imputation"] = {"features": imputed, "indicators": model.missing_indicators}
    return description


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
    filled, indicators = _imputation(description)
    try:
        if "in_features" in signature(build).parameters:
            # As many as are listed, and not as many as a number in a file says, which could take all memory.
            arguments = {**arguments, "in_features": _count_features(description) + len(filled) * indicators}
        network = _placed(build, arguments, placement, device)
    except TypeError as error:
        raise ValueError(f"architecture {architecture!r} cannot be built from {arguments!r}: {error}") from error
    if description.get("scaling") is not None:
        network = Scaled(network, _count_features(description) + len(filled) * indicators).to(device)
    if filled:
        network = Imputed(network, _count_features(description), filled, indicators).to(device)
    return network


def _innermost(network: nn.Module) -> nn.Module:
    """The network without what is around it."""
    while isinstance(network, Imputed | Scaled):
        network = network.network
    return network


def _count_features(description: Mapping[str, Any]) -> int:
    """The number of features of a described network.

    Raises:
        ValueError: the description does not list them.
    """
    return len(_features(description))


def _features(description: Mapping[str, Any]) -> list[Any]:
    features = description.get("features")
    if not isinstance(features, list) or not features:
        raise ValueError(f"the description lists no features: it has {features!r}")
    return features


def _imputation(description: Mapping[str, Any]) -> tuple[list[int], bool]:
    """The places of the features that may be missing, and whether the network reads if they are.

    Raises:
        ValueError: the description is wrong about them.
    """
    match description.get("imputation"):
        case None:
            return [], False
        case {"features": list(names), "indicators": bool(indicators)} if names:
            places = {name: place for place, name in enumerate(_features(description)) if isinstance(name, str)}
            found = [places[name] for name in names if isinstance(name, str) and name in places]
            if len({*found}) == len(names):
                return found, indicators
    raise ValueError(f"the description is wrong about missing features: {str(description['imputation'])[:200]}")


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

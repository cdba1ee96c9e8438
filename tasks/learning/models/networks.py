"""The networks: how they are built, put on a device, described in JSON and rebuilt from that."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tasks.learning.config.experiment import Model

Placement = Literal["constructor", "context", "moved"]


class ParameterLine(nn.Module):
    """weight · x + bias, from two parameters of shape [1] with chosen names; x and the result are [rows, 1]."""

    def __init__(self, weight_name: str = "weights", bias_name: str = "bias", device: str | None = None) -> None:
        super().__init__()
        self._weight_name, self._bias_name = weight_name, bias_name
        for name in (weight_name, bias_name):
            self._own(name, nn.Parameter(torch.randn(1, device=device)))

    def _own(self, name: str, parameter: nn.Parameter) -> None:
        try:
            self.register_parameter(name, parameter)
        except KeyError as error:
            raise ValueError(f"model: a parameter cannot be named {name!r}, which every nn.Module has") from error

    def forward(self, x: Tensor) -> Tensor:
        """The line at x."""
        line: Tensor = getattr(self, self._weight_name) * x + getattr(self, self._bias_name)
        return line


class LayerLine(nn.Module):
    """The same line from a built-in layer, `linear_layer`; x and the result are [rows, 1]."""

    def __init__(self, device: str | None = None) -> None:
        super().__init__()
        self.linear_layer = nn.Linear(1, 1, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """The line at x."""
        line: Tensor = self.linear_layer(x)
        return line


_ARCHITECTURES: dict[str, type[nn.Module]] = {"parameters": ParameterLine, "linear": LayerLine}


def build_network(model: Model, placement: Placement, device: str, seed: int) -> nn.Module:
    """A new network on the device, its parameters drawn right after seeding, in their order, weight first.

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
    arguments = {"weight_name": model.weight_name, "bias_name": model.bias_name} if model.kind == "parameters" else {}
    return {"architecture": model.kind, "arguments": arguments}


def rebuild(description: Mapping[str, Any], device: str) -> nn.Module:
    """A network of the described architecture on the device, its parameters random, to be overwritten.

    Raises:
        ValueError: the architecture is unknown, or its arguments are.
    """
    return _construct(description, "constructor", device)


def _construct(description: Mapping[str, Any], placement: Placement, device: str) -> nn.Module:
    architecture, arguments = description.get("architecture"), description.get("arguments", {})
    build = _ARCHITECTURES.get(str(architecture))
    if build is None:
        raise ValueError(f"unknown architecture {architecture!r}: known are {', '.join(_ARCHITECTURES)}")
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
    """Overwrite the drawn parameters where the experiment gives values."""
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), (model.initial_weight, model.initial_bias), strict=True):
            if value is not None:
                parameter.fill_(value)

"""The networks that are linear: target = weight · feature + bias, summed over the features if there are several."""

import torch
from torch import Tensor, nn


class Line(nn.Module):
    """A line; the target is [rows, 1]."""

    def weight_and_bias(self) -> tuple[Tensor, Tensor]:
        """The parameters: the weight, a number for each feature, and the bias, a single number."""
        raise NotImplementedError


class ParameterLine(Line):
    """A line from two parameters of shape [1] with chosen names; the feature is [rows, 1]."""

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

    def weight_and_bias(self) -> tuple[Tensor, Tensor]:
        """The two parameters."""
        return self.get_parameter(self._weight_name), self.get_parameter(self._bias_name)


class LayerLine(Line):
    """A line from a built-in layer, `linear_layer`; the features are [rows, in_features]."""

    def __init__(self, in_features: int = 1, device: str | None = None) -> None:
        super().__init__()
        self.linear_layer = nn.Linear(in_features, 1, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """The line at x."""
        line: Tensor = self.linear_layer(x)
        return line

    def weight_and_bias(self) -> tuple[Tensor, Tensor]:
        """The layer's parameters."""
        return self.linear_layer.weight, self.linear_layer.bias

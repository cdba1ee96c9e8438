"""The multilayer perceptron, whose hidden layers bend what a plane cannot follow."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

from torch import Tensor, nn

from tasks.learning.config.bounds import MOST_LAYERS, MOST_PARAMETERS, MOST_UNITS

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
NORMALIZATIONS: dict[str, type[nn.Module]] = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}

_T = TypeVar("_T")


class HiddenLayer(nn.Module):
    """A linear map, its normalization, the activation and dropout."""

    def __init__(
        self,
        inputs: int,
        units: int,
        activation: str,
        normalization: str,
        dropout: float,
        residual: bool,
        device: str | None,
    ) -> None:
        """See `Perceptron`."""
        super().__init__()
        self.linear = nn.Linear(inputs, units, device=device)
        self.normalization = _named(NORMALIZATIONS, normalization, "normalization")(units, device=device)
        self.activation = _named(ACTIVATIONS, activation, "activation")()
        self.dropout = nn.Dropout(dropout)
        self._adds_input = residual and inputs == units

    def forward(self, x: Tensor) -> Tensor:
        """What [rows, units] the layer makes of [rows, inputs]."""
        hidden: Tensor = self.dropout(self.activation(self.normalization(self.linear(x))))
        return x + hidden if self._adds_input else hidden


class Perceptron(nn.Module):
    """Hidden layers one after the other, then a linear map to the target.

    The features are [rows, in_features], the target is [rows, 1].
    """

    def __init__(
        self,
        in_features: int = 1,
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
        normalization: str = "none",
        dropout: float = 0.0,
        residual: bool = False,
        device: str | None = None,
    ) -> None:
        """Build the layers.

        Args:
            in_features: number of features.
            hidden: units of each hidden layer.
            activation: one of ACTIVATIONS.
            normalization: one of NORMALIZATIONS.
            dropout: probability with which a unit is left out of an update.
            residual: whether a hidden layer adds its input to its output, where both are of one width.
            device: of the parameters.

        Raises:
            ValueError: an argument is not one of those, or there would be more than MOST_PARAMETERS parameters.
        """
        super().__init__()
        require_sizes(in_features, hidden)
        layers = [
            HiddenLayer(inputs, units, activation, normalization, dropout, residual, device)
            for inputs, units in pairwise((in_features, *hidden))
        ]
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(hidden[-1], 1, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """The targets of features."""
        target: Tensor = self.output(self.hidden(x))
        return target


def require_sizes(in_features: int, hidden: Sequence[int]) -> None:
    """Checks the sizes before they take memory: a received description may ask for any.

    Raises:
        ValueError: there are too many parameters, or a size is none.
    """
    whole = isinstance(hidden, list | tuple) and all(type(units) is int for units in hidden)
    if not whole or not 1 <= len(hidden) <= MOST_LAYERS or not all(1 <= units <= MOST_UNITS for units in hidden):
        raise ValueError(
            f"hidden must list 1 to {MOST_LAYERS} numbers of units from 1 to {MOST_UNITS:,}, and is {hidden!r:.100}"
        )
    count = sum(map(math.prod, pairwise((in_features, *hidden))))
    if count > MOST_PARAMETERS:
        raise ValueError(
            f"hidden layers of {list(hidden)} units have {count:,} weights for {in_features:,} features; "
            f"at most {MOST_PARAMETERS:,} are allowed"
        )


def _named(choices: Mapping[str, _T], name: str, what: str) -> _T:
    if not isinstance(name, str) or name not in choices:
        raise ValueError(f"unknown {what} {name!r}: known are {', '.join(choices)}")
    return choices[name]

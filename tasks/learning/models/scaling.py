"""Scaling inside of a network: it reads features and predicts targets in their own units.

So the saved weights need no other file, and every loss and metric is in units of the target.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: The tensors of the state_dict that are measured, not learned.
MEASURED = ("feature_offset", "feature_scale", "target_offset", "target_scale")

#: What the names of the other tensors begin with.
INNER = "network."


@dataclass(frozen=True)
class Range:
    """How columns are scaled: (value − offset) / scale; both are float32 of shape [columns]."""

    offset: Tensor
    scale: Tensor


def measure(values: Tensor, method: str) -> Range:
    """The offset and the scale of columns.

    Args:
        values: of the training rows, float32 of shape [rows, columns].
        method: "none", for 0 and 1; "standard", for mean and standard deviation (of the population); "min-max", for the
            smallest value and the distance to the largest. The scale of a constant column is 1.
    """
    exact = values.cpu().double()
    if method == "standard":
        offset, scale = exact.mean(0), exact.std(0, correction=0)
    elif method == "min-max":
        offset, scale = exact.amin(0), exact.amax(0) - exact.amin(0)
    else:
        offset, scale = torch.zeros_like(exact[0]), torch.ones_like(exact[0])
    return Range(offset.float(), torch.where(scale.float() > 0, scale.float(), 1.0))


class Scaled(nn.Module):
    """A network between features that are scaled and a target that is scaled back."""

    feature_offset: Tensor
    feature_scale: Tensor
    target_offset: Tensor
    target_scale: Tensor

    def __init__(self, network: nn.Module, features: int) -> None:
        """Scale nothing as yet.

        Args:
            network: takes [rows, features] and gives [rows, 1].
            features: their number.
        """
        super().__init__()
        self.network = network
        for name, size in zip(MEASURED, (features, features, 1, 1), strict=True):
            fill = torch.zeros if name.endswith("offset") else torch.ones
            self.register_buffer(name, fill(size))

    def scale_by(self, features: Range, target: Range) -> None:
        """Scale by these offsets and scales from now on."""
        values = (features.offset, features.scale, target.offset, target.scale)
        for name, value in zip(MEASURED, values, strict=True):
            self.get_buffer(name).copy_(value)

    def forward(self, x: Tensor) -> Tensor:
        """The targets, [rows, 1], of features, [rows, features], both in their own units."""
        scaled = self.network((x - self.feature_offset) / self.feature_scale)
        targets: Tensor = scaled * self.target_scale + self.target_offset
        return targets


def scale_by_rows(network: nn.Module, x: Tensor, y: Tensor, features: str, target: str) -> None:
    """Scale a network by rows, those of the training part; one that scales nothing stays as it is.

    Args:
        network: to scale.
        x: features, float32 of shape [rows, features].
        y: targets, float32 of shape [rows, 1].
        features: the method; see `measure`.
        target: likewise.
    """
    if isinstance(network, Scaled):
        network.scale_by(measure(x, features), measure(y, target))

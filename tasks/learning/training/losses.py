"""The losses that training minimises, each the mean over the rows of a batch."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from tasks.errors import ExperimentError

Loss = Callable[[Tensor, Tensor], Tensor]


def mean_absolute_error(prediction: Tensor, target: Tensor) -> Tensor:
    """The L1 loss, to the last bit that of `torch.nn.L1Loss`, whose checks of the shapes cost as much as it does."""
    return (prediction - target).abs().mean()


#: Takes predictions and targets, float32 of equal shape [rows, 1]; gives a scalar.
LOSSES: dict[str, Loss] = {
    "l1": mean_absolute_error,
    "mse": functional.mse_loss,
    "huber": functional.huber_loss,
    "bce": functional.binary_cross_entropy_with_logits,
}


def require_targets(loss: str, target: Tensor, part: str) -> None:
    """Check that a loss is defined for the targets of a part, shape [rows, 1].

    Raises:
        ExperimentError: the loss is bce and a target is outside [0, 1]; the first such row is named.
    """
    if loss != "bce":
        return
    outside = torch.nonzero(~((target >= 0) & (target <= 1)).flatten())
    if len(outside):
        row = int(outside[0])
        raise ExperimentError(
            f"training.loss bce needs targets from 0 to 1, but row {row} of the {part} part is "
            f"{target.flatten()[row].item():g}: choose l1, mse or huber, or other data"
        )

"""Whether a loss is defined for the targets that it is to be computed for."""

import torch
from torch import Tensor

from tasks.errors import ExperimentError
from tasks.learning.losses.registry import LOSSES


def require_targets(loss: str, target: Tensor, part: str) -> None:
    """Check that a loss is defined for the targets of a part, shape [rows, 1].

    Raises:
        ExperimentError: a target is outside the range that the loss is defined for; the first such row is named.
    """
    allowed = LOSSES[loss].TARGETS
    if allowed is None:
        return
    low, high = allowed
    outside = torch.nonzero(~((target >= low) & (target <= high)).flatten())
    if len(outside):
        row = int(outside[0])
        raise ExperimentError(
            f"training.loss {loss} needs targets from {low:g} to {high:g}, but row {row} of the {part} part is "
            f"{target.flatten()[row].item():g}: choose another loss, or other data"
        )

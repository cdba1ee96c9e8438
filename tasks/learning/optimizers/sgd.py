"""Stochastic gradient descent, with or without momentum."""

from collections.abc import Sequence
from typing import Any

SETTINGS = ("momentum", "weight_decay")


def build(parameters: Sequence[Any], settings: Any, **common: Any) -> Any:
    """The optimizer of some parameters."""
    from torch import optim

    from tasks.learning.optimizers.unwrapped import unwrapped

    return unwrapped(optim.SGD)(parameters, momentum=settings.momentum, weight_decay=settings.weight_decay, **common)

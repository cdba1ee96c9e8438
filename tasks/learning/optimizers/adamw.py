"""AdamW: Adam with decoupled weight decay."""

from collections.abc import Sequence
from typing import Any

SETTINGS = ("weight_decay",)


def build(parameters: Sequence[Any], settings: Any, **common: Any) -> Any:
    """The optimizer of some parameters."""
    from torch import optim

    from tasks.learning.optimizers.unwrapped import unwrapped

    return unwrapped(optim.AdamW)(parameters, weight_decay=settings.weight_decay, **common)

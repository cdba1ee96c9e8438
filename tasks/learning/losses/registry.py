"""The losses by name: a loss is a module of this package, and one line here.

A stage that reads an attribute of an entry, as in `LOSSES[name].LABEL`, depends on that attribute of every loss and on
nothing else of it, so that an edited label redraws figures and trains nothing again. The modules import torch and numpy
inside their functions, because settings are checked against this registry when neither is loaded.
"""

from typing import TYPE_CHECKING, Protocol

from tasks.learning.losses import bce, huber, l1, mse

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    Floats = npt.NDArray[np.float64]


class Loss(Protocol):
    """What the module of a loss defines."""

    @property
    def LABEL(self) -> str:  # noqa: N802 (a constant of the module)
        """What an axis calls it, such as "MSE loss (mean squared error)"."""

    @property
    def NAME(self) -> str:  # noqa: N802 (a constant of the module)
        """What a sentence calls it, such as "mean squared error"."""

    @property
    def TARGETS(self) -> tuple[float, float] | None:  # noqa: N802 (a constant of the module)
        """The range of the targets that it is defined for, bounds included; None if any will do."""

    def batch_loss(self, prediction: "Tensor", target: "Tensor") -> "Tensor":
        """What training minimises: the mean over a batch, a scalar; both are float32 of shape [rows, 1]."""

    def row_losses(self, target: "Floats", prediction: "Floats") -> "Floats":
        """The same loss row by row, for the metrics: float64 of shape [rows], with numpy alone."""


#: By the name that `training.loss` gives.
LOSSES: dict[str, Loss] = {
    "l1": l1,
    "mse": mse,
    "huber": huber,
    "bce": bce,
}


def loss_name(loss: str) -> str:
    """What a sentence calls a loss; one that is not known goes by its own name."""
    try:
        return LOSSES[loss].NAME
    except KeyError:
        return loss

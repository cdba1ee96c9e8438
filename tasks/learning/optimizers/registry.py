"""The optimizers by name: an optimizer is a module of this package, and one line here.

The modules import torch inside their functions, because settings are checked against this registry when it is not
loaded.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from tasks.learning.optimizers import adam, adamw, sgd

if TYPE_CHECKING:
    from torch import nn, optim


class OptimizerSettings(Protocol):
    """The settings of `[training]` that an optimizer may read."""

    @property
    def optimizer(self) -> str:
        """The optimizer's name."""

    @property
    def momentum(self) -> float:
        """0 for none."""

    @property
    def weight_decay(self) -> float:
        """0 for none."""


class Optimizer(Protocol):
    """What the module of an optimizer defines."""

    @property
    def SETTINGS(self) -> tuple[str, ...]:  # noqa: N802 (a constant of the module)
        """Which of the settings `momentum` and `weight_decay` it uses; others are refused unless they are 0."""

    def build(
        self,
        parameters: "Sequence[nn.Parameter]",
        settings: OptimizerSettings,
        *,
        lr: float,
        foreach: bool | None,
    ) -> "optim.Optimizer":
        """The optimizer of some parameters; `lr` and `foreach` are those of torch.optim."""


#: By the name that `training.optimizer` gives.
OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
}


def build_optimizer(
    parameters: "Sequence[nn.Parameter]", settings: OptimizerSettings, learning_rate: float
) -> "optim.Optimizer":
    """The optimizer that the settings name, at a learning rate."""
    # On the CPU torch chooses False by itself, but decides again at every step, for a tenth of the step's time.
    foreach = False if all(parameter.device.type == "cpu" for parameter in parameters) else None
    return OPTIMIZERS[settings.optimizer].build(parameters, settings, lr=learning_rate, foreach=foreach)


def optimizers_with(setting: str) -> list[str]:
    """The names of the optimizers that use a setting."""
    return [name for name, optimizer in OPTIMIZERS.items() if setting in optimizer.SETTINGS]

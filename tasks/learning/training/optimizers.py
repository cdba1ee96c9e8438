"""The optimizers of torch.optim without their import of the compiler, and the learning rate over the epochs.

torch wraps the methods of every optimizer so that torch.compile leaves them alone, and the wrappers import
`torch._dynamo` at the first call: longer than importing torch itself, for a compiler that nothing here uses. The
subclasses below call the same methods without the wrappers, which `functools.wraps` makes reachable; where a version of
torch has no wrappers, they change nothing.
"""

import math
from collections.abc import Callable, Sequence
from inspect import unwrap
from typing import Any

import torch
from torch import nn, optim

from tasks.learning.config.experiment import Training


class _Unwrapped(optim.Optimizer):
    """What the subclasses share: torch's own methods, as they are written."""

    add_param_group = unwrap(optim.Optimizer.add_param_group)
    zero_grad = unwrap(optim.Optimizer.zero_grad)
    state_dict = unwrap(optim.Optimizer.state_dict)
    load_state_dict = unwrap(optim.Optimizer.load_state_dict)


def _unwrapped_step(stock: type[optim.Optimizer]) -> Callable[..., Any]:
    """The step of a stock optimizer under no_grad, which its wrapper would have set."""
    rule = unwrap(stock.step)

    def step(self: optim.Optimizer, closure: Callable[[], float] | None = None) -> float | None:
        with torch.no_grad():
            loss: float | None = rule(self, closure)
            return loss

    step.hooked = True  # type: ignore[attr-defined]  # else the base class adds a hook for the profiler
    return step


class SGD(_Unwrapped, optim.SGD):
    """torch.optim.SGD."""

    step = _unwrapped_step(optim.SGD)


class Adam(_Unwrapped, optim.Adam):
    """torch.optim.Adam."""

    step = _unwrapped_step(optim.Adam)


class AdamW(_Unwrapped, optim.AdamW):
    """torch.optim.AdamW."""

    step = _unwrapped_step(optim.AdamW)


def build_optimizer(parameters: Sequence[nn.Parameter], training: Training) -> optim.Optimizer:
    """The optimizer that `training` names, at its first learning rate."""
    # On the CPU torch comes to False by itself, but asks all over again at every step, for a tenth of the step's time.
    foreach = False if all(parameter.device.type == "cpu" for parameter in parameters) else None
    rate, decay = learning_rate_at(training, 0), training.weight_decay
    if training.optimizer == "sgd":
        return SGD(parameters, lr=rate, momentum=training.momentum, weight_decay=decay, foreach=foreach)
    if training.optimizer == "adam":
        return Adam(parameters, lr=rate, weight_decay=decay, foreach=foreach)
    return AdamW(parameters, lr=rate, weight_decay=decay, foreach=foreach)


def learning_rate_at(training: Training, epoch: int) -> float:
    """The learning rate of an epoch, counted from 0: constant, reduced every `step_every` epochs, or half a cosine."""
    if training.schedule == "step":
        return training.learning_rate * training.step_factor ** (epoch // training.step_every)
    if training.schedule == "cosine":
        share = (1 + math.cos(math.pi * epoch / training.epochs)) / 2
        return training.final_learning_rate + (training.learning_rate - training.final_learning_rate) * share
    return training.learning_rate


def set_learning_rate(optimizer: optim.Optimizer, rate: float) -> None:
    """Give every parameter group the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate

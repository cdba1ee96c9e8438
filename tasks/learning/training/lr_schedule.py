"""The lr schedule (torch calls it an lr_scheduler): the learning rate of each epoch, and how the optimizer gets it.

The rate is a function of the epoch alone, so that a training that is resumed needs no state of a scheduler.
`tasks.learning.training.loop.fit` sets it before each epoch.
"""

import math

from torch import optim

from tasks.learning.config.training import Training


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

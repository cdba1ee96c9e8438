"""The lr schedule (torch calls it an lr_scheduler): the learning rate of each epoch, and how the optimizer gets it.

The rate is a function of the epoch alone, so that a training that is resumed needs no state of a scheduler.
`tasks.learning.training.loop.fit` sets it before each epoch.
"""

import math

from torch import optim

from tasks.learning.config.training import Training

#: Of the one-cycle schedule, as in torch.optim.lr_scheduler.OneCycleLR: the share of the epochs in which the rate
#: climbs, and the share of `learning_rate` that it begins with.
CLIMBING, INITIAL = 0.3, 1 / 25


def learning_rate_at(training: Training, epoch: int) -> float:
    """The learning rate of an epoch, counted from 0: that of the schedule, less in the epochs of the warm-up."""
    warmth = min((epoch + 1) / (training.warmup_epochs + 1), 1.0)
    return scheduled(training, epoch) * warmth


def scheduled(training: Training, epoch: int) -> float:
    """The rate by the schedule: constant, reduced every `step_every` epochs, half a cosine, or one cycle."""
    highest, last = training.learning_rate, training.final_learning_rate
    if training.schedule == "step":
        return highest * training.step_factor ** (epoch // training.step_every)
    if training.schedule == "cosine":
        return by_cosine(highest, last, epoch / training.epochs)
    if training.schedule == "one-cycle":
        turn = CLIMBING * training.epochs - 1
        if epoch <= turn:
            return by_cosine(highest * INITIAL, highest, epoch / turn)
        return by_cosine(highest, last, (epoch - turn) / (training.epochs - 1 - turn))
    return highest


def by_cosine(first: float, last: float, share: float) -> float:
    """The value between two others at a share of the way, along half a cosine."""
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


def set_learning_rate(optimizer: optim.Optimizer, rate: float) -> None:
    """Give every parameter group the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate

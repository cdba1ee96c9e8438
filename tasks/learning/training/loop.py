"""The training loop."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tasks.errors import ExperimentError
from tasks.learning.config.training import Training
from tasks.learning.data.batches import Batch, Batches
from tasks.learning.losses.registry import LOSSES
from tasks.learning.models.weights import require_specified, specify
from tasks.learning.optimizers.registry import build_optimizer
from tasks.learning.training.history import FitHistory
from tasks.learning.training.lr_schedule import learning_rate_at, set_learning_rate
from tasks.learning.training.resumption import (
    Position,
    Resumption,
    RunningFit,
    TrainingCheckpointer,
    TrainingCheckpointInterval,
    clone_tensors,
)
from tasks.learning.training.targets import require_targets

Loss = Callable[[Tensor, Tensor], Tensor]

#: Rows evaluated at once, which bounds the memory of an evaluation.
EVALUATED_ROWS = 1 << 20

#: Seconds between two reports of progress.
PROGRESS_INTERVAL = 0.5

#: Called with the epochs done, the epochs planned, and the training loss of the last epoch done.
OnProgress = Callable[[int, int, float], None]


class DivergenceError(ExperimentError):
    """A loss or a parameter stopped being finite, at `epoch`."""

    def __init__(self, epoch: int, what: str) -> None:
        super().__init__(
            f"training diverged at epoch {epoch}: {what} is not finite. Lower training.learning_rate, "
            "set training.clip_norm, or scale the inputs down"
        )
        self.epoch = epoch


@dataclass(frozen=True)
class Fit:
    """What came of a fit, beside the network, which is fitted in place."""

    history: FitHistory
    epochs_run: int
    stopped_early: bool
    #: Epoch whose weights the network ended with, where training.patience asked for the best ones; else None.
    best_epoch: int | None

    def ending(self) -> dict[str, Any]:
        """How it ended, for the description of the saved weights."""
        return {
            "epochs_run": self.epochs_run,
            "stopped_early": self.stopped_early,
            "best_epoch": self.best_epoch,
        }


def fit(
    network: nn.Module,
    training: Training,
    train: Batch,
    held_out: Mapping[str, Batch],
    on_progress: OnProgress | None = None,
    checkpointer: TrainingCheckpointer | None = None,
) -> Fit:
    """Fit a network in place.

    It ends with the weights of the last epoch or, with `training.patience`, of the best validation loss. With a
    `checkpointer` it resumes a fit that was killed, and ends as that one would have ended, to the last bit.

    Args:
        network: on the device.
        training: `batch_size`, `loss` and so on; device, placement and threads are the caller's to apply.
        train: inputs and targets, float32 of shape [rows, 1] each, on the device.
        held_out: likewise, under "validation" (if any) and "test"; evaluated at epoch 0, every
            `training.evaluate_every` epochs and at the last epoch, after the update.
        on_progress: called every PROGRESS_INTERVAL seconds, and at the end.
        checkpointer: keeps a training checkpoint every `training.checkpoint_every`, and knows when to stop.

    Raises:
        InterruptedFitError: the checkpointer was interrupted.
        DivergenceError: a loss or a parameter is not finite.
        ValueError: the loss is not defined for a target.
    """
    for part, (_, targets) in {"train": train, **held_out}.items():
        require_targets(training.loss, targets, part)
    step = _Step(network, training)
    batches = Batches(*train, training.batch_size, training.seed if training.shuffle else None)
    best, history, position = _Best(network, training.patience), FitHistory(tuple(held_out)), Position()
    running = RunningFit(network, step.optimizer, best, history, position, checkpointer.owner if checkpointer else "")
    resumption = _resumption(running, training, checkpointer, len(batches))
    progress = _Progress(training.epochs, on_progress)
    network.train()
    while position.epoch < training.epochs and not best.patience_is_over:
        epoch = position.epoch
        rate = learning_rate_at(training, epoch)  # the lr schedule
        set_learning_rate(step.optimizer, rate)
        loss = _train_epoch(step, batches, position, resumption)
        history.record(loss, rate)
        if epoch % training.evaluate_every == 0 or epoch == training.epochs - 1:
            losses = _evaluate(network, step.loss, held_out, epoch)
            history.record_evaluation(losses)
            best.update(epoch, losses)
        position.end_epoch()
        if resumption is not None:
            resumption.keep_if_due()
        progress.report(epoch, loss)
    best.restore()
    _require_finite_parameters(network, position.epoch - 1)
    progress.finish(position.epoch - 1, history.train_loss[-1])
    return Fit(history, position.epoch, position.epoch < training.epochs, best.epoch)


def _resumption(
    running: RunningFit, training: Training, checkpointer: TrainingCheckpointer | None, batches: int
) -> Resumption | None:
    """What keeps training checkpoints and stops the fit, once the newest is restored; None without a checkpointer."""
    if checkpointer is None:
        return None
    resumption = Resumption(running, TrainingCheckpointInterval(training.checkpoint_every), checkpointer, batches)
    resumption.resume()
    return resumption


def _train_epoch(step: "_Step", batches: Batches, position: Position, resumption: Resumption | None) -> float:
    """Update on every batch that is left of the epoch; the mean over all its rows of the losses before each update."""
    for x, y in batches.of_epoch(position.epoch, position.batch):
        loss = step(x, y)
        # Checked at every update, at once: reading a loss on the CPU takes a fraction of a microsecond.
        if not math.isfinite(loss):
            raise DivergenceError(position.epoch, f"the training loss ({loss})")
        position.end_batch(loss, len(x))
        # After the last batch the epoch is to be evaluated and recorded first.
        if resumption is not None and position.batch < len(batches):
            resumption.keep_if_due()
    # For a full batch this is its loss exactly: a float32 times fewer than 2²⁹ rows fits into a float64.
    return position.loss_sum / position.rows


class _Step:
    """One update of the parameters."""

    def __init__(self, network: nn.Module, training: Training) -> None:
        self.loss: Loss = LOSSES[training.loss].batch_loss
        self.parameters = list(network.parameters())
        self.optimizer = build_optimizer(self.parameters, training, learning_rate_at(training, 0))
        self._network, self._clip_norm = network, training.clip_norm

    def __call__(self, x: Tensor, y: Tensor) -> float:
        """Update on one batch; its loss before the update."""
        loss = self.loss(self._network(x), y)
        # What Optimizer.zero_grad does, less its entry in the profiler, which takes longer than all of this.
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self._clip_norm)
        self.optimizer.step()
        return loss.item()


def _evaluate(network: nn.Module, loss: Loss, held_out: Mapping[str, Batch], epoch: int) -> dict[str, float]:
    """The loss of each held-out part."""
    network.eval()
    with torch.inference_mode():
        losses = {part: _mean_loss(network, loss, *batch) for part, batch in held_out.items()}
    network.train()
    for part, value in losses.items():
        if not math.isfinite(value):
            raise DivergenceError(epoch, f"the {part} loss ({value})")
    return losses


def _mean_loss(network: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> float:
    """The mean loss over the rows, taken over as many at once as memory is granted for."""
    pieces = zip(torch.split(x, EVALUATED_ROWS), torch.split(y, EVALUATED_ROWS), strict=True)
    return sum(loss(network(inputs), targets).item() * len(inputs) for inputs, targets in pieces) / len(x)


def _require_finite_parameters(network: nn.Module, epoch: int) -> None:
    """The last update comes after the last training loss, and what no held-out row uses shows in no evaluation."""
    for name, parameter in network.named_parameters():
        if not torch.isfinite(parameter).all():
            raise DivergenceError(epoch, f"the parameter {name}")


class _Best:
    """The weights with the best validation loss so far; idle when there is no patience."""

    def __init__(self, network: nn.Module, patience: int | None) -> None:
        self._network, self._patience = network, patience
        self._loss, self._waited = math.inf, 0
        self._weights: dict[str, Tensor] = {}
        self.epoch: int | None = None

    @property
    def patience_is_over(self) -> bool:
        """Whether as many evaluations as `patience` brought nothing better."""
        return self._patience is not None and self._waited >= self._patience

    def update(self, epoch: int, losses: Mapping[str, float]) -> None:
        """Take the weights of an evaluated epoch, if they are better than any before."""
        if self._patience is None:
            return
        if losses["validation"] < self._loss:
            self.epoch, self._loss, self._waited = epoch, losses["validation"], 0
            self._weights = clone_tensors(self._network.state_dict())
        else:
            self._waited += 1

    def state_dict(self) -> dict[str, Any]:
        """Its content, as tensors and plain values."""
        return {"epoch": self.epoch, "loss": self._loss, "waited": self._waited, "weights": dict(self._weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if state["weights"]:
            require_specified(state["weights"], specify(self._network))
        self.epoch, self._loss, self._waited = state["epoch"], state["loss"], state["waited"]
        self._weights = state["weights"]

    def restore(self) -> None:
        """Give the network the best weights; it keeps its own when there is no patience."""
        if self._weights:
            self._network.load_state_dict(self._weights)


class _Progress:
    """Reports of progress, few enough to cost nothing."""

    def __init__(self, epochs: int, on_progress: OnProgress | None) -> None:
        self._epochs, self._on_progress = epochs, on_progress
        self._due = time.monotonic() + PROGRESS_INTERVAL if on_progress else math.inf

    def report(self, epoch: int, loss: float) -> None:
        """Report an epoch as done, if a report is due."""
        if self._on_progress and time.monotonic() >= self._due:
            self._due = time.monotonic() + PROGRESS_INTERVAL
            self._on_progress(epoch + 1, self._epochs, loss)

    def finish(self, epoch: int, loss: float) -> None:
        """Report the last epoch, due or not."""
        if self._on_progress:
            self._on_progress(epoch + 1, self._epochs, loss)

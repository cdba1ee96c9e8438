"""Training checkpoints: what a training keeps while it runs, so that a later process can resume it after a kill.

The checkpoint of a run is another thing: the saved weights, its .pth file (`tasks.learning.models.saved_weights`). A
training checkpoint is captured between two updates, and restored into a fit that was set up from the same settings and
data. Every update after that is the one that the uninterrupted fit would have made, to the last bit: it has the weights
and buffers, the state of the optimizer, the best weights so far, the history, the random numbers, and the place in the
data. The learning rate is not in it: the lr schedule is a function of the epoch; see `learning_rate_at`.
"""

import random
import re
import time
from array import array
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from torch import Tensor, nn, optim

from tasks.learning.models.plain_file import PlainFileError, load_plain
from tasks.learning.models.weights import require_specified, specify
from tasks.learning.training.history import FitHistory

#: Raised when the form of a training checkpoint changes; one of another schema is not restored.
SCHEMA = 1

#: What a file may hold beside its content: torch's small records.
_OVERHEAD = 64 * 1024


@dataclass
class Position:
    """How far a fit has come.

    Attributes:
        epoch: epochs done.
        batch: batches done of the epoch that is running.
        loss_sum: sum over the rows of those batches of their losses.
        rows: of those batches.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    rows: int = 0

    def end_batch(self, loss: float, rows: int) -> None:
        """Count a batch of so many rows with this mean loss."""
        self.batch += 1
        self.loss_sum += loss * rows
        self.rows += rows

    def end_epoch(self) -> None:
        """Count the epoch, and begin the next."""
        self.epoch += 1
        self.batch, self.loss_sum, self.rows = 0, 0.0, 0

    def move_to(self, other: "Position") -> None:
        """Become equal to another."""
        vars(self).update(vars(other))


class TrainingCheckpointer(Protocol):
    """Keeps the training checkpoints of a fit, and has those of an earlier process that was killed.

    Attributes:
        owner: the training that they belong to.
    """

    owner: str

    def keep(self, updates: int, write: Callable[[BinaryIO], object]) -> None:
        """Keep one, which `write` writes into an open file; `updates` grows from one to the next."""

    def newest_first(self) -> Iterable[bytes]:
        """The training checkpoints that there are."""

    def refuse(self, why: str) -> None:
        """Called when the training checkpoint that was yielded last cannot be restored."""

    def resumed(self, where: str) -> None:
        """Called when the fit is resumed, with the place, such as "epoch 20"."""

    def is_interrupted(self) -> bool:
        """Whether the fit is to keep a last training checkpoint, if it keeps any, and stop."""


class InterruptedFitError(Exception):
    """A fit was interrupted, and stopped after it had kept a last training checkpoint, if it keeps any."""


class TrainingCheckpointError(ValueError):
    """A training checkpoint that cannot be restored."""


class Best(Protocol):
    """The best weights so far, as the loop keeps them."""

    def state_dict(self) -> dict[str, Any]:
        """Its content, as tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""


@dataclass
class RunningFit:
    """Everything of a fit that changes while it runs, from which training checkpoints are captured.

    Attributes:
        network: on its device.
        optimizer: of its parameters.
        best: the best weights so far.
        history: of the epochs done.
        position: how far it has come.
        owner: identifies the training, so that a training checkpoint of another one is refused.
    """

    network: nn.Module
    optimizer: optim.Optimizer
    best: Best
    history: FitHistory
    position: Position
    owner: str

    def capture(self) -> dict[str, Any]:
        """A training checkpoint: tensors and plain values, which do not change when the fit continues."""
        return {
            "schema": SCHEMA,
            "owner": self.owner,
            "position": asdict(self.position),
            "network": clone_tensors(self.network.state_dict()),
            "optimizer": deepcopy(self.optimizer.state_dict()),
            "best": self.best.state_dict(),
            "history": capture_history(self.history),
            "random": capture_random(self._device()),
        }

    def restore(self, captured: dict[str, Any]) -> None:
        """Restore a training checkpoint, or leave everything as it was.

        Raises:
            TrainingCheckpointError: it is of another schema, or of another fit.
        """
        if captured.get("schema") != SCHEMA:
            raise TrainingCheckpointError(f"it has schema {captured.get('schema')!r} instead of {SCHEMA}")
        if captured.get("owner") != self.owner:
            raise TrainingCheckpointError("it is of another training")
        before = self.capture()
        try:
            self._apply(captured)
        except Exception as error:  # whatever is wrong with it shows when it is taken apart
            self._apply(before)
            raise TrainingCheckpointError(f"it does not fit: {str(error) or type(error).__name__}") from error

    def _apply(self, captured: dict[str, Any]) -> None:
        require_specified(captured["network"], specify(self.network))
        self.position.move_to(Position(**captured["position"]))
        restore_history(self.history, captured["history"])
        if len(self.history.train_loss) != self.position.epoch:
            raise TrainingCheckpointError(f"{len(self.history.train_loss)} losses of {self.position.epoch} epochs")
        self.network.load_state_dict(captured["network"], strict=True)
        self.optimizer.load_state_dict(captured["optimizer"])
        self.best.load_state_dict(captured["best"])
        restore_random(captured["random"], self._device())

    def _device(self) -> torch.device:
        return next(self.network.parameters()).device


def load_training_checkpoint(content: bytes) -> dict[str, Any]:
    """A training checkpoint from the bytes that `torch.save` wrote; no code in it is ever run.

    Raises:
        TrainingCheckpointError: it is no such file, is damaged, or holds anything but tensors and plain values.
    """
    try:
        return load_plain(content, len(content) + _OVERHEAD)
    except PlainFileError as error:
        raise TrainingCheckpointError(str(error)) from error


class TrainingCheckpointInterval:
    """How often a training checkpoint is due: every so many epochs, or seconds, or never."""

    def __init__(self, every: str) -> None:
        """Read a setting such as "60s", "100 epochs" or "never"."""
        number, unit = re.match(r"(\d*) ?(.*)", every).groups()  # type: ignore[union-attr]  # it matches any text
        self._epochs = int(number) if unit.startswith("epoch") else 0
        self._seconds = float(number) if unit == "s" else 0.0
        self._next = time.monotonic() + self._seconds if self._seconds else float("inf")
        self.is_never = unit == "never"

    def is_due(self, position: Position) -> bool:
        """Whether one is due; called after every batch, and at the end of every epoch with batch 0."""
        if self._epochs:
            return position.batch == 0 and position.epoch % self._epochs == 0
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + self._seconds
        return True


class Resumption:
    """Keeps training checkpoints when they are due, restores the newest that fits, and stops an interrupted fit.

    Where none is ever due, none is kept or restored. An interrupted fit stops even then, because the interruption was
    postponed until it does.
    """

    def __init__(
        self,
        running: RunningFit,
        interval: TrainingCheckpointInterval,
        checkpointer: TrainingCheckpointer,
        batches: int,
    ) -> None:
        """Keep the training checkpoints of a fit.

        Args:
            running: the fit.
            interval: how often a training checkpoint is due.
            checkpointer: where they are kept.
            batches: of an epoch.
        """
        self._running, self._interval, self._checkpointer, self._batches = running, interval, checkpointer, batches

    def resume(self) -> None:
        """Restore the newest training checkpoint that fits, if there is one."""
        if self._interval.is_never:
            return
        for content in self._checkpointer.newest_first():
            try:
                self._running.restore(load_training_checkpoint(content))
            except TrainingCheckpointError as error:
                self._checkpointer.refuse(str(error))
            else:
                self._checkpointer.resumed(f"epoch {self._running.position.epoch:,}")
                return

    def keep_if_due(self) -> None:
        """Keep a training checkpoint, if one is due; called between two updates.

        Raises:
            InterruptedFitError: the fit was interrupted; a last training checkpoint is kept, unless none ever is.
        """
        interrupted = self._checkpointer.is_interrupted()
        if self._interval.is_due(self._running.position) or (interrupted and not self._interval.is_never):
            self._keep()
        if interrupted:
            raise InterruptedFitError(f"interrupted in epoch {self._running.position.epoch}")

    def _keep(self) -> None:
        position, captured = self._running.position, self._running.capture()
        self._checkpointer.keep(
            position.epoch * self._batches + position.batch, lambda file: torch.save(captured, file)
        )


def clone_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies, which do not change when the originals do."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def capture_history(history: FitHistory) -> dict[str, Any]:
    """A history's flat arrays as tensors: float64, and int64 for the epochs."""
    return {
        "train_loss": to_tensor(history.train_loss),
        "learning_rate": to_tensor(history.learning_rate),
        "evaluated_epochs": to_tensor(history.evaluated_epochs),
        "held_out_loss": {part: to_tensor(losses) for part, losses in history.held_out_loss.items()},
    }


def restore_history(history: FitHistory, captured: dict[str, Any]) -> None:
    """Fills a history with what `capture_history` took."""
    history.train_loss = to_array(captured["train_loss"])
    history.learning_rate = to_array(captured["learning_rate"])
    history.evaluated_epochs = to_array(captured["evaluated_epochs"])
    history.held_out_loss = {part: to_array(captured["held_out_loss"][part]) for part in history.held_out_loss}


def to_tensor(values: "array[Any]") -> Tensor:
    """A flat array as a tensor of its type."""
    return torch.from_numpy(np.array(values))


def to_array(values: Tensor) -> "array[Any]":
    """A flat tensor of float64 or int64 as an array."""
    return array({torch.float64: "d", torch.int64: "q"}[values.dtype], values.numpy().tobytes())


def capture_random(device: torch.device) -> dict[str, Any]:
    """The state of every source of random numbers: Python's, numpy's, torch's, and the GPU's if one is used."""
    version, words, gauss = random.getstate()
    numpy = np.random.get_state(legacy=False)
    captured: dict[str, Any] = {
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
        "numpy": deepcopy(numpy) | {"state": numpy["state"] | {"key": torch.tensor(numpy["state"]["key"].tolist())}},
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        captured["cuda"] = torch.cuda.get_rng_state(device)
    return captured


def restore_random(captured: dict[str, Any], device: torch.device) -> None:
    """Sets every source of random numbers as `capture_random` found it."""
    python, numpy = captured["python"], captured["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    key = numpy["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state(numpy | {"state": numpy["state"] | {"key": key}})
    torch.set_rng_state(captured["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(captured["cuda"], device)

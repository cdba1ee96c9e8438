"""The resumable state of a fit: all that a later process needs to go on as if nothing had happened.

It is taken between two updates, and restored into a fit that was set up from the same settings and data. Then every
update that follows is the one that the uninterrupted fit would have made, to the last bit: weights and buffers, what
the optimizer remembers, the best weights so far, the history, the random numbers, and the place in the data. The
learning rate is not in it: a schedule is a function of the epoch.
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

from tasks.learning.models.plain_file import CheckpointError, load_plain
from tasks.learning.models.weights import require_specified, specify
from tasks.learning.training.history import History

#: Raised when the form of a state changes; one of another schema is not restored.
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


class Checkpointer(Protocol):
    """Keeps the states of a fit, and has those of an earlier one that was killed.

    Attributes:
        owner: names the training that they are of.
    """

    owner: str

    def keep(self, updates: int, write: Callable[[BinaryIO], object]) -> None:
        """Keep a state, which `write` writes into an open file; `updates` grows from state to state."""

    def states(self) -> Iterable[bytes]:
        """The states that there are, the newest first."""

    def refuse(self, why: str) -> None:
        """Told that the state given last cannot be restored."""

    def resumed(self, where: str) -> None:
        """Told where the fit goes on, in words."""

    def is_interrupted(self) -> bool:
        """Whether the fit is to keep its state, if it keeps any, and stop."""


class InterruptedFitError(Exception):
    """A fit stopped because it was asked to, after it kept its state, if it keeps any."""


class Best(Protocol):
    """The best weights so far, as the loop keeps them."""

    def memory(self) -> dict[str, Any]:
        """What it remembers, as tensors and plain values."""

    def recall(self, memory: dict[str, Any]) -> None:
        """Takes back what `memory` gave."""


@dataclass
class FitState:
    """Everything of a fit that changes while it runs.

    Attributes:
        network: on its device.
        optimizer: of its parameters.
        best: the best weights so far.
        history: of the epochs done.
        position: how far it has come.
        owner: names the very training that it is, so that no state of another one is taken for its own.
    """

    network: nn.Module
    optimizer: optim.Optimizer
    best: Best
    history: History
    position: Position
    owner: str

    def capture(self) -> dict[str, Any]:
        """All of it as tensors and plain values; does not change when the fit goes on."""
        return {
            "schema": SCHEMA,
            "owner": self.owner,
            "position": asdict(self.position),
            "network": clone_tensors(self.network.state_dict()),
            "optimizer": deepcopy(self.optimizer.state_dict()),
            "best": self.best.memory(),
            "history": capture_history(self.history),
            "random": capture_random(self._device()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over a captured state, or leaves everything as it was.

        Raises:
            CheckpointError: it is of another schema, or of another fit.
        """
        if state.get("schema") != SCHEMA:
            raise CheckpointError(f"it has schema {state.get('schema')!r} instead of {SCHEMA}")
        if state.get("owner") != self.owner:
            raise CheckpointError("it is of another training")
        before = self.capture()
        try:
            self._apply(state)
        except Exception as error:  # whatever is wrong with it shows when it is taken apart
            self._apply(before)
            raise CheckpointError(f"it does not fit: {str(error) or type(error).__name__}") from error

    def _apply(self, state: dict[str, Any]) -> None:
        require_specified(state["network"], specify(self.network))
        self.position.move_to(Position(**state["position"]))
        restore_history(self.history, state["history"])
        if len(self.history.train_loss) != self.position.epoch:
            raise CheckpointError(f"{len(self.history.train_loss)} losses of {self.position.epoch} epochs")
        self.network.load_state_dict(state["network"], strict=True)
        self.optimizer.load_state_dict(state["optimizer"])
        self.best.recall(state["best"])
        restore_random(state["random"], self._device())

    def _device(self) -> torch.device:
        return next(self.network.parameters()).device


def load_state(content: bytes) -> dict[str, Any]:
    """A captured state, out of the file that `torch.save` made of it; no code in it is ever run.

    Raises:
        CheckpointError: it is no such file, is damaged, or holds anything but tensors and plain values.
    """
    return load_plain(content, len(content) + _OVERHEAD)


class Schedule:
    """When a state is due: every so many epochs, or seconds, or never."""

    def __init__(self, every: str) -> None:
        """Read a setting such as "60s", "100 epochs" or "never"."""
        number, unit = re.match(r"(\d*) ?(.*)", every).groups()  # type: ignore[union-attr]  # it matches any text
        self._epochs = int(number) if unit.startswith("epoch") else 0
        self._seconds = float(number) if unit == "s" else 0.0
        self._next = time.monotonic() + self._seconds if self._seconds else float("inf")
        self.is_never = unit == "never"

    def is_due(self, position: Position) -> bool:
        """Whether it is time for a state; asked after every batch, and at the end of every epoch with batch 0."""
        if self._epochs:
            return position.batch == 0 and position.epoch % self._epochs == 0
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + self._seconds
        return True


class Resumption:
    """Keeps a fit's state when it is due, and restores the newest one that fits; stops a fit that is interrupted.

    Where no state is ever due, none is kept or restored, and an interrupted fit just stops: whoever put the
    interruption off waits for it all the same.
    """

    def __init__(self, state: FitState, schedule: Schedule, checkpointer: Checkpointer, batches: int) -> None:
        """Watch over a fit.

        Args:
            state: of the fit.
            schedule: when its state is due.
            checkpointer: where states are kept.
            batches: of an epoch.
        """
        self._state, self._schedule, self._keepsake, self._batches = state, schedule, checkpointer, batches

    def resume(self) -> None:
        """Restore the newest state that fits, if there is one."""
        if self._schedule.is_never:
            return
        for content in self._keepsake.states():
            try:
                self._state.restore(load_state(content))
            except CheckpointError as error:
                self._keepsake.refuse(str(error))
            else:
                self._keepsake.resumed(f"epoch {self._state.position.epoch:,}")
                return

    def offer(self) -> None:
        """Keep the state, if it is due; called between two updates.

        Raises:
            InterruptedFitError: the fit was asked to stop; its state is kept, unless none ever is.
        """
        interrupted = self._keepsake.is_interrupted()
        if self._schedule.is_due(self._state.position) or (interrupted and not self._schedule.is_never):
            self._keep()
        if interrupted:
            raise InterruptedFitError(f"interrupted in epoch {self._state.position.epoch}")

    def _keep(self) -> None:
        position, captured = self._state.position, self._state.capture()
        self._keepsake.keep(position.epoch * self._batches + position.batch, lambda file: torch.save(captured, file))


def clone_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies, which do not change when the originals do."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def capture_history(history: History) -> dict[str, Any]:
    """A history's flat arrays as tensors: float64, and int64 for the epochs."""
    return {
        "train_loss": to_tensor(history.train_loss),
        "learning_rate": to_tensor(history.learning_rate),
        "evaluated_epochs": to_tensor(history.evaluated_epochs),
        "held_out_loss": {part: to_tensor(losses) for part, losses in history.held_out_loss.items()},
    }


def restore_history(history: History, captured: dict[str, Any]) -> None:
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

"""The history of a fit: its losses and learning rates by epoch."""

from array import array
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.learning.data.tables import to_arrow


class FitHistory:
    """Losses by epoch, in flat arrays: ten million epochs take 160 MB, not several GB of objects."""

    def __init__(self, held_out: tuple[str, ...]) -> None:
        """Start an empty history for the held-out parts of these names, such as ("validation", "test")."""
        self.train_loss = array("d")
        self.learning_rate = array("d")
        self.evaluated_epochs = array("q")
        self.held_out_loss = {part: array("d") for part in held_out}

    def record(self, train_loss: float, learning_rate: float) -> None:
        """Record an epoch: its training loss, taken before its update, and its learning rate."""
        self.train_loss.append(train_loss)
        self.learning_rate.append(learning_rate)

    def record_evaluation(self, losses: Mapping[str, float]) -> None:
        """Record the held-out losses after the update of the epoch recorded last."""
        self.evaluated_epochs.append(len(self.train_loss) - 1)
        for part, loss in losses.items():
            self.held_out_loss[part].append(loss)


def history_table(history: FitHistory) -> pa.Table:
    """The history as a table, one row an epoch.

    Returns:
        Columns epoch (int64, from 0), train_loss (float64), validation_loss (float64, if there is such a part),
        test_loss (float64) and learning_rate (float64); a held-out loss is null where it was not evaluated.
    """
    epochs = len(history.train_loss)
    columns = {
        "epoch": to_arrow(np.arange(epochs, dtype=np.int64)),
        "train_loss": to_arrow(np.array(history.train_loss)),
    }
    evaluated = np.array(history.evaluated_epochs)
    for part, losses in history.held_out_loss.items():
        columns[f"{part}_loss"] = _sparse(epochs, evaluated, np.array(losses))
    columns["learning_rate"] = to_arrow(np.array(history.learning_rate))
    return pa.Table.from_arrays(list(columns.values()), list(columns))


def _sparse(rows: int, places: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> pa.Array:
    """A column with the values at their places and null elsewhere."""
    column, present = np.zeros(rows), np.zeros(rows, bool)
    column[places], present[places] = values, True
    return to_arrow(column, present)

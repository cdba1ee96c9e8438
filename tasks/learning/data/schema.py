"""The columns of the dataset and of the predictions: every source makes them, and everything else reads them here.

A dataset has the number of each row first, the target last, and between them the features in the order in which the
model reads them. Predictions have the same columns, with the part of each row, and the target under its own name.
"""

from collections.abc import Sequence
from typing import NamedTuple

#: The number of a row, from 0 (int64), by which its predictions are found again.
ROW = "row"

#: What the model of a line reads and what it predicts (float32).
FEATURE, TARGET = "x", "y"

#: The columns of predictions around the features: before them the row and its part, after them (float32) the target,
#: what the model predicts, and target − prediction.
BEFORE, AFTER = (ROW, "split"), ("target", "prediction", "residual")

#: Names that no feature can have.
RESERVED = frozenset((*BEFORE, *AFTER))


class Columns(NamedTuple):
    """What a model reads, in its order, and what it predicts."""

    features: tuple[str, ...]
    target: str


#: The columns of a line.
LINE = Columns((FEATURE,), TARGET)


def columns_of(names: Sequence[str]) -> Columns:
    """The features and the target of a dataset, or of a part of it, by the names of its columns.

    Raises:
        ValueError: they are not the columns of a dataset.
    """
    row, *features, target = names if len(names) > 2 else (None, None)
    if row != ROW:
        raise ValueError(f"the columns {', '.join(names)} are not those of a dataset: {ROW}, features and a target")
    return Columns(tuple(map(str, features)), str(target))


def predicted_features(names: Sequence[str]) -> tuple[str, ...]:
    """The features of a table of predictions, by the names of its columns."""
    return tuple(names[len(BEFORE) : -len(AFTER)])

"""Predictions: what a network says for every row, and the table that keeps it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import nn

from tasks.learning.data.columns import side_by_side, to_tensor, to_values
from tasks.learning.data.schema import AFTER, BEFORE, ROW, columns_of
from tasks.learning.data.tables import repeat_text, to_arrow, to_numpy

Floats = npt.NDArray[np.float32]

#: Rows predicted at once. Fixed, because the last bit of a matrix product may depend on how many rows share it.
CHUNK = 1 << 20

#: Turns the recording of gradients off: torch.inference_mode or torch.no_grad.
GradientMode = Callable[[], AbstractContextManager[Any]]


def predict(network: nn.Module, x: Floats, device: str, mode: GradientMode = torch.inference_mode) -> Floats:
    """Predictions, float32 of shape [rows], for inputs of shape [rows, features], by a network on the device."""
    network.eval()
    predictions = np.empty(len(x), np.float32)
    with mode():
        for start in range(0, len(x), CHUNK):
            chunk = slice(start, start + CHUNK)
            predictions[chunk] = to_values(network(to_tensor(x[chunk], device)))
    return predictions


def predict_part(
    network: nn.Module, part: str, rows: pa.Table, device: str, mode: GradientMode = torch.inference_mode
) -> pa.Table:
    """The predictions for one part of the dataset.

    Args:
        part: its name, such as "test", kept in the column split.
        rows: the columns of the dataset; see `tasks.learning.data.schema`.

    Returns:
        Columns row (int64), split (string), the features, target, prediction and residual = target − prediction
        (float32).
    """
    features, target_name = columns_of(rows.column_names)
    values = {name: np.array(to_numpy(rows[name]), dtype=np.float32) for name in (*features, target_name)}
    target, prediction = values[target_name], predict(network, side_by_side(values, features), device, mode)
    floats = (*(values[name] for name in features), target, prediction, target - prediction)
    columns = [rows[ROW], repeat_text(part, rows.num_rows), *(to_arrow(array) for array in floats)]
    return pa.Table.from_arrays(columns, [*BEFORE, *features, *AFTER])


def predict_parts(
    network: nn.Module, parts: Mapping[str, pa.Table], device: str, mode: GradientMode = torch.inference_mode
) -> pa.Table:
    """The predictions for several parts, by name, as one table, part after part; see `predict_part`."""
    return pa.concat_tables([predict_part(network, part, rows, device, mode) for part, rows in parts.items()])

"""Columns as tensors: how values get from a table onto a device, and back."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.learning.data.schema import columns_of
from tasks.learning.data.tables import read_columns, read_names

Floats = npt.NDArray[np.float32]


def side_by_side(columns: Mapping[str, Floats], names: Sequence[str]) -> Floats:
    """Some columns as one array, float32 of shape [rows, columns]; a single one shares the memory of its values."""
    first, *others = (columns[name] for name in names)
    return np.stack([first, *others], axis=1) if others else first[:, None]


def to_tensor(values: Floats, device: str) -> Tensor:
    """A tensor of the same values and shape on the device; on the CPU it shares the memory of `values`, writable."""
    return torch.from_numpy(values).to(device)


def to_column(values: Floats, device: str) -> Tensor:
    """A float32 tensor of shape [rows, 1] on the device; on the CPU it shares the memory of `values`.

    Args:
        values: float32 of shape [rows], writable.
    """
    return to_tensor(values, device).unsqueeze(1)


def read_batch(path: Path, device: str) -> tuple[Tensor, Tensor]:
    """Features, float32 of shape [rows, features], and targets, of shape [rows, 1], of a part, on the device.

    Raises:
        ValueError: the file is no such table.
    """
    features, target = columns_of(read_names(path))
    values = read_columns(path, (*features, target))
    return to_tensor(side_by_side(values, features), device), to_column(values[target], device)


def to_values(column: Tensor) -> Floats:
    """The float32 values, shape [rows], of a tensor of shape [rows, 1] on any device."""
    values: Floats = column.detach().squeeze(1).cpu().numpy()
    return values

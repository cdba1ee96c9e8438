"""Columns as tensors: how values get from a table onto a device, and back."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.learning.data.schema import FEATURE, TARGET
from tasks.learning.data.tables import read_columns

Floats = npt.NDArray[np.float32]


def to_column(values: Floats, device: str) -> Tensor:
    """A float32 tensor of shape [rows, 1] on the device; on the CPU it shares the memory of `values`.

    Args:
        values: float32 of shape [rows], writable.
    """
    return torch.from_numpy(values).unsqueeze(1).to(device)


def read_batch(path: Path, device: str) -> tuple[Tensor, Tensor]:
    """Features and targets of a table, float32 of shape [rows, 1] each, on the device.

    Raises:
        ValueError: the file is no such table.
    """
    values = read_columns(path, (FEATURE, TARGET))
    return to_column(values[FEATURE], device), to_column(values[TARGET], device)


def to_values(column: Tensor) -> Floats:
    """The float32 values, shape [rows], of a tensor of shape [rows, 1] on any device."""
    values: Floats = column.detach().squeeze(1).cpu().numpy()
    return values

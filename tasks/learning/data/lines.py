"""The straight line: rows of x and y = weight · x + bias, made with numpy alone so that torch stays unloaded."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.learning.config.data import LineData
from tasks.learning.data.schema import FEATURE, ROW, TARGET
from tasks.learning.data.tables import to_arrow

Floats = npt.NDArray[np.float32]

#: torch.arange on x86-64 fills float32 eight lanes at a time, and whole vectors in pairs.
_LANES = 8


def line_table(data: LineData) -> pa.Table:
    """The rows of a line.

    Returns:
        Columns row (int64, from 0), x and y (float32), `data.row_count` rows. x and y are, bit for bit,
        what `torch.arange` (on one x86-64 thread) and `weight * x + bias` give in float32; but where x passes
        through 0, what is left of it there may differ by the rounding of a float64.

    Raises:
        ValueError: a value is too large for float32.
    """
    x = _spaced(data) if data.rows is not None else _stepped(data)
    with np.errstate(over="ignore", invalid="ignore"):
        y = np.float32(data.weight) * x + np.float32(data.bias) + _noise(data)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("data: x or y is too large for float32: bring start, end, weight, bias or noise nearer to 0")
    columns: dict[str, npt.NDArray[Any]] = {ROW: np.arange(data.row_count, dtype=np.int64), FEATURE: x, TARGET: y}
    return pa.Table.from_arrays([to_arrow(values) for values in columns.values()], list(columns))


def _spaced(data: LineData) -> Floats:
    """`data.row_count` values of x, evenly spaced from start; each correctly rounded."""
    positions = np.arange(data.row_count, dtype=np.float64)
    return _rounded(data.start + positions * ((data.end - data.start) / data.row_count))


def _stepped(data: LineData) -> Floats:
    """The values of torch.arange(start, end, step).

    torch rounds the first x of every vector to float32 and counts on from there, so that some of its values are
    one unit in the last place beside the correctly rounded ones, and with them every loss of the golden run.
    """
    positions = np.arange(data.row_count, dtype=np.float64)
    x = _rounded(data.start + positions * data.step)
    in_vectors = len(x) - len(x) % (2 * _LANES)
    firsts = x[:in_vectors:_LANES].astype(np.float64)
    x[:in_vectors] = _rounded(firsts[:, None] + positions[:_LANES] * data.step).reshape(-1)
    return x


def _rounded(values: npt.NDArray[np.float64]) -> Floats:
    with np.errstate(over="ignore"):  # an overflow is reported by the caller, with the fields to change
        return values.astype(np.float32)


def _noise(data: LineData) -> Floats | np.float32:
    """Gaussian noise of one value a row, or a plain 0, which changes no bit of y."""
    if not data.noise:
        return np.float32(0)
    return _rounded(np.random.default_rng(data.seed).normal(0.0, data.noise, data.row_count))

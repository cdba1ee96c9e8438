"""Metrics of predictions, by part, in float64 and with numpy alone."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.learning.data.tables import to_numpy
from tasks.learning.losses.registry import LOSSES

Floats = npt.NDArray[np.float64]


def metrics_by_part(predictions: pa.Table, loss: str) -> dict[str, dict[str, Any]]:
    """The metrics of each part of a predictions table, in the order in which the parts stand in it; JSON.

    Args:
        predictions: columns split, target and prediction.
        loss: the name of what `loss` in the result is; the predictions are logits for bce.

    Raises:
        ValueError: there is no such loss.
    """
    parts = predictions["split"].unique()
    return {part.as_py(): part_metrics(*_columns(predictions, part), loss) for part in parts}


def _columns(predictions: pa.Table, part: pa.StringScalar) -> tuple[Floats, Floats]:
    rows = predictions.filter(pc.equal(predictions["split"], part))
    return to_numpy(rows["target"]).astype(np.float64), to_numpy(rows["prediction"]).astype(np.float64)


def part_metrics(target: Floats, prediction: Floats, loss: str) -> dict[str, Any]:
    """rows, loss, mae, mse, rmse, r2 and largest_error; each finite or None.

    r2 is 1 − (squared residuals / squared deviations of the targets from their mean); None for fewer than two rows
    and for targets that are all equal.

    Args:
        target: float64 of shape [rows].
        prediction: likewise.
        loss: the name of what `loss` in the result is.

    Raises:
        ValueError: there is no such loss.
    """
    try:
        row_losses = LOSSES[loss].row_losses
    except KeyError as error:
        raise ValueError(f"unknown loss {loss!r}") from error
    with np.errstate(over="ignore", invalid="ignore"):  # predictions that are not finite give None
        residual = target - prediction
        mse = float(np.mean(residual**2))
        figures = {
            "loss": np.mean(row_losses(target, prediction)),
            "mae": np.mean(np.abs(residual)),
            "mse": mse,
            "rmse": np.sqrt(mse),
            "r2": _r2(target, mse),
            "largest_error": np.max(np.abs(residual)),
        }
    return {"rows": len(target)} | {name: _finite(value) for name, value in figures.items()}


def _r2(target: Floats, mse: float) -> float:
    # Asked of the targets themselves: the mean of equal ones is rounded, and their variance then not quite 0.
    if target.min() == target.max():
        return np.nan
    return 1 - mse / float(np.var(target))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

"""Comparison of two predictions tables, row by row."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.learning.data.schema import ROW
from tasks.learning.data.tables import same_column, to_numpy

#: Between devices a prediction may differ by rounding: another order of additions, a fused multiply-add. That is a few
#: times float32's 1.2e-7, relative to what is added up; a hundredfold of it still shows any other set of weights.
ACROSS_DEVICES_RTOL = 1e-5
#: The same where multiplication and bias cancel and the prediction itself is near 0.
ACROSS_DEVICES_ATOL = 1e-6

#: The columns that are compared. All others identify a row, and must agree before that.
_PREDICTED = ("prediction", "residual")


@dataclass(frozen=True)
class Difference:
    """A row with its two predictions."""

    row: int
    split: str
    expected: float
    actual: float


@dataclass(frozen=True)
class Comparison:
    """How two predictions tables differ."""

    rows: int
    mismatches: int
    #: The first row beyond the tolerance; None when there is none.
    first_mismatch: Difference | None
    #: The row with the largest difference, first of all one that is not a number; None when no row differs at all.
    worst: Difference | None
    #: Largest absolute difference; None when a prediction is not a finite number.
    largest_difference: float | None

    @property
    def agrees(self) -> bool:
        """Whether every row is within the tolerance."""
        return self.mismatches == 0


def compare_predictions(expected: pa.Table, actual: pa.Table, rtol: float = 0.0, atol: float = 0.0) -> Comparison:
    """Compare two predictions tables row by row; exactly, unless a tolerance is given.

    A row agrees when |actual − expected| ≤ atol + rtol · |expected|. What is not finite agrees with nothing,
    itself included.

    Args:
        expected: columns of the row's number, split, features, target, prediction and residual.
        actual: likewise, of the same rows in the same order.
        rtol: relative tolerance.
        atol: absolute tolerance, in units of the target.

    Raises:
        ValueError: the tables are not about the same rows.
    """
    _require_same_rows(expected, actual)
    was, now = (_predictions(table) for table in (expected, actual))
    with np.errstate(invalid="ignore"):
        difference = np.abs(now - was)
    comparable = np.isfinite(difference)
    difference[~comparable] = np.inf
    beyond = np.flatnonzero(~(comparable & (difference <= atol + rtol * np.abs(was))))
    worst = int(np.argmax(difference)) if len(difference) else 0
    largest = float(difference[worst]) if len(difference) else 0.0
    return Comparison(
        rows=len(difference),
        mismatches=len(beyond),
        first_mismatch=_difference(expected, actual, int(beyond[0])) if len(beyond) else None,
        worst=_difference(expected, actual, worst) if largest else None,
        largest_difference=largest if np.isfinite(largest) else None,
    )


def _require_same_rows(expected: pa.Table, actual: pa.Table) -> None:
    if expected.num_rows != actual.num_rows:
        raise ValueError(
            f"the tables hold {expected.num_rows:,} and {actual.num_rows:,} rows: they are of different data"
        )
    if expected.column_names != actual.column_names:
        raise ValueError("the tables have other columns: they are of different data")
    for name in (name for name in expected.column_names if name not in _PREDICTED):
        if not same_column(expected[name], actual[name]):
            raise ValueError(f"the tables differ in column {name}: they are of different data")


def _predictions(table: pa.Table) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = to_numpy(table["prediction"]).astype(np.float64)
    return values


def _difference(expected: pa.Table, actual: pa.Table, index: int) -> Difference:
    def value(table: pa.Table, name: str) -> Any:
        return table[name][index].as_py()

    return Difference(
        value(expected, ROW), value(expected, "split"), value(expected, "prediction"), value(actual, "prediction")
    )

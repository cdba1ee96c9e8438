"""The quality gate: what the test metrics of a run must reach for it to be accepted.

A run that misses a bound is kept and can be verified: its checkpoint does what training recorded, and that is not good
enough.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from tasks.learning.config.section import Real, Section

#: The bounds by field: the metric of the test rows, and whether it may be at most or at least so much.
BOUNDS = {
    "min_r2": ("r2", "below"),
    "max_loss": ("loss", "above"),
    "max_mae": ("mae", "above"),
    "max_rmse": ("rmse", "above"),
    "max_largest_error": ("largest_error", "above"),
}


class Accept(Section):
    """What a run must reach on the test rows; anything will do where nothing is given."""

    min_r2: Real | None = Field(None, le=1, description="Lowest R².")
    max_loss: Real | None = Field(None, ge=0, description="Highest loss.")
    max_mae: Real | None = Field(None, ge=0, description="Highest mean absolute error, in units of the target.")
    max_rmse: Real | None = Field(None, ge=0, description="Highest root mean squared error, in units of the target.")
    max_largest_error: Real | None = Field(None, ge=0, description="Highest absolute error of a row.")
    allow_drift: bool = Field(
        True, description="Whether a run may be accepted that is outside the band of the runs before."
    )

    @property
    def demands(self) -> bool:
        """Whether a run could miss anything."""
        return self != Accept()


def shortfalls(accept: Accept, test: Mapping[str, Any]) -> tuple[str, ...]:
    """The bounds that a run misses, such as `r2 0.87 is below accept.min_r2 0.9`.

    Args:
        accept: the bounds.
        test: the metrics of the test rows by name; None where one is undefined, which no bound lets pass.
    """
    found = []
    for field, (metric, side) in BOUNDS.items():
        bound, value = getattr(accept, field), test.get(metric)
        if bound is None:
            continue
        if value is None:
            found.append(f"{metric} has no value, and accept.{field} is {bound:g}")
        elif (value < bound) if side == "below" else (value > bound):
            found.append(f"{metric} {told_apart(value, bound)} is {side} accept.{field} {bound:.15g}")
    return tuple(found)


def told_apart(value: float, bound: float) -> str:
    """A value with as many digits as it takes to see that it is not the bound; 17 distinguish any two numbers."""
    shown = (f"{value:.{digits}g}" for digits in range(4, 18))
    return next((text for text in shown if float(text) != bound), f"{value!r}")

"""The data section: a class for each kind of dataset, with the settings that this kind has.

Each class has the field `kind` with one value, the properties `row_count` and `target_range`, by which an experiment is
checked, and `summary`. What makes the rows of a kind is registered in `tasks.learning.data.sources`.
"""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.learning.config.bounds import LARGEST, MOST_ROWS, Seed
from tasks.learning.config.section import ByKind, Real, Section
from tasks.relevance import MattersIf


class LineData(Section):
    """A straight line, y = weight · x + bias, at evenly spaced x; float32."""

    kind: Literal["line"] = Field("line", description="What the dataset is: a straight line.")
    weight: Real = Field(0.7, description="Slope of the line.")
    bias: Real = Field(0.3, description="Value of the line at x = 0.")
    start: Real = Field(0.0, description="First x.")
    end: Real = Field(1.0, description="Where x stops; not included. Above start.")
    step: Annotated[Real, MattersIf(lambda data: data.rows is None)] = Field(
        0.02, gt=0, description="Distance between neighbouring x. Unused when rows is given."
    )
    rows: int | None = Field(
        None, ge=1, le=MOST_ROWS, description="Number of rows, evenly spaced from start; takes the place of step."
    )
    noise: Real = Field(0.0, ge=0, description="Standard deviation of Gaussian noise added to y, in units of y.")
    seed: Annotated[Seed, MattersIf(lambda data: data.noise > 0)] = Field(0, description="Seed of the noise.")

    @model_validator(mode="after")
    def _rows_exist(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"end ({self.end:g}) must be above start ({self.start:g})")
        if self.rows is None and self.steps > MOST_ROWS:
            raise ValueError(f"step ({self.step:g}) makes {self.steps:,.0f} rows; at most {MOST_ROWS:,} are allowed")
        return self

    @model_validator(mode="after")
    def _fits_float32(self) -> Self:
        largest = max(map(abs, (self.start, self.end, *self._ends)))
        if largest > LARGEST:
            raise ValueError(
                f"x or y reaches {largest:g}, more than float32 can hold: bring start, end, weight and bias nearer to 0"
            )
        return self

    @property
    def _ends(self) -> tuple[float, float]:
        """The value of the line, without noise, at the start and at the end."""
        return self.weight * self.start + self.bias, self.weight * self.end + self.bias

    @property
    def target_range(self) -> tuple[float, float] | None:
        """The lowest and the highest target; None with noise, where they are known only once they are drawn."""
        return None if self.noise else (min(self._ends), max(self._ends))

    @property
    def summary(self) -> str:
        """The line, as people write it."""
        return f"y = {self.weight:g}·x {'+' if self.bias >= 0 else '−'} {abs(self.bias):g}"

    @property
    def steps(self) -> float:
        """How often `step` goes into the distance from start to end; infinite where that is beyond float64."""
        return (self.end - self.start) / self.step

    @property
    def row_count(self) -> int:
        """Rows of the table: `rows`, else ⌈(end − start) / step⌉ as in torch.arange."""
        if self.rows is not None:
            return self.rows
        return math.ceil(self.steps)


#: The kinds of dataset: a class each, the default first.
Data = Annotated[LineData, ByKind]

#: The kind of a section that names none.
DEFAULT_KIND = "line"

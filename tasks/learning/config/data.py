"""The data section: a class for each kind of dataset, with the settings that this kind has.

Each class has the field `kind` with one value, the properties `row_count` and `target_range`, by which an experiment is
checked, and `summary`. What makes the rows of a kind is registered in `tasks.learning.data.sources`; the rows of a
table come from a file, and are read by the stage `ingest`.
"""

import math
from pathlib import PurePath
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.learning.config.bounds import LARGEST, MOST_ROWS, Seed
from tasks.learning.config.columns import EVERY_COLUMN, require_column_name
from tasks.learning.config.section import ByKind, Real, Section
from tasks.relevance import MattersIf

#: Describes the field `kind`, of which the help of the command line shows one text for all classes.
KIND = "What the dataset is: line, a straight line; table, a table in a file."

#: How the names of the files end that a table can be read from.
FORMATS = (".csv", ".parquet")


def is_csv(path: PurePath) -> bool:
    """Whether a table is read as CSV, by how the name of its file ends; as Parquet otherwise."""
    return path.suffix.lower() == ".csv"


class LineData(Section):
    """A straight line, y = weight · x + bias, at evenly spaced x; float32."""

    kind: Literal["line"] = Field("line", description=KIND)
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


class TableData(Section):
    """A table in a file: columns of numbers, of which one is the target."""

    kind: Literal["table"] = Field("table", description=KIND)
    path: str = Field(
        description="The file: .csv with a header line, or .parquet. Relative paths start at the experiment's file."
    )
    target: str = Field(description="The column to predict.")
    features: list[str] | None = Field(
        None,
        description="Columns that the model reads; all but the target and those excluded if not given.",
    )
    exclude: Annotated[list[str], MattersIf(lambda data: data.features is None)] = Field(
        [], description="Columns that are left out. Unused when features is given."
    )
    drop_missing: Annotated[list[str], MattersIf(lambda data: bool(data.drop_missing))] = Field(
        [],
        description=f"Columns that must have a value: rows in which one is missing are left out, and counted. "
        f"{EVERY_COLUMN} stands for the target and all features but those in model.impute.",
    )
    limit: Annotated[int | None, MattersIf(lambda data: data.limit is not None)] = Field(
        None, ge=1, le=MOST_ROWS, description="Rows to read, from the first on; all of them when not given."
    )
    delimiter: Literal[",", ";", "\t", "|"] = Field(",", description="Between the values of a CSV file.")
    decimal: Literal[".", ","] = Field(".", description="Decimal point of a CSV file.")

    @field_validator("path")
    @classmethod
    def _is_a_table(cls, path: str) -> str:
        if PurePath(path).suffix.lower() not in FORMATS:
            raise ValueError(f"{path!r} is no table: give a file that ends in {' or '.join(FORMATS)}")
        return path

    @field_validator("target", "features", "exclude", "drop_missing")
    @classmethod
    def _are_column_names(cls, value: str | list[str] | None) -> str | list[str] | None:
        for name in [value] if isinstance(value, str) else value or ():
            require_column_name(name)
        return value

    @field_validator("target", "features")
    @classmethod
    def _are_single_columns(cls, value: str | list[str] | None) -> str | list[str] | None:
        if EVERY_COLUMN in ([value] if isinstance(value, str) else value or ()):
            raise ValueError(f"{EVERY_COLUMN!r} stands for every column and names none: give the name of one")
        return value

    @model_validator(mode="after")
    def _columns_and_marks_differ(self) -> Self:
        if self.features == []:
            raise ValueError("features is empty: name a column, or leave it out for all but the target")
        names = self.features or []
        if self.decimal == self.delimiter:
            raise ValueError(f"decimal and delimiter must differ (both are {self.decimal!r})")
        if self.target in names:
            raise ValueError(f"features names the target {self.target!r}: the model would read what it is to predict")
        if repeated := [name for place, name in enumerate(names) if name in names[:place]]:
            raise ValueError(f"features names {repeated[0]!r} twice")
        return self

    @property
    def row_count(self) -> None:
        """Not known before the file is read."""
        return None

    @property
    def target_range(self) -> None:
        """Not known before the file is read."""
        return None

    @property
    def summary(self) -> str:
        """What is predicted, and from which file."""
        return f"{self.target} of {PurePath(self.path).name}"


#: The kinds of dataset: a class each, the default first.
Data = Annotated[LineData | TableData, ByKind]

#: The kind of a section that names none.
DEFAULT_KIND = "line"

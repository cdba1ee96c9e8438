"""The split section: how the rows are divided."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.learning.config.bounds import Seed
from tasks.learning.config.columns import require_column_name
from tasks.learning.config.section import Real, Section
from tasks.relevance import MattersIf

#: The parts of the rows, in their order; validation may be absent.
PARTS: tuple[str, ...] = ("train", "validation", "test")

#: The methods that divide the rows by the values of a column; and those of them whose column identifies rows, or says
#: when they were, so that it is no feature unless it is named as one.
BY_COLUMN = ("stratified", "grouped", "time", "hash")
BY_IDENTITY = ("grouped", "time", "hash")

#: Characters of a time or number.
MOST_CUT = 40


class Split(Section):
    """How the rows are divided: train, then validation (if any), then test, which takes the rest."""

    method: Literal["sequential", "shuffled", "stratified", "grouped", "time", "hash"] = Field(
        "sequential",
        description="sequential: rows in their order. shuffled: in a seeded random order. By a column of a table: "
        "stratified, each value in the same proportion in every part; grouped, all rows of a value in one part; time, "
        "the latest rows for the test; hash, the part of a row depends on its value alone, so that rows that are "
        "added later move no other.",
    )
    column: Annotated[str | None, MattersIf(lambda split: split.method in BY_COLUMN)] = Field(
        None,
        description="The column by which the rows are divided. For grouped, time and hash it is no feature unless "
        "data.features names it. Unused when sequential or shuffled.",
    )
    train: Annotated[Real, MattersIf(lambda split: not split.is_cut)] = Field(
        0.8, gt=0, lt=1, description="Fraction of the rows to train on. Unused with cut."
    )
    validation: Real = Field(
        0.0,
        ge=0,
        lt=1,
        description="Fraction of the rows for early stopping; with cut, of the rows before it. 0 for none.",
    )
    seed: Annotated[Seed, MattersIf(lambda split: split.method not in ("sequential", "time"))] = Field(
        0, description="Seed of the random order, or of the hash. Unused when sequential, and for time."
    )
    cut: Annotated[str | None, MattersIf(lambda split: split.is_cut)] = Field(
        None,
        max_length=MOST_CUT,
        description="For time: rows are for the test from this date, time (UTC if no zone is given) or number on, "
        "instead of by fractions. Unused for other methods.",
    )

    @field_validator("column")
    @classmethod
    def _is_a_column_name(cls, column: str | None) -> str | None:
        if column is not None:
            require_column_name(column)
        return column

    @model_validator(mode="after")
    def _has_a_column(self) -> Self:
        if self.method in BY_COLUMN and self.column is None:
            raise ValueError(f"method {self.method} needs a column: set split.column to the name of one")
        return self

    @property
    def by_column(self) -> str | None:
        """The column by which the rows are divided; None if they are divided by their order alone."""
        return dividing_column(self.method, self.column)

    @property
    def is_cut(self) -> bool:
        """Whether the test part begins at a given time."""
        return self.method == "time" and self.cut is not None

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts, in their order."""
        return PARTS if self.validation else tuple(part for part in PARTS if part != "validation")

    @model_validator(mode="after")
    def _leaves_a_test_set(self) -> Self:
        if not self.is_cut and self.train + self.validation >= 1:
            raise ValueError(
                f"train ({self.train:g}) and validation ({self.validation:g}) must leave a part for test: "
                "their sum must be below 1"
            )
        return self

    def sizes(self, rows: int) -> dict[str, int]:
        """Rows of each part of a table of `rows` rows, sequential or shuffled; `validation` is absent at 0.

        Raises:
            ValueError: a part would be empty.
        """
        # 0.29 · 100 is 28.999…96 in binary: the margin lets a product that is whole on paper be whole here.
        sizes = {"train": math.floor(self.train * rows + 1e-9)}
        if self.validation:
            sizes["validation"] = math.floor(self.validation * rows + 1e-9)
        sizes["test"] = rows - sum(sizes.values())
        for part, size in sizes.items():
            if size < 1:
                raise ValueError(
                    f"{rows} rows leave the {part} part empty: give more rows (data.rows, or a smaller data.step) or "
                    "other fractions (split.train, split.validation)"
                )
        return sizes


def dividing_column(method: str, column: str | None) -> str | None:
    """The column by which a method divides rows; None for one that divides them by their order alone."""
    return column if method in BY_COLUMN else None


def column_apart(method: str, column: str | None) -> str | None:
    """The column by which a method divides rows and that is no feature unless it is named as one; None for others."""
    return column if method in BY_IDENTITY else None

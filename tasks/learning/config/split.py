"""The split section: how the rows are divided."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.learning.config.bounds import Seed
from tasks.learning.config.section import Real, Section
from tasks.relevance import MattersIf

#: The parts of the rows, in their order; validation may be absent.
PARTS: tuple[str, ...] = ("train", "validation", "test")


class Split(Section):
    """How the rows are divided: train, then validation (if any), then test, which takes the rest."""

    method: Literal["sequential", "shuffled"] = Field(
        "sequential", description="Rows in their order, or in a seeded random order."
    )
    train: Real = Field(0.8, gt=0, lt=1, description="Fraction of the rows to train on.")
    validation: Real = Field(0.0, ge=0, lt=1, description="Fraction of the rows for early stopping; 0 for none.")
    seed: Annotated[Seed, MattersIf(lambda split: split.method == "shuffled")] = Field(
        0, description="Seed of the shuffled order. Unused when sequential."
    )

    @model_validator(mode="after")
    def _leaves_a_test_set(self) -> Self:
        if self.train + self.validation >= 1:
            raise ValueError(
                f"train ({self.train:g}) and validation ({self.validation:g}) must leave a part for test: "
                "their sum must be below 1"
            )
        return self

    def sizes(self, rows: int) -> dict[str, int]:
        """Rows of each part of a table of `rows` rows; `validation` is absent when its fraction is 0.

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

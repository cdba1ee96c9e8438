"""The experiment: the whole configuration of a run, frozen and validated.

Five sections (data, split, model, training, accept) and two names. Values are strict: `True` is no integer and
`"3"` is no number, so that a typo in a file is an error and not a surprise. All problems of an
experiment are reported together, by pydantic, before anything runs.
"""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from tasks.learning.config.acceptance import Accept
from tasks.learning.config.data import Data, LineData, TableData
from tasks.learning.config.model import Model
from tasks.learning.config.section import Section
from tasks.learning.config.split import BY_COLUMN, Split
from tasks.learning.config.training import Training, require_batch
from tasks.learning.losses.registry import LOSSES
from tasks.limits import CHECKPOINT, NAME


class Experiment(Section):
    """Everything that decides the outcome of a run."""

    name: str = Field(
        "experiment",
        pattern=rf"^{NAME}$",
        description="Names the runs: letters, digits, '.', '_' and '-', at most 64, a letter or digit first.",
    )
    checkpoint: str | None = Field(
        None,
        pattern=rf"^{CHECKPOINT}$",
        description="File name of the saved state_dict, ending in .pth; NAME.pth when not given.",
    )
    data: Data = Field(default_factory=lambda: LineData(), description="The dataset.")
    split: Split = Field(default_factory=lambda: Split(), description="How the rows are divided.")
    model: Model = Field(default_factory=lambda: Model(), description="What is fitted.")
    training: Training = Field(default_factory=lambda: Training(), description="How it is fitted.")
    accept: Accept = Field(
        default_factory=lambda: Accept(), description="What the test metrics must reach for a run to be accepted."
    )

    @model_validator(mode="after")
    def _sections_fit_each_other(self) -> Self:
        if self.split.method in BY_COLUMN and not isinstance(self.data, TableData):
            raise ValueError(
                f"split.method {self.split.method} is for tables, whose rows it divides by a column: with data.kind "
                f"{self.data.kind}, sequential and shuffled can be chosen"
            )
        if self.data.row_count is not None:
            train_rows = self.split.sizes(self.data.row_count)["train"]
            require_batch(self.training.batch_size, train_rows, self.model.normalizes_batches)
        self._require_targets_of_the_loss()
        if self.model.impute and not isinstance(self.data, TableData):
            raise ValueError(f"model.impute is for tables: nothing is missing where data.kind is {self.data.kind}")
        if self.training.patience is not None and not self.split.validation:
            raise ValueError("training.patience needs validation rows: set split.validation, for example to 0.1")
        return self

    def _require_targets_of_the_loss(self) -> None:
        allowed, found = LOSSES[self.training.loss].TARGETS, self.data.target_range
        if allowed and found and not allowed[0] <= found[0] <= found[1] <= allowed[1]:
            raise ValueError(
                f"training.loss {self.training.loss} needs targets from {allowed[0]:g} to {allowed[1]:g}, and the "
                f"{self.data.kind} goes from {found[0]:g} to {found[1]:g}"
            )


class Rows(BaseModel):
    """The sections of an experiment that determine the number of rows."""

    data: Data
    split: Split


def rows_by_part(experiment: Mapping[str, Any]) -> dict[str, int] | None:
    """Rows of each part of an experiment that was read from a manifest. All but `data` and `split` is ignored.

    Returns:
        None for a table, whose rows are known only once its file is read.

    Raises:
        ValueError: `data` or `split` is missing or invalid; names the field.
    """
    try:
        found = Rows.model_validate(experiment)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return None if found.data.row_count is None else found.split.sizes(found.data.row_count)

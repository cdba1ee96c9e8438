"""The experiment: the whole configuration of a run, frozen and validated.

Five sections (data, split, model, training, accept) and two names. Values are strict: `True` is no integer and
`"3"` is no number, so that a typo in a file is an error and not a surprise. All problems of an
experiment are reported together, by pydantic, before anything runs.
"""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AllowInfNan, BaseModel, Field, ValidationError, field_validator, model_validator

from tasks.learning.config.acceptance import Accept
from tasks.learning.config.devices import DEVICE
from tasks.learning.config.section import Real, Section
from tasks.limits import CHECKPOINT, MOST_THREADS, NAME
from tasks.relevance import MattersIf

#: The largest integer that the form in the Prefect UI can carry: a browser's numbers are float64, and it rounds others.
LARGEST_INTEGER = 2**53 - 1

Seed = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]

#: A seed of torch's generator on the CPU, which keeps 32 bits: of more, several seeds would draw the same parameters.
TorchSeed = Annotated[int, Field(ge=0, le=2**32 - 1)]

#: The largest finite float32.
LARGEST = (2 - 2**-23) * 2.0**127

#: A number that float32 can hold.
Float32 = Annotated[float, AllowInfNan(False), Field(ge=-LARGEST, le=LARGEST)]

#: Larger than any of use. Beyond, what an optimizer makes of them leaves float32 and ends in an error of torch.
LARGEST_STEP, LARGEST_DECAY = 1e34, 1e3

#: More epochs than this are taken for a slip; a history of as many takes 160 MB.
MOST_EPOCHS = 10_000_000

#: More rows than this in one generated table is taken for a slip in `step`, not for a wish.
MOST_ROWS = 100_000_000


PARAMETER_NAME = "A lower-case letter, then at most 63 lower-case letters, digits and underscores."

#: What every nn.Module has already, so that no parameter can be named so. Listed, since torch is not imported here.
MODULE_NAMES = frozenset(
    """
    add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches eval extra_repr
    float forward get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict modules mtia
    named_buffers named_children named_modules named_parameters parameters register_backward_hook register_buffer
    register_forward_hook register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter
    register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule
    share_memory state_dict to to_empty train training type xpu zero_grad
    """.split()  # noqa: SIM905 (a list of 53 quoted names is longer, and no clearer)
)

#: The parts of the rows, in their order; validation may be absent.
PARTS: tuple[str, ...] = ("train", "validation", "test")


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
        largest = max(map(abs, (self.start, self.end, *self.line)))
        if largest > LARGEST:
            raise ValueError(
                f"x or y reaches {largest:g}, more than float32 can hold: bring start, end, weight and bias nearer to 0"
            )
        return self

    @property
    def line(self) -> tuple[float, float]:
        """The value of the line, without noise, at the start and at the end."""
        return self.weight * self.start + self.bias, self.weight * self.end + self.bias

    @property
    def steps(self) -> float:
        """How often `step` goes into the distance from start to end; infinite where that is too often to be told."""
        return (self.end - self.start) / self.step

    @property
    def row_count(self) -> int:
        """Rows of the table: `rows`, else ⌈(end − start) / step⌉ as in torch.arange."""
        if self.rows is not None:
            return self.rows
        return math.ceil(self.steps)


#: The kinds of dataset. Another kind joins here, as a union discriminated by `kind`.
Data = LineData


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


class Model(Section):
    """The model, one input to one output: target = weight · input + bias."""

    kind: Literal["parameters", "linear"] = Field(
        "parameters", description="Two nn.Parameters of shape [1], or nn.Linear(1, 1) held as linear_layer."
    )
    weight_name: Annotated[str, MattersIf(lambda model: model.kind == "parameters")] = Field(
        "weights", description=f"Name of the first nn.Parameter. {PARAMETER_NAME} Unused by linear."
    )
    bias_name: Annotated[str, MattersIf(lambda model: model.kind == "parameters")] = Field(
        "bias", description=f"Name of the second nn.Parameter. {PARAMETER_NAME} Unused by linear."
    )
    initial_weight: Float32 | None = Field(None, description="Initial weight, in place of a random one.")
    initial_bias: Float32 | None = Field(None, description="Initial bias, in place of a random one.")

    @field_validator("weight_name", "bias_name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
            raise ValueError("must be a lower-case Python name of at most 64 letters, digits and underscores")
        if name in MODULE_NAMES:
            raise ValueError(f"{name!r} is taken: every nn.Module has an attribute of that name")
        return name

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if self.weight_name == self.bias_name:
            raise ValueError(f"weight_name and bias_name must differ (both are {self.bias_name!r})")
        return self


class Training(Section):
    """How the model is fitted."""

    loss: Literal["l1", "mse", "huber", "bce"] = Field(
        "l1", description="Mean absolute error, mean squared error, Huber (delta 1), or binary cross-entropy on logits."
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field("sgd", description="Update rule, from torch.optim.")
    learning_rate: Real = Field(0.01, gt=0, le=LARGEST_STEP, description="Step size of the optimizer.")
    momentum: Real = Field(0.0, ge=0, lt=1, description="Momentum of sgd; 0 for none.")
    weight_decay: Real = Field(
        0.0, ge=0, le=LARGEST_DECAY, description="L2 penalty (sgd, adam) or decoupled decay (adamw)."
    )
    epochs: int = Field(100, ge=1, le=MOST_EPOCHS, description="Passes over the training rows.")
    batch_size: int | None = Field(
        None,
        ge=1,
        le=LARGEST_INTEGER,
        description="Rows per update; all of them when not given.",
    )
    shuffle: Annotated[bool, MattersIf(lambda training: training.batch_size is not None)] = Field(
        True, description="Whether each epoch visits the rows in a new seeded order. Unused by full batch."
    )
    evaluate_every: int = Field(
        10,
        ge=1,
        le=MOST_EPOCHS,
        description="Epochs between evaluations on the held-out parts. The last epoch is evaluated in any case.",
    )
    seed: TorchSeed = Field(0, description="Seed of the initial parameters and of the order of the rows.")
    checkpoint_every: str = Field(
        "60s",
        pattern=r"^(never|[1-9][0-9]{0,8} ?(s|epochs?))$",
        description="How often a running training keeps where it is, so that it goes on from there if it is killed: "
        "seconds (60s), epochs (100 epochs) or never. Changes no result.",
    )
    device: str = Field(
        "auto",
        pattern=rf"^({DEVICE})$",
        description="auto (cuda, else mps, else cpu), cpu, cuda, cuda:N or mps.",
    )
    # On the CPU all three draw the same parameters. `auto` is resolved before a stage sees it.
    placement: Annotated[
        Literal["constructor", "context", "moved"], MattersIf(lambda training: training.device != "cpu")
    ] = Field(
        "constructor",
        description="How the model gets onto the device: device= in the constructor, "
        "under `with torch.device(…)`, or built on the CPU and moved.",
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=MOST_THREADS,
        description="CPU threads of torch; OMP_NUM_THREADS or every usable core when not given.",
    )
    patience: int | None = Field(
        None,
        ge=1,
        le=MOST_EPOCHS,
        description="Evaluations without a better validation loss before training stops and the best weights are "
        "restored; never when not given. Needs split.validation.",
    )
    schedule: Literal["constant", "step", "cosine"] = Field(
        "constant", description="Learning rate over the epochs: constant, reduced every step_every, or half a cosine."
    )
    step_every: Annotated[int, MattersIf(lambda training: training.schedule == "step")] = Field(
        100, ge=1, le=MOST_EPOCHS, description="Epochs between reductions. Used by the step schedule."
    )
    step_factor: Annotated[Real, MattersIf(lambda training: training.schedule == "step")] = Field(
        0.1, gt=0, le=1, description="Factor of each reduction. Used by the step schedule."
    )
    final_learning_rate: Annotated[Real, MattersIf(lambda training: training.schedule == "cosine")] = Field(
        0.0, ge=0, le=LARGEST_STEP, description="Learning rate at the end of the cosine. Used by the cosine schedule."
    )
    clip_norm: Real | None = Field(
        None, gt=0, description="Largest L2 norm of the gradient, scaled down to it; unlimited when not given."
    )

    @model_validator(mode="after")
    def _options_fit_each_other(self) -> Self:
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum belongs to optimizer sgd, not {self.optimizer}")
        if self.schedule == "cosine" and self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate ({self.final_learning_rate:g}) must not be above "
                f"learning_rate ({self.learning_rate:g})"
            )
        return self


class SettledTraining(Training):
    """How the model is fitted on this machine: `device` is a resolved one, and the threads are counted."""

    threads: int = Field(ge=1, le=MOST_THREADS, description="CPU threads of torch.")


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
    data: Data = Field(default_factory=lambda: Data(), description="The dataset.")
    split: Split = Field(default_factory=lambda: Split(), description="How the rows are divided.")
    model: Model = Field(default_factory=lambda: Model(), description="What is fitted.")
    training: Training = Field(default_factory=lambda: Training(), description="How it is fitted.")
    accept: Accept = Field(
        default_factory=lambda: Accept(), description="What the test metrics must reach for a run to be accepted."
    )

    @model_validator(mode="after")
    def _sections_fit_each_other(self) -> Self:
        train_rows = self.split.sizes(self.data.row_count)["train"]
        if (self.training.batch_size or 0) > train_rows:
            raise ValueError(
                f"training.batch_size ({self.training.batch_size:,}) is above the {train_rows:,} training rows: "
                "make it smaller, or leave it out for a full batch"
            )
        if (
            self.training.loss == "bce"
            and not self.data.noise
            and not 0 <= min(self.data.line) <= max(self.data.line) <= 1
        ):
            low, high = sorted(self.data.line)
            raise ValueError(f"training.loss bce needs targets from 0 to 1, and the line goes from {low:g} to {high:g}")
        if self.training.patience is not None and not self.split.validation:
            raise ValueError("training.patience needs validation rows: set split.validation, for example to 0.1")
        return self


class Rows(BaseModel):
    """The sections of an experiment that determine the number of rows."""

    data: Data
    split: Split


def rows_by_part(experiment: Mapping[str, Any]) -> dict[str, int]:
    """Rows of each part of an experiment that was read from a manifest. All but `data` and `split` is ignored.

    Raises:
        ValueError: `data` or `split` is missing or invalid; names the field.
    """
    try:
        found = Rows.model_validate(experiment)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return found.split.sizes(found.data.row_count)

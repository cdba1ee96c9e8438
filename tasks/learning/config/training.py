"""The training section: how the model is fitted."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.learning.config.bounds import LARGEST_DECAY, LARGEST_INTEGER, LARGEST_STEP, MOST_EPOCHS, TorchSeed
from tasks.learning.config.descriptions import describe_choices
from tasks.learning.config.devices import DEVICE
from tasks.learning.config.section import Choice, Real, Section
from tasks.learning.losses.registry import LOSSES
from tasks.learning.optimizers.registry import OPTIMIZERS, optimizers_with
from tasks.limits import MOST_THREADS
from tasks.relevance import MattersIf

#: The schedules that end at `final_learning_rate`.
FALLING = ("cosine", "one-cycle")


class Training(Section):
    """How the model is fitted."""

    loss: Annotated[
        str,
        Choice(LOSSES),
        Field(description=describe_choices("What is minimised", {name: loss.LABEL for name, loss in LOSSES.items()})),
    ] = "l1"
    optimizer: Annotated[str, Choice(OPTIMIZERS), Field(description="Update rule, from torch.optim.")] = "sgd"
    learning_rate: Real = Field(0.01, gt=0, le=LARGEST_STEP, description="Step size of the optimizer.")
    momentum: Real = Field(0.0, ge=0, lt=1, description="Momentum; 0 for none. Refused if the optimizer has none.")
    weight_decay: Real = Field(
        0.0, ge=0, le=LARGEST_DECAY, description="Weight decay, as the optimizer in torch.optim applies it; 0 for none."
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
        description="How often a running training keeps a training checkpoint, from which it resumes if it is killed: "
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
    schedule: Literal["constant", "step", "cosine", "one-cycle"] = Field(
        "constant",
        description="Learning rate over the epochs: constant, reduced every step_every, half a cosine, or one-cycle: "
        "up from a 25th in the first 30 % of the epochs, then down; each half a cosine.",
    )
    warmup_epochs: Annotated[int, MattersIf(lambda training: training.warmup_epochs > 0)] = Field(
        0,
        ge=0,
        le=MOST_EPOCHS,
        description="Epochs in which the learning rate rises in equal steps to that of the schedule; 0 for none.",
    )
    step_every: Annotated[int, MattersIf(lambda training: training.schedule == "step")] = Field(
        100, ge=1, le=MOST_EPOCHS, description="Epochs between reductions. Used by the step schedule."
    )
    step_factor: Annotated[Real, MattersIf(lambda training: training.schedule == "step")] = Field(
        0.1, gt=0, le=1, description="Factor of each reduction. Used by the step schedule."
    )
    final_learning_rate: Annotated[Real, MattersIf(lambda training: training.schedule in FALLING)] = Field(
        0.0, ge=0, le=LARGEST_STEP, description="Learning rate at the end. Used by the schedules cosine and one-cycle."
    )
    clip_norm: Real | None = Field(
        None, gt=0, description="Largest L2 norm of the gradient, scaled down to it; unlimited when not given."
    )

    @model_validator(mode="after")
    def _options_fit_each_other(self) -> Self:
        for setting in ("momentum", "weight_decay"):
            if getattr(self, setting) and setting not in OPTIMIZERS[self.optimizer].SETTINGS:
                raise ValueError(
                    f"{setting} belongs to optimizer {' and '.join(optimizers_with(setting))}, not {self.optimizer}"
                )
        if self.schedule in FALLING and self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate ({self.final_learning_rate:g}) must not be above "
                f"learning_rate ({self.learning_rate:g})"
            )
        return self


class SettledTraining(Training):
    """How the model is fitted on this machine: `device` is a resolved one, and the threads are counted."""

    threads: int = Field(ge=1, le=MOST_THREADS, description="CPU threads of torch.")


def require_batch(size: int | None, train_rows: int, normalized: bool) -> None:
    """Checks that a batch is not larger than all training rows, and that each can be normalized if it is to be.

    Args:
        size: rows of a batch; all of them if None.
        train_rows: their number.
        normalized: whether the model normalizes over the rows of a batch.

    Raises:
        ValueError: it is larger, or a batch has a single row, which has no deviation to normalize by.
    """
    if size is not None and size > train_rows:
        raise ValueError(
            f"training.batch_size ({size:,}) is above the {train_rows:,} training rows: "
            "make it smaller, or leave it out for a full batch"
        )
    size = size or train_rows
    if normalized and (train_rows % size or size) == 1:
        raise ValueError(
            f"the last batch of the {train_rows:,} training rows has a single row, which model.normalization batch "
            "cannot normalize: choose another training.batch_size, or model.normalization layer"
        )

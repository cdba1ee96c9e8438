"""Seeds that follow the date, so that a scheduled training has new data, or other weights, each day."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Literal

from tasks.learning.experiment import Experiment

#: The settings that can follow the date.
Dated = Literal["data.seed", "split.seed", "training.seed"]


def with_dates(experiment: Experiment, dated: Iterable[Dated], moment: datetime | None) -> Experiment:
    """The experiment with some seeds taken from a date.

    Args:
        experiment: any.
        dated: the seeds.
        moment: when the run was due, so that one that is retried after midnight keeps its seed; now when not known.
    """
    seed = date_number((moment or datetime.now(UTC)).astimezone(UTC).date())
    for setting in dated:
        section = setting.removesuffix(".seed")
        changed = getattr(experiment, section).model_copy(update={"seed": seed})
        experiment = experiment.model_copy(update={section: changed})
    return experiment


def date_number(day: date) -> int:
    """A date as a number that people can read, such as 20261127."""
    return int(f"{day:%Y%m%d}")

"""Seeds that follow the date, so that a scheduled training has new data, or other weights, each day."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from flows.errors import InputError
from tasks.learning.config.experiment import Experiment

#: The time zone where none is given.
UTC_NAME = "UTC"

#: The settings that can follow the date.
Dated = Literal["data.seed", "split.seed", "training.seed"]


def with_dates(
    experiment: Experiment, dated: Iterable[Dated], moment: datetime | None, timezone: str = UTC_NAME
) -> Experiment:
    """The experiment with some seeds taken from a date.

    Args:
        experiment: any.
        dated: the seeds.
        moment: when the run was due, so that one that is retried after midnight keeps its seed; now when not known.
        timezone: in which the moment has its date. In that of a schedule, a daily run has a new one every day, which it
            has not in UTC where the clocks change between two runs near midnight.

    Raises:
        InputError: the dataset has no seed.
    """
    seed = date_number((moment or datetime.now(UTC)).astimezone(ZoneInfo(timezone)).date())
    for setting in dated:
        name = setting.removesuffix(".seed")
        section = getattr(experiment, name)
        if "seed" not in type(section).model_fields:
            raise InputError(f"{setting} cannot follow the date: {name}.kind {section.kind} has no seed")
        experiment = experiment.model_copy(update={name: section.model_copy(update={"seed": seed})})
    return experiment


def is_timezone(name: str) -> str:
    """Checks that a text names a time zone.

    Raises:
        ValueError: it names none.
    """
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone: give a name such as Europe/Berlin") from error
    return name


#: The name of a time zone, such as Europe/Berlin.
TimeZone = Annotated[str, Field(max_length=64), AfterValidator(is_timezone)]


def date_number(day: date) -> int:
    """A date as a number that people can read, such as 20261127."""
    return int(f"{day:%Y%m%d}")

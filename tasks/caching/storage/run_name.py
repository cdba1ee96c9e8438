"""The name of a run: its experiment, the moment in which it was saved, and a number if others share that moment."""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from tasks.limits import NAME

#: A run's name, such as `line-20261127-051738` or `line-20261127-051738-2`.
PATTERN = re.compile(rf"({NAME})-([0-9]{{8}}-[0-9]{{6}})(?:-([0-9]+))?")


@dataclass(frozen=True)
class RunName:
    """The name of a run.

    Attributes:
        experiment: that the run is of.
        moment: in which it was saved, to the second.
        number: from 1 on, of the runs of that moment.
    """

    experiment: str
    moment: str
    number: int = 1

    @classmethod
    def at(cls, experiment: str, moment: datetime) -> Self:
        """The name of the first run that an experiment has in a moment."""
        return cls(experiment, f"{moment:%Y%m%d-%H%M%S}")

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The name that a text is; None if it is another name, such as one that a person gave to a folder."""
        found = PATTERN.fullmatch(text)
        return cls(found[1], found[2], int(found[3] or 1)) if found else None

    @property
    def next(self) -> Self:
        """The name of the next run of the same moment."""
        return replace(self, number=self.number + 1)

    def __str__(self) -> str:
        """The name as the run's folder has it; the first run of a moment has no number."""
        return f"{self.experiment}-{self.moment}" + (f"-{self.number}" if self.number > 1 else "")

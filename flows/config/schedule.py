"""When an experiment is trained by itself: the `[schedule]` table of its file, or options of `workflow serve`.

Three facts about Prefect 3.8 decide what may be said:

- An interval with a time zone fires twice a day around a change of the clocks (its first date is counted in seconds,
  the next ones in days of the wall clock). So intervals are counted in UTC, from a fixed moment: serving again does not
  restart them.
- A cron or an rrule keeps the time of the wall clock. A time that the clocks skip in spring runs an hour before or
  after, depending on the version of Python, and one that comes twice in autumn runs once, the first time.
- `TZID` in an rrule is ignored in favour of the time zone of the schedule.
"""

import contextlib
import re
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from flows.config.dated_settings import UTC_NAME, Dated, TimeZone
from flows.errors import InputError
from flows.prefect_internals import schedule_dates
from flows.train import Refreshable

if TYPE_CHECKING:
    from prefect.schedules import Schedule as PrefectSchedule

Kind = Literal["cron", "interval", "rrule"]
KINDS: tuple[Kind, ...] = ("cron", "interval", "rrule")

#: What an interval is counted from.
ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)

UNITS = {"s": timedelta(seconds=1), "min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}

#: A length of time as people write it.
DURATION = rf"^(?P<number>[1-9][0-9]{{0,5}}) ?(?P<unit>{'|'.join(UNITS)})$"

#: The longest interval: Prefect's server plans three runs ahead, and has no dates after the year 9999.
LONGEST = timedelta(days=3650)

#: Letters of a rule, at most, and of the name of a time zone.
MOST_LETTERS = 500

#: Stages or seeds that a schedule names, at most.
MOST_STAGES = 10

#: Seconds of computing that the next moments of a schedule may take. The server computes them again and again.
PATIENCE = 3.0


class TooSlowError(Exception):
    """Something took more computing than it may."""


class Schedule(BaseModel):
    """When an experiment is trained by itself, and what becomes of a run that is due while another one is running."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    cron: str | None = Field(
        None,
        max_length=MOST_LETTERS,
        description="Minute, hour, day, month and weekday, as in crontab: '30 3 * * *' is daily at 03:30.",
    )
    interval: str | None = Field(None, description="Time from run to run, such as 90min, 6h or 1d, counted in UTC.")
    rrule: str | None = Field(
        None,
        max_length=MOST_LETTERS,
        description="A rule of iCalendar (RFC 5545), such as FREQ=WEEKLY;BYDAY=MO,TH;BYHOUR=3;BYMINUTE=0.",
    )
    timezone: TimeZone | None = Field(
        None,
        description="Time zone of cron and rrule, such as Europe/Berlin; UTC when not given.",
    )
    if_running: Literal["wait", "cancel"] = Field(
        "wait",
        description="What a run does while another one of the experiment is running: wait for it, or be cancelled.",
    )
    refresh: list[Refreshable] = Field(
        [], max_length=MOST_STAGES, description="Stages that each scheduled run computes even if cached."
    )
    dated: list[Dated] = Field(
        [],
        max_length=MOST_STAGES,
        description="Seeds that each scheduled run takes from its date in its time zone: 20261127 on 27 November 2026.",
    )

    @field_validator("interval")
    @classmethod
    def _is_a_duration(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                length = duration(text)
            except InputError as error:
                raise ValueError(str(error)) from error
            if length > LONGEST:
                raise ValueError(f"{text!r} is longer than ten years")
        return text

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(kinds) > 1:
            raise ValueError(f"give one of cron, interval and rrule, not {' and '.join(kinds)}")
        if self.timezone is not None and kinds in ([], ["interval"]):
            raise ValueError("timezone belongs to cron and rrule; an interval is counted in UTC")
        if not kinds and (self.refresh or self.dated):
            raise ValueError("refresh and dated are for scheduled runs: give cron, interval or rrule too")
        return self

    @property
    def kind(self) -> Kind | None:
        """Which rule is given; None where the experiment is not trained by itself."""
        return next((kind for kind in KINDS if getattr(self, kind) is not None), None)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the flow that are other ones in a scheduled run than in one that was asked for."""
        names = ("refresh", "dated", "timezone") if self.dated else ("refresh",)
        return {name: value for name in names if (value := getattr(self, name))}

    @property
    def words(self) -> str:
        """The rule as people read it, such as `30 3 * * * Europe/Berlin`; empty where there is none."""
        match self.kind:
            case None:
                return ""
            case "interval":
                return f"every {self.interval}"
            case kind:
                return f"{getattr(self, kind)} {self.timezone or UTC_NAME}"


def to_prefect(schedule: Schedule) -> "PrefectSchedule":
    """A schedule as deployments take it.

    Raises:
        InputError: its rule is none, or stands for no moment to come.
    """
    from prefect.schedules import Schedule as PrefectSchedule

    if not next_moments(schedule, datetime.now(UTC), 1):
        raise InputError(f"schedule.{schedule.kind}: {schedule.words!r} stands for no moment to come")
    return PrefectSchedule(
        cron=schedule.cron,
        interval=duration(schedule.interval) if schedule.interval else None,
        rrule=schedule.rrule,
        timezone=schedule.timezone or UTC_NAME,
        anchor_date=ANCHOR,
        parameters=schedule.parameters,
    )


def next_moments(schedule: Schedule, start: datetime, count: int) -> list[datetime]:
    """The next moments of a schedule, in its time zone: as many as asked for, or all that there are.

    Computed by the very code with which Prefect's server plans its runs.

    Args:
        schedule: with a rule.
        start: aware; no moment is before it.
        count: how many.

    Raises:
        InputError: its rule is none, or takes too long to compute.
    """
    from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

    zone = schedule.timezone or UTC_NAME
    try:
        with limited(PATIENCE):
            rule: IntervalSchedule | CronSchedule | RRuleSchedule
            if schedule.interval is not None:
                rule = IntervalSchedule(interval=duration(schedule.interval), anchor_date=ANCHOR, timezone=zone)
            elif schedule.cron is not None:
                rule = CronSchedule(cron=schedule.cron, timezone=zone)
            else:
                rule = RRuleSchedule(rrule=schedule.rrule or "", timezone=zone)
            return schedule_dates(rule, count, start)
    except TooSlowError as error:
        raise InputError(
            f"schedule.{schedule.kind}: what {schedule.words!r} stands for takes more than {PATIENCE:g} s to compute, "
            "and the server computes it again and again: give a simpler rule, or an interval"
        ) from error
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InputError(f"schedule.{schedule.kind}: {why.removeprefix('Value error, ')}") from error


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Lets a computation use so many seconds of this process's time; in the main thread only, which alone gets signals.

    Raises:
        TooSlowError: it needs more.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def duration(text: str) -> timedelta:
    """The time that a text such as `90min`, `6h` or `1d` stands for.

    Raises:
        InputError: it stands for none.
    """
    if not (found := re.fullmatch(DURATION, text)):
        raise InputError(f"{text!r} is no length of time: give a number and {', '.join(UNITS)}, such as 26h")
    return int(found["number"]) * UNITS[found["unit"]]

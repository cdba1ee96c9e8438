"""When experiments are trained by themselves; moments are pinned, those around a change of the clocks above all."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from flows.config.experiments import load_experiment, load_file
from flows.config.schedule import Schedule, duration, next_moments, to_prefect
from flows.errors import InputError

BERLIN = "Europe/Berlin"


def moments(schedule: Schedule, start: str, count: int) -> list[str]:
    """The next moments in UTC, as day, hour and minute."""
    found = next_moments(schedule, datetime.fromisoformat(f"2026-{start}T00:00+00:00"), count)
    return [f"{moment.astimezone(UTC):%m-%d %H:%M}" for moment in found]


@pytest.mark.parametrize(
    ("schedule", "start", "expected"),
    [
        # The wall clock says 03:30 each time: an hour earlier in UTC from 29 March on, and again later from 25 October.
        (Schedule(cron="30 3 * * *", timezone=BERLIN), "03-28", ["03-28 02:30", "03-29 01:30", "03-30 01:30"]),
        (Schedule(cron="30 3 * * *", timezone=BERLIN), "10-24", ["10-24 01:30", "10-25 02:30", "10-26 02:30"]),
        # 02:30 comes twice on 25 October: the first one counts.
        (Schedule(cron="30 2 * * *", timezone=BERLIN), "10-24", ["10-24 00:30", "10-25 00:30", "10-26 01:30"]),
        (
            Schedule(rrule="FREQ=DAILY;BYHOUR=3;BYMINUTE=30", timezone=BERLIN),
            "03-28",
            ["03-28 02:30", "03-29 01:30", "03-30 01:30"],
        ),
        # Without a time zone nothing moves.
        (Schedule(cron="30 3 * * *"), "03-28", ["03-28 03:30", "03-29 03:30", "03-30 03:30"]),
        (Schedule(interval="12h"), "03-28", ["03-28 00:00", "03-28 12:00", "03-29 00:00"]),
        (Schedule(interval="12h"), "10-24", ["10-24 00:00", "10-24 12:00", "10-25 00:00"]),
        # Every hour, through the hour that is skipped.
        (Schedule(cron="0 * * * *", timezone=BERLIN), "03-29", ["03-29 00:00", "03-29 01:00", "03-29 02:00"]),
    ],
)
def test_moments(schedule: Schedule, start: str, expected: list[str]) -> None:
    assert moments(schedule, start, 3) == expected


def test_a_time_that_the_clocks_skip_still_runs_once_within_an_hour() -> None:
    """Which side of the gap it falls on depends on the version of Python."""
    skipped, following = moments(Schedule(cron="30 2 * * *", timezone=BERLIN), "03-29", 2)
    assert skipped in ("03-29 00:30", "03-29 01:30")
    assert following == "03-30 00:30"


def planned(schedule: Schedule, start: datetime, days: int) -> Iterator[datetime]:
    """The runs that Prefect's server plans when it looks every ten minutes for those of the next hour, or three."""
    runs: set[datetime] = set()
    for minutes in range(0, days * 24 * 60, 10):
        now = start + timedelta(minutes=minutes)
        ahead = [run for run in runs if run >= now]
        if len(ahead) < 3 or max(ahead) < now + timedelta(hours=1):
            runs |= {moment.astimezone(UTC) for moment in next_moments(schedule, now, 3)}
    yield from sorted(runs)


@pytest.mark.parametrize("change", ["2026-03-27", "2026-10-23"])
@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(cron="30 3 * * *", timezone=BERLIN),
        Schedule(rrule="FREQ=DAILY;BYHOUR=3", timezone=BERLIN),
        Schedule(interval="1d"),
    ],
    ids=lambda schedule: schedule.kind,
)
def test_around_a_change_of_the_clocks_there_is_one_run_a_day(schedule: Schedule, change: str) -> None:
    """However often the server looks; with a time zone, an interval would give two."""
    days = [run.date() for run in planned(schedule, datetime.fromisoformat(f"{change}T00:00+00:00"), 5)]
    assert len(days) >= 5
    assert len(set(days)) == len(days)


@pytest.mark.parametrize(
    ("interval", "seconds"), [("90min", 5400), ("6h", 21600), ("1 d", 86400), ("12345min", 740700)]
)
def test_intervals(interval: str, seconds: int) -> None:
    assert duration(Schedule(interval=interval).interval or "") == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("fields", "reported"),
    [
        ({"cron": "0 3 * * *", "interval": "1h"}, "give one of cron, interval and rrule, not cron and interval"),
        ({"interval": "1h", "timezone": BERLIN}, "timezone belongs to cron and rrule"),
        ({"timezone": BERLIN}, "timezone belongs to cron and rrule"),
        ({"interval": "0h"}, "interval"),
        ({"interval": "-1h"}, "interval"),
        ({"interval": "1 week"}, "interval"),
        ({"interval": 3}, "interval"),
        ({"cron": "0 3 * * *", "timezone": "Mars/Phobos"}, "'Mars/Phobos' is no time zone"),
        ({"cron": "0 3 * * *", "timezone": "../../etc/passwd"}, "is no time zone"),
        ({"cron": "0 3 * * *", "timezone": "Europe"}, "is no time zone"),
        ({"cron": "0 3 * * *", "timezone": "a" * 60}, "is no time zone"),
        ({"cron": "0 3 * * *", "timezone": "a" * 300}, "at most 64 characters"),
        ({"cron": "0 3 * * *", "if_running": "skip"}, "if_running"),
        ({"crom": "0 3 * * *"}, "crom"),
    ],
)
def test_what_is_no_schedule_is_refused(fields: dict[str, Any], reported: str) -> None:
    with pytest.raises(ValidationError) as error:
        Schedule(**fields)
    assert reported in str(error.value)


@pytest.mark.parametrize(
    ("schedule", "reported"),
    [
        (Schedule(cron="61 3 * * *"), 'schedule.cron: Invalid cron string: "61 3 * * *"'),
        (Schedule(cron="every night"), "schedule.cron: Invalid cron"),
        (Schedule(cron="0 0 31 2 *"), "schedule.cron: failed to find next date"),
        (Schedule(rrule="FREQ=SOMETIMES"), "schedule.rrule: Invalid RRule"),
        (Schedule(rrule="FREQ=DAILY;COUNT=3"), "schedule.rrule: 'FREQ=DAILY;COUNT=3 UTC' stands for no moment to come"),
    ],
)
def test_a_rule_that_never_runs_is_refused(schedule: Schedule, reported: str) -> None:
    with pytest.raises(InputError) as error:
        to_prefect(schedule)
    assert reported in str(error.value)


@pytest.mark.parametrize(
    "rrule", ["FREQ=DAILY;INTERVAL=0", "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30", "FREQ=SECONDLY;COUNT=1000000000"]
)
def test_a_rule_that_takes_too_long_to_compute_is_refused(rrule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.config.schedule.PATIENCE", 0.2)
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(InputError, match=rf"schedule.rrule: what '{rrule} UTC' stands for takes more than 0.2 s"):
        to_prefect(Schedule(rrule=rrule))
    assert (signal.getsignal(signal.SIGVTALRM), signal.getitimer(signal.ITIMER_VIRTUAL)) == (before, (0.0, 0.0))


def test_the_longest_interval_can_be_planned() -> None:
    """Prefect's server plans three runs, and looks no further than a few years ahead."""
    assert len(next_moments(Schedule(interval="3650d"), datetime.now(UTC), 100)) == 100


def test_beside_the_main_thread_there_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As signals reach the main thread alone."""
    monkeypatch.setattr("flows.config.schedule.PATIENCE", 1e-6)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(to_prefect, Schedule(rrule="FREQ=HOURLY")).result().rrule == "FREQ=HOURLY"


def test_as_deployments_take_it() -> None:
    schedule = to_prefect(Schedule(cron="30 3 * * *", timezone=BERLIN))
    assert (schedule.cron, schedule.timezone, schedule.interval, schedule.rrule) == ("30 3 * * *", BERLIN, None, None)
    assert to_prefect(Schedule(interval="6h")).interval == timedelta(hours=6)


def test_an_interval_does_not_begin_anew_when_it_is_served_again() -> None:
    assert to_prefect(Schedule(interval="6h")) == to_prefect(Schedule(interval="6h"))


@pytest.mark.parametrize(
    ("schedule", "kind", "words"),
    [
        (Schedule(), None, ""),
        (Schedule(cron="0 3 * * *"), "cron", "0 3 * * * UTC"),
        (Schedule(rrule="FREQ=DAILY", timezone=BERLIN), "rrule", "FREQ=DAILY Europe/Berlin"),
        (Schedule(interval="6h"), "interval", "every 6h"),
    ],
)
def test_in_words(schedule: Schedule, kind: str | None, words: str) -> None:
    assert (schedule.kind, schedule.words) == (kind, words)


class TestAFileWithASchedule:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "nightly.toml"
        path.write_text('[schedule]\ncron = "30 3 * * *"\ntimezone = "Europe/Berlin"\nif_running = "cancel"\n')
        return path

    def test_it_is_read(self, file: Path) -> None:
        experiment, schedule = load_file(str(file))
        assert schedule == Schedule(cron="30 3 * * *", timezone=BERLIN, if_running="cancel")
        assert experiment == load_experiment(str(file))
        assert type(experiment).__name__ == "Experiment", "a schedule is no part of what is run"

    def test_options_take_the_place_of_its_values(self, file: Path) -> None:
        changes = {"schedule": {"cron": None, "timezone": None, "interval": "6h"}}
        assert load_file(str(file), changes)[1] == Schedule(interval="6h", if_running="cancel")

    def test_its_problems_are_reported_with_the_others(self, file: Path) -> None:
        file.write_text('[schedule]\ncron = 3\n[training]\nepochs = "many"\n')
        with pytest.raises(InputError) as error:
            load_experiment(str(file))
        assert "schedule.cron" in str(error.value)
        assert "training.epochs" in str(error.value)

    def test_what_is_for_scheduled_runs_needs_a_schedule(self, file: Path) -> None:
        file.write_text('[schedule]\ndated = ["data.seed"]\n')
        with pytest.raises(InputError, match="refresh and dated are for scheduled runs"):
            load_file(str(file))

    def test_only_seeds_follow_the_date_and_only_stages_are_refreshed(self, file: Path) -> None:
        file.write_text('[schedule]\ncron = "0 3 * * *"\ndated = ["data.noise"]\nrefresh = ["verify"]\n')
        with pytest.raises(InputError) as error:
            load_file(str(file))
        assert "schedule.dated.0" in str(error.value)
        assert "schedule.refresh.0" in str(error.value)

    def test_a_preset_has_none(self) -> None:
        assert load_file("line")[1] == Schedule()

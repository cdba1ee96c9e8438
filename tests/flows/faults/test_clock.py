"""A clock that is set forth and back: what is cached stays so, and the latest run is the one that was made last."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Self

import pytest

from flows.runs.history import read_history
from tasks.caching.gc.inspection import inspect_store
from tasks.caching.storage.store import Store
from tests.flows.conftest import STAGES, Outcome, stages_from

#: The module that looks at the clock while a run is made.
CLOCK = "tasks.save"

#: Hours by which a run's name may differ from the clock that was set: less than any of the steps.
TOLERANCE = timedelta(hours=12)

SetClock = Callable[[timedelta], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Lets the project's clock be so much ahead."""

    def set_it(ahead: timedelta) -> None:
        class Shifted(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return cls.fromtimestamp((datetime.now(tz) + ahead).timestamp(), tz)

        monkeypatch.setattr(f"{CLOCK}.datetime", Shifted)

    return set_it


def dated(run: str) -> datetime:
    """The moment in the name of a run."""
    _, date, time, *_ = run.split("-")
    return datetime.strptime(f"{date}{time}+0000", "%Y%m%d%H%M%S%z")


def latest(store: Store) -> str:
    return (store.runs / "latest").readlink().name


@pytest.mark.parametrize(
    "days",
    [(1, -1, 1), *(pytest.param(days, marks=pytest.mark.long) for days in ((-1, 1, -1), (0, -400, 400)))],
    ids=str,
)
def test_it_makes_no_difference(
    store: Store, train: Callable[..., Outcome], set_clock: SetClock, days: tuple[int, ...]
) -> None:
    runs: list[Any] = []
    for number, ahead in enumerate(days):
        set_clock(timedelta(days=ahead))
        changes = {"training": {"epochs": 3 + number}}
        made = train("line", changes)
        assert abs(dated(made.run) - (datetime.now(UTC) + timedelta(days=ahead))) < TOLERANCE, "the clock was not set"
        assert made.ran == (list(STAGES) if number == 0 else stages_from("train"))
        assert train("line", changes).ran == []
        assert latest(store) == made.run
        runs.append(made.run)
    assert len(set(runs)) == len(days)
    assert {row.run for row in read_history("line", store).rows} == set(runs)
    assert inspect_store(store).findings == []

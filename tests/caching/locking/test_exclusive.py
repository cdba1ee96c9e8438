"""One run of an experiment at a time, and of those that a schedule asked for while none could run, one in all."""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest

from tasks.caching.locking import exclusive as module
from tasks.caching.locking.exclusive import RunSkippedError, Scheduled, exclusive
from tasks.caching.locking.lock import LockFile
from tasks.caching.storage.store import Store
from tests.caching.conftest import FORK, StartPython

HOUR = 3600.0


class Runs:
    """Runs in threads of their own, each of which goes on until it is let end."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.began: list[str] = []
        self._ends: dict[str, threading.Event] = {}
        self._threads: dict[str, threading.Thread] = {}
        self.refused: dict[str, str] = {}

    def start(self, name: str, experiment: str = "line", **options: Any) -> None:
        """Starts a run, and comes back when it has begun, waits, or was refused."""
        settled = threading.Event()
        self._ends[name] = threading.Event()

        def run() -> None:
            try:
                with exclusive(self.store.locks, experiment, on_wait=settled.set, **{"wait": True} | options):
                    self.began.append(name)
                    settled.set()
                    self._ends[name].wait(60)
            except RunSkippedError as error:
                self.refused[name] = str(error)
                settled.set()

        self._threads[name] = threading.Thread(target=run)
        self._threads[name].start()
        assert settled.wait(60)

    def end(self, name: str) -> None:
        """Lets a run end."""
        self._ends[name].set()
        self._threads[name].join(60)

    def until_began(self, name: str) -> None:
        deadline = time.monotonic() + 60
        while name not in self.began:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end_all(self) -> None:
        for name in self._ends:
            self._ends[name].set()
        for thread in self._threads.values():
            thread.join(60)


@pytest.fixture
def runs(store: Store) -> Iterator[Runs]:
    runs = Runs(store)
    yield runs
    runs.end_all()


def nightly(hours_ago: float, schedule: str = "nightly") -> Scheduled:
    return Scheduled(schedule, time.time() - hours_ago * HOUR)


def test_a_run_waits_for_the_one_in_progress(runs: Runs) -> None:
    runs.start("first")
    runs.start("second")
    assert runs.began == ["first"]
    runs.end("first")
    runs.until_began("second")


def test_or_does_not_take_place(runs: Runs) -> None:
    runs.start("first")
    runs.start("second", wait=False)
    assert runs.refused == {"second": "another run of line is in progress"}
    runs.end("first")
    runs.start("third", wait=False)
    assert runs.began == ["first", "third"]


@pytest.mark.parametrize("other", ["line.a", "Line", "line2"])
def test_other_experiments_are_not_waited_for(runs: Runs, other: str) -> None:
    runs.start("first")
    runs.start("second", experiment=other)
    assert runs.began == ["first", "second"]


def test_every_run_of_a_person_takes_place(runs: Runs) -> None:
    runs.start("first")
    for name in ("second", "third", "fourth"):
        runs.start(name)
    for name in ("first", "second", "third", "fourth"):
        runs._ends[name].set()
    runs.end_all()
    assert sorted(runs.began) == ["first", "fourth", "second", "third"]


def test_of_scheduled_runs_one_waits(runs: Runs) -> None:
    runs.start("a person's")
    runs.start("at 3", scheduled=nightly(2))
    runs.start("at 4", scheduled=nightly(1))
    runs.start("at 5", scheduled=nightly(0))
    assert set(runs.refused) == {"at 4", "at 5"}
    assert "is waiting already" in runs.refused["at 4"]
    runs.end("a person's")
    runs.until_began("at 3")


def test_of_scheduled_runs_that_were_missed_one_takes_place(runs: Runs) -> None:
    """As after a night without power: all of them come at once, some while the first goes on and some after it."""
    runs.start("at 3", scheduled=nightly(3))
    runs.start("at 4", scheduled=nightly(2))
    runs.end("at 3")
    runs.start("at 5", scheduled=nightly(1))
    runs.end_all()
    assert runs.began == ["at 3"]
    assert all(why.startswith("missed: a later run of the same schedule") for why in runs.refused.values())
    assert set(runs.refused) == {"at 4", "at 5"}


def test_no_run_stands_back_for_one_that_does_not_take_place(runs: Runs) -> None:
    """The run of 4 o'clock was missed too, when that of 3 has begun: it does not keep the place of the next one."""
    runs.start("at 3", scheduled=nightly(3))
    runs.start("at 4", scheduled=nightly(2))
    runs.start("now", scheduled=nightly(0))
    assert list(runs.refused) == ["at 4"]
    runs.end("at 3")
    runs.until_began("now")


def test_nor_if_the_one_in_progress_has_only_just_begun(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the lock, and it is not written down yet when it began."""
    has_lock, may_go_on = threading.Event(), threading.Event()
    write_beginning = module.write_beginning

    def write_slowly(scheduled: Scheduled | None, current: LockFile) -> None:
        has_lock.set()
        assert may_go_on.wait(60)
        write_beginning(scheduled, current)

    monkeypatch.setattr(module, "write_beginning", write_slowly)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(runs.start, "at 3", scheduled=nightly(3))
        assert has_lock.wait(60)
        second = pool.submit(runs.start, "at 4", scheduled=nightly(2))
        assert wait([second], timeout=0.3).not_done
        may_go_on.set()
        first.result()
        second.result()
    runs.start("now", scheduled=nightly(0))
    assert (runs.began, list(runs.refused)) == (["at 3"], ["at 4"])


def test_one_that_waited_while_another_did_its_work_does_not_take_place(runs: Runs) -> None:
    """As when a run begins in the moment in which the one that was waited for has ended."""
    runs.start("a person's")
    runs.start("at 3", scheduled=nightly(1))
    with LockFile(runs.store.records / "locks/exclusive/line.now") as now:
        module.write_beginning(nightly(0), now)
    runs.end_all()
    assert runs.began == ["a person's"]
    assert runs.refused["at 3"].startswith("missed: ")


def test_nor_does_one_that_was_missed_keep_others_from_beginning(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """That it is not to take place is found before it takes the lock."""
    runs.start("at 3", scheduled=nightly(3))
    runs.end("at 3")
    taken: list[float | None] = []
    acquire = LockFile.acquire

    def note(file: LockFile, timeout: float | None = None) -> bool:
        taken.append(timeout)
        return acquire(file, timeout)

    monkeypatch.setattr(LockFile, "acquire", note)
    runs.start("at 4", scheduled=nightly(2))
    assert (list(runs.refused), taken) == (["at 4"], [None])  # the decision's lock alone


def test_the_next_scheduled_run_takes_place(runs: Runs) -> None:
    runs.start("last night's", scheduled=nightly(24))
    runs.end("last night's")
    runs.start("tonight's", scheduled=nightly(-0.001))
    assert runs.began == ["last night's", "tonight's"]


def test_another_schedule_misses_nothing(runs: Runs) -> None:
    runs.start("nightly", scheduled=nightly(2))
    runs.end("nightly")
    runs.start("hourly", scheduled=nightly(1, "hourly"))
    assert runs.began == ["nightly", "hourly"]


def test_a_run_is_known_to_have_begun_however_long_the_name_of_the_schedule_before(runs: Runs) -> None:
    for schedule in ("of the last night of each month", "nightly"):
        runs.start(schedule, scheduled=nightly(2, schedule))
        runs.end(schedule)
    runs.start("missed", scheduled=nightly(1))
    assert set(runs.refused) == {"missed"}


def test_after_the_clock_was_set_back_scheduled_runs_take_place(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    with monkeypatch.context() as tomorrow:
        tomorrow.setattr(time, "time", lambda: now + 24 * HOUR)
        runs.start("tomorrow's", scheduled=Scheduled("nightly", now + 24 * HOUR))
    runs.end("tomorrow's")
    runs.start("today's", scheduled=nightly(0))
    assert runs.began == ["tomorrow's", "today's"]


@pytest.mark.parametrize("content", [b"", b"garbage", b"{}", b"[1]", b'{"schedule": 1}', b"\xff\x00", b"[" * 4000])
def test_a_file_with_garbage_shows_nothing(store: Store, content: bytes) -> None:
    with exclusive(store.locks, "line", wait=False, scheduled=nightly(0)):
        pass
    (file,) = (store.records / "locks" / "exclusive").glob("line.now")
    file.write_bytes(content)
    with exclusive(store.locks, "line", wait=False, scheduled=nightly(1)):
        pass


def test_a_run_that_fails_lets_the_next_one_in(store: Store) -> None:
    with contextlib.suppress(RuntimeError), exclusive(store.locks, "line", wait=False):
        raise RuntimeError
    with exclusive(store.locks, "line", wait=False):
        pass


@pytest.mark.parametrize("before", ["", "fork()"], ids=["alone", "with a child that lives on"])
def test_a_run_that_was_killed_ends_its_turn(store: Store, start_python: StartPython, before: str) -> None:
    holder = start_python(
        f"{FORK}\n"
        "import sys, pathlib, time\n"
        "from tasks.caching.storage.store import Store\n"
        "from tasks.caching.locking.exclusive import exclusive\n"
        "with exclusive(Store(pathlib.Path(sys.argv[1])).locks, 'line', wait=False):\n"
        f"    {before or 'pass'}\n"
        "    print('has it', flush=True)\n"
        "    time.sleep(600)\n",
        store.root,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "has it\n"
    with pytest.raises(RunSkippedError), exclusive(store.locks, "line", wait=False):
        pass
    holder.kill()
    holder.wait(60)
    with exclusive(store.locks, "line", wait=False):
        pass

"""Exclusion: of the runs of an experiment that deployments start, one goes on at a time.

Held by locks that the kernel frees when a run ends, however it ends. Prefect's own limits of concurrency are leases,
kept by the server: a run ends if it cannot renew one, and a run that was killed can keep one for ever.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.caching.locking.claims import Claim, has_locked
from tasks.caching.storage.store import Store


class StandBackError(Exception):
    """A run is not to take place, because another one goes on or does its work; the message says which."""


@dataclass(frozen=True)
class Planned:
    """A run that a schedule asked for.

    Attributes:
        schedule: whatever tells the schedule from others.
        moment: for which it was planned, in seconds since the epoch.
    """

    schedule: str
    moment: float


@contextlib.contextmanager
def exclusive(
    store: Store,
    experiment: str,
    *,
    wait: bool,
    planned: Planned | None = None,
    on_wait: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Surrounds a run, so that no other run of the experiment goes on meanwhile.

    Of planned runs, at most one waits: it begins later than the others were planned for, and so does their work. For
    the same reason, a run that was planned before the last one of its schedule began is not made up for, and does not
    wait either: whoever stood back for it would be lost.

    Args:
        store: where the runs are kept.
        experiment: its name.
        wait: for a run that goes on; else this one does not take place.
        planned: what asked for the run; None for a person, whose runs take place in any case.
        on_wait: called before the run waits.

    Raises:
        StandBackError: the run is not to take place.
    """
    folder = store.records / "locks" / "exclusive"
    folder.mkdir(parents=True, exist_ok=True)
    with opened(folder / f"{experiment}.now") as now:
        # Kept until the run has begun: one that comes meanwhile was planned before that.
        with opened(folder / f"{experiment}.next") as following:
            with deciding(folder, experiment):
                require_not_made_up_for(planned, now)
                waits = not has_locked(now)
                if not waits:
                    write_beginning(planned, now)
                elif not wait:
                    raise StandBackError(f"another run of {experiment} goes on")
                elif planned and not has_locked(following):
                    raise StandBackError(f"another run of {experiment} waits already, and will do the work of this one")
            if waits:
                on_wait()
                fcntl.flock(now, fcntl.LOCK_EX)
                with deciding(folder, experiment):
                    require_not_made_up_for(planned, now)
                    write_beginning(planned, now)
        yield


@contextlib.contextmanager
def deciding(folder: Path, experiment: str) -> Iterator[None]:
    """Surrounds a decision: none finds that another run goes on of which it is not written yet when it began."""
    with opened(folder / f"{experiment}.turn") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def require_not_made_up_for(planned: Planned | None, now: int) -> None:
    """Shows that no run of the same schedule has begun since a run was planned for.

    Raises:
        StandBackError: one has.
    """
    if planned is None:
        return
    last = read_beginning(now)
    # One that began in the future did so before the clock was set back, and tells nothing.
    if last and last.schedule == planned.schedule and planned.moment <= last.moment <= time.time():
        raise StandBackError("missed: a later run of the same schedule has begun since, and did the work of this one")


def read_beginning(descriptor: int) -> Planned | None:
    """The last run that a schedule asked for, and when it began; None if there was none, or nobody knows any more."""
    try:
        return Planned(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError, RecursionError):
        return None


def write_beginning(planned: Planned | None, descriptor: int) -> None:
    """Keeps that a run of a schedule begins now."""
    if planned:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(Planned(planned.schedule, time.time()))).encode(), 0)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """A file to lock, open, made if need be; neither programs that are started nor forked children inherit it."""
    file = Claim(path, os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    try:
        yield file.descriptor
    finally:
        file.let_go()

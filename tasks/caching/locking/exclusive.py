"""One run of an experiment at a time, among those that deployments start.

Held by locks that the kernel releases when a run ends, however it ends. Prefect's own concurrency limits are leases
that the server keeps: a run fails if it cannot renew one, and a run that was killed can keep one forever.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.caching.locking.lock import LockFile


class RunSkippedError(Exception):
    """A run is skipped, because another one is in progress or does its work; the message says which."""


@dataclass(frozen=True)
class Scheduled:
    """A run that a schedule asked for.

    Attributes:
        schedule: identifies the schedule.
        moment: when the run was due, in seconds since the epoch.
    """

    schedule: str
    moment: float


@contextlib.contextmanager
def exclusive(
    locks: Path,
    experiment: str,
    *,
    wait: bool,
    scheduled: Scheduled | None = None,
    on_wait: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Surrounds a run, so that no other run of the experiment is in progress meanwhile.

    At most one scheduled run waits: it begins after the others were due, so that it does their work as well. For the
    same reason, a run that was due before the last one of its schedule began is skipped rather than made up for, and
    does not wait either: a run that was skipped in its favour would be lost.

    Args:
        locks: the store's folder of locks.
        experiment: its name.
        wait: whether to wait for a run in progress; otherwise this one is skipped.
        scheduled: what asked for the run; None for a person, whose runs are skipped only if they are not to wait.
        on_wait: called before the run waits.

    Raises:
        RunSkippedError: the run is skipped.
    """
    folder = locks / "exclusive"
    folder.mkdir(parents=True, exist_ok=True)
    with LockFile(folder / f"{experiment}.now") as current:
        # Kept until the run has begun: one that comes meanwhile was due before that.
        with LockFile(folder / f"{experiment}.next") as following:
            with deciding(folder, experiment):
                require_not_missed(scheduled, current)
                waits = not current.acquire(timeout=0)
                if not waits:
                    write_beginning(scheduled, current)
                elif not wait:
                    raise RunSkippedError(f"another run of {experiment} is in progress")
                elif scheduled and not following.acquire(timeout=0):
                    raise RunSkippedError(
                        f"another run of {experiment} is waiting already, and will do the work of this one"
                    )
            if waits:
                on_wait()
                current.acquire()
                with deciding(folder, experiment):
                    require_not_missed(scheduled, current)
                    write_beginning(scheduled, current)
        yield


@contextlib.contextmanager
def deciding(folder: Path, experiment: str) -> Iterator[None]:
    """Surrounds a decision, one at a time, so that the holder of the lock has always recorded when it began."""
    with LockFile(folder / f"{experiment}.turn") as turn:
        turn.acquire()
        yield


def require_not_missed(scheduled: Scheduled | None, current: LockFile) -> None:
    """Checks that no run of the same schedule has begun since a run was due.

    Raises:
        RunSkippedError: one has.
    """
    if scheduled is None:
        return
    last = read_beginning(current)
    # One that began in the future did so before the clock was set back, which says nothing.
    if last and last.schedule == scheduled.schedule and scheduled.moment <= last.moment <= time.time():
        raise RunSkippedError("missed: a later run of the same schedule has begun since, and did the work of this one")


def read_beginning(current: LockFile) -> Scheduled | None:
    """The last scheduled run, and when it began; None if there was none, or the file is damaged."""
    try:
        return Scheduled(**json.loads(current.read()))
    except (ValueError, TypeError, RecursionError):
        return None


def write_beginning(scheduled: Scheduled | None, current: LockFile) -> None:
    """Notes that a scheduled run begins now."""
    if scheduled:
        current.overwrite(json.dumps(asdict(Scheduled(scheduled.schedule, time.time()))).encode())

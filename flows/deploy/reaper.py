"""What whoever carries out flow runs looks after now and then: runs that ended, or never began, without telling."""

from collections.abc import Callable
from pathlib import Path

from flows.runtime.unstarted_runs import reschedule_orphans
from flows.runtime.zombie_runs import mark_zombie_runs


def keep_watch(root: Path, notify: Callable[[str], None]) -> None:
    """Tells Prefect of runs whose processes are gone.

    Args:
        root: of the project.
        notify: is told of each one.
    """
    mark_zombie_runs(root, notify)
    reschedule_orphans(root, notify)

"""What whoever carries out flow runs looks after now and then: runs that ended, or never began, without telling."""

from collections.abc import Callable
from pathlib import Path

from flows.runtime.unstarted_runs import hand_back_orphans
from flows.runtime.zombie_runs import mark_ended_runs


def keep_watch(root: Path, notify: Callable[[str], None]) -> None:
    """Tells Prefect of runs whose processes are gone.

    Args:
        root: of the project.
        notify: is told of each one.
    """
    mark_ended_runs(root, notify)
    hand_back_orphans(root, notify)

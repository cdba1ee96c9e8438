"""Housekeeping of processes that execute flow runs: finds zombie runs and runs that died before they started."""

from collections.abc import Callable
from pathlib import Path

from flows.runtime.unstarted_runs import reschedule_orphans
from flows.runtime.zombie_runs import mark_zombie_runs


def reap(root: Path, notify: Callable[[str], None]) -> None:
    """Reports flow runs to Prefect whose processes are gone.

    Args:
        root: Of the project.
        notify: Called with a line for each one.
    """
    mark_zombie_runs(root, notify)
    reschedule_orphans(root, notify)

"""Housekeeping of processes that execute flow runs: finds zombie runs and runs that died before they started."""

from collections.abc import Callable
from pathlib import Path

from flows.runtime.unstarted_runs import hand_back_orphans
from flows.runtime.zombie_runs import mark_ended_runs


def reap(root: Path, notify: Callable[[str], None]) -> None:
    """Reports flow runs to Prefect whose processes are gone.

    Args:
        root: Of the project.
        notify: Called with a line for each one.
    """
    mark_ended_runs(root, notify)
    hand_back_orphans(root, notify)

"""Runs side by side: where their configurations differ, and their metrics."""

from collections.abc import Sequence
from typing import Any

from flows.runs.folders import RunFolder
from tasks.caching.key import flatten


def compare_runs(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """What differs between runs.

    Returns:
        `runs`: their names; `configuration`: for each setting that is not the same in all of them, its values in the
        order of the runs (None where a run has no such setting); `metrics`: likewise for every metric of every part.
    """
    settings = [flatten(run.manifest.experiment) for run in runs]
    metrics = [flatten(run.metrics) for run in runs]
    return {
        "runs": [run.manifest.run for run in runs],
        "configuration": {name: row for name, row in side_by_side(settings).items() if any(v != row[0] for v in row)},
        "metrics": side_by_side(metrics),
    }


def side_by_side(columns: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """The values of each name in the order of the columns; None where a column has no such name."""
    names = dict.fromkeys(name for column in columns for name in column)
    return {name: [column.get(name) for column in columns] for name in names}

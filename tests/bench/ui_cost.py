"""How long a run of the train flow takes to show itself in the UI: its pages, its progress, its name and its tags.

Trains `line` anew in this process, and prints as JSON the seconds of that and of the whole flow.
Usage: python ui_cost.py EPOCHS
"""

import functools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from flows.runtime.session import prefect_session
from tasks.caching.storage.store import project_store

spent = 0.0


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose time is counted."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        global spent
        started = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            spent += time.perf_counter() - started

    return call


def main(epochs: int) -> None:
    with prefect_session(project_store().root):
        from flows import orchestration
        from flows.config.experiments import load_experiment
        from flows.ui.progress import TrainingProgress
        from flows.ui.publication import RunPages

        orchestration.tag_run = timed(orchestration.tag_run)
        for observer in (RunPages, TrainingProgress):
            for name in ("__init__", "on_plan", "on_stage_start", "on_progress", "on_stage_end", "on_saved"):
                setattr(observer, name, timed(getattr(observer, name)))
        orchestration.train.flow_run_name = timed(orchestration.train_run_name)
        experiment = load_experiment("line", {"training": {"epochs": epochs}})
        started = time.perf_counter()
        orchestration.train(experiment, refresh=["all"])
        print(json.dumps({"shown": spent, "flow": time.perf_counter() - started}))


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""Trainings in a store of their own and a process of their own, which leave the project's store alone.

Such a process ends with the one that started it, however that ended: nobody else would ever ask for what it makes.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from tasks.caching.key import flatten
from tasks.caching.store import named
from tasks.learning.experiment import Experiment

#: Seconds between two looks at whether the process that started a training still lives.
LOOK_SECONDS = 0.2


class TrainingError(Exception):
    """A training in a store of its own failed."""


def write_experiment(experiment: Experiment, path: Path) -> None:
    """Writes an experiment as a TOML file.

    Its fields are texts, numbers and booleans, which TOML writes as JSON does; what is None is left out.
    """
    fields = flatten(experiment.model_dump(mode="json"))
    lines = [
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items() if value is not None
    ]
    with named(path):
        path.write_text("".join(lines), encoding="utf-8")


def start_training(experiment: Path, home: Path, until: str) -> "subprocess.Popen[str]":
    """Starts `workflow train` in a process of its own, which reports to the Prefect server of this one.

    Args:
        experiment: a TOML file.
        home: root of its store.
        until: the last stage to run.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "flows.elsewhere", str(os.getpid()), "train", str(experiment), "--until", until],
        env=os.environ | {"WORKFLOW_HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    """What a training printed, once it has ended well.

    Raises:
        TrainingError: it failed.
    """
    try:
        out, error = process.communicate()
    except BaseException:
        process.kill()
        process.communicate()
        raise
    if process.returncode != 0:
        raise TrainingError(f"the training failed: {error.strip()}")
    return out


def run_for(parent: int, words: Sequence[str]) -> None:
    """What the process does: runs a command, and ends in good order when the process that wanted it is gone."""
    from flows.cli import main

    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    main(words)


def end_with(parent: int) -> None:
    """Waits until the parent of this process is another than this one; then ends this process, as `kill` does."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    run_for(int(sys.argv[1]), sys.argv[2:])

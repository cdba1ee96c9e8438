"""Trainings in a store of their own and a process of their own, which leave the project's store alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tasks.caching.key import flatten
from tasks.learning.experiment import Experiment


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
    path.write_text("".join(lines), encoding="utf-8")


def start_training(experiment: Path, home: Path, until: str) -> "subprocess.Popen[str]":
    """Starts `workflow train` in a process of its own, which reports to the Prefect server of this one.

    Args:
        experiment: a TOML file.
        home: root of its store.
        until: the last stage to run.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "train", str(experiment), "--until", until],
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

"""Trainings in a store of their own and a process of their own, which leave the project's store alone.

Such a process ends with the one that started it, however that ended: what it makes is of no other use.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flows.runtime.zombie_runs import mark_zombie_runs
from tasks.caching.interruption import postponed_interruption
from tasks.caching.key import flatten
from tasks.caching.storage.durable import naming_path
from tasks.learning.config.experiment import Experiment

#: Seconds that a training has to end after SIGTERM.
GRACE_SECONDS = 10.0


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
    with naming_path(path):
        path.write_text("".join(lines), encoding="utf-8")


@contextlib.contextmanager
def homes_elsewhere(purpose: str) -> Iterator[Path]:
    """A folder for stores that are needed for a while; trainings in them that were killed are reported to Prefect."""
    folder = Path(tempfile.mkdtemp(prefix=f"workflow-{purpose}-"))
    try:
        yield folder
    finally:
        for home in (folder, *folder.iterdir()):
            mark_zombie_runs(home)
        shutil.rmtree(folder)


@contextlib.contextmanager
def training(experiment: Path, home: Path, until: str, purpose: str) -> Iterator["subprocess.Popen[str]"]:
    """Runs `workflow train` in a process of its own, which reports to the Prefect server of this one.

    It never outlives what is done inside: what still runs at the end is ended.

    Args:
        experiment: a TOML file.
        home: root of its store.
        until: the last stage to run.
        purpose: the command that repeats the training, which Prefect shows.
    """
    process: subprocess.Popen[str] | None = None
    words = (str(os.getpid()), purpose, "train", str(experiment), "--until", until)
    try:
        with postponed_interruption():  # or else it might run on, unknown
            process = subprocess.Popen(
                [sys.executable, "-m", "flows.cli.isolated", *words],
                env=os.environ | {"WORKFLOW_HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        yield process
    finally:
        if process is not None and process.poll() is None:
            end(process)


def end(process: "subprocess.Popen[str]") -> None:
    """Ends a training in good order, so that it reports to Prefect; by force if this takes long, or is interrupted."""
    try:
        process.terminate()
        process.communicate(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
        process.communicate()


def finish(process: "subprocess.Popen[str]") -> str:
    """What a training printed, once it has ended well.

    Raises:
        TrainingError: it failed.
    """
    out, error = process.communicate()
    if process.returncode != 0:
        raise TrainingError(f"the training failed: {error.strip()}")
    return out


def train_elsewhere(experiment: Path, home: Path, until: str, purpose: str) -> str:
    """Trains in a process of its own, and waits for it; what it printed. See `training` for the arguments.

    Raises:
        TrainingError: it failed.
    """
    with training(experiment, home, until, purpose) as process:
        return finish(process)

"""`workflow selftest resume`: kills a real training of the user's own experiment, and shows that nothing is lost."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flows.errors import InputError
from flows.maintenance.isolated_training import finish, homes_elsewhere, train_elsewhere, training, write_experiment
from flows.maintenance.training_messages import read_messages
from tasks.caching.records import open_envelope
from tasks.caching.storage.reference import Outputs
from tasks.caching.storage.stage_checkpoints import step_of
from tasks.caching.storage.store import Store
from tasks.learning.config.experiment import Experiment
from tasks.split import split
from tasks.train import train

#: What Prefect shows of the trainings.
PURPOSE = "selftest"

#: Training checkpoints in the course of a training, about: enough to be killed anywhere, few enough to cost little.
TRAINING_CHECKPOINTS = 1000

#: Seconds between two looks at how far a training has come.
LOOK_SECONDS = 0.002


@dataclass(frozen=True)
class ResumeReport:
    """What came of a self-test of the resumption.

    Attributes:
        killed_after: the epoch after which each training was killed, at least.
        resumed_after: the epoch after which each next one resumed.
        outputs: for each artifact of the stage, its digest without and with the kills.
    """

    killed_after: list[int]
    resumed_after: list[int]
    outputs: dict[str, tuple[str, str]]

    @property
    def passed(self) -> bool:
        """Whether every training resumed, and the end is the same to the last byte."""
        resumed = len(self.resumed_after) == len(self.killed_after) > 0
        return resumed and all(without == killed for without, killed in self.outputs.values())


def selftest_resume(experiment: Experiment, kills: int, notify: Callable[[str], None]) -> ResumeReport:
    """Trains once without and once with kills, each in an empty store, and compares what came of it.

    Args:
        experiment: any.
        kills: how often the second training is killed, evenly over its epochs.
        notify: gets a line on each training.

    Raises:
        InputError: the training has too few epochs to be killed so often, or ended before it could be.
        TrainingError: a training failed by itself.
    """
    epochs = experiment.training.epochs
    if epochs <= kills:
        raise InputError(f"training.epochs ({epochs}) must be above the number of kills ({kills})")
    with homes_elsewhere("selftest") as folder:
        source = folder / "selftest.toml"
        write_experiment(with_training_checkpoints(experiment), source)
        notify(f"training {experiment.name} without a kill")
        train_elsewhere(source, folder / "without", train.name, PURPOSE)
        batches = batches_of(experiment, folder / "without")
        resumed: list[int] = []
        targets = [epochs * number // (kills + 1) for number in range(1, kills + 1)]
        for target in targets:
            notify(f"killing it after epoch {target:,} of {epochs:,}")
            resumed += kill_after(target * batches, source, folder / "killed")
        notify("letting it end")
        resumed += resumed_steps(train_elsewhere(source, folder / "killed", train.name, PURPOSE))
        resumed_after = [step // batches for step in resumed]
        return ResumeReport(targets, resumed_after, digests_side_by_side(folder / "without", folder / "killed"))


def with_training_checkpoints(experiment: Experiment) -> Experiment:
    """The experiment with training checkpoints kept so often that it can be killed anywhere."""
    every = max(1, experiment.training.epochs // TRAINING_CHECKPOINTS)
    training = experiment.training.model_copy(update={"checkpoint_every": f"{every} epochs"})
    return experiment.model_copy(update={"training": training})


def batches_of(experiment: Experiment, home: Path) -> int:
    """Updates in an epoch of a training that has taken place in a store."""
    from tasks.learning.data.tables import count_rows

    rows = count_rows(Store(home).path(outputs_of(home, split.name)["train"]))
    return -(-rows // (experiment.training.batch_size or rows))


def kill_after(updates: int, source: Path, home: Path) -> list[int]:
    """Kills a training once it has kept a training checkpoint of so many updates; the steps that it had resumed from.

    Raises:
        InputError: it ended before.
        TrainingError: it failed.
    """
    with training(source, home, train.name, PURPOSE) as process:
        while newest_training_checkpoint(home) < updates:
            if process.poll() is not None:
                finish(process)
                raise InputError("the training ended before it could be killed: give it more --training.epochs")
            time.sleep(LOOK_SECONDS)
        process.kill()
        out, _ = process.communicate()
    return resumed_steps(out)


def newest_training_checkpoint(home: Path) -> int:
    """Updates in the newest training checkpoint of the training in a store; -1 if there is none."""
    return max(map(step_of, (home / "artifacts/states" / train.name).glob("*/*.pth")), default=-1)


def resumed_steps(out: str) -> list[int]:
    """The steps from which a training has resumed, as it reported; empty if it began at the start."""
    return [message.step for message in read_messages(out)]


def digests_side_by_side(one: Path, other: Path) -> dict[str, tuple[str, str]]:
    """The digests of everything that the train stage made in two stores, by name; empty for what is not there."""
    first, second = (
        {name: made.digest for name, made in outputs_of(home, train.name).items()} for home in (one, other)
    )
    return {name: (first.get(name, ""), second.get(name, "")) for name in sorted({*first, *second})}


def outputs_of(home: Path, stage: str) -> Outputs:
    """Everything that the only record of a stage in a store names."""
    (path,) = (home / "artifacts/records" / stage).glob("*.json")
    return open_envelope(path.read_bytes(), path.stem).outputs

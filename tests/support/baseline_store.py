"""What campaigns of kills begin with: a store full of undisturbed runs, and what undisturbed commands make and take."""

import os
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.caching.runs.manifest import Manifest
from tests.flows.conftest import made
from tests.support.file_damage import empty
from tests.support.fork_server import ENDED, ForkServer, state_of, workflow_after

Words = tuple[str, ...]

LINE: Words = ("train", "line")
OTHER: Words = (*LINE, "--name", "other")

#: Keeps where it is some fifty times.
LASTING: Words = (*LINE, "--name", "lasting", "--training.epochs", "1000", "--training.batch-size", "10")
LASTING += ("--training.optimizer", "adam", "--training.checkpoint-every", "20 epochs")

#: What the stock was trained with, so that a collection finds much to remove; and with what it was not.
TRAINED: tuple[Words, ...] = (
    *[(*OTHER, "--refresh", "save")] * 4,
    OTHER,
    (*OTHER, "--data.bias", "0.1"),
    (*LINE, "--training.learning-rate", "0.02"),
    (*LINE, "--training.learning-rate", "0.01"),
    (*LINE, "--data.weight", "0.5"),
    LINE,
)
UNTRAINED: tuple[Words, ...] = (
    LASTING,
    (*LINE, "--training.optimizer", "adam"),
    (*OTHER, "--split.train", "0.6"),
    ("train", "line-layers", "--training.device", "cpu"),
)

VERIFY: Words = ("verify",)
REPAIR: Words = ("check", "--repair")
COLLECT: Words = ("collect", "--apply", "--keep-last", "1", "--no-keep-verified")

#: Seconds before now at which everything was written in a store that is aged.
AGE = 24 * 3600.0


#: Where folders lie that are in every store.
FOLDERS = ("data/*", "artifacts/*", "artifacts/records/*", "artifacts/states/*")


@dataclass(frozen=True)
class BaselineStore:
    """A store, and what is known of the commands that work in it or in a copy.

    Attributes:
        home: a store in which some runs were trained and the last of them verified; a day old.
        made: the digests of all that trainings make, as `conftest.made` has them.
        words: what trains a run, by the key of its last stage.
        seconds: what each command takes, by its first word.
        changes: the folders in which it changes something; likewise.
    """

    home: Path
    made: dict[str, str]
    words: dict[str, Words]
    seconds: dict[str, float]
    changes: dict[str, set[str]]


def make_baseline_store(
    forked: ForkServer, folder: Path, trained: Sequence[Words] = TRAINED, untrained: Sequence[Words] = UNTRAINED
) -> BaselineStore:
    """Carries out everything that a campaign may kill, undisturbed."""
    home, apart = folder / "home", folder / "apart"
    words_of: dict[str, Words] = {}
    seconds: dict[str, float] = {}
    changes: dict[str, set[str]] = defaultdict(set)

    def carry_out(words: Words, home: Path) -> None:
        before = folders(home)
        done = forked(workflow_after, 0, *words, home=home)
        assert done.returncode == 0 or words == REPAIR, done.stderr
        if words[0] == "train":
            words_of[key_of(home / "artifacts/runs/latest")] = words
        seconds[words[0]] = seconds_taken(done.stderr)
        changes[words[0]] |= {path for path, _ in folders(home) ^ before}

    for words in (*trained, VERIFY):
        carry_out(words, home)
    age(home)
    shutil.copytree(home, apart, symlinks=True)
    for words in (COLLECT, *untrained):
        carry_out(words, apart)
    all_made = made(home) | made(apart)
    empty(next(apart.glob("data/split/*")))
    carry_out(REPAIR, apart)
    return BaselineStore(home, all_made, words_of, seconds, changes)


def folders(home: Path) -> set[tuple[str, int]]:
    """The folders of a store, but for those of single keys and runs, with what changes when something in them does."""
    found = (path for pattern in FOLDERS for path in home.glob(pattern) if path.is_dir())
    return {(str(path.relative_to(home)), state_of(path)) for path in found}


def age(home: Path) -> None:
    """Lets everything in a store have been written a day ago; no flow may run."""
    then = time.time() - AGE
    for path in home.rglob("*"):
        os.utime(path, (then, then), follow_symlinks=False)


def key_of(run: Path) -> str:
    """The key of the last stage of a run, which is of all of its settings."""
    return Manifest.read(run).stage("save").key


def seconds_taken(stderr: str) -> float:
    """How long a command took, as `workflow_after` tells."""
    taken = re.search(rf"{ENDED}([\d.]+)", stderr)
    assert taken is not None, stderr
    return float(taken[1])

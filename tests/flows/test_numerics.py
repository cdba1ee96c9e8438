"""Numbers at their limits, and what they depend on: no run ends well with weights that are no numbers, and what shapes
the last bit of a result, such as a seed or the number of threads, is in its key.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.caching.gc.inspection import inspect_store
from tasks.caching.storage.store import Store
from tests.flows.cache.test_caching import digests_of
from tests.flows.conftest import STAGES
from tests.flows.test_golden import load
from tests.support.serving_project import Finish

Command = Callable[..., tuple[int, str, str]]

# ---- a learning rate that is far too large

#: Loss and optimizer, the learning rate, and whether losses stay finite: the gradients of all but mse are bounded.
RATES = {
    "l1": ("l1", "sgd", "1e9", True),
    "huber": ("huber", "sgd", "1e9", True),
    "bce, adam": ("bce", "adam", "1e9", True),
    "l1, the largest": ("l1", "sgd", "1e34", True),
    "mse": ("mse", "sgd", "1e9", False),
    "mse, the largest": ("mse", "adamw", "1e34", False),
}


@pytest.mark.parametrize(("loss", "optimizer", "rate", "is_finite"), RATES.values(), ids=RATES)
def test_a_huge_learning_rate_gives_finite_weights_or_none(
    store: Store, command: Command, loss: str, optimizer: str, rate: str, is_finite: bool
) -> None:
    options = {"learning-rate": rate, "loss": loss, "optimizer": optimizer}
    words = [f"--training.{name}={value}" for name, value in options.items()]
    code, _, error = command("train", "line", *words, "--verify")
    if is_finite:
        assert (code, error) == (0, "")
        assert all(torch.isfinite(tensor).all() for tensor in load(store).values())
        assert json.loads((store.runs / "latest/verification.json").read_bytes())["passed"] is True
    else:
        assert code == 1
        assert error.startswith("error: stage train failed: training diverged at epoch ")
        assert "is not finite. Lower training.learning_rate" in error
        assert error.count("\n") == 1
        assert not list(store.root.rglob("*.pth"))
        assert not store.runs.exists()
    assert inspect_store(Store(store.root)).problems == []


# ---- seeds

#: An experiment in which everything that can be left to chance is: noise, parts, first weights, the order of the rows.
CHANCE = {
    "data": {"noise": 0.1, "seed": 1},
    "split": {"method": "shuffled", "seed": 2},
    "training": {"seed": 3, "batch_size": 7, "epochs": 4},
}


def test_the_same_seeds_give_the_same_bytes_in_two_processes(
    store: Store, train: Callable[..., Any], workflow: Finish, tmp_path: Path
) -> None:
    here = train("line", CHANCE)
    words = [f"--{section}.{name}={value}" for section, values in CHANCE.items() for name, value in values.items()]
    there = workflow(
        "train", "line", *(word.replace("_", "-") for word in words), home=tmp_path / "there", PYTHONHASHSEED="9"
    )
    assert there.returncode == 0, there.stderr
    assert digests_of(Store(tmp_path / "there")) == here.digests


def test_every_seed_counts(store: Store, train: Callable[..., Any]) -> None:
    weights = {train("line", CHANCE, until="train").digests["train.weights"]}
    for section, values in CHANCE.items():
        other = train("line", CHANCE | {section: values | {"seed": 9}}, until="train")
        weights.add(other.digests["train.weights"])
    assert len(weights) == 1 + len(CHANCE)


# ---- threads

#: Rows enough for torch to have threads share a sum, whose last bit then depends on how many they are.
MANY = {"data": {"rows": 100_000, "noise": 0.1}, "training": {"loss": "mse", "epochs": 30, "learning_rate": 0.01}}


@pytest.fixture
def train_on(train: Callable[..., Any], store: Store) -> Callable[[int], Any]:
    """Trains on so many rows that the number of threads shows in the losses."""

    def run(threads: int, *refresh: str) -> Any:
        return train("line", MANY | {"training": MANY["training"] | {"threads": threads}}, refresh)

    return run


def test_each_number_of_threads_has_a_key_and_losses_of_its_own(
    store: Store, train_on: Callable[..., Any], command: Command
) -> None:
    one, two = train_on(1), train_on(2)
    assert two.ran == ["train", "evaluate", "plot", "save"]
    assert two.digests["train.history"] != one.digests["train.history"]
    keys = [{report.name: report.key for report in outcome.reports} for outcome in (one, two)]
    assert [name for name in STAGES if keys[0][name] == keys[1][name]] == ["generate", "split"]
    # Whatever ran before in this process, the same number of threads gives the same bytes.
    for threads, before in ((1, one), (2, two)):
        assert train_on(threads).ran == []
        again = train_on(threads, "train", "evaluate")
        assert (again.ran, again.digests) == (["train", "evaluate"], before.digests)
    for outcome, threads in ((one, 1), (two, 2)):
        manifest = json.loads((store.runs / outcome.run / "run.json").read_bytes())
        assert manifest["environment"]["threads"] == threads
        assert command("verify", outcome.run)[0] == 0
        verification = json.loads((store.runs / outcome.run / "verification.json").read_bytes())
        assert verification["checks"][3]["detail"].startswith("100,000 rows agree exactly")

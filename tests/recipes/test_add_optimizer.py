"""The recipe for an optimizer, followed to the letter: RMSprop."""

from pathlib import Path

import pytest

from tests.support.recipes import copy_of_project, require_cached_and_proven


@pytest.mark.long
def test_an_optimizer_trains(tmp_path: Path) -> None:
    copy = copy_of_project(tmp_path)
    copy.follow("Adding an optimizer")
    words = ("line", "--training.optimizer", "rmsprop", "--training.momentum", "0.5", "--training.epochs", "20")
    require_cached_and_proven(copy, "train", *words)
    assert copy.saved("run.json")["experiment"]["training"]["optimizer"] == "rmsprop"

"""The recipe for a loss, followed to the letter: the log-cosh loss."""

from pathlib import Path

import pytest

from tests.support.recipes import copy_of_project, require_cached_and_proven


@pytest.mark.long
def test_a_loss_is_minimised_drawn_and_verified(tmp_path: Path) -> None:
    copy = copy_of_project(tmp_path)
    copy.follow("Adding a loss")
    words = ("line", "--training.loss", "log_cosh", "--training.epochs", "20")
    require_cached_and_proven(copy, "evaluate", *words)
    test = copy.saved("metrics.json")["test"]
    assert 0 < test["loss"] < test["mae"]
    run = copy.home / "artifacts" / "runs" / "latest"
    assert "Log-cosh loss" in (run / "plots" / "loss.svg").read_text("utf-8")
    assert "(log-cosh)" in (run / "report.html").read_text("utf-8")

"""The recipe for a model, followed to the letter: a parabola, which has three parameters."""

from pathlib import Path

import pytest

from tests.support.recipes import copy_of_project, require_cached_and_proven


@pytest.mark.long
def test_a_model_of_three_parameters_is_trained_refreshed_and_verified(tmp_path: Path) -> None:
    copy = copy_of_project(tmp_path)
    copy.follow("Adding a model")
    words = ("line", "--model.kind", "parabola", "--training.epochs", "20")
    require_cached_and_proven(copy, "train", *words)
    model = copy.saved("model.json")
    assert model["architecture"] == "parabola"
    assert list(model["tensors"]) == ["a", "b", "c"]
    report = (copy.home / "artifacts" / "runs" / "latest" / "report.html").read_text("utf-8")
    assert "3 parameters learned" in report
    refused = copy.workflow("plan", *words, "--model.initial-weight", "1", code=2)
    assert "initial_weight belongs to the kinds parameters and linear, not to parabola" in refused

"""The recipe for a data source, followed to the letter: a sine wave."""

from pathlib import Path

import pytest

from tests.support.recipes import copy_of_project, require_cached_and_proven


@pytest.mark.long
def test_a_kind_of_dataset_is_made_and_trained_on(tmp_path: Path) -> None:
    copy = copy_of_project(tmp_path)
    copy.follow("Adding a data source")
    words = ("line", "--data.kind", "wave", "--data.amplitude", "2.5", "--training.epochs", "20")
    require_cached_and_proven(copy, "generate", *words)
    data = copy.saved("run.json")["experiment"]["data"]
    assert data == {"kind": "wave", "rows": 100, "amplitude": 2.5}
    assert {part: metrics["rows"] for part, metrics in copy.saved("metrics.json").items()} == {"train": 80, "test": 20}
    # What there was before is as it was: a file that names no kind is a line.
    (copy.project / "old.toml").write_text("[data]\nweight = 2.0\n", "utf-8")
    assert copy.statuses("old.toml")["generate"] == "will run"

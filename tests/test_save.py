"""What the stage `save` refuses."""

import re
from pathlib import Path

import pytest

from flows.config.experiments import load_experiment, settle
from tasks.caching.runs.manifest import SAVED_BY
from tasks.caching.storage.store import Store
from tasks.save import SaveConfig, kept_files, save


@pytest.mark.parametrize("file", ["run.json", "model.json", "report.html", "SHA256SUMS", "own.pth"])
def test_no_stage_can_keep_a_file_that_save_makes_itself(tmp_path: Path, file: str) -> None:
    store = Store(tmp_path)
    settled = settle(load_experiment("line", {"checkpoint": "own.pth"}))
    config = SaveConfig.model_validate(settled.model_dump())
    kept = {"weights": store.publish("train", "weights.pth", b"w"), file: store.publish("rank", "x.json", b"{}")}
    with pytest.raises(RuntimeError, match=f"^{re.escape(file)} of the run folder is made by stage save"):
        kept_files(config, kept, store)


def test_what_the_stages_before_keep_is_taken_as_it_is(tmp_path: Path) -> None:
    store = Store(tmp_path)
    config = SaveConfig.model_validate(settle(load_experiment("line")).model_dump())
    kept = {"weights": store.publish("train", "weights.pth", b"w"), "a/b.txt": store.publish("rank", "x.json", b"{}")}
    assert kept_files(config, kept, store) == {"a/b.txt": b"{}"}


def test_the_stage_has_the_name_by_which_its_records_are_found() -> None:
    assert save.name == SAVED_BY

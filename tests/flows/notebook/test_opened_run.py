"""A run in a notebook: its tables, its model, and predictions for a DataFrame."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from flows import open_run
from flows.errors import InputError
from flows.notebook.opened_run import OpenedRun, columns_in, imputed_in
from tasks.caching.storage.store import Store
from tasks.learning.data.tables import read_table
from tests.support.house_prices import ROWS, houses
from tests.support.serving_project import Finish


@pytest.fixture
def run(houses_home: Path, store: Store) -> OpenedRun:
    """That of a training on the table, in a copy of its project."""
    shutil.copytree(houses_home, store.root, symlinks=True)
    return open_run()


def values(frame: pd.DataFrame) -> dict[str, list[Any]]:
    return {str(name): frame[name].tolist() for name in frame.columns}


def damage(run: OpenedRun, name: str) -> Path:
    """Changes one byte of an artifact, whose size stays."""
    path = run.store.locate(run.manifest.made(name).path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path


class TestOpening:
    def test_a_run_is_found_by_name_by_pointer_and_by_path(self, run: OpenedRun) -> None:
        for wanted in (run.name, "houses-latest", run.folder.folder):
            assert open_run(wanted).name == run.name
        assert repr(run) == f"<run {run.name}>"

    def test_what_is_no_run_is_refused(self, run: OpenedRun) -> None:
        with pytest.raises(InputError, match="there is no run 'nope'"):
            open_run("nope")

    def test_a_manifest_that_was_altered_is_refused(self, run: OpenedRun) -> None:
        path = run.folder.folder / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"created": "2020-01-01T00:00:00+00:00"}))
        with pytest.raises(
            InputError, match=f"^run {run.name} is damaged: run.json does not have the digest in SHA256"
        ):
            open_run()

    def test_nothing_is_imported_or_read_before_it_is_asked_for(self, houses_home: Path, workflow: Finish) -> None:
        code = (
            "import sys\n"
            "from pathlib import Path\n"
            "read, before = [], Path.read_bytes\n"
            "Path.read_bytes = lambda path: ('artifacts' in path.parts and read.append(path.name), before(path))[1]\n"
            "from flows import open_run\n"
            "from flows.notebook import runs, train\n"
            "run = open_run()\n"
            "heavy = {'pandas', 'torch', 'prefect', 'pyarrow', 'numpy', 'matplotlib'}\n"
            "print(*(heavy & sys.modules.keys()), *sorted(set(read) - {'.store'}))\n"
            "run.predictions\n"
            "print(*sorted(heavy & sys.modules.keys()))"
        )
        done = workflow(code=code, home=houses_home)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["SHA256SUMS run.json", "numpy pandas pyarrow"]


class TestTables:
    def test_predictions_are_those_that_were_recorded(self, run: OpenedRun) -> None:
        frame = run.predictions
        assert list(frame) == ["row", "split", "area", "rooms", "garden", "target", "prediction", "residual"]
        assert {str(frame[name].dtype) for name in ("area", "target", "prediction", "residual")} == {"float32"}
        assert frame["split"].value_counts().to_dict() == {"train": 140, "validation": 20, "test": 40}
        assert values(frame) == read_table(run.store.path(run.manifest.made("predictions"))).to_pydict()

    def test_a_change_of_a_table_stays_in_that_table(self, run: OpenedRun) -> None:
        frame = run.predictions
        frame["prediction"] = 0.0
        frame.iloc[0, 0] = -1
        assert run.predictions["prediction"].abs().min() > 0
        assert run.predictions["row"].min() == 0

    def test_the_history_has_a_row_an_epoch(self, run: OpenedRun) -> None:
        history = run.history
        assert list(history) == ["epoch", "train_loss", "validation_loss", "test_loss", "learning_rate"]
        assert history["epoch"].tolist() == list(range(40))
        assert (history["test_loss"].isna() == (history["epoch"] % 10 != 0)).iloc[:-1].all()

    def test_metrics_are_by_part(self, run: OpenedRun) -> None:
        metrics = run.metrics
        assert metrics.index.tolist() == ["train", "validation", "test"]
        assert metrics["rows"].tolist() == [140, 20, 40]
        saved = json.loads((run.folder.folder / "metrics.json").read_text())
        assert metrics.loc["test"].to_dict() == saved["test"]

    @pytest.mark.parametrize("name", ["predictions", "history"])
    def test_a_damaged_table_is_refused_and_the_rest_is_not(self, run: OpenedRun, name: str) -> None:
        path = damage(run, name)
        with pytest.raises(
            InputError, match=f"^run {run.name} is damaged: artifact altered: .*{path.name}.*train again"
        ):
            getattr(open_run(), name)
        assert len(open_run().metrics) == 3
        assert len(open_run().predict(houses())) == ROWS

    def test_a_missing_table_is_refused(self, run: OpenedRun) -> None:
        run.store.locate(run.manifest.made("history").path).unlink()
        with pytest.raises(InputError, match=r"is damaged: artifact missing: .*; train again"):
            _ = run.history

    def test_metrics_that_were_altered_are_refused(self, run: OpenedRun) -> None:
        path = run.folder.folder / "metrics.json"
        text = path.read_text()
        path.write_text(text.replace('"r2": 0', '"r2": 1', 1))
        assert path.read_text() != text
        with pytest.raises(InputError, match=r"artifact altered: .*metrics\.json"):
            _ = run.metrics


class TestTheModel:
    def test_it_predicts_what_was_recorded_bit_for_bit(self, run: OpenedRun) -> None:
        recorded = run.predictions
        for _, rows in recorded.groupby("split"):
            assert run.predict(rows).tolist() == rows["prediction"].tolist()

    def test_that_of_a_line_does_so_too(self, trained: Store) -> None:
        run = open_run("line-latest")
        for _, rows in run.predictions.groupby("split"):
            assert run.predict(rows).tolist() == rows["prediction"].tolist()
        assert (run.features, run.target) == (("x",), "y")

    def test_it_is_a_module_in_evaluation_mode(self, run: OpenedRun) -> None:
        model = run.model()
        assert isinstance(model, torch.nn.Module)
        assert not model.training
        assert {tensor.device.type for tensor in model.state_dict().values()} == {"cpu"}
        rows = run.predictions.head(5)
        with torch.inference_mode():
            found = model(torch.from_numpy(rows[list(run.features)].to_numpy(copy=True)))
        assert found.flatten().tolist() == pytest.approx(rows["prediction"].tolist(), rel=1e-6)

    def test_a_device_that_is_not_there_is_refused(self, run: OpenedRun) -> None:
        with pytest.raises(InputError, match="'cpu2' is no device"):
            run.model("cpu2")

    @pytest.mark.parametrize("name", ["houses.pth", "model.json"])
    def test_a_damaged_checkpoint_or_description_is_refused(self, run: OpenedRun, name: str) -> None:
        path = run.folder.folder / name
        path.write_bytes(path.read_bytes()[:-1] + b" ")
        with pytest.raises(InputError, match=f"^run {run.name} is damaged: artifact altered: .*{name}.*train again"):
            run.predict(houses())

    @pytest.mark.parametrize(
        "wrong", [{}, {"features": [], "targets": ["y"]}, {"features": ["x", 1], "targets": ["y"]}]
    )
    def test_a_description_without_columns_is_damaged(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="does not name the columns"):
            columns_in(wrong)

    @pytest.mark.parametrize("wrong", [["x"], "x", {}, {"features": "x"}, {"features": [1]}])
    def test_a_description_that_is_wrong_about_missing_features_is_damaged(self, wrong: object) -> None:
        with pytest.raises(ValueError, match="does not name the features that the model fills in"):
            imputed_in({"imputation": wrong})


class TestPredicting:
    def test_columns_are_found_by_name_and_others_are_ignored(self, run: OpenedRun) -> None:
        frame = houses()
        expected = run.predict(frame)
        turned = frame[["garden", "city", "rooms", "area"]].assign(more="text", Area=float("nan"))
        pd.testing.assert_series_equal(run.predict(turned), expected)

    def test_the_predictions_have_the_index_of_the_rows(self, run: OpenedRun) -> None:
        frame = houses().set_index(pd.Index([f"h{number}" for number in range(ROWS)], name="house"))
        found = run.predict(frame)
        assert (found.name, found.dtype) == ("price", np.float32)
        assert found.index.equals(frame.index)
        assert (found - frame["price"]).abs().mean() < 100_000

    def test_no_rows_have_no_predictions(self, run: OpenedRun) -> None:
        assert run.predict(houses().iloc[:0]).empty

    def test_the_threads_of_torch_stay_as_they_are(self, run: OpenedRun) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(before + 1)
        try:
            run.predict(houses())
            assert torch.get_num_threads() == before + 1
        finally:
            torch.set_num_threads(before)

    def test_many_rows_are_predicted_in_chunks(self, run: OpenedRun, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = run.predict(houses())
        monkeypatch.setattr("tasks.learning.evaluation.predictions.CHUNK", 7)
        np.testing.assert_allclose(run.predict(houses()), expected, rtol=1e-6)

    def test_what_cannot_be_used_is_refused_before_the_model_is_loaded(self, run: OpenedRun) -> None:
        (run.folder.folder / "houses.pth").unlink()
        with pytest.raises(InputError, match=r"there is no column 'area' \(is 'Area' meant\?\)"):
            run.predict(houses().rename(columns={"area": "Area"}))

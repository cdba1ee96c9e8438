import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch

from tasks.learning.config.model import Model
from tasks.learning.data.columns import read_batch, to_column, to_values
from tasks.learning.data.tables import write_table
from tasks.learning.evaluation import predictions
from tasks.learning.evaluation.predictions import predict, predict_parts
from tasks.learning.models.networks import build_network


@pytest.fixture
def doubling():
    return build_network(Model(initial_weight=2.0, initial_bias=1.0), "constructor", "cpu", 0)


def part(*rows):
    return pa.table(
        {"row": pa.array(rows, pa.int64()), "x": pa.array(rows, pa.float32()), "y": pa.array(rows, pa.float32())}
    )


def test_the_table(doubling):
    table = predict_parts(doubling, {"train": part(4, 2), "test": part(7)}, "cpu")
    assert [str(field.type) for field in table.schema] == ["int64", "string", *["float"] * 4]
    assert table.to_pydict() == {
        "row": [4, 2, 7],
        "split": ["train", "train", "test"],
        "x": [4, 2, 7],
        "target": [4, 2, 7],
        "prediction": [9, 5, 15],
        "residual": [-5, -3, -8],
    }


@pytest.mark.parametrize("kind", ["parameters", "linear"])
def test_in_chunks_is_the_same(kind, monkeypatch):
    network = build_network(Model(kind=kind), "constructor", "cpu", 3)
    x = np.linspace(-1, 1, 100, dtype=np.float32)[:, None]
    whole = predict(network, x, "cpu")
    monkeypatch.setattr(predictions, "CHUNK", 7)
    assert predict(network, x, "cpu") == pytest.approx(whole, rel=1e-6)


def test_inference_mode_and_no_grad_predict_the_same(doubling):
    x = np.linspace(-1, 1, 50, dtype=np.float32)
    with torch.no_grad():
        expected = doubling(to_column(x, "cpu"))
    assert predict(doubling, x[:, None], "cpu").tobytes() == to_values(expected).tobytes()


def test_predicts_in_evaluation_mode():
    network = torch.nn.Sequential(torch.nn.Dropout(0.5))
    x = np.ones((100, 1), np.float32)
    assert (predict(network, x, "cpu") == 1).all()


def test_a_column_shares_the_memory_of_its_values():
    values = np.arange(3, dtype=np.float32)
    column = to_column(values, "cpu")
    assert (column.shape, column.dtype) == ((3, 1), torch.float32)
    values[1] = 9
    assert column[1].item() == 9
    assert to_values(column).tolist() == [0, 9, 2]


def test_a_batch_from_a_file(tmp_path):
    write_table(part(3, 1), tmp_path / "part.parquet")
    x, y = read_batch(tmp_path / "part.parquet", "cpu")
    assert torch.equal(x, torch.tensor([[3.0], [1.0]]))
    assert torch.equal(x, y)


def test_no_stage_needs_pandas():
    """From the data to the figures: every table is made, written, read and used without it."""
    code = """if True:
        import io, sys
        from tasks.learning.evaluation import comparison
        from tasks.learning.config import experiment
        from tasks.learning.reporting import figures
        from tasks.learning.training import history
        from tasks.learning.data import lines
        from tasks.learning.training import loop
        from tasks.learning.evaluation import metrics
        from tasks.learning.models import networks
        from tasks.learning.evaluation import predictions
        from tasks.learning.splitting import parts as splitting, proof
        from tasks.learning.data import tables
        from tasks.learning.data.columns import to_column
        from tasks.learning.reporting.figure_style import render
        split = experiment.Split(method="shuffled", validation=0.1)
        whole = lines.line_table(experiment.LineData())
        parts = splitting.split_rows(whole, split)
        proof.prove_partition(whole, parts)
        network = networks.build_network(experiment.Model(), "constructor", "cpu", 0)
        sink = io.BytesIO()
        tables.write_table(parts["train"], sink)
        values = tables.read_columns(sink.getvalue(), ["x", "y"])
        batch = tuple(to_column(values[name], "cpu") for name in ("x", "y"))
        fitted = loop.fit(network, experiment.Training(epochs=3), batch, {"test": batch})
        table = predictions.predict_parts(network, parts, "cpu")
        metrics.metrics_by_part(table, "l1")
        comparison.compare_predictions(table, table)
        losses = history.history_table(fitted.history)
        for figure in (
            figures.draw_data(parts, "line"),
            figures.draw_predictions(table, True, "line"),
            figures.draw_residuals(table, "line"),
            figures.draw_losses(losses, metrics.metrics_by_part(table, "l1"), "l1", "line"),
        ):
            render(figure)
        tables.read_table(sink.getvalue())
        sys.exit("pandas" in sys.modules)"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

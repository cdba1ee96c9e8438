import json
import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.learning.evaluation.metrics import metrics_by_part, part_metrics
from tasks.learning.losses.registry import LOSSES

VALUES = st.floats(-1e6, 1e6, width=32)
PAIRS = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=30)


def metrics(pairs, loss="l1"):
    target, prediction = (np.array(values, np.float64) for values in zip(*pairs, strict=True))
    return part_metrics(target, prediction, loss)


@given(PAIRS)
def test_as_by_the_schoolbook(pairs):
    found = metrics(pairs)
    errors = [target - prediction for target, prediction in pairs]
    squares = math.fsum(error**2 for error in errors)
    assert found["rows"] == len(pairs)
    assert found["mae"] == found["loss"] == pytest.approx(math.fsum(map(abs, errors)) / len(pairs))
    assert found["mse"] == pytest.approx(squares / len(pairs))
    assert found["rmse"] == pytest.approx(math.sqrt(squares / len(pairs)))
    assert found["largest_error"] == max(map(abs, errors))


@given(PAIRS)
def test_r2_as_by_the_schoolbook(pairs):
    targets = [target for target, _ in pairs]
    mean = math.fsum(targets) / len(targets)
    total = math.fsum((target - mean) ** 2 for target in targets)
    if len(set(targets)) == 1:
        assert metrics(pairs)["r2"] is None
    elif total > 1e-6 * max(map(abs, targets)) ** 2:
        expected = 1 - math.fsum((target - prediction) ** 2 for target, prediction in pairs) / total
        assert metrics(pairs)["r2"] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_r2_of_a_perfect_and_of_a_mean_prediction():
    assert metrics([(1, 1), (2, 2)])["r2"] == 1
    assert metrics([(1, 1.5), (2, 1.5)])["r2"] == 0


@pytest.mark.parametrize("pairs", [[(1.0, 2.0)], [(3.0, 2.0), (3.0, 4.0)], [(0.1, 0.2)] * 3])
def test_r2_is_none_where_it_has_no_meaning(pairs):
    assert metrics(pairs)["r2"] is None


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(-50, 50, width=32)), min_size=1, max_size=20))
def test_the_loss_is_the_one_that_was_minimised(pairs):
    target, prediction = (torch.tensor(values, dtype=torch.float64) for values in zip(*pairs, strict=True))
    for name, loss in LOSSES.items():
        assert metrics(pairs, name)["loss"] == pytest.approx(
            loss.batch_loss(prediction, target).item(), rel=1e-9, abs=1e-12
        )


def test_cross_entropy_of_large_logits_does_not_overflow():
    assert metrics([(1.0, -1e30), (1.0, 1e30)], "bce")["loss"] == 5e29


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_none(value):
    found = metrics([(1.0, value), (2.0, 2.0)])
    assert found == {"rows": 2} | dict.fromkeys(["loss", "mae", "mse", "rmse", "r2", "largest_error"])
    json.dumps(found, allow_nan=False)


def test_by_part_in_the_order_of_the_table():
    table = pa.table(
        {
            "split": ["train", "train", "test"],
            "target": pa.array([1, 2, 3], pa.float32()),
            "prediction": pa.array([1, 2, 5], pa.float32()),
        }
    )
    found = metrics_by_part(table, "mse")
    assert list(found) == ["train", "test"]
    assert [(part["rows"], part["mae"], part["loss"]) for part in found.values()] == [(2, 0, 0), (1, 2, 4)]
    json.dumps(found, allow_nan=False)


def test_what_float32_would_round_away_counts():
    error = 1 + 2**-12  # its square has more digits than a float32 holds
    table = pa.table(
        {
            "split": ["train"],
            "target": pa.array([0], pa.float32()),
            "prediction": pa.array([error], pa.float32()),
        }
    )
    found = metrics_by_part(table, "mse")["train"]
    assert found["mse"] == found["loss"] == error**2

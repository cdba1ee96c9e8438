import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.learning.config.data import LineData
from tasks.learning.data.lines import line_table

GOLDEN_X = [0.00, 0.02, 0.04, 0.06, 0.08, 0.10, 0.12, 0.14, 0.16, 0.18]
GOLDEN_Y = [0.3000, 0.3140, 0.3280, 0.3420, 0.3560, 0.3700, 0.3840, 0.3980, 0.4120, 0.4260]


@pytest.fixture
def one_thread():
    """torch.arange itself gives other bits on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def columns(data):
    table = line_table(data)
    return table["x"].to_numpy(), table["y"].to_numpy()


def assert_is_torchs(data):
    x = torch.arange(data.start, data.end, data.step)
    ours = columns(data)
    assert ours[0].tobytes() == x.numpy().tobytes()
    assert ours[1].tobytes() == (data.weight * x + data.bias).numpy().tobytes()


def test_first_rows_of_the_notebook():
    x, y = columns(LineData())
    np.testing.assert_allclose(x[:10], GOLDEN_X, atol=1e-7)
    np.testing.assert_allclose(y[:10], GOLDEN_Y, atol=1e-7)


def test_columns_and_their_types():
    table = line_table(LineData())
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("row", "int64"),
        ("x", "float"),
        ("y", "float"),
    ]
    assert table["row"].to_pylist() == list(range(50))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weight": 1.1, "bias": -0.4, "end": 100.0, "step": 2.0},
        {"end": 1.0, "step": 0.001},
        {"start": -5.0, "end": 5.0, "step": 0.1},
        {"start": 1e6, "end": 1e6 + 7, "step": 0.3},
        {"end": 1.0, "step": 1e-5},
        {"end": 0.5, "step": 1.0},
    ],
)
def test_bit_for_bit_what_torch_gives(settings, one_thread):
    assert_is_torchs(LineData(**settings))


@pytest.mark.parametrize("rows", [1, 7, 8, 15, 16, 17, 31, 32, 33])
def test_bit_for_bit_around_the_width_of_a_vector(rows, one_thread):
    assert_is_torchs(LineData(start=0.7, end=0.7 + 0.1 * (rows - 0.5), step=0.1))


@given(
    start=st.floats(-1e3, 1e3), length=st.floats(0.1, 1e3), rows=st.floats(0.5, 500), weight=st.floats(-1e3, 1e3),
    bias=st.floats(-1e3, 1e3),
)  # fmt: skip
def test_bit_for_bit_for_any_line_but_next_to_zero(start, length, rows, weight, bias):
    data = LineData(start=start, end=start + length, step=length / rows, weight=weight, bias=bias)
    x, torchs = columns(data)[0], torch.arange(data.start, data.end, data.step).numpy()
    differ = x != torchs
    assert np.abs(x - torchs)[differ].max(initial=0) <= 4e-16 * (abs(start) + length)


def test_rows_take_the_place_of_the_step():
    x, _ = columns(LineData(start=-1.0, end=1.0, step=0.3, rows=1000))
    assert x.tobytes() == (-1 + np.arange(1000) * (2 / 1000)).astype(np.float32).tobytes()


def test_noise_has_its_seed_and_its_size():
    clean, noisy, again, other = (
        columns(LineData(rows=10_000, noise=noise, seed=seed))[1]
        for noise, seed in [(0.0, 1), (0.1, 1), (0.1, 1), (0.1, 2)]
    )
    assert (noisy == again).all()
    assert (noisy != other).any()
    assert np.std(noisy - clean) == pytest.approx(0.1, rel=0.05)


def test_refuses_noise_that_float32_cannot_hold():
    with pytest.raises(ValueError, match="too large for float32"):
        line_table(LineData(noise=1e39))


@pytest.mark.parametrize(
    "module",
    [
        "data.lines",
        "splitting.parts",
        "splitting.proof",
        "data.tables",
        "evaluation.metrics",
        "evaluation.comparison",
        "reporting.figures",
    ],
)
def test_does_not_load_torch(module):
    code = f"import sys, tasks.learning.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("module", ["config.devices", "config.experiment"])
def test_loads_neither_torch_nor_numpy(module):
    code = f"import sys, tasks.learning.{module}; sys.exit(bool({{'torch', 'numpy'}} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

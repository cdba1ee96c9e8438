import io
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from tasks.learning.config.model import Model
from tasks.learning.models.networks import build_network
from tasks.learning.models.weights import WeightsError, apply_weights, dump_weights, load_weights, specify
from tests.support.hostile_files import rezipped, saved

EXPECTED = {"weights": {"shape": [1], "dtype": "float32"}, "bias": {"shape": [1], "dtype": "float32"}}


@pytest.fixture
def network():
    return build_network(Model(), "constructor", "cpu", 88)


def state(**tensors):
    return {"weights": torch.ones(1), "bias": torch.zeros(1)} | tensors


def test_specification(network):
    assert specify(network) == EXPECTED


def test_what_was_dumped_is_loaded(network):
    tensors = load_weights(dump_weights(network), specify(network))
    assert list(tensors) == ["weights", "bias"]
    fresh = build_network(Model(), "constructor", "cpu", 1)
    apply_weights(fresh, tensors)
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), network.parameters(), strict=True))


def test_is_a_plain_state_dict_for_torch(network):
    content = torch.load(io.BytesIO(dump_weights(network)), weights_only=True)
    assert type(content) is dict
    assert not any(tensor.requires_grad for tensor in content.values())


def test_equal_weights_give_equal_bytes(network):
    other = build_network(Model(), "moved", "cpu", 88)
    assert dump_weights(network) == dump_weights(network) == dump_weights(other)


def test_another_process_gives_the_same_bytes(network, tmp_path):
    code = """if True:
        import sys
        from tasks.learning.config.model import Model
        from tasks.learning.models.networks import build_network
        from tasks.learning.models.weights import dump_weights
        sys.stdout.buffer.write(dump_weights(build_network(Model(), "constructor", "cpu", 88)))"""
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment).stdout
    assert found == dump_weights(network)


def test_a_view_is_saved_without_the_rest_of_its_storage():
    module = nn.Module()
    module.weights = nn.Parameter(torch.zeros(1_000_000)[:1])
    assert len(dump_weights(module)) < 3_000


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weights": torch.ones(1)}, "bias missing"),
        (state(scale=torch.ones(1)), "scale not expected"),
        ({"weight": torch.ones(1), "bias": torch.ones(1)}, "weights missing; weight not expected"),
        (state(bias=torch.ones(2)), r"bias: has shape \[2\] where the model has \[1\]"),
        (state(bias=torch.ones(1, 1)), r"bias: has shape \[1, 1\] where the model has \[1\]"),
        (state(bias=torch.tensor(1.0)), r"bias: has shape \[\] where"),
        (state(bias=torch.ones(1, dtype=torch.float64)), "bias: has dtype float64 where the model has float32"),
        (state(weights=torch.ones(1, dtype=torch.int32)), "weights: has dtype int32 where"),
        (state(weights=torch.ones(1, dtype=torch.bfloat16)), "weights: has dtype bfloat16 where"),
        (state(bias=torch.tensor([float("nan")])), r"bias: the value at index \[0\] is nan"),
        (state(weights=torch.tensor([float("-inf")])), r"weights: the value at index \[0\] is -inf"),
        (state(bias=torch.ones(1).to_sparse()), "not a plain state_dict"),
        (state(bias=torch.zeros(1).expand(1_000_000)), "declares a tensor of 1,000,000 elements and holds 1"),
    ],
)
def test_names_the_tensor_that_is_wrong(tensors, message):
    with pytest.raises(WeightsError, match=message):
        load_weights(saved(tensors), EXPECTED)


def test_names_the_index_of_a_value_that_is_not_finite():
    matrix = torch.zeros(2, 3)
    matrix[1, 2] = float("inf")
    with pytest.raises(WeightsError, match=r"m: the value at index \[1, 2\] is inf"):
        load_weights(saved({"m": matrix}), {"m": {"shape": [2, 3], "dtype": "float32"}})


@pytest.mark.parametrize(
    "content", [[torch.ones(1)], torch.ones(1), 3, {"weights": 1.0, "bias": 2.0}, {1: torch.ones(1)}, state(bias=[1.0])]
)
def test_refuses_what_is_no_state_dict(content):
    with pytest.raises(WeightsError, match=r"contains? a \w+, not a (plain state_dict|tensor)"):
        load_weights(saved(content), EXPECTED)


def test_refuses_a_whole_module(network):
    with pytest.raises(WeightsError, match="not a plain state_dict"):
        load_weights(saved(network), EXPECTED)


def test_refuses_more_bytes_than_the_model_can_take(monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(WeightsError, match=r"declares .* bytes, more than the"):
        load_weights(saved(state(bias=torch.zeros(100_000))), EXPECTED)


def test_refuses_two_records_of_one_name():
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = rezipped(saved(state()), extra=[("archive/data/0", b"\0\0\0\0")])
    with pytest.raises(WeightsError, match="two records of one name"):
        load_weights(data, EXPECTED)


@pytest.mark.parametrize("data", [b"", b"PK", b"weights"])
def test_refuses_what_is_no_file_of_torch(data):
    with pytest.raises(WeightsError, match=r"no file of torch.save"):
        load_weights(data, EXPECTED)


def test_every_truncation_is_noticed(network):
    data = dump_weights(network)
    for length in range(0, len(data), 37):
        with pytest.raises(WeightsError):
            load_weights(data[:length], EXPECTED)


def test_refuses_a_specification_with_an_unknown_dtype():
    with pytest.raises(WeightsError, match="bias: the description asks for the unknown dtype 'load'"):
        load_weights(saved(state()), {"bias": {"shape": [1], "dtype": "load"}})


def test_does_not_apply_to_another_model(network):
    tensors = load_weights(dump_weights(network), EXPECTED)
    with pytest.raises(WeightsError, match=r"(?s)do not suit the model.*linear_layer.weight"):
        apply_weights(build_network(Model(kind="linear"), "constructor", "cpu", 0), tensors)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_weights_cross_devices():
    there = build_network(Model(), "constructor", "cuda:0", 88)
    here = build_network(Model(), "constructor", "cpu", 1)
    apply_weights(here, load_weights(dump_weights(there), EXPECTED))
    assert all(torch.equal(a, b.cpu()) for a, b in zip(here.parameters(), there.parameters(), strict=True))

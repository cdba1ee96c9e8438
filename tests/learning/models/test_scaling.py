"""Scaling inside of a network: measured on rows, kept in the state_dict, invisible from outside."""

import json

import pytest
import torch

from tasks.errors import ExperimentError
from tasks.learning.config.model import Model
from tasks.learning.config.training import Training
from tasks.learning.data.schema import Columns
from tasks.learning.models.learned import read_learned
from tasks.learning.models.networks import build_network, describe, rebuild
from tasks.learning.models.saved_weights import describe_weights, load_network
from tasks.learning.models.scaling import MEASURED, Scaled, measure, scale_by_rows
from tasks.learning.models.weights import dump_weights, specify

ROWS = torch.tensor([[1.0, -5.0, 7.0], [3.0, 5.0, 7.0], [5.0, 0.0, 7.0]])
HOUSES = Columns(("area", "rooms", "age"), "price")


@pytest.mark.parametrize(
    ("method", "offset", "scale"),
    [
        ("none", [0, 0, 0], [1, 1, 1]),
        ("standard", [3, 0, 7], [(8 / 3) ** 0.5, (50 / 3) ** 0.5, 1]),
        ("min-max", [1, -5, 7], [4, 10, 1]),
    ],
)
def test_a_column_is_measured_by_itself_and_a_constant_one_keeps_its_scale(method, offset, scale):
    found = measure(ROWS, method)
    assert found.offset.tolist() == pytest.approx(offset)
    assert found.scale.tolist() == pytest.approx(scale)
    assert found.offset.dtype == found.scale.dtype == torch.float32


def test_deviations_that_a_float32_sum_would_lose_are_measured():
    far = torch.tensor([[1e6 + step] for step in (0.0, 1.0)] * 50_000)
    assert measure(far, "standard").scale.item() == pytest.approx(0.5)
    assert measure(far, "standard").offset.item() == 1e6 + 0.5


def scaled(features="standard", target="standard"):
    model = Model(kind="linear", scale_features=features, scale_target=target)
    network = build_network(model, "constructor", "cpu", 3, HOUSES)
    scale_by_rows(network, ROWS, torch.tensor([[100.0], [300.0], [200.0]]), features, target)
    return model, network


def test_the_network_inside_sees_scaled_features_and_its_outputs_are_scaled_back():
    _, network = scaled("min-max", "min-max")
    inside = network.network(torch.tensor([[0.0, 0.0, 0.0], [0.5, 1.0, 0.0], [1.0, 0.5, 0.0]]))
    assert torch.allclose(network(ROWS), inside * 200 + 100)


@pytest.mark.parametrize("placement", ["constructor", "context", "moved"])
def test_scaling_draws_nothing(placement):
    plain = build_network(Model(kind="linear"), placement, "cpu", 3, HOUSES)
    network = build_network(Model(kind="linear", scale_target="standard"), placement, "cpu", 3, HOUSES)
    assert isinstance(network, Scaled)
    assert torch.equal(network.network.linear_layer.weight, plain.linear_layer.weight)
    assert [name for name, _ in network.named_parameters()] == [
        "network.linear_layer.weight",
        "network.linear_layer.bias",
    ]


def test_it_is_saved_with_the_weights_and_rebuilt():
    model, network = scaled()
    description = json.loads(json.dumps(describe_weights(network, HOUSES, model, Training(), {})))
    assert (description["features"], description["targets"]) == (["area", "rooms", "age"], ["price"])
    assert description["scaling"] == {"features": "standard", "target": "standard"}
    again = load_network(description, dump_weights(network), "cpu")
    assert torch.equal(again(ROWS), network(ROWS))


def test_what_is_measured_is_not_learned():
    _, network = scaled()
    learned = read_learned(dump_weights(network), specify(network))
    assert learned.count == 4
    assert list(learned.values) == [*(f"linear_layer.weight[0, {place}]" for place in range(3)), "linear_layer.bias"]
    assert set(MEASURED) <= set(specify(network))


def test_a_network_without_scaling_is_as_it_was():
    assert describe(Model(kind="linear"))["scaling"] is None
    network = build_network(Model(kind="linear"), "constructor", "cpu", 3)
    before = dump_weights(network)
    scale_by_rows(network, ROWS, ROWS, "none", "none")
    assert dump_weights(network) == before


def test_a_line_of_one_feature_refuses_several():
    with pytest.raises(ExperimentError, match=r"model\.kind parameters has one feature, and the dataset 3"):
        build_network(Model(kind="parameters"), "constructor", "cpu", 3, HOUSES)


@pytest.mark.parametrize("scaling", [None, {"features": "standard", "target": "none"}])
def test_the_number_of_features_is_that_of_their_names(scaling):
    """A number in a file of another origin could take all memory."""
    description = {"architecture": "linear", "arguments": {"in_features": 10**13}, "features": ["a", "b"]}
    network = rebuild(description | {"scaling": scaling}, "cpu")
    assert [parameter.numel() for parameter in network.parameters()] == [2, 1]


@pytest.mark.parametrize("features", [None, [], 3, "ab", {"a": 1}])
@pytest.mark.parametrize("described", [{"architecture": "linear"}, {"architecture": "parameters", "scaling": {}}])
def test_a_description_that_lists_no_features_is_refused(described, features):
    with pytest.raises(ValueError, match="the description lists no features"):
        rebuild(described | {"features": features}, "cpu")
    with pytest.raises(ValueError, match="the description lists no features"):
        rebuild(described, "cpu")

"""The multilayer perceptron: its layers, its sizes, and what it can learn."""

import json

import pytest
import torch
from torch import nn

from tasks.learning.config.bounds import MOST_LAYERS, MOST_PARAMETERS, MOST_UNITS
from tasks.learning.config.model import Model
from tasks.learning.config.training import Training
from tasks.learning.data.schema import Columns
from tasks.learning.models.networks import build_network, describe, rebuild
from tasks.learning.models.perceptron import ACTIVATIONS, NORMALIZATIONS, Perceptron
from tasks.learning.models.saved_weights import load_network
from tasks.learning.models.weights import WeightsError, dump_weights, specify
from tasks.learning.training.loop import fit

COLUMNS = Columns(("a", "b", "c"), "y")


def built(seed: int = 0, **settings: object) -> nn.Module:
    return build_network(Model(kind="mlp", **settings), "constructor", "cpu", seed, COLUMNS)


def test_it_is_the_layers_that_torch_has_for_it() -> None:
    torch.manual_seed(3)
    layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 1))
    network, x = built(3, hidden=[8, 4], activation="tanh"), torch.randn(5, 3)
    assert torch.equal(network(x), layers(x))
    assert [list(tensor.shape) for tensor in network.state_dict().values()] == [[8, 3], [8], [4, 8], [4], [1, 4], [1]]


@pytest.mark.parametrize("kind", NORMALIZATIONS)
def test_units_are_normalized_before_the_activation(kind: str) -> None:
    network, x = built(hidden=[16], normalization=kind), torch.randn(50, 3) * 10 + 5
    linear = network.hidden[0].linear(x)
    expected = {
        "none": linear,
        "batch": (linear - linear.mean(0)) / (linear.var(0, correction=0) + 1e-5).sqrt(),
        "layer": (linear - linear.mean(1, keepdim=True)) / (linear.var(1, correction=0, keepdim=True) + 1e-5).sqrt(),
    }[kind]
    torch.testing.assert_close(network(x), network.output(expected.relu()), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations(kind: str) -> None:
    network, x = built(hidden=[4], activation=kind), torch.randn(5, 3)
    function = getattr(nn.functional, kind, None) or getattr(torch, kind)
    assert torch.equal(network(x), network.output(function(network.hidden[0].linear(x))))


def test_dropout_leaves_units_out_in_training_alone() -> None:
    network, x = built(hidden=[64], dropout=0.5), torch.randn(5, 3)
    network.train()
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), built(hidden=[64])(x))


def test_a_residual_layer_adds_its_input_where_both_are_of_one_width() -> None:
    network, x = built(hidden=[8, 8, 4], residual=True), torch.randn(5, 3)
    first = network.hidden[0].linear(x).relu()
    second = first + network.hidden[1].linear(first).relu()
    assert torch.equal(network(x), network.output(network.hidden[2].linear(second).relu()))


@pytest.mark.parametrize("settings", [{}, {"normalization": "batch", "dropout": 0.2}, {"residual": True}])
def test_rebuilt_from_its_description_and_weights_it_predicts_the_same(settings: dict[str, object]) -> None:
    model = Model(kind="mlp", hidden=[8, 8], scale_features="standard", **settings)
    network = build_network(model, "constructor", "cpu", 0, COLUMNS)
    network(torch.randn(20, 3))  # moves the running means of batch normalization
    network.eval()
    description = json.loads(json.dumps(describe(model, COLUMNS))) | {"tensors": specify(network)}
    again, x = load_network(description, dump_weights(network), "cpu"), torch.randn(5, 3)
    again.eval()
    assert torch.equal(again(x), network(x))


def test_as_many_layers_as_are_allowed_can_be_saved_and_loaded() -> None:
    model = Model(kind="mlp", hidden=[2] * MOST_LAYERS, normalization="batch")
    network = build_network(model, "constructor", "cpu", 0, COLUMNS)
    load_network(describe(model, COLUMNS) | {"tensors": specify(network)}, dump_weights(network), "cpu")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"hidden": []}, "hidden must list 1 to 64 numbers of units"),
        ({"hidden": [10**13]}, "hidden must list"),
        ({"hidden": [0]}, "hidden must list"),
        ({"hidden": [True]}, "hidden must list"),
        ({"hidden": ["8"]}, "hidden must list"),
        ({"hidden": 8}, "hidden must list"),
        ({"hidden": [1] * (MOST_LAYERS + 1)}, "hidden must list"),
        ({"hidden": [MOST_UNITS] * 2}, "268,484,608 weights for 3 features; at most 100,000,000 are allowed"),
        ({"activation": "sign"}, "unknown activation 'sign': known are relu, gelu, silu, tanh"),
        ({"activation": ["relu"]}, "unknown activation"),
        ({"normalization": "group"}, "unknown normalization 'group': known are none, batch, layer"),
        ({"dropout": 2.0}, "dropout probability has to be between 0 and 1"),
        ({"dropout": "half"}, "cannot be built"),
        ({"layers": 3}, "cannot be built"),
    ],
)
def test_a_received_description_that_asks_for_anything_else_is_refused(
    arguments: dict[str, object], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        rebuild({"architecture": "mlp", "arguments": arguments, "features": ["a", "b", "c"]}, "cpu")


def test_too_many_weights_by_the_number_of_features_are_refused() -> None:
    with pytest.raises(ValueError, match=f"at most {MOST_PARAMETERS:,} are allowed"):
        Perceptron(MOST_PARAMETERS // MOST_UNITS + 1, [MOST_UNITS])


def test_weights_of_another_size_are_refused() -> None:
    model = Model(kind="mlp", hidden=[8])
    description = describe(model, COLUMNS) | {"tensors": specify(built(hidden=[8]))}
    with pytest.raises(WeightsError, match=r"has shape \[9, 3\] where the model has \[8, 3\]"):
        load_network(description, dump_weights(built(hidden=[9])), "cpu")


def test_it_learns_what_no_plane_can_follow() -> None:
    """Exclusive or: the best plane predicts 0.5 everywhere, with a mean squared error of 0.25."""
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    losses = {}
    for kind in ("linear", "mlp"):
        model, training = Model(kind=kind, hidden=[16]), Training(loss="mse", optimizer="adam", learning_rate=0.05)
        network = build_network(model, "constructor", "cpu", 0, Columns(("a", "b"), "y"))
        losses[kind] = fit(network, training, (x, y), {"test": (x, y)}).history.train_loss[-1]
    assert losses["linear"] > 0.24
    assert losses["mlp"] < 0.01

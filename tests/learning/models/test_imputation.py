"""Missing features inside of a network: filled in as the training rows say, invisible from outside."""

import json
import math

import pytest
import torch

from tasks.errors import ExperimentError
from tasks.learning.config.model import Model
from tasks.learning.config.training import Training
from tasks.learning.data.schema import Columns
from tasks.learning.models.imputation import Imputed
from tasks.learning.models.learned import read_learned
from tasks.learning.models.networks import build_network, describe, measure_rows, rebuild
from tasks.learning.models.saved_weights import describe_weights, load_network
from tasks.learning.models.weights import dump_weights, specify
from tasks.learning.training.loop import fit

GAP = math.nan
COLUMNS = Columns(("area", "rooms", "age"), "price")
X = torch.tensor([[1.0, GAP, 7.0], [GAP, 5.0, 9.0], [5.0, 1.0, 8.0], [3.0, 2.0, 6.0]])
Y = torch.tensor([[100.0], [300.0], [200.0], [250.0]])


def built(kind: str = "linear", **settings: object) -> tuple[Model, torch.nn.Module]:
    model = Model(kind=kind, **{"impute": ["rooms", "area"], **settings})
    network = build_network(model, "constructor", "cpu", 3, COLUMNS)
    measure_rows(network, X, Y, model, COLUMNS)
    return model, network


def test_a_gap_is_filled_with_the_median_of_the_training_rows() -> None:
    _, network = built()
    filled = torch.tensor([[1.0, 2.0, 7.0], [3.0, 5.0, 9.0], [5.0, 1.0, 8.0], [3.0, 2.0, 6.0]])
    assert torch.equal(network(X), network.network(filled))


def test_the_network_may_read_what_was_missing() -> None:
    _, network = built(missing_indicators=True)
    indicators = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert torch.equal(network.fill(X)[:, 3:], indicators), "in the order of the features"
    assert network.network.linear_layer.in_features == 5


def test_features_are_scaled_as_they_are_filled_in() -> None:
    _, network = built(scale_features="standard")
    filled = network.fill(X)
    assert torch.allclose(network.network.feature_offset, filled.mean(0))
    assert torch.allclose(network.network.feature_scale, filled.std(0, correction=0))


def test_a_feature_without_any_value_is_refused_by_its_name() -> None:
    network = build_network(Model(kind="linear", impute=["*"]), "constructor", "cpu", 0, COLUMNS)
    rows = torch.tensor([[1.0, GAP, GAP], [2.0, GAP, GAP]])
    with pytest.raises(ExperimentError, match="no training row has a value of rooms, age: leave it out"):
        measure_rows(network, rows, Y[:2], Model(kind="linear", impute=["*"]), COLUMNS)


@pytest.mark.parametrize("placement", ["constructor", "context", "moved"])
def test_filling_in_draws_nothing(placement: str) -> None:
    plain = build_network(Model(kind="linear"), placement, "cpu", 3, COLUMNS)
    network = build_network(Model(kind="linear", impute=["*"]), placement, "cpu", 3, COLUMNS)
    assert isinstance(network, Imputed)
    assert torch.equal(network.network.linear_layer.weight, plain.linear_layer.weight)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_what_is_saved_takes_gaps_and_predicts_the_same(kind: str) -> None:
    model, network = built(kind, missing_indicators=True, scale_features="min-max", scale_target="standard")
    training = Training(optimizer="adam", epochs=20)
    fit(network, training, (X, Y), {"test": (X, Y)})
    network.eval()
    description = json.loads(json.dumps(describe_weights(network, COLUMNS, model, training, {})))
    again = load_network(description, dump_weights(network), "cpu").eval()
    assert torch.equal(again(X), network(X))
    assert torch.isfinite(network(X)).all()


def test_only_what_is_learned_is_counted_and_named() -> None:
    _, network = built(scale_features="standard")
    learned = read_learned(dump_weights(network), specify(network))
    assert learned.count == 4
    assert list(learned.values) == [*(f"linear_layer.weight[0, {place}]" for place in range(3)), "linear_layer.bias"]


def test_without_gaps_nothing_is_said_of_them() -> None:
    assert "imputation" not in describe(Model(kind="linear"), COLUMNS)


@pytest.mark.parametrize(
    "imputation",
    [
        {},
        [],
        {"features": [], "indicators": False},
        {"features": ["none"], "indicators": False},
        {"features": ["area", "area"], "indicators": False},
        {"features": ["area"], "indicators": 10**9},
        {"features": ["area"]},
        {"features": ["area"] * 10_000, "indicators": True},
        {"features": [["area"]], "indicators": True},
    ],
    ids=lambda imputation: str(imputation)[:40],
)
def test_a_received_description_that_says_anything_else_is_refused(imputation: object) -> None:
    description = describe(Model(kind="linear"), COLUMNS) | {"imputation": imputation}
    with pytest.raises(ValueError, match="the description is wrong about missing features"):
        rebuild(description, "cpu")


def test_a_received_description_of_very_many_features_is_read_at_once() -> None:
    names = [f"f{number}" for number in range(100_000)]
    description = {"architecture": "linear", "arguments": {}, "features": names, "targets": ["y"], "scaling": None}
    network = rebuild(description | {"imputation": {"features": names, "indicators": False}}, "meta")
    assert isinstance(network, Imputed)


def test_a_line_of_one_feature_has_no_place_for_an_indicator() -> None:
    model = Model(impute=["x"], missing_indicators=True)
    with pytest.raises(ExperimentError, match="has one feature, and the dataset 2, with indicators: choose another"):
        describe(model, Columns(("x",), "y"))

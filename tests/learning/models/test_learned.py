import pytest
import torch
from torch import nn

from tasks.learning.models.learned import MOST_LISTED, Learned, read_learned
from tasks.learning.models.weights import WeightsError, dump_weights, specify


def module(**tensors: torch.Tensor) -> nn.Module:
    made = nn.Module()
    for name, tensor in tensors.items():
        made.register_parameter(name, nn.Parameter(tensor))
    return made


def test_few_parameters_are_listed_by_name_and_place():
    model = module(bias=torch.tensor([0.25]), weight=torch.tensor([[1.0, 2.0], [3.0, -4.5]]), scalar=torch.tensor(7.0))
    assert read_learned(dump_weights(model), specify(model)) == Learned(
        6,
        {
            "bias": 0.25,
            "weight[0, 0]": 1.0,
            "weight[0, 1]": 2.0,
            "weight[1, 0]": 3.0,
            "weight[1, 1]": -4.5,
            "scalar": 7.0,
        },
    )


def test_many_are_only_counted():
    model = nn.Linear(MOST_LISTED, 1)
    assert read_learned(dump_weights(model), specify(model)) == Learned(MOST_LISTED + 1, {})
    assert (
        len(read_learned(dump_weights(module(w=torch.ones(MOST_LISTED))), specify(module(w=torch.ones(20)))).values)
        == 20
    )


def test_what_batch_normalization_measures_is_not_learned() -> None:
    model = nn.BatchNorm1d(2)
    assert read_learned(dump_weights(model), specify(model)) == Learned(
        4, {"weight[0]": 1.0, "weight[1]": 1.0, "bias[0]": 0.0, "bias[1]": 0.0}
    )


def test_weights_that_are_others_are_refused():
    model = nn.Linear(1, 1)
    with pytest.raises(WeightsError):
        read_learned(dump_weights(model), specify(module(bias=torch.ones(1))))

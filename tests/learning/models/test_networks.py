import json

import pytest
import torch
from pydantic import ValidationError

from tasks.learning.config.model import MODELS, Model
from tasks.learning.config.training import Training
from tasks.learning.models.networks import NETWORKS, build_network, describe, rebuild
from tasks.learning.models.saved_weights import load_network
from tasks.learning.models.weights import WeightsError

PLACEMENTS = ["constructor", "context", "moved"]
KINDS = ["parameters", "linear"]  # those that are a line


def drawn(count=2):
    torch.manual_seed(88)
    return [torch.randn(1) for _ in range(count)]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_parameters_are_drawn_weight_first_right_after_seeding(placement):
    torch.manual_seed(1)
    state = build_network(Model(), placement, "cpu", 88).state_dict()
    assert list(state) == ["weights", "bias"]
    assert list(state.values()) == drawn()
    assert all(tensor.shape == (1,) and tensor.dtype == torch.float32 for tensor in state.values())


def test_every_allowed_seed_is_the_generators_own_and_draws_parameters_of_its_own():
    seeds = [0, 1, 88, 2**31, 2**32 - 2, 2**32 - 1]
    drawn_parameters = set()
    for seed in seeds:
        torch.manual_seed(seed)
        weight = torch.randn(1)
        network = build_network(Model(), "constructor", "cpu", Training(seed=seed).seed)
        assert torch.equal(next(network.parameters()), weight)
        drawn_parameters.add(tuple(parameter.item() for parameter in network.parameters()))
    assert len(drawn_parameters) == len(seeds)


def test_a_seed_of_which_the_generator_would_keep_a_part_is_refused():
    with pytest.raises(ValidationError, match="less than or equal to 4294967295"):
        Training(seed=2**32)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_linear_layer_is_drawn_as_torch_draws_it(placement):
    network = build_network(Model(kind="linear"), placement, "cpu", 88)
    torch.manual_seed(88)
    layer = torch.nn.Linear(1, 1)
    state = network.state_dict()
    assert {name: list(tensor.shape) for name, tensor in state.items()} == {
        "linear_layer.weight": [1, 1],
        "linear_layer.bias": [1],
    }
    assert torch.equal(state["linear_layer.weight"], layer.weight)
    assert torch.equal(state["linear_layer.bias"], layer.bias)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_placement_ends_on_the_device(kind, placement):
    network = build_network(Model(kind=kind), placement, "meta", 0)
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_placement_ends_on_the_gpu(kind, placement):
    network = build_network(Model(kind=kind), placement, "cuda:0", 0)
    assert {str(parameter.device) for parameter in network.parameters()} == {"cuda:0"}


def test_names_of_the_parameters():
    network = build_network(Model(weight_name="slope", bias_name="offset"), "constructor", "cpu", 0)
    assert list(network.state_dict()) == ["slope", "offset"]


@pytest.mark.parametrize("name", ["forward", "training", "float"])
def test_a_description_with_a_name_that_a_module_has_already_is_refused(name):
    with pytest.raises(ValueError, match=f"a parameter cannot be named '{name}'"):
        rebuild({"architecture": "parameters", "arguments": {"bias_name": name}}, "cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_initial_values_overwrite_the_drawn_ones(kind):
    network = build_network(Model(kind=kind, initial_weight=2.0, initial_bias=-1.0), "constructor", "cpu", 0)
    x = torch.tensor([[0.0], [1.0], [2.5]])
    assert network(x).tolist() == [[-1.0], [1.0], [4.0]]
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_one_initial_value_leaves_the_other_drawn():
    network = build_network(Model(initial_bias=0.0), "constructor", "cpu", 88)
    assert [parameter.item() for parameter in network.parameters()] == [drawn()[0].item(), 0.0]


@pytest.mark.parametrize("kind", KINDS)
def test_rebuilt_from_its_description_in_json(kind):
    model = Model(kind=kind, weight_name="slope", bias_name="offset")
    network = build_network(model, "constructor", "cpu", 1)
    again = rebuild(json.loads(json.dumps(describe(model))), "cpu")
    again.load_state_dict(network.state_dict(), strict=True)
    x = torch.linspace(0, 1, 5).unsqueeze(1)
    assert torch.equal(again(x), network(x))


@pytest.mark.parametrize("description", [{}, {"architecture": "transformer"}, {"architecture": ["parameters"]}])
def test_refuses_an_unknown_architecture(description):
    with pytest.raises(ValueError, match=r"unknown architecture .*: known are parameters, linear, mlp"):
        rebuild(description, "cpu")


@pytest.mark.parametrize("arguments", [{"layers": 3}, {"device": "cpu"}, {"weight_name": 1}, {"weight_name": "a.b"}])
def test_refuses_arguments_that_the_architecture_has_not(arguments):
    with pytest.raises(ValueError, match=r"parameters|a parameter cannot be named"):
        rebuild({"architecture": "parameters", "arguments": arguments}, "cpu")


def test_every_kind_of_the_settings_has_a_network():
    assert MODELS.keys() == NETWORKS.keys()


def test_a_description_of_many_tensors_is_refused_in_few_words():
    many = {f"tensor {number}": {"shape": [1], "dtype": "float32"} for number in range(10_000)}
    description = describe(Model()) | {"tensors": many}
    with pytest.raises(WeightsError, match="the description lists the tensors") as refusal:
        load_network(description, b"", "cpu")
    assert len(str(refusal.value)) < 1500

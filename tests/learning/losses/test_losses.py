import subprocess
import sys

import pytest
import torch
from torch import nn

from tasks.errors import ExperimentError
from tasks.learning.losses.registry import LOSSES, loss_name
from tasks.learning.training.targets import require_targets

MODULES = {"l1": nn.L1Loss(), "mse": nn.MSELoss(), "huber": nn.HuberLoss(delta=1.0), "bce": nn.BCEWithLogitsLoss()}


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("rows", [1, 3, 40, 1000])
def test_bits_and_gradients_of_torchs_own(name, rows):
    torch.manual_seed(rows)
    target = torch.rand(rows, 1)
    ours, theirs = (torch.full((rows, 1), 0.3).add(target * 5 - 2).requires_grad_() for _ in range(2))
    loss, expected = LOSSES[name].batch_loss(ours, target), MODULES[name](theirs, target)
    loss.backward()
    expected.backward()
    assert torch.equal(loss, expected)
    assert torch.equal(ours.grad, theirs.grad)


def test_every_loss_has_a_label_and_a_name_of_its_own():
    for reported in ("LABEL", "NAME"):
        assert len({getattr(loss, reported) for loss in LOSSES.values()}) == len(LOSSES)


def test_a_loss_that_is_not_known_goes_by_its_own_name():
    assert [loss_name(loss) for loss in ("l1", "l3")] == ["mean absolute error", "l3"]


def test_the_registry_loads_neither_torch_nor_numpy():
    code = "import sys, tasks.learning.losses.registry; sys.exit(bool({'torch', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_bce_names_the_first_row_outside(value):
    target = torch.tensor([[0.0], [1.0], [value], [-5.0]])
    with pytest.raises(ExperimentError, match=f"row 2 of the test part is {value:g}"):
        require_targets("bce", target, "test")


def test_bce_takes_targets_from_0_to_1():
    require_targets("bce", torch.tensor([[0.0], [0.5], [1.0]]), "train")


@pytest.mark.parametrize("name", ["l1", "mse", "huber"])
def test_other_losses_take_any_target(name):
    require_targets(name, torch.tensor([[-7.0]]), "train")

import subprocess
import sys
from inspect import unwrap

import pytest
import torch
from torch import nn, optim

from tasks.learning.config.training import Training
from tasks.learning.optimizers.registry import build_optimizer
from tasks.learning.optimizers.unwrapped import unwrapped

STOCK = {"sgd": optim.SGD, "adam": optim.Adam, "adamw": optim.AdamW}

SETTINGS = [
    {"optimizer": "sgd"},
    {"optimizer": "sgd", "momentum": 0.9},
    {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01},
    {"optimizer": "adam"},
    {"optimizer": "adam", "weight_decay": 0.01},
    {"optimizer": "adamw"},
    {"optimizer": "adamw", "weight_decay": 0.01},
]


def parameters():
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(2))]


def stock(training, values):
    options = {"momentum": training.momentum} if training.optimizer == "sgd" else {}
    return STOCK[training.optimizer](values, lr=training.learning_rate, weight_decay=training.weight_decay, **options)


def walk(optimizer, values, steps=50):
    x = torch.linspace(-1, 1, 12).reshape(4, 3)
    for _ in range(steps):
        optimizer.zero_grad()
        ((x @ values[0] + values[1]) ** 2 - 1).abs().mean().backward()
        optimizer.step()
    return values


@pytest.mark.parametrize("settings", SETTINGS)
def test_same_bits_as_the_stock_optimizer(settings):
    training = Training(learning_rate=0.05, **settings)
    ours, theirs = parameters(), parameters()
    walk(build_optimizer(ours, training, 0.05), ours)
    walk(stock(training, theirs), theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("settings", SETTINGS)
def test_resumes_from_the_state_of_the_stock_optimizer(settings):
    training = Training(learning_rate=0.05, **settings)
    ours, theirs = parameters(), parameters()
    before = stock(training, ours)
    walk(before, ours, 25)
    after = build_optimizer(ours, training, 0.05)
    after.load_state_dict(before.state_dict())
    walk(after, ours, 25)
    walk(stock(training, theirs), theirs, 50)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", STOCK)
def test_is_the_stock_optimizer(name):
    optimizer = build_optimizer(parameters(), Training(optimizer=name), 0.05)
    assert isinstance(optimizer, STOCK[name])
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("name", STOCK)
def test_a_step_leaves_gradients_enabled_and_runs_a_closure(name):
    values = parameters()
    optimizer = build_optimizer(values, Training(optimizer=name), 0.05)
    loss = sum(value.square().sum() for value in values)
    loss.backward()
    assert optimizer.step(lambda: 1.5) == 1.5
    assert torch.is_grad_enabled()


def test_works_where_torch_has_no_wrappers(monkeypatch):
    monkeypatch.setattr(optim.SGD, "step", unwrap(optim.SGD.step))
    training = Training(learning_rate=0.05)
    ours, theirs = parameters(), parameters()
    walk(unwrapped.__wrapped__(optim.SGD)(ours, lr=0.05), ours)
    walk(build_optimizer(theirs, training, 0.05), theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    "settings", ["optimizer='sgd', momentum=0.9, clip_norm=1.0", "optimizer='adam', batch_size=3", "optimizer='adamw'"]
)
def test_a_fit_does_not_load_the_compiler(settings):
    code = f"""if True:
        import sys, torch
        from tasks.learning.config.model import Model
        from tasks.learning.config.training import Training
        from tasks.learning.training.loop import fit
        from tasks.learning.models.networks import build_network
        batch = torch.ones(4, 1), torch.ones(4, 1)
        fit(build_network(Model(), "context", "cpu", 0), Training(epochs=2, {settings}), batch, {{"test": batch}})
        sys.exit("torch._dynamo" in sys.modules)"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

import subprocess
import sys
from inspect import unwrap

import pytest
import torch
from torch import nn, optim

from tasks.learning.config.experiment import Training
from tasks.learning.training import optimizers
from tasks.learning.training.optimizers import build_optimizer, learning_rate_at, set_learning_rate

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
    walk(build_optimizer(ours, training), ours)
    walk(stock(training, theirs), theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("settings", SETTINGS)
def test_goes_on_from_the_state_of_the_stock_optimizer(settings):
    training = Training(learning_rate=0.05, **settings)
    ours, theirs = parameters(), parameters()
    before = stock(training, ours)
    walk(before, ours, 25)
    after = build_optimizer(ours, training)
    after.load_state_dict(before.state_dict())
    walk(after, ours, 25)
    walk(stock(training, theirs), theirs, 50)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", STOCK)
def test_is_the_stock_optimizer(name):
    optimizer = build_optimizer(parameters(), Training(optimizer=name))
    assert isinstance(optimizer, STOCK[name])
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("name", STOCK)
def test_a_step_leaves_gradients_enabled_and_runs_a_closure(name):
    values = parameters()
    optimizer = build_optimizer(values, Training(optimizer=name))
    loss = sum(value.square().sum() for value in values)
    loss.backward()
    assert optimizer.step(lambda: 1.5) == 1.5
    assert torch.is_grad_enabled()


def test_works_where_torch_has_no_wrappers(monkeypatch):
    monkeypatch.setattr(optim.SGD, "step", unwrap(optim.SGD.step))
    training = Training(learning_rate=0.05)
    ours, theirs = parameters(), parameters()

    class Plain(optimizers._Unwrapped, optim.SGD):
        step = optimizers._unwrapped_step(optim.SGD)

    walk(Plain(ours, lr=0.05), ours)
    walk(build_optimizer(theirs, training), theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    "settings", ["optimizer='sgd', momentum=0.9, clip_norm=1.0", "optimizer='adam', batch_size=3", "optimizer='adamw'"]
)
def test_a_fit_does_not_load_the_compiler(settings):
    code = f"""if True:
        import sys, torch
        from tasks.learning.config.experiment import Model, Training
        from tasks.learning.training.loop import fit
        from tasks.learning.models.networks import build_network
        batch = torch.ones(4, 1), torch.ones(4, 1)
        fit(build_network(Model(), "context", "cpu", 0), Training(epochs=2, {settings}), batch, {{"test": batch}})
        sys.exit("torch._dynamo" in sys.modules)"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def stock_rates(scheduler_of, training):
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=training.learning_rate)
    scheduler = scheduler_of(optimizer)
    rates = []
    for _ in range(training.epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def rates(training):
    return [learning_rate_at(training, epoch) for epoch in range(training.epochs)]


def test_constant_rate():
    assert set(rates(Training(learning_rate=0.03, epochs=20))) == {0.03}


@pytest.mark.parametrize(("every", "factor"), [(1, 0.5), (7, 0.1), (100, 0.9), (3, 1.0)])
def test_step_schedule_is_torchs(every, factor):
    training = Training(learning_rate=0.3, schedule="step", step_every=every, step_factor=factor, epochs=60)
    expected = stock_rates(lambda optimizer: optim.lr_scheduler.StepLR(optimizer, every, factor), training)
    assert rates(training) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("last", "epochs"), [(0.0, 60), (0.01, 61), (0.3, 5), (0.0, 1)])
def test_cosine_schedule_is_torchs(last, epochs):
    training = Training(learning_rate=0.3, schedule="cosine", final_learning_rate=last, epochs=epochs)
    expected = stock_rates(lambda optimizer: optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, last), training)
    assert rates(training) == pytest.approx(expected, abs=1e-12)


def test_setting_the_rate_reaches_every_group():
    optimizer = build_optimizer(parameters(), Training(learning_rate=0.5))
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]

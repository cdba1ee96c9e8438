import pytest
import torch
from torch import nn, optim

from tasks.learning.config.training import Training
from tasks.learning.training.lr_schedule import learning_rate_at, set_learning_rate


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


@pytest.mark.parametrize("epochs", [4, 5, 10, 61, 1000])
@pytest.mark.parametrize("last", [0.0, 0.003])
def test_one_cycle_is_torchs(epochs, last):
    training = Training(learning_rate=0.3, schedule="one-cycle", final_learning_rate=last, epochs=epochs)
    expected = stock_rates(
        lambda optimizer: optim.lr_scheduler.OneCycleLR(
            optimizer, 0.3, epochs, final_div_factor=0.3 / 25 / last if last else float("inf"), cycle_momentum=False
        ),
        training,
    )
    assert rates(training) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_one_cycle_of_few_epochs_falls(epochs):
    found = rates(Training(learning_rate=0.3, schedule="one-cycle", epochs=epochs))
    assert all(0 <= rate <= 0.3 for rate in found)
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("warmup", [1, 5, 60, 1000])
def test_the_warm_up_is_torchs(warmup):
    training = Training(learning_rate=0.3, warmup_epochs=warmup, epochs=60)
    expected = stock_rates(
        lambda optimizer: optim.lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), 1.0, total_iters=warmup), training
    )
    assert rates(training) == pytest.approx(expected, abs=1e-12)


def test_the_warm_up_multiplies_the_schedule():
    settings = {"learning_rate": 0.3, "schedule": "step", "step_every": 7, "epochs": 60}
    plain, warmed = rates(Training(**settings)), rates(Training(**settings, warmup_epochs=9))
    factors = [min((epoch + 1) / 10, 1) for epoch in range(60)]
    assert warmed == pytest.approx([rate * factor for rate, factor in zip(plain, factors, strict=True)], abs=1e-15)
    assert plain == rates(Training(**settings, warmup_epochs=0))


def test_setting_the_rate_reaches_every_group():
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]

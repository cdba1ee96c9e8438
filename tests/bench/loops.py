"""Seconds an epoch of the notebook's training loop and of ours, in turn, in one process; prints JSON.

Both fit the 40 training rows of `line` on the CPU and evaluate on the 10 test rows every tenth epoch. Ours runs with
its history, its progress and every setting at its default. Usage: python loops.py ROUNDS
"""

import json
import statistics
import sys
import time

import torch
from torch import nn

from flows.config.experiments import load_experiment
from tasks.learning.models.networks import build_network
from tasks.learning.training.loop import fit

EPOCHS = 2_000


def notebook_loop(model, x_train, y_train, x_test, y_test):
    """The loop as the notebook has it, with its records every tenth epoch."""
    loss_fn = nn.L1Loss()
    optimizer = torch.optim.SGD(params=model.parameters(), lr=0.03)
    epochs, train_losses, test_losses = [], [], []
    for epoch in range(EPOCHS):
        model.train()
        y_pred = model(x_train)
        loss = loss_fn(y_pred, y_train)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.eval()
        if epoch % 10 == 0:
            with torch.inference_mode():
                test_loss = loss_fn(model(x_test), y_test)
            epochs.append(epoch)
            train_losses.append(loss.detach().numpy())
            test_losses.append(test_loss.detach().numpy())


def timed(call):
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) / EPOCHS


def main(rounds):
    experiment = load_experiment("line", {"training": {"epochs": EPOCHS}})
    model, training = experiment.model, experiment.training
    x = torch.arange(0, 1, 0.02).unsqueeze(1)
    y = 0.7 * x + 0.3
    train, test = (x[:40], y[:40]), (x[40:], y[40:])

    def network():
        return build_network(model, training.placement, "cpu", training.seed)

    def ours():
        fit(network(), training, train, {"test": test}, lambda done, total, loss: None)

    def notebook():
        notebook_loop(network(), *train, *test)

    loops = {"ours": ours, "notebook": notebook}
    for loop in loops.values():
        loop()
    taken = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            taken[name].append(timed(loop))
    print(json.dumps({name: statistics.median(values) for name, values in taken.items()}))


if __name__ == "__main__":
    main(int(sys.argv[1]))

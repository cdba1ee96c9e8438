"""The yardstick: the same work as one plain script, without orchestration, cache or checks, as one would write it.

Dataset and split as Parquet, the notebook's loop, metrics, the same five plots in both formats, checkpoint, reload and
comparison. Usage: python plain_script.py FOLDER
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import nn

EPOCHS = 180


class LinearRegression(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.randn(1))
        self.bias = nn.Parameter(torch.randn(1))

    def forward(self, x):
        return self.weights * x + self.bias


def make_tables(folder):
    x = torch.arange(0, 1, 0.02)
    table = pd.DataFrame({"x": x.numpy(), "y": (0.7 * x + 0.3).numpy()})
    table.to_parquet(folder / "dataset.parquet")
    border = int(0.8 * len(table))
    table[:border].to_parquet(folder / "train.parquet")
    table[border:].to_parquet(folder / "test.parquet")


def read_part(folder, name):
    table = pd.read_parquet(folder / f"{name}.parquet")
    return torch.tensor(table["x"].values).unsqueeze(1), torch.tensor(table["y"].values).unsqueeze(1)


def fit(model, x_train, y_train, x_test, y_test):
    loss_fn = nn.L1Loss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03)
    history = []
    for epoch in range(EPOCHS):
        model.train()
        prediction = model(x_train)
        loss = loss_fn(prediction, y_train)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if epoch % 10 == 0:
            model.eval()
            with torch.inference_mode():
                test_loss = loss_fn(model(x_test), y_test)
            history.append((epoch, loss.item(), test_loss.item()))
    return history


def metrics_of(prediction, target):
    residual = target - prediction
    return {
        "mae": residual.abs().mean().item(),
        "mse": residual.square().mean().item(),
        "rmse": residual.square().mean().sqrt().item(),
        "r2": (1 - residual.square().sum() / (target - target.mean()).square().sum()).item(),
        "largest_error": residual.abs().max().item(),
    }


def save_plot(folder, name, draw, x_label, y_label):
    plt.figure(figsize=(8, 5))
    draw()
    plt.xlabel(x_label)
    plt.ylabel(y_label)
    plt.legend()
    plt.savefig(folder / f"{name}.png", dpi=120)
    plt.savefig(folder / f"{name}.svg")
    plt.close()


def plot_all(folder, parts, untrained, trained, history):
    def data():
        for name, (x, y) in parts.items():
            plt.scatter(x, y, label=name)

    def predictions(values):
        data()
        plt.scatter(parts["test"][0], values["test"], label="predictions")

    def losses():
        epochs, train, test = zip(*history, strict=True)
        plt.plot(epochs, train, label="train")
        plt.plot(epochs, test, label="test")

    def residuals():
        for name, (x, y) in parts.items():
            plt.scatter(x, y - trained[name], label=name)

    save_plot(folder, "data", data, "x", "y")
    save_plot(folder, "untrained", lambda: predictions(untrained), "x", "y")
    save_plot(folder, "trained", lambda: predictions(trained), "x", "y")
    save_plot(folder, "loss", losses, "epoch", "mean absolute error")
    save_plot(folder, "residuals", residuals, "x", "residual")


def predict(model, parts):
    with torch.inference_mode():
        return {name: model(x) for name, (x, _) in parts.items()}


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    make_tables(folder)
    parts = {name: read_part(folder, name) for name in ("train", "test")}

    torch.manual_seed(88)
    model = LinearRegression()
    untrained = predict(model, parts)
    history = fit(model, *parts["train"], *parts["test"])
    trained = predict(model, parts)

    metrics = {name: metrics_of(trained[name], y) for name, (_, y) in parts.items()}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    pd.DataFrame(history, columns=["epoch", "train", "test"]).to_parquet(folder / "history.parquet")
    for name, (x, y) in parts.items():
        table = {"x": x.ravel(), "y": y.ravel(), "prediction": trained[name].ravel()}
        pd.DataFrame(table).to_parquet(folder / f"predictions-{name}.parquet")
    plot_all(folder, parts, untrained, trained, history)

    torch.save(model.state_dict(), folder / "model.pth")
    reloaded = LinearRegression()
    reloaded.load_state_dict(torch.load(folder / "model.pth", weights_only=True))
    for name, values in predict(reloaded, parts).items():
        assert torch.equal(values, trained[name])


if __name__ == "__main__":
    main(Path(sys.argv[1]))

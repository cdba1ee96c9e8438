"""The yardstick for Prefect: the same six stages as a flow that one writes first, with no setting changed.

Each stage is a task with the cache policy INPUTS + TASK_SOURCE, and they hand each other the names of files, so that
all of them are reused; what is in the files, nobody looks at.
Usage: python naive_flow.py FOLDER
"""

import json
import sys
from pathlib import Path

import pandas as pd
import torch
from plain_script import LinearRegression, fit, metrics_of, plot_all, predict, read_part
from prefect import flow, task
from prefect.cache_policies import INPUTS, TASK_SOURCE

CACHED = {"cache_policy": INPUTS + TASK_SOURCE, "persist_result": True}


def read_parts(files):
    return {name: read_part(Path(file).parent, name) for name, file in files.items()}


def rebuilt(file):
    model = LinearRegression()
    model.load_state_dict(torch.load(file, weights_only=True))
    return model


@task(**CACHED)
def generate(folder):
    x = torch.arange(0, 1, 0.02)
    pd.DataFrame({"x": x.numpy(), "y": (0.7 * x + 0.3).numpy()}).to_parquet(folder / "dataset.parquet")
    return str(folder / "dataset.parquet")


@task(**CACHED)
def split(folder, dataset):
    table = pd.read_parquet(dataset)
    border = int(0.8 * len(table))
    table[:border].to_parquet(folder / "train.parquet")
    table[border:].to_parquet(folder / "test.parquet")
    return {name: str(folder / f"{name}.parquet") for name in ("train", "test")}


@task(**CACHED)
def train(folder, files):
    torch.manual_seed(88)
    model = LinearRegression()
    parts = read_parts(files)
    torch.save(model.state_dict(), folder / "untrained.pth")
    history = fit(model, *parts["train"], *parts["test"])
    torch.save(model.state_dict(), folder / "trained.pth")
    return str(folder / "untrained.pth"), str(folder / "trained.pth"), history


@task(**CACHED)
def evaluate(folder, files, trained):
    parts = read_parts(files)
    predictions = predict(rebuilt(trained), parts)
    metrics = {name: metrics_of(predictions[name], y) for name, (_, y) in parts.items()}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    for name, (x, y) in parts.items():
        table = {"x": x.ravel(), "y": y.ravel(), "prediction": predictions[name].ravel()}
        pd.DataFrame(table).to_parquet(folder / f"predictions-{name}.parquet")
    return str(folder / "metrics.json")


@task(**CACHED)
def plot(folder, files, untrained, trained, history):
    parts = read_parts(files)
    plot_all(folder, parts, predict(rebuilt(untrained), parts), predict(rebuilt(trained), parts), history)


@task(**CACHED)
def save(folder, trained):
    torch.save(rebuilt(trained).state_dict(), folder / "model.pth")


@flow
def naive(folder):
    dataset = generate(folder)
    files = split(folder, dataset)
    untrained, trained, history = train(folder, files)
    evaluate(folder, files, trained)
    plot(folder, files, untrained, trained, history)
    save(folder, trained)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    naive(folder)

"""A table of the user's own: read, trained on, plotted, verified, and read again only if its content changes."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from flows.config.experiments import load_experiment
from tasks.caching.runs.manifest import Manifest
from tasks.caching.storage.store import Store
from tasks.learning.data.tables import read_table
from tasks.learning.models.saved_weights import load_network

Command = Callable[..., tuple[int, str, str]]

#: Rows of the table, and of its parts.
ROWS, PARTS = 200, {"train": 140, "validation": 20, "test": 40}

EXPERIMENT = """
[data]
kind = "table"
path = "houses.csv"
target = "price"
exclude = ["city"]
[split]
method = "shuffled"
train = 0.7
validation = 0.1
[model]
kind = "linear"
scale_features = "standard"
scale_target = "standard"
[training]
loss = "mse"
optimizer = "adam"
learning_rate = 0.05
epochs = 400
device = "cpu"
"""


def houses() -> str:
    """A CSV file in which the price follows from the other columns, but for noise."""
    draw = np.random.default_rng(7)
    area, rooms = draw.uniform(30, 200, ROWS), draw.integers(1, 8, ROWS)
    garden = draw.random(ROWS) < 0.4
    price = 60_000 + 2_800 * area + 9_000 * rooms + 15_000 * garden + draw.normal(0, 5_000, ROWS)
    lines = (
        f"{row[0]:.1f},{row[1]},{'Bonn' if row[1] % 2 else 'Köln'},{str(row[2]).lower()},{row[3]:.0f}\n"
        for row in zip(area, rooms.tolist(), garden.tolist(), price, strict=True)
    )
    return "area,rooms,city,garden,price\n" + "".join(lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the table and its experiment lie."""
    folder = tmp_path_factory.mktemp("houses")
    (folder / "houses.csv").write_text(houses())
    (folder / "houses.toml").write_text(EXPERIMENT)
    return folder


@pytest.fixture
def file(folder: Path, tmp_path: Path) -> Path:
    """The experiment, in a copy of that folder."""
    return Path(shutil.copytree(folder, tmp_path / "houses")) / "houses.toml"


def statuses(out: str) -> dict[str, str]:
    """What became of each stage, as `train` and `plan` print it."""
    return {line.split()[0]: " ".join(line.split()[1:3]) for line in out.splitlines() if line.split()}


def test_it_is_trained_on_verified_repeated_and_reused(store: Store, command: Command, file: Path) -> None:
    code, out, error = command("train", str(file), "--verify")
    assert code == 0, error
    (folder,) = (path for path in store.runs.iterdir() if not path.is_symlink())
    manifest = Manifest.read(folder)
    assert [stage.name for stage in manifest.stages][:2] == ["ingest", "split"]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {part: found["rows"] for part, found in metrics.items()} == PARTS
    assert metrics["test"]["r2"] > 0.995
    report = (folder / "report.html").read_text()
    assert "5 parameters learned" not in report
    assert "4 parameters learned" in report
    assert all(f">{name}</th>" in report for name in ("area", "rooms", "garden"))
    code, out, _ = command("plan", str(file))
    assert out.count("reused") == 6
    code, out, error = command("reproduce", folder.name)
    assert (code, out.count("identical")) == (0, 6), error
    assert command("history", "houses")[0] == 0


def test_rows_with_gaps_are_left_out_or_filled_in(store: Store, command: Command, file: Path) -> None:
    table = file.with_name("houses.csv")
    lines = table.read_text().splitlines()
    with_gaps = [line if number % 7 else "," + line.partition(",")[2] for number, line in enumerate(lines[1:])]
    with_gaps[3] = with_gaps[3].rpartition(",")[0] + ","  # no price
    table.write_text("\n".join([lines[0], *with_gaps]))
    code, _, error = command("train", str(file))
    assert (code, "column 'area': the value in row 2 is missing (29 values are)" in error) == (1, True), error
    words = ("--data.drop-missing", "price", "--model.impute", "*", "--model.missing-indicators")
    code, out, error = command("train", str(file), *words, "--verify")
    assert code == 0, error
    assert "1 of 200 rows are left out: a value is missing in price" in out
    folder = (store.runs / "latest").resolve()
    description = json.loads((folder / "model.json").read_text())
    assert description["imputation"] == {"features": ["area", "rooms", "garden"], "indicators": True}
    predictions = read_table(store.path(Manifest.read(folder).made("predictions")))
    assert sum(np.isnan(predictions["area"].to_numpy())) == 29
    assert np.isfinite(predictions["prediction"].to_numpy()).all()
    code, out, error = command("plan", str(file), *words)
    assert out.count("reused") == 6
    assert command("reproduce", folder.name)[0] == 0


#: For each method: the settings, and what the report says that was proved.
DIVIDED = {
    "stratified": (("--split.column", "city"), "The share of each value in a part differs from its share in all rows"),
    "grouped": (("--split.column", "area"), "No value of area is in two parts"),
    "hash": (("--split.column", "area"), "No value of area is in two parts"),
    "time": (
        ("--split.column", "area", "--split.cut", "150"),
        "Every row is later than all rows of the parts before its own",
    ),
}


@pytest.mark.parametrize(("method", "words", "proved"), [(method, *found) for method, found in DIVIDED.items()])
def test_rows_are_divided_by_a_column(
    store: Store, command: Command, file: Path, method: str, words: tuple[str, ...], proved: str
) -> None:
    table = file.with_name("houses.csv")
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, *lines[1:]]) + "\n")  # each row twice
    words = ("--split.method", method, *words, "--training.epochs", "20")
    code, out, error = command("train", str(file), *words, "--verify")
    assert code == 0, error
    folder = (store.runs / "latest").resolve()
    proof, report = json.loads((folder / "split.json").read_text()), (folder / "report.html").read_text()
    assert (proof["method"], proof["column"], sum(proof["rows"].values())) == (method, words[3], 2 * ROWS)
    assert proved in report
    # A copy of a row is in its part, unless it was drawn for another.
    assert (sum(proof["duplicates"].values()) > 0) == (method == "stratified")
    assert ("rows of test have the very values of a row of train or validation" in out) == (method == "stratified")
    features = json.loads((folder / "model.json").read_text())["features"]
    assert features == (["area", "rooms", "garden"] if method == "stratified" else ["rooms", "garden"])
    assert command("plan", str(file), *words)[1].count("reused") == 6
    assert command("reproduce", folder.name)[0] == 0


def test_it_learns_what_least_squares_computes(store: Store, command: Command, file: Path) -> None:
    assert command("train", str(file))[0] == 0
    (folder,) = (path for path in store.runs.iterdir() if not path.is_symlink())
    manifest, description = Manifest.read(folder), json.loads((folder / "model.json").read_text())
    train = read_table(store.path(manifest.made("train")))
    columns = [np.asarray(train[name].to_pylist()) for name in (*description["features"], "price")]
    scaled = [(column - column.mean()) / column.std() for column in columns]
    design = np.column_stack([*scaled[:-1], np.ones(len(scaled[0]))])
    expected = np.linalg.lstsq(design, scaled[-1], rcond=None)[0]
    network = load_network(description, (folder / manifest.checkpoint).read_bytes(), "cpu")
    layer = network.network.linear_layer
    learned = torch.cat([layer.weight.flatten(), layer.bias]).detach().numpy()
    assert learned == pytest.approx(expected, abs=1e-3)
    # The saved weights take raw inputs, and give predictions in units of the target.
    features = torch.tensor(np.column_stack(columns[:-1]), dtype=torch.float32)
    misses = network(features).flatten().detach().numpy() - columns[-1]
    assert np.abs(misses).mean() < 6_000


def test_only_its_content_counts(store: Store, command: Command, file: Path) -> None:
    words = ("train", str(file), "--until", "split")
    assert statuses(command(*words)[1])["ingest"].startswith("Completed")
    table = file.with_name("houses.csv")
    os.utime(table, (0, 0))
    assert statuses(command(*words)[1])["ingest"] == "Cached unchanged"
    moved = table.rename(table.with_name("moved.csv"))
    assert statuses(command(*words, "--data.path", str(moved))[1])["ingest"] == "Cached unchanged"
    moved.write_text(moved.read_text() + "50,2,Bonn,true,200000\n")
    code, out, _ = command("plan", str(file), "--data.path", str(moved))
    assert (code, statuses(out)["ingest"]) == (0, "will run")
    assert "input CSV table changed" in out
    renamed = moved.rename(table.with_name("houses.parquet"))
    code, _, error = command(*words, "--data.path", str(renamed))
    assert (code, "houses.parquet is no readable Parquet file" in error) == (1, True)


def test_a_relative_path_starts_at_the_file_and_on_the_command_line_at_the_working_directory(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_experiment("houses/houses.toml").data.path == str(tmp_path / "houses/houses.csv")
    changed = load_experiment("houses/houses.toml", {"data": {"path": "../other.csv"}})
    assert changed.data.path == str(tmp_path.parent / "other.csv")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--refresh", "generate"), "refresh names generate, which takes no part in a run with data.kind table"),
        (("--until", "generate"), "until names generate, which takes no part in a run with data.kind table"),
        (("--data.path", "none.csv"), "none.csv: No such file or directory"),
        (("--data.path", "none.txt"), "none.txt' is no table: give a file that ends in .csv or .parquet"),
        (("--data.target", "prize"), "there is no column 'prize' (is 'price' meant?)"),
        (("--data.target", "a\nb"), "'a\\nb' is no name of a column"),
        (("--data.features", "price"), "features names the target 'price'"),
        (("--data.features", "area", "--data.features", "area"), "features names 'area' twice"),
        (("--data.decimal", ","), "decimal and delimiter must differ"),
        (("--split.method", "grouped"), "method grouped needs a column: set split.column to the name of one"),
        (("--split.method", "hash", "--split.column", "town"), "split.column: there is no column 'town'"),
        (
            ("--split.method", "time", "--split.column", "city"),
            "'city' holds text, and not only dates, times or numbers",
        ),
        (
            ("--split.method", "time", "--split.column", "area", "--split.cut", "2020-01-01"),
            "split.cut '2020-01-01' must be a number, as column 'area' has",
        ),
        (("--split.train", "0.001"), "200 rows leave the train part empty"),
        (("--training.batch-size", "141"), "training.batch_size (141) is above the 140 training rows"),
        (("--model.kind", "parameters"), "model.kind parameters has one feature, and the dataset 3: choose another"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    store: Store, command: Command, file: Path, words: tuple[str, ...], said: str
) -> None:
    code, _, error = command("train", str(file), *words)
    assert code in (1, 2)
    assert said in error
    assert "Traceback" not in error
    assert not list(store.runs.glob("houses-*"))


def test_a_line_refuses_the_stage_of_a_table(store: Store, command: Command) -> None:
    code, _, error = command("plan", "line", "--refresh", "ingest")
    assert code == 2
    assert "refresh names ingest, which takes no part in a run with data.kind line" in error


def test_a_batch_of_all_rows_and_mini_batches_are_trained(store: Store, command: Command, file: Path) -> None:
    assert command("train", str(file), "--training.batch-size", "140", "--until", "train")[0] == 0
    assert command("train", str(file), "--training.batch-size", "32", "--until", "train")[0] == 0

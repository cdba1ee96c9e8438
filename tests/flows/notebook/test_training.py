"""Training on a DataFrame: it is cached by its content, and checked before anything is written."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.config.experiments import load_experiment
from flows.errors import InputError
from flows.notebook.opened_run import OpenedRun
from flows.notebook.training import train
from tasks.caching.gc.inspection import inspect_store
from tasks.caching.storage.store import Store
from tests.support.house_prices import EXPERIMENT, houses

SETTINGS: dict[str, Any] = {
    "name": "houses",
    "data": {"target": "price", "exclude": ["city"]},
    "model": {"kind": "linear", "scale_features": "standard", "scale_target": "standard"},
    "training": {"loss": "mse", "optimizer": "adam", "learning_rate": 0.05, "epochs": 30, "device": "cpu"},
}


def frames(store: Store) -> list[str]:
    """The DataFrames in the store."""
    return sorted(path.name for path in (store.root / "data").glob("frames/*"))


def test_the_same_values_are_trained_on_once(prefect: None, own_signals: None, store: Store) -> None:
    run = train(SETTINGS, data=houses())
    assert run.manifest.stages[0].name == "ingest"
    assert run.features == ("area", "rooms", "garden")
    # What is left out, the types and the index may be others.
    same = houses().assign(city="Köln").astype({"rooms": "float64"}).set_index(pd.RangeIndex(5, 205))
    assert train(SETTINGS, data=same).name == run.name
    assert len(frames(store)) == 1
    assert inspect_store(store).findings == []
    other = train(SETTINGS, data=houses().assign(area=lambda frame: frame["area"] + 1))
    assert other.name != run.name
    assert len(frames(store)) == 2


def test_it_comes_to_what_the_same_table_in_a_file_comes_to(
    prefect: None, own_signals: None, store: Store, tmp_path: Path
) -> None:
    houses().to_csv(tmp_path / "houses.csv", index=False)
    (tmp_path / "houses.toml").write_text(EXPERIMENT)
    in_file = train(str(tmp_path / "houses.toml"))
    in_memory = train(load_experiment(str(tmp_path / "houses.toml")), data=houses())
    assert in_memory.name != in_file.name
    assert digest(in_memory, "dataset") == digest(in_file, "dataset")
    assert digest(in_memory, "weights") == digest(in_file, "weights")


@pytest.mark.parametrize(
    "split",
    [
        {"method": "time", "column": "sold", "cut": "2020-05-01"},
        {"method": "hash", "column": "key"},
        {"method": "stratified", "column": "city"},
        {"method": "stratified", "column": "rooms"},
        {"method": "sequential", "column": "city"},
    ],
    ids=lambda split: f"{split['method']} {split['column']}",
)
def test_a_frame_is_divided_by_a_column(
    prefect: None, own_signals: None, store: Store, split: dict[str, str], tmp_path: Path
) -> None:
    keys = [f"house {number}" for number in range(200)]
    frame = houses().assign(sold=pd.date_range("2020-01-01", periods=200), key=keys)
    frame.to_csv(tmp_path / "houses.csv", index=False)
    settings = {**SETTINGS, "split": split, "data": {**SETTINGS["data"], "exclude": ["city", "sold", "key"]}}
    in_memory = train(settings, data=frame)
    table = {"kind": "table", "path": str(tmp_path / "houses.csv")}
    in_file = train({**settings, "data": {**settings["data"], **table}})
    assert in_memory.features == ("area", "rooms", "garden")
    assert digest(in_memory, "proof") == digest(in_file, "proof")
    assert digest(in_memory, "test") == digest(in_file, "test")


def digest(run: OpenedRun, name: str) -> str:
    return run.manifest.made(name).digest


def test_it_trains_in_a_notebook_where_an_event_loop_runs(prefect: None, own_signals: None, trained: Store) -> None:
    async def cell() -> OpenedRun:
        return train("line")

    run = asyncio.run(cell())
    assert [stage.status for stage in run.manifest.stages][:3] == ["run"] * 3
    assert len(list(trained.runs.glob("line-2*"))) == 1, "everything was reused"


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "no frame": ([[1, 2]], {}, "data must be a pandas DataFrame, not <class 'list'>"),
    "no rows": (houses().iloc[:0], {}, "the DataFrame has no rows"),
    "no such target": (houses(), {"target": "prize"}, "there is no column 'prize' (is 'price' meant?)"),
    "text": (houses(), {"exclude": []}, "column 'city' holds text, such as 'Bonn' in row 0, not numbers: leave it out"),
    "a gap": (houses().replace({"rooms": {3: np.nan}}), {}, "column 'rooms': the value in row "),
    "kinds": (houses().assign(rooms=[True, *[2.5] * 199]), {}, "column 'rooms' holds numbers of several kinds"),
    "infinite": (houses().assign(price=np.inf), {}, "column 'price': the value in row 0 is not finite"),
    "equal targets": (houses().assign(price=1.0), {}, "the target 'price' has the same value in every row"),
    "labels": (houses().rename(columns={"area": 1}), {}, "columns must be labelled by texts, not by 1"),
    "twice": (houses().rename(columns={"area": "rooms"}), {}, "two columns are named 'rooms' and 'rooms'"),
    "no table": (houses(), {"kind": "line", "target": None, "exclude": None}, "is not a valid experiment"),
}


@pytest.mark.parametrize(("frame", "data", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    store: Store, frame: Any, data: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as error:
        train({**SETTINGS, "data": SETTINGS["data"] | data}, data=frame)
    assert said in str(error.value)
    assert not store.root.exists()


def test_an_experiment_without_a_table_takes_no_frame(store: Store) -> None:
    with pytest.raises(InputError, match=r"takes the place of a table, and the experiment has data\.kind line: set"):
        train("line", data=houses())

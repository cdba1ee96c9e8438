"""Runs of little size that demand unlimited memory, threads or time are refused before they get any of it."""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.caching.gc.inspection import inspect_store
from tasks.caching.storage.store import Store
from tests.flows.hostile.test_hostile_checkpoints import SignedRun
from tests.flows.hostile.test_hostile_runs import change
from tests.support.fork_server import ForkServer, workflow

Command = Callable[..., tuple[int, str, str]]

#: Seconds within which all commands must refuse a bomb, even on a busy machine.
SOON = 20.0


@pytest.fixture
def run(trained: Store) -> SignedRun:
    """The run of a project of its own, trained and not yet verified."""
    run = SignedRun(trained)
    (run.folder / "verification.json").unlink()
    return run


def swap_table(run: SignedRun, stage: str, name: str, rows: int) -> None:
    """Replaces a table of a run with one of so many equal rows, and its digests with those of the new one."""
    from tasks.learning.data.tables import write_table

    number = np.zeros(rows, np.float32)
    texts = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), ["test"]).cast(pa.string())
    columns = dict.fromkeys(("x", "y", "target", "prediction", "residual"), number)
    table = pa.table({"row": np.arange(rows), "split": texts, **columns})
    made = run.store.publish(stage, f"{name}.parquet", partial(write_table, table))
    assert made.size < rows / 20

    def swap(manifest: Any) -> Any:
        entry = next(entry for entry in manifest["stages"] if entry["name"] == stage)
        entry["outputs"][name] = made.to_json()
        return manifest

    change(run.folder / "run.json", swap)
    if name == "predictions":
        change(run.folder / "model.json", lambda model: model | {"predictions_sha256": made.digest})
    run.sign()


@pytest.mark.parametrize(
    ("stage", "name", "expected"), [("split", "train", 40), ("split", "test", 10), ("evaluate", "predictions", 50)]
)
def test_a_table_must_have_as_many_rows_as_the_experiment_says(
    run: SignedRun, command: Command, stage: str, name: str, expected: int
) -> None:
    swap_table(run, stage, name, 2_000_000)
    assert inspect_store(Store(run.store.root)).problems == []
    code, _, error = command("verify", run.name)
    assert code == 1
    assert f".parquet declares 2,000,000 rows, and {expected} are expected\n" in error
    assert error.count("\n") == 1
    assert json.loads((run.folder / "verification.json").read_bytes())["passed"] is False


def test_a_part_that_the_experiment_does_not_have_is_refused(run: SignedRun, command: Command) -> None:
    swap_table(run, "split", "validation", 2_000_000)
    assert "declares 2,000,000 rows, and 0 are expected\n" in command("verify", run.name)[2]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"kind": "of tomorrow"}, "data.kind: Input should be 'line' or 'table'"),
        ({"rows": 10**12}, "data.rows: Input should be less than or equal to 100000000"),
    ],
)
def test_an_experiment_without_valid_data_is_refused(
    run: SignedRun, command: Command, data: dict[str, Any], said: str
) -> None:
    def alter(manifest: Any) -> Any:
        manifest["experiment"]["data"] |= data
        return manifest

    change(run.folder / "run.json", alter)
    run.sign()
    code, _, error = command("verify", run.name)
    assert code == 1
    assert error.endswith(f"the manifest of run {run.name} does not describe its rows: {said}\n")


@pytest.mark.parametrize("threads", [0, 1025, 1_000_000])
def test_no_number_of_threads_ends_the_process(run: SignedRun, forked: ForkServer, threads: int) -> None:
    def alter(manifest: Any) -> Any:
        manifest["environment"]["threads"] = manifest["experiment"]["training"]["threads"] = threads
        return manifest

    change(run.folder / "run.json", alter)
    run.sign()
    done = forked(workflow, "verify", home=run.store.root)
    assert done.returncode == 1
    assert "run.json is damaged (environment.threads: Input should be" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "model.json", "verification.json", "plots/data.png"])
def test_a_file_with_a_hole_in_it_is_neither_held_in_memory_nor_read_for_hours(
    run: SignedRun, command: Command, name: str
) -> None:
    path: Path = run.folder / name
    with path.open("ab") as file:
        file.truncate(1 << 42)
    if name not in ("run.json", "verification.json"):

        def declare(manifest: Any) -> Any:
            manifest["files"][name]["size"] = 1 << 42
            return manifest

        change(run.folder / "run.json", declare)
    whole = name == "verification.json"  # a run without one is valid, and not verified yet
    began = time.monotonic()
    for words, expected in (
        (["check"], 1),
        (["runs"], 0),
        (["history", "line"], 0),
        (["show", run.name], 0 if whole else 2),
        (["verify", run.name], 0 if whole else 1),
        (["verify", run.name, "--expect", "0" * 64], 1),
    ):
        code, out, error = command(*words)
        assert code == expected, words
        assert error.count("\n") <= 1
        assert code == 0 or ("run.json" if "--expect" in words else name) in out + error, words
    assert command("collect")[0] == 0 or not whole
    assert time.monotonic() - began < SOON

"""All runs side by side, as a DataFrame."""

import json
import shutil
import warnings
from pathlib import Path

import pandas as pd
import pytest

import flows
from flows.errors import InputError
from flows.notebook import open_run, runs
from tasks.caching.runs.sums import list_sums
from tasks.caching.storage.store import Store


def copy_run(store: Store, name: str, **changes: object) -> Path:
    """Another run of `line`, whose manifest says something else."""
    run = (store.runs / "line-latest").resolve()
    folder = store.runs / name
    shutil.copytree(run, folder)
    fields = json.loads((folder / "run.json").read_text().replace(run.name, name)) | changes
    (folder / "run.json").write_text(json.dumps(fields))
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    del files["SHA256SUMS"], files["verification.json"]
    (folder / "SHA256SUMS").write_bytes(list_sums(files))
    (folder / "verification.json").unlink()
    return folder


def test_it_has_settings_metrics_and_outcomes(trained: Store) -> None:
    run = open_run()
    frame = runs()
    assert frame.index.tolist() == [run.name]
    assert list(frame)[:6] == ["experiment", "created", "device", "verified", "accepted", "digest"]
    row = frame.loc[run.name]
    assert row["created"] == pd.Timestamp(run.manifest.created)
    assert str(frame["created"].dt.tz) == "UTC"
    assert (row["experiment"], row["device"], row["digest"]) == ("line", "cpu", run.folder.digest)
    assert (row["model.kind"], row["training.learning_rate"]) == ("parameters", 0.03)
    assert frame["verified"].tolist() == [True]
    assert frame["accepted"].tolist() == [pd.NA]
    saved = json.loads((run.folder.folder / "metrics.json").read_text())["test"]
    assert {name.removeprefix("test."): row[name] for name in frame if name.startswith("test.")} == saved


def test_a_run_that_demands_something_is_accepted_or_not(trained: Store) -> None:
    experiment = open_run().manifest.experiment
    for number, bound in enumerate((1e-9, 10.0), 1):
        accept = experiment["accept"] | {"max_loss": bound}
        copy_run(trained, f"line-20300101-00000{number}", experiment=experiment | {"accept": accept})
    assert runs()["accepted"].tolist() == [pd.NA, False, True]
    assert runs()["verified"].tolist() == [True, pd.NA, pd.NA]


def test_the_oldest_comes_first_and_lists_can_be_counted(trained: Store) -> None:
    experiment = open_run().manifest.experiment
    data = {"kind": "table", "path": "/t.csv", "target": "y", "features": ["a", "b"], "exclude": []}
    copy_run(trained, "line-20000101-000000", created="2000-01-01T00:00:00+00:00")
    copy_run(
        trained, "line-19990101-000000", created="2001-01-01T00:00:00+00:00", experiment=experiment | {"data": data}
    )
    frame = runs()
    assert frame.index.tolist()[:2] == ["line-20000101-000000", "line-19990101-000000"]
    assert frame["created"].is_monotonic_increasing
    assert frame["data.features"].value_counts().to_dict() == {("a", "b"): 1}
    assert frame["data.weight"].isna().tolist() == [False, True, False]


def test_a_damaged_run_is_left_out_with_a_warning(trained: Store) -> None:
    name = open_run().name
    metrics = copy_run(trained, "line-20300101-000001") / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"r2": 0', '"r2": 1', 1))
    (copy_run(trained, "line-20300101-000002") / "run.json").write_text("{")
    with pytest.warns(
        UserWarning, match=r"(?s)2 runs left out:.*000001: .*metrics\.json.*000002: .*run\.json is damaged"
    ):
        assert runs().index.tolist() == [name]


def test_no_runs_make_a_table_without_rows(store: Store) -> None:
    frame = runs()
    assert frame.empty
    assert {"created", "verified", "digest"} <= set(frame)
    assert str(frame["created"].dt.tz) == "UTC"


def test_a_folder_of_the_store_that_is_a_link_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    store.artifacts.mkdir(parents=True)
    store.runs.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError), warnings.catch_warnings():
        runs()


def test_the_package_has_what_it_says() -> None:
    assert {getattr(flows, name).__name__ for name in flows.__all__} == set(flows.__all__)
    with pytest.raises(AttributeError, match="module 'flows' has no attribute 'nothing'"):
        _ = flows.nothing

"""Flow `train`, called in this process and read back from Prefect."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows.config.experiments import load_experiment
from flows.environment.identity import store_tag
from flows.train import pipeline
from flows.ui.pages import cell
from tasks.caching.observer import Observer, extra_observers
from tasks.caching.runs.manifest import Manifest
from tasks.caching.stage import stages
from tasks.caching.storage.store import Store
from tests.support.stages import STAGES

#: Mini-batches, validation, early stopping, adam, cosine, clipping: what no preset has.
ELABORATE = {
    "name": "elaborate",
    "data": {"noise": 0.05, "rows": 200},
    "split": {"method": "shuffled", "train": 0.7, "validation": 0.15, "seed": 4},
    "model": {"kind": "linear"},
    "training": {
        "loss": "huber",
        "optimizer": "adam",
        "learning_rate": 0.05,
        "schedule": "cosine",
        "batch_size": 32,
        "epochs": 300,
        "evaluate_every": 1,
        "patience": 5,
        "clip_norm": 1.0,
    },
}


def test_the_stages_of_a_first_run_are_completed_in_order(store: Store, train: Callable[..., Any], api: Any) -> None:
    outcome = train("line")
    assert api.stages(outcome.flow_run_id, len(STAGES)) == [(name, "Completed") for name in STAGES]


def test_the_stages_of_a_second_run_are_cached(trained: Store, train: Callable[..., Any], api: Any) -> None:
    outcome = train("line")
    assert api.stages(outcome.flow_run_id, len(STAGES)) == [(name, "Cached") for name in STAGES]
    assert set(outcome.reasons.values()) == {("unchanged",)}


def test_a_flow_run_has_a_readable_name_and_typed_parameters(
    trained: Store, train: Callable[..., Any], api: Any
) -> None:
    run = api.flow_run(train("line").flow_run_id)
    assert run.name == "line on cpu: nothing changed"
    assert set(run.tags) == {"line", "cpu", store_tag(trained.root)}
    assert run.state.is_completed()
    assert run.parameters["experiment"]["training"]["learning_rate"] == 0.03


def test_a_flow_run_carries_its_plan_its_metrics_and_its_plots(
    trained: Store, train: Callable[..., Any], api: Any
) -> None:
    outcome = train("line", {"training": {"epochs": 20}})
    pages = api.artifacts(outcome.flow_run_id)
    assert set(pages) == {"line-plan", "line-metrics", "line-plots", "line-report", "line-history"}
    assert "| train | will run | training.epochs 180 → 20 |" in pages["line-plan"]
    rows = {row["metric"]: row for row in json.loads(pages["line-metrics"])}
    assert rows["rows"] == {"metric": "rows", "train": "40", "test": "10"}
    assert float(rows["largest_error"]["test"]) > 0
    assert f"Files in {cell(str(trained.runs / outcome.run))}" in pages["line-report"]
    assert pages["line-plots"].count("](data:image/png;base64,iVBORw0KGgo") == 5


def test_the_form_in_the_ui_knows_every_parameter(prefect: None) -> None:
    from prefect.utilities.callables import parameter_schema

    from flows import orchestration

    schema = parameter_schema(orchestration.train).model_dump()
    parameters = schema["properties"]
    assert sorted(parameters, key=lambda name: parameters[name]["position"]) == [
        "refresh",
        "until",
        "device",
        "notes",
        "if_running",
        "retries",
        "dated",
        "timezone",
        "experiment",
    ]
    assert schema["required"] == ["experiment"]
    assert all("efault" in parameters[name]["description"] for name in parameters if name != "experiment")
    assert set(schema["definitions"]) >= {"LineData", "Split", "Model", "Training"}
    refresh = json.dumps(schema["properties"]["refresh"])
    assert all(f'"{name}"' in refresh for name in [*STAGES, "all"])


def test_the_notes_are_in_the_log_and_on_the_plan(trained: Store, prefect: None, api: Any) -> None:
    from flows import orchestration

    notes = "for *Ada*\n<b>again</b>"
    state: Any = orchestration.train(load_experiment("line"), until="generate", notes=notes, return_state=True)
    flow_run = state.state_details.flow_run_id
    assert r"notes: for *Ada*\n<b>again</b>" in api.log(flow_run, "notes")
    plan = api.artifacts(flow_run)["line-plan"]
    assert r"for \*Ada\*" in plan
    assert "&lt;b&gt;again&lt;/b&gt;" in plan


def test_the_flow_run_log_says_why_each_stage_ran(trained: Store, train: Callable[..., Any], api: Any) -> None:
    outcome = train("line", {"training": {"epochs": 20}})
    log = api.log(outcome.flow_run_id, "save")
    assert "generate is reused: unchanged" in log
    assert "train runs: training.epochs 180 → 20" in log
    assert len(log) < 20
    assert not [line for line in log if log.count(line) > 1]


def test_a_run_folder_holds_all_that_it_takes_to_use_and_judge_the_model(trained: Store) -> None:
    folder = (trained.runs / "latest").resolve()
    plots = {
        f"{name}.{kind}" for name in ("data", "untrained", "trained", "loss", "residuals") for kind in ("png", "svg")
    }
    described = {"model.json", "metrics.json", "run.json", "report.html", "verification.json", "SHA256SUMS"}
    kept = {file.partition("/")[0] for stage in stages(pipeline) for file in stage.run_files.values()}
    assert {"metrics.json", "plots"} <= kept
    assert {path.name for path in folder.iterdir()} == {"01_workflow_model_0.pth", *described, *kept}
    assert {path.name for path in (folder / "plots").iterdir()} == plots


def test_the_manifest_says_how_to_repeat_the_run(trained: Store) -> None:
    manifest = Manifest.read(trained.runs / "latest")
    assert manifest.experiment["training"]["learning_rate"] == 0.03
    assert (manifest.seed, manifest.environment.device, manifest.environment.device_note) == (88, "cpu", "")
    assert {"torch", "numpy", "pyarrow", "prefect"} <= manifest.environment.versions.keys()
    assert [(stage.name, stage.status) for stage in manifest.stages] == [
        *((name, "run") for name in STAGES[:-1]),
        ("save", "running"),
    ]
    assert all(len(stage.key) == 64 and stage.reasons for stage in manifest.stages)
    assert all(trained.path(entry.reference()) for stage in manifest.stages for entry in stage.outputs.values())
    assert all(trained.path(entry.reference()) for entry in manifest.files.values())


def test_the_pointers_lead_to_the_last_successful_run(store: Store, train: Callable[..., Any]) -> None:
    line, layers = train("line").run, train("line-layers").run
    pointers = {name: (store.runs / name).readlink().name for name in ("latest", "line-latest", "line-layers-latest")}
    assert pointers == {"latest": layers, "line-latest": line, "line-layers-latest": layers}
    assert train("line").run == line  # nothing is computed, and yet it is the last
    assert (store.runs / "latest").readlink().name == line


def test_pointers_stay_when_a_run_fails_or_ends_early(trained: Store, train: Callable[..., Any]) -> None:
    before = (trained.runs / "latest").readlink()
    assert train("line", {"training": {"learning_rate": 1e30, "loss": "mse"}}, may_fail=True).error
    assert train("line", {"training": {"epochs": 7}}, until="train").run is None
    assert (trained.runs / "latest").readlink() == before
    assert (trained.runs / "line-latest").readlink() == before


def test_divergence_fails_at_its_epoch_and_leaves_no_checkpoint(
    store: Store, train: Callable[..., Any], api: Any
) -> None:
    diverging = {"training": {"learning_rate": 1e30, "loss": "mse"}}
    outcome = train("line", diverging, may_fail=True)
    assert "stage train failed: training diverged at epoch" in str(outcome.error)
    assert "Lower training.learning_rate" in str(outcome.error)
    assert api.flow_run(outcome.flow_run_id).state.is_failed()
    assert api.stages(outcome.flow_run_id, 3)[-1] == ("train", "Failed")
    assert not list(store.root.rglob("*.pth"))
    assert not list(store.root.rglob(".tmp-*"))
    assert train("line", diverging, may_fail=True).states == {"generate": "reused", "split": "reused"}


def test_until_ends_after_a_stage(store: Store, train: Callable[..., Any], api: Any) -> None:
    outcome = train("line", until="split")
    assert (outcome.run, outcome.ran) == (None, ["generate", "split"])
    assert [name for name, _ in api.stages(outcome.flow_run_id, 2)] == ["generate", "split"]
    assert not store.runs.exists()


@pytest.mark.parametrize("forced", [["train"], ["split", "plot"]])
def test_refresh_runs_the_named_stages_and_reuses_the_others(
    trained: Store, train: Callable[..., Any], forced: list[str]
) -> None:
    outcome = train("line", refresh=forced)
    assert outcome.ran == forced
    assert all(outcome.reasons[name] == ("forced",) for name in forced)


def test_refresh_all_runs_every_stage(trained: Store, train: Callable[..., Any]) -> None:
    assert train("line", refresh=["all"]).ran == list(STAGES)


@pytest.mark.parametrize(("refresh", "until"), [(["traim"], None), ([], "traim")])
def test_an_unknown_stage_is_refused_before_anything_runs(
    store: Store, train: Callable[..., Any], refresh: list[str], until: str | None
) -> None:
    outcome = train("line", refresh=refresh, until=until, may_fail=True)
    assert "Flow run received invalid parameters" in str(outcome.error)
    assert "'split'" in str(outcome.error)  # names what may be asked for
    assert not outcome.reports
    assert [path.name for path in store.root.iterdir()] == [".prefect"]


def test_an_elaborate_experiment_goes_all_the_way_and_verifies(
    store: Store, train: Callable[..., Any], tmp_path: Path
) -> None:
    from flows import orchestration

    outcome = train("line", ELABORATE)
    outputs = {report.name: report.outputs for report in outcome.reports}
    rows = {
        part: pq.read_metadata(store.path(outputs["split"][part])).num_rows for part in ("train", "validation", "test")
    }
    assert rows == {"train": 140, "validation": 30, "test": 30}
    history = pq.read_table(store.path(outputs["train"]["history"]))
    assert history.column_names == ["epoch", "train_loss", "validation_loss", "test_loss", "learning_rate"]
    description = json.loads((store.runs / outcome.run / "model.json").read_bytes())
    assert description["stopped_early"]
    assert description["epochs_run"] == history.num_rows < 300
    assert description["best_epoch"] == description["epochs_run"] - 1 - 5
    metrics = json.loads((store.runs / outcome.run / "metrics.json").read_bytes())
    assert list(metrics) == ["train", "validation", "test"]
    assert metrics["test"]["r2"] > 0.5
    assert orchestration.verify(outcome.run) == outcome.run
    assert train("line", ELABORATE).ran == []


def test_the_three_placements_give_the_same_model_on_the_cpu(store: Store, train: Callable[..., Any]) -> None:
    fits = [
        train("line-layers", {"training": {"placement": placement, "device": "cpu"}}, ["train"], until="train")
        for placement in ("constructor", "context", "moved")
    ]
    assert [fit.ran[-1] for fit in fits] == ["train"] * 3
    assert len({fit.digests["train.weights"] for fit in fits}) == 1


def test_a_project_may_be_moved(trained: Store, train: Callable[..., Any], tmp_path: Path) -> None:
    from tasks.caching.storage.store import project_store

    shutil.move(trained.root, tmp_path / "elsewhere")
    (tmp_path / "home").symlink_to("elsewhere")  # WORKFLOW_HOME still leads there
    project_store.cache_clear()
    assert train("line").ran == []


def test_progress_reaches_the_observers(store: Store, train: Callable[..., Any]) -> None:
    from flows import orchestration

    steps: list[tuple[int, int, float]] = []

    class Steps(Observer):
        def on_progress(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
            steps.append((done, total, figures["training loss"]))

    token = extra_observers.set((Steps(),))
    orchestration.train(load_experiment("line"), [], "train")
    extra_observers.reset(token)
    history = pq.read_table(next(store.root.glob("data/train/history-*.parquet")))
    assert steps[-1] == (180, 180, history["train_loss"][-1].as_py())


def test_a_long_training_shows_its_progress_in_the_ui(
    store: Store, train: Callable[..., Any], api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.ui.progress import LINES

    for name in ("FIRST_SECONDS", "PAGE_SECONDS", "LINE_SECONDS"):
        monkeypatch.setattr(f"flows.ui.progress.{name}", 0.0)
    monkeypatch.setattr("tasks.learning.training.loop.PROGRESS_INTERVAL", 0.0)
    outcome = train("line", {"training": {"epochs": 100}}, until="train")
    page = api.artifacts(outcome.flow_run_id)["line-training"]
    assert "done after epoch 100, training loss 0." in page
    assert "](data:image/svg+xml;base64," in page
    reported = [line for line in api.log(outcome.flow_run_id, "train took") if line.startswith("train: epoch ")]
    assert 5 <= len(reported) <= LINES
    assert re.fullmatch(r"train: epoch [\d,]+ of 100, training loss 0\.\d+, [\d,]+ epochs/s, \d+ s left", reported[-1])

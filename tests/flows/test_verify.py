"""Flow `verify`: a checkpoint that predicts what training recorded passes, and any other is caught."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.caching.key import version
from tasks.caching.runs.environment import describe_environment
from tasks.caching.runs.sums import SUMS, list_sums
from tasks.caching.storage.reference import Reference
from tasks.caching.storage.store import Store, run_path
from tests.support.hostile_files import trap, with_pickle_of

CHECKPOINT = "01_workflow_model_0.pth"


class Run:
    """A run on disk, to be tampered with."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.folder = (store.runs / "latest").resolve()

    @property
    def name(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def manifest(self) -> Any:
        """The content of run.json."""
        return json.loads((self.folder / "run.json").read_bytes())

    def artifact(self, name: str) -> Path:
        """The file of an artifact that the manifest names."""
        entries = (stage["outputs"] for stage in self.manifest["stages"])
        return self.store.root / next(outputs[name]["path"] for outputs in entries if name in outputs)

    def replace(self, name: str, content: bytes, *, sign: bool = True) -> None:
        """Puts another content into a file of the run; signed, so that the manifest says it was always so."""
        (self.folder / name).write_bytes(content)
        if sign:
            manifest = self.manifest
            manifest["files"][name] = Reference.of_content(run_path(self.name, name), content).to_json()
            if name == CHECKPOINT:
                made = next(stage["outputs"] for stage in manifest["stages"] if stage["name"] == "train")
                digest = manifest["files"][name]["digest"]
                made["weights"] |= manifest["files"][name] | {"path": f"artifacts/train/weights-{digest}.pth"}
                (self.store.root / made["weights"]["path"]).write_bytes(content)
            self.write_manifest(manifest)

    def write_manifest(self, manifest: Any) -> None:
        """Puts another manifest into the run, and signs it in the list of digests."""
        (self.folder / "run.json").write_text(json.dumps(manifest))
        names = ("run.json", "report.html", *manifest["files"])
        (self.folder / SUMS).write_bytes(list_sums({name: (self.folder / name).read_bytes() for name in names}))

    def forge(self, checkpoint: bytes) -> None:
        """Puts another checkpoint into the run, and signs it in run.json and in model.json."""
        description = json.loads((self.folder / "model.json").read_bytes())
        description["checkpoint_sha256"] = Reference.of_content("any.pth", checkpoint).digest
        self.replace(CHECKPOINT, checkpoint)
        self.replace("model.json", json.dumps(description).encode())

    def weights(self) -> dict[str, Any]:
        """The state_dict of the checkpoint."""
        import torch

        loaded: dict[str, Any] = torch.load(self.folder / CHECKPOINT, weights_only=True)
        return loaded


def dump(state_dict: object) -> bytes:
    """A checkpoint as torch.save writes it."""
    import torch

    buffer = io.BytesIO()
    torch.save(state_dict, buffer)
    return buffer.getvalue()


@pytest.fixture
def run(trained: Store) -> Run:
    """The run of a project of its own, trained and not yet verified."""
    run = Run(trained)
    (run.folder / "verification.json").unlink()
    return run


@pytest.fixture
def caught(run: Run, command: Callable[..., tuple[int, str, str]], api: Any) -> Callable[[], str]:
    """Verifies the run, makes sure that it fails everywhere that somebody may look, and gives the message."""

    def verify() -> str:
        code, _, message = command("verify", run.name)
        assert code == 1
        assert message.startswith("error: stage ")
        assert message.count("\n") == 1, "one message, no traceback"
        flow_run = api.newest(f"verify {run.name}")
        assert flow_run.state.is_failed()
        verification = json.loads((run.folder / "verification.json").read_bytes())
        assert verification["passed"] is False
        assert any(not check["passed"] for check in verification["checks"])
        page = api.artifacts(flow_run.id)["line-verification"]
        assert "is NOT verified" in page
        return message

    return verify


# ---- what passes


def test_a_run_as_training_left_it_passes(run: Run, command: Callable[..., tuple[int, str, str]], api: Any) -> None:
    code, out, error = command("verify")
    assert (code, error) == (0, "")
    assert run.name in out
    verification = json.loads((run.folder / "verification.json").read_bytes())
    assert verification["passed"] is True
    assert verification["device"] == "cpu"
    checks = {check["name"]: check["detail"] for check in verification["checks"]}
    assert list(checks) == [
        "digests",
        "checkpoint",
        "modes",
        "predictions",
        "metrics in metrics.json",
        "metrics in model.json",
        "record",
    ]
    assert checks["predictions"] == "50 rows agree exactly; largest difference 0"
    flow_run = api.newest(f"verify {run.name}")
    assert flow_run.state.is_completed()
    assert api.stages(flow_run.id, 3) == [(name, "Completed") for name in ("reload", "predict", "compare")]
    assert "is verified" in api.artifacts(flow_run.id)["line-verification"]


def test_a_proof_is_given_anew_each_time(run: Run, command: Callable[..., tuple[int, str, str]]) -> None:
    for _ in range(2):
        assert "Cached" not in command("verify")[1]


def test_a_run_may_be_named_in_every_way(run: Run, command: Callable[..., tuple[int, str, str]]) -> None:
    for named in ("latest", "line-latest", run.name, str(run.folder), str(run.store.runs / "latest")):
        code, out, error = command("verify", named, "--json")
        assert (code, json.loads(out)["run"], json.loads(out)["verified"]) == (0, run.name, True), error


@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_with_another_version_of_a_library_it_passes_within_a_tolerance(
    run: Run, command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setattr("tasks.compare.version", lambda name: "2.99.0" if name == library else version(name))
    assert command("verify")[0] == 0
    verification = json.loads((run.folder / "verification.json").read_bytes())
    assert "50 rows agree within 1e-05 of the value and 1e-06" in verification["checks"][3]["detail"]


def test_of_a_run_that_was_trained_on_another_device_it_passes_within_a_tolerance(
    store: Store,
    train: Callable[..., Any],
    command: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "tasks.save.describe_environment", lambda device, note, threads: describe_environment("cuda:0", note, threads)
    )
    train()
    assert command("verify", "--device", "cpu")[0] == 0
    verification = json.loads((store.runs / "latest" / "verification.json").read_bytes())
    assert "50 rows agree within 1e-05 of the value and 1e-06" in verification["checks"][3]["detail"]


def test_a_run_whose_stage_artifacts_were_tidied_away_says_what_is_missing(run: Run, caught: Callable[[], str]) -> None:
    run.artifact("test").unlink()
    assert f"artifact missing: {run.artifact('test').relative_to(run.store.root)}" in caught()


# ---- what is caught


def test_a_weight_changed_by_one_per_cent_is_caught_and_both_values_reported(
    run: Run, caught: Callable[[], str]
) -> None:
    import pyarrow.parquet as pq

    weights = run.weights()
    weights["weights"] *= 1.01
    run.forge(dump(weights))
    message = caught()
    rows = pq.read_table(run.artifact("predictions")).to_pylist()
    slope, bias = weights["weights"], weights["bias"]
    # Row 0 has x = 0, where the slope counts for nothing: row 1 is the first that differs, the last differs most.
    for which, row in (("first", rows[1]), ("worst", rows[-1])):
        now = (slope * row["x"] + bias).item()
        reported = f"{which} row {row['row']} ({row['split']}) recorded {row['prediction']!r}, now {now!r}"
        assert reported in message
    assert "49 of 50 predictions do not agree exactly" in message
    assert "metrics in metrics.json do not agree exactly: first train.loss, saved 0.0148" in message


def test_the_list_of_runs_shows_a_failed_verification(
    run: Run, caught: Callable[[], str], command: Callable[..., tuple[int, str, str]]
) -> None:
    assert json.loads(command("runs", "--json")[1])[0]["verified"] is None
    weights = run.weights()
    weights["bias"] *= 1.01
    run.forge(dump(weights))
    caught()
    assert json.loads(command("runs", "--json")[1])[0]["verified"] is False
    assert "FAILED" in command("runs")[1]
    assert "FAILED" in command("show", run.name)[1]


@pytest.mark.parametrize("name", [CHECKPOINT, "model.json", "metrics.json", "plots/loss.png"])
def test_a_file_of_the_run_that_was_altered_is_caught(run: Run, caught: Callable[[], str], name: str) -> None:
    content = bytearray((run.folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    run.replace(name, bytes(content), sign=False)
    assert f"artifact altered: artifacts/runs/{run.name}/{name} no longer has its SHA-256" in caught()


def test_a_checkpoint_of_another_run_is_caught(run: Run, caught: Callable[[], str], train: Callable[..., Any]) -> None:
    other = train("line", {"training": {"epochs": 5}}).run
    run.replace(CHECKPOINT, (run.store.runs / other / CHECKPOINT).read_bytes())
    assert "model.json was saved with another checkpoint" in caught()


def test_predictions_of_another_run_are_caught(run: Run, caught: Callable[[], str], train: Callable[..., Any]) -> None:
    train("line", {"training": {"epochs": 5}})
    other = Run(run.store)
    manifest = run.manifest
    manifest["stages"][3]["outputs"]["predictions"] = other.manifest["stages"][3]["outputs"]["predictions"]
    (run.folder / "run.json").write_text(json.dumps(manifest))
    assert "model.json was saved with another predictions" in caught()


def test_weights_that_are_not_numbers_are_caught(run: Run, caught: Callable[[], str]) -> None:
    weights = run.weights()
    weights["bias"] *= float("nan")
    run.forge(dump(weights))
    assert "bias: the value at index [0] is nan, not a finite number" in caught()


def test_a_model_that_predicts_otherwise_under_no_grad_is_caught(
    run: Run, caught: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from tasks.learning.evaluation import predictions

    predict = predictions.predict
    monkeypatch.setattr(
        predictions,
        "predict",
        lambda network, x, device, mode: predict(network, x, device, mode) + (mode is torch.no_grad),
    )
    assert "the model predicts otherwise under no_grad than under inference_mode" in caught()


def test_a_tensor_too_many_is_caught(run: Run, caught: Callable[[], str]) -> None:
    weights = run.weights()
    run.forge(dump(weights | {"extra": weights["bias"]}))
    assert "extra not expected" in caught()


def test_a_tensor_too_few_is_caught(run: Run, caught: Callable[[], str]) -> None:
    weights = run.weights()
    del weights["bias"]
    run.forge(dump(weights))
    assert "bias missing" in caught()


def test_a_tensor_of_another_type_is_caught(run: Run, caught: Callable[[], str]) -> None:
    weights = run.weights()
    weights["weights"] = weights["weights"].double()
    run.forge(dump(weights))
    assert "weights: has dtype float64 where the model has float32" in caught()


def test_a_tensor_of_another_shape_is_caught(run: Run, caught: Callable[[], str]) -> None:
    weights = run.weights()
    weights["weights"] = weights["weights"].reshape(1, 1)
    run.forge(dump(weights))
    assert "weights: has shape [1, 1] where the model has [1]" in caught()


def test_code_in_a_pickle_is_caught_and_not_run(run: Run, caught: Callable[[], str], tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    run.forge(with_pickle_of((run.folder / CHECKPOINT).read_bytes(), {"bias": trap(canary)}))
    assert "and was not run: it asks for posix.mkdir" in caught()
    assert not canary.exists()


DESCRIPTIONS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no object": (lambda reported: [reported], "model.json: it is not a JSON object"),
    "empty": (lambda reported: {}, "model.json lacks the tensors: it was altered"),
    "no loss": (lambda reported: reported | {"loss": None}, "model.json lacks the loss: it was altered"),
    "metrics of none": (lambda reported: reported | {"metrics": []}, "model.json lacks the metrics: it was altered"),
    "another loss": (lambda reported: reported | {"loss": "l3"}, "unknown loss 'l3'"),
    "another architecture": (
        lambda reported: reported | {"architecture": "os.system"},
        "unknown architecture 'os.system'",
    ),
    "an architecture of none": (
        lambda reported: reported | {"architecture": {"a": 1}},
        "unknown architecture {'a': 1}",
    ),
    "arguments of none": (lambda reported: reported | {"arguments": [1]}, "cannot be built from [1]"),
    "an unknown argument": (lambda reported: reported | {"arguments": {"depth": 10**9}}, "cannot be built from"),
    "an argument twice": (lambda reported: reported | {"arguments": {"device": "meta"}}, "cannot be built from"),
    "a name of a module": (
        lambda reported: reported | {"arguments": {"weight_name": "forward"}},
        "cannot be named 'forward'",
    ),
    "a name that is none": (lambda reported: reported | {"arguments": {"weight_name": 5}}, "cannot be built from"),
    "other tensors": (
        lambda reported: reported | {"tensors": {}},
        "the description lists the tensors {}, the model has",
    ),
    "a larger tensor": (
        lambda reported: (
            reported | {"tensors": reported["tensors"] | {"bias": {"shape": [10**12], "dtype": "float32"}}}
        ),
        "the description lists the tensors",
    ),
    "digests of none": (lambda reported: reported | {"checkpoint_sha256": None}, "one was swapped"),
}


@pytest.mark.parametrize(("change", "said"), DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_a_description_that_was_altered_and_signed_is_caught(
    run: Run, caught: Callable[[], str], change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    description = json.loads((run.folder / "model.json").read_bytes())
    run.replace("model.json", json.dumps(change(description)).encode())
    assert said in caught()


@pytest.mark.parametrize("name", ["model.json", "metrics.json"])
def test_a_key_that_stands_twice_is_caught_though_it_is_signed(run: Run, caught: Callable[[], str], name: str) -> None:
    content = (run.folder / name).read_bytes()
    doubled = content.replace(b"{", b'{"loss": "l1", "loss": "l1",', 1)
    run.replace(name, doubled)
    assert f"{name}: the key 'loss' occurs twice in one object" in caught()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema_version": 1}', b"\xff\xfe"])
def test_a_damaged_manifest_is_caught(run: Run, caught: Callable[[], str], content: bytes) -> None:
    (run.folder / "run.json").write_bytes(content)
    assert "run.json is damaged" in caught()


def test_a_missing_manifest_is_caught(run: Run, caught: Callable[[], str]) -> None:
    (run.folder / "run.json").unlink()
    assert "is this a run folder?" in caught()


def test_a_manifest_that_names_files_outside_the_project_is_caught(run: Run, caught: Callable[[], str]) -> None:
    manifest = run.manifest
    manifest["files"]["metrics.json"]["path"] = "../../etc/passwd"
    (run.folder / "run.json").write_text(json.dumps(manifest))
    assert "must stay inside the project" in caught()


def test_missing_predictions_are_caught(run: Run, caught: Callable[[], str]) -> None:
    path = run.artifact("predictions")
    path.unlink()
    assert f"artifact missing: {path.relative_to(run.store.root)}" in caught()


def test_altered_predictions_are_caught(run: Run, caught: Callable[[], str]) -> None:
    path = run.artifact("predictions")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert f"artifact altered: {path.relative_to(run.store.root)}" in caught()


def test_metrics_that_were_made_up_are_caught(run: Run, caught: Callable[[], str]) -> None:
    metrics = json.loads((run.folder / "metrics.json").read_bytes())
    metrics["test"]["mae"] = 0.001
    run.replace("metrics.json", json.dumps(metrics).encode())
    assert "1 metrics in metrics.json do not agree exactly: first test.mae, saved 0.001, now 0.0252" in caught()


def test_beyond_the_tolerance_predictions_and_metrics_are_caught(
    run: Run, caught: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By 0.00005, where values of 0.3 to 1 may differ by 0.00001 at the most."""
    monkeypatch.setattr("tasks.compare.version", lambda name: "2.99.0")
    metrics = json.loads((run.folder / "metrics.json").read_bytes())
    metrics["test"]["mae"] += 5e-5
    run.replace("metrics.json", json.dumps(metrics).encode())
    asked = "within 1e-05 of the value and 1e-06"
    assert f"1 metrics in metrics.json do not agree {asked}: first test.mae" in caught()
    weights = run.weights()
    weights["bias"] += 5e-5
    run.forge(dump(weights))
    assert f"50 of 50 predictions do not agree {asked}" in caught()


def test_a_verification_that_passed_is_overwritten_by_one_that_fails(
    run: Run, command: Callable[..., tuple[int, str, str]], caught: Callable[[], str]
) -> None:
    assert command("verify")[0] == 0
    run.artifact("predictions").unlink()
    caught()


@pytest.mark.parametrize(
    ("field", "value"),
    [("seed", 1), ("files", {}), ("checkpoint", "other.pth")],
    ids=lambda value: str(value),
)
def test_a_manifest_that_contradicts_itself_is_caught(
    run: Run, caught: Callable[[], str], field: str, value: Any
) -> None:
    (run.folder / "run.json").write_text(json.dumps(run.manifest | {field: value}))
    assert f"the manifest of run {run.name} was altered" in caught()


def test_a_setting_altered_in_the_manifest_is_caught(run: Run, caught: Callable[[], str]) -> None:
    manifest = run.manifest
    manifest["experiment"]["training"]["learning_rate"] = 9.0
    (run.folder / "run.json").write_text(json.dumps(manifest))
    assert "run.json no longer has its SHA-256" in caught()


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes() + b" ")])
def test_a_report_that_was_altered_is_caught(
    run: Run, caught: Callable[[], str], damage: Callable[[Path], Any]
) -> None:
    damage(run.folder / "report.html")
    assert "report.html" in caught()


def test_a_report_that_was_altered_is_caught_after_the_experiment_was_saved_again(
    run: Run, caught: Callable[[], str], train: Callable[..., Any]
) -> None:
    """The record of the save is by then that of the other run, whose report is whole."""
    assert train(refresh=["save"]).run != run.name
    report = run.folder / "report.html"
    report.write_bytes(report.read_bytes() + b" ")
    assert "report.html" in caught()


def test_metrics_made_up_in_the_description_are_caught(run: Run, caught: Callable[[], str]) -> None:
    description = json.loads((run.folder / "model.json").read_bytes())
    del description["metrics"]["test"]["mae"]
    run.replace("model.json", json.dumps(description).encode())
    assert "1 metrics in model.json do not agree exactly: first test.mae, saved None" in caught()


def test_a_run_whose_record_is_gone_is_verified_by_itself(
    run: Run, command: Callable[..., tuple[int, str, str]]
) -> None:
    shutil.rmtree(run.store.records)
    assert command("verify")[0] == 0
    verification = json.loads((run.folder / "verification.json").read_bytes())
    assert "no record of the save is left to compare with" in verification["checks"][-1]["detail"]


def test_a_run_with_other_threads_is_verified_exactly(
    store: Store, command: Callable[..., tuple[int, str, str]]
) -> None:
    import torch

    assert command("train", "line", "--training.threads", "1")[0] == 0
    torch.set_num_threads(2)
    assert command("verify")[0] == 0
    assert torch.get_num_threads() == 1, "the last bit of a larger model's sums depends on it"
    verification = json.loads((store.runs / "latest" / "verification.json").read_bytes())
    assert verification["checks"][3]["detail"].startswith("50 rows agree exactly")

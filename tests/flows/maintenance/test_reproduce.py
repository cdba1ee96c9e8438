"""`workflow reproduce`: a run repeated from its manifest is the same, or it is said what is not and why."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.maintenance import reproduce
from flows.maintenance.reproduce import Reproduction, StageComparison, compare_with
from tasks.caching.runs.manifest import Manifest
from tasks.caching.storage.store import Store
from tests.flows.conftest import stages_from
from tests.support.stages import STAGES

Command = Callable[..., tuple[int, str, str]]


def edit(tree: Path, name: str, old: str, new: str) -> None:
    path = tree / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def reproduce_in(tree: Path, home: Path, workflow: Callable[..., Any]) -> tuple[int, dict[str, Any]]:
    """What a colleague with other code gets who repeats the latest run."""
    done = workflow("reproduce", "--json", home=home, tree=tree)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def stages(report: dict[str, Any]) -> dict[str, str]:
    return {stage["name"]: stage["outcome"] for stage in report["stages"]}


def test_a_run_repeated_where_it_was_made_is_identical(trained: Store, command: Command) -> None:
    before = sorted(path for path in trained.root.rglob("*") if "locks" not in path.parts)
    code, out, error = command("reproduce", "latest")
    assert code == 0, error
    assert out.count("identical") == len(STAGES)
    assert out.endswith("reproduced\n")
    assert sorted(path for path in trained.root.rglob("*") if "locks" not in path.parts) == before


def test_code_that_gives_other_numbers_is_reported(
    trained: Store, own_tree: Path, workflow: Callable[..., Any]
) -> None:
    edit(own_tree, "tasks/learning/training/loop.py", "loss.backward()", "(loss * 0.5).backward()")
    code, report = reproduce_in(own_tree, trained.root, workflow)
    assert code == 1
    assert not report["reproduced"]
    reported = {stage["name"]: stage for stage in report["stages"]}
    assert stages(report) == {"generate": "identical", "split": "identical"} | dict.fromkeys(
        stages_from("train"), "different"
    )
    assert any("tasks/learning/training/loop.py" in reason for reason in reported["train"]["reasons"])
    assert reported["train"]["largest"] > 1e-3
    assert "weights" in reported["train"]["unequal"]
    assert reported["generate"]["reasons"] == []


def test_rounding_is_within_tolerance(trained: Store, own_tree: Path, workflow: Callable[..., Any]) -> None:
    edit(
        own_tree,
        "tasks/learning/models/weights.py",
        "tensor.detach().cpu().clone()",
        "tensor.detach().cpu() * (1 + 2e-7)",
    )
    code, report = reproduce_in(own_tree, trained.root, workflow)
    assert code == 0
    assert report["reproduced"]
    assert stages(report)["train"] == stages(report)["plot"] == stages(report)["save"] == "within tolerance"
    train = next(stage for stage in report["stages"] if stage["name"] == "train")
    assert 0 < train["largest"] < 1e-6


def test_a_picture_that_differs_though_its_numbers_do_not_is_different(
    trained: Store, own_tree: Path, workflow: Callable[..., Any]
) -> None:
    edit(own_tree, "tasks/learning/reporting/figures.py", "dpi=120", "dpi=100")
    code, report = reproduce_in(own_tree, trained.root, workflow)
    assert code == 1
    assert (stages(report)["evaluate"], stages(report)["plot"]) == ("identical", "different")


def test_other_library_versions_are_reported(trained: Store, first_home: Path) -> None:
    manifest = latest(trained)
    older = manifest.environment.model_copy(update={"versions": manifest.environment.versions | {"torch": "2.12.0"}})
    report = compare_with(manifest.model_copy(update={"environment": older}), trained, Store(first_home))
    assert len(report.environment) == 1
    assert report.environment[0].startswith("torch 2.12.0 → ")
    assert report.passed


def test_an_artifact_that_is_gone_cannot_be_shown_to_be_close(trained: Store, tmp_path: Path) -> None:
    manifest = latest(trained)
    weights = manifest.made("weights")
    trained.locate(weights.path).unlink()
    stage = manifest.stage("train")
    other = stage.outputs | {"weights": stage.outputs["weights"].model_copy(update={"digest": "0" * 64})}
    outcome, largest, unequal = reproduce.compare_outputs(other, stage.outputs, trained, trained, moved=False)
    assert (outcome, largest, unequal) == ("different", None, ("weights",))


def test_a_device_that_is_not_there_is_bad_input(trained: Store, command: Command) -> None:
    code, _, error = command("reproduce", "--device", "cuda:7")
    assert code == 2
    assert error.splitlines()[-1].startswith("error: device 'cuda:7' is not there, since ")


def test_a_run_that_is_not_there_is_bad_input(trained: Store, command: Command) -> None:
    assert command("reproduce", "line-9")[0] == 2


@pytest.mark.parametrize(("outcome", "passed"), [("identical", True), ("within tolerance", True), ("different", False)])
def test_what_passes(outcome: Any, passed: bool) -> None:
    assert Reproduction("line-1", [StageComparison("train", outcome, None, (), ())], ()).passed is passed


def latest(store: Store) -> Manifest:
    return Manifest.read((store.runs / "latest").resolve())

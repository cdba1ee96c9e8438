"""The self-test of the resumption: it passes on the real thing, and fails on what is not."""

import io
import json
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from flows.config.experiments import load_experiment, preset_names
from flows.errors import InputError
from flows.maintenance import isolated_training, selftest
from flows.maintenance.isolated_training import write_experiment
from flows.maintenance.selftest import ResumeReport, resumed_steps, selftest_resume
from flows.maintenance.training_messages import MessageWriter
from flows.runtime.zombie_runs import acquire_run_lease
from tasks.learning.config.experiment import Experiment
from tests.support.prefect_api import Api

SAME, OTHER = ("a" * 64, "a" * 64), ("a" * 64, "b" * 64)


@pytest.mark.parametrize("preset", preset_names())
def test_an_experiment_comes_back_from_its_file(preset: str, tmp_path: Path) -> None:
    experiment = load_experiment(preset, {"data": {"noise": 1e-7}, "training": {"clip_norm": 1e22}})
    write_experiment(experiment, tmp_path / "experiment.toml")
    assert Experiment.model_validate(tomllib.loads((tmp_path / "experiment.toml").read_text())) == experiment


@pytest.mark.parametrize(
    ("report", "passed"),
    [
        (ResumeReport([5], [5], {"weights": SAME}), True),
        (ResumeReport([5], [], {"weights": SAME}), False),
        (ResumeReport([], [], {"weights": SAME}), False),
        (ResumeReport([5, 9], [5], {"weights": SAME}), False),
        (ResumeReport([5], [5], {"weights": SAME, "history": OTHER}), False),
    ],
)
def test_what_passes(report: ResumeReport, passed: bool) -> None:
    assert report.passed is passed


def test_where_a_training_resumed_is_reported_to_the_process_that_started_it() -> None:
    stream = io.StringIO()
    writer = MessageWriter(stream)
    assert resumed_steps(stream.getvalue()) == []
    writer.on_notice("train", "resumes after epoch 7")
    writer.on_resume("train", 1234, "epoch 617")
    writer.on_resume("train", 2000, "epoch 1,000")
    assert resumed_steps(stream.getvalue()) == [1234, 2000]


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(ValidationError):
        resumed_steps("  train     resumes after epoch 1,234\n")


def test_a_training_that_does_not_heed_sigterm_is_ended_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    monkeypatch.setattr(isolated_training, "GRACE_SECONDS", 0.1)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            isolated_training.end(process)
            assert process.poll() == -signal.SIGKILL
        finally:
            process.kill()


def test_trainings_that_were_killed_in_a_temporary_store_are_reported_to_prefect(api: Api) -> None:
    from prefect import flow
    from prefect.states import Running

    @flow(name="train")
    def train() -> None:
        """Never runs."""

    flow_run = api.create(train, Running())
    with isolated_training.homes_elsewhere("test") as folder:
        acquire_run_lease(folder / "killed", flow_run).release()
    assert api.flow_run(flow_run).state.name == "Crashed"
    assert not folder.exists()


def test_too_few_epochs_are_refused() -> None:
    with pytest.raises(InputError, match=r"training\.epochs"):
        selftest_resume(load_experiment("line", {"training": {"epochs": 3}}), 3, lambda text: None)


def test_a_real_training_passes(command: Callable[..., tuple[int, str, str]], store: Any, api: Api) -> None:
    began = datetime.now(UTC)
    words = ("--kills", "2", "--training.epochs", "300", "--training.batch-size", "16", "--training.optimizer", "adam")
    code, out, error = command("selftest", "resume", "line", *words, "--json")
    assert code == 0, error
    report = json.loads(out)
    assert set(report["outputs"]) == {"weights", "model", "history", "untrained"}
    assert len(report["resumed_after"]) == 2
    assert not list(store.root.glob("artifacts/*")), "the project's own store is left alone"
    ends = sorted(run.state.name for run in api.since(began))
    assert ends == ["Completed", "Completed", "Crashed", "Crashed"], "Prefect knows of those that were killed"


@pytest.mark.long
def test_a_training_that_starts_anew_fails(
    command: Callable[..., tuple[int, str, str]], store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated_training, "training", forgetful(isolated_training.training))
    monkeypatch.setattr(selftest, "training", forgetful(selftest.training))
    code, out, error = command("selftest", "resume", "line", "--kills", "1", "--training.epochs", "900")
    assert code == 1
    assert "FAILED" in out, error


def forgetful(start: Callable[..., Any]) -> Callable[..., Any]:
    """Starts a training whose store has lost its training checkpoints."""

    def begin_anew(source: Path, home: Path, *others: str) -> Any:
        for checkpoint in home.glob("artifacts/states/train/*/*.pth"):
            checkpoint.unlink()
        return start(source, home, *others)

    return begin_anew

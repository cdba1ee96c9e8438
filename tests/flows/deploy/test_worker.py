"""`workflow worker`, for the deployments in prefect.yaml."""

import asyncio
import itertools
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from flows.deploy.alerts import FAILURES
from tests.flows.conftest import PROJECT
from tests.support.prefect_api import until_there
from tests.support.serving_project import ENDLESS, EVENT_SECONDS, Finish, ServingProject, Start


def test_a_worker_trains_verifies_and_shuts_down_gracefully(
    project: ServingProject, start_process: Start, workflow: Finish
) -> None:
    for words in (
        ("work-pool", "create", "workflow", "--type", "process", "--overwrite"),
        ("--no-prompt", "deploy", "--all"),
    ):
        done = workflow(*words, module="prefect", home=project.home, cwd=PROJECT)
        assert done.returncode == 0, done.stdout + done.stderr
    # As in a service: without the programs of its virtual environment on the path.
    settings = {"PATH": "/usr/bin:/bin", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR"}

    def begin() -> Any:
        return start_process("-m", "flows.cli", "worker", home=project.home, **settings)

    worker = begin()
    project.until(project.ask({"training": {"epochs": 24}}), "Completed")
    run = (project.store.runs / "latest").readlink().name

    def verified() -> Any:
        return [run for run in project.api.verifications(run) if run.state.is_completed()] or None

    until_there(verified)
    endless = project.ask(ENDLESS)
    project.api.log(endless, "train runs")
    worker.send_signal(signal.SIGTERM)
    out, error = worker.communicate(timeout=90)
    assert worker.returncode == 0, out + error
    assert project.api.flow_run(endless).state.name == "Cancelled"
    assert project.leases_have_expired()
    worker = begin()
    soon = project.ask({"training": {"epochs": 25}})
    until_there(lambda: project.api.flow_run(soon).state.is_pending() or None)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=90) == 0
    time.sleep(EVENT_SECONDS)
    assert project.api.events(soon) & FAILURES == set(), "it has done nothing yet"


def test_a_run_that_starts_after_the_shutdown_is_terminated(prefect: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.deploy import worker

    code = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit()); print('ready', flush=True); time.sleep(60)"
    )
    started: list[subprocess.Popen[str]] = []
    looks = itertools.count()

    def children() -> list[int]:
        if next(looks) == 3:
            started.append(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True))
            assert started[0].stdout is not None
            started[0].stdout.readline()
        return [process.pid for process in started if process.poll() is None]

    monkeypatch.setattr(worker, "children", children)
    asyncio.run(worker.terminate_children())
    (process,) = started
    assert process.wait(timeout=10) == 0
